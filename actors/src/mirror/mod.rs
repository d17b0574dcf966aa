//! The mirror: what a terminal looks like now, in bounded memory, and what rebuilds it.
//!
//! ```text
//! journal bytes ─► Mirror::feed ─► skim ─► canvas (filter ─► vt100, no scrollback) ─► text, cells, repaint, checkpoint
//!                                                    └─► notices: what programs tell, and what they ask
//! ```
//!
//! A `canvas` is also what the log's renderer draws on, to see what leaves the screen.
//!
//! **Invariants.** RAM holds the viewport and nothing above it, and a bounded rest: of a string that has begun
//! [`NOTICE_BYTES_MAX`], of notices [`NOTICES_MAX`], of a line that has begun to leave [`LINE_BYTES_MAX`] and a row. No input makes a caller panic: a panic inside the parser comes back as
//! [`Panicked`], after which the mirror must be rebuilt; none is known that does it. Nothing depends on how the bytes were cut, nor on whether
//! a checkpoint was restored between them: [`Mirror::checkpoint`]'s bytes are the whole of a screen, what does not show included.
//!
//! **What is not as in xterm**, and why:
//! - Left and right margins (`DECSLRM`), double-size lines: vt100's grid has none of them. They are told to be unknown when asked for.
//! - Strike, blink, hidden, overline, underline styles and colours, links, bold where dim too is set: a cell of vt100 has no place for them.
//! - U+FE0F is left out: vt100 would widen the cell before it, which xterm does not, and panics where that is in the last column.
//!   A combining character in the first column, with nothing to combine with, is left out too, and all after 18 bytes in a cell.
//! - Protected cells: `DECSED` and `DECSEL` erase them too. Of rectangles there are `DECFRA`, `DECERA` and `DECCRA`, no others.
//! - Characters with two columns that lose one leave a blank in the other one, in the pen of what took it.
//! - `EL 0` with a wrap to come erases nothing, as in VTE, tmux and alacritty (`top` counts on it); xterm erases the last column. Nor do
//!   `EL 1`, `EL 2` and `ED 1` end that wrap, which they do in xterm, and `CBT` ends it, which xterm does not.
//! - A screen that gets more rows gets them at its foot, blank: those above are in the log. A wrap to come in one that gets wider does
//!   not come.
//! - `DECCOLM`, where allowed, clears and does not resize: a terminal's size is its user's.
//! - Character sets but ASCII, British and line drawing read as ASCII: they are from before UTF-8.

mod canvas;
mod charset;
mod checkpoint;
mod control;
mod cutter;
mod drawing;
mod filter;
mod hush;
mod leaving;
mod marks;
mod modes;
mod notice;
mod paint;
mod pen;
mod rectangle;
mod repaint;
mod replies;
mod run;
mod sequence;
mod skim;
mod state;
mod strings;
mod tabs;
mod view;

#[cfg(test)]
pub(crate) use self::cutter::commands_in;
pub(crate) use self::{
    canvas::Canvas,
    leaving::{Leaving, Left},
    repaint::{BLANK, PLAIN},
    run::front,
    view::{is_replaced, shown},
};
pub use self::{
    checkpoint::{decode_size, encode_size, tally},
    hush::Hush,
    leaving::{LINE_BYTES_MAX, LINES_VERSION, Tally},
    marks::{Marks, Notification, Progress, ProgressState, Told},
    notice::{NOTICE_BYTES_MAX, NOTICES_MAX, Notice, QUESTIONS_MAX, What},
    view::{Cell, CellColor, Cursor, ScreenView},
};
use crate::{Size, memory::allocated};

/// What vt100 keeps of a row beside its cells.
const ROW_BYTES: usize = 32;

/// The parser panicked; its state can no longer be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the screen's parser panicked")]
pub struct Panicked;

/// Why bytes are no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint of a screen")]
pub struct BadCheckpoint;

/// See the module's head.
pub struct Mirror {
    canvas: Canvas,
    /// Bytes fed since notices were last taken.
    fed: u64,
}

impl Mirror {
    /// An empty screen, to which nothing has come yet.
    pub fn new(size: Size) -> Self {
        Self::new_at(size, 0)
    }

    /// An empty screen at that offset of its output.
    pub fn new_at(size: Size, offset: u64) -> Self {
        Self { canvas: Canvas::new(size, Leaving::counting(Tally::at(offset))).heeding(), fed: 0 }
    }

    /// Draws output.
    ///
    /// # Errors
    /// [`Panicked`]: the mirror is to be thrown away.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Panicked> {
        let at = self.fed;
        self.fed += bytes.len() as u64;
        let Some(cut) = self.skim(bytes) else { return self.canvas.feed(bytes, at) };
        self.canvas.feed(&bytes[..cut.from], at)?;
        if !self.is_on_last_row() {
            return self.canvas.feed(&bytes[cut.from..], at + cut.from as u64);
        }
        self.canvas.feed(&cut.pen, at)?;
        if !self.canvas.screen().alternate_screen() {
            self.canvas.leaving_mut().skip(cut.lines as u64);
        }
        self.canvas.feed(&bytes[cut.to..], at + cut.to as u64)
    }

    /// What programs told or asked since the last time, in order; [`NOTICES_MAX`] at most, or [`QUESTIONS_MAX`] with questions among them.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.fed = 0;
        self.canvas.take_heard()
    }

    fn skim(&self, bytes: &[u8]) -> Option<skim::Cut> {
        if !self.canvas.state().scrolls_plain_lines() {
            return None;
        }
        skim::cut(bytes, self.size())
    }

    /// Whether each line that is added now has one leave, which had stood above it.
    fn is_on_last_row(&self) -> bool {
        self.canvas.screen().cursor_position().0 + 1 == self.size().rows()
    }

    /// How many lines have left the main screen.
    pub fn tally(&self) -> &Tally {
        self.canvas.leaving().tally()
    }

    /// Begins to count the lines that leave, if it was restored from a checkpoint without their number: taken at `offset`.
    pub fn count_from(&mut self, offset: u64) {
        self.canvas.leaving_mut().count_from(offset);
    }

    /// Gives the screen another size.
    ///
    /// # Errors
    /// As [`Mirror::feed`].
    pub fn resize(&mut self, size: Size) -> Result<(), Panicked> {
        self.canvas.resize(size)
    }

    /// The size.
    pub fn size(&self) -> Size {
        self.canvas.size()
    }

    /// The title its programs set; empty if none.
    pub fn title(&self) -> &str {
        &self.canvas.state().title
    }

    /// What its programs told of themselves.
    pub fn marks(&self) -> &Marks {
        &self.canvas.state().marks
    }

    /// The visible rows, right-trimmed, each ended by a newline; trailing blank rows left out.
    pub fn text(&self) -> String {
        let rows = self.canvas.screen().rows(0, self.size().cols());
        let mut text: String = rows.map(|row| row.trim_end().to_owned() + "\n").collect();
        text.truncate(text.trim_end_matches('\n').len());
        if !text.is_empty() {
            text.push('\n');
        }
        shown(&text).into_owned()
    }

    /// Bytes of memory that it takes: 32 a cell and a row, on each screen that was drawn on, and what is known beside them. By its size, and by
    /// the bounds on the latter, it has a bound.
    pub fn memory_bytes(&self) -> usize {
        let (rows, cols) = (usize::from(self.size().rows()), usize::from(self.size().cols()));
        let grid = allocated(rows * ROW_BYTES) + rows * allocated(cols * size_of::<vt100::Cell>());
        let screens = 1 + usize::from(self.canvas.state().alternate_used);
        allocated(size_of::<Self>()) + screens * grid + self.canvas.state().heap_bytes() + self.canvas.leaving().begun_bytes()
    }

    /// The screen, cell by cell.
    pub fn view(&self) -> ScreenView {
        view::of(self.canvas.screen(), self.canvas.state())
    }

    /// Bytes that draw this screen on a terminal of its size in any state, with all that shows there or that programs can use: both
    /// screens, cursors, modes, margins, tab stops, character sets, colours and title.
    pub fn repaint(&self) -> Vec<u8> {
        repaint::repaint(self.canvas.state(), self.canvas.screen())
    }

    /// What goes behind a repaint for a terminal that is shown the output that comes next: the half of a sequence or of a character that has
    /// come.
    pub fn begun(&self) -> Vec<u8> {
        self.canvas.state().cutter.begun()
    }

    /// What [`Mirror::restore`] makes the same screen of.
    pub fn checkpoint(&self) -> Vec<u8> {
        // Painting is pure reading: were it to panic, a checkpoint without grids is refused where it is restored.
        self.canvas.checkpoint().unwrap_or_default()
    }

    /// The screen that a checkpoint was taken of.
    ///
    /// # Errors
    /// [`BadCheckpoint`].
    pub fn restore(checkpoint: &[u8]) -> Result<Self, BadCheckpoint> {
        Ok(Self { canvas: Canvas::restore(checkpoint)?.heeding(), fed: 0 })
    }
}

#[cfg(test)]
mod tests;
