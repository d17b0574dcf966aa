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

use std::{borrow::Cow, fmt, mem};

use vt100::capture::{BasicFormattedCaptureState, RowContents, basic_formatted_to_plain};

use super::piece::{GapReason, Piece};
use crate::{
    Size,
    mirror::{BadCheckpoint, Canvas, Panicked, shown},
};

/// A line longer than this, styles and all, is cut, and the next goes on with it: a gigabyte without a newline must not take one.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Output is drawn in strides, which end behind a newline and at every multiple of this offset: lines are placed to a stride.
pub const STRIDE_BYTES: usize = 1 << 10;

const RESET: &str = "\x1b[m";

/// A line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    styled: String,
    /// An offset at which it still stood, at most a stride before it left.
    pub offset: u64,
    /// Whether it goes on with the line before it, which was too long.
    pub continues: bool,
}

impl Line {
    /// Its text, without styles and trailing blanks.
    pub fn text(&self) -> Cow<'_, str> {
        let text = match self.styled.contains('\x1b') {
            true => Cow::Owned(basic_formatted_to_plain(&self.styled).collect::<String>()),
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

/// See the module's head.
pub struct Renderer {
    canvas: Canvas<Leaving>,
    /// Where the next stride begins.
    offset: u64,
    /// Nothing has been drawn: a checkpoint is welcome.
    blank: bool,
}

impl Renderer {
    /// One with an empty screen.
    pub fn new(size: Size) -> Self {
        Self { canvas: Canvas::new(size, Leaving::default()), offset: 0, blank: true }
    }

    /// Takes in the next piece.
    pub fn take(&mut self, piece: &Piece) {
        match piece {
            Piece::Output { offset, data, .. } => self.draw(*offset, data),
            Piece::Resize { offset, size, .. } => self.resize(*offset, *size),
            Piece::Checkpoint { data, .. } if self.blank => match self.restored(data) {
                Ok(canvas) => self.canvas = canvas,
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
        mem::take(&mut self.canvas.callbacks_mut().lines)
    }

    /// What stands on the main screen, trailing blank rows left out, as the last lines.
    pub fn finish(mut self) -> Vec<Line> {
        self.clear();
        self.lines()
    }

    /// Strides from here on are placed here, or where they begin within one.
    fn place(&mut self, offset: u64) {
        self.offset = offset;
        self.canvas.callbacks_mut().offset = offset;
    }

    /// The screen of a checkpoint, with the lines that have left so far.
    fn restored(&mut self, checkpoint: &[u8]) -> Result<Canvas<Leaving>, BadCheckpoint> {
        let leaving = mem::take(self.canvas.callbacks_mut());
        Canvas::restore(checkpoint, leaving).map_err(|(error, leaving)| {
            *self.canvas.callbacks_mut() = leaving;
            error
        })
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
                let leaving = mem::take(self.canvas.callbacks_mut());
                Canvas::new(self.canvas.size(), leaving)
            }
        };
        self.canvas = fresh;
    }

    fn give_up(&mut self, from: u64, to: u64, reason: GapReason) {
        self.place(from);
        self.clear();
        let size = self.canvas.size();
        let mut leaving = mem::take(self.canvas.callbacks_mut());
        leaving.partial = format!("[… {} bytes not kept: {reason} …]", to - from);
        leaving.end_line(false);
        self.canvas = Canvas::new(size, leaving);
        self.blank = true;
    }

    /// Lets every row of the main screen leave.
    fn clear(&mut self) {
        let left_before = self.canvas.callbacks().lines.len();
        if self.canvas.scroll_off().is_err() {
            tracing::debug!(offset = self.offset, "the parser panicked: what stood on a history's screen is not in it");
        }
        let leaving = self.canvas.callbacks_mut();
        if !leaving.partial.is_empty() {
            leaving.end_line(false);
        }
        let shown = leaving.lines.iter().rposition(|line| !line.styled.is_empty()).map_or(0, |last| last + 1);
        leaving.lines.truncate(shown.max(left_before));
    }
}

/// How many of `bytes` belong to the stride that is at `offset`.
fn stride(offset: u64, bytes: &[u8]) -> usize {
    let most = STRIDE_BYTES - (offset % STRIDE_BYTES as u64) as usize;
    let within = &bytes[..bytes.len().min(most)];
    memchr::memchr(b'\n', within).map_or(within.len(), |at| at + 1)
}

/// Collects what leaves.
#[derive(Debug, Default)]
struct Leaving {
    lines: Vec<Line>,
    /// The rows of a line that have left, while its last has not.
    partial: String,
    /// Whether `partial` goes on with a line that was cut.
    continues: bool,
    offset: u64,
}

impl vt100::Callbacks for Leaving {
    fn on_scroll(&mut self, row: RowContents<'_>, alternate_screen: bool) {
        if alternate_screen {
            return;
        }
        let start = self.partial.len();
        let mut state = BasicFormattedCaptureState::new();
        // A String takes everything.
        let _ = row.write_formatted_basic(&mut self.partial, &mut state);
        if let Some(last) = self.partial[start..].rfind('\x1b')
            && !self.partial[start + last..].starts_with(RESET)
        {
            self.partial.push_str(RESET);
        }
        let wraps = goes_on(&row, &mut state);
        if !wraps || self.partial.len() >= LINE_BYTES_MAX {
            self.end_line(wraps);
        }
    }
}

impl Leaving {
    fn end_line(&mut self, cut: bool) {
        let mut styled = mem::take(&mut self.partial);
        if !cut {
            trim(&mut styled);
        }
        if let Cow::Owned(replaced) = shown(&styled) {
            styled = replaced;
        }
        self.lines.push(Line { styled, offset: self.offset, continues: mem::replace(&mut self.continues, cut) });
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
