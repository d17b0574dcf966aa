//! Where clients come in: a socket that is listened on, and bound again when its file was removed.
//!
//! ```text
//!   serve ──► is the file still there? ── no: with its directory, at a logout say ──► bind again ──┐
//!     ▲             │ yes                                                                            │
//!     └─────────────┴────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! **Invariants.** Who is connected does not notice. What somebody else has put in its place is left alone; so is what is above the
//! socket's directory: that is waited for.

use std::{
    fs,
    io::ErrorKind,
    mem,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use tokio::{net::UnixListener, task::spawn_blocking, time::sleep};

use crate::{
    places,
    private::{PrivateDirError, private_dir},
    socket::{self, BindError, Hub},
};

/// How often it is looked whether the socket's file is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves clients for ever; those that come to `path`, if it is ours to bind, also after it was removed.
pub(super) async fn serve(listener: UnixListener, path: Option<PathBuf>, hub: Rc<Hub>) {
    let Some(path) = path else { return socket::serve(listener, hub).await };
    let mut serving = Box::pin(socket::serve(listener, hub.clone()));
    loop {
        tokio::select! {
            () = &mut serving => return,
            listener = bound_again(&path) => serving = Box::pin(socket::serve(listener, hub.clone())),
        }
    }
}

/// Resolves once the file was removed and is there again.
async fn bound_again(path: &Path) -> UnixListener {
    let mut told = false;
    loop {
        sleep(LOOK_EVERY).await;
        if !is_removed(path).await {
            continue;
        }
        match bind(path) {
            Ok(listener) => {
                tracing::warn!(socket = %path.display(), "the socket was removed and is bound again");
                return listener;
            }
            Err(error) if !mem::replace(&mut told, true) => {
                tracing::error!(
                    socket = %path.display(), error = &error as &dyn std::error::Error,
                    "the socket was removed and cannot be bound again yet: nobody can connect"
                );
            }
            Err(_) => {}
        }
    }
}

/// Whether the file is gone, and what is above its directory is not.
async fn is_removed(path: &Path) -> bool {
    let path = path.to_owned();
    let look = move || {
        let is_gone = fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        is_gone && path.parent().and_then(Path::parent).is_some_and(Path::exists)
    };
    spawn_blocking(look).await.unwrap_or(false)
}

/// Why there is no socket at a path.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] PrivateDirError),
    /// Itself.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Binds a socket, in its directory, which is made if there is none.
fn bind(path: &Path) -> Result<UnixListener, ListenError> {
    make_dir(path)?;
    Ok(socket::bind(path)?)
}

/// Sees to it that the directory of a socket is there, and in the usual place the user's alone.
pub(super) fn make_dir(socket: &Path) -> Result<(), PrivateDirError> {
    let is_usual = socket == places::server_socket();
    match socket.parent().filter(|parent| is_usual || !parent.exists()) {
        Some(parent) => private_dir(parent),
        None => Ok(()),
    }
}
