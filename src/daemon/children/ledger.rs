//! The processor time that each terminal's processes have used, which never falls. Pure.
//!
//! **Invariant.** What was counted stays counted: where the sum over the processes there are falls, since one has ended whose time
//! nobody inherited, the count goes on from where it was.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kaval_actors::TermId;

#[derive(Debug, Clone, Copy)]
struct Account {
    /// What was seen last.
    seen: Duration,
    total: Duration,
    at: Instant,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<TermId, Account>);

impl Ledger {
    /// Takes in what a terminal's processes have used by now: what was counted in all, and the share of a processor since the last time.
    pub(super) fn enter(&mut self, id: TermId, seen: Duration, at: Instant) -> (Duration, f64) {
        let Some(account) = self.0.get_mut(&id) else {
            self.0.insert(id, Account { seen, total: seen, at });
            return (seen, 0.0);
        };
        let more = seen.saturating_sub(account.seen);
        let elapsed = at.saturating_duration_since(account.at).as_secs_f64();
        *account = Account { seen, total: account.total + more, at };
        let share = if elapsed > 0.0 { more.as_secs_f64() / elapsed } else { 0.0 };
        (account.total, share)
    }

    /// What was counted of a terminal that has no process any more.
    pub(super) fn last(&self, id: TermId) -> Duration {
        self.0.get(&id).map_or(Duration::ZERO, |account| account.total)
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, is_known: impl Fn(TermId) -> bool) {
        self.0.retain(|id, _| is_known(*id));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sum_that_falls_takes_nothing_back_and_the_share_is_of_the_time_between() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let mut enter =
            |seen: u64, at: u64| ledger.enter(TermId(1), Duration::from_secs(seen), start + Duration::from_secs(at));
        assert_eq!(enter(5, 0), (Duration::from_secs(5), 0.0));
        assert_eq!(enter(7, 4), (Duration::from_secs(7), 0.5));
        assert_eq!(enter(1, 8), (Duration::from_secs(7), 0.0));
        assert_eq!(enter(3, 12), (Duration::from_secs(9), 0.5));
        ledger.keep(|_| false);
        assert_eq!(ledger.last(TermId(1)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_count_never_falls_and_is_never_more_than_what_was_seen_to_rise(sums in prop::collection::vec(0u64..1000, 1..60)) {
            let (mut ledger, start, mut before, mut rises, mut last) = (Ledger::default(), Instant::now(), Duration::ZERO, 0, 0);
            for (n, seen) in sums.into_iter().enumerate() {
                let at = start + Duration::from_secs(n as u64);
                let (total, share) = ledger.enter(TermId(1), Duration::from_millis(seen), at);
                rises += seen.saturating_sub(last);
                last = seen;
                prop_assert!(total >= before && share >= 0.0);
                prop_assert_eq!(total, Duration::from_millis(rises));
                before = total;
            }
        }
    }
}
