//! A range of a history as lines: those that left the screen in it, and for its newest end what stands on the screen, too.
//!
//! **Invariants.** Ranges that follow each other give every line once. Work is done in turns that are bounded in time and in what they give.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    piece::Piece,
    render::{Line, Renderer, STRIDE_BYTES},
};
use crate::Size;

/// See the module's head. Fed with pieces that begin at or before the range and end with it.
pub struct Excerpt {
    renderer: Renderer,
    from: u64,
    to: Option<u64>,
    pieces: VecDeque<Piece>,
    offset: u64,
}

impl Excerpt {
    /// The range from `from` to before `to`, or to the end, on a screen that is of `size` until a piece says otherwise.
    pub fn new(size: Size, from: u64, to: Option<u64>) -> Self {
        Self { renderer: Renderer::new(size), from, to, pieces: VecDeque::new(), offset: 0 }
    }

    /// Puts pieces behind those that wait.
    pub fn push(&mut self, pieces: Vec<Piece>) {
        self.pieces.extend(pieces);
    }

    /// Whether all pieces have been rendered.
    pub fn is_idle(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How far it has been rendered.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// A turn: renders pieces until there are none, or for about so long, or until so many bytes of lines have come of it.
    pub fn render(&mut self, time_max: Duration, bytes_max: usize) -> Vec<Line> {
        let (began, mut bytes, mut lines) = (Instant::now(), 0, Vec::new());
        while bytes < bytes_max && began.elapsed() < time_max {
            let Some(piece) = self.pieces.pop_front() else { break };
            let left = self.advance(piece);
            bytes += left.iter().map(|line| line.styled().len() + 1).sum::<usize>();
            lines.extend(left);
        }
        lines
    }

    /// What stands on the screen, if the range goes to the end.
    pub fn finish(self) -> Vec<Line> {
        match self.to {
            None => self.renderer.finish(),
            Some(_) => Vec::new(),
        }
    }

    /// Renders the piece, or a stride of it and leaves the rest; the lines of it that are in the range.
    fn advance(&mut self, piece: Piece) -> Vec<Line> {
        let (now, is_wanted) = match piece {
            Piece::Output { offset, time_ns, mut data } => {
                let until_range = usize::try_from(self.from.saturating_sub(offset)).ok().filter(|bytes| *bytes > 0);
                let rest = data.split_off(data.len().min(STRIDE_BYTES).min(until_range.unwrap_or(STRIDE_BYTES)));
                if !rest.is_empty() {
                    self.pieces.push_front(Piece::Output { offset: offset + data.len() as u64, time_ns, data: rest });
                }
                (Piece::Output { offset, time_ns, data }, offset >= self.from)
            }
            // What it does to the screen belongs to the range that begins with it.
            Piece::Resize { offset, .. } if self.to == Some(offset) => return Vec::new(),
            Piece::Resize { offset, .. } | Piece::Checkpoint { offset, .. } => (piece, offset >= self.from),
            Piece::Gap { to, .. } => (piece, to > self.from),
        };
        self.renderer.take(&now);
        self.offset = now.end();
        let lines = self.renderer.lines();
        if is_wanted { lines } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{log::piece::GapReason, mirror::Mirror};

    const TURN: (Duration, usize) = (Duration::from_secs(9), 100);

    fn output(offset: u64, data: &[u8]) -> Piece {
        Piece::Output { offset, time_ns: 0, data: data.to_vec().into() }
    }

    fn texts(from: u64, to: Option<u64>, pieces: Vec<Piece>) -> Vec<String> {
        let mut excerpt = Excerpt::new(Size::new(10, 3).unwrap(), from, to);
        excerpt.push(pieces);
        let mut lines = Vec::new();
        while !excerpt.is_idle() {
            lines.extend(excerpt.render(TURN.0, TURN.1));
        }
        lines.extend(excerpt.finish());
        lines.iter().map(|line| line.text().into_owned()).collect()
    }

    proptest! {
        #[test]
        fn ranges_that_follow_each_other_give_every_line_once(
            text in "([a-z]{0,14}(\r\n){1,2}){0,40}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4), resize in any::<prop::sample::Index>(),
        ) {
            let end = text.len();
            let resize_at = resize.index(end + 1);
            let size = Size::new(10, 2).unwrap();
            let pieces = |to: usize| -> Vec<Piece> {
                let mut pieces = vec![output(0, &text.as_bytes()[..resize_at.min(to)])];
                if resize_at <= to {
                    pieces.push(Piece::Resize { offset: resize_at as u64, time_ns: 0, size });
                    pieces.push(output(resize_at as u64, &text.as_bytes()[resize_at..to]));
                }
                pieces
            };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(end + 1)).collect();
            cuts.sort_unstable();
            let (mut found, mut from) = (Vec::new(), 0);
            for to in cuts {
                found.extend(texts(from as u64, Some(to as u64), pieces(to)));
                from = to;
            }
            found.extend(texts(from as u64, None, pieces(end)));
            prop_assert_eq!(found, texts(0, None, pieces(end)));
        }
    }

    #[test]
    fn what_comes_before_the_range_is_drawn_and_not_given() {
        let mut mirror = Mirror::new(Size::new(10, 2).unwrap());
        mirror.feed(b"two\r\nthr").unwrap();
        let checkpoint = Piece::Checkpoint { offset: 7, time_ns: 0, data: mirror.checkpoint().into() };
        let gap = Piece::Gap { from: 0, to: 7, reason: GapReason::Evicted };
        let text = b"ee\r\nfour\r\nfive";
        let pieces = |to: usize| vec![gap.clone(), checkpoint.clone(), output(7, &text[..to - 7])];
        assert_eq!(texts(11, None, pieces(21)), ["three", "four", "five"]);
        assert_eq!(texts(11, Some(17), pieces(17)), ["three"]);
        assert_eq!(texts(6, Some(11), pieces(11)), ["[… 7 bytes not kept: evicted …]", "two"]);
    }

    #[test]
    fn a_turn_ends_once_it_has_given_enough() {
        let mut excerpt = Excerpt::new(Size::DEFAULT, 0, None);
        excerpt.push(vec![output(0, &b"line\r\n".repeat(10_000))]);
        let lines = excerpt.render(TURN.0, 100);
        assert!(!excerpt.is_idle() && (20..500).contains(&lines.len()), "{}", lines.len());
        assert!(excerpt.offset() <= 2 * STRIDE_BYTES as u64);
    }
}
