//! The terminal that kaval runs in: its size, what is typed into it, and raw mode, from which it is put back as it was.
//!
//! **Invariants.** A [`RawTerminal`] that is dropped, by a panic too, leaves the terminal's settings as they were, and [`CLEAN`] what it shows.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    thread,
};

use bytes::Bytes;
use kaval_actors::Size;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use tokio::sync::mpsc;

use super::keys;

/// Most that is read of what is typed at once: less than a session sends in one piece.
const TYPED_BYTES: usize = 4096;
/// How long the rest of a sequence is waited for: a key that looks like the beginning of one (Alt and `[`) is late by that.
const REST_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Leaves the terminal clean: main screen, no margins, typing replaces, keys plainly encoded, no mouse, no paste brackets, plain
/// text, cursor shown, and where it was. Margins and origin mode move the cursor when reset, so that is done on the alternate
/// screen; and as leaving that restores a cursor even where the main one was up, it is entered first: that saves the cursor as it
/// stands, or does nothing.
pub(super) const CLEAN: &[u8] = b"\x18\x1b[=0u\x1b[?1049h\x1b[?6l\x1b[r\x1b[?1049l\x1b[?7h\x1b[4l\x1b(B\x0f\x1b[m\x1b[?1l\x1b>\
    \x1b[=0u\x1b[>4m\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?2026l\
    \x1b[?25h\x1b[0 q";

/// Which of stdin and stdout is no terminal, if one is none.
pub(super) fn missing_tty() -> Option<&'static str> {
    let streams = [("stdin", io::stdin().is_terminal()), ("stdout", io::stdout().is_terminal())];
    streams.into_iter().find(|(_, is_terminal)| !is_terminal).map(|(what, _)| what)
}

/// This window's size, if there is one.
pub(super) fn window_size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    Size::new(size.ws_col.into(), size.ws_row.into()).ok()
}

/// Writes at once.
pub(super) fn show(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// What is typed, read by a thread: a terminal's own descriptor must stay blocking, since its shell shares it. What the terminal answers
/// to a program comes whole, as far as it is written in one piece.
pub(super) fn typing() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        let stdin = io::stdin();
        let (mut buffer, mut held) = ([0; TYPED_BYTES], 0);
        while let Ok(n @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut buffer[held..])) {
            let typed = held + n;
            let whole = keys::whole(&buffer[..typed]);
            if whole < typed && (typed < TYPED_BYTES || whole > 0) && is_readable_soon(&stdin) {
                if whole > 0 && sender.blocking_send(Bytes::copy_from_slice(&buffer[..whole])).is_err() {
                    break;
                }
                buffer.copy_within(whole..typed, 0);
                held = typed - whole;
                continue;
            }
            if sender.blocking_send(Bytes::copy_from_slice(&buffer[..typed])).is_err() {
                break;
            }
            held = 0;
        }
    });
    receiver
}

/// Whether the rest of what a terminal has begun to write comes.
fn is_readable_soon(tty: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(tty, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&REST_WAIT))).is_ok_and(|ready| ready > 0)
}

/// The terminal in raw mode, until dropped.
pub(super) struct RawTerminal {
    tty: File,
    before: Termios,
}

impl RawTerminal {
    /// Enters it.
    pub(super) fn enter() -> io::Result<Self> {
        let tty = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let before = tcgetattr(&tty)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &raw)?;
        Ok(Self { tty, before })
    }

    /// Puts it back, on a fresh line with nothing below.
    pub(super) fn leave(self) {
        let _ = show(CLEAN);
        let _ = show(b"\r\n\x1b[J");
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = show(CLEAN);
        }
        let _ = tcsetattr(&self.tty, OptionalActions::Drain, &self.before);
    }
}
