//! The journal against a model, cut at every step it takes.

use std::{collections::HashMap, os::fd::OwnedFd};

use proptest::prelude::*;

use std::os::fd::AsFd;

use super::*;

/// A source of bytes that behaves as a non-blocking PTY master does: a pipe.
fn source() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn duplicate(fds: &JournalFds) -> JournalFds {
    let dup = |fd: &OwnedFd| fd.try_clone().unwrap();
    JournalFds { file: dup(&fds.file), reader: dup(&fds.reader), writer: dup(&fds.writer) }
}

fn open(fds: &JournalFds, bytes_max: u64) -> (Journal, Recovery) {
    Journal::open(duplicate(fds), bytes_max, DataPath::Splice).unwrap()
}

fn all_output(journal: &Journal, term: TermId) -> (u64, Vec<u8>) {
    let (mut out, mut cursor) = (Vec::new(), journal.first(term));
    while let Some(record) = journal.next(term, &mut cursor) {
        if record.kind == Kind::Output {
            out.extend_from_slice(record.payload);
        }
    }
    (journal.floor_offset(term).unwrap_or(0), out)
}

/// Where a turn is cut short, as by a SIGKILL.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Nowhere,
    AfterIntentPos,
    AfterDeclare,
    AfterTake,
    InStore(usize),
    AfterStore,
    InHeader(usize),
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        4 => Just(Cut::Nowhere),
        1 => Just(Cut::AfterIntentPos),
        1 => Just(Cut::AfterDeclare),
        1 => Just(Cut::AfterTake),
        1 => (1usize..9000).prop_map(Cut::InStore),
        1 => Just(Cut::AfterStore),
        1 => (0usize..HEADER_BYTES as usize - 4).prop_map(Cut::InHeader),
    ]
}

/// One turn with the journal's own steps, cut at `cut`.
fn turn(journal: &mut Journal, term: TermId, pty: &OwnedFd, cut: Cut) {
    if let Cut::Nowhere = cut {
        journal.ingest(term, pty.as_fd(), RECORD_MAX).unwrap();
        return;
    }
    if let Cut::AfterIntentPos = cut {
        journal.control.intent_pos().store(place(journal.end), Ordering::Release);
        return;
    }
    let at = journal.declare(term, Kind::Output).unwrap();
    if let Cut::AfterDeclare = cut {
        return;
    }
    let (taken, _) = journal.take(pty.as_fd(), RECORD_MAX).unwrap();
    match cut {
        Cut::InStore(max) if taken > 0 => {
            let mut pos = at + HEADER_BYTES;
            rustix::pipe::splice(&journal.fds.reader, None, &journal.fds.file, Some(&mut pos), max, SpliceFlags::NONBLOCK)
                .unwrap();
        }
        Cut::AfterStore | Cut::InHeader(_) if taken > 0 => {
            let mut stored = 0;
            while let n @ 1.. = journal.store(at, stored).unwrap() {
                stored += n;
            }
            if let Cut::InHeader(bytes) = cut {
                let junk = Header { term, kind: Kind::Output, len: 1, offset: 2, time_ns: 3, payload_crc: 4 }.encode();
                rustix::io::pwrite(&journal.fds.file, &junk[4..4 + bytes], at + 4).unwrap();
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("KAVAL_SOAK").is_some() { 20_000 } else { 400 }, ..ProptestConfig::default() })]

    /// Laws 1 and 2: whatever step a kill lands on, each terminal's bytes are all there, once, in order, and its own.
    #[test]
    fn no_cut_loses_repeats_or_moves_a_byte(
        turns in prop::collection::vec((0u32..3, 0usize..20_000, cut(), any::<bool>()), 1..40)
    ) {
        let fds = JournalFds::create().unwrap();
        let (mut journal, _) = open(&fds, 64 << 20);
        let ptys: Vec<_> = (0..3).map(|_| source()).collect();
        let mut written: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut value = 0u32;
        for (term, len, cut, resize) in turns {
            let bytes: Vec<u8> = (0..len).map(|_| { value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); (value >> 24) as u8 }).collect();
            let accepted = rustix::io::write(&ptys[term as usize].1, &bytes).unwrap_or(0);
            written.entry(term).or_default().extend(&bytes[..accepted]);
            if resize {
                journal.append(TermId(term), Kind::Resize, &[80, 0, 24, 0]).unwrap();
            }
            turn(&mut journal, TermId(term), &ptys[term as usize].0, cut);
            if !matches!(cut, Cut::Nowhere) {
                journal = open(&fds, 64 << 20).0;
            }
        }
        for (term, expected) in &written {
            while journal.ingest(TermId(*term), ptys[*term as usize].0.as_fd(), RECORD_MAX).unwrap().bytes > 0 {}
            let (start, found) = all_output(&journal, TermId(*term));
            prop_assert_eq!(start, 0);
            prop_assert!(&found == expected, "terminal {} has {} bytes of {}", term, found.len(), expected.len());
            prop_assert_eq!(journal.end_offset(TermId(*term)).unwrap_or(0), expected.len() as u64);
        }
    }
}

#[test]
fn a_second_recovery_finds_nothing_to_mend() {
    let fds = JournalFds::create().unwrap();
    let (mut journal, _) = open(&fds, BYTES_MIN);
    let (reader, writer) = source();
    rustix::io::write(&writer, b"left in the pipe").unwrap();
    turn(&mut journal, TermId(7), &reader, Cut::AfterTake);
    let (journal, first) = open(&fds, BYTES_MIN);
    assert_eq!((first.pipe_bytes, first.tail_bytes), (16, 0));
    assert_eq!(all_output(&journal, TermId(7)), (0, b"left in the pipe".to_vec()));
    let (journal, second) = open(&fds, BYTES_MIN);
    assert_eq!(second, Recovery::default());
    assert_eq!(all_output(&journal, TermId(7)).1, b"left in the pipe");
}

/// A control record and output of kaval's own are written the same way; so much of the latter is nothing.
#[test]
fn output_that_is_inserted_is_there_whole_or_not_at_all() {
    let fds = JournalFds::create().unwrap();
    let term = TermId(3);
    let seam = vec![b'x'; 9000];
    for written in [0, 1, 4096, 9000] {
        let (mut journal, _) = open(&fds, BYTES_MIN);
        let before = all_output(&journal, term).1;
        let at = journal.declare(term, Kind::Void).unwrap();
        rustix::io::pwrite(&fds.file, &seam[..written], at + HEADER_BYTES).unwrap();
        drop(journal);
        let (mut journal, recovery) = open(&fds, BYTES_MIN);
        assert_eq!(recovery.voided, written > 0);
        assert_eq!(all_output(&journal, term).1, before);
        journal.insert(term, b"whole").unwrap();
        assert_eq!(all_output(&journal, term).1, [&before[..], b"whole"].concat());
        assert_eq!(journal.end_offset(term), Some(before.len() as u64 + 5));
    }
}

#[test]
fn a_control_record_cut_short_is_voided_and_output_goes_on_behind_it() {
    let fds = JournalFds::create().unwrap();
    let (mut journal, _) = open(&fds, BYTES_MIN);
    let at = journal.declare(TermId(1), Kind::Checkpoint).unwrap();
    rustix::io::pwrite(&journal.fds.file, b"half a checkpoint", at + HEADER_BYTES).unwrap();
    let (mut journal, recovery) = open(&fds, BYTES_MIN);
    assert!(recovery.voided);
    let (reader, writer) = source();
    rustix::io::write(&writer, b"after").unwrap();
    journal.ingest(TermId(1), reader.as_fd(), RECORD_MAX).unwrap();
    assert_eq!(all_output(&open(&fds, BYTES_MIN).0, TermId(1)), (0, b"after".to_vec()));
}

/// Fills `term` with `bytes` bytes, each 64 KiB of them of one value, from `journal`'s point of view as fast as it takes them.
fn fill(journal: &mut Journal, term: TermId, bytes: usize) -> Result<(), JournalError> {
    let (reader, writer) = source();
    for _ in 0..bytes / 4096 {
        rustix::io::write(&writer, &[term.0 as u8; 4096]).unwrap();
        journal.ingest(term, reader.as_fd(), RECORD_MAX)?;
    }
    Ok(())
}

#[test]
fn a_full_journal_drops_its_oldest_segments_and_stays_bounded() {
    let fds = JournalFds::create().unwrap();
    let (mut journal, _) = open(&fds, BYTES_MIN);
    for _ in 0..64 {
        fill(&mut journal, TermId(1), 1 << 20).unwrap();
        journal.checkpoint(TermId(1), b"screen").unwrap();
        assert!(journal.live_bytes() <= BYTES_MIN);
    }
    let held = rustix::fs::fstat(&fds.file).unwrap().st_blocks as u64 * 512;
    assert!(held <= BYTES_MIN + 2 * SEGMENT_BYTES, "{held} bytes of memory");
    let end = journal.end_offset(TermId(1)).unwrap();
    assert_eq!(end, 64 << 20);
    let (floor, kept) = all_output(&journal, TermId(1));
    assert!(floor > 0 && floor + kept.len() as u64 == end);
    let (journal, _) = open(&fds, BYTES_MIN);
    assert_eq!(journal.floor_offset(TermId(1)), Some(floor));
    assert_eq!(all_output(&journal, TermId(1)).1.len(), kept.len());
}

#[test]
fn a_terminal_that_holds_the_oldest_segment_is_asked_once_and_its_checkpoint_frees_it() {
    let fds = JournalFds::create().unwrap();
    let (mut journal, _) = open(&fds, BYTES_MIN);
    fill(&mut journal, TermId(9), 4096).unwrap();
    let mut asked = BTreeSet::new();
    let full = loop {
        let result = fill(&mut journal, TermId(1), 256 << 10).and_then(|()| journal.checkpoint(TermId(1), b"s"));
        let wanted = journal.take_wanted();
        assert!(wanted.is_disjoint(&asked), "asked twice");
        asked.extend(wanted);
        if let Err(error) = result {
            break error;
        }
    };
    assert!(matches!(full, JournalError::Full));
    assert_eq!(asked, BTreeSet::from([TermId(9)]));
    journal.checkpoint(TermId(9), b"idle").unwrap();
    fill(&mut journal, TermId(1), 256 << 10).unwrap();
    let mut cursor = journal.base(TermId(9)).unwrap();
    let record = journal.next(TermId(9), &mut cursor).unwrap();
    assert_eq!((record.kind, record.offset, record.payload), (Kind::Checkpoint, 4096, &b"idle"[..]));
}

#[test]
fn a_long_checkpoint_counts_once_its_last_part_is_there() {
    let fds = JournalFds::create().unwrap();
    let (mut journal, _) = open(&fds, BYTES_MIN);
    fill(&mut journal, TermId(1), 8192).unwrap();
    let before = journal.base(TermId(1));
    journal.append(TermId(1), Kind::CheckpointFirst, &[1; RECORD_MAX]).unwrap();
    assert_eq!(open(&fds, BYTES_MIN).0.base(TermId(1)), before);
    let long: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    journal.checkpoint(TermId(1), &long).unwrap();
    let (journal, _) = open(&fds, BYTES_MIN);
    let mut cursor = journal.base(TermId(1)).unwrap();
    let mut read = Vec::new();
    while let Some(record) = journal.next(TermId(1), &mut cursor) {
        assert_eq!(record.offset, 8192);
        read.extend_from_slice(record.payload);
    }
    assert_eq!(read, long);
}

#[test]
fn a_foreign_a_newer_and_a_damaged_file_are_told_apart_and_left_alone() {
    let fds = JournalFds::create().unwrap();
    rustix::io::pwrite(&fds.file, b"not ours", 0).unwrap();
    assert!(matches!(Journal::open(duplicate(&fds), BYTES_MIN, DataPath::Splice), Err(JournalError::Foreign)));
    rustix::io::pwrite(&fds.file, &MAGIC.to_le_bytes(), 0).unwrap();
    rustix::io::pwrite(&fds.file, &9u64.to_le_bytes(), 8).unwrap();
    assert!(matches!(Journal::open(duplicate(&fds), BYTES_MIN, DataPath::Splice), Err(JournalError::Version { found: 9 })));

    let fds = JournalFds::create().unwrap();
    let (mut journal, _) = open(&fds, BYTES_MIN);
    fill(&mut journal, TermId(1), 8192).unwrap();
    rustix::io::pwrite(&fds.file, &[0xff], CONTROL_BYTES + 16).unwrap();
    assert!(matches!(
        Journal::open(duplicate(&fds), BYTES_MIN, DataPath::Splice),
        Err(JournalError::Damaged { pos: CONTROL_BYTES })
    ));
}
