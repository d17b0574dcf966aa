//! A terminal's transcript: every output byte, every resize, and checkpoints, addressed by offset.
//!
//! Today the transcript is the in-memory [`journal`] alone, bounded, its oldest segments dropped when it is full. [`store`] is the
//! database on disk, which holds the manifest. A transcript is read in [`piece`]s, and [`render`] makes lines of them.

pub mod journal;
pub mod piece;
pub mod render;
pub mod store;
