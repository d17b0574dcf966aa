//! Draws the output that can be followed without looking at the grid: vt100 gets it in fewer words.
//!
//! ```text
//!   output   ESC[1m ESC(B ESC[m ESC[34m │ ESC[5;1H │ ls │ ESC[m ESC[K │ CR LF │ ESC[?25l │ BEL
//!   vt100               ESC[34m           ESC[5;1H   ls   ESC[m ESC[K   CR LF              └ ends the run: the filter's
//! ```
//!
//! Cursor and pen are followed here; vt100 is told of them where something is to be drawn that depends on them. Much of what vt100 gets
//! wrong, it gets wrong at the end of a row, or where lines scroll in that should be coloured: where it is not known whether that is
//! so, the run ends, and the next one knows.
//!
//! **Invariants.** Behind a run vt100's cursor is where the screen's is, and its pen is the state's. Where not both, row and column, are
//! known, vt100's cursor is the screen's within a run too.

use vt100::Screen;

use super::{
    charset::{Charset, Charsets},
    drawing::{EMOJI_PRESENTATION, REPLACEMENT_STAND_IN, last_char, place},
    modes::{KEYPAD, ORIGIN, WRAP, WRAP_BACK},
    pen::{Color, Pen, write_number},
    state::State,
};

/// Bytes for vt100 at which a run ends.
pub(super) const DRAWN_BYTES: usize = 8 << 10;

/// What is known of where a cursor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    row: Option<u16>,
    /// Behind the last column: the next character wraps.
    col: Option<u16>,
    /// The column is at most this.
    most: u16,
}

impl At {
    fn known(row: u16, col: u16) -> Self {
        Self { row: Some(row), col: Some(col), most: col }
    }

    fn both(self) -> Option<(u16, u16)> {
        self.row.zip(self.col)
    }
}

/// A run so far.
pub(super) struct Run<'a, 'b> {
    state: &'a mut State,
    /// What vt100 is to draw.
    drawn: &'a mut Vec<u8>,
    rows: u16,
    cols: u16,
    /// Last row that scrolls.
    bottom: u16,
    /// Characters are drawn as they are, and wrap.
    text: bool,
    /// `LF` is no more than that.
    feeds: bool,
    /// `BS` stays in its row.
    backs: bool,
    /// Rows are addressed from the first one.
    addresses: bool,
    tabs: bool,
    at: At,
    /// Where vt100's cursor is, if elsewhere.
    left: Option<At>,
    /// All that moved the cursor since, if vt100 would go the same way.
    moved: Option<&'b [u8]>,
    /// vt100's pen.
    pen: Pen,
    /// All that changed the pen since vt100 had it, if it would do the same there.
    changed: Option<&'b [u8]>,
}

impl<'a, 'b> Run<'a, 'b> {
    /// Begins one, to be drawn into the empty `drawn`.
    pub(super) fn new(state: &'a mut State, screen: &Screen, drawn: &'a mut Vec<u8>) -> Self {
        let (rows, cols) = screen.size();
        let (rows, cols) = (rows.get(), cols.get());
        let place = place(screen);
        let modes = &state.modes;
        Self {
            rows,
            cols,
            bottom: state.margins.map_or(rows - 1, |(_, bottom)| bottom),
            text: draws_text(state),
            feeds: !modes.newline,
            backs: !modes.has(WRAP_BACK),
            addresses: !modes.has(ORIGIN),
            tabs: state.tabs.are_default(),
            at: At::known(place.row, place.col + u16::from(place.wraps)),
            left: None,
            moved: None,
            pen: state.pen,
            changed: None,
            state,
            drawn,
        }
    }

    /// Takes what of `bytes` belongs to it; how many bytes that is.
    pub(super) fn take(mut self, bytes: &'b [u8]) -> usize {
        let mut end = 0;
        while end < bytes.len() && self.drawn.len() < DRAWN_BYTES {
            let Some(length) = self.token(&bytes[end..]) else { break };
            end += length;
        }
        self.arrive();
        self.dip(self.state.pen);
        end
    }

    #[inline(always)]
    fn token(&mut self, bytes: &'b [u8]) -> Option<usize> {
        if matches!(bytes[0], b' '..=b'~' | 0x80..) {
            return self.text(bytes);
        }
        let length = self.control(bytes)?;
        self.state.last_char = None;
        Some(length)
    }

    #[inline(always)]
    fn control(&mut self, bytes: &'b [u8]) -> Option<usize> {
        match bytes[0] {
            b'\r' => self.go(self.at.row, Some(0), 0, b"\r"),
            b'\n' | 0x0b | 0x0c => self.feed()?,
            b'\t' => self.tab()?,
            0x08 => self.back(1, b"\x08")?,
            0x0f => self.read_by(|charsets| charsets.shift = 0),
            0x1b => return self.escape(bytes),
            _ => return None,
        }
        Some(1)
    }

    fn is_colored(&self) -> bool {
        self.state.pen.bg != Color::DEFAULT
    }

    /// Whether the cursor is known not to be behind the last column.
    fn is_inside(&self) -> bool {
        self.at.most < self.cols
    }

    /// The column the cursor stands on, if known.
    fn col(&self) -> Option<u16> {
        self.at.col.map(|col| col.min(self.cols - 1))
    }

    /// Moves the cursor, which `how` would do as well.
    #[inline(always)]
    fn go(&mut self, row: Option<u16>, col: Option<u16>, most: u16, how: &'b [u8]) {
        let to = At { row, col, most: col.unwrap_or(most) };
        if to.both().is_none() {
            self.drawn.extend_from_slice(how);
        } else if self.left.is_some() {
            self.moved = None;
        } else {
            self.left = Some(self.at);
            self.moved = self.is_inside().then_some(how);
        }
        self.at = to;
    }

    /// Takes vt100's cursor to where it should be.
    #[inline(always)]
    fn arrive(&mut self) {
        if let Some(left) = self.left.take() {
            match self.moved.take() {
                Some(how) => self.drawn.extend_from_slice(how),
                None => self.follow(left),
            }
        }
    }

    fn follow(&mut self, left: At) {
        let Some((row, col)) = self.at.both() else { return };
        let feeds = |from: u16| from + 1 == row && from != self.bottom;
        match (left.row, left.col) {
            (Some(from), Some(there)) if (from, there) == (row, col) => {}
            (Some(from), _) if from == row && col == 0 => self.drawn.push(b'\r'),
            (Some(from), _) if feeds(from) && col == 0 => self.drawn.extend_from_slice(b"\r\n"),
            (Some(from), Some(there)) if feeds(from) && there == col => self.drawn.push(b'\n'),
            (Some(from), Some(there)) if from == row && there < self.cols && there == col + 1 => self.drawn.push(0x08),
            (Some(from), _) if from == row => self.order(&[col + 1], b'G'),
            _ => self.order(&[row + 1, col + 1], b'H'),
        }
    }

    /// A control sequence for vt100.
    fn order(&mut self, params: &[u16], last: u8) {
        self.drawn.extend_from_slice(b"\x1b[");
        for (at, param) in params.iter().enumerate() {
            if at > 0 {
                self.drawn.push(b';');
            }
            write_number(self.drawn, *param);
        }
        self.drawn.push(last);
    }

    /// Gives vt100 a pen.
    #[inline(always)]
    fn dip(&mut self, pen: Pen) {
        if self.pen != pen {
            match self.changed.take().filter(|_| pen == self.state.pen) {
                Some(how) => self.drawn.extend_from_slice(how),
                None => pen.write_change(self.pen, self.drawn),
            }
            self.pen = pen;
        }
    }

    /// Changes the pen, which `how` would do as well.
    #[inline(always)]
    fn change(&mut self, pen: Pen, how: &'b [u8]) {
        let first = self.pen == self.state.pen;
        self.changed = (first && !pen.is_bold_and_dim()).then_some(how);
        self.state.pen = pen;
    }

    /// Draws at the cursor with a pen.
    #[inline(always)]
    fn draw(&mut self, pen: Pen, what: &[u8]) {
        self.arrive();
        self.dip(pen);
        self.drawn.extend_from_slice(what);
    }

    #[inline(always)]
    fn text(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.text {
            return None;
        }
        let length = front(bytes, |byte| (b' '..=b'~').contains(&byte));
        if bytes.get(length).is_some_and(|byte| *byte >= 0x80) {
            return self.characters(bytes, length);
        }
        let behind = match self.at.col {
            Some(col) if usize::from(self.cols - col) >= length => {
                At { col: Some(col + length as u16), most: col + length as u16, ..self.at }
            }
            _ => self.wrapped(length)?,
        };
        self.draw(self.state.pen, &bytes[..length]);
        self.at = behind;
        self.state.last_char = Some(char::from(bytes[length - 1]));
        Some(length)
    }

    /// Where so many characters of one column lead that do not fit into the row.
    fn wrapped(&self, length: usize) -> Option<At> {
        let unknown = At { row: None, col: None, most: self.cols };
        let Some((row, col)) = self.at.both() else { return (!self.is_colored()).then_some(unknown) };
        let (cols, columns) = (usize::from(self.cols), usize::from(col) + length);
        let rows = (columns - 1) / cols;
        let below = usize::from(row) + rows;
        let scrolls = row <= self.bottom && below > self.bottom.into();
        if scrolls && self.is_colored() {
            return None;
        }
        let last = if row <= self.bottom { self.bottom } else { self.rows - 1 };
        Some(At::known(below.min(last.into()) as u16, (columns - rows * cols) as u16))
    }

    /// Text of which the first characters are ASCII.
    fn characters(&mut self, bytes: &[u8], ascii: usize) -> Option<usize> {
        let length = ascii + front(&bytes[ascii..], |byte| byte >= b' ' && byte != 0x7f);
        // No character takes more columns than bytes.
        let most = usize::from(self.at.most) + length;
        let fits = most <= self.cols.into();
        if !fits && self.is_colored() {
            return None;
        }
        let text = str::from_utf8(&bytes[..length]).ok()?;
        // In UTF-8, what is odd begins with one of these.
        let may_be_odd = memchr::memchr3(0xc2, 0xef, 0xf4, text.as_bytes()).is_some();
        let odd = |c| matches!(c, '\u{80}'..'\u{a0}' | EMOJI_PRESENTATION | char::REPLACEMENT_CHARACTER | REPLACEMENT_STAND_IN);
        if may_be_odd && text.contains(odd) {
            return None;
        }
        self.draw(self.state.pen, text.as_bytes());
        self.at = match fits {
            true => At { col: None, most: most as u16, ..self.at },
            false => At { row: None, col: None, most: self.cols },
        };
        self.state.last_char = last_char(text).or(self.state.last_char);
        Some(length)
    }

    fn feed(&mut self) -> Option<()> {
        let settles = self.at.both().is_some() || self.is_inside();
        if !self.feeds || !settles {
            return None;
        }
        match self.at.row {
            Some(row) if row != self.bottom => {
                self.go(Some((row + 1).min(self.rows - 1)), self.col(), self.at.most, b"\n");
                return Some(());
            }
            None if self.is_colored() => return None,
            _ => {}
        }
        if self.at.col == Some(self.cols) {
            self.go(self.at.row, self.col(), 0, &[])
        }
        self.arrive();
        self.drawn.push(b'\n');
        if self.is_colored() {
            self.draw(self.state.pen.eraser(), b"\x1b[2K");
        }
        Some(())
    }

    fn reverse_feed(&mut self) -> Option<()> {
        let (row, col) = self.at.row.zip(self.col())?;
        let top = self.state.margins.map_or(0, |(top, _)| top);
        if row != top && row > 0 {
            self.go(Some(row - 1), Some(col), 0, b"\x1bM");
        } else if row != top || self.is_colored() || !self.is_inside() {
            return None;
        } else {
            self.draw(self.pen, b"\x1bM");
        }
        Some(())
    }

    fn tab(&mut self) -> Option<()> {
        let col = self.at.col.filter(|_| self.tabs)?;
        if col < self.cols {
            let to = ((col / 8 + 1) * 8).min(self.cols - 1);
            self.go(self.at.row, Some(to), 0, b"\t");
        }
        Some(())
    }

    fn back(&mut self, count: u16, how: &'b [u8]) -> Option<()> {
        if !self.backs || !self.is_inside() && self.at.both().is_none() {
            return None;
        }
        let col = self.col().map(|col| col.saturating_sub(count));
        self.go(self.at.row, col, self.at.most.saturating_sub(count), how);
        Some(())
    }

    /// Changes how characters are read.
    fn read_by(&mut self, change: impl FnOnce(&mut Charsets)) {
        change(&mut self.state.charsets);
        self.text = draws_text(self.state);
    }

    #[inline(always)]
    fn escape(&mut self, bytes: &'b [u8]) -> Option<usize> {
        match *bytes.get(1)? {
            b'[' => return self.sequence(bytes),
            b'(' => {
                let name = *bytes.get(2).filter(|name| (b'0'..=b'~').contains(name))?;
                self.read_by(|charsets| charsets.sets[0] = Charset::named(name));
                return Some(3);
            }
            b'M' => self.reverse_feed()?,
            byte @ (b'=' | b'>') => self.state.modes.set(KEYPAD, byte == b'='),
            _ => return None,
        }
        Some(2)
    }

    #[inline(always)]
    fn sequence(&mut self, bytes: &'b [u8]) -> Option<usize> {
        if bytes.get(2) == Some(&b'?') {
            return self.mode(&bytes[3..]).map(|length| length + 3);
        }
        let numbers = Numbers::read(&bytes[2..])?;
        let length = numbers.length + 3;
        let params = &numbers.values[..numbers.count];
        match bytes[length - 1] {
            b'm' if matches!(params, [] | [0]) => self.change(Pen::default(), b"\x1b[m"),
            b'm' => self.change(self.state.pen.after_plain(params)?, &bytes[..length]),
            b'r' => self.margins(numbers.values[0], numbers.values[1])?,
            last @ (b'J' | b'K' | b'P' | b'S' | b'X') => self.edit(last, numbers.values[0], &bytes[..length])?,
            last => self.move_cursor(last, numbers.values[0], numbers.values[1], &bytes[..length])?,
        }
        Some(length)
    }

    /// Private modes that have nothing to do with drawing.
    fn mode(&mut self, bytes: &[u8]) -> Option<usize> {
        let numbers = Numbers::read(bytes)?;
        let on = match bytes[numbers.length] {
            b'h' => true,
            b'l' => false,
            _ => return None,
        };
        let modes = &numbers.values[..numbers.count];
        if modes.iter().any(|mode| DRAWING.contains(mode)) {
            return None;
        }
        modes.iter().for_each(|&mode| self.state.modes.set(mode, on));
        Some(numbers.length + 1)
    }

    #[inline(always)]
    fn move_cursor(&mut self, last: u8, first: u16, second: u16, how: &'b [u8]) -> Option<()> {
        let At { row, most, .. } = self.at;
        let (count, last_row, last_col) = (first.max(1), self.rows - 1, self.cols - 1);
        match last {
            b'H' | b'f' if self.addresses => {
                self.go(Some((count - 1).min(last_row)), Some((second.max(1) - 1).min(last_col)), 0, how);
            }
            b'G' => self.go(row, Some((count - 1).min(last_col)), 0, how),
            b'C' => {
                let further = |col: u16| col.saturating_add(count).min(last_col);
                self.go(row, self.col().map(further), further(most), how);
            }
            b'D' => self.back(count, how)?,
            b'd' if self.addresses => self.go_to_row((count - 1).min(last_row), how)?,
            b'A' if self.state.margins.is_none() => self.go_to_row(row?.saturating_sub(count), how)?,
            b'B' if self.state.margins.is_none() => self.go_to_row(row?.saturating_add(count).min(last_row), how)?,
            _ => return None,
        }
        Some(())
    }

    fn go_to_row(&mut self, row: u16, how: &'b [u8]) -> Option<()> {
        let settles = self.at.both().is_some() || self.is_inside();
        settles.then(|| self.go(Some(row), self.col(), self.at.most, how))
    }

    /// What changes cells where the cursor is.
    fn edit(&mut self, last: u8, first: u16, how: &[u8]) -> Option<()> {
        let pen = match last {
            b'K' if first <= 2 => self.state.pen.eraser(),
            b'J' if first <= 2 && (first == 1 || self.is_inside()) => self.state.pen.eraser(),
            b'X' if self.is_inside() => self.state.pen.eraser(),
            b'P' | b'S' if !self.is_colored() && self.is_inside() => self.pen,
            _ => return None,
        };
        self.draw(pen, how);
        Some(())
    }

    fn margins(&mut self, top: u16, bottom: u16) -> Option<()> {
        if !self.addresses {
            return None;
        }
        let (top, bottom) = (top.max(1), if bottom == 0 { self.rows } else { bottom.min(self.rows) });
        if top < bottom {
            self.bottom = bottom - 1;
            self.state.margins = Some((top - 1, self.bottom)).filter(|&margins| margins != (0, self.rows - 1));
            self.order(&[top, bottom], b'r');
            (self.left, self.moved) = (Some(At::known(top - 1, 0)), None);
            self.at = At::known(0, 0);
        }
        Some(())
    }
}

/// Whether characters are drawn as they are, and wrap.
fn draws_text(state: &State) -> bool {
    state.charsets.are_plain() && state.modes.has(WRAP) && !state.modes.insert
}

/// How many bytes stand in front that are `wanted`: sixteen at a time are looked at in one go.
#[inline(always)]
pub(crate) fn front(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    let all = |chunk: &&[u8]| chunk.iter().fold(true, |all, byte| all & wanted(*byte));
    let whole = 16 * bytes.chunks_exact(16).take_while(all).count();
    whole + bytes[whole..].iter().position(|byte| !wanted(*byte)).unwrap_or(bytes.len() - whole)
}

/// Private modes that draw, or change how that is done.
const DRAWING: [u16; 8] = [3, ORIGIN, WRAP, WRAP_BACK, 47, 1047, 1048, 1049];

/// Most numbers of a sequence that is looked at here.
const NUMBERS_MAX: usize = 16;

/// What larger numbers are read as: none that is heeded.
const VALUE_MAX: u32 = 1 << 16;

/// The numbers at the front of a sequence, and how many bytes they take.
struct Numbers {
    values: [u16; NUMBERS_MAX],
    count: usize,
    length: usize,
}

impl Numbers {
    /// `None` if they do not end, are too many, or too large for a terminal to tell from each other.
    #[inline(always)]
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut numbers = Self { values: [0; NUMBERS_MAX], count: 0, length: 0 };
        let mut value = 0u32;
        for &byte in bytes {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                value = (value * 10 + u32::from(digit)).min(VALUE_MAX);
            } else {
                if byte == b';' || numbers.length > 0 {
                    *numbers.values.get_mut(numbers.count)? = u16::try_from(value).ok()?;
                    numbers.count += 1;
                    value = 0;
                }
                if byte != b';' {
                    return Some(numbers);
                }
            }
            numbers.length += 1;
        }
        None
    }
}
