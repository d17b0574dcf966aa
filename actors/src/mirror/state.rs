//! What of a screen vt100 does not keep, or does not let one ask for. With both grids it is the whole of a screen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Size, memory::allocated};

use super::{
    charset::Charsets,
    cutter::Cutter,
    marks::Marks,
    modes::{Modes, WRAP},
    pen::Pen,
    tabs::Tabs,
};

/// Most bytes of a title that are kept.
const TITLE_BYTES_MAX: usize = 1024;
/// Most titles that are kept beneath the one shown, as in xterm.
const TITLES_MAX: usize = 10;

/// What a colour takes in a tree of them, half of whose nodes may be empty.
const COLOR_BYTES: usize = 16;

/// Where the cursor is. At the end of a row the next character is to wrap, if `wraps`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) row: u16,
    pub(super) col: u16,
    pub(super) wraps: bool,
}

impl Place {
    /// Where it is on a screen of that size, if `pushed` rows have left at the top.
    pub(super) fn resized(self, size: Size, pushed: u16) -> Self {
        let (row, last) = (self.row.saturating_sub(pushed).min(size.rows() - 1), size.cols() - 1);
        // Where there are columns behind it now, the next character goes on in them.
        let col = self.col + u16::from(self.wraps);
        Self { row, col: col.min(last), wraps: self.wraps && col > last }
    }
}

/// What `DECSC` saves.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) place: Place,
    pub(super) pen: Pen,
    pub(super) origin: bool,
    pub(super) charsets: Charsets,
}

/// See the module's head.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// What of a sequence or a character has come.
    pub(super) cutter: Cutter,
    pub(super) pen: Pen,
    pub(super) modes: Modes,
    pub(super) charsets: Charsets,
    pub(super) tabs: Tabs,
    /// First and last row that scroll, if not all of them.
    pub(super) margins: Option<(u16, u16)>,
    /// What is saved of the main screen's cursor, and of the alternate's.
    pub(super) saved: [Option<Saved>; 2],
    /// Something may stand on the alternate screen.
    pub(super) alternate_used: bool,
    /// 0 to 6, as in `DECSCUSR`.
    pub(super) cursor_style: u8,
    pub(super) title: String,
    titles: Vec<String>,
    /// What programs told of themselves.
    pub(super) marks: Marks,
    /// What `REP` repeats: what was drawn last, if nothing else has come since.
    pub(super) last_char: Option<char>,
    /// Stretches on the alternate screen that have ended and were not counted yet.
    #[serde(skip)]
    pub(super) stretches_ended: u32,
    /// Colours that a program set: of the palette, and from 256 on those of `OSC 10` and up.
    pub(super) colors: BTreeMap<u16, (u8, u8, u8)>,
}

impl State {
    /// Sets the title: without control characters, cut at [`TITLE_BYTES_MAX`].
    pub(super) fn set_title(&mut self, title: &[u8]) {
        let title = &title[..title.len().min(TITLE_BYTES_MAX)];
        self.title = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).collect();
    }

    /// Saves the title; of too many the oldest goes.
    pub(super) fn push_title(&mut self) {
        if self.titles.len() == TITLES_MAX {
            self.titles.remove(0);
        }
        self.titles.push(self.title.clone());
    }

    /// Takes back the title saved last.
    pub(super) fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
        }
    }

    /// Bytes that it has allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        let titles = self.titles.iter().chain([&self.title]).map(|title| allocated(title.capacity())).sum::<usize>();
        let colors = self.colors.len() * COLOR_BYTES;
        titles + colors + self.marks.text_bytes() + self.cutter.heap_bytes()
    }

    /// Whether plain lines do nothing but scroll the whole screen up.
    pub(super) fn scrolls_plain_lines(&self) -> bool {
        let modes = &self.modes;
        self.cutter.is_between() && self.margins.is_none() && self.charsets.are_plain() && modes.has(WRAP) && !modes.insert
    }

    /// Whether it can be one of a screen of that size.
    pub(super) fn fits(&self, size: Size) -> bool {
        let margins = self.margins.is_none_or(|(top, bottom)| top < bottom && bottom < size.rows());
        let charsets = |sets: &Charsets| sets.shift < 4 && sets.single.is_none_or(|single| single < 4);
        margins && charsets(&self.charsets) && self.saved.iter().flatten().all(|saved| charsets(&saved.charsets))
    }

    /// `RIS`: all but the title, and what was told.
    pub(super) fn reset(&mut self) {
        let (title, titles) = (std::mem::take(&mut self.title), std::mem::take(&mut self.titles));
        let (marks, stretches_ended) = (std::mem::take(&mut self.marks), self.stretches_ended);
        *self = Self { title, titles, marks, stretches_ended, ..Self::default() };
    }
}
