//! A page: rows of cells, drawn one after the other.
//!
//! ```text
//!   ├─ margin ─┼─ column 0 ─┬─ column 1 ─┬ … ─┼─ margin: ↵ where a line goes on in the next row ─┤
//!   row: what it stands on, then text in runs of one look, then what is drawn under or through it
//!   foot: title, number of the page
//! ```
//!
//! **Invariants.** A column is where it is on a terminal, whatever is in it. Nothing but text, spaces among it, is drawn as text.

use pdf_writer::{Content, Name, Settings, Str, TextStr};

use super::font::{Font, Metrics};
use crate::export::{
    cells::{Cell, cells},
    palette::{self, Rgb},
    sgr::{Paint, Style},
};

/// In points, as all lengths here. Some 96 columns fit A4.
const FONT_SIZE: f32 = 9.0;
const FOOT_SIZE: f32 = 7.0;
const MARGIN: f32 = 36.0;
/// Between the text and the line of the foot.
const FOOT_HEIGHT: f32 = 20.0;
const A4_WIDTH: f32 = 595.28;
const A4_SHAPE: f32 = std::f32::consts::SQRT_2;
/// Most columns of a page: what is printed is still to be read.
const COLS_MAX: u16 = 240;
/// How far upright text leans when it is slanted.
const SLANT: f32 = 0.2;
/// Of the two weights' names as resources; the plane comes behind.
pub(super) const WEIGHTS: [&str; 2] = ["R", "B"];

/// The sheets of a document: as wide as its terminal, A4 at least, and of its shape, so that printing makes them fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sheet {
    pub(super) cols: usize,
    pub(super) rows: usize,
    pub(super) width: f32,
    pub(super) height: f32,
    advance: f32,
    line_height: f32,
    descent: f32,
}

impl Sheet {
    pub(super) fn new(cols: u16, metrics: Metrics) -> Self {
        let advance = metrics.advance * FONT_SIZE;
        let width = (f32::from(cols.min(COLS_MAX)) * advance + 2.0 * MARGIN).max(A4_WIDTH);
        let height = width * A4_SHAPE;
        // What fills a whole cell meets what is above and below.
        let line_height = (metrics.ascent + metrics.descent) * FONT_SIZE;
        Self {
            cols: ((width - 2.0 * MARGIN) / advance + 0.01) as usize,
            rows: ((height - 2.0 * MARGIN - FOOT_HEIGHT) / line_height) as usize,
            width,
            height,
            advance,
            line_height,
            descent: metrics.descent * FONT_SIZE,
        }
    }

    fn x(&self, col: usize) -> f32 {
        MARGIN + col as f32 * self.advance
    }

    /// The row whose text stands on this line.
    #[cfg(test)]
    pub(super) fn row_at(&self, y: f32) -> usize {
        ((self.height - MARGIN - y + self.descent) / self.line_height - 1.0).round() as usize
    }

    /// The foot of a row's cells.
    fn y(&self, row: usize) -> f32 {
        self.height - MARGIN - (row + 1) as f32 * self.line_height
    }
}

/// Both weights.
pub(super) struct Fonts(pub(super) [Font; 2]);

/// A page that is being drawn.
pub(super) struct Page {
    content: Content,
    sheet: Sheet,
    /// The row that is drawn next.
    pub(super) row: usize,
    fill: Option<Rgb>,
}

impl Page {
    pub(super) fn new(sheet: Sheet) -> Self {
        Self { content: Content::with_settings(Settings { pretty: false }), sheet, row: 0, fill: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.row >= self.sheet.rows
    }

    /// Draws text from a column of the row on; the first column behind it.
    pub(super) fn draw(&mut self, col: usize, style: Style, text: &str, fonts: &mut Fonts) -> usize {
        let cells: Vec<Cell<'_>> = cells(text).collect();
        let end = col + cells.iter().map(|cell| cell.width).sum::<usize>();
        if style.paper() != Paint::Paper {
            self.bar(color(style.paper()), col, end, 0.0, self.sheet.line_height);
        }
        let ink = ink(style);
        self.fill(ink);
        self.text(col, style, &cells, &mut fonts.0[usize::from(style.bold)]);
        if style.underline {
            self.bar(ink, col, end, self.sheet.descent - 1.4, 0.6);
        }
        if style.strike {
            self.bar(ink, col, end, self.sheet.descent + 2.4, 0.6);
        }
        end
    }

    /// The next row goes on with this one's line.
    pub(super) fn mark_wrap(&mut self) {
        let (x, y) = (self.sheet.x(self.sheet.cols) + 3.0, self.sheet.y(self.row) + self.sheet.descent);
        self.content.set_stroke_gray(0.6).set_line_width(0.5);
        self.content.move_to(round(x + 4.0), round(y + 5.0)).line_to(round(x + 4.0), round(y + 1.5));
        self.content.line_to(round(x), round(y + 1.5)).line_to(round(x + 1.5), round(y + 3.0)).stroke();
    }

    /// Draws the foot; what draws the page.
    pub(super) fn finish(mut self, title: &str, number: usize, fonts: &mut Fonts) -> Vec<u8> {
        self.content.begin_marked_content(Name(b"Artifact"));
        let number = number.to_string();
        let scale = FOOT_SIZE / FONT_SIZE;
        let room = ((self.sheet.width - 2.0 * MARGIN) / (self.sheet.advance * scale)) as usize - number.len() - 2;
        let title: String = title.chars().filter(|c| !c.is_control()).take(room / 2).collect();
        self.fill([0x70; 3]);
        let right = self.sheet.width - MARGIN - number.len() as f32 * self.sheet.advance * scale;
        for (x, text) in [(MARGIN, title.as_str()), (right, number.as_str())] {
            let cells: Vec<Cell<'_>> = cells(text).collect();
            self.content.begin_text().set_text_matrix([1.0, 0.0, 0.0, 1.0, round(x), MARGIN]);
            self.show(&cells, 0, FOOT_SIZE, &mut fonts.0[0]);
            self.content.end_text();
        }
        self.content.end_marked_content();
        self.content.finish().as_slice().to_vec()
    }

    fn text(&mut self, col: usize, style: Style, cells: &[Cell<'_>], font: &mut Font) {
        let (x, y) = (self.sheet.x(col), self.sheet.y(self.row) + self.sheet.descent);
        let slant = if style.italic { SLANT } else { 0.0 };
        self.content.begin_text().set_text_matrix([1.0, 0.0, slant, 1.0, round(x), round(y)]);
        self.show(cells, usize::from(style.bold), FONT_SIZE, font);
        self.content.end_text();
    }

    /// Shows cells in stretches of one plane and one width. A wide cell's glyph is drawn twice as wide.
    fn show(&mut self, cells: &[Cell<'_>], weight: usize, size: f32, font: &mut Font) {
        let back = font.metrics().advance * 1000.0;
        let (mut plane, mut scaling, mut shown) = (None, 100.0, Vec::new());
        for cell in cells {
            let wanted = if cell.width == 2 { 200.0 } else { 100.0 };
            if wanted != scaling {
                self.flush(&mut shown);
                self.content.set_horizontal_scaling(wanted);
                scaling = wanted;
            }
            let is_composed = cell.text.chars().nth(1).is_some();
            if is_composed {
                self.flush(&mut shown);
                let mut span = self.content.begin_marked_content_with_properties(Name(b"Span"));
                span.properties().actual_text(TextStr(cell.text));
            }
            for (nth, c) in cell.text.chars().enumerate() {
                let (its, code) = font.code(c);
                if plane != Some(its) {
                    self.flush(&mut shown);
                    self.content.set_font(Name(format!("{}{its}", WEIGHTS[weight]).as_bytes()), size);
                    plane = Some(its);
                }
                // A mark is drawn where the character is that it goes on.
                if nth > 0 {
                    self.flush(&mut shown);
                    self.content.show_positioned().items().adjust(back);
                }
                shown.extend_from_slice(&code.to_be_bytes());
            }
            if is_composed {
                self.flush(&mut shown);
                self.content.end_marked_content();
            }
            if cell.width == 0 {
                self.flush(&mut shown);
                self.content.show_positioned().items().adjust(back);
            }
        }
        self.flush(&mut shown);
        if scaling != 100.0 {
            self.content.set_horizontal_scaling(100.0);
        }
    }

    fn flush(&mut self, shown: &mut Vec<u8>) {
        if !shown.is_empty() {
            self.content.show(Str(shown));
            shown.clear();
        }
    }

    /// Fills columns of the row, so high from so far above its foot on.
    fn bar(&mut self, rgb: Rgb, from: usize, to: usize, above: f32, height: f32) {
        self.fill(rgb);
        let (x, y) = (self.sheet.x(from), self.sheet.y(self.row) + above);
        let width = (to - from) as f32 * self.sheet.advance;
        self.content.rect(round(x), round(y), round(width), round(height)).fill_nonzero();
    }

    fn fill(&mut self, rgb: Rgb) {
        if self.fill.replace(rgb) != Some(rgb) {
            let [r, g, b] = rgb.map(|part| (f32::from(part) / 255.0 * 1000.0).round() / 1000.0);
            self.content.set_fill_rgb(r, g, b);
        }
    }
}

/// A hundredth of a point is less than anything prints.
fn round(points: f32) -> f32 {
    (points * 100.0).round() / 100.0
}

fn ink(style: Style) -> Rgb {
    let paper = color(style.paper());
    let ink = if style.ink() == Paint::Ink { palette::LIGHT.ink_on(paper) } else { color(style.ink()) };
    if style.dim { faint(ink, paper) } else { ink }
}

fn color(paint: Paint) -> Rgb {
    match paint {
        Paint::Ink => palette::LIGHT.ink,
        Paint::Paper => palette::LIGHT.paper,
        Paint::Indexed(index) => palette::LIGHT.indexed(index),
        Paint::Rgb(rgb) => rgb,
    }
}

/// Half way between what is drawn and what it stands on.
fn faint(ink: Rgb, paper: Rgb) -> Rgb {
    std::array::from_fn(|part| ink[part].midpoint(paper[part]))
}
