//! `kaval history`: what a terminal has put out, in one of several forms, over restarts of the supervisor.
//!
//! [`read`] is what `kaval export` reads with, too.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::json;

use super::{
    Failure, Sockets,
    args::{History, HistoryFormat, LineRange, Range},
    commands, passing, reconnect, table,
    when::When,
};
use crate::{
    client::{Client, ClientError, Incoming, body},
    export::Item,
    wire::{self, CommandInfo, Event, HistoryOk, LineItem, LinesAsked, LinesAt, LinesOk, Op, SeekOk, TermRef},
};

pub(super) async fn history(sockets: &Sockets, args: &History) -> Result<ExitCode, Failure> {
    if let Some(range) = args.lines {
        return lines(sockets, args, range).await;
    }
    let asked = Asked { name: &args.name, range: &args.range, format: format_of(args), timed: false };
    let mut printer = Printer { listed: Vec::new(), tabulates: args.commands && !args.json };
    read(sockets, &asked, &mut printer).await?;
    if printer.tabulates {
        commands::print(&table::commands(&commands_in(&printer.listed)?, io::stdout().is_terminal()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_times(args: &Range) -> Result<(), Failure> {
    if args.since.is_some_and(When::is_to_come) {
        return Err(Failure::new(Failure::USAGE, "--since is a time that is yet to come"));
    }
    match (args.since, args.until) {
        (Some(since), Some(until)) if since > until => {
            Err(Failure::new(Failure::USAGE, "--since is behind --until: nothing lies between them"))
        }
        _ => Ok(()),
    }
}

async fn offset_at(client: &mut Client, name: &str, time: u64) -> Result<u64, Failure> {
    let SeekOk { offset, .. } = client.call(Op::Seek { term: name.into(), time }).await?;
    Ok(offset)
}

/// Lines by number, page by page. What was written is not asked for again, whatever comes between.
async fn lines(sockets: &Sockets, args: &History, range: LineRange) -> Result<ExitCode, Failure> {
    let print = match format_of(args) {
        wire::HistoryFormat::Json => print_object,
        wire::HistoryFormat::Text | wire::HistoryFormat::Ansi => print_line,
        wire::HistoryFormat::Raw | wire::HistoryFormat::Commands => {
            return Err(Failure::new(Failure::USAGE, "--lines goes with text, ansi and json: raw output has no lines"));
        }
    };
    let (mut client, socket) = sockets.connect().await?;
    let styled = format_of(args) == wire::HistoryFormat::Ansi;
    let mut at = range.from;
    let mut is_first = true;
    while range.to.is_none_or(|to| at < to) {
        let max = range.to.map_or(u64::MAX, |to| to - at);
        let term = args.name.as_str().into();
        let asked = LinesAsked { term, at: LinesAt::Line(at), back: false, max, styled, frames: args.frames };
        let page: LinesOk = match client.call(Op::Lines(asked)).await {
            Ok(page) => page,
            Err(error) => {
                let lost = passing(error)?;
                client = reconnect(&socket, lost).await?;
                continue;
            }
        };
        if std::mem::take(&mut is_first) {
            check_found(&args.name, range, &page)?;
        }
        let is_wanted = |item: &&LineItem| item.number.is_none_or(|number| is_before(number, range.to));
        let text: String = page.items.iter().filter(is_wanted).map(print).collect();
        commands::write_all(text.as_bytes())?;
        match page.after {
            Some(after) if after > at => at = after,
            Some(_) | None => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_before(number: u64, to: Option<u64>) -> bool {
    to.is_none_or(|to| number < to)
}

/// Nothing there is an error, and says what there is instead.
fn check_found(name: &str, range: LineRange, page: &LinesOk) -> Result<(), Failure> {
    let LineRange { from, to } = range;
    let numbers: Vec<u64> = page.items.iter().filter_map(|item| item.number).collect();
    if numbers.iter().any(|number| is_before(*number, to)) || to == Some(from) {
        return Ok(());
    }
    let message = match numbers.first() {
        Some(first) => {
            format!("those lines of {name} are not kept ({}): the first that is has number {first}", page.floor_reason)
        }
        None if from > 0 => format!("{name} has no line {from} yet"),
        None => return Ok(()),
    };
    Err(Failure::new(Failure::FAILED, message))
}

fn print_line(item: &LineItem) -> String {
    item.line.clone() + "\n"
}

fn print_object(item: &LineItem) -> String {
    json!(item).to_string() + "\n"
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

/// Prints as it comes, or gathers what is to become a table.
struct Printer {
    listed: Vec<u8>,
    tabulates: bool,
}

impl Sink for Printer {
    fn begin(&mut self, _: HistoryOk) -> Result<(), Failure> {
        Ok(())
    }

    fn take(&mut self, item: Item<'_>, _: u64) -> Result<(), Failure> {
        match item {
            Item::Lines(lines) if self.tabulates => self.listed.extend_from_slice(lines),
            Item::Lines(data) | Item::Output { data, .. } => commands::write_all(data)?,
            Item::Screen { .. } | Item::Resized { .. } | Item::Missing { .. } => {}
        }
        Ok(())
    }
}

/// What of a history is wanted, and how.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) range: &'a Range,
    pub(super) format: wire::HistoryFormat,
    /// Raw, with times, sizes, and the screen that it begins on.
    pub(super) timed: bool,
}

/// Takes in what is read: each thing once, in order, whatever befalls the supervisor meanwhile.
pub(super) trait Sink {
    /// What there is. Comes first, and again after every reconnect.
    fn begin(&mut self, there: HistoryOk) -> Result<(), Failure>;

    /// A part of it, and the offset that has been read up to then.
    fn take(&mut self, item: Item<'_>, reached: u64) -> Result<(), Failure>;
}

/// Reads to the end.
pub(super) async fn read(sockets: &Sockets, asked: &Asked<'_>, sink: &mut impl Sink) -> Result<(), Failure> {
    if let (Some(from), Some(to)) = (asked.range.from, asked.range.to)
        && from > to
    {
        return Err(Failure::new(Failure::USAGE, format!("--from {from} is behind --to {to}: nothing lies between them")));
    }
    check_times(asked.range)?;
    let (mut client, socket) = sockets.connect().await?;
    let mut range = asked.range.clone();
    if let Some(When(time)) = range.since {
        range.from = Some(offset_at(&mut client, asked.name, time).await?);
    }
    if let Some(When(time)) = range.until {
        range.to = Some(offset_at(&mut client, asked.name, time).await?);
    }
    let mut reading = Reading::new(socket, &Asked { range: &range, ..*asked }, sink);
    while let Some(lost) = reading.follow(client).await? {
        client = reconnect(&reading.socket, lost).await?;
    }
    Ok(())
}

/// Where the stream stands, over connections.
struct Reading<'a, S> {
    sink: &'a mut S,
    socket: PathBuf,
    term: TermRef,
    format: wire::HistoryFormat,
    timed: bool,
    from: u64,
    to: Option<u64>,
    tail: Option<u64>,
    /// Where raw output goes on if nothing of it is missing: lines tell of what is missing by themselves.
    expected: Option<u64>,
    /// What would come again if the connection were lost now: lines, or a screen.
    unsettled: Vec<u8>,
    /// The screen that it begins on has come.
    is_drawn: bool,
    /// When the last timed event was.
    last_us: u64,
}

impl<'a, S: Sink> Reading<'a, S> {
    fn new(socket: PathBuf, asked: &Asked<'_>, sink: &'a mut S) -> Self {
        let (format, from) = (asked.format, asked.range.from.unwrap_or(0));
        let expected = asked.range.start().filter(|_| format == wire::HistoryFormat::Raw);
        Self {
            sink,
            socket,
            term: asked.name.into(),
            format,
            timed: asked.timed,
            from,
            to: asked.range.to,
            tail: asked.range.tail,
            expected,
            unsettled: Vec::new(),
            is_drawn: false,
            last_us: 0,
        }
    }

    /// Takes in what comes on one connection: `None` at the stream's end, or why it can be asked for again.
    async fn follow(&mut self, mut client: Client) -> Result<Option<ClientError>, Failure> {
        self.unsettled.clear();
        let Self { term, format, from, to, tail, timed, .. } = &*self;
        let op = Op::History { term: term.clone(), format: *format, from: *from, to: *to, tail: *tail, timed: *timed };
        let stream = match client.request(op).await {
            Ok(stream) => stream,
            Err(error) => return passing(error).map(Some),
        };
        loop {
            match client.next().await {
                Ok(Incoming::Ok { frame, .. }) => {
                    let there = body::<HistoryOk>(&frame)?;
                    self.sink.begin(there)?;
                    self.note_gap(there.floor);
                }
                Ok(Incoming::Event(Event::End { req })) if req == stream => return Ok(None),
                Ok(Incoming::Event(event)) => self.take(event)?,
                Ok(Incoming::Err { error, .. }) => return passing(error.into()).map(Some),
                Err(error) => return passing(error).map(Some),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Output { offset, data, time_us, .. } => self.take_output(offset, &data.0, time_us),
            Event::Lines { data, next, more, .. } => self.take_lines(&data.0, (!more).then_some(next)),
            Event::Screen { offset, cols, rows, data, more, .. } if !self.is_drawn => {
                self.unsettled.extend_from_slice(&data.0);
                if more {
                    return Ok(());
                }
                (self.is_drawn, self.from, self.tail) = (true, offset, None);
                let data = std::mem::take(&mut self.unsettled);
                self.sink.take(Item::Screen { cols, rows, data: &data }, offset)
            }
            // After a reconnect those at the offset come again.
            Event::Resized { offset, time_us: Some(time_us), .. } if offset == self.from && time_us <= self.last_us => Ok(()),
            Event::Resized { offset, cols, rows, time_us: Some(time_us), .. } => {
                self.last_us = time_us;
                self.sink.take(Item::Resized { cols, rows, time_us }, offset)
            }
            Event::Lagged { from, to, .. } => {
                self.note_gap(to);
                (self.from, self.expected) = (to, Some(to));
                self.sink.take(Item::Missing { bytes: to - from }, to)
            }
            Event::Screen { .. }
            | Event::Resized { .. }
            | Event::Respawning { .. }
            | Event::Reaping { .. }
            | Event::Exited { .. }
            | Event::Detached { .. }
            | Event::Found { .. }
            | Event::Searched { .. }
            | Event::Piece { .. }
            | Event::Happened { .. }
            | Event::End { .. } => Ok(()),
        }
    }

    fn take_output(&mut self, offset: u64, data: &[u8], time_us: Option<u64>) -> Result<(), Failure> {
        self.note_gap(offset);
        let end = offset + data.len() as u64;
        self.expected = self.expected.map(|_| end);
        (self.from, self.tail) = (end, None);
        self.last_us = time_us.unwrap_or(0);
        self.sink.take(Item::Output { data, time_us: self.last_us }, end)
    }

    /// Takes lines in; with all those before `next` they are there.
    fn take_lines(&mut self, data: &[u8], next: Option<u64>) -> Result<(), Failure> {
        self.unsettled.extend_from_slice(data);
        let Some(next) = next else { return Ok(()) };
        (self.from, self.tail) = (next, None);
        let lines = std::mem::take(&mut self.unsettled);
        self.sink.take(Item::Lines(&lines), next)
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
