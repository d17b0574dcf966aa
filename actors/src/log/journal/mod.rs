//! The journal: where a terminal's output is from the moment it leaves the PTY, in memory that outlives the supervisor.
//!
//! One journal an arbiter: a memfd and a pipe, both of which a custodian (keeper or systemd) holds as well. It never
//! touches a disk, so no actor thread waits for one, and a full disk cannot cost a byte.
//!
//! ```text
//!            1 intent := (place, whose)          in the memfd's control page
//!   PTY ═══ 2 splice ═══► pipe                   bytes move inside the kernel, at most RECORD_MAX a turn
//!           pipe ═══ 3 splice ═══► memfd         at place + HEADER; the file's size grows with the bytes
//!            4 header := (whose, offset, length, time, checksum), then its commit word
//!                                      └──► mirror and clients read the committed bytes from the mapping
//! ```
//!
//! # Why no kill loses, repeats or tears a byte
//!
//! A SIGKILL lands between two instructions or ends a system call early, after the call has accounted for what it
//! moved. Stores to the mapping are stores to the file: they are there whatever happens to the process, in program order.
//! At every cut a byte is in exactly one of PTY, pipe and file, and whose it is can be told:
//!
//! | cut | PTY | pipe | file | what recovery does |
//! |---|---|---|---|---|
//! | before 1, or between 1's words | all | empty | every record committed | nothing: an intent is looked at only when there is a tail or a full pipe |
//! | after 1, or in 2 | rest | 0..n bytes | as before | the pipe's bytes belong to the intent's terminal: it does 3 and 4 |
//! | in 3 | rest | n − k | k past a zero header | size − place − HEADER = k: commits a record of k, then the pipe's n − k as the next |
//! | after 3, or in 4 before the commit word | rest | empty | n past a zero commit word | commits a record of n |
//! | after 4 | rest | empty | committed | nothing |
//!
//! - *In 2 and 3*: `splice` takes a buffer out of its source only once the destination has it, and a fatal signal is
//!   looked at between buffers, so a byte is never in neither or both (2,200 kills tried, none lost).
//! - *Whose*: the pipe is empty when 1 begins (a turn that could not empty it is finished first: `settle`), so
//!   whatever is in it was put there under the intent now standing, and likewise the tail.
//! - *Not torn*: a header is ignored until its commit word is set, which is the last store; before that the length is the file's
//!   size, which the kernel kept. The file only grows at its end: a place is never used twice.
//! - *Offset*: a record's offset is where the terminal's record before it ended; recovery counts it again from the headers.
//! - *Control records* (resize, checkpoint), and output of kaval's own, are written by `pwrite` in place of 2 and 3. One that was cut
//!   short was never acted on: recovery voids it.
//! - *Recovery killed* is the same table again: it moves bytes by the same four steps.
//! - *Freeing*: the floor is stored first, the hole punched after; recovery punches below the floor again.
//!
//! Where the kernel will not splice from a PTY, [`DataPath::Copy`] reads and writes instead; a kill between the two loses
//! what was read. It is never chosen silently.
//!
//! **Invariants.** Used by one thread, but for the [`Follower`], by which the log thread reads what is committed. Bounded by
//! `bytes_max`: the oldest segment is dropped once it is on disk and no terminal's screen is rebuilt from it (`room`); terminals that
//! hold it back are asked for a checkpoint, and if they cannot give one in time reading pauses.

pub mod aside;
mod follower;
mod layout;
mod mapping;
mod progress;
mod recover;
mod room;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FileType, MemfdFlags, OFlags, SealFlags},
    io::Errno,
    pipe::SpliceFlags,
};

pub use self::{
    follower::{Entry, Follower, Missing},
    layout::{Kind, RECORD_MAX},
    progress::{Bell, Progress},
};
use self::{
    layout::{CONTROL_BYTES, Found, HEADER_BYTES, Header, SEGMENT_BYTES, place, segment_of, segment_start},
    mapping::{Control, LINEAGE, Segment},
};
use crate::TermId;

const MAGIC: u64 = u64::from_le_bytes(*b"kavaljnl");
/// The format that is written, and the only one that is read.
pub const FORMAT: u64 = 1;
/// Room that control records may use beyond `bytes_max`, since they are what frees the rest: the checkpoint of the largest screen, a
/// million cells of direct colour, is some 40 MB. That of an ordinary one is 2 to 4 KB.
const CONTROL_SLACK: u64 = 64 * SEGMENT_BYTES;
/// What one slot of a pipe holds.
const PAGE_BYTES: usize = 4096;

/// Most time that a turn takes what its PTY goes on to give: a child that is about as fast as its terminal would otherwise have all others wait
/// until it had written a whole record's bytes.
const TURN: Duration = Duration::from_micros(500);
/// Smallest `bytes_max`: below a few segments nothing could be freed before it is needed.
pub const BYTES_MIN: u64 = 8 * SEGMENT_BYTES;

/// The three descriptors of a journal, to be kept by a custodian.
#[derive(Debug)]
pub struct JournalFds {
    /// The memfd.
    pub file: OwnedFd,
    /// The pipe's reading end.
    pub reader: OwnedFd,
    /// The pipe's writing end.
    pub writer: OwnedFd,
}

impl JournalFds {
    /// Makes the descriptors of a new, empty journal.
    ///
    /// # Errors
    /// What the kernel says when it has no memory or descriptors left.
    pub fn create() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("kaval-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, CONTROL_BYTES)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
        Self::with_new_pipe(file)
    }

    /// Gives a journal whose pipe is lost another one.
    ///
    /// # Errors
    /// As [`JournalFds::create`].
    pub fn with_new_pipe(file: OwnedFd) -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
        Ok(Self { file, reader, writer })
    }

    /// Whether a descriptor can be a journal's file: one in memory, open for reading and writing, with a control page.
    pub fn is_file(fd: BorrowedFd<'_>) -> bool {
        let size = rustix::fs::fstat(fd).map_or(0, |stat| stat.st_size as u64);
        let writable = rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::RDWR));
        size >= CONTROL_BYTES && writable && rustix::fs::fcntl_get_seals(fd).is_ok()
    }

    /// Whether two descriptors are the ends of one pipe.
    pub fn are_pipe(reader: BorrowedFd<'_>, writer: BorrowedFd<'_>) -> bool {
        let (Ok(one), Ok(other)) = (rustix::fs::fstat(reader), rustix::fs::fstat(writer)) else { return false };
        let ways = [reader, writer].map(|fd| rustix::fs::fcntl_getfl(fd).map(|flags| flags & OFlags::ACCMODE));
        let is_pipe =
            FileType::from_raw_mode(one.st_mode) == FileType::Fifo && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
        is_pipe && ways == [Ok(OFlags::RDONLY), Ok(OFlags::WRONLY)]
    }

    /// The format that its journal says it has, if it is one.
    pub fn format(&self) -> Option<u64> {
        let mut head = [0; 16];
        let read = rustix::io::pread(&self.file, &mut head, 0).ok()?;
        let [magic, format] = [&head[..8], &head[8..]].map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        (read == head.len() && magic == MAGIC).then_some(format)
    }

    /// Which state directory the journal is used with, if that was ever said.
    pub fn lineage(&self) -> Option<u64> {
        let mut word = [0; 8];
        self.format()?;
        let read = rustix::io::pread(&self.file, &mut word, LINEAGE as u64).ok()?;
        Some(u64::from_le_bytes(word)).filter(|lineage| read == word.len() && *lineage != 0)
    }

    /// Says which it is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_lineage(&self, lineage: u64) -> io::Result<()> {
        rustix::io::pwrite(&self.file, &lineage.to_le_bytes(), LINEAGE as u64)?;
        Ok(())
    }
}

/// How bytes get from a PTY into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataPath {
    /// Through a pipe, inside the kernel: no kill loses a byte.
    #[default]
    Splice,
    /// Through this process's memory: a kill may lose what was read and not yet written.
    Copy,
}

/// Why a journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The kernel refused.
    #[error("journal: {what} failed")]
    Io {
        /// The step that failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("journal: the descriptor is not a kaval journal")]
    Foreign,
    /// Written by another version of kaval.
    #[error("journal: format {found} is not format {FORMAT}, the one this version reads")]
    Version {
        /// The format found.
        found: u64,
    },
    /// What is stored does not agree with its checksums or with itself.
    #[error("journal: damaged at position {pos}")]
    Damaged {
        /// Where.
        pos: u64,
    },
    /// No room: terminals must give checkpoints before the oldest segment can go.
    #[error("journal: full")]
    Full,
}

fn io_error(what: &'static str) -> impl Fn(Errno) -> JournalError {
    move |errno| JournalError::Io { what, source: errno.into() }
}

/// What recovery found to mend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were in the file without a header.
    pub tail_bytes: u64,
    /// Bytes that were in the pipe.
    pub pipe_bytes: u64,
    /// Whether a control record had been cut short.
    pub voided: bool,
}

/// What one turn of [`Journal::ingest`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingest {
    /// Bytes that are now in the journal.
    pub bytes: usize,
    /// What the PTY has left.
    pub source: Source,
}

/// The state of a PTY after some of it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// There may be more at once.
    More,
    /// Empty for now.
    Drained,
    /// Empty, and nobody has the other side open.
    HungUp,
}

/// One committed record, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// What the payload is.
    pub kind: Kind,
    /// The terminal's offset at the payload's first byte.
    pub offset: u64,
    /// When it was committed, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The payload, straight from the mapping.
    pub payload: &'a [u8],
}

/// A place in the journal from which one terminal's records are read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

/// What is known of one terminal's records without reading them.
#[derive(Debug, Clone)]
struct TermIndex {
    end_offset: u64,
    /// Where the screen is rebuilt from: the newest whole checkpoint, or the terminal's first record.
    base: u64,
    /// Where the checkpoint now being written begins, while its last part is not there.
    partial: Option<u64>,
    /// The newest record that begins with a size: a resize or a checkpoint.
    shape: Option<u64>,
    /// In each segment that has any: (position, offset) of the terminal's first record there.
    firsts: VecDeque<(u64, u64)>,
    /// It has ended, and its log has, or will have, everything before this position.
    retired: Option<u64>,
}

impl TermIndex {
    fn new(end_offset: u64, base: u64) -> Self {
        Self { end_offset, base, partial: None, shape: None, firsts: VecDeque::new(), retired: None }
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Journal {
    fds: JournalFds,
    control: Control,
    segments: VecDeque<Segment>,
    first_segment: u64,
    /// Where the last committed record ends.
    end: u64,
    terms: HashMap<TermId, TermIndex>,
    /// Terminals that have been asked for a checkpoint and have not given it, and those of them not yet told.
    asked: BTreeSet<TermId>,
    wanted: BTreeSet<TermId>,
    bytes_max: u64,
    path: DataPath,
    pipe_slots: usize,
    /// A turn whose bytes could not all be stored: (terminal, place, bytes stored so far).
    unsettled: Option<(TermId, u64, usize)>,
    /// How far the log thread is, if there is one; and where it has been, since when, while room was wanted.
    progress: Option<Arc<Progress>>,
    stalled: Option<(u64, Instant)>,
    scratch: Vec<u8>,
}

impl Journal {
    /// Opens a journal, new or inherited, and brings what a kill left in its pipe and tail to order.
    ///
    /// # Errors
    /// [`JournalError::Foreign`], [`Version`](JournalError::Version) or [`Damaged`](JournalError::Damaged) when the file cannot be
    /// trusted: nothing has been changed then. [`JournalError::Io`] when the kernel refuses.
    pub fn open(fds: JournalFds, bytes_max: u64, path: DataPath) -> Result<(Self, Recovery), JournalError> {
        if !JournalFds::is_file(fds.file.as_fd()) {
            return Err(JournalError::Foreign);
        }
        let control = Control::map(&fds.file).map_err(|source| JournalError::Io { what: "mapping", source })?;
        initialise(&control)?;
        let floor = control.floor().load(Ordering::Acquire);
        let size = rustix::fs::fstat(&fds.file).map_err(io_error("asking its size"))?.st_size as u64;
        let is_place = floor >= CONTROL_BYTES && (floor - CONTROL_BYTES).is_multiple_of(SEGMENT_BYTES);
        if !is_place || floor > size + SEGMENT_BYTES {
            return Err(JournalError::Damaged { pos: floor });
        }
        let pipe_slots = rustix::pipe::fcntl_getpipe_size(&fds.reader).map_or(1, |bytes| (bytes / PAGE_BYTES).max(1));
        let mut journal = Self {
            fds,
            control,
            segments: VecDeque::new(),
            first_segment: segment_of(floor),
            end: floor,
            terms: HashMap::new(),
            asked: BTreeSet::new(),
            wanted: BTreeSet::new(),
            bytes_max: bytes_max.max(BYTES_MIN),
            path,
            pipe_slots,
            unsettled: None,
            progress: None,
            stalled: None,
            scratch: match path {
                DataPath::Splice => Vec::new(),
                DataPath::Copy => vec![0; RECORD_MAX],
            },
        };
        let recovery = journal.recover()?;
        Ok((journal, recovery))
    }

    /// The descriptors, for a custodian.
    pub fn fds(&self) -> &JournalFds {
        &self.fds
    }

    /// Bytes of the file between its floor and its end.
    pub fn live_bytes(&self) -> u64 {
        self.end - self.control.floor().load(Ordering::Relaxed)
    }

    /// How bytes come in.
    pub fn path(&self) -> DataPath {
        self.path
    }

    /// The terminals that have records here.
    pub fn terms(&self) -> impl Iterator<Item = TermId> + '_ {
        self.terms.keys().copied()
    }

    /// Offset after the terminal's last byte here; `None` if it has no record.
    pub fn end_offset(&self, term: TermId) -> Option<u64> {
        self.terms.get(&term).map(|index| index.end_offset)
    }

    /// Offset of the terminal's first byte still here.
    pub fn floor_offset(&self, term: TermId) -> Option<u64> {
        self.terms.get(&term).map(|index| index.firsts.front().map_or(index.end_offset, |first| first.1))
    }

    /// Where to read from to rebuild the terminal's screen: its newest checkpoint, or its beginning.
    pub fn base(&self, term: TermId) -> Option<Cursor> {
        self.terms.get(&term).map(|index| Cursor(index.base))
    }

    /// The first four bytes of the newest resize or checkpoint: both begin with the size.
    pub fn shape(&self, term: TermId) -> Option<&[u8]> {
        let (_, payload) = self.record(self.terms.get(&term)?.shape?)?;
        payload.get(..4)
    }

    /// Past everything committed.
    pub fn end(&self) -> Cursor {
        Cursor(self.end)
    }

    /// Begins a terminal's records at `offset` (0, or where its output stood before it was respawned without a journal).
    /// Nothing is stored until its first record.
    pub fn begin(&mut self, term: TermId, offset: u64) {
        let base = place(self.end);
        self.terms.entry(term).or_insert_with(|| TermIndex::new(offset, base));
    }

    /// Drops a terminal: its records no longer hold a segment back. Their space goes with their segments.
    pub fn forget(&mut self, term: TermId) {
        self.terms.remove(&term);
        self.asked.remove(&term);
        self.wanted.remove(&term);
    }

    /// The terminals whose checkpoint is wanted so that the oldest segment can go; each is named once.
    pub fn take_wanted(&mut self) -> BTreeSet<TermId> {
        std::mem::take(&mut self.wanted)
    }

    /// Names the terminal once more if its checkpoint is still wanted: whoever was asked for it has died, or was not there yet.
    pub fn ask_again(&mut self, term: TermId) {
        if self.asked.contains(&term) {
            self.wanted.insert(term);
        }
    }

    /// One turn: takes at most `max` (and [`RECORD_MAX`]) bytes that are ready in `pty`, which must be non-blocking.
    ///
    /// # Errors
    /// [`JournalError::Full`] when no room can be made now; [`JournalError::Io`] when the kernel refuses. No byte is lost either way.
    pub fn ingest(&mut self, term: TermId, pty: BorrowedFd<'_>, max: usize) -> Result<Ingest, JournalError> {
        self.settle()?;
        self.make_room()?;
        let at = self.declare(term, Kind::Output)?;
        match self.path {
            DataPath::Splice => {
                let (bytes, source) = self.take(pty, max.min(RECORD_MAX))?;
                if bytes > 0 {
                    self.unsettled = Some((term, at, 0));
                    self.settle()?;
                }
                Ok(Ingest { bytes, source })
            }
            DataPath::Copy => self.copy(term, at, pty, max.min(RECORD_MAX)),
        }
    }

    /// Appends a control record, which takes effect at the terminal's present offset.
    ///
    /// # Errors
    /// As [`Journal::ingest`].
    ///
    /// # Panics
    /// If the payload is empty or longer than [`RECORD_MAX`], or `kind` is output.
    pub fn append(&mut self, term: TermId, kind: Kind, payload: &[u8]) -> Result<(), JournalError> {
        assert!(kind != Kind::Output, "output comes from a pty, or is inserted");
        self.put(term, kind, kind, payload)
    }

    /// Appends output that no child wrote. A kill leaves all of it or nothing: what is cut short is voided, as control records are.
    ///
    /// # Errors
    /// As [`Journal::ingest`].
    ///
    /// # Panics
    /// If there is none, or more than [`RECORD_MAX`].
    pub fn insert(&mut self, term: TermId, output: &[u8]) -> Result<(), JournalError> {
        self.put(term, Kind::Void, Kind::Output, output)
    }

    /// Writes a record that is of kind `cut` until it is whole.
    fn put(&mut self, term: TermId, cut: Kind, whole: Kind, payload: &[u8]) -> Result<(), JournalError> {
        assert!((1..=RECORD_MAX).contains(&payload.len()), "such a record is 1 to RECORD_MAX bytes");
        self.settle()?;
        self.make_room_for_control()?;
        let at = self.declare(term, cut)?;
        let mut written = 0;
        while written < payload.len() {
            let pos = at + HEADER_BYTES + written as u64;
            match rustix::io::pwrite(&self.fds.file, &payload[written..], pos) {
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    if written > 0 {
                        self.commit(at, term, Kind::Void, written);
                    }
                    return Err(io_error("writing")(errno));
                }
            }
        }
        self.commit(at, term, whole, payload.len());
        Ok(())
    }

    /// Appends a checkpoint of any length. The caller's screen must have seen every record of the terminal.
    ///
    /// # Errors
    /// As [`Journal::ingest`]; the checkpoint before it then still stands.
    pub fn checkpoint(&mut self, term: TermId, bytes: &[u8]) -> Result<(), JournalError> {
        let parts = bytes.len().div_ceil(RECORD_MAX).max(1);
        for (i, part) in bytes.chunks(RECORD_MAX).enumerate() {
            let kind = match i {
                0 if parts == 1 => Kind::Checkpoint,
                0 => Kind::CheckpointFirst,
                _ if i + 1 == parts => Kind::CheckpointLast,
                _ => Kind::CheckpointMore,
            };
            self.append(term, kind, part)?;
        }
        Ok(())
    }

    /// The terminal's next record at or after `cursor`, which moves past it.
    pub fn next(&self, term: TermId, cursor: &mut Cursor) -> Option<Record<'_>> {
        let index = self.terms.get(&term)?;
        loop {
            let at = self.skip_to_segment_of(index, place(cursor.0))?;
            let (header, payload) = self.record(at)?;
            cursor.0 = at + HEADER_BYTES + u64::from(header.len);
            if header.term == term && header.kind != Kind::Void {
                return Some(Record { kind: header.kind, offset: header.offset, time_ns: header.time_ns, payload });
            }
        }
    }

    /// A place at or before the terminal's output at `offset`, from which to read on; its end if that is not here yet.
    pub fn seek(&self, term: TermId, offset: u64) -> Cursor {
        let Some(index) = self.terms.get(&term) else { return self.end() };
        if offset >= index.end_offset {
            return self.end();
        }
        let first = index.firsts.partition_point(|first| first.1 <= offset).saturating_sub(1);
        index.firsts.get(first).map_or_else(|| self.end(), |first| Cursor(first.0))
    }

    /// The place of the terminal's first record here.
    pub fn first(&self, term: TermId) -> Cursor {
        let first = self.terms.get(&term).and_then(|index| index.firsts.front());
        first.map_or_else(|| self.end(), |first| Cursor(first.0))
    }

    /// The first position at or after `at` that lies in a segment where the terminal has a record.
    fn skip_to_segment_of(&self, index: &TermIndex, at: u64) -> Option<u64> {
        let later = index.firsts.partition_point(|first| segment_of(first.0) < segment_of(at));
        let &(first, _) = index.firsts.get(later)?;
        Some(at.max(first))
    }

    fn record(&self, at: u64) -> Option<(Header, &[u8])> {
        if at >= self.end {
            return None;
        }
        let segment = self.segments.get((segment_of(at).checked_sub(self.first_segment)?) as usize)?;
        match Header::decode(segment.header(at)) {
            Found::Record(header) => Some((header, segment.bytes(at + HEADER_BYTES, header.len as usize))),
            Found::Uncommitted | Found::Damaged => None,
        }
    }
}

/// The four steps, and what finishes them.
impl Journal {
    /// Step 1: says where the next record goes and whose it is. The words are stored in this order so that the last one, which
    /// gives the others their meaning, comes last.
    fn declare(&mut self, term: TermId, kind: Kind) -> Result<u64, JournalError> {
        let at = place(self.end);
        self.map_segment(segment_of(at))?;
        let offset = self.terms.get(&term).map_or(0, |index| index.end_offset);
        self.control.intent_pos().store(at, Ordering::Release);
        self.control.intent_offset().store(offset, Ordering::Release);
        self.control.intent_whose().store(u64::from(kind.code()) << 32 | u64::from(term.0), Ordering::Release);
        Ok(at)
    }

    /// Step 2: moves what is ready from the PTY to the pipe.
    fn take(&mut self, pty: BorrowedFd<'_>, max: usize) -> Result<(usize, Source), JournalError> {
        let (mut taken, mut slots, began) = (0, self.pipe_slots, Instant::now());
        // A full pipe says EAGAIN just as an empty PTY does: it is never filled, so that the two cannot be mistaken.
        while slots > 0 {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match rustix::pipe::splice(pty, None, &self.fds.writer, None, max - taken, flags) {
                Ok(0) | Err(Errno::IO) => return Ok((taken, Source::HungUp)),
                Ok(n) => {
                    taken += n;
                    slots = slots.saturating_sub(n.div_ceil(PAGE_BYTES));
                }
                Err(Errno::AGAIN) => return Ok((taken, Source::Drained)),
                Err(Errno::INTR) => {}
                Err(_) if taken > 0 => break,
                Err(Errno::INVAL | Errno::NOSYS) => {
                    tracing::error!("this kernel does not splice from a pty: output is copied, and a kill may lose some");
                    self.path = DataPath::Copy;
                    self.scratch = vec![0; RECORD_MAX];
                    return Ok((0, Source::More));
                }
                Err(errno) => return Err(io_error("splicing from the pty")(errno)),
            }
            if taken >= max || began.elapsed() >= TURN {
                break;
            }
        }
        Ok((taken, Source::More))
    }

    /// Steps 3 and 4 for a turn whose bytes are in the pipe: empties it into the file and commits.
    fn settle(&mut self) -> Result<(), JournalError> {
        let Some((term, at, stored_before)) = self.unsettled else { return Ok(()) };
        let mut stored = stored_before;
        loop {
            match self.store(at, stored) {
                Ok(0) => break,
                Ok(n) => stored += n,
                Err(error) => {
                    self.unsettled = Some((term, at, stored));
                    return Err(error);
                }
            }
        }
        self.unsettled = None;
        self.commit(at, term, Kind::Output, stored);
        Ok(())
    }

    /// Step 3, once: moves bytes from the pipe to the file behind the `stored` that are there; 0 when the pipe is empty.
    fn store(&mut self, at: u64, stored: usize) -> Result<usize, JournalError> {
        loop {
            let mut pos = at + HEADER_BYTES + stored as u64;
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            let room = RECORD_MAX - stored;
            if room == 0 {
                return Ok(0);
            }
            match rustix::pipe::splice(&self.fds.reader, None, &self.fds.file, Some(&mut pos), room, flags) {
                Ok(n) => return Ok(n),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io_error("splicing into the journal")(errno)),
            }
        }
    }

    /// Step 4: writes the header, and with its commit word makes the record be there.
    fn commit(&mut self, at: u64, term: TermId, kind: Kind, len: usize) {
        let offset = self.terms.get(&term).map_or(0, |index| index.end_offset);
        let position = (segment_of(at) - self.first_segment) as usize;
        let segment = &mut self.segments[position];
        let header = Header {
            term,
            kind,
            len: len as u32,
            offset,
            time_ns: now_ns(),
            payload_crc: crc32fast::hash(segment.bytes(at + HEADER_BYTES, len)),
        };
        segment.commit(at, &header);
        self.note(at, &header);
        self.stir();
    }

    /// All four steps in their unsafe form, for kernels that do not splice from a PTY.
    fn copy(&mut self, term: TermId, at: u64, pty: BorrowedFd<'_>, max: usize) -> Result<Ingest, JournalError> {
        let (mut bytes, began) = (0, Instant::now());
        let source = loop {
            match rustix::io::read(pty, &mut self.scratch[bytes..max]) {
                Ok(0) | Err(Errno::IO) => break Source::HungUp,
                Ok(n) => bytes += n,
                Err(Errno::AGAIN) => break Source::Drained,
                Err(Errno::INTR) => {}
                Err(errno) if bytes == 0 => return Err(io_error("reading the pty")(errno)),
                Err(_) => break Source::More,
            }
            if bytes >= max || began.elapsed() >= TURN {
                break Source::More;
            }
        };
        let mut written = 0;
        while written < bytes {
            let pos = at + HEADER_BYTES + written as u64;
            match rustix::io::pwrite(&self.fds.file, &self.scratch[written..bytes], pos) {
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!(%errno, lost = bytes - written, "output that had been read could not be stored");
                    break;
                }
            }
        }
        if written > 0 {
            self.commit(at, term, Kind::Output, written);
        }
        Ok(Ingest { bytes: written, source })
    }

    /// Takes a committed record into the index.
    fn note(&mut self, at: u64, header: &Header) {
        self.end = at + HEADER_BYTES + u64::from(header.len);
        let index = self.terms.entry(header.term).or_insert_with(|| TermIndex::new(header.offset, at));
        if matches!(header.kind, Kind::Resize | Kind::Checkpoint | Kind::CheckpointFirst) {
            index.shape = Some(at);
        }
        if index.firsts.is_empty() {
            index.base = at;
        }
        if index.firsts.back().is_none_or(|last| segment_of(last.0) != segment_of(at)) {
            index.firsts.push_back((at, header.offset));
        }
        match header.kind {
            Kind::Output => index.end_offset = header.offset + u64::from(header.len),
            Kind::CheckpointFirst => index.partial = Some(at),
            Kind::Checkpoint => {
                (index.base, index.partial) = (at, None);
                self.asked.remove(&header.term);
            }
            Kind::CheckpointLast => {
                index.base = index.partial.take().unwrap_or(index.base);
                self.asked.remove(&header.term);
            }
            Kind::Resize | Kind::CheckpointMore | Kind::Void => {}
        }
    }

    fn map_segment(&mut self, number: u64) -> Result<(), JournalError> {
        while self.first_segment + self.segments.len() as u64 <= number {
            let start = segment_start(self.first_segment + self.segments.len() as u64);
            let segment =
                Segment::map(&self.fds.file, start).map_err(|source| JournalError::Io { what: "mapping a segment", source })?;
            self.segments.push_back(segment);
        }
        Ok(())
    }
}

/// Writes a new journal's control page, or checks an old one's.
fn initialise(control: &Control) -> Result<(), JournalError> {
    check_magic(control)?;
    if control.id().load(Ordering::Acquire) == 0 {
        control.id().store(now_ns() | 1, Ordering::Release);
    }
    Ok(())
}

fn check_magic(control: &Control) -> Result<(), JournalError> {
    match control.magic().load(Ordering::Acquire) {
        0 => {
            control.version().store(FORMAT, Ordering::Release);
            control.floor().store(CONTROL_BYTES, Ordering::Release);
            control.magic().store(MAGIC, Ordering::Release);
            Ok(())
        }
        MAGIC => match control.version().load(Ordering::Acquire) {
            FORMAT => Ok(()),
            found => Err(JournalError::Version { found }),
        },
        _ => Err(JournalError::Foreign),
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests;
