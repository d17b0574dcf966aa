//! The process that `tests/keeper.rs` starts: the keeper, or a supervisor that does as it is told.
//!
//! ```text
//!   kept keeper SOCKET       runs the keeper over `kept supervisor SOCKET`
//!   kept run COMMAND...      runs the keeper over any command
//!   kept supervisor SOCKET   connects to the test, then one line a command, one line an answer
//! ```
//!
//! A supervisor whose connection ends exits with 0, so that none outlives its test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use kaval::fdstore::{self, FdStore};
use kaval::keeper;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Signal, getpid, getrlimit, kill_process};
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next().context("a role is missing")?;
    let rest: Vec<OsString> = arguments.collect();
    match role.to_str() {
        Some("keeper") => {
            let supervisor = [std::env::current_exe()?.into(), "supervisor".into()];
            Ok(keeper::run(&[&supervisor[..], &rest].concat(), trial_max()?)?)
        }
        Some("run") => Ok(keeper::run(&rest, trial_max()?)?),
        Some("supervisor") => supervise(rest.first().context("the socket is missing")?),
        _ => bail!("unknown role {role:?}"),
    }
}

/// As `KEPT_TRIAL_MS` has it.
fn trial_max() -> anyhow::Result<Duration> {
    let text = std::env::var("KEPT_TRIAL_MS").ok();
    Ok(text.map(|text| text.parse()).transpose()?.map_or(keeper::TRIAL_MAX, Duration::from_millis))
}

struct Supervisor {
    store: FdStore,
    open_at_start: Vec<String>,
    inherited: Vec<(String, OwnedFd)>,
    stdin_of_orphan: Option<ChildStdin>,
}

fn supervise(socket: &OsString) -> anyhow::Result<ExitCode> {
    let mut supervisor = Supervisor {
        open_at_start: open_descriptors()?,
        store: FdStore::from_env().context("no store")?,
        inherited: fdstore::take_inherited()?,
        stdin_of_orphan: None,
    };
    let mut connection = UnixStream::connect(socket)?;
    writeln!(connection, "{}", std::process::id())?;
    for line in BufReader::new(connection.try_clone()?).lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        if let ["exit", code] = words[..] {
            return Ok(ExitCode::from(code.parse::<u8>()?));
        }
        let answer = supervisor.obey(&words, &mut connection)?;
        writeln!(connection, "{answer}")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Supervisor {
    fn obey(&mut self, words: &[&str], connection: &mut UnixStream) -> anyhow::Result<String> {
        match words {
            ["store", name, content, offset] => self.store_file(name, content, offset.parse()?)?,
            ["store-many", count] => self.store_many(count.parse()?)?,
            ["store-and-die", count] => {
                for number in 0..count.parse::<usize>()? {
                    self.store_file(&format!("m{number}"), "last-words", 0)?;
                }
                kill_process(getpid(), Signal::KILL)?;
            }
            ["remove", name] => self.store.remove(name)?,
            ["barrier"] => self.store.barrier()?,
            ["ready"] => self.store.ready()?,
            ["upgrade"] => self.store.upgrade(None)?,
            ["upgrade", binary] => self.store.upgrade(Some(binary))?,
            ["extend", milliseconds] => self.store.extend_timeout(Duration::from_millis(milliseconds.parse()?))?,
            ["exe"] => return Ok(fs::read_link("/proc/self/exe")?.to_string_lossy().into_owned()),
            ["inherited"] => return self.describe_inherited(),
            ["inherited-twice"] => return Ok(fdstore::take_inherited()?.len().to_string()),
            ["open-at-start"] => return Ok(self.open_at_start.join(" ")),
            ["env", name] => return Ok(std::env::var(name).unwrap_or("absent".into())),
            ["soft-limit"] => {
                return Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).to_string());
            }
            ["orphan"] => return self.start_orphan(),
            ["end-orphan"] => drop(self.stdin_of_orphan.take()),
            ["await-signal"] => return await_signal(connection),
            _ => bail!("unknown command {words:?}"),
        }
        Ok("ok".into())
    }

    fn store_file(&self, name: &str, content: &str, offset: u64) -> anyhow::Result<()> {
        let mut file = File::from(memfd_create(&name[..name.len().min(200)], MemfdFlags::CLOEXEC)?);
        file.write_all(content.as_bytes())?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(self.store.store(name, file.as_fd())?)
    }

    fn store_many(&self, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            let name = format!("m{number}");
            self.store_file(&name, &name, 0)?;
        }
        Ok(self.store.barrier()?)
    }

    /// `name=content@offset` for each, sorted; says so if one would survive an exec.
    fn describe_inherited(&self) -> anyhow::Result<String> {
        let mut described = Vec::new();
        for (name, fd) in &self.inherited {
            let mut file = File::from(fd.try_clone()?);
            let mut content = vec![0; usize::try_from(file.metadata()?.len())?];
            file.read_exact_at(&mut content, 0)?;
            let offset = file.stream_position()?;
            let flags = rustix::io::fcntl_getfd(fd)?;
            let leaks = if flags.is_empty() { "!leaks" } else { "" };
            described.push(format!("{name}={}@{offset}{leaks}", String::from_utf8(content)?));
        }
        described.sort();
        Ok(described.join(" "))
    }

    /// A process whose parent is dead, and that ends when its stdin does.
    fn start_orphan(&mut self) -> anyhow::Result<String> {
        let script = "exec 3<&0; cat <&3 >/dev/null & echo $!";
        let mut shell = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        self.stdin_of_orphan = shell.stdin.take();
        let pid = std::io::read_to_string(shell.stdout.take().context("no stdout")?)?;
        shell.wait()?;
        Ok(pid.trim().to_owned())
    }
}

fn await_signal(connection: &mut UnixStream) -> anyhow::Result<String> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP, SIGUSR1])?;
    writeln!(connection, "awaiting")?;
    let signal = signals.forever().next().context("no signal")?;
    Ok(signal.to_string())
}

/// The numbers of all open descriptors, but for the one that reads the directory.
fn open_descriptors() -> anyhow::Result<Vec<String>> {
    let mut open = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number: i32 = entry.file_name().to_string_lossy().parse()?;
        open.insert(number, fs::read_link(entry.path()));
    }
    let own_directory = format!("/proc/{}/fd", std::process::id());
    open.retain(|_, target| !matches!(target, Ok(path) if path.as_os_str() == own_directory.as_str()));
    Ok(open.keys().map(i32::to_string).collect())
}
