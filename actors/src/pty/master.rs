//! The supervisor's side of a PTY.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    process::Pid,
    termios::{Winsize, tcgetpgrp, tcgetsid, tcgetwinsize, tcsetwinsize},
};

use crate::Size;

/// A PTY's master end, non-blocking.
#[derive(Debug)]
pub struct Master(OwnedFd);

impl Master {
    /// Takes over a descriptor that is a PTY master.
    ///
    /// # Errors
    /// If it is not one, or will not become non-blocking.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::pty::ptsname(&fd, Vec::new())?;
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    /// Another descriptor of the same master.
    ///
    /// # Errors
    /// When none is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The size its programs see.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = tcgetwinsize(&self.0)?;
        Ok((size.ws_col, size.ws_row))
    }

    /// Sets the size its programs see; they get SIGWINCH if it differs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let size = Winsize { ws_row: size.rows(), ws_col: size.cols(), ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.0, size)?)
    }

    /// The number of the PTY: that of its other end under `/dev/pts`.
    pub fn number(&self) -> Option<u32> {
        let name = rustix::pty::ptsname(&self.0, Vec::new()).ok()?;
        name.to_str().ok()?.strip_prefix("/dev/pts/")?.parse().ok()
    }

    /// The leader of the session that has this PTY as its controlling terminal: the child, while it lives.
    pub fn session_leader(&self) -> Option<Pid> {
        tcgetsid(&self.0).ok()
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.0).ok()
    }

    /// Whether it takes input now.
    pub fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }
}

impl AsFd for Master {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Master {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
