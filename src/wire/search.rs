//! Looking for a pattern in a history.

use serde::{Deserialize, Serialize};

use super::TermRef;

/// What is looked for, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAsked {
    /// In whose history.
    pub term: TermRef,
    /// A regular expression.
    pub pattern: String,
    /// It is a text as it stands instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub literal: bool,
    /// Upper and lower case are the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
    /// Most lines to be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Milliseconds that it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<u64>,
    /// Only in lines before this number: where a search that was cut short goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// The answer to `search`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchOk {
    /// The terminal's id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The first offset that is kept, and searched.
    pub floor: u64,
    /// Why there is nothing before it: `start`, `evicted`, `not logged` or `fault`.
    pub floor_reason: String,
    /// The offset behind the last byte that is searched.
    pub end: u64,
}

/// A line in which it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchInfo {
    /// The line's number.
    pub number: u64,
    /// An offset at which it still stood, at most a KiB before it left.
    pub offset: u64,
    /// When it left, milliseconds since the Unix epoch.
    pub time: u64,
    /// Its text.
    pub line: String,
    /// Where in it: characters from and to, counted from 0, the first 1000 places.
    pub spans: Vec<(u32, u32)>,
    /// It goes on with the line before it, which was too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// It stands on the screen, and may yet change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
}
