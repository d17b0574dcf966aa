//! Which executable is the next supervisor: the program's file, another one that was asked for, or the one that last became ready.
//!
//! ```text
//!                    asked for, or the program's file is another one now
//!   program's file ─────────────────────────────────────────────────────► candidate ─┬─ READY=1 ─► it is the program's file now
//!        ▲  │ not ready                                                              │
//!        │  ▼                                                                        └─ ended, or too late ─┐
//!   the proven image  ◄─────────────────────────────────────────────────────────────────── undone, and why ◄┘
//! ```
//!
//! Pure: generic over what holds an image, so that its tests need no files.
//!
//! **Invariants**
//! - A candidate that ends before it was ready is not started a second time unless that is asked for again, as long as there is a proven
//!   image. That is a descriptor, so whatever becomes of its file, it can be started.
//! - What ends before it was ready is not started twice in a row while there is something else to start.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// What the program's file is, next to the proven image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// The same file; or it cannot be told.
    Same,
    /// Another one.
    Other,
    /// There is none.
    Gone,
}

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The program's file.
    Program,
    /// What became ready last.
    Proven,
    /// A file that has yet to show that it becomes ready.
    Candidate(OsString),
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Images<F> {
    program: OsString,
    proven: Option<F>,
    running: Start,
    next: Start,
    asked: bool,
    undone: Option<String>,
}

impl<F> Images<F> {
    pub(super) fn new(program: OsString) -> Self {
        Self { program, proven: None, running: Start::Program, next: Start::Program, asked: false, undone: None }
    }

    /// The file that is started unless another one is asked for.
    pub(super) fn program(&self) -> &OsStr {
        &self.program
    }

    /// The image that became ready last.
    pub(super) fn proven(&self) -> Option<&F> {
        self.proven.as_ref()
    }

    /// Why the last candidate is not what runs, if that is so.
    pub(super) fn undone(&self) -> Option<&str> {
        self.undone.as_deref()
    }

    /// The one that runs is to be followed by that file, or by what the program's file is by then.
    pub(super) fn ask(&mut self, binary: Option<OsString>) {
        self.next = Start::Candidate(binary.unwrap_or_else(|| self.program.clone()));
        self.asked = true;
    }

    /// Begins the next start; what is to be started.
    pub(super) fn begin(&mut self, compared: Compared) -> &Start {
        self.asked = false;
        self.running = match (self.next.clone(), compared) {
            (Start::Program, Compared::Other) => Start::Candidate(self.program.clone()),
            (Start::Program, Compared::Gone) if self.proven.is_some() => Start::Proven,
            (next, _) => next,
        };
        &self.running
    }

    /// Whether what runs can be put back if it does not become ready.
    pub(super) fn on_trial(&self) -> bool {
        matches!(self.running, Start::Candidate(_)) && self.proven.is_some()
    }

    /// What runs became ready, from that image if it is known.
    pub(super) fn became_ready(&mut self, image: Option<F>) {
        if let Start::Candidate(path) = &self.running {
            self.program = path.clone();
            self.running = Start::Program;
            self.undone = None;
        }
        if image.is_some() {
            self.proven = image;
        }
    }

    /// What ran has ended; whether another one is to follow whatever else there is to say.
    pub(super) fn ended(&mut self, ready: bool, how: impl fmt::Display) -> bool {
        if self.asked {
            return true;
        }
        let (next, put_back) = match (&self.running, ready) {
            // Its file was gone only, and may be there again.
            (Start::Proven, true) if self.undone.is_none() => (Start::Program, false),
            (running, true) => (running.clone(), false),
            (Start::Candidate(path), false) if self.proven.is_some() => {
                self.undone = Some(format!("{} {how}", Path::new(path).display()));
                (Start::Proven, true)
            }
            (Start::Program, false) if self.proven.is_some() => (Start::Proven, false),
            (Start::Program | Start::Proven | Start::Candidate(_), false) => (Start::Program, false),
        };
        self.next = next;
        put_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &str) -> Start {
        Start::Candidate(path.into())
    }

    /// One whose program has become ready.
    fn proven() -> Images<u32> {
        let mut images = Images::new("p".into());
        assert_eq!(images.begin(Compared::Same), &Start::Program);
        images.became_ready(Some(1));
        images
    }

    #[test]
    fn without_a_proven_image_there_is_nothing_but_the_program() {
        let mut images: Images<u32> = Images::new("p".into());
        for _ in 0..3 {
            assert_eq!(images.begin(Compared::Same), &Start::Program);
            assert!(!images.on_trial());
            assert!(!images.ended(false, "died"));
        }
        assert_eq!(images.undone(), None);
    }

    #[test]
    fn a_candidate_that_becomes_ready_is_the_program_from_then_on() {
        let mut images = proven();
        images.ask(Some("q".into()));
        assert!(images.ended(true, "exited"));
        assert_eq!(images.begin(Compared::Same), &candidate("q"));
        assert!(images.on_trial());
        images.became_ready(Some(2));
        assert!(!images.on_trial());
        assert_eq!((images.program(), images.proven()), (OsStr::new("q"), Some(&2)));
        assert!(!images.ended(true, "died"));
        assert_eq!(images.begin(Compared::Same), &Start::Program);
    }

    #[test]
    fn a_candidate_that_fails_is_put_back_once_and_named_until_one_succeeds() {
        let mut images = proven();
        images.ask(Some("q".into()));
        assert!(images.ended(true, "exited"));
        images.begin(Compared::Same);
        assert!(images.ended(false, "exited with code 3"));
        assert_eq!(images.undone(), Some("q exited with code 3"));
        assert_eq!(images.begin(Compared::Other), &Start::Proven);
        images.became_ready(Some(1));
        // A crash later does not try it again.
        assert!(!images.ended(true, "died"));
        assert_eq!(images.begin(Compared::Other), &Start::Proven);
        assert_eq!((images.program(), images.undone()), (OsStr::new("p"), Some("q exited with code 3")));
        images.became_ready(None);
        images.ask(None);
        assert!(images.ended(true, "exited"));
        assert_eq!(images.begin(Compared::Same), &candidate("p"));
        images.became_ready(Some(3));
        assert_eq!(images.undone(), None);
    }

    #[test]
    fn what_is_not_ready_is_not_tried_twice_in_a_row() {
        let mut images = proven();
        for _ in 0..3 {
            assert!(!images.ended(false, "died"));
            assert_eq!(images.begin(Compared::Same), &Start::Proven);
            assert!(!images.ended(false, "died"));
            assert_eq!(images.begin(Compared::Same), &Start::Program);
        }
    }

    #[test]
    fn a_file_that_was_replaced_is_a_candidate_after_a_crash_as_well() {
        let mut images = proven();
        assert!(!images.ended(true, "died"));
        assert_eq!(images.begin(Compared::Other), &candidate("p"));
        assert!(images.ended(false, "died"));
        assert_eq!(images.begin(Compared::Other), &Start::Proven);
    }

    #[test]
    fn a_program_whose_file_is_gone_goes_on_from_its_image() {
        let mut images = proven();
        assert!(!images.ended(true, "died"));
        assert_eq!(images.begin(Compared::Gone), &Start::Proven);
        images.became_ready(Some(1));
        assert!(!images.ended(true, "died"));
        assert_eq!(images.begin(Compared::Same), &Start::Program);
        let mut never: Images<u32> = Images::new("p".into());
        assert_eq!(never.begin(Compared::Gone), &Start::Program);
    }

    #[test]
    fn being_asked_survives_a_crash_of_the_one_that_asked() {
        let mut images = proven();
        images.ask(Some("q".into()));
        assert!(images.ended(true, "died of signal 9"));
        assert_eq!(images.begin(Compared::Same), &candidate("q"));
        assert!(images.ended(false, "exited"));
    }
}
