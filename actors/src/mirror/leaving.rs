//! What leaves the top of the main screen: rows, joined to lines, and how many of those there have been.
//!
//! ```text
//!   row ─► joined with the rows it wrapped from ─► a line: counted, and kept if anybody wants it
//! ```
//!
//! **Invariants.** A [`Tally`] is part of a checkpoint: a screen that is restored counts on where the one before it was, and goes on with the
//! line that had begun to leave. So the same output gives every line the same number, from whichever checkpoint it is drawn. Memory is the
//! line that has begun, at most [`LINE_BYTES_MAX`] and a row, and the lines that were kept and not taken.

use std::{fmt, mem};

use vt100::capture::{BasicFormattedCaptureState, RowContents};

/// A line longer than this, styles and all, is cut, and the next goes on with it: a gigabyte without a newline must not take one.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Which lines there are: raised when others come of the same output than did. What another version has counted is counted anew.
pub const LINES_VERSION: u32 = 1;

const RESET: &str = "\x1b[m";
/// What a begun line keeps beyond what it needs.
const SPARE_BYTES: usize = 4 << 10;

/// What a tally is spelt with in a checkpoint: a string that terminals leave out, so that versions which know of none restore it, too.
const INTRODUCER: &[u8] = b"\x1b_L";
const TERMINATOR: &[u8] = b"\x1b\\";
/// Stands for ESC in there.
const ESC_STAND_IN: char = '\x1f';

/// How many lines have left, and how much of the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The offset from which they were counted: 0, but on a screen that goes back to one which nobody had counted for. `None`: nobody counts.
    pub since: Option<u64>,
    /// Lines that have left since.
    pub lines: u64,
    /// Stretches on the alternate screen that have ended since.
    pub stretches: u64,
    /// The rows of a line that have left, while its last has not.
    begun: String,
    /// Whether `begun` goes on with a line that was cut.
    continues: bool,
}

impl Tally {
    /// Of a screen on which nothing was drawn yet.
    pub fn at(offset: u64) -> Self {
        Self { since: Some(offset), ..Self::default() }
    }

    /// As a checkpoint has it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Some(since) = self.since else { return Vec::new() };
        let begun = self.begun.replace('\x1b', ESC_STAND_IN.encode_utf8(&mut [0; 4]));
        let body = format!("{LINES_VERSION};{since};{};{};{};{begun}", self.lines, self.stretches, u8::from(self.continues));
        [INTRODUCER, body.as_bytes(), TERMINATOR].concat()
    }

    /// Reads what a checkpoint begins its drawing with; how many bytes that is. `None` if there is no tally, or one of another version.
    pub(super) fn decode(drawing: &[u8]) -> Option<Self> {
        let body = drawing.strip_prefix(INTRODUCER)?;
        let body = str::from_utf8(&body[..memchr::memmem::find(body, TERMINATOR)?]).ok()?;
        let mut parts = body.splitn(6, ';');
        let mut number = || parts.next()?.parse::<u64>().ok();
        if number()? != u64::from(LINES_VERSION) {
            return None;
        }
        let (since, lines, stretches, continues) = (Some(number()?), number()?, number()?, number()? != 0);
        let begun = parts.next()?.replace(ESC_STAND_IN, "\x1b");
        Some(Self { since, lines, stretches, begun, continues })
    }
}

/// A line that has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) styled: String,
    /// How many had left before it, as the tally counts.
    pub(crate) number: u64,
    /// What [`Leaving::mark`] was.
    pub(crate) mark: (u64, u64),
    /// Whether it was cut, and the next goes on with it.
    pub(crate) is_cut: bool,
    /// Whether it goes on with one that was cut.
    pub(crate) continues: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    tally: Tally,
    /// What has left since it was taken, if that is wanted.
    pub(crate) kept: Option<Vec<Left>>,
    /// What lines that leave are marked with.
    pub(crate) mark: (u64, u64),
}

impl vt100::Callbacks for Leaving {
    fn on_scroll(&mut self, row: RowContents<'_>, alternate_screen: bool) {
        if alternate_screen {
            return;
        }
        let begun = &mut self.tally.begun;
        let start = begun.len();
        let mut state = BasicFormattedCaptureState::new();
        // A String takes everything.
        let _ = row.write_formatted_basic(begun, &mut state);
        if let Some(last) = memchr::memrchr(b'\x1b', &begun.as_bytes()[start..])
            && !begun[start + last..].starts_with(RESET)
        {
            begun.push_str(RESET);
        }
        let wraps = goes_on(&row, &mut state);
        if !wraps || self.tally.begun.len() >= LINE_BYTES_MAX {
            self.end_line(wraps);
        }
    }
}

impl Leaving {
    /// One that counts on from there.
    pub(crate) fn counting(tally: Tally) -> Self {
        Self { tally, ..Self::default() }
    }

    /// The same, which keeps what leaves with what was kept before.
    pub(crate) fn keeping(tally: Tally, kept: Vec<Left>) -> Self {
        Self { tally, kept: Some(kept), ..Self::default() }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts on from another tally.
    pub(crate) fn resume(&mut self, tally: Tally) {
        self.tally = tally;
    }

    /// Says where the counting begins, if nobody has said so.
    pub(crate) fn count_from(&mut self, offset: u64) {
        self.tally.since.get_or_insert(offset);
    }

    /// Counts lines that nobody draws, each ended by a newline, while none has begun on the row that comes last.
    pub(crate) fn skip(&mut self, lines: u64) {
        self.tally.lines += lines;
    }

    /// Counts a stretch on the alternate screen, which has ended.
    pub(crate) fn end_stretch(&mut self) {
        self.tally.stretches += 1;
    }

    /// Bytes of the line that has begun.
    pub(crate) fn begun_bytes(&self) -> usize {
        self.tally.begun.capacity()
    }

    /// Ends the line that has begun, if one has.
    pub(crate) fn end_begun(&mut self) {
        if !self.tally.begun.is_empty() {
            self.end_line(false);
        }
    }

    fn end_line(&mut self, cut: bool) {
        let Tally { lines: number, begun, continues, .. } = &mut self.tally;
        let continued = mem::replace(continues, cut);
        match &mut self.kept {
            Some(kept) => {
                let styled = mem::take(begun);
                kept.push(Left { styled, number: *number, mark: self.mark, is_cut: cut, continues: continued });
            }
            None => {
                begun.clear();
                begun.shrink_to(SPARE_BYTES);
            }
        }
        *number += 1;
    }
}

/// Whether the row just written went on on the next by itself. It is not told, but written again it would begin with a newline if not.
fn goes_on(row: &RowContents<'_>, state: &mut BasicFormattedCaptureState) -> bool {
    let mut first = First::default();
    let _ = row.write_formatted_basic(&mut first, state);
    !first.is_newline
}

/// Takes what is written first, and then no more.
#[derive(Default)]
struct First {
    is_newline: bool,
}

impl fmt::Write for First {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.is_newline = text == "\n";
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tally_reads_back_and_a_screen_without_one_has_none(
            since in prop::option::of(any::<u64>()), lines in any::<u64>(), stretches in any::<u64>(), begun in "[ -~é漢]{0,20}(\x1b\\[1m[a-z;]{0,9})?", continues in any::<bool>(), behind in any::<Vec<u8>>(),
        ) {
            let tally = Tally { since, lines, stretches, begun, continues };
            let encoded = [tally.encode(), behind].concat();
            prop_assert_eq!(Tally::decode(&encoded), since.map(|_| tally));
        }

        #[test]
        fn rubbish_is_no_tally(rubbish in "[0-9;a\x1b\\\\]{0,20}") {
            let encoded = [INTRODUCER, rubbish.as_bytes()].concat();
            let found = Tally::decode(&encoded);
            prop_assert!(found.is_none_or(|tally| encoded.starts_with(&tally.encode()) || rubbish.starts_with("1;") || rubbish.starts_with('0')));
        }
    }

    #[test]
    fn what_another_version_has_counted_is_not_counted_on() {
        let counted = Tally::at(7).encode();
        let other = [INTRODUCER, b"999", &counted[INTRODUCER.len() + 1..]].concat();
        assert_eq!((Tally::decode(&counted), Tally::decode(&other)), (Some(Tally::at(7)), None));
    }
}
