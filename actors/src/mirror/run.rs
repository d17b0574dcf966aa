//! Which output vt100 draws right as it is: it is passed on in one piece, as fast as it can be looked at.
//!
//! ```text
//!   $ ls CR LF │ a file │ ESC [ 1 m │ bold │ CR LF │ ESC [ 3 ; 1 H │ ESC [ ? 25 l …
//!   └──────────────── one run ─────────────────────────────────────┘ └ ends it: the filter's
//! ```
//!
//! Much of what vt100 gets wrong, it gets wrong at the end of a row, or where lines scroll in that should be coloured. So the cursor is
//! followed, as far as it is known without drawing: where it is not, and would have to be, the run ends, and the next one knows it.

use vt100::Screen;

use super::{
    drawing::{EMOJI_PRESENTATION, REPLACEMENT_STAND_IN, last_char, place},
    modes::{ORIGIN, WRAP, WRAP_BACK},
    pen::{Color, Pen},
    sequence::Params,
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
    row: Option<u16>,
    /// Behind the last column: the next character wraps.
    col: Option<u16>,
    /// The last character in it that takes a column of its own.
    pub(super) last_char: Option<char>,
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
            row: Some(place.row),
            col: Some(place.col + u16::from(place.wraps)),
            last_char: state.last_char,
        }
    }

    /// How many of `bytes` belong to it.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while end < bytes.len() {
            let Some(length) = self.token(&bytes[end..]) else { break };
            end += length;
        }
        end
    }

    fn token(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes[0] {
            b' '..=b'~' => self.ascii(bytes),
            0x80.. => self.characters(bytes),
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

    fn ascii(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = bytes.iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(bytes.len());
        let fits = self.room().is_some_and(|room| length <= room);
        if !self.text || !fits && self.is_colored() {
            return None;
        }
        self.last_char = Some(bytes[length - 1].into());
        if fits {
            self.col = self.col.map(|col| col + length as u16);
        } else {
            (self.row, self.col) = (None, None);
        }
        Some(length)
    }

    fn characters(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = bytes.iter().position(|byte| *byte < 0x80).unwrap_or(bytes.len());
        // No character takes more columns than bytes.
        let fits = self.room().is_some_and(|room| length <= room);
        if !self.text || !fits && self.is_colored() {
            return None;
        }
        let odd = |c| matches!(c, ..'\u{a0}' | EMOJI_PRESENTATION | char::REPLACEMENT_CHARACTER | REPLACEMENT_STAND_IN);
        let text = str::from_utf8(&bytes[..length]).ok()?;
        if text.contains(odd) {
            return None;
        }
        self.last_char = last_char(text).or(self.last_char);
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

    fn sequence(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = bytes.iter().take(SEQUENCE_BYTES_MAX).position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
        let params = &bytes[..length];
        match bytes[length] {
            b'm' if matches!(params, b"" | b"0") => self.pen = Pen::default(),
            b'm' => self.pen = self.pen.after_plain(Params::read(params)?.flat()?)?,
            last => self.editing(last, &Params::read(params)?)?,
        }
        Some(length + 1)
    }

    fn editing(&mut self, last: u8, params: &Params) -> Option<()> {
        let count = params.count(0);
        match last {
            b'H' | b'f' if self.addresses => {
                self.row = Some((count - 1).min(self.rows - 1));
                self.col = Some((params.count(1) - 1).min(self.cols - 1));
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
            b'J' | b'K' if params.get(0) <= 2 && self.pen.is_eraser() => _ = self.inner_col()?,
            b'X' if self.pen.is_eraser() => _ = self.inner_col()?,
            b'P' | b'L' | b'M' | b'S' if !self.is_colored() => _ = self.inner_col()?,
            _ => return None,
        }
        Some(())
    }
}
