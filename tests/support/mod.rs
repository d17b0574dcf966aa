//! A real kaval in a directory of its own: keeper, supervisor, socket and state, ended and removed when dropped.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
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

/// What a daemon has written to stderr so far.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    fn follow(self, stderr: impl std::io::Read + Send + 'static) {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                self.0.0.lock().unwrap().push(line);
                self.0.1.notify_all();
            }
        });
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    pub fn count(&self, needle: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(needle)).count()
    }

    /// Waits until `n` lines contain `needle`.
    pub fn await_count(&self, needle: &str, n: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap();
        while lines.iter().filter(|line| line.contains(needle)).count() < n {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {n} lines with {needle:?} in:\n{}", lines.join("\n"));
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

pub struct Instance {
    pub dir: TempDir,
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
        let dir = tempfile::Builder::new().prefix("kaval-test-").tempdir().unwrap();
        fs::create_dir_all(dir.path().join("config/kaval")).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("config/kaval/kaval.toml"), config).unwrap();
        let mut command = command_in(dir.path());
        let mut daemon =
            command.arg("serve").args(args).stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let log = Log::default();
        log.clone().follow(daemon.stderr.take().unwrap());
        let instance = Self { dir, log, daemon };
        instance.log.await_count("ready", 1);
        instance
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
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
        let ready = self.log.count(" ready ");
        kill_process(self.supervisor_pid().unwrap(), Signal::KILL).unwrap();
        self.log.await_count(" ready ", ready + 1);
    }

    /// `kaval …` with this instance's environment.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = command_in(self.dir.path());
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
        let _ = kill_process(self.keeper_pid(), Signal::TERM);
        let _ = self.daemon.wait();
        if thread::panicking() {
            let lines = self.log.lines();
            eprintln!("the supervisor's log ended:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

fn command_in(dir: &Path) -> Command {
    let mut command = Command::new(KAVAL);
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
    command
}
