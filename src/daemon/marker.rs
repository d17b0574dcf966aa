//! The marker in the state directory: written at the start, replaced at the end, so that the next supervisor knows how this one ended.
//!
//! **Invariants.** It is replaced as a whole, never half. One that cannot be written costs the next supervisor that knowledge, and nobody
//! the start.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
};

use super::{
    logging,
    previous::{Found, Marker, Now, OomCount, PreviousEnd, Seen, Stage, Witness, decide},
};

/// The marker's file name.
const NAME: &str = "last-run.json";
/// Set by the keeper: how the supervisor before ended.
const WITNESS: &str = "KAVAL_PREVIOUS_END";

/// A supervisor that runs. Dropped, it is written down as failed; or as panicked, if its thread is unwinding.
pub(super) struct Running {
    state_dir: PathBuf,
    marker: Marker,
    end: Stage,
}

impl Running {
    /// Reads how the supervisor before ended, and writes down that this one runs. To be called under the state directory's lock.
    pub(super) fn begin(state_dir: &Path) -> (Self, PreviousEnd) {
        let now = Now { boot: boot_id(), oom: oom_count() };
        let witness = env::var(WITNESS).ok().and_then(|text| text.parse::<Witness>().ok());
        let previous = decide(&read(state_dir), witness, &now);
        let marker = Marker {
            format: Marker::FORMAT,
            boot: now.boot,
            pid: std::process::id(),
            stage: Stage::Running,
            oom: now.oom,
            seen: None,
        };
        write_or_warn(state_dir, &marker);
        (Self { state_dir: state_dir.to_owned(), marker, end: Stage::Failed }, previous)
    }

    /// Ended as told.
    pub(super) fn ended_clean(mut self) {
        self.end = Stage::Clean;
    }

    /// Ended by a panic in another thread than the main one.
    pub(super) fn panicked(mut self) {
        self.end = Stage::Panic(logging::last_panic());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, Stage::Failed);
        self.marker.stage = if thread::panicking() { Stage::Panic(logging::last_panic()) } else { end };
        write_or_warn(&self.state_dir, &self.marker);
    }
}

/// Adds what systemd has seen of the supervisor's end to its marker: what `ExecStopPost=` runs.
///
/// # Errors
/// When there is no marker, or it cannot be written.
pub(super) fn note_end(state_dir: &Path) -> io::Result<()> {
    let variable = |name| env::var(name).unwrap_or_default();
    let (result, code) = (variable("SERVICE_RESULT"), variable("EXIT_CODE"));
    let Found::Marker(marker) = read(state_dir) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no supervisor has run on {state_dir:?}")));
    };
    write(state_dir, &Marker { seen: Seen::by_systemd(&result, &code, &variable("EXIT_STATUS")), ..marker })
}

fn read(state_dir: &Path) -> Found {
    match fs::read(state_dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(_) => Found::Garbage,
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(marker @ Marker { format: Marker::FORMAT, .. }) => Found::Marker(marker),
            Ok(Marker { .. }) | Err(_) => Found::Garbage,
        },
    }
}

fn write(state_dir: &Path, marker: &Marker) -> io::Result<()> {
    let new = state_dir.join(format!("{NAME}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(marker)?)?;
    fs::rename(new, state_dir.join(NAME))
}

fn write_or_warn(state_dir: &Path, marker: &Marker) {
    if let Err(error) = write(state_dir, marker) {
        tracing::warn!(%error, "the next supervisor will not know how this one ended");
    }
}

/// Changes with every boot of the machine.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The out-of-memory kills of this process's cgroup, where there is a cgroup v2 with a memory controller.
fn oom_count() -> Option<OomCount> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let events = fs::read_to_string(format!("/sys/fs/cgroup{cgroup}/memory.events")).ok()?;
    Some(OomCount { kills: kills(&events)?, cgroup })
}

fn kills(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_found_among_its_like() {
        assert_eq!(kills("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n"), Some(4));
        assert_eq!(kills("low 0\n"), None);
    }

    #[test]
    fn a_life_is_written_down_from_its_start_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (running, previous) = Running::begin(dir.path());
        assert_eq!(previous, PreviousEnd::FirstStart);
        assert!(matches!(read(dir.path()), Found::Marker(Marker { stage: Stage::Running, .. })));
        running.ended_clean();
        let (running, previous) = Running::begin(dir.path());
        assert_eq!(previous, PreviousEnd::Clean);
        drop(running);
        let (running, previous) = Running::begin(dir.path());
        assert_eq!(previous, PreviousEnd::Exit(1));
        std::mem::forget(running);
        assert_eq!(Running::begin(dir.path()).1, PreviousEnd::Unknown);
    }

    #[test]
    fn an_unwinding_thread_leaves_a_panic_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let panicked = thread::spawn(move || {
            let _running = Running::begin(&path).0;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(matches!(Running::begin(dir.path()).1, PreviousEnd::Panic(_)));
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_unknown_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for garbage in ["", "{}", r#"{"format":2,"boot":"","pid":1,"stage":"running","oom":null}"#] {
            fs::write(dir.path().join(NAME), garbage).unwrap();
            let (running, previous) = Running::begin(dir.path());
            assert_eq!(previous, PreviousEnd::Unknown, "{garbage:?}");
            running.ended_clean();
            assert_eq!(Running::begin(dir.path()).1, PreviousEnd::Clean);
        }
    }
}
