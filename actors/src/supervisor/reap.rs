//! Which terminals are hung up for having been idle, and which records of ended ones go. Pure.
//!
//! ```text
//!   active ──► idle for all but the notice ──► warned ──► idle for long enough, and warned for long enough ──► hung up
//!      ▲                                          │
//!      └──────────── output or input ◄────────────┘
//! ```
//!
//! **Invariants.** Only output and input count, not who watches. Nothing is hung up that was not warned for the whole of the notice, and was
//! idle since. What the configuration declares is left alone, running or ended: its record says that it was made. What is live, or waits to be
//! started again, is never removed.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use super::manifest::{Record, Restart, State};
use crate::{Name, TermId, registry::Removal};

/// What is reaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaping {
    /// How long a live terminal may be idle; for ever, if absent.
    pub idle_after: Option<Duration>,
    /// How long before its end those who watch are told; never more than half of that.
    pub notice: Duration,
    /// Most records of terminals that have ended.
    pub ended_max: usize,
    /// How long such a record is kept; for ever, if absent.
    pub ended_after: Option<Duration>,
    /// The names that the configuration declares.
    pub declared: BTreeSet<Name>,
}

/// What becomes of a live terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, for so long.
    Wait(Duration),
    /// Who watches is told that it will be hung up in so long.
    Warn(Duration),
    /// It is hung up.
    HangUp,
}

impl Reaping {
    /// Whether the configuration declares it: one that was made from an entry goes by the name in that, whatever it is called by now.
    fn is_declared(&self, record: &Record) -> bool {
        let name = record.declared.as_ref().map_or(&record.name, |declared| &declared.name);
        self.declared.contains(name)
    }

    /// How long a terminal may be idle, if it is one that may be hung up for that.
    pub(super) fn idle_max(&self, record: &Record) -> Option<Duration> {
        let may_end = record.state == State::Live && !record.ending && record.restart != Restart::Always;
        self.idle_after.filter(|_| may_end && !self.is_declared(record))
    }

    /// Judges one that may be idle for `idle_max`, is idle for so long, and was warned so long ago, if it was.
    pub(super) fn judge(&self, idle_max: Duration, idle: Duration, warned: Option<Duration>) -> Verdict {
        let notice = self.notice.min(idle_max / 2);
        let left = idle_max.saturating_sub(idle);
        match warned.filter(|warned| *warned <= idle) {
            Some(warned) if left.is_zero() && warned >= notice => Verdict::HangUp,
            Some(warned) => Verdict::Wait(left.max(notice.saturating_sub(warned))),
            None if left <= notice => Verdict::Warn(notice),
            None => Verdict::Wait(left - notice),
        }
    }

    /// When a terminal came to its end whose record may be removed for that.
    pub(super) fn ended_ms(&self, record: &Record) -> Option<u64> {
        record.ended_ms.filter(|_| record.has_ended() && !self.is_declared(record))
    }

    /// Those of the ended ones that go now, by when they ended and which they are, and how long until the next is too old.
    pub(super) fn surplus(&self, mut ended: Vec<(u64, TermId)>, now_ms: u64) -> (Vec<(TermId, Removal)>, Option<Duration>) {
        ended.sort_unstable_by_key(|ended| Reverse(*ended));
        let too_many = ended.split_off(self.ended_max.min(ended.len()));
        let left =
            |ended_ms: u64| Some(self.ended_after?.saturating_sub(Duration::from_millis(now_ms.saturating_sub(ended_ms))));
        let old = ended.partition_point(|(ended_ms, _)| left(*ended_ms) != Some(Duration::ZERO));
        let next = ended[..old].last().and_then(|(ended_ms, _)| left(*ended_ms));
        let cause =
            |ended_ms: u64| if left(ended_ms) == Some(Duration::ZERO) { Removal::EndedAfter } else { Removal::EndedMax };
        let going = too_many.into_iter().chain(ended.drain(old..)).map(|(ended_ms, id)| (ended_ms, id, cause(ended_ms)));
        let mut going: Vec<_> = going.collect();
        going.sort_unstable_by_key(|(ended_ms, id, _)| (*ended_ms, *id));
        (going.into_iter().map(|(_, id, cause)| (id, cause)).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        pty::{Exit, Fate},
        supervisor::manifest::Declaration,
    };

    /// How long a terminal is followed.
    const UNTIL: u64 = 600;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn reaping(idle_after: u64, notice: u64) -> Reaping {
        Reaping {
            idle_after: Some(seconds(idle_after)),
            notice: seconds(notice),
            ended_max: 3,
            ended_after: Some(seconds(100)),
            declared: BTreeSet::from(["declared".parse().unwrap()]),
        }
    }

    /// A terminal that is looked at when the verdict before said so, and at other times; when it was warned, and when hung up.
    fn live(settings: &Reaping, looks: &[u64], active: &[u64]) -> (Vec<u64>, Option<u64>) {
        let (mut warnings, mut warned, mut next) = (Vec::new(), None, 0);
        for now in 0..UNTIL {
            if now < next && !looks.contains(&now) {
                continue;
            }
            let last = active.iter().copied().filter(|at| *at <= now).max().unwrap_or(0);
            let idle_max = settings.idle_after.unwrap();
            match settings.judge(idle_max, seconds(now - last), warned.map(|at| seconds(now - at))) {
                Verdict::Wait(wait) => next = now + wait.as_secs().max(1),
                Verdict::Warn(left) => {
                    (warned, next) = (Some(now), now + left.as_secs());
                    warnings.push(now);
                }
                Verdict::HangUp => return (warnings, Some(now)),
            }
        }
        (warnings, None)
    }

    fn settings() -> impl Strategy<Value = Reaping> {
        // Whole seconds, so that half of an idle time is one.
        (1u64..60, 0u64..100).prop_map(|(half, notice)| reaping(2 * half, notice))
    }

    proptest! {
        #[test]
        fn one_is_hung_up_once_it_was_idle_and_warned_for_long_enough_and_not_later(
            settings in settings(),
            looks in prop::collection::vec(0u64..UNTIL, 0..40),
            active in prop::collection::vec(1u64..UNTIL - 200, 0..40),
        ) {
            let (warnings, end) = live(&settings, &looks, &active);
            let (idle_max, end) = (settings.idle_after.unwrap().as_secs(), end.expect("activity ends"));
            let notice = settings.notice.as_secs().min(idle_max / 2);
            let last = active.iter().copied().filter(|at| *at <= end).max().unwrap_or(0);
            let warned = *warnings.last().expect("a warning");
            prop_assert!(warned >= last && end - warned >= notice, "warned at {warned}, ended at {end}");
            prop_assert_eq!(warnings.iter().filter(|at| **at >= last).count(), 1);
            // One that is looked at whenever it was said to ends on time; a second look at once is one here a second later.
            prop_assert!(end - last >= idle_max && end - last <= idle_max + u64::from(notice == 0), "idle for {}", end - last);
        }

        #[test]
        fn one_that_is_active_often_enough_is_never_even_warned(settings in settings(), gaps in prop::collection::vec(1u64..100, 1..50)) {
            let idle_max = settings.idle_after.unwrap().as_secs();
            let quiet = idle_max - settings.notice.as_secs().min(idle_max / 2);
            let mut active = vec![0];
            prop_assume!(quiet > 1);
            for gap in gaps.iter().cycle() {
                active.push(active.last().unwrap() + (gap % quiet).max(1));
                if *active.last().unwrap() > UNTIL {
                    break;
                }
            }
            prop_assert_eq!(live(&settings, &[], &active), (vec![], None));
        }

        #[test]
        fn the_newest_that_are_not_too_old_stay(
            ended in prop::collection::btree_map(0u32..40, 0u64..300_000, 0..30),
            now in 0u64..400_000,
            max in 0usize..20,
            after in prop::option::of(0u64..300),
        ) {
            let settings = Reaping { ended_max: max, ended_after: after.map(seconds), ..reaping(1, 1) };
            let known: Vec<(u64, TermId)> = ended.iter().map(|(id, at)| (*at, TermId(*id))).collect();
            let (going, next) = settings.surplus(known.clone(), now);
            let is_old = |at: u64| after.is_some_and(|after| now.saturating_sub(at) >= after * 1000);
            let gone: BTreeMap<TermId, Removal> = going.iter().copied().collect();
            prop_assert_eq!(gone.len(), going.len());
            let stay: Vec<&(u64, TermId)> = known.iter().filter(|(_, id)| !gone.contains_key(id)).collect();
            prop_assert_eq!(stay.len(), known.iter().filter(|(at, _)| !is_old(*at)).count().min(max));
            prop_assert!(stay.iter().all(|stays| !is_old(stays.0)));
            for (at, id) in known.iter().filter(|(_, id)| gone.contains_key(id)) {
                prop_assert_eq!(gone[id], if is_old(*at) { Removal::EndedAfter } else { Removal::EndedMax });
                prop_assert!(stay.iter().all(|stays| (*at, *id) < **stays), "an older one stays");
            }
            prop_assert!(going.is_sorted_by_key(|(id, _)| (ended[&id.0], *id)), "the oldest go first");
            let oldest = stay.iter().map(|(at, _)| *at).min();
            let expected = after.and_then(|after| Some(Duration::from_millis((after * 1000).saturating_sub(now.saturating_sub(oldest?)))));
            prop_assert_eq!(next, expected);
        }
    }

    fn record(name: &str, state: State) -> Record {
        Record { state, ended_ms: Some(7), ..Record::new(TermId(1), name.parse().unwrap()) }
    }

    fn declaration(name: &str) -> Declaration {
        let (argv, env, name) = (vec![], vec![], name.parse().unwrap());
        Declaration { name, argv, cwd: None, env, size: None, restart: Restart::Never }
    }

    #[test]
    fn only_what_is_live_and_nobody_wants_back_may_be_hung_up() {
        let settings = reaping(10, 1);
        let live = record("t", State::Live);
        assert_eq!(settings.idle_max(&live), Some(seconds(10)));
        assert_eq!(settings.idle_max(&Record { restart: Restart::OnFailure, ..live.clone() }), Some(seconds(10)));
        assert_eq!(settings.idle_max(&Record { declared: Some(declaration("former")), ..live.clone() }), Some(seconds(10)));
        let fate = Fate::Ended(Exit::Code(0));
        for spared in [
            record("declared", State::Live),
            Record { declared: Some(declaration("declared")), ..live.clone() },
            Record { restart: Restart::Always, ..live.clone() },
            Record { ending: true, ..live.clone() },
            record("t", State::Creating),
            record("t", State::Restarting(fate)),
            record("t", State::Lost),
            record("t", State::from(fate)),
            record("t", State::Removing),
        ] {
            assert_eq!(settings.idle_max(&spared), None, "{spared:?}");
        }
        assert_eq!(Reaping { idle_after: None, ..settings }.idle_max(&live), None);
    }

    #[test]
    fn only_records_of_what_has_ended_may_be_removed_and_none_that_is_declared() {
        let settings = reaping(10, 1);
        let exited = State::Exited(Exit::Code(0));
        assert_eq!(settings.ended_ms(&record("t", exited)), Some(7));
        assert_eq!(settings.ended_ms(&record("t", State::Lost)), Some(7));
        assert_eq!(settings.ended_ms(&Record { ended_ms: None, ..record("t", exited) }), None);
        assert_eq!(settings.ended_ms(&Record { restart: Restart::Always, ..record("t", exited) }), Some(7));
        for kept in [State::Creating, State::Live, State::Restarting(Fate::Lost), State::Removing] {
            assert_eq!(settings.ended_ms(&record("t", kept)), None);
        }
        assert_eq!(settings.ended_ms(&record("declared", exited)), None);
        assert_eq!(settings.ended_ms(&Record { declared: Some(declaration("declared")), ..record("t", exited) }), None);
    }
}
