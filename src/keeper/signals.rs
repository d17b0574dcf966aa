//! The signals the keeper acts on: which they are, how they arrive, and passing them on.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::sys::{self, SignalMask};

/// Handled whatever the keeper was started with. `SIGPIPE` is handled so as to do nothing here, and to be back at
/// its default in the supervisor.
const ALWAYS_HANDLED: [i32; 5] = [SIGCHLD, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE];

/// Left ignored, here and in the supervisor, if the keeper was started so (`nohup`, `&` in a script).
const HANDLED_UNLESS_IGNORED: [i32; 3] = [SIGHUP, SIGINT, SIGQUIT];

/// Passed on to the supervisor.
const FORWARDED: [i32; 6] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2];

/// Ask for the end, of the supervisor and then of the keeper.
const STOPPING: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// Handlers that write into a pipe, and its other end.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    handled: Vec<i32>,
}

impl Signals {
    /// Installs the handlers, and unblocks every signal: a blocked `SIGCHLD` would hide the supervisor's death. Meanwhile all
    /// are blocked: one that came between a handler's installation and its registration would be swallowed.
    pub(super) fn new() -> io::Result<Self> {
        sys::set_signal_mask(SignalMask::All);
        let unless_ignored = HANDLED_UNLESS_IGNORED.into_iter().filter(|signal| !sys::is_ignored(*signal));
        let handled: Vec<_> = ALWAYS_HANDLED.into_iter().chain(unless_ignored).collect();
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, &handled)?;
        sys::set_signal_mask(SignalMask::Nothing);
        Ok(Self { delivery, handled })
    }

    /// The signals that have handlers.
    pub(super) fn handled(&self) -> &[i32] {
        &self.handled
    }

    /// What came since the last call, each signal once.
    pub(super) fn take(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }

    /// To be polled: readable when something came.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.delivery.get_read(), PollFlags::IN)
    }
}

/// The first of `arrived` that asks for the end.
pub(super) fn stop_among(arrived: &[i32]) -> Option<i32> {
    arrived.iter().copied().find(|signal| STOPPING.contains(signal))
}

/// Passes on what of `arrived` is meant for the supervisor, a child that was not reaped yet.
pub(super) fn forward(arrived: &[i32], supervisor: Pid) {
    let forwarded = arrived.iter().filter(|signal| FORWARDED.contains(signal));
    for signal in forwarded.filter_map(|signal| Signal::from_named_raw(*signal)) {
        // It exists, dead or alive, and is ours: there is nothing to fail but a supervisor that changed its user.
        if let Err(errno) = kill_process(supervisor, signal) {
            super::say(format_args!("cannot pass on signal {}: {errno}", signal.as_raw()));
        }
    }
}
