//! `kaval` with nothing else said: attach to the most recent terminal or create one; and the supervisor that is started for it, or for
//! `kaval new`, if none answers.

use std::{
    env, fs,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use kaval_actors::pty::Restart;
use tokio::time::sleep;

use super::{Failure, Sockets, attach, tty};
use crate::{
    client::{Client, ClientError},
    places,
    private::private_dir,
    wire::{NewOk, Op, TermInfo},
};

/// How long a supervisor may take to answer after it was started.
const START_MAX: Duration = Duration::from_secs(15);
/// How long another one may take when that ended at once.
const OTHER_MAX: Duration = Duration::from_secs(1);
const START_POLL: Duration = Duration::from_millis(10);
/// Bytes of a failed supervisor's log that are shown.
const LOG_TAIL_BYTES: usize = 400;

pub(super) async fn attach_or_create(sockets: Sockets) -> Result<ExitCode, Failure> {
    attach::require_tty()?;
    let mut client = connect_or_start(&sockets).await.map_err(Failure::while_attaching)?;
    let terms = client.list().await.map_err(|error| Failure::from(error).while_attaching())?;
    let name = match most_recent(&terms) {
        Some(term) => term.name.clone(),
        None => create(&mut client).await.map_err(Failure::while_attaching)?,
    };
    drop(client);
    attach::attach(&sockets, name.as_str().into(), false, None).await
}

/// Connects to the supervisor that answers, or to one that is started.
pub(super) async fn connect_or_start(sockets: &Sockets) -> Result<Client, Failure> {
    match sockets.connect().await {
        Err(failure) if failure.code == Failure::UNREACHABLE => start(sockets.first()).await,
        connected => connected.map(|(client, _)| client),
    }
}

/// The live terminal that was last created or put something out.
fn most_recent(terms: &[TermInfo]) -> Option<&TermInfo> {
    let live = terms.iter().filter(|term| term.is_live());
    live.max_by_key(|term| (term.last_output.unwrap_or(0).max(term.created), term.id))
}

async fn create(client: &mut Client) -> Result<String, Failure> {
    let cwd = env::current_dir().ok().map(|cwd| cwd.to_string_lossy().into_owned());
    let (name, command, env) = (None, Vec::new(), Vec::new());
    let (size, token) = (tty::window_size(), rand::random::<u64>() | 1);
    let op = Op::New { name, command, cwd, env, size, token, if_absent: false, no_log: false, restart: Restart::Never };
    let created: NewOk = client.call(op).await?;
    Ok(created.name)
}

/// Starts a supervisor that outlives this process and its session, and connects to it.
async fn start(socket: &Path) -> Result<Client, Failure> {
    let state_dir = places::state_dir();
    private_dir(&state_dir).map_err(|error| Failure::new(Failure::FAILED, super::chain(&error)))?;
    let log = state_dir.join("supervisor.log");
    let mut child = if user_systemd_runs() && start_under_systemd(socket) { None } else { Some(start_detached(socket, &log)?) };
    let mut deadline = Instant::now() + START_MAX;
    loop {
        match Client::connect(socket).await {
            Ok(client) => return Ok(client),
            Err(ClientError::Unreachable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
            // Somebody else may have started one at the same time, which is on its way.
            (child, deadline) = (None, Instant::now() + OTHER_MAX);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(Failure::UNREACHABLE, format!("the supervisor did not start: {}", last_line(&log))));
        }
        sleep(START_POLL).await;
    }
}

/// The last thing a supervisor said. What its keeper said after that is not why it did not start.
fn last_line(log: &Path) -> String {
    let mut text = String::new();
    let _ = fs::File::open(log).and_then(|mut file| file.read_to_string(&mut text));
    let line = text.lines().rfind(|line| !line.starts_with("kaval keeper: ")).unwrap_or_default().trim_start_matches("kaval: ");
    match line.char_indices().nth(LOG_TAIL_BYTES) {
        _ if line.is_empty() => format!("see {log:?}"),
        Some((cut, _)) => line[..cut].to_owned(),
        None => line.to_owned(),
    }
}

fn user_systemd_runs() -> bool {
    let private = env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("systemd/private"));
    private.is_some_and(|socket| socket.exists())
}

/// As a transient service of the user's systemd, under kaval's own keeper, so that a logout does not end it where lingering is on.
fn start_under_systemd(socket: &Path) -> bool {
    let Ok(this) = env::current_exe() else { return false };
    let service = Command::new("systemd-run")
        .args(["--user", "--quiet", "--collect", "--unit=kaval-background", "--property=KillMode=mixed"])
        .arg(this)
        .arg("serve")
        .arg("--socket")
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    service.is_ok_and(|status| status.success())
}

/// In a session of its own, its log in the state directory.
fn start_detached(socket: &Path, log: &Path) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("serve").arg("--socket").arg(socket);
    command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    set_own_session(&mut command);
    command.spawn()
}

#[allow(unsafe_code)]
fn set_own_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and allocates nothing, as what runs between fork and exec must be.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(|_| ())?));
    }
}
