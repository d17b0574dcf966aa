//! `kaval history`: what a terminal has put out, in one of several forms, over restarts of the supervisor.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{
    Failure, Sockets,
    args::{History, HistoryFormat},
    commands, passing, reconnect, table,
};
use crate::{
    client::{Client, ClientError, Incoming, body},
    wire::{self, CommandInfo, Event, HistoryOk, Op, TermRef},
};

pub(super) async fn history(sockets: &Sockets, args: &History) -> Result<ExitCode, Failure> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(Failure::new(Failure::USAGE, format!("--from {from} is behind --to {to}: nothing lies between them")));
    }
    let (mut client, socket) = sockets.connect().await?;
    let mut reading = Reading::new(socket, args);
    while let Some(lost) = reading.follow(client).await? {
        client = reconnect(&reading.socket, lost).await?;
    }
    if reading.tabulates {
        commands::print(&table::commands(&commands_in(&reading.listed)?, io::stdout().is_terminal()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn format_of(args: &History) -> wire::HistoryFormat {
    match (args.json, args.format) {
        _ if args.commands => wire::HistoryFormat::Commands,
        (true, _) => wire::HistoryFormat::Json,
        (false, HistoryFormat::Text) => wire::HistoryFormat::Text,
        (false, HistoryFormat::Ansi) => wire::HistoryFormat::Ansi,
        (false, HistoryFormat::Raw) => wire::HistoryFormat::Raw,
    }
}

fn commands_in(lines: &[u8]) -> Result<Vec<CommandInfo>, Failure> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(Failure::FAILED, format!("the supervisor sent what is no list of commands: {error}")))
}

/// Where the stream stands, over connections.
struct Reading {
    socket: PathBuf,
    term: TermRef,
    format: wire::HistoryFormat,
    from: u64,
    to: Option<u64>,
    tail: Option<u64>,
    /// Where raw output goes on if nothing of it is missing: lines tell of what is missing by themselves.
    expected: Option<u64>,
    /// Lines that would come again if the connection were lost now.
    unsettled: Vec<u8>,
    /// What is shown as a table once it is all there.
    listed: Vec<u8>,
    tabulates: bool,
}

impl Reading {
    fn new(socket: PathBuf, args: &History) -> Self {
        let (format, from) = (format_of(args), args.from.unwrap_or(0));
        let expected = (format == wire::HistoryFormat::Raw && args.tail.is_none()).then_some(from);
        Self {
            socket,
            term: args.name.as_str().into(),
            format,
            from,
            to: args.to,
            tail: args.tail,
            expected,
            unsettled: Vec::new(),
            listed: Vec::new(),
            tabulates: args.commands && !args.json,
        }
    }

    /// Writes what comes on one connection: `None` at the stream's end, or why it can be asked for again.
    async fn follow(&mut self, mut client: Client) -> Result<Option<ClientError>, Failure> {
        self.unsettled.clear();
        let Self { term, format, from, to, tail, .. } = &*self;
        let op = Op::History { term: term.clone(), format: *format, from: *from, to: *to, tail: *tail };
        let stream = match client.request(op).await {
            Ok(stream) => stream,
            Err(error) => return passing(error).map(Some),
        };
        loop {
            match client.next().await {
                Ok(Incoming::Ok { frame, .. }) => self.note_gap(body::<HistoryOk>(&frame)?.floor),
                Ok(Incoming::Event(Event::Output { req, offset, data })) if req == stream => {
                    self.take_output(offset, &data.0)?
                }
                Ok(Incoming::Event(Event::Lines { req, data, next, more })) if req == stream => {
                    self.take_lines(&data.0, (!more).then_some(next))?;
                }
                Ok(Incoming::Event(Event::End { req })) if req == stream => return Ok(None),
                Ok(Incoming::Event(_)) => {}
                Ok(Incoming::Err { error, .. }) => return passing(error.into()).map(Some),
                Err(error) => return passing(error).map(Some),
            }
        }
    }

    fn take_output(&mut self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        self.note_gap(offset);
        let end = offset + data.len() as u64;
        self.expected = self.expected.map(|_| end);
        (self.from, self.tail) = (end, None);
        commands::write_all(data)
    }

    /// Takes lines in; with all those before `next` they are there.
    fn take_lines(&mut self, data: &[u8], next: Option<u64>) -> Result<(), Failure> {
        self.unsettled.extend_from_slice(data);
        let Some(next) = next else { return Ok(()) };
        (self.from, self.tail) = (next, None);
        let lines = std::mem::take(&mut self.unsettled);
        if self.tabulates {
            self.listed.extend_from_slice(&lines);
            return Ok(());
        }
        commands::write_all(&lines)
    }

    /// Says on stderr, once, that raw output is missing before `offset`.
    fn note_gap(&mut self, offset: u64) {
        if let Some(from) = self.expected.take_if(|expected| *expected < offset) {
            let name = match &self.term {
                TermRef::Name(name) => name.clone(),
                TermRef::Id(id) => id.to_string(),
            };
            let note = format!("kaval: {name}: output from {from} to before {offset} is no longer kept\n");
            let _ = io::stderr().write_all(note.as_bytes());
        }
    }
}
