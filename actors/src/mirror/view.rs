//! The screen cell by cell, in the shape that `kaval screen --format json` prints.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    drawing::{REPLACEMENT_STAND_IN, place},
    modes::CURSOR_SHOWN,
    state::{Place, State},
};

/// A screen. Rows and columns count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScreenView {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
    /// The cursor.
    pub cursor: Cursor,
    /// Whether the alternate screen is up.
    pub alternate: bool,
    /// The title.
    pub title: String,
    /// Each row's text, right-trimmed.
    pub lines: Vec<String>,
    /// Each row's cells.
    pub cells: Vec<Vec<Cell>>,
}

/// Where the cursor is and how it looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Row.
    pub row: u16,
    /// Column.
    pub col: u16,
    /// Whether it is shown.
    pub visible: bool,
    /// `default`, or `block`, `underline`, `bar`, with `blinking-` before the blinking ones.
    pub style: String,
}

/// One cell. Colours are absent where they are the default, attributes present only where true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What it shows; empty in a blank cell and in the second column of a wide character.
    pub t: String,
    /// Foreground.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fg: Option<CellColor>,
    /// Background.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bg: Option<CellColor>,
    /// Bold.
    #[serde(skip_serializing_if = "is_false", default)]
    pub bold: bool,
    /// Dim.
    #[serde(skip_serializing_if = "is_false", default)]
    pub dim: bool,
    /// Italic.
    #[serde(skip_serializing_if = "is_false", default)]
    pub italic: bool,
    /// Underlined.
    #[serde(skip_serializing_if = "is_false", default)]
    pub underline: bool,
    /// Foreground and background exchanged.
    #[serde(skip_serializing_if = "is_false", default)]
    pub inverse: bool,
}

/// A colour: a palette index, or `"#rrggbb"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CellColor {
    /// Of the 256-colour palette.
    Index(u8),
    /// Direct, as `#rrggbb`.
    Direct(String),
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Text as it shows: with U+FFFD where something stands in for it.
pub(crate) fn is_replaced(c: char) -> bool {
    matches!(c, char::REPLACEMENT_CHARACTER | REPLACEMENT_STAND_IN)
}

pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.contains(REPLACEMENT_STAND_IN) {
        true => Cow::Owned(text.replace(REPLACEMENT_STAND_IN, "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

pub(super) fn of(screen: &vt100::Screen, state: &State) -> ScreenView {
    let (rows, cols) = screen.size();
    let (rows, cols) = (rows.get(), cols.get());
    let Place { row, col, .. } = place(screen);
    ScreenView {
        rows,
        cols,
        cursor: Cursor { row, col, visible: state.modes.has(CURSOR_SHOWN), style: style(state.cursor_style).to_owned() },
        alternate: screen.alternate_screen(),
        title: state.title.clone(),
        lines: screen.rows(0, cols).map(|line| shown(line.trim_end()).into_owned()).collect(),
        cells: (0..rows)
            .map(|row| (0..cols).map(|col| screen.cell(row, col).map_or_else(Cell::default, cell)).collect())
            .collect(),
    }
}

fn cell(cell: &vt100::Cell) -> Cell {
    Cell {
        t: if cell.is_wide_continuation() { String::new() } else { shown(cell.contents()).into_owned() },
        fg: color(cell.fgcolor()),
        bg: color(cell.bgcolor()),
        bold: cell.bold(),
        dim: cell.dim(),
        italic: cell.italic(),
        underline: cell.underline(),
        inverse: cell.inverse(),
    }
}

fn color(color: vt100::Color) -> Option<CellColor> {
    match color {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(CellColor::Index(index)),
        vt100::Color::Rgb(r, g, b) => Some(CellColor::Direct(format!("#{r:02x}{g:02x}{b:02x}"))),
    }
}

/// By the numbers of `DECSCUSR`.
fn style(style: u8) -> &'static str {
    match style {
        1 => "blinking-block",
        2 => "block",
        3 => "blinking-underline",
        4 => "underline",
        5 => "blinking-bar",
        6 => "bar",
        _ => "default",
    }
}
