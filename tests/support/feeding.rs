//! Gives a running keeper descriptors that no supervisor has stored, as if one had: for that it lies about who it is, which
//! only root may.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    fs,
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    process::{Child, Command},
};

use kaval_actors::log::store::Store;
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, UCred, sendmsg},
    process::{Pid, Signal, getegid, geteuid, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::tcgetsid,
};

use crate::support::{Instance, spin_until};

/// Whether what follows can be done, and a word about it where not.
pub fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: only root may speak for another process");
    }
    root
}

fn say(instance: &Instance, text: &str, fd: Option<BorrowedFd<'_>>) {
    let supervisor = instance.supervisor_pid().unwrap();
    let environ = fs::read_to_string(format!("/proc/{}/environ", supervisor.as_raw_nonzero())).unwrap();
    let address = environ.split('\0').find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET=@")).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect_addr(&SocketAddr::from_abstract_name(address).unwrap()).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let credentials = UCred { pid: supervisor, uid: geteuid(), gid: getegid() };
    assert!(control.push(SendAncillaryMessage::ScmCredentials(credentials)));
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty()).unwrap();
}

/// Has the keeper keep a descriptor under that name, beside what it keeps there.
pub fn store(instance: &Instance, name: &str, fd: impl AsFd) {
    say(instance, &format!("FDSTORE=1\nFDNAME={name}\n"), Some(fd.as_fd()));
}

/// Has it drop all that it keeps under that name.
pub fn remove(instance: &Instance, name: &str) {
    say(instance, &format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), None);
}

/// Kills the supervisor, and starts the next only once what it left on disk was changed.
pub fn change_state(instance: &Instance, change: impl FnOnce(&Path)) {
    let (keeper, supervisor) = (instance.keeper_pid(), instance.supervisor_pid().unwrap());
    let ready = instance.log.count(" INFO ready ");
    kill_process(keeper, Signal::STOP).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    let stat = format!("/proc/{}/stat", supervisor.as_raw_nonzero());
    spin_until("the supervisor's end", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")));
    // One that stays stopped would never end.
    let changed = catch_unwind(AssertUnwindSafe(|| change(&instance.state_dir())));
    kill_process(keeper, Signal::CONT).unwrap();
    changed.unwrap_or_else(|panic| resume_unwind(panic));
    instance.log.await_count(" INFO ready ", ready + 1);
}

/// The database of a supervisor that is not there, opened as it would: once the last of its threads has let go of it.
pub fn database(state: &Path) -> Store {
    let mut opened = None;
    spin_until("the store's lock", || {
        opened = Store::open(&state.join("store")).ok();
        opened.is_some()
    });
    opened.unwrap()
}

/// A child on a terminal of its own that no kaval has made, ended when dropped.
pub struct Foreign {
    pub child: Child,
    pub master: OwnedFd,
}

impl Foreign {
    pub fn start(script: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = fs::OpenOptions::new().read(true).write(true).open(slave).unwrap();
        let copy = || slave.try_clone().unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", script]).stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().unwrap();
        spin_until("setsid", || tcgetsid(&master).is_ok());
        Self { child, master }
    }

    pub fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    pub fn runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
