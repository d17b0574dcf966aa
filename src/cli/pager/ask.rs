//! What a pager asks for, and what it is told: all that its pure parts know of the world.

use std::path::PathBuf;

use regex::Regex;

use crate::wire::{LinesAt, LinesOk};

/// What is wanted.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// A page of lines.
    Page { at: LinesAt, back: bool, max: u64, frames: bool, use_: Use },
    /// The next line that matches.
    Find(Query),
    /// The last command whose line is before this one, or the first behind it.
    Command { line: u64, back: bool },
    /// The text of these lines, for the clipboard.
    Copy { from: u64, to: u64 },
    /// The text of these lines, or of all, in a file.
    Save { lines: Option<(u64, u64)>, path: PathBuf },
}

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Before,
    After,
    /// What may have changed at the end, and what is new.
    Tail,
    /// To be shown.
    Jump(Target),
}

/// What of a page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// What comes first.
    First,
    /// What comes last.
    Last,
    /// A line, with so many rows before it.
    Line { number: u64, above: usize },
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) pattern: Regex,
    /// What that was made from.
    pub(super) text: String,
    /// Whether small letters match capitals, too.
    pub(super) any_case: bool,
    /// Forwards the first line that is looked at, backwards the one behind it.
    pub(super) from: u64,
    pub(super) back: bool,
}

/// What is told.
#[derive(Debug)]
pub(super) enum Answer {
    Page(LinesOk),
    /// The line's number.
    Found(Option<u64>),
    /// The number of its line.
    Command(Option<u64>),
    Copied {
        text: String,
        lines: u64,
    },
    Saved {
        lines: u64,
        bytes: u64,
    },
}
