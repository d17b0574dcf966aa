//! Who watches a terminal, and how its output gets to them: each client has a place in the journal and a bounded queue,
//! filled from that place while there is room.
//!
//! ```text
//!   journal ──► pump: while the queue has room ──► Outbox ──► the client's connection, on its own thread
//!                 ▲                                  └── below the low mark, if it was full: Pump
//! ```
//!
//! **Invariants.** A client costs its queue's bound and no more. It gets output by offset without gap or overlap, except for a
//! declared [`Event::Lagged`] range, which a whole screen follows. One follows a resize too, since no two terminals agree on what
//! becomes of a screen when its size changes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{ClientView, Waiting, actor::now_ms};
use crate::{
    Size, TermId,
    log::journal::{Cursor, Journal, Kind},
    mirror,
    pty::Exit,
};

/// Most output bytes that wait in a client's queue.
pub(super) const QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Below this a queue that was full asks for more.
const QUEUE_BYTES_LOW: usize = QUEUE_BYTES_MAX / 2;
/// A client that falls further behind than this, counting from its queue's end, is resynced: it would have to draw more than any screen
/// shows. What it was behind by when it attached does not count: one that resumes gets everything that is still there.
pub(super) const LAG_BYTES_MAX: u64 = 8 << 20;

/// What a connection takes that watches a terminal, as measured.
const CONNECTION_BYTES: usize = 6 << 10;
/// What an event costs beyond its bytes: its place in the queue and what the allocator adds. A queue of tiny ones is bounded by it.
const EVENT_BYTES: usize = 128;

const _: () = assert!(EVENT_BYTES >= size_of::<Event>() + 64);

/// Names one attachment, unique in a supervisor's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

impl ClientId {
    /// A fresh one.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Watch, type, and set the size.
    ReadWrite,
    /// Watch.
    ReadOnly,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The whole screen at an offset; what follows continues from there.
    Screen {
        /// Where it was taken.
        offset: u64,
        /// Its size.
        size: Size,
        /// Bytes that draw it.
        data: Bytes,
    },
    /// Output.
    Output {
        /// Of its first byte.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The terminal's size changed.
    Resized {
        /// Where in the output.
        offset: u64,
        /// What to.
        size: Size,
    },
    /// Output from `from` to `to` was left out; a screen follows.
    Lagged {
        /// First byte left out.
        from: u64,
        /// First byte not left out.
        to: u64,
    },
    /// The child has ended, and another will follow.
    Waiting(Waiting),
    /// With neither output nor input until that time, milliseconds since the Unix epoch, the terminal is hung up; or, with none, it is not.
    Reaping(Option<u64>),
    /// The child has ended, and every byte of it came before this.
    Exited(Exit),
    /// Somebody ended this attachment.
    Detached,
}

impl Event {
    fn weight(&self) -> usize {
        match self {
            Self::Screen { data, .. } | Self::Output { data, .. } => EVENT_BYTES + data.len(),
            Self::Resized { .. }
            | Self::Lagged { .. }
            | Self::Waiting(_)
            | Self::Reaping(_)
            | Self::Exited(_)
            | Self::Detached => EVENT_BYTES,
        }
    }

    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Exited(_) | Self::Detached)
    }
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    /// Of the event that was taken last, which its connection may still be sending.
    taken: usize,
    /// The terminal had more than there was room for.
    starved: bool,
    /// The terminal has let go of it: nothing more comes.
    closed: bool,
}

/// A client's queue: filled by the terminal, emptied by the client's connection.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: Event) {
        let mut queue = self.queue();
        queue.bytes += event.weight();
        queue.events.push_back(event);
        drop(queue);
        self.filled.notify_one();
    }

    fn close(&self) {
        self.queue().closed = true;
        self.filled.notify_one();
    }

    fn bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Bytes of memory that it takes, and what is being sent from it: an event and its frame.
    fn memory_bytes(&self) -> usize {
        let queue = self.queue();
        size_of::<Self>() + queue.bytes + queue.events.capacity() * size_of::<Event>() + 2 * queue.taken
    }

    /// Notes that there is more; if that finds the queue drained already, says so instead, and the caller goes on.
    fn starve(&self) -> bool {
        let mut queue = self.queue();
        queue.starved = queue.bytes > QUEUE_BYTES_LOW;
        queue.starved
    }

    /// The next event, and whether the terminal is to be sent [`Pump`](super::Pump); `None` once the terminal has let go and all is
    /// taken. Where no [last](Event::is_last) event came before that, its actor has died.
    pub async fn next(&self) -> Option<(Event, bool)> {
        loop {
            let filled = self.filled.notified();
            if let Some(taken) = self.take() {
                return Some(taken);
            }
            if self.queue().closed {
                return self.take();
            }
            filled.await;
        }
    }

    /// As [`Outbox::next`], if there is one now.
    pub fn take(&self) -> Option<(Event, bool)> {
        let mut queue = self.queue();
        let event = queue.events.pop_front()?;
        queue.taken = event.weight();
        queue.bytes -= queue.taken;
        let pump = queue.starved && queue.bytes <= QUEUE_BYTES_LOW;
        queue.starved &= !pump;
        Some((event, pump))
    }
}

/// One who watches.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) mode: Mode,
    /// The size of its own window, if it has told.
    pub(super) size: Option<Size>,
    pub(super) outbox: Arc<Outbox>,
    program: String,
    since_ms: u64,
    cursor: Cursor,
    next: u64,
    /// Where its stream, or the screen it was shown last, begins.
    begins: u64,
    /// How far behind it may be: shrinks as it catches up, to [`LAG_BYTES_MAX`]. `None` until it is first looked at.
    behind_max: Option<u64>,
    /// It was told of a resize, and is to be shown what came of it.
    outgrown: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

/// What a pump could not do by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// The client has to be shown the screen: it is too far behind.
    Resync,
    /// The client has to be shown the screen, and misses nothing: the size changed.
    Redraw,
}

impl Client {
    /// One that gets output from `offset` on, read from `cursor` on.
    pub(super) fn new(mode: Mode, size: Option<Size>, program: String, cursor: Cursor, offset: u64) -> Self {
        let (outbox, since_ms) = (Arc::default(), now_ms());
        Self { mode, size, outbox, program, since_ms, cursor, next: offset, begins: offset, behind_max: None, outgrown: false }
    }

    /// What a listing shows of it, where the output ends at `end`.
    pub(super) fn view(&self, id: ClientId, end: u64) -> ClientView {
        ClientView {
            id,
            program: self.program.clone(),
            mode: self.mode,
            size: self.size,
            since_ms: self.since_ms,
            waiting_bytes: self.outbox.bytes() as u64,
            behind_bytes: end.saturating_sub(self.next),
        }
    }

    /// Fills the queue from the client's place in the journal.
    pub(super) fn pump(&mut self, term: TermId, journal: &Journal) -> Need {
        loop {
            if self.outbox.bytes() >= QUEUE_BYTES_MAX && self.outbox.starve() {
                return Need::Nothing;
            }
            let end = journal.end_offset(term).unwrap_or(self.next);
            let floor = journal.floor_offset(term).unwrap_or(self.next);
            let behind = end.saturating_sub(self.next);
            if self.next < floor || self.behind_max.is_some_and(|max| behind > max) {
                return Need::Resync;
            }
            self.behind_max = Some(self.behind_max.unwrap_or(u64::MAX).min(behind + LAG_BYTES_MAX));
            let Some(record) = journal.next(term, &mut self.cursor) else {
                return if self.outgrown { Need::Redraw } else { Need::Nothing };
            };
            match record.kind {
                Kind::Output => {
                    let known = self.next.saturating_sub(record.offset).min(record.payload.len() as u64) as usize;
                    let news = &record.payload[known..];
                    if !news.is_empty() {
                        self.outbox.push(Event::Output { offset: self.next, data: Bytes::copy_from_slice(news) });
                        self.next += news.len() as u64;
                    }
                }
                Kind::Resize if record.offset >= self.next => {
                    if let Some(size) = mirror::decode_size(record.payload) {
                        self.outbox.push(Event::Resized { offset: record.offset, size });
                        // Before the first byte there is nothing that could be drawn wrong.
                        self.outgrown |= record.offset > 0;
                    }
                }
                Kind::Resize
                | Kind::Checkpoint
                | Kind::CheckpointFirst
                | Kind::CheckpointMore
                | Kind::CheckpointLast
                | Kind::Void => {}
            }
        }
    }

    /// Shows the whole screen, taken at `offset`, where the journal stood at `cursor`; output goes on from there.
    pub(super) fn show(&mut self, data: Bytes, size: Size, offset: u64, cursor: Cursor) {
        self.outbox.push(Event::Screen { offset, size, data });
        (self.next, self.begins, self.cursor, self.outgrown) = (offset, offset, cursor, false);
        self.behind_max = Some(LAG_BYTES_MAX);
    }

    /// Declares what a resync leaves out; the first byte of it.
    pub(super) fn lag(&mut self, to: u64) -> u64 {
        self.outbox.push(Event::Lagged { from: self.next, to });
        self.next
    }

    /// Whether somebody sits there: it may type, and has a window.
    pub(super) fn is_interactive(&self) -> bool {
        self.mode == Mode::ReadWrite && self.size.is_some()
    }

    /// Whether it was given the byte before `offset`, or will be.
    pub(super) fn covers(&self, offset: u64) -> bool {
        self.begins < offset
    }

    /// Whether it was given every byte up to `end`.
    pub(super) fn has_all(&self, end: u64) -> bool {
        self.next >= end
    }

    /// Tells that another child will follow.
    pub(super) fn wait(&self, waiting: Waiting) {
        self.outbox.push(Event::Waiting(waiting));
    }

    /// Tells when the terminal is hung up for being idle, or that it is not.
    pub(super) fn warn(&self, at_ms: Option<u64>) {
        self.outbox.push(Event::Reaping(at_ms));
    }

    /// Tells the child's end. Nothing is to be told after that.
    pub(super) fn exit(&self, exit: Exit) {
        self.outbox.push(Event::Exited(exit));
    }

    /// Bytes of memory that it takes, with its queue and its connection.
    pub(super) fn memory_bytes(&self) -> u64 {
        (size_of::<Self>() + self.outbox.memory_bytes() + CONNECTION_BYTES) as u64
    }

    pub(super) fn detach(&self) {
        self.outbox.push(Event::Detached);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::log::journal::{BYTES_MIN, DataPath, JournalFds, RECORD_MAX};

    /// A queue bounded by payload alone took 256 Ki events of one byte, and resizes without end.
    #[test]
    fn tiny_events_and_resizes_do_not_outgrow_the_queue() {
        let (mut journal, _) = Journal::open(JournalFds::create().unwrap(), BYTES_MIN, DataPath::Splice).unwrap();
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let term = TermId(1);
        for _ in 0..10_000 {
            rustix::io::write(&writer, b"x").unwrap();
            journal.ingest(term, reader.as_fd(), RECORD_MAX).unwrap();
            journal.append(term, Kind::Resize, &mirror::encode_size(Size::DEFAULT)).unwrap();
        }
        let mut client = Client::new(Mode::ReadOnly, None, String::new(), journal.seek(term, 0), 0);
        assert_eq!(client.pump(term, &journal), Need::Nothing);
        let waiting = client.outbox.queue().events.len();
        assert!(waiting * size_of::<Event>() <= QUEUE_BYTES_MAX, "{waiting} events wait");
    }
}
