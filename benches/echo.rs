//! How long a keystroke takes to come back from `cat`, through kaval's socket and on a bare PTY, in alternating batches: with nothing else
//! going on, and while four other terminals flood and a client of one of them does not read.
//!
//! `cargo bench --bench echo`. The floods are children of kaval's, stopped while there is to be nothing else; they take the processors
//! from the bare PTY as well, which shows how much of it is the machine's. `KAVAL_BENCH_KEYS` (5000) of each, in `KAVAL_BENCH_BATCHES` (20), one every
//! `KAVAL_BENCH_PAUSE_US` (1000): someone who types leaves pauses, in which everybody falls asleep.
#![allow(missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kaval::{
    client::{Client, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, LsOk, NewOk, Op, TermRef},
};
use rustix::process::{Pid, Signal, kill_process};
use support::{BarePty, Samples, instance::Instance, setting, table};

/// Says when it is ready, then says what it hears.
const CHILD: [&str; 3] = ["sh", "-c", "stty raw -echo; printf R; exec cat"];

/// Floods, and does nothing else.
const FLOOD: [&str; 3] = ["sh", "-c", "exec yes some words that are put out without end, and then again"];
const FLOODS: usize = 4;

fn main() {
    if support::is_test_run() {
        return;
    }
    let (keys, batches, pause) =
        (setting("KAVAL_BENCH_KEYS", 5000), setting("KAVAL_BENCH_BATCHES", 20), setting("KAVAL_BENCH_PAUSE_US", 1000));
    let pause = Duration::from_micros(pause);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let instance = Instance::start();
    let mut bare = BarePty::spawn(&CHILD);
    bare.master.read_exact(&mut [0]).unwrap();
    let mut session = runtime.block_on(attach(&instance));
    let load = runtime.block_on(Load::begin(&instance));
    // Of the bare PTY and of kaval, idle and under load.
    let mut samples: [[Samples; 2]; 2] = Default::default();
    for batch in 0..=batches {
        for loaded in [false, true] {
            load.signal(if loaded { Signal::CONT } else { Signal::STOP });
            std::thread::sleep(SETTLE);
            let bare_times: Vec<f64> = (0..keys / batches).map(|_| bare_key(&mut bare, pause)).collect();
            let kaval_times: Vec<f64> = (0..keys / batches).map(|_| runtime.block_on(kaval_key(&mut session, pause))).collect();
            // The first batch warms up and is not counted.
            if batch > 0 {
                samples[usize::from(loaded)][0].extend(bare_times);
                samples[usize::from(loaded)][1].extend(kaval_times);
            }
        }
    }
    let [[floor, kaval], [loaded_floor, loaded]] = samples;
    let row = |name: &str, samples: &Samples| {
        let quantiles = [0.5, 0.9, 0.99].map(|q| format!("{:.0}", samples.quantile(q)));
        [vec![name.to_owned()], quantiles.to_vec(), vec![format!("{:.0}–{:.0}", samples.quantile(0.0), samples.quantile(1.0))]]
            .concat()
    };
    let ratio = |name: &str, one: &Samples, other: &Samples| {
        let ratios = [0.5, 0.9, 0.99].map(|q| format!("{:.2}", one.quantile(q) / other.quantile(q)));
        [vec![name.to_owned()], ratios.to_vec(), vec![String::new()]].concat()
    };
    let rows = [
        row("floor: bare pty", &floor),
        row("kaval, attached", &kaval),
        ratio("  over the floor", &kaval, &floor),
        row("bare pty, others flood", &loaded_floor),
        row("kaval, others flood", &loaded),
        ratio("  over the floor", &loaded, &loaded_floor),
        ratio("  over kaval alone", &loaded, &kaval),
    ];
    let title =
        format!("a keystroke's way there and back, {keys} each in {batches} alternating batches, one every {pause:?}, µs");
    table(&title, &["", "p50", "p90", "p99", "least–greatest"], &rows);
}

/// How long after a change of the load its first effects are left out.
const SETTLE: Duration = Duration::from_millis(100);

/// Terminals that flood, one of them watched by a client that does not read.
struct Load {
    floods: Vec<Pid>,
    _stalled: Client,
}

impl Load {
    async fn begin(instance: &Instance) -> Self {
        let mut client = instance.client().await;
        let mut ids = Vec::new();
        for _ in 0..FLOODS {
            ids.push(create(&mut client, FLOOD).await);
        }
        let watch = Op::Attach { term: TermRef::Id(ids[0]), size: None, from: AttachFrom::Screen, mode: AttachMode::Ro };
        let mut stalled = instance.client().await;
        stalled.request(watch).await.unwrap();
        let listing: LsOk = client.call(Op::Ls { after: None }).await.unwrap();
        let floods = listing.terms.iter().filter(|term| ids.contains(&term.id));
        let floods = floods.map(|term| Pid::from_raw(term.pid.unwrap() as i32).unwrap()).collect();
        Self { floods, _stalled: stalled }
    }

    fn signal(&self, signal: Signal) {
        self.floods.iter().for_each(|flood| kill_process(*flood, signal).unwrap());
    }
}

async fn attach(instance: &Instance) -> Session {
    let mut client = instance.client().await;
    let id = create(&mut client, CHILD).await;
    let (socket, term) = (instance.socket(), TermRef::Id(id));
    let options = SessionOptions { socket, term, mode: AttachMode::Rw, size: None, from: AttachFrom::Offset(0) };
    let mut session = Session::attach(options).await.unwrap();
    while session.offset() != Some(1) {
        session.next().await.unwrap();
    }
    session
}

async fn create(client: &mut Client, command: [&str; 3]) -> u32 {
    let command = command.map(str::to_owned).to_vec();
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
    id
}

fn bare_key(pty: &mut BarePty, pause: Duration) -> f64 {
    std::thread::sleep(pause);
    let start = Instant::now();
    pty.master.write_all(b"k").unwrap();
    pty.master.read_exact(&mut [0]).unwrap();
    start.elapsed().as_secs_f64() * 1e6
}

async fn kaval_key(session: &mut Session, pause: Duration) -> f64 {
    std::thread::sleep(pause);
    let start = Instant::now();
    session.input(Bytes::from_static(b"k")).await;
    loop {
        if let Update::Output { data, .. } = session.next().await.unwrap() {
            assert_eq!(&data[..], b"k");
            return start.elapsed().as_secs_f64() * 1e6;
        }
    }
}
