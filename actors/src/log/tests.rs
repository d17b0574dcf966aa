//! The log against a simple model: random output, sizes, checkpoints, passes, crashes, faults and removals, and then every range read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    journal::{BYTES_MIN, Bell, DataPath, Journal, JournalFds, Kind, RECORD_MAX},
    key::{STANDING, Standing},
    marks::{Mark, PACK_BYTES_MAX},
    piece::{Page, PageStart, Piece},
    reader::Reader,
    recount,
    retention::Limits,
    scanner::Scanner,
    service::{Command, Settings},
    store::Store,
    tree::{self, TermLog},
    writer::Writer,
};
use crate::{Size, TermId, mirror};

pub(super) const UNLIMITED: Limits =
    Limits { term_bytes_max: 1 << 40, age_max: Duration::from_secs(1 << 30), total_bytes_max: 1 << 40 };
const TERMS: u32 = 3;

/// What a terminal has put out, and its sizes, by offset.
#[derive(Debug, Default, Clone)]
struct Model {
    output: Vec<u8>,
    sizes: Vec<(u64, Size)>,
}

pub(super) struct World {
    dir: tempfile::TempDir,
    generation: u32,
    fds: JournalFds,
    pub(super) journal: Journal,
    pub(super) writer: Writer,
    commands: mpsc::Sender<Command>,
    pub(super) store: Store,
    sources: BTreeMap<TermId, (OwnedFd, OwnedFd)>,
    models: BTreeMap<TermId, Model>,
}

fn duplicate(fds: &JournalFds) -> JournalFds {
    let dup = |fd: &OwnedFd| fd.try_clone().unwrap();
    JournalFds { file: dup(&fds.file), reader: dup(&fds.reader), writer: dup(&fds.writer) }
}

fn everyone() -> BTreeSet<TermId> {
    (0..TERMS).map(TermId).collect()
}

fn writer(store: &Store, limits: Limits) -> (Writer, mpsc::Sender<Command>) {
    let (commands, queue) = mpsc::channel();
    let bell = Arc::new(Bell::new(thread::current(), Duration::ZERO));
    let settings = Settings { sync: Duration::ZERO, stall_max: Duration::ZERO, limits };
    (Writer::new(store.clone(), settings, queue, bell, Arc::default(), crate::Findings::default()), commands)
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("0")).unwrap();
        let fds = JournalFds::create().unwrap();
        let (mut journal, _) = Journal::open(duplicate(&fds), BYTES_MIN, DataPath::Splice).unwrap();
        let (mut writer, commands) = writer(&store, UNLIMITED);
        writer.take_stock_or_fail(everyone());
        let follower = journal.follow(writer.bell.clone()).unwrap();
        writer.lanes.push(follower);
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let sources = (0..TERMS).map(|id| (TermId(id), pipe())).collect();
        Self { dir, generation: 0, fds, journal, writer, commands, store, sources, models: BTreeMap::new() }
    }

    pub(super) fn output(&mut self, id: TermId, bytes: &[u8]) {
        for chunk in bytes.chunks(32 << 10) {
            rustix::io::write(&self.sources[&id].1, chunk).unwrap();
            while self.journal.ingest(id, self.sources[&id].0.as_fd(), RECORD_MAX).is_err() {
                // Full: whoever holds the oldest segment back gives a checkpoint, and the log takes what there is.
                self.journal.take_wanted().into_iter().for_each(|id| self.checkpoint(id));
                self.writer.pass_or_fail();
            }
            self.models.entry(id).or_default().output.extend_from_slice(chunk);
        }
    }

    fn resize(&mut self, id: TermId, cols: u16) {
        self.set_size(id, Size::new(cols.into(), 24).unwrap());
    }

    pub(super) fn set_size(&mut self, id: TermId, size: Size) {
        if self.journal.append(id, Kind::Resize, &mirror::encode_size(size)).is_ok() {
            let model = self.models.entry(id).or_default();
            model.sizes.push((model.output.len() as u64, size));
        }
    }

    /// Another journal, whose output begins at `offset`: what comes before is lost, as far as it is not on disk.
    pub(super) fn begin_anew(&mut self, id: TermId, offset: u64) {
        self.fds = JournalFds::create().unwrap();
        self.crash();
        self.journal.begin(id, offset);
    }

    /// Finds the numbers of what nobody counted.
    pub(super) fn count_lines(&mut self, id: TermId) {
        while let Some(counted) = recount::turn(&Reader::new(&self.store, id)).unwrap() {
            let (reply, mut recorded) = tokio::sync::oneshot::channel();
            self.commands.send(Command::Count(id, counted, reply)).unwrap();
            // The first hears of it.
            self.writer.pass_or_fail();
            self.writer.pass_or_fail();
            recorded.try_recv().expect("they are on record");
        }
    }

    /// A checkpoint says in its bytes where it was taken.
    fn checkpoint(&mut self, id: TermId) {
        let at = self.models.entry(id).or_default().output.len() as u64;
        let mut bytes = mirror::encode_size(Size::DEFAULT).to_vec();
        bytes.extend(at.to_le_bytes().repeat(1 + at as usize % 4000));
        self.journal.checkpoint(id, &bytes).unwrap();
    }

    /// The supervisor is killed: what the database has not given to the kernel is gone.
    pub(super) fn crash(&mut self) {
        let limits = self.writer.settings.limits;
        let from = self.dir.path().join(self.generation.to_string());
        self.generation += 1;
        let to = self.dir.path().join(self.generation.to_string());
        copy(&from, &to);
        self.store = Store::open(&to).unwrap();
        let (journal, _) = Journal::open(duplicate(&self.fds), BYTES_MIN, DataPath::Splice).unwrap();
        self.journal = journal;
        (self.writer, self.commands) = writer(&self.store, limits);
        self.writer.take_stock_or_fail(everyone());
        self.writer.lanes.push(self.journal.follow(self.writer.bell.clone()).unwrap());
    }

    /// A page of the log, gone on with from the journal where the disk has not got to yet, as readers do.
    fn page(&self, id: TermId, from: u64, max: usize) -> (Vec<Piece>, u64) {
        let page = Reader::new(&self.store, id).page(PageStart::Offset(from), u64::MAX, max).unwrap();
        if let Some(Page { pieces, next, end, .. }) = page
            && end > from
        {
            return (pieces, next.unwrap_or(end));
        }
        let (mut cursor, mut data) = (self.journal.seek(id, from), Vec::new());
        while let Some(record) = self.journal.next(id, &mut cursor) {
            if record.kind == Kind::Output && data.len() < max {
                let known = from.saturating_sub(record.offset).min(record.payload.len() as u64) as usize;
                data.extend_from_slice(&record.payload[known..]);
            }
        }
        let end = from + data.len() as u64;
        (vec![Piece::Output { offset: from, time_ns: 0, data: data.into() }], end)
    }

    /// Reads everything from `from` on in pages, and checks each byte against what was put out; returns the bytes that were missing.
    fn check(&self, id: TermId, from: u64, max: usize) -> u64 {
        let model = &self.models[&id];
        let (mut next, mut missing) = (from, 0);
        while next < model.output.len() as u64 {
            let (pieces, after) = self.page(id, next, max);
            assert!(after > next, "a page at {next} of {} does not get on", model.output.len());
            for piece in pieces {
                match piece {
                    Piece::Output { offset, data, .. } => {
                        assert_eq!(offset, next, "output begins where the last piece ended");
                        assert!(data[..] == model.output[offset as usize..][..data.len()], "the bytes at {offset} are others");
                        next += data.len() as u64;
                    }
                    Piece::Gap { from, to, .. } => {
                        assert_eq!(from, next);
                        missing += to - from;
                        next = to;
                    }
                    Piece::Resize { offset, size, .. } => {
                        assert_eq!(offset, next, "a resize stands where it took effect");
                        assert!(model.sizes.contains(&(offset, size)));
                    }
                    Piece::Checkpoint { .. } => panic!("a checkpoint nobody asked for"),
                }
            }
            assert_eq!(next, after);
        }
        missing
    }

    /// Holds the marks on disk, and those that are found behind it, against those in all that was put out; how many there are.
    fn check_marks(&self, id: TermId) -> usize {
        let (reader, output) = (Reader::new(&self.store, id), &self.models[&id].output);
        let (mut found, mut next, mut rest) = (Vec::new(), Some(0), (0, Scanner::default()));
        while let Some(page) = next.and_then(|after| reader.marks(after).unwrap()) {
            found.extend(page.marks);
            assert!(page.next.is_none_or(|after| Some(after) > next), "a page of marks gets on");
            (next, rest) = (page.next, (page.end, page.scanner));
        }
        found.extend(rest.1.marks(rest.0, 0, &output[rest.0 as usize..]));
        let floor = reader.page(PageStart::Offset(0), 0, 0).unwrap().map_or(0, |page| page.floor);
        let told = |mark: Mark| (mark.offset > floor).then_some((mark.offset, mark.head, mark.len));
        let expected: Vec<_> = Scanner::default().marks(0, 0, output).into_iter().filter_map(told).collect();
        assert_eq!(found.into_iter().map(|mark| (mark.offset, mark.head, mark.len)).collect::<Vec<_>>(), expected);
        expected.len()
    }

    /// What is in a terminal's tree with that first byte; the log's own sum is that of all.
    fn stored(&self, id: TermId, kind: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let tree = self.store.tree(tree::name(id));
        let standing = tree.get(STANDING).unwrap().map(|bytes| rmp_serde::from_slice::<Standing>(&bytes).unwrap());
        let all = tree.scan(b"").unwrap().into_iter().filter(|(key, _)| key != STANDING);
        let bytes: usize = all.map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(standing.unwrap_or_default().bytes, bytes as u64, "the sum is that of what is there");
        tree.scan(kind).unwrap()
    }

    fn sizes_on_disk(&self, id: TermId) -> Vec<(u64, Size)> {
        let Some(page) = Reader::new(&self.store, id).page(PageStart::Offset(0), u64::MAX, usize::MAX).unwrap() else {
            return Vec::new();
        };
        let size = |piece| match piece {
            Piece::Resize { offset, size, .. } => Some((offset, size)),
            Piece::Output { .. } | Piece::Checkpoint { .. } | Piece::Gap { .. } => None,
        };
        page.pieces.into_iter().filter_map(size).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            _ = fs::copy(entry.path(), target).unwrap()
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Output(u32, usize, u8),
    Trickle(u32, usize),
    Resize(u32, u16),
    Checkpoint(u32),
    Pass,
    Crash,
    Evict(u64),
    Read(u32, prop::sample::Index, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let term = || 0..TERMS;
    prop_oneof![
        4 => (term(), 1usize..200_000, any::<u8>()).prop_map(|(term, len, kind)| Act::Output(term, len, kind)),
        3 => (term(), 1usize..40).prop_map(|(term, passes)| Act::Trickle(term, passes)),
        2 => (term(), 10u16..200).prop_map(|(term, cols)| Act::Resize(term, cols)),
        2 => term().prop_map(Act::Checkpoint),
        3 => Just(Act::Pass),
        1 => Just(Act::Crash),
        1 => (1000u64..50_000).prop_map(Act::Evict),
        3 => (term(), any::<prop::sample::Index>(), 1usize..100_000).prop_map(|(term, at, max)| Act::Read(term, at, max)),
    ]
}

/// Text with marks in it, some of them without an end or too long.
fn marked(len: usize, kind: u8) -> Vec<u8> {
    let text = |n: usize| match (n + usize::from(kind)) % 9 {
        0 => format!("\x1b]0;title {n}\x07"),
        1 => format!("\x1b]2;a title without an end {n}"),
        2 => format!("\x1b]633;E;command {n}\x1b\\\x1b]133;C\x07"),
        3 => format!("\x1b]133;D;{}\x07\x1b]133;A\x07$ ", n % 3),
        4 => format!("\x1b]7;file:///{}\x07", "long/".repeat(n % 40 * 50)),
        5 => format!("\x1b]52;c;{}\x07\x1b]9;4;1;{n}\x07", "x".repeat(n % 70 * 1000)),
        _ => "a line that tells nothing [2]\r\n".repeat(n % 30),
    };
    let mut out = Vec::new();
    for n in 0.. {
        out.extend_from_slice(text(n).as_bytes());
        if out.len() >= len {
            break;
        }
    }
    out.truncate(len);
    out
}

/// Text that compresses, noise that does not, or marks.
fn bytes(len: usize, kind: u8) -> Vec<u8> {
    if kind >= 160 {
        return marked(len, kind);
    }
    let mut state = u64::from(kind) + 1;
    let noise = move |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    if kind < 60 {
        (0..len).map(noise).collect()
    } else {
        (0..len).map(|i| b"a line of a log, number \r\n"[i * usize::from(kind) % 26]).collect()
    }
}

fn cases() -> u32 {
    if std::env::var_os("KAVAL_SOAK").is_some() { 2000 } else { 60 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_range_reads_as_it_was_put_out(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        let mut evicted = false;
        for act in acts {
            match act {
                Act::Output(id, len, kind) => world.output(TermId(id), &bytes(len, kind)),
                Act::Trickle(id, passes) => for pass in 0..passes {
                    world.output(TermId(id), format!("tick {pass}\r\n\x1b]2;a title in\x1b[m two\x07\x1b]1;cut").as_bytes());
                    world.writer.pass_or_fail();
                },
                Act::Resize(id, cols) => world.resize(TermId(id), cols),
                Act::Checkpoint(id) => if world.models.contains_key(&TermId(id)) { world.checkpoint(TermId(id)) },
                Act::Pass => world.writer.pass_or_fail(),
                Act::Crash => world.crash(),
                Act::Evict(term_bytes_max) => {
                    evicted = true;
                    world.writer.settings.limits = Limits { term_bytes_max, ..UNLIMITED };
                    world.writer.pass_or_fail();
                    world.writer.settings.limits = UNLIMITED;
                }
                Act::Read(id, at, max) => if let Some(model) = world.models.get(&TermId(id)) {
                    let from = at.index(model.output.len() + 1) as u64;
                    let missing = world.check(TermId(id), from, max);
                    world.check_marks(TermId(id));
                    prop_assert!(evicted || missing == 0, "{missing} bytes are missing");
                },
            }
            prop_assert!(world.writer.fault.is_none(), "{:?}", world.writer.fault);
        }
        world.writer.pass_or_fail();
        for (id, model) in &world.models {
            let missing = world.check(*id, 0, 50_000);
            prop_assert!(evicted || missing == 0, "{missing} bytes are missing");
            world.check_marks(*id);
            world.stored(*id, b"m");
            if !evicted {
                prop_assert_eq!(&world.sizes_on_disk(*id), &model.sizes);
            }
            let last = Reader::new(&world.store, *id).page(PageStart::Checkpoint(u64::MAX), u64::MAX, 1).unwrap();
            if let Some(Piece::Checkpoint { offset, data, .. }) = last.as_ref().and_then(|page| page.pieces.first()) {
                prop_assert_eq!(&data[4..12], &offset.to_le_bytes());
            }
        }
    }
}

/// A kill between the two steps of a removal, twice: the next one finds more than the limit allows, and takes nothing else for it.
#[test]
fn a_removal_that_was_cut_short_costs_no_output_that_may_be_kept() {
    let (mut world, id) = (World::new(), TermId(0));
    world.output(id, &bytes(900_000, 1));
    world.writer.pass_or_fail();
    let kept = world.writer.stats.logs()[&id].bytes / 3;
    for floor in [300_000, 600_000] {
        TermLog::open(&world.store, id).unwrap().raise_floor(floor).unwrap();
        world.store.flush().unwrap();
        world.crash();
    }
    world.writer.settings.limits = Limits { term_bytes_max: kept + kept / 8, ..UNLIMITED };
    world.writer.pass_or_fail();
    assert_eq!(world.check(id, 0, 50_000), 600_000);
    let bytes = world.writer.stats.logs()[&id].bytes;
    assert!(bytes <= kept + kept / 8, "{bytes} bytes are kept, of {kept}");
}

/// Incompressible output, five times what may be kept: files never outgrow the limit, and the newest output is there.
#[test]
fn the_disk_that_is_used_stays_under_the_limit_whatever_is_put_out() {
    const TOTAL: u64 = 64 << 20;
    let mut world = World::new();
    world.writer.settings.limits = Limits { total_bytes_max: TOTAL, ..UNLIMITED };
    let noise = bytes(256 << 10, 1);
    let mut highest = 0;
    for round in 0..400 {
        let id = TermId(round % TERMS);
        world.output(id, &noise);
        world.checkpoint(id);
        world.writer.pass_or_fail();
        highest = highest.max(world.store.disk_bytes());
    }
    assert!(world.writer.fault.is_none(), "{:?}", world.writer.fault);
    assert!(highest < TOTAL, "{highest} bytes on disk");
    for (id, model) in &world.models {
        let missing = world.check(*id, 0, 500_000);
        let kept = model.output.len() as u64 - missing;
        assert!(missing > 0 && kept > 1 << 20, "{kept} bytes of terminal {id} are kept");
    }
    eprintln!("{highest} bytes on disk at most");
}

#[test]
fn output_that_still_waits_when_its_terminal_is_forgotten_makes_no_log_again() {
    let mut world = World::new();
    for id in [TermId(0), TermId(1)] {
        world.output(id, b"some output");
    }
    world.writer.pass_or_fail();
    for id in [TermId(0), TermId(1)] {
        world.output(id, b", and more that nobody has read yet");
    }
    world.writer.forget(TermId(0));
    world.writer.pass_or_fail();
    assert_eq!(world.store.tree_names().unwrap().iter().filter(|name| name.starts_with("log/")).count(), 1);
    assert_eq!(world.check(TermId(1), 0, 100), 0);
}

#[test]
fn a_terminal_that_is_new_while_a_pass_is_made_is_logged_from_its_first_byte() {
    let mut world = World::new();
    world.output(TermId(0), b"known");
    let new = TermId(TERMS - 1);
    world.writer.forget(new);
    world.commands.send(Command::Admit(new)).unwrap();
    world.output(new, b"first");
    world.writer.pass_or_fail();
    let page = Reader::new(&world.store, new).page(PageStart::Offset(0), u64::MAX, 100).unwrap().expect("a log");
    assert_eq!((page.end, world.check(new, 0, 100)), (5, 0));
}

#[test]
fn who_asks_for_everything_to_be_on_disk_during_a_pass_is_answered_after_the_next() {
    let mut world = World::new();
    let (reply, mut drained) = tokio::sync::oneshot::channel();
    world.output(TermId(0), b"before");
    world.commands.send(Command::Drain(reply)).unwrap();
    world.writer.turn();
    assert!(drained.try_recv().is_err(), "answered by a pass that may have been past it");
    world.writer.turn();
    assert!(drained.try_recv().is_ok());
}

#[test]
fn blocks_that_are_merged_and_marks_that_are_added_to_while_they_are_read_leave_no_gap() {
    const TURN: &[u8] = b"\x1b]0;a title\x07a little more\n";
    const MARK_END: u64 = 12;
    let mut world = World::new();
    let id = TermId(0);
    world.output(id, TURN);
    world.writer.pass_or_fail();
    let done = Arc::new(AtomicBool::new(false));
    let (store, until) = (world.store.clone(), done.clone());
    let reading = thread::spawn(move || {
        let (reader, mut pages) = (Reader::new(&store, id), 0);
        while !until.load(Ordering::Acquire) {
            let page = reader.page(PageStart::Offset(0), u64::MAX, usize::MAX).unwrap().expect("a log");
            let mut next = 0;
            for piece in page.pieces {
                let Piece::Output { offset, data, .. } = piece else { panic!("{piece:?} in a log that is whole") };
                assert_eq!(offset, next);
                next += data.len() as u64;
            }
            let (mut marks, mut after, mut end) = (Vec::new(), Some(0), 0);
            while let Some(page) = after.and_then(|after| reader.marks(after).unwrap()) {
                marks.extend(page.marks.iter().map(|mark| mark.offset));
                (after, end) = (page.next, page.end);
            }
            let turns = end / TURN.len() as u64;
            assert_eq!(marks, (0..turns).map(|turn| turn * TURN.len() as u64 + MARK_END).collect::<Vec<_>>());
            pages += 1;
        }
        pages
    });
    for _ in 0..2000 {
        world.output(id, TURN);
        world.writer.pass_or_fail();
    }
    done.store(true, Ordering::Release);
    assert!(reading.join().unwrap() > 10, "nothing was read meanwhile");
}

/// Of titles that are all there is, and that do not compress.
#[test]
fn a_flood_of_marks_takes_small_values_and_at_most_twice_the_room_of_its_output() {
    let mut world = World::new();
    let noise: Vec<u8> = bytes(4 << 20, 1).iter().map(|byte| b'!' + byte % 90).collect();
    let titles = |len: usize, count: usize| -> Vec<u8> {
        noise.chunks(len).take(count).flat_map(|text| [b"\x1b]0;", text, b"\x07"].concat()).collect()
    };
    for (id, output) in [(TermId(0), titles(1, 300_000)), (TermId(1), titles(1000, 4000))] {
        world.output(id, &output);
        world.writer.pass_or_fail();
        let packs = world.stored(id, b"m");
        let bytes: usize = packs.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(packs.iter().all(|(_, value)| value.len() <= PACK_BYTES_MAX + 5));
        assert!(bytes <= 2 * output.len(), "{bytes} bytes for {}", output.len());
        eprintln!(
            "{} marks in {} values and {bytes} bytes, of {} bytes of output",
            world.check_marks(id),
            packs.len(),
            output.len()
        );
    }
}

#[test]
fn a_mark_now_and_then_does_not_leave_a_value_for_each() {
    let mut world = World::new();
    let id = TermId(0);
    for turn in 0..2000 {
        world.output(id, format!("\x1b]0;working {turn}\x07").as_bytes());
        world.writer.pass_or_fail();
        if turn % 100 == 0 {
            world.crash();
        }
    }
    assert_eq!(world.check_marks(id), 2000);
    let values = world.stored(id, b"m").len();
    assert!(values < 50, "{values} values");
}

#[test]
fn what_is_removed_takes_its_marks_along() {
    let mut world = World::new();
    let id = TermId(0);
    for _ in 0..40 {
        world.output(id, &marked(100_000, 0));
        world.writer.pass_or_fail();
    }
    // Ends what has begun.
    world.output(id, b"\x07");
    world.writer.pass_or_fail();
    let all = world.check_marks(id);
    let bytes: usize = world.stored(id, b"").iter().map(|(key, value)| key.len() + value.len()).sum();
    for part in [2, 3, 10, usize::MAX] {
        let term_bytes_max = (bytes / part) as u64;
        world.writer.settings.limits = Limits { term_bytes_max, ..UNLIMITED };
        world.writer.pass_or_fail();
        let left = world.check_marks(id);
        let floor = Reader::new(&world.store, id).page(PageStart::Offset(0), 0, 0).unwrap().unwrap().floor;
        let kept = world.stored(id, b"m");
        assert!(left < all && kept.iter().all(|(key, _)| key[1..] > floor.to_be_bytes()[..]));
        assert!(term_bytes_max > 0 || (left == 0 && kept.is_empty()), "{left} marks of nothing");
        // What comes then is heard as ever.
        world.writer.settings.limits = UNLIMITED;
        world.output(id, b"\x1b]133;A\x07");
        world.writer.pass_or_fail();
        assert_eq!(world.check_marks(id), left + 1);
    }
}

#[test]
fn a_mark_that_a_gap_has_cut_short_is_none() {
    let mut world = World::new();
    let id = TermId(0);
    world.output(id, b"\x1b]0;begun, and");
    world.writer.pass_or_fail();
    let reader = Reader::new(&world.store, id);
    assert_ne!(reader.marks(0).unwrap().unwrap().scanner, Scanner::default());
    // Another journal, whose first output is some way on.
    world.fds = JournalFds::create().unwrap();
    world.crash();
    world.journal.begin(id, 100);
    world.output(id, b" ended\x07\x1b]2;whole\x07");
    world.writer.pass_or_fail();
    let page = Reader::new(&world.store, id).marks(0).unwrap().unwrap();
    let found: Vec<_> = page.marks.iter().map(|mark| (mark.offset, &mark.head[..])).collect();
    assert_eq!(found, [(117, &b"2;whole"[..])]);
    assert_eq!(page.scanner, Scanner::default());
}
