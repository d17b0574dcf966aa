//! vt100 behind its filter, with its panics kept in: what the mirror and the history's renderer both draw on.
//!
//! **Invariants.** No scrollback is kept, nor counted: a screen that grows gets its new rows at the foot, whether or not rows have left it
//! before, so that one rebuilt from a checkpoint grows alike. No input makes a caller panic.

use std::{
    mem,
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
};

use vt100::{Parser, Screen};

use super::{
    BadCheckpoint, Panicked,
    checkpoint::{self, Decoded},
    drawing,
    filter::Filter,
    leaving::{Leaving, Tally},
    modes::{ORIGIN, WRAP_BACK},
    notice::Notice,
    state::State,
};
use crate::Size;

/// See the module's head.
pub(crate) struct Canvas {
    filter: Filter,
    parser: Parser<Leaving>,
}

fn side(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("a Size has no side of 0")
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

impl Canvas {
    /// An empty one.
    pub(crate) fn new(size: Size, leaving: Leaving) -> Self {
        let parser = Parser::new_with_callbacks(side(size.rows()), side(size.cols()), 0, leaving);
        Self { filter: Filter::default(), parser }
    }

    /// The one that a checkpoint was taken of.
    pub(crate) fn restore(checkpoint: &[u8]) -> Result<Self, BadCheckpoint> {
        let decoded = checkpoint::decode(checkpoint)?;
        let drawn = guarded(|| Self::decoded(decoded)).map_err(|Panicked| BadCheckpoint)?;
        drawn.map_err(|Panicked| BadCheckpoint)
    }

    fn decoded(decoded: Decoded<'_>) -> Result<Self, Panicked> {
        let (size, state, grids) = match decoded {
            Decoded::Repaint { size, repaint } => {
                let mut canvas = Self::new(size, Leaving::default());
                canvas.feed(repaint, 0)?;
                canvas.leaving_mut().resume(Tally::default());
                return Ok(canvas);
            }
            Decoded::Screen { size, state, grids } => (size, state, grids),
        };
        let mut canvas = Self::new(size, Leaving::default());
        canvas.parser.process(grids);
        canvas.filter.state = *state;
        // Drawing them scrolls nothing off that had not left.
        canvas.leaving_mut().resume(Tally::decode(grids).unwrap_or_default());
        Ok(canvas)
    }

    /// Begins to keep what is told and asked.
    pub(crate) fn heeding(mut self) -> Self {
        self.filter.heard = Some(Vec::new());
        self
    }

    /// What was told and asked since the last time.
    pub(crate) fn take_heard(&mut self) -> Vec<Notice> {
        self.filter.heard.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Draws output, of which the first byte is at `at`.
    pub(crate) fn feed(&mut self, bytes: &[u8], at: u64) -> Result<(), Panicked> {
        let drawn = guarded(|| self.filter.drive(bytes, at, &mut self.parser));
        for _ in 0..mem::take(&mut self.filter.state.stretches_ended) {
            self.leaving_mut().end_stretch();
        }
        drawn
    }

    /// Gives it another size, as xterm does: rows are cut off at the foot, or at the top where the cursor would go with them; margins and
    /// origin mode are reset; a saved cursor stays where it was saved.
    pub(crate) fn resize(&mut self, size: Size) -> Result<(), Panicked> {
        if size == self.size() {
            return Ok(());
        }
        guarded(|| {
            let place = drawing::place(self.screen());
            let alternate = self.screen().alternate_screen();
            let old_rows = self.size().rows();
            let pushed = self.cursor_rows().map(|row| old_rows.saturating_sub(size.rows()).saturating_sub(old_rows - row - 1));
            self.parser.set_size(side(size.rows()), side(size.cols()));
            let state = &mut self.filter.state;
            state.margins = None;
            state.modes.set(ORIGIN, false);
            for saved in state.saved.iter_mut().flatten() {
                saved.place = saved.place.resized(size, 0);
            }
            let place = place.resized(size, pushed[usize::from(alternate)]);
            self.filter.drawing(0, &mut self.parser).restore_place(place);
        })
    }

    /// The rows that the cursor is in on the main screen and on the alternate one. Lets vt100 forget how many rows have left the main one:
    /// it would put that many blank ones back on top of a screen that grows.
    fn cursor_rows(&mut self) -> [u16; 2] {
        let alternate = self.screen().alternate_screen();
        if !self.filter.state.alternate_used {
            self.parser.screen_mut().clear_scrollback();
            return [self.screen().cursor_position().0, 0];
        }
        self.parser.process(b"\x1b[?47l");
        self.parser.screen_mut().clear_scrollback();
        let main = self.screen().cursor_position().0;
        self.parser.process(b"\x1b[?47h");
        let rows = [main, self.screen().cursor_position().0];
        if !alternate {
            self.parser.process(b"\x1b[?47l");
        }
        rows
    }

    /// Scrolls every row of the main screen off its top, told to the callbacks like any other; what was drawn is gone then.
    pub(crate) fn scroll_off(&mut self) -> Result<(), Panicked> {
        let (rows, cols) = self.screen().size();
        let mut last = Parser::new_with_callbacks(rows, cols, 0, mem::take(self.leaving_mut()));
        mem::swap(last.screen_mut(), self.parser.screen_mut());
        let result = guarded(|| last.process(b"\x1b[?47l\x1b[r\x1b[65535S"));
        self.parser = last;
        self.filter.state = State::default();
        result
    }

    /// The alternate screen, if something may stand on it: its rows, wrapped ones joined, with `SGR` sequences.
    pub(crate) fn alternate(&self) -> Option<String> {
        if !self.filter.state.alternate_used {
            return None;
        }
        if self.screen().alternate_screen() {
            return Some(self.screen().contents_formatted_basic());
        }
        let mut copy = checkpoint::copy(self.screen());
        copy.process(b"\x1b[?47h");
        Some(copy.screen().contents_formatted_basic())
    }

    /// What a screen like this one is made of again.
    pub(crate) fn checkpoint(&self) -> Result<Vec<u8>, Panicked> {
        guarded(|| checkpoint::encode(self.size(), &self.filter.state, self.leaving().tally(), self.screen()))
    }

    pub(crate) fn size(&self) -> Size {
        let (rows, cols) = self.screen().size();
        Size::new(cols.get().into(), rows.get().into()).expect("made from a Size")
    }

    pub(crate) fn screen(&self) -> &Screen {
        self.parser.screen()
    }

    /// What is known of the screen beside its grids.
    pub(super) fn state(&self) -> &State {
        &self.filter.state
    }

    /// Whether plain lines do nothing but scroll the main screen up, a row each at least, whose last row the cursor is in: with tab stops
    /// in every eighth column, and backspaces that stay in their row.
    pub(crate) fn scrolls_plain_lines(&self) -> bool {
        let (state, screen) = (self.state(), self.screen());
        let is_plain = state.scrolls_plain_lines() && state.tabs.are_default() && !state.modes.has(WRAP_BACK);
        is_plain && !screen.alternate_screen() && screen.cursor_position().0 + 1 == self.size().rows()
    }

    /// What has left, and how much.
    pub(crate) fn leaving(&self) -> &Leaving {
        self.parser.callbacks()
    }

    pub(crate) fn leaving_mut(&mut self) -> &mut Leaving {
        self.parser.callbacks_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(canvas: &Canvas) -> Vec<String> {
        canvas.screen().rows(0, 10).collect()
    }

    fn size(cols: u32, rows: u32) -> Size {
        Size::new(cols, rows).unwrap()
    }

    #[test]
    fn a_screen_that_has_scrolled_grows_at_its_foot_also_behind_the_alternate_one() {
        let mut canvas = Canvas::new(size(10, 2), Leaving::default());
        canvas.feed(b"1\r\n2\r\n3\r\n4", 0).unwrap();
        canvas.resize(size(10, 3)).unwrap();
        assert_eq!(rows(&canvas), ["3", "4", ""]);
        canvas.feed(b"\r\n5\r\n6\x1b[?1049h\x1b[Hvim", 0).unwrap();
        canvas.resize(size(10, 5)).unwrap();
        assert_eq!(rows(&canvas), ["vim", "", "", "", ""]);
        canvas.feed(b"\x1b[?1049l", 0).unwrap();
        assert_eq!(rows(&canvas), ["4", "5", "6", "", ""]);
    }

    #[test]
    fn rows_are_cut_at_the_foot_and_leave_at_the_top_only_where_the_cursor_would_go() {
        let mut canvas = Canvas::new(size(5, 4), Leaving::default());
        canvas.feed(b"1\r\n2\x1b7\r\n3\r\n4\x1b[3H", 0).unwrap();
        canvas.resize(size(5, 3)).unwrap();
        assert_eq!(canvas.leaving().tally().lines, 0);
        canvas.resize(size(5, 2)).unwrap();
        assert_eq!(canvas.leaving().tally().lines, 1);
        assert_eq!(canvas.screen().rows(0, 5).collect::<Vec<_>>(), ["2", "3"]);
        canvas.feed(b"\x1b8x", 0).unwrap();
        assert_eq!(canvas.screen().rows(0, 5).collect::<Vec<_>>(), ["2", "3x"]);
    }

    #[test]
    fn a_wrap_that_is_to_come_stays_to_come_in_a_screen_that_is_not_wider() {
        for (cols, drawn) in [(5, ["abcde", "X"]), (4, ["abcd", "X"]), (6, ["abcdeX", ""])] {
            let mut canvas = Canvas::new(size(5, 3), Leaving::default());
            canvas.feed(b"abcde", 0).unwrap();
            canvas.resize(size(cols, 2)).unwrap();
            canvas.feed(b"X", 0).unwrap();
            assert_eq!(rows(&canvas), drawn);
        }
    }
}
