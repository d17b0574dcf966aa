//! What a terminal's history is read in: pieces, in the order of their offsets, whatever they are kept in.

use std::fmt;

use bytes::Bytes;

use crate::Size;

/// One stretch of a history, or a point in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Output, as the child wrote it.
    Output {
        /// Of its first byte.
        offset: u64,
        /// When it came, nanoseconds since the Unix epoch.
        time_ns: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The size became another.
    Resize {
        /// Where: behind this much output.
        offset: u64,
        /// When.
        time_ns: u64,
        /// What it became.
        size: Size,
    },
    /// What rebuilds the screen as it is here. Only whoever has none needs it: it changes nothing.
    Checkpoint {
        /// Where.
        offset: u64,
        /// When.
        time_ns: u64,
        /// [`Mirror::checkpoint`](crate::mirror::Mirror::checkpoint)'s bytes.
        data: Bytes,
    },
    /// Output that there was and is not to be had.
    Gap {
        /// Its first byte.
        from: u64,
        /// The first byte behind it.
        to: u64,
        /// Why.
        reason: GapReason,
    },
}

impl Piece {
    /// The offset behind it.
    pub fn end(&self) -> u64 {
        match self {
            Self::Output { offset, data, .. } => offset + data.len() as u64,
            Self::Resize { offset, .. } | Self::Checkpoint { offset, .. } => *offset,
            Self::Gap { to, .. } => *to,
        }
    }
}

/// Why output is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// It was kept and had to make room.
    Evicted,
    /// It came while its terminal was not logged.
    NotLogged,
    /// It could not be written, or not be read back.
    Fault,
}

impl GapReason {
    /// What a history as text has in place of what is missing.
    pub fn note(self, from: u64, to: u64) -> String {
        format!("[… {} bytes not kept: {self} …]", to - from)
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::NotLogged => "not logged",
            Self::Fault => "fault",
        })
    }
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// At this offset.
    Offset(u64),
    /// At the newest checkpoint at or before this offset, which is then the first piece; where there is none, at the floor.
    Checkpoint(u64),
}

/// A stretch of a history. If what was asked for begins below the floor, its first piece is a gap.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The pieces.
    pub pieces: Vec<Piece>,
    /// The offset to read on at; `None` if this page holds all that was asked for.
    pub next: Option<u64>,
    /// The first offset that is still kept.
    pub floor: u64,
    /// After the last byte there is.
    pub end: u64,
    /// The terminal's size now: the best guess at the size of output that no checkpoint or resize is kept before.
    pub size: Option<Size>,
}
