//! Tab stops: one bit a column, up to the widest screen, so that one that grows has them already.

use serde::{Deserialize, Serialize};

use crate::Size;

const WORDS: usize = Size::SIDE_MAX as usize / 64 + 1;
/// A stop in every eighth column.
const EVERY_EIGHTH: u64 = 0x0101_0101_0101_0101;

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tabs([u64; WORDS]);

impl Default for Tabs {
    fn default() -> Self {
        Self([EVERY_EIGHTH; WORDS])
    }
}

impl Tabs {
    /// Whether they are where a terminal starts with them.
    pub(super) fn are_default(&self) -> bool {
        self.0 == [EVERY_EIGHTH; WORDS]
    }

    pub(super) fn set(&mut self, col: u16) {
        self.0[usize::from(col / 64)] |= 1 << (col % 64);
    }

    pub(super) fn clear(&mut self, col: u16) {
        self.0[usize::from(col / 64)] &= !(1 << (col % 64));
    }

    pub(super) fn clear_all(&mut self) {
        self.0 = [0; WORDS];
    }

    pub(super) fn is_set(&self, col: u16) -> bool {
        self.0[usize::from(col / 64)] & (1 << (col % 64)) != 0
    }

    /// The stop behind `col`, or the last column.
    pub(super) fn next(&self, col: u16, cols: u16) -> u16 {
        (col + 1..cols).find(|&col| self.is_set(col)).unwrap_or(cols - 1)
    }

    /// The stop before `col`, or the first column.
    pub(super) fn previous(&self, col: u16) -> u16 {
        (0..col).rev().find(|&col| self.is_set(col)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_found_both_ways_and_the_sides_stop_too() {
        let mut tabs = Tabs::default();
        assert_eq!((tabs.next(0, 80), tabs.next(8, 80), tabs.next(75, 80), tabs.previous(8)), (8, 16, 79, 0));
        tabs.clear(8);
        tabs.set(999);
        assert_eq!((tabs.next(0, 80), tabs.next(992, 1000), tabs.are_default()), (16, 999, false));
        tabs.clear_all();
        assert_eq!((tabs.next(0, 80), tabs.previous(79)), (79, 0));
    }
}
