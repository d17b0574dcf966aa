//! How near to its limit memory is. Pure.

use std::fmt;

/// See the module's head. Each includes what the one before asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// There is room.
    #[default]
    Normal,
    /// Freed memory is given back now, and fewer mirrors stay.
    Elevated,
    /// No mirror stays that is not in use, and the log's database starts over with an empty cache.
    High,
    /// Nothing new is taken on.
    Critical,
}

/// Each level begins at so many percent of the limit, and ends [`SLACK`] below.
const BEGINS: [(Level, u64); 3] = [(Level::Critical, 90), (Level::High, 80), (Level::Elevated, 70)];
const SLACK: u64 = 3;

impl Level {
    /// The level where `used` bytes of `limit` are, after `before`.
    pub(super) fn of(used: u64, limit: u64, before: Self) -> Self {
        let percent = used.saturating_mul(100) / limit.max(1);
        let holds = |(level, begins): &(Self, u64)| percent >= if *level <= before { begins - SLACK } else { *begins };
        BEGINS.iter().find(|begins| holds(begins)).map_or(Self::Normal, |(level, _)| *level)
    }

    /// Of `bytes` that mirrors may take by the configuration, how many they may take now.
    pub(super) fn mirrors(self, bytes: u64) -> u64 {
        match self {
            Self::Normal => bytes,
            Self::Elevated => bytes / 4,
            Self::High | Self::Critical => 0,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Elevated => "elevated",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Level; 4] = [Level::Normal, Level::Elevated, Level::High, Level::Critical];

    #[test]
    fn levels_begin_and_end_where_they_are_said_to() {
        let after = |before: Level, percents: &[u64]| {
            percents.iter().fold(before, |level, percent| Level::of(percent * 10, 1000, level))
        };
        assert_eq!(after(Level::Normal, &[69]), Level::Normal);
        assert_eq!(after(Level::Normal, &[70, 67]), Level::Elevated);
        assert_eq!(after(Level::Normal, &[70, 66]), Level::Normal);
        assert_eq!(after(Level::Normal, &[95, 87]), Level::Critical);
        assert_eq!(after(Level::Normal, &[95, 86]), Level::High);
        assert_eq!(after(Level::Critical, &[10]), Level::Normal);
    }

    proptest! {
        /// A figure that wavers by less than the slack changes the level once at most.
        #[test]
        fn a_figure_that_wavers_does_not_flap(middle in 0u64..1200, steps in prop::collection::vec(-14i64..=14, 0..50)) {
            let mut level = Level::of(middle, 1000, Level::Normal);
            let mut changes = 0;
            for step in steps {
                let now = Level::of(middle.saturating_add_signed(step), 1000, level);
                changes += usize::from(now != level);
                level = now;
            }
            prop_assert!(changes <= 1, "{changes}");
        }

        #[test]
        fn more_is_never_a_lower_level(used in 0u64..1500, more in 0u64..500, before in 0usize..4) {
            let before = ALL[before];
            prop_assert!(Level::of(used, 1000, before) <= Level::of(used + more, 1000, before));
        }
    }
}
