//! Putting a journal aside that cannot be read: its bytes, as they are, into a file.
//!
//! **Invariant.** Holes stay holes: a journal's file is as long as all that ever went through it, and has little of that.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{SeekFrom, fstat, seek},
    io::Errno,
};

/// Bytes that are copied in one go.
const COPY_BYTES: usize = 64 * 1024;

/// How much output a journal may have held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Bytes that are in memory: all that is not on disk yet is among them.
    pub now: u64,
    /// Bytes that ever went through it.
    pub ever: u64,
}

/// How much that can be at most, by the size of its file.
pub fn held(file: BorrowedFd<'_>) -> Held {
    fstat(file).map_or(Held { now: 0, ever: 0 }, |stat| Held { now: stat.st_blocks as u64 * 512, ever: stat.st_size as u64 })
}

/// Copies all that a file in memory holds into a new one at `path`, which only its owner may read.
///
/// # Errors
/// What the file system says; what is there of the copy stays.
pub fn copy(file: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let size = fstat(file)?.st_size as u64;
    let mut from = 0;
    while let Some((data, hole)) = next_data(file, from)? {
        copy_range(file, &to, data, hole)?;
        from = hole;
    }
    to.set_len(size)?;
    to.sync_all()
}

/// The next stretch of the file that is no hole.
fn next_data(file: impl AsFd, from: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(&file, SeekFrom::Data(from)) {
        Ok(data) => Ok(Some((data, seek(&file, SeekFrom::Hole(data))?))),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn copy_range(file: BorrowedFd<'_>, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut piece = vec![0; COPY_BYTES];
    while at < end {
        let wanted = piece.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = rustix::io::pread(file, &mut piece[..wanted], at)?;
        if read == 0 {
            break;
        }
        to.write_all_at(&piece[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_every_byte_and_no_more_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let file = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let far = 1 << 30;
        rustix::io::pwrite(&file, &[7; 5000], 0).unwrap();
        rustix::io::pwrite(&file, &[8; 100_000], far).unwrap();
        let path = dir.path().join("aside");
        copy(file.as_fd(), &path).unwrap();
        let copied = File::open(&path).unwrap();
        let mut bytes = vec![0; 100_000];
        copied.read_exact_at(&mut bytes, far).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 8) && copied.metadata().unwrap().len() == far + 100_000);
        assert!(held(file.as_fd()).now < 1 << 20 && held(copied.as_fd()).now < 1 << 20);
        assert_eq!(held(file.as_fd()).ever, far + 100_000);
        assert!(copy(file.as_fd(), &path).is_err(), "what is there is not written over");
    }
}
