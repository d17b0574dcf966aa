//! Searches: a stream of the lines in which a pattern is found, the newest first.
//!
//! ```text
//!   question ─► Pattern ─► turns of log::search, for TURN_MAX on a blocking thread, once there is a place ─► found, searched ─► client
//!                                ▲                                                                            │
//!                                └──────────────── the next, once the client has taken these ◄───────────────┘
//! ```
//!
//! **Invariants.** At most [`SEARCHERS_MAX`] threads search at once, whatever is asked and by whomever, beside those that render pages of
//! history; a client that does not read holds none of them. A search has what a turn found, a pattern, a page and a screen: some 8 MiB at most
//! while it has a place, the first two while it waits. It ends when its client has gone or cancels it.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use kaval_actors::log::search::{FOUND_MAX, Match, Pattern, Search};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{
    connection::Session,
    lines::{Extent, Terminals},
    ops::{self, Answer},
};
use crate::wire::{Code, DATA_BYTES_MAX, Empty, Event, MatchInfo, SearchAsked, SearchOk, WireError};

/// Searches that may be at work at once.
pub(super) const SEARCHERS_MAX: usize = 2;
/// How long one works before others, and its client, have their turn.
const TURN_MAX: Duration = Duration::from_millis(50);
/// How often a client is told how far it is, if it finds nothing.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Bytes of a line in a frame beside its text, and of a place in it.
const LINE_BYTES: usize = 120;
const SPAN_BYTES: usize = 11;

/// The searches of a connection, by their requests.
pub(super) type Searches = RefCell<HashMap<u64, CancellationToken>>;

/// Begins one; it can be cancelled from now on.
pub(super) async fn begin(session: &Rc<Session>, req: u64, asked: SearchAsked) {
    if let Err(error) = session.admit_stream(req) {
        return session.reply::<Empty>(req, Err(error)).await;
    }
    let cancelled = session.hub.closing.child_token();
    session.searches.borrow_mut().insert(req, cancelled.clone());
    let work = async move |session: &Session| {
        run(session, req, asked, &cancelled).await;
        session.searches.borrow_mut().remove(&req);
    };
    ops::spawn(session, req, work).await;
}

async fn run(session: &Session, req: u64, asked: SearchAsked, cancelled: &CancellationToken) {
    let began = Instant::now();
    let (search, source, ok) = match prepare(session, &asked, cancelled).await {
        Ok(prepared) => prepared,
        Err(error) => return session.reply::<Empty>(req, Err(error)).await,
    };
    session.reply(req, Ok(ok)).await;
    let budget = asked.budget_ms.map(Duration::from_millis);
    let work = Work {
        session,
        req,
        cancelled,
        left: asked.limit.unwrap_or(u64::MAX).max(1),
        ends: budget.map(|budget| began + budget),
    };
    match work.follow(search, source).await {
        Ok(()) => _ = session.send(&Event::End { req }).await,
        Err(error) => session.reply::<Empty>(req, Err(error)).await,
    }
}

async fn prepare(
    session: &Session,
    asked: &SearchAsked,
    cancelled: &CancellationToken,
) -> Answer<(Search, Terminals, SearchOk)> {
    let pattern = Pattern::new(&asked.pattern, asked.literal, asked.ignore_case);
    let pattern = pattern.map_err(|error| WireError::new(Code::BadRequest, error.to_string()))?;
    let (record, terminal) = ops::find(session, &asked.term).await?;
    let extent = Extent::of(&terminal, session).await?;
    let (floor, floor_reason, end) = (extent.floor, extent.why(), extent.end);
    let ok = SearchOk { id: record.id.0, name: record.name.to_string(), floor, floor_reason, end };
    let search = Search::new(Arc::new(pattern), end, asked.before);
    Ok((search, Terminals::new(&terminal, end, cancelled.clone()), ok))
}

/// A search that somebody waits for.
struct Work<'a> {
    session: &'a Session,
    req: u64,
    cancelled: &'a CancellationToken,
    /// Lines that may still be found.
    left: u64,
    /// When it is cut short.
    ends: Option<Instant>,
}

impl Work<'_> {
    /// Goes on to the end, or to where it is cut short. Without a client that hears, that is the end, too.
    async fn follow(mut self, mut search: Search, mut source: Terminals) -> Answer<()> {
        let mut told = Instant::now();
        // One turn comes in any case, so that who asks again gets on.
        while search.before().is_some() {
            let max = usize::try_from(self.left).unwrap_or(FOUND_MAX).min(FOUND_MAX);
            let found;
            (search, source, found) = match self.turn(search, source, max).await {
                Err(_) if self.is_unheard() => return Ok(()),
                turned => turned?,
            };
            self.left -= found.len() as u64;
            let is_due = told.elapsed() >= PROGRESS_EVERY;
            if self.tell(found).await.is_err() || (is_due && self.tell_progress(&search).await.is_err()) || self.is_unheard() {
                return Ok(());
            }
            told = if is_due { Instant::now() } else { told };
            if self.left == 0 || self.is_over() {
                break;
            }
        }
        _ = self.tell_progress(&search).await;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    fn is_unheard(&self) -> bool {
        (self.cancelled.is_cancelled() && !self.session.hub.closing.is_cancelled()) || self.session.is_gone()
    }

    /// Searches for a while, or until something is found, once there is a place for that.
    async fn turn(&self, mut search: Search, mut source: Terminals, max: usize) -> Answer<(Search, Terminals, Vec<Match>)> {
        let place = tokio::select! {
            place = self.session.hub.searchers.acquire() => place,
            () = self.cancelled.cancelled() => return Err(ops::ending()),
        };
        let _place = place.map_err(|_| ops::ending())?;
        let work = move || {
            let began = Instant::now();
            let mut found = Vec::new();
            while found.is_empty() && search.before().is_some() && began.elapsed() < TURN_MAX {
                found = search.turn(&mut source, max)?;
            }
            Ok((search, source, found))
        };
        let failed = |_| WireError::new(Code::Internal, "history could not be searched: see the supervisor's log");
        spawn_blocking(work).await.map_err(failed)?
    }

    /// Sends what was found, in frames.
    async fn tell(&self, found: Vec<Match>) -> std::io::Result<()> {
        let (mut matches, mut bytes) = (Vec::new(), 0);
        for found in found {
            let more = LINE_BYTES + found.text.len() + SPAN_BYTES * found.spans.len();
            if bytes + more > DATA_BYTES_MAX && !matches.is_empty() {
                self.session.send(&Event::Found { req: self.req, matches: std::mem::take(&mut matches) }).await?;
                bytes = 0;
            }
            bytes += more;
            matches.push(MatchInfo::from(found));
        }
        match matches.is_empty() {
            true => Ok(()),
            false => self.session.send(&Event::Found { req: self.req, matches }).await,
        }
    }

    async fn tell_progress(&self, search: &Search) -> std::io::Result<()> {
        self.session.send(&Event::Searched { req: self.req, before: search.before(), offset: search.offset() }).await
    }
}

impl From<Match> for MatchInfo {
    fn from(Match { number, offset, time_ns, continues, standing, text: line, spans }: Match) -> Self {
        Self { number, offset, time: time_ns / 1_000_000, line, spans, continues, standing }
    }
}
