//! One grid as bytes that draw it: on an empty vt100 exactly, cells, wrapped rows and cursor; on a client's terminal as it looks.

use std::fmt::Write as _;

use vt100::{Cell, Screen};

use super::{drawing, pen::Pen, state::Place};

/// Draws every cell of the grid that shows, on a blank one; the pen and the cursor are left anywhere.
pub(super) fn cells(screen: &Screen, out: &mut String) {
    let rows = screen.size().0.get();
    let mut painter = Painter { screen, out, pen: Pen::default() };
    for row in 0..rows {
        painter.row(row);
    }
    for row in (0..rows.saturating_sub(1)).filter(|&row| screen.row_wrapped(row)) {
        painter.wrap(row);
    }
    painter.take_up(Pen::default());
}

/// Puts vt100's cursor where it is, and takes up a pen.
pub(super) fn cursor(screen: &Screen, pen: Pen, out: &mut String) {
    let place = drawing::place(screen);
    if place.wraps {
        out.push_str(&drawing::park(screen, place.row, pen));
    } else {
        let _ = write!(out, "\x1b[{};{}H{}", place.row + 1, place.col + 1, pen.sgr());
    }
}

/// Puts a client's cursor anywhere, where rows are addressed from the `first`, and takes up a pen.
pub(super) fn client_cursor(screen: &Screen, place: Place, first: u16, pen: Pen, out: &mut String) {
    let row = place.row.saturating_sub(first);
    if place.wraps {
        out.push_str(&drawing::park_client(screen, place.row, row, pen));
    } else {
        let _ = write!(out, "\x1b[{};{}H{}", row + 1, place.col + 1, pen.sgr());
    }
}

struct Painter<'a> {
    screen: &'a Screen,
    out: &'a mut String,
    pen: Pen,
}

impl Painter<'_> {
    fn cell(&self, row: u16, col: u16) -> Option<&Cell> {
        self.screen.cell(row, col)
    }

    fn take_up(&mut self, pen: Pen) {
        if pen != self.pen {
            self.out.push_str(&pen.sgr());
            self.pen = pen;
        }
    }

    /// Draws a row; the cursor is in it wherever the last drawing left it.
    fn row(&mut self, row: u16) {
        let cols = self.screen.size().1.get();
        let (mut col, mut drawn_to) = (0, None);
        while let Some(cell) = self.cell(row, col).filter(|_| col < cols) {
            let pen = Pen::of(cell);
            let width = if cell.is_wide() { 2 } else { 1 };
            if cell.has_contents() {
                let contents = cell.contents().to_owned();
                self.goto(row, col, drawn_to);
                self.take_up(pen);
                self.out.push_str(&contents);
                drawn_to = Some(col + width);
                col += width;
            } else if pen == Pen::default() || cell.is_wide_continuation() {
                col += 1;
            } else {
                let end =
                    (col..cols).find(|&col| self.cell(row, col).is_none_or(|cell| cell.has_contents() || Pen::of(cell) != pen));
                let end = end.unwrap_or(cols);
                self.goto(row, col, drawn_to);
                self.take_up(pen);
                let _ = write!(self.out, "\x1b[{}X", end - col);
                drawn_to = Some(col);
                col = end;
            }
        }
    }

    fn goto(&mut self, row: u16, col: u16, drawn_to: Option<u16>) {
        if drawn_to != Some(col) {
            let _ = write!(self.out, "\x1b[{};{}H", row + 1, col + 1);
        }
    }

    /// Lets the row wrap onto the next: its last character is drawn again, and the next row's first.
    fn wrap(&mut self, row: u16) {
        self.out.push_str(&drawing::park(self.screen, row, Pen::default()));
        self.pen = Pen::default();
        let Some(first) = self.cell(row + 1, 0) else { return };
        let pen = Pen::of(first);
        let contents = first.contents().to_owned();
        self.take_up(pen);
        if contents.is_empty() {
            let _ = write!(self.out, " \x1b[{}H\x1b[X", row + 2);
        } else {
            self.out.push_str(&contents);
        }
    }
}
