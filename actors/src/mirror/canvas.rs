//! vt100 behind its filter, with its panics kept in: what the mirror and the history's renderer both draw on.
//!
//! **Invariants.** No scrollback is kept, nor counted: a screen that grows gets its new rows at the foot, whether or not rows have left it
//! before, so that one rebuilt from a checkpoint grows alike. No input makes a caller panic.

use std::{
    mem,
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
};

use vt100::{Callbacks, Parser, Screen};

use super::{BadCheckpoint, Panicked, filter::Filter};
use crate::Size;

/// See the module's head.
pub(crate) struct Canvas<C: Callbacks> {
    filter: Filter,
    parser: Parser<C>,
}

fn side(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("a Size has no side of 0")
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

impl<C: Callbacks> Canvas<C> {
    /// An empty one.
    pub(crate) fn new(size: Size, callbacks: C) -> Self {
        let parser = Parser::new_with_callbacks(side(size.rows()), side(size.cols()), 0, callbacks);
        Self { filter: Filter::default(), parser }
    }

    /// Draws output.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Panicked> {
        guarded(|| self.filter.drive(bytes, &mut self.parser))
    }

    /// Gives it another size.
    pub(crate) fn resize(&mut self, size: Size) -> Result<(), Panicked> {
        guarded(|| {
            forget_scrolled(self.parser.screen_mut());
            self.parser.set_size(side(size.rows()), side(size.cols()));
        })
    }

    /// Scrolls every row of the main screen off its top, told to the callbacks like any other; what was drawn is gone then.
    pub(crate) fn scroll_off(&mut self) -> Result<(), Panicked>
    where
        C: Default,
    {
        let (rows, cols) = self.screen().size();
        let mut last = Parser::new_with_callbacks(rows, cols, 0, mem::take(self.callbacks_mut()));
        mem::swap(last.screen_mut(), self.parser.screen_mut());
        let result = guarded(|| last.process(b"\x1b[?47l\x1b[r\x1b[65535S"));
        self.parser = last;
        self.filter = Filter::default();
        result
    }

    /// What a screen like this one is made of again.
    pub(crate) fn checkpoint(&self) -> Result<Vec<u8>, Panicked> {
        guarded(|| encode_checkpoint(self.size(), &repaint(self.screen())))
    }

    pub(crate) fn size(&self) -> Size {
        let (rows, cols) = self.screen().size();
        Size::new(cols.get().into(), rows.get().into()).expect("made from a Size")
    }

    pub(crate) fn screen(&self) -> &Screen {
        self.parser.screen()
    }

    pub(crate) fn callbacks(&self) -> &C {
        self.parser.callbacks()
    }

    pub(crate) fn callbacks_mut(&mut self) -> &mut C {
        self.parser.callbacks_mut()
    }

    /// Whether no character waits for its rest.
    pub(crate) fn is_between_characters(&self) -> bool {
        self.filter.is_between()
    }
}

/// A parser between sequences that shows the same.
pub(super) fn copy(screen: &Screen) -> Parser {
    let (rows, cols) = screen.size();
    let mut copy = Parser::new(rows, cols, 0);
    *copy.screen_mut() = screen.clone();
    copy
}

/// Bytes that draw both screens, modes and cursor on a terminal of the screen's size in any state.
pub(super) fn repaint(screen: &Screen) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(CLEAN_SLATE);
    if screen.alternate_screen() {
        let mut main = copy(screen);
        main.process(b"\x1b[?1049l");
        out.extend_from_slice(main.screen().state_formatted().as_bytes());
        out.extend_from_slice(b"\x1b[?1049h");
    }
    out.extend_from_slice(screen.state_formatted().as_bytes());
    out.extend_from_slice(format!("\x1b[{} q", screen.cursor_style() as u8).as_bytes());
    out
}

/// Puts a terminal in whatever state into the one that a repaint starts from: no half sequence, the main screen, no margins,
/// no origin mode, wrapping, ASCII, no mouse reports, no bracketed paste, cursor shown. Erased backwards from the last cell: of a
/// screen erased forwards some terminals keep a copy in their scrollback.
const CLEAN_SLATE: &[u8] = b"\x18\x1b[?1049l\x1b[?6l\x1b[r\x1b[?7h\x1b[4l\x1b(B\x0f\x1b[m\x1b[?1l\x1b>\
    \x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?25h\x1b[0 q\x1b[999;999H\x1b[1J";

/// Lets vt100 forget how many rows have left the main screen: it would put that many blank ones back on top of a screen that grows.
fn forget_scrolled(screen: &mut Screen) {
    if !screen.alternate_screen() {
        return screen.clear_scrollback();
    }
    let (rows, cols) = screen.size();
    let mut aside = Parser::new(rows, cols, 0);
    mem::swap(aside.screen_mut(), screen);
    aside.process(b"\x1b[?47l");
    aside.screen_mut().clear_scrollback();
    aside.process(b"\x1b[?47h");
    mem::swap(aside.screen_mut(), screen);
}

/// A size as a journal's resize record and a checkpoint spell it: columns, rows, little-endian.
pub fn encode_size(size: Size) -> [u8; 4] {
    let ([a, b], [c, d]) = (size.cols().to_le_bytes(), size.rows().to_le_bytes());
    [a, b, c, d]
}

/// Reads [`encode_size`]'s bytes.
pub fn decode_size(bytes: &[u8]) -> Option<Size> {
    let [a, b, c, d] = *bytes else { return None };
    Size::new(u16::from_le_bytes([a, b]).into(), u16::from_le_bytes([c, d]).into()).ok()
}

/// A checkpoint of a screen of `size` that `repaint` draws.
pub(super) fn encode_checkpoint(size: Size, repaint: &[u8]) -> Vec<u8> {
    [&encode_size(size), repaint].concat()
}

/// The size and the repaint of a checkpoint.
pub(crate) fn decode_checkpoint(checkpoint: &[u8]) -> Result<(Size, &[u8]), BadCheckpoint> {
    let (size, repaint) = checkpoint.split_at_checked(4).ok_or(BadCheckpoint)?;
    Ok((decode_size(size).ok_or(BadCheckpoint)?, repaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(canvas: &Canvas<()>) -> Vec<String> {
        canvas.screen().rows(0, 10).collect()
    }

    #[test]
    fn a_screen_that_has_scrolled_grows_at_its_foot_also_behind_the_alternate_one() {
        let mut canvas = Canvas::new(Size::new(10, 2).unwrap(), ());
        canvas.feed(b"1\r\n2\r\n3\r\n4").unwrap();
        canvas.resize(Size::new(10, 3).unwrap()).unwrap();
        assert_eq!(rows(&canvas), ["3", "4", ""]);
        canvas.feed(b"\r\n5\r\n6\x1b[?1049h\x1b[Hvim").unwrap();
        canvas.resize(Size::new(10, 5).unwrap()).unwrap();
        assert_eq!(rows(&canvas), ["vim", "", "", "", ""]);
        canvas.feed(b"\x1b[?1049l").unwrap();
        assert_eq!(rows(&canvas), ["4", "5", "6", "", ""]);
    }
}
