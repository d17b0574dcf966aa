//! alacritty_terminal as the terminal that the mirror is measured against.

use alacritty_terminal::{
    Term,
    event::VoidListener,
    grid::Dimensions,
    index::{Column, Line},
    term::{
        Config, TermMode,
        cell::{Cell, Flags},
        test::TermSize,
    },
    vte::ansi::{Color, NamedColor, Processor},
};
use kaval_actors::{Size, mirror::CellColor};

use crate::picture::{Glyph, Picture};

/// A terminal of alacritty's, without a window.
pub(crate) struct Reference {
    term: Term<VoidListener>,
    parser: Processor,
}

impl Reference {
    /// One that keeps nothing above its screen.
    pub(crate) fn new(size: Size) -> Self {
        let config = Config { scrolling_history: 0, ..Config::default() };
        Self { term: Term::new(config, &sides(size), VoidListener), parser: Processor::new() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.parser.advance(&mut self.term, bytes);
    }

    /// Gives it another size; of the same width, since alacritty reflows.
    pub(crate) fn resize(&mut self, size: Size) {
        assert_eq!(usize::from(size.cols()), self.term.columns());
        self.term.resize(sides(size));
    }

    pub(crate) fn modes(&self) -> TermMode {
        *self.term.mode()
    }

    pub(crate) fn picture(&self) -> Picture {
        let grid = self.term.grid();
        let point = grid.cursor.point;
        let (rows, cols) = (grid.screen_lines(), grid.columns());
        Picture {
            glyphs: (0..rows)
                .map(|row| (0..cols).map(|col| glyph(&grid[Line(row as i32)][Column(col)]).seen()).collect())
                .collect(),
            cursor: (point.line.0.try_into().expect("the cursor is on the screen"), point.column.0),
            cursor_shown: self.term.mode().contains(TermMode::SHOW_CURSOR),
        }
    }
}

fn sides(size: Size) -> TermSize {
    TermSize::new(size.cols().into(), size.rows().into())
}

fn glyph(cell: &Cell) -> Glyph {
    let text = if cell.flags.intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER) {
        String::new()
    } else {
        cell.c.to_string() + &cell.zerowidth().unwrap_or_default().iter().collect::<String>()
    };
    Glyph {
        text,
        fg: color(cell.fg),
        bg: color(cell.bg),
        bold: cell.flags.contains(Flags::BOLD),
        dim: cell.flags.contains(Flags::DIM),
        italic: cell.flags.contains(Flags::ITALIC),
        underline: cell.flags.intersects(Flags::ALL_UNDERLINES),
        inverse: cell.flags.contains(Flags::INVERSE),
        second: cell.flags.contains(Flags::WIDE_CHAR_SPACER),
    }
}

fn color(color: Color) -> Option<CellColor> {
    match color {
        Color::Named(NamedColor::Foreground | NamedColor::Background) => None,
        Color::Named(name) => Some(CellColor::Index(u8::try_from(name as usize).expect("one of the sixteen"))),
        Color::Indexed(index) => Some(CellColor::Index(index)),
        Color::Spec(rgb) => Some(CellColor::Direct(format!("#{:02x}{:02x}{:02x}", rgb.r, rgb.g, rgb.b))),
    }
}
