//! In which formats a kaval keeps what outlives it, and what becomes of what another version has left.
//!
//! ```text
//!   STATE_DIR/format   a number: of everything in there (records, blocks of output, checkpoints)
//!   journals           a number each, in memory that the keeper holds
//!   kaval formats      what this program reads and writes, as a line of JSON: asked of a binary before an upgrade to it
//! ```
//!
//! **Invariants.** What was written in a newer format ends the start before anything is opened, and nothing is changed. A number grows
//! whenever an older program would misread what is written. A newer program reads older ones, and writes nothing that the one before it
//! cannot read before it is ready: until then it may be replaced by that one.

use std::{
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use kaval_actors::{
    log::journal::{self, JournalFds},
    supervisor::manifest::{self, FormatNote},
};
use serde::{Deserialize, Serialize};

/// The file in the state directory that says in which format that is.
const FILE: &str = "format";

/// Why what there is cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// A newer version has written it.
    #[error(
        "state directory {path:?} has format {found}, and this version of kaval, {}, reads up to format {newest}: nothing was changed; \
         start a newer kaval, or give this one another --state-dir",
        env!("CARGO_PKG_VERSION")
    )]
    NewerState {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: String,
        /// The newest that is read.
        newest: u64,
    },
    /// A newer version has written it.
    #[error(
        "a journal that was kept has format {found}, and this version of kaval, {}, reads up to format {newest}: nothing was changed; \
         start a newer kaval",
        env!("CARGO_PKG_VERSION")
    )]
    NewerJournal {
        /// Its format.
        found: u64,
        /// The newest that is read.
        newest: u64,
    },
    /// It cannot be read, or written.
    #[error("the format of state directory {path:?} cannot be read or written")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The formats that a program reads of one thing; it writes the newest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reads {
    pub(super) oldest: u64,
    pub(super) newest: u64,
}

impl Reads {
    fn range(self) -> RangeInclusive<u64> {
        self.oldest..=self.newest
    }
}

/// What a program reads and writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Formats {
    /// The program's version.
    pub(super) kaval: String,
    /// The state directory.
    pub(super) state: Reads,
    /// Journals.
    pub(super) journal: Reads,
}

impl Formats {
    /// This program's.
    pub(super) fn own() -> Self {
        Self {
            kaval: env!("CARGO_PKG_VERSION").to_owned(),
            state: Reads { oldest: manifest::FORMAT_MIN.into(), newest: manifest::FORMAT.into() },
            journal: Reads { oldest: journal::FORMAT, newest: journal::FORMAT },
        }
    }

    /// What `other` has written that this program cannot read, if there is anything.
    pub(super) fn unread(&self, other: &Self) -> Option<String> {
        let things = [("state", self.state, other.state), ("journals", self.journal, other.journal)];
        things.into_iter().find(|(_, reads, other)| !reads.range().contains(&other.newest)).map(|(what, reads, other)| {
            let Reads { oldest, newest } = reads;
            format!("it reads {what} of the formats {oldest} to {newest}, and those here have format {}", other.newest)
        })
    }
}

/// The line that `kaval formats` prints.
pub fn line() -> String {
    serde_json::json!(Formats::own()).to_string()
}

/// Refuses a state directory of a newer format.
///
/// # Errors
/// [`FormatError`]; nothing was changed.
pub(super) fn check_state(dir: &Path) -> Result<(), FormatError> {
    let text = match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(FormatError::Io { path: dir.to_owned(), source }),
    };
    let newest = Formats::own().state.newest;
    match text.trim() {
        // A crash of the machine may leave the name without what was written.
        "" => Ok(()),
        text if text.parse::<u64>().is_ok_and(|found| found <= newest) => Ok(()),
        found => Err(FormatError::NewerState { path: dir.to_owned(), found: found.to_owned(), newest }),
    }
}

/// Writes down that a state directory is of this program's format from now on. Blocking.
///
/// # Errors
/// [`FormatError::Io`], [`manifest::ManifestError`].
pub(super) fn note(dir: &Path, manifest: &FormatNote) -> anyhow::Result<()> {
    note_state(dir)?;
    Ok(manifest.write()?)
}

fn note_state(dir: &Path) -> Result<(), FormatError> {
    let text = format!("{}\n", Formats::own().state.newest);
    let file = dir.join(FILE);
    if fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let new = dir.join(format!("{FILE}.new"));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
    written.map_err(|source| FormatError::Io { path: dir.to_owned(), source })
}

/// Refuses journals of a newer format.
///
/// # Errors
/// [`FormatError`]; nothing was changed.
pub(super) fn check_journals<'a>(journals: impl Iterator<Item = &'a JournalFds>) -> Result<(), FormatError> {
    let newest = Formats::own().journal.newest;
    match journals.filter_map(JournalFds::format).find(|found| *found > newest) {
        Some(found) => Err(FormatError::NewerJournal { found, newest }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(state: (u64, u64), journal: (u64, u64)) -> Formats {
        let reads = |(oldest, newest)| Reads { oldest, newest };
        Formats { kaval: "1.2.3".to_owned(), state: reads(state), journal: reads(journal) }
    }

    #[test]
    fn what_is_written_here_has_to_be_read_there() {
        let here = formats((2, 3), (1, 1));
        for reader in [formats((3, 3), (1, 1)), formats((1, 4), (1, 7)), here.clone()] {
            assert_eq!(reader.unread(&here), None, "{reader:?}");
        }
        let older = formats((1, 2), (1, 1)).unread(&here).unwrap();
        assert_eq!(older, "it reads state of the formats 1 to 2, and those here have format 3");
        assert!(formats((4, 5), (1, 1)).unread(&here).is_some());
        assert!(formats((2, 3), (2, 2)).unread(&here).is_some_and(|text| text.starts_with("it reads journals")));
    }

    #[test]
    fn the_line_is_read_back() {
        assert_eq!(serde_json::from_str::<Formats>(&line()).unwrap(), Formats::own());
    }

    #[test]
    fn a_newer_state_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        check_state(dir.path()).unwrap();
        note_state(dir.path()).unwrap();
        check_state(dir.path()).unwrap();
        for newer in ["3\n", "99999999999999999999", "later"] {
            fs::write(dir.path().join(FILE), newer).unwrap();
            let error = check_state(dir.path()).unwrap_err().to_string();
            assert!(
                error.contains(&format!("has format {}", newer.trim())) && error.contains("nothing was changed"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), newer);
        }
        fs::write(dir.path().join(FILE), "").unwrap();
        check_state(dir.path()).unwrap();
    }
}
