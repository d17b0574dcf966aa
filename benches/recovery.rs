//! How long terminals go unread when the supervisor is killed: from SIGKILL until the next one is ready, until it lists every terminal as
//! `live`, and until each has answered a line typed into it; the longest pause in what a client attached to one more, which prints all the
//! time, is sent. What is held for them meanwhile: descriptors, and the bytes of their names in the environment. And how long a start takes
//! that finds as many records, with history, of terminals that are gone.
//!
//! `cargo bench --bench recovery`. `KAVAL_BENCH_TERMS` (`10,100,1000`; 3000 and more as far as `kernel.pty.max` goes), `KAVAL_BENCH_ROUNDS`
//! (5) kills of each.
#![allow(missing_docs)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kaval::{
    client::{Client, Incoming, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, Data, Empty, Event, NewOk, Op, TermInfo, TermRef},
};
use rustix::process::{Signal, kill_process};
use support::{Samples, instance::Instance, setting, table};

/// Answers every line with itself.
const CHILD: [&str; 3] = ["sh", "-c", "stty -echo; while read x; do echo $x; done"];
/// Prints some hundred times a second, and says nothing else.
const TICKER: [&str; 3] = ["sh", "-c", "while sleep 0.005; do echo tick; done"];
const CONFIG: &str = "[limits]\nterms_max = 10000\n";
const TICKER_NAME: &str = "ticker";
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
        "all live, ms",
        "every terminal answered, ms",
        "longest pause, ms",
        "peak RSS, MB",
        "held",
        "names, B",
        "start with all gone, ms",
    ];
    table(&title, &head, &rows);
}

fn measure(count: usize, rounds: usize) -> Vec<String> {
    let instance = Instance::start_with(CONFIG, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(create(&instance, count));
    let [mut ready, mut own, mut live, mut answered, mut pause, mut peak] = [(); 6].map(|()| Samples::default());
    let (arrived, arrivals) = mpsc::channel();
    let socket = instance.socket();
    let follower = thread::spawn(move || follow(socket, &arrived));
    for _ in 0..rounds {
        let lives = instance.log.count(" INFO ready ");
        let start = Instant::now();
        kill_process(instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
        instance.log.await_count(" INFO ready ", lives + 1);
        ready.push(start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(runtime.block_on(live_terms(&instance)).len(), count + 1);
        live.push(start.elapsed().as_secs_f64() * 1e3);
        runtime.block_on(ask_all(&instance, count));
        answered.push(start.elapsed().as_secs_f64() * 1e3);
        own.push(own_time(&instance));
        peak.push(peak_bytes(&instance) / 1e6);
        pause.push(longest_pause(&arrivals, start).as_secs_f64() * 1e3);
    }
    let (held, names) = held(&instance);
    let kill = Op::Kill { term: TermRef::Name(TICKER_NAME.to_owned()), signal: None };
    let _: Empty = runtime.block_on(async { instance.client().await.call(kill).await.unwrap() });
    follower.join().unwrap();
    let (mut gone, mut dir) = (Samples::default(), instance.end());
    for _ in 0..rounds {
        let instance = Instance::start_in(dir, CONFIG, &[], &[]);
        gone.push(own_time(&instance));
        dir = instance.end();
    }
    let times = [&ready, &own, &live, &answered, &pause].map(|samples| samples.spread(0));
    let rest = [peak.spread(1), held.to_string(), names.to_string(), gone.spread(0)];
    [count.to_string()].into_iter().chain(times).chain(rest).collect()
}

async fn create(instance: &Instance, count: usize) {
    let mut client = instance.client().await;
    for child in std::iter::repeat_n(CHILD, count).chain([TICKER]) {
        let command = child.map(str::to_owned).to_vec();
        let name = (child == TICKER).then(|| TICKER_NAME.parse().unwrap());
        let new = Op::New {
            name,
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

async fn live_terms(instance: &Instance) -> Vec<TermInfo> {
    let terms = instance.client().await.list().await.unwrap();
    assert!(terms.iter().all(|term| term.state == "live"));
    terms
}

/// Follows the terminal that prints until it ends, as `kaval attach` does: when output arrived, and how long after that before it.
fn follow(socket: PathBuf, arrived: &mpsc::Sender<(Instant, Duration)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (term, from) = (TermRef::Name(TICKER_NAME.to_owned()), AttachFrom::Screen);
        let options = SessionOptions { socket, term, mode: AttachMode::Ro, size: None, from };
        let mut session = Session::attach(options).await.unwrap();
        let mut last = Instant::now();
        loop {
            match session.next().await.unwrap() {
                Update::Output { .. } => {
                    let now = Instant::now();
                    arrived.send((now, now - last)).unwrap();
                    last = now;
                }
                Update::Exited(_) => return,
                _ => {}
            }
        }
    });
}

/// The longest pause that ended after `start`, once what is printed now has arrived.
fn longest_pause(arrivals: &mpsc::Receiver<(Instant, Duration)>, start: Instant) -> Duration {
    let (now, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        let (at, pause) = arrivals.recv().unwrap();
        if at > start {
            longest = longest.max(pause);
        }
        if at > now {
            return longest;
        }
    }
}

/// The descriptors that the supervisor was given back, and the length of their names.
fn held(instance: &Instance) -> (usize, usize) {
    let pid = instance.supervisor_pid().unwrap().as_raw_nonzero();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let names = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"LISTEN_FDNAMES=")).unwrap();
    (names.split(|byte| *byte == b':').count(), names.len())
}

/// Types a line into every terminal and waits until each has printed.
async fn ask_all(instance: &Instance, count: usize) {
    let terms = live_terms(instance).await.into_iter().filter(|term| term.name != TICKER_NAME);
    let offsets: Vec<(u32, u64)> = terms.map(|term| (term.id, term.offset)).collect();
    assert_eq!(offsets.len(), count);
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
    let line = instance.log.lines().into_iter().rfind(|line| line.contains(" INFO ready ")).unwrap();
    line.split("took_ms=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().parse().unwrap()
}

fn peak_bytes(instance: &Instance) -> f64 {
    let pid = instance.supervisor_pid().unwrap().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
