//! Binding the socket: its directory is the user's alone, a stale socket is replaced and a live one never.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Longest path of a Unix socket, without the final NUL (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Why a directory or the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path does not fit a socket's address.
    #[error("socket path {path:?} is {} bytes long; at most {PATH_BYTES_MAX} are possible: give a shorter one with --socket", path.as_os_str().len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// A directory belongs to somebody else.
    #[error("directory {path:?} belongs to uid {owner}, not to you (uid {uid}): remove it or use another")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Others may enter a directory.
    #[error("directory {path:?} has mode {mode:04o}; others must have no access: chmod 700 {path:?}")]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something else is there.
    #[error("{path:?} exists and is not {what}")]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What was wanted.
        what: &'static str,
    },
    /// Another supervisor answers.
    #[error("another supervisor answers at {path:?}: use it, or give this one another --socket and --state-dir")]
    Live {
        /// The path.
        path: PathBuf,
    },
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

/// Makes sure that `path` is a directory that is the user's alone; creates it, and what is above it, if need be.
///
/// # Errors
/// [`BindError::Owner`], [`BindError::Mode`], [`BindError::Occupied`], [`BindError::Io`].
pub fn private_dir(path: &Path) -> Result<(), BindError> {
    let io = |what| move |source| BindError::Io { path: path.to_owned(), what, source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io("created"))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io("created")(error)),
        Ok(()) | Err(_) => {}
    }
    check_private(path)
}

/// Makes sure that `path` is a directory that is the user's alone.
///
/// # Errors
/// [`BindError::Owner`], [`BindError::Mode`], [`BindError::Occupied`], [`BindError::Io`] if it is not there.
pub fn check_private(path: &Path) -> Result<(), BindError> {
    let meta =
        fs::symlink_metadata(path).map_err(|source| BindError::Io { path: path.to_owned(), what: "examined", source })?;
    let uid = rustix::process::geteuid().as_raw();
    let mode = meta.permissions().mode() & 0o7777;
    match () {
        () if !meta.is_dir() => Err(BindError::Occupied { path: path.to_owned(), what: "a directory" }),
        () if meta.uid() != uid => Err(BindError::Owner { path: path.to_owned(), owner: meta.uid(), uid }),
        () if mode & 0o077 != 0 => Err(BindError::Mode { path: path.to_owned(), mode }),
        () => Ok(()),
    }
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
            return Err(BindError::Occupied { path: path.to_owned(), what: "a socket" });
        }
        Ok(_) if StdUnixStream::connect(path).is_ok() => return Err(BindError::Live { path: path.to_owned() }),
        Ok(_) => fs::remove_file(path).map_err(io("replaced"))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(io("bound"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io("protected"))?;
    Ok(listener)
}
