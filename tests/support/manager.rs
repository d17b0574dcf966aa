//! A real systemd of its own: process 1 in namespaces of its own, with kaval installed and its shipped units started.
//!
//! ```text
//!   test ─ unshare ─► systemd ─► kaval.socket, kaval.service ─► supervisor ─► terminals
//!     ├─ nsenter: systemctl, kaval ──┘                              │
//!     └─ /proc/PID/root: socket, records, log ◄─────────────────────┘
//! ```
//!
//! /run, /tmp, /etc, /var/lib, /var/log and /usr/local/bin are its own, so nothing of it stays.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::support::{KAVAL, PATIENCE, example};

const SYSTEMD: &str = "/lib/systemd/systemd";
/// Between two looks at a systemd that does not answer yet.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Has control groups of its own, below the one named by the first argument; the rest is [`BOOT`] and its arguments.
const SEPARATE: &str = r#"
set -e
mount --make-rprivate /
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1"
echo 0 >"/sys/fs/cgroup/$1/cgroup.procs"
shift
exec unshare --cgroup sh -c "$@"
"#;

/// Becomes its process 1. Arguments: kaval, the emitter, the directory of the units, the configuration, settings of the service.
const BOOT: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/stage/bin /run/stage/etc /run/systemd/system
cp "$1" /run/stage/bin/kaval
cp "$2" /run/stage/bin/emitter
cp "$3"/kaval.service "$3"/kaval.socket /run/systemd/system
cp -a /etc/. /run/stage/etc
mkdir -p /run/stage/etc/kaval
printf '%s' "$4" >/run/stage/etc/kaval/kaval.toml
mount --bind /run/stage/etc /etc
mount --bind /run/stage/bin /usr/local/bin
for dir in /tmp /var/tmp /var/log /var/lib; do mount -t tmpfs tmpfs $dir; done
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for unit in kaval.service kaval.socket; do
    mkdir /run/systemd/system/$unit.d
    printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/$unit.d/test.conf
done
printf '[Service]\nStandardError=append:/var/log/kaval.log\n%s\n' "$5" >>/run/systemd/system/kaval.service.d/test.conf
printf '[Unit]\nDefaultDependencies=no\nWants=kaval.socket kaval.service\n' >/run/systemd/system/kaval-test.target
export container=test
exec /lib/systemd/systemd --system --unit=kaval-test.target
"#;

/// See the module's head. It ends when dropped, with all that runs in it.
pub struct Manager {
    unshare: Child,
    init: u32,
    /// Its control group.
    group: String,
}

static BOOTED: AtomicU32 = AtomicU32::new(0);

impl Manager {
    /// Boots one, with that configuration of kaval and those settings of its service; `None`, and a word about it, where that cannot be.
    pub fn boot(config: &str, settings: &str) -> Option<Self> {
        let missing = if !rustix::process::geteuid().is_root() {
            "only root may make namespaces"
        } else if !Path::new(SYSTEMD).exists() {
            "systemd is not installed"
        } else {
            ""
        };
        if !missing.is_empty() {
            println!("skipped: {missing}");
            return None;
        }
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd/system");
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--mount-proc",
            "--uts",
            "--ipc",
            "sh",
            "-c",
            SEPARATE,
            "separate",
        ]);
        let group = format!("kaval-test-{}-{}", std::process::id(), BOOTED.fetch_add(1, Relaxed));
        command
            .args([&*group, BOOT, "boot"])
            .arg(KAVAL)
            .arg(example("emitter"))
            .arg(units)
            .args([config, settings])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let unshare = command.stderr(Stdio::null()).spawn().unwrap();
        let mut manager = Self { unshare, init: 0, group };
        manager.init = manager.await_some("process 1", |manager| manager.child());
        manager.await_some("systemd", |manager| {
            let comm = fs::read_to_string(format!("/proc/{}/comm", manager.init)).ok()?;
            (comm.trim() == "systemd").then_some(())
        });
        manager.await_some("kaval.service", |manager| manager.is_active().then_some(()));
        Some(manager)
    }

    fn child(&self) -> Option<u32> {
        let id = self.unshare.id();
        fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.split_whitespace().next()?.parse().ok()
    }

    /// Waits for what no event tells of.
    pub fn await_some<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{what} did not come; kaval's log:\n{}", self.log());
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// A path of its own, from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    pub fn socket(&self) -> PathBuf {
        self.path("/run/kaval/kaval.sock")
    }

    /// What kaval has written to stderr, all supervisors' of it.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("/var/log/kaval.log")).unwrap_or_default()
    }

    fn enter(&self, command: &[&str]) -> Output {
        let target = self.init.to_string();
        Command::new("nsenter").args(["-t", &target, "-a"]).args(command).stdin(Stdio::null()).output().unwrap()
    }

    pub fn systemctl(&self, args: &[&str]) -> Output {
        self.enter(&[&["systemctl"], args].concat())
    }

    /// Runs kaval there; its output, which must be had.
    pub fn kaval<S: AsRef<str>>(&self, args: &[S]) -> String {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let output = self.enter(&[&["/usr/local/bin/kaval"], &args[..]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A property of kaval.service.
    pub fn property(&self, name: &str) -> String {
        let output = self.systemctl(&["show", "kaval.service", "--value", "-p", name]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn is_active(&self) -> bool {
        self.property("ActiveState") == "active"
    }

    /// The supervisor's process, as seen there; `None` while there is none.
    pub fn main_pid(&self) -> Option<u32> {
        self.property("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// The number that one of its processes has outside.
    pub fn pid_outside(&self, inside: u32) -> u32 {
        let in_it = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            let own = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            numbers.split_whitespace().last() == Some(&inside.to_string())
                && own == fs::read_link(format!("/proc/{}/ns/pid", self.init)).ok()
        };
        let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
        let mut pids = names.filter_map(|name| name.to_str()?.parse().ok());
        pids.find(in_it).expect("the process")
    }

    /// Puts another build of kaval in the place of the one that is installed: the same code in a file with other bytes.
    pub fn install_rebuilt(&self) {
        let rebuild = "cp /usr/local/bin/kaval /usr/local/bin/kaval.new && echo rebuilt >>/usr/local/bin/kaval.new \
                       && mv /usr/local/bin/kaval.new /usr/local/bin/kaval";
        assert!(self.enter(&["sh", "-c", rebuild]).status.success());
    }

    /// Whether that process was started from what is installed now.
    pub fn runs_what_is_installed(&self, pid: u32) -> bool {
        let compare = format!("test /proc/{pid}/exe -ef /usr/local/bin/kaval");
        self.enter(&["sh", "-c", &compare]).status.success()
    }

    /// Sends a signal to the supervisor.
    pub fn kill(&self, pid: u32, signal: &str) -> bool {
        self.enter(&["kill", signal, &pid.to_string()]).status.success()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("kaval's log ended:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        if let Some(unified) = unified {
            let group = Path::new(unified).join(&self.group);
            let deadline = Instant::now() + PATIENCE;
            // All that ran in it is ending.
            while group.exists() && Instant::now() < deadline {
                remove_group(&group);
                thread::sleep(LOOK_AGAIN);
            }
        }
    }
}

/// Removes a control group and those below it, as far as nothing runs in them any more.
fn remove_group(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).for_each(|path| remove_group(&path));
    let _ = fs::remove_dir(group);
}
