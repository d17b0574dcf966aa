//! Where a pager's answers come from: a connection of its own to the supervisor, which is made again when it is lost.
//!
//! **Invariants.** One request at a time is under way, and no answer is longer than a page, but for what is copied: at most [`COPY_BYTES_MAX`].
//! A future that is dropped leaves nothing behind but a connection, and no half file.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{
    ask::{Answer, Ask, Query},
    search, wrap,
};
use crate::{
    cli::{Failure, chain, connect_over_a_restart, passing, reconnect},
    client::{Client, ClientError, Incoming},
    export::Target,
    wire::{
        Code, CommandInfo, Event, HistoryFormat, LineItem, LinesAsked, LinesAt, LinesOk, Moment, Op, ScreenFormat, ScreenOk,
        SearchAsked, TermRef,
    },
};

/// Most that is copied: more is no clipboard's.
const COPY_BYTES_MAX: usize = 1 << 20;
/// Lines that are fetched at once where many are.
const LINES: u64 = 4000;
/// Commands that are remembered: the newest.
const COMMANDS_MAX: usize = 100_000;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Source {
    socket: PathBuf,
    term: TermRef,
    client: Option<Client>,
    /// Where the output of commands begins, in order.
    commands: Vec<u64>,
    progress: watch::Sender<String>,
}

impl Source {
    pub(super) fn new(socket: PathBuf, term: TermRef, progress: watch::Sender<String>) -> Self {
        Self { socket, term, client: None, commands: Vec::new(), progress }
    }

    /// Says how far it has got.
    pub(super) fn tell(&self, progress: String) {
        self.progress.send_replace(progress);
    }

    /// Answers.
    pub(super) async fn answer(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::Page { at, back, max, frames, .. } => Ok(Answer::Page(self.lines(*at, *back, *max, true, *frames).await?)),
            Ask::Find(query) => {
                self.tell(format!("looking for {:?}", query.text));
                Ok(Answer::Found(search::find(self, query).await?))
            }
            Ask::Command { line, back } => {
                self.tell("looking for commands".to_owned());
                Ok(Answer::Command(self.command(*line, *back).await?))
            }
            Ask::Copy { from, to } => self.copy(*from, *to).await,
            Ask::Save { lines, path } => self.save(*lines, path).await,
        }
    }

    /// Lines without colours and frames.
    pub(super) async fn plain(&mut self, at: LinesAt, back: bool, max: u64) -> Result<LinesOk, Failure> {
        self.lines(at, back, max, false, false).await
    }

    async fn lines(&mut self, at: LinesAt, back: bool, max: u64, styled: bool, frames: bool) -> Result<LinesOk, Failure> {
        self.call(Op::Lines(LinesAsked { term: self.term.clone(), at, back, max, styled, frames })).await
    }

    async fn call<T: DeserializeOwned>(&mut self, op: Op) -> Result<T, Failure> {
        Ok(self.ask(op).await??)
    }

    /// Asks, over as many connections as it takes; the answer, or why there is none.
    async fn ask<T: DeserializeOwned>(&mut self, op: Op) -> Result<Result<T, ClientError>, Failure> {
        loop {
            let mut client = self.connected().await?;
            match client.call(op.clone()).await {
                Err(error) if error.is_passing() => self.client = Some(reconnect(&self.socket, error).await?),
                answer => {
                    self.client = Some(client);
                    return Ok(answer);
                }
            }
        }
    }

    /// The connection, to be put back once its answer has come.
    async fn connected(&mut self) -> Result<Client, ClientError> {
        match self.client.take() {
            Some(client) => Ok(client),
            None => connect_over_a_restart(&self.socket).await,
        }
    }

    /// The last line before one that matches.
    pub(super) async fn search(&mut self, query: &Query) -> Result<Option<u64>, Failure> {
        let mut before = Some(query.from);
        while let Some(line) = before {
            match self.search_before(query, line).await {
                Ok(Searched::Found(line)) => return Ok(Some(line)),
                Ok(Searched::Until(next)) => before = next.filter(|next| *next < line),
                Err(error) => self.client = Some(reconnect(&self.socket, passing(error)?).await?),
            }
        }
        Ok(None)
    }

    async fn search_before(&mut self, query: &Query, line: u64) -> Result<Searched, ClientError> {
        let mut client = self.connected().await?;
        let asked = SearchAsked {
            term: self.term.clone(),
            pattern: query.text.clone(),
            literal: false,
            ignore_case: query.any_case,
            limit: Some(1),
            budget_ms: None,
            before: Some(line),
        };
        let stream = client.request(Op::Search(asked)).await?;
        let (mut found, mut until) = (None, None);
        loop {
            match client.next().await? {
                Incoming::Event(Event::Found { matches, .. }) => found = found.or(matches.first().map(|found| found.number)),
                Incoming::Event(Event::Searched { before, .. }) => {
                    until = before;
                    let at = before.map_or_else(String::new, |line| format!(", at line {line}"));
                    self.tell(format!("looking for {:?}{at}", query.text));
                }
                Incoming::Event(Event::End { req }) if req == stream => break,
                Incoming::Err { error, .. } => return Err(error.into()),
                Incoming::Ok { .. } | Incoming::Event(_) => {}
            }
        }
        self.client = Some(client);
        Ok(found.map_or(Searched::Until(until), Searched::Found))
    }

    async fn copy(&mut self, from: u64, to: u64) -> Result<Answer, Failure> {
        let (mut text, mut lines) = (String::new(), 0);
        let mut at = Some(from);
        while let Some(line) = at.filter(|at| *at <= to) {
            let page = self.plain(LinesAt::Line(line), false, LINES.min(to - line + 1)).await?;
            lines += add_lines(&mut text, &page, to, line == from);
            if text.len() > COPY_BYTES_MAX {
                return Err(Failure::new(Failure::FAILED, "that is more than 1 MiB: select it again and save it with s"));
            }
            at = page.after.filter(|after| *after > line);
        }
        text.push('\n');
        Ok(Answer::Copied { text, lines })
    }

    async fn save(&mut self, lines: Option<(u64, u64)>, path: &Path) -> Result<Answer, Failure> {
        let unwritable = |error: &dyn std::error::Error| Failure::new(Failure::FAILED, chain(error));
        if path.exists() {
            return Err(Failure::new(Failure::FAILED, format!("{} is there already: choose another name", path.display())));
        }
        let mut target = Target::create(path).map_err(|error| unwritable(&error))?;
        let (from, to) = lines.unwrap_or((0, u64::MAX));
        let (mut saved, mut bytes, mut at) = (0, 0, Some(from));
        while let Some(line) = at.filter(|at| *at <= to) {
            let page = self.plain(LinesAt::Line(line), false, LINES.min((to - line).saturating_add(1))).await?;
            let mut text = String::new();
            saved += add_lines(&mut text, &page, to, line == from);
            if page.after.is_none_or(|after| after <= line || after > to) {
                text.push('\n');
            }
            bytes += text.len() as u64;
            target.write_all(text.as_bytes()).map_err(|error| unwritable(&error))?;
            at = page.after.filter(|after| *after > line);
            self.tell(format!("saving, at line {}", at.unwrap_or(to)));
        }
        target.finish().map_err(|error| unwritable(&error))?;
        Ok(Answer::Saved { lines: saved, bytes })
    }

    /// The line of the command next to a line. Lines of commands are in the order of their output: it is halved until there.
    async fn command(&mut self, line: u64, back: bool) -> Result<Option<u64>, Failure> {
        self.see_commands().await?;
        let (mut low, mut high, mut found) = (0, self.commands.len(), None);
        while low < high {
            let middle = low + (high - low) / 2;
            let there = self.line_of(self.commands[middle]).await?;
            match (back, there) {
                // It is not kept any more.
                (_, None) => low = middle + 1,
                (true, Some(there)) if there < line => (found, low) = (Some(there), middle + 1),
                (true, Some(_)) => high = middle,
                (false, Some(there)) if there > line => (found, high) = (Some(there), middle),
                (false, Some(_)) => low = middle + 1,
            }
        }
        Ok(found)
    }

    /// Learns of those that are new.
    async fn see_commands(&mut self) -> Result<(), Failure> {
        loop {
            match self.read_commands().await {
                Ok(()) => return Ok(()),
                Err(error) => self.client = Some(reconnect(&self.socket, passing(error)?).await?),
            }
        }
    }

    async fn read_commands(&mut self) -> Result<(), ClientError> {
        let mut client = self.connected().await?;
        let from = self.commands.last().copied().unwrap_or(0);
        let (term, format) = (self.term.clone(), HistoryFormat::Commands);
        let stream = client.request(Op::History { term, format, from, to: None, tail: None, timed: false }).await?;
        let mut rest = Vec::new();
        loop {
            match client.next().await? {
                Incoming::Event(Event::Lines { data, .. }) => {
                    rest.extend_from_slice(&data.0);
                    self.take_commands(&mut rest);
                }
                Incoming::Event(Event::End { req }) if req == stream => break,
                Incoming::Err { error, .. } => return Err(error.into()),
                Incoming::Ok { .. } | Incoming::Event(_) => {}
            }
        }
        self.client = Some(client);
        Ok(())
    }

    fn take_commands(&mut self, objects: &mut Vec<u8>) {
        let whole = memchr::memrchr(b'\n', objects).map_or(0, |at| at + 1);
        let known = self.commands.last().copied();
        let told = objects[..whole].split(|byte| *byte == b'\n').filter_map(|object| serde_json::from_slice(object).ok());
        self.commands.extend(told.map(|CommandInfo { offset, .. }| offset).filter(|offset| Some(*offset) > known));
        objects.drain(..whole);
        let surplus = self.commands.len().saturating_sub(COMMANDS_MAX);
        self.commands.drain(..surplus);
    }

    /// The number of the line that a command was typed on: of those that stood on the screen where its output began, the one before the cursor.
    async fn line_of(&mut self, offset: u64) -> Result<Option<u64>, Failure> {
        let (term, format, at) = (self.term.clone(), ScreenFormat::Json, Some(Moment::Offset(offset)));
        let then: ScreenOk = match self.ask(Op::Screen { term, format, at }).await? {
            Err(ClientError::Refused(error)) if error.code == Code::NotKept => return Ok(None),
            answer => answer?,
        };
        let Some(screen) = then.screen else { return Ok(None) };
        let rows = u64::from(screen.rows);
        let page = self.plain(LinesAt::Offset(offset), false, rows).await?;
        let numbered = page.items.iter().filter(|item| item.number.is_some());
        Ok(line_at_row(numbered, usize::from(screen.cursor.row).saturating_sub(1), usize::from(screen.cols)))
    }
}

/// How a search ended.
enum Searched {
    /// It is on the line of this number.
    Found(u64),
    /// It is on none from the line of this number on; on none at all.
    Until(Option<u64>),
}

/// The number of the line that has a row of a screen whose first lines these are.
fn line_at_row<'a>(lines: impl Iterator<Item = &'a LineItem>, row: usize, cols: usize) -> Option<u64> {
    let (mut next_row, mut last) = (0, None);
    for line in lines {
        last = line.number;
        next_row += wrap::height(&line.line, cols);
        if next_row > row {
            break;
        }
    }
    last
}

/// Adds the lines up to one to a text; how many those are.
fn add_lines(text: &mut String, page: &LinesOk, to: u64, mut is_first: bool) -> u64 {
    let mut lines = 0;
    for item in page.items.iter().filter(|item| item.number.is_none_or(|number| number <= to)) {
        if !std::mem::take(&mut is_first) && !item.continues {
            text.push('\n');
        }
        text.push_str(&item.line);
        lines += u64::from(item.number.is_some() && !item.continues);
    }
    lines
}
