//! The supervisor's own log: one line an event on stderr, fields not prose, never what a terminal shows, is typed or runs.
//!
//! ```text
//!   tracing ─► level (KAVAL_LOG, set_level) ─┬─► journald, with its fields, where stderr is the journal's
//!                                            └─► lines on stderr elsewhere
//! ```

use std::{
    env, io, panic,
    sync::{Mutex, OnceLock, PoisonError},
};

use rustix::fs::fstat;
use tracing_subscriber::{EnvFilter, Registry, filter::LevelFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// What chooses how much is logged, as in `KAVAL_LOG=debug`.
const VARIABLE: &str = "KAVAL_LOG";
/// What is logged when nobody chooses.
const USUAL: &str = "info";
/// systemd's word for the journal's stream: `device:inode`.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// What changes that while the supervisor runs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
/// Where the last panic was.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

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
    let wanted = env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let (chosen, refused) = match wanted.as_deref().map(parse) {
        Some(Ok(chosen)) => (chosen, None),
        Some(Err(error)) => (EnvFilter::new(USUAL), Some(error)),
        None => (EnvFilter::new(USUAL), None),
    };
    let (filter, handle) = reload::Layer::new(chosen);
    let journal = journal();
    let plain = || tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
    let lines = journal.is_none().then(plain);
    if tracing_subscriber::registry().with(filter).with(journal).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic was caught");
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }));
    if let Some(error) = refused {
        tracing::warn!(%error, "{VARIABLE} is not followed");
    }
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

/// Where the last panic of any thread was, caught or not.
pub(super) fn last_panic() -> Option<String> {
    LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A filter takes any word for the name of a part, and a misspelt level would silence the log.
fn parse(level: &str) -> Result<EnvFilter, LevelError> {
    let unknown = || LevelError::Unknown(level.to_owned());
    let known = |piece: &str| piece.rsplit_once('=').map_or(piece, |(_, level)| level).parse::<LevelFilter>().is_ok();
    let words = level.split(',').all(|piece| !piece.is_empty() && !piece.bytes().all(|b| b.is_ascii_digit()) && known(piece));
    if words { EnvFilter::try_new(level).map_err(|_| unknown()) } else { Err(unknown()) }
}

/// The journal itself where stderr leads there: it keeps the fields apart.
fn journal() -> Option<tracing_journald::Layer> {
    let stderr = fstat(io::stderr()).ok()?;
    let stream = env::var(JOURNAL_STREAM).ok()?;
    let layer = leads_to(&stream, stderr.st_dev, stderr.st_ino).then(tracing_journald::layer)?.ok()?;
    Some(layer.with_syslog_identifier("kaval".to_owned()).with_field_prefix(Some("KAVAL".to_owned())))
}

/// Whether a file is the one that `device:inode` names.
fn leads_to(stream: &str, device: u64, inode: u64) -> bool {
    let parts = stream.split_once(':').and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    parts == Some((device, inode))
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

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(leads_to("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", "8:", "8:1234:1"] {
            assert!(!leads_to(other, 8, 1234), "{other:?}");
        }
    }
}
