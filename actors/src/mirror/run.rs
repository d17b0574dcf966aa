//! Which output vt100 draws right as it is: it is passed on in one piece, as fast as it can be looked at.
//!
//! ```text
//!   $ ls CR LF │ a file │ ESC [ 1 m │ bold │ CR LF │ ESC [ 3 ; 1 H │ ESC [ ? 25 l …
//!   └──────────────── one run ─────────────────────────────────────┘ └ ends it: the filter's
//! ```
//!
//! Much of what vt100 gets wrong, it gets wrong at the end of a row, or where lines scroll in that should be coloured. So the cursor is
//! followed, as far as it is known without drawing: where it is not, and would have to be, the run ends, and the next one knows it.

use std::ops::Range;

use vt100::Screen;

use super::{
    drawing::{EMOJI_PRESENTATION, REPLACEMENT_STAND_IN, last_char_of, place},
    modes::{Modes, ORIGIN, WRAP, WRAP_BACK},
    pen::{Color, Pen},
    state::State,
};

/// Longest control sequence that is looked at here.
const SEQUENCE_BYTES_MAX: usize = 40;

/// A run so far: what is known behind it.
pub(super) struct Run {
    rows: u16,
    cols: u16,
    margins: Option<(u16, u16)>,
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
    pub(super) pen: Pen,
    pub(super) modes: Modes,
    row: Option<u16>,
    /// Behind the last column: the next character wraps.
    col: Option<u16>,
    /// The last text in it that takes a column.
    pub(super) text_at: Range<usize>,
}

impl Run {
    pub(super) fn new(state: &State, screen: &Screen) -> Self {
        let (rows, cols) = screen.size();
        let (rows, cols) = (rows.get(), cols.get());
        let place = place(screen);
        let modes = &state.modes;
        Self {
            rows,
            cols,
            margins: state.margins,
            bottom: state.margins.map_or(rows - 1, |(_, bottom)| bottom),
            text: state.charsets.are_plain() && modes.has(WRAP) && !modes.insert,
            feeds: !modes.newline,
            backs: !modes.has(WRAP_BACK),
            addresses: !modes.has(ORIGIN),
            tabs: state.tabs.are_default(),
            pen: state.pen,
            modes: state.modes.clone(),
            row: Some(place.row),
            col: Some(place.col + u16::from(place.wraps)),
            text_at: 0..0,
        }
    }

    /// How many of `bytes` belong to it.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while end < bytes.len() {
            let Some(length) = self.token(&bytes[end..]) else { break };
            let token = end..end + length;
            if bytes[end] >= b' ' && (bytes[end] < 0x80 || last_char_of(&bytes[token.clone()]).is_some()) {
                self.text_at = token;
            }
            end += length;
        }
        end
    }

    #[inline(always)]
    fn token(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes[0] {
            b' '..=b'~' | 0x80.. => self.text(bytes),
            b'\r' => {
                self.col = Some(0);
                Some(1)
            }
            b'\n' | 0x0b | 0x0c => self.feed(),
            b'\t' => {
                let col = self.inner_col().filter(|_| self.tabs)?;
                self.col = Some(((col / 8 + 1) * 8).min(self.cols - 1));
                Some(1)
            }
            0x08 => {
                self.col = Some(self.inner_col().filter(|_| self.backs)?.saturating_sub(1));
                Some(1)
            }
            0x1b if bytes.get(1) == Some(&b'[') => self.sequence(&bytes[2..]).map(|length| length + 2),
            _ => None,
        }
    }

    fn is_colored(&self) -> bool {
        self.pen.bg != Color::Default
    }

    /// The column, if it is known not to be behind the last.
    fn inner_col(&self) -> Option<u16> {
        self.col.filter(|&col| col < self.cols)
    }

    /// Columns that are left in the row, if known.
    fn room(&self) -> Option<usize> {
        self.col.map(|col| usize::from(self.cols - col))
    }

    #[inline(always)]
    fn text(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.text {
            return None;
        }
        let ascii = printable(bytes);
        if bytes.get(ascii).is_some_and(|byte| *byte >= 0x80) {
            return self.characters(bytes, ascii);
        }
        let fits = self.room().is_some_and(|room| ascii <= room);
        if fits {
            self.col = self.col.map(|col| col + ascii as u16);
        } else if self.is_colored() {
            return None;
        } else {
            (self.row, self.col) = (None, None);
        }
        Some(ascii)
    }

    /// Text of which the first characters are ASCII.
    fn characters(&mut self, bytes: &[u8], ascii: usize) -> Option<usize> {
        let behind = bytes[ascii..].iter().position(|byte| *byte < b' ' || *byte == 0x7f);
        let length = behind.map_or(bytes.len(), |behind| ascii + behind);
        // No character takes more columns than bytes.
        let fits = self.room().is_some_and(|room| length <= room);
        if !fits && self.is_colored() {
            return None;
        }
        let text = str::from_utf8(&bytes[ascii..length]).ok()?;
        // In UTF-8, what is odd begins with one of these.
        let may_be_odd = |byte: &u8| matches!(byte, 0xc2 | 0xef | 0xf4);
        let odd = |c| matches!(c, '\u{80}'..'\u{a0}' | EMOJI_PRESENTATION | char::REPLACEMENT_CHARACTER | REPLACEMENT_STAND_IN);
        if text.as_bytes().iter().any(may_be_odd) && text.contains(odd) {
            return None;
        }
        self.row = self.row.filter(|_| fits);
        self.col = None;
        Some(length)
    }

    fn feed(&mut self) -> Option<usize> {
        self.inner_col().filter(|_| self.feeds)?;
        if self.is_colored() && self.row.is_none_or(|row| row == self.bottom) {
            return None;
        }
        self.row = self.row.map(|row| if row == self.bottom { row } else { (row + 1).min(self.rows - 1) });
        Some(1)
    }

    #[inline(always)]
    fn sequence(&mut self, bytes: &[u8]) -> Option<usize> {
        if bytes.first() == Some(&b'?') {
            return self.mode(&bytes[1..]).map(|length| length + 1);
        }
        let numbers = Numbers::read(bytes)?;
        let params = &numbers.values[..numbers.count];
        match bytes[numbers.length] {
            b'm' if matches!(params, [] | [0]) => self.pen = Pen::default(),
            b'm' => self.pen = self.pen.after_plain(params)?,
            last => self.editing(last, numbers.values[0], numbers.values[1])?,
        }
        Some(numbers.length + 1)
    }

    /// One private mode that has nothing to do with drawing.
    fn mode(&mut self, bytes: &[u8]) -> Option<usize> {
        let numbers = Numbers::read(bytes).filter(|numbers| numbers.count == 1)?;
        let on = match bytes[numbers.length] {
            b'h' => true,
            b'l' => false,
            _ => return None,
        };
        let mode = numbers.values[0];
        if !ASIDE.contains(&mode) {
            return None;
        }
        self.modes.set(mode, on);
        Some(numbers.length + 1)
    }

    fn editing(&mut self, last: u8, first: u16, second: u16) -> Option<()> {
        let count = first.max(1);
        match last {
            b'H' | b'f' if self.addresses => {
                self.row = Some((count - 1).min(self.rows - 1));
                self.col = Some((second.max(1) - 1).min(self.cols - 1));
            }
            b'G' => self.col = Some((count - 1).min(self.cols - 1)),
            b'C' => self.col = self.col.map(|col| col.saturating_add(count).min(self.cols - 1)),
            b'D' if self.backs => self.col = Some(self.inner_col()?.saturating_sub(count)),
            b'd' if self.addresses => {
                self.inner_col()?;
                self.row = Some((count - 1).min(self.rows - 1));
            }
            b'A' if self.margins.is_none() => {
                self.inner_col()?;
                self.row = self.row.map(|row| row.saturating_sub(count));
            }
            b'B' if self.margins.is_none() => {
                self.inner_col()?;
                self.row = self.row.map(|row| row.saturating_add(count).min(self.rows - 1));
            }
            b'J' | b'K' if first <= 2 && self.pen.is_eraser() => _ = self.inner_col()?,
            b'X' if self.pen.is_eraser() => _ = self.inner_col()?,
            b'P' | b'S' if !self.is_colored() => _ = self.inner_col()?,
            _ => return None,
        }
        Some(())
    }
}

/// How much printable ASCII stands in front: sixteen bytes at a time, which are looked at in one go.
fn printable(bytes: &[u8]) -> usize {
    let is_printable = |byte: &u8| (b' '..=b'~').contains(byte);
    let all = |chunk: &&[u8]| chunk.iter().fold(true, |all, byte| all & is_printable(byte));
    let whole = 16 * bytes.chunks_exact(16).take_while(all).count();
    whole + bytes[whole..].iter().position(|byte| !is_printable(byte)).unwrap_or(bytes.len() - whole)
}

/// Private modes that vt100 knows, or does not, without drawing otherwise for it.
const ASIDE: [u16; 9] = [1, 12, 25, 1000, 1002, 1003, 1006, 2004, 2026];

/// Most numbers of a sequence that is looked at here.
const NUMBERS_MAX: usize = 16;

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
        for (length, &byte) in bytes.iter().enumerate().take(SEQUENCE_BYTES_MAX) {
            match byte {
                b'0'..=b'9' => value = value * 10 + u32::from(byte - b'0'),
                b';' => {
                    numbers.push(value)?;
                    value = 0;
                }
                _ => {
                    if length > 0 {
                        numbers.push(value)?;
                    }
                    numbers.length = length;
                    return Some(numbers);
                }
            }
            if value > u32::from(u16::MAX) {
                return None;
            }
        }
        None
    }

    #[inline(always)]
    fn push(&mut self, value: u32) -> Option<()> {
        *self.values.get_mut(self.count)? = value as u16;
        self.count += 1;
        Some(())
    }
}
