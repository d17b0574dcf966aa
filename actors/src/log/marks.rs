//! Marks: what a terminal's programs told by operating system commands, with where and when, and how they are stored. Pure.
//!
//! ```text
//!   value of a pack:   ├ crc-32 of the rest ┬ method u8 ┬ body: marks, by method 1 zstd of them ─┤
//!   a mark:            ├ offset, less the one before's ┬ µs, less the one before's ┬ length ┬ length of what is kept ┬ that ─┤
//! ```
//!
//! A pack is at the offset of its first mark, in the key. Numbers are LEB128.
//!
//! A mark is what was told, as it was told; what it means is found out when it is read ([`commands`](super::commands)), so that what is
//! stored stays what it is when more of it is understood.
//!
//! **Invariants.** A pack decodes to what was encoded or is an error, and is stored in some 8 KiB at most. A mark takes its payload's beginning
//! and four numbers: five bytes in a flood, at most 40. What told it takes the payload and three bytes. So, before compression, a flood's marks
//! take at most twice the room of its output.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    block::{Damaged, put_number, take_number},
    scanner::{Found, HEAD_BYTES_MAX, Scanner},
};
use crate::memory::allocated;

/// Something a program told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Behind its last byte of output.
    pub offset: u64,
    /// When it came, nanoseconds since the Unix epoch (kept to a microsecond).
    pub time_ns: u64,
    /// Payload of the operating system command, or the beginning of one that is longer.
    pub head: Bytes,
    /// Bytes of the whole payload.
    pub len: u64,
}

/// Marks in a row.
#[derive(Debug, Clone, Default)]
pub struct MarkPage {
    /// In the order of their offsets.
    pub marks: Vec<Mark>,
    /// The offset behind which to read on; `None` if these are the last.
    pub next: Option<u64>,
    /// How far output was listened to: what is behind it may have more.
    pub end: u64,
    /// To go on with there.
    pub scanner: Scanner,
}

/// Most bytes of a pack before compression; values of 4 to 12 KB keep the database's heap small.
pub(super) const PACK_BYTES_MAX: usize = 8 << 10;
/// A pack below this is gone on with: who marks a prompt now and then would leave a value for each, and a longer one would be written
/// again too often.
const PACK_BYTES_OPEN: usize = 1 << 10;
/// Most bytes of a mark's numbers.
const NUMBERS_BYTES_MAX: usize = 4 * 10;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const HEAD_BYTES: usize = 5;
const ZSTD_LEVEL: i32 = 1;

const _: () = assert!(HEAD_BYTES_MAX + NUMBERS_BYTES_MAX < PACK_BYTES_MAX, "a pack has room for any mark");

/// Marks that are stored together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pack {
    /// Offset of the first, and so its key.
    first: u64,
    last: u64,
    last_us: u64,
    body: Vec<u8>,
}

impl Pack {
    /// Bytes that it has allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        allocated(self.body.capacity())
    }

    /// Appends a mark; `false` if there is no room.
    pub(super) fn push(&mut self, found: Found<'_>, time_ns: u64) -> bool {
        if self.body.len() + NUMBERS_BYTES_MAX + found.head.len() > PACK_BYTES_MAX {
            return false;
        }
        if self.body.is_empty() {
            (self.first, self.last) = (found.offset, found.offset);
        }
        // A clock that was set back makes no negative time: what came after shows as having come at once.
        let later_us = (time_ns / 1000).saturating_sub(self.last_us);
        for number in [found.offset - self.last, later_us, found.len, found.head.len() as u64] {
            put_number(&mut self.body, number);
        }
        self.body.extend_from_slice(found.head);
        (self.last, self.last_us) = (found.offset, self.last_us + later_us);
        true
    }

    fn push_mark(&mut self, mark: &Mark) {
        let is_pushed = self.push(Found { offset: mark.offset, head: &mark.head, len: mark.len }, mark.time_ns);
        debug_assert!(is_pushed, "it was in a pack before");
    }

    /// Of marks that were in one pack.
    pub(super) fn of(marks: &[Mark]) -> Self {
        let mut pack = Self::default();
        marks.iter().for_each(|mark| pack.push_mark(mark));
        pack
    }

    /// Whether more is to be appended once it is stored.
    pub(super) fn is_open(&self) -> bool {
        self.body.len() < PACK_BYTES_OPEN
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// As stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (method, body) = match zstd::bulk::compress(&self.body, ZSTD_LEVEL) {
            Ok(compressed) if compressed.len() < self.body.len() => (ZSTD, Cow::Owned(compressed)),
            Ok(_) | Err(_) => (PLAIN, Cow::Borrowed(&self.body[..])),
        };
        let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
        out.extend([0, 0, 0, 0, method]);
        out.extend_from_slice(&body);
        let crc = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The marks of a pack whose first is at `first`.
    ///
    /// # Errors
    /// [`Damaged`], whatever the bytes are.
    pub(super) fn decode(first: u64, stored: &[u8]) -> Result<Vec<Mark>, Damaged> {
        let (head, body) = stored.split_at_checked(HEAD_BYTES).ok_or(Damaged)?;
        if head[..4] != crc32fast::hash(&stored[4..]).to_le_bytes() {
            return Err(Damaged);
        }
        let body = match head[4] {
            PLAIN => Bytes::copy_from_slice(body),
            ZSTD => zstd::bulk::decompress(body, PACK_BYTES_MAX).map_err(|_| Damaged)?.into(),
            _ => return Err(Damaged),
        };
        let (mut rest, mut marks, mut offset, mut time_us) = (&body[..], Vec::new(), first, 0u64);
        while !rest.is_empty() {
            let [on, later_us, len, kept] = take_numbers(&mut rest).ok_or(Damaged)?;
            let (head, behind) = rest.split_at_checked(usize::try_from(kept).map_err(|_| Damaged)?).ok_or(Damaged)?;
            offset = offset.checked_add(on).ok_or(Damaged)?;
            time_us = time_us.checked_add(later_us).ok_or(Damaged)?;
            marks.push(Mark { offset, time_ns: time_us.saturating_mul(1000), head: body.slice_ref(head), len });
            rest = behind;
        }
        Ok(marks)
    }
}

fn take_numbers(bytes: &mut &[u8]) -> Option<[u64; 4]> {
    Some([take_number(bytes)?, take_number(bytes)?, take_number(bytes)?, take_number(bytes)?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks() -> impl Strategy<Value = Vec<Mark>> {
        let mark = (1u64..1 << 40, 0u64..3_000_000, prop::collection::vec(any::<u8>(), 0..60), 0u64..100);
        prop::collection::vec(mark, 1..60).prop_map(|marks| {
            let (mut offset, mut time_us) = (0, 1_700_000_000_000_000);
            let next = |(on, later_us, head, more): (u64, u64, Vec<u8>, u64)| {
                (offset, time_us) = (offset + on, time_us + later_us);
                Mark { offset, time_ns: time_us * 1000, len: head.len() as u64 + more, head: head.into() }
            };
            marks.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn a_pack_reads_back_and_any_flipped_bit_is_noticed(marks in marks(), flip in any::<prop::sample::Index>()) {
            let pack = Pack::of(&marks);
            let mut stored = pack.encode();
            prop_assert_eq!(Pack::decode(pack.first(), &stored), Ok(marks));
            let bit = flip.index(stored.len() * 8);
            stored[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Pack::decode(pack.first(), &stored), Err(Damaged));
        }
    }

    #[test]
    fn a_pack_takes_what_it_has_room_for() {
        let mut pack = Pack::default();
        let head = vec![b'x'; HEAD_BYTES_MAX];
        let count =
            (1..).take_while(|offset| pack.push(Found { offset: *offset, head: &head, len: 1 << 16 }, u64::MAX)).count();
        assert_eq!(count, 1);
        let small = |offset| Found { offset, head: b"133;A", len: 5 };
        let more = (2..).take_while(|offset| pack.push(small(*offset), u64::MAX)).count();
        assert!(more > 100 && pack.body.len() <= PACK_BYTES_MAX && !pack.is_open());
        assert_eq!(Pack::decode(1, &pack.encode()).unwrap().len(), count + more);
    }
}
