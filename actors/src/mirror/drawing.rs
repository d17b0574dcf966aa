//! What the filter draws with: vt100, given only what it gets right, and the state beside it.
//!
//! vt100 keeps the cells, the cursor and the rows that scroll. It is always without origin mode, without a saved cursor, and its pen is the
//! state's. Its cursor stands one behind the last column where the next character is to wrap; no sequence puts it there, only a
//! character drawn in the last column does.

use vt100::{Callbacks, Parser};

use super::{
    modes::{ORIGIN, WRAP},
    notice::{NOTICES_MAX, Notice, QUESTIONS_MAX, What},
    pen::{Color, Pen},
    state::{Place, State},
};

/// Stands in the grid for U+FFFD, which vt100 draws nothing for: the last code point but one, which is no character.
pub(super) const REPLACEMENT_STAND_IN: char = '\u{10fffe}';
const REPLACEMENT: char = '\u{fffd}';
/// Asks for a character to be drawn as an emoji, which would make vt100 widen its cell.
pub(super) const EMOJI_PRESENTATION: char = '\u{fe0f}';

/// See the module's head.
pub(super) struct Drawing<'a, C: Callbacks> {
    pub(super) vt: &'a mut Parser<C>,
    pub(super) state: &'a mut State,
    /// What is told and asked goes here, if anybody listens.
    pub(super) heard: Option<&'a mut Vec<Notice>>,
    /// Bytes fed up to the end of what is being drawn.
    pub(super) at: u64,
}

/// Columns a character takes; `None` for one that is not drawn.
pub(super) fn width(c: char) -> Option<u16> {
    match unicode_width::UnicodeWidthChar::width(c) {
        Some(width) => Some((width as u16).min(2)),
        None => (u32::from(c) >= 256).then_some(1),
    }
}

/// The last character that takes a column of its own.
pub(super) fn last_char(text: &str) -> Option<char> {
    text.chars().rev().find(|&c| width(c).is_some_and(|width| width > 0))
}

impl<C: Callbacks> Drawing<'_, C> {
    pub(super) fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.vt.process(bytes.as_ref());
    }

    pub(super) fn tell(&mut self, what: What) {
        if let Some(heard) = &mut self.heard {
            let most = if matches!(what, What::Query(_)) { QUESTIONS_MAX } else { NOTICES_MAX };
            if heard.len() >= most {
                return;
            }
            heard.push(Notice { at: self.at, what });
        }
    }

    pub(super) fn reply(&mut self, reply: impl Into<Vec<u8>>) {
        self.tell(What::Query(reply.into()));
    }

    pub(super) fn rows(&self) -> u16 {
        self.vt.screen().size().0.get()
    }

    pub(super) fn cols(&self) -> u16 {
        self.vt.screen().size().1.get()
    }

    /// First and last row that scroll.
    pub(super) fn margins(&self) -> (u16, u16) {
        self.state.margins.unwrap_or((0, self.rows() - 1))
    }

    pub(super) fn place(&self) -> Place {
        place(self.vt.screen())
    }

    pub(super) fn goto(&mut self, row: u16, col: u16) {
        self.put(format!("\x1b[{};{}H", row + 1, col + 1));
    }

    /// Takes the cursor back from behind the last column; where it is then.
    pub(super) fn settle(&mut self) -> (u16, u16) {
        let Place { row, col, wraps } = self.place();
        if wraps {
            self.goto(row, col);
        }
        (row, col)
    }

    /// Puts the cursor anywhere, behind the last column too.
    pub(super) fn restore_place(&mut self, place: Place) {
        let (row, col) = (place.row.min(self.rows() - 1), place.col.min(self.cols() - 1));
        self.goto(row, col);
        if place.wraps {
            let parked = park(self.vt.screen(), row, self.state.pen);
            self.put(parked);
        }
    }

    /// Draws with the background alone.
    pub(super) fn erase(&mut self, how: &str) {
        let pen = self.state.pen;
        if pen.is_eraser() {
            self.put(how);
        } else {
            self.put(format!("{}{how}{}", pen.eraser().sgr(), pen.sgr()));
        }
    }

    /// Whether erased cells are not just blank.
    pub(super) fn is_colored(&self) -> bool {
        self.state.pen.bg != Color::DEFAULT
    }

    /// Gives rows that vt100 left blank the background; the cursor, which is not behind the last column, stays.
    pub(super) fn color_rows(&mut self, first: u16, last: u16) {
        if self.is_colored() {
            let Place { row, col, .. } = self.place();
            let how: String = (first..=last).map(|row| format!("\x1b[{}H\x1b[2K", row + 1)).collect();
            self.erase(&how);
            self.goto(row, col);
        }
    }

    /// Scrolls the region up, the cursor staying.
    pub(super) fn scroll_up(&mut self, count: u16) {
        let (top, bottom) = self.margins();
        let count = count.min(bottom - top + 1);
        let place = self.place();
        self.put(format!("\x1b[{count}S"));
        self.color_rows(bottom + 1 - count, bottom);
        self.stay(place);
    }

    /// The same down.
    pub(super) fn scroll_down(&mut self, count: u16) {
        let (top, bottom) = self.margins();
        let count = count.min(bottom - top + 1);
        let place = self.place();
        self.put(format!("\x1b[{count}T"));
        self.color_rows(top, top + count - 1);
        self.stay(place);
    }

    fn stay(&mut self, place: Place) {
        if self.place() != place {
            self.restore_place(place);
        }
    }

    /// `LF`, `IND`: down, scrolling at the bottom margin.
    pub(super) fn index(&mut self) {
        let (row, _) = self.settle();
        self.put("\n");
        let (_, bottom) = self.margins();
        if row == bottom {
            self.color_rows(bottom, bottom);
        }
    }

    /// `RI`: up, scrolling at the top margin.
    pub(super) fn reverse_index(&mut self) {
        let (row, col) = self.settle();
        match (row, self.margins().0) {
            (row, top) if row == top => self.scroll_down(1),
            (0, _) => {}
            (row, _) => self.goto(row - 1, col),
        }
    }

    /// `ICH`.
    pub(super) fn insert_cells(&mut self, count: u16) {
        let (row, col) = self.settle();
        if self.vt.screen().cell(row, col).is_some_and(vt100::Cell::is_wide_continuation) {
            self.goto(row, col - 1);
            self.erase("\x1b[2X");
            self.goto(row, col);
        }
        let count = count.min(self.cols() - col);
        self.put(format!("\x1b[{count}@"));
        if self.is_colored() {
            self.erase(&format!("\x1b[{count}X"));
        }
    }

    /// `DCH`.
    pub(super) fn delete_cells(&mut self, count: u16) {
        let (row, col) = self.settle();
        let count = count.min(self.cols() - col);
        self.put(format!("\x1b[{count}P"));
        if self.is_colored() {
            self.goto(row, self.cols() - count);
            self.erase("\x1b[K");
            self.goto(row, col);
        }
    }

    /// `IL`, and `DL` with `M`: the cursor goes to the first column.
    pub(super) fn shift_lines(&mut self, count: u16, last: char) {
        let (top, bottom) = self.margins();
        if !(top..=bottom).contains(&self.place().row) {
            return;
        }
        let row = self.place().row;
        self.goto(row, 0);
        let count = count.min(bottom - row + 1);
        self.put(format!("\x1b[{count}{last}"));
        let first = if last == 'L' { row } else { bottom + 1 - count };
        self.color_rows(first, first + count - 1);
    }

    /// Does the same in every row that scrolls, at a column; a wrap to come is still to come.
    pub(super) fn in_each_row(&mut self, col: u16, mut edit: impl FnMut(&mut Self)) {
        let place = self.place();
        let (top, bottom) = self.margins();
        for row in top..=bottom {
            self.goto(row, col);
            edit(self);
        }
        self.restore_place(place);
    }

    /// Draws text that holds no control characters.
    pub(super) fn print(&mut self, text: &str) {
        let mut drawn = String::with_capacity(text.len());
        for c in text.chars() {
            match self.state.charsets.read(c) {
                EMOJI_PRESENTATION | '\u{7f}' => {}
                REPLACEMENT => drawn.push(REPLACEMENT_STAND_IN),
                c => drawn.push(c),
            }
        }
        self.state.last_char = last_char(&drawn).or(self.state.last_char);
        self.print_drawn(&drawn);
    }

    /// Draws what has been read from its character sets.
    fn print_drawn(&mut self, text: &str) {
        let is_plain = !self.state.modes.insert && self.state.modes.has(WRAP) && !self.is_colored();
        let Place { col, wraps, .. } = self.place();
        let fits = || !wraps && !self.state.modes.insert && usize::from(col) + text.len() <= self.cols().into();
        if is_plain || fits() {
            return self.put(text);
        }
        for c in text.chars() {
            self.print_char(c);
        }
    }

    fn print_char(&mut self, c: char) {
        let Some(width) = width(c).filter(|&width| width <= self.cols()) else { return };
        let Place { row, col, wraps } = self.place();
        let fits = width == 0 || !wraps && col + width <= self.cols();
        if !fits && !self.state.modes.has(WRAP) {
            self.goto(row, self.cols() - width);
        }
        if self.state.modes.insert && width > 0 {
            match fits || !self.state.modes.has(WRAP) {
                true => self.insert_cells(width),
                false => self.make_room_below(width),
            }
        }
        self.put(c.encode_utf8(&mut [0; 4]));
        if !fits && self.state.modes.has(WRAP) && row == self.margins().1 && self.is_colored() {
            let behind = self.place();
            if !behind.wraps {
                self.erase("\x1b[K");
            }
        }
    }

    /// Pushes the row on that a character is about to wrap onto: at the foot of the screen, where nothing scrolls, its own.
    fn make_room_below(&mut self, width: u16) {
        let place = self.place();
        if place.row != self.margins().1 {
            self.goto((place.row + 1).min(self.rows() - 1), 0);
            self.insert_cells(width);
            self.restore_place(place);
        }
    }

    /// Lets every row scroll, without moving the cursor.
    pub(super) fn reset_margins(&mut self) {
        self.state.margins = None;
        let place = self.place();
        self.put("\x1b[r");
        self.restore_place(place);
    }

    /// Shows the main screen or the alternate one, cursor and margins staying.
    pub(super) fn show(&mut self, alternate: bool) {
        if self.vt.screen().alternate_screen() == alternate {
            return;
        }
        self.state.stretches_ended += u32::from(!alternate);
        let place = self.place();
        self.put(if alternate { "\x1b[?47h" } else { "\x1b[?47l" });
        self.state.alternate_used = true;
        let (top, bottom) = self.margins();
        self.put(format!("\x1b[{};{}r", top + 1, bottom + 1));
        self.restore_place(place);
    }

    /// First row that can be addressed, and the last.
    pub(super) fn addressed(&self) -> (u16, u16) {
        if self.state.modes.has(ORIGIN) { self.margins() } else { (0, self.rows() - 1) }
    }
}

/// Where vt100's cursor is.
pub(super) fn place(screen: &vt100::Screen) -> Place {
    let (row, col) = screen.cursor_position();
    let last = screen.size().1.get() - 1;
    Place { row, col: col.min(last), wraps: col > last }
}

/// What puts vt100's cursor behind the last column of a row.
pub(super) fn park(screen: &vt100::Screen, row: u16, pen: Pen) -> String {
    let last = screen.size().1.get();
    match screen.cell(row, last - 1) {
        Some(cell) if cell.has_contents() || cell.is_wide_continuation() => park_client(screen, row, row, pen),
        // Nothing stands there: what is drawn is erased again, from a place that is come back from.
        cell => {
            let goto = format!("\x1b[{};{last}H", row + 1);
            let blank = cell.map(Pen::of).unwrap_or_default().sgr();
            format!("{goto}{blank} \x1b7{goto}\x1b[X\x1b8{}", pen.sgr())
        }
    }
}

/// The same for a client's terminal, as `addressed` from the first row that can be: the last character is drawn again, or a space.
pub(super) fn park_client(screen: &vt100::Screen, row: u16, addressed: u16, pen: Pen) -> String {
    let last = screen.size().1.get() - 1;
    let is_second = last > 0 && screen.cell(row, last).is_some_and(vt100::Cell::is_wide_continuation);
    let col = if is_second { last - 1 } else { last };
    let (cell_pen, contents) = screen.cell(row, col).map_or((pen, ""), |cell| (Pen::of(cell), cell.contents()));
    let contents = if contents.is_empty() { " " } else { contents };
    format!("\x1b[{};{}H{}{contents}{}", addressed + 1, col + 1, cell_pen.sgr(), pen.sgr())
}
