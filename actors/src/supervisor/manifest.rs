//! What should be: a record for each terminal, on disk.
//!
//! **Invariants.** An id is given once: the next one is stored together with the record that took the last. A record of a newer format is
//! refused, not guessed at; one of an older format is read, and the number of that stays until [`FormatNote::write`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::again::Again;
use crate::{
    Findings, Name, Size, TermId,
    log::store::{Store, StoreError, Tree},
    pty::{Exit, Fate},
};

pub use crate::pty::Restart;

const TREE: &str = "manifest";
const FORMAT_KEY: &[u8] = b"format";
const NEXT_ID_KEY: &[u8] = b"next-id";
const LINEAGE_KEY: &[u8] = b"lineage";
const RECORD_PREFIX: &[u8] = b"term/";
/// In front of the key of a record that did not decode.
const ASIDE_PREFIX: &[u8] = b"set-aside/";
/// The format that is written. It stands for the whole database: records, logs, events.
///
/// 2: checkpoints' pens are packed; marks are records of the log.
pub const FORMAT: u32 = 2;
/// The oldest that is read.
pub const FORMAT_MIN: u32 = 1;

/// What is known of one terminal, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: TermId,
    /// Its name.
    pub name: Name,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it started.
    pub cwd: PathBuf,
    /// What its environment has beyond the supervisor's.
    pub env: Vec<(String, String)>,
    /// Its size when its child was started last, or ended.
    pub size: Size,
    /// Whether its child is started again.
    pub restart: Restart,
    /// What its being started again has come to.
    #[serde(default)]
    pub again: Again,
    /// Where its child was last, by what its shell told and by what the kernel said; kept of one that may be started again.
    #[serde(default)]
    pub whereabouts: Vec<PathBuf>,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Chosen by who asked for it, so that asking again finds it.
    pub token: u64,
    /// Where it stands.
    pub state: State,
    /// Whether it has been asked to end.
    pub ending: bool,
    /// When it came to its end, milliseconds since the Unix epoch; absent as long as it has not, and where nobody wrote that down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Where its output stood when this was written.
    pub offset: u64,
    /// Whether its output goes to disk.
    #[serde(default = "yes")]
    pub logged: bool,
    /// What it was made from, if the configuration declared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Declaration>,
}

impl Record {
    /// A terminal that is to be made now: the user's shell, in `/`, of the usual size, logged, and not started again.
    pub fn new(id: TermId, name: Name) -> Self {
        Self {
            id,
            name,
            argv: Vec::new(),
            cwd: "/".into(),
            env: Vec::new(),
            size: Size::DEFAULT,
            restart: Restart::Never,
            again: Again::default(),
            whereabouts: Vec::new(),
            created_ms: now_ms(),
            token: 0,
            state: State::Creating,
            ending: false,
            ended_ms: None,
            offset: 0,
            logged: true,
            declared: None,
        }
    }

    /// Whether nothing runs, and nothing will.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Exited(_) | State::Lost)
    }
}

/// A terminal as the configuration declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// Its name when it is made.
    pub name: Name,
    /// Program and arguments; the user's shell if empty.
    pub argv: Vec<String>,
    /// Where it starts; the home directory if absent.
    pub cwd: Option<PathBuf>,
    /// What its environment has beyond the supervisor's.
    pub env: Vec<(String, String)>,
    /// Its size when it is made.
    pub size: Option<Size>,
    /// Whether its child is started again.
    #[serde(default)]
    pub restart: Restart,
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn yes() -> bool {
    true
}

/// Where a terminal stands, as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is to be: its command has not run yet.
    Creating,
    /// Its command runs, or has ended without that being known yet.
    Live,
    /// Its command came to its end so, and is to be run again: it has not been yet.
    Restarting(Fate),
    /// Its command has ended and all its output is in the journal.
    Exited(Exit),
    /// Its PTY is gone and took the end with it.
    Lost,
    /// It is to be forgotten.
    Removing,
}

impl From<Fate> for State {
    /// What a terminal is after that, for good.
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Ended(exit) => Self::Exited(exit),
            Fate::Lost => Self::Lost,
        }
    }
}

/// Why the manifest cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The database.
    #[error("the manifest cannot be read or written")]
    Store(#[from] StoreError),
    /// Another version wrote it.
    #[error("the manifest has format {found}; this version reads up to format {FORMAT}")]
    Format {
        /// As found.
        found: u32,
    },
    /// There is none in a database that is not new.
    #[error("the store has lost its manifest")]
    Missing,
}

/// The manifest on disk. Blocking: used on the executor's thread only.
#[derive(Debug)]
pub struct Manifest {
    tree: Tree,
}

impl Manifest {
    /// Opens the manifest, or begins one in a database that is new.
    ///
    /// # Errors
    /// [`ManifestError::Store`], [`ManifestError::Format`], [`ManifestError::Missing`].
    pub fn open(store: &Store) -> Result<Self, ManifestError> {
        let tree = store.tree(TREE);
        let format = tree.get(FORMAT_KEY)?;
        let is_number = |bytes: &Vec<u8>| bytes.len() == size_of::<u32>();
        match format.as_ref().filter(|bytes| is_number(bytes)).map(|bytes| number(bytes)) {
            Some(FORMAT_MIN..=FORMAT) => {}
            Some(found) => return Err(ManifestError::Format { found }),
            None if format.is_none() && !store.is_new() => return Err(ManifestError::Missing),
            // The state directory's own number was looked at before: this one is torn, and says nothing.
            None => FormatNote(tree.clone()).write()?,
        }
        Ok(Self { tree })
    }

    /// What says that the database is of this version's format from now on.
    pub fn format_note(&self) -> FormatNote {
        FormatNote(self.tree.clone())
    }

    /// Every record that decodes. One that does not is moved to where it harms nobody and can be looked at, and said so.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn load(&self, findings: &Findings) -> Result<BTreeMap<TermId, Record>, ManifestError> {
        let (mut records, mut moves) = (BTreeMap::new(), Vec::new());
        for (key, value) in self.tree.scan(RECORD_PREFIX)? {
            let why = match rmp_serde::from_slice::<Record>(&value) {
                Ok(record) if self::key(record.id) == key => {
                    records.insert(record.id, record);
                    continue;
                }
                Ok(record) => format!("it is of terminal {}", record.id),
                Err(error) => error.to_string(),
            };
            let aside = [ASIDE_PREFIX, &key].concat();
            let names = [&key, &aside].map(|key| String::from_utf8_lossy(key).into_owned());
            findings.note(format!("the manifest's record {} cannot be used and is set aside as {}: {why}", names[0], names[1]));
            moves.extend([(aside, Some(value)), (key, None)]);
        }
        if !moves.is_empty() {
            self.tree.write_through(moves)?;
        }
        Ok(records)
    }

    /// The terminals whose records were set aside, now or before: they are unknown, and their logs are not to be deleted for that.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn set_aside(&self) -> Result<BTreeSet<TermId>, ManifestError> {
        let entries = self.tree.scan(&[ASIDE_PREFIX, RECORD_PREFIX].concat())?;
        let id = |(key, _): &(Vec<u8>, Vec<u8>)| {
            String::from_utf8_lossy(&key[ASIDE_PREFIX.len() + RECORD_PREFIX.len()..]).parse().ok()
        };
        Ok(entries.iter().filter_map(id).map(TermId).collect())
    }

    /// Names the state directory, over all copies of it; `None` if it was never named.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn lineage(&self) -> Result<Option<u64>, ManifestError> {
        Ok(self.tree.get(LINEAGE_KEY)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))))
    }

    /// Names it; on disk when this returns.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn set_lineage(&self, lineage: u64) -> Result<(), ManifestError> {
        Ok(self.tree.write_through(vec![(LINEAGE_KEY.to_vec(), Some(lineage.to_be_bytes().to_vec()))])?)
    }

    /// The first id that was never given.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn next_id(&self) -> Result<TermId, ManifestError> {
        Ok(TermId(self.tree.get(NEXT_ID_KEY)?.map_or(1, |bytes| number(&bytes))))
    }

    /// Never gives an id below `next`, which others may have had before this manifest was begun; on disk when this returns.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn skip_to(&self, next: TermId) -> Result<(), ManifestError> {
        if next <= self.next_id()? {
            return Ok(());
        }
        Ok(self.tree.write_through(vec![(NEXT_ID_KEY.to_vec(), Some(next.0.to_be_bytes().to_vec()))])?)
    }

    /// Puts a record, on disk when this returns.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn put(&self, record: &Record) -> Result<(), ManifestError> {
        let value = rmp_serde::to_vec_named(record).expect("a record holds nothing that msgpack cannot");
        let next = self.next_id()?.0.max(record.id.0 + 1);
        let next = (NEXT_ID_KEY.to_vec(), Some(next.to_be_bytes().to_vec()));
        Ok(self.tree.write_through(vec![(key(record.id), Some(value)), next])?)
    }

    /// Forgets a record, on disk when this returns.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn delete(&self, id: TermId) -> Result<(), ManifestError> {
        Ok(self.tree.write_through(vec![(key(id), None)])?)
    }
}

/// See [`Manifest::format_note`].
#[derive(Debug, Clone)]
pub struct FormatNote(Tree);

impl FormatNote {
    /// Writes the format, on disk when this returns. Blocking.
    ///
    /// # Errors
    /// [`ManifestError::Store`].
    pub fn write(&self) -> Result<(), ManifestError> {
        if self.0.get(FORMAT_KEY)?.is_some_and(|bytes| number(&bytes) == FORMAT) {
            return Ok(());
        }
        Ok(self.0.write_through(vec![(FORMAT_KEY.to_vec(), Some(FORMAT.to_be_bytes().to_vec()))])?)
    }
}

fn key(id: TermId) -> Vec<u8> {
    [RECORD_PREFIX, format!("{:010}", id.0).as_bytes()].concat()
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u32, state: State) -> Record {
        let name = format!("t{id}").parse().unwrap();
        Record { env: vec![("A".into(), "b".into())], token: 2, state, offset: 3, ..Record::new(TermId(id), name) }
    }

    #[test]
    fn records_come_back_and_an_id_is_never_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let kept = [record(1, State::Exited(Exit::Code(3))), record(2, State::Live)];
        {
            let manifest = Manifest::open(&Store::open(dir.path()).unwrap()).unwrap();
            assert_eq!(manifest.next_id().unwrap(), TermId(1));
            kept.iter().for_each(|record| manifest.put(record).unwrap());
            manifest.put(&record(7, State::Creating)).unwrap();
            manifest.delete(TermId(7)).unwrap();
        }
        let manifest = Manifest::open(&Store::open(dir.path()).unwrap()).unwrap();
        assert_eq!(manifest.load(&Findings::default()).unwrap().into_values().collect::<Vec<_>>(), kept);
        assert_eq!(manifest.next_id().unwrap(), TermId(8));
    }

    #[test]
    fn another_format_and_a_broken_record_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let manifest = Manifest::open(&store).unwrap();
        let other = rmp_serde::to_vec_named(&record(6, State::Lost)).unwrap();
        manifest.tree.write(vec![(key(TermId(5)), Some(vec![0xc1])), (key(TermId(7)), Some(other))]).unwrap();
        let sixth = record(6, State::Live);
        manifest.put(&sixth).unwrap();
        let findings = Findings::default();
        for _ in 0..2 {
            let records = manifest.load(&findings).unwrap();
            assert_eq!(records.into_values().collect::<Vec<_>>(), std::slice::from_ref(&sixth));
            assert_eq!(manifest.set_aside().unwrap(), BTreeSet::from([TermId(5), TermId(7)]));
            let lines = findings.lines();
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(
                lines[0].contains("term/0000000005 cannot be used and is set aside as set-aside/term/0000000005: "),
                "{lines:?}"
            );
            assert!(lines[1].ends_with("it is of terminal 6"), "{lines:?}");
        }
        let number = |format: u32| {
            manifest.tree.write(vec![(FORMAT_KEY.to_vec(), Some(format.to_be_bytes().to_vec()))]).unwrap();
            Manifest::open(&store)
        };
        assert!(matches!(number(FORMAT + 1), Err(ManifestError::Format { found: 3 })));
        assert!(matches!(number(FORMAT_MIN - 1), Err(ManifestError::Format { found: 0 })));
        number(FORMAT_MIN).unwrap();
        assert_eq!(manifest.tree.get(FORMAT_KEY).unwrap(), Some(FORMAT_MIN.to_be_bytes().to_vec()));
        manifest.format_note().write().unwrap();
        assert_eq!(manifest.tree.get(FORMAT_KEY).unwrap(), Some(FORMAT.to_be_bytes().to_vec()));
        manifest.tree.write(vec![(FORMAT_KEY.to_vec(), Some(vec![7]))]).unwrap();
        assert_eq!(Manifest::open(&store).unwrap().load(&findings).unwrap().len(), 1);
        assert_eq!(manifest.tree.get(FORMAT_KEY).unwrap(), Some(FORMAT.to_be_bytes().to_vec()));
    }
}
