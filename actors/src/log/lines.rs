//! Lines by their number: a page of them from anywhere in a history, forwards or backwards, at the cost of about one interval of checkpoints.
//!
//! ```text
//!            anchor: a checkpoint whose line number is known            anchor
//!   ─────────┼────────────────────────────┬───────────────────┬─────────┼──── gap ────┬──────────────────────┼────── end
//!            └ drawn, not given           └ lines A … B given ┘                       └ numbered back from ──┘   what stands
//! ```
//!
//! A line's number is how many lines had left the main screen before it, from the creation on; those that stand on the screen have the
//! numbers that come next, should they leave as they stand. Numbers never shift: what is removed or missing keeps those that it had.
//! Between lines there may be:
//! - **frames**: a stretch on the alternate screen is shown by what stood there at its end; of several between which no line left, by the last
//!   one's, and at the end of the history by what stands there. It has the number of the line that follows it.
//! - **notes** of what is missing. What stood on the screen where output is missing is given there as far as it cannot have left later;
//!   lines behind are numbered back from the next anchor.
//!
//! **Invariants.** Pages that follow each other, either way, give every line once. A page has at most so many lines and bytes, and draws
//! some [`WORK_BYTES_MAX`] at most as long as it has a line to give. Output without lines, however much, is leapt over from anchor to
//! anchor. Blocking; never on an actor's thread.

mod sifting;

use std::collections::VecDeque;

use super::{
    piece::{GapReason, Page, PageStart, Piece},
    render::{Line, Renderer, STRIDE_BYTES},
    sieve::Sieve,
};

pub(super) use self::sifting::Window;
use crate::Size;

/// Output that is read at a time.
const READ_BYTES: usize = 128 << 10;
/// The same where most of it is not drawn.
const SEARCHED_BYTES: usize = 512 << 10;
/// Output after which it is looked whether lines go on much later: two intervals of checkpoints.
const LEAP_BYTES: u64 = 512 << 10;
/// Output that is drawn for a page that has something to give: some 150 ms.
pub const WORK_BYTES_MAX: u64 = 8 << 20;

/// A checkpoint, and the number of the first line that leaves behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Where it was taken.
    pub offset: u64,
    /// The number.
    pub line: u64,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
}

/// Which anchor is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The newest whose line is this or one before it.
    Line(u64),
    /// The newest at or before this offset.
    Offset(u64),
    /// The first at or behind this offset.
    After(u64),
}

/// Where a history is read from.
pub trait Source {
    /// Why it cannot be read.
    type Error;

    /// As [`Reader::page`](super::reader::Reader::page) has it, and on into the journal.
    ///
    /// # Errors
    /// Its own.
    fn page(&mut self, start: PageStart, to: u64, bytes_max: usize) -> Result<Page, Self::Error>;

    /// Finds an anchor.
    ///
    /// # Errors
    /// Its own.
    fn anchor(&mut self, seek: Seek) -> Result<Option<Anchor>, Self::Error>;
}

/// Where a page begins, or, read backwards, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At this line.
    Line(u64),
    /// At the first line that left at or behind this offset.
    Offset(u64),
    /// Behind the last line.
    End,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Where.
    pub at: At,
    /// The lines before that, instead of those behind.
    pub backwards: bool,
    /// Most lines.
    pub lines: u64,
    /// Some most bytes of lines.
    pub bytes: usize,
    /// Only lines that left before this offset, and none that stand on the screen.
    pub until: Option<u64>,
    /// Whether full-screen stretches are shown.
    pub frames: bool,
}

/// Something on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A line that has left the screen.
    Line(Line),
    /// A line that stands on the screen.
    Standing(Line),
    /// What a full-screen program showed at the end of its stretch.
    Frame(Frame),
    /// Output is missing.
    Note {
        /// Its first byte.
        from: u64,
        /// The first byte behind it.
        to: u64,
        /// Why.
        reason: GapReason,
    },
}

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The number of the line that follows.
    pub number: u64,
    /// Where the stretch ended.
    pub offset: u64,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// It goes on.
    pub is_open: bool,
    /// Its rows, with `SGR` sequences, wrapped ones joined.
    pub styled: String,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// In order.
    pub items: Vec<Item>,
    /// The line to read on at backwards, if there is something before.
    pub before: Option<u64>,
    /// The line to read on at forwards; at the end of all `None`.
    pub after: Option<u64>,
    /// The number behind the last line on the page.
    pub next: u64,
    /// The number of the first line that is kept, if the page came by it.
    pub first: Option<u64>,
}

/// Reads a page.
///
/// # Errors
/// The source's.
pub fn page<S: Source>(source: &mut S, ask: Ask) -> Result<Lines, S::Error> {
    let line = match ask.at {
        At::Line(line) => line,
        At::Offset(offset) => lines_before(source, offset)?,
        At::End => end(source, ask.until)?,
    };
    if !ask.backwards {
        let (page, _) = Walk::range(source, line, line.saturating_add(ask.lines), ask)?;
        return Ok(page);
    }
    let mut lines = ask.lines;
    loop {
        let first = line.saturating_sub(lines);
        let (page, is_whole) = Walk::range(source, first, line, ask)?;
        if is_whole || lines <= 1 {
            return Ok(page);
        }
        lines = ((page.next - first) / 2).clamp(1, lines / 2);
    }
}

/// How many lines had left when the output had come to `offset`.
///
/// # Errors
/// The source's.
pub fn lines_before<S: Source>(source: &mut S, offset: u64) -> Result<u64, S::Error> {
    // One at the offset itself may have been taken behind a resize there, which belongs to what follows.
    let anchor = source.anchor(Seek::Offset(offset.saturating_sub(1)))?;
    let mut walk = Walk::new(source, Ask { until: Some(offset), ..NOTHING }, u64::MAX..u64::MAX);
    walk.go(anchor)?;
    Ok(walk.reached)
}

/// The number behind the last line: that stands on the screen, or that left before `until`.
///
/// # Errors
/// The source's.
pub fn end<S: Source>(source: &mut S, until: Option<u64>) -> Result<u64, S::Error> {
    match until {
        Some(until) => lines_before(source, until),
        None => {
            let anchor = source.anchor(Seek::Offset(u64::MAX))?;
            let mut walk = Walk::new(source, NOTHING, u64::MAX..u64::MAX);
            walk.go(anchor)?;
            Ok(walk.reached)
        }
    }
}

const NOTHING: Ask = Ask { at: At::End, backwards: false, lines: 0, bytes: usize::MAX, until: None, frames: false };

/// Where a way through a history ends that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    /// Output is read up to here.
    pub(super) offset: u64,
    /// What stands on the screen there belongs to it.
    pub(super) stands: bool,
}

/// Passes the lines of a range that leave from an anchor on, or from the floor, through a sieve; the number of the line that comes next.
///
/// # Errors
/// The source's.
pub(super) fn sift<S: Source>(
    source: &mut S,
    anchor: Option<Anchor>,
    wanted: std::ops::Range<u64>,
    bound: Bound,
    sieve: &mut Sieve,
) -> Result<u64, S::Error> {
    // Read backwards, nothing is given instead of lines that are not kept any more.
    let mut walk = Walk::new(source, Ask { backwards: true, ..NOTHING }, wanted);
    (walk.bound, walk.window) = (bound, std::mem::take(&mut sieve.window));
    walk.window.clear();
    walk.sieve = Some(sieve);
    walk.go(anchor)?;
    let (reached, window) = (walk.reached, walk.window);
    sieve.window = window;
    Ok(reached)
}

/// A way through a history, from an anchor on.
struct Walk<'a, S> {
    source: &'a mut S,
    ask: Ask,
    wanted: std::ops::Range<u64>,
    bound: Bound,
    /// Takes the lines, if they are searched.
    sieve: Option<&'a mut Sieve>,
    /// What waits of output that is searched.
    window: Window,
    renderer: Renderer,
    /// What the screen's own numbers are short of.
    base: u64,
    pieces: VecDeque<Piece>,
    next: Option<PageStart>,
    /// How far it is drawn.
    offset: u64,
    /// The number of the line that comes next.
    reached: u64,
    time_ns: u64,
    /// Output drawn in all, and since it was looked whether to leap.
    drawn: u64,
    undisturbed: u64,
    stretches: u64,
    frame: Option<Frame>,
    items: Vec<Item>,
    bytes: usize,
    /// It has begun at the floor, and goes on with what is first there.
    starts: bool,
    /// The first line that is kept, if it has come by.
    first: Option<u64>,
    at_end: bool,
}

impl<'a, S: Source> Walk<'a, S> {
    fn new(source: &'a mut S, ask: Ask, wanted: std::ops::Range<u64>) -> Self {
        Self {
            source,
            ask,
            wanted,
            bound: Bound { offset: u64::MAX, stands: true },
            sieve: None,
            window: Window::default(),
            renderer: Renderer::new(Size::DEFAULT),
            base: 0,
            pieces: VecDeque::new(),
            next: None,
            offset: 0,
            reached: 0,
            time_ns: 0,
            drawn: 0,
            undisturbed: 0,
            stretches: 0,
            frame: None,
            items: Vec::new(),
            bytes: 0,
            starts: false,
            first: None,
            at_end: false,
        }
    }

    /// The lines from `from` to before `to`, or as many of them as fit a page; whether that is all of them.
    fn range(source: &'a mut S, from: u64, to: u64, ask: Ask) -> Result<(Lines, bool), S::Error> {
        // A stretch that ended before the first line may have done so before the anchor, too.
        let sought = if ask.frames { from.checked_sub(1) } else { Some(from) };
        let anchor = match sought {
            Some(line) => source.anchor(Seek::Line(line))?,
            None => None,
        };
        let anchor = match (anchor, ask.until) {
            (Some(anchor), Some(until)) if anchor.offset >= until => source.anchor(Seek::Offset(until.saturating_sub(1)))?,
            (anchor, _) => anchor,
        };
        let mut walk = Self::new(source, ask, from..to);
        walk.go(anchor)?;
        let (from, to) = (walk.wanted.start, walk.wanted.end);
        let next = walk.reached.clamp(from, to.max(from));
        let is_whole = walk.at_end || walk.reached >= to;
        let before = (from > walk.first.unwrap_or(0)).then_some(from);
        let after = (!walk.at_end || walk.reached > to).then_some(next);
        Ok((Lines { items: walk.items, before, after, next, first: walk.first }, is_whole))
    }

    fn to(&self) -> u64 {
        self.ask.until.unwrap_or(self.bound.offset)
    }

    /// Walks until it has what is wanted, or as much as it may have.
    fn go(&mut self, anchor: Option<Anchor>) -> Result<(), S::Error> {
        match anchor {
            Some(anchor) => self.restart(anchor)?,
            None => self.start()?,
        }
        while !self.is_full() {
            if self.sift() {
                continue;
            }
            if let Some(piece) = self.pieces.pop_front() {
                self.step(piece)?;
                continue;
            }
            if self.undisturbed >= LEAP_BYTES && self.is_drawn() {
                self.leap()?;
                continue;
            }
            let Some(start) = self.next.take() else {
                self.finish();
                return Ok(());
            };
            let bytes = if self.sieve.is_some() { SEARCHED_BYTES } else { READ_BYTES };
            let page = self.source.page(start, self.to(), bytes)?;
            self.pieces.extend(page.pieces);
            self.next = page.next.map(PageStart::Offset);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let has_some = self.sieve.is_none() && self.reached > self.wanted.start;
        (self.reached >= self.wanted.end && self.wanted.end < u64::MAX)
            || (has_some && (self.bytes >= self.ask.bytes || self.drawn >= WORK_BYTES_MAX))
    }

    /// Begins at the floor.
    fn start(&mut self) -> Result<(), S::Error> {
        let page = self.source.page(PageStart::Checkpoint(0), self.to(), READ_BYTES)?;
        self.starts = true;
        let size = match page.size {
            Some(size) => size,
            None => self.size_behind(page.floor)?,
        };
        self.renderer = Renderer::new(size);
        self.pieces.extend(page.pieces);
        self.next = page.next.map(PageStart::Offset);
        Ok(())
    }

    /// The size of the first screen behind an offset at which all that told of one was removed.
    fn size_behind(&mut self, floor: u64) -> Result<Size, S::Error> {
        let mut renderer = Renderer::new(Size::DEFAULT);
        if let Some(Anchor { offset, .. }) = self.source.anchor(Seek::After(floor))?
            && let Some(screen) = self.source.page(PageStart::Checkpoint(offset), offset, 0)?.pieces.first()
        {
            renderer.take(screen);
        }
        Ok(renderer.size())
    }

    /// Goes on from an anchor.
    fn restart(&mut self, anchor: Anchor) -> Result<(), S::Error> {
        let page = self.source.page(PageStart::Checkpoint(anchor.offset), self.to().max(anchor.offset), READ_BYTES)?;
        let mut pieces: VecDeque<_> = page.pieces.into();
        let mut renderer = Renderer::new(page.size.unwrap_or(Size::DEFAULT));
        match pieces.front() {
            // One that is older, since this one cannot be read.
            Some(Piece::Checkpoint { offset, .. }) if *offset < anchor.offset => {
                let offset = *offset;
                return match self.source.anchor(Seek::Offset(offset))?.filter(|older| older.offset < anchor.offset) {
                    Some(older) => self.restart(older),
                    None => self.start(),
                };
            }
            Some(checkpoint @ Piece::Checkpoint { .. }) => {
                renderer.take(checkpoint);
                pieces.pop_front();
                self.base = anchor.line.wrapping_sub(renderer.tally().lines);
            }
            // It has been removed meanwhile: what is left begins at the floor.
            Some(Piece::Output { .. } | Piece::Resize { .. } | Piece::Gap { .. }) | None => return self.start(),
        }
        let stretches = renderer.tally().stretches;
        self.renderer = renderer;
        (self.pieces, self.next) = (pieces, page.next.map(PageStart::Offset));
        (self.offset, self.reached, self.time_ns) = (anchor.offset, anchor.line.max(self.reached), anchor.time_ns);
        if self.drawn > 0 && stretches > self.stretches {
            self.see_frame();
        }
        self.stretches = stretches;
        Ok(())
    }

    /// Goes on where the next line comes, if that is far from here.
    fn leap(&mut self) -> Result<(), S::Error> {
        self.undisturbed = 0;
        let offset = self.offset;
        match self
            .source
            .anchor(Seek::Line(self.reached))?
            .filter(|anchor| anchor.offset > offset && anchor.offset <= self.to())
        {
            Some(anchor) => self.restart(anchor),
            None => Ok(()),
        }
    }

    /// Draws a piece, or a stride of it.
    fn step(&mut self, piece: Piece) -> Result<(), S::Error> {
        let starts = std::mem::take(&mut self.starts);
        if starts && !matches!(piece, Piece::Gap { .. }) {
            self.first = Some(0);
        }
        let now = match piece {
            Piece::Output { offset, time_ns, mut data } => {
                let rest = data.split_off(self.stride(&data));
                if !rest.is_empty() {
                    self.pieces.push_front(Piece::Output { offset: offset + data.len() as u64, time_ns, data: rest });
                }
                self.drawn += data.len() as u64;
                self.undisturbed += data.len() as u64;
                self.time_ns = time_ns;
                Piece::Output { offset, time_ns, data }
            }
            // What it does to the screen belongs to what begins with it.
            Piece::Resize { offset, .. } if self.ask.until == Some(offset) => return Ok(()),
            Piece::Resize { .. } | Piece::Checkpoint { .. } => piece,
            Piece::Gap { from, to, reason } => return self.cross(from, to, reason, starts),
        };
        self.renderer.take(&now);
        self.offset = now.end();
        for line in self.renderer.lines() {
            self.give(line);
        }
        if self.ask.frames && self.renderer.tally().stretches > self.stretches {
            self.stretches = self.renderer.tally().stretches;
            self.see_frame();
        }
        Ok(())
    }

    /// How much is drawn at once: where frames are looked for, they are told apart at every line's end.
    fn stride(&self, data: &[u8]) -> usize {
        let most = &data[..data.len().min(STRIDE_BYTES)];
        let newline = if self.ask.frames { memchr::memchr(b'\n', most) } else { None };
        newline.map_or(most.len(), |at| at + 1)
    }

    /// Gives a line that has left, by the screen's own number.
    fn give(&mut self, mut line: Line) {
        let Some(number) = line.number.map(|number| number.wrapping_add(self.base)) else { return };
        line.number = Some(number);
        // After a panic of the parser a screen may be ahead of what was counted.
        if number >= self.reached {
            self.reached = number + 1;
            self.put(number, Item::Line(line));
        }
    }

    fn put(&mut self, number: u64, item: Item) {
        self.put_frame(number);
        if !self.wanted.contains(&number) {
            return;
        }
        if let Some(sieve) = &mut self.sieve {
            sieve.take(item);
        } else {
            self.bytes += match &item {
                Item::Line(line) | Item::Standing(line) => line.styled().len() + 1,
                Item::Frame(_) | Item::Note { .. } => 0,
            };
            self.items.push(item);
        }
    }

    /// Gives the frame that waits, if what comes now follows it.
    fn put_frame(&mut self, number: u64) {
        if let Some(frame) = self.frame.take_if(|frame| frame.number <= number)
            && self.wanted.contains(&frame.number)
        {
            self.bytes += frame.styled.len();
            self.items.push(Item::Frame(frame));
        }
    }

    /// What the alternate screen showed when it went away.
    fn see_frame(&mut self) {
        if !self.ask.frames || self.renderer.is_alternate() {
            return;
        }
        self.frame = self.renderer.alternate().map(|styled| self.frame_of(styled, false)).or(self.frame.take());
    }

    fn frame_of(&self, styled: String, is_open: bool) -> Frame {
        Frame { number: self.reached, offset: self.offset, time_ns: self.time_ns, is_open, styled }
    }

    /// Goes on behind a gap, which may be that before the floor.
    fn cross(&mut self, from: u64, to: u64, reason: GapReason, starts: bool) -> Result<(), S::Error> {
        let fresh = Renderer::new(self.renderer.size());
        let stood = std::mem::replace(&mut self.renderer, fresh).finish();
        // It may lie within: screens were taken while their output was lost.
        let anchor = self.source.anchor(Seek::After(from + 1))?;
        let Some(anchor) = anchor else {
            // Nothing is counted behind it: the numbers go on.
            stood.into_iter().for_each(|line| self.give(line));
            self.note(from, to, reason, starts);
            self.base = self.reached;
            return Ok(());
        };
        let Some(mut between) = self.between(to, anchor.offset, starts)? else {
            // More was removed meanwhile.
            return self.start();
        };
        // Of a screen that nobody knows, more may seem to leave than did.
        let most = usize::try_from(anchor.line).unwrap_or(usize::MAX);
        between.drain(..between.len().saturating_sub(most));
        let first = anchor.line - between.len() as u64;
        let base = self.base;
        let has_left = |line: &Line| line.number.is_some_and(|number| number.wrapping_add(base) < first);
        stood.into_iter().filter(has_left).for_each(|line| self.give(line));
        self.reached = self.reached.max(first);
        self.note(from, to.min(anchor.offset), reason, starts);
        let until = self.to();
        for (number, mut line) in (first..).zip(between).filter(|(_, line)| line.offset < until) {
            line.number = Some(number);
            if number >= self.reached {
                self.reached = number + 1;
                self.put(number, Item::Line(line));
            }
        }
        if anchor.offset <= until {
            return self.restart(anchor);
        }
        self.ended();
        Ok(())
    }

    /// The lines of what has no anchor before it, from a gap's end to the anchor behind; `None` if that is the beginning, and gone.
    fn between(&mut self, from: u64, to: u64, starts: bool) -> Result<Option<Vec<Line>>, S::Error> {
        let mut renderer = Renderer::new(self.renderer.size());
        let (mut lines, mut at, mut pieces) = (Vec::new(), from, std::mem::take(&mut self.pieces));
        self.next = None;
        while at < to {
            if pieces.is_empty() {
                pieces.extend(self.source.page(PageStart::Offset(at), to, READ_BYTES)?.pieces);
            }
            let before = at;
            for piece in pieces.drain(..).take_while(|piece| start_of(piece) < to) {
                if starts && matches!(piece, Piece::Gap { .. }) {
                    return Ok(None);
                }
                let piece = clipped(piece, to);
                renderer.take(&piece);
                at = piece.end();
                lines.extend(renderer.lines().into_iter().filter(|line| line.number.is_some()));
            }
            self.drawn += at - before;
            if at == before {
                break;
            }
        }
        Ok(Some(lines))
    }

    /// Tells of what is missing before the next line; before the first one, also who asked for lines that are not there.
    fn note(&mut self, from: u64, to: u64, reason: GapReason, starts: bool) {
        if starts {
            self.first = Some(self.reached);
            let ahead = self.reached.saturating_sub(self.wanted.start);
            if ahead > 0 && !self.ask.backwards && self.wanted.end < u64::MAX {
                // Who reads forwards from before the floor reads from there.
                self.wanted = self.reached..self.wanted.end.saturating_add(ahead);
            }
        }
        let is_wanted = self.wanted.contains(&self.reached) || (starts && self.reached >= self.wanted.start);
        if to > from && is_wanted {
            self.items.push(Item::Note { from, to, reason });
        }
    }

    /// The end of all: what stands on the screen.
    fn finish(&mut self) {
        self.ended();
        if self.ask.until.is_some() || !self.bound.stands {
            return;
        }
        let open = self.renderer.is_alternate().then(|| self.renderer.alternate()).flatten();
        let stood = std::mem::replace(&mut self.renderer, Renderer::new(Size::DEFAULT)).finish();
        for mut line in stood {
            let number = self.reached;
            line.number = Some(number);
            self.reached += 1;
            self.put(number, Item::Standing(line));
        }
        if self.ask.frames
            && let Some(styled) = open
        {
            self.frame = Some(self.frame_of(styled, true));
            self.ended();
        }
    }

    /// A frame that is behind the last line belongs to the last page.
    fn ended(&mut self) {
        self.at_end = true;
        if let Some(frame) = self.frame.take_if(|frame| frame.number >= self.wanted.start && frame.number <= self.wanted.end) {
            self.items.push(Item::Frame(frame));
        }
    }
}

fn start_of(piece: &Piece) -> u64 {
    match piece {
        Piece::Output { offset, .. } | Piece::Resize { offset, .. } | Piece::Checkpoint { offset, .. } => *offset,
        Piece::Gap { from, .. } => *from,
    }
}

/// A piece without what of it is behind `to`.
fn clipped(mut piece: Piece, to: u64) -> Piece {
    if let Piece::Output { offset, data, .. } = &mut piece {
        data.truncate(usize::try_from(to - *offset).unwrap_or(usize::MAX));
    }
    piece
}

#[cfg(test)]
mod tests;
