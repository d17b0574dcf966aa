//! Coming by lines, or by those with a pattern, without drawing all that is before them.
//!
//! ```text
//!   pieces ─► window:   ┌ lines ┬──────────────────────┬ a screen of lines ┬ a line with it ┬ lines ┬─────────
//!                       └ drawn ┘ left out, counted    └ drawn ────────────┴ drawn, judged ─┴ drawn ┘ left out …
//! ```
//!
//! Lines are left out as in `mirror::skim`, where they are plain lines that nobody wants, or without a match: what stood on the screen has left by then, and the
//! lines behind them fill it again. What is no plain line is drawn. So every line that can have a match leaves the screen as it would have, with
//! its number, place and time, and is judged then.
//!
//! **Invariants.** What is found does not depend on what was left out. Memory is a page of output, its text, and what waits of the page before
//! for lines to come.

use std::{collections::VecDeque, mem};

use super::{
    super::{
        plain::{Ended, Plain},
        search::Pattern,
    },
    Piece, STRIDE_BYTES, Source, Walk,
};

/// Fewest lines worth leaving out.
const SKIP_LINES_MIN: usize = 16;

/// Output that follows on each other, and how far it is dealt with.
#[derive(Debug, Default)]
pub(in super::super) struct Window {
    data: Vec<u8>,
    /// Where the data begins in all output.
    offset: u64,
    /// When it came: from which offset on.
    times: VecDeque<(u64, u64)>,
    /// How much of the data is dealt with.
    at: usize,
    /// The screen is not what it should be, but for the cursor, the pen and all that is not seen; nor did any line that stands on it, or should,
    /// have a match.
    is_stale: bool,
    plain: Plain,
    /// Those of the plain lines that may have a match.
    hits: Vec<usize>,
}

impl Window {
    /// Begins anew.
    pub(in super::super) fn clear(&mut self) {
        self.data.clear();
        self.times.clear();
        (self.at, self.is_stale) = (0, false);
    }

    fn is_empty(&self) -> bool {
        self.at == self.data.len()
    }

    fn push(&mut self, offset: u64, time_ns: u64, data: &[u8]) {
        if self.at > 0 {
            self.data.drain(..self.at);
            self.offset += mem::take(&mut self.at) as u64;
        }
        if self.data.is_empty() {
            (self.offset, self.is_stale) = (offset, false);
            self.times.clear();
        }
        self.data.extend_from_slice(data);
        self.times.push_back((offset, time_ns));
    }

    /// What is next to be drawn, `most` bytes at most: where it is, when it came, and how much came then.
    fn next(&mut self, most: usize) -> (u64, u64, usize) {
        let offset = self.offset + self.at as u64;
        while self.times.get(1).is_some_and(|(from, _)| *from <= offset) {
            self.times.pop_front();
        }
        let time_ns = self.times.front().map_or(0, |(_, time_ns)| *time_ns);
        let until = self.times.get(1).map_or(u64::MAX, |(from, _)| *from);
        (offset, time_ns, most.min(usize::try_from(until - offset).unwrap_or(usize::MAX)))
    }

    /// A line, or a stride of one.
    fn stride(&self) -> usize {
        let rest = &self.data[self.at..];
        let most = &rest[..rest.len().min(STRIDE_BYTES)];
        memchr::memchr(b'\n', most).map_or(most.len(), |at| at + 1)
    }
}

impl<S: Source> Walk<'_, S> {
    /// Looks through the output that has come, unless all of it has to be seen: whether there was something to do.
    pub(super) fn sift(&mut self) -> bool {
        if self.ask.frames {
            return false;
        }
        let pattern = self.sieve.as_ref().map(|sieve| sieve.pattern.clone());
        let mut has_come = false;
        while let Some(Piece::Output { offset, time_ns, data }) =
            self.pieces.pop_front_if(|piece| matches!(piece, Piece::Output { .. }))
        {
            self.starts = false;
            self.window.push(offset, time_ns, &data);
            has_come = true;
        }
        let is_last = !self.pieces.is_empty() || self.next.is_none();
        if self.window.is_empty() || !(has_come || is_last) {
            return false;
        }
        self.pour(pattern.as_deref(), is_last);
        true
    }

    /// Whether nothing waits that was left out.
    pub(super) fn is_drawn(&self) -> bool {
        self.window.is_empty()
    }

    /// Deals with what is in the window, but for what at its end may be left out with what comes.
    fn pour(&mut self, pattern: Option<&Pattern>, is_last: bool) {
        while !self.window.is_empty() && !self.is_full() {
            if !self.window.is_stale && !self.renderer.scrolls_plain_lines() {
                self.draw(self.window.stride());
                continue;
            }
            let Window { data, at, plain, hits, .. } = &mut self.window;
            let ended = plain.read(&data[*at..], self.renderer.size());
            match pattern {
                Some(pattern) => pattern.hits(plain, hits),
                None => {
                    // What stands on the screen leaves before them.
                    let sooner = self.wanted.start.saturating_sub(self.reached + u64::from(self.renderer.size().rows()) + 1);
                    hits.clear();
                    hits.extend(usize::try_from(sooner).unwrap_or(usize::MAX)..plain.lines.len());
                }
            }
            if !self.leave_out(ended == Ended::Early && !is_last) {
                return;
            }
            self.draw(self.window.stride().min(self.window.data.len() - self.window.at));
        }
    }

    /// Goes through the plain lines that are next, drawing what has to be; `false` if it left off before their end, since there may be more.
    fn leave_out(&mut self, may_go_on: bool) -> bool {
        let screen = usize::from(self.renderer.size().rows()) + 1;
        let (begin, lines) = (self.window.at, self.window.plain.lines.len());
        let hits = mem::take(&mut self.window.hits);
        let mut from = 0;
        for stop in hits.iter().copied().chain([lines]) {
            let stood = if self.window.is_stale { 0 } else { screen };
            if stop - from >= stood + screen + SKIP_LINES_MIN {
                self.draw_to(begin + self.window.plain.start(from + stood));
                self.skip(begin, stop - screen);
            }
            if stop == lines && may_go_on {
                break;
            }
            self.draw_to(begin + self.window.plain.start((stop + 1).min(lines)));
            self.window.is_stale = false;
            from = stop + 1;
        }
        self.window.hits = hits;
        !may_go_on
    }

    /// Leaves out what is before the plain line `to`.
    fn skip(&mut self, begin: usize, to: usize) {
        let Window { data, offset, at, plain, is_stale, .. } = &mut self.window;
        let from = plain.lines.partition_point(|line| begin + line.end <= *at);
        let pen = plain.pen(&data[begin..], from, to);
        *at = begin + plain.start(to);
        *is_stale = true;
        self.offset = *offset + *at as u64;
        self.renderer.skip((to - from) as u64, &pen, self.offset);
        self.reached = self.reached.max(self.base.wrapping_add(self.renderer.tally().lines));
    }

    fn draw_to(&mut self, end: usize) {
        self.draw(end - self.window.at);
    }

    /// Draws so many bytes, unless it has what is wanted.
    fn draw(&mut self, length: usize) {
        let mut left = length;
        while left > 0 && !self.is_full() {
            let (offset, time_ns, length) = self.window.next(left);
            let data = &self.window.data[self.window.at..][..length];
            self.renderer.draw_at(offset, time_ns, data);
            left -= length;
            self.window.at += length;
            (self.offset, self.time_ns) = (offset + length as u64, time_ns);
            self.drawn += length as u64;
            self.undisturbed += length as u64;
            for line in self.renderer.lines() {
                self.undisturbed = 0;
                self.give(line);
            }
        }
    }
}
