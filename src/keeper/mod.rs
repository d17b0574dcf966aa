//! The keeper: a tiny parent process that holds the supervisor's descriptors and starts the next supervisor when
//! one dies. It is to a laptop what systemd is to a server, and speaks the same protocol.
//!
//! ```text
//!                     ┌───────────────────────── keeper ─────────────────────────┐
//!  signals ──────────►│ note a stop ─► reap ─► drain ─► decide ─► forward        │
//!                     │                          │        │                      │
//!  notify messages ──►│                          ▼        ▼                      │
//!                     │              store: m1 m2 j0 ══► fork, exec ═════════════╪══► supervisor
//!                     └──────────────────────────────────────────────────────────┘    LISTEN_FDS=3
//!  orphaned processes ─► its children now (subreaper), reaped
//! ```
//!
//! **Invariants**
//! - While it holds a terminal it goes on, unless it is told to stop (the rules are in `backoff.rs`).
//! - What a supervisor sent before it died counts: its queue is emptied before its death is acted on.
//! - Only the supervisor it started is listened to; descriptors that others send are closed. What it was itself started with
//!   (a socket to listen on, by `LISTEN_FDS`) every supervisor gets.
//! - A supervisor that ended to be upgraded is followed by the file it named, or by what its own file is by then. One that ends, or is
//!   not ready in time, is followed by the image that was ready last, and that one is told why (the rules are in `image.rs`).
//! - It never panics on what comes from outside; a stderr that fails does not end it, one that stalls not hold it up.
//!
//! Absent on purpose: an asynchronous runtime, threads, logging set-up, configuration, files. The less there is the
//! less can end it, and with it every terminal. It does not restart hung supervisors (no watchdog), and it is not
//! used under systemd, which does its work there.
//!
//! The supervisor finds in its environment `NOTIFY_SOCKET`, `SYSTEMD_EXEC_PID`, with descriptors held `LISTEN_PID`,
//! `LISTEN_FDS` and `LISTEN_FDNAMES`, and besides what systemd would set: `KAVAL_KEEPER`, the keeper's pid, and
//! `KAVAL_NOFILE`, the soft limit on descriptors the keeper was started with (a number or `unlimited`), which is the
//! one its own children should get, `KAVAL_PROGRAM`, the file that an upgrade starts, unless it is the first `KAVAL_PREVIOUS_END`, how the
//! one before it ended, and after an upgrade that was undone, until one succeeds, `KAVAL_UPGRADE_UNDONE`, why.

mod backoff;
mod image;
mod launch;
mod message;
mod signals;
mod socket;
mod store;
mod sys;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getrlimit, kill_process, set_child_subreaper, setrlimit,
    wait,
};
use thiserror::Error;

use crate::fdstore;
use backoff::{Death, Ended, History, Situation, Verdict, decide};
use image::{Compared, Images, Start};
use launch::{EXIT_NOT_STARTED, Launch};
use message::{Change, Message, Upgrade};
use signals::{Signals, forward, stop_among};
use socket::{Datagram, NotifySocket};
use store::{Name, Store};

/// Messages read in one go before the keeper looks at its signals again. More than a queue holds
/// (`net.unix.max_dgram_qlen`, 10 to 512), so that a dead supervisor's messages are all among them even while
/// somebody else floods the socket.
const MESSAGES_IN_ONE_GO_MAX: usize = 65_536;

/// Tells a supervisor that a keeper started it: the keeper's process id.
pub const KEEPER_VARIABLE: &str = "KAVAL_KEEPER";

/// The most that a supervisor may ask for at a time.
const EXTEND_MAX: Duration = Duration::from_secs(3600);

/// How long an upgrade may take to become ready before it is undone, unless it asks for more time.
pub const TRIAL_MAX: Duration = Duration::from_secs(60);

/// Why the keeper could not begin. Once it has, nothing but its supervisor's end and a signal ends it.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The command is empty.
    #[error("keeper was given no command to run")]
    NoCommand,
    /// It forks, which only a process with one thread may do and go on.
    #[error("keeper must start with a single thread, and there are {0}")]
    Threads(usize),
    /// `/proc/self/task` cannot be read.
    #[error("keeper cannot count its threads")]
    CountThreads(#[source] io::Error),
    /// Orphaned children cannot be made its own.
    #[error("keeper cannot become a subreaper")]
    Subreaper(#[source] io::Error),
    /// Signal handlers cannot be installed.
    #[error("keeper cannot handle signals")]
    Signals(#[source] io::Error),
    /// The notify socket cannot be bound.
    #[error("keeper cannot bind its notify socket")]
    Socket(#[source] io::Error),
}

/// Runs `command` (the program, then its arguments) as the supervisor, and again whenever it dies, until it is done
/// or a signal asks for the end; returns the exit code to end with, which is the last supervisor's (128 + signal if a
/// signal ended it, or if one ended the keeper between two supervisors).
///
/// An upgrade that is not ready within `trial_max`, or what it asks for beyond that, is undone; see [`TRIAL_MAX`].
///
/// To be called while the process has one thread. It takes over the process: signal handlers, children, limits.
/// Needs Linux 5.9.
///
/// # Errors
/// [`KeeperError`], all before the first supervisor is started.
pub fn run(command: &[OsString], trial_max: Duration) -> Result<ExitCode, KeeperError> {
    let (program, arguments) = command.split_first().ok_or(KeeperError::NoCommand)?;
    require_single_thread()?;
    set_child_subreaper(Some(getpid())).map_err(|errno| KeeperError::Subreaper(errno.into()))?;
    let mut keeper = Keeper::new(program, arguments, trial_max)?;
    loop {
        if let Some(code) = keeper.turn() {
            return Ok(ExitCode::from(code));
        }
    }
}

fn require_single_thread() -> Result<(), KeeperError> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(KeeperError::CountThreads)?;
    match tasks.count() {
        1 => Ok(()),
        threads => Err(KeeperError::Threads(threads)),
    }
}

/// Writes one line to stderr if that can be done without waiting; whatever becomes of it.
fn say(line: fmt::Arguments<'_>) {
    let stderr = io::stderr();
    let now = Timespec::default();
    let has_room = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&now)) == Ok(1);
    if has_room {
        let line = format!("kaval keeper: {line}\n");
        let _ = stderr.lock().write_all(line.as_bytes());
    }
}

struct Keeper<'a> {
    images: Images<OwnedFd>,
    arguments: &'a [OsString],
    trial_max: Duration,
    limit: Rlimit,
    signals: Signals,
    socket: NotifySocket,
    store: Store<OwnedFd>,
    history: History,
    /// The last supervisor that died, and how.
    previous: Option<(Pid, Ended)>,
    /// The signal that asked for the end.
    stop: Option<i32>,
    supervisor: Supervisor,
    /// It was ended for not being ready in time.
    overdue: bool,
}

#[derive(Clone, Copy)]
enum Supervisor {
    /// It runs, or its death was not noticed yet.
    Running {
        pid: Pid,
        since: Instant,
        ready: bool,
        /// It is on trial, and is ended if it is not ready by then.
        trial: Option<Instant>,
    },
    /// The next one is started then.
    Due { at: Instant },
}

impl Supervisor {
    fn is(&self, process: Pid) -> bool {
        matches!(self, Self::Running { pid, .. } if *pid == process)
    }

    /// Its process, if it is ready only now.
    fn note_ready(&mut self) -> Option<Pid> {
        match self {
            Self::Running { pid, ready: ready @ false, trial, .. } => {
                (*ready, *trial) = (true, None);
                Some(*pid)
            }
            Self::Running { .. } | Self::Due { .. } => None,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self, Self::Running { ready: true, .. })
    }

    /// Puts the end of a trial off.
    fn extend(&mut self, until: Instant) {
        if let Self::Running { trial: Some(trial), .. } = self {
            *trial = until.max(*trial);
        }
    }
}

impl<'a> Keeper<'a> {
    fn new(program: &OsStr, arguments: &'a [OsString], trial_max: Duration) -> Result<Self, KeeperError> {
        // First of all: their numbers may not be taken by anything else.
        let store = store_of_inherited();
        Ok(Self {
            images: Images::new(program.to_owned()),
            arguments,
            trial_max,
            limit: raise_descriptor_limit(),
            signals: Signals::new().map_err(KeeperError::Signals)?,
            socket: NotifySocket::bind().map_err(KeeperError::Socket)?,
            store,
            history: History::default(),
            previous: None,
            stop: None,
            supervisor: Supervisor::Due { at: Instant::now() },
            overdue: false,
        })
    }

    /// Waits for something to happen and acts on it; the exit code when it was the end.
    fn turn(&mut self) -> Option<u8> {
        self.wait_for_event();
        let arrived = self.signals.take();
        self.stop = self.stop.or(stop_among(&arrived));
        let dead = self.reap();
        // After the reaping, so that all the dead one sent is read; before the verdict, so that it counts.
        self.drain_socket(dead.is_none());
        if let Some(code) = dead.and_then(|ended| self.bury(ended)) {
            return Some(code);
        }
        self.end_overdue_trial();
        match (self.supervisor, self.stop) {
            (Supervisor::Running { pid, .. }, _) => forward(&arrived, pid),
            (Supervisor::Due { .. }, Some(signal)) => return Some(Ended::Signalled(signal).code()),
            (Supervisor::Due { at }, None) if at <= Instant::now() => return self.start(),
            (Supervisor::Due { .. }, None) => {}
        }
        None
    }

    fn wait_for_event(&self) {
        let until = match self.supervisor {
            Supervisor::Running { trial, .. } => trial,
            Supervisor::Due { at } => Some(at),
        };
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut sources = [self.signals.poll_fd(), PollFd::new(&self.socket, PollFlags::IN)];
        // An error is an interruption, or passes: every source is looked at in any case.
        let _ = poll(&mut sources, timeout.as_ref());
    }

    fn start(&mut self) -> Option<u8> {
        let compared = compare(self.images.program(), self.images.proven());
        let begun = self.images.begin(compared).clone();
        let program = self.images.program();
        let (image, program, undone) = match &begun {
            Start::Program => (program.to_owned(), program, self.images.undone()),
            Start::Candidate(path) => (path.clone(), path.as_os_str(), None),
            Start::Proven => (path_of(self.images.proven()), program, self.images.undone()),
        };
        let launch = Launch {
            image: &image,
            program,
            arguments: self.arguments,
            undone,
            notify_address: self.socket.address(),
            limit: self.limit,
            handled: self.signals.handled(),
            store: &self.store,
            previous: self.previous,
        };
        let since = Instant::now();
        match launch.start() {
            Ok(pid) => {
                let trial = self.images.on_trial().then(|| since + self.trial_max);
                self.supervisor = Supervisor::Running { pid, since, ready: false, trial };
                None
            }
            Err(error) => {
                let ended = Ended::Exited(EXIT_NOT_STARTED);
                let death = Death { ended, ready: false, lived: Duration::ZERO };
                self.after(&death, "supervisor", &format!("could not be forked ({error})"))
            }
        }
    }

    /// Takes the status of every dead child; returns that of the supervisor if it is among them.
    fn reap(&self) -> Option<Ended> {
        let mut dead = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if self.supervisor.is(pid) {
                dead = Some(how_it_ended(status));
            }
        }
        dead
    }

    /// Acts on every message that is queued now.
    fn drain_socket(&mut self, alive: bool) {
        for _ in 0..MESSAGES_IN_ONE_GO_MAX {
            match self.socket.receive() {
                Ok(Some(datagram)) => self.take(datagram, alive),
                Ok(None) => return,
                Err(error) => return say(format_args!("notify socket cannot be read: {error}")),
            }
        }
    }

    /// One that is not `alive` is reaped: its pid may be another's.
    fn take(&mut self, datagram: Datagram, alive: bool) {
        if !datagram.sender.is_some_and(|sender| self.supervisor.is(sender)) {
            return;
        }
        if datagram.truncated {
            return say(format_args!("refused a message that came in cut short"));
        }
        match Message::parse(&datagram.text) {
            Message::Barrier => drop(datagram.fds),
            Message::Notice { ready, change, extend, upgrade } => {
                if let Some(pid) = ready.then(|| self.supervisor.note_ready()).flatten() {
                    self.images.became_ready(alive.then(|| image_of(pid)).flatten());
                }
                if let Some(extend) = extend {
                    self.supervisor.extend(Instant::now() + extend.min(EXTEND_MAX));
                }
                if let Some(Upgrade { binary }) = upgrade.filter(|_| self.supervisor.is_ready()) {
                    self.images.ask(binary);
                }
                if let Some(change) = change {
                    self.apply(change, datagram.fds);
                }
            }
        }
    }

    fn apply(&mut self, change: Change, fds: Vec<OwnedFd>) {
        match change {
            Change::Add(name) => self.add(&name, fds),
            Change::Remove(name) => self.store.remove(&name),
            Change::BadName(name) => say(format_args!("refused a descriptor with the bad name {name:?}")),
        }
    }

    fn add(&mut self, name: &Name, fds: Vec<OwnedFd>) {
        let results = fds.into_iter().map(|fd| self.store.add(name, fd));
        let refused = results.filter(Result::is_err).count();
        if refused > 0 {
            let held = self.store.len();
            say(format_args!("refused {refused} descriptors named {name}: no room for more names than of {held}"));
        }
    }

    /// A supervisor that hangs before it is ready would keep its terminals from everybody.
    fn end_overdue_trial(&mut self) {
        if let Supervisor::Running { pid, trial, .. } = &mut self.supervisor
            && trial.is_some_and(|until| until <= Instant::now())
        {
            *trial = None;
            let _ = kill_process(*pid, Signal::KILL);
            self.overdue = true;
        }
    }

    fn bury(&mut self, ended: Ended) -> Option<u8> {
        let Supervisor::Running { pid, since, ready, .. } = self.supervisor else {
            return None;
        };
        self.previous = Some((pid, ended));
        let death = Death { ended, ready, lived: since.elapsed() };
        let how = match std::mem::take(&mut self.overdue) {
            true => format!("was not ready within {:.0?} and was ended", death.lived),
            false if ready => ended.to_string(),
            false => format!("{ended} before it was ready"),
        };
        self.after(&death, &format!("supervisor (pid {pid})"), &how)
    }

    fn after(&mut self, death: &Death, who: &str, how: &str) -> Option<u8> {
        let expected = self.images.ended(death.ready, how);
        if !expected {
            self.history = self.history.with(death);
        }
        let situation = Situation { stopping: self.stop.is_some(), terminal_held: self.store.holds_terminal(), expected };
        let verdict = decide(self.history, death, situation);
        say(format_args!("{who} {how} with {} descriptors held; {verdict}", self.store.len()));
        match verdict {
            Verdict::End { code } => Some(code),
            Verdict::Restart { after } => {
                self.supervisor = Supervisor::Due { at: Instant::now() + after };
                None
            }
        }
    }
}

/// What the keeper was started with itself: a socket to listen on, from a service manager that keeps nothing.
fn store_of_inherited() -> Store<OwnedFd> {
    let mut store = Store::new();
    match fdstore::take_inherited() {
        Ok(inherited) => inherited.into_iter().for_each(|(name, fd)| {
            let name = Name::new(&name).unwrap_or_else(Name::unnamed);
            if store.add(&name, fd).is_err() {
                say(format_args!("there is no room for the inherited descriptor {name}"));
            }
        }),
        Err(error) => say(format_args!("{error}")),
    }
    store
}

/// What a process was started from, to be started again whatever becomes of the file.
fn image_of(process: Pid) -> Option<OwnedFd> {
    match open(format!("/proc/{process}/exe"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(image) => Some(image),
        // It has died since.
        Err(Errno::NOENT) => None,
        Err(errno) => {
            say(format_args!("supervisor's image cannot be kept, an upgrade cannot be undone: {errno}"));
            None
        }
    }
}

/// Where an image can be executed. The keeper's entry, not the child's own: there its number is given to something else.
fn path_of(image: Option<&OwnedFd>) -> OsString {
    let number = image.map(AsRawFd::as_raw_fd).unwrap_or_default();
    format!("/proc/{}/fd/{number}", std::process::id()).into()
}

/// A program that is looked for on `PATH` is taken to be what it was.
fn compare(program: &OsStr, proven: Option<&OwnedFd>) -> Compared {
    let Some(proven) = proven.filter(|_| Path::new(program).is_absolute()) else { return Compared::Same };
    match (stat(program), fstat(proven)) {
        (Ok(there), Ok(known)) if (there.st_dev, there.st_ino) == (known.st_dev, known.st_ino) => Compared::Same,
        (Ok(_), Ok(_)) => Compared::Other,
        (Err(_), _) => Compared::Gone,
        (Ok(_), Err(_)) => Compared::Same,
    }
}

/// Raises the soft limit on descriptors to the hard one; returns what it was.
fn raise_descriptor_limit() -> Rlimit {
    let original = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: original.maximum, maximum: original.maximum };
    if let Err(errno) = setrlimit(Resource::Nofile, raised) {
        say(format_args!("limit on descriptors cannot be raised: {errno}"));
    }
    original
}

fn how_it_ended(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Ended::Signalled(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_run_is_refused() {
        assert!(matches!(run(&[], TRIAL_MAX), Err(KeeperError::NoCommand)));
    }

    #[test]
    fn more_time_is_given_to_a_trial_and_never_taken() {
        let now = Instant::now();
        let (pid, soon, later) = (Pid::INIT, now + Duration::from_secs(1), now + Duration::from_secs(2));
        let trial = |supervisor: &Supervisor| match supervisor {
            Supervisor::Running { trial, .. } => *trial,
            Supervisor::Due { .. } => None,
        };
        let mut supervisor = Supervisor::Running { pid, since: now, ready: false, trial: Some(soon) };
        supervisor.extend(later);
        assert_eq!(trial(&supervisor), Some(later));
        supervisor.extend(soon);
        assert_eq!(trial(&supervisor), Some(later));
        assert_eq!((supervisor.note_ready(), supervisor.note_ready()), (Some(pid), None));
        supervisor.extend(later);
        assert_eq!(trial(&supervisor), None);
    }

    #[test]
    fn process_with_threads_is_refused() {
        let command = ["true".into()];
        let here = std::thread::scope(|scope| scope.spawn(|| run(&command, TRIAL_MAX)).join().unwrap());
        assert!(matches!(here, Err(KeeperError::Threads(2..))));
    }
}
