//! Signs of life for the service manager, from a thread of their own.
//!
//! ```text
//!   coming up ── every 10 s, for a quarter of an hour at most ──► EXTEND_TIMEOUT_USEC
//!   ready ────── four times in WATCHDOG_USEC, while all come round ──► WATCHDOG=1
//! ```
//!
//! **Invariants.** Not one sign while an arbiter stands still for half of that time, or the log thread is in one pass for four times of it:
//! a disk may be slow, and a restart would not make it faster. What stands still is named in the log, once.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use kaval_actors::{log::stats::Stats, registry::Pulse};

use crate::fdstore::{FdStore, FdStoreError};

/// How much longer the manager is asked to wait for readiness, and how often.
const EXTENSION: Duration = Duration::from_secs(30);
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// Longest that coming up is waited for.
const EXTEND_MAX: Duration = Duration::from_secs(15 * 60);

/// What has to come round.
pub(super) struct Watched {
    /// The arbiters' pulses.
    pub(super) pulses: Vec<Arc<Pulse>>,
    /// The log thread's figures.
    pub(super) log: Arc<Stats>,
}

impl Watched {
    /// What stands still, if anything does, where the manager's patience is `limit`.
    fn stuck(&self, limit: Duration) -> Option<String> {
        let late = self.pulses.iter().find(|pulse| pulse.late() > limit / 2);
        let arbiter = late.map(|pulse| pulse.name().to_owned());
        arbiter.or_else(|| (self.log.busy_for() > limit * 4).then(|| "the log thread".to_owned()))
    }
}

/// Gives signs of life until dropped.
pub(super) struct Watchdog {
    ready: mpsc::Sender<Watched>,
}

impl Watchdog {
    /// Asks for patience until [`Watchdog::ready`].
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn start(store: FdStore) -> io::Result<Self> {
        let (ready, coming) = mpsc::channel();
        let patience = sd_notify::watchdog_enabled();
        thread::Builder::new().name("kaval-watchdog".into()).spawn(move || {
            if let (Some(watched), Some(patience)) = (come_up(&store, &coming), patience) {
                watch(&store, &watched, patience, &coming);
            }
        })?;
        Ok(Self { ready })
    }

    /// From now on the manager hears whether everything comes round.
    pub(super) fn ready(&self, watched: Watched) {
        let _ = self.ready.send(watched);
    }
}

/// Until the supervisor is ready, or gone.
fn come_up(store: &FdStore, coming: &mpsc::Receiver<Watched>) -> Option<Watched> {
    let begun = Instant::now();
    loop {
        match coming.recv_timeout(EXTEND_EVERY) {
            Ok(watched) => return Some(watched),
            Err(RecvTimeoutError::Timeout) if begun.elapsed() < EXTEND_MAX => tell(store.extend_timeout(EXTENSION)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Until the supervisor is gone.
fn watch(store: &FdStore, watched: &Watched, patience: Duration, until_gone: &mpsc::Receiver<Watched>) {
    let mut was_stuck = false;
    loop {
        let stuck = watched.stuck(patience);
        match &stuck {
            None => tell(store.watchdog()),
            Some(what) if !was_stuck => tracing::error!(what, "stands still: the service manager hears no sign of life"),
            Some(_) => {}
        }
        was_stuck = stuck.is_some();
        if let Err(RecvTimeoutError::Disconnected) = until_gone.recv_timeout(patience / 4) {
            return;
        }
    }
}

fn tell(told: Result<(), FdStoreError>) {
    if let Err(error) = told {
        tracing::warn!(error = &error as &dyn std::error::Error, "the service manager was not told");
    }
}
