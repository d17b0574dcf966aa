//! What streams carry.

use std::collections::BTreeMap;

use bytes::Bytes;
use kaval_actors::pty::Exit;
use serde::{Deserialize, Serialize};
use signal_hook::low_level::signal_name;

use super::search::MatchInfo;

/// A frame of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "lowercase")]
pub enum Event {
    /// The whole screen; output follows from `offset` on.
    Screen {
        /// The stream.
        req: u64,
        /// Where it was taken.
        offset: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// Bytes that draw it on a terminal of that size.
        data: Data,
        /// More of these bytes follow in the next `screen`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    /// Output, or raw history.
    Output {
        /// The stream.
        req: u64,
        /// Of the first byte.
        offset: u64,
        /// The bytes.
        data: Data,
        /// When they came, microseconds since the Unix epoch: in a timed history.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_us: Option<u64>,
    },
    /// History, line by line.
    Lines {
        /// The stream.
        req: u64,
        /// Lines in UTF-8, each ended by a newline; a very long one may be cut between two events.
        data: Data,
        /// All lines that had left the screen before this offset have been sent: history from there on gives those that follow.
        next: u64,
        /// Not yet: the next `lines` have more of them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    /// The terminal's size changed at this point.
    Resized {
        /// The stream.
        req: u64,
        /// Where.
        offset: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// When, microseconds since the Unix epoch: in a timed history.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_us: Option<u64>,
    },
    /// Output was left out, since the client was too far behind, and a `screen` follows; or, in a timed history, is no longer kept.
    Lagged {
        /// The stream.
        req: u64,
        /// First byte left out.
        from: u64,
        /// First byte not left out.
        to: u64,
    },
    /// The child has ended, or was lost with its PTY, and another will be started.
    Respawning {
        /// The stream.
        req: u64,
        /// How it ended; absent if it was lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<ExitInfo>,
        /// When the next one is to be started, milliseconds since the Unix epoch.
        at: u64,
    },
    /// The terminal is idle, and hung up for that unless there is output or input; or is not any more.
    Reaping {
        /// The stream.
        req: u64,
        /// When, milliseconds since the Unix epoch; absent if it is not any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
    /// The child has ended; nothing follows but `end`.
    Exited {
        /// The stream.
        req: u64,
        /// How.
        exit: ExitInfo,
    },
    /// Somebody detached this client; nothing follows but `end`.
    Detached {
        /// The stream.
        req: u64,
    },
    /// Lines in which a pattern was found, the newest first.
    Found {
        /// The stream.
        req: u64,
        /// The lines.
        matches: Vec<MatchInfo>,
    },
    /// How far a search is; the last of them, before `end`, says where it ended.
    Searched {
        /// The stream.
        req: u64,
        /// Everything from the line of this number on is searched: to go on before it. Absent once all is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// Output up to here is still to be searched.
        offset: u64,
    },
    /// A piece of a file.
    #[serde(rename = "data")]
    Piece {
        /// The stream.
        req: u64,
        /// The bytes.
        data: Data,
    },
    /// Something happened: one of a stream of events.
    #[serde(rename = "event")]
    Happened {
        /// The stream.
        req: u64,
        /// What.
        #[serde(flatten)]
        event: EventInfo,
    },
    /// The stream is over.
    End {
        /// The stream.
        req: u64,
    },
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventInfo {
    /// Its number: greater than that of every event before, also of supervisors before.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub time: u64,
    /// `created`, `adopted`, `exited`, `lost`, `respawned`, `respawn-failed`, `reap-notice`, `reap-averted`, `reaped`, `removed`, `renamed`, `resized`, `title`, `attached`, `detached`, `lagged`,
    /// `bell`, `cwd`, `notification`, `progress`, `clipboard`, `command-started`, `command-finished`, `log-fault`, `log-resumed`,
    /// `supervisor-restarted`, `upgrade-undone`; or `missed`: numbers `from` to before `to` are not kept any more, or were never given.
    pub kind: String,
    /// To which terminal, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u32>,
    /// What that was called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What else there is to say of that kind.
    #[serde(flatten)]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// Bytes, as MessagePack's binary type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data(pub Bytes);

impl Serialize for Data {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec().into()))
    }
}

/// How a child ended: an object with exactly one of these keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitInfo {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The kernel does not tell; the value is `true`.
    Unknown(bool),
}

impl From<Exit> for ExitInfo {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
            Exit::Unknown => Self::Unknown(true),
        }
    }
}

impl ExitInfo {
    /// What a shell makes of it: the code, 128 + the signal, or 1.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
            Self::Signal(signal) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(128),
            Self::Unknown(_) => 1,
        }
    }
}

impl std::fmt::Display for ExitInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "ended by {}", signal_text(*signal)),
            Self::Unknown(_) => f.write_str("ended, how is not known"),
        }
    }
}

/// A signal as people know it: `SIGTERM`, or `signal 34` where it has no name.
pub fn signal_text(signal: i32) -> String {
    signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}
