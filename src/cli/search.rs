//! `kaval search`: lines of histories that match a pattern, the newest first, over restarts of the supervisor.
//!
//! ```text
//!   terminals, the newest first ─► search of one ─► found ─► printed as it comes
//!                                        └► searched ─► cursor, and a bar on stderr where that is a terminal and it takes long
//! ```
//!
//! **Invariant.** What was printed does not come again: the cursor goes with every line.

use std::{
    env,
    fmt::Write,
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};
use kaval_actors::log::search::Pattern;
use serde_json::json;

use super::{Failure, Sockets, args, commands, passing, reconnect};
use crate::{
    client::{Client, ClientError, Incoming, body},
    wire::{Event, MatchInfo, Op, SearchAsked, SearchOk, TermRef, WireError},
};

/// How long a search takes before it is told how far it is.
const QUIET: Duration = Duration::from_millis(500);
const DRAWS_PER_SECOND: u8 = 10;
const BAR: &str = "{msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec} ";
const NOTHING_FOUND: ExitCode = ExitCode::FAILURE;
const NAME: &str = "\x1b[35m";
const NUMBER: &str = "\x1b[32m";
const TIME: &str = "\x1b[2m";
const FOUND: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[m";

/// Where a search ended that was cut short: the terminal, by id, and the number of the line that everything from there on is searched;
/// without a number, nothing of that terminal. As `7:1234`, or `7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    id: u32,
    before: Option<u64>,
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (id, before) = text.split_once(':').map_or((text, None), |(id, before)| (id, Some(before)));
            Some(Self { id: id.parse().ok()?, before: before.map(str::parse).transpose().ok()? })
        };
        read().ok_or_else(|| format!("{text:?} is no cursor: use what a search that was cut short has printed"))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)?;
        self.before.map_or(Ok(()), |before| write!(f, ":{before}"))
    }
}

pub(super) async fn search(sockets: &Sockets, args: &args::Search) -> Result<ExitCode, Failure> {
    let (name, pattern) = match (args.all, &args.second) {
        (false, Some(pattern)) => (Some(args.first.as_str()), pattern),
        (true, None) => (None, &args.first),
        (false, None) => return Err(usage("what for? kaval search NAME PATTERN, or kaval search --all PATTERN")),
        (true, Some(_)) => return Err(usage("--all is for every terminal: it goes without a NAME")),
    };
    Pattern::new(pattern, args.literal, args.ignore_case).map_err(|error| usage(&error.to_string()))?;
    let (mut client, socket) = sockets.connect().await?;
    let terms = terminals(&mut client, name, args.resume).await?;
    let began = Instant::now();
    let mut searching = Searching {
        client,
        socket,
        args,
        pattern,
        until: args.budget.map(|budget| began + budget),
        left: args.limit,
        found: false,
        cursor: None,
        printer: Printer::new(args.json, began),
    };
    let is_through = searching.follow_all(&terms, name.is_none()).await;
    searching.printer.bar.finish_and_clear();
    if !is_through? {
        searching.tell_cursor()?;
    }
    Ok(if searching.found { ExitCode::SUCCESS } else { NOTHING_FOUND })
}

fn usage(message: &str) -> Failure {
    Failure::new(Failure::USAGE, message)
}

/// What is searched, in order, each before which line: the terminals created last come first, since that is an order that stays.
async fn terminals(
    client: &mut Client,
    name: Option<&str>,
    resume: Option<Cursor>,
) -> Result<Vec<(u32, Option<u64>)>, Failure> {
    let mut terms = client.list().await?;
    if let Some(name) = name {
        terms.retain(|term| term.name == name);
        let Some(term) = terms.first() else {
            return Err(Failure::new(Failure::NO_SUCH_TERM, format!("no such terminal: {name}")));
        };
        if resume.is_some_and(|cursor| cursor.id != term.id) {
            return Err(usage(&format!("--resume: that cursor is of another terminal than {name}")));
        }
    }
    terms.retain(|term| resume.is_none_or(|cursor| term.id <= cursor.id));
    let before = |id| resume.filter(|cursor| cursor.id == id).and_then(|cursor| cursor.before);
    Ok(terms.iter().rev().map(|term| (term.id, before(term.id))).collect())
}

/// A search under way, over terminals and connections.
struct Searching<'a> {
    client: Client,
    socket: PathBuf,
    args: &'a args::Search,
    pattern: &'a str,
    until: Option<Instant>,
    /// Lines that may still be found.
    left: Option<u64>,
    found: bool,
    cursor: Option<Cursor>,
    printer: Printer,
}

impl Searching<'_> {
    fn is_over(&self) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Searches terminals, each before a line; whether all to their ends. Those that are gone meanwhile may be passed over.
    async fn follow_all(&mut self, terms: &[(u32, Option<u64>)], may_be_gone: bool) -> Result<bool, Failure> {
        for &(id, before) in terms {
            self.cursor = Some(Cursor { id, before });
            if self.is_over() {
                return Ok(false);
            }
            match self.follow(id, before).await {
                Err(failure) if failure.code == Failure::NO_SUCH_TERM && may_be_gone => {}
                Ok(true) => {}
                ended => return ended,
            }
        }
        Ok(true)
    }

    /// Searches one terminal; whether to its end.
    async fn follow(&mut self, id: u32, mut before: Option<u64>) -> Result<bool, Failure> {
        loop {
            match self.follow_connection(id, before).await {
                Ok(is_through) => return Ok(is_through),
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Lost(lost)) => {
                    self.client = reconnect(&self.socket, lost).await?;
                    before = self.cursor.and_then(|cursor| cursor.before);
                }
            }
        }
    }

    async fn follow_connection(&mut self, id: u32, before: Option<u64>) -> Result<bool, Stop> {
        let asked = SearchAsked {
            term: TermRef::Id(id),
            pattern: self.pattern.to_owned(),
            literal: self.args.literal,
            ignore_case: self.args.ignore_case,
            limit: self.left,
            budget_ms: self.until.map(|until| until.saturating_duration_since(Instant::now()).as_millis() as u64),
            before,
        };
        let stream = self.client.request(Op::Search(asked)).await?;
        let mut is_through = false;
        loop {
            match self.client.next().await? {
                Incoming::Ok { frame, .. } => self.printer.begin(body(&frame)?, before.is_none())?,
                Incoming::Err { error, .. } => return Err(error.into()),
                Incoming::Event(Event::Found { matches, .. }) => {
                    for found in &matches {
                        self.printer.print(found)?;
                        self.found = true;
                        self.left = self.left.map(|left| left.saturating_sub(1));
                        self.cursor = Some(Cursor { id, before: Some(found.number) });
                    }
                }
                Incoming::Event(Event::Searched { before, offset, .. }) => {
                    is_through = before.is_none();
                    if before.is_some() {
                        self.cursor = Some(Cursor { id, before });
                    }
                    self.printer.show(offset);
                }
                Incoming::Event(Event::End { req }) if req == stream => return Ok(is_through),
                Incoming::Event(_) => {}
            }
        }
    }

    fn tell_cursor(&self) -> Result<(), Failure> {
        let Some(cursor) = self.cursor else { return Ok(()) };
        if self.args.json {
            return commands::print(&format!("{}\n", json!({ "resume": cursor.to_string() })));
        }
        eprintln!("kaval: not everything was searched: go on with --resume {cursor}");
        Ok(())
    }
}

/// Why one connection's search ended before it was through.
enum Stop {
    /// It can be asked for again.
    Lost(ClientError),
    Failed(Failure),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        passing(error).map_or_else(Self::Failed, Self::Lost)
    }
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Writes lines that match, and how far it is.
struct Printer {
    json: bool,
    colour: bool,
    zone: TimeZone,
    name: String,
    began: Instant,
    bar: ProgressBar,
    floor: u64,
    end: u64,
}

impl Printer {
    fn new(json: bool, began: Instant) -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = !json && !no_colour && io::stdout().is_terminal();
        Self {
            json,
            colour,
            zone: TimeZone::system(),
            name: String::new(),
            began,
            bar: ProgressBar::hidden(),
            floor: 0,
            end: 0,
        }
    }

    /// The next terminal's turn.
    fn begin(&mut self, ok: SearchOk, is_first: bool) -> Result<(), Failure> {
        let SearchOk { name, floor, floor_reason, end, .. } = ok;
        if floor > 0 && is_first {
            self.bar
                .suspend(|| eprintln!("kaval: {name}: {floor} bytes of output are not kept ({floor_reason}) and not searched"));
        }
        (self.name, self.floor, self.end) = (name, floor, end);
        self.bar.set_message(self.name.clone());
        Ok(())
    }

    /// Shows how far it is, once it takes long.
    fn show(&mut self, offset: u64) {
        if self.began.elapsed() < QUIET {
            return;
        }
        if self.bar.is_hidden() && io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
            let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style.progress_chars("=> "));
            self.bar = bar.with_message(self.name.clone());
        }
        self.bar.set_length(self.end.saturating_sub(self.floor));
        self.bar.set_position(self.end.saturating_sub(offset.max(self.floor)));
    }

    fn print(&self, found: &MatchInfo) -> Result<(), Failure> {
        let text = if self.json { self.object(found) } else { self.line(found) };
        self.bar.suspend(|| commands::print(&text))
    }

    fn object(&self, found: &MatchInfo) -> String {
        let mut object = json!(found);
        object["name"] = self.name.as_str().into();
        format!("{object}\n")
    }

    fn line(&self, found: &MatchInfo) -> String {
        let number = found.number.to_string();
        let (name, number) = (self.painted(NAME, &self.name), self.painted(NUMBER, &number));
        let time = self.painted(TIME, &self.time(found.time));
        format!("{name}:{number} {time} {}\n", self.highlighted(found))
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }

    fn time(&self, ms: u64) -> String {
        let time = Timestamp::from_millisecond(ms.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn highlighted(&self, MatchInfo { line, spans, .. }: &MatchInfo) -> String {
        if !self.colour {
            return line.clone();
        }
        let mut text = String::new();
        let mut rest = line.chars();
        let mut column = 0;
        for &(from, to) in spans.iter().filter(|(from, to)| from < to) {
            text.extend(rest.by_ref().take((from - column) as usize));
            let within: String = rest.by_ref().take((to - from) as usize).collect();
            _ = write!(text, "{FOUND}{within}{RESET}");
            column = to;
        }
        text.extend(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_others_are_refused() {
        for cursor in [Cursor { id: 7, before: Some(1234) }, Cursor { id: 0, before: None }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "7:", ":7", "a:1", "1:2:3", "-1:2"] {
            assert!(text.parse::<Cursor>().unwrap_err().contains("is no cursor"), "{text}");
        }
    }

    #[test]
    fn what_matches_is_coloured_where_it_stands_also_behind_wide_characters() {
        let found = MatchInfo {
            number: 3,
            offset: 0,
            time: 0,
            line: "漢 error, error".to_owned(),
            spans: vec![(2, 7), (9, 14)],
            continues: false,
            standing: false,
        };
        let mut printer = Printer::new(false, Instant::now());
        printer.colour = true;
        assert_eq!(printer.highlighted(&found), "漢 \x1b[1;31merror\x1b[m, \x1b[1;31merror\x1b[m");
        printer.colour = false;
        assert_eq!(printer.highlighted(&found), found.line);
    }
}
