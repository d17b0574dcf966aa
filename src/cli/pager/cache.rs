//! The part of a history that a pager has at hand. Pure.
//!
//! ```text
//!   not read ◄─ before ─┤ page │ page │ page ├─ after ─► not read
//!                       └ 0, 1, 2 …: places, which stay while pages come and go at either end
//! ```
//!
//! **Invariants.** What it has is contiguous. It has at most [`BYTES_MAX`] beside the page that is looked at: pages go whole, from the end that
//! is farther from there.

use std::collections::VecDeque;

use crate::wire::{LineItem, LinesOk};

/// Most bytes of lines beside the page that is looked at.
pub(super) const BYTES_MAX: usize = 2 << 20;
/// Most lines that are asked for at once, and that small pages are joined up to.
pub(super) const PAGE_LINES: u64 = 400;
/// Counted for an item beside its text.
const ITEM_BYTES: usize = size_of::<LineItem>();

#[derive(Debug, Default)]
struct Page {
    /// The line to ask at for what is before it, and for what is behind.
    start: Option<u64>,
    end: Option<u64>,
    items: VecDeque<LineItem>,
}

impl Page {
    fn of(answer: LinesOk) -> Self {
        Self { start: answer.before, end: answer.after, items: answer.items.into() }
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.line.len() + ITEM_BYTES).sum()
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pages: VecDeque<Page>,
    /// The place of the first item.
    first: i64,
    floor: Floor,
}

/// Where what is kept begins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Floor {
    /// Why there is nothing before it.
    pub(super) reason: String,
    pub(super) line: Option<u64>,
}

impl Cache {
    /// Has these instead.
    pub(super) fn replace(&mut self, answer: LinesOk) {
        self.see_floor(&answer);
        self.pages.clear();
        self.pages.push_back(Page::of(answer));
        self.first = 0;
    }

    /// Has these before the others.
    pub(super) fn prepend(&mut self, mut answer: LinesOk, near: i64) {
        self.see_floor(&answer);
        // A page that leads nowhere is the last.
        answer.before = answer.before.filter(|before| !answer.items.is_empty() || Some(*before) < self.before());
        self.first -= answer.items.len() as i64;
        self.pages.push_front(Page::of(answer));
        self.join(0);
        self.shrink(near);
    }

    /// Has these behind the others.
    pub(super) fn append(&mut self, mut answer: LinesOk, near: i64) {
        self.see_floor(&answer);
        answer.after = answer.after.filter(|after| !answer.items.is_empty() || Some(*after) > self.after());
        self.pages.push_back(Page::of(answer));
        self.join(self.pages.len().saturating_sub(2));
        self.shrink(near);
    }

    fn see_floor(&mut self, answer: &LinesOk) {
        self.floor = Floor { reason: answer.floor_reason.clone(), line: answer.floor_line };
    }

    /// Joins a page with the next one, if both are small.
    fn join(&mut self, at: usize) {
        let lines = |page: &Page| page.items.len() as u64;
        if self.pages.iter().skip(at).take(2).map(lines).sum::<u64>() > PAGE_LINES {
            return;
        }
        let Some(next) = self.pages.remove(at + 1) else { return };
        if let Some(page) = self.pages.get_mut(at) {
            page.items.extend(next.items);
            page.end = next.end;
        }
    }

    /// Lets go of what is too much, far from a place.
    fn shrink(&mut self, near: i64) {
        while self.pages.len() > 1 && self.bytes() > BYTES_MAX {
            let (first_ends, last_begins) = (self.first + self.first_len(), self.end() - self.last_len());
            let (before, behind) = (near - first_ends, last_begins - near);
            if before < 0 && behind <= 0 {
                return;
            }
            if before >= behind {
                self.first = first_ends;
                self.pages.pop_front();
            } else {
                self.pages.pop_back();
            }
        }
    }

    fn first_len(&self) -> i64 {
        self.pages.front().map_or(0, |page| page.items.len()) as i64
    }

    fn last_len(&self) -> i64 {
        self.pages.back().map_or(0, |page| page.items.len()) as i64
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.iter().map(Page::bytes).sum()
    }

    /// The line at which to ask for what comes before; `None` where nothing does.
    pub(super) fn before(&self) -> Option<u64> {
        self.pages.front()?.start
    }

    /// The line at which to ask for what comes behind; `None` where nothing does.
    pub(super) fn after(&self) -> Option<u64> {
        self.pages.back()?.end
    }

    /// Whether it has what comes last.
    pub(super) fn has_end(&self) -> bool {
        self.pages.back().is_some_and(|page| page.end.is_none())
    }

    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    /// The place of the first item.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// The place behind the last item.
    pub(super) fn end(&self) -> i64 {
        self.first + self.pages.iter().map(|page| page.items.len()).sum::<usize>() as i64
    }

    /// The item at a place.
    pub(super) fn get(&self, place: i64) -> Option<&LineItem> {
        let mut at = usize::try_from(place - self.first).ok()?;
        for page in &self.pages {
            match page.items.get(at) {
                Some(item) => return Some(item),
                None => at -= page.items.len(),
            }
        }
        None
    }

    /// The items, from the last one.
    fn back(&self) -> impl Iterator<Item = &LineItem> {
        self.pages.iter().rev().flat_map(|page| page.items.iter().rev())
    }

    /// The numbers of the first and the last line.
    pub(super) fn numbers(&self) -> Option<(u64, u64)> {
        let mut forth = self.pages.iter().flat_map(|page| &page.items);
        Some((forth.find_map(line_number)?, self.back().find_map(line_number)?))
    }

    /// Where the first line stands that has this number or a greater one.
    pub(super) fn find(&self, number: u64) -> Option<i64> {
        let items = self.pages.iter().flat_map(|page| &page.items);
        let found = items.zip(self.first..).find(|(item, _)| line_number(item).is_some_and(|there| there >= number))?;
        Some(found.1)
    }

    /// The line at which to ask again for what may have changed at the end, and all that may be new.
    pub(super) fn tail(&self) -> u64 {
        let standing = self.back().take_while(|item| item.standing || line_number(item).is_none()).filter(|item| item.standing);
        match standing.filter_map(|item| item.number).last() {
            Some(number) => number,
            None => self.back().find_map(|item| Some(line_number(item)? + 1)).unwrap_or(0),
        }
    }

    /// Lets go of what was to be asked for again.
    pub(super) fn cut_tail(&mut self) {
        let tail = self.tail();
        while let Some(page) = self.pages.back_mut() {
            while page.items.pop_back_if(|item| item.standing || item.number.is_none_or(|number| number >= tail)).is_some() {}
            if !page.items.is_empty() || self.pages.len() == 1 {
                return;
            }
            self.pages.pop_back();
        }
    }
}

/// The number of a line; frames and gaps have none of their own.
pub(super) fn line_number(item: &LineItem) -> Option<u64> {
    item.number.filter(|_| !item.frame)
}
