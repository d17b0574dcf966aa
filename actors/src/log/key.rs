//! How a terminal's log tree is laid out: what is at which key, and how what is there is spelt. Pure.
//!
//! ```text
//!   key                           value
//!   b ++ offset                   a block of output that begins there (`block`)
//!   r ++ offset ++ ordinal        the size became this, there
//!   c ++ offset ++ ordinal        a part of a checkpoint, which rebuilds the screen as it was there
//!   m ++ offset                   marks in a row, of which the first ends there (`marks`)
//!   l ++ offset                   how many lines had left the screen of the checkpoint there: `Count`
//!   n ++ offset                   the same of one that was taken without counting, and from which the screen counts on
//!   s                             how far the tree is: `Standing`
//! ```
//!
//! Numbers in keys are big-endian, so that keys sort as offsets do. **Invariants.** The ordinal counts the control records at one offset, both
//! kinds together: it is the order in which they took effect. Output that no block has is missing: a gap needs no record of its own.

use serde::{Deserialize, Serialize};

use super::{block::Damaged, piece::GapReason, scanner::Scanner};
use crate::{
    Size,
    mirror::{self, LINES_VERSION},
};

/// What a key says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Block(u64),
    Resize(u64, u32),
    Checkpoint(u64, u32),
    Marks(u64),
    Lines(u64),
    Base(u64),
}

/// Where the tree's own standing is kept.
pub(super) const STANDING: &[u8] = b"s";

impl Key {
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, offset, ordinal) = match self {
            Self::Block(offset) => (b'b', offset, None),
            Self::Resize(offset, ordinal) => (b'r', offset, Some(ordinal)),
            Self::Checkpoint(offset, ordinal) => (b'c', offset, Some(ordinal)),
            Self::Marks(offset) => (b'm', offset, None),
            Self::Lines(offset) => (b'l', offset, None),
            Self::Base(offset) => (b'n', offset, None),
        };
        let mut key = vec![kind];
        key.extend(offset.to_be_bytes());
        key.extend(ordinal.into_iter().flat_map(u32::to_be_bytes));
        key
    }

    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let offset = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
        let ordinal = || Some(u32::from_be_bytes(key.get(9..)?.try_into().ok()?));
        match key[0] {
            b'b' => (key.len() == 9).then_some(Self::Block(offset)),
            b'm' => (key.len() == 9).then_some(Self::Marks(offset)),
            b'l' => (key.len() == 9).then_some(Self::Lines(offset)),
            b'n' => (key.len() == 9).then_some(Self::Base(offset)),
            b'r' => Some(Self::Resize(offset, ordinal()?)),
            b'c' => Some(Self::Checkpoint(offset, ordinal()?)),
            _ => None,
        }
    }

    pub(super) fn offset(self) -> u64 {
        match self {
            Self::Block(offset) | Self::Resize(offset, _) | Self::Checkpoint(offset, _) => offset,
            Self::Marks(offset) | Self::Lines(offset) | Self::Base(offset) => offset,
        }
    }
}

/// How far a terminal's log is. Written together with what it describes, so that after a crash it is true of what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The journal that was read last, and the position before which all is here. The same records are never taken twice.
    pub(super) journal: u64,
    pub(super) position: u64,
    /// Offset of the first byte that is kept.
    pub(super) floor: u64,
    /// Why there is nothing before it.
    pub(super) floor_reason: FloorReason,
    /// Offset after the last byte.
    pub(super) end: u64,
    /// Where the last control record took effect, and how many there are at that offset.
    pub(super) control_at: u64,
    pub(super) ordinals: u32,
    /// Where the last checkpoint was taken, if nothing changed the screen since but output.
    pub(super) checkpoint_at: Option<u64>,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
    /// When the oldest block here began, nanoseconds since the Unix epoch; 0 if there is none.
    pub(super) oldest_ns: u64,
    /// What of a mark has come before the end.
    #[serde(default)]
    pub(super) scanner: Scanner,
}

/// Why there is nothing before the floor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FloorReason {
    /// Nothing came before.
    #[default]
    Start,
    /// What came before was removed to keep within the limits.
    Evicted,
    /// What came before was lost.
    Fault,
}

impl From<FloorReason> for GapReason {
    fn from(reason: FloorReason) -> Self {
        match reason {
            FloorReason::Evicted => Self::Evicted,
            FloorReason::Start | FloorReason::Fault => Self::Fault,
        }
    }
}

/// A control record's value: when, then what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control<'a> {
    pub(super) time_ns: u64,
    pub(super) body: &'a [u8],
}

const CONTROL_HEAD_BYTES: usize = 12;

impl<'a> Control<'a> {
    pub(super) fn encode(time_ns: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONTROL_HEAD_BYTES + body.len());
        out.extend([0; 4]);
        out.extend(time_ns.to_le_bytes());
        out.extend(body);
        let crc = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(value: &'a [u8]) -> Result<Self, Damaged> {
        let (head, body) = value.split_at_checked(CONTROL_HEAD_BYTES).ok_or(Damaged)?;
        let crc = u32::from_le_bytes(head[..4].try_into().map_err(|_| Damaged)?);
        if crc != crc32fast::hash(&value[4..]) {
            return Err(Damaged);
        }
        Ok(Self { time_ns: u64::from_le_bytes(head[4..].try_into().map_err(|_| Damaged)?), body })
    }

    /// The size that a resize sets.
    pub(super) fn size(&self) -> Result<Size, Damaged> {
        mirror::decode_size(self.body).ok_or(Damaged)
    }
}

/// A line number on record, under a checksum: of the first line that leaves behind a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) line: u64,
    pub(super) time_ns: u64,
}

impl Count {
    pub(super) fn encode(self) -> Vec<u8> {
        let body = [LINES_VERSION.to_le_bytes().as_slice(), &self.line.to_le_bytes()].concat();
        Control::encode(self.time_ns, &body)
    }

    /// `None` if it is damaged, or of another version: it is counted anew.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let Control { time_ns, body } = Control::decode(value).ok()?;
        let (version, line) = body.split_at_checked(4)?;
        let line = u64::from_le_bytes(line.try_into().ok()?);
        (version == LINES_VERSION.to_le_bytes()).then_some(Self { line, time_ns })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_read_back_and_sort_by_offset(a in any::<u64>(), b in any::<u64>(), ordinal in any::<u32>(), kind in 0usize..6) {
            let key = |offset| {
                let (a, b) = (Key::Resize(offset, ordinal), Key::Checkpoint(offset, ordinal));
                [Key::Block(offset), a, b, Key::Marks(offset), Key::Lines(offset), Key::Base(offset)][kind]
            };
            prop_assert_eq!(Key::decode(&key(a).encode()), Some(key(a)));
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
        }

        #[test]
        fn a_line_number_reads_back_and_one_of_another_version_is_none(line in any::<u64>(), time_ns in any::<u64>()) {
            let count = Count { line, time_ns };
            prop_assert_eq!(Count::decode(&count.encode()), Some(count));
            let body = [(LINES_VERSION + 1).to_le_bytes().as_slice(), &line.to_le_bytes()].concat();
            prop_assert_eq!(Count::decode(&Control::encode(time_ns, &body)), None);
        }

        #[test]
        fn a_control_record_reads_back_and_any_flipped_bit_is_noticed(
            time_ns in any::<u64>(), body in prop::collection::vec(any::<u8>(), 0..40), flip in any::<prop::sample::Index>(),
        ) {
            let mut value = Control::encode(time_ns, &body);
            prop_assert_eq!(Control::decode(&value), Ok(Control { time_ns, body: &body }));
            let bit = flip.index(value.len() * 8);
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Control::decode(&value), Err(Damaged));
        }
    }
}
