//! Where things are: socket, state and configuration, of the user's instance and of the system's. Pure, but for asking the
//! environment.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The socket's file name in its directory.
const SOCKET_NAME: &str = "kaval.sock";
/// The system instance's socket.
const SYSTEM_SOCKET: &str = "/run/kaval/kaval.sock";

/// An environment variable that holds an absolute path.
fn dir(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn home() -> PathBuf {
    dir("HOME").unwrap_or_else(|| PathBuf::from("/"))
}

/// The directory of the user instance's socket.
fn user_runtime_dir() -> PathBuf {
    match dir("XDG_RUNTIME_DIR") {
        Some(runtime) => runtime.join("kaval"),
        None => PathBuf::from(format!("/tmp/kaval-{}", rustix::process::geteuid().as_raw())),
    }
}

/// Where a supervisor binds its socket when nobody says: systemd's runtime directory, else the user's.
pub fn server_socket() -> PathBuf {
    dir("RUNTIME_DIRECTORY").unwrap_or_else(user_runtime_dir).join(SOCKET_NAME)
}

/// Where a client looks for a supervisor when nobody says, in this order.
pub fn client_sockets() -> Vec<PathBuf> {
    vec![user_runtime_dir().join(SOCKET_NAME), PathBuf::from(SYSTEM_SOCKET)]
}

/// Whether this is the user instance's usual socket, whose directory is to be the user's alone.
pub fn is_user_place(socket: &Path) -> bool {
    socket == user_runtime_dir().join(SOCKET_NAME)
}

/// Where a supervisor keeps its state when nobody says.
pub fn state_dir() -> PathBuf {
    let user = || dir("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state")).join("kaval");
    dir("STATE_DIRECTORY").unwrap_or_else(user)
}

/// The configuration file that is read when nobody says, if it is there.
pub fn config_file() -> Option<PathBuf> {
    let user = || dir("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config")).join("kaval");
    let file = dir("CONFIGURATION_DIRECTORY").unwrap_or_else(user).join("kaval.toml");
    Path::exists(&file).then_some(file)
}
