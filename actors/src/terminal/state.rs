//! A terminal's course from running to buried. Pure.
//!
//! ```text
//!   Running ──child ended──► Draining(exit) ──hung up, or quiet──► Drained(exit) ──buried──► Ended(exit)
//!    ▲  └──hung up──► Running, hung up: the child closed its terminal   │
//!    │                and lives on                                      │
//!    └──────────────────── resumed, with another child ─────────────────┘
//! ```

use crate::pty::Exit;

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The child runs.
    Running {
        /// Nobody has the slave end open just now.
        hung_up: bool,
    },
    /// The child has ended; its last output is being taken.
    Draining(Exit),
    /// Everything it wrote is in the journal; the supervisor is to record its end, or to start another.
    Drained(Exit),
    /// Its end is recorded.
    Ended(Exit),
}

/// What can happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    ChildEnded(Exit),
    /// The PTY is empty and nobody has its slave end open.
    HungUp,
    /// Output came.
    Output,
    /// None has come for a while although the child has ended: something else keeps the slave end open.
    Quiet,
    Buried(Exit),
    /// Another child runs, on another PTY.
    Resumed,
}

impl Phase {
    /// The phase after `happening`. The supervisor is told when this first gives `Drained`.
    pub(super) fn after(self, happening: Happening) -> Self {
        match (self, happening) {
            (Self::Running { hung_up: false }, Happening::ChildEnded(exit)) => Self::Draining(exit),
            (Self::Running { hung_up: true }, Happening::ChildEnded(exit)) => Self::Drained(exit),
            (Self::Running { .. }, Happening::HungUp) => Self::Running { hung_up: true },
            (Self::Running { .. }, Happening::Output) => Self::Running { hung_up: false },
            (Self::Draining(exit), Happening::HungUp | Happening::Quiet) => Self::Drained(exit),
            (Self::Running { .. } | Self::Draining(_) | Self::Drained(_), Happening::Buried(exit)) => Self::Ended(exit),
            (Self::Drained(_), Happening::Resumed) => Self::Running { hung_up: false },
            (Self::Running { .. }, Happening::Quiet | Happening::Resumed)
            | (Self::Draining(_), Happening::ChildEnded(_) | Happening::Output | Happening::Resumed)
            | (Self::Drained(_), Happening::ChildEnded(_) | Happening::HungUp | Happening::Output | Happening::Quiet)
            | (Self::Ended(_), _) => self,
        }
    }

    /// How the child ended, once that is recorded.
    pub(super) fn recorded_exit(self) -> Option<Exit> {
        match self {
            Self::Ended(exit) => Some(exit),
            Self::Running { .. } | Self::Draining(_) | Self::Drained(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_reported_only_once_the_output_is_drained() {
        let exit = Exit::Code(7);
        let draining = Phase::Running { hung_up: false }.after(Happening::ChildEnded(exit));
        assert_eq!(draining, Phase::Draining(exit));
        assert_eq!(draining.after(Happening::Output), draining);
        assert_eq!(draining.after(Happening::HungUp), Phase::Drained(exit));
        assert_eq!(draining.after(Happening::Quiet), Phase::Drained(exit));
    }

    #[test]
    fn a_child_that_closed_its_terminal_first_is_drained_at_its_end() {
        let closed = Phase::Running { hung_up: false }.after(Happening::HungUp);
        assert_eq!(closed.after(Happening::ChildEnded(Exit::Unknown)), Phase::Drained(Exit::Unknown));
        let opened_again = closed.after(Happening::Output);
        assert_eq!(opened_again.after(Happening::ChildEnded(Exit::Unknown)), Phase::Draining(Exit::Unknown));
    }

    #[test]
    fn one_that_is_resumed_runs_until_the_next_child_ends() {
        let again = Phase::Drained(Exit::Code(1)).after(Happening::Resumed);
        assert_eq!(again, Phase::Running { hung_up: false });
        assert_eq!(again.after(Happening::Quiet), again);
        let ended = Phase::Ended(Exit::Code(1));
        assert_eq!(ended.after(Happening::Resumed), ended);
    }

    #[test]
    fn the_first_recorded_exit_stays() {
        let ended = Phase::Drained(Exit::Code(1)).after(Happening::Buried(Exit::Code(1)));
        assert_eq!(ended.after(Happening::Buried(Exit::Code(2))).recorded_exit(), Some(Exit::Code(1)));
    }
}
