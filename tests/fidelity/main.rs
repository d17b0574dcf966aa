//! That the mirror is what a terminal really shows, judged by another terminal's parser: alacritty_terminal.
//!
//! ```text
//!            ┌─► Mirror ────────────► Picture ─┐
//! bytes ─────┤      └─ repaint ─► Reference ───┼─► equal, or a line in a table that says why not
//!            └─► Reference (alacritty) ────────┘
//! ```
//!
//! - `recordings`: alacritty's own reference recordings, from its published package.
//! - `fuzz`: random valid sequences (`grammar`), shrunk to the shortest that differs.
//! - `round_trip`: a repaint taken anywhere, drawn by another terminal, and the stream going on there.
//! - `golden`: real programs, recorded.
//! - `hostile`: what no program sends.
//!
//! Every table of exceptions is tested both ways: what is not in it must be equal, what is in it must still differ.
#![allow(missing_docs)]

mod fuzz;
mod golden;
mod grammar;
mod hostile;
mod picture;
mod recordings;
mod reference;
mod round_trip;

/// For the figures of `hostile`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
