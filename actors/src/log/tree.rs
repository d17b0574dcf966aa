//! One terminal's log, as the log thread writes it: what the journal brought, turned into blocks and control records.
//!
//! ```text
//!   take(entry, payload)* ──► pending block, pending changes ──► commit: one write, together with the standing
//!                                                    ▲
//!                          small blocks at the end are merged with it, so that a trickle does not leave one block a second
//! ```
//!
//! Output is listened to on the way: marks that are found go into packs, the last of which is gone on with while it is small.
//!
//! **Invariants.** Output from `floor` to `end` is in blocks, or in declared gaps, each byte once. An entry is taken once, however often it
//! is offered: the standing says how far the journal was read. Marks are those of the output from `floor` to `end`, by where they end, each
//! once; what has begun at `end` is in the standing as well. Nothing of a `TermLog` matters but what is written: it is
//! rebuilt from the standing at any time.

use super::{
    block::{self, Block, RAW_BYTES_MAX, Span},
    journal::{Entry, Kind},
    key::{Control, Count, FloorReason, Key, STANDING, Standing},
    marks::Pack,
    store::{Changes, Store, StoreError, Tree},
};
use crate::{
    TermId,
    memory::allocated,
    mirror::{self, Tally},
};

/// Bytes of a checkpoint's part.
const CHECKPOINT_PART_BYTES: usize = 8 << 10;
/// Output that may go beyond what must, so that what is left begins with a checkpoint: a few intervals of those.
const CUT_FURTHER_MAX: u64 = 1 << 20;
/// Blocks of one size class that are merged into one. A byte is rewritten at most once a class, so at most three times.
const MERGE_BLOCKS: usize = 8;
/// Bytes of a stored block that is not merged, however little output it holds.
const LARGE_BYTES: usize = 6 << 10;
/// Blocks at the end that are remembered for merging.
const TAIL_MAX: usize = MERGE_BLOCKS * (CLASS_BYTES.len() + 1);
/// Blocks that are looked at, and removed, in one go: others wait meanwhile.
const EVICT_BLOCKS_MAX: usize = 512;
/// What the database takes for an open tree with little in it, as measured.
const TREE_BYTES: usize = 3500;
/// A block below this is in the class: three classes, each eight times the one before.
const CLASS_BYTES: [usize; 3] = [RAW_BYTES_MAX / 128, RAW_BYTES_MAX / 16, RAW_BYTES_MAX / 2];

/// The name of a terminal's tree.
pub(super) fn name(id: TermId) -> String {
    format!("log/{:010}", id.0)
}

/// Whose tree has that name, if any's.
pub(super) fn owner(name: &str) -> Option<TermId> {
    name.strip_prefix("log/")?.parse().ok().map(TermId)
}

/// A stored block, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    offset: u64,
    raw_len: usize,
    /// Bytes of key and value.
    bytes: usize,
}

impl Stored {
    /// Whether merging it with others would not pay: it is long, or takes as much room as a merged one would.
    fn is_large(&self) -> bool {
        self.raw_len >= CLASS_BYTES[2] || self.bytes >= LARGE_BYTES
    }
}

/// The marks that were found last.
#[derive(Debug, Default)]
struct LastPack {
    pack: Pack,
    /// Bytes of key and value as it is stored; 0 if it is not.
    stored_bytes: u64,
    /// It has marks that are not stored.
    is_new: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct TermLog {
    tree: Tree,
    standing: Standing,
    /// The blocks behind the last large one, the newest last: those that may be merged.
    tail: Vec<Stored>,
    pending: Block,
    marks: LastPack,
    changes: Changes,
    parts: Option<Vec<u8>>,
    dirty: bool,
    /// Output that was sealed, and that was found missing, since the last commit.
    sealed_bytes: u64,
    gap_bytes: u64,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Committed {
    /// Output bytes that are now in the tree and were not.
    pub(super) logged: u64,
    /// Output bytes that turned out to be missing.
    pub(super) gap: u64,
}

impl TermLog {
    /// Opens a terminal's log, or begins one.
    pub(super) fn open(store: &Store, id: TermId) -> Result<Self, StoreError> {
        let tree = store.tree(name(id));
        let standing = tree.get(STANDING)?.and_then(|bytes| rmp_serde::from_slice(&bytes).ok()).unwrap_or_default();
        let mut log = Self {
            tree,
            standing,
            tail: Vec::new(),
            pending: Block::default(),
            marks: LastPack::default(),
            changes: Vec::new(),
            parts: None,
            dirty: false,
            sealed_bytes: 0,
            gap_bytes: 0,
        };
        log.tail = log.load_tail()?;
        log.marks = log.load_marks()?;
        Ok(log)
    }

    /// Bytes of memory that it takes, and the database for it.
    pub(super) fn memory_bytes(&self) -> usize {
        let pending = allocated(self.pending.raw.capacity()) + allocated(self.pending.spans.capacity() * size_of::<Span>());
        let tail = allocated(self.tail.capacity() * size_of::<Stored>());
        size_of::<Self>() + TREE_BYTES + pending + tail + self.marks.pack.memory_bytes()
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    fn load_tail(&self) -> Result<Vec<Stored>, StoreError> {
        let mut tail = Vec::new();
        for (key, value) in self.tree.range_back(b"b".as_slice()..=b"c".as_slice(), MERGE_BLOCKS)? {
            let (Some(Key::Block(offset)), Some((raw_len, _))) = (Key::decode(&key), block::peek(&value)) else { break };
            tail.insert(0, Stored { offset, raw_len, bytes: key.len() + value.len() });
        }
        Ok(tail)
    }

    /// The last pack, if it is to be gone on with.
    fn load_marks(&self) -> Result<LastPack, StoreError> {
        let last = self.tree.range_back(b"m".as_slice()..=b"n".as_slice(), 1)?.pop();
        let open = last.and_then(|(key, value)| {
            let pack = Pack::of(&Pack::decode(Key::decode(&key)?.offset(), &value).ok()?);
            let stored_bytes = (key.len() + value.len()) as u64;
            pack.is_open().then_some(LastPack { pack, stored_bytes, is_new: false })
        });
        Ok(open.unwrap_or_default())
    }

    /// Whether an entry of that journal has been taken before.
    pub(super) fn has(&self, journal: u64, entry: &Entry) -> bool {
        self.standing.journal == journal && entry.position < self.standing.position
    }

    /// Takes an entry with its payload: the next one of this terminal that it does not [have](TermLog::has).
    pub(super) fn take(&mut self, journal: u64, entry: &Entry, payload: &[u8]) {
        match entry.kind {
            Kind::Output => self.output(entry, payload),
            Kind::Resize => {
                self.reach(entry.offset);
                let key = |ordinal| Key::Resize(entry.offset, ordinal);
                self.control(entry.offset, key, Control::encode(entry.time_ns, payload));
                self.standing.checkpoint_at = None;
            }
            Kind::Checkpoint => self.checkpoint(entry, payload.to_vec()),
            Kind::CheckpointFirst => self.parts = Some(payload.to_vec()),
            Kind::CheckpointMore => self.parts.iter_mut().for_each(|parts| parts.extend_from_slice(payload)),
            Kind::CheckpointLast => {
                if let Some(mut parts) = self.parts.take() {
                    parts.extend_from_slice(payload);
                    self.checkpoint(entry, parts);
                }
            }
            Kind::Void => {}
        }
        self.standing.journal = journal;
        self.standing.position = entry.position + 1;
        self.dirty = true;
    }

    fn output(&mut self, entry: &Entry, payload: &[u8]) {
        self.reach(entry.offset);
        // The same output under another position: the journal was lost and its bytes came again from elsewhere.
        let known = self.end().saturating_sub(entry.offset).min(payload.len() as u64) as usize;
        let mut rest = &payload[known..];
        self.listen(rest, entry.time_ns);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(RAW_BYTES_MAX - self.pending.raw.len()));
            self.pending.push(now, entry.time_ns);
            if self.pending.raw.len() == RAW_BYTES_MAX {
                self.seal();
            }
            rest = later;
        }
        self.standing.checkpoint_at = None;
    }

    /// Finds the marks in output that follows on what was taken.
    fn listen(&mut self, output: &[u8], time_ns: u64) {
        let (from, mut scanner) = (self.end(), std::mem::take(&mut self.standing.scanner));
        scanner.scan(from, output, |found| {
            if !self.marks.pack.push(found, time_ns) {
                self.put_marks();
                self.marks = LastPack::default();
                self.marks.pack.push(found, time_ns);
            }
            self.marks.is_new = true;
        });
        self.standing.scanner = scanner;
    }

    /// Has the marks written that are not.
    fn put_marks(&mut self) {
        if !std::mem::take(&mut self.marks.is_new) {
            return;
        }
        let (key, value) = (Key::Marks(self.marks.pack.first()).encode(), self.marks.pack.encode());
        self.standing.bytes -= self.marks.stored_bytes;
        self.marks.stored_bytes = (key.len() + value.len()) as u64;
        self.put(key, value);
        if !self.marks.pack.is_open() {
            self.marks = LastPack::default();
        }
    }

    /// Offset after the last byte that was taken.
    pub(super) fn end(&self) -> u64 {
        self.standing.end + self.pending.raw.len() as u64
    }

    /// Declares what is missing before `offset`.
    fn reach(&mut self, offset: u64) {
        if offset <= self.end() {
            return;
        }
        self.seal();
        let from = self.standing.end;
        if self.standing.bytes == 0 {
            (self.standing.floor, self.standing.floor_reason) = (offset, FloorReason::Fault);
        }
        self.gap_bytes += offset - from;
        self.standing.end = offset;
        self.standing.checkpoint_at = None;
        self.standing.scanner.skip();
        self.dirty = true;
    }

    fn checkpoint(&mut self, entry: &Entry, whole: Vec<u8>) {
        self.reach(entry.offset);
        if self.standing.checkpoint_at == Some(entry.offset) {
            return;
        }
        if let Some(line) = mirror::tally(&whole).and_then(|tally| self.line(&tally)) {
            self.put_count(Key::Lines(entry.offset), Count { line, time_ns: entry.time_ns });
        }
        let compressed = zstd::bulk::compress(&whole, 1).unwrap_or(whole);
        let parts = compressed.chunks(CHECKPOINT_PART_BYTES).count() as u16;
        for (part, chunk) in compressed.chunks(CHECKPOINT_PART_BYTES).enumerate() {
            let head = [part as u16, parts].map(u16::to_le_bytes).concat();
            let value = Control::encode(entry.time_ns, &[&head, chunk].concat());
            self.control(entry.offset, |ordinal| Key::Checkpoint(entry.offset, ordinal), value);
        }
        self.standing.checkpoint_at = Some(entry.offset);
    }

    /// The number of the line that leaves next, if it is known where its screen began to count.
    fn line(&mut self, tally: &Tally) -> Option<u64> {
        Some(self.base(tally.since?)? + tally.lines)
    }

    /// How many lines had left before `since`. Nothing that is removed takes that away.
    fn base(&mut self, since: u64) -> Option<u64> {
        let count = |key: Key| Count::decode(&self.tree.get(&key.encode()).ok().flatten()?);
        if since == 0 {
            return Some(0);
        }
        if let Some(base) = count(Key::Base(since)) {
            return Some(base.line);
        }
        let base = count(Key::Lines(since))?;
        self.put_count(Key::Base(since), base);
        Some(base.line)
    }

    /// Puts down what was counted afterwards, unless that has been removed meanwhile. What was taken is committed.
    pub(super) fn recount(&mut self, counted: &[(Key, Count)]) -> Result<(), StoreError> {
        debug_assert!(!self.dirty, "what was taken is committed");
        let floor = self.standing.floor;
        for (key, count) in counted.iter().filter(|(key, _)| !matches!(key, Key::Lines(offset) if *offset < floor)) {
            self.put_count(*key, *count);
        }
        self.write()
    }

    /// Has a number written, in place of the one that may be there.
    fn put_count(&mut self, key: Key, count: Count) {
        let key = key.encode();
        let old = match self.changes.iter().rposition(|(changed, _)| *changed == key) {
            Some(at) => self.changes.remove(at).1,
            None => self.tree.get(&key).ok().flatten(),
        };
        self.standing.bytes -= old.map_or(0, |old| (key.len() + old.len()) as u64);
        self.put(key, count.encode());
    }

    fn control(&mut self, offset: u64, key: impl FnOnce(u32) -> Key, value: Vec<u8>) {
        if self.standing.control_at != offset {
            (self.standing.control_at, self.standing.ordinals) = (offset, 0);
        }
        let ordinal = self.standing.ordinals;
        self.standing.ordinals = ordinal.saturating_add(1);
        self.put(key(ordinal).encode(), value);
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.standing.bytes += (key.len() + value.len()) as u64;
        self.changes.push((key, Some(value)));
        self.dirty = true;
    }

    /// Turns pending output into blocks.
    fn seal(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.raw.is_empty() {
            return;
        }
        if self.standing.oldest_ns == 0 {
            self.standing.oldest_ns = pending.first_ns().max(1);
        }
        self.sealed_bytes += pending.raw.len() as u64;
        for (raw_len, value) in pending.encode_parts() {
            let key = Key::Block(self.standing.end).encode();
            self.tail.push(Stored { offset: self.standing.end, raw_len, bytes: key.len() + value.len() });
            self.put(key, value);
            self.standing.end += raw_len as u64;
        }
        let large = self.tail.iter().rposition(|stored| stored.is_large());
        let old = self.tail.len().saturating_sub(TAIL_MAX);
        self.tail.drain(..large.map_or(0, |last| last + 1).max(old));
    }

    /// Writes what was taken; on disk after the next flush.
    pub(super) fn commit(&mut self) -> Result<Committed, StoreError> {
        if !self.dirty {
            return Ok(Committed::default());
        }
        let logged = self.sealed_bytes + self.pending.raw.len() as u64;
        self.seal();
        self.merge()?;
        self.put_marks();
        self.write()?;
        self.sealed_bytes = 0;
        Ok(Committed { logged, gap: std::mem::take(&mut self.gap_bytes) })
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let standing = rmp_serde::to_vec(&self.standing).expect("numbers serialise");
        let mut changes = std::mem::take(&mut self.changes);
        changes.push((STANDING.to_vec(), Some(standing)));
        self.tree.write(changes)?;
        self.dirty = false;
        Ok(())
    }

    /// Merges the small blocks at the end, class by class.
    fn merge(&mut self) -> Result<(), StoreError> {
        for class in CLASS_BYTES {
            let run = mergeable(&self.tail, class);
            if run >= MERGE_BLOCKS {
                self.merge_last(run)?;
            }
        }
        Ok(())
    }

    fn merge_last(&mut self, count: usize) -> Result<(), StoreError> {
        let run = self.tail.split_off(self.tail.len() - count);
        let mut merged = Block::default();
        for stored in &run {
            let Some(block) = self.block_at(stored.offset)? else {
                // It cannot be read: it is left as it is, and nothing before it is merged with what comes after.
                self.tail.clear();
                return Ok(());
            };
            merged.append(&block);
        }
        for stored in &run {
            let key = Key::Block(stored.offset).encode();
            self.standing.bytes -= stored.bytes as u64;
            self.changes.retain(|(changed, _)| *changed != key);
            self.changes.push((key, None));
        }
        let mut offset = run[0].offset;
        for (raw_len, value) in merged.encode_parts() {
            let key = Key::Block(offset).encode();
            self.changes.retain(|(changed, _)| *changed != key);
            self.tail.push(Stored { offset, raw_len, bytes: key.len() + value.len() });
            self.put(key, value);
            offset += raw_len as u64;
        }
        Ok(())
    }

    /// A block, be it written or only about to be.
    fn block_at(&self, offset: u64) -> Result<Option<Block>, StoreError> {
        let key = Key::Block(offset).encode();
        let pending = self.changes.iter().rev().find(|(changed, _)| *changed == key);
        let value = match pending {
            Some((_, value)) => value.clone(),
            None => self.tree.get(&key)?,
        };
        Ok(value.and_then(|value| Block::decode(&value).ok()))
    }

    /// Removes the oldest blocks: as many as it takes to free `bytes`, and on up to a checkpoint near by, from which what is left can be drawn.
    /// Where a kill cut a removal short, the rest of that goes instead: it is in the bytes that were counted. Returns how many bytes went. What
    /// was taken is committed.
    pub(super) fn evict(&mut self, bytes: u64, before_ns: u64) -> Result<u64, StoreError> {
        debug_assert!(!self.dirty, "what was taken is committed");
        let before = self.standing.bytes;
        self.sweep()?;
        if self.standing.bytes == before {
            let Some(floor) = self.new_floor(bytes, before_ns)? else { return Ok(0) };
            self.raise_floor(floor)?;
            self.sweep()?;
        }
        Ok(before - self.standing.bytes)
    }

    /// Where to cut: at the first checkpoint behind the blocks that are to go, unless that would take much more than them.
    fn new_floor(&self, bytes: u64, before_ns: u64) -> Result<Option<u64>, StoreError> {
        let (mut freed, mut from, mut target, mut blocks) = (0, Key::Block(self.standing.floor).encode(), None, 0);
        'blocks: loop {
            let page = self.tree.range(from.as_slice()..=b"c".as_slice(), 32)?;
            for (key, value) in &page {
                let Some(Key::Block(offset)) = Key::decode(key) else { break 'blocks };
                let Some((raw_len, first_ns)) = block::peek(value) else { break 'blocks };
                if (freed >= bytes && first_ns >= before_ns) || blocks >= EVICT_BLOCKS_MAX {
                    break 'blocks;
                }
                blocks += 1;
                freed += (key.len() + value.len()) as u64;
                target = Some(offset + raw_len as u64);
            }
            match page.last() {
                Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
                None => break,
            }
        }
        let Some(target) = target else { return Ok(None) };
        let next = self.tree.range(Key::Checkpoint(target, 0).encode().as_slice()..=b"d".as_slice(), 1)?;
        let checkpoint = next.first().and_then(|(key, _)| Key::decode(key)).map(Key::offset);
        let floor = checkpoint.filter(|checkpoint| *checkpoint <= target + CUT_FURTHER_MAX).unwrap_or(target);
        Ok(Some(floor).filter(|floor| *floor > self.standing.floor))
    }

    /// Says that there is nothing below `floor`, before that is so: who reads meanwhile is told why.
    pub(super) fn raise_floor(&mut self, floor: u64) -> Result<(), StoreError> {
        self.cut_block_at(floor)?;
        self.cut_marks_at(floor)?;
        self.tail.retain(|stored| stored.offset >= floor);
        (self.standing.floor, self.standing.floor_reason) = (floor, FloorReason::Evicted);
        let oldest = self.tree.range(Key::Block(floor).encode().as_slice()..=b"c".as_slice(), 1)?;
        self.standing.oldest_ns = oldest.first().and_then(|(_, value)| block::peek(value)).map_or(0, |peeked| peeked.1.max(1));
        self.write()
    }

    /// Removes everything below the floor.
    fn sweep(&mut self) -> Result<(), StoreError> {
        let floor = self.standing.floor;
        let counted_from = self.counted_from(floor)?;
        for kind in [Key::Block(0), Key::Resize(0, 0), Key::Checkpoint(0, 0), Key::Marks(0), Key::Lines(0)] {
            let end = if kind == Key::Lines(0) { counted_from } else { floor };
            let (first, end) = (kind.encode(), kind.at(end).encode());
            loop {
                let page = self.tree.range(first.as_slice()..=end.as_slice(), 64)?;
                let page: Vec<_> = page.into_iter().filter(|(key, _)| *key < end).collect();
                if page.is_empty() {
                    break;
                }
                for (key, value) in page {
                    self.standing.bytes -= (key.len() + value.len()) as u64;
                    self.changes.push((key, None));
                }
                self.write()?;
            }
        }
        Ok(())
    }

    /// The first line number to keep: the last one there is, if there is none from `floor` on.
    fn counted_from(&self, floor: u64) -> Result<u64, StoreError> {
        let last = self.tree.range_back(Key::Lines(0).encode().as_slice()..=Key::Lines(u64::MAX).encode().as_slice(), 1)?.pop();
        Ok(last.and_then(|(key, _)| Key::decode(&key)).map_or(floor, |last| last.offset().min(floor)))
    }

    /// Takes the marks up to `at` out of the pack that has them and later ones, if there is one.
    fn cut_marks_at(&mut self, at: u64) -> Result<(), StoreError> {
        self.marks = LastPack::default();
        let Some((key, value)) = self.tree.range_back(b"m".as_slice()..=Key::Marks(at).encode().as_slice(), 1)?.pop() else {
            return Ok(());
        };
        let Some(Ok(marks)) = Key::decode(&key).map(|key| Pack::decode(key.offset(), &value)) else { return Ok(()) };
        let later = &marks[marks.partition_point(|mark| mark.offset <= at)..];
        if !later.is_empty() {
            let pack = Pack::of(later);
            self.standing.bytes -= (key.len() + value.len()) as u64;
            self.changes.push((key, None));
            self.put(Key::Marks(pack.first()).encode(), pack.encode());
        }
        Ok(())
    }

    /// Makes a block begin at `at`, if one lies across it.
    fn cut_block_at(&mut self, at: u64) -> Result<(), StoreError> {
        let key = Key::Block(at).encode();
        let Some((start, value)) = self.tree.range_back(b"b".as_slice()..=key.as_slice(), 1)?.pop() else { return Ok(()) };
        let (Some(Key::Block(offset)), Ok(block)) = (Key::decode(&start), Block::decode(&value)) else { return Ok(()) };
        let keep = (at - offset) as usize;
        if keep == 0 || keep >= block.raw.len() {
            return Ok(());
        }
        let (before, after) = block.split(keep);
        self.standing.bytes -= (start.len() + value.len()) as u64;
        self.tail.retain(|stored| stored.offset != offset);
        self.put(start, before.encode());
        self.put(key, after.encode());
        self.write()
    }
}

impl Key {
    /// The first key of the same kind that belongs to output from `offset` on. A mark belongs to the output that ends it.
    fn at(self, offset: u64) -> Self {
        match self {
            Self::Block(_) => Self::Block(offset),
            Self::Resize(..) => Self::Resize(offset, 0),
            Self::Checkpoint(..) => Self::Checkpoint(offset, 0),
            Self::Marks(_) => Self::Marks(offset + 1),
            Self::Lines(_) => Self::Lines(offset),
            Self::Base(_) => Self::Base(offset),
        }
    }
}

/// How many blocks at the end are below `class` bytes, follow on each other, and fit one block together.
fn mergeable(tail: &[Stored], class: usize) -> usize {
    let (mut count, mut total, mut next) = (0, 0, None);
    for stored in tail.iter().rev() {
        let adjoins = next.is_none_or(|next| stored.offset + stored.raw_len as u64 == next);
        if stored.raw_len >= class || stored.is_large() || total + stored.raw_len > RAW_BYTES_MAX || !adjoins {
            break;
        }
        (count, total, next) = (count + 1, total + stored.raw_len, Some(stored.offset));
    }
    count
}
