//! A profile of this process's heap: who holds what jemalloc gave out, in pprof's format.
//!
//! jemalloc samples unless its variable, [`VARIABLE`], says otherwise: every child of the keeper is given that.

use bytes::Bytes;
use tokio::task::spawn_blocking;

/// What jemalloc reads its options from.
const VARIABLE: &str = "_RJEM_MALLOC_CONF";

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProfileError {
    /// jemalloc does not sample.
    #[error("the supervisor's heap is not profiled: {VARIABLE} in its environment says so; start it without that")]
    Off,
    /// jemalloc, or the temporary file that it writes to.
    #[error("the heap's profile could not be taken: {0}")]
    Failed(String),
}

/// Takes a profile, on a thread of its own.
///
/// # Errors
/// [`ProfileError`].
pub(super) async fn take() -> Result<Bytes, ProfileError> {
    let taken = spawn_blocking(|| {
        let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or(ProfileError::Off)?;
        let profile = control.blocking_lock().dump_pprof();
        profile.map(Bytes::from).map_err(|error| ProfileError::Failed(format!("{error:#}")))
    });
    taken.await.unwrap_or_else(|error| Err(ProfileError::Failed(error.to_string())))
}
