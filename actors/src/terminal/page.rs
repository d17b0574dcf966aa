//! A page of a terminal's history, read from its journal, and joined to what only the disk has; and where to begin to read.
//!
//! ```text
//!   log on disk   ├───────────────────────┤ end, at least up to the journal's floor unless the disk failed
//!   journal                     ├──────────────────────────┤ end
//! ```
//!
//! **Invariant.** Pages that follow each other, each from where the one before says, give every record once: a page that is full ends
//! behind output, before what else is on record there.

use bytes::Bytes;

use crate::{
    TermId,
    log::{
        journal::{Cursor, Journal, Kind, Record},
        lines::{Anchor, Seek},
        piece::{GapReason, Page, PageStart, Piece},
        reader::bisect,
    },
    mirror,
};

/// At most some `bytes_max` bytes of pieces, from `start` to before `to`; what else is on record at `to` is there, too.
pub(super) fn page(journal: &Journal, term: TermId, start: PageStart, to: u64, bytes_max: usize) -> Page {
    let end = journal.end_offset(term).unwrap_or(0);
    let floor = journal.floor_offset(term).unwrap_or(end);
    let size = journal.shape(term).and_then(mirror::decode_size);
    let mut page = Page { pieces: Vec::new(), next: None, floor, end, size };
    let (PageStart::Offset(wanted) | PageStart::Checkpoint(wanted)) = start;
    let checkpoint = match start {
        PageStart::Checkpoint(_) => newest_checkpoint(journal, term, wanted.min(to)),
        PageStart::Offset(_) => None,
    };
    let (at, mut cursor) = match checkpoint {
        Some(checkpoint) => {
            let at = checkpoint.offset;
            page.pieces.push(Piece::Checkpoint { offset: at, time_ns: checkpoint.time_ns, data: checkpoint.data });
            (at, checkpoint.behind)
        }
        None if wanted > floor && matches!(start, PageStart::Offset(_)) => (wanted, journal.seek(term, wanted - 1)),
        None => (floor, journal.first(term)),
    };
    if wanted < floor {
        page.pieces.push(Piece::Gap { from: wanted, to: floor.min(to).max(wanted), reason: GapReason::Evicted });
    }
    fill(&mut page, journal, term, &mut cursor, at, to.min(end), bytes_max);
    page
}

/// Whether the journal has what was asked for, from its very beginning.
pub(super) fn is_whole(page: &Page, start: PageStart) -> bool {
    match start {
        PageStart::Offset(wanted) => wanted >= page.floor,
        PageStart::Checkpoint(_) => page.floor == 0 || matches!(page.pieces.first(), Some(Piece::Checkpoint { .. })),
    }
}

/// Says why the journal has no more than it has.
pub(super) fn give_reason(page: &mut Page, why: GapReason) {
    for piece in &mut page.pieces {
        if let Piece::Gap { reason, .. } = piece {
            *reason = why;
        }
    }
}

/// A page read from disk, with where to go on in the journal, whose floor, end and size `journal` has. Between the two there is nothing,
/// or a gap that the disk forced.
pub(super) fn join(mut disk: Page, journal: &Page, start: PageStart, to: u64) -> Page {
    let to = to.min(journal.end);
    let asked_from = match start {
        PageStart::Offset(wanted) => wanted,
        PageStart::Checkpoint(_) => 0,
    };
    let reached = disk.end.min(to).max(asked_from);
    if disk.next.is_none() && reached < to {
        if reached > journal.floor {
            // What took effect there is in the journal as well, and belongs to the next page.
            while matches!(disk.pieces.last(), Some(Piece::Resize { offset, .. }) if *offset == reached) {
                disk.pieces.pop();
            }
        }
        let behind = journal.floor.clamp(reached, to);
        if behind > reached {
            disk.pieces.push(Piece::Gap { from: reached, to: behind, reason: GapReason::Fault });
        }
        disk.next = (behind < to).then_some(behind);
    }
    Page { end: journal.end, size: journal.size, ..disk }
}

fn fill(page: &mut Page, journal: &Journal, term: TermId, cursor: &mut Cursor, mut at: u64, to: u64, bytes_max: usize) {
    let mut room = bytes_max;
    while let Some(Record { kind, offset, time_ns, payload }) = journal.next(term, cursor) {
        let is_output = kind == Kind::Output;
        if (is_output && offset + payload.len() as u64 <= at) || (!is_output && offset < at) {
            continue;
        }
        if offset > to || (is_output && offset.max(at) >= to) {
            return;
        }
        if room == 0 {
            page.next = Some(at);
            return;
        }
        match kind {
            Kind::Output => {
                let skip = (at - offset) as usize;
                let wanted = (payload.len() - skip).min((to - at) as usize);
                let taken = wanted.min(room);
                let data = Bytes::copy_from_slice(&payload[skip..skip + taken]);
                page.pieces.push(Piece::Output { offset: at, time_ns, data });
                at += taken as u64;
                room -= taken;
                if taken < wanted {
                    page.next = Some(at);
                    return;
                }
            }
            Kind::Resize => {
                page.pieces.extend(mirror::decode_size(payload).map(|size| Piece::Resize { offset, time_ns, size }));
            }
            Kind::Checkpoint | Kind::CheckpointFirst | Kind::CheckpointMore | Kind::CheckpointLast | Kind::Void => {}
        }
    }
}

/// From where the newest screen in the journal counts the lines that leave.
pub(super) fn counts_since(journal: &Journal, term: TermId) -> Option<u64> {
    let newest = newest_checkpoint(journal, term, u64::MAX)?;
    mirror::tally(&newest.data)?.since
}

/// An anchor of the journal, if it has the one that is looked for: of screens that count from `since`, before which `base` lines had left.
pub(super) fn anchor(journal: &Journal, term: TermId, seek: Seek, since: u64, base: u64) -> Option<Anchor> {
    let end = journal.end_offset(term)?;
    let before = |offset| {
        let Found { offset, time_ns, data, .. } = newest_checkpoint(journal, term, offset)?;
        let tally = mirror::tally(&data).filter(|tally| tally.since == Some(since))?;
        Some(Anchor { offset, line: base + tally.lines, time_ns })
    };
    let floor = journal.floor_offset(term)?;
    let last_for = |is_before: &dyn Fn(&Anchor) -> bool| {
        let probe = |offset| {
            let anchor = before(offset);
            Ok::<_, std::convert::Infallible>((anchor.as_ref().is_none_or(is_before), anchor))
        };
        bisect(floor, end, probe).unwrap_or_else(|never| match never {})
    };
    match seek {
        Seek::Offset(offset) => before(offset.min(end)),
        Seek::Line(line) => last_for(&|anchor| anchor.line <= line),
        Seek::After(offset) => {
            let mut at = journal.seek(term, offset.max(floor).min(end.saturating_sub(1)));
            let first = loop {
                let here = at;
                let record = journal.next(term, &mut at)?;
                if record.offset >= offset
                    && matches!(record.kind, Kind::Checkpoint | Kind::CheckpointFirst)
                    && whole(journal, term, here).is_some()
                {
                    break record.offset;
                }
            };
            before(first).filter(|anchor| anchor.offset == first)
        }
    }
}

/// The offset of the first byte in the journal that came at or after that time, if one before it is there, too, or the very first.
pub(super) fn at_time(journal: &Journal, term: TermId, time_ns: u64) -> Option<u64> {
    let (floor, end) = (journal.floor_offset(term)?, journal.end_offset(term)?);
    let output_at = |offset: u64| {
        let mut cursor = journal.seek(term, offset);
        std::iter::from_fn(|| journal.next(term, &mut cursor))
            .find(|record| record.kind == Kind::Output && record.offset + record.payload.len() as u64 > offset)
            .map(|record| (record.offset.max(floor), record.offset + record.payload.len() as u64, record.time_ns))
    };
    let probe = |offset| {
        let record = output_at(offset);
        Ok::<_, std::convert::Infallible>((record.is_some_and(|(_, _, came_ns)| came_ns < time_ns), record))
    };
    match bisect(floor, end.saturating_sub(1), probe).unwrap_or_else(|never| match never {}) {
        Some((_, behind, _)) => Some(behind),
        None => (floor == 0).then_some(0),
    }
}

/// A checkpoint, put together, and the place behind it.
struct Found {
    offset: u64,
    time_ns: u64,
    data: Bytes,
    behind: Cursor,
}

/// Looks through one segment after the other, the latest first.
fn newest_checkpoint(journal: &Journal, term: TermId, at_most: u64) -> Option<Found> {
    let floor = journal.floor_offset(term)?;
    let (mut at_most, mut seek) = (at_most, at_most.min(journal.end_offset(term)?.saturating_sub(1)));
    loop {
        let mut cursor = journal.seek(term, seek);
        let (mut first, mut newest) = (None, None);
        while let Some(before) = Some(cursor)
            && let Some(record) = journal.next(term, &mut cursor)
            && record.offset <= at_most
        {
            first.get_or_insert(record.offset);
            if matches!(record.kind, Kind::Checkpoint | Kind::CheckpointFirst) && whole(journal, term, before).is_some() {
                newest = Some(before);
            }
        }
        if let Some(at) = newest {
            return whole(journal, term, at);
        }
        at_most = first.filter(|first| *first > floor)?;
        seek = at_most - 1;
    }
}

/// The checkpoint whose first part is at `cursor`, if its last is there, too.
fn whole(journal: &Journal, term: TermId, mut cursor: Cursor) -> Option<Found> {
    let first = journal.next(term, &mut cursor)?;
    let mut data = first.payload.to_vec();
    let mut last = first.kind;
    while last != Kind::Checkpoint && last != Kind::CheckpointLast {
        let part = journal.next(term, &mut cursor)?;
        last = part.kind;
        match last {
            Kind::CheckpointMore | Kind::CheckpointLast => data.extend_from_slice(part.payload),
            Kind::Output | Kind::Resize | Kind::Checkpoint | Kind::CheckpointFirst | Kind::Void => return None,
        }
    }
    Some(Found { offset: first.offset, time_ns: first.time_ns, data: data.into(), behind: cursor })
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        Size,
        log::journal::{BYTES_MIN, DataPath, JournalFds},
    };

    const TERM: TermId = TermId(1);
    const OTHER: TermId = TermId(2);

    struct Stage {
        journal: Journal,
        reader: OwnedFd,
        writer: OwnedFd,
    }

    impl Stage {
        fn new() -> Self {
            let journal = Journal::open(JournalFds::create().unwrap(), BYTES_MIN, DataPath::Splice).unwrap().0;
            let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
            Self { journal, reader, writer }
        }

        fn write(&mut self, term: TermId, bytes: &[u8]) {
            for piece in bytes.chunks(4096) {
                rustix::io::write(&self.writer, piece).unwrap();
                self.journal.ingest(term, self.reader.as_fd(), 4096).unwrap();
            }
        }

        fn resize(&mut self, cols: u32) {
            let size = Size::new(cols, 24).unwrap();
            self.journal.append(TERM, Kind::Resize, &mirror::encode_size(size)).unwrap();
        }

        /// All pages from `start` to `to`, `bytes_max` bytes each.
        fn pages(&self, start: PageStart, to: u64, bytes_max: usize) -> Vec<Piece> {
            let mut pieces = Vec::new();
            let mut start = start;
            loop {
                let page = page(&self.journal, TERM, start, to, bytes_max);
                pieces.extend(page.pieces);
                match page.next {
                    Some(next) => start = PageStart::Offset(next),
                    None => return pieces,
                }
            }
        }
    }

    /// Pieces without times, output that follows on joined.
    fn joined(pieces: &[Piece]) -> Vec<(u64, String)> {
        let mut joined: Vec<(u64, String)> = Vec::new();
        let mut outputs_end = None;
        for piece in pieces {
            let what = match piece {
                Piece::Output { data, .. } => String::from_utf8(data.to_vec()).unwrap(),
                Piece::Resize { size, .. } => format!("<{size}>"),
                Piece::Checkpoint { data, .. } => format!("<checkpoint {}>", data.len()),
                Piece::Gap { from, to, reason } => format!("<{from}..{to} {reason}>"),
            };
            let offset = piece.end() - if let Piece::Output { data, .. } = piece { data.len() as u64 } else { 0 };
            match joined.last_mut() {
                Some((_, text)) if outputs_end == Some(offset) && !what.starts_with('<') => text.push_str(&what),
                Some(_) | None => joined.push((offset, what.clone())),
            }
            outputs_end = (!what.starts_with('<')).then(|| piece.end());
        }
        joined
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        /// `Some` is output of so many bytes, `None` a resize.
        #[test]
        fn pages_give_every_record_once_however_small_they_are(
            turns in prop::collection::vec(prop::option::weighted(0.7, 1usize..50), 1..30), bytes_max in 1usize..60, from in 0u64..300, to in 0u64..800,
        ) {
            let mut stage = Stage::new();
            let mut model: Vec<(u64, char)> = Vec::new();
            let mut end = 0;
            for (i, turn) in turns.iter().enumerate() {
                match turn {
                    Some(len) => {
                        let letter = char::from(b'a' + (i % 26) as u8);
                        stage.write(TERM, letter.to_string().repeat(*len).as_bytes());
                        model.extend((0..*len as u64).map(|n| (end + n, letter)));
                        end += *len as u64;
                    }
                    None => {
                        stage.resize(40 + i as u32);
                        model.push((end, char::from_u32(1000 + i as u32).unwrap()));
                    }
                }
            }
            let to = to.min(end);
            let is_resize = |letter: char| u32::from(letter) >= 1000;
            model.retain(|(offset, letter)| *offset >= from && (*offset < to || *offset == to && is_resize(*letter)));
            let mut found = Vec::new();
            for piece in stage.pages(PageStart::Offset(from), to, bytes_max) {
                match piece {
                    Piece::Output { offset, data, .. } => found.extend(data.iter().zip(offset..).map(|(byte, offset)| (offset, char::from(*byte)))),
                    Piece::Resize { offset, size, .. } => found.push((offset, char::from_u32(1000 + u32::from(size.cols()) - 40).unwrap())),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn reading_begins_at_the_newest_checkpoint_that_is_whole_at_or_before_an_offset() {
        let mut stage = Stage::new();
        stage.write(TERM, b"one");
        stage.journal.checkpoint(TERM, &[1; 200_000]).unwrap();
        stage.write(TERM, b"two");
        // So that what follows is segments away.
        stage.write(OTHER, &vec![b'x'; 3 << 20]);
        stage.resize(90);
        stage.write(TERM, b"three");
        stage.journal.append(TERM, Kind::CheckpointFirst, b"half").unwrap();
        stage.write(TERM, b"four");
        for (at_most, expected) in [(2, (0, "onetwo")), (3, (3, "<checkpoint 200000>")), (11, (3, "<checkpoint 200000>"))] {
            let found = joined(&stage.pages(PageStart::Checkpoint(at_most), u64::MAX, 1000));
            assert_eq!((found[0].0, found[0].1.as_str()), expected, "at {at_most}");
            let last: Vec<_> = found[found.len() - 2..].iter().map(|(offset, what)| (*offset, what.as_str())).collect();
            assert_eq!(last, [(6, "<90x24>"), (6, "threefour")]);
        }
    }

    fn output(offset: u64, len: usize) -> Piece {
        Piece::Output { offset, time_ns: 0, data: vec![b'x'; len].into() }
    }

    #[test]
    fn a_page_from_disk_goes_on_in_the_journal_without_a_seam() {
        let journal = |floor| Page { floor, end: 100, ..Page::default() };
        let resize = Piece::Resize { offset: 50, time_ns: 0, size: Size::DEFAULT };
        let disk = |next| Page { pieces: vec![output(10, 40), resize.clone()], next, floor: 5, end: 50, size: None };
        let whole = join(disk(None), &journal(30), PageStart::Offset(10), u64::MAX);
        assert_eq!((whole.pieces, whole.next, whole.floor, whole.end), (vec![output(10, 40)], Some(50), 5, 100));
        let adjoining = join(disk(None), &journal(50), PageStart::Offset(10), u64::MAX);
        assert_eq!((adjoining.pieces.len(), adjoining.next), (2, Some(50)));
        let more_on_disk = join(disk(Some(50)), &journal(70), PageStart::Offset(10), u64::MAX);
        assert_eq!((more_on_disk.pieces.len(), more_on_disk.next), (2, Some(50)));
        let torn = join(disk(None), &journal(70), PageStart::Offset(10), u64::MAX);
        assert_eq!(torn.pieces.last(), Some(&Piece::Gap { from: 50, to: 70, reason: GapReason::Fault }));
        assert_eq!(torn.next, Some(70));
        let nothing = Page { floor: 5, end: 50, ..Page::default() };
        let behind = join(nothing, &journal(70), PageStart::Offset(60), u64::MAX);
        assert_eq!((behind.pieces, behind.next), (vec![Piece::Gap { from: 60, to: 70, reason: GapReason::Fault }], Some(70)));
        let asked_for = join(disk(None), &journal(70), PageStart::Offset(10), 50);
        assert_eq!((asked_for.pieces.len(), asked_for.next), (2, None));
    }

    #[test]
    fn what_is_below_the_floor_is_a_gap() {
        let mut stage = Stage::new();
        for _ in 0..4 * BYTES_MIN / (256 << 10) {
            stage.write(TERM, &vec![b'y'; 256 << 10]);
            stage.journal.checkpoint(TERM, b"screen").unwrap();
        }
        let probe = page(&stage.journal, TERM, PageStart::Offset(0), 0, 0);
        assert!(probe.floor > 0 && probe.end == 4 * BYTES_MIN, "{probe:?}");
        for start in [PageStart::Offset(5), PageStart::Checkpoint(5)] {
            let first = page(&stage.journal, TERM, start, u64::MAX, 1).pieces;
            assert_eq!(first[0], Piece::Gap { from: 5, to: probe.floor, reason: GapReason::Evicted });
            assert!(matches!(first[1], Piece::Output { offset, .. } if offset == probe.floor), "{first:?}");
        }
    }
}
