//! Reading history back: raw as it is, or rendered to lines, in turns beside the main thread.
//!
//! ```text
//!   page (terminal: journal, disk) ─► Excerpt, on a blocking thread, a turn at a time ─► Printer ─► lines ─► client
//!        ▲                                                                                          │
//!        └────────────────────── the next, once the client has taken these ◄────────────────────────┘
//! ```
//!
//! **Invariants.** At most [`RENDERERS_MAX`] turns run at once, whatever is asked and by whomever, and a client that does not read holds none of
//! them. A reading holds a page and the lines of a turn. It ends when its client has gone.

mod timed;

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use actix::Addr;
use bytes::{Bytes, BytesMut};
use kaval_actors::{
    Size,
    log::{
        commands::{Command, Commands},
        excerpt::Excerpt,
        marks::{Mark, MarkPage},
        piece::{Page, PageStart, Piece},
        render::{LINE_BYTES_MAX, Line},
        scanner::Scanner,
    },
    registry::Histogram,
    terminal::{ReadMarks, ReadPage, Terminal},
};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    connection::Session,
    lines,
    ops::{self, Answer},
};
use crate::wire::{Code, DATA_BYTES_MAX, Data, Empty, Event, HistoryFormat, HistoryOk, TermRef, WireError};

/// Turns of rendering that may run at once: threads that are kept from nothing else.
pub(super) const RENDERERS_MAX: usize = 4;
/// Bytes of output that are read at a time.
const PAGE_BYTES: usize = DATA_BYTES_MAX / 2;
/// How long a turn of rendering takes, and about how many bytes of lines it gives.
const TURN_MAX: Duration = Duration::from_millis(50);
const TURN_BYTES: usize = DATA_BYTES_MAX / 2;
/// Most commands of a tail: they wait together.
const TAIL_COMMANDS_MAX: u64 = 10_000;

/// What of a history is wanted, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) format: HistoryFormat,
    pub(super) from: u64,
    pub(super) to: Option<u64>,
    pub(super) tail: Option<u64>,
    pub(super) timed: bool,
}

/// Why a reading ended before it was through.
enum Stop {
    /// The client has gone, or does not listen any more.
    Unheard,
    /// It is told.
    Failed(WireError),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Unheard
    }
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Failed(error)
    }
}

/// Answers, then sends what is wanted.
pub(super) async fn history(session: &Session, req: u64, term: &TermRef, wanted: Wanted) {
    let asked = Instant::now();
    let (reading, ok) = match begin(session, req, term, wanted).await {
        Ok(begun) => begun,
        Err(error) => return session.reply::<Empty>(req, Err(error)).await,
    };
    session.reply(req, Ok(ok)).await;
    let tail = wanted.tail;
    let result = match wanted.format {
        _ if tail == Some(0) => Ok(()),
        HistoryFormat::Raw if wanted.timed => reading.send_timed(tail).await,
        HistoryFormat::Raw => reading.send_raw(tail).await,
        HistoryFormat::Text => reading.send_lines(write_text, tail).await,
        HistoryFormat::Ansi => reading.send_lines(write_styled, tail).await,
        HistoryFormat::Json => reading.send_lines(write_object, tail).await,
        HistoryFormat::Commands => reading.send_commands(tail).await,
    };
    match result {
        Ok(()) => {
            let _ = session.send(&Event::End { req }).await;
            Histogram::History.record(asked.elapsed());
        }
        Err(Stop::Failed(error)) => session.reply::<Empty>(req, Err(error)).await,
        Err(Stop::Unheard) => {}
    }
}

async fn begin<'a>(session: &'a Session, req: u64, term: &TermRef, wanted: Wanted) -> Answer<(Reading<'a>, HistoryOk)> {
    let Wanted { from, to, tail, timed, format } = wanted;
    if tail.is_some() && from != 0 {
        return Err(WireError::new(Code::BadRequest, "history: tail goes without from"));
    }
    if timed && format != HistoryFormat::Raw {
        return Err(WireError::new(Code::BadRequest, "history: only a raw one is timed"));
    }
    let (_, terminal) = ops::find(session, term).await?;
    let Page { floor, end, .. } = page(&terminal, PageStart::Offset(0), 0, 0).await?;
    let upper = to.unwrap_or(end).min(end);
    if from > upper && from != 0 {
        let message =
            format!("history from {from} to {upper}: there is nothing between them (it is kept from {floor} to {end})");
        return Err(WireError::new(Code::BadRequest, message));
    }
    let is_newest = upper == end && (to.is_none() || tail.is_none());
    Ok((Reading { session, req, terminal, from, to: upper, floor, is_newest }, HistoryOk { floor, end }))
}

/// A page of a terminal's history, wherever it is kept. The one place where it is read.
pub(super) async fn page(terminal: &Addr<Terminal>, start: PageStart, to: u64, bytes_max: usize) -> Answer<Page> {
    terminal.send(ReadPage { start, to, bytes_max }).await.map_err(ops::gone)
}

/// A history being read for a client.
struct Reading<'a> {
    session: &'a Session,
    req: u64,
    terminal: Addr<Terminal>,
    from: u64,
    to: u64,
    floor: u64,
    /// Whether `to` is the end, so that what stands on the screen belongs to it.
    is_newest: bool,
}

impl Reading<'_> {
    async fn page(&self, start: PageStart, to: u64) -> Answer<Page> {
        if self.session.hub.closing.is_cancelled() {
            return Err(ops::ending());
        }
        page(&self.terminal, start, to, PAGE_BYTES).await
    }

    async fn send_raw(&self, tail: Option<u64>) -> Result<(), Stop> {
        let mut next = Some(self.raw_start(tail).await?);
        while let Some(at) = next.filter(|at| *at < self.to) {
            let page = self.page(PageStart::Offset(at), self.to).await?;
            for (offset, data) in outputs(joined(page.pieces)) {
                self.session.send(&Event::Output { req: self.req, offset, data: Data(data), time_us: None }).await?;
            }
            next = page.next;
        }
        Ok(())
    }

    /// Where raw output begins.
    async fn raw_start(&self, tail: Option<u64>) -> Result<u64, Stop> {
        let from = match tail {
            Some(lines) => self.raw_tail(lines).await?,
            None => self.from,
        };
        Ok(from.max(self.floor))
    }

    /// Commands that end in the range, and the one that runs: by the marks that the log has, then by those in output it has not got to yet.
    async fn send_commands(&self, tail: Option<u64>) -> Result<(), Stop> {
        let tail = tail.map(|max| max.min(TAIL_COMMANDS_MAX) as usize);
        let mut listing = Listing { commands: Commands::default(), ready: VecDeque::new(), from: self.from, to: self.to, tail };
        let (mut after, mut next, mut scanner) = (Some(0), Some(self.floor), Scanner::default());
        while let Some(at) = after.filter(|at| *at < self.to)
            && let Some(page) = self.marks(at).await?
        {
            listing.take(&page.marks);
            self.send_text(listing.take_ready(), page.next.unwrap_or(page.end).min(self.to)).await?;
            (after, next, scanner) = (page.next, Some(page.end), page.scanner);
        }
        while let Some(at) = next.filter(|at| *at < self.to) {
            let page = self.page(PageStart::Offset(at), self.to).await?;
            let marks;
            (scanner, marks) = self.scan(scanner, page.pieces).await?;
            listing.take(&marks);
            self.send_text(listing.take_ready(), page.next.unwrap_or(self.to)).await?;
            next = page.next;
        }
        self.send_text(listing.finish(self.is_newest), self.to).await
    }

    async fn marks(&self, after: u64) -> Result<Option<MarkPage>, Stop> {
        if self.session.hub.closing.is_cancelled() {
            return Err(ops::ending().into());
        }
        if self.session.is_gone() {
            return Err(Stop::Unheard);
        }
        Ok(self.terminal.send(ReadMarks { after }).await.map_err(ops::gone)?)
    }

    /// Finds the marks in a page, once there is a place for that.
    async fn scan(&self, mut scanner: Scanner, pieces: Vec<Piece>) -> Result<(Scanner, Vec<Mark>), Stop> {
        if self.session.is_gone() {
            return Err(Stop::Unheard);
        }
        let _place = self.session.hub.renderers.acquire().await.map_err(|_| ops::ending())?;
        let scan = move || {
            let marks = pieces.iter().flat_map(|piece| marks_in(&mut scanner, piece)).collect();
            (scanner, marks)
        };
        let failed = |_| WireError::new(Code::Internal, "commands could not be looked for: see the supervisor's log");
        Ok(spawn_blocking(scan).await.map_err(failed)?)
    }

    /// Where the last `lines` lines of raw output begin.
    async fn raw_tail(&self, lines: u64) -> Result<u64, Stop> {
        let (mut found, mut until) = (0, self.to);
        while until > self.floor {
            let from = until.saturating_sub(PAGE_BYTES as u64).max(self.floor);
            let page = self.page(PageStart::Offset(from), until).await?;
            for (offset, data) in outputs(page.pieces).into_iter().rev() {
                for behind in memchr::memrchr_iter(b'\n', &data).map(|at| offset + at as u64 + 1) {
                    // The newline at the very end ends the last line, and begins none.
                    found += u64::from(behind != self.to);
                    if found == lines {
                        return Ok(behind);
                    }
                }
            }
            until = from;
        }
        Ok(self.floor)
    }

    async fn send_lines(&self, write: WriteLine, tail: Option<u64>) -> Result<(), Stop> {
        let (start, skip) = match tail {
            Some(lines) => self.tail(lines).await?,
            // A line that has begun to leave before the range is drawn from its beginning.
            None => (self.from.saturating_sub(LINE_BYTES_MAX as u64), 0),
        };
        self.render(start, Printer { write: Some(write), skip, count: 0 }).await.map(|_| ())
    }

    /// Where to begin so that the last `lines` lines come, and how many come before them.
    async fn tail(&self, lines: u64) -> Result<(u64, u64), Stop> {
        let until = (!self.is_newest).then_some(self.to);
        Ok(lines::tail(self.session, &self.terminal, lines, until, self.to).await?)
    }

    /// Renders from the newest checkpoint at or before `start`, and sends what the printer prints: how many lines came, and where rendering
    /// began.
    async fn render(&self, start: u64, mut printer: Printer) -> Result<(u64, u64), Stop> {
        let first = self.page(PageStart::Checkpoint(start), self.to).await?;
        let began = first.pieces.first().map_or(self.to, |piece| match piece {
            Piece::Gap { from, .. } => *from,
            Piece::Output { offset, .. } | Piece::Resize { offset, .. } | Piece::Checkpoint { offset, .. } => *offset,
        });
        let to = (!self.is_newest).then_some(self.to);
        let mut excerpt = Excerpt::new(first.size.unwrap_or(Size::DEFAULT), self.from, to);
        let mut next = first.next;
        excerpt.push(first.pieces);
        loop {
            if excerpt.is_idle() {
                let Some(at) = next else { break };
                let page = self.page(PageStart::Offset(at), self.to).await?;
                next = page.next;
                excerpt.push(page.pieces);
            }
            if self.session.is_gone() {
                return Err(Stop::Unheard);
            }
            let text;
            (excerpt, printer, text) = self.turn(excerpt, printer).await?;
            self.send_text(text, excerpt.offset()).await?;
        }
        let text = printer.print(&excerpt.finish());
        self.send_text(text, self.to).await?;
        Ok((printer.count, began))
    }

    /// One turn of rendering, once there is a place for it.
    async fn turn(&self, mut excerpt: Excerpt, mut printer: Printer) -> Answer<(Excerpt, Printer, String)> {
        let failed = |_| WireError::new(Code::Internal, "history could not be rendered: see the supervisor's log");
        let _place = self.session.hub.renderers.acquire().await.map_err(|_| ops::ending())?;
        let turn = move || {
            let text = printer.print(&excerpt.render(TURN_MAX, TURN_BYTES));
            (excerpt, printer, text)
        };
        spawn_blocking(turn).await.map_err(failed)
    }

    async fn send_text(&self, text: String, next: u64) -> Result<(), Stop> {
        let mut rest = Bytes::from(text);
        while !rest.is_empty() {
            let data = rest.split_to(frame_length(&rest));
            let more = !rest.is_empty();
            self.session.send(&Event::Lines { req: self.req, data: Data(data), next, more }).await?;
        }
        Ok(())
    }
}

/// Commands on their way to a client.
struct Listing {
    commands: Commands,
    /// Those that have ended and were not sent.
    ready: VecDeque<Command>,
    from: u64,
    to: u64,
    /// Most that are sent: the last ones.
    tail: Option<usize>,
}

impl Listing {
    fn take(&mut self, marks: &[Mark]) {
        for mark in &marks[..marks.partition_point(|mark| mark.offset <= self.to)] {
            self.ready.extend(self.commands.take(mark).filter(|command| command.end > Some(self.from)));
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let surplus = self.tail.map_or(0, |max| self.ready.len().saturating_sub(max));
        self.ready.drain(..surplus);
    }

    /// What can be sent already.
    fn take_ready(&mut self) -> String {
        if self.tail.is_some() { String::new() } else { objects(self.ready.drain(..)) }
    }

    /// The rest, with the one that runs if that is wanted.
    fn finish(mut self, with_open: bool) -> String {
        self.ready.extend(std::mem::take(&mut self.commands).finish().filter(|_| with_open));
        self.shorten();
        objects(self.ready.into_iter())
    }
}

fn marks_in(scanner: &mut Scanner, piece: &Piece) -> Vec<Mark> {
    match piece {
        Piece::Output { offset, time_ns, data } => scanner.marks(*offset, *time_ns, data),
        Piece::Gap { .. } => {
            scanner.skip();
            Vec::new()
        }
        Piece::Resize { .. } | Piece::Checkpoint { .. } => Vec::new(),
    }
}

/// How much of `text` goes into one frame: whole lines, if one fits.
fn frame_length(text: &[u8]) -> usize {
    if text.len() <= DATA_BYTES_MAX {
        return text.len();
    }
    memchr::memrchr(b'\n', &text[..DATA_BYTES_MAX]).map_or(DATA_BYTES_MAX, |at| at + 1)
}

/// One JSON object a line.
fn objects(commands: impl Iterator<Item = Command>) -> String {
    commands.map(|command| json!(command).to_string() + "\n").collect()
}

fn outputs(pieces: Vec<Piece>) -> Vec<(u64, Bytes)> {
    let output = |piece| match piece {
        Piece::Output { offset, data, .. } => Some((offset, data)),
        Piece::Resize { .. } | Piece::Checkpoint { .. } | Piece::Gap { .. } => None,
    };
    pieces.into_iter().filter_map(output).collect()
}

/// Output that follows on output in one piece, as large as a frame takes, where its times are of no matter: it is read in pieces as small as
/// it came in.
pub(super) fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let Piece::Output { offset, time_ns, data } = piece else {
            all.push(piece);
            continue;
        };
        let mut whole = BytesMut::from(data);
        while let Some(Piece::Output { data, .. }) = pieces.next_if(|next| follows(offset, whole.len(), next)) {
            whole.extend_from_slice(&data);
        }
        all.push(Piece::Output { offset, time_ns, data: whole.freeze() });
    }
    all
}

fn follows(offset: u64, len: usize, next: &Piece) -> bool {
    match next {
        Piece::Output { offset: at, data, .. } => *at == offset + len as u64 && len + data.len() <= DATA_BYTES_MAX,
        Piece::Resize { .. } | Piece::Checkpoint { .. } | Piece::Gap { .. } => false,
    }
}

/// Writes a line, without the newline behind it.
type WriteLine = fn(&mut String, &Line);

fn write_text(text: &mut String, line: &Line) {
    text.push_str(&line.text());
}

fn write_styled(text: &mut String, line: &Line) {
    text.push_str(line.styled());
}

fn write_object(text: &mut String, line: &Line) {
    let mut object = json!({ "offset": line.offset, "line": line.text() });
    if line.continues {
        object["continues"] = true.into();
    }
    text.push_str(&object.to_string());
}

/// Counts lines, and writes those behind the first `skip`, if it writes at all.
struct Printer {
    write: Option<WriteLine>,
    skip: u64,
    count: u64,
}

impl Printer {
    fn print(&mut self, lines: &[Line]) -> String {
        let skipped = self.skip.saturating_sub(self.count).min(lines.len() as u64);
        self.count += lines.len() as u64;
        let mut text = String::new();
        if let Some(write) = self.write {
            for line in &lines[skipped as usize..] {
                write(&mut text, line);
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_joined_up_to_a_gap_and_to_what_a_frame_holds() {
        let piece = |offset: u64, len: usize| Piece::Output { offset, time_ns: 0, data: vec![b'x'; len].into() };
        let lengths =
            |pieces: Vec<_>| outputs(joined(pieces)).iter().map(|(offset, data)| (*offset, data.len())).collect::<Vec<_>>();
        let resize = Piece::Resize { offset: 5, time_ns: 0, size: Size::DEFAULT };
        assert_eq!(joined(vec![piece(3, 2), resize.clone(), piece(5, 1)]), [piece(3, 2), resize, piece(5, 1)]);
        assert_eq!(lengths(vec![piece(3, 2), piece(5, 1), piece(7, 1), piece(8, 1)]), [(3, 3), (7, 2)]);
        let max = DATA_BYTES_MAX as u64;
        assert_eq!(
            lengths(vec![piece(0, DATA_BYTES_MAX - 1), piece(max - 1, 1), piece(max, 1)]),
            [(0, DATA_BYTES_MAX), (max, 1)]
        );
    }

    #[test]
    fn frames_hold_whole_lines_where_one_fits() {
        let long = "x".repeat(DATA_BYTES_MAX + 3) + "\n";
        let lines = "line\n".repeat(DATA_BYTES_MAX / 4);
        assert_eq!(frame_length(b"a\nb\n"), 4);
        assert_eq!(frame_length(long.as_bytes()), DATA_BYTES_MAX);
        assert_eq!(frame_length(lines.as_bytes()), DATA_BYTES_MAX / 5 * 5);
    }
}
