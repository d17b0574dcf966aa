//! Directories that are the user's alone.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
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
    #[error("{path:?} exists and is not a directory")]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("directory {path:?} cannot be {what}")]
    Io {
        /// The directory.
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
/// [`PrivateDirError::Owner`], [`PrivateDirError::Mode`], [`PrivateDirError::Occupied`], [`PrivateDirError::Io`].
pub fn private_dir(path: &Path) -> Result<(), PrivateDirError> {
    let io = |what| move |source| PrivateDirError::Io { path: path.to_owned(), what, source };
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
/// [`PrivateDirError::Owner`], [`PrivateDirError::Mode`], [`PrivateDirError::Occupied`], [`PrivateDirError::Io`] if it is not there.
pub fn check_private(path: &Path) -> Result<(), PrivateDirError> {
    let meta =
        fs::symlink_metadata(path).map_err(|source| PrivateDirError::Io { path: path.to_owned(), what: "examined", source })?;
    let uid = rustix::process::geteuid().as_raw();
    let mode = meta.permissions().mode() & 0o7777;
    match () {
        () if !meta.is_dir() => Err(PrivateDirError::Occupied { path: path.to_owned() }),
        () if meta.uid() != uid => Err(PrivateDirError::Owner { path: path.to_owned(), owner: meta.uid(), uid }),
        () if mode & 0o077 != 0 => Err(PrivateDirError::Mode { path: path.to_owned(), mode }),
        () => Ok(()),
    }
}
