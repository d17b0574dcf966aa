//! Where things lie in a journal file, and how a record's header is spelt. Pure: bytes and positions, no descriptors.
//!
//! ```text
//! 0                                     4096                                     4096 + SEGMENT
//! ├ magic ┬ version ┬ floor ┬ intent ───┼ header ┬ payload ┬ pad ┬ header ┬ … ────┼ header ┬ …
//! └────────── control page ─────────────┴──────────── segment 0 ──────────────────┴─ segment 1 …
//! ```
//!
//! **Invariants.** Positions only grow: no byte of the file is ever written for two records. A record never straddles a segment, so
//! the next record's place follows from where the last one ended, and a segment can be freed whole. A header is eight-byte aligned.

use crate::TermId;

/// Bytes of the control page in front of segment 0.
pub(super) const CONTROL_BYTES: u64 = 4096;
/// Bytes of a segment, the unit in which space is mapped and freed. Large enough that a segment's end (at most
/// [`RECORD_MAX`] unused bytes) wastes under 7 %, small enough that one idle terminal pins little.
pub(super) const SEGMENT_BYTES: u64 = 1 << 20;
/// Most payload bytes of one record: what a pipe holds, so that one turn is one record.
pub const RECORD_MAX: usize = 64 * 1024;
/// Bytes of a record's header.
pub(super) const HEADER_BYTES: u64 = 48;

const COMMITTED: u32 = 0x6b61_7631;

const _: () = assert!(RECORD_MAX as u64 + HEADER_BYTES <= SEGMENT_BYTES / 8);
const _: () = assert!(CONTROL_BYTES.is_multiple_of(4096) && SEGMENT_BYTES.is_multiple_of(4096));
const _: () = assert!(HEADER_BYTES.is_multiple_of(8));

/// What a record's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes the child wrote; the only kind that advances the terminal's offset.
    Output,
    /// The screen's new size: `cols`, `rows` as little-endian u16.
    Resize,
    /// A checkpoint, whole.
    Checkpoint,
    /// The first part of a checkpoint that is longer than one record.
    CheckpointFirst,
    /// A part of it that is neither first nor last.
    CheckpointMore,
    /// Its last part, which makes it count.
    CheckpointLast,
    /// A control record that a kill cut short: it means nothing and only keeps its place.
    Void,
}

impl Kind {
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Output => 1,
            Self::Resize => 2,
            Self::Checkpoint => 3,
            Self::CheckpointFirst => 4,
            Self::CheckpointMore => 5,
            Self::CheckpointLast => 6,
            Self::Void => 7,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<Self> {
        const ALL: [Kind; 7] = [
            Kind::Output,
            Kind::Resize,
            Kind::Checkpoint,
            Kind::CheckpointFirst,
            Kind::CheckpointMore,
            Kind::CheckpointLast,
            Kind::Void,
        ];
        ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// A record's header, all but the commit word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) term: TermId,
    pub(super) kind: Kind,
    /// Payload bytes.
    pub(super) len: u32,
    /// The terminal's offset at the payload's first byte (for records other than output: at which they took effect).
    pub(super) offset: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) time_ns: u64,
    /// CRC-32 of the payload.
    pub(super) payload_crc: u32,
}

/// What is found where a header should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The commit word is not set: the record was being made.
    Uncommitted,
    /// A whole header.
    Record(Header),
    /// A commit word, but the rest does not agree with its checksum.
    Damaged,
}

impl Header {
    /// The header's bytes; the first four, the commit word, are left zero and are stored last ([`Header::COMMIT_WORD`]).
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..12].copy_from_slice(&self.term.0.to_le_bytes());
        out[12..16].copy_from_slice(&self.kind.code().to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.time_ns.to_le_bytes());
        out[32..36].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&out[4..36]);
        out[36..40].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) const COMMIT_WORD: u32 = COMMITTED;

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Found {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if word(0) == 0 {
            return Found::Uncommitted;
        }
        if word(0) != COMMITTED || word(36) != crc32fast::hash(&bytes[4..36]) {
            return Found::Damaged;
        }
        let Some(kind) = Kind::from_code(word(12)) else { return Found::Damaged };
        if word(4) as usize > RECORD_MAX {
            return Found::Damaged;
        }
        Found::Record(Self {
            term: TermId(word(8)),
            kind,
            len: word(4),
            offset: long(16),
            time_ns: long(24),
            payload_crc: word(32),
        })
    }
}

/// Where the record after one that ended at `end` has its header: the next aligned position that leaves room for the
/// longest record, else the start of the next segment.
pub(super) fn place(end: u64) -> u64 {
    let aligned = end.max(CONTROL_BYTES).next_multiple_of(8);
    let in_segment = (aligned - CONTROL_BYTES) % SEGMENT_BYTES;
    if in_segment + HEADER_BYTES + RECORD_MAX as u64 > SEGMENT_BYTES { segment_start(segment_of(aligned) + 1) } else { aligned }
}

pub(super) fn segment_of(pos: u64) -> u64 {
    (pos - CONTROL_BYTES) / SEGMENT_BYTES
}

pub(super) fn segment_start(segment: u64) -> u64 {
    CONTROL_BYTES + segment * SEGMENT_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_never_straddles_a_segment_and_places_only_grow(end in 0u64..8 * SEGMENT_BYTES) {
            let at = place(end);
            prop_assert!(at >= end && at.is_multiple_of(8));
            prop_assert_eq!(segment_of(at), segment_of(at + HEADER_BYTES + RECORD_MAX as u64 - 1));
            prop_assert_eq!(place(at), at);
        }

        #[test]
        fn a_header_reads_back_and_any_flipped_bit_is_noticed(
            term in any::<u32>(), kind in 1u32..=7, len in 0u32..=RECORD_MAX as u32, offset in any::<u64>(),
            time_ns in any::<u64>(), payload_crc in any::<u32>(), flip in 0usize..40 * 8,
        ) {
            let header = Header { term: TermId(term), kind: Kind::from_code(kind).unwrap(), len, offset, time_ns, payload_crc };
            let mut bytes = header.encode();
            prop_assert_eq!(Header::decode(&bytes), Found::Uncommitted);
            bytes[..4].copy_from_slice(&Header::COMMIT_WORD.to_le_bytes());
            prop_assert_eq!(Header::decode(&bytes), Found::Record(header));
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(Header::decode(&bytes), Found::Damaged);
        }
    }
}
