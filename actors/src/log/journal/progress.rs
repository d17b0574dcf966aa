//! What a journal and the log thread tell each other, without either waiting for the other.
//!
//! ```text
//!   lane: a record is committed ── stir ──► log thread: reads on, writes, flushes ── stored ──► lane: segments below may go
//!         no room above `stored` ── urge ──►                                     ── lossy ───► lane: they may go anyway
//! ```
//!
//! **Invariant.** Plain atomics: the data path takes no lock and makes no system call, but for the one `unpark` that ends an idle
//! stretch of the log thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
    time::Duration,
};

/// Wakes the log thread, which serves all lanes.
#[derive(Debug)]
pub struct Bell {
    thread: Thread,
    stall_max: Duration,
    stirred: AtomicBool,
    urgent: AtomicBool,
}

impl Bell {
    /// One that wakes `thread`, which is given up after `stall_max` without progress.
    pub fn new(thread: Thread, stall_max: Duration) -> Self {
        Self { thread, stall_max, stirred: AtomicBool::new(false), urgent: AtomicBool::new(false) }
    }

    /// There is something to store, in due time.
    pub fn stir(&self) {
        if !self.stirred.load(Ordering::Relaxed) && !self.stirred.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }

    /// There is something to be done now.
    pub fn urge(&self) {
        self.stirred.store(true, Ordering::Release);
        if !self.urgent.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }

    /// Whether [`Bell::stir`] was called since [`Bell::take_stirred`] was.
    pub fn is_stirred(&self) -> bool {
        self.stirred.load(Ordering::Acquire)
    }

    /// Whether [`Bell::stir`] was called since the last time.
    pub fn take_stirred(&self) -> bool {
        self.stirred.swap(false, Ordering::AcqRel)
    }

    /// Whether [`Bell::urge`] was called since the last time.
    pub fn take_urgent(&self) -> bool {
        self.urgent.swap(false, Ordering::AcqRel)
    }
}

/// How far one journal is on disk.
#[derive(Debug)]
pub struct Progress {
    bell: Arc<Bell>,
    stored: AtomicU64,
    lossy: AtomicBool,
}

impl Progress {
    pub(super) fn new(bell: Arc<Bell>, floor: u64) -> Self {
        Self { bell, stored: AtomicU64::new(floor), lossy: AtomicBool::new(false) }
    }

    /// To the lane: everything before `position` is on disk, or is not meant to be.
    pub fn set_stored(&self, position: u64) {
        self.stored.store(position, Ordering::Release);
    }

    /// To the lane: the disk takes nothing for now, so segments go when room is needed; what that costs is recorded as a gap.
    pub fn set_lossy(&self, lossy: bool) {
        self.lossy.store(lossy, Ordering::Release);
    }

    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    pub(super) fn is_lossy(&self) -> bool {
        self.lossy.load(Ordering::Acquire)
    }

    /// How long a log thread that gets nowhere may hold a full journal back.
    pub(super) fn stall_max(&self) -> Duration {
        self.bell.stall_max
    }

    pub(super) fn stir(&self) {
        self.bell.stir();
    }

    pub(super) fn urge(&self) {
        self.bell.urge();
    }
}
