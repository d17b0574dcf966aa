//! Finding a terminal's child again in a supervisor that did not spawn it, and signalling all that runs in its session.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::process::{Pid, PidfdFlags, Signal, getsid, kill_process_group, pidfd_open, pidfd_send_signal};

use super::Master;

/// The major number of every PTY's other end (admin-guide/devices.txt).
const PTY_MAJOR: u32 = 136;

/// The child of a PTY whose pidfd was not stored: the leader of the PTY's session. Its pid cannot have been reused, since the
/// session that it leads is still there.
pub fn child_of(master: &Master) -> Option<OwnedFd> {
    pidfd_open(master.session_leader()?, PidfdFlags::empty()).ok()
}

/// A pidfd's process id, while the process is there.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    positive(pid_line(pidfd)?)
}

/// Whether a descriptor is a pidfd, of a process that may be gone.
pub fn is_pidfd(fd: BorrowedFd<'_>) -> bool {
    pid_line(fd).is_some()
}

/// What the kernel writes of the process behind a pidfd; of no other descriptor it writes anything.
fn pid_line(fd: BorrowedFd<'_>) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

/// Whether a pidfd's process lives and has this PTY as its terminal.
pub fn is_on(pidfd: BorrowedFd<'_>, master: &Master) -> bool {
    terminal_of(pidfd).flatten().is_some_and(|number| Some(number) == master.number())
}

/// Whether a pidfd's process lives and cannot be the child of this PTY: it has another terminal, or none while somebody else
/// leads the session of this one.
pub fn is_elsewhere(pidfd: BorrowedFd<'_>, master: &Master) -> bool {
    match terminal_of(pidfd) {
        Some(Some(number)) => Some(number) != master.number(),
        Some(None) => master.session_leader().is_some(),
        None => false,
    }
}

/// The number of the PTY that a process lives on, if it lives, and if it has one.
fn terminal_of(pidfd: BorrowedFd<'_>) -> Option<Option<u32>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid_of(pidfd)?)).ok()?;
    terminal_in(&stat)
}

/// The terminal in a line of `/proc/PID/stat`: field 7, after the name in parentheses. It is a device, whose minor number is in
/// bits 0 to 7 and 20 to 31, and whose major number in the 12 between.
fn terminal_in(stat: &str) -> Option<Option<u32>> {
    let device = stat.rsplit_once(") ")?.1.split(' ').nth(4)?.parse::<i32>().ok()? as u32;
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    Some((major == PTY_MAJOR).then_some(minor))
}

/// A process id. The kernel writes -1 for a process that has been reaped, and 0 for one of another pid namespace; neither is one, and
/// `Pid::from_raw` panics at the first.
fn positive(number: i32) -> Option<Pid> {
    (number > 0).then(|| Pid::from_raw(number)).flatten()
}

/// Every session that there was at one moment, and the process groups in it: one look at `/proc` serves any number of terminals.
#[derive(Debug)]
pub struct Sessions {
    groups: HashMap<i32, HashSet<Pid>>,
    taken: Instant,
}

impl Sessions {
    /// Looks at every process.
    pub fn scan() -> Self {
        let taken = Instant::now();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let stats = processes.filter_map(|entry| {
            entry.file_name().to_str()?.parse::<u32>().ok()?;
            fs::read_to_string(entry.path().join("stat")).ok()
        });
        let mut groups: HashMap<i32, HashSet<Pid>> = HashMap::new();
        for (session, group) in stats.filter_map(|stat| session_and_group(&stat)) {
            groups.entry(session).or_default().insert(group);
        }
        Self { groups, taken }
    }

    /// Whether they are as good as looked at anew for somebody who asked at that moment.
    pub fn are_newer_than(&self, asked: Instant) -> bool {
        self.taken >= asked
    }

    /// Hangs up, or kills, a whole terminal: every process group of the child's session gets `signal`, and SIGCONT after SIGHUP, as when
    /// the kernel hangs up a line.
    pub fn signal(&self, pidfd: BorrowedFd<'_>, signal: Signal) {
        let Some(leader) = pid_of(pidfd) else { return };
        let groups = self.groups.get(&leader.as_raw_nonzero().get()).into_iter().flatten();
        for group in groups.filter(|group| is_of_session(**group, leader)) {
            let _ = kill_process_group(*group, signal);
            if signal == Signal::HUP {
                let _ = kill_process_group(*group, Signal::CONT);
            }
        }
        let _ = pidfd_send_signal(pidfd.as_fd(), signal);
    }
}

/// Whether a group's number has not been taken over by another session's process since it was seen. While its own leader is gone it cannot
/// be told, and the kernel gives no number to a new process that a group still has.
fn is_of_session(group: Pid, leader: Pid) -> bool {
    getsid(Some(group)).map_or(true, |session| session == leader)
}

/// Session and process group in a line of `/proc/PID/stat`: fields 6 and 5, after the name in parentheses. A kernel thread has neither.
fn session_and_group(stat: &str) -> Option<(i32, Pid)> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2);
    let group = positive(fields.next()?.parse().ok()?)?;
    Some((fields.next()?.parse().ok()?, group))
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
        Sessions::scan().signal(pidfd.as_fd(), Signal::HUP);
    }

    #[test]
    fn a_stat_line_is_read_past_a_name_with_parentheses_and_spaces() {
        let stat = "57 (a) b (c) S 40 55 40 34816 55 4194304 0 0";
        assert_eq!(session_and_group(stat), Pid::from_raw(55).map(|group| (40, group)));
        assert_eq!(session_and_group("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"), None);
    }

    #[test]
    fn a_stat_line_has_the_terminal_also_of_high_numbers() {
        let stat = |device: &str| format!("57 (a) b (c) S 40 55 40 {device} 55 4194304 0 0");
        assert_eq!(terminal_in(&stat("34823")), Some(Some(7)));
        assert_eq!(terminal_in(&stat("1083416")), Some(Some(256 + 24)));
        assert_eq!(terminal_in(&stat("0")), Some(None));
        assert_eq!(terminal_in("57 (a) S"), None);
    }

    #[test]
    fn a_scan_serves_who_asked_before_it_and_nobody_who_asks_later() {
        let before = Instant::now();
        let sessions = Sessions::scan();
        assert!(sessions.are_newer_than(before));
        assert!(!sessions.are_newer_than(Instant::now()));
    }
}
