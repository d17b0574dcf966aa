//! A terminal's transcript: every output byte, every resize, checkpoints, and marks, addressed by offset.
//!
//! ```text
//!   lane ──► journal (memory that outlives the supervisor) ──► follower ─┐
//!                                                                        ▼
//!            reader ◄── tree of the terminal (store, on disk) ◄── writer: the log thread
//!                                        ▲                           │
//!                                        └───────── retention ◄──────┘
//! ```
//!
//! What a terminal puts out is in its lane's [`journal`] first. One log thread, to which [`service`] is the handle, follows all journals and turns what is
//! there into [blocks](block) in a tree of the [`store`], a tree a terminal. A [`reader`] gives them back by offset, in [`piece`]s, of which
//! [`render`] makes lines and [`excerpt`] gives those of a range of offsets, and [`lines`] those of a range of numbers, by the
//! numbers that checkpoints carry; where those are from a version that had none, [`recount`] finds them. What programs told on the way a [`scanner`] finds, once: it is kept apart as
//! [`marks`], of which [`commands`] makes commands.
//!
//! **Invariants.** No actor's thread waits for a disk. A journal's segment is freed once it is on disk, or declared missing.

pub mod block;
pub(crate) mod clock;
pub mod commands;
pub mod excerpt;
pub mod journal;
mod key;
pub mod lines;
pub mod marks;
pub mod piece;
mod plain;
pub mod reader;
mod readers;
pub mod recount;
pub mod render;
pub mod replay;
pub mod retention;
pub mod scanner;
pub mod search;
pub mod service;
mod sieve;
pub mod stats;
pub mod store;
#[cfg(test)]
mod tests;
mod tree;
mod writer;
