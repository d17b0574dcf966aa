//! The system calls no crate wraps, each in a function of its own.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// Which side of a [`fork`] this is.
pub(super) enum Fork {
    /// The new process.
    Child,
    /// The old one, with the new one's pid.
    Parent(Pid),
}

/// Splits the process in two. The caller has seen to it that there is only one thread.
#[allow(unsafe_code)]
pub(super) fn fork() -> io::Result<Fork> {
    // SAFETY: fork takes no pointers. What makes it dangerous is another thread, whose locks would stay taken in
    // the child: `super::run` refuses to go on in a process that has one, and the keeper starts none.
    let pid = checked(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid).map_or(Fork::Child, Fork::Parent))
}

/// Ends the process at once: no destructors, no exit handlers. They belong to the parent.
#[allow(unsafe_code)]
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes descriptor number `to` a copy of `fd`, without close-on-exec; whatever `to` was is closed.
///
/// Only for a forked child about to exec: nobody there uses what `to` was.
#[allow(unsafe_code)]
pub(super) fn duplicate_onto(fd: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: dup2 takes no pointers. The descriptor it replaces may be owned by a value of ours, but the child
    // neither uses nor drops any of those: it goes on to exec or to `exit_now`.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), to) }).map(drop)
}

/// Closes every descriptor from number `first` on (Linux 5.9).
///
/// Only for a forked child about to exec, as [`duplicate_onto`].
#[allow(unsafe_code)]
pub(super) fn close_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: close_range takes no pointers. The child neither uses nor drops the owners of what is closed: it goes
    // on to exec or to `exit_now`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Which signals are held back from this thread.
#[derive(Clone, Copy)]
pub(super) enum SignalMask {
    /// Every one.
    All,
    /// None.
    Nothing,
}

/// Replaces the thread's signal mask.
#[allow(unsafe_code)]
pub(super) fn set_signal_mask(mask: SignalMask) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let fill = match mask {
        SignalMask::All => libc::sigfillset,
        SignalMask::Nothing => libc::sigemptyset,
    };
    // SAFETY: both fill functions initialise the whole set they are given; sigprocmask reads it and, its last
    // argument being null, writes nothing. It fails only on a first argument that is not one of its three.
    unsafe {
        fill(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// Whether `signal` is ignored.
#[allow(unsafe_code)]
pub(super) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null second argument sigaction only writes the present action to the third, which has room;
    // if it fails the zeroed bytes stay, and they are a valid `libc::sigaction` (plain integers and an `Option`).
    let action = unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Gives `signal` its default action.
///
/// Only for a forked child about to exec: it takes the handler away from under whoever installed it.
#[allow(unsafe_code)]
pub(super) fn set_default_action(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_DFL is an action, not a function of ours that would have to be safe to run in a handler.
    match unsafe { libc::signal(signal, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
}
