//! What of a flood need not be drawn: lines that would scroll off again before anybody could look. Pure.
//!
//! ```text
//!   bytes   ├ line ┼ line line line … line ┼ two screens of lines ┼ whatever else ┤
//!   drawn     yes    as the last line's      yes                    yes
//!                    colours alone
//! ```
//!
//! Only lines of text and colours, ended by CR LF, are left out: what they leave behind is a cursor in the first column, and a pen. The two
//! screens of such lines behind them replace every row, wherever the cursor was.
//!
//! **Invariants.** The screen afterwards is the one that drawing everything would have given, if the parser is between sequences at the
//! first byte and no margins are set. If the cursor is in the last row where the cut begins, exactly as many lines more would have left the
//! screen as are left out: a long line is left out only where it is sure to be joined again from the rows that it takes.

use super::{leaving::LINE_BYTES_MAX, run::front};
use crate::Size;

/// Fewest lines worth leaving out.
const LINES_MIN: usize = 100;
/// Longest line that is left out where it takes several rows: with all colours that a cell can have, spelt out for each, it is not yet cut.
const LONG_BYTES_MAX: usize = 900;
const _: () = assert!(LONG_BYTES_MAX * 70 <= LINE_BYTES_MAX);
/// What characters of two columns begin with, in UTF-8: this, or more.
const WIDE: u8 = 0xe1;

/// What to leave out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// First byte left out.
    pub(super) from: usize,
    /// First byte behind it that is drawn.
    pub(super) to: usize,
    /// How many lines that is.
    pub(super) lines: usize,
    /// Colours that it sets: sequences to draw in its place.
    pub(super) pen: Vec<u8>,
}

/// One line, as far as it matters.
struct Line {
    /// Behind its CR LF.
    end: usize,
    /// Where the newest sequence that sets all colours back begins; 0 if none has come.
    reset: usize,
}

/// What of `bytes` need not be drawn on a screen of that size, if it is much.
pub(super) fn cut(bytes: &[u8], size: Size) -> Option<Cut> {
    let kept = 2 * usize::from(size.rows());
    if memchr::memchr_iter(b'\n', bytes).count() < kept + LINES_MIN {
        return None;
    }
    let lines = plain_lines(bytes, size);
    if lines.len() < kept + LINES_MIN {
        return None;
    }
    let (first, cut) = (&lines[0], &lines[lines.len() - kept - 1]);
    Some(Cut {
        from: first.end,
        to: cut.end,
        lines: lines.len() - kept - 1,
        pen: colours(&bytes[cut.reset.max(first.end)..cut.end]),
    })
}

/// The lines at the front of `bytes` that consist of text and colours.
fn plain_lines(bytes: &[u8], size: Size) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut at, mut reset) = (0, 0);
    loop {
        // What U+0080 to U+00BF begin with may be a control character.
        at += front(&bytes[at..], |byte| byte >= 0x20 && byte != 0x7f && byte != 0xc2);
        match bytes[at..] {
            [b'\r', b'\n', ..] => {
                // The first is drawn in any case.
                if lines.last().is_some_and(|last| !is_joined_again(&bytes[last.end..at], size)) {
                    break;
                }
                at += 2;
                lines.push(Line { end: at, reset });
            }
            [0x1b, ..] => {
                let Some(length) = colour(&bytes[at..]) else { break };
                if matches!(&bytes[at..at + length], b"\x1b[m" | b"\x1b[0m") {
                    reset = at;
                }
                at += length;
            }
            [0xc2, 0xa0..=0xff, ..] => at += 2,
            _ => break,
        }
    }
    lines
}

/// Whether a line leaves a screen of that size as one line.
fn is_joined_again(line: &[u8], size: Size) -> bool {
    let fits_a_row = line.len() <= size.cols().into();
    fits_a_row || (size.rows() > 1 && line.len() <= LONG_BYTES_MAX && line.iter().all(|byte| *byte < WIDE))
}

/// Length of the `SGR` sequence that `bytes` begin with.
fn colour(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let length = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters[length] == b'm').then_some(length + 3)
}

fn colours(lines: &[u8]) -> Vec<u8> {
    let sequences = memchr::memchr_iter(0x1b, lines);
    sequences.flat_map(|at| &lines[at..at + colour(&lines[at..]).unwrap_or(0)]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten_rows() -> Size {
        Size::new(80, 10).unwrap()
    }

    #[test]
    fn lines_are_left_out_and_their_colours_since_the_last_reset_stay() {
        let lines: String = (0..200).map(|n| format!("\x1b[3{}mliné°\x1b[0m {n}\x1b[1m\r\n", n % 8)).collect();
        let cut = cut(lines.as_bytes(), ten_rows()).unwrap();
        assert!(lines[cut.from..].starts_with("\x1b[31mliné°\x1b[0m 1\x1b[1m\r\n"));
        assert!(lines[cut.to..].starts_with("\x1b[34mliné°\x1b[0m 180\x1b[1m\r\n"));
        assert_eq!((cut.lines, cut.pen.as_slice()), (179, b"\x1b[0m\x1b[1m".as_slice()));
    }

    #[test]
    fn nothing_is_left_out_of_a_little_or_of_what_moves_the_cursor() {
        let lines = |line: &str, n| line.repeat(n).into_bytes();
        assert!(cut(&lines("x\r\n", 119), ten_rows()).is_none());
        assert!(cut(&lines("x\r\n", 120), ten_rows()).is_some());
        for odd in
            ["x\n", "a\rb\r\n", "a\tb\r\n", "\x1b[2Jx\r\n", "\x1b[?1m\r\n", "\u{9b}2J\r\n", "\x07\r\n", "\x1b[1", "\x7f\r\n"]
        {
            assert!(cut(&lines(odd, 1000), ten_rows()).is_none(), "{odd:?}");
        }
    }
}
