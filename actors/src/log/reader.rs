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
    key::{Control, Count, Key, STANDING, Standing},
    lines::{Anchor, Seek},
    marks::{MarkPage, Pack},
    piece::{GapReason, Page, PageStart, Piece},
    store::{Store, StoreError, Tree},
    tree,
};
use crate::{TermId, mirror};

/// A screen on record.
struct Checkpoint {
    piece: Piece,
    /// What comes after it.
    place: Place,
}

/// An offset, and how many control records there have had their effect already.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    ordinal: u32,
}

/// Reads one terminal's log. Blocking.
#[derive(Debug, Clone)]
pub struct Reader {
    tree: Tree,
}

/// Control records of a page.
const CONTROLS_MAX: usize = 4096;
/// Packs of a page of marks: up to 128 KiB of them, and some megabytes in memory where each is tiny.
const PACKS_MAX: usize = 16;

impl Reader {
    /// Of that terminal's log in `store`, be there one or not.
    pub fn new(store: &Store, id: TermId) -> Self {
        Self { tree: store.tree(tree::name(id)) }
    }

    fn standing(&self) -> Result<Option<Standing>, StoreError> {
        Ok(self.tree.get(STANDING)?.and_then(|bytes| rmp_serde::from_slice(&bytes).ok()))
    }

    /// A page of what is on disk: some `bytes_max` bytes but at least something, and never past `to`. `None` if nothing was ever logged.
    /// It says nothing of the terminal's size, and its end is that of the log.
    ///
    /// # Errors
    /// The store's.
    pub fn page(&self, start: PageStart, to: u64, bytes_max: usize) -> Result<Option<Page>, StoreError> {
        let Some(Standing { floor, floor_reason, end, .. }) = self.standing()? else { return Ok(None) };
        let mut page = Page { pieces: Vec::new(), next: None, floor, end, size: None };
        let to = to.min(end);
        let (PageStart::Offset(wanted) | PageStart::Checkpoint(wanted)) = start;
        let checkpoint = match start {
            PageStart::Checkpoint(at_most) => self.checkpoint(at_most.min(to))?,
            PageStart::Offset(_) => None,
        };
        let mut from = match (checkpoint, start) {
            (Some(Checkpoint { piece, place }), _) => {
                page.pieces.push(piece);
                place
            }
            (None, PageStart::Offset(offset)) => Place { offset, ordinal: 0 },
            (None, PageStart::Checkpoint(_)) => Place { offset: floor, ordinal: 0 },
        };
        if wanted < floor {
            page.pieces.push(Piece::Gap { from: wanted, to: floor.min(to).max(wanted), reason: floor_reason.into() });
            from = Place { offset: from.offset.max(floor), ..from };
        }
        if from.offset <= to {
            let (mut pieces, next) = self.output(from.offset, to, bytes_max)?;
            self.add_controls(&mut pieces, from, next, next == to)?;
            page.pieces.append(&mut pieces);
            page.next = (next < to).then_some(next);
        }
        Ok(Some(page))
    }

    /// An anchor of what is on disk, if it has the one that is looked for.
    ///
    /// # Errors
    /// The store's.
    pub fn anchor(&self, seek: Seek) -> Result<Option<Anchor>, StoreError> {
        let Some(Standing { floor, end, .. }) = self.standing()? else { return Ok(None) };
        match seek {
            Seek::Offset(offset) => self.anchor_before(floor, offset.min(end)),
            Seek::After(offset) => self.anchor_after(offset.max(floor), end),
            Seek::Line(line) => bisect(floor, end, |offset| {
                self.anchor_before(floor, offset).map(|anchor| (anchor.is_none_or(|anchor| anchor.line <= line), anchor))
            }),
        }
    }

    fn anchor_before(&self, floor: u64, offset: u64) -> Result<Option<Anchor>, StoreError> {
        let (first, mut last) = (Key::Lines(floor).encode(), Key::Lines(offset).encode());
        while first <= last {
            let Some((key, value)) = self.tree.range_back(first.as_slice()..=last.as_slice(), 1)?.pop() else { break };
            if let Some(anchor) = anchor(&key, &value) {
                return Ok(Some(anchor));
            }
            if key == first {
                break;
            }
            last = predecessor(key);
        }
        Ok(None)
    }

    fn anchor_after(&self, offset: u64, end: u64) -> Result<Option<Anchor>, StoreError> {
        let (mut first, last) = (Key::Lines(offset).encode(), Key::Lines(end).encode());
        while first <= last {
            let Some((key, value)) = self.tree.range(first.as_slice()..=last.as_slice(), 1)?.pop() else { break };
            if let Some(anchor) = anchor(&key, &value) {
                return Ok(Some(anchor));
            }
            first = [key.as_slice(), &[0]].concat();
        }
        Ok(None)
    }

    /// How many lines had left where a screen began to count, if that is known.
    ///
    /// # Errors
    /// The store's.
    pub fn base(&self, since: u64) -> Result<Option<u64>, StoreError> {
        if since == 0 {
            return Ok(Some(0));
        }
        for key in [Key::Base(since), Key::Lines(since)] {
            if let Some(count) = self.tree.get(&key.encode())?.and_then(|value| Count::decode(&value)) {
                return Ok(Some(count.line));
            }
        }
        Ok(None)
    }

    /// The newest checkpoint, if its line number is not known.
    pub(super) fn uncounted(&self) -> Result<Option<u64>, StoreError> {
        let Some(Standing { floor, end, .. }) = self.standing()? else { return Ok(None) };
        let Some(newest) = self.checkpoint(end)?.map(|checkpoint| checkpoint.place.offset).filter(|newest| *newest >= floor)
        else {
            return Ok(None);
        };
        let count = self.tree.get(&Key::Lines(newest).encode())?.and_then(|value| Count::decode(&value));
        Ok(count.is_none().then_some(newest))
    }

    /// The first checkpoint behind `offset`: where it is, and what it counts.
    pub(super) fn checkpoint_after(&self, offset: u64) -> Result<Option<(u64, u64, Option<mirror::Tally>)>, StoreError> {
        let mut first = Key::Checkpoint(offset.saturating_add(1), 0).encode();
        loop {
            let last = Key::Checkpoint(u64::MAX, u32::MAX).encode();
            let Some((key, _)) = self.tree.range(first.as_slice()..=last.as_slice(), 1)?.pop() else { return Ok(None) };
            let Some(at) = Key::decode(&key).map(Key::offset) else { return Ok(None) };
            if let Some(Checkpoint { piece: Piece::Checkpoint { offset, time_ns, data }, .. }) = self.checkpoint(at)?
                && offset == at
            {
                return Ok(Some((offset, time_ns, mirror::tally(&data))));
            }
            first = [Key::Checkpoint(at, u32::MAX).encode().as_slice(), &[0]].concat();
        }
    }

    /// The offset of the first byte on disk that came at or after that time; `None` if all came before. Where the clock was set back, of
    /// one of the times that it was that late.
    ///
    /// # Errors
    /// The store's.
    pub fn at_time(&self, time_ns: u64) -> Result<Option<u64>, StoreError> {
        let Some(Standing { floor, end, .. }) = self.standing()? else { return Ok(None) };
        let block_before = |offset: u64| {
            let (first, last) = (Key::Block(floor).encode(), Key::Block(offset).encode());
            self.tree.range_back(first.as_slice()..=last.as_slice(), 1).map(|mut blocks| blocks.pop())
        };
        let earlier = bisect(floor, end, |offset| {
            let block = block_before(offset)?;
            let is_earlier =
                block.as_ref().and_then(|(_, value)| block::peek(value)).is_none_or(|(_, first_ns)| first_ns < time_ns);
            Ok((is_earlier, block))
        })?;
        let behind = match earlier {
            Some((key, value)) => {
                let (offset, mut before) = (Key::decode(&key).map_or(floor, Key::offset), 0);
                for span in Block::decode(&value).map(|block| block.spans).unwrap_or_default() {
                    if span.time_ns >= time_ns {
                        return Ok(Some(offset + before));
                    }
                    before += u64::from(span.len);
                }
                offset + before.max(1)
            }
            None => floor,
        };
        let next = self.tree.range(Key::Block(behind).encode().as_slice()..=Key::Block(end).encode().as_slice(), 1)?;
        Ok(next.first().and_then(|(key, _)| Key::decode(key)).map(Key::offset))
    }

    /// Marks that end behind `after`, and how far output was listened to. `None` if nothing was ever logged.
    ///
    /// # Errors
    /// The store's.
    pub fn marks(&self, after: u64) -> Result<Option<MarkPage>, StoreError> {
        let Some(Standing { floor, end, scanner, .. }) = self.standing()? else { return Ok(None) };
        let after = after.max(floor);
        // Packs may grow, or lose their beginning, meanwhile: each is looked for by what it holds, and what is newer than the standing is left out.
        let (first, last) = (Key::Marks(after).encode(), Key::Marks(end).encode());
        let before = self.tree.range_back(b"m".as_slice()..=first.as_slice(), 1)?.pop();
        let first = before.map_or(first, |(key, _)| key);
        let packs = self.tree.range(first.as_slice()..=last.as_slice(), PACKS_MAX)?;
        let mut page = MarkPage { marks: Vec::new(), next: None, end, scanner };
        let mut reached = after;
        for (key, value) in &packs {
            let first = Key::decode(key).map_or(after, Key::offset);
            reached = reached.max(first);
            let marks = Pack::decode(first, value).unwrap_or_default();
            page.marks.extend(marks.into_iter().filter(|mark| mark.offset > after && mark.offset <= end));
        }
        reached = page.marks.last().map_or(reached, |mark| mark.offset.max(reached));
        page.next = (packs.len() == PACKS_MAX).then_some(reached);
        Ok(Some(page))
    }

    /// Output from `from` on, gaps where there is none, and where that ends. Blocks may be merged meanwhile: each is looked for by what it
    /// holds, and a gap is believed only when it is seen twice.
    fn output(&self, from: u64, to: u64, max: usize) -> Result<(Vec<Piece>, u64), StoreError> {
        let (mut pieces, mut next, mut doubted) = (Vec::new(), from, false);
        while next < to && ((next - from) as usize) < max {
            let (start, end) = (Key::Block(next).encode(), Key::Block(to).encode());
            let before = self.tree.range_back(b"b".as_slice()..=start.as_slice(), 1)?.pop();
            let found = before.filter(|(key, value)| block_end(key, value).is_some_and(|end| end > next));
            if let Some((key, value)) = found {
                next = append(&mut pieces, next, to, Key::decode(&key).map_or(next, Key::offset), &value);
                doubted = false;
            } else if doubted {
                let behind = self.tree.range(start.as_slice()..=end.as_slice(), 1)?;
                let behind = behind.first().and_then(|(key, _)| Key::decode(key)).map_or(to, Key::offset);
                push_gap(&mut pieces, next, behind.clamp(next + 1, to));
                (next, doubted) = (behind.clamp(next + 1, to), false);
            } else {
                doubted = true;
            }
        }
        Ok((pieces, next))
    }

    /// Puts the resizes that took effect from `from` on and before `next` between the output, and at `next` itself if that is the end.
    fn add_controls(&self, pieces: &mut Vec<Piece>, from: Place, next: u64, at_end: bool) -> Result<(), StoreError> {
        // What took effect where a full page ends belongs to the next one.
        let last = if at_end { Key::Resize(next, u32::MAX) } else { Key::Resize(next, 0) };
        let keys = Key::Resize(from.offset, from.ordinal).encode();
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
    fn checkpoint(&self, offset: u64) -> Result<Option<Checkpoint>, StoreError> {
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
        let piece = |data: Vec<u8>| Piece::Checkpoint { offset, time_ns: last.time_ns, data: data.into() };
        Ok(data.map(|data| Checkpoint { piece: piece(data), place: Place { offset, ordinal } }))
    }
}

/// What `probe` finds at the last offset from `floor` to `end` at which it says that it is still before what is looked for; that it says up
/// to some offset, and behind it not.
pub(crate) fn bisect<T, E>(
    floor: u64,
    end: u64,
    mut probe: impl FnMut(u64) -> Result<(bool, Option<T>), E>,
) -> Result<Option<T>, E> {
    let (mut low, mut high, mut found) = (floor, end, None);
    while low <= high {
        let middle = low + (high - low) / 2;
        let (is_before, what) = probe(middle)?;
        if is_before {
            (found, low) = (what, middle + 1);
        } else if middle == floor {
            break;
        } else {
            high = middle - 1;
        }
    }
    Ok(found)
}

fn anchor(key: &[u8], value: &[u8]) -> Option<Anchor> {
    let Count { line, time_ns } = Count::decode(value)?;
    Some(Anchor { offset: Key::decode(key)?.offset(), line, time_ns })
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

/// The offset behind a stored block, as far as it can be told.
fn block_end(key: &[u8], value: &[u8]) -> Option<u64> {
    let Key::Block(offset) = Key::decode(key)? else { return None };
    Some(offset + block::peek(value)?.0.min(RAW_BYTES_MAX) as u64)
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
    let (raw, mut begins) = (Bytes::from(block.raw), offset);
    for span in block.spans {
        let ends = begins + u64::from(span.len);
        let (from, to) = (begins.max(start), ends.min(end));
        if from < to {
            let data = raw.slice((from - offset) as usize..(to - offset) as usize);
            pieces.push(Piece::Output { offset: from, time_ns: span.time_ns, data });
        }
        begins = ends;
    }
    end
}

fn push_gap(pieces: &mut Vec<Piece>, from: u64, to: u64) {
    if let Some(Piece::Gap { to: last, .. }) = pieces.last_mut() {
        *last = to;
    } else {
        pieces.push(Piece::Gap { from, to, reason: GapReason::Fault });
    }
}

/// Puts a control record where it took effect, cutting the output there if need be; behind others of the same offset.
fn insert(pieces: &mut Vec<Piece>, at: u64, control: Piece) {
    let index = pieces.iter().position(|piece| match piece {
        Piece::Output { offset, data, .. } => at < offset + data.len() as u64,
        Piece::Resize { offset, .. } | Piece::Checkpoint { offset, .. } => at < *offset,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_a_block_comes_in_pieces_by_when_it_came() {
        let mut block = Block::default();
        for (bytes, time_ns) in [(&b"abc"[..], 1_000), (b"defg", 5_000), (b"hi", 9_000)] {
            block.push(bytes, time_ns);
        }
        let stored = block.encode();
        let pieces = |from: u64, to: u64| {
            let mut pieces = Vec::new();
            assert_eq!(append(&mut pieces, from, to, 100, &stored), to.min(109));
            let output = |piece: &Piece| match piece {
                Piece::Output { offset, time_ns, data } => (*offset, *time_ns, String::from_utf8_lossy(data).into_owned()),
                other => panic!("{other:?}"),
            };
            pieces.iter().map(output).collect::<Vec<_>>()
        };
        let piece = |offset, time_ns, data: &str| (offset, time_ns, data.to_owned());
        assert_eq!(pieces(100, 200), [piece(100, 1_000, "abc"), piece(103, 5_000, "defg"), piece(107, 9_000, "hi")]);
        assert_eq!(pieces(102, 105), [piece(102, 1_000, "c"), piece(103, 5_000, "de")]);
        assert_eq!(pieces(107, 109), [piece(107, 9_000, "hi")]);
    }
}
