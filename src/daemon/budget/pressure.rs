//! Hints that memory is short on the machine, or in the service's control group: from the file that the service manager names, by its protocol,
//! or else from the kernel's own account.
//!
//! **Invariant.** A hint is no verdict on the supervisor: whoever uses the memory, what costs little is given back, and nobody is refused
//! anything.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        fs::{FileTypeExt, OpenOptionsExt},
        net::UnixStream,
    },
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::fs::OFlags;
use tokio::io::{Interest, unix::AsyncFd};

/// Which file to watch; `/dev/null` for none.
const WATCH: &str = "MEMORY_PRESSURE_WATCH";
/// What to write to it first, in base64.
const WRITE: &str = "MEMORY_PRESSURE_WRITE";
/// The kernel's account, and what asks it for a hint when some task waited for memory for 200 ms within 2 s.
const KERNEL: &str = "/proc/pressure/memory";
const TRIGGER: &[u8] = b"some 200000 2000000\0";

/// Where hints come from.
pub(super) struct Pressure {
    source: Option<(AsyncFd<File>, Interest)>,
}

impl Pressure {
    /// From whatever there is on this machine; maybe nothing.
    pub(super) fn watch() -> Self {
        let opened = match env::var_os(WATCH) {
            Some(path) if path == "/dev/null" => return Self { source: None },
            Some(path) => named(Path::new(&path), env::var(WRITE).ok().as_deref()),
            None => open(Path::new(KERNEL), TRIGGER),
        };
        let source = opened.inspect_err(|error| tracing::debug!(%error, "nothing hints at memory that is short")).ok();
        Self { source }
    }

    /// Resolves at the next hint.
    pub(super) async fn hint(&mut self) {
        if let Some((file, interest)) = &self.source {
            if let Ok(mut guard) = file.ready(*interest).await
                && !guard.ready().is_error()
            {
                let goes_on = *interest != Interest::READABLE || drain(guard.get_inner());
                guard.clear_ready();
                if goes_on {
                    return;
                }
            }
            tracing::debug!("who hinted at memory that is short is gone");
            self.source = None;
        }
        std::future::pending().await
    }
}

/// Takes what a manager sent, so that there is room for its next hint; `false` if it sent nothing and never will.
fn drain(mut file: &File) -> bool {
    let (mut sent, mut any) = ([0; 512], false);
    loop {
        match file.read(&mut sent) {
            Ok(0) => return any,
            Ok(_) => any = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return any || error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// The file of the service manager, whichever kind it is.
fn named(path: &Path, write: Option<&str>) -> io::Result<(AsyncFd<File>, Interest)> {
    let write = write.map(|text| BASE64_STANDARD.decode(text).map_err(io::Error::other)).transpose()?.unwrap_or_default();
    let kind = path.metadata()?.file_type();
    if kind.is_socket() {
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(&write)?;
        stream.set_nonblocking(true)?;
        let file = File::from(std::os::fd::OwnedFd::from(stream));
        return Ok((register(file, Interest::READABLE)?, Interest::READABLE));
    }
    if kind.is_fifo() {
        let file = OpenOptions::new().read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
        return Ok((register(file, Interest::READABLE)?, Interest::READABLE));
    }
    open(path, &write)
}

#[allow(unsafe_code)]
fn register(file: File, interest: Interest) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` keeps the same descriptor open until it is dropped, which `AsyncFd` does after deregistering.
    unsafe { Ok(AsyncFd::register_with_interest(file, interest)?) }
}

/// A file of the kernel's, which has to be asked for hints.
fn open(path: &Path, write: &[u8]) -> io::Result<(AsyncFd<File>, Interest)> {
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    file.write_all(write)?;
    Ok((register(file, Interest::PRIORITY)?, Interest::PRIORITY))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_managers_socket_is_told_what_it_wants_and_hints_once_it_speaks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pressure");
        let listener = UnixListener::bind(&path).unwrap();
        runtime().block_on(async {
            let mut pressure = Pressure { source: Some(named(&path, Some("aGVsbG8=")).unwrap()) };
            let (mut manager, _) = listener.accept().unwrap();
            let mut heard = [0; 5];
            manager.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"hello");
            assert!(timeout(Duration::from_millis(20), pressure.hint()).await.is_err());
            manager.write_all(b"x").unwrap();
            timeout(Duration::from_secs(20), pressure.hint()).await.unwrap();
        });
    }

    /// A manager that went away hints no more: it hinted without end, and the supervisor did nothing else.
    #[test]
    fn each_hint_is_told_once_and_a_manager_that_is_gone_gives_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pressure");
        let listener = UnixListener::bind(&path).unwrap();
        runtime().block_on(async {
            let mut pressure = Pressure { source: Some(named(&path, None).unwrap()) };
            let (mut manager, _) = listener.accept().unwrap();
            for _ in 0..3 {
                manager.write_all(b"hint").unwrap();
                timeout(Duration::from_secs(20), pressure.hint()).await.unwrap();
                assert!(timeout(Duration::from_millis(20), pressure.hint()).await.is_err());
            }
            drop(manager);
            assert!(timeout(Duration::from_millis(100), pressure.hint()).await.is_err());
            assert!(pressure.source.is_none());
        });
    }

    #[test]
    fn the_kernels_account_takes_what_is_asked_for() {
        if !Path::new(KERNEL).exists() {
            return eprintln!("skipped: this kernel gives no account of pressure");
        }
        runtime().block_on(async { open(Path::new(KERNEL), TRIGGER).map(drop) }).unwrap();
    }
}
