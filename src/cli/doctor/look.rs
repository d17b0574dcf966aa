//! Looking: facts for the judge, as the system has them.

use std::{
    env, fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    process::{Pid, Resource, Signal, geteuid, getrlimit, kill_process},
    pty::{OpenptFlags, openpt},
};
use tokio::time::timeout;

use super::super::{Sockets, args::Doctor, chain};
use crate::{
    client::{Client, ClientError},
    config::Config,
    disk::Disk,
    places,
    private::check_private,
    wire::{Op, StatusOk},
};

/// How long a supervisor, or systemd, may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Everything that is judged.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) supervisor: Supervisor,
    /// Directories that are to be the user's alone, and what is wrong with them; the socket, if there is one.
    pub(super) directories: Vec<(PathBuf, Privacy)>,
    pub(super) socket_mode: Option<(PathBuf, u32, bool)>,
    /// Where it is read from, if it is there, and what is wrong with it.
    pub(super) config: (Option<PathBuf>, Option<String>),
    pub(super) terms_max: usize,
    pub(super) unit: Unit,
    pub(super) linger: Option<Linger>,
    pub(super) ptys: Ptys,
    /// The hard limit on open files; `None` is unlimited.
    pub(super) files_max: Option<u64>,
    pub(super) state_dir: PathBuf,
    pub(super) disk: io::Result<Disk>,
    pub(super) now: SystemTime,
    /// The latest change of what cannot have changed in the future, and what that is.
    pub(super) latest: Option<(PathBuf, SystemTime)>,
    /// The kernel's release, as `6.18.0`.
    pub(super) kernel: String,
}

/// What answers at the socket.
#[derive(Debug)]
pub(super) enum Supervisor {
    /// This.
    Answers { socket: PathBuf, status: Box<StatusOk> },
    /// Something that is no supervisor of ours, or one that hangs.
    Strange { socket: PathBuf, error: String },
    /// Nothing, though a socket is there.
    Silent { socket: PathBuf, error: String },
    /// There is no socket.
    Absent { socket: PathBuf },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Privacy {
    Good,
    Absent,
    Bad(String),
}

/// The service, as systemd has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// No systemd runs here.
    NoSystemd,
    /// It does not answer.
    Unknown(String),
    /// What `systemctl show` says.
    Shown { user: bool, properties: String },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Linger {
    pub(super) user: String,
    pub(super) enabled: bool,
}

#[derive(Debug)]
pub(super) struct Ptys {
    pub(super) used: Option<u64>,
    pub(super) max: Option<u64>,
    /// Why none can be opened.
    pub(super) error: Option<String>,
}

pub(super) async fn around(sockets: &Sockets, args: &Doctor) -> Facts {
    let state_dir = args.state_dir.clone().unwrap_or_else(places::state_dir);
    let file = args.config.clone().or_else(places::config_file);
    let read = Config::read(file.as_deref());
    let terms_max = read.as_ref().map_or_else(|_| Config::default().limits.terms_max, |config| config.limits.terms_max);
    let config = (file, read.err().map(|error| chain(&error)));
    let supervisor = supervisor(sockets).await;
    let socket = match &supervisor {
        Supervisor::Answers { socket, .. }
        | Supervisor::Strange { socket, .. }
        | Supervisor::Silent { socket, .. }
        | Supervisor::Absent { socket } => socket.clone(),
    };
    let usual = Some(socket.clone()).filter(|socket| places::is_user_place(socket));
    let directories = [usual.as_deref().and_then(Path::parent), Some(&*state_dir)].into_iter().flatten();
    let directories = directories.map(|dir| (dir.to_owned(), privacy(dir))).collect();
    let existing = state_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    Facts {
        supervisor,
        directories,
        socket_mode: socket_mode(&socket),
        config,
        terms_max,
        unit: unit(),
        linger: linger(),
        ptys: ptys(),
        files_max: getrlimit(Resource::Nofile).maximum,
        disk: Disk::under(existing),
        now: SystemTime::now(),
        latest: latest(&state_dir),
        kernel: read_trimmed("/proc/sys/kernel/osrelease").unwrap_or_default(),
        state_dir,
    }
}

/// The first socket that something answers at; else the first one there is, else the first.
async fn supervisor(sockets: &Sockets) -> Supervisor {
    let mut silent = None;
    for socket in &sockets.0 {
        let socket = socket.clone();
        let asked = async { Client::connect(&socket).await?.call::<StatusOk>(Op::Status).await };
        match timeout(ANSWER_MAX, asked).await {
            Ok(Ok(status)) => return Supervisor::Answers { socket, status: Box::new(status) },
            Err(_) => return Supervisor::Strange { socket, error: format!("nothing answers within {ANSWER_MAX:?}") },
            Ok(Err(error @ ClientError::Unreachable { .. })) if socket.exists() => {
                silent = silent.or(Some(Supervisor::Silent { socket, error: chain(&error) }));
            }
            Ok(Err(ClientError::Unreachable { .. })) => {}
            Ok(Err(error)) => return Supervisor::Strange { socket, error: chain(&error) },
        }
    }
    silent.unwrap_or_else(|| Supervisor::Absent { socket: sockets.first().clone() })
}

fn privacy(dir: &Path) -> Privacy {
    if !dir.exists() {
        return Privacy::Absent;
    }
    check_private(dir).map_or_else(|error| Privacy::Bad(chain(&error)), |()| Privacy::Good)
}

/// The socket's mode, and whether it is ours.
fn socket_mode(socket: &Path) -> Option<(PathBuf, u32, bool)> {
    let metadata = fs::symlink_metadata(socket).ok()?;
    Some((socket.to_owned(), metadata.permissions().mode() & 0o777, metadata.uid() == geteuid().as_raw()))
}

/// What matters of the unit.
const PROPERTIES: &str =
    "LoadState,UnitFileState,ActiveState,KillMode,Restart,OOMPolicy,StartLimitIntervalUSec,FileDescriptorStoreMax";

fn unit() -> Unit {
    if !Path::new("/run/systemd/system").exists() {
        return Unit::NoSystemd;
    }
    let user = !geteuid().is_root();
    let mut command = Command::new("systemctl");
    command.args(user.then_some("--user")).args(["show", "kaval.service", "--property", PROPERTIES]);
    match output_within(&mut command, ANSWER_MAX) {
        Ok(properties) => Unit::Shown { user, properties },
        Err(error) => Unit::Unknown(error.to_string()),
    }
}

/// What a command writes, if it succeeds in time.
fn output_within(command: &mut Command, limit: Duration) -> io::Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (pid, mut stdout) = (Pid::from_child(&child), child.stdout.take());
    let (reply, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.as_mut().map_or(Ok(0), |stdout| stdout.read_to_string(&mut text));
        let _ = reply.send(read.and_then(|_| child.wait()).map(|status| (status, text)));
    });
    match ended.recv_timeout(limit) {
        Ok(Ok((status, text))) if status.success() => Ok(text),
        Ok(Ok((status, _))) => Err(io::Error::other(status.to_string())),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

/// Whether the user's services outlive a logout; `None` for root, and where there is no systemd.
fn linger() -> Option<Linger> {
    let uid = geteuid();
    if uid.is_root() || !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let user =
        user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid.as_raw()).or_else(|| env::var("USER").ok())?;
    let enabled = Path::new("/var/lib/systemd/linger").join(&user).exists();
    Some(Linger { user, enabled })
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?;
    line.split(':').next().map(str::to_owned)
}

fn ptys() -> Ptys {
    let number = |what: &str| read_trimmed(&format!("/proc/sys/kernel/pty/{what}"))?.parse().ok();
    let opened = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    Ptys { used: number("nr"), max: number("max"), error: opened.err().map(|errno| io::Error::from(errno).to_string()) }
}

/// The newest of the state directory's files, and of this program's own.
fn latest(state_dir: &Path) -> Option<(PathBuf, SystemTime)> {
    let files = fs::read_dir(state_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let changed = |path: PathBuf| Some((path.clone(), fs::metadata(path).ok()?.modified().ok()?));
    files.chain(env::current_exe()).filter_map(changed).max_by_key(|(_, time)| *time)
}

fn read_trimmed(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_waited_for_and_not_for_ever() {
        assert_eq!(output_within(Command::new("echo").arg("a"), ANSWER_MAX).unwrap(), "a\n");
        assert!(output_within(&mut Command::new("false"), ANSWER_MAX).unwrap_err().to_string().contains("exit status: 1"));
        let late = output_within(Command::new("sleep").arg("1000"), Duration::from_millis(1)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(user_name(passwd, 100), None);
    }
}
