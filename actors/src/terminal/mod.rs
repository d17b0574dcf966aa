//! A terminal: one PTY, its child, its screen, and those who watch it. One actor each, many on a thread.
//!
//! ```text
//!   PTY ──► Intake (a turn: at most 64 KiB, into the lane's journal) ──► publish
//!                                                                       ├─► fan-out: each client from its own place in the journal
//!                                                                       └─► mirror: a bounded stretch a turn, then yield
//!                                                                              └─► what was told: events; what was asked: an answer
//!   client ─► Input ─► input queue (a memfd, acknowledged once it is there) ─► PTY
//!             Resize ─► journal record ─► PTY                        pidfd ─► drain ─► Drained ─► supervisor ─► Bury, or
//!                                                                       Rest … Resume: another PTY and child, behind a seam
//! ```
//!
//! How it stands goes to the [registry](crate::registry) by itself: nobody asks.
//!
//! A [`Lane`] is what an arbiter's terminals share: the journal, and each other's addresses for when it needs room.
//!
//! **Invariants.** Nothing reaches a client or the mirror but from a committed journal record (law 1). A client holds a bounded queue
//! and a place; one that falls behind is resynced, and slows nobody. A turn is bounded, and between two turns every other
//! terminal of the lane gets its own.

mod activity;
mod actor;
mod answers;
mod drowse;
mod fanout;
mod intake;
mod lane;
mod messages;
mod page;
mod questions;
mod reply;
mod reporter;
mod screen;
mod seam;
mod state;
#[cfg(test)]
mod tests;
mod turn;
mod whereabouts;

pub use self::{
    activity::Activity,
    actor::Terminal,
    fanout::{ClientId, Event, Mode, Outbox},
    lane::Lane,
    messages::{
        Attach, AttachFrom, Attached, Buried, Checkpoint, ClientView, Condemn, Course, Detach, Drained, FindAnchor, FindTime,
        Gone, Held, Hibernate, HibernateError, Input, InputError, ListClients, Moved, Pump, ReadMarks, ReadPage, Resize,
        ResizeError, Rest, Resume, Rethink, Snapshot, SnapshotBody, SnapshotKind, Start, Stop, TakeSnapshot, Unreadable,
        Waiting, Warn,
    },
    seam::Seam,
};
