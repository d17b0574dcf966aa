//! What the log does, for gauges: plain numbers that the log thread writes and anyone reads, at any time.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::retention::Summary;
use crate::TermId;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Stats {
    /// Output bytes logged since the start.
    pub logged_bytes: AtomicU64,
    /// Bytes of keys and values, of all logs.
    pub live_bytes: AtomicU64,
    /// Bytes of the database's files.
    pub disk_bytes: AtomicU64,
    /// Bytes free on that disk.
    pub disk_free_bytes: AtomicU64,
    /// Output bytes found missing since the start, by what kept them from the disk, in the order of [`FAULT_KINDS`].
    pub gap_bytes: [AtomicU64; FAULT_KINDS.len()],
    /// Faults by kind since the start, in the order of [`FAULT_KINDS`].
    pub faults: [AtomicU64; FAULT_KINDS.len()],
    /// Whether the log stands still.
    pub faulty: AtomicBool,
    /// Whether the store was found to be damaged, also after it was opened anew: the next start sets it aside.
    pub condemned: AtomicBool,
    logs: Mutex<BTreeMap<TermId, Summary>>,
    /// Since when the log thread has been in a pass.
    busy_since: Mutex<Option<Instant>>,
}

/// What can be wrong with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The disk is full, or nearly.
    DiskFull,
    /// The log is at its own limit, and cannot be made smaller.
    Limit,
    /// The store failed.
    Store,
    /// A journal's record does not agree with its checksum.
    Journal,
    /// The disk was too slow for what was put out.
    Stall,
}

/// What a terminal's log takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogShare {
    /// Keys and values.
    pub stored: u64,
    /// Memory, estimated: a part of what the log and its database take together.
    pub memory: u64,
}

/// The names of the kinds of fault, in the order of [`FaultKind`].
pub const FAULT_KINDS: [&str; 5] = ["disk_full", "limit", "store", "journal", "stall"];

/// The histogram of how long a pass that wrote something took until that was on disk.
pub const WRITE_DURATION: &str = "kaval_log_write_duration_seconds";

impl Stats {
    pub(super) fn logs(&self) -> MutexGuard<'_, BTreeMap<TermId, Summary>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_busy(&self, busy: bool) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = busy.then(Instant::now);
    }

    /// How long the log thread has been in the pass that it is in; zero if it is in none.
    pub fn busy_for(&self) -> Duration {
        let since = *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What each terminal's log takes.
    pub fn shares(&self) -> BTreeMap<TermId, LogShare> {
        self.logs().iter().map(|(id, log)| (*id, LogShare { stored: log.bytes, memory: log.memory })).collect()
    }

    /// The first offset of a terminal's log; `None` if there is none.
    pub fn floor(&self, id: TermId) -> Option<u64> {
        self.logs().get(&id).map(|log| log.floor)
    }

    /// The offset after the last byte of a terminal's log; `None` if there is none.
    pub fn end(&self, id: TermId) -> Option<u64> {
        self.logs().get(&id).map(|log| log.end)
    }

    pub(super) fn count_fault(&self, kind: FaultKind) {
        self.faults[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}
