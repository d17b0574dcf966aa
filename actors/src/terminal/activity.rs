//! When a terminal last put something out or was given input: noted by its actor, read by its supervisor.
//!
//! **Invariants.** Nobody is asked: a look at thousands of terminals sends no message, and what it sees is not late. It goes by the clock that
//! never jumps, and begins with now: what was before this process is not known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// See the module's head. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Activity {
    since: Instant,
    /// Microseconds after that.
    last: Arc<AtomicU64>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { since: Instant::now(), last: Arc::default() }
    }
}

impl Activity {
    /// There was some at that time.
    pub fn note(&self, at: Instant) {
        let micros = at.saturating_duration_since(self.since).as_micros();
        self.last.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When there was some last.
    pub fn last(&self) -> Instant {
        self.since + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts_whoever_notes_it() {
        let activity = Activity::default();
        let (start, other) = (activity.last(), activity.clone());
        other.note(start + Duration::from_secs(5));
        assert_eq!(activity.last(), start + Duration::from_secs(5));
        activity.note(start);
        assert_eq!(other.last(), start + Duration::from_secs(5));
    }
}
