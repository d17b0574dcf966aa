//! A supervisor that another version of kaval might have been: it leaves behind what a fixture has of one, and the keeper starts the real
//! one upon it.
//!
//! ```text
//!   giver DIR KAVAL serve ...    first: hands over DIR's journals and input queue, and a terminal for them (2), and ends
//!                                then: becomes the rest of its arguments
//! ```
//!
//! The terminal's child answers every line, as that of the fixture did.

use std::{
    env,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use kaval::fdstore::FdStore;
use kaval_actors::log::journal::JournalFds;
use rustix::{
    fs::{MemfdFlags, OFlags, memfd_create},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// What the fixture's terminal ran, from where its journal ends.
const CHILD: &str = r#"stty -echo; while read x; do printf "got $x\033[0;7m"; done"#;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [dir, program, rest @ ..] = &arguments[..] else { bail!("a directory and a program are missing") };
    if env::var("LISTEN_FDS").is_ok_and(|held| held != "0") {
        return Err(Command::new(program).args(rest).exec()).context("cannot start the supervisor");
    }
    let store = FdStore::from_env().context("no store")?;
    let dir = Path::new(dir);
    store.store("m2", terminal()?.as_fd())?;
    store.store("i2", memory(&dir.join("input"))?.as_fd())?;
    for lane in 0..2 {
        let JournalFds { reader, writer, .. } = JournalFds::create()?;
        store.store(&format!("j{lane}"), memory(&dir.join(format!("journal-{lane}")))?.as_fd())?;
        store.store(&format!("r{lane}"), reader.as_fd())?;
        store.store(&format!("w{lane}"), writer.as_fd())?;
    }
    store.barrier()?;
    Ok(store.ready()?)
}

/// A file's content, in memory.
fn memory(path: &Path) -> anyhow::Result<OwnedFd> {
    let mut file = File::from(memfd_create("kaval-fixture", MemfdFlags::CLOEXEC)?);
    file.write_all(&fs::read(path).with_context(|| format!("{path:?}"))?)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// The master of a PTY with a child on it.
fn terminal() -> anyhow::Result<OwnedFd> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(ptsname(&master, Vec::new())?, flags, rustix::fs::Mode::empty())?;
    let [stdin, stdout, stderr] = [slave.try_clone()?, slave.try_clone()?, slave].map(Stdio::from);
    Command::new("setsid").args(["--ctty", "sh", "-c", CHILD]).stdin(stdin).stdout(stdout).stderr(stderr).spawn()?;
    let flags = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
    Ok(master)
}
