//! Keeps of lines those in which a pattern is found.

use std::{collections::VecDeque, sync::Arc};

use super::{
    lines::{Item, Window},
    search::{Match, Pattern},
};

/// See the module's head.
#[derive(Debug)]
pub(super) struct Sieve {
    pub(super) pattern: Arc<Pattern>,
    /// The newest that were found, in order.
    found: VecDeque<Match>,
    found_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Older ones had to make room.
    is_full: bool,
    /// What lines are looked for in.
    pub(super) window: Window,
}

impl Sieve {
    /// One that keeps the last `found_max` lines, of some `bytes_max` bytes.
    pub(super) fn new(pattern: Arc<Pattern>, found_max: usize, bytes_max: usize) -> Self {
        Self { pattern, found: VecDeque::new(), found_max, bytes: 0, bytes_max, is_full: false, window: Window::default() }
    }

    /// Takes the next line.
    pub(super) fn take(&mut self, item: Item) {
        let found = match &item {
            Item::Line(line) => Match::of(&self.pattern, line, false),
            Item::Standing(line) => Match::of(&self.pattern, line, true),
            Item::Frame(_) | Item::Note { .. } => None,
        };
        let Some(found) = found else { return };
        self.bytes += bytes(&found);
        self.found.push_back(found);
        while self.found.len() > self.found_max || (self.bytes > self.bytes_max && self.found.len() > 1) {
            let Some(oldest) = self.found.pop_front() else { break };
            self.bytes -= bytes(&oldest);
            self.is_full = true;
        }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.found.clear();
        (self.bytes, self.is_full) = (0, false);
    }

    /// What was found, the newest first, and whether that is all.
    pub(super) fn finish(self) -> (Vec<Match>, bool) {
        (self.found.into_iter().rev().collect(), !self.is_full)
    }
}

fn bytes(found: &Match) -> usize {
    found.text.len() + found.spans.len() * size_of::<(u32, u32)>()
}
