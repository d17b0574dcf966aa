//! Opening the database: one that is damaged is set aside, and what it knew of terminals that live is found out again. So is
//! what it does not know of them, or knows otherwise, since it is a copy of another time or of another machine.
//!
//! **Invariant.** Only damage sets a database aside. A disk that is full, read-only or away is an error that ends the start and touches
//! nothing: the keeper holds the terminals and tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::AsFd,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use kaval_actors::{
    Findings, Name, TermId,
    log::{
        journal::JournalFds,
        store::{Store, StoreError},
    },
    pty::Master,
    supervisor::{
        Custody,
        custody::Tag,
        inventory::{Descriptors, Inventory},
        manifest::{Manifest, ManifestError, Record, State},
        rescue::{is_outdated, rescue},
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
    /// It is a new one, in place of one that was damaged, or an old copy.
    pub(super) renewed: bool,
    /// Names the state directory: journals know it as well.
    pub(super) lineage: u64,
}

/// Opens the database in `path`, or a new one in its place.
///
/// # Errors
/// When the disk does not let it.
pub(super) fn open(
    path: &Path,
    inventory: &mut Inventory,
    custody: &dyn Custody,
    findings: &Findings,
) -> anyhow::Result<Opened> {
    let mut opened = of_one_lineage(path, open_or_begin(path, findings)?, inventory, findings)?;
    let known = opened.records.keys().chain(&opened.unknown).chain(inventory.terminals.keys());
    opened.next_id = opened.next_id.max(after(known.max().copied()));
    for (id, spare) in std::mem::take(&mut inventory.spares) {
        opened.take_spare(id, spare, &mut inventory.terminals, custody, findings);
    }
    for (id, held) in &mut inventory.terminals {
        opened.claim(*id, held, findings)?;
    }
    Ok(opened)
}

/// A database and journals that are used together bear one number. Where they do not, one of them is from elsewhere, and its
/// ids are other terminals': what runs is worth more than what is recorded, and what is recorded more than what the journals of
/// ended ones have left.
fn of_one_lineage(path: &Path, mut opened: Opened, inventory: &mut Inventory, findings: &Findings) -> anyhow::Result<Opened> {
    let (own, kept) = (opened.manifest.lineage()?, inventory.journals.values().find_map(JournalFds::lineage));
    let is_foreign = own.is_some() && kept.is_some() && own != kept;
    let runs = inventory.terminals.values().any(|held| held.master.is_some());
    if is_foreign && runs {
        drop(opened);
        opened = Opened { renewed: true, ..begin(path, Aside::Foreign, &BTreeMap::new(), TermId(1), findings)? };
    } else if is_foreign {
        inventory.journals.clear();
    }
    let own = if is_foreign && runs { kept } else { own.or(kept) };
    let lineage = own.unwrap_or_else(|| rand::random::<u64>() | 1);
    if opened.manifest.lineage()? != Some(lineage) {
        opened.manifest.set_lineage(lineage)?;
    }
    for journal in inventory.journals.values().filter(|journal| journal.lineage().is_none()) {
        journal.set_lineage(lineage)?;
    }
    Ok(Opened { lineage, ..opened })
}

impl Opened {
    /// A second terminal under one name gets a name of its own if somebody is on it.
    fn take_spare(
        &mut self,
        id: TermId,
        spare: Master,
        held: &mut BTreeMap<TermId, Descriptors>,
        custody: &dyn Custody,
        findings: &Findings,
    ) {
        let tag = Tag::Master(id);
        if spare.session_leader().is_none() {
            return findings.note(format!("there were two terminals named {tag}: one has no process on it, and was closed"));
        }
        let new = self.next_id;
        self.next_id = after(Some(new));
        findings.note(format!("there were two terminals named {tag}: the one without its child is now terminal {new}"));
        let name = Tag::Master(new).to_string();
        if let Err(error) = custody.store(&name, spare.as_fd()).and_then(|()| custody.settle()) {
            tracing::error!(%name, %error, "the keeper could not keep a descriptor: this terminal would not survive the supervisor");
        }
        held.insert(new, Descriptors { master: Some(Arc::new(spare)), ..Descriptors::default() });
    }

    /// Sees to it that a terminal that is held has a record that fits it.
    fn claim(&mut self, id: TermId, held: &mut Descriptors, findings: &Findings) -> anyhow::Result<()> {
        let record = match self.records.get(&id) {
            Some(record) if is_outdated(record, held) => {
                findings.note(format!("terminal {id} ({}) is recorded as ended, and lives: it is taken back", record.name));
                self.renewed = true;
                Record { state: State::Live, ending: false, ..record.clone() }
            }
            Some(_) => return Ok(()),
            None => {
                let is_taken = |name: &Name| self.records.values().any(|record| record.name == *name);
                let Some(record) = rescue(id, held, is_taken) else {
                    findings.note(format!(
                        "what was kept of terminal {id}, of which nothing is known, is of no use and was closed"
                    ));
                    return Ok(());
                };
                findings.note(format!("terminal {id} had no record and was taken back as {}", record.name));
                self.renewed = true;
                record
            }
        };
        self.manifest.put(&record)?;
        self.records.insert(id, record);
        Ok(())
    }
}

/// The first id behind one that was given.
pub(super) fn after(given: Option<TermId>) -> TermId {
    given.map_or(TermId(1), |last| TermId(last.0 + 1))
}

fn open_or_begin(path: &Path, findings: &Findings) -> anyhow::Result<Opened> {
    if !path.exists() {
        return if place(path)? {
            Ok(Opened { renewed: true, ..open_whole(path, findings)? })
        } else {
            begin(path, Aside::Damaged, &BTreeMap::new(), TermId(1), findings)
        };
    }
    match open_whole(path, findings) {
        Ok(opened) if Store::is_condemned(path) => {
            let Opened { records, next_id, .. } = opened;
            Ok(Opened { renewed: true, ..begin(path, Aside::Damaged, &records, next_id, findings)? })
        }
        Err(error) if is_damage(&error) => {
            tracing::error!(error = error.as_ref() as &dyn std::error::Error, "the store does not open");
            Ok(Opened { renewed: true, ..begin(path, Aside::Damaged, &BTreeMap::new(), TermId(1), findings)? })
        }
        result => result,
    }
}

/// Why a database is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    Damaged,
    /// It belongs to other terminals than those that are held.
    Foreign,
}

/// Begins a database with those records in `path`, and sets aside what is there. A kill leaves the old one or the new one, whole:
///
/// ```text
///   .making ──► .new      PATH ──► .damaged-TIME      .new ──► PATH
/// ```
fn begin(
    path: &Path,
    why: Aside,
    records: &BTreeMap<TermId, Record>,
    next_id: TermId,
    findings: &Findings,
) -> anyhow::Result<Opened> {
    let (making, new) = (path.with_extension("making"), path.with_extension("new"));
    for left in [&making, &new].into_iter().filter(|left| left.exists()) {
        fs::remove_dir_all(left).context("what is left of an earlier beginning cannot be removed")?;
    }
    {
        let manifest = open_whole(&making, findings)?.manifest;
        records.values().try_for_each(|record| manifest.put(record))?;
        manifest.skip_to(next_id)?;
    }
    fs::rename(&making, &new).context("a new store cannot be made")?;
    if path.exists() {
        let (name, is) = match why {
            Aside::Damaged => ("damaged", "was damaged"),
            Aside::Foreign => ("foreign", "is another's, not that of the terminals that run,"),
        };
        let aside = Store::set_aside(path, name).context("a store cannot be set aside")?;
        findings.note(format!("the store {is} and is set aside as {}: history begins anew", aside.display()));
    }
    place(path)?;
    open_whole(path, findings)
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

fn open_whole(path: &Path, findings: &Findings) -> anyhow::Result<Opened> {
    let store = open_patiently(path)?;
    let manifest = Manifest::open(&store)?;
    let (records, next_id, unknown) = (manifest.load(findings)?, manifest.next_id()?, manifest.set_aside()?);
    Ok(Opened { store, manifest, records, next_id, unknown, renewed: false, lineage: 0 })
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
    use kaval_actors::supervisor::NoCustody;

    use super::*;

    fn next_id(path: &Path) -> TermId {
        let opened = open(path, &mut Inventory::default(), &NoCustody, &Findings::default()).unwrap();
        assert!(opened.records.is_empty());
        opened.next_id
    }

    #[test]
    fn a_beginning_that_is_killed_anywhere_is_begun_again_or_finished() {
        let (dir, findings) = (tempfile::tempdir().unwrap(), Findings::default());
        let path = dir.path().join("store");
        let [making, new] = ["making", "new"].map(|extension| path.with_extension(extension));
        fs::create_dir(&making).unwrap();
        fs::write(making.join("conf"), b"tor").unwrap();
        assert_eq!(next_id(&path), TermId(1));
        assert!(!making.exists() && !new.exists());

        // Killed between the two renamings of a renewal.
        begin(&path, Aside::Damaged, &BTreeMap::new(), TermId(7), &findings).unwrap();
        fs::rename(&path, &new).unwrap();
        let opened = open(&path, &mut Inventory::default(), &NoCustody, &findings).unwrap();
        assert_eq!((opened.next_id, opened.renewed), (TermId(7), true));
        drop(opened);

        // Killed before the first of them: what is in place is as good as ever.
        fs::create_dir(&new).unwrap();
        assert_eq!(next_id(&path), TermId(7));
        begin(&path, Aside::Damaged, &BTreeMap::new(), TermId(9), &findings).unwrap();
        assert_eq!(next_id(&path), TermId(9));
        assert!(!new.exists());
    }
}
