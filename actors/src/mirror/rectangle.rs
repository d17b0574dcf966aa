//! Rectangles of cells: filled, erased, copied.

use std::fmt::Write as _;

use vt100::Callbacks;

use super::{drawing::Drawing, pen::Pen, sequence::Params};

/// Cells from the first row and column to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rectangle {
    top: u16,
    left: u16,
    bottom: u16,
    right: u16,
}

impl Rectangle {
    fn width(self) -> u16 {
        self.right - self.left + 1
    }
}

impl<C: Callbacks> Drawing<'_, C> {
    /// `DECFRA`: only with what can be printed.
    pub(super) fn fill_rectangle(&mut self, params: &Params) {
        let character = char::from_u32(params.get(0).into()).filter(|c| matches!(c, ' '..='~' | '\u{a0}'..='\u{ff}'));
        if let (Some(character), Some(at)) = (character, self.rectangle(params, 1)) {
            let filled = character.to_string().repeat(at.width().into());
            self.in_place(|drawing| {
                for row in at.top..=at.bottom {
                    drawing.goto(row, at.left);
                    drawing.put(&filled);
                }
            });
        }
    }

    /// `DECERA`.
    pub(super) fn erase_rectangle(&mut self, params: &Params) {
        if let Some(at) = self.rectangle(params, 0) {
            self.in_place(|drawing| {
                for row in at.top..=at.bottom {
                    drawing.goto(row, at.left);
                    drawing.erase(&format!("\x1b[{}X", at.width()));
                }
            });
        }
    }

    /// `DECCRA`: there is one page.
    pub(super) fn copy_rectangle(&mut self, params: &Params) {
        let Some(from) = self.rectangle(params, 0) else { return };
        let (first, last) = self.addressed();
        let (top, left) = (first.saturating_add(params.count(5) - 1), params.count(6) - 1);
        if top > last || left >= self.cols() {
            return;
        }
        let height = (from.bottom - from.top).min(last - top);
        let right = from.right.min(from.left + (self.cols() - 1 - left));
        let mut copy = String::new();
        for row in 0..=height {
            let _ = write!(copy, "\x1b[{};{}H", top + row + 1, left + 1);
            for col in from.left..=right {
                self.copy_cell((from.top + row, col), (from.left, right), &mut copy);
            }
        }
        self.in_place(|drawing| {
            drawing.put(copy);
            drawing.put(drawing.state.pen.sgr());
        });
    }

    /// What draws one cell once more and goes on to the next; of a wide character that is cut in two, a blank.
    fn copy_cell(&self, (row, col): (u16, u16), (left, right): (u16, u16), copy: &mut String) {
        let Some(cell) = self.vt.screen().cell(row, col) else { return };
        if cell.is_wide_continuation() && col > left {
            return;
        }
        copy.push_str(&Pen::of(cell).sgr());
        match cell.contents() {
            contents if !contents.is_empty() && (col < right || !cell.is_wide()) => copy.push_str(contents),
            _ => copy.push_str("\x1b[X\x1b[C"),
        }
    }

    /// Puts the cursor back where it was before.
    fn in_place(&mut self, draw: impl FnOnce(&mut Self)) {
        let place = self.place();
        draw(self);
        self.restore_place(place);
    }

    /// The rectangle whose sides begin at a parameter; rows count as the cursor's do.
    fn rectangle(&self, params: &Params, at: usize) -> Option<Rectangle> {
        let (first, last) = self.addressed();
        let end = |value: u16, first: u16, most: u16| if value == 0 { most } else { first.saturating_add(value - 1).min(most) };
        let rectangle = Rectangle {
            top: first.saturating_add(params.count(at) - 1),
            left: params.count(at + 1) - 1,
            bottom: end(params.get(at + 2), first, last),
            right: end(params.get(at + 3), 0, self.cols() - 1),
        };
        (rectangle.top <= rectangle.bottom && rectangle.left <= rectangle.right).then_some(rectangle)
    }
}
