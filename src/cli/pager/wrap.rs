//! Styled lines as rows of a window. Pure.
//!
//! ```text
//!   "\x1b[31merror\x1b[m: a long line" ─► cells ─► rows of at most so many columns ─► SGR again
//! ```
//!
//! **Invariants.** No row is wider than the window, every cell of a line is on one of its rows, in order, and nothing but text and `SGR` gets to
//! the window, whatever was put out. A line has at least one row.

use std::fmt::Write;

use regex::Regex;

use crate::export::{
    cells::cells,
    sgr::{Color, Runs, Style},
};

/// Stands for a character that is wider than the window.
const TOO_WIDE: &str = "?";

/// A row: texts in their styles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row(Vec<(Style, String)>);

impl Row {
    fn push(&mut self, style: Style, text: &str) {
        match self.0.last_mut() {
            Some((last, texts)) if *last == style => texts.push_str(text),
            _ => self.0.push((style, text.to_owned())),
        }
    }

    /// What draws it, from plain text to plain text; selected, in the opposite colours.
    pub(super) fn paint(&self, is_selected: bool) -> String {
        let mut out = String::new();
        for (style, text) in &self.0 {
            let style = Style { inverse: style.inverse != is_selected, ..*style };
            out.push_str(&sgr(style));
            out.push_str(text);
        }
        out.push_str("\x1b[m");
        out
    }

    /// Its text.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// The rows of a line, or of several, in a window of so many columns, with what the pattern matches in the opposite colours.
pub(super) fn rows(lines: &str, cols: usize, sought: Option<&Regex>) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in lines.split('\n') {
        let matches = sought.map(|sought| matches(line, sought)).unwrap_or_default();
        let (mut row, mut room, mut at) = (Row::default(), cols, 0);
        for (style, text) in Runs::new(line) {
            for cell in cells(text) {
                let (text, width) = if cell.width > cols { (TOO_WIDE, 1) } else { (cell.text, cell.width) };
                if width > room {
                    rows.push(std::mem::take(&mut row));
                    room = cols;
                }
                room -= width;
                let is_match = matches.iter().any(|found| found.contains(&at));
                row.push(Style { inverse: style.inverse != is_match, ..style }, text);
                at += cell.text.len();
            }
        }
        rows.push(row);
    }
    rows
}

/// How many rows those are.
pub(super) fn height(lines: &str, cols: usize) -> usize {
    // Most lines are short, and a byte never takes more than a column.
    lines.split('\n').map(|line| if line.len() <= cols { 1 } else { height_of(line, cols) }).sum()
}

fn height_of(line: &str, cols: usize) -> usize {
    let (mut rows, mut room) = (1, cols);
    for cell in Runs::new(line).flat_map(|(_, text)| cells(text)) {
        let width = if cell.width > cols { 1 } else { cell.width };
        if width > room {
            rows += 1;
            room = cols;
        }
        room -= width;
    }
    rows
}

/// The text of a styled line.
pub(super) fn text(line: &str) -> String {
    Runs::new(line).map(|(_, text)| text).collect()
}

/// Where a pattern matches in the text of a styled line.
fn matches(line: &str, sought: &Regex) -> Vec<std::ops::Range<usize>> {
    sought.find_iter(&text(line)).map(|found| found.range()).filter(|range| !range.is_empty()).collect()
}

fn sgr(style: Style) -> String {
    let mut out = String::from("\x1b[0");
    let attributes = [
        (style.bold, 1),
        (style.dim, 2),
        (style.italic, 3),
        (style.underline, 4),
        (style.inverse, 7),
        (style.hidden, 8),
        (style.strike, 9),
    ];
    for (_, number) in attributes.into_iter().filter(|(is_set, _)| *is_set) {
        let _ = write!(out, ";{number}");
    }
    for (plane, color) in [(38, style.foreground), (48, style.background)] {
        match color {
            Color::Default => {}
            Color::Indexed(index) => _ = write!(out, ";{plane};5;{index}"),
            Color::Rgb([red, green, blue]) => _ = write!(out, ";{plane};2;{red};{green};{blue}"),
        }
    }
    out.push('m');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthChar;

    use super::*;

    fn texts(line: &str, cols: usize) -> Vec<String> {
        rows(line, cols, None).iter().map(Row::text).collect()
    }

    #[test]
    fn lines_are_cut_between_cells_and_marks_stay_where_they_are() {
        assert_eq!(texts("abcdef", 3), ["abc", "def"]);
        assert_eq!(texts("ab漢字", 3), ["ab", "漢", "字"]);
        assert_eq!(texts("abe\u{301}f", 3), ["abe\u{301}", "f"]);
        assert_eq!(texts("a漢b", 1), ["a", "?", "b"]);
        assert_eq!(texts("", 3), [""]);
        assert_eq!(texts("one\n\ntwo", 9), ["one", "", "two"]);
    }

    #[test]
    fn colours_go_on_over_rows_and_matches_stand_out_over_changes_of_them() {
        let line = "\x1b[31mabc\x1b[1mdef\x1b[m";
        let painted: Vec<_> = rows(line, 2, None).iter().map(|row| row.paint(false)).collect();
        assert_eq!(painted, ["\x1b[0;38;5;1mab\x1b[m", "\x1b[0;38;5;1mc\x1b[0;1;38;5;1md\x1b[m", "\x1b[0;1;38;5;1mef\x1b[m"]);
        let found = rows(line, 9, Some(&Regex::new("cd").unwrap()));
        let expected = "\x1b[0;38;5;1mab\x1b[0;7;38;5;1mc\x1b[0;1;7;38;5;1md\x1b[0;1;38;5;1mef\x1b[m";
        assert_eq!(found[0].paint(false), expected);
    }

    #[test]
    fn what_is_hostile_is_text() {
        assert_eq!(texts("a\x1b]0;title\x07b\x1b[2Jc", 80), ["a]0;titleb[2Jc"]);
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_none_of_the_text_is_lost(line in "([a-z ]|漢|e\u{301}|👍|\x1b\\[1m|\x1b\\[m|\n){0,60}", cols in 2usize..20) {
            let texts = texts(&line, cols);
            prop_assert_eq!(texts.len(), height(&line, cols));
            for text in &texts {
                prop_assert!(text.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>() <= cols);
            }
            let expected: String = line.split('\n').map(super::text).collect();
            prop_assert_eq!(texts.concat(), expected);
        }
    }
}
