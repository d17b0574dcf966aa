//! How long terminals go unread when the supervisor is killed: from SIGKILL until the next one is ready, and until each terminal
//! has answered a line typed into it. And how long a start takes that finds as many records, with history, of terminals that are gone.
//!
//! `cargo bench --bench recovery`. `KAVAL_BENCH_TERMS` (`10,100,1000`), `KAVAL_BENCH_ROUNDS` (5) kills of each.
#![allow(missing_docs)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Instant,
};

use bytes::Bytes;
use kaval::{
    client::{Client, Incoming},
    wire::{AttachFrom, AttachMode, Data, Event, NewOk, Op, TermRef},
};
use rustix::process::{Signal, kill_process};
use support::{Samples, instance::Instance, setting, table};

/// Answers every line with itself.
const CHILD: [&str; 3] = ["sh", "-c", "stty -echo; while read x; do echo $x; done"];
/// Terminals that are asked at a time: no socket's buffer fills while nobody reads it.
const AT_A_TIME: usize = 32;

fn main() {
    if support::is_test_run() {
        return;
    }
    let rounds = setting("KAVAL_BENCH_ROUNDS", 5);
    let counts = setting("KAVAL_BENCH_TERMS", "10,100,1000".to_owned());
    let rows: Vec<Vec<String>> = counts.split(',').map(|count| measure(count.parse().unwrap(), rounds)).collect();
    let title = format!("from SIGKILL of the supervisor, {rounds} kills: median (least–greatest)");
    let head = [
        "terminals",
        "ready, ms",
        "the new one's own, ms",
        "every terminal answered, ms",
        "peak RSS, MB",
        "start with all gone, ms",
    ];
    table(&title, &head, &rows);
}

fn measure(count: usize, rounds: usize) -> Vec<String> {
    let instance = Instance::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(create(&instance, count));
    let [mut ready, mut own, mut answered, mut peak] = [const { Vec::new() }; 4].map(|_: Vec<f64>| Samples::default());
    for _ in 0..rounds {
        let lives = instance.log.count(" ready ");
        let start = Instant::now();
        kill_process(instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
        instance.log.await_count(" ready ", lives + 1);
        ready.push(start.elapsed().as_secs_f64() * 1e3);
        runtime.block_on(ask_all(&instance, count));
        answered.push(start.elapsed().as_secs_f64() * 1e3);
        own.push(own_time(&instance));
        peak.push(peak_bytes(&instance) / 1e6);
    }
    let (mut gone, mut dir) = (Samples::default(), instance.end());
    for _ in 0..rounds {
        let instance = Instance::start_in(dir, "", &[], &[]);
        gone.push(own_time(&instance));
        dir = instance.end();
    }
    vec![count.to_string(), ready.spread(0), own.spread(0), answered.spread(0), peak.spread(1), gone.spread(0)]
}

async fn create(instance: &Instance, count: usize) {
    let mut client = instance.client().await;
    for _ in 0..count {
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
        let _: NewOk = client.call(new).await.unwrap();
    }
    ask_all(instance, count).await;
}

/// Types a line into every terminal and waits until each has printed.
async fn ask_all(instance: &Instance, count: usize) {
    let mut client = instance.client().await;
    let terms = client.list().await.unwrap();
    assert_eq!(terms.len(), count);
    let offsets: Vec<(u32, u64)> = terms.into_iter().map(|term| (term.id, term.offset)).collect();
    for some in offsets.chunks(AT_A_TIME) {
        ask(&mut instance.client().await, some).await;
    }
}

async fn ask(client: &mut Client, terms: &[(u32, u64)]) {
    let mut streams = HashMap::new();
    for &(id, offset) in terms {
        let (term, from) = (TermRef::Id(id), AttachFrom::Offset(offset));
        let attach = Op::Attach { term: term.clone(), size: None, from, mode: AttachMode::Rw };
        streams.insert(client.request(attach).await.unwrap(), id);
        client.request(Op::Input { term, client: None, seq: 0, data: Data(Bytes::from_static(b"x\n")) }).await.unwrap();
    }
    let mut silent: HashSet<u64> = streams.keys().copied().collect();
    while !silent.is_empty() {
        match client.next().await.unwrap() {
            Incoming::Event(Event::Output { req, .. }) => {
                silent.remove(&req);
            }
            Incoming::Err { error, .. } => panic!("{error}"),
            Incoming::Ok { .. } | Incoming::Event(_) => {}
        }
    }
}

/// What the supervisor that came up says of its own start, milliseconds.
fn own_time(instance: &Instance) -> f64 {
    let line = instance.log.lines().into_iter().rfind(|line| line.contains(" ready ")).unwrap();
    line.split("took_ms=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().parse().unwrap()
}

fn peak_bytes(instance: &Instance) -> f64 {
    let pid = instance.supervisor_pid().unwrap().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
