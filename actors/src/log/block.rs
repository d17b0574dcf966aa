//! How a stretch of output is stored: compressed, with the time of every piece, under a checksum. Pure: bytes in, bytes out.
//!
//! ```text
//!   ├ version u8 ┬ method u8 ┬ crc-32 of the rest ┬ first_ns u64 ┬ raw_len u32 ┬ body ─┤      little-endian
//!                                                                              body, by method 1 zstd of, by method 0:
//!                                                        ├ spans (number, then: length, µs since the one before; LEB128) ┬ output ─┤
//! ```
//!
//! **Invariants.** A block decodes to what was encoded or is an error, never to something else: the checksum covers every byte
//! behind it, and any change of the first two makes them unknown. Output in a block is one unbroken stretch.

use std::borrow::Cow;

/// Most output bytes of a block.
pub const RAW_BYTES_MAX: usize = 64 << 10;
/// A block that is larger than this when encoded is cut in two: the database's heap stays small with values of 4 to 12 KB, and grows with
/// larger ones.
const ENCODED_BYTES_MAX: usize = 12 << 10;
/// Below this cutting does not pay.
const RAW_BYTES_CUT_MIN: usize = 8 << 10;

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const HEAD_BYTES: usize = 18;
/// Next to a PTY free, at a quarter of the size that no compression has.
const ZSTD_LEVEL: i32 = 1;

/// A stretch of output that arrived at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Bytes.
    pub len: u32,
    /// When, nanoseconds since the Unix epoch (kept to a microsecond).
    pub time_ns: u64,
}

/// Output and when it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Whose lengths add up to that of `raw`.
    pub spans: Vec<Span>,
    /// The bytes.
    pub raw: Vec<u8>,
}

/// A stored block that does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of the log is damaged")]
pub struct Damaged;

impl Block {
    /// Appends bytes that came at `time_ns`.
    pub fn push(&mut self, bytes: &[u8], time_ns: u64) {
        self.raw.extend_from_slice(bytes);
        self.extend_spans(Span { len: bytes.len() as u32, time_ns });
    }

    /// Appends another block, which follows on this one.
    pub fn append(&mut self, other: &Block) {
        self.raw.extend_from_slice(&other.raw);
        other.spans.iter().for_each(|span| self.extend_spans(*span));
    }

    fn extend_spans(&mut self, span: Span) {
        match self.spans.last_mut() {
            Some(last) if micros(last.time_ns) == micros(span.time_ns) => last.len += span.len,
            Some(_) | None => self.spans.push(span),
        }
    }

    /// The two parts of it before and from `at` on.
    pub fn split(mut self, at: usize) -> (Self, Self) {
        let mut rest = Self { raw: self.raw.split_off(at), spans: Vec::new() };
        let (mut spans, mut before) = (Vec::new(), 0);
        for span in self.spans {
            let head = at.saturating_sub(before).min(span.len as usize) as u32;
            before += span.len as usize;
            if head > 0 {
                spans.push(Span { len: head, ..span });
            }
            if head < span.len {
                rest.spans.push(Span { len: span.len - head, ..span });
            }
        }
        self.spans = spans;
        (self, rest)
    }

    /// When its first byte came.
    pub fn first_ns(&self) -> u64 {
        self.spans.first().map_or(0, |span| span.time_ns)
    }

    /// As stored, in as many parts as keep each of them small; each with its own number of output bytes.
    pub fn encode_parts(self) -> Vec<(usize, Vec<u8>)> {
        let encoded = self.encode();
        let len = self.raw.len();
        if encoded.len() <= ENCODED_BYTES_MAX || len <= RAW_BYTES_CUT_MIN {
            return vec![(len, encoded)];
        }
        let (first, second) = self.split(len / 2);
        let mut parts = first.encode_parts();
        parts.extend(second.encode_parts());
        parts
    }

    /// As stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.raw.len() + self.spans.len() * 4 + 4);
        put_number(&mut plain, self.spans.len() as u64);
        let mut before = micros(self.first_ns());
        for span in &self.spans {
            put_number(&mut plain, u64::from(span.len));
            // A clock that was set back makes no negative time: what came after shows as having come at once.
            put_number(&mut plain, micros(span.time_ns).saturating_sub(before));
            before = before.max(micros(span.time_ns));
        }
        plain.extend_from_slice(&self.raw);
        let (method, body) = match zstd::bulk::compress(&plain, ZSTD_LEVEL) {
            Ok(compressed) if compressed.len() < plain.len() => (ZSTD, compressed),
            Ok(_) | Err(_) => (PLAIN, plain),
        };
        let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
        out.extend([VERSION, method, 0, 0, 0, 0]);
        out.extend(self.first_ns().to_le_bytes());
        out.extend((self.raw.len() as u32).to_le_bytes());
        out.extend(body);
        let crc = crc32fast::hash(&out[6..]);
        out[2..6].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a stored block.
    ///
    /// # Errors
    /// [`Damaged`], whatever the bytes are.
    pub fn decode(stored: &[u8]) -> Result<Self, Damaged> {
        let (head, body) = stored.split_at_checked(HEAD_BYTES).ok_or(Damaged)?;
        let crc = u32::from_le_bytes(head[2..6].try_into().map_err(|_| Damaged)?);
        let first_ns = u64::from_le_bytes(head[6..14].try_into().map_err(|_| Damaged)?);
        let raw_len = u32::from_le_bytes(head[14..18].try_into().map_err(|_| Damaged)?) as usize;
        if head[0] != VERSION || crc != crc32fast::hash(&stored[6..]) || raw_len > RAW_BYTES_MAX {
            return Err(Damaged);
        }
        let plain = match head[1] {
            PLAIN => Cow::Borrowed(body),
            ZSTD => Cow::Owned(decompress(body, raw_len)?),
            _ => return Err(Damaged),
        };
        let mut rest = &*plain;
        let spans = take_spans(&mut rest, first_ns, raw_len).ok_or(Damaged)?;
        if rest.len() != raw_len {
            return Err(Damaged);
        }
        Ok(Self { spans, raw: rest.to_vec() })
    }
}

fn decompress(body: &[u8], raw_len: usize) -> Result<Vec<u8>, Damaged> {
    let plain_len = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().ok_or(Damaged)?;
    // A span has at least a byte, and two numbers of at most five and ten.
    let plain_len = usize::try_from(plain_len).ok().filter(|len| *len <= 16 * (raw_len + 1)).ok_or(Damaged)?;
    zstd::bulk::decompress(body, plain_len).map_err(|_| Damaged)
}

/// Output bytes of a stored block, and when the first came, without decoding it.
pub fn peek(stored: &[u8]) -> Option<(usize, u64)> {
    let first_ns = u64::from_le_bytes(stored.get(6..14)?.try_into().ok()?);
    let raw_len = u32::from_le_bytes(stored.get(14..18)?.try_into().ok()?);
    Some((raw_len as usize, first_ns))
}

fn micros(ns: u64) -> u64 {
    ns / 1000
}

fn take_spans(rest: &mut &[u8], first_ns: u64, raw_len: usize) -> Option<Vec<Span>> {
    let count = take_number(rest)? as usize;
    if count > raw_len {
        return None;
    }
    let (mut spans, mut time_ns, mut total) = (Vec::with_capacity(count), first_ns, 0usize);
    for _ in 0..count {
        let len = u32::try_from(take_number(rest)?).ok()?;
        time_ns = time_ns.checked_add(take_number(rest)?.checked_mul(1000)?)?;
        total = total.checked_add(len as usize)?;
        spans.push(Span { len, time_ns });
    }
    (total == raw_len).then_some(spans)
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block() -> impl Strategy<Value = Block> {
        let piece = (prop::collection::vec(any::<u8>(), 1..300), 0u64..3_000_000);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| {
            let (mut block, mut now) = (Block::default(), 1_700_000_000_000_000_000);
            for (bytes, later_us) in pieces {
                now += later_us * 1000;
                block.push(&bytes, now);
            }
            block
        })
    }

    proptest! {
        #[test]
        fn a_block_reads_back_and_so_do_its_parts(block in block(), at in any::<prop::sample::Index>()) {
            prop_assert_eq!(Block::decode(&block.encode()), Ok(block.clone()));
            prop_assert_eq!(peek(&block.encode()), Some((block.raw.len(), block.first_ns())));
            let (mut first, second) = block.clone().split(at.index(block.raw.len() + 1));
            prop_assert_eq!(first.spans.iter().map(|span| span.len as usize).sum::<usize>(), first.raw.len());
            first.append(&second);
            prop_assert_eq!(first, block);
        }

        #[test]
        fn any_flipped_bit_is_noticed(block in block(), flip in any::<prop::sample::Index>()) {
            let mut stored = block.encode();
            let bit = flip.index(stored.len() * 8);
            stored[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Block::decode(&stored), Err(Damaged));
        }

        #[test]
        fn rubbish_is_no_block(rubbish in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Block::decode(&rubbish), Err(Damaged));
        }
    }

    #[test]
    fn what_does_not_compress_is_stored_in_small_parts() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..RAW_BYTES_MAX)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let mut block = Block::default();
        block.push(&noise, 5_000);
        let parts = block.encode_parts();
        assert!(parts.iter().all(|(_, stored)| stored.len() <= ENCODED_BYTES_MAX), "{}", parts.len());
        let back: Vec<u8> = parts.iter().flat_map(|(_, stored)| Block::decode(stored).unwrap().raw).collect();
        assert_eq!(back, noise);
    }
}
