//! Reading a terminal's log from disk: a bounded page from any offset, and the checkpoint to draw from.
//!
//! ```text
//!   from ──► block that holds it ─┐
//!            resizes, gaps ───────┴─► pieces in order, at most some `max` bytes ──► next: where to go on
//! ```
//!
//! **Invariants.** A page begins where it was asked for, or says by a gap why not; nothing in it overlaps or is out of order. A block
//! that is damaged is a gap as long as the block, and nothing else. Never on an actor's thread.

use bytes::Bytes;

use super::{
    block::{self, Block, Damaged, RAW_BYTES_MAX},
    key::{Control, FloorReason, Key, STANDING, Standing},
    store::{Store, StoreError, Tree},
    tree,
};
use crate::{Size, TermId};

/// One thing of a terminal's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Output.
    Output {
        /// Of its first byte.
        offset: u64,
        /// When that came, nanoseconds since the Unix epoch.
        time_ns: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The size changed.
    Resize {
        /// Where.
        offset: u64,
        /// When.
        time_ns: u64,
        /// What to.
        size: Size,
    },
    /// What was put out there is not to be had.
    Gap {
        /// Its first byte.
        from: u64,
        /// The first byte behind it.
        to: u64,
        /// Why.
        reason: FloorReason,
    },
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub pieces: Vec<Piece>,
    /// The offset to ask for next.
    pub next: u64,
    /// The first offset that is kept.
    pub floor: u64,
    /// Why there is nothing before it.
    pub floor_reason: FloorReason,
    /// Offset after the last byte on disk.
    pub end: u64,
}

/// A screen on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it was taken.
    pub offset: u64,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What [`Mirror::restore`](crate::mirror::Mirror::restore) takes.
    pub data: Vec<u8>,
    /// Control records at its offset before this ordinal are in it already.
    ordinal: u32,
}

/// Reads one terminal's log. Blocking.
#[derive(Debug, Clone)]
pub struct Reader {
    tree: Tree,
}

/// Blocks that are fetched at once.
const BLOCKS_AT_ONCE: usize = 8;
/// Control records of a page.
const CONTROLS_MAX: usize = 4096;

impl Reader {
    /// Of that terminal's log in `store`, be there one or not.
    pub fn new(store: &Store, id: TermId) -> Self {
        Self { tree: store.tree(tree::name(id)) }
    }

    fn standing(&self) -> Result<Option<Standing>, StoreError> {
        Ok(self.tree.get(STANDING)?.and_then(|bytes| rmp_serde::from_slice(&bytes).ok()))
    }

    /// Where the log begins and ends; `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    pub fn bounds(&self) -> Result<Option<(u64, FloorReason, u64)>, StoreError> {
        Ok(self.standing()?.map(|standing| (standing.floor, standing.floor_reason, standing.end)))
    }

    /// The history from `from` on, some `max` bytes of it but at least something, and never past `to`. `None` if nothing was ever logged.
    ///
    /// # Errors
    /// The store's.
    pub fn page(&self, from: u64, to: u64, max: usize) -> Result<Option<Page>, StoreError> {
        let Some(standing) = self.standing()? else { return Ok(None) };
        let Standing { floor, floor_reason, end, .. } = standing;
        let mut page = Page { pieces: Vec::new(), next: from, floor, floor_reason, end };
        let to = to.min(end);
        if from < floor && to > from {
            let gap_end = floor.min(to);
            page.pieces.push(Piece::Gap { from, to: gap_end, reason: floor_reason });
            page.next = gap_end;
        }
        if page.next < to || end == 0 {
            let (mut pieces, next) = self.output(page.next, to, max)?;
            self.add_controls(&mut pieces, page.next, next, next >= end)?;
            page.pieces.append(&mut pieces);
            page.next = next;
        }
        Ok(Some(page))
    }

    /// Output from `from` on, gaps where there is none, and where that ends.
    fn output(&self, from: u64, to: u64, max: usize) -> Result<(Vec<Piece>, u64), StoreError> {
        let (mut pieces, mut next, mut bytes) = (Vec::new(), from, 0);
        let before = self.tree.range_back(b"b".as_slice()..=Key::Block(from).encode().as_slice(), 1)?;
        let mut start = before.first().map_or_else(|| Key::Block(from).encode(), |(key, _)| key.clone());
        while next < to && bytes < max {
            let blocks = self.tree.range(start.as_slice()..=b"c".as_slice(), BLOCKS_AT_ONCE)?;
            let Some((last, _)) = blocks.last() else { break };
            start = [last.as_slice(), &[0]].concat();
            for (key, value) in &blocks {
                let Some(Key::Block(offset)) = Key::decode(key) else { continue };
                if offset >= to || bytes >= max {
                    break;
                }
                next = append(&mut pieces, next, to, offset, value);
                bytes = (next - from) as usize;
            }
        }
        if next < to && bytes < max {
            push_gap(&mut pieces, next, to);
            next = to;
        }
        Ok((pieces, next))
    }

    /// Puts the resizes that took effect from `from` on and before `next` between the output, and at `next` itself if that is the end.
    fn add_controls(&self, pieces: &mut Vec<Piece>, from: u64, next: u64, at_end: bool) -> Result<(), StoreError> {
        let last = if at_end { Key::Resize(next, u32::MAX) } else { Key::Resize(next, 0) };
        let keys = Key::Resize(from, 0).encode();
        for (key, value) in self.tree.range(keys.as_slice()..=last.encode().as_slice(), CONTROLS_MAX)? {
            let (Some(key), Ok(control)) = (Key::decode(&key), Control::decode(&value)) else { continue };
            if !at_end && key.offset() == next {
                continue;
            }
            if let Ok(size) = control.size() {
                insert(pieces, key.offset(), Piece::Resize { offset: key.offset(), time_ns: control.time_ns, size });
            }
        }
        Ok(())
    }

    /// The newest whole checkpoint at or before `offset`.
    ///
    /// # Errors
    /// The store's.
    pub fn checkpoint(&self, offset: u64) -> Result<Option<Checkpoint>, StoreError> {
        let (first, mut last) = (Key::Checkpoint(0, 0).encode(), Key::Checkpoint(offset, u32::MAX).encode());
        loop {
            let Some((key, value)) = self.tree.range_back(first.as_slice()..=last.as_slice(), 1)?.pop() else {
                return Ok(None);
            };
            if let (Some(Key::Checkpoint(offset, ordinal)), Ok(control)) = (Key::decode(&key), Control::decode(&value))
                && let Some(checkpoint) = self.assemble(offset, ordinal, &control)?
            {
                return Ok(Some(checkpoint));
            }
            if key <= first {
                return Ok(None);
            }
            last = predecessor(key);
        }
    }

    /// Puts a checkpoint together whose last part is at `ordinal`.
    fn assemble(&self, offset: u64, ordinal: u32, last: &Control<'_>) -> Result<Option<Checkpoint>, StoreError> {
        let Some((part, parts, _)) = split_part(last.body) else { return Ok(None) };
        if u32::from(part) > ordinal || part + 1 != parts {
            return Ok(None);
        }
        let first = Key::Checkpoint(offset, ordinal - u32::from(part)).encode();
        let found = self.tree.range(first.as_slice()..=Key::Checkpoint(offset, ordinal).encode().as_slice(), parts.into())?;
        let mut compressed = Vec::new();
        for (expected, (_, value)) in (0..parts).zip(&found) {
            match Control::decode(value).ok().as_ref().and_then(|control| split_part(control.body)) {
                Some((part, of, body)) if part == expected && of == parts => compressed.extend_from_slice(body),
                Some(_) | None => return Ok(None),
            }
        }
        let whole = zstd::zstd_safe::get_frame_content_size(&compressed).ok().flatten();
        let data = whole
            .and_then(|len| zstd::bulk::decompress(&compressed, usize::try_from(len).ok()?.min(CHECKPOINT_BYTES_MAX)).ok());
        Ok(data.map(|data| Checkpoint { offset, time_ns: last.time_ns, data, ordinal }))
    }

    /// When the output at `offset` came, as far as the log knows: the time of the block that holds it.
    ///
    /// # Errors
    /// The store's.
    pub fn time_at(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        let found = self.tree.range_back(b"b".as_slice()..=Key::Block(offset).encode().as_slice(), 1)?;
        Ok(found.first().and_then(|(_, value)| block::peek(value)).map(|peeked| peeked.1))
    }
}

/// The largest screen's, see the journal's room for control records.
const CHECKPOINT_BYTES_MAX: usize = 64 << 20;

fn split_part(body: &[u8]) -> Option<(u16, u16, &[u8])> {
    let (head, rest) = body.split_at_checked(4)?;
    Some((u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]), rest))
}

/// The greatest key below this one, of the same length.
fn predecessor(mut key: Vec<u8>) -> Vec<u8> {
    for byte in key.iter_mut().rev() {
        let borrow = *byte == 0;
        *byte = byte.wrapping_sub(1);
        if !borrow {
            break;
        }
    }
    key
}

/// Appends what a stored block has from `next` on and before `to`, after a gap if it begins later; where it ends.
fn append(pieces: &mut Vec<Piece>, next: u64, to: u64, offset: u64, value: &[u8]) -> u64 {
    let decoded = Block::decode(value);
    let len = match &decoded {
        Ok(block) => block.raw.len(),
        // How long it was, if that much can still be read; the next block's offset bounds the gap in any case.
        Err(Damaged) => block::peek(value).map_or(0, |peeked| peeked.0.min(RAW_BYTES_MAX)),
    };
    let (start, end) = (offset.max(next), (offset + len as u64).min(to));
    if end <= next {
        return next;
    }
    if start > next {
        push_gap(pieces, next, start);
    }
    let Ok(block) = decoded else {
        push_gap(pieces, start, end);
        return end;
    };
    let data = Bytes::from(block.raw).slice((start - offset) as usize..(end - offset) as usize);
    let mut before = 0;
    let time_ns = block.spans.iter().find(|span| {
        before += u64::from(span.len);
        offset + before > start
    });
    pieces.push(Piece::Output { offset: start, time_ns: time_ns.map_or(0, |span| span.time_ns), data });
    end
}

fn push_gap(pieces: &mut Vec<Piece>, from: u64, to: u64) {
    if let Some(Piece::Gap { to: last, .. }) = pieces.last_mut() {
        *last = to;
    } else {
        pieces.push(Piece::Gap { from, to, reason: FloorReason::Fault });
    }
}

/// Puts a control record where it took effect, cutting the output there if need be; behind others of the same offset.
fn insert(pieces: &mut Vec<Piece>, at: u64, control: Piece) {
    let index = pieces.iter().position(|piece| match piece {
        Piece::Output { offset, data, .. } => at < offset + data.len() as u64,
        Piece::Resize { offset, .. } => at < *offset,
        Piece::Gap { to, .. } => at < *to,
    });
    let Some(index) = index else { return pieces.push(control) };
    if let Piece::Output { offset, data, time_ns } = &mut pieces[index]
        && at > *offset
    {
        let rest = data.split_off((at - *offset) as usize);
        let rest = Piece::Output { offset: at, time_ns: *time_ns, data: rest };
        pieces.insert(index + 1, rest);
        pieces.insert(index + 1, control);
    } else {
        pieces.insert(index, control);
    }
}
