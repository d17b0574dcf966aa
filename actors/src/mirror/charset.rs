//! Character sets: four that are designated, and which of them is read from.

use serde::{Deserialize, Serialize};

/// One set. Of the others that xterm has, national and Latin ones, none is: they read as ASCII.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Charset {
    #[default]
    Ascii,
    /// With a pound sign for `#`.
    British,
    /// DEC's line drawing.
    Graphics,
}

/// What `` ` `` to `~` are in the line drawing set; `_` is a blank.
const GRAPHICS: [char; 31] = [
    '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─', '⎼', '⎽', '├', '┤', '┴', '┬',
    '│', '≤', '≥', 'π', '≠', '£', '·',
];

impl Charset {
    /// What a designating sequence's final byte names.
    pub(super) fn named(byte: u8) -> Self {
        match byte {
            b'0' | b'2' => Self::Graphics,
            b'A' => Self::British,
            _ => Self::Ascii,
        }
    }

    /// The final byte that names it.
    pub(super) fn name(self) -> char {
        match self {
            Self::Ascii => 'B',
            Self::British => 'A',
            Self::Graphics => '0',
        }
    }

    fn read(self, c: char) -> char {
        match (self, c) {
            (Self::British, '#') => '£',
            (Self::Graphics, '_') => ' ',
            (Self::Graphics, '`'..='~') => GRAPHICS[c as usize - '`' as usize],
            (Self::Ascii | Self::British | Self::Graphics, c) => c,
        }
    }
}

/// See the module's head.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Charsets {
    /// G0 to G3.
    pub(super) sets: [Charset; 4],
    /// Which is read from.
    pub(super) shift: u8,
    /// Which the next character is read from instead.
    pub(super) single: Option<u8>,
}

impl Charsets {
    /// Whether characters are what they are.
    pub(super) fn are_plain(&self) -> bool {
        self.single.is_none() && self.sets[usize::from(self.shift)] == Charset::Ascii
    }

    /// What a character is read as.
    pub(super) fn read(&mut self, c: char) -> char {
        let from = self.single.take().unwrap_or(self.shift);
        self.sets[usize::from(from)].read(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_shift_holds_for_one_character() {
        let mut sets =
            Charsets { sets: [Charset::Ascii, Charset::Ascii, Charset::Graphics, Charset::Ascii], shift: 0, single: Some(2) };
        assert_eq!(["q", "q"].map(|c| sets.read(c.chars().next().unwrap())), ['─', 'q']);
        assert_eq!((Charset::named(b'0').read('~'), Charset::named(b'A').read('#')), ('·', '£'));
    }
}
