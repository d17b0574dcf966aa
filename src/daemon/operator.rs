//! What administrators can ask of the daemon as a whole, for the socket.

use std::{pin::Pin, rc::Rc};

use super::{
    logging,
    reload::{ReloadError, Reloader},
};
use crate::{
    socket::Operator,
    wire::{Code, ReloadOk, WireError},
};

/// See the module's head.
pub(super) struct Levers {
    /// Shared with whoever else has the configuration read again.
    pub(super) reloader: Rc<Reloader>,
}

impl Operator for Levers {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<ReloadOk, WireError>> + '_>> {
        Box::pin(async { self.reloader.reload().await.map_err(refusal) })
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
