//! Making a PTY and starting a held child on it, through `portable-pty`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use portable_pty::{CommandBuilder, PtyPair, PtySize, native_pty_system};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use super::{Master, launch};
use crate::Size;

/// Why a terminal could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The command is not there.
    #[error("command {command:?} not found: give a path or a program that is on PATH")]
    NoCommand {
        /// As asked for.
        command: String,
    },
    /// The command is a directory.
    #[error("command {command:?} is a directory: name a program in it")]
    IsDirectory {
        /// As asked for.
        command: String,
    },
    /// The command may not be executed.
    #[error("command {command:?} is not executable: chmod +x makes it so, or give it to its interpreter")]
    NotExecutable {
        /// As asked for.
        command: String,
    },
    /// The directory is not there.
    #[error("directory {cwd:?} does not exist or is not a directory")]
    NoDirectory {
        /// As asked for.
        cwd: PathBuf,
    },
    /// No PTY was to be had.
    #[error("cannot open a pty: {reason} (see kernel.pty.max and ulimit -n)")]
    NoPty {
        /// What the kernel said.
        reason: String,
    },
    /// The launcher did not start, or did not stop where it should.
    #[error("cannot start the child: {reason}")]
    NoChild {
        /// What went wrong.
        reason: String,
    },
}

impl SpawnError {
    /// What went wrong, without what was asked for: for a log, in which no command line belongs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoCommand { .. } => "command not found",
            Self::IsDirectory { .. } => "command is a directory",
            Self::NotExecutable { .. } => "command is not executable",
            Self::NoDirectory { .. } => "no such directory",
            Self::NoPty { .. } => "no pty",
            Self::NoChild { .. } => "no child",
        }
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<OsString, OsString>,
}

impl Command {
    /// Checks that directory and program are there.
    ///
    /// # Errors
    /// [`SpawnError::NoDirectory`], [`SpawnError::NoCommand`], [`SpawnError::IsDirectory`], [`SpawnError::NotExecutable`].
    pub fn check(&self) -> Result<(), SpawnError> {
        if !self.cwd.is_dir() {
            return Err(SpawnError::NoDirectory { cwd: self.cwd.clone() });
        }
        let path = self.env.get(std::ffi::OsStr::new("PATH"));
        let program = self.argv.first().map_or("", String::as_str);
        match which::which_in(program, path, &self.cwd) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.why_not(program)),
        }
    }

    /// Why a program that is given as a path cannot be run; one that is not was looked for on `PATH`.
    fn why_not(&self, program: &str) -> SpawnError {
        let command = program.to_owned();
        match fs::metadata(self.cwd.join(program)) {
            Ok(found) if program.contains('/') && found.is_dir() => SpawnError::IsDirectory { command },
            Ok(_) if program.contains('/') => SpawnError::NotExecutable { command },
            Ok(_) | Err(_) => SpawnError::NoCommand { command },
        }
    }
}

/// A new PTY, both ends open.
pub struct Pty {
    pair: PtyPair,
    master: Master,
}

impl Pty {
    /// Opens a PTY of that size.
    ///
    /// # Errors
    /// [`SpawnError::NoPty`].
    pub fn open(size: Size) -> Result<Self, SpawnError> {
        let no_pty = |reason: String| SpawnError::NoPty { reason };
        let size = PtySize { rows: size.rows(), cols: size.cols(), pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).map_err(|error| no_pty(format!("{error:#}")))?;
        let fd = pair.master.as_raw_fd().ok_or_else(|| no_pty("it has no descriptor".to_owned()))?;
        let master = duplicate(fd).and_then(Master::new).map_err(|error| no_pty(error.to_string()))?;
        Ok(Self { pair, master })
    }

    /// The master end.
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// Starts `command`'s launcher on the slave end and returns its pidfd once it is held. Consumes the slave end.
    ///
    /// # Errors
    /// [`SpawnError::NoChild`]; the command has not run.
    pub fn spawn_held(self, command: &Command, limits: launch::FileLimits) -> Result<(Master, Held), SpawnError> {
        let no_child = |reason: String| SpawnError::NoChild { reason };
        let mut builder = CommandBuilder::new("/proc/self/exe");
        builder.args(launch::arguments(limits, &command.argv));
        builder.cwd(&command.cwd);
        builder.env_clear();
        for (key, value) in &command.env {
            builder.env(key, value);
        }
        let child = self.pair.slave.spawn_command(builder).map_err(|error| no_child(format!("{error:#}")))?;
        let pid = child.process_id().and_then(|pid| Pid::from_raw(pid as i32));
        let pid = pid.ok_or_else(|| no_child("it has no pid".to_owned()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| no_child(error.to_string()))?;
        await_stop(pidfd.as_fd()).map_err(|error| no_child(error.to_string()))?;
        Ok((self.master, Held { pid, pidfd }))
    }
}

/// A child that has not run its command yet.
#[derive(Debug)]
pub struct Held {
    /// Its process id.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Lets a held child run its command. Harmless to one that already does.
///
/// # Errors
/// When it is gone.
pub fn release(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(pidfd_send_signal(pidfd, Signal::CONT)?)
}

fn await_stop(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options))?;
    match status {
        Some(status) if status.stopped() => Ok(()),
        _ => Err(io::Error::other("its launcher ended before it was let go")),
    }
}

#[allow(unsafe_code)]
fn duplicate(fd: std::os::fd::RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `fd` belongs to a live `MasterPty` that the caller holds; the borrow ends with this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

/// Variables of the supervisor, or of the terminal it was started from, that mean nothing or harm inside another terminal.
const NOT_INHERITED: &[&str] = &[
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "MAINPID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "MALLOC_CONF",
    "_RJEM_MALLOC_CONF",
    "KAVAL_DIAG_DIR",
    "KAVAL_KEEPER",
    "KAVAL_NOFILE",
    "KAVAL_PREVIOUS_END",
    "KAVAL_PROGRAM",
    "KAVAL_UPGRADE_UNDONE",
    "KAVAL_LOG",
    "KAVAL_TERM_ID",
    "KAVAL_TERM_LOG",
    "KAVAL_TERM_NAME",
    "KAVAL_SOCKET",
    "TMUX",
    "TMUX_PANE",
    "STY",
    "WINDOW",
    "COLUMNS",
    "LINES",
    "TERM",
    "COLORTERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TERM_SESSION_ID",
    "TERMINFO",
    "TERMCAP",
    "WINDOWID",
    "VTE_VERSION",
    "SHLVL",
    "OLDPWD",
    "PWD",
    "_",
];

/// A child's environment: the supervisor's, less what is its own, plus what every terminal has, plus `overrides`.
pub fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    own: &[(&str, &str)],
    overrides: &[(String, String)],
) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<_, _> = inherited.filter(|(key, _)| !NOT_INHERITED.iter().any(|name| key == name)).collect();
    let fixed = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
    for (key, value) in fixed.iter().chain(own) {
        env.insert(key.into(), value.into());
    }
    for (key, value) in overrides {
        env.insert(key.into(), value.into());
    }
    env
}

/// Where a child starts when nobody says: the user's home, else `/`.
pub fn default_cwd() -> PathBuf {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_dir()).unwrap_or_else(|| Path::new("/").to_owned())
}
