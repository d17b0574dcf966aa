//! Reading a journal from another thread: every committed record of every terminal, once, in order, and nothing of the lane's.
//!
//! ```text
//!   lane:      ├─ committed ─┼─ committed ─┼ being made
//!   follower:                ▲ position: all before it has been read
//! ```
//!
//! **Invariants.** Reads only below the file's end, and trusts only what has its commit word and agrees with its checksum. The lane may
//! drop segments that are ahead of the position when the disk stands still (see `room`): what was read is checked against
//! the floor afterwards, so pages that went meanwhile are never taken for output.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Kind, Progress,
    layout::{Found, HEADER_BYTES, Header, place, segment_of, segment_start},
    mapping::{Control, Segment},
};
use crate::TermId;

/// See the module's head.
#[derive(Debug)]
pub struct Follower {
    file: OwnedFd,
    control: Control,
    /// The one that was last read from; most reads go on in it.
    segment: Option<Segment>,
    position: u64,
    progress: Arc<Progress>,
}

/// A committed record, by where it is: its payload is read when it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub term: TermId,
    /// What the payload is.
    pub kind: Kind,
    /// The terminal's offset at the payload's first byte.
    pub offset: u64,
    /// When it was committed, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Bytes of payload.
    pub len: u32,
    /// Where in the journal; unique in it, and growing.
    pub position: u64,
    crc: u32,
}

/// A payload that is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Its segment was dropped.
    #[error("the journal dropped a record before it was stored")]
    Dropped,
    /// It does not agree with its checksum.
    #[error("a record of the journal does not agree with its checksum")]
    Damaged,
    /// There is no memory to read it by.
    #[error("a segment of the journal cannot be mapped")]
    Unmapped(#[source] io::Error),
}

impl Follower {
    pub(super) fn new(file: OwnedFd, progress: Arc<Progress>) -> io::Result<Self> {
        let control = Control::map(&file)?;
        let position = control.floor().load(Ordering::Acquire);
        Ok(Self { file, control, segment: None, position, progress })
    }

    /// Names the journal: another one has another number.
    pub fn journal_id(&self) -> u64 {
        self.control.id().load(Ordering::Acquire)
    }

    /// Where to tell the lane how far its records are stored.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Everything before this has been read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads from the oldest record again.
    pub fn rewind(&mut self) {
        self.position = self.floor();
    }

    fn floor(&self) -> u64 {
        self.control.floor().load(Ordering::Acquire)
    }

    /// Appends the entries that follow, up to some `max_bytes` of the journal; whether there may be more. Segments that the lane dropped are
    /// passed over.
    ///
    /// # Errors
    /// When the file cannot be looked at or mapped.
    pub fn read(&mut self, max_bytes: u64, entries: &mut Vec<Entry>) -> io::Result<bool> {
        let size = rustix::fs::fstat(&self.file)?.st_size as u64;
        let mut bytes = 0;
        while bytes < max_bytes {
            let at = place(self.position.max(self.floor()));
            if size <= at + HEADER_BYTES {
                return Ok(false);
            }
            let found = self.segment(at)?.committed_header(at).map(Header::decode);
            if self.floor() > at {
                continue;
            }
            let Some(Found::Record(header)) = found else { return Ok(false) };
            let Header { term, kind, len, offset, time_ns, payload_crc } = header;
            entries.push(Entry { term, kind, offset, time_ns, len, position: at, crc: payload_crc });
            bytes += HEADER_BYTES + u64::from(len);
            self.position = at + HEADER_BYTES + u64::from(len);
        }
        Ok(true)
    }

    /// Appends an entry's payload.
    ///
    /// # Errors
    /// [`Missing`]; `out` is as it was.
    pub fn payload(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Missing> {
        let before = out.len();
        let segment = self.segment(entry.position).map_err(Missing::Unmapped)?;
        out.extend_from_slice(segment.bytes(entry.position + HEADER_BYTES, entry.len as usize));
        let intact = crc32fast::hash(&out[before..]) == entry.crc;
        if intact && self.floor() <= entry.position {
            return Ok(());
        }
        out.truncate(before);
        Err(if self.floor() > entry.position { Missing::Dropped } else { Missing::Damaged })
    }

    fn segment(&mut self, at: u64) -> io::Result<&Segment> {
        let start = segment_start(segment_of(at));
        if self.segment.as_ref().is_none_or(|segment| segment.start() != start) {
            self.segment = None;
        }
        match &mut self.segment {
            Some(segment) => Ok(segment),
            empty => Ok(empty.insert(Segment::map(&self.file, start)?)),
        }
    }
}
