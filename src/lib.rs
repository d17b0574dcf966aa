//! kaval: a supervisor for long-lived terminals.
//!
//! This crate is what surrounds the actors of [`kaval_actors`]: the [`wire`] protocol, the [`socket`] that speaks it, the [`client`] that drives
//! it, the [`daemon`] that puts them together under a [`keeper`] or systemd, the command line ([`cli`]), and what histories are [`export`]ed to.

pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod disk;
pub mod export;
pub mod fdstore;
pub mod http;
pub mod keeper;
pub mod places;
pub mod private;
pub mod socket;
pub mod vitals;
pub mod wire;
