//! Which rows of which items a window shows: the geometry of a pager. Pure.
//!
//! ```text
//!   place   row                        window
//!     41     0   a line of two   ┐
//!     41     1   rows            │ ◄── top
//!     42     0   a line          │
//!     43     0   another         ┘ ◄── bottom
//! ```
//!
//! **Invariants.** The top is a row of an item that is at hand, unless nothing is.

use std::borrow::Cow;

use super::{
    cache::{Cache, line_number},
    wrap,
};
use crate::{cli::when::local, wire::LineItem};

/// A row of an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) place: i64,
    pub(super) row: usize,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct View {
    pub(super) cols: usize,
    pub(super) rows: usize,
    pub(super) cache: Cache,
    pub(super) top: Spot,
}

impl View {
    /// One of that size, with nothing at hand.
    pub(super) fn new((cols, rows): (usize, usize)) -> Self {
        Self { cols: cols.max(1), rows: rows.max(1), cache: Cache::default(), top: Spot::default() }
    }

    /// The window has another size: what was at the top stays there, or what was last at the bottom.
    pub(super) fn resize(&mut self, (cols, rows): (usize, usize)) {
        let is_at_end = self.is_at_end();
        (self.cols, self.rows) = (cols.max(1), rows.max(1));
        if let Some(item) = self.cache.get(self.top.place) {
            self.top.row = self.top.row.min(self.height(item) - 1);
        }
        if is_at_end {
            self.top = self.last_top();
        }
    }

    /// Rows of the window that show lines.
    pub(super) fn text_rows(&self) -> usize {
        (self.rows - 1).max(1)
    }

    /// Rows that a page goes: one stays.
    pub(super) fn page(&self) -> usize {
        self.text_rows().saturating_sub(1).max(1)
    }

    /// Whether nothing can be shown yet.
    pub(super) fn is_empty(&self) -> bool {
        self.cache.first() == self.cache.end()
    }

    /// The numbers of the first and the last line in the window.
    pub(super) fn shown_numbers(&self) -> Option<(u64, u64)> {
        let places = self.top.place..=self.bottom().place;
        let mut numbers = places.filter_map(|place| line_number(self.cache.get(place)?));
        let first = numbers.next()?;
        Some((first, numbers.next_back().unwrap_or(first)))
    }

    /// How many rows an item takes.
    pub(super) fn height(&self, item: &LineItem) -> usize {
        wrap::height(&shown(item), self.cols)
    }

    pub(super) fn below(&self, Spot { place, row }: Spot) -> Option<Spot> {
        if row + 1 < self.height(self.cache.get(place)?) {
            return Some(Spot { place, row: row + 1 });
        }
        self.cache.get(place + 1).map(|_| Spot { place: place + 1, row: 0 })
    }

    pub(super) fn above(&self, Spot { place, row }: Spot) -> Option<Spot> {
        if row > 0 {
            return Some(Spot { place, row: row - 1 });
        }
        self.cache.get(place - 1).map(|item| Spot { place: place - 1, row: self.height(item) - 1 })
    }

    /// The top with which what is last at hand is at the bottom.
    pub(super) fn last_top(&self) -> Spot {
        let end = self.cache.end() - 1;
        let Some(item) = self.cache.get(end) else { return Spot { place: self.cache.first(), row: 0 } };
        let mut spot = Spot { place: end, row: self.height(item) - 1 };
        for _ in 1..self.text_rows() {
            match self.above(spot) {
                Some(above) => spot = above,
                None => break,
            }
        }
        spot
    }

    /// The last row on the screen.
    pub(super) fn bottom(&self) -> Spot {
        let mut spot = self.top;
        for _ in 1..self.text_rows() {
            match self.below(spot) {
                Some(below) => spot = below,
                None => break,
            }
        }
        spot
    }

    /// Rows at hand before the top: as many as matter.
    pub(super) fn rows_above(&self) -> usize {
        let mut spot = self.top;
        (0..self.text_rows()).take_while(|_| self.above(spot).inspect(|above| spot = *above).is_some()).count()
    }

    /// Rows at hand from the top on: as many as matter.
    pub(super) fn rows_below(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut spot = self.top;
        1 + (1..2 * self.text_rows()).take_while(|_| self.below(spot).inspect(|below| spot = *below).is_some()).count()
    }

    /// Whether it shows what is last.
    pub(super) fn is_at_end(&self) -> bool {
        self.cache.has_end() && self.top >= self.last_top()
    }

    /// Whether it shows what is first.
    pub(super) fn is_at_start(&self) -> bool {
        self.cache.before().is_none() && self.top == Spot { place: self.cache.first(), row: 0 }
    }

    /// Scrolls down by so many rows, up if there are fewer than none, as far as there is something at hand; how many are left.
    pub(super) fn scroll(&mut self, mut rows: i64) -> i64 {
        while rows < 0
            && let Some(spot) = self.above(self.top)
        {
            (self.top, rows) = (spot, rows + 1);
        }
        let last = self.last_top();
        while rows > 0
            && self.top < last
            && let Some(spot) = self.below(self.top)
        {
            (self.top, rows) = (spot, rows - 1);
        }
        rows
    }

    /// Scrolls so far that a row is in the window.
    pub(super) fn reveal(&mut self, place: i64) {
        let first = Spot { place, row: 0 };
        self.top = self.top.min(first);
        let last = Spot { place, row: self.cache.get(place).map_or(0, |item| self.height(item) - 1) };
        while self.bottom() < last
            && self.top < first
            && let Some(below) = self.below(self.top)
        {
            self.top = below;
        }
    }
}

/// What is shown of an item.
pub(super) fn shown(item: &LineItem) -> Cow<'_, str> {
    if item.missing.is_some() {
        return format!("\x1b[2;7m{}\x1b[m", item.line).into();
    }
    if item.frame {
        let until = if item.standing { "still there".to_owned() } else { format!("until {}", local(item.time)) };
        return format!(
            "\x1b[2;7m full screen, {until} \x1b[m\n{}\n\x1b[2;7m lines go on \x1b[m",
            item.line.trim_end_matches('\n')
        )
        .into();
    }
    item.line.as_str().into()
}
