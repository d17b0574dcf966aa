//! When the mirror of a terminal that nobody needs is dropped.
//!
//! ```text
//!   used ──► idle for as long as it takes, with no client ──► hibernated ──► output ──► awake, and used
//!                             ▲                                                │
//!                             └── twice as long, if it had slept for less than ten times that; else as long as is set
//! ```
//!
//! **Invariants.** One timer while it is awake and nobody watches, none while it sleeps. However output comes, in any time it falls asleep
//! at most once for every eleven times what is set, and a few times more: a checkpoint on disk is worth 2–4 KB, and a clock that
//! ticks a little slower than what is set would have one written at every tick.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, SpawnHandle};

use super::Terminal;
use crate::log::journal::JournalError;

/// A sleep that lasted so many times what falling asleep took was worth it.
const WORTH: u32 = 10;
/// Idle time doubles at most so often.
const DOUBLINGS_MAX: u32 = 6;
/// How long until it is tried again where the journal had no room for a checkpoint.
const RETRY: Duration = Duration::from_secs(5);

/// How long a terminal has to be idle, by how it slept before. Pure.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    doublings: u32,
    /// Since when it sleeps, if it does, and how long it had been idle for that.
    asleep: Option<(Instant, Duration)>,
}

impl Rhythm {
    const fn new() -> Self {
        Self { doublings: 0, asleep: None }
    }

    /// How long it has to be idle where `set` is set.
    fn takes(&self, set: Duration) -> Duration {
        set.saturating_mul(1 << self.doublings)
    }

    fn slept(&mut self, now: Instant, set: Duration) {
        self.asleep = Some((now, self.takes(set)));
    }

    fn woken_by_output(&mut self, now: Instant) {
        if let Some((since, took)) = self.asleep.take() {
            let was_worth_it = now.saturating_duration_since(since) >= took.saturating_mul(WORTH);
            self.doublings = if was_worth_it { 0 } else { (self.doublings + 1).min(DOUBLINGS_MAX) };
        }
    }
}

/// See the module's head.
pub(super) struct Drowse {
    rhythm: Rhythm,
    pub(super) used: Instant,
    timer: Option<SpawnHandle>,
}

impl Drowse {
    pub(super) fn new() -> Self {
        Self { rhythm: Rhythm::new(), used: Instant::now(), timer: None }
    }
}

impl Terminal {
    /// Notes that it is needed now.
    pub(super) fn note_used(&mut self) {
        self.drowse.used = Instant::now();
    }

    /// Notes that output, which came now, woke it.
    pub(super) fn note_woken(&mut self) {
        self.drowse.rhythm.woken_by_output(Instant::now());
    }

    /// Whether its mirror would be dropped once it was idle for long enough.
    fn may_drowse(&self) -> bool {
        self.clients.is_empty() && self.screen.is_awake() && self.phase.recorded_exit().is_none()
    }

    /// Has it looked at again once it may have been idle for long enough.
    pub(super) fn drowse(&mut self, ctx: &mut Context<Self>) {
        let Some(set) = self.lane.idle_time().filter(|_| self.drowse.timer.is_none() && self.may_drowse()) else { return };
        let left = self.drowse.rhythm.takes(set).saturating_sub(self.drowse.used.elapsed());
        self.drowse_in(left, ctx);
    }

    fn drowse_in(&mut self, left: Duration, ctx: &mut Context<Self>) {
        self.drowse.timer = Some(ctx.run_later(left, |terminal, ctx| {
            terminal.drowse.timer = None;
            terminal.look_at_use(ctx);
        }));
    }

    fn look_at_use(&mut self, ctx: &mut Context<Self>) {
        let Some(set) = self.lane.idle_time().filter(|_| self.may_drowse()) else { return };
        if self.drowse.used.elapsed() < self.drowse.rhythm.takes(set) {
            return self.drowse(ctx);
        }
        if let Err(error) = self.hibernate() {
            tracing::debug!(id = %self.id, %error, "not hibernated yet");
            self.drowse_in(RETRY, ctx);
        }
    }

    /// Forgets when it would have been looked at: what is set has changed.
    pub(super) fn drowse_anew(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.drowse.timer.take() {
            ctx.cancel_future(timer);
        }
        self.drowse(ctx);
    }

    /// Drops the mirror, once all is drawn and a checkpoint of it stands.
    pub(super) fn hibernate(&mut self) -> Result<(), JournalError> {
        let lane = self.lane.clone();
        let done = self.screen.hibernate(&mut lane.journal());
        if done.is_ok() {
            self.drowse.rhythm.slept(Instant::now(), lane.idle_time().unwrap_or_default());
        }
        self.report();
        done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SET: Duration = Duration::from_secs(30);

    /// How often a terminal falls asleep whose output comes after these gaps, and in how many seconds that is.
    fn sleeps(gaps: impl IntoIterator<Item = u64>) -> (u64, u64) {
        let (mut rhythm, mut now, start, mut sleeps) = (Rhythm::new(), Instant::now(), Instant::now(), 0);
        for gap in gaps {
            let gap = Duration::from_secs(gap);
            if gap >= rhythm.takes(SET) {
                rhythm.slept(now + rhythm.takes(SET), SET);
                sleeps += 1;
            }
            now += gap;
            rhythm.woken_by_output(now);
        }
        (sleeps, (now - start).as_secs())
    }

    proptest! {
        #[test]
        fn no_trickle_has_it_fall_asleep_often(gaps in prop::collection::vec(prop_oneof![0u64..100, 0u64..2000, 0u64..40_000], 0..400)) {
            let (sleeps, seconds) = sleeps(gaps);
            prop_assert!(sleeps <= seconds / (11 * SET.as_secs()) + u64::from(DOUBLINGS_MAX) + 1, "{sleeps} in {seconds} s");
        }
    }

    #[test]
    fn a_line_a_minute_keeps_it_awake_and_one_an_hour_lets_it_sleep() {
        assert!(sleeps([60; 1000]).0 <= 2);
        assert_eq!(sleeps([3600; 100]).0, 100);
        assert_eq!(sleeps([5; 1000]).0, 0);
    }
}
