//! The supervisor's own log: one line an event on stderr, fields not prose, never what a terminal shows.

use std::{io, panic, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, filter::LevelFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// What chooses how much is logged, as in `KAVAL_LOG=debug`.
const VARIABLE: &str = "KAVAL_LOG";

/// What changes that while the supervisor runs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Why how much is logged was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LevelError {
    /// It is no level.
    #[error("{0:?} is no log level: use off, error, warn, info, debug or trace, or for parts as in info,kaval::socket=debug")]
    Unknown(String),
    /// Logging has not begun.
    #[error("this process does not log")]
    NoLog,
}

/// Starts logging, panics included.
pub(super) fn init() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic was caught");
    }));
}

/// Sets how much is logged, until this process ends.
///
/// # Errors
/// [`LevelError`]; nothing has changed.
pub(super) fn set_level(level: &str) -> Result<(), LevelError> {
    let filter = parse(level)?;
    FILTER.get().ok_or(LevelError::NoLog)?.reload(filter).map_err(|_| LevelError::NoLog)?;
    tracing::info!(level, "the log level was set");
    Ok(())
}

/// A filter takes any word for the name of a part, and a misspelt level would silence the log.
fn parse(level: &str) -> Result<EnvFilter, LevelError> {
    let unknown = || LevelError::Unknown(level.to_owned());
    let known = |piece: &str| piece.rsplit_once('=').map_or(piece, |(_, level)| level).parse::<LevelFilter>().is_ok();
    let words = level.split(',').all(|piece| !piece.is_empty() && !piece.bytes().all(|b| b.is_ascii_digit()) && known(piece));
    if words { EnvFilter::try_new(level).map_err(|_| unknown()) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_for_all_or_for_parts() {
        for good in ["off", "error", "warn", "info", "debug", "trace", "INFO", "info,kaval::socket=debug", "kaval_actors=off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,", "kaval=loud", "3", "kaval", "info debug"] {
            assert!(matches!(parse(bad), Err(LevelError::Unknown(level)) if level == bad), "{bad}");
        }
    }
}
