//! Administration: who is attached, new names, mirrors that are dropped. What only the daemon can do goes to its
//! [`Operator`](super::Operator).

use std::time::Duration;

use actix::Addr;
use futures_util::future::join_all;
use kaval_actors::{
    Name,
    supervisor::{
        FindAll, Rename, RenameError,
        manifest::{Record, State},
    },
    terminal::{ClientId, ClientView, Detach, Hibernate, HibernateError, ListClients, Mode, Terminal},
};
use tokio::time::timeout;

use super::{
    connection::Session,
    ops::{Answer, find, gone},
};
use crate::wire::{
    AttachMode, ClientInfo, ClientsOk, Code, DATA_BYTES_MAX, Data, DetachOk, Empty, Event, HeapProfileOk, HibernateOk, TermRef,
    WireError,
};

/// How long a listing waits for one terminal.
const LIST_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn rename(session: &Session, term: TermRef, name: &str) -> Answer<Empty> {
    let name: Name = name.parse().map_err(|error| bad_request(format!("{error}")))?;
    let renamed = session.hub.supervisor.send(Rename { selector: term.into(), name }).await.map_err(gone)?;
    renamed.map(|()| Empty {}).map_err(|error| {
        let code = match &error {
            RenameError::NoSuchTerm(_) => Code::NoSuchTerm,
            RenameError::NameTaken(_) => Code::NameTaken,
            RenameError::Failed(..) => Code::Internal,
        };
        WireError::new(code, error.to_string())
    })
}

pub(super) async fn clients(session: &Session, term: Option<TermRef>) -> Answer<ClientsOk> {
    let asked = terminals(session, term).await?.into_iter().map(async |(record, terminal)| {
        let views = timeout(LIST_PATIENCE, terminal.send(ListClients)).await;
        let mut views = views.ok().and_then(Result::ok).unwrap_or_default();
        views.sort_by_key(|view| view.id);
        views.into_iter().map(|view| info(&record, view)).collect::<Vec<_>>()
    });
    Ok(ClientsOk { clients: join_all(asked).await.concat() })
}

/// One terminal with its actor, or every one that has an actor, by id.
async fn terminals(session: &Session, term: Option<TermRef>) -> Answer<Vec<(Record, Addr<Terminal>)>> {
    match term {
        Some(term) => Ok(vec![find(session, &term).await?]),
        None => {
            let all = session.hub.supervisor.send(FindAll).await.map_err(gone)?;
            Ok(all.into_iter().filter_map(|found| Some((found.record, found.terminal?))).collect())
        }
    }
}

fn info(record: &Record, view: ClientView) -> ClientInfo {
    ClientInfo {
        id: view.id.0,
        term: record.id.0,
        name: record.name.to_string(),
        mode: match view.mode {
            Mode::ReadWrite => AttachMode::Rw,
            Mode::ReadOnly => AttachMode::Ro,
        },
        size: view.size,
        since: view.since_ms,
        client: view.program,
        waiting_bytes: view.waiting_bytes,
        behind_bytes: view.behind_bytes,
    }
}

/// Detaches clients of a terminal, whosever they are.
pub(super) async fn detach(
    session: &Session,
    stream: Option<u64>,
    term: Option<TermRef>,
    client: Option<u64>,
) -> Answer<DetachOk> {
    let (None, Some(term)) = (stream, term) else {
        return Err(bad_request("detach takes stream, or else term and perhaps client".to_owned()));
    };
    let (record, terminal) = find(session, &term).await?;
    let detached = terminal.send(Detach(client.map(ClientId))).await.map_err(gone)?;
    match client {
        Some(client) if detached == 0 => {
            let message = format!("terminal {} has no client {client}: see kaval clients {}", record.name, record.name);
            Err(WireError::new(Code::NoSuchClient, message))
        }
        Some(_) | None => Ok(DetachOk { detached }),
    }
}

pub(super) async fn hibernate(session: &Session, term: Option<TermRef>) -> Answer<HibernateOk> {
    let one = term.is_some();
    let mut terminals = terminals(session, term).await?;
    terminals.retain(|(record, _)| one || record.state == State::Live);
    let asked = terminals.into_iter().map(async |(record, terminal)| match terminal.send(Hibernate).await {
        Ok(done) => done.map_err(|error| not_hibernated(&record.name, &error)),
        Err(error) => Err(gone(error)),
    });
    let outcomes = join_all(asked).await;
    match outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
        Some(error) if one => Err(error.clone()),
        Some(_) | None => Ok(HibernateOk { hibernated: outcomes.iter().filter(|outcome| outcome.is_ok()).count() }),
    }
}

fn not_hibernated(name: &Name, error: &HibernateError) -> WireError {
    let code = match error {
        HibernateError::Ended => Code::Ended,
        HibernateError::NoCheckpoint(_) => Code::Limit,
    };
    WireError::new(code, format!("terminal {name} was not hibernated: {error}"))
}

/// Answers, then sends the profile in pieces.
pub(super) async fn heap_profile(session: &Session, req: u64) {
    let profile = match session.hub.operator.heap_profile().await {
        Ok(profile) => profile,
        Err(error) => return session.reply::<HeapProfileOk>(req, Err(error)).await,
    };
    session.reply(req, Ok(HeapProfileOk { bytes: profile.len() })).await;
    for start in (0..profile.len()).step_by(DATA_BYTES_MAX) {
        let data = Data(profile.slice(start..profile.len().min(start + DATA_BYTES_MAX)));
        if session.send(&Event::Piece { req, data }).await.is_err() {
            return;
        }
    }
    let _ = session.send(&Event::End { req }).await;
}

fn bad_request(message: String) -> WireError {
    WireError::new(Code::BadRequest, message)
}
