//! The text of lines, read from output without drawing it, where that is all that the output is. Pure.
//!
//! ```text
//!   output   ESC[32mok ESC[m test 1 CR LF │ 10% CR 20% CR done CR LF │ two words CR LF │ ESC[H …
//!   text     ok test 1                      done                       two words         └ no plain line: drawn
//! ```
//!
//! A plain line consists of text and of what changes colours, moves within its row or tells things, and is ended by CR LF. On a screen that
//! it scrolls, with the cursor in the last row, it leaves as one line with just that text. Where that takes looking at the screen, it is no plain
//! line: where edits come together with characters that are not ASCII or with a wrap, say.
//!
//! **Invariants.** A plain line leaves as one line with its text, but for trailing blanks, if it was drawn from the first column of a blank row. It
//! leaves the cursor in the first column of the last row.

use unicode_width::UnicodeWidthChar;

use crate::{
    Size,
    mirror::{front, is_replaced},
};

/// Longest line that may take several rows: with all colours that a cell can have, spelt out for each, it is not yet cut.
const LONG_BYTES_MAX: usize = 900;
const _: () = assert!(LONG_BYTES_MAX * 70 <= crate::mirror::LINE_BYTES_MAX);
/// What characters of two columns begin with, in UTF-8: this, or more.
const WIDE: u8 = 0xe1;
/// Longest sequence that is looked at.
const SEQUENCE_BYTES_MAX: usize = 4 << 10;
/// Longest line that may be plain.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Private modes that have nothing to do with what is drawn: keys, the cursor's looks, the mouse, focus, pasting.
const MODES: [&[u8]; 10] = [b"1", b"12", b"25", b"1000", b"1002", b"1003", b"1004", b"1006", b"2004", b"2026"];
/// What programs tell: titles, directories, notifications, commands.
const TOLD: [&[u8]; 8] = [b"0", b"1", b"2", b"7", b"9", b"133", b"633", b"777"];

/// What a sequence of plain characters does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Changes the pen; to the default one, perhaps.
    Colour {
        resets: bool,
    },
    /// Makes the characters ASCII, which they are.
    Ascii,
    /// Nothing that one can see.
    Nothing,
    /// Erases in the row: behind the cursor, before it, or all.
    Erase(usize),
    /// Moves the cursor to the next tab stop.
    Tab,
    /// Moves it right, left, or to a column from 0.
    Right(usize),
    Left(usize),
    To(usize),
}

/// Where reading lines ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With the output: what is behind the last line may become one with what comes.
    Early,
    /// Before what is no plain line.
    Odd,
}

/// A plain line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlainLine {
    /// Behind its CR LF.
    pub(super) end: usize,
    /// Where its text ends in [`Plain::text`], before a newline.
    pub(super) text_end: usize,
    /// Where the newest sequence that sets all colours back begins; 0 if none has come.
    reset: usize,
    /// How many times characters were made ASCII, up to it.
    designations: u32,
}

/// Plain lines in a row.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// Their texts, each ended by a newline.
    pub(super) text: Vec<u8>,
    /// The lines.
    pub(super) lines: Vec<PlainLine>,
}

/// What is known of the row while a line is read.
struct Row {
    /// Where it begins in the text.
    start: usize,
    /// Where the cursor is, if it was moved: else it is behind the text.
    col: Option<usize>,
    cols: usize,
}

impl Plain {
    /// Reads the lines at the front of `bytes`.
    pub(super) fn read(&mut self, bytes: &[u8], size: Size) -> Ended {
        self.text.clear();
        self.lines.clear();
        let mut line = PlainLine::default();
        loop {
            let start = self.text.len();
            match self.line(bytes, line, size) {
                Ok(next) => {
                    line = next;
                    self.lines.push(line);
                }
                Err(ended) => {
                    self.text.truncate(start);
                    let is_long = bytes.len() - line.end > LINE_BYTES_MAX;
                    return if is_long { Ended::Odd } else { ended };
                }
            }
        }
    }

    /// What sets colours and characters as the lines from `from` to before `to` do.
    pub(super) fn pen(&self, bytes: &[u8], from: usize, to: usize) -> Vec<u8> {
        let (before, last) = (self.before(from), self.before(to));
        let mut pen = if last.designations > before.designations { b"\x1b(B".to_vec() } else { Vec::new() };
        let lines = &bytes[last.reset.max(before.end)..last.end];
        for at in memchr::memchr_iter(0x1b, lines) {
            if let Ok((length, Act::Colour { .. })) = sequence(&lines[at..]) {
                pen.extend_from_slice(&lines[at..at + length]);
            }
        }
        pen
    }

    /// Where a line begins.
    pub(super) fn start(&self, line: usize) -> usize {
        self.before(line).end
    }

    /// Its text.
    pub(super) fn text(&self, line: usize) -> &[u8] {
        &self.text[self.text_start(line)..self.lines[line].text_end]
    }

    /// Where its text begins.
    pub(super) fn text_start(&self, line: usize) -> usize {
        line.checked_sub(1).map_or(0, |before| self.lines[before].text_end + 1)
    }

    fn before(&self, line: usize) -> PlainLine {
        line.checked_sub(1).map(|before| self.lines[before]).unwrap_or_default()
    }

    /// Reads the line that is behind another.
    fn line(&mut self, bytes: &[u8], before: PlainLine, size: Size) -> Result<PlainLine, Ended> {
        let mut row = Row { start: self.text.len(), col: None, cols: size.cols().into() };
        let PlainLine { end: mut at, mut reset, mut designations, .. } = before;
        loop {
            // What U+0080 to U+00BF begin with may be a control character.
            let length = front(&bytes[at..], |byte| byte >= b' ' && byte != 0x7f && byte != 0xc2);
            self.put(&mut row, &bytes[at..at + length])?;
            at += length;
            at += match bytes[at..] {
                [b'\r', b'\n', ..] => break,
                [0xc2, 0xa0..=0xff, ..] => {
                    self.put(&mut row, &bytes[at..at + 2])?;
                    2
                }
                [0x1b, ..] => {
                    let (length, act) = sequence(&bytes[at..])?;
                    match act {
                        Act::Colour { resets: true } => reset = at,
                        Act::Colour { resets: false } | Act::Nothing => {}
                        Act::Ascii => designations += 1,
                        Act::Erase(_) | Act::Tab | Act::Right(_) | Act::Left(_) | Act::To(_) => self.edit(&mut row, act)?,
                    }
                    length
                }
                [] | [b'\r' | 0xc2] => return Err(Ended::Early),
                [byte @ (b'\r' | b'\t' | 0x08), ..] => {
                    let act = if byte == b'\t' { Act::Tab } else { Act::Left(1) };
                    self.edit(&mut row, if byte == b'\r' { Act::To(0) } else { act })?;
                    1
                }
                [0x07, ..] => 1,
                _ => return Err(Ended::Odd),
            };
        }
        if !self.is_one_line(&row, size) {
            return Err(Ended::Odd);
        }
        let line = PlainLine { end: at + 2, text_end: self.text.len(), reset, designations };
        self.text.push(b'\n');
        Ok(line)
    }

    /// Draws text in the row.
    fn put(&mut self, row: &mut Row, text: &[u8]) -> Result<(), Ended> {
        let Some(col) = row.col else {
            self.text.extend_from_slice(text);
            return Ok(());
        };
        if col + text.len() > row.cols || !text.is_ascii() {
            return Err(Ended::Odd);
        }
        let at = row.start + col;
        if at > self.text.len() {
            self.text.resize(at, b' ');
        }
        let over = text.len().min(self.text.len() - at);
        self.text[at..at + over].copy_from_slice(&text[..over]);
        self.text.extend_from_slice(&text[over..]);
        row.col = Some(col + text.len());
        Ok(())
    }

    fn edit(&mut self, row: &mut Row, act: Act) -> Result<(), Ended> {
        let text = &self.text[row.start..];
        if row.col.is_none() && (text.len() > row.cols || !text.is_ascii()) {
            return Err(Ended::Odd);
        }
        let col = row.col.unwrap_or(text.len());
        let (inside, last) = (col.min(row.cols - 1), row.cols - 1);
        row.col = Some(match act {
            Act::Right(count) => (inside + count).min(last),
            Act::Left(count) => inside.saturating_sub(count),
            Act::To(col) => col.min(last),
            Act::Erase(_) | Act::Tab if col > last => return Err(Ended::Odd),
            Act::Tab => ((col / 8 + 1) * 8).min(last),
            Act::Erase(what) => {
                let end = self.text.len().min(row.start + col + 1);
                match what {
                    0 => self.text.truncate(row.start + col),
                    1 => self.text[row.start..end].fill(b' '),
                    _ => self.text.truncate(row.start),
                }
                col
            }
            Act::Colour { .. } | Act::Ascii | Act::Nothing => col,
        });
        Ok(())
    }

    /// Whether the row, and those that it goes on in, leave as one line with that text.
    fn is_one_line(&self, row: &Row, size: Size) -> bool {
        let text = &self.text[row.start..];
        let columns = if text.is_ascii() { Some(text.len()) } else { columns(text) };
        columns.is_some_and(|columns| {
            let is_joined_again = size.rows() > 1 && text.len() <= LONG_BYTES_MAX && text.iter().all(|byte| *byte < WIDE);
            columns <= row.cols || is_joined_again
        })
    }
}

/// How many columns a text takes, if each of its characters is drawn as it stands.
fn columns(text: &[u8]) -> Option<usize> {
    let width = |c: char| c.width().filter(|width| *width > 0 && !is_replaced(c));
    str::from_utf8(text).ok()?.chars().map(width).sum()
}

/// The sequence that `bytes` begin with, if it is a plain line's, and how long that is.
fn sequence(bytes: &[u8]) -> Result<(usize, Act), Ended> {
    match bytes {
        [_, b'[', b'?', rest @ ..] => {
            let length = digits(rest)?;
            let is_told = rest[..length].split(|byte| *byte == b';').all(|mode| MODES.contains(&mode));
            let is_whole = is_told && matches!(rest[length], b'h' | b'l');
            if is_whole { Ok((length + 4, Act::Nothing)) } else { Err(Ended::Odd) }
        }
        [_, b'[', rest @ ..] => {
            let length = digits(rest)?;
            let (parameters, last) = (&rest[..length], rest[length]);
            let act = match last {
                b'm' => Act::Colour { resets: matches!(parameters, b"" | b"0") },
                b'K' => Act::Erase(number(parameters).and_then(|what| if what <= 2 { Ok(what) } else { Err(Ended::Odd) })?),
                b'C' => Act::Right(number(parameters)?.max(1)),
                b'D' => Act::Left(number(parameters)?.max(1)),
                b'G' => Act::To(number(parameters)?.max(1) - 1),
                _ => return Err(Ended::Odd),
            };
            Ok((length + 3, act))
        }
        [_, b'(', b'B', ..] => Ok((3, Act::Ascii)),
        [_, b'=' | b'>', ..] => Ok((2, Act::Nothing)),
        [_, b']', rest @ ..] => told(rest).map(|length| (length + 2, Act::Nothing)),
        [_] | [_, b'('] => Err(Ended::Early),
        _ => Err(Ended::Odd),
    }
}

/// How many bytes of parameters stand in front, something else being behind them.
fn digits(bytes: &[u8]) -> Result<usize, Ended> {
    let within = &bytes[..bytes.len().min(SEQUENCE_BYTES_MAX)];
    let length = within.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
    length.ok_or(if within.len() < SEQUENCE_BYTES_MAX { Ended::Early } else { Ended::Odd })
}

/// A small number on its own, 0 if there is none.
fn number(parameters: &[u8]) -> Result<usize, Ended> {
    match parameters {
        b"" => Ok(0),
        [b'0'..=b'9', rest @ ..] if rest.len() < 4 => {
            str::from_utf8(parameters).ok().and_then(|digits| digits.parse().ok()).ok_or(Ended::Odd)
        }
        _ => Err(Ended::Odd),
    }
}

/// How long the rest of an operating system command is that tells something.
fn told(bytes: &[u8]) -> Result<usize, Ended> {
    let within = &bytes[..bytes.len().min(SEQUENCE_BYTES_MAX)];
    let early = if within.len() < SEQUENCE_BYTES_MAX { Ended::Early } else { Ended::Odd };
    let end = within.iter().position(|byte| *byte < b' ' || *byte >= 0x7f).ok_or(early)?;
    let kind = within[..end].split(|byte| *byte == b';').next().unwrap_or_default();
    match within[end..] {
        _ if !TOLD.contains(&kind) => Err(Ended::Odd),
        [0x07, ..] => Ok(end + 1),
        [0x1b, b'\\', ..] => Ok(end + 2),
        [0x1b] => Err(early),
        _ => Err(Ended::Odd),
    }
}
