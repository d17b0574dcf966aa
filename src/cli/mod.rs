//! The command line: what a person, or a script, types.
//!
//! ```text
//!   args (grammar) ─► run ─┬─► serve: daemon
//!                          ├─► commands: one request each, printed as text or JSON
//!                          ├─► attach, wait: a client session
//!                          └─► background: starts a supervisor when none answers
//! ```
//!
//! **Invariants.** A failure is one line on stderr that says what was wrong and what to do, and an exit code that [`run`] gives. Data goes to
//! stdout, everything else to stderr.

mod admin;
mod args;
mod attach;
mod background;
mod clipboard;
mod commands;
mod doctor;
mod events;
mod export;
mod fit;
mod history;
mod keys;
mod manual;
mod pager;
mod person;
mod search;
mod status;
mod table;
mod tty;
mod upgrade;
mod wait;
mod when;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::time::sleep;

use self::args::{Arguments, Command};
use crate::{
    client::{Client, ClientError},
    daemon::{self, ServeOptions},
    places,
    private::check_private,
    wire::Code,
};

/// How long a supervisor that is being restarted is waited for: its keeper starts one at once, or within 250 ms.
const RESTART_MAX: Duration = Duration::from_millis(1500);
const RESTART_POLL: Duration = Duration::from_millis(10);
/// How long a stream that was lost is tried to be had again.
const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// How a command ends when it does not end well.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    const FAILED: u8 = 1;
    const USAGE: u8 = 2;
    const NO_SUCH_TERM: u8 = 3;
    const UNREACHABLE: u8 = 5;
    const TIMED_OUT: u8 = 124;
    /// Of `kaval`, `new` and `attach`, where lower codes may be the child's.
    const ATTACHING: u8 = 125;

    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Says it on stderr; the exit code.
    fn tell(&self) -> ExitCode {
        let _ = writeln!(io::stderr(), "kaval: {}", self.message);
        ExitCode::from(self.code)
    }

    /// A general failure while attaching gets the code that no child's is likely to be.
    fn while_attaching(self) -> Self {
        let code = if self.code == Self::FAILED { Self::ATTACHING } else { self.code };
        Self { code, ..self }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Unreachable { .. } => Self::UNREACHABLE,
            ClientError::Refused(error) if error.code == Code::NoSuchTerm => Self::NO_SUCH_TERM,
            ClientError::Refused(_) | ClientError::Closed | ClientError::Broken(_) => Self::FAILED,
        };
        Self::new(code, chain(&error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Self::FAILED, error.to_string())
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// Runs what the process was started for.
pub fn run() -> ExitCode {
    match Arguments::try_parse().map_err(usage).and_then(dispatch) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

/// What clap has to say, on one line; help and the version are printed as they are, and end the process.
fn usage(error: clap::Error) -> Failure {
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let message = lines.fold(String::new(), |message, line| match line.split_once(": ") {
        _ if message.is_empty() => line.trim_start_matches("error: ").to_owned(),
        Some(("Usage" | "tip", _)) => format!("{message}; {}{}", line[..1].to_lowercase(), &line[1..]),
        Some(_) | None => format!("{message} {line}"),
    });
    Failure::new(Failure::USAGE, format!("{message}; see --help"))
}

fn dispatch(Arguments { target, command }: Arguments) -> Result<ExitCode, Failure> {
    let explicit = target.socket;
    match command {
        Some(Command::Serve(serve)) => {
            let options = ServeOptions {
                config: serve.config,
                state_dir: serve.state_dir,
                socket: explicit,
                metrics: serve.metrics,
                keeper: !serve.no_keeper,
                data_path: serve.data_path,
            };
            daemon::run(&options).map_err(|error| Failure::new(Failure::FAILED, chain(error.as_ref())))
        }
        Some(Command::NoteEnd(note)) => match daemon::note_end(note.state_dir) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Failure::new(Failure::FAILED, chain(error.as_ref()))),
        },
        Some(Command::Formats) => commands::print(&format!("{}\n", daemon::formats_line())).map(|()| ExitCode::SUCCESS),
        Some(Command::Completions(completions)) => manual::completions(completions.shell),
        Some(Command::Man(man)) => manual::man(man.dir.as_deref()),
        Some(command) => on_runtime(client_command(Sockets::of(explicit), command)),
        None => on_runtime(background::attach_or_create(Sockets::of(explicit))),
    }
}

fn on_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // What still blocks in the background (a read of the terminal) ends with the process.
    runtime.shutdown_background();
    result
}

async fn client_command(sockets: Sockets, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::New(new) => commands::new(&sockets, new).await,
        Command::Attach(args) => attach::attach(&sockets, args.name.as_str().into(), args.read_only, args.history).await,
        Command::Ls(ls) => commands::ls(&sockets, &ls).await,
        Command::Send(send) => commands::send(&sockets, send).await,
        Command::Resize(resize) => commands::resize(&sockets, &resize).await,
        Command::Kill(kill) => commands::kill(&sockets, &kill).await,
        Command::Rm(rm) => commands::rm(&sockets, &rm).await,
        Command::Wait(wait) => wait::wait(&sockets, wait).await,
        Command::Screen(screen) => commands::screen(&sockets, &screen).await,
        Command::View(args) => pager::view(&sockets, &args.name).await,
        Command::History(history) => history::history(&sockets, &history).await,
        Command::Search(args) => search::search(&sockets, &args).await,
        Command::Export(args) => export::export(&sockets, &args).await,
        Command::Events(args) => events::events(&sockets, args).await,
        Command::Doctor(args) => doctor::doctor(&sockets, &args).await,
        Command::Status(args) => status::status(&sockets, &args).await,
        Command::Shutdown(shutdown) => commands::shutdown(&sockets, &shutdown).await,
        Command::Rename(rename) => admin::rename(&sockets, &rename).await,
        Command::Clients(clients) => admin::clients(&sockets, &clients).await,
        Command::Detach(detach) => admin::detach(&sockets, &detach).await,
        Command::Reload(reload) => admin::reload(&sockets, &reload).await,
        Command::Upgrade(args) => upgrade::upgrade(&sockets, &args).await,
        Command::Admin(admin) => admin::pull(&sockets, admin.lever).await,
        Command::Serve(_) | Command::NoteEnd(_) | Command::Formats | Command::Completions(_) | Command::Man(_) => {
            unreachable!("done without a client")
        }
    }
}

/// Where a supervisor may answer, in the order in which to try.
#[derive(Debug, Clone)]
pub(crate) struct Sockets(Vec<PathBuf>);

impl Sockets {
    fn of(explicit: Option<PathBuf>) -> Self {
        let named =
            explicit.or_else(|| env::var_os("KAVAL_SOCKET").filter(|path: &OsString| !path.is_empty()).map(PathBuf::from));
        Self(named.map_or_else(places::client_sockets, |path| vec![path]))
    }

    /// The one that a supervisor of ours would be started on.
    fn first(&self) -> &PathBuf {
        &self.0[0]
    }

    /// Connects to the first that answers; which that was.
    async fn connect(&self) -> Result<(Client, PathBuf), Failure> {
        let mut first_error = None;
        for path in &self.0 {
            // Somebody else may have made the directory under /tmp first, and listen there for what is typed.
            if places::is_user_place(path)
                && let Some(dir) = path.parent().filter(|dir| dir.exists())
            {
                check_private(dir).map_err(|error| Failure::new(Failure::FAILED, chain(&error)))?;
            }
            match connect_over_a_restart(path).await {
                Ok(client) => return Ok((client, path.clone())),
                Err(error @ ClientError::Unreachable { .. }) => first_error = first_error.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(first_error.map_or_else(|| Failure::new(Failure::UNREACHABLE, "no socket to try"), Failure::from))
    }
}

/// Connects; where a socket is there and nobody answers, or hangs up, a supervisor is probably just being restarted, and is given a moment.
async fn connect_over_a_restart(path: &Path) -> Result<Client, ClientError> {
    let deadline = Instant::now() + RESTART_MAX;
    loop {
        match Client::connect(path).await {
            Err(error) if error.is_passing() && path.exists() && Instant::now() < deadline => sleep(RESTART_POLL).await,
            result => return result,
        }
    }
}

/// Connects again after a stream was lost, however often that takes within [`RECONNECT_MAX`].
async fn reconnect(path: &Path, mut lost: ClientError) -> Result<Client, Failure> {
    let deadline = Instant::now() + RECONNECT_MAX;
    while Instant::now() < deadline {
        sleep(RESTART_POLL).await;
        match Client::connect(path).await {
            Ok(client) => return Ok(client),
            Err(error) => lost = passing(error)?,
        }
    }
    Err(lost.into())
}

/// What a stream may be asked for again after; any other error is a failure.
fn passing(error: ClientError) -> Result<ClientError, Failure> {
    if error.is_passing() { Ok(error) } else { Err(error.into()) }
}
