//! What stands in the child's place until it may run: kaval itself, stopped on the slave side.
//!
//! ```text
//! supervisor   spawn ──► wait until stopped ──► pidfd in custody ──► "live" on disk ──► SIGCONT
//! launcher       └► name itself, SIGSTOP ─────────────────────────────────────────────────► limits, close, exec
//! ```
//!
//! A supervisor killed anywhere before "live" leaves a stopped launcher, which the next one finds through the PTY and goes on with; killed
//! between "live" and SIGCONT, the next one sees [`is_held`] and continues it. Either way the command runs once.

use std::{
    convert::Infallible,
    ffi::{CStr, OsStr, OsString},
    fs, io,
    os::unix::process::CommandExt,
    process::Command,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

/// First argument that makes the `kaval` binary a launcher.
pub const ARGUMENT: &str = "__launch";
/// The name of a launcher that has not gone on yet, as `/proc/PID/comm` has it.
const NAME: &CStr = c"kaval-held";

/// The open-file limits that a child is given: those that the supervisor was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// `ulimit -Sn`; `None` is unlimited.
    pub soft: Option<u64>,
    /// `ulimit -Hn`; `None` is unlimited.
    pub hard: Option<u64>,
}

impl FileLimits {
    /// This process's present limits.
    pub fn current() -> Self {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        Self { soft: limit.current, hard: limit.maximum }
    }

    /// Lets this process open as many files as it may: raises the soft limit to the hard one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn raise(self) -> io::Result<()> {
        Ok(setrlimit(Resource::Nofile, Rlimit { current: self.hard, maximum: self.hard })?)
    }

    fn apply(self) -> io::Result<()> {
        Ok(setrlimit(Resource::Nofile, Rlimit { current: self.soft, maximum: self.hard })?)
    }

    fn arguments(self) -> [String; 2] {
        let text = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
        [text(self.soft), text(self.hard)]
    }

    fn parse(soft: &OsStr, hard: &OsStr) -> Option<Self> {
        let limit = |text: &OsStr| match text.to_str()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some(Self { soft: limit(soft)?, hard: limit(hard)? })
    }
}

/// The arguments, after the program's path, that make a launcher of `argv`.
pub fn arguments(limits: FileLimits, argv: &[String]) -> Vec<OsString> {
    let own = [ARGUMENT.to_owned()].into_iter().chain(limits.arguments());
    own.chain(argv.iter().cloned()).map(OsString::from).collect()
}

/// The launcher: `args` is what [`arguments`] made, without its first. Returns only if the command cannot be run, with the exit code
/// that shells give (127 not found, 126 not executable); the reason is on stderr, that is, on the terminal.
pub fn run(args: &[OsString]) -> i32 {
    match hold_and_exec(args) {
        Ok(never) => match never {},
        Err(error) => {
            let command = args.get(2).map_or_else(Default::default, |name| name.to_string_lossy());
            eprintln!("kaval: cannot run {command:?}: {error}");
            if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
        }
    }
}

fn hold_and_exec(args: &[OsString]) -> io::Result<Infallible> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "not started by kaval");
    let [soft, hard, program, rest @ ..] = args else { return Err(bad()) };
    let limits = FileLimits::parse(soft, hard).ok_or_else(bad)?;
    rustix::thread::set_name(NAME)?;
    kill_process(getpid(), Signal::STOP)?;
    limits.apply()?;
    close_on_exec_from_3()?;
    Err(Command::new(program).args(rest).exec())
}

/// Marks every descriptor above stderr close-on-exec.
#[allow(unsafe_code)]
fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: no memory is passed; marking descriptors does not close any that this process still uses.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether `pid` is a launcher that is stopped and waits to be continued.
pub fn is_held(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((head, tail)) = stat.rsplit_once(") ") else { return false };
    head.ends_with(&format!("({}", NAME.to_str().expect("ASCII"))) && tail.starts_with('T')
}
