//! A page of lines, and places in a history.

use serde::{Deserialize, Serialize};

use super::TermRef;

/// A place in a history: an offset, or a time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// Behind so many bytes of output.
    Offset(u64),
    /// When everything had come that came before then.
    Time(u64),
}

/// The answer to `seek`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeekOk {
    /// Of the first byte that came then or later; where the output ends if none did.
    pub offset: u64,
    /// The first offset that is kept.
    pub floor: u64,
    /// The offset behind the last byte.
    pub end: u64,
}

/// Where a page of lines begins, or ends if it is read backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinesAt {
    /// At the line with this number.
    Line(u64),
    /// At the first line that left the screen at this offset or behind it.
    Offset(u64),
    /// At the first line that left at this time or later: milliseconds since the Unix epoch.
    Time(u64),
    /// Behind what stands on the screen.
    End,
}

/// What of a history is asked for as a page of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesAsked {
    /// Whose.
    pub term: TermRef,
    /// Where.
    pub at: LinesAt,
    /// The lines before that, instead of those from there on.
    #[serde(default)]
    pub back: bool,
    /// Most lines; a page may have fewer of them, and says where it goes on.
    pub max: u64,
    /// With colours and other attributes.
    #[serde(default)]
    pub styled: bool,
    /// Full-screen stretches are shown as well, each by what stood on the screen at its end.
    #[serde(default)]
    pub frames: bool,
}

/// The answer to `lines`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesOk {
    /// In order.
    pub items: Vec<LineItem>,
    /// To be asked for, backwards, for what comes before; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// To be asked for for what comes next; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The first offset that is kept.
    pub floor: u64,
    /// Why there is nothing before it: `start`, `evicted`, `not logged` or `fault`.
    pub floor_reason: String,
    /// The number of the first line that is kept whole, if it is known without counting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_line: Option<u64>,
    /// The offset behind the last byte.
    pub end: u64,
}

/// A line, a frame, or a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    /// The line's number; of a frame, that of the line that comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// An offset at which it still stood, at most a KiB before it left; where a frame's stretch, or a gap, ended.
    pub offset: u64,
    /// When it left, milliseconds since the Unix epoch; 0 of a gap.
    #[serde(default)]
    pub time: u64,
    /// Its text; a frame's has several rows.
    #[serde(default)]
    pub line: String,
    /// It goes on with the line before it, which was too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// It stands on the screen, and may yet change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
    /// It is a frame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frame: bool,
    /// It is a gap: so much output before `offset` is missing, and `line` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
}
