//! What administrators can ask of the daemon as a whole, for the socket.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    logging, profile,
    profile::ProfileError,
    reload::{ReloadError, Reloader},
};
use crate::{
    socket::{Later, Operator},
    wire::{Code, ReloadOk, WireError},
};

/// See the module's head.
pub(super) struct Levers {
    /// Shared with whoever else has the configuration read again.
    pub(super) reloader: Rc<Reloader>,
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

    fn set_log_level(&self, level: &str) -> Result<(), WireError> {
        logging::set_level(level).map_err(|error| WireError::new(Code::BadRequest, error.to_string()))
    }
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
