//! How the supervisor before this one ended, from what it wrote down, what its parent saw, and what the kernel counted. Pure.
//!
//! ```text
//!   marker in the state directory ──┐   running, clean, failed or panic; its boot, its pid, its out-of-memory count
//!   parent: keeper or systemd ──────┼─► decide ─► PreviousEnd ─► log, status, event, counter
//!   boot and cgroup now ────────────┘
//! ```
//!
//! **Invariants.** What the parent saw is about one process id, and a marker of another one does not speak of it. A guess is not made: a
//! supervisor that ended without a word and without a witness is `unknown`. `signal 9` becomes `out of memory` only if the kernel
//! counted such a kill in the same cgroup since; a child's that fell into the same life cannot be told from it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use signal_hook::low_level::signal_name;

/// The exit code of a Rust program whose main thread panicked.
const EXIT_PANICKED: i32 = 101;
/// Signals that a process can die of by name.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=31;

/// How the supervisor before this one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviousEnd {
    /// There was none.
    FirstStart,
    /// It was told to end, and did.
    Clean,
    /// This signal ended it.
    Signal(i32),
    /// It gave up with this code: its log says why.
    Exit(i32),
    /// A panic, there if it was written down.
    Panic(Option<String>),
    /// It hung, and its parent's watchdog ended it.
    Watchdog,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// The machine ended under it.
    Reboot,
    /// Nobody saw it.
    Unknown,
}

impl PreviousEnd {
    /// Every kind of end that is counted. All of them are shown from the start: of a counter that first appears as 1 nobody sees the increase.
    pub const CAUSES: [&'static str; 8] =
        ["clean", "signal", "exit", "panic", "watchdog", "out_of_memory", "reboot", "unknown"];

    /// The kind, in words that stay: a metric's label.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::FirstStart => "first_start",
            Self::Clean => "clean",
            Self::Signal(_) => "signal",
            Self::Exit(_) => "exit",
            Self::Panic(_) => "panic",
            Self::Watchdog => "watchdog",
            Self::OutOfMemory => "out_of_memory",
            Self::Reboot => "reboot",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for PreviousEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart => f.write_str("first start"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Panic(Some(place)) => write!(f, "panic at {place}"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::Clean | Self::Panic(None) | Self::Watchdog | Self::Reboot | Self::Unknown => f.write_str(self.cause()),
        }
    }
}

/// What a supervisor writes down about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// [`Marker::FORMAT`].
    pub(super) format: u32,
    /// The kernel's boot id.
    pub(super) boot: String,
    /// Its process id.
    pub(super) pid: u32,
    /// How it stands with it.
    pub(super) stage: Stage,
    /// The kernel's count when it started.
    pub(super) oom: Option<OomCount>,
    /// What systemd saw of its end.
    #[serde(default)]
    pub(super) seen: Option<Seen>,
}

impl Marker {
    /// The one format there is.
    pub(super) const FORMAT: u32 = 1;
}

/// How far a supervisor came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It runs, or was ended from outside.
    Running,
    /// It ended as told.
    Clean,
    /// It ended with an error.
    Failed,
    /// A panic that could not be caught ended it: there.
    Panic(Option<String>),
}

/// What a parent saw of a process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Seen {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// The parent ended it, as it did not give a sign of life.
    Watchdog,
    /// The kernel ended it for want of memory.
    OutOfMemory,
}

/// What the keeper says of the one before: `PID exit CODE` or `PID signal NUMBER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    /// Whose end.
    pub(super) pid: u32,
    /// How.
    pub(super) seen: Seen,
}

/// [`Witness`]es are written by the keeper only.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form PID exit CODE or PID signal NUMBER")]
pub(super) struct WitnessError;

impl FromStr for Witness {
    type Err = WitnessError;

    fn from_str(text: &str) -> Result<Self, WitnessError> {
        let words: Vec<&str> = text.split(' ').collect();
        let [pid, how, number] = words[..] else { return Err(WitnessError) };
        let (pid, number) = (pid.parse().map_err(|_| WitnessError)?, number.parse().map_err(|_| WitnessError)?);
        match how {
            "exit" => Ok(Self { pid, seen: Seen::Exit(number) }),
            "signal" => Ok(Self { pid, seen: Seen::Signal(number) }),
            _ => Err(WitnessError),
        }
    }
}

impl Seen {
    /// What systemd tells those that run after a service's end: `SERVICE_RESULT`, `EXIT_CODE` and `EXIT_STATUS` (systemd.exec(5)).
    pub(super) fn by_systemd(result: &str, code: &str, status: &str) -> Option<Self> {
        match (result, code) {
            ("watchdog", _) => Some(Self::Watchdog),
            ("oom-kill", _) => Some(Self::OutOfMemory),
            (_, "exited") => status.parse().ok().map(Self::Exit),
            (_, "killed" | "dumped") => signal_number(status).map(Self::Signal),
            (_, _) => None,
        }
    }
}

/// `KILL` is 9.
fn signal_number(name: &str) -> Option<i32> {
    SIGNALS.into_iter().find(|number| signal_name(*number).and_then(|known| known.strip_prefix("SIG")) == Some(name))
}

/// How often the kernel has killed in a cgroup for want of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OomCount {
    /// The cgroup, as in `/proc/self/cgroup`.
    pub(super) cgroup: String,
    /// Kills since it was made.
    pub(super) kills: u64,
}

impl OomCount {
    fn has_risen_since(&self, before: &Self) -> bool {
        self.cgroup == before.cgroup && self.kills > before.kills
    }
}

/// The machine as this supervisor finds it.
#[derive(Debug, Clone)]
pub(super) struct Now {
    /// The kernel's boot id.
    pub(super) boot: String,
    /// The kernel's count in this process's cgroup, if it has one.
    pub(super) oom: Option<OomCount>,
}

/// The marker as it was found.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// It cannot be read.
    Garbage,
    /// It says this.
    Marker(Marker),
}

/// Puts together what is known.
pub(super) fn decide(found: &Found, witness: Option<Witness>, now: &Now) -> PreviousEnd {
    let marker = match found {
        Found::Nothing if witness.is_none() => return PreviousEnd::FirstStart,
        Found::Nothing | Found::Garbage => None,
        Found::Marker(marker) => Some(marker),
    };
    let own = marker.filter(|marker| witness.is_none_or(|witness| witness.pid == marker.pid));
    let seen = witness.map(|witness| witness.seen).or_else(|| own.and_then(|marker| marker.seen));
    match (own.map(|marker| &marker.stage), seen) {
        (Some(Stage::Clean), _) => PreviousEnd::Clean,
        (Some(Stage::Panic(place)), _) => PreviousEnd::Panic(place.clone()),
        (Some(Stage::Running | Stage::Failed) | None, Some(seen)) => by_witness(seen, marker, now),
        (Some(Stage::Failed), None) => PreviousEnd::Exit(1),
        (Some(Stage::Running), None) if own.is_some_and(|marker| marker.boot != now.boot) => PreviousEnd::Reboot,
        (Some(Stage::Running) | None, None) => PreviousEnd::Unknown,
    }
}

fn by_witness(seen: Seen, marker: Option<&Marker>, now: &Now) -> PreviousEnd {
    let before = marker.and_then(|marker| marker.oom.as_ref());
    let starved = before.zip(now.oom.as_ref()).is_some_and(|(before, now)| now.has_risen_since(before));
    match seen {
        Seen::Exit(0) => PreviousEnd::Clean,
        Seen::Exit(EXIT_PANICKED) => PreviousEnd::Panic(None),
        Seen::Exit(code) => PreviousEnd::Exit(code),
        Seen::Signal(libc::SIGKILL) if starved => PreviousEnd::OutOfMemory,
        Seen::Signal(signal) => PreviousEnd::Signal(signal),
        Seen::Watchdog => PreviousEnd::Watchdog,
        Seen::OutOfMemory => PreviousEnd::OutOfMemory,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn count(kills: u64) -> Option<OomCount> {
        Some(OomCount { cgroup: "/user.slice".to_owned(), kills })
    }

    fn marker(stage: Stage) -> Marker {
        Marker { format: Marker::FORMAT, boot: "this".to_owned(), pid: 7, stage, oom: count(3), seen: None }
    }

    fn seen(pid: u32, seen: Seen) -> Option<Witness> {
        Some(Witness { pid, seen })
    }

    #[test]
    fn every_combination_of_marker_witness_and_kernel_has_its_cause() {
        use PreviousEnd as P;
        let place = || Some("src/x.rs:1:2".to_owned());
        let now = Now { boot: "this".to_owned(), oom: count(3) };
        let starved = Now { boot: "this".to_owned(), oom: count(4) };
        let moved = Now { boot: "this".to_owned(), oom: Some(OomCount { cgroup: "/other".to_owned(), kills: 9 }) };
        let rebooted = Now { boot: "next".to_owned(), oom: None };
        let kill = Seen::Signal(libc::SIGKILL);
        let at = |stage| Found::Marker(marker(stage));
        let noted = |stage, seen| Found::Marker(Marker { seen: Some(seen), ..marker(stage) });
        let cases = [
            (Found::Nothing, None, &now, P::FirstStart),
            (Found::Nothing, seen(7, kill), &now, P::Signal(9)),
            (Found::Garbage, None, &now, P::Unknown),
            (Found::Garbage, seen(7, Seen::Exit(3)), &now, P::Exit(3)),
            (at(Stage::Clean), None, &now, P::Clean),
            (at(Stage::Clean), None, &rebooted, P::Clean),
            (at(Stage::Clean), seen(7, kill), &now, P::Clean),
            (at(Stage::Clean), seen(8, kill), &now, P::Signal(9)),
            (at(Stage::Clean), seen(8, Seen::Exit(0)), &now, P::Clean),
            (at(Stage::Running), None, &now, P::Unknown),
            (at(Stage::Running), None, &starved, P::Unknown),
            (at(Stage::Running), None, &rebooted, P::Reboot),
            (at(Stage::Running), seen(7, kill), &now, P::Signal(9)),
            (at(Stage::Running), seen(7, kill), &starved, P::OutOfMemory),
            (at(Stage::Running), seen(8, kill), &starved, P::OutOfMemory),
            (at(Stage::Running), seen(7, kill), &moved, P::Signal(9)),
            (at(Stage::Running), seen(7, Seen::Signal(libc::SIGSEGV)), &starved, P::Signal(11)),
            (at(Stage::Running), seen(7, Seen::Exit(EXIT_PANICKED)), &now, P::Panic(None)),
            (noted(Stage::Running, Seen::Watchdog), None, &now, P::Watchdog),
            (noted(Stage::Running, Seen::OutOfMemory), None, &now, P::OutOfMemory),
            (noted(Stage::Running, kill), None, &starved, P::OutOfMemory),
            (noted(Stage::Running, kill), None, &rebooted, P::Signal(9)),
            (noted(Stage::Clean, Seen::Exit(0)), None, &now, P::Clean),
            (at(Stage::Failed), None, &now, P::Exit(1)),
            (at(Stage::Failed), seen(7, Seen::Exit(1)), &now, P::Exit(1)),
            (at(Stage::Panic(place())), seen(7, Seen::Exit(1)), &now, P::Panic(place())),
            (at(Stage::Panic(None)), None, &now, P::Panic(None)),
        ];
        let causes: BTreeSet<_> =
            cases.iter().map(|case| case.3.cause()).filter(|cause| *cause != P::FirstStart.cause()).collect();
        assert_eq!(causes, BTreeSet::from(P::CAUSES));
        for (found, witness, now, expected) in cases {
            assert_eq!(decide(&found, witness, now), expected, "{found:?}, {witness:?}");
        }
    }

    #[test]
    fn what_the_keeper_says_is_read_and_nothing_else() {
        assert_eq!("7 exit 3".parse(), Ok(Witness { pid: 7, seen: Seen::Exit(3) }));
        assert_eq!("7 signal 9".parse(), Ok(Witness { pid: 7, seen: Seen::Signal(9) }));
        for bad in ["", "7", "7 exit", "x exit 3", "7 exit y", "7 ended 3", "7 exit 3 4", "-7 exit 3"] {
            assert_eq!(bad.parse::<Witness>(), Err(WitnessError), "{bad:?}");
        }
    }

    #[test]
    fn what_systemd_says_is_read_and_nothing_else() {
        for (result, code, status, expected) in [
            ("success", "exited", "0", Some(Seen::Exit(0))),
            ("exit-code", "exited", "3", Some(Seen::Exit(3))),
            ("signal", "killed", "KILL", Some(Seen::Signal(9))),
            ("core-dump", "dumped", "SEGV", Some(Seen::Signal(11))),
            ("watchdog", "dumped", "ABRT", Some(Seen::Watchdog)),
            ("oom-kill", "killed", "KILL", Some(Seen::OutOfMemory)),
            ("signal", "killed", "RTMIN+3", None),
            ("resources", "", "", None),
        ] {
            assert_eq!(Seen::by_systemd(result, code, status), expected, "{result}");
        }
    }

    #[test]
    fn an_end_reads_as_people_say_it() {
        let place = Some("src/x.rs:1:2".to_owned());
        for (end, text) in [
            (PreviousEnd::FirstStart, "first start"),
            (PreviousEnd::Clean, "clean"),
            (PreviousEnd::Signal(9), "signal 9"),
            (PreviousEnd::Exit(1), "exit code 1"),
            (PreviousEnd::Panic(None), "panic"),
            (PreviousEnd::Panic(place), "panic at src/x.rs:1:2"),
            (PreviousEnd::OutOfMemory, "out of memory"),
            (PreviousEnd::Unknown, "unknown"),
        ] {
            assert_eq!(end.to_string(), text);
        }
    }
}
