//! Opening the database: one that is damaged is set aside, and what it knew of terminals that live is found out again.
//!
//! **Invariant.** Only damage sets a database aside. A disk that is full, read-only or away is an error that ends the start and touches
//! nothing: the keeper holds the terminals and tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use kaval_actors::{
    Name, TermId,
    log::store::{Store, StoreError},
    supervisor::{
        inventory::Descriptors,
        manifest::{Manifest, ManifestError, Record},
        rescue::rescue,
    },
};

use crate::vitals;

/// How long a store's lock is waited for: a child of the supervisor before this one may hold it between its fork and its exec.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// What was found.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) manifest: Manifest,
    pub(super) records: BTreeMap<TermId, Record>,
    pub(super) next_id: TermId,
    /// Terminals that have a log and no record, since that did not decode.
    pub(super) unknown: BTreeSet<TermId>,
    /// It is a new one, in place of one that was damaged.
    pub(super) renewed: bool,
}

/// Opens the database in `path`, or a new one in its place.
///
/// # Errors
/// When the disk does not let it.
pub(super) fn open(path: &Path, held: &mut BTreeMap<TermId, Descriptors>) -> anyhow::Result<Opened> {
    let mut opened = open_or_begin(path)?;
    let held_last = held.keys().next_back().copied();
    for (id, held) in held {
        let is_taken = |name: &Name| opened.records.values().any(|record| record.name == *name);
        if !opened.records.contains_key(id)
            && let Some(record) = rescue(*id, held, is_taken)
        {
            tracing::warn!(%id, name = %record.name, "a terminal without a record lives: it is taken back");
            opened.manifest.put(&record)?;
            opened.records.insert(*id, record);
            opened.renewed = true;
        }
    }
    opened.next_id = opened.next_id.max(after(held_last));
    Ok(opened)
}

/// The first id behind one that was given.
pub(super) fn after(given: Option<TermId>) -> TermId {
    given.map_or(TermId(1), |last| TermId(last.0 + 1))
}

fn open_or_begin(path: &Path) -> anyhow::Result<Opened> {
    if !path.exists() {
        return if place(path)? {
            Ok(Opened { renewed: true, ..open_whole(path)? })
        } else {
            begin(path, &BTreeMap::new(), TermId(1))
        };
    }
    match open_whole(path) {
        Ok(opened) if Store::is_condemned(path) => {
            let Opened { records, next_id, .. } = opened;
            Ok(Opened { renewed: true, ..begin(path, &records, next_id)? })
        }
        Err(error) if is_damage(&error) => {
            tracing::error!(error = error.as_ref() as &dyn std::error::Error, "the store does not open");
            Ok(Opened { renewed: true, ..begin(path, &BTreeMap::new(), TermId(1))? })
        }
        result => result,
    }
}

/// Begins a database with those records in `path`, and sets aside what is there. A kill leaves the old one or the new one, whole:
///
/// ```text
///   .making ──► .new      PATH ──► .damaged-TIME      .new ──► PATH
/// ```
fn begin(path: &Path, records: &BTreeMap<TermId, Record>, next_id: TermId) -> anyhow::Result<Opened> {
    let (making, new) = (path.with_extension("making"), path.with_extension("new"));
    for left in [&making, &new].into_iter().filter(|left| left.exists()) {
        fs::remove_dir_all(left).context("what is left of an earlier beginning cannot be removed")?;
    }
    {
        let manifest = open_whole(&making)?.manifest;
        records.values().try_for_each(|record| manifest.put(record))?;
        manifest.skip_to(next_id)?;
    }
    fs::rename(&making, &new).context("a new store cannot be made")?;
    if path.exists() {
        let aside = Store::set_aside(path).context("a damaged store cannot be set aside")?;
        tracing::error!(aside = %aside.display(), "the store is damaged and was set aside: history begins anew");
    }
    place(path)?;
    open_whole(path)
}

/// Puts a new database in its place, if there is one.
fn place(path: &Path) -> anyhow::Result<bool> {
    let new = path.with_extension("new");
    if !new.exists() {
        return Ok(false);
    }
    fs::rename(new, path).context("the new store cannot be put in its place")?;
    Ok(true)
}

fn open_whole(path: &Path) -> anyhow::Result<Opened> {
    let store = open_patiently(path)?;
    let manifest = Manifest::open(&store)?;
    let (records, next_id, unknown) = (manifest.load()?, manifest.next_id()?, manifest.set_aside()?);
    Ok(Opened { store, manifest, records, next_id, unknown, renewed: false })
}

fn open_patiently(path: &Path) -> Result<Store, StoreError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match open_apart(path) {
            Err(error) if !error.is_damage() && Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            result => return result,
        }
    }
}

/// Opens it on a thread whose memory counts as the log's: the database's own is most of that.
fn open_apart(path: &Path) -> Result<Store, StoreError> {
    let open = || {
        vitals::count_as_log();
        Store::open(path)
    };
    thread::scope(|scope| scope.spawn(open).join()).unwrap_or(Err(StoreError::Panicked { what: "opened" }))
}

/// Whether the fault is in what is stored, rather than in the disk or the way to it.
fn is_damage(error: &anyhow::Error) -> bool {
    let store = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>());
    let manifest = error.downcast_ref::<ManifestError>();
    store.is_some_and(StoreError::is_damage) || matches!(manifest, Some(ManifestError::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_id(path: &Path) -> TermId {
        let opened = open(path, &mut BTreeMap::new()).unwrap();
        assert!(opened.records.is_empty());
        opened.next_id
    }

    #[test]
    fn a_beginning_that_is_killed_anywhere_is_begun_again_or_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let [making, new] = ["making", "new"].map(|extension| path.with_extension(extension));
        fs::create_dir(&making).unwrap();
        fs::write(making.join("conf"), b"tor").unwrap();
        assert_eq!(next_id(&path), TermId(1));
        assert!(!making.exists() && !new.exists());

        // Killed between the two renamings of a renewal.
        begin(&path, &BTreeMap::new(), TermId(7)).unwrap();
        fs::rename(&path, &new).unwrap();
        let opened = open(&path, &mut BTreeMap::new()).unwrap();
        assert_eq!((opened.next_id, opened.renewed), (TermId(7), true));
        drop(opened);

        // Killed before the first of them: what is in place is as good as ever.
        fs::create_dir(&new).unwrap();
        assert_eq!(next_id(&path), TermId(7));
        begin(&path, &BTreeMap::new(), TermId(9)).unwrap();
        assert_eq!(next_id(&path), TermId(9));
        assert!(!new.exists());
    }
}
