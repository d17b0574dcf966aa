//! An upgrade, up to the moment where this supervisor ends for it: everything that can be known before is looked at.
//!
//! ```text
//!   upgrade {binary?} ─► who starts the next? ─► which file? ─► FILE formats ─► it reads what is here ─► the keeper is told ─► end
//!                          nobody: refused                       no kaval, or cannot: refused
//! ```
//!
//! **Invariants.** What is refused has changed nothing. The binary is run for its formats only, on a thread that may block, and no longer
//! than [`PROBE_MAX`].

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    process::{Pid, PidfdFlags, getppid, pidfd_open},
};

use super::formats::Formats;
use crate::{
    fdstore::{FdStore, FdStoreError},
    keeper::KEEPER_VARIABLE,
};

/// How long a binary may take to say what it reads.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// Most of what it says that is listened to.
const ANSWER_BYTES_MAX: u64 = 4096;
/// Longest path that fits a message to the keeper.
const PATH_BYTES_MAX: usize = 3072;
/// What the kernel puts behind the name of a file that was removed.
const DELETED: &str = " (deleted)";

/// Why there is no upgrade. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    /// Neither a keeper nor systemd.
    #[error(
        "this supervisor runs without a keeper: nothing would start it again, and its terminals would end; \
         end it with kaval shutdown and start the new one"
    )]
    NoSuccessor,
    /// It starts what its unit says.
    #[error(
        "this supervisor is started by its service manager: install {0:?} where the unit's ExecStart= points, then kaval upgrade"
    )]
    NotOurs(PathBuf),
    /// A path that the keeper cannot be told.
    #[error("{0:?} cannot be started: give an absolute path on one line, of at most {PATH_BYTES_MAX} bytes")]
    Path(PathBuf),
    /// It cannot be run.
    #[error("{path:?} cannot be started: {reason}; nothing was changed")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It does not read what is here.
    #[error("{path:?} is kaval {version}, too old or too new for an upgrade: {unread}; nothing was changed")]
    Unread {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: String,
        /// What.
        unread: String,
    },
    /// The keeper was not reached.
    #[error("the keeper cannot be told what to start")]
    Keeper(#[from] FdStoreError),
}

/// Who starts the next supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Successor {
    /// The keeper, from that program unless it is told another one.
    Keeper { program: PathBuf },
    /// A service manager, from what its unit says: this program's file, as far as is known here.
    Manager { program: PathBuf },
    /// Nobody.
    None,
}

impl Successor {
    /// This process's.
    pub(super) fn of(store: Option<&FdStore>) -> Self {
        let keeper = env::var(KEEPER_VARIABLE).ok().and_then(|pid| pid.parse().ok());
        let kept = keeper.is_some() && keeper == getppid().map(Pid::as_raw_nonzero).map(i32::from);
        let own = || env::current_exe().map(|path| without_mark(&path)).unwrap_or_default();
        match store {
            Some(_) if kept => Self::Keeper { program: env::var_os("KAVAL_PROGRAM").map_or_else(own, PathBuf::from) },
            // A keeper that has died started this process, and nobody has taken its place.
            Some(_) if keeper.is_some_and(|_| env::var_os("KAVAL_PROGRAM").is_some()) => Self::None,
            Some(_) => Self::Manager { program: own() },
            None => Self::None,
        }
    }

    /// What would be started.
    fn file(&self, binary: Option<&Path>) -> Result<PathBuf, UpgradeError> {
        match (self, binary) {
            (Self::None, _) => Err(UpgradeError::NoSuccessor),
            (Self::Manager { .. }, Some(binary)) => Err(UpgradeError::NotOurs(binary.to_owned())),
            (Self::Keeper { .. }, Some(binary)) if !can_be_told(binary) => Err(UpgradeError::Path(binary.to_owned())),
            (Self::Keeper { .. }, Some(binary)) => Ok(binary.to_owned()),
            (Self::Keeper { program } | Self::Manager { program }, None) => Ok(program.clone()),
        }
    }
}

/// Whether anybody starts another supervisor once this one has ended.
pub(super) fn has_successor(store: Option<&FdStore>) -> bool {
    Successor::of(store) != Successor::None
}

fn can_be_told(path: &Path) -> bool {
    path.is_absolute() && path.to_str().is_some_and(|path| path.len() <= PATH_BYTES_MAX && !path.contains(char::is_control))
}

fn without_mark(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    text.strip_suffix(DELETED).map_or_else(|| path.to_owned(), PathBuf::from)
}

/// Looks at what would be started and tells the keeper of it; the version that follows. This process is to end then. Blocking.
///
/// # Errors
/// [`UpgradeError`].
pub(super) fn prepare(store: Option<&FdStore>, binary: Option<&Path>) -> Result<String, UpgradeError> {
    let successor = Successor::of(store);
    let path = successor.file(binary)?;
    let theirs = probe(&path).map_err(|reason| UpgradeError::Unusable { path: path.clone(), reason })?;
    if let Some(unread) = theirs.unread(&Formats::own()) {
        return Err(UpgradeError::Unread { path, version: theirs.kaval, unread });
    }
    if let (Some(store), Successor::Keeper { .. }) = (store, successor) {
        store.upgrade(binary.and_then(Path::to_str))?;
        store.barrier()?;
    }
    Ok(theirs.kaval)
}

/// What a binary reads and writes, or why that is not to be had.
fn probe(path: &Path) -> Result<Formats, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err("it is no executable file".to_owned());
    }
    let (status, answer) = run_for_formats(path).map_err(|error| error.to_string())?;
    let Some(status) = status else {
        return Err(format!("it did not say within {} s what it reads: is it a kaval?", PROBE_MAX.as_secs()));
    };
    let formats = serde_json::from_slice(&answer).ok().filter(|_| status.success());
    formats.ok_or_else(|| format!("it does not say what it reads ({status}): is it a kaval?"))
}

/// Runs it; how it ended, unless it took too long, and the beginning of what it said.
fn run_for_formats(path: &Path) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let mut child =
        Command::new(path).arg("formats").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).and_then(|pidfd| becomes_readable(&pidfd, PROBE_MAX));
    if !matches!(ended, Ok(true)) {
        child.kill()?;
        child.wait()?;
        return ended.map(|_| (None, Vec::new())).map_err(io::Error::from);
    }
    let status = child.wait()?;
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take().map(OwnedFd::from) {
        // What it started may have the pipe still.
        fcntl_setfl(&stdout, fcntl_getfl(&stdout)? | OFlags::NONBLOCK)?;
        match File::from(stdout).take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok((Some(status), answer))
}

fn becomes_readable(fd: &OwnedFd, limit: Duration) -> Result<bool, Errno> {
    let deadline = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => continue,
            result => return result.map(|events| events > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_what_decides_what_would_be_started() {
        let program = || PathBuf::from("/usr/bin/kaval");
        let (keeper, manager) = (Successor::Keeper { program: program() }, Successor::Manager { program: program() });
        let other = Path::new("/opt/kaval");
        for (successor, binary, file) in
            [(&keeper, None, program()), (&keeper, Some(other), other.into()), (&manager, None, program())]
        {
            assert_eq!(successor.file(binary).unwrap(), file);
        }
        assert!(matches!(manager.file(Some(other)), Err(UpgradeError::NotOurs(_))));
        assert!(matches!(Successor::None.file(None), Err(UpgradeError::NoSuccessor)));
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        for bad in ["kaval", "/a\nREADY=1", &long] {
            assert!(matches!(keeper.file(Some(Path::new(bad))), Err(UpgradeError::Path(_))), "{bad:?}");
        }
        assert_eq!(without_mark(Path::new("/usr/bin/kaval (deleted)")), program());
    }

    #[test]
    fn what_is_no_kaval_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "text").unwrap();
        for (path, reason) in [
            (dir.path().join("absent"), "No such file"),
            (dir.path().to_owned(), "no executable file"),
            (plain, "no executable file"),
            ("/bin/false".into(), "exit status: 1): is it a kaval?"),
            ("/bin/true".into(), "exit status: 0): is it a kaval?"),
            ("/bin/echo".into(), "is it a kaval?"),
        ] {
            let said = probe(&path).unwrap_err();
            assert!(said.contains(reason), "{path:?}: {said}");
        }
    }
}
