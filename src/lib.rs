//! kaval: a supervisor for long-lived terminals.
//!
//! This crate is what surrounds the actors of [`kaval_actors`]: the [`wire`] protocol, the [`socket`] that speaks it, the [`client`] that drives
//! it, the [`daemon`] that puts them together under a [`keeper`] or systemd, and the command line ([`cli`]).

pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod disk;
pub mod fdstore;
pub mod http;
pub mod keeper;
pub mod places;
pub mod private;
pub mod socket;
pub mod vitals;
pub mod wire;
