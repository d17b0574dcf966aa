//! Lines by number, and screens of another time.
//!
//! ```text
//!   question ─► place to render ─► blocking thread: log::lines, replay ─► answer
//!                                        │ ▲ pages, anchors
//!                                        ▼ │
//!                                   terminal: journal, disk
//! ```
//!
//! **Invariants.** A question holds one of the places that history is rendered at, for one page. A page fits a frame.

use actix::Addr;
use kaval_actors::{
    Size,
    log::{
        lines::{self, Anchor, Ask, At, Frame, Item, Lines, Seek, Source},
        piece::{GapReason, Page, PageStart, Piece},
        render::{Line, plain},
        replay::draw,
    },
    mirror::Mirror,
    supervisor::manifest::Record,
    terminal::{FindAnchor, FindTime, ReadPage, Snapshot, SnapshotKind, Terminal, Unreadable},
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    connection::Session,
    history,
    ops::{self, Answer},
};
use crate::wire::{Code, DATA_BYTES_MAX, LineItem, LinesAsked, LinesAt, LinesOk, Moment, SeekOk, TermRef, WireError};

/// Most lines of a page.
const LINES_MAX: u64 = 10_000;
/// Bytes of lines at which a page ends: with one more line at its longest, and what goes with each, it still fits a frame.
const LINES_BYTES: usize = DATA_BYTES_MAX / 2;
/// Bytes of a line beside its text, in a frame.
const ITEM_BYTES: u64 = 100;
const _: () = assert!(LINES_MAX * ITEM_BYTES <= FRAME_REST_BYTES);
const FRAME_REST_BYTES: u64 = 1_000_000;
/// Output that is read at a time for a screen.
const PAGE_BYTES: usize = 256 << 10;

impl From<Unreadable> for WireError {
    fn from(error: Unreadable) -> Self {
        Self::new(Code::Internal, error.to_string())
    }
}

/// A page of lines.
pub(super) async fn lines(session: &Session, asked: &LinesAsked) -> Answer<LinesOk> {
    let (record, terminal) = ops::find(session, &asked.term).await?;
    let extent = Extent::of(&terminal, session).await?;
    let at = match asked.at {
        LinesAt::Line(line) => At::Line(line),
        LinesAt::Offset(offset) => At::Offset(extent.checked(&record, offset)?),
        LinesAt::Time(ms) => At::Offset(offset_at(&record, &terminal, ms).await?),
        LinesAt::End => At::End,
    };
    let ask = Ask {
        at,
        backwards: asked.back,
        lines: asked.max.min(LINES_MAX),
        bytes: LINES_BYTES,
        until: None,
        frames: asked.frames,
    };
    let floor = extent.floor;
    let work = move |source: &mut Terminals| {
        let floor_line = match floor {
            0 => Some(0),
            _ => source.anchor(Seek::After(floor))?.filter(|anchor| anchor.offset == floor).map(|anchor| anchor.line),
        };
        Ok((lines::page(source, ask)?, floor_line))
    };
    let (page, floor_line) = beside(session, &terminal, extent.end, work).await?;
    Ok(extent.answer(page, floor_line, asked.styled))
}

/// Where the last `count` lines begin, of those that left before `until` or of all in the history up to `end`, and how many lines of what is
/// drawn from there come before.
pub(super) async fn tail(
    session: &Session,
    terminal: &Addr<Terminal>,
    count: u64,
    until: Option<u64>,
    end: u64,
) -> Answer<(u64, u64)> {
    let work = move |source: &mut Terminals| {
        let first = lines::end(source, until)?.saturating_sub(count);
        if let Some(anchor) = source.anchor(Seek::Line(first))? {
            return Ok((anchor.offset, first - anchor.line));
        }
        // It is among the first that are kept, behind a note of what is not.
        let (at, bytes) = (At::Line(0), LINES_BYTES);
        let kept = lines::page(source, Ask { at, backwards: false, lines: 1, bytes, until, frames: false })?;
        let skipped = |kept: u64| first.checked_sub(kept).filter(|lines| *lines > 0).map_or(0, |lines| lines + 1);
        let noted = matches!(kept.items.first(), Some(Item::Note { .. }));
        Ok((0, if noted { kept.first.map_or(0, skipped) } else { first }))
    };
    beside(session, terminal, end, work).await
}

/// How far output had come at a time.
pub(super) async fn seek(session: &Session, term: &TermRef, ms: u64) -> Answer<SeekOk> {
    let (record, terminal) = ops::find(session, term).await?;
    let Extent { floor, end, .. } = Extent::of(&terminal, session).await?;
    Ok(SeekOk { offset: offset_at(&record, &terminal, ms).await?.min(end), floor, end })
}

/// The screen as it was.
pub(super) async fn screen_at(
    session: &Session,
    record: &Record,
    terminal: &Addr<Terminal>,
    at: Moment,
    kind: SnapshotKind,
) -> Answer<Snapshot> {
    let extent = Extent::of(terminal, session).await?;
    let (offset, until_ns) = match at {
        Moment::Offset(offset) => (extent.checked(record, offset)?, u64::MAX),
        Moment::Time(ms) => (offset_at(record, terminal, ms).await?.min(extent.end), ns(ms)),
    };
    if offset < extent.floor {
        return Err(extent.not_kept(record, offset));
    }
    let end = extent.end;
    let name = record.name.to_string();
    let work = move |source: &mut Terminals| {
        let mut mirror = None;
        let mut start = PageStart::Checkpoint(offset);
        loop {
            let page = source.page(start, offset, PAGE_BYTES)?;
            if mirror.is_none() && extent.floor > 0 && !matches!(page.pieces.first(), Some(Piece::Checkpoint { .. })) {
                let known = source.anchor(Seek::After(offset))?.map_or(end, |anchor| anchor.offset);
                return Err(extent.not_known(&name, offset, known));
            }
            let mirror = mirror.get_or_insert_with(|| Mirror::new(page.size.unwrap_or(Size::DEFAULT)));
            for piece in page.pieces.iter().filter(|piece| !is_later(piece, until_ns)) {
                draw(mirror, piece);
                // Nobody is to answer what was asked then.
                mirror.take_notices();
            }
            match page.next {
                Some(next) => start = PageStart::Offset(next),
                None => break,
            }
        }
        Ok(Snapshot::of(&mirror.unwrap_or_else(|| Mirror::new(Size::DEFAULT)), offset, kind))
    };
    beside(session, terminal, end, work).await
}

/// A resize that took effect where the output ended then, but afterwards.
fn is_later(piece: &Piece, until_ns: u64) -> bool {
    matches!(piece, Piece::Resize { time_ns, .. } if *time_ns >= until_ns)
}

/// The offset of the first byte that came at that time or later, in milliseconds since the Unix epoch.
async fn offset_at(record: &Record, terminal: &Addr<Terminal>, ms: u64) -> Answer<u64> {
    if ms < record.created_ms {
        let name = &record.name;
        return Err(WireError::new(Code::BadRequest, format!("{name} was not there yet at that time: it was created later")));
    }
    Ok(terminal.send(FindTime { time_ns: ns(ms) }).await.map_err(ops::gone)??)
}

fn ns(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

/// Does what takes a while, once there is a place for it, with the history up to `end`: what comes meanwhile is not waited for.
async fn beside<T: Send + 'static>(
    session: &Session,
    terminal: &Addr<Terminal>,
    end: u64,
    work: impl FnOnce(&mut Terminals) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let _place = session.hub.renderers.acquire().await.map_err(|_| ops::ending())?;
    let failed = |_| WireError::new(Code::Internal, "history could not be rendered: see the supervisor's log");
    let mut source = Terminals::new(terminal, end, session.hub.closing.clone());
    spawn_blocking(move || work(&mut source)).await.map_err(failed)?
}

/// A terminal's history up to an offset, read from a thread that may wait.
pub(super) struct Terminals {
    terminal: Addr<Terminal>,
    end: u64,
    runtime: Handle,
    /// Nobody waits for it any more.
    closing: CancellationToken,
}

impl Terminals {
    pub(super) fn new(terminal: &Addr<Terminal>, end: u64, closing: CancellationToken) -> Self {
        Self { terminal: terminal.clone(), end, runtime: Handle::current(), closing }
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, actix::MailboxError>>) -> Answer<T> {
        self.runtime.block_on(async {
            tokio::select! {
                answer = answer => answer.map_err(ops::gone),
                () = self.closing.cancelled() => Err(ops::ending()),
            }
        })
    }
}

impl Source for Terminals {
    type Error = WireError;

    fn page(&mut self, start: PageStart, to: u64, bytes_max: usize) -> Answer<Page> {
        self.wait(self.terminal.send(ReadPage { start, to: to.min(self.end), bytes_max }))
    }

    fn anchor(&mut self, seek: Seek) -> Answer<Option<Anchor>> {
        let find = |seek| Ok::<_, WireError>(self.wait(self.terminal.send(FindAnchor(seek)))??);
        let found: Option<Anchor> = find(seek)?;
        match (found, seek) {
            (Some(anchor), Seek::Line(_) | Seek::Offset(_)) if anchor.offset > self.end => find(Seek::Offset(self.end)),
            (Some(anchor), Seek::After(_)) => Ok(Some(anchor).filter(|anchor| anchor.offset <= self.end)),
            (found, _) => Ok(found),
        }
    }
}

/// How much of a history there is.
pub(super) struct Extent {
    pub(super) floor: u64,
    reason: Option<GapReason>,
    pub(super) end: u64,
}

impl Extent {
    pub(super) async fn of(terminal: &Addr<Terminal>, session: &Session) -> Answer<Self> {
        if session.hub.closing.is_cancelled() {
            return Err(ops::ending());
        }
        let Page { floor, end, pieces, .. } = history::page(terminal, PageStart::Offset(0), 1, 0).await?;
        let reason = pieces.iter().find_map(|piece| match piece {
            Piece::Gap { reason, .. } if floor > 0 => Some(*reason),
            Piece::Gap { .. } | Piece::Output { .. } | Piece::Resize { .. } | Piece::Checkpoint { .. } => None,
        });
        Ok(Self { floor, reason, end })
    }

    pub(super) fn why(&self) -> String {
        self.reason.map_or_else(|| "start".to_owned(), |reason| reason.to_string())
    }

    fn checked(&self, Record { name, .. }: &Record, offset: u64) -> Answer<u64> {
        if offset <= self.end {
            return Ok(offset);
        }
        let message = format!("offset {offset} of {name} is behind its end: there is output up to {}", self.end);
        Err(WireError::new(Code::BadRequest, message))
    }

    fn not_kept(&self, Record { name, .. }: &Record, offset: u64) -> WireError {
        let (floor, why) = (self.floor, self.why());
        WireError::new(Code::NotKept, format!("{name} at offset {offset} is not kept ({why}): it is kept from {floor} on"))
    }

    /// Of output whose beginning was removed, no screen is known up to the next checkpoint.
    fn not_known(&self, name: &str, offset: u64, known: u64) -> WireError {
        let why = self.why();
        WireError::new(
            Code::NotKept,
            format!("the screen of {name} at offset {offset} is not kept ({why}): it is known from {known} on"),
        )
    }

    fn answer(&self, page: Lines, floor_line: Option<u64>, styled: bool) -> LinesOk {
        let items = page.items.into_iter().map(|item| told(item, styled)).collect();
        let (before, after) = (page.before, page.after);
        LinesOk { items, before, after, floor: self.floor, floor_reason: self.why(), floor_line, end: self.end }
    }
}

fn told(item: Item, styled: bool) -> LineItem {
    let of_line = |line: Line, standing| LineItem {
        number: line.number,
        offset: line.offset,
        time: line.time_ns / 1_000_000,
        line: if styled { line.styled().to_owned() } else { line.text().into_owned() },
        continues: line.continues,
        standing,
        ..LineItem::default()
    };
    match item {
        Item::Line(line) => of_line(line, false),
        Item::Standing(line) => of_line(line, true),
        Item::Frame(Frame { number, offset, time_ns, is_open, styled: rows }) => LineItem {
            number: Some(number),
            offset,
            time: time_ns / 1_000_000,
            line: if styled { rows } else { plain(&rows) },
            standing: is_open,
            frame: true,
            ..LineItem::default()
        },
        Item::Note { from, to, reason } => {
            LineItem { offset: to, line: reason.note(from, to), missing: Some(to - from), ..LineItem::default() }
        }
    }
}
