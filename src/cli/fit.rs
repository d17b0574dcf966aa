//! A window of another size than the terminal it shows: output made for one size cannot be drawn on another, so it is drawn aside and shown
//! as far as it fits.
//!
//! ```text
//!   screen, output ─► Mirror, of the terminal's size ─► the part around the cursor ─► window
//! ```
//!
//! Such a window is one that only watches, or that somebody has turned away from: who types in it gives the terminal its size. So it needs no
//! modes of the terminal, and has none.

use std::fmt::Write;

use kaval_actors::{
    Size,
    mirror::{Cell, CellColor, Mirror, Panicked, ScreenView},
};

/// See the module's head.
pub(super) struct Fitted {
    mirror: Mirror,
}

impl Fitted {
    /// One that shows a terminal of that size, which `screen` draws.
    pub(super) fn new(size: Size, screen: &[u8]) -> Result<Self, Panicked> {
        let mut mirror = Mirror::new(size);
        mirror.feed(screen)?;
        Ok(Self { mirror })
    }

    /// The terminal's size.
    pub(super) fn size(&self) -> Size {
        self.mirror.size()
    }

    /// Takes output in.
    pub(super) fn feed(&mut self, output: &[u8]) -> Result<(), Panicked> {
        self.mirror.feed(output)
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: Size) -> Result<(), Panicked> {
        self.mirror.resize(size)
    }

    /// What draws it on a window of that size.
    pub(super) fn paint(&self, window: Size) -> String {
        paint(&self.mirror.view(), window)
    }
}

fn paint(screen: &ScreenView, window: Size) -> String {
    let (cols, rows) = (usize::from(window.cols()), usize::from(window.rows()));
    let (top, left) = (first_shown(screen.cursor.row, rows), first_shown(screen.cursor.col.min(screen.cols - 1), cols));
    let mut out = String::from("\x1b[?2026h\x1b[?25l");
    for row in 0..rows {
        let _ = write!(out, "\x1b[{};1H", row + 1);
        if let Some(cells) = screen.cells.get(top + row) {
            draw_row(&mut out, cells.get(left..).unwrap_or_default(), cols);
        }
        out.push_str("\x1b[m\x1b[K");
    }
    let (row, col) = (usize::from(screen.cursor.row) - top, usize::from(screen.cursor.col) - left);
    let _ = write!(out, "\x1b[{};{}H", row + 1, col.min(cols - 1) + 1);
    out.push_str(if screen.cursor.visible { "\x1b[?25h\x1b[?2026l" } else { "\x1b[?2026l" });
    out
}

/// The first row or column that is shown of those of which `cursor` is one, where there is room for `room`.
fn first_shown(cursor: u16, room: usize) -> usize {
    (usize::from(cursor) + 1).saturating_sub(room)
}

/// Draws cells from the left, as far as they fit whole.
fn draw_row(out: &mut String, cells: &[Cell], cols: usize) {
    let mut style = String::new();
    for (at, cell) in cells.iter().enumerate().take(cols) {
        let is_second_half = at > 0 && cell.t.is_empty() && is_wide(&cells[at - 1]);
        if is_second_half {
            continue;
        }
        let cut = at + 1 == cols && is_wide(cell);
        let now = sgr(cell);
        if now != style {
            out.push_str(&now);
            style = now;
        }
        out.push_str(if cell.t.is_empty() || cut { " " } else { &cell.t });
    }
}

fn is_wide(cell: &Cell) -> bool {
    unicode_width::UnicodeWidthStr::width(cell.t.as_str()) > 1
}

fn sgr(cell: &Cell) -> String {
    let mut out = String::from("\x1b[0");
    let attributes = [(cell.bold, 1), (cell.dim, 2), (cell.italic, 3), (cell.underline, 4), (cell.inverse, 7)];
    for (_, number) in attributes.into_iter().filter(|(is_set, _)| *is_set) {
        let _ = write!(out, ";{number}");
    }
    colour(&mut out, 38, cell.fg.as_ref());
    colour(&mut out, 48, cell.bg.as_ref());
    out.push('m');
    out
}

fn colour(out: &mut String, plane: u8, colour: Option<&CellColor>) {
    match colour {
        None => {}
        Some(CellColor::Index(index)) => _ = write!(out, ";{plane};5;{index}"),
        Some(CellColor::Direct(hex)) => {
            let part = |at: usize| hex.get(at..at + 2).and_then(|part| u8::from_str_radix(part, 16).ok()).unwrap_or(0);
            let _ = write!(out, ";{plane};2;{};{};{}", part(1), part(3), part(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: (u32, u32), output: &str, window: (u32, u32)) -> Mirror {
        let size = |(cols, rows)| Size::new(cols, rows).unwrap();
        let fitted = Fitted::new(size(terminal), output.as_bytes()).unwrap();
        let mut window_of = Mirror::new(size(window));
        window_of.feed(b"\x1b[31mwhat was there before\r\nand below\x1b[m").unwrap();
        window_of.feed(fitted.paint(size(window)).as_bytes()).unwrap();
        window_of
    }

    #[test]
    fn a_larger_window_shows_all_of_it_and_nothing_else() {
        let window = shown((6, 3), "abcdefgh\r\n\x1b[1;32mx", (20, 5));
        assert_eq!(window.text(), "abcdef\ngh\nx\n");
        let cursor = window.view().cursor;
        assert_eq!((cursor.row, cursor.col), (2, 1));
        assert!(window.view().cells[2][0].bold);
    }

    #[test]
    fn a_smaller_window_shows_the_part_that_the_cursor_is_in() {
        let text: String = (0..9).map(|n| format!("line {n} is long\r\n")).collect();
        assert_eq!(shown((40, 10), &text, (6, 3)).text(), "line 7\nline 8\n");
        let cursor = shown((40, 10), &format!("{text}\x1b[H"), (6, 3));
        assert_eq!(cursor.text(), "line 0\nline 1\nline 2\n");
        assert_eq!(shown((40, 2), "0123456789", (4, 2)).text(), "789\n");
    }

    #[test]
    fn a_wide_character_that_does_not_fit_is_left_out() {
        assert_eq!(shown((10, 1), "a漢字b\r", (4, 1)).text(), "a漢\n");
        assert_eq!(shown((10, 1), "a漢字b\r", (5, 1)).text(), "a漢字\n");
    }
}
