//! What text is drawn with, and `SGR`, which sets it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::sequence::Params;

/// A colour, packed so that pens are compared in no time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Color(u32);

const INDEX: u32 = 1 << 24;
const RGB: u32 = 2 << 24;

impl Color {
    pub(super) const DEFAULT: Self = Self(0);

    const fn index(index: u8) -> Self {
        Self(INDEX | index as u32)
    }

    const fn rgb(r: u8, g: u8, b: u8) -> Self {
        Self(RGB | u32::from_be_bytes([0, r, g, b]))
    }

    /// The numbers of an `SGR` that sets it, in the foreground if `base` is 30, behind it if 40.
    fn codes(self, base: u16, mut code: impl FnMut(u16)) {
        let [kind, r, g, b] = self.0.to_be_bytes();
        match (u32::from(kind) << 24, b) {
            (INDEX, n @ 0..8) => code(base + u16::from(n)),
            (INDEX, n @ 8..16) => code(base + 52 + u16::from(n)),
            (INDEX, n) => [base + 8, 5, n.into()].into_iter().for_each(code),
            (RGB, _) => [base + 8, 2, r.into(), g.into(), b.into()].into_iter().for_each(code),
            _ => code(base + 9),
        }
    }
}

impl From<vt100::Color> for Color {
    fn from(color: vt100::Color) -> Self {
        match color {
            vt100::Color::Default => Self::DEFAULT,
            vt100::Color::Idx(index) => Self::index(index),
            vt100::Color::Rgb(r, g, b) => Self::rgb(r, g, b),
        }
    }
}

const BOLD: u8 = 1;
const DIM: u8 = 1 << 1;
const ITALIC: u8 = 1 << 2;
const UNDERLINE: u8 = 1 << 3;
const BLINK: u8 = 1 << 4;
const INVERSE: u8 = 1 << 5;
const HIDDEN: u8 = 1 << 6;
const STRIKE: u8 = 1 << 7;
/// Attributes that a cell of vt100 has.
const KEPT: u8 = BOLD | DIM | ITALIC | UNDERLINE | INVERSE;
/// Attributes, each with the code that sets it; 20 more resets it, but bold, which has that of dim.
const CODES: [(u8, u16); 8] =
    [(BOLD, 1), (DIM, 2), (ITALIC, 3), (UNDERLINE, 4), (BLINK, 5), (INVERSE, 7), (HIDDEN, 8), (STRIKE, 9)];

/// See the module's head. vt100 keeps of its cells all but blink, hidden and strike, and of bold with dim the bold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct Pen {
    fg: Color,
    pub(super) bg: Color,
    attributes: u8,
}

/// A pen as checkpoints have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Packed(Color, Color, u8),
    /// Until version 1: bold, dim, italic, underline, blink, inverse, hidden, strike.
    Spelt(SpeltColor, SpeltColor, bool, bool, bool, bool, bool, bool, bool, bool),
}

/// A colour until version 1.
#[derive(Deserialize)]
enum SpeltColor {
    Default,
    Index(u8),
    Rgb(u8, u8, u8),
}

impl From<Stored> for Pen {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Packed(fg, bg, attributes) => Self { fg, bg, attributes },
            Stored::Spelt(fg, bg, bold, dim, italic, underline, blink, inverse, hidden, strike) => {
                let set = [bold, dim, italic, underline, blink, inverse, hidden, strike];
                let attributes = set.iter().zip(CODES).filter(|(set, _)| **set).fold(0, |all, (_, (one, _))| all | one);
                Self { fg: fg.into(), bg: bg.into(), attributes }
            }
        }
    }
}

impl From<SpeltColor> for Color {
    fn from(color: SpeltColor) -> Self {
        match color {
            SpeltColor::Default => Self::DEFAULT,
            SpeltColor::Index(index) => Self::index(index),
            SpeltColor::Rgb(r, g, b) => Self::rgb(r, g, b),
        }
    }
}

impl Pen {
    /// What a cell was drawn with.
    pub(super) fn of(cell: &vt100::Cell) -> Self {
        let attributes = [
            (cell.bold(), BOLD),
            (cell.dim(), DIM),
            (cell.italic(), ITALIC),
            (cell.underline(), UNDERLINE),
            (cell.inverse(), INVERSE),
        ];
        Self {
            fg: cell.fgcolor().into(),
            bg: cell.bgcolor().into(),
            attributes: attributes.iter().filter(|(on, _)| *on).fold(0, |all, (_, attribute)| all | attribute),
        }
    }

    /// What erased cells get of it: the background.
    pub(super) fn eraser(self) -> Self {
        Self { bg: self.bg, ..Self::default() }
    }

    /// Whether erasing with it gives the cells no more than a background.
    pub(super) fn is_eraser(self) -> bool {
        self.fg == Color::DEFAULT && self.attributes & KEPT == 0
    }

    /// Whether it has what vt100 cannot have at once.
    pub(super) fn is_bold_and_dim(self) -> bool {
        self.attributes & (BOLD | DIM) == BOLD | DIM
    }

    /// Its attributes as vt100 keeps them.
    fn kept(self) -> u8 {
        self.attributes & KEPT & !if self.is_bold_and_dim() { DIM } else { 0 }
    }

    /// The pen after an `SGR` that vt100 reads as xterm does; `None` of any other.
    #[inline]
    pub(super) fn after_plain(mut self, params: &[u16]) -> Option<Self> {
        if params.is_empty() {
            return Some(Self::default());
        }
        let mut rest = params;
        while let Some((&code, behind)) = rest.split_first() {
            rest = behind;
            match code {
                38 | 48 => {
                    let (color, behind) = extended(rest)?;
                    rest = behind;
                    *if code == 38 { &mut self.fg } else { &mut self.bg } = color;
                }
                21 | 58 => return None,
                _ => self.set(code),
            }
        }
        Some(self)
    }

    /// The pen after any `SGR`.
    pub(super) fn after(mut self, params: &Params) -> Self {
        if params.len() == 0 {
            return Self::default();
        }
        let mut groups = params.groups();
        while let Some(group) = groups.next() {
            match group {
                [4, 0, ..] => self.set(24),
                [4, _, ..] | [21] => self.set(4),
                [38, spec @ ..] | [48, spec @ ..] | [58, spec @ ..] => {
                    let color = if spec.is_empty() { spread(&mut groups) } else { colon(spec) };
                    match (group[0], color) {
                        (38, Some(color)) => self.fg = color,
                        (48, Some(color)) => self.bg = color,
                        _ => {}
                    }
                }
                [code] => self.set(*code),
                _ => {}
            }
        }
        self
    }

    #[inline]
    fn set(&mut self, code: u16) {
        let index = |base: u16| Color::index((code - base) as u8);
        match code {
            0 => *self = Self::default(),
            1 => self.attributes |= BOLD,
            2 => self.attributes |= DIM,
            3 => self.attributes |= ITALIC,
            4 => self.attributes |= UNDERLINE,
            5 | 6 => self.attributes |= BLINK,
            7 => self.attributes |= INVERSE,
            8 => self.attributes |= HIDDEN,
            9 => self.attributes |= STRIKE,
            22 => self.attributes &= !(BOLD | DIM),
            23 => self.attributes &= !ITALIC,
            24 => self.attributes &= !UNDERLINE,
            25 => self.attributes &= !BLINK,
            27 => self.attributes &= !INVERSE,
            28 => self.attributes &= !HIDDEN,
            29 => self.attributes &= !STRIKE,
            30..=37 => self.fg = index(30),
            39 => self.fg = Color::DEFAULT,
            40..=47 => self.bg = index(40),
            49 => self.bg = Color::DEFAULT,
            90..=97 => self.fg = index(82),
            100..=107 => self.bg = index(92),
            _ => {}
        }
    }

    /// Writes what makes vt100's pen this one, if it was `before`.
    pub(super) fn write_change(self, before: Self, out: &mut Vec<u8>) {
        if self == Self::default() {
            return out.extend_from_slice(b"\x1b[m");
        }
        let index = self.fg.0 ^ INDEX;
        if index < 8 && (self.bg, self.attributes) == (before.bg, before.attributes) {
            return out.extend_from_slice(&[0x1b, b'[', b'3', b'0' + index as u8, b'm']);
        }
        let start = out.len();
        let mut code = |code: u16| {
            out.extend_from_slice(if out.len() == start { b"\x1b[" } else { b";" });
            write_number(out, code);
        };
        let (on, was) = (self.kept(), before.kept());
        if on != was {
            if was & (BOLD | DIM) & !on != 0 {
                code(22);
            }
            for (attribute, number) in CODES.into_iter().filter(|(attribute, _)| (on ^ was) & attribute != 0) {
                match attribute {
                    _ if on & attribute != 0 => code(number),
                    BOLD | DIM => {}
                    _ => code(number + 20),
                }
            }
        }
        for (color, was, base) in [(self.fg, before.fg, 30), (self.bg, before.bg, 40)] {
            if color != was {
                color.codes(base, &mut code);
            }
        }
        if out.len() > start {
            out.push(b'm');
        }
    }

    /// Parameters of an `SGR` that gives this pen, whatever the one before.
    pub(super) fn parameters(&self) -> String {
        let attributes = if self.is_bold_and_dim() { self.attributes & !DIM } else { self.attributes };
        let mut out = String::from("0");
        let mut code = |code| _ = write!(out, ";{code}");
        CODES.iter().filter(|(attribute, _)| attributes & attribute != 0).for_each(|(_, number)| code(*number));
        for (color, base) in [(self.fg, 30), (self.bg, 40)] {
            if color != Color::DEFAULT {
                color.codes(base, &mut code);
            }
        }
        out
    }

    /// The `SGR` itself.
    pub(super) fn sgr(&self) -> String {
        if *self == Self::default() { "\x1b[m".to_owned() } else { format!("\x1b[{}m", self.parameters()) }
    }
}

/// In decimal.
#[inline]
pub(super) fn write_number(out: &mut Vec<u8>, number: u16) {
    if number >= 10 {
        write_number(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

fn byte(n: u16) -> Option<u8> {
    u8::try_from(n).ok()
}

/// The colour at the front of what follows a 38 or 48.
fn extended(params: &[u16]) -> Option<(Color, &[u16])> {
    match params {
        [5, index, rest @ ..] => Some((Color::index(byte(*index)?), rest)),
        [2, r, g, b, rest @ ..] => Some((Color::rgb(byte(*r)?, byte(*g)?, byte(*b)?), rest)),
        _ => None,
    }
}

/// The same from parameters of their own; a colour that is none takes them all the same.
fn spread<'a>(groups: &mut impl Iterator<Item = &'a [u16]>) -> Option<Color> {
    let mut next = || groups.next().map(|group| group[0]);
    let color = match next()? {
        5 => [5, next()?, 0, 0],
        2 => [2, next()?, next()?, next()?],
        _ => return None,
    };
    extended(&color).map(|(color, _)| color)
}

/// The same from sub-parameters, with or without the colour space.
fn colon(spec: &[u16]) -> Option<Color> {
    let without_space = match spec {
        [2, _, r, g, b, ..] => [2, *r, *g, *b],
        spec => std::array::from_fn(|at| spec.get(at).copied().unwrap_or(u16::MAX)),
    };
    extended(&without_space).map(|(color, _)| color)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(sgr: &str) -> Pen {
        Pen::default().after(&Params::read(sgr.as_bytes()).unwrap())
    }

    #[test]
    fn colours_come_with_semicolons_and_with_colons() {
        for rgb in ["38;2;1;2;3", "38:2:1:2:3", "38:2::1:2:3", "38:2::1:2:3:9"] {
            assert_eq!(after(rgb).fg, Color::rgb(1, 2, 3), "{rgb}");
        }
        assert_eq!(after("48:5:200;1"), Pen { bg: Color::index(200), attributes: BOLD, ..Pen::default() });
        assert_eq!(after("38;5;256;1"), Pen { attributes: BOLD, ..Pen::default() });
    }

    #[test]
    fn underline_styles_are_underlines_and_their_colours_nothing_else() {
        assert_eq!(["4:3", "21", "4;4:0"].map(|sgr| after(sgr).attributes), [UNDERLINE, UNDERLINE, 0]);
        assert_eq!(after("58;5;1"), Pen::default());
        assert_eq!(after("58:2::7:7:7;3"), Pen { attributes: ITALIC, ..Pen::default() });
    }

    #[test]
    fn what_a_pen_writes_gives_the_pen() {
        for sgr in ["", "1;3;4;5;7;8;9;31;42", "2;95;106", "38;5;99;48;2;0;9;255"] {
            assert_eq!(after(&after(sgr).parameters()), after(sgr));
        }
    }

    #[test]
    fn numbers_without_sub_parameters_are_read_alike_or_are_not_plain() {
        for odd in [&[38, 5, 256][..], &[38, 2, 1], &[58, 5, 1], &[21]] {
            assert!(Pen::default().after_plain(odd).is_none(), "{odd:?}");
        }
        for sgr in ["", "0", "1;2", "1;22;2", "38;5;200;48;2;1;2;3;7"] {
            let numbers: Vec<u16> = sgr.split(';').filter_map(|number| number.parse().ok()).collect();
            assert_eq!(Pen::default().after_plain(&numbers), Some(after(sgr)), "{sgr}");
        }
    }

    fn pen() -> impl Strategy<Value = Pen> {
        let color = || {
            prop_oneof![
                Just(Color::DEFAULT),
                any::<u8>().prop_map(Color::index),
                any::<[u8; 3]>().prop_map(|[r, g, b]| Color::rgb(r, g, b)),
            ]
        };
        (color(), color(), any::<u8>()).prop_map(|(fg, bg, attributes)| Pen { fg, bg, attributes })
    }

    proptest! {
        #[test]
        fn a_written_change_makes_vt100s_pen_of_one_before_the_other(before in pen(), pen in pen()) {
            let mut change = Vec::new();
            pen.write_change(before, &mut change);
            let mut vt = vt100::Parser::new(2.try_into().unwrap(), 2.try_into().unwrap(), 0);
            vt.process(&[before.sgr().as_bytes(), &change, b"x"].concat());
            let kept = Pen { attributes: pen.kept(), ..pen };
            prop_assert_eq!(vt.screen().cell(0, 0).map(Pen::of), Some(kept));
        }
    }
}
