//! `kaval attach`: this terminal becomes a window on that one.
//!
//! **Invariants.** The terminal that kaval runs in is put back as it was, however attaching ends. Nothing of kaval's own is shown while
//! attached, but for a line when the supervisor has not answered for a while, when the child is to be started again, or when it is to be hung up for
//! being idle; that line goes when what it says does. The pager is shown instead of the terminal, never over it.

use std::{
    io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kaval_actors::{Size, mirror::Hush};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::{
    Failure, Sockets,
    clipboard::Clipboard,
    fit::Fitted,
    pager::{self, History},
    person::{Act, End, Person},
    table,
    tty::{CLEAN, RawTerminal, missing_tty, show, window_size},
};
use crate::{
    client::{Client, ClientError, Incoming, Session, SessionOptions, Update},
    config::{self, Config},
    places,
    wire::{AttachFrom, AttachMode, Event, ExitInfo, HistoryFormat, Op, TermRef},
};

/// Between two pictures of a terminal of another size than the window's.
const FRAME: Duration = Duration::from_millis(15);
/// How long a supervisor may be gone before a line says so.
const QUIET_GAP: Duration = Duration::from_secs(2);
/// Rounds a time that is shown in whole seconds.
const HALF_A_SECOND: Duration = Duration::from_millis(500);
/// Attaching needs a terminal to attach.
pub(super) fn require_tty() -> Result<(), Failure> {
    let Some(what) = missing_tty() else { return Ok(()) };
    let message = format!("attaching needs a terminal, and {what} is none: use kaval new -d, kaval send and kaval screen");
    Err(Failure::new(Failure::ATTACHING, message))
}

/// Attaches until detached, or until the child ends; its exit code then.
pub(super) async fn attach(
    sockets: &Sockets,
    term: TermRef,
    read_only: bool,
    history: Option<u64>,
) -> Result<ExitCode, Failure> {
    require_tty()?;
    let config = Config::read(places::config_file().as_deref())
        .map_err(|error| Failure::new(Failure::ATTACHING, super::chain(&error)))?;
    let (_, socket) = sockets.connect().await.map_err(Failure::while_attaching)?;
    let backlog = history.map(|lines| Backlog { socket: socket.clone(), term: term.clone(), lines });
    let mode = if read_only { AttachMode::Ro } else { AttachMode::Rw };
    let options = SessionOptions { socket, term, mode, size: window_size(), from: AttachFrom::Screen };
    let session = Session::attach(options).await.map_err(|error| Failure::from(error).while_attaching())?;
    let name = session.name().to_owned();
    let terminal = RawTerminal::enter().map_err(|error| Failure::from(error).while_attaching())?;
    set_aside_screen(window_size()).map_err(|error| Failure::from(error).while_attaching())?;
    let end = follow(session, &config.attach, read_only, backlog).await;
    terminal.leave();
    match end {
        Ok(End::Detached) => {
            eprintln!("[detached from {name}; kaval attach {name} comes back]");
            Ok(ExitCode::SUCCESS)
        }
        Ok(End::DetachedByOther) => {
            eprintln!("[detached from {name} by another client]");
            Ok(ExitCode::SUCCESS)
        }
        Ok(End::Exited(exit)) => {
            eprintln!("[{name} {exit}]");
            Ok(ExitCode::from(exit.shell_code()))
        }
        Ok(End::Signalled(signal)) => Ok(ExitCode::from(128 + signal)),
        Err(error) => Err(Failure::new(Failure::ATTACHING, super::chain(&error))),
    }
}

async fn follow(
    mut session: Session,
    config: &config::Attach,
    read_only: bool,
    mut backlog: Option<Backlog>,
) -> Result<End, ClientError> {
    let broken = ClientError::Broken;
    let mut person = Person::new(config.detach_key).map_err(broken)?;
    let mut resized = signal(SignalKind::window_change()).map_err(broken)?;
    let mut window = Window { fitted: None, stale_since: None, clipboard: Clipboard::new(config.clipboard) };
    let mut told_gap = false;
    let mut told_reaping = false;
    let mut hush = Hush::default();
    loop {
        let gap_told_at = session.down_since().map(|since| Instant::from_std(since) + QUIET_GAP);
        tokio::select! {
            biased;
            act = person.next() => match act {
                Act::Typed(bytes) if read_only => drop(bytes),
                Act::Page { up } => if let Some(end) = look_back(&mut session, &mut window, &mut person, read_only, up).await? {
                    return Ok(end);
                }
                Act::Typed(bytes) => session.input(bytes).await,
                Act::Ended(end, last) => {
                    if !last.is_empty() && !read_only {
                        session.input(last).await;
                    }
                    return Ok(end);
                }
            },
            _ = resized.recv() => match window_size() {
                Some(size) if !read_only => session.resize(size).await,
                _ => if window.turned().map_err(broken)? { session.refresh() },
            },
            () = sleep_until(window.paint_at()), if window.is_stale() => window.paint().map_err(broken)?,
            update = session.next() => {
                told_gap = false;
                let update = update?;
                if let (Update::Screen { offset, .. }, Some(backlog)) = (&update, backlog.take())
                    && let Some(end) = backlog.show(*offset, &mut person).await?
                {
                    return Ok(end);
                }
                match update {
                    Update::Screen { size, data, .. } => {
                        told_reaping = false;
                        hush = Hush::default();
                        window.screen(size, &hush.pass(&data)).map_err(broken)?;
                    }
                    Update::Output { offset, data } => {
                        let data = unasked(&mut hush, offset, &data, session.answered());
                        if window.output(&data).map_err(broken)? {
                            session.refresh();
                        }
                    }
                    Update::Resized { size } => if window.resized(size) { session.refresh() },
                    Update::Lost => if told_reaping { session.spoil() },
                    Update::Lagged { .. } => {}
                    Update::Reaping { at: Some(at) } => {
                        told_reaping = true;
                        notice(&reaping(at)).map_err(broken)?;
                    }
                    Update::Reaping { at: None } => if told_reaping { session.refresh() },
                    Update::Respawning { exit, at } => notice(&respawning(exit, at)).map_err(broken)?,
                    Update::Exited(exit) => return Ok(End::Exited(exit)),
                    Update::Detached => return Ok(End::DetachedByOther),
                }
            }
            () = sleep_until(gap_told_at.unwrap_or_else(Instant::now)), if gap_told_at.is_some() && !told_gap => {
                // It may have come back meanwhile, with nothing to show.
                if session.down_since().is_some() {
                    told_gap = true;
                    session.spoil();
                    notice("waiting for the supervisor").map_err(broken)?;
                }
            }
        }
    }
}

/// Shows the history instead of the terminal, which goes on without this window: nobody waits for it, and the supervisor answers what
/// programs ask. Behind it the whole screen comes, as to one who attaches; the end, if there was one meanwhile.
async fn look_back(
    session: &mut Session,
    window: &mut Window,
    person: &mut Person,
    read_only: bool,
    up: bool,
) -> Result<Option<End>, ClientError> {
    match session.leave().await? {
        Some(Update::Exited(exit)) => return Ok(Some(End::Exited(exit))),
        Some(Update::Detached) => return Ok(Some(End::DetachedByOther)),
        Some(_) | None => {}
    }
    let size = window_size();
    let history =
        History { socket: session.socket().to_owned(), term: session.term().clone(), name: session.name().to_owned() };
    let end = pager::page(&history, person, up).await.map_err(ClientError::Broken)?;
    window.restart();
    session.refresh();
    let now = window_size();
    if let Some(size) = now.filter(|_| !read_only && now != size) {
        session.resize(size).await;
    }
    Ok(end)
}

/// Output from `offset` on, without the questions up to `answered`: somebody has answered them while this window did not.
fn unasked(hush: &mut Hush, offset: u64, data: &[u8], answered: u64) -> Vec<u8> {
    let settled = usize::try_from(answered.saturating_sub(offset)).unwrap_or(usize::MAX).min(data.len());
    let (settled, open) = data.split_at(settled);
    let mut out = hush.hush(settled);
    out.append(&mut hush.pass(open));
    out
}

/// What this window shows: the terminal's output as it is, but for what would be done with the clipboard, or, where the sizes differ, what
/// fits of it.
struct Window {
    fitted: Option<Fitted>,
    /// Since when what is shown is older than what is known.
    stale_since: Option<Instant>,
    clipboard: Clipboard,
}

impl Window {
    /// Nothing of it is on the window any more.
    fn restart(&mut self) {
        (self.fitted, self.stale_since) = (None, None);
        self.clipboard.restart();
    }

    /// The whole screen has come.
    fn screen(&mut self, size: Size, data: &[u8]) -> io::Result<()> {
        if window_size().is_none_or(|window| window == size) {
            self.restart();
            return show(&self.clipboard.pass(data));
        }
        if self.fitted.is_none() {
            show(CLEAN)?;
            show(b"\x1b[?1049h")?;
        }
        self.fitted = Fitted::new(size, data).ok();
        self.paint()
    }

    /// Output has come; whether the whole screen is needed to go on.
    fn output(&mut self, data: &[u8]) -> io::Result<bool> {
        let Some(fitted) = &mut self.fitted else { return show(&self.clipboard.pass(data)).map(|()| false) };
        let fed = fitted.feed(data);
        self.stale_since.get_or_insert_with(Instant::now);
        Ok(fed.is_err())
    }

    /// The terminal's size has changed; whether the whole screen is needed to go on.
    fn resized(&mut self, size: Size) -> bool {
        let fits = window_size().is_none_or(|window| window == size);
        match &mut self.fitted {
            None => !fits,
            Some(_) if fits => true,
            Some(fitted) => {
                self.stale_since.get_or_insert_with(Instant::now);
                fitted.resize(size).is_err()
            }
        }
    }

    /// The window's own size has changed, and the terminal's does not; whether the whole screen is needed to go on.
    fn turned(&mut self) -> io::Result<bool> {
        match &self.fitted {
            Some(fitted) if window_size().is_some_and(|window| window != fitted.size()) => self.paint().map(|()| false),
            Some(_) | None => Ok(true),
        }
    }

    fn is_stale(&self) -> bool {
        self.stale_since.is_some()
    }

    fn paint_at(&self) -> Instant {
        self.stale_since.unwrap_or_else(Instant::now) + FRAME
    }

    fn paint(&mut self) -> io::Result<()> {
        self.stale_since = None;
        match (&self.fitted, window_size()) {
            (Some(fitted), Some(window)) => show(fitted.paint(window).as_bytes()),
            _ => Ok(()),
        }
    }
}

/// Lines to be shown before the screen.
struct Backlog {
    socket: PathBuf,
    term: TermRef,
    lines: u64,
}

impl Backlog {
    /// Puts the last lines that left the screen before `offset` into the window's scrollback, as long as nobody leaves; the end, if
    /// somebody does.
    async fn show(self, offset: u64, person: &mut Person) -> Result<Option<End>, ClientError> {
        let mut client = Client::connect(&self.socket).await?;
        let (format, to) = (HistoryFormat::Ansi, Some(offset));
        let req =
            client.request(Op::History { term: self.term, format, from: 0, to, tail: Some(self.lines), timed: false }).await?;
        loop {
            let incoming = tokio::select! {
                biased;
                end = person.end() => return Ok(Some(end)),
                incoming = client.next() => incoming?,
            };
            match incoming {
                Incoming::Err { error, .. } => return Err(error.into()),
                Incoming::Event(Event::Lines { data, .. }) => show(&with_returns(&data.0)).map_err(ClientError::Broken)?,
                Incoming::Event(Event::End { req: ended }) if ended == req => break,
                Incoming::Ok { .. } | Incoming::Event(_) => {}
            }
        }
        set_aside_screen(window_size()).map_err(ClientError::Broken)?;
        Ok(None)
    }
}

/// Lines as a terminal in raw mode wants them.
fn with_returns(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() + lines.len() / 32);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => out.extend_from_slice(&[line, b"\r\n"].concat()),
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// Scrolls what the window shows, down to the cursor, into its scrollback: what is drawn next erases it.
fn set_aside_screen(size: Option<Size>) -> io::Result<()> {
    let rows = size.map_or(0, |size| usize::from(size.rows()));
    show(&b"\n".repeat(rows.saturating_sub(1)))
}

/// Shows a line of kaval's own, over what stands at the top.
fn notice(text: &str) -> io::Result<()> {
    show(format!("\x1b7\x1b[1;1H\x1b[7m kaval: {text} \x1b[m\x1b8").as_bytes())
}

fn respawning(exit: Option<ExitInfo>, at_ms: u64) -> String {
    let what = exit.map_or_else(|| "its pty is gone".to_owned(), |exit| exit.to_string());
    format!("{what}; it is started again in {}", table::duration(until(at_ms)))
}

fn reaping(at_ms: u64) -> String {
    format!("idle; it is hung up in {} unless something is typed", table::duration(until(at_ms) + HALF_A_SECOND))
}

/// How long it is until then, milliseconds since the Unix epoch.
fn until(at_ms: u64) -> Duration {
    (UNIX_EPOCH + Duration::from_millis(at_ms)).duration_since(SystemTime::now()).unwrap_or_default()
}
