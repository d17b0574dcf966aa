//! What to do when the supervisor has died: start it again, and how soon, or end with it.
//!
//! Pure. The rules, the first that applies:
//!
//! | the keeper was told to stop                                    | end |
//! | another is to follow: an upgrade, or what failed is put back   | restart at once |
//! | a terminal is held                                             | restart, always |
//! | the supervisor exited with 0                                   | end: it is done |
//! | no supervisor has ever said `READY=1`                          | end: it cannot start, and says why itself |
//! | [`UNREADY_DEATHS_MAX`] in a row died without saying `READY=1`  | end |
//! | otherwise                                                      | restart |
//!
//! **Invariant:** while a terminal is held and nobody asked for an end, the answer is a restart within
//! [`DELAY_MAX`].

use std::fmt;
use std::time::Duration;

/// Deaths in a row before `READY=1` after which a supervisor without terminals is given up: enough for a disk that
/// is full for a moment, few enough for its error to be the last line on the screen.
pub(super) const UNREADY_DEATHS_MAX: u32 = 5;

/// A supervisor that lived so long, and was ready, did not die of starting; the next back-off begins anew.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// The second quick death in a row waits so long, every further one twice as long; the first does not wait at all,
/// as clients are watching.
const DELAY_FIRST: Duration = Duration::from_millis(50);

/// Longest wait between two starts: a supervisor that cannot start costs next to nothing, and an operator who
/// repaired the cause need not wait long.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(5);

/// Longest wait when the dead one had been ready: its terminals were served in between, so the outage is kept
/// short.
pub(super) const DELAY_READY_MAX: Duration = Duration::from_millis(250);

const _: () = assert!(DELAY_FIRST.as_millis() <= DELAY_READY_MAX.as_millis());
const _: () = assert!(DELAY_READY_MAX.as_millis() <= DELAY_MAX.as_millis());
const _: () = assert!(DELAY_MAX.as_millis() < SETTLED_AFTER.as_millis());

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
}

impl Ended {
    /// The code a shell would report: 128 + signal for a signal.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// For the next supervisor: `exit 3`, `signal 9`.
    pub(super) fn in_two_words(self) -> String {
        match self {
            Self::Exited(code) => format!("exit {code}"),
            Self::Signalled(signal) => format!("signal {signal}"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled(signal) => write!(f, "died of signal {signal}"),
        }
    }
}

/// The end of one supervisor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    /// How it came about.
    pub(super) ended: Ended,
    /// Whether it had said `READY=1`.
    pub(super) ready: bool,
    /// From its start to its end.
    pub(super) lived: Duration,
}

/// How the keeper stands at that moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// It was told to stop.
    pub(super) stopping: bool,
    /// It holds a terminal.
    pub(super) terminal_held: bool,
    /// Another one is to follow, since that was asked for or this one was on trial.
    pub(super) expected: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start the next supervisor.
    Restart {
        /// So long from now.
        after: Duration,
    },
    /// End the keeper and drop what it holds.
    End {
        /// With this exit code.
        code: u8,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart { after: Duration::ZERO } => f.write_str("restarting"),
            Self::Restart { after } => write!(f, "restarting in {after:?}"),
            Self::End { code } => write!(f, "ending with code {code}"),
        }
    }
}

/// What is remembered of the supervisors so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    ready_once: bool,
    quick_deaths: u32,
    unready_deaths: u32,
}

impl History {
    /// The history with one more death.
    pub(super) fn with(self, death: &Death) -> Self {
        let settled = death.ready && death.lived >= SETTLED_AFTER;
        Self {
            ready_once: self.ready_once || death.ready,
            quick_deaths: if settled { 0 } else { self.quick_deaths.saturating_add(1) },
            unready_deaths: if death.ready { 0 } else { self.unready_deaths.saturating_add(1) },
        }
    }
}

/// Decides about the latest death, which `history` includes.
pub(super) fn decide(history: History, death: &Death, situation: Situation) -> Verdict {
    let done = death.ended == Ended::Exited(0);
    let hopeless = !history.ready_once || history.unready_deaths >= UNREADY_DEATHS_MAX;
    let worth_living = situation.terminal_held || !(done || hopeless);
    if situation.expected && !situation.stopping {
        Verdict::Restart { after: Duration::ZERO }
    } else if situation.stopping || !worth_living {
        let code = death.ended.code();
        Verdict::End { code }
    } else {
        let after = delay(history, death);
        Verdict::Restart { after }
    }
}

/// Doubles with every quick death in a row: of those that never became ready, where the last did not, else of all.
fn delay(history: History, death: &Death) -> Duration {
    let (deaths, max) = if death.ready { (history.quick_deaths, DELAY_READY_MAX) } else { (history.unready_deaths, DELAY_MAX) };
    match deaths {
        0 | 1 => Duration::ZERO,
        more => DELAY_FIRST.saturating_mul(2_u32.saturating_pow(more - 2)).min(max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CRASH: Ended = Ended::Signalled(9);
    const QUICK: Duration = Duration::from_millis(1);
    const EMPTY: Situation = Situation { stopping: false, terminal_held: false, expected: false };
    const HOLDING: Situation = Situation { terminal_held: true, ..EMPTY };

    fn death(ended: Ended, ready: bool, lived: Duration) -> Death {
        Death { ended, ready, lived }
    }

    /// The verdicts on one death after another.
    fn verdicts(deaths: &[Death], situation: Situation) -> Vec<Verdict> {
        let mut history = History::default();
        let mut judge = |death: &Death| {
            history = history.with(death);
            decide(history, death, situation)
        };
        deaths.iter().map(&mut judge).collect()
    }

    fn last(deaths: &[Death], situation: Situation) -> Verdict {
        *verdicts(deaths, situation).last().unwrap()
    }

    fn restart(milliseconds: u64) -> Verdict {
        Verdict::Restart { after: Duration::from_millis(milliseconds) }
    }

    #[test]
    fn stopping_ends_with_the_supervisors_code_whatever_is_held() {
        let stopping = Situation { stopping: true, terminal_held: true, expected: true };
        let exited = death(Ended::Exited(3), true, QUICK);
        assert_eq!(last(&[exited], stopping), Verdict::End { code: 3 });
        let killed = death(Ended::Signalled(15), true, QUICK);
        assert_eq!(last(&[killed], stopping), Verdict::End { code: 143 });
    }

    #[test]
    fn clean_exit_with_a_terminal_held_is_an_upgrade_and_restarts_at_once() {
        let upgrade = death(Ended::Exited(0), true, SETTLED_AFTER);
        assert_eq!(last(&[upgrade], HOLDING), restart(0));
    }

    #[test]
    fn what_is_to_be_followed_is_followed_at_once_whatever_is_held() {
        let expected = Situation { expected: true, ..EMPTY };
        for death in [death(Ended::Exited(0), true, QUICK), death(Ended::Exited(3), false, QUICK), death(CRASH, false, QUICK)] {
            assert_eq!(last(&[death], expected), restart(0), "{death:?}");
        }
    }

    #[test]
    fn clean_exit_with_no_terminal_held_ends() {
        let done = death(Ended::Exited(0), true, QUICK);
        assert_eq!(last(&[done], EMPTY), Verdict::End { code: 0 });
    }

    #[test]
    fn supervisor_that_never_became_ready_passes_its_code_through_at_once() {
        for code in [1, 2, 127] {
            let failed = death(Ended::Exited(code), false, QUICK);
            assert_eq!(last(&[failed], EMPTY), Verdict::End { code });
        }
    }

    #[test]
    fn crash_after_readiness_restarts_with_no_terminal_held() {
        assert_eq!(last(&[death(CRASH, true, QUICK)], EMPTY), restart(0));
    }

    #[test]
    fn fifth_death_in_a_row_without_readiness_gives_up() {
        let ready = death(CRASH, true, QUICK);
        let unready = death(Ended::Exited(4), false, QUICK);
        let mut deaths = vec![ready, unready, unready, unready, unready];
        assert!(matches!(last(&deaths, EMPTY), Verdict::Restart { .. }));
        deaths.push(unready);
        assert_eq!(last(&deaths, EMPTY), Verdict::End { code: 4 });
    }

    #[test]
    fn readiness_resets_the_count_of_deaths_without_it() {
        let ready = death(CRASH, true, QUICK);
        let unready = death(CRASH, false, QUICK);
        let deaths = [ready, unready, unready, unready, unready, ready, unready];
        assert!(matches!(last(&deaths, EMPTY), Verdict::Restart { .. }));
    }

    #[test]
    fn delays_double_up_to_the_limit() {
        let deaths = [death(CRASH, false, QUICK); 10];
        let expected = [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000].map(restart);
        assert_eq!(verdicts(&deaths, HOLDING), expected);
    }

    #[test]
    fn supervisor_that_was_ready_is_back_sooner() {
        let deaths = [death(CRASH, true, QUICK); 8];
        let expected = [0, 50, 100, 200, 250, 250, 250, 250].map(restart);
        assert_eq!(verdicts(&deaths, HOLDING), expected);
    }

    #[test]
    fn settled_supervisor_begins_a_new_back_off() {
        let quick = death(CRASH, true, SETTLED_AFTER - QUICK);
        let settled = death(CRASH, true, SETTLED_AFTER);
        let deaths = [quick, quick, settled, quick, quick];
        let expected = [0, 50, 0, 0, 50].map(restart);
        assert_eq!(verdicts(&deaths, HOLDING), expected);
    }

    fn any_death() -> impl Strategy<Value = Death> {
        let ended = prop_oneof![any::<u8>().prop_map(Ended::Exited), (1..=64).prop_map(Ended::Signalled)];
        (ended, any::<bool>(), 0_u64..20_000)
            .prop_map(|(ended, ready, lived_ms)| death(ended, ready, Duration::from_millis(lived_ms)))
    }

    proptest! {
        #[test]
        fn terminal_is_never_given_up_unless_stopping(deaths in prop::collection::vec(any_death(), 1..200)) {
            for verdict in verdicts(&deaths, HOLDING) {
                let soon = matches!(verdict, Verdict::Restart { after } if after <= DELAY_MAX);
                prop_assert!(soon, "{verdict:?}");
            }
        }

        #[test]
        fn stopping_always_ends(deaths in prop::collection::vec(any_death(), 1..50), terminal_held: bool) {
            let stopping = Situation { stopping: true, terminal_held, expected: false };
            let code = deaths.last().unwrap().ended.code();
            prop_assert_eq!(last(&deaths, stopping), Verdict::End { code });
        }
    }
}
