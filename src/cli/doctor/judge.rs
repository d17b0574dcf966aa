//! Judging: what the facts mean, and what to do. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Check,
    look::{Facts, Linger, Privacy, Ptys, Supervisor, Unit},
};
use crate::{
    cli::table::{bytes, duration},
    disk::{Disk, Kind},
    wire::StatusOk,
};

/// What is free on a disk when the log stops, and when one should look for room.
const FREE_FAIL_BYTES: u64 = 16 << 20;
const FREE_WARN_BYTES: u64 = 512 << 20;
/// Of what is limited, how much may be used before it is told.
const CROWDED: f64 = 0.8;
/// Descriptors that a terminal takes, and what the rest of a supervisor does.
const FILES_A_TERM: u64 = 3;
const FILES_BASE: u64 = 300;
/// How far in the future a file may lie: clocks are not that exact.
const FUTURE_MAX: Duration = Duration::from_secs(60);
/// No machine has this program before that: 2025-01-01.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
/// What runs kaval, and what tells the exit codes of all children.
const KERNEL_MIN: (u32, u32) = (5, 9);
const KERNEL_STATUSES: (u32, u32) = (6, 15);
/// What the unit has to say for terminals to survive, and what comes of it otherwise.
const SETTINGS: [(&str, &str, &str); 4] = [
    ("KillMode", "process", "a stop would kill every terminal"),
    ("Restart", "always", "nobody would start the next supervisor"),
    ("OOMPolicy", "continue", "one child that runs out of memory would end all"),
    ("StartLimitIntervalUSec", "0", "a series of crashes would end all"),
];

pub(super) fn all(facts: &Facts) -> Vec<Check> {
    let mut checks = supervisor(&facts.supervisor);
    checks.push(permissions(facts));
    checks.push(config(facts));
    checks.push(unit(&facts.unit));
    checks.push(linger(facts.linger.as_ref()));
    checks.push(ptys(&facts.ptys));
    checks.push(files(facts.files_max, facts.terms_max));
    checks.push(match &facts.disk {
        Ok(disk) => self::disk(disk, facts),
        Err(error) => Check::fail("disk", format!("{}: {error}", facts.state_dir.display()), "see that it can be reached"),
    });
    checks.push(clock(facts));
    checks.push(kernel(&facts.kernel));
    checks
}

fn supervisor(supervisor: &Supervisor) -> Vec<Check> {
    match supervisor {
        Supervisor::Answers { socket, status } => {
            let found = format!("kaval {} answers at {}, process {}", status.version, socket.display(), status.pid);
            let mut checks = vec![if status.version == env!("CARGO_PKG_VERSION") {
                Check::ok("socket", found)
            } else {
                let found = format!("{found}; this is kaval {}", env!("CARGO_PKG_VERSION"));
                Check::warn("socket", found, "kaval upgrade makes them the same, terminals kept")
            }];
            checks.extend(running(status));
            checks
        }
        Supervisor::Strange { socket, error } => {
            let found = format!("{} is not answered as it should be: {error}", socket.display());
            vec![Check::fail("socket", found, "end what listens there, and start kaval serve")]
        }
        Supervisor::Silent { socket, error } => {
            let found = format!("nobody answers at {}: {error}", socket.display());
            vec![Check::warn("socket", found, "kaval, or kaval serve, starts a supervisor there")]
        }
        Supervisor::Absent { socket } => {
            let found = format!("no supervisor runs: there is no {}", socket.display());
            vec![Check::warn("socket", found, "kaval, or kaval serve, starts one")]
        }
    }
}

/// What the supervisor itself says.
fn running(status: &StatusOk) -> Vec<Check> {
    let mut checks = Vec::new();
    if status.unkept {
        checks.push(Check::fail(
            "keeper",
            "none runs: when the supervisor ends, however that is, so do its terminals",
            "leave nothing in them that matters, end it with kaval shutdown, and start another with kaval",
        ));
    }
    if status.log.faulty {
        checks.push(Check::fail(
            "log",
            "it cannot be written: output goes missing from history",
            "see the supervisor's log, and disk below",
        ));
    }
    if status.fds.open as f64 > status.fds.max as f64 * CROWDED {
        let found = format!("the supervisor has {} of {} open", status.fds.open, status.fds.max);
        checks.push(Check::warn("descriptors", found, "raise LimitNOFILE= in the unit, or ulimit -Hn before kaval serve"));
    }
    if status.data_path != "splice" {
        checks.push(Check::warn("data path", "output is copied: a kill of the supervisor may lose some", "use a newer kernel"));
    }
    let aside =
        |line: &String| Check::warn("set aside", line.clone(), "look at what is there, and remove it when it is not needed");
    checks.extend(status.set_aside.iter().map(aside));
    checks
}

fn permissions(facts: &Facts) -> Check {
    let bad = facts.directories.iter().find_map(|(_, privacy)| match privacy {
        Privacy::Bad(error) => Some(error),
        Privacy::Good | Privacy::Absent => None,
    });
    if let Some(error) = bad {
        return Check::fail("permissions", error.clone(), "kaval does not start until that is so");
    }
    match &facts.socket_mode {
        Some((socket, _, false)) => {
            let found = format!("{} belongs to somebody else", socket.display());
            Check::warn("permissions", found, "use a supervisor of your own: --socket PATH, or unset KAVAL_SOCKET")
        }
        Some((socket, mode, true)) if mode & 0o077 != 0 => {
            let found = format!("{} has mode {mode:04o}", socket.display());
            Check::fail("permissions", found, format!("chmod 600 {}", socket.display()))
        }
        Some((_, _, true)) | None => {
            let dirs = facts.directories.iter().map(|(dir, privacy)| match privacy {
                Privacy::Absent => format!("{} is made when it is needed", dir.display()),
                Privacy::Good | Privacy::Bad(_) => format!("{} is yours alone", dir.display()),
            });
            Check::ok("permissions", dirs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn config(facts: &Facts) -> Check {
    match &facts.config {
        (_, Some(error)) => Check::fail("configuration", error.clone(), "mend the file: kaval serve does not start with it"),
        (Some(file), None) => Check::ok("configuration", format!("{} is in order", file.display())),
        (None, None) => Check::ok("configuration", "there is none: everything is as usual"),
    }
}

fn unit(unit: &Unit) -> Check {
    const NAME: &str = "systemd unit";
    const INSTALL: &str = "README, under systemd, says how to install it";
    match unit {
        Unit::NoSystemd => Check::ok(NAME, "systemd does not run here: kaval's own keeper does its work"),
        Unit::Unknown(error) => {
            Check::warn(NAME, format!("systemd was not to be asked ({error})"), "run kaval doctor in a login session")
        }
        Unit::Shown { user, properties } => {
            let value = |name: &str| {
                let mut lines = properties.lines().filter_map(|line| line.split_once('='));
                lines.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
            };
            let whose = if *user { "user" } else { "system" };
            if value("LoadState") != "loaded" {
                let found = format!("there is no {whose} unit kaval.service: kaval runs under its own keeper");
                return Check::ok(NAME, format!("{found} ({INSTALL})"));
            }
            let other = SETTINGS.iter().find(|(name, wanted, _)| !["", wanted].contains(&value(name)));
            if let Some((name, wanted, otherwise)) = other {
                let found = format!("kaval.service has {name}={}: {otherwise}", value(name));
                return Check::fail(NAME, found, format!("set {}={wanted}", name.replace("USec", "Sec")));
            }
            if value("FileDescriptorStoreMax") == "0" {
                let found = "kaval.service keeps no descriptors: every restart ends every terminal";
                return Check::fail(NAME, found, "set FileDescriptorStoreMax= as in the unit that kaval comes with");
            }
            let found = format!("{whose} unit, {}, {}", value("UnitFileState"), value("ActiveState"));
            match (value("UnitFileState"), value("ActiveState")) {
                (_, "failed") => Check::fail(NAME, found, "systemctl status kaval.service says why"),
                ("disabled", _) => Check::warn(NAME, found, "systemctl enable kaval.socket kaval.service starts it at boot"),
                _ => Check::ok(NAME, found),
            }
        }
    }
}

fn linger(linger: Option<&Linger>) -> Check {
    let Some(Linger { user, enabled }) = linger else {
        return Check::ok("linger", "it is not needed: this is root, or systemd does not run here");
    };
    if *enabled {
        return Check::ok("linger", format!("services of {user} outlive a logout"));
    }
    let found = format!("what {user} runs under systemd may end at logout, terminals included");
    Check::warn("linger", found, format!("loginctl enable-linger {user}"))
}

fn ptys(Ptys { used, max, error }: &Ptys) -> Check {
    const RAISE: &str = "sysctl kernel.pty.max=N raises the limit";
    if let Some(error) = error {
        return Check::fail(
            "ptys",
            format!("none can be opened: {error}"),
            format!("see that /dev/ptmx and /dev/pts are there; {RAISE}"),
        );
    }
    let (Some(used), Some(max)) = (*used, *max) else { return Check::ok("ptys", "one can be opened") };
    let found = format!("{used} of {max} are in use");
    if used as f64 > max as f64 * CROWDED { Check::warn("ptys", found, RAISE) } else { Check::ok("ptys", found) }
}

fn files(max: Option<u64>, terms_max: usize) -> Check {
    let Some(max) = max else { return Check::ok("open files", "there is no limit") };
    let room = max.saturating_sub(FILES_BASE) / FILES_A_TERM;
    let found = format!("the hard limit of {max} is enough for some {room} terminals");
    if room >= terms_max as u64 {
        return Check::ok("open files", found);
    }
    let mend =
        format!("limits.terms_max is {terms_max}: raise the limit (ulimit -Hn, LimitNOFILE= in the unit), or lower that");
    Check::warn("open files", found, mend)
}

fn disk(disk: &Disk, facts: &Facts) -> Check {
    let found = format!("{} has {} free", facts.state_dir.display(), bytes(disk.free_bytes));
    match disk.kind {
        _ if disk.read_only => Check::fail(
            "disk",
            format!("{} is read-only", facts.state_dir.display()),
            "make it writable, or use another --state-dir",
        ),
        _ if disk.free_bytes < FREE_FAIL_BYTES => Check::fail("disk", found, "make room: nothing is logged below 16 MiB"),
        _ if disk.free_bytes < FREE_WARN_BYTES => Check::warn("disk", found, "make room, or lower log.total_bytes_max"),
        Kind::Remote(name) => Check::warn(
            "disk",
            format!("{found}, on {name}"),
            "locks and crashes are safe only on a local disk: use another --state-dir",
        ),
        Kind::Memory => {
            Check::warn("disk", format!("{found}, in memory"), "history is gone after a reboot: use another --state-dir")
        }
        Kind::Local => Check::ok("disk", found),
    }
}

fn clock(facts: &Facts) -> Check {
    const SET: &str = "set the clock: timedatectl set-ntp true";
    let since = facts.now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since < EARLIEST {
        return Check::fail("clock", "it is set to a time before this program was made", SET);
    }
    let ahead = |time: &SystemTime| time.duration_since(facts.now).unwrap_or_default();
    match facts.latest.as_ref().map(|(path, time)| (path, ahead(time))) {
        Some((path, ahead)) if ahead > FUTURE_MAX => {
            let found = format!("{} was changed {} in the future: the clock has gone back", path.display(), duration(ahead));
            Check::warn("clock", found, SET)
        }
        Some(_) | None => Check::ok("clock", "nothing here is from the future"),
    }
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Check::warn("kernel", format!("its release is {release:?}"), "kaval needs Linux 5.9");
    };
    match (major, minor) {
        version if version < KERNEL_MIN => Check::fail("kernel", format!("Linux {release}"), "kaval needs Linux 5.9"),
        version if version < KERNEL_STATUSES => {
            let found = format!("Linux {release}: how a child ended is unknown if the supervisor was restarted meanwhile");
            Check::warn("kernel", found, "Linux 6.15 tells that too")
        }
        _ => Check::ok("kernel", format!("Linux {release}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn facts() -> Facts {
        Facts {
            supervisor: Supervisor::Absent { socket: "/run/k.sock".into() },
            directories: vec![("/state".into(), Privacy::Good), ("/run/kaval".into(), Privacy::Absent)],
            socket_mode: None,
            config: (None, None),
            terms_max: 2000,
            unit: Unit::NoSystemd,
            linger: None,
            ptys: Ptys { used: Some(3), max: Some(4096), error: None },
            files_max: Some(524_288),
            state_dir: "/state".into(),
            disk: Ok(Disk { kind: Kind::Local, read_only: false, free_bytes: 1 << 40 }),
            now: UNIX_EPOCH + EARLIEST + Duration::from_secs(1_000_000),
            latest: None,
            kernel: "6.18.0-generic".into(),
        }
    }

    fn verdicts(facts: &Facts) -> Vec<(&'static str, Verdict)> {
        all(facts)
            .into_iter()
            .map(|check| (check.check, check.verdict))
            .filter(|(_, verdict)| *verdict != Verdict::Ok)
            .collect()
    }

    #[test]
    fn where_all_is_well_only_the_supervisor_that_does_not_run_is_told() {
        assert_eq!(verdicts(&facts()), [("socket", Verdict::Warn)]);
        assert_eq!(all(&facts()).len(), 10);
    }

    /// Each thing that can be wrong, alone.
    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let wrong = |change: &dyn Fn(&mut Facts), expected: (&str, Verdict), says: &str, mend: &str| {
            let mut facts = facts();
            change(&mut facts);
            let checks = all(&facts);
            let found: Vec<_> =
                checks.iter().filter(|check| check.verdict != Verdict::Ok && check.check == expected.0).collect();
            assert_eq!(found.len(), 1, "{checks:#?}");
            assert_eq!(found[0].verdict, expected.1);
            let told = found[0].mend.clone().unwrap();
            assert!(found[0].found.contains(says) && told.contains(mend), "{:?}", found[0]);
        };
        use Verdict::{Fail, Warn};
        let strange = || Supervisor::Strange { socket: "/s".into(), error: "it speaks html".into() };
        wrong(&|facts| facts.supervisor = strange(), ("socket", Fail), "html", "end what listens");
        let silent = || Supervisor::Silent { socket: "/s".into(), error: "refused".into() };
        wrong(&|facts| facts.supervisor = silent(), ("socket", Warn), "refused", "kaval serve");
        let open = || Privacy::Bad("mode 0755: chmod 700".into());
        wrong(&|facts| facts.directories[0].1 = open(), ("permissions", Fail), "0755", "does not start");
        wrong(&|facts| facts.socket_mode = Some(("/s".into(), 0o666, true)), ("permissions", Fail), "0666", "chmod 600 /s");
        wrong(&|facts| facts.socket_mode = Some(("/s".into(), 0o600, false)), ("permissions", Warn), "somebody", "--socket");
        wrong(&|facts| facts.config.1 = Some("unknown key x".into()), ("configuration", Fail), "unknown key x", "mend");
        wrong(&|facts| facts.unit = Unit::Unknown("no bus".into()), ("systemd unit", Warn), "no bus", "login session");
        let linger = || Some(Linger { user: "ada".into(), enabled: false });
        wrong(&|facts| facts.linger = linger(), ("linger", Warn), "ada", "enable-linger ada");
        wrong(&|facts| facts.ptys.error = Some("no space".into()), ("ptys", Fail), "no space", "kernel.pty.max");
        wrong(&|facts| facts.ptys.used = Some(4000), ("ptys", Warn), "4000 of 4096", "kernel.pty.max");
        wrong(&|facts| facts.files_max = Some(1024), ("open files", Warn), "1024", "LimitNOFILE");
        let disk = |kind, read_only, free_bytes| Ok(Disk { kind, read_only, free_bytes });
        wrong(&|facts| facts.disk = disk(Kind::Local, true, 1 << 40), ("disk", Fail), "read-only", "--state-dir");
        wrong(&|facts| facts.disk = disk(Kind::Local, false, 1 << 20), ("disk", Fail), "1 MiB free", "make room");
        wrong(&|facts| facts.disk = disk(Kind::Local, false, 1 << 28), ("disk", Warn), "256 MiB free", "make room");
        wrong(&|facts| facts.disk = disk(Kind::Remote("nfs"), false, 1 << 40), ("disk", Warn), "on nfs", "local disk");
        wrong(&|facts| facts.disk = disk(Kind::Memory, false, 1 << 40), ("disk", Warn), "in memory", "reboot");
        wrong(&|facts| facts.disk = Err(std::io::ErrorKind::NotFound.into()), ("disk", Fail), "/state", "reached");
        wrong(&|facts| facts.now = UNIX_EPOCH, ("clock", Fail), "before", "timedatectl");
        let future = |facts: &mut Facts| facts.latest = Some(("/state/lock".into(), facts.now + Duration::from_secs(7200)));
        wrong(&future, ("clock", Warn), "2h in the future", "timedatectl");
        wrong(&|facts| facts.kernel = "5.4.0".into(), ("kernel", Fail), "5.4", "5.9");
        wrong(&|facts| facts.kernel = "6.1.0-13-amd64".into(), ("kernel", Warn), "unknown", "6.15");
        wrong(&|facts| facts.kernel = "odd".into(), ("kernel", Warn), "odd", "5.9");
    }

    fn shown(change: (&str, &str)) -> Check {
        let good = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nKillMode=process\nRestart=always\n\
                    OOMPolicy=continue\nStartLimitIntervalUSec=0\nFileDescriptorStoreMax=16384\n";
        let properties = good.lines().map(|line| match line.split_once('=') {
            Some((key, _)) if key == change.0 => format!("{key}={}\n", change.1),
            Some(_) | None => format!("{line}\n"),
        });
        unit(&Unit::Shown { user: true, properties: properties.collect() })
    }

    #[test]
    fn a_unit_that_would_end_terminals_fails() {
        assert_eq!(shown(("", "")).verdict, Verdict::Ok);
        assert!(shown(("LoadState", "not-found")).found.contains("own keeper"));
        for (key, value, mend) in [
            ("KillMode", "control-group", "KillMode=process"),
            ("Restart", "no", "Restart=always"),
            ("OOMPolicy", "stop", "OOMPolicy=continue"),
            ("StartLimitIntervalUSec", "10s", "StartLimitIntervalSec=0"),
            ("FileDescriptorStoreMax", "0", "FileDescriptorStoreMax="),
            ("ActiveState", "failed", "systemctl status"),
        ] {
            let check = shown((key, value));
            assert_eq!(check.verdict, Verdict::Fail, "{key}");
            assert!(check.mend.as_ref().unwrap().contains(mend), "{check:?}");
        }
        assert_eq!(shown(("UnitFileState", "disabled")).verdict, Verdict::Warn);
    }
}
