//! The protocol between kaval and whoever drives it: frames, and what is in them. Used by both sides.
//!
//! ```text
//! frame   := u32 big-endian length, then that many bytes: one MessagePack map with string keys
//! client ─► {"kaval": 1, "client": "name/version"}
//! server ◄─ {"kaval": 1, "server": "kaval/0.1.0", "boot": id}     or {"err": {"code", "message"}} and the end
//! client ─► {"req": n, "op": "…", …}                              as often as it likes, without waiting
//! server ◄─ {"req": n, "ok": {…}}  or  {"req": n, "err": {…}}     one for each request
//! server ◄─ {"req": n, "ev": "…", …} … {"req": n, "ev": "end"}    behind the `ok` of a request that opens a stream
//! ```
//!
//! **Invariants.** No frame is longer than [`FRAME_BYTES_MAX`]. Fields that are not known are passed over, so that either side may be
//! the newer one. Error codes are stable: [`Code`].

mod admin;
mod event;
mod lines;
mod op;
mod search;
mod status;

use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

pub use self::{
    admin::{
        ClientInfo, ClientsOk, DetachOk, HeapProfileOk, HibernateOk, ReloadOk, ReloadedSetting, ReloadedTerm, SettingOutcome,
        TermOutcome, UpgradeOk,
    },
    event::{Data, Event, EventInfo, ExitInfo, signal_text},
    lines::{LineItem, LinesAsked, LinesAt, LinesOk, Moment, SeekOk},
    op::{
        AttachFrom, AttachMode, AttachOk, CommandInfo, Empty, HistoryFormat, HistoryOk, LsOk, NewOk, OPS, Op, Request,
        ScreenFormat, ScreenOk, TermInfo, TermRef,
    },
    search::{MatchInfo, SearchAsked, SearchOk},
    status::{ChildInfo, ChildrenInfo, EventsOk, FdInfo, LaneInfo, LogInfo, MemoryInfo, StatusOk, TermCounts},
};

/// The protocol's version.
pub const VERSION: u32 = 1;
/// Longest frame, in bytes, without its length.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most bytes of data that one frame carries; the rest of a frame is far less than what this leaves.
pub const DATA_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// How frames are told apart on a stream.
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).length_field_type::<u32>().new_codec()
}

/// The first frame of a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol's version.
    pub kaval: u32,
    /// The client's name and version.
    #[serde(default)]
    pub client: String,
}

/// The first frame of a server that goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HelloOk {
    /// The protocol's version.
    pub kaval: u32,
    /// The server's name and version.
    pub server: String,
    /// Names this run of the supervisor: another one after a reconnect means that it was restarted.
    pub boot: String,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl WireError {
    /// An error of that kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What went wrong, in words that stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The frame is no map of the right fields.
    BadRequest,
    /// There is no such op.
    UnknownOp,
    /// The server does not speak that version.
    Version,
    /// A frame is longer than allowed.
    FrameTooLong,
    /// A frame, or the hello, did not come in time.
    Timeout,
    /// What was asked for of a history is not kept: it was removed, lost, or not logged.
    NotKept,
    /// There are as many connections, terminals or pending requests as there may be.
    Limit,
    /// The supervisor is near the limit of its memory: nothing new is taken on until there is room again.
    Memory,
    /// There is no such terminal.
    NoSuchTerm,
    /// The terminal has no such client.
    NoSuchClient,
    /// The name is in use.
    NameTaken,
    /// The command, directory or environment cannot be used.
    SpawnFailed,
    /// The terminal's child has ended.
    Ended,
    /// The terminal's child has not ended.
    Live,
    /// The client may only watch.
    ReadOnly,
    /// The configuration cannot be read, or is wrong somewhere: nothing was changed.
    BadConfig,
    /// The binary cannot be upgraded to: nothing was changed.
    BadBinary,
    /// The supervisor was started without what this takes; the message says how to start it with that.
    Disabled,
    /// The supervisor is being restarted: reconnect and ask again.
    Restarting,
    /// Something in the supervisor failed; its log says more.
    Internal,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A reply, as the server writes it.
#[derive(Debug, Serialize)]
pub struct Reply<T> {
    /// Whose.
    pub req: u64,
    /// What.
    #[serde(flatten)]
    pub body: ReplyBody<T>,
}

/// See [`Reply`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyBody<T> {
    /// It was done.
    Ok(T),
    /// It was not.
    Err(WireError),
}

/// An error that answers no request in particular.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// What.
    pub err: WireError,
}

/// What tells frames of a server apart, before their bodies are read.
#[derive(Debug, Deserialize)]
pub struct Head {
    /// Which request it belongs to.
    #[serde(default)]
    pub req: Option<u64>,
    /// It is an event of a stream, of this kind.
    #[serde(default)]
    pub ev: Option<String>,
    /// It is a failure.
    #[serde(default)]
    pub err: Option<WireError>,
}

/// A success, to read its body.
#[derive(Debug, Deserialize)]
pub struct OkBody<T> {
    /// The body.
    pub ok: T,
}

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// Encodes one frame's map.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("the protocol's types hold nothing that msgpack cannot")
}

/// Encodes one frame whole, its length before its map; `None` if it would be longer than a frame may be.
pub fn encode_frame<T: Serialize>(message: &T) -> Option<Vec<u8>> {
    let mut frame = vec![0; LENGTH_BYTES];
    rmp_serde::encode::write_named(&mut frame, message).expect("the protocol's types hold nothing that msgpack cannot");
    let body = frame.len() - LENGTH_BYTES;
    frame[..LENGTH_BYTES].copy_from_slice(&u32::try_from(body).ok()?.to_be_bytes());
    (body <= FRAME_BYTES_MAX).then_some(frame)
}

/// Decodes one frame's map.
///
/// # Errors
/// [`Code::BadRequest`], with what is wrong.
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(frame).map_err(|error| WireError::new(Code::BadRequest, format!("not a valid message: {error}")))
}
