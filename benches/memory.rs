//! What terminals, clients and time cost the supervisor in memory.
//!
//! `cargo bench --bench memory`, or with `KAVAL_BENCH_PART` some of:
//!
//! - `terminals`: terminals that each printed 50,000 lines (`KAVAL_BENCH_LINES`) and went to sleep, for each number in `KAVAL_BENCH_TERMS`
//!   (10,100,1000), beside tmux with a history of as many lines, and a bare vt100 screen that keeps them.
//! - `storm`: 60 clients attach to 60 terminals each, 40 times (`KAVAL_BENCH_ROUNDS`), and go away half way through.
//! - `churn`: 8,000 terminals made, written to, ended and removed (`KAVAL_BENCH_TERMS_MADE`); 100,000 attachments broken off
//!   (`KAVAL_BENCH_ATTACHMENTS`).
//! - `mix`: all of that at once for `KAVAL_BENCH_SECONDS` (600).
//! - `wake`: how long the screen of a sleeping terminal takes to be shown, next to one that is awake; and a scrape of 2,000.
//!
//! Heap is what the supervisor's allocator says, by its own metrics; resident memory is the kernel's figure.
#![allow(missing_docs)]

#[path = "../tests/support/scrape.rs"]
mod scrape;
mod support;

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kaval::{
    client::Client,
    wire::{AttachFrom, AttachMode, Data, Empty, HibernateOk, LsOk, NewOk, Op, ScreenFormat, ScreenOk, TermRef},
};
use scrape::Scrape;
use support::{Instance, Samples, setting, table};
use tikv_jemalloc_ctl::{epoch, stats};
use tokio::{runtime::Runtime, task::JoinSet};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PARTS: [(&str, fn()); 5] = [("terminals", terminals), ("storm", storm), ("churn", churn), ("mix", mix), ("wake", wake)];
/// Room for all, and sleep that does not have to be waited for.
const CONFIG: &str = "[limits]\nterms_max = 20000\n[memory]\nhibernate_after = \"2s\"\n";
const CLIENTS: usize = 60;
/// Terminals and clients that are made at a time.
const AT_A_TIME: usize = 8;
/// How long freed memory may take to be given back.
const DECAY: Duration = Duration::from_secs(12);

fn main() {
    if support::is_test_run() {
        return;
    }
    let wanted: String = setting("KAVAL_BENCH_PART", "terminals,storm,churn,wake".to_owned());
    for (name, part) in PARTS {
        if wanted.split(',').any(|part| part == name) {
            part();
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn start() -> Instance {
    Instance::start_with(CONFIG, &scrape::ANYWHERE)
}

fn new(command: &[&str]) -> Op {
    Op::New {
        name: None,
        command: command.iter().map(|&arg| arg.to_owned()).collect(),
        cwd: None,
        env: Vec::new(),
        size: None,
        token: 0,
        if_absent: false,
        no_log: false,
        restart: Default::default(),
    }
}

async fn create(client: &mut Client, command: &[&str]) -> u32 {
    let NewOk { id, .. } = client.call(new(command)).await.unwrap();
    id
}

fn printing(lines: usize) -> String {
    format!("stty -echo; seq -f 'line %g of what a predecessor would have kept in memory as cells' {lines}; exec sleep 1000000")
}

/// What the supervisor takes, in bytes.
#[derive(Debug, Clone, Copy)]
struct Figures {
    heap: f64,
    log: f64,
    resident: f64,
    /// Of that the journal, which is shared memory.
    shared: f64,
    series: usize,
}

impl Figures {
    fn of(instance: &Instance) -> Self {
        let scrape = Scrape::of(instance);
        let pid = instance.supervisor_pid().unwrap().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
        };
        Self {
            heap: scrape.value("kaval_heap_allocated_bytes"),
            log: scrape.value("kaval_log_heap_bytes"),
            resident: kilobytes("VmRSS:"),
            shared: kilobytes("RssShmem:"),
            series: scrape.len(),
        }
    }

    /// The heap without the log's.
    fn own(&self) -> f64 {
        self.heap - self.log
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn kib(bytes: f64) -> String {
    format!("{:.1}", bytes / 1024.0)
}

fn await_asleep(instance: &Instance, terms: usize) {
    let asleep = || Scrape::of(instance).sum("kaval_terms", &[("state", "hibernated")]);
    while asleep() < terms as f64 {
        thread::sleep(Duration::from_millis(200));
    }
    thread::sleep(DECAY);
}

fn terminals() {
    let lines = setting("KAVAL_BENCH_LINES", 50_000);
    let counts: String = setting("KAVAL_BENCH_TERMS", "10,100,1000".to_owned());
    let (instance, runtime) = (start(), runtime());
    let empty = Figures::of(&instance);
    let mut rows = vec![vec![
        "kaval, none".to_owned(),
        mib(empty.own()),
        mib(empty.log),
        mib(empty.resident),
        mib(empty.shared),
        String::new(),
        String::new(),
        String::new(),
    ]];
    let mut made = 0;
    for count in counts.split(',').map(|count| count.parse::<usize>().unwrap()) {
        make(&runtime, &instance, count - made, &["sh", "-c", &printing(lines)]);
        made = count;
        await_asleep(&instance, count);
        let now = Figures::of(&instance);
        let each = |now: f64, before: f64| (now - before) / count as f64;
        rows.push(vec![
            format!("kaval, {count}"),
            mib(now.own()),
            mib(now.log),
            mib(now.resident),
            mib(now.shared),
            kib(each(now.own(), empty.own())),
            kib(each(now.log, empty.log)),
            kib(each(now.resident, empty.resident)),
        ]);
    }
    let blank = || vec![String::new(); 6];
    rows.push([vec!["bare vt100 that keeps the lines".to_owned()], blank(), vec![kib(deep_screen(lines))]].concat());
    if let Some(each) = tmux(lines) {
        rows.push([vec!["tmux that keeps the lines, of 10".to_owned()], blank(), vec![kib(each)]].concat());
    }
    let title = format!("terminals that printed {lines} lines each and sleep; MiB in all, KiB for each");
    let head = ["", "heap", "log's heap", "resident", "of it journal", "heap each", "log's each", "resident each"];
    table(&title, &head, &rows);
}

fn make(runtime: &Runtime, instance: &Instance, count: usize, command: &[&str]) {
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..AT_A_TIME {
            clients.push(instance.client().await);
        }
        let mut tasks = JoinSet::new();
        for (n, mut client) in clients.into_iter().enumerate() {
            let command: Vec<String> = command.iter().map(|&arg| arg.to_owned()).collect();
            tasks.spawn(async move {
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                for _ in (n..count).step_by(AT_A_TIME) {
                    create(&mut client, &command).await;
                }
            });
        }
        tasks.join_all().await;
    });
}

/// Bytes of a vt100 screen that keeps `lines` lines.
fn deep_screen(lines: usize) -> f64 {
    let allocated = || {
        epoch::advance().unwrap();
        stats::allocated::read().unwrap() as f64
    };
    let before = allocated();
    let mut parser = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), lines);
    for line in 0..lines {
        parser.process(format!("line {line} of what a predecessor would have kept in memory as cells\r\n").as_bytes());
    }
    let bytes = allocated() - before;
    drop(parser);
    bytes
}

/// Resident bytes of tmux for each of ten sessions that printed so many lines; `None` where there is no tmux.
fn tmux(lines: usize) -> Option<f64> {
    const SESSIONS: usize = 10;
    let dir = Instance::fresh_dir();
    let (socket, config) = (dir.path().join("tmux"), dir.path().join("tmux.conf"));
    fs::write(&config, format!("set -g history-limit {lines}\n")).unwrap();
    let run = |args: &[&str]| Command::new("tmux").arg("-S").arg(&socket).arg("-f").arg(&config).args(args).output();
    for n in 0..SESSIONS {
        let told = dir.path().join(format!("printed-{n}"));
        let script = printing(lines).replace("exec sleep", &format!("> '{}'; exec sleep", told.display()));
        run(&["new-session", "-d", "-x", "80", "-y", "24", "sh", "-c", &script]).ok()?;
        support::until("tmux's terminal to have printed", || told.exists());
    }
    let pid = String::from_utf8(run(&["display-message", "-p", "#{pid}"]).ok()?.stdout).ok()?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB");
    let bytes = resident.parse::<f64>().unwrap() * 1024.0 / SESSIONS as f64;
    run(&["kill-server"]).ok()?;
    Some(bytes)
}

/// Looks at the heap all the time until told to stop; the most it was.
fn watch_heap(instance: &Instance, stop: &AtomicBool) -> f64 {
    let mut most: f64 = 0.0;
    while !stop.load(Ordering::Acquire) {
        most = most.max(Scrape::of(instance).value("kaval_heap_allocated_bytes"));
    }
    most
}

/// What runs on `work`'s thread, with the most that the heap was meanwhile.
fn with_peak(instance: &Instance, work: impl FnOnce()) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| watch_heap(instance, &stop));
        work();
        stop.store(true, Ordering::Release);
        watching.join().unwrap()
    })
}

fn attachment(id: u32) -> Op {
    Op::Attach { term: TermRef::Id(id), size: None, from: AttachFrom::Screen, mode: AttachMode::Rw }
}

/// One client of a storm: asks for every terminal, reads half of the answers, and is gone.
async fn blow(mut client: Client, ids: Arc<Vec<u32>>) {
    for id in &*ids {
        client.request(attachment(*id)).await.unwrap();
    }
    for _ in 0..ids.len() {
        client.next().await.unwrap();
    }
}

fn ids(runtime: &Runtime, instance: &Instance) -> Arc<Vec<u32>> {
    let listing: LsOk = runtime.block_on(async { instance.client().await.call(Op::Ls { after: None }).await.unwrap() });
    Arc::new(listing.terms.iter().map(|term| term.id).collect())
}

fn storm() {
    let rounds: usize = setting("KAVAL_BENCH_ROUNDS", 40);
    let (instance, runtime) = (start(), runtime());
    make(&runtime, &instance, CLIENTS, &["sh", "-c", &printing(setting("KAVAL_BENCH_LINES", 50_000))]);
    await_asleep(&instance, CLIENTS);
    let ids = ids(&runtime, &instance);
    let idle = Figures::of(&instance);
    let begun = Instant::now();
    let peak = with_peak(&instance, || {
        for _ in 0..rounds {
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for _ in 0..CLIENTS {
                    clients.spawn(blow(instance.client().await, ids.clone()));
                }
                clients.join_all().await;
            });
        }
    });
    let took = begun.elapsed();
    await_asleep(&instance, CLIENTS);
    let after = Figures::of(&instance);
    let row = vec![mib(idle.heap), mib(peak - idle.heap), mib(after.heap - idle.heap), format!("{:.1}", took.as_secs_f64())];
    let title = format!("{CLIENTS} clients attach to {CLIENTS} terminals and go away half way, {rounds} rounds; heap in MiB");
    table(&title, &["idle", "most above it", "above it after", "seconds"], &[row]);
}

/// Makes a terminal, writes to it, ends it and removes it.
async fn one_life(client: &mut Client) {
    let id = create(client, &["cat"]).await;
    let term = TermRef::Id(id);
    let data = Data(Bytes::from_static(b"words\n"));
    let _: Empty = client.call(Op::Input { term: term.clone(), client: None, seq: 0, data }).await.unwrap();
    let _: Empty = client.call(Op::Kill { term: term.clone(), signal: Some(9) }).await.unwrap();
    while client.call::<Empty>(Op::Rm { term: term.clone() }).await.is_err() {
        tokio::task::yield_now().await;
    }
}

async fn lives(mut client: Client, rounds: usize) {
    for _ in 0..rounds {
        one_life(&mut client).await;
    }
}

/// Attaches, and is gone before it could read the answer, or after.
async fn broken_off(instance: &Instance, id: u32, reads: bool) {
    let mut client = instance.client().await;
    client.request(attachment(id)).await.unwrap();
    if reads {
        client.next().await.unwrap();
    }
}

fn churn() {
    let (lived, attached) = (setting("KAVAL_BENCH_TERMS_MADE", 8000), setting("KAVAL_BENCH_ATTACHMENTS", 100_000));
    let (instance, runtime) = (start(), runtime());
    make(&runtime, &instance, 4, &["sh", "-c", "echo words; exec sleep 1000000"]);
    // The first rounds fill what is kept of events, and every cache.
    spend_lives(&runtime, &instance, 1000);
    await_asleep(&instance, 4);
    let before = Figures::of(&instance);
    let begun = Instant::now();
    spend_lives(&runtime, &instance, lived);
    let lives_took = begun.elapsed();
    await_asleep(&instance, 4);
    let between = Figures::of(&instance);
    let ids = ids(&runtime, &instance);
    let begun = Instant::now();
    runtime.block_on(async {
        for n in 0..attached {
            broken_off(&instance, ids[n % ids.len()], n % 2 == 0).await;
        }
    });
    let attachments_took = begun.elapsed();
    await_asleep(&instance, 4);
    let after = Figures::of(&instance);
    let row = |name: &str, now: &Figures, took: Option<Duration>| {
        let took = took.map_or(String::new(), |took| format!("{:.1}", took.as_secs_f64()));
        vec![name.to_owned(), mib(now.own()), mib(now.log), mib(now.resident), now.series.to_string(), took]
    };
    let rows = [
        row("before", &before, None),
        row(&format!("{lived} terminals made, written to, ended, removed"), &between, Some(lives_took)),
        row(&format!("{attached} attachments broken off"), &after, Some(attachments_took)),
    ];
    table("churn; MiB", &["", "heap", "log's heap", "resident", "series", "seconds"], &rows);
}

fn spend_lives(runtime: &Runtime, instance: &Instance, rounds: usize) {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_A_TIME {
            tasks.spawn(lives(instance.client().await, rounds / AT_A_TIME));
        }
        tasks.join_all().await;
    });
}

/// Floods that come and go, trickles, terminals that are made and removed, clients that attach and break off.
fn mix() {
    let seconds: u64 = setting("KAVAL_BENCH_SECONDS", 600);
    let (instance, runtime) = (start(), runtime());
    let flood = "while :; do timeout 2 yes some words that are put out without end; sleep 3; done";
    for script in [flood, flood, "while :; do date; sleep 1; done", "while :; do date; sleep 7; done"] {
        make(&runtime, &instance, 2, &["sh", "-c", script]);
    }
    make(&runtime, &instance, 40, &["sh", "-c", &printing(2000)]);
    let ids = ids(&runtime, &instance);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut figures = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            runtime.block_on(async {
                let mut round = 0;
                let mut client = instance.client().await;
                while Instant::now() < until {
                    one_life(&mut client).await;
                    for n in 0..10 {
                        broken_off(&instance, ids[(round + n) % ids.len()], n % 2 == 0).await;
                    }
                    round += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        let begun = Instant::now();
        while Instant::now() < until {
            thread::sleep(Duration::from_secs(2));
            figures.push((begun.elapsed().as_secs_f64() / 60.0, Figures::of(&instance)));
        }
    });
    // The first part fills caches.
    let settled = &figures[figures.len() / 4..];
    let row = |name: &str, of: fn(&Figures) -> f64| {
        let points: Vec<(f64, f64)> = settled.iter().map(|(minutes, figures)| (*minutes, of(figures))).collect();
        let (slope, error) = slope(&points);
        vec![name.to_owned(), mib(points[0].1), mib(points.last().unwrap().1), format!("{} ± {}", kib(slope), kib(error))]
    };
    let rows =
        [row("heap", Figures::own), row("log's heap", |figures| figures.log), row("resident", |figures| figures.resident)];
    let title = format!("mixed load for {seconds} s; MiB, and slopes over the last three quarters in KiB a minute");
    table(&title, &["", "at a quarter", "at the end", "slope ± standard error"], &rows);
}

/// The slope of a line through points, by least squares, and its standard error.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    (slope, (rest / (n - 2.0) / spread).sqrt())
}

/// Microseconds until a screen is there.
async fn shown(client: &mut Client, id: u32) -> f64 {
    let begun = Instant::now();
    let _: ScreenOk = client.call(Op::Screen { term: TermRef::Id(id), format: ScreenFormat::Ansi, at: None }).await.unwrap();
    begun.elapsed().as_secs_f64() * 1e6
}

fn wake() {
    let rounds: usize = setting("KAVAL_BENCH_ROUNDS", 2000);
    let (instance, runtime) = (start(), runtime());
    make(&runtime, &instance, 20, &["sh", "-c", &printing(2000)]);
    await_asleep(&instance, 20);
    let ids = ids(&runtime, &instance);
    let (mut awake, mut asleep) = (Samples::default(), Samples::default());
    runtime.block_on(async {
        let mut client = instance.client().await;
        for n in 0..rounds {
            let id = ids[n % ids.len()];
            let _: HibernateOk = client.call(Op::Hibernate { term: Some(TermRef::Id(id)) }).await.unwrap();
            asleep.push(shown(&mut client, id).await);
            awake.push(shown(&mut client, id).await);
        }
    });
    let row = |name: &str, samples: &Samples| {
        let quantiles = [0.5, 0.99, 1.0].map(|q| format!("{:.0}", samples.quantile(q)));
        [vec![name.to_owned()], quantiles.to_vec()].concat()
    };
    let rows = [row("awake", &awake), row("asleep", &asleep)];
    table(&format!("until a screen is shown, {rounds} times, µs"), &["", "p50", "p99", "most"], &rows);
    scrapes();
}

fn scrapes() {
    let terms = setting("KAVAL_BENCH_SCRAPED", 2000);
    let mut rows = Vec::new();
    for choice in ["all", "top:50"] {
        let config = format!("{CONFIG}[metrics]\nper_term = \"{choice}\"\n");
        let (instance, runtime) = (Instance::start_with(&config, &scrape::ANYWHERE), runtime());
        make(&runtime, &instance, terms, &["sleep", "1000000"]);
        let mut times = Samples::default();
        let mut series = 0;
        for _ in 0..20 {
            let begun = Instant::now();
            series = Scrape::of(&instance).len();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        rows.push(vec![choice.to_owned(), series.to_string(), times.spread(1)]);
    }
    table(&format!("a scrape of {terms} terminals"), &["per_term", "series", "ms, median (least–greatest)"], &rows);
}
