//! The supervisor's side of the descriptor store: hand descriptors to whoever started us, get them back.
//!
//! ```text
//!   supervisor ──FDSTORE=1 FDNAME=m1 + fd──► systemd, or the keeper     (one datagram a message)
//!   supervisor ◄─LISTEN_FDS, LISTEN_FDNAMES─ systemd, or the keeper     (at the next exec)
//! ```
//!
//! **Invariants**
//! - A store is found only by the process the service manager started: `SYSTEMD_EXEC_PID` must be our own pid, so
//!   a variable leaked into somebody's shell stores nothing.
//! - Messages of one process are taken in the order they were sent; [`FdStore::barrier`] returns once all were.
//! - An inherited descriptor is handed out once, with close-on-exec set.
//!
//! Absent on purpose: the environment is left as it is (children get a clean one where they are spawned), and
//! nothing acknowledges a single message, since the protocol has no such thing: a manager that refuses a
//! descriptor says so in its own log.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;
use thiserror::Error;

/// Longest name of a descriptor, in bytes: systemd's `FDNAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// How long the manager may take to read one message, or to answer a barrier. It does so within a millisecond
/// unless it is stopped; systemd's own clients wait 5 s as well.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why a message did not reach the store, or nothing came back from it.
#[derive(Debug, Error)]
pub enum FdStoreError {
    /// The store would refuse this name.
    #[error("descriptor name {name:?} is not 1 to {NAME_BYTES_MAX} printable ASCII characters without a colon")]
    Name {
        /// The name as given.
        name: String,
    },
    /// Nobody listens at `NOTIFY_SOCKET`.
    #[error("notify socket {address:?} cannot be reached")]
    Connect {
        /// The value of `NOTIFY_SOCKET`.
        address: OsString,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The message was not accepted: the manager's queue stayed full, or the process is out of descriptors.
    #[error("message to the notify socket was not sent")]
    Send(#[source] io::Error),
    /// The pipe of a barrier could not be made or watched.
    #[error("barrier cannot be set up")]
    Barrier(#[source] io::Error),
    /// The manager did not say that it has read everything; it may still do so.
    #[error("service manager left a barrier unanswered for {0:?}")]
    BarrierTimeout(Duration),
    /// `LISTEN_FDS` and `LISTEN_FDNAMES` do not describe the descriptors that are open.
    #[error("inherited descriptors do not match LISTEN_FDS and LISTEN_FDNAMES")]
    Inherited(#[source] io::Error),
}

/// Whether a store accepts `name` for a descriptor, by systemd's rule (`fdname_is_valid`), the empty name excepted.
#[must_use]
pub fn name_is_valid(name: &str) -> bool {
    let byte_is_valid = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(byte_is_valid)
}

/// The way to the service manager that holds descriptors for us: systemd, or the [keeper](crate::keeper).
///
/// Every call opens a socket of its own, so that it may be used from any thread, and blocks until the manager has
/// room for the message (5 s at most).
#[derive(Clone, Debug)]
pub struct FdStore {
    address: OsString,
}

impl FdStore {
    /// The store of the manager that started this very process, if there is one.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let exec_pid = std::env::var_os("SYSTEMD_EXEC_PID");
        Self::from_vars(std::env::var_os("NOTIFY_SOCKET"), exec_pid.as_deref(), std::process::id())
    }

    fn from_vars(address: Option<OsString>, exec_pid: Option<&OsStr>, own_pid: u32) -> Option<Self> {
        let started_us = exec_pid?.to_str()?.parse() == Ok(own_pid);
        let address = address.filter(|address| !address.is_empty())?;
        started_us.then_some(Self { address })
    }

    /// Stores a copy of `fd` under `name` (see [`name_is_valid`]); the caller keeps its own.
    ///
    /// A second descriptor of the same name is held beside the first. `FDPOLL=0` goes along: without it systemd
    /// drops a PTY that was hung up together with its unread output (systemd issue 12086).
    ///
    /// # Errors
    /// [`FdStoreError::Name`], [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), FdStoreError> {
        let name = checked(name)?;
        let no_poll = NotifyState::Custom("FDPOLL=0");
        self.send(&[NotifyState::FdStore, NotifyState::FdName(name), no_poll], Some(fd))
    }

    /// Drops every descriptor stored under `name`, if there is any.
    ///
    /// # Errors
    /// [`FdStoreError::Name`], [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn remove(&self, name: &str) -> Result<(), FdStoreError> {
        let name = checked(name)?;
        self.send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], None)
    }

    /// Waits until the manager has taken everything sent before; blocks for up to 5 s.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`], [`FdStoreError::Barrier`],
    /// [`FdStoreError::BarrierTimeout`].
    pub fn barrier(&self) -> Result<(), FdStoreError> {
        let (here, there) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| FdStoreError::Barrier(errno.into()))?;
        self.send(&[NotifyState::Custom("BARRIER=1")], Some(there.as_fd()))?;
        drop(there);
        match hung_up_within(&here, ANSWER_MAX) {
            Ok(true) => Ok(()),
            Ok(false) => Err(FdStoreError::BarrierTimeout(ANSWER_MAX)),
            Err(errno) => Err(FdStoreError::Barrier(errno.into())),
        }
    }

    /// Says that start-up is finished.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn ready(&self) -> Result<(), FdStoreError> {
        self.send(&[NotifyState::Ready], None)
    }

    /// Says that the configuration is being read again; [`FdStore::ready`] says that it has been.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn reloading(&self) -> Result<(), FdStoreError> {
        let now = NotifyState::monotonic_usec_now().map_err(FdStoreError::Send)?;
        self.send(&[NotifyState::Reloading, now], None)
    }

    /// Says that shutting down has begun.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn stopping(&self) -> Result<(), FdStoreError> {
        self.send(&[NotifyState::Stopping], None)
    }

    /// Gives a sign of life.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn watchdog(&self) -> Result<(), FdStoreError> {
        self.send(&[NotifyState::Watchdog], None)
    }

    /// Asks for so much more time, from now, to become ready or to end.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn extend_timeout(&self, by: Duration) -> Result<(), FdStoreError> {
        let usec = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(usec)], None)
    }

    /// Says that this process is about to end, to be followed by what its program's file is by then, or by another `binary`. Only the
    /// [keeper](crate::keeper) hears that; the path has to fit a message, on one line.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn upgrade(&self, binary: Option<&str>) -> Result<(), FdStoreError> {
        let binary = binary.map(|path| format!("X_KAVAL_BINARY={path}"));
        let asked = [Some("X_KAVAL_UPGRADE=1"), binary.as_deref()];
        let fields: Vec<_> = asked.into_iter().flatten().map(NotifyState::Custom).collect();
        self.send(&fields, None)
    }

    /// Sets the one line that `systemctl status` shows; control characters become spaces.
    ///
    /// # Errors
    /// [`FdStoreError::Connect`], [`FdStoreError::Send`].
    pub fn status(&self, status: &str) -> Result<(), FdStoreError> {
        let one_line = status.replace(char::is_control, " ");
        self.send(&[NotifyState::Status(&one_line)], None)
    }

    fn send(&self, states: &[NotifyState<'_>], fd: Option<BorrowedFd<'_>>) -> Result<(), FdStoreError> {
        let socket = self.connect().map_err(|source| FdStoreError::Connect { address: self.address.clone(), source })?;
        let text = message(states);
        send_with_fd(&socket, text.as_bytes(), fd).map_err(|errno| FdStoreError::Send(errno.into()))
    }

    /// Done here, as `sd-notify` takes `@name` (an abstract address) for a file's name.
    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(ANSWER_MAX))?;
        match self.address.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket.connect(&self.address)?,
        }
        Ok(socket)
    }
}

/// The descriptors this process was started with, by name, in no particular order; the second call finds none.
///
/// To be called early, while the descriptors from 3 on still are what the manager put there.
///
/// # Errors
/// [`FdStoreError::Inherited`].
pub fn take_inherited() -> Result<Vec<(String, OwnedFd)>, FdStoreError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let inherited = sd_notify::listen_fds_with_names().map_err(FdStoreError::Inherited)?;
    Ok(inherited.map(|(fd, name)| (name, own(fd))).collect())
}

/// Takes possession of a descriptor that `LISTEN_FDS` names.
#[allow(unsafe_code)]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: `LISTEN_PID` is ours, so the process began with `fd` open and meant for us; `sd_notify` has just set
    // its flags, so it is open still; `take_inherited` comes here once in a process's life, with each number once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn checked(name: &str) -> Result<&str, FdStoreError> {
    match name_is_valid(name) {
        true => Ok(name),
        false => Err(FdStoreError::Name { name: name.to_owned() }),
    }
}

fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().fold(String::new(), |mut text, state| {
        let _ = writeln!(text, "{state}");
        text
    })
}

fn send_with_fd(socket: &UnixDatagram, text: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let sent = || sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL);
    rustix::io::retry_on_intr(sent).map(drop)
}

/// Whether the other end of the pipe was closed within `limit`.
fn hung_up_within(pipe: &OwnedFd, limit: Duration) -> Result<bool, Errno> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(events) => return Ok(events > 0),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(address: Option<&str>, exec_pid: Option<&str>) -> bool {
        FdStore::from_vars(address.map(Into::into), exec_pid.map(OsStr::new), 42).is_some()
    }

    #[test]
    fn store_is_found_only_by_the_process_the_manager_started() {
        assert!(found(Some("@x"), Some("42")));
        assert!(!found(Some("@x"), Some("41")));
        assert!(!found(Some("@x"), Some("none")));
        assert!(!found(Some("@x"), None));
        assert!(!found(Some(""), Some("42")));
        assert!(!found(None, Some("42")));
    }

    #[test]
    fn names_are_accepted_up_to_the_limit_and_only_printable() {
        assert!(name_is_valid("m1"));
        assert!(name_is_valid(&"x".repeat(NAME_BYTES_MAX)));
        assert!(!name_is_valid(&"x".repeat(NAME_BYTES_MAX + 1)));
        for bad in ["", "a:b", "a\nb", "a\tb", "\u{7f}", "ä"] {
            assert!(!name_is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn bad_name_is_refused_before_anything_is_sent() {
        let store = FdStore { address: "/nonexistent/notify".into() };
        let stored = store.store("a\nFDNAME=b", io::stdin().as_fd());
        assert!(matches!(stored, Err(FdStoreError::Name { .. })));
        assert!(matches!(store.remove(""), Err(FdStoreError::Name { .. })));
    }

    #[test]
    fn absent_manager_is_an_error_that_names_the_address() {
        let store = FdStore { address: "/nonexistent/notify".into() };
        let error = store.ready().unwrap_err();
        assert!(matches!(error, FdStoreError::Connect { .. }));
        assert!(error.to_string().contains("/nonexistent/notify"));
    }

    #[test]
    fn status_cannot_smuggle_in_another_field() {
        let (store, manager, _directory) = store_with_manager();
        store.status("up\nFDSTOREREMOVE=1\nFDNAME=m1").unwrap();
        assert_eq!(received(&manager), "STATUS=up FDSTOREREMOVE=1 FDNAME=m1\n");
    }

    #[test]
    fn file_system_address_is_reached_as_systemd_has_it() {
        let (store, manager, _directory) = store_with_manager();
        store.store("m1", io::stdin().as_fd()).unwrap();
        assert_eq!(received(&manager), "FDSTORE=1\nFDNAME=m1\nFDPOLL=0\n");
        store.remove("m1").unwrap();
        assert_eq!(received(&manager), "FDSTOREREMOVE=1\nFDNAME=m1\n");
        store.reloading().unwrap();
        let reloading = received(&manager);
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        store.stopping().unwrap();
        assert_eq!(received(&manager), "STOPPING=1\n");
        store.upgrade(None).unwrap();
        assert_eq!(received(&manager), "X_KAVAL_UPGRADE=1\n");
        store.upgrade(Some("/opt/kaval")).unwrap();
        assert_eq!(received(&manager), "X_KAVAL_UPGRADE=1\nX_KAVAL_BINARY=/opt/kaval\n");
    }

    #[test]
    fn pipe_that_stays_open_runs_into_the_limit() {
        let (here, there) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        assert_eq!(hung_up_within(&here, Duration::from_millis(1)), Ok(false));
        drop(there);
        assert_eq!(hung_up_within(&here, ANSWER_MAX), Ok(true));
    }

    fn store_with_manager() -> (FdStore, UnixDatagram, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        (FdStore { address: path.into() }, manager, directory)
    }

    fn received(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}
