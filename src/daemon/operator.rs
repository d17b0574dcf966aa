//! What administrators can ask of the daemon as a whole, for the socket.

use std::{path::Path, rc::Rc};

use bytes::Bytes;

use super::{
    logging, profile,
    profile::ProfileError,
    reload::{ReloadError, Reloader},
    upgrade::{self, UpgradeError},
};
use crate::{
    fdstore::FdStore,
    socket::{Later, Operator},
    wire::{Code, ReloadOk, UpgradeOk, WireError},
};

/// See the module's head.
pub(super) struct Levers {
    /// Shared with whoever else has the configuration read again.
    pub(super) reloader: Rc<Reloader>,
    /// Who keeps descriptors, and starts the next supervisor.
    pub(super) store: Option<FdStore>,
}

impl Operator for Levers {
    fn reload(&self) -> Later<'_, ReloadOk> {
        Box::pin(async { self.reloader.reload().await.map_err(refusal) })
    }

    fn heap_profile(&self) -> Later<'_, Bytes> {
        Box::pin(async {
            profile::take().await.map_err(|error| {
                let code = match &error {
                    ProfileError::Off => Code::Disabled,
                    ProfileError::Failed(_) => Code::Internal,
                };
                WireError::new(code, error.to_string())
            })
        })
    }

    fn upgrade(&self, binary: Option<String>) -> Later<'_, UpgradeOk> {
        let store = self.store.clone();
        Box::pin(async move {
            let prepare = move || upgrade::prepare(store.as_ref(), binary.as_deref().map(Path::new));
            let prepared = actix_rt::task::spawn_blocking(prepare).await;
            match prepared {
                Ok(Ok(version)) => {
                    tracing::info!(%version, "an upgrade was asked for");
                    Ok(UpgradeOk { version })
                }
                Ok(Err(error)) => Err(not_upgraded(&error)),
                Err(_) => Err(WireError::new(Code::Internal, "the binary could not be looked at")),
            }
        })
    }

    fn is_kept(&self) -> bool {
        upgrade::has_successor(self.store.as_ref())
    }

    fn set_log_level(&self, level: &str) -> Result<(), WireError> {
        logging::set_level(level).map_err(|error| WireError::new(Code::BadRequest, error.to_string()))
    }
}

fn not_upgraded(error: &UpgradeError) -> WireError {
    let code = match error {
        UpgradeError::NoSuccessor | UpgradeError::NotOurs(_) => Code::Disabled,
        UpgradeError::Path(_) | UpgradeError::Unusable { .. } | UpgradeError::Unread { .. } => Code::BadBinary,
        UpgradeError::Keeper(_) => Code::Internal,
    };
    tracing::warn!(error = error as &dyn std::error::Error, "an upgrade was refused");
    WireError::new(code, error.to_string())
}

fn refusal(error: ReloadError) -> WireError {
    match error {
        ReloadError::Config(error) => {
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message = format!("{message}: {source}");
            }
            WireError::new(Code::BadConfig, message)
        }
        ReloadError::Ending => WireError::new(Code::Restarting, error.to_string()),
    }
}
