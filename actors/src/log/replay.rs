//! What a terminal showed at any point of its log: the checkpoint before it, and what came after, drawn again.
//!
//! **Invariant.** The cost is one checkpoint's interval at most, wherever the point is. Blocking, and never on an actor's thread.

use super::{
    piece::{PageStart, Piece},
    reader::Reader,
    store::StoreError,
};
use crate::{
    Size,
    mirror::{Mirror, Panicked},
};

/// Output that is read in one go.
const PAGE_BYTES: usize = 256 << 10;

/// The screen at `offset`, or as it last was before if that is gone; `initial` is its size at the beginning.
///
/// # Errors
/// The store's.
pub fn screen(reader: &Reader, initial: Size, offset: u64) -> Result<Mirror, StoreError> {
    let (mut mirror, mut start) = (Mirror::new(initial), PageStart::Checkpoint(offset));
    while let Some(page) = reader.page(start, offset, PAGE_BYTES)? {
        if let (PageStart::Checkpoint(_), Some(Piece::Gap { to, .. })) = (start, page.pieces.first()) {
            mirror = Mirror::new_at(initial, *to);
        }
        page.pieces.iter().for_each(|piece| draw(&mut mirror, piece));
        match page.next {
            Some(next) => start = PageStart::Offset(next),
            None => break,
        }
    }
    Ok(mirror)
}

/// Draws a piece. What makes the parser panic is left out, with the screen it was drawn on.
pub fn draw(mirror: &mut Mirror, piece: &Piece) {
    let size = mirror.size();
    let drawn = match piece {
        Piece::Output { data, .. } => mirror.feed(data),
        Piece::Resize { size, .. } => mirror.resize(*size),
        Piece::Checkpoint { offset, data, .. } => Mirror::restore(data).map_err(|_| Panicked).map(|restored| {
            *mirror = restored;
            mirror.count_from(*offset);
        }),
        Piece::Gap { .. } => Ok(()),
    };
    if drawn.is_err() {
        *mirror = Mirror::new_at(size, piece.end());
    }
}
