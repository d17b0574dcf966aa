//! A real kaval in a directory of its own: keeper, supervisor, socket and state, ended and removed when dropped.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use kaval::client::{Client, ClientError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for anything in a test: only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const KAVAL: &str = env!("CARGO_BIN_EXE_kaval");

/// Whether the long variants are asked for.
pub fn soak() -> bool {
    std::env::var_os("KAVAL_SOAK").is_some()
}

/// A test program of `tests/support`, built as an example.
pub fn example(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{path:?} is missing: cargo test builds it, or cargo build --example {name}");
    path
}

/// Waits, without a pause, for what raises no event that a test could wait for.
pub fn spin_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "waited for {what}");
        thread::yield_now();
    }
}

/// What a daemon has written to stderr so far.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    pub fn follow(self, stderr: impl std::io::Read + Send + 'static) {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                self.0.1.notify_all();
            }
        });
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self, needle: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(needle)).count()
    }

    /// Waits until `n` lines contain `needle`.
    pub fn await_count(&self, needle: &str, n: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.iter().filter(|line| line.contains(needle)).count() < n {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {n} lines with {needle:?} in:\n{}", lines.join("\n"));
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

pub struct Instance {
    dir: Option<TempDir>,
    pub log: Log,
    daemon: Child,
}

impl Instance {
    /// A supervisor under its keeper, ready.
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// The same with a configuration and further arguments of `kaval serve`.
    pub fn start_with(config: &str, args: &[&str]) -> Self {
        Self::start_with_env(config, args, &[])
    }

    /// The same with variables in the supervisor's environment.
    pub fn start_with_env(config: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_in(Self::fresh_dir(), config, args, env)
    }

    /// The same in a directory that another instance may have left.
    pub fn start_in(dir: TempDir, config: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let instance = Self::launch(dir, config, args, env);
        instance.log.await_count(" INFO ready ", 1);
        instance
    }

    /// A directory for an instance.
    pub fn fresh_dir() -> TempDir {
        tempfile::Builder::new().prefix("kaval-test-").tempdir().unwrap()
    }

    /// One that may not be ready yet.
    pub fn launch(dir: TempDir, config: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        fs::create_dir_all(dir.path().join("config/kaval")).unwrap();
        fs::create_dir_all(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("config/kaval/kaval.toml"), config).unwrap();
        let mut command = daemon_in(dir.path(), &[KAVAL.into()]);
        command.envs(env.iter().copied());
        // Many instances run at once; one that is to serve metrics says where.
        let chosen = args.contains(&"--metrics") || config.contains("[metrics]");
        let metrics: &[&str] = if chosen { &[] } else { &["--metrics", "off"] };
        let mut daemon = command.args(metrics).args(args).spawn().unwrap();
        let log = Log::default();
        log.clone().follow(daemon.stderr.take().unwrap());
        Self { dir: Some(dir), log, daemon }
    }

    /// One that goes on from what another version left: see `giver.rs`. `left` has its files, and the state directory is in place.
    pub fn start_upon(dir: TempDir, left: &Path) -> Self {
        let given = [example("kept"), "run".into(), example("giver"), left.to_owned(), KAVAL.into()];
        let mut command = daemon_in(dir.path(), &given);
        let mut daemon = command.args(["--metrics", "off"]).spawn().unwrap();
        let log = Log::default();
        log.clone().follow(daemon.stderr.take().unwrap());
        log.await_count(" INFO ready ", 1);
        Self { dir: Some(dir), log, daemon }
    }

    /// Ends keeper and supervisor, and with them every terminal; what is left is what is on disk.
    pub fn end(mut self) -> TempDir {
        kill_process(self.keeper_pid(), Signal::TERM).unwrap();
        self.daemon.wait().unwrap();
        self.dir.take().unwrap()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Starts it again after its end, in the same directory.
    pub fn start_again(&mut self) {
        let ready = self.log.count(" INFO ready ");
        self.daemon = daemon_in(self.dir(), &[KAVAL.into()]).spawn().unwrap();
        self.log.clone().follow(self.daemon.stderr.take().unwrap());
        self.log.await_count(" INFO ready ", ready + 1);
    }

    /// Waits for its end; the exit code, if there is one.
    pub fn await_end(&mut self) -> Option<i32> {
        self.daemon.wait().unwrap().code()
    }

    /// Has it end, terminals included; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        kill_process(self.keeper_pid(), Signal::TERM).unwrap();
        self.await_end()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/kaval/kaval.sock")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("state/kaval")
    }

    pub fn keeper_pid(&self) -> Pid {
        Pid::from_child(&self.daemon)
    }

    /// The supervisor's process id, as it wrote it down; it may have died since.
    pub fn supervisor_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.state_dir().join("lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Kills the supervisor and waits until the next one is ready.
    pub fn kill_supervisor(&self) {
        let ready = self.log.count(" INFO ready ");
        kill_process(self.supervisor_pid().unwrap(), Signal::KILL).unwrap();
        self.log.await_count(" INFO ready ", ready + 1);
    }

    /// `kaval …` with this instance's environment.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = command_in(self.dir());
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; its stdout.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "kaval {args:?}: {output:?}\nlog:\n{}", self.log.lines().join("\n"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must fail with that exit code and one line on stderr; the line.
    pub fn fails<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S], code: i32) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "kaval {args:?}: {output:?}");
        assert_eq!(stderr.lines().count(), 1, "kaval {args:?} said: {stderr}");
        stderr
    }

    /// The listing, as JSON.
    pub fn ls(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.ok(&["ls", "--json"])).unwrap()
    }

    pub async fn client(&self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(&self.socket()).await {
                Ok(client) => return client,
                Err(error @ ClientError::Refused(_)) => panic!("{error}"),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.dir.is_none() {
            return;
        }
        let _ = kill_process(self.keeper_pid(), Signal::TERM);
        let _ = self.daemon.wait();
        if thread::panicking() {
            let lines = self.log.lines();
            eprintln!("the supervisor's log ended:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Places without a supervisor, for those that start one by themselves; ended with the test.
pub struct Background(TempDir);

impl Background {
    pub fn new() -> Self {
        let dir = Instance::fresh_dir();
        for place in ["run", "config/kaval"] {
            fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        Self(dir)
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command_in(self.dir());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.run(&["shutdown", "--force"]);
    }
}

/// `kaval` with the environment of an instance in that directory.
pub fn command_in(dir: &Path) -> Command {
    let mut command = Command::new(KAVAL);
    set_places(&mut command, dir);
    command
}

/// `kaval serve` in that directory, by way of kaval or of what becomes it. A script's background job, as a test run may be, ignores SIGINT,
/// and so would what it starts.
fn daemon_in(dir: &Path, kaval: &[PathBuf]) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT,HUP").args(kaval).arg("serve");
    command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
    set_places(&mut command, dir);
    command
}

fn set_places(command: &mut Command, dir: &Path) {
    for variable in ["KAVAL_SOCKET", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CONFIGURATION_DIRECTORY", "TMUX"]
    {
        command.env_remove(variable);
    }
    command
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("SHELL", "/bin/sh")
        .env("RUST_BACKTRACE", "0");
}
