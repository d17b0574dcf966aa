//! A window on a terminal's history: `kaval view`, and over an attached terminal, which goes on behind.
//!
//! ```text
//!   keys ────► state (pure) ──── next_ask ───► source ─► supervisor: lines, screen, history
//!   sizes ──►    │   ▲                            │ └─► search: one function
//!                │   └────────── answers ◄────────┘
//!                └─► view, draw, wrap (pure) ─► window
//! ```
//!
//! **Invariants.** Keys are heeded whatever is under way. One thing is asked for at a time, a page of some hundred lines, and the pages at hand
//! are bounded (cache). The window gets text and colours, never what else a program has put out. While this runs, nothing else draws there.
//!
//! Absent on purpose: raw mode, and putting the window back (tty, attach).

mod ask;
mod cache;
mod draw;
mod keys;
mod search;
mod source;
mod state;
mod view;
mod wrap;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, pin::Pin, process::ExitCode, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep_until},
};

use self::{
    ask::{Answer, Ask},
    source::Source,
    state::{Outcome, Pager},
};
use super::{
    Failure, Sockets,
    person::{Act, End, Person},
    tty::{CLEAN, RawTerminal, missing_tty, show, window_size},
};
use crate::{
    config::Config,
    places,
    wire::{Op, ScreenFormat, ScreenOk, TermRef},
};

/// How long something is under way before it is said.
const SAY_AFTER: Duration = Duration::from_millis(150);
/// Between two pictures that show only how far something has got.
const SAY_EVERY: Duration = Duration::from_millis(100);
/// A screen of its own; no wrapping, since rows are cut to fit; the wheel sends arrows.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?7l\x1b[?1007s\x1b[?1007h";
const LEAVE: &[u8] = b"\x1b[?1007r";

/// `kaval view`.
pub(super) async fn view(sockets: &Sockets, name: &str) -> Result<ExitCode, Failure> {
    if let Some(what) = missing_tty() {
        let message = format!("viewing needs a terminal, and {what} is none: use kaval history");
        return Err(Failure::new(Failure::FAILED, message));
    }
    let config =
        Config::read(places::config_file().as_deref()).map_err(|error| Failure::new(Failure::FAILED, super::chain(&error)))?;
    let (mut client, socket) = sockets.connect().await?;
    let (term, format) = (name.into(), ScreenFormat::Text);
    let ScreenOk { id, name, .. } = client.call(Op::Screen { term, format, at: None }).await?;
    drop(client);
    let mut person = Person::new(config.attach.detach_key)?;
    let terminal = RawTerminal::enter()?;
    let history = History { socket, term: TermRef::Id(id), name };
    let end = page(&history, &mut person, false).await;
    drop(terminal);
    match end? {
        Some(End::Signalled(signal)) => Ok(ExitCode::from(128 + signal)),
        Some(End::Detached | End::DetachedByOther | End::Exited(_)) | None => Ok(ExitCode::SUCCESS),
    }
}

/// Whose history it is.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) socket: PathBuf,
    pub(super) term: TermRef,
    pub(super) name: String,
}

type Answered = (Source, Ask, Result<Answer, Failure>);

/// Something under way.
struct Work {
    number: u64,
    since: Instant,
    answering: Pin<Box<dyn Future<Output = Answered>>>,
}

/// Shows it until somebody has seen enough, or is gone: then how. The window is left clean, and empty where it had been drawn on.
pub(super) async fn page(history: &History, person: &mut Person, page_up: bool) -> io::Result<Option<End>> {
    show(CLEAN)?;
    show(ENTER)?;
    let end = run(history, person, page_up).await;
    show(LEAVE)?;
    show(CLEAN)?;
    end
}

async fn run(history: &History, person: &mut Person, page_up: bool) -> io::Result<Option<End>> {
    let mut resized = signal(SignalKind::window_change())?;
    let teller = watch::Sender::new(String::new());
    let source = || Source::new(history.socket.clone(), history.term.clone(), teller.clone());
    let (mut idle, mut work) = (Some(source()), None::<Work>);
    let (mut pager, mut drawn) = (Pager::new(history.name.clone(), size(), page_up), String::new());
    loop {
        if work.take_if(|work| !pager.awaits(work.number)).is_some() {
            idle = Some(source());
        }
        if work.is_none()
            && let Some((number, ask)) = pager.next_ask()
        {
            let source = idle.take().unwrap_or_else(source);
            work = Some(Work { number, since: Instant::now(), answering: Box::pin(answer(source, ask)) });
        }
        let said = work.as_ref().filter(|work| work.since.elapsed() >= SAY_AFTER);
        let said = said.map(|_| if pager.is_busy() { teller.borrow().clone() } else { "reading".to_owned() });
        let picture = draw::screen(&pager, said.as_deref());
        if picture != drawn {
            show(picture.as_bytes())?;
            drawn = picture;
        }
        let say_at = work.as_ref().map(|work| (work.since + SAY_AFTER).max(Instant::now() + SAY_EVERY));
        let tick_at = pager.tick_in().map(|pause| Instant::now() + pause);
        tokio::select! {
            biased;
            act = person.next() => match act {
                Act::Typed(bytes) => {
                    if keys::keys(&bytes).into_iter().any(|key| pager.press(key) == Outcome::Quit) {
                        return Ok(None);
                    }
                }
                Act::Page { .. } => {}
                Act::Ended(end, _) => return Ok(Some(end)),
            },
            _ = resized.recv() => {
                pager.resize(size());
                drawn.clear();
            }
            (source, ask, answer) = done(&mut work) => {
                (idle, work) = (Some(source), None);
                match answer {
                    Ok(answer) => {
                        copy_out(&answer)?;
                        if pager.take(answer, &ask) == Outcome::Quit {
                            return Ok(None);
                        }
                    }
                    Err(failure) => pager.fail(failure.message),
                }
            }
            () = sleep_until(say_at.unwrap_or_else(Instant::now)), if say_at.is_some() => {}
            () = sleep_until(tick_at.unwrap_or_else(Instant::now)), if tick_at.is_some() => pager.tick(),
        }
    }
}

async fn answer(mut source: Source, ask: Ask) -> Answered {
    let answer = source.answer(&ask).await;
    (source, ask, answer)
}

/// What is under way, once it is done.
async fn done(work: &mut Option<Work>) -> Answered {
    match work {
        Some(work) => work.answering.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Puts what was copied into the window's clipboard.
fn copy_out(answer: &Answer) -> io::Result<()> {
    match answer {
        Answer::Copied { text, .. } => show(format!("\x1b]52;c;{}\x07", BASE64_STANDARD.encode(text)).as_bytes()),
        Answer::Page(_) | Answer::Found(_) | Answer::Command(_) | Answer::Saved { .. } => Ok(()),
    }
}

fn size() -> (usize, usize) {
    window_size().map_or((80, 24), |size| (size.cols().into(), size.rows().into()))
}
