//! Looking for a pattern in all lines of a history, the newest first.
//!
//! ```text
//!   anchor ──── stretch n ────┬──── stretch 2 ────┬──── stretch 1 ────┬── what stands
//!      lines in order ─► sieve ─► those that match, the newest first, when the stretch is through
//!   ◄──────────────────────── one turn after the other ───────────────
//! ```
//!
//! A turn takes one stretch: some `STRETCH_BYTES` of output, from an anchor to where the turn before began. Stretches in which no line left
//! are leapt over. It searches the text of lines, as [`lines`] numbers them and a history gives them.
//!
//! **Invariants.** Turns that follow each other, also those of a search that is resumed, come by every line once that is kept all the while.
//! A search has at most [`FOUND_MAX`] lines of [`FOUND_BYTES`] of text waiting, and what a `Sieve` and a page of output take. Blocking; never
//! on an actor's thread.

use std::sync::Arc;

use regex::{
    Regex, RegexBuilder,
    bytes::{Regex as BytesRegex, RegexBuilder as BytesRegexBuilder},
    escape,
};
use regex_syntax::ParserBuilder;

use super::{
    lines::{self, Anchor, Bound, Seek, Source},
    plain::Plain,
    render::Line,
    sieve::Sieve,
};

/// Longest pattern.
pub const PATTERN_BYTES_MAX: usize = 4 << 10;
/// Most that a pattern may take in memory, and what finds it as it goes.
const REGEX_BYTES_MAX: usize = 1 << 20;
const DFA_BYTES_MAX: usize = 1 << 20;
/// How deep groups may be nested.
const NEST_MAX: u32 = 50;
/// Output of a turn: two to four intervals of checkpoints.
const STRETCH_BYTES: u64 = 1 << 20;
/// Most lines that one turn finds, and about how many bytes of text: of more, those that are left are found by the next.
pub const FOUND_MAX: usize = 4096;
/// See [`FOUND_MAX`].
pub const FOUND_BYTES: usize = 1 << 20;
/// Most places in one line that are told.
pub const SPANS_MAX: usize = 1000;

/// Why something cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("the pattern has {0} bytes: {PATTERN_BYTES_MAX} are the most")]
    TooLong(usize),
    /// It is no regular expression.
    #[error("the pattern is no regular expression: at character {at}: {why}")]
    Syntax {
        /// Which character is wrong, from 1.
        at: usize,
        /// What is wrong about it.
        why: String,
    },
    /// It would take too much memory.
    #[error("the pattern would take more than {REGEX_BYTES_MAX} bytes of memory: repeat less in it")]
    TooLarge,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// The same for bytes.
    bytes: BytesRegex,
    /// Whether it depends on nothing around it, nor matches where nothing is: then a text of many lines can be searched at once.
    is_free: bool,
}

impl Pattern {
    /// A regular expression, or a text as it stands.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(text: &str, literal: bool, ignore_case: bool) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong(text.len()));
        }
        let text = if literal { escape(text) } else { text.to_owned() };
        let syntax = |at: usize, why: &dyn std::fmt::Display| PatternError::Syntax { at, why: why.to_string() };
        let place = |span: &regex_syntax::ast::Span| text[..span.start.offset].chars().count() + 1;
        let parsed = ParserBuilder::new().case_insensitive(ignore_case).nest_limit(NEST_MAX).build().parse(&text);
        let hir = parsed.map_err(|error| match &error {
            regex_syntax::Error::Parse(error) => syntax(place(error.span()), error.kind()),
            regex_syntax::Error::Translate(error) => syntax(place(error.span()), error.kind()),
            error => syntax(1, error),
        })?;
        let failed = |error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            error => syntax(1, &error),
        };
        let regex = RegexBuilder::new(&text)
            .case_insensitive(ignore_case)
            .nest_limit(NEST_MAX)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(DFA_BYTES_MAX)
            .build()
            .map_err(failed)?;
        let bytes = BytesRegexBuilder::new(&text)
            .case_insensitive(ignore_case)
            .nest_limit(NEST_MAX)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(DFA_BYTES_MAX)
            .build()
            .map_err(failed)?;
        let about = hir.properties();
        let is_free = about.look_set().is_empty() && about.minimum_len().is_some_and(|least| least > 0);
        Ok(Self { regex, bytes, is_free })
    }

    /// Which of some plain lines may have it: all that have.
    pub(super) fn hits(&self, plain: &Plain, hits: &mut Vec<usize>) {
        hits.clear();
        let Plain { text, lines } = plain;
        if !self.is_free {
            let may_have = |line: &usize| self.bytes.is_match(plain.text(*line).trim_ascii_end());
            return hits.extend((0..lines.len()).filter(may_have));
        }
        let mut line = 0;
        // What ends in a line may have begun in one before: that of a match in one line alone is come to in any case.
        while let Some(end) = self.bytes.shortest_match_at(text, plain.text_start(line)) {
            line += lines[line..].partition_point(|line| line.text_end + 1 < end);
            hits.push(line);
            line += 1;
            if line >= lines.len() {
                break;
            }
        }
    }

    /// Where it is found in a text: characters from and to, without overlap, the first [`SPANS_MAX`] of them.
    pub fn spans(&self, text: &str) -> Vec<(u32, u32)> {
        let (mut chars, mut counted) = (0, 0);
        let mut column = |at: usize| {
            chars += text[counted..at].chars().count() as u32;
            counted = at;
            chars
        };
        let found = self.regex.find_iter(text).take(SPANS_MAX);
        found.map(|found| (column(found.start()), column(found.end()))).collect()
    }
}

/// A line in which it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its number, as [`lines`] has it.
    pub number: u64,
    /// An offset at which it still stood, at most a KiB before it left.
    pub offset: u64,
    /// When it left, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// It goes on with the line before it, which was too long.
    pub continues: bool,
    /// It stands on the screen, and may yet change.
    pub standing: bool,
    /// The line.
    pub text: String,
    /// Where in it, as [`Pattern::spans`] has it.
    pub spans: Vec<(u32, u32)>,
}

impl Match {
    pub(super) fn of(pattern: &Pattern, line: &Line, standing: bool) -> Option<Self> {
        let text = line.text();
        let spans = pattern.spans(&text);
        let &Line { offset, time_ns, continues, number, .. } = line;
        let (number, text) = (number?, text.into_owned());
        (!spans.is_empty()).then_some(Self { number, offset, time_ns, continues, standing, text, spans })
    }
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    pattern: Arc<Pattern>,
    /// The lines from this number on are through.
    line: u64,
    /// They left, or stand, behind this.
    bound: Bound,
    is_done: bool,
    stretch_bytes: u64,
}

impl Search {
    /// In what there is up to the offset `end`; of a search that is resumed, in the lines before number `before`.
    pub fn new(pattern: Arc<Pattern>, end: u64, before: Option<u64>) -> Self {
        let line = before.unwrap_or(u64::MAX);
        let bound = Bound { offset: end, stands: true };
        Self { pattern, line, bound, is_done: line == 0, stretch_bytes: STRETCH_BYTES }
    }

    /// The number of the line that everything from there on is through, to resume before; `None` once it is through with all.
    pub fn before(&self) -> Option<u64> {
        (!self.is_done).then_some(self.line)
    }

    /// Output up to here is still to be looked through.
    pub fn offset(&self) -> u64 {
        if self.is_done { 0 } else { self.bound.offset }
    }

    /// Takes a turn, and gives the newest lines that match, `max` at most, the newest first.
    ///
    /// # Errors
    /// The source's.
    pub fn turn<S: Source>(&mut self, source: &mut S, max: usize) -> Result<Vec<Match>, S::Error> {
        if self.is_done {
            return Ok(Vec::new());
        }
        let (anchor, bound) = self.stretch(source)?;
        let wanted = anchor.map_or(0, |anchor| anchor.line)..self.line;
        let mut sieve = Sieve::new(self.pattern.clone(), max.clamp(1, FOUND_MAX), FOUND_BYTES);
        let reached = lines::sift(source, anchor, wanted.clone(), bound, &mut sieve)?;
        if reached < self.line && !bound.stands {
            // Something was removed, or counted otherwise: what follows tells.
            sieve.clear();
            lines::sift(source, anchor, wanted, Bound { offset: u64::MAX, stands: true }, &mut sieve)?;
        }
        let (found, is_whole) = sieve.finish();
        match (is_whole, found.last(), anchor) {
            (false, Some(oldest), _) => self.line = oldest.number,
            (_, _, Some(Anchor { offset, line, .. })) if line > 0 => {
                (self.line, self.bound) = (line, Bound { offset, stands: false });
            }
            (_, _, Some(_) | None) => self.is_done = true,
        }
        Ok(found)
    }

    /// The stretch to look through next: from which anchor, if not from the floor, to where.
    fn stretch<S: Source>(&self, source: &mut S) -> Result<(Option<Anchor>, Bound), S::Error> {
        let near = source.anchor(Seek::Offset(self.bound.offset.saturating_sub(self.stretch_bytes)))?;
        if near.is_none_or(|near| near.line < self.line) {
            return Ok((near, self.bound));
        }
        // No line left in all of it.
        let before = source.anchor(Seek::Line(self.line - 1))?;
        let after = source.anchor(Seek::After(before.map_or(0, |before| before.offset + 1)))?;
        let nearer = after.filter(|after| after.offset < self.bound.offset);
        let bound = nearer.map_or(self.bound, |after| Bound { offset: after.offset, stands: false });
        Ok((before, bound))
    }
}

#[cfg(test)]
mod tests;
