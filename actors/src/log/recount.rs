//! Line numbers of checkpoints that do not carry them: those of a version that did not count, or counted otherwise. Found once, by drawing what
//! is between them, and put on record.
//!
//! ```text
//!   floor, or the last number on record ─► checkpoint ─► checkpoint ─► … ─► newest: a turn does some, the next goes on from those
//! ```
//!
//! **Invariants.** What was given a number keeps it: it is gone on from. Of a log whose beginning was removed before anything was counted, the
//! lines count from what was left. Blocking, in turns that are bounded; never on the log's thread.

use super::{
    key::{Count, Key},
    lines::Seek,
    piece::{PageStart, Piece},
    reader::Reader,
    render::Renderer,
    store::StoreError,
};
use crate::Size;

/// Output that is drawn in a turn: some 100 ms.
const TURN_BYTES: u64 = 4 << 20;
/// Output that is read at a time.
const READ_BYTES: usize = 256 << 10;

/// Numbers to be put on record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted(pub(super) Vec<(Key, Count)>);

/// A turn: what was found; `None` if there is nothing more to find.
///
/// # Errors
/// The store's.
pub fn turn(reader: &Reader) -> Result<Option<Counted>, StoreError> {
    let Some(newest) = reader.uncounted()? else { return Ok(None) };
    let known = reader.anchor(Seek::Offset(newest))?;
    let mut stretch = Stretch::new(reader, known.map_or(0, |known| known.offset), known.map_or(0, |known| known.line))?;
    let mut counted = Counted::default();
    while let Some((offset, time_ns, tally)) = reader.checkpoint_after(stretch.offset)?
        && offset <= newest
        && (stretch.drawn < TURN_BYTES || counted.0.is_empty())
    {
        stretch.draw(offset)?;
        let mut line = stretch.line();
        if let Some((since, lines)) = tally.as_ref().and_then(|tally| Some((tally.since?, tally.lines))) {
            match reader.base(since)? {
                Some(base) => line = base + lines,
                None => counted.0.push((Key::Base(since), Count { line: line.saturating_sub(lines), time_ns })),
            }
        }
        counted.0.push((Key::Lines(offset), Count { line, time_ns }));
        stretch = Stretch { drawn: stretch.drawn, ..Stretch::new(reader, offset, line)? };
    }
    Ok((!counted.0.is_empty()).then_some(counted))
}

/// What is drawn from one checkpoint to the next.
struct Stretch<'a> {
    reader: &'a Reader,
    renderer: Renderer,
    /// What the screen's own count is short of.
    base: u64,
    offset: u64,
    drawn: u64,
}

impl<'a> Stretch<'a> {
    /// From the checkpoint at `offset`, where `line` is the number of the line that leaves next; or from the floor.
    fn new(reader: &'a Reader, offset: u64, line: u64) -> Result<Self, StoreError> {
        let page = reader.page(PageStart::Checkpoint(offset), offset, 0)?.unwrap_or_default();
        let mut renderer = Renderer::new(page.size.unwrap_or(Size::DEFAULT));
        let mut at = offset.max(page.floor);
        if let Some(checkpoint @ Piece::Checkpoint { offset, .. }) = page.pieces.first() {
            renderer.take(checkpoint);
            at = *offset;
        }
        let base = line.wrapping_sub(renderer.tally().lines);
        Ok(Self { reader, renderer, base, offset: at, drawn: 0 })
    }

    fn line(&self) -> u64 {
        self.base.wrapping_add(self.renderer.tally().lines)
    }

    fn draw(&mut self, to: u64) -> Result<(), StoreError> {
        while self.offset < to {
            let Some(page) = self.reader.page(PageStart::Offset(self.offset), to, READ_BYTES)? else { break };
            for piece in &page.pieces {
                if let Piece::Gap { .. } = piece {
                    // What is behind it is drawn on a screen of its own, and its count goes on.
                    self.base = self.line();
                    self.renderer = Renderer::new(self.renderer.size());
                } else if !matches!(piece, Piece::Resize { offset, .. } if *offset == to) {
                    self.renderer.take(piece);
                }
                self.renderer.lines();
            }
            let reached = page.pieces.last().map_or(self.offset, Piece::end).min(to);
            self.drawn += reached - self.offset;
            if reached == self.offset {
                break;
            }
            self.offset = reached;
        }
        self.offset = to;
        Ok(())
    }
}
