//! What of a flood need not be drawn: lines that would scroll off again before anybody could look. Pure.
//!
//! ```text
//!   bytes   ├ line ┼ line line line … line ┼ two screens of lines ┼ whatever else ┤
//!   drawn     yes    as empty lines, as many  yes                   yes
//!                    rows as they took; then
//!                    the last line's colours
//! ```
//!
//! Only lines of printable ASCII and colours, ended by CR LF, are left out: what they leave behind is rows gone, a cursor in the first
//! column, and a pen. The two screens of such lines behind them replace every row, wherever the cursor was.
//!
//! **Invariant.** The screen afterwards is the one that drawing everything would have given, if the parser is between sequences at the
//! first byte and no margins are set.

const ESC: u8 = 0x1b;
/// Fewest lines worth leaving out.
const LINES_MIN: usize = 100;

/// What to leave out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// First byte left out.
    pub(super) from: usize,
    /// First byte behind it that is drawn.
    pub(super) to: usize,
    /// Rows that what is left out would have taken.
    pub(super) rows: usize,
    /// Colours that it sets: sequences to draw in its place.
    pub(super) pen: Vec<u8>,
}

/// One line, as far as it matters.
struct Line {
    /// Behind its CR LF.
    end: usize,
    /// Rows it and those before it take.
    rows: usize,
    /// Where the newest sequence that sets all colours back begins; 0 if none has come.
    reset: usize,
}

/// What of `bytes` need not be drawn on a screen of that size, if it is much.
pub(super) fn cut(bytes: &[u8], cols: usize, screen_rows: usize) -> Option<Cut> {
    let kept = 2 * screen_rows;
    if memchr::memchr_iter(b'\n', bytes).count() < kept + LINES_MIN {
        return None;
    }
    let lines = plain_lines(bytes, cols);
    if lines.len() < kept + LINES_MIN {
        return None;
    }
    let (first, last) = (&lines[0], &lines[lines.len() - kept - 1]);
    let pen = colours(&bytes[last.reset.max(first.end)..last.end]);
    Some(Cut { from: first.end, to: last.end, rows: last.rows - first.rows, pen })
}

/// The lines at the front of `bytes` that consist of printable ASCII and colours.
fn plain_lines(bytes: &[u8], cols: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut start, mut rows, mut reset) = (0, 0, 0);
    while let Some(length) = memchr::memchr(b'\n', &bytes[start..]) {
        let end = start + length + 1;
        let Some(text) = bytes[start..end].strip_suffix(b"\r\n") else { break };
        let Some((columns, last_reset)) = measure(text) else { break };
        reset = last_reset.map_or(reset, |at| start + at);
        rows += 1 + columns.saturating_sub(1) / cols;
        lines.push(Line { end, rows, reset });
        start = end;
    }
    lines
}

/// Columns that a line of printable ASCII and colours takes, and where in it the newest reset is; `None` if it is something else.
fn measure(line: &[u8]) -> Option<(usize, Option<usize>)> {
    let (mut columns, mut reset, mut at) = (0, None, 0);
    loop {
        let text = memchr::memchr(ESC, &line[at..]).map_or(line.len(), |length| at + length);
        if !line[at..text].iter().fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte)) {
            return None;
        }
        columns += text - at;
        if text == line.len() {
            return Some((columns, reset));
        }
        let length = colour(&line[text..])?;
        if matches!(&line[text..text + length], b"\x1b[m" | b"\x1b[0m") {
            reset = Some(text);
        }
        at = text + length;
    }
}

/// Length of the `SGR` sequence that `bytes` begin with.
fn colour(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let length = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters[length] == b'm').then_some(length + 3)
}

fn colours(lines: &[u8]) -> Vec<u8> {
    let sequences = memchr::memchr_iter(ESC, lines);
    sequences.flat_map(|at| &lines[at..at + colour(&lines[at..]).unwrap_or(0)]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_left_out_by_the_rows_they_take_and_colours_since_the_last_reset_stay() {
        let lines: String = (0..200).map(|n| format!("\x1b[3{}mline\x1b[0m {n}\x1b[1m\r\n", n % 8)).collect();
        let cut = cut(lines.as_bytes(), 5, 10).unwrap();
        assert!(lines[cut.from..].starts_with("\x1b[31mline\x1b[0m 1\x1b[1m\r\n"));
        assert!(lines[cut.to..].starts_with("\x1b[34mline\x1b[0m 180\x1b[1m\r\n"));
        assert_eq!((cut.rows, &cut.pen[..]), (179 * 2, &b"\x1b[0m\x1b[1m"[..]));
    }

    #[test]
    fn nothing_is_left_out_of_a_little_or_of_what_moves_the_cursor() {
        let lines = |line: &str, n| line.repeat(n).into_bytes();
        assert!(cut(&lines("x\r\n", 119), 80, 10).is_none());
        assert!(cut(&lines("x\r\n", 120), 80, 10).is_some());
        for odd in ["x\n", "a\rb\r\n", "a\tb\r\n", "\x1b[2Jx\r\n", "\x1b[?1m\r\n", "é\r\n", "\x07\r\n", "\x1b[1"] {
            assert!(cut(&lines(odd, 1000), 80, 10).is_none(), "{odd:?}");
        }
    }
}
