//! What a long history costs to keep, to page through, to search and to write to a file, and what the supervisor and others notice of it.
//!
//! `cargo bench --bench history`. A terminal prints `KAVAL_BENCH_MB` (1000) of a build's log, coloured tests and a full-screen program in
//! turn; another says back what is typed.
//! - *stored*: the state directory's size, for a byte that was printed.
//! - *page*: 200 lines at random places, `KAVAL_BENCH_PAGES` (1000) times, next to as many bytes from a plain file of all lines.
//! - *search*: a literal that is nowhere, one that is in a few lines, and a regex, next to `rg` over the exported text if it is in `PATH`.
//! - *export*: each format, with the peak memory of the process that writes it.
//! - The supervisor's heap before, meanwhile and afterwards; echo in the other terminal, alone and during searches.
//!
//! `KAVAL_BENCH_PART` (`mixed,line,trickle`): the above; one line of as many bytes; 80 bytes at a time, as a log that gets a line a minute.
#![allow(missing_docs)]

#[path = "../tests/support/scrape.rs"]
mod scrape;
mod support;

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kaval::{
    client::{Session, SessionOptions},
    wire::{AttachFrom, AttachMode, LinesAsked, LinesAt, LinesOk, Op, TermRef},
};
use scrape::Scrape;
use support::{Flavour, Gate, Instance, Samples, setting, table};
use tokio::runtime::Runtime;

const PARTS: [(&str, fn()); 3] = [("mixed", mixed), ("line", line), ("trickle", trickle)];
const CONFIG: &str = "[log]\nbytes_max = \"64GiB\"\ntotal_bytes_max = \"64GiB\"\n";
const NAME: &str = "long";
const PAGE_LINES: u64 = 200;
const FORMATS: [&str; 6] = ["raw", "txt", "ansi", "cast", "html", "pdf"];
/// Of what is in the output, in each stretch of [`STRETCH_BYTES`].
const STRETCH_BYTES: usize = 10 << 20;
const EVERY: Duration = Duration::from_millis(5);

fn main() {
    if support::is_test_run() {
        return;
    }
    let wanted: String = setting("KAVAL_BENCH_PART", "mixed,line,trickle".to_owned());
    for (name, part) in PARTS {
        if wanted.split(',').any(|part| part == name) {
            part();
        }
    }
}

fn bytes() -> u64 {
    setting("KAVAL_BENCH_MB", 1000) * 1_000_000
}

/// A supervisor with a terminal that has printed a file.
struct Stage {
    instance: Instance,
    runtime: Runtime,
    dir: tempfile::TempDir,
    raw: u64,
}

impl Stage {
    fn of(config: &str, output: impl FnOnce(&Path) -> PathBuf) -> Self {
        let instance = Instance::start_with(config, &scrape::ANYWHERE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::Builder::new().prefix("kaval-bench-").tempdir().unwrap();
        let output = output(dir.path());
        let raw = fs::metadata(&output).unwrap().len();
        let gate = Gate::new(dir.path(), &output);
        let command = gate.command();
        let mut new = vec!["new", "-d", NAME, "--size", "120x40", "--"];
        new.extend(command.iter().map(String::as_str));
        instance.ok(&new);
        gate.open();
        instance.ok(&["wait", NAME, "--exit"]);
        Self { instance, runtime, dir, raw }
    }

    fn scrape(&self, name: &str) -> f64 {
        Scrape::of(&self.instance).value(name)
    }

    /// The heap, in MiB.
    fn heap(&self) -> f64 {
        self.scrape("kaval_heap_allocated_bytes") / f64::from(1 << 20)
    }

    fn stored(&self) -> f64 {
        support::until("everything is on disk", || self.scrape("kaval_logged_bytes_total") >= self.raw as f64);
        let blocks = Command::new("du").args(["-s", "--block-size=1"]).arg(self.instance.state_dir()).output().unwrap().stdout;
        let bytes: f64 = String::from_utf8(blocks).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        bytes / self.raw as f64
    }

    fn lines(&self, at: LinesAt, back: bool, max: u64) -> LinesOk {
        let asked = LinesAsked { term: TermRef::Name(NAME.to_owned()), at, back, max, styled: true, frames: false };
        self.runtime.block_on(async { self.instance.client().await.call(Op::Lines(asked)).await.unwrap() })
    }

    fn last_line(&self) -> u64 {
        self.lines(LinesAt::End, true, 1).items.last().and_then(|item| item.number).unwrap()
    }

    /// Milliseconds for pages at random places.
    fn pages(&self) -> Samples {
        let (last, mut samples, mut random) = (self.last_line(), Samples::default(), Random(1));
        let asked = |line| LinesAsked {
            term: TermRef::Name(NAME.to_owned()),
            at: LinesAt::Line(line),
            back: line % 2 == 1,
            max: PAGE_LINES,
            styled: true,
            frames: false,
        };
        self.runtime.block_on(async {
            let mut client = self.instance.client().await;
            for _ in 0..setting("KAVAL_BENCH_PAGES", 1000) {
                let ask = asked(random.below(last));
                let begun = Instant::now();
                let _: LinesOk = client.call(Op::Lines(ask)).await.unwrap();
                samples.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        });
        samples
    }

    fn kaval(&self, arguments: &[&str]) -> Command {
        let mut command = self.instance.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Enough to choose places by.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end.max(1)
    }
}

/// A build, its tests, and somebody who looks at top meanwhile.
fn write_mixed(dir: &Path) -> PathBuf {
    let parts = Flavour::ALL.map(|flavour| fs::read(flavour.write(dir, 4 << 20)).unwrap());
    let path = dir.join("mixed");
    let (mut file, mut written, mut stretch) = (BufWriter::new(File::create(&path).unwrap()), 0, 0);
    while written < bytes() {
        let mut section = parts.concat();
        section.extend_from_slice(b"\x1b[?1049h");
        let mut frame = 0;
        while section.len() < STRETCH_BYTES {
            section.extend_from_slice(format!("\x1b[H\x1b[7mtop: frame {frame} of {stretch}\x1b[m\x1b[K").as_bytes());
            for row in 2..40 {
                let pid = (frame * 31 + row * 17) % 30_000;
                let text = format!(
                    "\x1b[{row};1H{pid:>6} root  \x1b[32m{:>5}.{}\x1b[m  some program --with {row}\x1b[K",
                    pid % 97,
                    pid % 10
                );
                section.extend_from_slice(text.as_bytes());
            }
            frame += 1;
        }
        section.extend_from_slice(format!("\x1b[?1049lstretch {stretch} is done: needle\n").as_bytes());
        file.write_all(&section).unwrap();
        (written, stretch) = (written + section.len() as u64, stretch + 1);
    }
    file.flush().unwrap();
    path
}

fn mixed() {
    let stage = Stage::of(CONFIG, write_mixed);
    println!("{:.2} MB printed; stored bytes a byte: {:.3}", stage.raw as f64 / 1e6, stage.stored());
    let before = stage.heap();
    let text = stage.dir.path().join("text");
    stage.instance.ok(&["export", NAME, "--format", "txt", "-o", text.to_str().unwrap()]);
    let (pages, floor) = (stage.pages(), plain_pages(&text));
    let row = |name: &str, samples: &Samples| {
        [vec![name.to_owned()], [0.5, 0.99, 1.0].map(|q| format!("{:.3}", samples.quantile(q))).to_vec()].concat()
    };
    let rows = [row("kaval", &pages), row("as much of a plain file", &floor)];
    table("a page of 200 lines at random places, ms", &["", "p50", "p99", "most"], &rows);
    searches(&stage, &text);
    exports(&stage);
    println!("\nheap, MiB: before {before:.1}, afterwards {:.1}", stage.heap());
}

fn plain_pages(text: &Path) -> Samples {
    let (file, len) = (File::open(text).unwrap(), fs::metadata(text).unwrap().len());
    let (mut samples, mut random, mut page) = (Samples::default(), Random(1), vec![0; 80 * PAGE_LINES as usize]);
    for _ in 0..setting("KAVAL_BENCH_PAGES", 1000) {
        let at = random.below(len - page.len() as u64);
        let begun = Instant::now();
        file.read_exact_at(&mut page, at).unwrap();
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    samples
}

/// Runs a command; how long that took in seconds, its peak of resident memory in MiB, and what `meanwhile` saw.
fn watched<T>(mut command: Command, mut meanwhile: impl FnMut() -> T) -> (f64, f64, Vec<T>) {
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let (mut peak, mut seen) = (0.0_f64, Vec::new());
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_bytes(&child));
        seen.push(meanwhile());
    }
    (begun.elapsed().as_secs_f64(), peak / f64::from(1 << 20), seen)
}

fn peak_bytes(child: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    peak.unwrap_or(0.0) * 1024.0
}

fn searches(stage: &Stage, text: &Path) {
    let mut echo = Echo::new(stage);
    let mut alone = Samples::default();
    alone.extend((0..500).map(|_| echo.key()));
    let patterns: [(&str, &[&str]); 4] = [
        ("literal, nowhere", &["-F", "no line has this"]),
        ("literal, a few", &["-F", "done: needle"]),
        ("any case", &["-F", "-i", "DONE: NEEDLE"]),
        ("regex", &[r"stretch \d+ is d[a-z]+: needle"]),
    ];
    let (mut rows, mut during) = (Vec::new(), Samples::default());
    for (name, pattern) in patterns {
        let (mut seconds, mut floor, mut heap) = (Samples::default(), Samples::default(), 0.0_f64);
        for _ in 0..setting("KAVAL_BENCH_ROUNDS", 3) {
            let arguments = [&["search", NAME], pattern].concat();
            let (took, _, keys) = watched(stage.kaval(&arguments), || {
                heap = heap.max(stage.heap());
                echo.key()
            });
            seconds.push(took);
            during.extend(keys);
            let mut rg = Command::new("rg");
            rg.args(pattern).arg(text).stdout(Stdio::null()).stderr(Stdio::null());
            if rg.spawn().is_ok_and(|mut child| child.wait().is_ok()) {
                floor.push(watched(rg, || std::thread::sleep(EVERY)).0);
            }
        }
        let rg = if floor.is_empty() { "not installed".to_owned() } else { floor.spread(2) };
        rows.push(vec![name.to_owned(), seconds.spread(2), rg, format!("{heap:.1}")]);
    }
    table("a search through all of it, s", &["", "kaval search", "rg over the text", "supervisor's heap at most, MiB"], &rows);
    let row = |name: &str, samples: &Samples| {
        [vec![name.to_owned()], [0.5, 0.99, 1.0].map(|q| format!("{:.0}", samples.quantile(q))).to_vec()].concat()
    };
    table(
        "echo in another terminal, µs",
        &["", "p50", "p99", "most"],
        &[row("alone", &alone), row("during searches", &during)],
    );
}

/// Another terminal, which says back what is typed.
struct Echo<'a> {
    runtime: &'a Runtime,
    session: Session,
}

impl<'a> Echo<'a> {
    fn new(stage: &'a Stage) -> Self {
        stage.instance.ok(&["new", "-d", "echo", "--", "sh", "-c", "stty raw -echo; printf R; exec cat"]);
        let (socket, term) = (stage.instance.socket(), TermRef::Name("echo".to_owned()));
        let options = SessionOptions { socket, term, mode: AttachMode::Rw, size: None, from: AttachFrom::Offset(0) };
        let session = stage.runtime.block_on(async {
            let mut session = Session::attach(options).await.unwrap();
            while session.offset() != Some(1) {
                session.next().await.unwrap();
            }
            session
        });
        Self { runtime: &stage.runtime, session }
    }

    /// Microseconds there and back.
    fn key(&mut self) -> f64 {
        std::thread::sleep(EVERY);
        let begun = Instant::now();
        self.say("k");
        begun.elapsed().as_secs_f64() * 1e6
    }

    /// Types something and hears it.
    fn say(&mut self, text: &str) {
        self.runtime.block_on(async {
            let heard = self.session.offset().unwrap() + text.len() as u64;
            self.session.input(Bytes::copy_from_slice(text.as_bytes())).await;
            while self.session.offset() < Some(heard) {
                self.session.next().await.unwrap();
            }
        });
    }
}

fn exports(stage: &Stage) {
    let rows = FORMATS.map(|format| {
        let mut heap = 0.0_f64;
        let (seconds, peak, _) = watched(stage.kaval(&["export", NAME, "--format", format, "-o", "-"]), || {
            std::thread::sleep(EVERY);
            heap = heap.max(stage.heap());
        });
        let rate = stage.raw as f64 / 1e6 / seconds;
        vec![format.to_owned(), format!("{seconds:.1}"), format!("{rate:.1}"), format!("{peak:.1}"), format!("{heap:.1}")]
    });
    let head = ["", "s", "MB/s of output", "its peak, MiB", "supervisor's heap at most, MiB"];
    table("an export of all of it", &head, &rows);
}

fn line() {
    let stage = Stage::of(CONFIG, |dir| {
        let path = dir.join("line");
        let mut file = BufWriter::new(File::create(&path).unwrap());
        let words = b"a gigabyte without a newline ".repeat(1 << 12);
        let mut written = 0;
        while written < bytes() {
            file.write_all(&words).unwrap();
            written += words.len() as u64;
        }
        file.flush().unwrap();
        path
    });
    let (before, mut heap, mut samples, mut random) = (stage.heap(), 0.0_f64, Samples::default(), Random(1));
    for _ in 0..setting("KAVAL_BENCH_PAGES", 1000) / 10 {
        let begun = Instant::now();
        let page = stage.lines(LinesAt::Offset(random.below(stage.raw)), false, PAGE_LINES);
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(!page.items.is_empty());
        heap = heap.max(stage.heap());
    }
    let row = vec![
        format!("{:.3}", stage.stored()),
        format!("{:.1}", samples.quantile(0.5)),
        format!("{:.1}", samples.quantile(0.99)),
        format!("{before:.1}, {heap:.1}"),
    ];
    let title = format!("one line of {:.0} MB, pages of it at random places", stage.raw as f64 / 1e6);
    table(&title, &["stored a byte", "p50, ms", "p99, ms", "heap before, at most, MiB"], &[row]);
}

/// Each line is on disk before the next comes.
fn trickle() {
    let stage = Stage::of(&format!("{CONFIG}sync = \"1ms\"\n"), |dir| {
        let path = dir.join("none");
        File::create(&path).unwrap();
        path
    });
    let lines: u64 = setting("KAVAL_BENCH_TRICKLE", 10_000);
    let (mut echo, mut raw, before) = (Echo::new(&stage), 0, stage.scrape("kaval_log_live_bytes"));
    for n in 0..lines {
        let (minute, lag) = (n % 60, n * 31 % 977);
        let line =
            format!("2026-11-22T16:{minute:02}:00Z INFO  heartbeat n={n} queue={} lag={lag}ms, all is well here\n", n % 13);
        raw += line.len();
        echo.say(&line);
    }
    let live = stage.scrape("kaval_log_live_bytes") - before;
    println!("{lines} lines of some 80 bytes, one at a time: {:.3} stored bytes a byte", live / raw as f64);
}
