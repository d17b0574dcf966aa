//! Readiness of descriptors that this process owns.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use tokio::io::{Interest, unix::AsyncFd};

use super::Master;

/// Types that keep one descriptor open, the same one, until they are dropped.
pub(crate) trait Held: AsRawFd {}
impl Held for Arc<OwnedFd> {}
impl Held for Arc<Master> {}

/// Registers `fd` with the present thread's reactor.
///
/// # Errors
/// When the kernel refuses.
#[allow(unsafe_code)]
pub(crate) fn register<T: Held>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: a `Held` type gives the same open descriptor until it is dropped, which `AsyncFd` does after deregistering.
    unsafe { Ok(AsyncFd::register_with_interest(fd, interest)?) }
}
