//! Two supervisors that a Prometheus watches while all happens to them that can: terminals come into every state, floods, respawns,
//! a client that does not read, threads that stand still, kills, a disk that goes back in time, and a store that is taken away.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    feeding::change_state,
    prometheus::Prometheus,
    raw::Raw,
    support::Instance,
    watch::{until, until_some},
};

pub const SCRAPING: &str = include_str!("../../config/prometheus/prometheus.yml");

pub fn shipped_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus").join(name)
}

/// One that waits to be started again waits, and nothing hibernates by itself.
const CALM: &str = "[limits]\nrestart_delay_max = \"1h\"\n[memory]\nhibernate_after = \"off\"\n";
/// So much that the first is far from it.
pub const LIMIT_BYTES: u64 = 400 << 20;
pub const FLOOD_LINES: u64 = 2_000_000;
/// What a program holds in one terminal; in another one burns processor time.
pub const HOG_BYTES: u64 = 64 << 20;
pub const WIDE: usize = 20;
pub const STUTTERS: usize = 5;
pub const DEATHS: u32 = 3;
const RESPAWNS: u32 = 2;

/// A port that nobody is given by chance: a supervisor that is started again has to get it again.
fn port() -> u16 {
    let free = || {
        let port = rand::random_range(20_000..30_000);
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    };
    until_some("a free port", free)
}

/// Prometheus as shipped, but quick, and with these targets.
fn watching(targets: &[(&str, u16)]) -> Option<Prometheus> {
    let target =
        |(name, port): &(&str, u16)| format!("      - targets: [\"127.0.0.1:{port}\"]\n        labels: {{instance: {name}}}\n");
    let targets: String = targets.iter().map(target).collect();
    let config = SCRAPING.replace("      - targets: [\"127.0.0.1:9776\"]\n", &targets).replace("15s", "250ms");
    assert!(config.contains(&targets) && config.matches("250ms").count() == 2, "{config}");
    Prometheus::start_with(&config, &[&shipped_file("kaval.rules.yml")])
}

fn shell(instance: &Instance, name: &str, options: &[&str], script: &str) {
    instance.ok(&[&["new", "-d", name], options, &["--", "sh", "-c", script]].concat());
}

fn term(instance: &Instance, name: &str) -> Value {
    instance.ls().into_iter().find(|term| term["name"] == name).unwrap()
}

pub fn status(instance: &Instance) -> Value {
    serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap()
}

/// What `seq 1 LINES` puts out on a terminal.
pub fn seq_bytes(lines: u64) -> u64 {
    (1..=lines).map(|n| u64::from(n.ilog10()) + 1 + 2).sum()
}

const FLOODER: &str = "stty -echo; printf ready; read lines; seq 1 $lines; exec cat";

fn flood(instance: &Instance, name: &str, lines: u64) {
    let begun = term(instance, name)["offset"].as_u64().unwrap();
    instance.ok(&["send", name, "--enter", &lines.to_string()]);
    let end = begun + seq_bytes(lines);
    until("the flood is over", || term(instance, name)["offset"] == end);
    until("all of it is logged", || status(instance)["log"]["logged_bytes"].as_u64() >= Some(seq_bytes(lines)));
}

/// A client that reads nothing until all has been put out; how often it was told that it lagged.
fn lag_behind(instance: &Instance, name: &str, lines: u64) -> usize {
    let mut client = Raw::hello(&instance.socket());
    assert!(client.ask(&json!({"req": 1, "op": "attach", "term": name, "mode": "ro"})).ok.is_some());
    flood(instance, name, lines);
    let end = term(instance, name)["offset"].as_u64().unwrap();
    let (mut lags, mut at) = (0, 0);
    while at < end {
        let frame = client.receive().expect("a frame");
        lags += usize::from(frame.ev.as_deref() == Some("lagged"));
        let length = if frame.ev.as_deref() == Some("output") { frame.data.map_or(0, |data| data.len() as u64) } else { 0 };
        at = frame.offset.map_or(at, |offset| offset + length);
    }
    lags
}

/// Terminals of the first that each supervisor takes over.
const LIVING: usize = 5;

/// Has every thread of a supervisor come late, a few times: it stands still until Prometheus has seen that.
fn stutter(instance: &Instance, name: &str, prometheus: &Prometheus) {
    let supervisor = instance.supervisor_pid().unwrap();
    let up = format!("up{{instance=\"{name}\"}}");
    for _ in 0..STUTTERS {
        kill_process(supervisor, Signal::STOP).unwrap();
        prometheus.await_answer(&up, &[0.0]);
        kill_process(supervisor, Signal::CONT).unwrap();
        prometheus.await_answer(&up, &[1.0]);
    }
}

/// What the log of the second has lost: the disk goes back to what a backup has of it, and the journal is too small for the rest.
fn forget(second: &Instance, prometheus: &Prometheus) -> u64 {
    let (store, backup) = (second.path("state/kaval/store"), second.path("backup"));
    let copy = |from: &Path, to: &Path| assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    change_state(second, |_| copy(&store, &backup));
    prometheus.await_answer("kaval_supervisor_restarts_total{instance=\"second\", cause=\"signal\"}", &[1.0]);
    prometheus.await_answer("sum(kaval_log_gap_bytes_total{instance=\"second\"})", &[0.0]);
    flood(second, "flood", FLOOD_LINES);
    prometheus.await_answer("kaval_output_bytes_total{instance=\"second\"}", &[seq_bytes(FLOOD_LINES) as f64]);
    change_state(second, |_| {
        fs::remove_dir_all(&store).unwrap();
        copy(&backup, &store);
    });
    let kept = second.run(&["history", "flood", "--format", "raw"]).stdout.len() as u64;
    let missing = term(second, "flood")["offset"].as_u64().unwrap() - kept;
    assert!(missing > 1 << 20, "{missing} bytes are missing");
    prometheus.await_answer("sum(kaval_log_gap_bytes_total{instance=\"second\"})", &[missing as f64]);
    missing
}

/// Takes the second's store away from under it.
fn fault(second: &Instance, prometheus: &Prometheus) {
    fs::remove_dir_all(second.path("state/kaval/store")).unwrap();
    second.ok(&["send", "flood", "--enter", "noticed"]);
    prometheus.await_answer("kaval_log_faults_total{instance=\"second\", kind=\"store\"}", &[1.0]);
}

/// Two supervisors after all that was done to them, and what that was.
pub struct World {
    pub first: Instance,
    pub second: Instance,
    pub prometheus: Prometheus,
    pub lags: usize,
    pub missing: u64,
    /// Attached for as long as this is.
    _client: Raw,
}

impl World {
    pub fn bring_about() -> Option<Self> {
        let ports = [port(), port()];
        let metrics = ports.map(|port| format!("127.0.0.1:{port}"));
        let limited = format!("{CALM}limit = \"{LIMIT_BYTES}\"\n");
        let before = Instance::start_with(&limited, &["--metrics", &metrics[0]]);
        shell(&before, "lost", &[], "exec sleep 100000");
        let first = Instance::start_in(before.end(), &limited, &["--metrics", &metrics[0]], &[]);
        let nameless = format!(
            "{CALM}limit = \"off\"\n[journal]\nbytes_max = \"8MiB\"\n[log]\nsync = \"50ms\"\n[metrics]\nterm_info = false\n"
        );
        let second = Instance::start_with(&nameless, &["--metrics", &metrics[1]]);
        let prometheus = watching(&[("first", ports[0]), ("second", ports[1]), ("gone", port())])?;
        prometheus.await_answer("sum(up)", &[2.0]);
        prometheus.await_answer("count(kaval_terms_spawned_total)", &[2.0]);
        let lags = live_a_little(&first, &prometheus);
        stutter(&first, "first", &prometheus);
        let put_out = "sum by (instance) (kaval_term_output_bytes_total)";
        prometheus
            .await_answer(&format!("kaval_logged_bytes_total{{instance=\"first\"}} == bool on (instance) {put_out}"), &[1.0]);
        for deaths in 1..=DEATHS {
            first.kill_supervisor();
            prometheus
                .await_answer("kaval_supervisor_restarts_total{instance=\"first\", cause=\"signal\"}", &[f64::from(deaths)]);
            prometheus.await_answer("kaval_terms_adopted_total{instance=\"first\"}", &[LIVING as f64]);
        }
        // One that is told to go is no death.
        first.ok(&["upgrade"]);
        prometheus.await_answer("kaval_supervisor_restarts_total{instance=\"first\", cause=\"clean\"}", &[2.0]);
        shell(&second, "flood", &[], FLOODER);
        second.ok(&["wait", "flood", "--match", "ready"]);
        prometheus.await_answer("kaval_terms_spawned_total{instance=\"second\"}", &[1.0]);
        let missing = forget(&second, &prometheus);
        fault(&second, &prometheus);
        second.ok(&["wait", "flood", "--match", "noticed"]);
        let _client = rest(&first);
        // What a program uses is there to be seen once it was looked at twice.
        let burnt = "(increase(kaval_term_child_cpu_seconds_total{instance=\"first\"}[10m]) * on (instance, id) group_left () \
                     kaval_term_info{name=\"widest\"}) > bool 0.5";
        prometheus.await_answer(burnt, &[1.0]);
        Some(Self { first, second, prometheus, lags, missing, _client })
    }
}

/// The first's terminals come, put something out and end; how often a client that does not read lagged.
fn live_a_little(first: &Instance, prometheus: &Prometheus) -> usize {
    shell(first, "coded", &[], "printf 1234567; exit 3");
    shell(first, "signalled", &[], "kill -9 $$");
    shell(first, "flood", &[], FLOODER);
    shell(first, "parked", &[], "printf 12345; exec cat");
    shell(first, "reader", &[], "stty -echo; printf ready; exec cat >/dev/null");
    shell(first, "other", &[], &format!("exec python3 -c 'b = bytearray({HOG_BYTES}); input()'"));
    shell(first, "again", &["--restart", "always"], "read code; exit $code");
    for name in ["coded", "signalled"] {
        first.ok(&["wait", name, "--exit"]);
    }
    for name in ["flood", "reader"] {
        first.ok(&["wait", name, "--match", "ready"]);
    }
    prometheus.await_answer("kaval_terms_spawned_total{instance=\"first\"}", &[7.0]);
    first.ok(&["send", "reader", "12345678"]);
    let lags = lag_behind(first, "flood", FLOOD_LINES);
    assert!(lags > 0);
    for life in 1..=RESPAWNS {
        first.ok(&["send", "again", "--enter", "3"]);
        until("it is started again", || term(first, "again")["respawns"] == life);
    }
    lags
}

/// What the last supervisor of the first sees: screens drawn, dropped and drawn again, history read, and a client that stays.
fn rest(first: &Instance) -> Raw {
    shell(first, "widest", &["--size", "300x120"], "printf wide; while :; do :; done");
    first.ok(&["wait", "widest", "--match", "wide"]);
    for n in 0..WIDE {
        shell(first, &format!("wide-{n}"), &["--size", "300x100"], "printf wide; exec sleep 100000");
        first.ok(&["wait", &format!("wide-{n}"), "--match", "wide"]);
    }
    first.ok(&["admin", "hibernate", "parked"]);
    first.ok(&["send", "parked", "--enter", "woken"]);
    first.ok(&["wait", "parked", "--match", "woken"]);
    until("it has woken", || term(first, "parked")["state"] == "live");
    until("it sleeps again", || {
        first.ok(&["admin", "hibernate", "parked"]);
        term(first, "parked")["state"] == "hibernated"
    });
    first.ok(&["history", "coded"]);
    let mut client = Raw::hello(&first.socket());
    assert!(client.ask(&json!({"req": 1, "op": "attach", "term": "other", "mode": "ro"})).ok.is_some());
    client
}

pub const FAULT_KINDS: [&str; 5] = ["disk_full", "limit", "store", "journal", "stall"];

/// What only one of the two supervisors has seen, beside what both have.
pub struct Lived {
    pub states: [(&'static str, f64); 4],
    pub created: f64,
    pub respawned: f64,
    pub ended: [(&'static str, f64); 3],
    pub hibernated: f64,
    pub woken: f64,
    pub typed: f64,
    pub clients: f64,
    pub lags: f64,
    pub adopted: f64,
    /// Deaths, each by a signal.
    pub deaths: f64,
    /// Restarts that were asked for, while Prometheus watched.
    pub upgrades: f64,
    pub restarts: &'static [(&'static str, f64)],
    pub faults: &'static [&'static str],
    pub missing: f64,
}

impl World {
    /// What happened to one of them.
    pub fn lived(&self, name: &str) -> Lived {
        match name {
            "first" => Lived {
                states: [("live", (LIVING + WIDE) as f64), ("hibernated", 1.0), ("exited", 2.0), ("lost", 1.0)],
                created: (7 + 1 + WIDE) as f64,
                respawned: f64::from(RESPAWNS),
                ended: [("code", f64::from(1 + RESPAWNS)), ("signal", 1.0), ("unknown", 0.0)],
                hibernated: 2.0,
                woken: 1.0,
                typed: (FLOOD_LINES.to_string().len()
                    + 1
                    + "12345678".len()
                    + "3\n".len() * RESPAWNS as usize
                    + "woken\n".len()) as f64,
                clients: 1.0,
                lags: self.lags as f64,
                adopted: LIVING as f64,
                deaths: f64::from(DEATHS),
                restarts: &[("clean", 2.0), ("signal", DEATHS as f64)],
                upgrades: 1.0,
                faults: &[],
                missing: 0.0,
            },
            _ => Lived {
                states: [("live", 1.0), ("hibernated", 0.0), ("exited", 0.0), ("lost", 0.0)],
                created: 1.0,
                respawned: 0.0,
                ended: [("code", 0.0), ("signal", 0.0), ("unknown", 0.0)],
                hibernated: 0.0,
                woken: 0.0,
                typed: (FLOOD_LINES.to_string().len() + 1 + "noticed\n".len()) as f64,
                clients: 0.0,
                lags: 0.0,
                adopted: 1.0,
                deaths: 1.0,
                restarts: &[("signal", 1.0)],
                upgrades: 0.0,
                faults: &["stall", "store"],
                missing: self.missing as f64,
            },
        }
    }
}
