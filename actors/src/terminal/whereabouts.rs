//! Where a terminal's child is, told to the supervisor so that another one can be started there.
//!
//! **Invariants.** Looked at when the terminal reports, so at most once a second but for what clients ask, and told only when it is another.
//! Nothing is asked of a disk: whether a directory is there is found out by whoever starts something in it.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use actix::Recipient;
use rustix::process::Pid;

use super::{Moved, Terminal};
use crate::pty::{adopt, exit};

/// See the module's head.
pub(super) struct Whereabouts {
    to: Option<Recipient<Moved>>,
    child: Option<(Pid, Arc<OwnedFd>)>,
    told: Vec<PathBuf>,
}

impl Whereabouts {
    pub(super) fn new(to: Option<Recipient<Moved>>) -> Self {
        Self { to, child: None, told: Vec::new() }
    }

    /// Looks at this child from now on.
    pub(super) fn follow(&mut self, pidfd: &Arc<OwnedFd>) {
        self.child = self.to.as_ref().and_then(|_| Some((adopt::pid_of(pidfd.as_fd())?, pidfd.clone())));
    }

    /// Where the kernel says it is. The number is still the child's if that has not ended afterwards.
    fn of_child(&self) -> Option<PathBuf> {
        let (pid, pidfd) = self.child.as_ref()?;
        let cwd = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
        (!exit::has_ended(pidfd.as_fd())).then_some(cwd)
    }
}

impl Terminal {
    /// Tells where the child is, if it is elsewhere than was told last.
    pub(super) fn tell_whereabouts(&mut self) {
        let (Some(to), Some(of_child)) = (&self.whereabouts.to, self.whereabouts.of_child()) else { return };
        let by_shell = self.screen.marks().and_then(|marks| marks.cwd.as_ref()).map(PathBuf::from);
        let mut dirs: Vec<PathBuf> = by_shell.into_iter().chain([of_child]).collect();
        dirs.dedup();
        if dirs != self.whereabouts.told {
            self.whereabouts.told.clone_from(&dirs);
            // Once a second at most, and once a request of a client.
            to.do_send(Moved { id: self.id, dirs });
        }
    }
}
