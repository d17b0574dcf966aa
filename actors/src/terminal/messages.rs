//! What a terminal is told and asked, and what it tells.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use actix::{Message, Recipient};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    activity::Activity,
    fanout::{ClientId, Mode, Outbox},
    seam::Seam,
};
use crate::{
    Size, TermId,
    log::{
        lines::{Anchor, Seek},
        marks::MarkPage,
        piece::{Page, PageStart},
    },
    mirror::{Mirror, ScreenView},
    pty::{Exit, Fate, Master, input::Numbered},
    registry::Report,
};

/// What a terminal actor starts with.
pub struct Start {
    /// Its id.
    pub id: TermId,
    /// Its size, if its journal does not say.
    pub size: Size,
    /// Where its output stands, if its journal does not say.
    pub offset: u64,
    /// Whether its output goes to disk.
    pub logged: bool,
    /// What runs on it.
    pub course: Course,
    /// Before the output of what runs on it, if that was started again.
    pub seam: Option<Seam>,
    /// Who is told that its output is drained after the child's end.
    pub supervisor: Recipient<Drained>,
    /// Who is told that the actor is no more.
    pub gone: Recipient<Gone>,
    /// Who is told where its child is; nobody for one that is never started again.
    pub moved: Option<Recipient<Moved>>,
    /// Who is told how it stands.
    pub registry: Recipient<Report>,
    /// Where it notes that there was output or input.
    pub activity: Activity,
}

/// What a starting terminal finds.
#[derive(Debug)]
pub enum Course {
    /// A PTY and its child.
    Live(Held),
    /// A PTY whose child has ended in an unknown way: what it still holds is to be drained.
    Orphaned(Arc<Master>),
    /// Its PTY is gone: where its output ends is to be told, and another child may follow.
    Lost,
    /// It waits for another child, the one before having come to its end so.
    Resting(Waiting),
    /// The child's end is recorded, or the PTY lost: only history is left.
    Ended(Option<Exit>),
}

impl Course {
    /// For what, if it waits for its next child.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        match self {
            Self::Resting(waiting) => Some(*waiting),
            Self::Live(_) | Self::Orphaned(_) | Self::Lost | Self::Ended(_) => None,
        }
    }
}

/// The descriptors of a live terminal.
#[derive(Debug, Clone)]
pub struct Held {
    /// The PTY's master end.
    pub master: Arc<Master>,
    /// The child's pidfd.
    pub pidfd: Arc<OwnedFd>,
    /// Its [`InputQueue`](crate::pty::input::InputQueue), unless whoever started it kept none.
    pub input: Option<Arc<OwnedFd>>,
}

/// To the supervisor, once a child: it has ended, or is lost, and all its output is in the journal, up to `offset`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Drained {
    /// Whose child.
    pub id: TermId,
    /// How it came to its end.
    pub fate: Fate,
    /// Where its output ends.
    pub offset: u64,
    /// Its size then.
    pub size: Size,
    /// Who had sent it input, and their last numbers.
    pub heard: Vec<Numbered>,
}

/// To the supervisor: the child is in another directory. At most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Moved {
    /// Whose child.
    pub id: TermId,
    /// Where it is, by what its shell told and by what the kernel says; the more telling first.
    pub dirs: Vec<PathBuf>,
}

/// From the supervisor: another child will follow, and that is on record. The PTY is let go of; clients stay.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Rest(pub Waiting);

/// From the supervisor: with neither output nor input until that time, milliseconds since the Unix epoch, it is hung up; or, with none, it
/// is not, since that is not wanted any more. Who watches is told.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Warn(pub Option<u64>);

/// From the supervisor: it is hung up now. Whatever it says to that does not avert it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Condemn;

/// A terminal that waits for its next child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How the one before came to its end.
    pub fate: Fate,
    /// When the next one is to be started, milliseconds since the Unix epoch.
    pub due_ms: u64,
}

/// From the supervisor: another child is there, and that is on record. Its output follows on the seam.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Resume {
    /// Its descriptors.
    pub held: Held,
    /// What comes before its output.
    pub seam: Seam,
}

/// To the supervisor: the actor has ended, as it was told to or by a panic.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Gone(pub TermId);

/// From the supervisor: the child's end is on record. Clients are told after the last byte.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Buried(pub Exit);

/// From the supervisor: the terminal is forgotten. Drops its records and ends the actor; its clients are detached.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// From the lane: give a checkpoint now, the journal needs the room.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Checkpoint;

/// From a connection: watch this terminal.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Attached")]
pub struct Attach {
    /// What it may do.
    pub mode: Mode,
    /// Its window's size; it becomes the terminal's, for one that may write.
    pub size: Option<Size>,
    /// Where it starts.
    pub from: AttachFrom,
    /// What its program calls itself.
    pub program: String,
}

/// Where a client starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachFrom {
    /// With the screen as it is.
    Screen,
    /// With the output from this offset on, if it is all still there; else as `Screen`, after a `lagged`.
    Offset(u64),
}

/// The reply to [`Attach`].
#[derive(Debug, Clone)]
pub struct Attached {
    /// Names the attachment.
    pub client: ClientId,
    /// Where its events arrive.
    pub outbox: Arc<Outbox>,
    /// Questions of programs up to this offset are settled: none that its stream shows before that is its terminal's to answer.
    pub answered: u64,
}

/// From a connection whose queue ran low: it has room again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Pump(pub ClientId);

/// Ends one attachment, or all. Replies with how many that were.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct Detach(pub Option<ClientId>);

/// Asks who watches.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<ClientView>")]
pub struct ListClients;

/// One who watches.
#[derive(Debug, Clone)]
pub struct ClientView {
    /// Names the attachment.
    pub id: ClientId,
    /// What its program calls itself.
    pub program: String,
    /// What it may do.
    pub mode: Mode,
    /// The size of its own window, if it has told.
    pub size: Option<Size>,
    /// When it attached, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Bytes in its queue that its connection has not taken.
    pub waiting_bytes: u64,
    /// Bytes of output that are not even there yet.
    pub behind_bytes: u64,
}

/// Takes a checkpoint and drops the grid; whatever needs it next rebuilds it from there.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), HibernateError>")]
pub struct Hibernate;

/// From the lane: terminals hibernate sooner or later than before.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Rethink;

/// Why a terminal was not hibernated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HibernateError {
    /// The child has ended: its grid is dropped already.
    #[error("its child has ended")]
    Ended,
    /// The journal has no room for the checkpoint.
    #[error("its checkpoint cannot be taken now: {0}")]
    NoCheckpoint(String),
}

/// From a connection: bytes for the child. Answered once they are sure to be delivered, and not too much else waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Input {
    /// The attachment they were typed at, if at one: it becomes the active one, whose size the terminal has.
    pub client: Option<ClientId>,
    /// Who sends and its running number, so that a repeated one is acknowledged and not delivered again.
    pub numbered: Option<(String, u64)>,
    /// The bytes.
    pub data: Bytes,
    /// The answer.
    pub reply: oneshot::Sender<Result<(), InputError>>,
}

/// Why input was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The child has ended.
    #[error("its child has ended")]
    Ended,
    /// There is no memory to keep it in.
    #[error("there is no memory left to keep it in")]
    NoMemory,
    /// Too much is waiting for a child that does not read.
    #[error("its child does not read, and {} KiB of input wait already", crate::pty::input::PENDING_BYTES_MAX / 1024)]
    Full,
    /// The client may only watch.
    #[error("attached read-only")]
    ReadOnly,
}

/// Sets the size.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), ResizeError>")]
pub struct Resize {
    /// The attachment whose window it is, if one's.
    pub client: Option<ClientId>,
    /// To what.
    pub size: Size,
}

/// Why a size was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// The child has ended.
    #[error("its child has ended")]
    Ended,
    /// The journal or the PTY refused.
    #[error("it cannot be resized now: {0}")]
    Refused(String),
}

/// Asks for the screen as it is.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Snapshot")]
pub struct TakeSnapshot(pub SnapshotKind);

/// In what form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Rows of text.
    Text,
    /// Bytes that draw it.
    Ansi,
    /// Cell by cell.
    Cells,
}

/// The screen at an offset.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Where it was taken.
    pub offset: u64,
    /// Its size.
    pub size: Size,
    /// What it shows.
    pub body: SnapshotBody,
}

impl Snapshot {
    /// Of a screen that was drawn up to that offset.
    pub fn of(mirror: &Mirror, offset: u64, kind: SnapshotKind) -> Self {
        let body = match kind {
            SnapshotKind::Text => SnapshotBody::Text(mirror.text()),
            SnapshotKind::Ansi => SnapshotBody::Ansi(mirror.repaint().into()),
            SnapshotKind::Cells => SnapshotBody::Cells(mirror.view()),
        };
        Self { offset, size: mirror.size(), body }
    }
}

/// See [`SnapshotKind`].
#[derive(Debug, Clone)]
pub enum SnapshotBody {
    /// Rows of text.
    Text(String),
    /// Bytes that draw it.
    Ansi(Bytes),
    /// Cell by cell.
    Cells(ScreenView),
}

/// From a connection: asks for a page of history.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Page")]
pub struct ReadPage {
    /// Where it begins.
    pub start: PageStart,
    /// First offset not wanted.
    pub to: u64,
    /// Most bytes of output wanted.
    pub bytes_max: usize,
}

/// From a connection: asks for what the log has of what programs told; `None` if it has nothing of this terminal.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<MarkPage>")]
pub struct ReadMarks {
    /// Marks that end behind this offset.
    pub after: u64,
}

/// From a connection: asks from where lines are to be drawn so as to give them by number; `None` if there is no such place, and it is
/// begun at the floor.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Option<Anchor>, Unreadable>")]
pub struct FindAnchor(
    /// Which.
    pub Seek,
);

/// From a connection: asks for the offset of the first byte that came at or after a time; the end's if all came before.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<u64, Unreadable>")]
pub struct FindTime {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
}

/// The log cannot be read: the supervisor's own log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("history cannot be read from disk: see the supervisor's log")]
pub struct Unreadable;
