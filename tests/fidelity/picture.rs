//! What a screen shows, in a form that two terminals can be compared by.
//!
//! Only what vt100 keeps is in it: no strikethrough, blink, hidden, kinds of underline or links. A blank cell is its background, and
//! its foreground only where an underline or an exchange of colours shows it.

use std::fmt;

use kaval_actors::mirror::{CellColor, Mirror};

/// What one cell looks like.
#[derive(Clone, PartialEq)]
pub(crate) struct Glyph {
    pub(crate) text: String,
    pub(crate) fg: Option<CellColor>,
    pub(crate) bg: Option<CellColor>,
    pub(crate) bold: bool,
    pub(crate) dim: bool,
    pub(crate) italic: bool,
    pub(crate) underline: bool,
    pub(crate) inverse: bool,
    /// Whether it is the second column of a wide character: such a cell looks as the first does, whatever is kept in it.
    pub(crate) second: bool,
}

impl Glyph {
    /// As it looks: what nobody can see of a blank cell is left out.
    pub(crate) fn seen(self) -> Self {
        if !self.text.trim().is_empty() {
            return self;
        }
        let fg = if self.underline || self.inverse { self.fg } else { None };
        Self { text: " ".to_owned(), fg, bold: false, dim: false, italic: false, ..self }
    }
}

/// What a whole screen looks like. A wrap that is pending is not in it: what comes next shows it.
#[derive(Clone, PartialEq)]
pub(crate) struct Picture {
    pub(crate) glyphs: Vec<Vec<Glyph>>,
    pub(crate) cursor: (usize, usize),
    pub(crate) cursor_shown: bool,
}

impl Picture {
    pub(crate) fn of(mirror: &Mirror) -> Self {
        let view = mirror.view();
        let glyph = |cell: kaval_actors::mirror::Cell| Glyph {
            text: cell.t,
            fg: cell.fg,
            bg: cell.bg,
            bold: cell.bold,
            dim: cell.dim,
            italic: cell.italic,
            underline: cell.underline,
            inverse: cell.inverse,
            second: false,
        };
        Self {
            cursor: (view.cursor.row.into(), view.cursor.col.min(view.cols - 1).into()),
            cursor_shown: view.cursor.visible,
            glyphs: view.cells.into_iter().map(|row| row.into_iter().map(|cell| glyph(cell).seen()).collect()).collect(),
        }
    }

    /// The rows' text, right-trimmed.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |row: &Vec<Glyph>| row.iter().map(|glyph| glyph.text.as_str()).collect::<String>().trim_end().to_owned();
        self.glyphs.iter().map(line).collect()
    }

    /// The first differences from another picture, for a person to read; empty where they are the same.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut masked = self.clone();
        for (ours, theirs) in masked.glyphs.iter_mut().flatten().zip(other.glyphs.iter().flatten()) {
            if theirs.second && ours.text == theirs.text {
                ours.clone_from(theirs);
            }
        }
        if masked == *other { Vec::new() } else { masked.listed(other) }
    }

    fn listed(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (row, (a, b)) in self.lines().iter().zip(other.lines()).enumerate() {
            if *a != b && found.len() < 3 {
                found.push(format!("row {row}: {a:?}, not {b:?}"));
            }
        }
        if self.cursor != other.cursor || self.cursor_shown != other.cursor_shown {
            found.push(format!(
                "cursor {:?} shown {}, not {:?} shown {}",
                self.cursor, self.cursor_shown, other.cursor, other.cursor_shown
            ));
        }
        let cells = |picture: &Self| picture.glyphs.iter().flatten().cloned().collect::<Vec<_>>();
        let cols = self.glyphs.first().map_or(1, Vec::len);
        for (at, (a, b)) in cells(self).into_iter().zip(cells(other)).enumerate() {
            if a != b && found.len() < 5 {
                found.push(format!("cell {},{}: {a:?}, not {b:?}", at / cols, at % cols));
            }
        }
        found
    }
}

impl fmt::Debug for Glyph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)?;
        for (name, color) in [("fg", &self.fg), ("bg", &self.bg)] {
            match color {
                Some(CellColor::Index(index)) => write!(f, " {name} {index}")?,
                Some(CellColor::Direct(color)) => write!(f, " {name} {color}")?,
                None => {}
            }
        }
        let flags = [
            (self.bold, "bold"),
            (self.dim, "dim"),
            (self.italic, "italic"),
            (self.underline, "underline"),
            (self.inverse, "inverse"),
        ];
        flags.iter().filter(|(on, _)| *on).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cursor {:?} shown {}\n{}", self.cursor, self.cursor_shown, self.lines().join("\n"))
    }
}
