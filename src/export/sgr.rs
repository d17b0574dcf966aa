//! Styled lines of history, taken apart: the one reader of `SGR` that HTML and PDF share.
//!
//! ```text
//!   "\x1b[1;31merror\x1b[m: x" ─► Runs ─► (bold red, "error"), (plain, ": x")
//! ```
//!
//! **Invariants.** The texts of a line's runs, joined, are its text. No control character is in one: what a line should not have is left out.

use std::iter::Peekable;

/// A colour as a program chose it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Color {
    /// The terminal's own.
    #[default]
    Default,
    /// Of the palette of 256.
    Indexed(u8),
    /// Red, green, blue.
    Rgb([u8; 3]),
}

/// How text looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) foreground: Color,
    pub(crate) background: Color,
    pub(crate) bold: bool,
    pub(crate) dim: bool,
    pub(crate) italic: bool,
    pub(crate) underline: bool,
    pub(crate) strike: bool,
    pub(crate) hidden: bool,
    pub(crate) inverse: bool,
}

/// What a style paints with, inversion done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// The colour of plain text.
    Ink,
    /// The colour of what plain text stands on.
    Paper,
    /// Of the palette of 256.
    Indexed(u8),
    /// Red, green, blue.
    Rgb([u8; 3]),
}

impl Paint {
    fn of(color: Color, default: Self) -> Self {
        match color {
            Color::Default => default,
            Color::Indexed(index) => Self::Indexed(index),
            Color::Rgb(rgb) => Self::Rgb(rgb),
        }
    }
}

impl Style {
    /// What text is painted with.
    pub(super) fn ink(self) -> Paint {
        let seen = match self.inverse {
            true => Paint::of(self.background, Paint::Paper),
            false => Paint::of(self.foreground, Paint::Ink),
        };
        if self.hidden { self.paper() } else { seen }
    }

    /// What it stands on.
    pub(super) fn paper(self) -> Paint {
        match self.inverse {
            true => Paint::of(self.foreground, Paint::Ink),
            false => Paint::of(self.background, Paint::Paper),
        }
    }

    /// Follows the parameters of one `SGR`: ECMA-48 8.3.117 and what xterm adds to it.
    fn change(&mut self, parameters: &str) {
        let mut numbers = parameters.split([';', ':']).map(|number| number.parse().unwrap_or(0)).peekable();
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 | 21 => self.underline = true,
                7 => self.inverse = true,
                8 => self.hidden = true,
                9 => self.strike = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.inverse = false,
                28 => self.hidden = false,
                29 => self.strike = false,
                30..=37 => self.foreground = Color::Indexed((number - 30) as u8),
                38 => self.foreground = extended(&mut numbers).unwrap_or(self.foreground),
                39 => self.foreground = Color::Default,
                40..=47 => self.background = Color::Indexed((number - 40) as u8),
                48 => self.background = extended(&mut numbers).unwrap_or(self.background),
                49 => self.background = Color::Default,
                90..=97 => self.foreground = Color::Indexed((number - 90 + 8) as u8),
                100..=107 => self.background = Color::Indexed((number - 100 + 8) as u8),
                _ => {}
            }
        }
    }
}

/// The colour behind a 38 or 48.
fn extended(numbers: &mut Peekable<impl Iterator<Item = u32>>) -> Option<Color> {
    let mut byte = |_: usize| numbers.next().and_then(|number| u8::try_from(number).ok());
    match byte(0)? {
        5 => Some(Color::Indexed(byte(0)?)),
        2 => Some(Color::Rgb([byte(0)?, byte(1)?, byte(2)?])),
        _ => None,
    }
}

/// The runs of a line: stretches of one style, none empty.
pub(crate) struct Runs<'a> {
    rest: &'a str,
    style: Style,
}

impl<'a> Runs<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self { rest: line, style: Style::default() }
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = (Style, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let text = &self.rest[..self.rest.find(|c: char| c.is_control()).unwrap_or(self.rest.len())];
            if !text.is_empty() {
                self.rest = &self.rest[text.len()..];
                return Some((self.style, text));
            }
            match sgr(self.rest) {
                Some(parameters) => {
                    self.style.change(parameters);
                    self.rest = &self.rest[parameters.len() + "\x1b[m".len()..];
                }
                None => self.rest = &self.rest[self.rest.chars().next()?.len_utf8()..],
            }
        }
    }
}

/// The parameters of the `SGR` that `text` begins with.
fn sgr(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("\x1b[")?;
    let parameters = &rest[..rest.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'))?];
    rest[parameters.len()..].starts_with('m').then_some(parameters)
}

/// The text of a styled line.
#[cfg(test)]
pub(super) fn text(line: &str) -> String {
    Runs::new(line).map(|(_, text)| text).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines as a terminal's history has them, and worse.
    pub(in super::super) fn lines() -> impl Strategy<Value = Vec<String>> {
        let word = prop_oneof![
            4 => "[ -~]{1,12}",
            2 => "[─│┌█▒é日本語ｆ👍\u{301}\u{1F468}<>&\"'\\\\()]{1,6}",
            3 => "\x1b\\[(1|2|3|4|7|9|0|22|31|97|44|104|38;5;[0-9]{1,3}|48;2;9;200;77)?m",
            1 => any::<char>().prop_filter("no newline", |c| *c != '\n').prop_map(String::from),
        ];
        let line = prop::collection::vec(word, 0..12).prop_map(|words| words.concat() + "\x1b[m");
        prop::collection::vec(line, 0..40)
    }

    pub(in super::super) fn cases() -> ProptestConfig {
        ProptestConfig { cases: if std::env::var_os("KAVAL_SOAK").is_some() { 2000 } else { 60 }, ..ProptestConfig::default() }
    }

    fn runs(line: &str) -> Vec<(Style, &str)> {
        Runs::new(line).collect()
    }

    #[test]
    fn attributes_come_and_go() {
        let plain = Style::default();
        let line = "a\x1b[1;31;48;5;200mb\x1b[22;39mc\x1b[0;38;2;1;2;3;7md\x1b[me";
        let pink = Style { background: Color::Indexed(200), ..plain };
        assert_eq!(
            runs(line),
            [
                (plain, "a"),
                (Style { bold: true, foreground: Color::Indexed(1), ..pink }, "b"),
                (pink, "c"),
                (Style { foreground: Color::Rgb([1, 2, 3]), inverse: true, ..plain }, "d"),
                (plain, "e"),
            ]
        );
    }

    #[test]
    fn inversion_and_hiding_are_seen_through() {
        let red = Style { foreground: Color::Indexed(1), inverse: true, ..Style::default() };
        assert_eq!((red.ink(), red.paper()), (Paint::Paper, Paint::Indexed(1)));
        let hidden = Style { hidden: true, ..Style::default() };
        assert_eq!((hidden.ink(), hidden.paper()), (Paint::Paper, Paint::Paper));
    }

    #[test]
    fn what_is_no_sgr_loses_its_control_characters_alone() {
        assert_eq!(text("a\x1b[2Jb\x07c\x1b]0;t\x1b\\\u{9b}31md\x1b["), "a[2Jbc]0;t\\31md[");
        assert_eq!(runs("\x1b[38;5m\x1b[38;9;9;9mx").len(), 1);
        assert_eq!(runs(""), []);
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn texts_of_runs_are_the_text_and_have_no_control_characters(lines in lines()) {
            for line in lines {
                prop_assert!(!text(&line).contains(char::is_control));
                prop_assert!(runs(&line).iter().all(|(_, text)| !text.is_empty()));
            }
        }
    }
}
