//! What the log on disk costs: bytes stored for a byte put out, heap for terminals with history, and a read anywhere in a long one.
//!
//! `cargo bench --bench log`. Output goes through a real journal to a real log thread and its database, without PTYs.
//! - *stored*: `KAVAL_BENCH_MB` (200) of each kind of output, flushed; files as the file system counts them, next to the output and to what
//!   zstd makes of all of it at once, at levels 1 and 9.
//! - *heap*: 10, 100 and 1,000 terminals with 1 MB of history each; jemalloc's figure for the whole process, less what it was before.
//! - *read*: 64 KiB at random offsets of a log of `KAVAL_BENCH_LOG_MB` (1000), next to a `pread` of as much from a plain file of that
//!   size. Pages are in the kernel's cache for both.
#![allow(missing_docs)]

mod support;

use std::{
    fs::{self, File},
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use kaval_actors::{
    Findings, TermId,
    log::{
        journal::{DataPath, Journal, JournalError, JournalFds, RECORD_MAX},
        piece::{PageStart, Piece},
        retention::Limits,
        service::{Log, Settings},
        store::Store,
    },
};
use support::{Flavour, Samples, setting, table};
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PAGE_BYTES: usize = 64 << 10;
const READS: usize = 2000;

fn main() {
    if support::is_test_run() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("kaval-bench-").tempdir().unwrap();
    stored(dir.path());
    heap(dir.path());
    read(dir.path());
}

/// A journal, its log, and pipes in place of PTYs.
struct Stage {
    runtime: tokio::runtime::Runtime,
    log: Log,
    journal: Journal,
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Stage {
    fn new(dir: &Path) -> Self {
        let limits = Limits { term_bytes_max: u64::MAX, age_max: Duration::from_secs(1 << 30), total_bytes_max: u64::MAX };
        let settings = Settings { sync: Duration::from_secs(1), stall_max: Duration::from_secs(5), limits };
        let known = (1..=1000).map(TermId).collect();
        let log = Log::start(Store::open(dir).unwrap(), settings, known, Findings::default(), || ()).unwrap();
        let (mut journal, _) = Journal::open(JournalFds::create().unwrap(), 64 << 20, DataPath::Splice).unwrap();
        log.follow(journal.follow(log.bell()).unwrap());
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, log, journal, reader, writer }
    }

    /// Puts a stretch of output out, as a PTY does: 4 KB at a time.
    fn put(&mut self, term: TermId, bytes: &[u8]) {
        for piece in bytes.chunks(4095) {
            rustix::io::write(&self.writer, piece).unwrap();
            loop {
                match self.journal.ingest(term, self.reader.as_fd(), RECORD_MAX) {
                    Ok(_) => break,
                    Err(JournalError::Full) => self.make_room(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn make_room(&mut self) {
        for term in self.journal.take_wanted() {
            self.journal.checkpoint(term, &vec![b'x'; 3000]).unwrap();
        }
        self.drain();
    }

    fn drain(&self) {
        self.runtime.block_on(self.log.drain());
    }
}

fn stored(dir: &Path) {
    let megabytes = setting("KAVAL_BENCH_MB", 200u64);
    let mut rows = Vec::new();
    let kinds = Flavour::ALL.map(|flavour| (flavour.name(), flavour.write(dir, megabytes * 1_000_000)));
    let screens = dir.join("full-screen");
    full_screen(&screens, megabytes * 1_000_000);
    for (name, file) in kinds.into_iter().chain([("full-screen", screens)]) {
        let bytes = fs::read(&file).unwrap();
        let mut stage = Stage::new(&dir.join(format!("store-{name}")));
        for chunk in bytes.chunks(256 << 10) {
            stage.put(TermId(1), chunk);
            stage.journal.checkpoint(TermId(1), &vec![b'x'; 3000]).ok();
        }
        stage.drain();
        let stats = stage.log.stats();
        let share = |stored: u64| format!("{:.4}", stored as f64 / bytes.len() as f64);
        let zstd = |level: i32| zstd::bulk::compress(&bytes, level).unwrap().len() as u64;
        let (live, disk) = (stats.live_bytes.load(Ordering::Relaxed), stats.disk_bytes.load(Ordering::Relaxed));
        rows.push(vec![name.to_owned(), share(live), share(disk), share(zstd(1)), share(zstd(9))]);
        fs::remove_file(file).unwrap();
    }
    let title = format!("bytes stored for a byte of output, {megabytes} MB of one terminal");
    table(&title, &["output", "keys and values", "files", "zstd -1", "zstd -9"], &rows);
}

/// A screen of numbers of which a few change with each frame, as a monitor draws it.
fn full_screen(path: &Path, bytes: u64) {
    let mut file = std::io::BufWriter::new(File::create(path).unwrap());
    let (mut written, mut state) = (0, 1u64);
    let mut random = move |max: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % max
    };
    while written < bytes {
        let mut frame = String::from("\x1b[H");
        for _ in 0..30 {
            let (row, col, color) = (1 + random(24), 1 + random(70), 31 + random(7));
            frame.push_str(&format!("\x1b[{row};{col}H\x1b[{color}m{:>6.2}\x1b[0m", random(10_000) as f64 / 100.0));
        }
        file.write_all(frame.as_bytes()).unwrap();
        written += frame.len() as u64;
    }
    file.flush().unwrap();
}

fn allocated() -> f64 {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap() as f64
}

fn heap(dir: &Path) {
    let file = Flavour::ALL[0].write(dir, 1_000_000);
    let bytes = fs::read(&file).unwrap();
    let mut rows = Vec::new();
    for terms in [10u32, 100, 1000] {
        let before = allocated();
        let mut stage = Stage::new(&dir.join(format!("store-{terms}")));
        let empty = allocated();
        for chunk in bytes.chunks(50_000) {
            for term in 1..=terms {
                stage.put(TermId(term), chunk);
            }
        }
        stage.drain();
        let full = allocated();
        let megabytes = |bytes: f64| format!("{:.1}", bytes / 1e6);
        let each = format!("{:.1}", (full - empty) / 1e3 / f64::from(terms));
        rows.push(vec![terms.to_string(), megabytes(empty - before), megabytes(full - before), each]);
    }
    table("heap of the log, each terminal with 1 MB of history", &["terminals", "empty MB", "MB", "KB a terminal"], &rows);
}

fn read(dir: &Path) {
    let bytes = setting("KAVAL_BENCH_LOG_MB", 1000u64) * 1_000_000;
    let file = Flavour::ALL[0].write(dir, bytes);
    let mut stage = Stage::new(&dir.join("store-read"));
    let plain = File::open(&file).unwrap();
    let (mut chunk, mut at) = (vec![0; 256 << 10], 0);
    while let n @ 1.. = plain.read_at(&mut chunk, at).unwrap() {
        stage.put(TermId(1), &chunk[..n]);
        stage.journal.checkpoint(TermId(1), &vec![b'x'; 3000]).ok();
        at += n as u64;
    }
    stage.drain();
    let (mut floor, mut log, mut ratios) = (Samples::default(), Samples::default(), Samples::default());
    let mut page = vec![0; PAGE_BYTES];
    for n in 0..READS as u64 {
        let offset = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (at - PAGE_BYTES as u64);
        let start = Instant::now();
        plain.read_exact_at(&mut page, offset).unwrap();
        let bare = start.elapsed().as_secs_f64() * 1e6;
        let start = Instant::now();
        let to = offset + PAGE_BYTES as u64;
        let read = move |reader: &kaval_actors::log::reader::Reader| reader.page(PageStart::Offset(offset), to, PAGE_BYTES);
        let found = stage.runtime.block_on(stage.log.read(TermId(1), read)).unwrap().unwrap();
        let took = start.elapsed().as_secs_f64() * 1e6;
        let mut joined = Vec::new();
        for piece in found.pieces {
            if let Piece::Output { data, .. } = piece {
                joined.extend_from_slice(&data);
            }
        }
        assert!(joined == page, "the page at {offset} is another");
        floor.push(bare);
        log.push(took);
        ratios.push(took / bare);
    }
    let row = |name: &str, samples: &Samples| {
        let at = |q| format!("{:.0}", samples.quantile(q));
        vec![name.to_owned(), at(0.5), at(0.9), at(0.99)]
    };
    let rows = [row("pread of a plain file", &floor), row("log", &log), row("ratio", &ratios)];
    let title = format!("64 KiB at a random offset of {} MB, µs", bytes / 1_000_000);
    table(&title, &["read", "p50", "p90", "p99"], &rows);
}
