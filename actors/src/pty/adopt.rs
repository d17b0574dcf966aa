//! Finding a terminal's child again in a supervisor that did not spawn it, and signalling all that runs in its session.

use std::{
    collections::HashSet,
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::Master;

/// The child of a PTY whose pidfd was not stored: the leader of the PTY's session. Its pid cannot have been reused, since the
/// session that it leads is still there.
pub fn child_of(master: &Master) -> Option<OwnedFd> {
    pidfd_open(master.session_leader()?, PidfdFlags::empty()).ok()
}

/// A pidfd's process id, while the process is there.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    positive(line.trim().parse().ok()?)
}

/// A process id. The kernel writes -1 for a process that has been reaped, and 0 for one of another pid namespace; neither is one, and
/// `Pid::from_raw` panics at the first.
fn positive(number: i32) -> Option<Pid> {
    (number > 0).then(|| Pid::from_raw(number)).flatten()
}

/// Hangs up, or kills, a whole terminal: every process group of the child's session gets `signal`, and SIGCONT after SIGHUP, as when the
/// kernel hangs up a line.
pub fn signal_session(pidfd: BorrowedFd<'_>, signal: Signal) {
    let Some(leader) = pid_of(pidfd) else { return };
    for group in groups_of_session(leader) {
        let _ = kill_process_group(group, signal);
        if signal == Signal::HUP {
            let _ = kill_process_group(group, Signal::CONT);
        }
    }
    let _ = pidfd_send_signal(pidfd.as_fd(), signal);
}

fn groups_of_session(leader: Pid) -> HashSet<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        fs::read_to_string(entry.path().join("stat")).ok()
    });
    stats.filter_map(|stat| group_in_session(&stat, leader)).collect()
}

/// The process group in a line of `/proc/PID/stat` if its session is `leader`'s: fields 5 and 6, after the name in parentheses.
fn group_in_session(stat: &str, leader: Pid) -> Option<Pid> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2);
    let group = fields.next()?.parse().ok()?;
    let session: i32 = fields.next()?.parse().ok()?;
    (session == leader.as_raw_nonzero().get()).then(|| positive(group)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It panicked, and took the supervisor along when it listed a terminal whose child had just been reaped.
    #[test]
    fn a_process_that_was_reaped_has_no_pid() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        assert_eq!(pid_of(pidfd.as_fd()), Some(Pid::from_child(&child)));
        child.wait().unwrap();
        assert_eq!(pid_of(pidfd.as_fd()), None);
        signal_session(pidfd.as_fd(), Signal::HUP);
    }

    #[test]
    fn a_stat_line_is_read_past_a_name_with_parentheses_and_spaces() {
        let leader = Pid::from_raw(40).unwrap();
        let stat = "57 (a) b (c) S 40 55 40 34816 55 4194304 0 0";
        assert_eq!(group_in_session(stat, leader), Pid::from_raw(55));
        assert_eq!(group_in_session(stat, Pid::from_raw(41).unwrap()), None);
    }
}
