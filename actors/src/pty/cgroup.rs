//! A control group for each terminal, where the service manager lets the supervisor have groups of its own.
//!
//! ```text
//!   kaval.service                  delegated: what is below is the supervisor's
//!     ├─ supervisor                itself
//!     ├─ term-1                    all that runs in terminal 1, wherever it forked to
//!     └─ term-7
//! ```
//!
//! Whoever stays behind a terminal that has ended keeps its group; it goes once it is empty.
//!
//! **Invariants.** A child is in its group before it runs its command. Controllers are turned on only where the manager starts the service in a
//! group below its own (`DelegateSubgroup=`, systemd 254): it could not start one in a group whose controllers are on, and every terminal
//! would be lost. Without them the kernel still counts a group's CPU time. Nothing that fails here keeps a terminal from starting.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use crate::TermId;

/// Where the supervisor itself is, by the units' `DelegateSubgroup=` too.
const OWN: &str = "supervisor";
/// What terminals are to be counted and limited by, where it can be had.
const CONTROLLERS: [&str; 3] = ["+cpu", "+memory", "+pids"];
/// What systemd marks a delegated group with.
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Groups {
    dir: PathBuf,
}

impl Groups {
    /// Takes over the group that this process was started in, if that is delegated.
    ///
    /// # Errors
    /// When it is, and cannot be used all the same.
    pub fn take_over() -> io::Result<Option<Self>> {
        let Some(here) = own_group() else { return Ok(None) };
        let is_below = here.file_name().is_some_and(|name| name == OWN);
        let dir = if is_below { here.parent().unwrap_or(&here).to_owned() } else { here };
        if !is_delegated(&dir) {
            return Ok(None);
        }
        let groups = Self { dir };
        if is_below {
            groups.turn_on_controllers();
        } else {
            groups.join(OWN, rustix::process::getpid())?;
        }
        groups.sweep();
        Ok(Some(groups))
    }

    /// The delegated group.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A terminal's group, whether or not it is there.
    pub fn group(&self, id: TermId) -> PathBuf {
        self.dir.join(name(id))
    }

    /// Moves a child into its terminal's group.
    ///
    /// # Errors
    /// When it is gone, or the kernel refuses.
    pub fn place(&self, id: TermId, child: Pid) -> io::Result<()> {
        self.join(&name(id), child)
    }

    /// Removes a terminal's group, if nothing runs in it any more.
    pub fn remove(&self, id: TermId) {
        let _ = fs::remove_dir(self.dir.join(name(id)));
    }

    fn join(&self, group: &str, process: Pid) -> io::Result<()> {
        let group = self.dir.join(group);
        match fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::write(group.join("cgroup.procs"), process.as_raw_nonzero().to_string())
    }

    fn turn_on_controllers(&self) {
        for controller in CONTROLLERS {
            // One by one: a kernel or a manager may lack some.
            let _ = fs::write(self.dir.join("cgroup.subtree_control"), controller);
        }
    }

    /// Removes the empty groups of terminals that ended while no supervisor was there.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("term-")) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn name(id: TermId) -> String {
    format!("term-{id}")
}

/// The directory of this process's group.
fn own_group() -> Option<PathBuf> {
    let path = unified_path(&fs::read_to_string("/proc/self/cgroup").ok()?)?.to_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    Some(mount_point(&mounts)?.join(path.trim_start_matches('/')))
}

/// The path in the unified hierarchy, of what `/proc/PID/cgroup` says.
fn unified_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Where the unified hierarchy is mounted, by what `/proc/PID/mountinfo` says.
fn mount_point(mountinfo: &str) -> Option<&Path> {
    let unified = mountinfo.lines().find(|line| line.split(" - ").nth(1).is_some_and(|end| end.starts_with("cgroup2 ")))?;
    unified.split(' ').nth(4).map(Path::new)
}

fn is_delegated(group: &Path) -> bool {
    let mut value = [0; 1];
    DELEGATED.iter().any(|name| rustix::fs::getxattr(group, *name, &mut value[..]).is_ok_and(|length| value[..length] == *b"1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_among_the_others() {
        assert_eq!(unified_path("4:memory:/a\n0::/system.slice/kaval.service\n"), Some("/system.slice/kaval.service"));
        assert_eq!(unified_path("4:memory:/a\n"), None);
        let mounts = "33 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      42 24 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_group_that_is_nobodys_gift_is_not_taken() {
        assert!(!is_delegated(Path::new("/proc/self")));
    }
}
