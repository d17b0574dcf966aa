//! The socket: bound, a stale one being replaced and a live one never; or taken over from a service manager that listens for us.

use std::{
    fs, io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::UnixListener;

/// Longest path of a Unix socket, without the final NUL (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path does not fit a socket's address.
    #[error("socket path {path:?} is {} bytes long; at most {PATH_BYTES_MAX} are possible: give a shorter one with --socket", path.as_os_str().len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path:?} exists and is not a socket")]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// Another supervisor answers.
    #[error("another supervisor answers at {path:?}: use it, or give this one another --socket and --state-dir")]
    Live {
        /// The path.
        path: PathBuf,
    },
    /// What a service manager handed over cannot be listened on.
    #[error("the socket that was handed over cannot be used: it needs a path (ListenStream=/…)")]
    Inherited(#[source] Option<io::Error>),
    /// The system refused.
    #[error("{path:?} cannot be {what}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Binds the socket with mode 0600, in place of a stale one.
///
/// # Errors
/// Any [`BindError`].
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io = |what| move |source| BindError::Io { path: path.to_owned(), what, source };
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(BindError::TooLong { path: path.to_owned() });
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::Occupied { path: path.to_owned() });
        }
        Ok(_) if StdUnixStream::connect(path).is_ok() => return Err(BindError::Live { path: path.to_owned() }),
        Ok(_) => fs::remove_file(path).map_err(io("replaced"))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(io("bound"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io("protected"))?;
    Ok(listener)
}

/// Whether an inherited descriptor is a Unix stream socket that somebody listens on.
pub fn is_listener(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(fd) == Ok(true)
        && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
}

/// Goes on listening on a socket that a service manager has bound; where that is.
///
/// # Errors
/// [`BindError::Inherited`].
pub fn inherit(fd: OwnedFd) -> Result<(UnixListener, PathBuf), BindError> {
    let bad = |source| BindError::Inherited(Some(source));
    let listener = StdUnixListener::from(fd);
    let address = listener.local_addr().map_err(bad)?;
    let path = address.as_pathname().ok_or(BindError::Inherited(None))?.to_owned();
    listener.set_nonblocking(true).map_err(bad)?;
    Ok((UnixListener::from_std(listener).map_err(bad)?, path))
}
