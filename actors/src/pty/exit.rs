//! How a child ended, asked of its pidfd.
//!
//! A child of ours is waited for. One that a previous supervisor spawned is the keeper's or systemd's to reap; once it has been,
//! Linux 6.15 and later tell its status through the pidfd.

use std::{fmt, io, os::fd::BorrowedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{WaitId, WaitIdOptions, waitid},
};
use serde::{Deserialize, Serialize};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It has ended; the kernel does not tell how.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What a pidfd says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It has ended, and whoever is its parent has yet to reap it: ask again.
    Unreaped,
    /// It has ended.
    Ended(Exit),
}

/// Asks a pidfd, reaping the child if it is ours.
pub fn ask(pidfd: BorrowedFd<'_>) -> Life {
    match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(None) => Life::Running,
        Ok(Some(status)) => Life::Ended(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }),
        Err(_) if !has_ended(pidfd) => Life::Running,
        Err(_) => match exit_info(pidfd) {
            Ok(Some(status)) => Life::Ended(from_wait_status(status)),
            Ok(None) => Life::Unreaped,
            Err(_) => Life::Ended(Exit::Unknown),
        },
    }
}

/// Whether the process has ended: its pidfd is readable then.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
}

fn from_wait_status(status: i32) -> Exit {
    match (libc::WIFEXITED(status), libc::WIFSIGNALED(status)) {
        (true, _) => Exit::Code(libc::WEXITSTATUS(status)),
        (_, true) => Exit::Signal(libc::WTERMSIG(status)),
        _ => Exit::Unknown,
    }
}

/// `struct pidfd_info` in its first, 64-byte form (include/uapi/linux/pidfd.h).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `PIDFD_GET_INFO`, `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
/// Set in the reply when it carries an exit status. On a zombie the call succeeds without it and the status reads 0.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// The wait status of a reaped process; `None` while it is a zombie.
#[allow(unsafe_code)]
fn exit_info(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    use std::os::fd::AsRawFd;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request's size field is that of `PidfdInfo`, which is valid for reads and writes for the call.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if done < 0 {
        return Err(match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
            error => error,
        });
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}
