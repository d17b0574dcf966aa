//! One supervisor a state directory: a lock that the kernel drops with the process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
};

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Another supervisor has it.
    #[error("a supervisor{} already runs on state directory {path:?}: use it, or give this one another --state-dir", pid_note(.pid))]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Its process id, as it wrote it down.
        pid: String,
    },
    /// The lock's file cannot be used.
    #[error("state directory {path:?} cannot be locked")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn pid_note(pid: &str) -> String {
    if pid.is_empty() { String::new() } else { format!(" (pid {pid})") }
}

/// Takes the lock; it is held while the file stays open, by this process only, not by what it forks.
///
/// # Errors
/// [`LockError`].
pub(super) fn acquire(state_dir: &Path) -> Result<File, LockError> {
    let io = |source| LockError::Io { path: state_dir.to_owned(), source };
    let path = state_dir.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(io)?;
            return Err(LockError::Taken { path: state_dir.to_owned(), pid: pid.trim().to_owned() });
        }
        Err(errno) => return Err(io(errno.into())),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}
