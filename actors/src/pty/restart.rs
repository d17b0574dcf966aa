//! Whether, and how soon, a child that is no more is started again. Pure.
//!
//! | came to its end so | `never` | `on-failure` | `always` |
//! |---|---|---|---|
//! | exit code 0 | | | again |
//! | another code, a signal, or nobody knows | | again | again |
//! | its PTY is gone: a reboot, say | | again | again |
//!
//! How soon: at once after a life of [`SETTLED_AFTER`], or after a loss; else [`DELAY_FIRST`], and twice as long after each further one
//! that was shorter, up to a limit. It is never given up.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Exit;

/// A child that lived so long did not end of starting: what comes next begins anew.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// How long the first of several short lives waits: long enough that what it lacked may be there, too short to be noticed.
pub const DELAY_FIRST: Duration = Duration::from_secs(1);

const _: () = assert!(DELAY_FIRST.as_millis() < SETTLED_AFTER.as_millis());

/// How a child came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// By itself, or by a signal.
    Ended(Exit),
    /// Its PTY is gone and took the end with it.
    Lost,
}

impl Fate {
    /// How it ended, as far as that is known.
    pub fn exit(self) -> Exit {
        match self {
            Self::Ended(exit) => exit,
            Self::Lost => Exit::Unknown,
        }
    }
}

/// Whether a child that came to its end is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It is not.
    #[default]
    Never,
    /// Unless it is known to have ended well.
    OnFailure,
    /// However it ended.
    Always,
}

impl Restart {
    /// Whether it is after such an end.
    pub fn applies(self, fate: Fate) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => fate != Fate::Ended(Exit::Code(0)),
            Self::Always => true,
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        })
    }
}

/// How long to wait after so many short lives in a row.
pub fn delay(short_lives: u32, delay_max: Duration) -> Duration {
    match short_lives.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => DELAY_FIRST.saturating_mul(1 << doublings.min(30)).min(delay_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_well_is_started_again_only_if_always() {
        let well = Fate::Ended(Exit::Code(0));
        let badly = [Fate::Ended(Exit::Code(1)), Fate::Ended(Exit::Signal(9)), Fate::Ended(Exit::Unknown), Fate::Lost];
        assert_eq!(
            [Restart::Never, Restart::OnFailure, Restart::Always].map(|restart| restart.applies(well)),
            [false, false, true]
        );
        for fate in badly {
            let applies = [Restart::Never, Restart::OnFailure, Restart::Always].map(|restart| restart.applies(fate));
            assert_eq!(applies, [false, true, true], "{fate:?}");
        }
    }

    #[test]
    fn short_lives_wait_ever_longer_up_to_the_limit() {
        let delays = [0, 1, 2, 3, 8, 9, 10, u32::MAX].map(|lives| delay(lives, Duration::from_secs(300)).as_secs());
        assert_eq!(delays, [0, 1, 2, 4, 128, 256, 300, 300]);
        assert_eq!(delay(1, Duration::from_millis(10)), Duration::from_millis(10));
    }
}
