//! A stream of what happens, to one client.
//!
//! ```text
//!   registry: the last events, by number ◄── read from mine on ── stream ──► client
//!                      └── changed ───────────────────────────────▲
//! ```
//!
//! **Invariant.** A client that does not read holds nothing but its place: what is gone when it comes to it is told as `missed`.

use std::{collections::BTreeMap, io, rc::Rc};

use kaval_actors::{
    TermId,
    mirror::{Notification, Told},
    pty::Fate,
    registry::{self, Batch, FollowEvents, Followed, Happening, News, ReadEvents, Removal, TermNews},
    supervisor::Find,
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{connection::Session, ops};
use crate::{
    vitals::now_ms,
    wire::{Code, Empty, Event, EventInfo, EventsOk, ExitInfo, TermRef, WireError},
};

/// Events that are read at a time.
const BATCH_MAX: usize = 64;
/// The number of the first event that there is: one who asks for all from 0 on has missed nothing before it.
const FIRST_EVENT: u64 = 1;

/// A stream that is open.
pub(super) struct Following {
    task: JoinHandle<()>,
    /// Dropped to end the stream between two frames.
    going: oneshot::Sender<()>,
}

impl Following {
    /// Ends it, without a word to the client, behind a whole frame: the connection goes on.
    pub(super) async fn close(self) {
        drop(self.going);
        let _ = self.task.await;
    }

    /// Ends it at once: the connection is over.
    pub(super) fn end(self) {
        self.task.abort();
    }
}

/// Where a stream stands.
struct Place {
    next: u64,
    term: Option<TermId>,
    news: watch::Receiver<u64>,
}

/// Answers, and begins the stream.
pub(super) async fn follow(session: &Rc<Session>, req: u64, term: Option<TermRef>, from: Option<u64>) {
    let place = match begin(session, req, term, from).await {
        Ok(place) => place,
        Err(error) => return session.reply::<Empty>(req, Err(error)).await,
    };
    session.reply(req, Ok(EventsOk { term: place.term.map(|id| id.0), next: place.next })).await;
    let (going, stop) = oneshot::channel();
    let task = actix_rt::spawn(stream(session.clone(), req, place, stop));
    session.followings.borrow_mut().insert(req, Following { task, going });
}

async fn begin(session: &Session, req: u64, term: Option<TermRef>, from: Option<u64>) -> Result<Place, WireError> {
    session.admit_stream(req)?;
    let term = match term {
        Some(term) => Some(find(session, term, from.is_some()).await?),
        None => None,
    };
    let Followed { next, news } = session.hub.registry.send(FollowEvents).await.map_err(|_| ops::ending())?;
    Ok(Place { next: from.map_or(next, |from| from.max(FIRST_EVENT)), term, news })
}

/// A terminal's id. One who comes back may ask for one that was removed meanwhile: of that, too, there is something to tell.
async fn find(session: &Session, term: TermRef, coming_back: bool) -> Result<TermId, WireError> {
    let found = session.hub.supervisor.send(Find(term.clone().into())).await.map_err(|_| ops::ending())?;
    match (found, term) {
        (Ok(found), _) => Ok(found.record.id),
        (Err(_), TermRef::Id(id)) if coming_back => Ok(TermId(id)),
        (Err(error), _) => Err(WireError::new(Code::NoSuchTerm, error.to_string())),
    }
}

/// How a stream came to its end.
enum End {
    /// There can be no more.
    Told,
    /// It was closed.
    Closed,
    /// The registry died, or the supervisor ends: either is started again.
    Restarting,
}

async fn stream(session: Rc<Session>, req: u64, mut place: Place, stop: oneshot::Receiver<()>) {
    let _open = session.hub.streams.clone();
    match forward(&session, req, &mut place, stop).await {
        Ok(End::Told) => _ = session.send(&Event::End { req }).await,
        Ok(End::Restarting) => session.reply::<Empty>(req, Err(ops::ending())).await,
        Ok(End::Closed) | Err(_) => {}
    }
    session.followings.borrow_mut().remove(&req);
}

/// Sends events until there can be no more.
async fn forward(session: &Session, req: u64, place: &mut Place, mut stop: oneshot::Receiver<()>) -> io::Result<End> {
    loop {
        let read = tokio::select! {
            biased;
            () = session.hub.closing.cancelled() => return Ok(End::Restarting),
            _ = &mut stop => return Ok(End::Closed),
            read = place.read_on(session) => read,
        };
        let Batch { missed, events, next } = match read {
            Ok(batch) => batch,
            Err(end) => return Ok(end),
        };
        place.next = next;
        if let Some((from, to)) = missed {
            session.send(&Event::Happened { req, event: gap(from, to) }).await?;
        }
        for event in events {
            session.send(&Event::Happened { req, event: info(&event) }).await?;
            if place.term.is_some() && matches!(event.what, Happening::Removed(_)) {
                return Ok(End::Told);
            }
        }
    }
}

impl Place {
    /// What follows, once there is something.
    async fn read_on(&mut self, session: &Session) -> Result<Batch, End> {
        loop {
            self.news.mark_unchanged();
            let read = ReadEvents { from: self.next, term: self.term, max: BATCH_MAX };
            let batch = session.hub.registry.send(read).await.map_err(|_| End::Restarting)?;
            if batch.next != self.next {
                return Ok(batch);
            }
            self.news.changed().await.map_err(|_| End::Told)?;
        }
    }
}

/// Numbers that cannot be told: with the last of them as its own, so that asking from the next on leaves nothing out.
fn gap(from: u64, to: u64) -> EventInfo {
    let details = details([("from", json!(from)), ("to", json!(to))]);
    EventInfo { seq: to.saturating_sub(1), time: now_ms(), kind: "missed".to_owned(), term: None, name: None, details }
}

fn info(event: &registry::Event) -> EventInfo {
    let (kind, details) = words(&event.what);
    let (term, name) = event.term.as_ref().map(|(id, name)| (id.0, name.to_string())).unzip();
    EventInfo { seq: event.seq, time: event.time_ms, kind: kind.to_owned(), term, name, details }
}

type Details = BTreeMap<String, Value>;

fn details<const N: usize>(pairs: [(&str, Value); N]) -> Details {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

fn words(what: &Happening) -> (&'static str, Details) {
    match what {
        Happening::Terminal(News::Created) => ("created", details([])),
        Happening::Terminal(News::Adopted) => ("adopted", details([])),
        Happening::Terminal(News::Recalled) => ("recalled", details([])),
        Happening::Terminal(News::Exited(exit)) => ("exited", details([("exit", json!(ExitInfo::from(*exit)))])),
        Happening::Terminal(News::Lost) => ("lost", details([])),
        Happening::Terminal(News::Restarting { fate, due_ms, trouble }) => {
            let exit = match fate {
                Fate::Ended(exit) => json!(ExitInfo::from(*exit)),
                Fate::Lost => Value::Null,
            };
            let kind = match (trouble, fate) {
                (Some(_), _) => "respawn-failed",
                (None, Fate::Ended(_)) => "exited",
                (None, Fate::Lost) => "lost",
            };
            let details = details([("exit", exit), ("respawn_at", json!(due_ms)), ("trouble", json!(trouble))]);
            (kind, details.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        Happening::Terminal(News::Respawned { times }) => ("respawned", details([("respawns", json!(times))])),
        Happening::Terminal(News::Renamed { from }) => ("renamed", details([("from", json!(from))])),
        Happening::Terminal(News::ReapNotice { at_ms }) => ("reap-notice", details([("at", json!(at_ms))])),
        Happening::Terminal(News::Reaped) => ("reaped", details([])),
        Happening::Inside(TermNews::ReapAverted) => ("reap-averted", details([])),
        Happening::Removed(cause) => ("removed", details([("cause", json!(removal(*cause)))])),
        Happening::Resized(size) => ("resized", details([("cols", json!(size.cols())), ("rows", json!(size.rows()))])),
        Happening::Title(title) => ("title", details([("title", json!(title))])),
        Happening::Inside(TermNews::Attached { client }) => ("attached", details([("client", json!(client))])),
        Happening::Inside(TermNews::Detached { client }) => ("detached", details([("client", json!(client))])),
        Happening::Inside(TermNews::Lagged { client, from, to }) => {
            ("lagged", details([("client", json!(client)), ("from", json!(from)), ("to", json!(to))]))
        }
        Happening::Inside(TermNews::Bell { offset }) => ("bell", details([("offset", json!(offset))])),
        Happening::Inside(TermNews::Told { offset, told, took }) => {
            let (kind, mut details) = told_words(told);
            details.insert("offset".to_owned(), json!(offset));
            if let Some(took) = took {
                details.insert("took_ms".to_owned(), json!(took.as_millis() as u64));
            }
            (kind, details)
        }
        Happening::LogFault { kind } => ("log-fault", details([("fault", json!(kind))])),
        Happening::LogResumed => ("log-resumed", details([])),
        Happening::MemoryLevel { level } => ("memory-level", details([("level", json!(level))])),
        Happening::MemoryGrowth { per_minute } => ("memory-growth", details([("bytes_per_minute", json!(per_minute))])),
        Happening::UpgradeUndone { reason } => ("upgrade-undone", details([("reason", json!(reason))])),
        Happening::SupervisorRestarted { cause } => ("supervisor-restarted", details([("cause", json!(cause))])),
    }
}

fn removal(cause: Removal) -> &'static str {
    match cause {
        Removal::Asked => "asked",
        Removal::EndedMax => "ended_max",
        Removal::EndedAfter => "ended_after",
    }
}

fn told_words(told: &Told) -> (&'static str, Details) {
    match told {
        Told::Cwd(cwd) => ("cwd", details([("cwd", json!(cwd))])),
        Told::Notification(Notification { title, body }) => {
            ("notification", details([("title", json!(title)), ("body", json!(body))]))
        }
        Told::Progress(progress) => ("progress", details([("progress", json!(progress))])),
        Told::Clipboard { selection, bytes } => {
            ("clipboard", details([("selection", json!(selection)), ("bytes", json!(bytes))]))
        }
        Told::CommandStarted { line } => ("command-started", details([("line", json!(line))])),
        Told::CommandFinished { line, code } => ("command-finished", details([("line", json!(line)), ("code", json!(code))])),
    }
}
