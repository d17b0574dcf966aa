//! How fast a flood that nobody watches goes through: `cat FILE` on 80×24, next to a loop that reads a PTY to nowhere.
//!
//! `cargo bench --bench ingest`. A host's time runs from the go until the child has ended and its screen can be asked for and shows
//! the last of it. Variants alternate within each round; ratios are of the same round.
//!
//! `KAVAL_BENCH_MB` (100), `KAVAL_BENCH_ROUNDS` (5), `KAVAL_BENCH_ONLY` (`plain`, `coloured`), `KAVAL_BENCH_HOSTS` (`kaval,kaval-no-log,tmux,shpool`).
//! tmux is taken from `PATH`. shpool too, or from `KAVAL_BENCH_SHPOOL`; to have it:
//! `cargo install shpool --root target/tools`, then `KAVAL_BENCH_SHPOOL=target/tools/bin/shpool cargo bench --bench ingest`.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use kaval::{
    client::{Client, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, Empty, NewOk, Op, ScreenFormat, ScreenOk, TermRef},
};
use support::{BarePty, Flavour, Gate, Samples, instance::Instance, setting, table, until};
use tempfile::TempDir;

/// Something that runs a child on a PTY and keeps its screen.
trait Host {
    fn name(&self) -> &'static str;
    /// Seconds that the gate's child takes to print `bytes`, until its screen is up to date.
    fn flood(&mut self, gate: &Gate, bytes: u64) -> f64;
}

fn main() {
    if support::is_test_run() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("kaval-bench-").tempdir().unwrap();
    let rounds = setting("KAVAL_BENCH_ROUNDS", 5);
    let bytes = setting("KAVAL_BENCH_MB", 100) * 1_000_000;
    let only = setting("KAVAL_BENCH_ONLY", String::new());
    for flavour in Flavour::ALL.into_iter().filter(|flavour| only.is_empty() || flavour.name() == only) {
        let file = flavour.write(dir.path(), bytes);
        let mut hosts = hosts(dir.path());
        measure(flavour, &file, rounds, &mut hosts, dir.path());
        fs::remove_file(file).unwrap();
    }
}

fn hosts(dir: &Path) -> Vec<Box<dyn Host>> {
    let wanted = setting("KAVAL_BENCH_HOSTS", "kaval,kaval-no-log,tmux,shpool".to_owned());
    let mut hosts: Vec<Box<dyn Host>> = vec![Box::new(Floor)];
    for name in wanted.split(',') {
        let host: Option<Box<dyn Host>> = match name {
            "kaval" => Some(Box::new(Kaval { instance: Instance::start(), no_log: false })),
            "kaval-no-log" => Some(Box::new(Kaval { instance: Instance::start(), no_log: true })),
            "tmux" => Tmux::start().map(|host| Box::new(host) as _),
            "shpool" => Shpool::start(dir).map(|host| Box::new(host) as _),
            _ => None,
        };
        match host {
            Some(host) => hosts.push(host),
            None => println!("{name}: not installed, left out"),
        }
    }
    hosts
}

fn measure(flavour: Flavour, file: &Path, rounds: usize, hosts: &mut [Box<dyn Host>], dir: &Path) {
    let bytes = fs::metadata(file).unwrap().len();
    let mut speeds = vec![Samples::default(); hosts.len()];
    for round in 0..=rounds {
        for (host, speeds) in hosts.iter_mut().zip(&mut speeds) {
            let seconds = host.flood(&Gate::new(dir, file), bytes);
            // The first round warms caches and is not counted.
            if round > 0 {
                speeds.push(bytes as f64 / 1e6 / seconds);
            }
        }
    }
    let rows: Vec<Vec<String>> = hosts
        .iter()
        .zip(&speeds)
        .map(|(host, speed)| vec![host.name().to_owned(), speed.spread(1), speed.over(&speeds[0]).spread(2)])
        .collect();
    let title = format!("{} MB of {} output, {rounds} rounds: median (least–greatest)", bytes / 1_000_000, flavour.name());
    table(&title, &["host", "MB/s", "of the floor"], &rows);
}

/// Nobody: a loop that reads to nowhere.
struct Floor;

impl Host for Floor {
    fn name(&self) -> &'static str {
        "floor: read to nowhere"
    }

    fn flood(&mut self, gate: &Gate, bytes: u64) -> f64 {
        let mut pty = BarePty::spawn(&gate.command());
        gate.open();
        let start = Instant::now();
        assert!(pty.drain() >= bytes);
        start.elapsed().as_secs_f64()
    }
}

/// kaval with its defaults, detached, its screen on; or with the log on disk off.
struct Kaval {
    instance: Instance,
    no_log: bool,
}

impl Host for Kaval {
    fn name(&self) -> &'static str {
        if self.no_log { "kaval-no-log" } else { "kaval" }
    }

    fn flood(&mut self, gate: &Gate, bytes: u64) -> f64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = self.instance.client().await;
            let new = Op::New {
                name: None,
                command: gate.telling_command(),
                cwd: None,
                env: Vec::new(),
                size: None,
                token: 0,
                if_absent: false,
                no_log: self.no_log,
                restart: Default::default(),
            };
            let NewOk { id, .. } = client.call(new).await.unwrap();
            gate.open();
            let start = Instant::now();
            gate.await_done();
            await_end(&self.instance, id).await;
            let screen = Op::Screen { term: TermRef::Id(id), format: ScreenFormat::Text, at: None };
            let screen: ScreenOk = client.call(screen).await.unwrap();
            let seconds = start.elapsed().as_secs_f64();
            assert!(screen.offset >= bytes);
            remove(&mut client, id).await;
            seconds
        })
    }
}

/// Looks on from the screen as it is now, until the child's end is told.
async fn await_end(instance: &Instance, id: u32) {
    let options = SessionOptions {
        socket: instance.socket(),
        term: TermRef::Id(id),
        mode: AttachMode::Ro,
        size: None,
        from: AttachFrom::Screen,
    };
    let mut session = Session::attach(options).await.unwrap();
    while !matches!(session.next().await.unwrap(), Update::Exited(_)) {}
}

async fn remove(client: &mut Client, id: u32) {
    let _: Empty = client.call(Op::Rm { term: TermRef::Id(id) }).await.unwrap();
}

/// A tmux server of its own, detached.
struct Tmux {
    label: String,
}

impl Tmux {
    fn start() -> Option<Self> {
        let tmux = Self { label: format!("kaval-bench-{}", std::process::id()) };
        tmux.command(&["start-server"]).output().ok()?;
        assert!(
            tmux.command(&["new-session", "-d", "-x", "80", "-y", "24", "-s", "keep", "sleep 100000"])
                .status()
                .unwrap()
                .success()
        );
        Some(tmux)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").args(["-L", &self.label, "-f", "/dev/null"]).args(args);
        command
    }
}

impl Host for Tmux {
    fn name(&self) -> &'static str {
        "tmux, detached"
    }

    fn flood(&mut self, gate: &Gate, _: u64) -> f64 {
        let line = gate.telling_command().join(" ");
        assert!(self.command(&["new-session", "-d", "-x", "80", "-y", "24", "-s", "flood", &line]).status().unwrap().success());
        gate.open();
        let start = Instant::now();
        gate.await_done();
        // The server answers when it has read and drawn the last of it and seen the child's end.
        until("tmux", || !self.command(&["has-session", "-t", "flood"]).stderr(Stdio::null()).status().unwrap().success());
        start.elapsed().as_secs_f64()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).status();
    }
}

/// A shpool daemon of its own. A session is made by attaching, so a client attaches, and is detached before the flood.
struct Shpool {
    program: PathBuf,
    dir: TempDir,
    daemon: Child,
}

impl Shpool {
    fn start(dir: &Path) -> Option<Self> {
        let program = PathBuf::from(setting("KAVAL_BENCH_SHPOOL", "shpool".to_owned()));
        Command::new(&program).arg("version").output().ok()?;
        let program = fs::canonicalize(&program).unwrap_or(program);
        let dir = tempfile::Builder::new().prefix("shpool-").tempdir_in(dir).unwrap();
        fs::write(dir.path().join("config.toml"), "prompt_prefix = \"\"\nsession_restore_mode = \"screen\"\n").unwrap();
        let daemon = shpool(&program, dir.path(), &["daemon"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let shpool = Self { program, dir, daemon };
        until("shpool's socket", || shpool.dir.path().join("shpool.sock").exists());
        Some(shpool)
    }

    fn command(&self, args: &[&str]) -> Command {
        shpool(&self.program, self.dir.path(), args)
    }

    fn has_session(&self, state: &str) -> bool {
        let listing = self.command(&["list"]).output().unwrap();
        String::from_utf8_lossy(&listing.stdout).lines().any(|line| line.starts_with("flood") && line.contains(state))
    }
}

fn shpool(program: &Path, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--socket").arg(dir.join("shpool.sock")).arg("--config-file").arg(dir.join("config.toml")).args(args);
    command.stdin(Stdio::null());
    command
}

impl Host for Shpool {
    fn name(&self) -> &'static str {
        "shpool, detached"
    }

    fn flood(&mut self, gate: &Gate, _: u64) -> f64 {
        let line = gate.telling_command().join(" ");
        let attach = self.command(&["attach", "--cmd", &line, "flood"]);
        let words: Vec<_> = [attach.get_program()].into_iter().chain(attach.get_args()).map(ToOwned::to_owned).collect();
        let client = BarePty::spawn(&words);
        until("shpool's session", || self.has_session("attached"));
        assert!(self.command(&["detach", "flood"]).status().unwrap().success());
        until("shpool's detaching", || self.has_session("disconnected"));
        drop(client);
        gate.open();
        let start = Instant::now();
        gate.await_done();
        let seconds = start.elapsed().as_secs_f64();
        // A session whose child ended while nobody was attached stays until it is killed.
        let _ = self.command(&["kill", "flood"]).stderr(Stdio::null()).status();
        until("shpool's session's end", || !self.has_session(""));
        seconds
    }
}

impl Drop for Shpool {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
