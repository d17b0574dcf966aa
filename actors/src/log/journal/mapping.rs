//! A journal file's pages in memory: the control page's words and one mapping a segment.
//!
//! **Invariants.** Nothing past the file's end is touched (a page there would raise SIGBUS), and the file cannot shrink
//! (it is sealed). The control words and commit words are atomics; every other byte is written before the commit word
//! over it and never after, so a slice of a committed payload is immutable for as long as its segment stays mapped.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr::{NonNull, null_mut},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::layout::{CONTROL_BYTES, HEADER_BYTES, Header, SEGMENT_BYTES};

/// A shared, writable mapping of part of a file.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    #[allow(unsafe_code)]
    fn new(file: BorrowedFd<'_>, pos: u64, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).expect("a 64-bit address space");
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases no Rust object; it is unmapped once, in Drop.
        let start = unsafe { mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, pos)? };
        Ok(Self { start: NonNull::new(start.cast()).expect("mmap returns no null"), len })
    }

    #[allow(unsafe_code)]
    fn word64(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: in bounds and aligned (checked), mapped for the borrow's life, and only ever accessed as an atomic.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    #[allow(unsafe_code)]
    fn word32(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.len);
        // SAFETY: as in `word64`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    #[allow(unsafe_code)]
    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        assert!(at + len <= self.len);
        // SAFETY: in bounds (checked) and below the file's end (the callers' invariant); committed bytes are not written again.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    #[allow(unsafe_code)]
    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        // SAFETY: in bounds (checked); `&mut self` keeps every slice handed out by `bytes` from being alive.
        unsafe { self.start.as_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, and no borrow of it can outlive self.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

// SAFETY: the mapping is owned, and moving it to another thread moves the only access path to it.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}

/// The words of the control page.
#[derive(Debug)]
pub(super) struct Control(Mapping);

/// Bytes offsets of the control page's words.
const MAGIC: usize = 0;
const VERSION: usize = 8;
const FLOOR: usize = 16;
const INTENT_POS: usize = 24;
const INTENT_OFFSET: usize = 32;
const INTENT_WHOSE: usize = 40;
const ID: usize = 48;
/// Names the state directory that the journal is used with; 0 while that is not known. Read and written by descriptor, before
/// it is mapped.
pub(super) const LINEAGE: usize = 56;

impl Control {
    pub(super) fn map(file: impl AsFd) -> io::Result<Self> {
        Mapping::new(file.as_fd(), 0, CONTROL_BYTES).map(Self)
    }

    pub(super) fn magic(&self) -> &AtomicU64 {
        self.0.word64(MAGIC)
    }

    pub(super) fn version(&self) -> &AtomicU64 {
        self.0.word64(VERSION)
    }

    /// Position of the first segment still kept.
    pub(super) fn floor(&self) -> &AtomicU64 {
        self.0.word64(FLOOR)
    }

    pub(super) fn intent_pos(&self) -> &AtomicU64 {
        self.0.word64(INTENT_POS)
    }

    pub(super) fn intent_offset(&self) -> &AtomicU64 {
        self.0.word64(INTENT_OFFSET)
    }

    /// `kind << 32 | term`.
    pub(super) fn intent_whose(&self) -> &AtomicU64 {
        self.0.word64(INTENT_WHOSE)
    }

    /// Chosen at random when the journal is made: what is on disk says by it which journal a position is in.
    pub(super) fn id(&self) -> &AtomicU64 {
        self.0.word64(ID)
    }
}

/// One mapped segment.
#[derive(Debug)]
pub(super) struct Segment {
    start: u64,
    map: Mapping,
}

impl Segment {
    pub(super) fn map(file: impl AsFd, start: u64) -> io::Result<Self> {
        Ok(Self { start, map: Mapping::new(file.as_fd(), start, SEGMENT_BYTES)? })
    }

    /// Position of its first byte.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn bytes(&self, pos: u64, len: usize) -> &[u8] {
        self.map.bytes((pos - self.start) as usize, len)
    }

    pub(super) fn header(&self, pos: u64) -> &[u8; HEADER_BYTES as usize] {
        self.bytes(pos, HEADER_BYTES as usize).try_into().expect("the length asked for")
    }

    /// As [`Segment::header`], for one that another thread may be committing: `None` until it is committed.
    pub(super) fn committed_header(&self, pos: u64) -> Option<&[u8; HEADER_BYTES as usize]> {
        let word = self.map.word32((pos - self.start) as usize).load(Ordering::Acquire);
        (word != 0).then(|| self.header(pos))
    }

    /// Stores a header at `pos`, its commit word last, which makes the record be there.
    pub(super) fn commit(&mut self, pos: u64, header: &Header) {
        let at = (pos - self.start) as usize;
        self.map.write(at + 4, &header.encode()[4..]);
        self.map.word32(at).store(Header::COMMIT_WORD, Ordering::Release);
    }
}
