//! A pseudo-terminal and the child behind it: made, found again, written to, and its end learnt.
//!
//! ```text
//! spawn ── openpty ─► Master ──(custody)──►  launch: kaval itself, held at SIGSTOP on the slave
//!                                              │  SIGCONT, once the terminal is recorded as live
//!                                              └► exec of the user's command, same pid
//! adopt ── Master and pidfd from custody, or the pid asked of the PTY
//! input ── a queue in custody ═sendfile═► Master
//! cgroup ─ a control group for all that runs in the terminal, where the manager lets us
//! exit ─── pidfd readable ─► waitid, or PIDFD_GET_INFO when the child is another's to reap
//! restart  whether another child follows, and how soon
//! ```
//!
//! **Invariant.** The user's command runs at most once for a creation, and for each time that it is started again: never before the record that says it does is on disk.
//!
//! Output is not read here: [`crate::log::journal`] takes it out of the master.

pub mod adopt;
pub mod cgroup;
pub mod exit;
pub mod input;
pub mod launch;
mod master;
pub(crate) mod ready;
pub mod restart;
pub mod spawn;

pub use exit::Exit;
pub use master::Master;
pub use restart::{Fate, Restart};
