//! `kaval events`: what happens, one JSON object a line, over restarts of the supervisor.

use std::{path::PathBuf, process::ExitCode};

use super::{Failure, Sockets, args::Events, commands, passing, reconnect};
use crate::{
    client::{Client, ClientError, Incoming, body},
    wire::{Event, EventInfo, EventsOk, Op, TermRef},
};

pub(super) async fn events(sockets: &Sockets, args: Events) -> Result<ExitCode, Failure> {
    let (mut client, socket) = sockets.connect().await?;
    let term = args.name.as_deref().map(TermRef::from);
    let mut stream = Stream { socket, term, next: args.from };
    while let Some(lost) = stream.follow(client).await? {
        client = reconnect(&stream.socket, lost).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the stream stands, over connections.
struct Stream {
    socket: PathBuf,
    term: Option<TermRef>,
    /// The number of the next event; `None` before the first answer.
    next: Option<u64>,
}

impl Stream {
    /// Prints what comes on one connection: `None` at the stream's end, or why it can be asked for again.
    async fn follow(&mut self, mut client: Client) -> Result<Option<ClientError>, Failure> {
        let asked = client.request(Op::Events { term: self.term.clone(), from: self.next }).await;
        if let Err(error) = asked {
            return Ok(Some(error));
        }
        loop {
            match client.next().await {
                Ok(Incoming::Ok { frame, .. }) => {
                    let EventsOk { term, next } = body(&frame)?;
                    self.next = Some(next);
                    self.term = term.map(TermRef::Id);
                }
                Ok(Incoming::Event(Event::Happened { event, .. })) => self.print(&event)?,
                Ok(Incoming::Event(Event::End { .. })) => return Ok(None),
                Ok(Incoming::Event(_)) => {}
                Ok(Incoming::Err { error, .. }) => return passing(error.into()).map(Some),
                Err(error) => return passing(error).map(Some),
            }
        }
    }

    fn print(&mut self, event: &EventInfo) -> Result<(), Failure> {
        self.next = Some(event.seq + 1);
        let line = serde_json::to_string(event).map_err(std::io::Error::other)?;
        commands::write_all(format!("{line}\n").as_bytes())
    }
}
