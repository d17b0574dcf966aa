//! What is written down for whoever has to find out where memory went: in a directory that was named for it, and bounded.
//!
//! ```text
//!   after `baseline_after` ─► baseline-TIME.txt           every `every` ─► diag.log (and diag.log.1, the one before)
//!   at 80, 90, 95 % of the limit ─► near-limit-PERCENT-TIME.txt, the largest terminals, and .pb.gz, a profile of the heap
//! ```
//!
//! **Invariant.** At most [`KEPT`] of each kind are kept, the newest. What cannot be written is told in the log and changes nothing else.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytesize::ByteSize;
use kaval_actors::registry::{Figures, Listing};

use super::Used;

/// Reports of a kind that are kept.
const KEPT: usize = 4;
/// Bytes of a log before it is put aside for the next.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Terminals in a report.
const LARGEST: usize = 20;
/// Where reports are written, in percent of the limit.
const THRESHOLDS: [u64; 3] = [95, 90, 80];
/// How far below the lowest memory has to be before they are written again.
const REARMED_BELOW: u64 = 70;

/// The threshold that was reached now, and not since memory was last low; `told` is the last one, or 0.
pub(super) fn threshold(told: &mut u64, used: u64, limit: u64) -> Option<u64> {
    let percent = used.saturating_mul(100) / limit.max(1);
    if percent < REARMED_BELOW {
        *told = 0;
    }
    let reached = THRESHOLDS.into_iter().find(|threshold| percent >= *threshold && *threshold > *told)?;
    *told = reached;
    Some(reached)
}

/// A report, as people read it.
pub(super) fn report(
    time: &str,
    used: Used,
    limit: Option<u64>,
    figures: &Figures,
    growth: i64,
    mut terms: Vec<Listing>,
) -> String {
    let mut text = format!("{time}\n{}\n\n", line(used, limit, figures, growth));
    let parts = figures.memory.parts().map(|(part, bytes)| format!("{part} {}", ByteSize(bytes)));
    let _ = writeln!(text, "terminals: {}", parts.join(", "));
    let _ = writeln!(text, "log: {}, base: {}\n", ByteSize(used.log), ByteSize(figures.base_bytes));
    terms.sort_by_key(|term| std::cmp::Reverse(term.memory().total()));
    let shown = terms.len().min(LARGEST);
    let _ = writeln!(text, "the {shown} largest of {} terminals:", terms.len());
    for term in &terms[..shown] {
        let parts = term.memory().parts().map(|(part, bytes)| format!("{part} {}", ByteSize(bytes)));
        let (total, name, id) = (ByteSize(term.memory().total()), &term.card.name, term.card.id);
        let _ = writeln!(text, "  {total:>8} {name} ({id}): {}", parts.join(", "));
    }
    text
}

/// A line for the log.
pub(super) fn line(used: Used, limit: Option<u64>, figures: &Figures, growth: i64) -> String {
    let states = figures.states().map(|(state, terms)| format!("{terms} {state}")).join(", ");
    let limit = limit.map_or_else(|| "none".to_owned(), |limit| ByteSize(limit).to_string());
    let (heap, resident, own) = (ByteSize(used.heap), ByteSize(used.resident), ByteSize(used.own));
    format!("heap {heap}, resident {resident}, used {own} of {limit}; {states}; growth {:.1} MB/min", growth as f64 / 1e6)
}

/// See the module's head.
#[derive(Debug, Clone)]
pub(super) struct Diag {
    dir: PathBuf,
}

impl Diag {
    /// In that directory, which is made.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Appends to the log.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn log(&self, line: &str) -> io::Result<()> {
        let path = self.dir.join("diag.log");
        if path.metadata().is_ok_and(|file| file.len() > LOG_BYTES_MAX) {
            fs::rename(&path, self.dir.join("diag.log.1"))?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Writes a file of a kind, and removes the oldest that are too many.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn write(&self, kind: &str, name: &str, contents: &[u8]) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, contents)?;
        let extension = path.extension().map(ToOwned::to_owned);
        let is_of_kind = |other: &Path| {
            let named = other.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind));
            named && other.extension() == extension.as_deref()
        };
        let entries = fs::read_dir(&self.dir)?.flatten().map(|entry| entry.path());
        let mut files: Vec<_> = entries.filter(|other| is_of_kind(other)).map(|other| (written(&other), other)).collect();
        files.sort();
        for (_, old) in &files[..files.len().saturating_sub(KEPT)] {
            fs::remove_file(old)?;
        }
        Ok(path)
    }
}

fn written(file: &Path) -> Option<std::time::SystemTime> {
    file.metadata().and_then(|file| file.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_is_told_once_until_memory_was_low() {
        let mut told = 0;
        let mut at = |percent: u64| threshold(&mut told, percent, 100);
        assert_eq!([79, 81, 85, 79, 91, 96, 99].map(&mut at), [None, Some(80), None, None, Some(90), Some(95), None]);
        assert_eq!([72, 85, 69, 97, 96].map(&mut at), [None, None, None, Some(95), None]);
    }

    #[test]
    fn only_the_newest_of_a_kind_are_kept_and_the_log_is_put_aside_when_it_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let diag = Diag::open(dir.path().join("diag")).unwrap();
        let names = |start: &str| {
            let entries = fs::read_dir(dir.path().join("diag")).unwrap().flatten();
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start)).count()
        };
        for n in 0..10 {
            diag.write("near-limit", &format!("near-limit-80-{n}.txt"), b"x").unwrap();
            diag.write("near-limit", &format!("near-limit-80-{n}.pb.gz"), b"x").unwrap();
            diag.write("baseline", &format!("baseline-{n}.txt"), b"x").unwrap();
        }
        assert_eq!((names("near-limit"), names("baseline")), (2 * KEPT, KEPT));
        for _ in 0..3 {
            diag.log(&"x".repeat(LOG_BYTES_MAX as usize)).unwrap();
        }
        assert_eq!(names("diag.log"), 2);
    }
}
