//! What text is drawn with, and `SGR`, which sets it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::sequence::Params;

/// A colour.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Color {
    #[default]
    Default,
    Index(u8),
    Rgb(u8, u8, u8),
}

impl Color {
    /// The numbers of an `SGR` that sets it, in the foreground if `base` is 30, behind it if 40.
    fn codes(self, base: u16, mut code: impl FnMut(u16)) {
        match self {
            Self::Default => code(base + 9),
            Self::Index(n @ 0..8) => code(base + u16::from(n)),
            Self::Index(n @ 8..16) => code(base + 52 + u16::from(n)),
            Self::Index(n) => [base + 8, 5, n.into()].into_iter().for_each(code),
            Self::Rgb(r, g, b) => [base + 8, 2, r.into(), g.into(), b.into()].into_iter().for_each(code),
        }
    }
}

impl From<vt100::Color> for Color {
    fn from(color: vt100::Color) -> Self {
        match color {
            vt100::Color::Default => Self::Default,
            vt100::Color::Idx(index) => Self::Index(index),
            vt100::Color::Rgb(r, g, b) => Self::Rgb(r, g, b),
        }
    }
}

/// See the module's head. vt100 keeps of its cells all but blink, hidden and strike, and of bold with dim the bold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pen {
    pub(super) fg: Color,
    pub(super) bg: Color,
    pub(super) bold: bool,
    pub(super) dim: bool,
    pub(super) italic: bool,
    pub(super) underline: bool,
    pub(super) blink: bool,
    pub(super) inverse: bool,
    pub(super) hidden: bool,
    pub(super) strike: bool,
}

impl Pen {
    /// What a cell was drawn with.
    pub(super) fn of(cell: &vt100::Cell) -> Self {
        Self {
            fg: cell.fgcolor().into(),
            bg: cell.bgcolor().into(),
            bold: cell.bold(),
            dim: cell.dim(),
            italic: cell.italic(),
            underline: cell.underline(),
            inverse: cell.inverse(),
            ..Self::default()
        }
    }

    /// What erased cells get of it: the background.
    pub(super) fn eraser(self) -> Self {
        Self { bg: self.bg, ..Self::default() }
    }

    /// Whether erasing with it gives the cells no more than a background.
    pub(super) fn is_eraser(self) -> bool {
        self == Self { blink: self.blink, hidden: self.hidden, strike: self.strike, ..self.eraser() }
    }

    /// The pen after an `SGR` that vt100 reads as xterm does; `None` of any other.
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
                [4, style, ..] => self.underline = *style != 0,
                [38, spec @ ..] | [48, spec @ ..] | [58, spec @ ..] => {
                    let color = if spec.is_empty() { spread(&mut groups) } else { colon(spec) };
                    match (group[0], color) {
                        (38, Some(color)) => self.fg = color,
                        (48, Some(color)) => self.bg = color,
                        _ => {}
                    }
                }
                [21] => self.underline = true,
                [code] => self.set(*code),
                _ => {}
            }
        }
        self
    }

    fn set(&mut self, code: u16) {
        let index = |base: u16| Color::Index((code - base) as u8);
        match code {
            0 => *self = Self::default(),
            1 => self.bold = true,
            2 => self.dim = true,
            3 => self.italic = true,
            4 => self.underline = true,
            5 | 6 => self.blink = true,
            7 => self.inverse = true,
            8 => self.hidden = true,
            9 => self.strike = true,
            22 => (self.bold, self.dim) = (false, false),
            23 => self.italic = false,
            24 => self.underline = false,
            25 => self.blink = false,
            27 => self.inverse = false,
            28 => self.hidden = false,
            29 => self.strike = false,
            30..=37 => self.fg = index(30),
            39 => self.fg = Color::Default,
            40..=47 => self.bg = index(40),
            49 => self.bg = Color::Default,
            90..=97 => self.fg = index(82),
            100..=107 => self.bg = index(92),
            _ => {}
        }
    }

    /// What vt100 keeps of bold and dim, as the `SGR` that gives it.
    fn intensity(self) -> u16 {
        match (self.bold, self.dim) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 22,
        }
    }

    /// Writes what makes vt100's pen this one, if it was `before`.
    pub(super) fn write_change(self, before: Self, out: &mut Vec<u8>) {
        if self == Self::default() {
            return out.extend_from_slice(b"\x1b[m");
        }
        let start = out.len();
        let mut code = |code: u16| {
            out.extend_from_slice(if out.len() == start { b"\x1b[" } else { b";" });
            write_number(out, code);
        };
        if self.intensity() != before.intensity() {
            code(self.intensity());
        }
        let attributes =
            [(self.italic, before.italic, 3), (self.underline, before.underline, 4), (self.inverse, before.inverse, 7)];
        for (on, _, number) in attributes.into_iter().filter(|(on, was, _)| on != was) {
            code(if on { number } else { number + 20 });
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
        let mut out = String::from("0");
        let attributes = [
            (self.bold, 1),
            (self.dim && !self.bold, 2),
            (self.italic, 3),
            (self.underline, 4),
            (self.blink, 5),
            (self.inverse, 7),
            (self.hidden, 8),
            (self.strike, 9),
        ];
        for (_, code) in attributes.iter().filter(|(set, _)| *set) {
            let _ = write!(out, ";{code}");
        }
        for (color, base) in [(self.fg, 30), (self.bg, 40)] {
            if color != Color::Default {
                color.codes(base, |code| _ = write!(out, ";{code}"));
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
        [5, index, rest @ ..] => Some((Color::Index(byte(*index)?), rest)),
        [2, r, g, b, rest @ ..] => Some((Color::Rgb(byte(*r)?, byte(*g)?, byte(*b)?), rest)),
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
            assert_eq!(after(rgb).fg, Color::Rgb(1, 2, 3), "{rgb}");
        }
        assert_eq!(after("48:5:200;1"), Pen { bg: Color::Index(200), bold: true, ..Pen::default() });
        assert_eq!(after("38;5;256;1"), Pen { bold: true, ..Pen::default() });
    }

    #[test]
    fn underline_styles_are_underlines_and_their_colours_nothing_else() {
        assert!(after("4:3").underline && after("21").underline && !after("4;4:0").underline);
        assert_eq!(after("58;5;1"), Pen::default());
        assert_eq!(after("58:2::7:7:7;3"), Pen { italic: true, ..Pen::default() });
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
                Just(Color::Default),
                any::<u8>().prop_map(Color::Index),
                any::<[u8; 3]>().prop_map(|[r, g, b]| Color::Rgb(r, g, b)),
            ]
        };
        (color(), color(), any::<[bool; 8]>()).prop_map(
            |(fg, bg, [bold, dim, italic, underline, blink, inverse, hidden, strike])| Pen {
                fg,
                bg,
                bold,
                dim,
                italic,
                underline,
                blink,
                inverse,
                hidden,
                strike,
            },
        )
    }

    proptest! {
        #[test]
        fn a_written_change_makes_vt100s_pen_of_one_before_the_other(before in pen(), pen in pen()) {
            let mut change = Vec::new();
            pen.write_change(before, &mut change);
            let mut vt = vt100::Parser::new(2.try_into().unwrap(), 2.try_into().unwrap(), 0);
            vt.process(&[before.sgr().as_bytes(), &change, b"x"].concat());
            let kept = Pen { dim: pen.dim && !pen.bold, blink: false, hidden: false, strike: false, ..pen };
            prop_assert_eq!(vt.screen().cell(0, 0).map(Pen::of), Some(kept));
        }
    }
}
