//! History as lines: what leaves the top of the main screen while output is drawn, and what stands on it in the end.
//!
//! ```text
//!   output, resizes ─► canvas (filter ─► vt100) ─► a row leaves ─► joined with the rows it wrapped from ─► Line
//!   checkpoint ──────► its screen, to begin with
//!   gap ─────────────► what stood is given up as lines, then one that tells of it
//! ```
//!
//! A line is what a program ended by a newline, as far as its screen kept it: rows that it went on on by itself are joined, trailing blanks are
//! left out. As in xterm, a row is saved when it is scrolled off the top of the main screen, by a region that begins there too; what
//! was erased (`ED 2`, `RIS`) or deleted before that is not, and erasing what was saved (`ED 3`) takes nothing out of a history.
//! What is drawn on the alternate screen never becomes a line. Of two wraps vt100 does not tell, so that a line ends there: on a screen of one
//! row, and where a wide character leaves the last column free.
//!
//! **Invariants.** Lines depend on the bytes, sizes and gaps alone, not on how these were cut. Memory is a screen, the line that has
//! begun to leave (at most [`LINE_BYTES_MAX`] and a row) and the lines that have not been taken. No input makes a caller panic: where
//! vt100 does, the rest of that stride is lost, and the screen drawn anew as far as it can still be told.
//!
//! Absent on purpose: which lines are wanted, and where pieces come from.

use std::{borrow::Cow, mem};

use vt100::capture::basic_formatted_to_plain;

use super::piece::{GapReason, Piece};
use crate::{
    Size,
    mirror::{BadCheckpoint, Canvas, Leaving, Left, Panicked, Tally, shown},
};

pub use crate::mirror::LINE_BYTES_MAX;

/// Output is drawn in strides, which end behind a newline and at every multiple of this offset: lines are placed to a stride.
pub const STRIDE_BYTES: usize = 1 << 10;

const RESET: &str = "\x1b[m";

/// A line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    styled: String,
    /// How many lines had left before it, counted as the [`Tally`] of the screen was; no line that a program wrote if `None`, but one that
    /// tells of a gap.
    pub number: Option<u64>,
    /// An offset at which it still stood, at most a stride before it left.
    pub offset: u64,
    /// When the output came that it left with, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Whether it goes on with the line before it, which was too long.
    pub continues: bool,
}

impl Line {
    /// Its text, without styles and trailing blanks.
    pub fn text(&self) -> Cow<'_, str> {
        let text = match self.styled.contains('\x1b') {
            true => Cow::Owned(plain(&self.styled)),
            false => Cow::Borrowed(self.styled.as_str()),
        };
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(' ')),
            Cow::Owned(text) => Cow::Owned(text.trim_end_matches(' ').to_owned()),
        }
    }

    /// The same with `SGR` sequences in it; the last one sets everything back.
    pub fn styled(&self) -> &str {
        &self.styled
    }
}

/// Text with `SGR` sequences, without them.
pub fn plain(styled: &str) -> String {
    basic_formatted_to_plain(styled).collect()
}

/// See the module's head.
pub struct Renderer {
    canvas: Canvas,
    /// Where the next stride begins.
    offset: u64,
    time_ns: u64,
    /// Nothing has been drawn: a checkpoint is welcome.
    blank: bool,
}

/// One whose screen counts on from there, and keeps what leaves.
fn keeping(size: Size, tally: Tally, kept: Vec<Left>) -> Canvas {
    Canvas::new(size, Leaving::keeping(tally, kept))
}

impl Renderer {
    /// One with an empty screen, at the beginning of its output.
    pub fn new(size: Size) -> Self {
        Self { canvas: keeping(size, Tally::at(0), Vec::new()), offset: 0, time_ns: 0, blank: true }
    }

    /// Takes in the next piece.
    pub fn take(&mut self, piece: &Piece) {
        match piece {
            Piece::Output { offset, time_ns, data } => {
                self.time_ns = *time_ns;
                self.draw(*offset, data);
            }
            Piece::Resize { offset, time_ns, size } => {
                self.time_ns = *time_ns;
                self.resize(*offset, *size);
            }
            Piece::Checkpoint { offset, time_ns, data } if self.blank => match self.restored(data) {
                Ok(canvas) => {
                    self.canvas = canvas;
                    self.canvas.leaving_mut().count_from(*offset);
                    self.time_ns = *time_ns;
                    self.place(*offset);
                }
                Err(error) => tracing::error!(%error, "a checkpoint of a history was left out"),
            },
            Piece::Checkpoint { .. } => {}
            Piece::Gap { from, to, reason } => self.give_up(*from, *to, *reason),
        }
    }

    /// Draws output.
    pub fn draw(&mut self, offset: u64, bytes: &[u8]) {
        self.blank = false;
        let mut rest = bytes;
        if offset != self.offset {
            self.place(offset);
        }
        self.canvas.leaving_mut().mark.1 = self.time_ns;
        while !rest.is_empty() {
            let (stride, behind) = rest.split_at(stride(self.offset, rest));
            rest = behind;
            let drawn = self.canvas.feed(stride, self.offset);
            self.recover(drawn);
            let ended = stride.ends_with(b"\n");
            self.offset += stride.len() as u64;
            if ended || self.offset.is_multiple_of(STRIDE_BYTES as u64) {
                self.place(self.offset);
            }
        }
    }

    /// The same, with when it came.
    pub(super) fn draw_at(&mut self, offset: u64, time_ns: u64, bytes: &[u8]) {
        self.time_ns = time_ns;
        self.draw(offset, bytes);
    }

    /// Whether plain lines do nothing but have lines leave.
    pub(super) fn scrolls_plain_lines(&self) -> bool {
        self.canvas.scrolls_plain_lines()
    }

    /// Goes on behind `lines` lines that are not drawn, though each would have left as one, and which end at `offset`; `pen` does what they did
    /// to the pen. The screen is not that of its place until as many lines as it has rows, and one more, are drawn.
    pub(super) fn skip(&mut self, lines: u64, pen: &[u8], offset: u64) {
        let drawn = self.canvas.feed(pen, offset);
        self.recover(drawn);
        self.canvas.leaving_mut().skip(lines);
        self.place(offset);
    }

    /// Gives the screen another size.
    pub fn resize(&mut self, offset: u64, size: Size) {
        self.place(offset);
        let resized = self.canvas.resize(size);
        self.recover(resized);
        if resized.is_err() {
            _ = self.canvas.resize(size);
        }
    }

    /// The lines that have left and have not been taken.
    pub fn lines(&mut self) -> Vec<Line> {
        let kept = self.canvas.leaving_mut().kept.as_mut().map(mem::take).unwrap_or_default();
        kept.into_iter().map(Line::from).collect()
    }

    /// How many lines have left, and how many stretches on the alternate screen have ended.
    pub fn tally(&self) -> &Tally {
        self.canvas.leaving().tally()
    }

    /// The screen's size.
    pub fn size(&self) -> Size {
        self.canvas.size()
    }

    /// Whether the alternate screen is up.
    pub fn is_alternate(&self) -> bool {
        self.canvas.screen().alternate_screen()
    }

    /// What stands on the alternate screen, or stood there last, if anything does.
    pub fn alternate(&self) -> Option<String> {
        let text = self.canvas.alternate()?;
        (!text.trim_ascii().is_empty()).then(|| shown(text.trim_end_matches('\n')).into_owned())
    }

    /// What stands on the main screen, trailing blank rows left out, as the last lines.
    pub fn finish(mut self) -> Vec<Line> {
        self.clear();
        self.lines()
    }

    /// Strides from here on are placed here, or where they begin within one.
    fn place(&mut self, offset: u64) {
        self.offset = offset;
        self.canvas.leaving_mut().mark = (offset, self.time_ns);
    }

    /// The screen of a checkpoint, with the lines that have left so far.
    fn restored(&mut self, checkpoint: &[u8]) -> Result<Canvas, BadCheckpoint> {
        let mut canvas = Canvas::restore(checkpoint)?;
        let (before, leaving) = (self.canvas.leaving_mut(), canvas.leaving_mut());
        (leaving.kept, leaving.mark) = (before.kept.replace(Vec::new()), before.mark);
        Ok(canvas)
    }

    /// After a panic: the screen that it left is in no state to go on from, but can be drawn again, or is given up.
    fn recover(&mut self, result: Result<(), Panicked>) {
        if result.is_ok() {
            return;
        }
        tracing::debug!(offset = self.offset, "the parser panicked: a stride of a history was not drawn to its end");
        let fresh = match self.canvas.checkpoint().map(|checkpoint| self.restored(&checkpoint)) {
            Ok(Ok(canvas)) => canvas,
            Ok(Err(BadCheckpoint)) | Err(Panicked) => {
                let leaving = mem::take(self.canvas.leaving_mut());
                Canvas::new(self.canvas.size(), leaving)
            }
        };
        self.canvas = fresh;
    }

    fn give_up(&mut self, from: u64, to: u64, reason: GapReason) {
        self.place(from);
        self.clear();
        let mut kept = self.canvas.leaving_mut().kept.take().unwrap_or_default();
        let note =
            Left { styled: reason.note(from, to), number: NOTE, mark: (from, self.time_ns), is_cut: false, continues: false };
        kept.push(note);
        self.canvas = keeping(self.canvas.size(), Tally::at(to), kept);
        self.blank = true;
    }

    /// Lets every row of the main screen leave.
    fn clear(&mut self) {
        let kept = |renderer: &Self| renderer.canvas.leaving().kept.as_ref().map_or(0, Vec::len);
        let left_before = kept(self);
        if self.canvas.scroll_off().is_err() {
            tracing::debug!(offset = self.offset, "the parser panicked: what stood on a history's screen is not in it");
        }
        let leaving = self.canvas.leaving_mut();
        leaving.end_begun();
        if let Some(lines) = &mut leaving.kept {
            let shows = |line: &Left| !trimmed(line.styled.clone()).is_empty();
            let shown = lines.iter().rposition(shows).map_or(0, |last| last + 1);
            lines.truncate(shown.max(left_before));
        }
    }
}

/// The number of what is no line of a program's.
const NOTE: u64 = u64::MAX;

impl From<Left> for Line {
    fn from(Left { mut styled, number, mark: (offset, time_ns), is_cut, continues }: Left) -> Self {
        if !is_cut {
            styled = trimmed(styled);
        }
        if let Cow::Owned(replaced) = shown(&styled) {
            styled = replaced;
        }
        Self { styled, number: (number != NOTE).then_some(number), offset, time_ns, continues }
    }
}

fn trimmed(mut styled: String) -> String {
    trim(&mut styled);
    styled
}

/// How many of `bytes` belong to the stride that is at `offset`.
fn stride(offset: u64, bytes: &[u8]) -> usize {
    let most = STRIDE_BYTES - (offset % STRIDE_BYTES as u64) as usize;
    let within = &bytes[..bytes.len().min(most)];
    memchr::memchr(b'\n', within).map_or(within.len(), |at| at + 1)
}

/// Takes trailing blanks off a styled line, but those that show.
fn trim(styled: &mut String) {
    let (mut style, mut kept, mut at) = (Style::default(), 0, 0);
    let mut style_kept = style;
    while at < styled.len() {
        let rest = &styled[at..];
        let length = match rest.strip_prefix("\x1b[").and_then(|sgr| sgr.find('m').map(|length| &sgr[..length])) {
            Some(parameters) => {
                style.change(parameters);
                parameters.len() + "\x1b[m".len()
            }
            None => {
                let text = &rest[..rest.find('\x1b').unwrap_or(rest.len())];
                let shown = if style.shows_on_blanks() { text.len() } else { text.trim_end_matches(' ').len() };
                if shown > 0 {
                    (kept, style_kept) = (at + shown, style);
                }
                text.len()
            }
        };
        at += length;
    }
    styled.truncate(kept);
    if !style_kept.is_default {
        styled.push_str(RESET);
    }
}

/// As much of a style as has to be known of blanks.
#[derive(Debug, Clone, Copy)]
struct Style {
    is_default: bool,
    background: bool,
    underline: bool,
    inverse: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { is_default: true, background: false, underline: false, inverse: false }
    }
}

impl Style {
    fn shows_on_blanks(self) -> bool {
        self.background || self.underline || self.inverse
    }

    /// Follows the parameters of one `SGR`, as vt100 writes them.
    fn change(&mut self, parameters: &str) {
        if parameters.is_empty() {
            return *self = Self::default();
        }
        self.is_default = false;
        let mut numbers = parameters.split(';').map(|number| number.parse::<u16>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                4 => self.underline = true,
                24 => self.underline = false,
                7 => self.inverse = true,
                27 => self.inverse = false,
                40..=47 | 100..=107 => self.background = true,
                49 => self.background = false,
                38 | 48 => {
                    self.background |= number == 48;
                    let further = if numbers.next() == Some(5) { 1 } else { 3 };
                    (0..further).for_each(|_| _ = numbers.next());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
