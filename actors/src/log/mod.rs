//! A terminal's transcript: every output byte, every resize, and checkpoints, addressed by offset.
//!
//! Today the transcript is the in-memory [`journal`] alone, bounded, its oldest segments dropped when it is full. [`store`] is the
//! database on disk, which holds the manifest.

pub mod journal;
pub mod store;
