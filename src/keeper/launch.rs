//! Starting a supervisor: fork, put the held descriptors where `LISTEN_FDS` says they are, exec.
//!
//! ```text
//!   keeper   0 1 2 │ socket 3 │ signals 4 5 │ m1 6 │ j0 9 │ m2 11 │        (all from 3 on close on exec)
//!                                              │      │      │
//!   child    0 1 2 │ m1 3 ◄───────────────────┘      │      │
//!                  │ j0 4 ◄──────────────────────────┘      │
//!                  │ m2 5 ◄─────────────────────────────────┘    6.. closed
//! ```
//!
//! **Invariants**
//! - Descriptors go over in the order of their numbers. The i-th of distinct numbers from 3 on is at least 3 + i,
//!   so a copy never lands on one that is still to be copied, and none is needed above the keeper's limit.
//! - Signals are blocked from before the fork until the child has default actions: one that is meant for the child
//!   never ends in the handlers it was forked with.
//!
//! A fork and not a spawn, since `LISTEN_PID` is the child's own pid.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource, Rlimit, setrlimit};

use super::backoff::Ended;
use super::say;
use super::store::{NAMES_VARIABLE, Name, Store};
use super::sys::{self, Fork, SignalMask};

/// The exit code of a child that could not become the supervisor, as in a shell.
pub(super) const EXIT_NOT_STARTED: u8 = 127;

/// The first descriptor handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// Descriptors a supervisor needs besides the inherited ones before it raises its limit itself: its loader opens
/// libraries, its runtime a few more. With none left it could not even start.
const SPARE_FDS: u64 = 64;

/// How the supervisor before ended, as `PID exit CODE` or `PID signal NUMBER`.
const PREVIOUS_END_VARIABLE: &str = "KAVAL_PREVIOUS_END";

/// The file that an upgrade starts unless it names another.
const PROGRAM_VARIABLE: &str = "KAVAL_PROGRAM";

/// Why the last upgrade was undone, if it was.
const UNDONE_VARIABLE: &str = "KAVAL_UPGRADE_UNDONE";

/// Variables that the keeper may have been started with, and that say nothing true of a supervisor of its own.
const STALE: [&str; 8] = [
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    NAMES_VARIABLE,
    PREVIOUS_END_VARIABLE,
    UNDONE_VARIABLE,
];

/// What a supervisor is started with.
pub(super) struct Launch<'a> {
    /// The file that is executed.
    pub(super) image: &'a OsStr,
    /// The file that it is told to be of, and that an upgrade starts.
    pub(super) program: &'a OsStr,
    /// Its arguments, without the program.
    pub(super) arguments: &'a [OsString],
    /// Why the last upgrade was undone, if it was.
    pub(super) undone: Option<&'a str>,
    /// The value for `NOTIFY_SOCKET`.
    pub(super) notify_address: &'a str,
    /// The limit on descriptors the keeper was started with.
    pub(super) limit: Rlimit,
    /// The signals the keeper has handlers for.
    pub(super) handled: &'a [i32],
    /// What to hand over.
    pub(super) store: &'a Store<OwnedFd>,
    /// The supervisor before it, and how that ended.
    pub(super) previous: Option<(Pid, Ended)>,
}

impl Launch<'_> {
    /// Starts it; a child that cannot exec says why and exits with [`EXIT_NOT_STARTED`].
    pub(super) fn start(&self) -> io::Result<Pid> {
        sys::set_signal_mask(SignalMask::All);
        let forked = sys::fork().map(|fork| match fork {
            Fork::Child => self.become_supervisor(),
            Fork::Parent(child) => child,
        });
        sys::set_signal_mask(SignalMask::Nothing);
        forked
    }

    fn become_supervisor(&self) -> ! {
        let held = in_order_of_numbers(self.store);
        let mut command = self.environment(&held);
        let error = match self.hand_over(&held) {
            Ok(()) => command.exec(),
            Err(error) => error,
        };
        say(format_args!("cannot start {:?}: {error}", command.get_program()));
        sys::exit_now(EXIT_NOT_STARTED.into())
    }

    fn hand_over(&self, held: &[(&Name, &OwnedFd)]) -> io::Result<()> {
        for ((_, fd), to) in held.iter().zip(FIRST..) {
            place(fd, to)?;
        }
        sys::close_from(FIRST + RawFd::try_from(held.len()).map_err(io::Error::other)?)?;
        setrlimit(Resource::Nofile, startable(self.limit, held.len()))?;
        self.handled.iter().try_for_each(|signal| sys::set_default_action(*signal))?;
        sys::set_signal_mask(SignalMask::Nothing);
        Ok(())
    }

    fn environment(&self, held: &[(&Name, &OwnedFd)]) -> Command {
        let own_pid = std::process::id().to_string();
        let mut command = Command::new(self.image);
        command.arg0(self.program).args(self.arguments);
        for stale in STALE {
            command.env_remove(stale);
        }
        if let Some((pid, ended)) = self.previous {
            command.env(PREVIOUS_END_VARIABLE, format!("{pid} {}", ended.in_two_words()));
        }
        if let Some(undone) = self.undone {
            command.env(UNDONE_VARIABLE, undone);
        }
        command.env(PROGRAM_VARIABLE, self.program);
        command.env("NOTIFY_SOCKET", self.notify_address);
        command.env("SYSTEMD_EXEC_PID", &own_pid);
        command.env(super::KEEPER_VARIABLE, parent_pid());
        command.env("KAVAL_NOFILE", self.limit.current.map_or("unlimited".to_owned(), |soft| soft.to_string()));
        if !held.is_empty() {
            let names: Vec<_> = held.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_PID", &own_pid);
            command.env("LISTEN_FDS", held.len().to_string());
            command.env(NAMES_VARIABLE, names.join(":"));
        }
        command
    }
}

fn parent_pid() -> String {
    std::os::unix::process::parent_id().to_string()
}

fn in_order_of_numbers(store: &Store<OwnedFd>) -> Vec<(&Name, &OwnedFd)> {
    let mut held: Vec<_> = store.entries().collect();
    held.sort_by_key(|(_, fd)| fd.as_raw_fd());
    held
}

/// Makes number `to` a copy of `fd` that survives exec.
fn place(fd: &OwnedFd, to: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == to {
        return Ok(fcntl_setfd(fd, FdFlags::empty())?);
    }
    sys::duplicate_onto(fd.as_fd(), to)
}

/// The limit the keeper had, its soft part raised if the inherited descriptors alone would use it up.
fn startable(limit: Rlimit, held: usize) -> Rlimit {
    let needed = held as u64 + FIRST as u64 + SPARE_FDS;
    let within_hard = limit.maximum.map_or(needed, |hard| needed.min(hard));
    Rlimit { current: limit.current.map(|soft| soft.max(within_hard)), maximum: limit.maximum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(soft: u64, hard: u64) -> Rlimit {
        Rlimit { current: Some(soft), maximum: Some(hard) }
    }

    #[test]
    fn limit_is_the_original_one_until_the_inherited_descriptors_fill_it() {
        assert_eq!(startable(limit(1024, 4096), 0), limit(1024, 4096));
        assert_eq!(startable(limit(1024, 4096), 957), limit(1024, 4096));
        assert_eq!(startable(limit(1024, 4096), 958), limit(1025, 4096));
        assert_eq!(startable(limit(1024, 4096), 5000), limit(4096, 4096));
        let unlimited = Rlimit { current: None, maximum: None };
        assert_eq!(startable(unlimited, 5000), unlimited);
    }
}
