//! Input on its way to a child: kept in a memfd that outlives the supervisor, so that what was acknowledged is delivered, and once.
//!
//! ```text
//!   client ─► append: payload, header, commit word ─► acknowledged
//!   memfd:  ├ sources (page 0) ┬ header ┬ payload ┬ header ┬ payload ┬ …
//!                                            ▲ the file's own position: all before it was delivered
//!   deliver: sendfile(pty ◄── memfd)  ───────┘ the kernel moves bytes and position together
//! ```
//!
//! Why no kill doubles or loses a keystroke: a record without its commit word was never acknowledged, and the next one overwrites it. The
//! position lies in the open file, which the custodian shares; `sendfile` advances it by exactly what the PTY took. Moving it over a
//! header, which no child may see, changes nothing about what was delivered, wherever it is cut. Who sent what last is known from the
//! records; before they are truncated (all delivered by then) it is written to page 0. Whoever opens the queue cuts torn records off.
//!
//! **Invariants.** Only `sendfile` and the skip over a header move the position. Bounded by [`PENDING_BYTES_MAX`] and [`SOURCES_MAX`].

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{MemfdFlags, SeekFrom, seek},
    io::Errno,
};
use serde::{Deserialize, Serialize};

/// Most bytes that wait for a child that does not read.
pub const PENDING_BYTES_MAX: u64 = 1 << 20;
/// Most senders whose last number is remembered; the one that was silent longest goes first.
pub const SOURCES_MAX: usize = 64;

const RECORDS_AT: u64 = 4096;
const HEADER_BYTES: u64 = 32;
const SOURCE_BYTES: usize = 16;
const COMMITTED: u32 = 0x6b61_7669;
/// Delivered records are dropped once the file is this long.
const TRUNCATE_AT: u64 = 64 * 1024;

const _: () = assert!(SOURCES_MAX * SOURCE_BYTES <= RECORDS_AT as usize);

/// The sender of answers to what programs ask; clients' names hash to others.
pub const ANSWERS: u64 = 1;

/// Who sends, and its running number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// A hash of the sender's name; see [`source`].
    pub source: u64,
    /// Its number: one that is not above the sender's last is a repetition.
    pub seq: u64,
}

/// A sender's name as 64 bits (FNV-1a: the same in every version, as a queue may outlive one).
pub fn source(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What became of an [`InputQueue::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is kept, and will be delivered; counting from the queue's beginning its bytes end here.
    At(u64),
    /// It was appended before.
    Repeated,
    /// Too much is waiting: it was not taken.
    Full,
}

/// A record: who sent it, up to where it answers questions (in seven bytes; no question ends at 0), and where its payload begins and ends.
struct Header {
    numbered: Option<Numbered>,
    answered: Option<Numbered>,
    begin: u64,
    end: u64,
}

/// See the module's head.
#[derive(Debug)]
pub struct InputQueue {
    file: Arc<OwnedFd>,
    /// Payloads in the file, oldest first: where each begins and ends.
    records: VecDeque<(u64, u64)>,
    /// Where the next header goes.
    end: u64,
    /// Senders and their last numbers, the longest silent first.
    sources: VecDeque<Numbered>,
    /// Payload bytes appended since this queue was opened, and those delivered; what was pending then counts as appended.
    appended: u64,
    delivered: u64,
}

impl InputQueue {
    /// A new, empty queue's descriptor.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn create() -> io::Result<OwnedFd> {
        Self::create_behind(&[])
    }

    /// The same, for the next child of a terminal: what senders had sent before is a repetition there as well.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn create_behind(heard: &[Numbered]) -> io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create("kaval-input", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, RECORDS_AT)?;
        rustix::io::pwrite(&file, &page(heard), 0)?;
        seek(&file, SeekFrom::Start(RECORDS_AT))?;
        Ok(file)
    }

    /// Senders and their last numbers.
    pub fn heard(&self) -> Vec<Numbered> {
        self.sources.iter().copied().collect()
    }

    /// Whether a descriptor can be such a queue: a file in memory that is large enough.
    pub fn is_one(fd: BorrowedFd<'_>) -> bool {
        let size = rustix::fs::fstat(fd).map_or(0, |stat| stat.st_size as u64);
        size >= RECORDS_AT && rustix::fs::fcntl_get_seals(fd).is_ok()
    }

    /// Takes a queue over, with what a supervisor before this one did not deliver.
    ///
    /// # Errors
    /// When the descriptor is no such queue, or cannot be read.
    pub fn open(file: Arc<OwnedFd>) -> io::Result<Self> {
        let mut queue =
            Self { file, records: VecDeque::new(), end: RECORDS_AT, sources: VecDeque::new(), appended: 0, delivered: 0 };
        queue.read_sources()?;
        let position = queue.position()?;
        let size = rustix::fs::fstat(&queue.file)?.st_size as u64;
        if position > size.max(RECORDS_AT) {
            // The records were truncated, all of them delivered, and the position was about to follow.
            seek(&queue.file, SeekFrom::Start(RECORDS_AT))?;
        }
        while let Some(Header { numbered, answered, begin, end }) = queue.read_record(queue.end)? {
            queue.remember(numbered);
            queue.remember(answered);
            if end > position || position > size {
                queue.records.push_back((begin, end));
                queue.appended += end - begin.max(position.min(end));
            }
            queue.end = end.next_multiple_of(8);
        }
        // What a cut append left behind must never be taken for a record.
        rustix::fs::ftruncate(&queue.file, queue.end)?;
        Ok(queue)
    }

    /// The last number of a sender; `None` if it has sent nothing, or too long ago.
    pub fn last(&self, source: u64) -> Option<u64> {
        self.sources.iter().find(|known| known.source == source).map(|known| known.seq)
    }

    /// Bytes that wait.
    pub fn pending(&self) -> u64 {
        self.appended - self.delivered
    }

    /// Payload bytes delivered since this queue was opened.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Keeps `data` for delivery, unless it is a repetition.
    ///
    /// # Errors
    /// When there is no memory left: it was not taken.
    pub fn append(&mut self, numbered: Option<Numbered>, data: &[u8]) -> io::Result<Appended> {
        self.append_answering(numbered, None, data)
    }

    /// Whether that was appended before.
    pub fn has(&self, numbered: Numbered) -> bool {
        self.last(numbered.source).is_some_and(|last| numbered.seq <= last)
    }

    /// As [`InputQueue::append`]; with it all questions up to that offset are answered, as far as it is above what they were before.
    ///
    /// # Errors
    /// When there is no memory left: it was not taken.
    pub fn append_answering(&mut self, numbered: Option<Numbered>, answered: Option<u64>, data: &[u8]) -> io::Result<Appended> {
        if numbered.is_some_and(|new| self.has(new)) {
            return Ok(Appended::Repeated);
        }
        let answered = answered.map(|seq| Numbered { source: ANSWERS, seq }).filter(|new| !self.has(*new));
        if data.is_empty() && numbered.is_none() && answered.is_none() {
            return Ok(Appended::At(self.appended));
        }
        if self.pending() + data.len() as u64 > PENDING_BYTES_MAX {
            return Ok(Appended::Full);
        }
        self.truncate()?;
        let begin = self.end + HEADER_BYTES;
        let mut header = [0; HEADER_BYTES as usize];
        header[4..8].copy_from_slice(&(data.len() as u32).to_le_bytes());
        if let Some(Numbered { source, seq }) = numbered {
            header[8..16].copy_from_slice(&source.to_le_bytes());
            header[16..24].copy_from_slice(&seq.to_le_bytes());
            header[24] = 1;
        }
        if let Some(Numbered { seq, .. }) = answered {
            header[25..32].copy_from_slice(&seq.to_le_bytes()[..7]);
        }
        let write = |queue: &Self| {
            queue.write_at(begin, data)?;
            queue.write_at(queue.end, &header)?;
            queue.write_at(queue.end, &COMMITTED.to_le_bytes())
        };
        if let Err(error) = write(self) {
            rustix::fs::ftruncate(&self.file, self.end)?;
            return Err(error);
        }
        let end = begin + data.len() as u64;
        self.records.push_back((begin, end));
        self.end = end.next_multiple_of(8);
        self.appended += data.len() as u64;
        self.remember(numbered);
        self.remember(answered);
        Ok(Appended::At(self.appended))
    }

    /// Delivers what the PTY, which must be non-blocking, takes; whether anything is left.
    ///
    /// # Errors
    /// When the PTY is gone.
    pub fn deliver(&mut self, pty: impl AsFd) -> io::Result<bool> {
        while let Some(&(begin, end)) = self.records.front() {
            let position = self.position()?;
            if position >= end || begin == end {
                self.records.pop_front();
                continue;
            }
            if position < begin {
                seek(&self.file, SeekFrom::Start(begin))?;
            }
            let left = (end - position.max(begin)) as usize;
            match rustix::fs::sendfile(&pty, &self.file, None, left) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(true),
                Ok(n) => self.delivered += n as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(false)
    }

    /// Drops what was delivered, once that is worth while and nothing else is there.
    fn truncate(&mut self) -> io::Result<()> {
        while self
            .records
            .front()
            .is_some_and(|record| record.0 == record.1 || self.position().is_ok_and(|position| position >= record.1))
        {
            self.records.pop_front();
        }
        if !self.records.is_empty() || self.end < TRUNCATE_AT {
            return Ok(());
        }
        self.write_at(0, &page(&self.sources))?;
        rustix::fs::ftruncate(&self.file, RECORDS_AT)?;
        seek(&self.file, SeekFrom::Start(RECORDS_AT))?;
        self.end = RECORDS_AT;
        Ok(())
    }

    fn remember(&mut self, numbered: Option<Numbered>) {
        let Some(new) = numbered else { return };
        self.sources.retain(|known| known.source != new.source);
        self.sources.push_back(new);
        if self.sources.len() > SOURCES_MAX
            && let Some(oldest) = self.sources.iter().position(|known| known.source != ANSWERS)
        {
            self.sources.remove(oldest);
        }
    }

    fn read_sources(&mut self) -> io::Result<()> {
        let mut page = [0; SOURCES_MAX * SOURCE_BYTES];
        rustix::io::pread(&self.file, &mut page[..], 0)?;
        for slot in page.chunks_exact(SOURCE_BYTES) {
            let numbered = Numbered { source: long(&slot[..8]), seq: long(&slot[8..]) };
            if numbered != (Numbered { source: 0, seq: 0 }) {
                self.remember(Some(numbered));
            }
        }
        Ok(())
    }

    /// The committed record whose header is at `at`.
    fn read_record(&self, at: u64) -> io::Result<Option<Header>> {
        let mut header = [0; HEADER_BYTES as usize];
        let read = rustix::io::pread(&self.file, &mut header[..], at)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if read < header.len() || word(0) != COMMITTED {
            return Ok(None);
        }
        let numbered = (header[24] == 1).then(|| Numbered { source: long(&header[8..16]), seq: long(&header[16..24]) });
        let seq = long(&[&header[25..32], &[0]].concat());
        let answered = (seq > 0).then_some(Numbered { source: ANSWERS, seq });
        let begin = at + HEADER_BYTES;
        Ok(Some(Header { numbered, answered, begin, end: begin + u64::from(word(4)) }))
    }

    fn position(&self) -> io::Result<u64> {
        Ok(rustix::fs::tell(&self.file)?)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            written += rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, &bytes[written..], at + written as u64))?;
        }
        Ok(())
    }
}

/// Page 0: senders and their last numbers.
fn page<'a>(sources: impl IntoIterator<Item = &'a Numbered>) -> [u8; SOURCES_MAX * SOURCE_BYTES] {
    let mut page = [0; SOURCES_MAX * SOURCE_BYTES];
    for (slot, numbered) in page.chunks_exact_mut(SOURCE_BYTES).zip(sources) {
        slot[..8].copy_from_slice(&numbered.source.to_le_bytes());
        slot[8..].copy_from_slice(&numbered.seq.to_le_bytes());
    }
    page
}

fn long(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sink that takes what fits, as a PTY does: a pipe.
    fn sink() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap()
    }

    fn drain(sink: &OwnedFd, into: &mut Vec<u8>) {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = rustix::io::read(sink, &mut buffer) {
            into.extend_from_slice(&buffer[..n]);
        }
    }

    /// What a supervisor does before it is killed and another takes the queue over.
    #[derive(Debug, Clone)]
    enum Act {
        /// A client sends its next input, of so many bytes.
        Send(usize),
        /// A client sends its last one again.
        Resend,
        Deliver,
        Drain,
        Kill,
        /// An append that is cut before its commit word, and so is not acknowledged.
        TornAppend(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (1usize..9000).prop_map(Act::Send),
            2 => Just(Act::Resend),
            3 => Just(Act::Deliver),
            2 => Just(Act::Drain),
            3 => Just(Act::Kill),
            1 => (1usize..5000).prop_map(Act::TornAppend),
        ]
    }

    proptest! {
        /// Law 9: what was acknowledged is delivered, once, in order, whatever is killed.
        #[test]
        fn input_is_delivered_once_over_any_kills(acts in prop::collection::vec(act(), 1..60)) {
            let file = Arc::new(InputQueue::create().unwrap());
            let mut queue = InputQueue::open(file.clone()).unwrap();
            let (read, write) = sink();
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            let (mut seq, mut last) = (0u64, Vec::new());
            let who = source("a client");
            for act in acts {
                match act {
                    Act::Send(len) => {
                        seq += 1;
                        last = (0..len).map(|i| (seq as usize * 31 + i) as u8).collect();
                        match queue.append(Some(Numbered { source: who, seq }), &last).unwrap() {
                            Appended::At(_) => expected.extend_from_slice(&last),
                            Appended::Full => seq -= 1,
                            Appended::Repeated => panic!("a new number taken for an old one"),
                        }
                    }
                    Act::Resend if seq > 0 => {
                        prop_assert_eq!(queue.append(Some(Numbered { source: who, seq }), &last).unwrap(), Appended::Repeated);
                    }
                    Act::Resend => {}
                    Act::Deliver => _ = queue.deliver(&write).unwrap(),
                    Act::Drain => drain(&read, &mut got),
                    Act::Kill => queue = InputQueue::open(file.clone()).unwrap(),
                    Act::TornAppend(len) => {
                        queue.write_at(queue.end + HEADER_BYTES, &vec![0xee; len]).unwrap();
                        queue.write_at(queue.end + 4, &[0xee; 20]).unwrap();
                        queue = InputQueue::open(file.clone()).unwrap();
                    }
                }
            }
            loop {
                let left = queue.deliver(&write).unwrap();
                drain(&read, &mut got);
                if !left {
                    break;
                }
            }
            prop_assert_eq!(queue.pending(), 0);
            prop_assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        }
    }

    #[test]
    fn what_a_record_answers_is_known_to_the_next_supervisor_and_only_grows() {
        let file = Arc::new(InputQueue::create().unwrap());
        let mut queue = InputQueue::open(file.clone()).unwrap();
        let who = source("a client");
        for (seq, answered) in [(1, 7), (2, 1 << 50), (3, 8)] {
            queue.append_answering(Some(Numbered { source: who, seq }), Some(answered), b"answer").unwrap();
        }
        assert_eq!(queue.append(Some(Numbered { source: ANSWERS, seq: 9 }), b"again").unwrap(), Appended::Repeated);
        let queue = InputQueue::open(file).unwrap();
        assert_eq!((queue.last(who), queue.last(ANSWERS)), (Some(3), Some(1 << 50)));
        assert!(queue.has(Numbered { source: who, seq: 3 }) && !queue.has(Numbered { source: who, seq: 4 }));
    }

    #[test]
    fn a_kill_between_truncating_and_moving_the_position_delivers_nothing_again() {
        let file = Arc::new(InputQueue::create().unwrap());
        let mut queue = InputQueue::open(file.clone()).unwrap();
        let (read, write) = sink();
        let numbered = |seq| Some(Numbered { source: 7, seq });
        queue.append(numbered(1), &[1; 1000]).unwrap();
        assert!(!queue.deliver(&write).unwrap());
        rustix::fs::ftruncate(&*file, RECORDS_AT).unwrap();
        let mut queue = InputQueue::open(file).unwrap();
        assert_eq!(queue.pending(), 0);
        queue.append(numbered(2), b"next").unwrap();
        queue.deliver(&write).unwrap();
        let mut got = Vec::new();
        drain(&read, &mut got);
        assert_eq!(&got[1000..], b"next");
    }

    #[test]
    fn what_was_sent_to_the_child_before_is_a_repetition_for_the_next() {
        let numbered = |source, seq| Numbered { source, seq };
        let mut queue = InputQueue::open(Arc::new(InputQueue::create().unwrap())).unwrap();
        for numbered in [numbered(7, 1), numbered(8, 5), numbered(7, 2)] {
            queue.append(Some(numbered), b"x").unwrap();
        }
        let next = Arc::new(InputQueue::create_behind(&queue.heard()).unwrap());
        let mut next = InputQueue::open(next).unwrap();
        assert_eq!((next.pending(), next.last(7), next.last(8)), (0, Some(2), Some(5)));
        assert_eq!(next.append(Some(numbered(7, 2)), b"x").unwrap(), Appended::Repeated);
        assert_eq!(next.append(Some(numbered(7, 3)), b"x").unwrap(), Appended::At(1));
    }

    #[test]
    fn the_file_stays_small_and_the_last_numbers_survive_its_truncation() {
        let file = Arc::new(InputQueue::create().unwrap());
        let mut queue = InputQueue::open(file.clone()).unwrap();
        let (read, write) = sink();
        let mut got = Vec::new();
        for seq in 1..500 {
            queue.append(Some(Numbered { source: 3, seq }), &[0; 2048]).unwrap();
            queue.deliver(&write).unwrap();
            drain(&read, &mut got);
        }
        assert!(rustix::fs::fstat(&*file).unwrap().st_size < 2 * TRUNCATE_AT as i64);
        let mut queue = InputQueue::open(file).unwrap();
        assert_eq!(queue.append(Some(Numbered { source: 3, seq: 499 }), b"again").unwrap(), Appended::Repeated);
    }

    #[test]
    fn a_child_that_does_not_read_bounds_what_waits() {
        let mut queue = InputQueue::open(Arc::new(InputQueue::create().unwrap())).unwrap();
        let piece = vec![0; PENDING_BYTES_MAX as usize / 4];
        let taken = (0..8).filter(|_| matches!(queue.append(None, &piece).unwrap(), Appended::At(_))).count();
        assert_eq!(taken, 4);
        assert_eq!(queue.append(None, b"x").unwrap(), Appended::Full);
    }
}
