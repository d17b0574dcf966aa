//! Text as a terminal's cells: what stands in each, and how many columns it takes.

use unicode_width::UnicodeWidthChar;

/// A character with the marks that go on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell<'a> {
    pub(crate) text: &'a str,
    /// Columns: 1 or 2; 0 only of marks that have nothing to go on.
    pub(crate) width: usize,
}

/// How many columns a character takes.
fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The cells of a text.
pub(crate) fn cells(mut text: &str) -> impl Iterator<Item = Cell<'_>> {
    std::iter::from_fn(move || {
        let first = text.chars().next()?;
        let marks = text[first.len_utf8()..].find(|c| width(c) > 0).unwrap_or(text.len() - first.len_utf8());
        let (cell, rest) = text.split_at(first.len_utf8() + marks);
        text = rest;
        Some(Cell { text: cell, width: width(first) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_with_what_is_before_them() {
        let found: Vec<_> = cells("\u{301}ae\u{301}\u{302}日👍x").map(|cell| (cell.text, cell.width)).collect();
        assert_eq!(found, [("\u{301}", 0), ("a", 1), ("e\u{301}\u{302}", 1), ("日", 2), ("👍", 2), ("x", 1)]);
        assert_eq!(cells("").count(), 0);
    }
}
