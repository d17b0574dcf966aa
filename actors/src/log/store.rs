//! The database on disk. The only module that knows it is sled.
//!
//! **Invariants.** Never used on an actor's thread: a write may take hundreds of milliseconds. What was written is on disk once
//! [`Tree::flush`] has returned, not before.

use std::path::{Path, PathBuf};

/// Bytes of pages that sled may cache. Small: the manifest is a few hundred KB, and history is read once.
const CACHE_BYTES: u64 = 8 << 20;

/// Why the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not open.
    #[error("the store {path:?} does not open")]
    Open {
        /// Its directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: sled::Error,
    },
    /// A read or write failed.
    #[error("the store could not be {what}")]
    Access {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: sled::Error,
    },
}

fn access(what: &'static str) -> impl Fn(sled::Error) -> StoreError {
    move |source| StoreError::Access { what, source }
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store(sled::Db);

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

impl Store {
    /// Opens or creates the database in `path`.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).mode(sled::Mode::LowSpace);
        config.open().map(Self).map_err(|source| StoreError::Open { path: path.to_owned(), source })
    }

    /// Opens or creates one of its trees.
    ///
    /// # Errors
    /// [`StoreError::Access`].
    pub fn tree(&self, name: &str) -> Result<Tree, StoreError> {
        self.0.open_tree(name).map(Tree).map_err(access("opened"))
    }
}

/// One ordered map of the database.
#[derive(Debug, Clone)]
pub struct Tree(sled::Tree);

impl Tree {
    /// The value at `key`.
    ///
    /// # Errors
    /// [`StoreError::Access`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).map_err(access("read"))?.map(|value| value.to_vec()))
    }

    /// Puts and removes several at once: all of them or, after a crash, none.
    ///
    /// # Errors
    /// [`StoreError::Access`].
    pub fn write<'a>(&self, changes: impl IntoIterator<Item = (&'a [u8], Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.0.apply_batch(batch).map_err(access("written"))
    }

    /// Everything whose key begins with `prefix`, in order.
    ///
    /// # Errors
    /// [`StoreError::Access`], at the first entry that cannot be read.
    pub fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let entries = self.0.scan_prefix(prefix);
        entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(access("read"))).collect()
    }

    /// Returns once everything written is on disk.
    ///
    /// # Errors
    /// [`StoreError::Access`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.0.flush().map(|_| ()).map_err(access("flushed"))
    }
}
