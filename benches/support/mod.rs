//! What the benches share: figures and their table, gates between a bench and its children, a bare PTY, and output to print.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

#[path = "../../tests/support/mod.rs"]
pub mod instance;

pub use instance::{Instance, PATIENCE};

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    str::FromStr,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    process::setsid,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// A number from the environment, for a shorter or longer run.
pub fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Whether the bench is only being tried out, by `cargo test --benches`: nothing to measure then.
pub fn is_test_run() -> bool {
    !std::env::args().any(|arg| arg == "--bench")
}

/// Values of one figure, one a round.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.0.extend(values);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that a share `q` of all values are at most.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len());
        sorted[at - 1]
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// `median (least–greatest)`.
    pub fn spread(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median(), self.quantile(0.0), self.quantile(1.0))
    }

    /// Round by round, this figure over another one of the same rounds.
    pub fn over(&self, baseline: &Self) -> Self {
        Self(self.0.iter().zip(&baseline.0).map(|(value, base)| value / base).collect())
    }
}

/// Prints rows under their headings, in aligned columns.
pub fn table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let width = |column: usize| [&head].into_iter().chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    println!("\n{title}");
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        println!("  {}", cells.join("  ").trim_end());
    }
}

/// Two FIFOs and a script between them: the child waits at the first, prints a file, and says at the second that it has.
pub struct Gate {
    go: PathBuf,
    done: PathBuf,
    script: PathBuf,
}

impl Gate {
    pub fn new(dir: &Path, output: &Path) -> Self {
        let gate = Self { go: dir.join("go"), done: dir.join("done"), script: dir.join("print.sh") };
        for fifo in [&gate.go, &gate.done] {
            let _ = fs::remove_file(fifo);
            rustix::fs::mknodat(CWD, fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        let (go, done, output) = (gate.go.display(), gate.done.display(), output.display());
        fs::write(&gate.script, format!("read x < '{go}'\ncat '{output}'\n[ -z \"$1\" ] || echo > '{done}'\n")).unwrap();
        gate
    }

    /// The child's command; it ends at once after printing.
    pub fn command(&self) -> Vec<String> {
        vec!["sh".to_owned(), self.script.display().to_string()]
    }

    /// The child's command; it says when it has printed.
    pub fn telling_command(&self) -> Vec<String> {
        [self.command(), vec!["tell".to_owned()]].concat()
    }

    /// Waits until the child is there, and lets it go.
    pub fn open(&self) {
        OpenOptions::new().write(true).open(&self.go).and_then(|mut go| go.write_all(b"\n")).unwrap();
    }

    /// Waits until the child, told to tell, has printed everything.
    pub fn await_done(&self) {
        File::open(&self.done).and_then(|mut done| done.read_to_end(&mut Vec::new())).unwrap();
    }
}

/// A PTY with a child and nobody between.
pub struct BarePty {
    pub master: File,
    pub child: Child,
}

impl BarePty {
    /// Runs `command` on 80×24.
    #[allow(unsafe_code)]
    pub fn spawn<S: AsRef<std::ffi::OsStr>>(command: &[S]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave: OwnedFd = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut child = Command::new(&command[0]);
        child.args(&command[1..]).env("TERM", "xterm-256color");
        child.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        // SAFETY: between fork and exec only two system calls, which are async-signal-safe and allocate nothing; 0 is the slave.
        unsafe {
            child.pre_exec(|| {
                setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(BorrowedFd::borrow_raw(0))?)
            });
        }
        let child = child.spawn().unwrap();
        Self { master: File::from(master), child }
    }

    /// Reads to nowhere until the child's end; bytes read.
    pub fn drain(&mut self) -> u64 {
        let mut buffer = vec![0; 64 * 1024];
        let mut bytes = 0;
        loop {
            match self.master.read(&mut buffer) {
                Ok(0) => return bytes,
                Ok(n) => bytes += n as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return bytes,
            }
        }
    }
}

impl Drop for BarePty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits in small steps until `done`; for things that give no sign of themselves.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + instance::PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within {:?}", instance::PATIENCE);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a flood looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// A service's log: a time, a level, a message.
    Plain,
    /// What cargo, ls and test runners print: a change of colour every few words.
    Coloured,
}

impl Flavour {
    pub const ALL: [Self; 2] = [Self::Plain, Self::Coloured];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Coloured => "coloured",
        }
    }

    fn line(self, n: u64) -> String {
        let (a, b) = (n.wrapping_mul(2_654_435_761) % 10_007, n % 997);
        match (self, n % 5) {
            (Self::Plain, 0) => {
                format!("2026-11-22T16:{:02}:{:02}.{:03}Z WARN  pool: {b} connections idle\n", n / 60 % 60, n % 60, b)
            }
            (Self::Plain, _) => format!(
                "2026-11-22T16:{:02}:{:02}.{:03}Z INFO  request id={n} method=GET path=/api/v1/items/{a} status=200 took={b}us\n",
                n / 60 % 60,
                n % 60,
                b
            ),
            (Self::Coloured, 0) => format!("\x1b[1m\x1b[32m   Compiling\x1b[0m crate-{a} v0.{b}.1 (/src/crate-{a})\n"),
            (Self::Coloured, 1) => format!("test module_{b}::case_{a} ... \x1b[32mok\x1b[m\n"),
            (Self::Coloured, 2) => format!(
                "\x1b[0m\x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m: unused variable: `x{b}`\x1b[0m \x1b[38;5;12m-->\x1b[0m src/file_{a}.rs:{b}:9\n"
            ),
            (Self::Coloured, 3) => format!("test module_{b}::case_{a} ... \x1b[38;2;255;80;80mFAILED\x1b[m\n"),
            (Self::Coloured, _) => format!(
                "\x1b[01;34mdir_{a}\x1b[0m  \x1b[01;32mprogram_{b}\x1b[0m  \x1b[01;36mlink_{n}\x1b[0m  file_{a}.txt  \x1b[01;31marchive.tar\x1b[0m\n"
            ),
        }
    }

    /// Writes at least `bytes` of it to a file in `dir`.
    pub fn write(self, dir: &Path, bytes: u64) -> PathBuf {
        let path = dir.join(self.name());
        let mut file = BufWriter::new(File::create(&path).unwrap());
        let (mut written, mut n) = (0, 0);
        while written < bytes {
            let line = self.line(n);
            file.write_all(line.as_bytes()).unwrap();
            (written, n) = (written + line.len() as u64, n + 1);
        }
        file.flush().unwrap();
        path
    }
}
