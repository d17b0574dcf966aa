//! What time it is for what is removed by its age. The clock on the wall and the one that never jumps in, a time out: pure, but for
//! [`since_boot`].
//!
//! **Invariant.** A wall clock that leaps ahead makes nothing old at once: it is believed once it has stood so for
//! [`BELIEVED_AFTER`]. One that goes back is believed at once, since that removes less; what is bounded by bytes stays so
//! whatever the time is.

use std::time::Duration;

/// How far the wall clock may run ahead of the one that never jumps while kaval runs: a clock that is set right now and then.
const AHEAD_MAX: Duration = Duration::from_secs(3600);
/// How far it may be ahead of when kaval ran last: the machine was off.
const AWAY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a clock that leapt ahead is not believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The time that is believed, nanoseconds since the Unix epoch, and when the clock that never jumps was how far.
    believed_ns: u64,
    at: Duration,
    /// Since when the wall clock has been ahead.
    ahead_since: Option<Duration>,
    ahead_max: Duration,
}

impl Clock {
    /// One that last was believed when it was `last_ns`, if ever, by a clock that never jumps and now is at `at`.
    pub(crate) fn new(last_ns: Option<u64>, at: Duration) -> Self {
        Self { believed_ns: last_ns.unwrap_or(u64::MAX), at, ahead_since: None, ahead_max: AWAY_MAX }
    }

    /// The time to go by, while the wall clock says `wall_ns`.
    pub(crate) fn now(&mut self, wall_ns: u64, at: Duration) -> u64 {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let expected = self.believed_ns.saturating_add(nanos(at.saturating_sub(self.at)));
        let ahead = wall_ns > expected.saturating_add(nanos(self.ahead_max));
        let since = ahead.then(|| *self.ahead_since.get_or_insert(at));
        if since.is_some_and(|since| at.saturating_sub(since) < BELIEVED_AFTER) {
            return expected;
        }
        *self = Self { believed_ns: wall_ns, at, ahead_since: None, ahead_max: AHEAD_MAX };
        wall_ns
    }

    /// Whether the wall clock is not believed.
    pub(crate) fn is_doubted(&self) -> bool {
        self.ahead_since.is_some()
    }
}

/// How long the machine has run, suspended or not: a clock that nobody sets.
pub(crate) fn since_boot() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    const NOW: u64 = 500_000 * HOUR;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn a_clock_that_goes_on_or_back_is_believed() {
        let mut clock = Clock::new(None, hours(5));
        assert_eq!(clock.now(NOW, hours(5)), NOW);
        assert_eq!(clock.now(NOW + 100 * HOUR, hours(105)), NOW + 100 * HOUR);
        assert_eq!(clock.now(NOW - 900 * HOUR, hours(105)), NOW - 900 * HOUR);
        assert_eq!(clock.now(7, hours(106)), 7);
        assert!(!clock.is_doubted());
    }

    #[test]
    fn a_clock_that_leaps_ahead_is_believed_a_day_later() {
        let mut clock = Clock::new(None, hours(0));
        clock.now(NOW, hours(0));
        let far = NOW + 90_000 * HOUR;
        assert_eq!(clock.now(far, hours(1)), NOW + HOUR);
        assert!(clock.is_doubted());
        assert_eq!(clock.now(far + 23 * HOUR, hours(24)), NOW + 24 * HOUR);
        assert_eq!(clock.now(far + 24 * HOUR, hours(25)), far + 24 * HOUR);
        assert!(!clock.is_doubted());
    }

    #[test]
    fn one_that_comes_back_from_its_leap_is_not_held_to_it() {
        let mut clock = Clock::new(None, hours(0));
        clock.now(NOW, hours(0));
        clock.now(NOW + 90_000 * HOUR, hours(1));
        assert_eq!(clock.now(NOW + 2 * HOUR, hours(2)), NOW + 2 * HOUR);
        assert_eq!(clock.now(NOW + 90_000 * HOUR, hours(20)), NOW + 20 * HOUR);
        assert_eq!(clock.now(NOW + 90_005 * HOUR, hours(25)), NOW + 25 * HOUR);
    }

    #[test]
    fn a_machine_that_was_off_for_a_month_is_believed_and_one_that_was_for_years_is_not_at_once() {
        assert_eq!(Clock::new(Some(NOW), hours(0)).now(NOW + 700 * HOUR, hours(0)), NOW + 700 * HOUR);
        assert_eq!(Clock::new(Some(NOW), hours(0)).now(NOW + 90_000 * HOUR, hours(0)), NOW);
    }
}
