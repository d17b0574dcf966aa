//! What is remembered of a terminal's starts, so that it is started again when it should be, and no sooner. Pure.
//!
//! ```text
//!   came to its end ──► rest: was it a short life? how long to wait? ──► start: counted, and its seam ──► lives
//!                                                        ▲                  │ cannot be started
//!                                                        └──── stumble ◄────┘
//! ```

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::manifest::{Record, State};
use crate::{
    pty::{
        Fate,
        input::Numbered,
        restart::{SETTLED_AFTER, delay},
    },
    terminal::Seam,
};

/// See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// How often it was started again.
    pub times: u64,
    /// How many lives in a row were short, the last of them included.
    pub short_lives: u32,
    /// When its child was last started, milliseconds since the Unix epoch; 0 if that was at its creation.
    pub started_ms: u64,
    /// When it is to be started, likewise, while it waits for that.
    pub due_ms: u64,
    /// Why it could not be started the last time, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Who had sent the child before input, and their last numbers: what they send again is not for the next one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Numbered>,
    /// What comes before the output of the child started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seam: Option<Seam>,
}

impl Record {
    /// Whether it is started again after such an end. One that was asked to end is not.
    pub fn restarts_after(&self, fate: Fate) -> bool {
        !self.ending && self.restart.applies(fate)
    }

    /// Its child has come to its end, and another will follow.
    pub(super) fn rest(&mut self, fate: Fate, now_ms: u64, delay_max: Duration) {
        let started_ms = self.again.started_ms.max(self.created_ms);
        let was_short = now_ms.saturating_sub(started_ms) < SETTLED_AFTER.as_millis() as u64;
        self.again.trouble = None;
        match fate {
            Fate::Lost => self.again.due_ms = now_ms,
            Fate::Ended(_) => {
                self.again.short_lives = if was_short { self.again.short_lives.saturating_add(1) } else { 0 };
                self.wait(now_ms, delay_max);
            }
        }
    }

    /// The next child could not be started.
    pub(super) fn stumble(&mut self, trouble: &str, now_ms: u64, delay_max: Duration) {
        self.again.short_lives = self.again.short_lives.saturating_add(1);
        self.again.trouble = Some(trouble.to_owned());
        self.wait(now_ms, delay_max);
    }

    fn wait(&mut self, now_ms: u64, delay_max: Duration) {
        self.again.due_ms = now_ms + delay(self.again.short_lives, delay_max).as_millis() as u64;
    }

    /// The next child is about to be started, at the first of the directories that is there.
    pub(super) fn start(&mut self, fate: Fate, now_ms: u64) {
        let Again { times, .. } = self.again;
        let (dir, gone) = self.directory();
        self.again = Again {
            times: times + 1,
            started_ms: now_ms,
            trouble: None,
            seam: Some(Seam { at: self.offset, fate, started_ms: now_ms, times: times + 1, dir, gone }),
            ..self.again.clone()
        };
    }

    /// Where its child is started: where the one before was last, if there is such a directory, else where the first one was; and the directory
    /// that should have been.
    pub(super) fn directory(&self) -> (PathBuf, Option<PathBuf>) {
        let last_known = self.whereabouts.iter().find(|dir| dir.is_dir());
        let dir = last_known.unwrap_or(&self.cwd);
        let gone = self.whereabouts.first().filter(|wanted| *wanted != dir && !wanted.is_dir());
        (dir.clone(), gone.cloned())
    }

    /// How long it still waits to be started again: never longer than after its end, whatever the clock has done since.
    pub(super) fn remaining(&self, now_ms: u64, delay_max: Duration) -> Duration {
        let until_due = Duration::from_millis(self.again.due_ms.saturating_sub(now_ms));
        match self.state {
            State::Restarting(_) => until_due.min(delay(self.again.short_lives, delay_max)),
            State::Creating | State::Live | State::Exited(_) | State::Lost | State::Removing => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TermId,
        pty::{Exit, Restart},
    };

    const MAX: Duration = Duration::from_secs(300);
    const FAILED: Fate = Fate::Ended(Exit::Code(1));

    fn record() -> Record {
        Record { restart: Restart::Always, created_ms: 1000, offset: 7, ..Record::new(TermId(1), "t".parse().unwrap()) }
    }

    fn waits(record: &Record, now_ms: u64) -> u64 {
        let resting = Record { state: State::Restarting(FAILED), ..record.clone() };
        resting.remaining(now_ms, MAX).as_millis() as u64
    }

    #[test]
    fn short_lives_wait_ever_longer_and_a_long_one_begins_anew() {
        let (mut record, mut now_ms) = (record(), 1000);
        for expected in [1000, 2000, 4000, 8000] {
            record.rest(FAILED, now_ms, MAX);
            assert_eq!(waits(&record, now_ms), expected);
            now_ms += expected;
            assert_eq!(waits(&record, now_ms), 0);
            record.start(FAILED, now_ms);
        }
        assert_eq!(record.again.times, 4);
        record.rest(FAILED, now_ms + 10_000, MAX);
        assert_eq!((waits(&record, now_ms + 10_000), record.again.short_lives), (0, 0));
    }

    #[test]
    fn one_that_was_lost_is_started_at_once_and_one_that_cannot_be_waits() {
        let mut record = record();
        record.rest(Fate::Lost, 1000, MAX);
        assert_eq!(waits(&record, 1000), 0);
        record.stumble("command not found", 1000, MAX);
        assert_eq!((waits(&record, 1000), record.again.trouble.as_deref()), (1000, Some("command not found")));
        record.start(Fate::Lost, 2000);
        let seam = record.again.seam.unwrap();
        assert_eq!((seam.at, seam.times, seam.fate, record.again.trouble), (7, 1, Fate::Lost, None));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_wait_longer() {
        let mut record = record();
        record.rest(FAILED, 1_000_000, MAX);
        assert_eq!(waits(&record, 0), waits(&record, 1_000_000));
    }

    #[test]
    fn it_is_started_where_it_was_last_and_says_so_if_that_is_gone() {
        let mut record = record();
        assert_eq!(record.directory(), ("/".into(), None));
        record.whereabouts = vec!["/tmp".into(), "/proc".into()];
        assert_eq!(record.directory(), ("/tmp".into(), None));
        record.whereabouts = vec!["/nowhere".into(), "/proc".into()];
        assert_eq!(record.directory(), ("/proc".into(), Some("/nowhere".into())));
        record.whereabouts = vec!["/nowhere".into()];
        assert_eq!(record.directory(), ("/".into(), Some("/nowhere".into())));
    }
}
