//! How long a keystroke takes to come back from `cat`, through kaval's socket and on a bare PTY, in alternating batches.
//!
//! `cargo bench --bench echo`. `KAVAL_BENCH_KEYS` (5000) of each, in `KAVAL_BENCH_BATCHES` (20), one every
//! `KAVAL_BENCH_PAUSE_US` (1000): someone who types leaves pauses, in which everybody falls asleep.
#![allow(missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kaval::{
    client::{Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, NewOk, Op, TermRef},
};
use support::{BarePty, Samples, instance::Instance, setting, table};

/// Says when it is ready, then says what it hears.
const CHILD: [&str; 3] = ["sh", "-c", "stty raw -echo; printf R; exec cat"];

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
    let (mut floor, mut kaval) = (Samples::default(), Samples::default());
    for batch in 0..=batches {
        let bare_times: Vec<f64> = (0..keys / batches).map(|_| bare_key(&mut bare, pause)).collect();
        let kaval_times: Vec<f64> = (0..keys / batches).map(|_| runtime.block_on(kaval_key(&mut session, pause))).collect();
        // The first batch warms up and is not counted.
        if batch > 0 {
            floor.extend(bare_times);
            kaval.extend(kaval_times);
        }
    }
    let row = |name: &str, samples: &Samples| {
        let quantiles = [0.5, 0.9, 0.99].map(|q| format!("{:.0}", samples.quantile(q)));
        [vec![name.to_owned()], quantiles.to_vec(), vec![format!("{:.0}–{:.0}", samples.quantile(0.0), samples.quantile(1.0))]]
            .concat()
    };
    let ratios = [0.5, 0.9, 0.99].map(|q| format!("{:.2}", kaval.quantile(q) / floor.quantile(q)));
    let ratios = [vec!["ratio".to_owned()], ratios.to_vec(), vec![String::new()]].concat();
    let rows = [row("floor: bare pty", &floor), row("kaval, attached", &kaval), ratios];
    let title =
        format!("a keystroke's way there and back, {keys} each in {batches} alternating batches, one every {pause:?}, µs");
    table(&title, &["", "p50", "p90", "p99", "least–greatest"], &rows);
}

async fn attach(instance: &Instance) -> Session {
    let mut client = instance.client().await;
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
    let (socket, term) = (instance.socket(), TermRef::Id(id));
    let options = SessionOptions { socket, term, mode: AttachMode::Rw, size: None, from: AttachFrom::Offset(0) };
    let mut session = Session::attach(options).await.unwrap();
    while session.offset() != Some(1) {
        session.next().await.unwrap();
    }
    session
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
