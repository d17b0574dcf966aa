//! The supervisor's own log: one line an event on stderr, fields not prose, never what a terminal shows.

use std::{io, panic};

use tracing_subscriber::EnvFilter;

/// What chooses how much is logged, as in `KAVAL_LOG=debug`.
const VARIABLE: &str = "KAVAL_LOG";

/// Starts logging, panics included.
pub(super) fn init() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).with_target(false);
    let _ = lines.try_init();
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic was caught");
    }));
}
