//! What each request does: one small function an op, from the wire's words to the actors' and back.

use std::{
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use actix::{Addr, MailboxError};
use kaval_actors::{
    Name, Size, TermId,
    pty::Fate,
    registry::{EndEvents, Histogram, List, Listing, Page, Standing},
    supervisor::{
        Create, CreateError, EndAll, Find, Kill, KillError, NoSuchTerm, Remove, RemoveError,
        manifest::{Record, State},
    },
    terminal::{
        Attach, AttachFrom as From, ClientId, Input, InputError, Mode, Resize, ResizeError, SnapshotBody, SnapshotKind,
        TakeSnapshot, Terminal,
    },
};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    admin,
    attach::Attachment,
    connection::Session,
    events,
    foreground::Foreground,
    history::{self, Wanted},
    lines, search, status,
};
use crate::{
    vitals::BUDGET,
    wire::{
        AttachFrom, AttachMode, AttachOk, Code, Data, DetachOk, Empty, FRAME_BYTES_MAX, LsOk, Moment, NewOk, Op, Request,
        ScreenFormat, ScreenOk, TermInfo, TermRef, WireError,
    },
};

/// How long a terminal that is being created or restarted is waited for.
const START_MAX: Duration = Duration::from_secs(10);
const START_RETRY: Duration = Duration::from_millis(10);
/// How long the streams may take to tell that everything has ended.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
const FAREWELL_RETRY: Duration = Duration::from_millis(5);
/// How long what was asked before a restart began may take: most takes a few milliseconds, but a child need never read its input.
const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// Bytes of a listing that one answer carries; the rest of a frame is for the answer itself.
const LISTING_BYTES_MAX: usize = FRAME_BYTES_MAX - 1024;

pub(super) type Answer<T> = Result<T, WireError>;

/// Does one request. Those that open or close streams, type or resize are done before the next is read, so that they keep their
/// order; the others go on by themselves.
pub(super) async fn perform(session: &Rc<Session>, Request { req, op }: Request) {
    match op {
        Op::Attach { term, size, from, mode } => {
            let asked = Instant::now();
            match attach(session, req, &term, size, from, mode).await {
                Ok((ok, terminal, attached)) => {
                    Histogram::Attach.record(asked.elapsed());
                    let id = TermId(ok.id);
                    session.reply(req, Ok(ok)).await;
                    let attachment = Attachment::begin(session, req, id, terminal, attached);
                    session.attachments.borrow_mut().insert(req, attachment);
                }
                Err(error) => session.reply::<Empty>(req, Err(error)).await,
            }
        }
        Op::Events { term, from } => events::follow(session, req, term, from).await,
        Op::Search(asked) => search::begin(session, req, asked).await,
        Op::Detach { stream: Some(stream), term: None, client: None } => {
            let attachment = session.attachments.borrow_mut().remove(&stream);
            let following = session.followings.borrow_mut().remove(&stream);
            let search = session.searches.borrow_mut().remove(&stream);
            let answer = match (attachment, following, search) {
                (Some(attachment), _, _) => {
                    attachment.close().await;
                    Ok(DetachOk { detached: 1 })
                }
                (None, Some(following), _) => {
                    following.close().await;
                    Ok(DetachOk { detached: 1 })
                }
                (None, None, Some(search)) => {
                    search.cancel();
                    Ok(DetachOk { detached: 1 })
                }
                (None, None, None) => Err(WireError::new(Code::BadRequest, format!("request {stream} has no stream open"))),
            };
            session.reply(req, answer).await;
        }
        Op::Input { term, client, seq, data } => {
            let delivered = input(session, &term, client, seq, data).await;
            spawn(session, req, async move |session: &Session| {
                let answer = match delivered {
                    Ok(delivered) => {
                        delivered.await.unwrap_or(Err(InputError::Ended)).map_err(input_error(&term)).map(|()| Empty {})
                    }
                    Err(error) => Err(error),
                };
                session.reply(req, answer).await;
            })
            .await;
        }
        Op::Resize { term, size } => {
            let answer = resize(session, &term, size).await;
            session.reply(req, answer).await;
        }
        other => spawn(session, req, async move |session: &Session| independent(session, req, other).await).await,
    }
}

/// Runs `work`, which answers `req`, beside the connection's reading, once there is a place for it.
pub(super) async fn spawn<F: AsyncFnOnce(&Session) + 'static>(session: &Rc<Session>, req: u64, work: F) {
    let Ok(place) = session.pending.clone().acquire_owned().await else { return };
    let session = session.clone();
    actix_rt::spawn(async move {
        tokio::select! {
            () = work(&session) => {}
            () = overdue(&session) => session.reply::<Empty>(req, Err(ending())).await,
        }
        drop(place);
    });
}

/// Resolves when the supervisor is being restarted and can no longer wait for what it was asked.
async fn overdue(session: &Session) {
    session.hub.closing.cancelled().await;
    sleep(ANSWER_GRACE).await;
}

async fn independent(session: &Session, req: u64, op: Op) {
    match op {
        Op::New { name, command, cwd, env, size, token, if_absent, no_log, restart } => {
            let asked = name.as_deref().map(str::parse::<Name>).transpose();
            let answer = match asked {
                Ok(name) => {
                    let size = size.unwrap_or(Size::DEFAULT);
                    let cwd = cwd.map(PathBuf::from);
                    let (logged, declared) = (!no_log, None);
                    let create = Create { name, argv: command, cwd, env, size, restart, logged, token, if_absent, declared };
                    new(session, create).await
                }
                Err(error) => Err(WireError::new(Code::BadRequest, error.to_string())),
            };
            session.reply(req, answer).await;
        }
        Op::Ls { after } => session.reply(req, ls(session, after).await).await,
        Op::Status => session.reply(req, status::status(session).await).await,
        Op::Kill { term, signal } => session.reply(req, kill(session, term, signal).await).await,
        Op::Rm { term } => session.reply(req, rm(session, term).await).await,
        Op::Screen { term, format, at } => session.reply(req, screen(session, &term, format, at).await).await,
        Op::Seek { term, time } => session.reply(req, lines::seek(session, &term, time).await).await,
        Op::Lines(asked) => session.reply(req, lines::lines(session, &asked).await).await,
        Op::History { term, format, from, to, tail, timed } => {
            history::history(session, req, &term, Wanted { format, from, to, tail, timed }).await;
        }
        Op::Rename { term, name } => session.reply(req, admin::rename(session, term, &name).await).await,
        Op::Clients { term } => session.reply(req, admin::clients(session, term).await).await,
        Op::Detach { stream, term, client } => {
            session.reply(req, admin::detach(session, stream, term, client).await).await;
        }
        Op::Reload => session.reply(req, session.hub.operator.reload().await).await,
        Op::LogLevel { level } => {
            session.reply(req, session.hub.operator.set_log_level(&level).map(|()| Empty {})).await;
        }
        Op::HeapProfile => admin::heap_profile(session, req).await,
        Op::Hibernate { term } => session.reply(req, admin::hibernate(session, term).await).await,
        Op::Upgrade { binary } => {
            let answer = session.hub.operator.upgrade(binary).await;
            let goes_on = answer.is_err();
            session.reply(req, answer).await;
            if !goes_on {
                session.hub.upgrading.notify_one();
            }
        }
        Op::Shutdown => {
            let answer = shutdown(session).await;
            let ended = answer.is_ok();
            session.reply(req, answer).await;
            if ended {
                farewell(session).await;
                session.hub.ended.notify_one();
            }
        }
        Op::Attach { .. } | Op::Events { .. } | Op::Search(_) | Op::Input { .. } | Op::Resize { .. } => {}
    }
}

/// Refuses what would take more memory where there is hardly any left.
pub(super) fn room() -> Answer<()> {
    match BUDGET.limited().filter(|_| BUDGET.is_critical()) {
        None => Ok(()),
        Some((bytes, source)) => {
            let limit = bytesize::ByteSize(bytes);
            let message = format!(
                "the supervisor is near the limit of its memory ({limit}, by {source}) and takes nothing new on: end or remove \
                 terminals (kaval ls shows what each takes), detach clients, or raise the limit"
            );
            Err(WireError::new(Code::Memory, message))
        }
    }
}

async fn new(session: &Session, create: Create) -> Answer<NewOk> {
    room()?;
    let created = session.hub.supervisor.send(create).await.map_err(gone)?.map_err(|error| {
        let code = match &error {
            CreateError::NameTaken(_) => Code::NameTaken,
            CreateError::TooMany { .. } => Code::Limit,
            CreateError::BadCommand(_) | CreateError::Failed(_) => Code::SpawnFailed,
        };
        WireError::new(code, error.to_string())
    })?;
    Ok(NewOk { id: created.id.0, name: created.name.to_string() })
}

async fn ls(session: &Session, after: Option<u32>) -> Answer<LsOk> {
    let list = List { after: after.map(TermId), bytes_max: LISTING_BYTES_MAX };
    let Page { listings, more } = session.hub.registry.send(list).await.map_err(gone)?;
    // What is in the foreground is read from /proc.
    let infos = spawn_blocking(|| listings.into_iter().map(info).collect());
    let terms = infos.await.map_err(|_| WireError::new(Code::Internal, "the terminals could not be listed"))?;
    Ok(LsOk { terms, more })
}

fn info(listing: Listing) -> TermInfo {
    let hibernated = listing.is_hibernated();
    let (memory_bytes, log_bytes) = (listing.memory().total(), listing.log.stored);
    let children = listing.children;
    let Listing { card, report, .. } = listing;
    let (state, exit) = match card.standing {
        Standing::Live if hibernated => ("hibernated", None),
        Standing::Live => ("live", None),
        Standing::Restarting(Fate::Ended(exit)) | Standing::Exited(exit) => ("exited", Some(exit.into())),
        Standing::Restarting(Fate::Lost) | Standing::Lost => ("lost", None),
    };
    let waits = matches!(card.standing, Standing::Restarting(_));
    let report = report.as_deref();
    let marks = report.map(|report| report.marks.clone()).unwrap_or_default();
    let foreground = card.pid.filter(|_| exit.is_none()).and_then(Foreground::of);
    let (running, told_cwd) = (marks.running().map(str::to_owned), marks.cwd.map(PathBuf::from));
    let cwd = told_cwd.or_else(|| foreground.as_ref().and_then(|foreground| foreground.cwd.clone()));
    TermInfo {
        name: card.name.to_string(),
        id: card.id.0,
        state: state.to_owned(),
        pid: card.pid,
        size: report.map_or(card.size, |report| report.size),
        command: card.argv.clone(),
        cwd: cwd.as_ref().unwrap_or(&card.cwd).to_string_lossy().into_owned(),
        foreground: foreground.filter(|foreground| Some(foreground.pid) != card.pid).map(|foreground| foreground.program),
        running,
        progress: marks.progress,
        notification: marks.notification,
        title: report.map(|report| report.title.clone()).unwrap_or_default(),
        created: card.created_ms,
        last_output: report.and_then(|report| report.last_output_ms),
        clients: report.map_or(0, |report| report.clients),
        offset: report.map_or(card.offset, |report| report.offset),
        exit,
        restart: card.restart,
        respawns: card.respawns,
        respawn_at: waits.then_some(card.due_ms),
        short_lives: waits.then_some(card.short_lives),
        trouble: card.trouble.clone().filter(|_| waits),
        memory_bytes,
        log_bytes,
        child_cpu_seconds: children.map(|used| used.cpu.as_secs_f64()),
        child_cpu_percent: children.map(|used| used.share * 100.0),
        child_memory_bytes: children.map(|used| used.memory),
    }
}

async fn kill(session: &Session, term: TermRef, signal: Option<i32>) -> Answer<Empty> {
    let killed = session.hub.supervisor.send(Kill { selector: term.into(), signal }).await.map_err(gone)?;
    killed.map(|()| Empty {}).map_err(|error| {
        let code = match &error {
            KillError::NoSuchTerm(_) => Code::NoSuchTerm,
            KillError::Ended(_) => Code::Ended,
            KillError::BadSignal(_) => Code::BadRequest,
            KillError::Failed(..) => Code::Internal,
        };
        WireError::new(code, error.to_string())
    })
}

async fn rm(session: &Session, term: TermRef) -> Answer<Empty> {
    let removed = session.hub.supervisor.send(Remove(term.into())).await.map_err(gone)?;
    removed.map(|()| Empty {}).map_err(|error| {
        let code = match &error {
            RemoveError::NoSuchTerm(_) => Code::NoSuchTerm,
            RemoveError::Live(_) => Code::Live,
            RemoveError::Failed(..) => Code::Internal,
        };
        WireError::new(code, error.to_string())
    })
}

async fn screen(session: &Session, term: &TermRef, format: ScreenFormat, at: Option<Moment>) -> Answer<ScreenOk> {
    let (record, terminal) = find(session, term).await?;
    let kind = match format {
        ScreenFormat::Text => SnapshotKind::Text,
        ScreenFormat::Ansi => SnapshotKind::Ansi,
        ScreenFormat::Json => SnapshotKind::Cells,
    };
    let snapshot = match at {
        None => terminal.send(TakeSnapshot(kind)).await.map_err(gone)?,
        Some(at) => lines::screen_at(session, &record, &terminal, at, kind).await?,
    };
    let mut ok = ScreenOk {
        name: record.name.to_string(),
        id: record.id.0,
        offset: snapshot.offset,
        cwd: record.cwd.to_string_lossy().into_owned(),
        text: None,
        data: None,
        screen: None,
    };
    match snapshot.body {
        SnapshotBody::Text(text) => ok.text = Some(text),
        SnapshotBody::Ansi(data) => ok.data = Some(Data(data)),
        SnapshotBody::Cells(view) => ok.screen = Some(view),
    }
    Ok(ok)
}

async fn shutdown(session: &Session) -> Answer<Empty> {
    match session.hub.supervisor.send(EndAll).await.map_err(gone)? {
        0 => Ok(Empty {}),
        left => Err(WireError::new(Code::Internal, format!("{left} terminals did not end: see kaval ls"))),
    }
}

/// Waits until those who watched have been told how it ended, but not for one that does not listen.
async fn farewell(session: &Session) {
    let _ = session.hub.registry.send(EndEvents).await;
    let told = async {
        while Rc::strong_count(&session.hub.streams) > 1 {
            sleep(FAREWELL_RETRY).await;
        }
    };
    let _ = timeout(FAREWELL_MAX, told).await;
}

async fn attach(
    session: &Session,
    req: u64,
    term: &TermRef,
    size: Option<Size>,
    from: AttachFrom,
    mode: AttachMode,
) -> Answer<(AttachOk, Addr<Terminal>, kaval_actors::terminal::Attached)> {
    session.admit_stream(req)?;
    // One that goes on was there already.
    if from == AttachFrom::Screen {
        room()?;
    }
    let (record, terminal) = find(session, term).await?;
    if record.state == State::Lost {
        return Err(WireError::new(Code::Ended, lost(&record.name)));
    }
    let from = match from {
        AttachFrom::Offset(offset) => From::Offset(offset),
        AttachFrom::Screen => From::Screen,
    };
    let mode = match mode {
        AttachMode::Rw => Mode::ReadWrite,
        AttachMode::Ro => Mode::ReadOnly,
    };
    let program = session.program.get().cloned().unwrap_or_default();
    let attached = terminal.send(Attach { mode, size, from, program }).await.map_err(gone)?;
    let ok = AttachOk { id: record.id.0, name: record.name.to_string(), answered: attached.answered };
    Ok((ok, terminal, attached))
}

fn lost(name: &Name) -> String {
    format!(
        "terminal {name} is lost: its pty is gone, as after a reboot, and nothing runs in it; \
         read it with kaval history {name}, forget it with kaval rm {name}"
    )
}

/// Hands input over, in order; resolves later to whether the child got it.
async fn input(
    session: &Session,
    term: &TermRef,
    client: Option<String>,
    seq: u64,
    Data(data): Data,
) -> Answer<oneshot::Receiver<Result<(), InputError>>> {
    let (attached, terminal) = addressed(session, term).await?;
    let (reply, delivered) = oneshot::channel();
    let numbered = client.map(|client| (client, seq));
    terminal.send(Input { client: attached, numbered, data, reply }).await.map_err(gone)?;
    Ok(delivered)
}

fn input_error(term: &TermRef) -> impl FnOnce(InputError) -> WireError {
    let term = kaval_actors::supervisor::Selector::from(term.clone());
    move |error| {
        let code = match error {
            InputError::Ended => Code::Ended,
            InputError::Full | InputError::NoMemory => Code::Limit,
            InputError::ReadOnly => Code::ReadOnly,
        };
        WireError::new(code, format!("terminal {term} takes no input: {error}"))
    }
}

async fn resize(session: &Session, term: &TermRef, size: Size) -> Answer<Empty> {
    let (client, terminal) = addressed(session, term).await?;
    let resized = terminal.send(Resize { client, size }).await.map_err(gone)?;
    resized.map(|()| Empty {}).map_err(|error| {
        let code = match &error {
            ResizeError::Ended => Code::Ended,
            ResizeError::Refused(_) => Code::Internal,
        };
        let term = kaval_actors::supervisor::Selector::from(term.clone());
        WireError::new(code, format!("terminal {term} was not resized: {error}"))
    })
}

/// A terminal, and this connection's stream of it if it has one, by whatever it was called when that was opened.
async fn addressed(session: &Session, term: &TermRef) -> Answer<(Option<ClientId>, Addr<Terminal>)> {
    if let TermRef::Id(id) = *term
        && let Some((client, terminal)) = attachment(session, TermId(id))
    {
        return Ok((Some(client), terminal));
    }
    let (record, terminal) = find(session, term).await?;
    Ok((attachment(session, record.id).map(|(client, _)| client), terminal))
}

/// This connection's stream of that terminal, if it has one.
fn attachment(session: &Session, term: TermId) -> Option<(ClientId, Addr<Terminal>)> {
    let attachments = session.attachments.borrow();
    let mut same = attachments.values().filter(|attachment| attachment.term == term);
    same.next().map(|attachment| (attachment.client, attachment.terminal.clone()))
}

/// A terminal and its actor; one that is only just being started is waited for.
pub(super) async fn find(session: &Session, term: &TermRef) -> Answer<(Record, Addr<Terminal>)> {
    let look = async {
        loop {
            let found = session.hub.supervisor.send(Find(term.clone().into())).await.map_err(gone)?;
            let found = found.map_err(|error: NoSuchTerm| WireError::new(Code::NoSuchTerm, error.to_string()))?;
            match found.terminal {
                Some(terminal) if terminal.connected() => return Ok((found.record, terminal)),
                Some(_) | None => sleep(START_RETRY).await,
            }
        }
    };
    let late = |_| WireError::new(Code::Internal, "the terminal is not ready: try again".to_owned());
    tokio::select! {
        found = timeout(START_MAX, look) => found.map_err(late)?,
        () = session.hub.closing.cancelled() => Err(ending()),
    }
}

pub(super) fn gone(_: MailboxError) -> WireError {
    ending()
}

/// What who asks a terminal or supervisor that is no more is told.
pub(super) fn ending() -> WireError {
    WireError::new(Code::Restarting, "the supervisor or the terminal is being restarted: reconnect and ask again")
}
