//! An arbiter's pulse: a timer on it that notes how late it comes, and what the arbiter's journal holds.
//!
//! ```text
//!   beat, due every 250 ms, on the arbiter ──► lateness ──► kaval_loop_lag_seconds, and the worst of the last minute
//! ```
//!
//! **Invariants.** Written by its own thread, read by any, by plain atomics. One that does not beat at all is late by as long as it has not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::Histogram;

/// How often it beats: often enough that a pause which a person would notice is not missed.
const EVERY: Duration = Duration::from_millis(250);
/// The worst is kept for so many stretches of so many seconds: together a minute.
const STRETCHES: usize = 12;
const STRETCH: Duration = Duration::from_secs(5);

/// See the module's head.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    started: Instant,
    /// When the next beat is due, in microseconds since the start.
    due_us: AtomicU64,
    worst_us: AtomicU64,
    journal_bytes: AtomicU64,
}

/// What a [`Pulse`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneFigures {
    /// The arbiter's name.
    pub name: String,
    /// The most that a beat of the last minute was late.
    pub lag: Duration,
    /// Bytes that its journal holds.
    pub journal_bytes: u64,
}

impl Pulse {
    /// One that does not beat yet.
    pub fn new(name: impl Into<String>) -> Arc<Self> {
        let due_us = AtomicU64::new(EVERY.as_micros() as u64);
        let (worst_us, journal_bytes) = Default::default();
        Arc::new(Self { name: name.into(), started: Instant::now(), due_us, worst_us, journal_bytes })
    }

    /// Beats for ever. Runs on the arbiter, whose journal is as long as `journal` says.
    pub async fn beat(self: Arc<Self>, journal: impl Fn() -> u64) {
        let mut worst = Worst::default();
        loop {
            let due = Instant::now() + EVERY;
            self.due_us.store(due.duration_since(self.started).as_micros() as u64, Ordering::Relaxed);
            self.journal_bytes.store(journal(), Ordering::Relaxed);
            sleep_until(due).await;
            let late = due.elapsed();
            Histogram::LoopLag.record(late);
            let stretch = self.started.elapsed().as_secs() / STRETCH.as_secs();
            self.worst_us.store(worst.note(stretch, late).as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// The arbiter's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How late the next beat is by now.
    pub fn late(&self) -> Duration {
        (self.started + Duration::from_micros(self.due_us.load(Ordering::Relaxed))).elapsed()
    }

    /// What it shows now.
    pub fn figures(&self) -> LaneFigures {
        let worst = Duration::from_micros(self.worst_us.load(Ordering::Relaxed));
        let journal_bytes = self.journal_bytes.load(Ordering::Relaxed);
        LaneFigures { name: self.name.clone(), lag: worst.max(self.late()), journal_bytes }
    }
}

/// The worst of each of the last stretches.
#[derive(Debug, Default)]
struct Worst([(u64, Duration); STRETCHES]);

impl Worst {
    /// Notes one; the worst of all that are not too old.
    fn note(&mut self, stretch: u64, late: Duration) -> Duration {
        let slot = &mut self.0[stretch as usize % STRETCHES];
        *slot = if slot.0 == stretch { (stretch, slot.1.max(late)) } else { (stretch, late) };
        let recent = self.0.iter().filter(|(noted, _)| noted + STRETCHES as u64 > stretch);
        recent.map(|(_, late)| *late).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_kept_for_a_minute_and_no_longer() {
        let ms = Duration::from_millis;
        let mut worst = Worst::default();
        assert_eq!(worst.note(0, ms(3)), ms(3));
        assert_eq!(worst.note(0, ms(90)), ms(90));
        assert_eq!(worst.note(3, ms(5)), ms(90));
        assert_eq!(worst.note(11, ms(1)), ms(90));
        assert_eq!(worst.note(12, ms(1)), ms(5));
        assert_eq!(worst.note(1000, ms(0)), ms(0));
    }

    #[test]
    fn an_arbiter_that_does_not_come_round_is_seen_to_be_late() {
        let pulse = Pulse::new("lane 0");
        pulse.due_us.store(0, Ordering::Relaxed);
        while pulse.started.elapsed() < Duration::from_millis(2) {}
        assert!(pulse.figures().lag >= Duration::from_millis(2));
    }
}
