//! What an idle 80×24 terminal costs the supervisor, next to a bare vt100 screen of that size.
//!
//! `cargo bench --bench memory`. A real supervisor holds 0, 100 and 500 terminals, each with a full screen drawn and then silent; its
//! anonymous resident memory is the kernel's figure, its allocated bytes are jemalloc's own, which it prints as it goes.
//! The screens it is compared with are drawn in this process, under the same allocator. `KAVAL_BENCH_ROUNDS` (3).
#![allow(missing_docs)]

mod support;

use std::{fs, thread, time::Duration};

use kaval::wire::{Empty, LsOk, NewOk, Op, ScreenFormat, ScreenOk, TermRef};
use support::{Samples, instance::Instance, setting, table};
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const COUNTS: [usize; 3] = [0, 100, 500];
/// Bytes of allocation after which jemalloc prints its figures.
const STATS_INTERVAL: u64 = 256 * 1024;
/// Fills the screen, and is silent.
const CHILD: [&str; 3] = [
    "sh",
    "-c",
    "stty -echo; for i in $(seq 40); do echo \"line $i of a screen that is full of words and more\"; done; printf R; exec cat",
];

fn main() {
    if support::is_test_run() {
        return;
    }
    let rounds = setting("KAVAL_BENCH_ROUNDS", 3);
    let conf = format!("stats_interval:{STATS_INTERVAL},stats_interval_opts:mdablxeh");
    let mut rows = Vec::new();
    let (mut resident, mut allocated, mut bare) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..rounds {
        bare.push(bare_screens(500));
        let figures = supervisor(&conf);
        resident.push((figures[2].0 - figures[1].0) / (COUNTS[2] - COUNTS[1]) as f64);
        allocated.push((figures[2].1 - figures[1].1) / (COUNTS[2] - COUNTS[1]) as f64);
        for (n, (rss, heap)) in COUNTS.iter().zip(figures) {
            println!("{n:>4} terminals: RssAnon {:>9.0} KB, allocated {:>9.0} KB", rss / 1e3, heap / 1e3);
        }
    }
    let mut row = |name: &str, samples: &Samples| {
        let kilobytes = |samples: &Samples| {
            let mut scaled = Samples::default();
            scaled.push(samples.median() / 1e3);
            scaled
        };
        rows.push(vec![
            name.to_owned(),
            format!("{:.1}", kilobytes(samples).median()),
            format!("{:.1}–{:.1}", samples.quantile(0.0) / 1e3, samples.quantile(1.0) / 1e3),
            format!("{:.2}", samples.median() / bare.median()),
        ]);
    };
    row("bare vt100 screen, allocated", &bare);
    row("terminal, allocated", &allocated);
    row("terminal, RssAnon", &resident);
    table(&format!("one idle 80×24 terminal, KB, {rounds} rounds"), &["", "median", "least–greatest", "ratio"], &rows);
}

/// Bytes that one of `n` full screens takes.
fn bare_screens(n: usize) -> f64 {
    let before = allocated_here();
    let screens: Vec<vt100::Parser> = (0..n)
        .map(|_| {
            let mut parser = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
            for line in 0..40 {
                parser.process(format!("line {line} of a screen that is full of words and more\r\n").as_bytes());
            }
            parser
        })
        .collect();
    let after = allocated_here();
    drop(screens);
    (after - before) / n as f64
}

fn allocated_here() -> f64 {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap() as f64
}

/// (RssAnon, allocated bytes) of a supervisor with each of [`COUNTS`] terminals.
fn supervisor(conf: &str) -> Vec<(f64, f64)> {
    let instance = Instance::start_with_env("", &[], &[("_RJEM_MALLOC_CONF", conf)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut made = Vec::new();
    COUNTS.iter().map(|&count| runtime.block_on(figures(&instance, &mut made, count))).collect()
}

async fn figures(instance: &Instance, made: &mut Vec<u32>, count: usize) -> (f64, f64) {
    let mut client = instance.client().await;
    while made.len() < count {
        let command = CHILD.map(str::to_owned).to_vec();
        let new = Op::New {
            name: None,
            command,
            cwd: None,
            env: Vec::new(),
            size: None,
            token: 0,
            if_absent: false,
            no_log: false,
            restart: Default::default(),
        };
        let NewOk { id, .. } = client.call(new).await.unwrap();
        made.push(id);
    }
    for id in &*made {
        loop {
            let screen = Op::Screen { term: TermRef::Id(*id), format: ScreenFormat::Text };
            let screen: ScreenOk = client.call(screen).await.unwrap();
            if screen.text.unwrap_or_default().ends_with("R\n") {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    // A few requests' worth of allocation makes jemalloc print where it stands; what is freed again is not in its figure.
    let seen = instance.log.count("Allocated: ");
    while instance.log.count("Allocated: ") < seen + 2 {
        let _: LsOk = client.call(Op::Ls { after: None }).await.unwrap();
        let _: Result<Empty, _> = client.call(Op::Detach { stream: Some(u64::MAX), term: None, client: None }).await;
    }
    let pid = instance.supervisor_pid().unwrap().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let resident: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    let line = instance.log.lines().into_iter().rfind(|line| line.contains("Allocated: ")).unwrap();
    let figure = line.split("Allocated: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().trim();
    (resident * 1024.0, figure.parse().unwrap())
}
