//! Opening the database: one that is damaged is set aside, and what it knew of terminals that live is found out again.
//!
//! **Invariant.** Only damage sets a database aside. A disk that is full, read-only or away is an error that ends the start and touches
//! nothing: the keeper holds the terminals and tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use kaval_actors::{
    TermId,
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
    let mut opened = match open_whole(path) {
        Ok(opened) if Store::is_condemned(path) => {
            let Opened { records, next_id, .. } = opened;
            Opened { next_id, ..renew(path, records)? }
        }
        Ok(opened) => opened,
        Err(error) if is_damage(&error) => {
            tracing::error!(error = error.as_ref() as &dyn std::error::Error, "the store does not open");
            renew(path, BTreeMap::new())?
        }
        Err(error) => return Err(error),
    };
    let ids: Vec<TermId> = held.keys().copied().collect();
    for (id, held) in held {
        if !opened.records.contains_key(id)
            && let Some(record) = rescue(*id, held)
        {
            tracing::warn!(%id, name = %record.name, "a terminal without a record lives: it is taken back");
            opened.manifest.put(&record)?;
            opened.records.insert(*id, record);
        }
    }
    let unused = ids.last().map_or(0, |last| last.0 + 1);
    opened.next_id = opened.next_id.max(TermId(unused));
    Ok(opened)
}

/// Sets a damaged store aside and begins a new one, with those records that could still be read.
fn renew(path: &Path, salvaged: BTreeMap<TermId, Record>) -> anyhow::Result<Opened> {
    let aside = Store::set_aside(path).context("a damaged store cannot be set aside")?;
    tracing::error!(aside = %aside.display(), "the store is damaged and was set aside: history begins anew");
    let mut opened = Opened { renewed: true, ..open_whole(path)? };
    for record in salvaged.into_values() {
        opened.manifest.put(&record)?;
        opened.records.insert(record.id, record);
    }
    Ok(opened)
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
