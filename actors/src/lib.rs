//! The actors of kaval, a supervisor for long-lived terminals: what hosts terminals, and nothing of how one talks to it.
//!
//! A [`supervisor`] actor owns the set of terminals and reconciles what should run with what does. One [`terminal`] actor a terminal
//! owns its [`pty`], its [`mirror`] (the screen, in memory) and its part of a [`log`] (every byte, in a journal). Both tell the
//! [`registry`], which answers for all of them.
//!
//! Absent on purpose: sockets, HTTP, the command line, and who keeps descriptors across a restart ([`supervisor::Custody`] is
//! the seam); those live in the crate `kaval`.

pub mod log;
pub mod mirror;
pub mod pty;
pub mod registry;
pub mod supervisor;
pub mod terminal;

mod findings;
mod id;
mod memory;

pub use findings::Findings;
pub use id::{Name, NameError, Size, SizeError, TermId};
