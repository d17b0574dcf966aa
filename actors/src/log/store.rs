//! The database on disk. The only module that knows it is sled.
//!
//! ```text
//!   Tree (a name) ──► Shared: RwLock< the open database, its trees by name > ──► files
//!                      reopen: everything is closed and opened again, as after a crash
//! ```
//!
//! A write that fails poisons the database for good: every later one fails too, also when the disk has room again. Hence [`Store::reopen`],
//! and trees that are names rather than handles, since the files stay locked for as long as any handle lives.
//!
//! **Invariants.** Never used on an actor's thread: a write may take hundreds of milliseconds. What was written is on disk once
//! [`Store::flush`] has returned, not before; what a crash leaves of it is a beginning of it, each [`Tree::write`] whole or not at all.
//! A panic inside the database is an error here.

use std::{
    collections::HashMap,
    fs, io,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Bytes of pages that sled may cache. Small: the manifest is a few hundred KB, and history is read once.
const CACHE_BYTES: u64 = 8 << 20;

/// How long a lock is waited for, and how often it is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Bytes that are copied in one go when a database is written anew.
const COPY_BYTES: usize = 256 << 10;

/// The name of the file that condemns a database.
const CONDEMNED: &str = "damaged";

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
    /// The database ran into a state that its authors thought impossible: it is damaged.
    #[error("the store could not be {what}: it is damaged")]
    Panicked {
        /// What was tried.
        what: &'static str,
    },
    /// It was closed, and could not be opened again yet.
    #[error("the store is closed: it could not be opened again after it had failed")]
    Closed,
}

impl StoreError {
    /// Whether what is stored is damaged, rather than the disk or the way to it out of order.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Access { source, .. } => match source {
                sled::Error::Io(error) => {
                    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
                    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
                }
                sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) | sled::Error::Unsupported(_) => true,
                sled::Error::CollectionNotFound(_) => true,
            },
            Self::Panicked { .. } => true,
            Self::Closed => false,
        }
    }
}

fn access(what: &'static str) -> impl Fn(sled::Error) -> StoreError {
    move |source| StoreError::Access { what, source }
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    is_new: bool,
    open: RwLock<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    db: sled::Db,
    trees: RwLock<HashMap<String, sled::Tree>>,
    /// What its file is, wherever that is by now.
    file: Option<FileId>,
}

/// Device and inode.
type FileId = (u64, u64);

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

impl Store {
    /// Opens or creates the database in `path`.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Panicked`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let is_new = !path.join("db").exists();
        let open = Open::at(path)?;
        Ok(Self(Arc::new(Shared { path: path.to_owned(), is_new, open: RwLock::new(Some(open)) })))
    }

    /// Whether there was no database before this one was opened. What is damaged all through opens as if it were empty.
    pub fn is_new(&self) -> bool {
        self.0.is_new
    }

    /// Moves a database out of the way, under a name that says what it is (`damaged`, say); where to.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside(path: &Path, what: &str) -> io::Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut aside = path.with_file_name(format!("{name}.{what}-{now}"));
        for again in 1.. {
            if !aside.exists() {
                break;
            }
            aside = path.with_file_name(format!("{name}.{what}-{now}-{again}"));
        }
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    /// Says of the database that it is damaged, for the next start to find.
    ///
    /// # Errors
    /// What the file system says.
    pub fn condemn(&self) -> io::Result<()> {
        fs::write(self.0.path.join(CONDEMNED), b"")
    }

    /// Whether the database in `path` was condemned.
    pub fn is_condemned(path: &Path) -> bool {
        path.join(CONDEMNED).exists()
    }

    /// Closes the database and opens it again: what was not flushed may be gone, and a failure is forgotten.
    ///
    /// # Errors
    /// As [`Store::open`]; until it succeeds everything else fails with [`StoreError::Closed`].
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = open.take() {
            let _ = guarded("closed", move || {
                drop(old);
                Ok(())
            });
        }
        *open = Some(Open::unlocked(&self.0.path)?);
        Ok(())
    }

    /// Whether its files are no longer where they were: deleted, moved away, or with others in their place. It goes on in what
    /// it has open, which nobody finds again.
    pub fn is_displaced(&self) -> bool {
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|open| open.file.is_some() && open.file != file_id(&self.0.path))
    }

    /// Writes a database that is displaced down where it was, from what it has open, and goes on there; where to it has moved
    /// what it found in that place. Others wait meanwhile. A kill leaves what [`Store::open`] is to find in `PATH.new`, or at
    /// its place.
    ///
    /// # Errors
    /// When it cannot be read any more, or not written; it goes on as it is then.
    pub fn put_back(&self) -> Result<Option<PathBuf>, StoreError> {
        let path = &self.0.path;
        let (making, new) = (path.with_extension("making"), path.with_extension("new"));
        let mut open = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        let old = open.as_ref().ok_or(StoreError::Closed)?;
        let aside = || -> io::Result<Option<PathBuf>> {
            fs::rename(&making, &new)?;
            let aside = path.exists().then(|| Self::set_aside(path, "displaced")).transpose()?;
            fs::rename(&new, path)?;
            Ok(aside)
        };
        let refused = |source| StoreError::Open { path: path.clone(), source: sled::Error::Io(source) };
        clear(&[&making, &new]).map_err(refused)?;
        guarded("written anew", || Open::at(&making)?.take_all(old))?;
        let aside = aside().map_err(refused)?;
        let opened = Open::unlocked(path)?;
        let old = open.replace(opened);
        let _ = guarded("closed", move || {
            drop(old);
            Ok(())
        });
        Ok(aside)
    }

    /// One of its trees, which comes to be when it is first written.
    pub fn tree(&self, name: impl Into<String>) -> Tree {
        Tree { store: self.clone(), name: name.into() }
    }

    /// The names of the trees there are.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn tree_names(&self) -> Result<Vec<String>, StoreError> {
        self.with("read", |open| Ok(open.trees.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()))
    }

    /// Deletes a tree with all that is in it, if it exists.
    ///
    /// # Errors
    /// [`StoreError::Access`] and the like.
    pub fn drop_tree(&self, name: &str) -> Result<(), StoreError> {
        self.with("changed", |open| {
            open.trees.write().unwrap_or_else(PoisonError::into_inner).remove(name);
            open.db.drop_tree(name).map(|_| ()).map_err(access("changed"))
        })
    }

    /// Returns once everything written is on disk.
    ///
    /// # Errors
    /// [`StoreError::Access`] and the like.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.with("flushed", Open::flush)
    }

    /// Bytes of its files, as the file system counts them.
    pub fn disk_bytes(&self) -> u64 {
        directory_bytes(&self.0.path)
    }

    /// Bytes that are free where it is.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.0.path)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn with<T>(&self, what: &'static str, act: impl FnOnce(&Open) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        guarded(what, || act(open))
    }
}

/// A panic of the database, as an error.
fn guarded<T>(what: &'static str, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(StoreError::Panicked { what }))
}

/// sled writes a snapshot under this name and then renames it, but takes what a kill has left of one for the newest snapshot there is, and
/// finds it damaged.
fn remove_unfinished_snapshots(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.")
            && name.ends_with(".generating")
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(%error, %name, "an unfinished snapshot cannot be removed");
        }
    }
}

/// Removes those directories, if they are there, and sees to it that they can be made.
fn clear(dirs: &[&Path]) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for dir in dirs {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if let Some(parent) = dir.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
    }
    Ok(())
}

fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path.join("db")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn directory_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

impl Open {
    fn at(path: &Path) -> Result<Self, StoreError> {
        guarded("opened", || {
            remove_unfinished_snapshots(path);
            let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            let failed = |source| StoreError::Open { path: path.to_owned(), source };
            let db = config.mode(sled::Mode::LowSpace).open().map_err(failed)?;
            let mut trees = HashMap::new();
            for name in db.tree_names() {
                let tree = db.open_tree(&name).map_err(failed)?;
                trees.insert(String::from_utf8_lossy(&name).into_owned(), tree);
            }
            Ok(Self { db, trees: RwLock::new(trees), file: file_id(path) })
        })
    }

    /// Copies all that another one has; on disk when this returns.
    fn take_all(&self, other: &Self) -> Result<(), StoreError> {
        let trees = other.trees.read().unwrap_or_else(PoisonError::into_inner);
        for (name, tree) in &*trees {
            let copy = self.tree(name).map_err(access("written anew"))?;
            let (mut batch, mut bytes) = (sled::Batch::default(), 0);
            for entry in tree {
                let (key, value) = entry.map_err(access("read"))?;
                bytes += key.len() + value.len();
                batch.insert(key, value);
                if bytes >= COPY_BYTES {
                    copy.apply_batch(std::mem::take(&mut batch)).map_err(access("written anew"))?;
                    bytes = 0;
                }
            }
            copy.apply_batch(batch).map_err(access("written anew"))?;
        }
        self.flush()
    }

    /// As [`Open::at`], once a database that was only just closed has let go of its lock: its own threads may outlive it a little.
    fn unlocked(path: &Path) -> Result<Self, StoreError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match Self::at(path) {
                Err(error) if !error.is_damage() && Instant::now() < deadline => thread::sleep(LOCK_RETRY),
                result => return result,
            }
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(|_| ()).map_err(access("flushed"))
    }

    fn existing(&self, name: &str) -> Option<sled::Tree> {
        self.trees.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn tree(&self, name: &str) -> Result<sled::Tree, sled::Error> {
        if let Some(tree) = self.existing(name) {
            return Ok(tree);
        }
        let tree = self.db.open_tree(name)?;
        self.trees.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), tree.clone());
        Ok(tree)
    }
}

/// One ordered map of the database.
#[derive(Debug, Clone)]
pub struct Tree {
    store: Store,
    name: String,
}

/// Puts and removes, done together.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Tree {
    /// The value at `key`.
    ///
    /// # Errors
    /// [`StoreError::Access`] and the like.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(None, |tree| Ok(tree.get(key)?.map(|value| value.to_vec())))
    }

    /// Puts and removes several at once: all of them or, after a crash, none.
    ///
    /// # Errors
    /// [`StoreError::Access`] and the like.
    pub fn write(&self, changes: Changes) -> Result<(), StoreError> {
        self.store.with("written", |open| self.apply(open, changes))
    }

    /// As [`Tree::write`], and on disk when this returns. The database is not opened anew in between, which could lose what was written.
    ///
    /// # Errors
    /// [`StoreError::Access`] and the like.
    pub fn write_through(&self, changes: Changes) -> Result<(), StoreError> {
        self.store.with("written", |open| {
            self.apply(open, changes)?;
            open.flush()
        })
    }

    fn apply(&self, open: &Open, changes: Changes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        open.tree(&self.name).and_then(|tree| tree.apply_batch(batch)).map_err(access("written"))
    }

    /// Everything whose key begins with `prefix`, in order.
    ///
    /// # Errors
    /// [`StoreError::Access`] and the like, at the first entry that cannot be read.
    pub fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        self.read(Vec::new(), |tree| tree.scan_prefix(prefix).map(|entry| entry.map(owned)).collect())
    }

    /// At most `max` entries from one key to another, in order.
    ///
    /// # Errors
    /// As [`Tree::scan`].
    pub fn range(&self, keys: RangeInclusive<&[u8]>, max: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(Vec::new(), |tree| tree.range(keys).take(max).map(|entry| entry.map(owned)).collect())
    }

    /// At most `max` entries from one key to another, the last first.
    ///
    /// # Errors
    /// As [`Tree::scan`].
    pub fn range_back(&self, keys: RangeInclusive<&[u8]>, max: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(Vec::new(), |tree| tree.range(keys).rev().take(max).map(|entry| entry.map(owned)).collect())
    }

    fn read<T>(&self, absent: T, act: impl FnOnce(&sled::Tree) -> Result<T, sled::Error>) -> Result<T, StoreError> {
        self.store.with("read", |open| match open.existing(&self.name) {
            Some(tree) => act(&tree).map_err(access("read")),
            None => Ok(absent),
        })
    }
}

fn owned((key, value): (sled::IVec, sled::IVec)) -> Entry {
    (key.to_vec(), value.to_vec())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A file system of a few megabytes, or `None` where this process may not make one.
    struct Small(tempfile::TempDir);

    impl Small {
        fn new(size: &str) -> Option<Self> {
            let dir = tempfile::tempdir().unwrap();
            let option = format!("size={size}");
            let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "kaval-test"]).arg(dir.path()).output();
            mounted.ok()?.status.success().then_some(Self(dir))
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }

    #[test]
    fn a_snapshot_that_a_kill_has_cut_short_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        {
            let tree = Store::open(dir.path()).unwrap().tree("manifest");
            tree.write_through(vec![(b"key".to_vec(), Some(b"value".to_vec()))]).unwrap();
        }
        fs::write(dir.path().join("snap.7FFFFFFFFFFFFFFF.generating"), b"torn").unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.tree("manifest").get(b"key").unwrap(), Some(b"value".to_vec()));
    }

    #[test]
    fn a_store_that_is_displaced_is_written_down_anew_with_all_that_was_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/store");
        let store = Store::open(&path).unwrap();
        let put = |n: u32| {
            store.tree(format!("log/{}", n % 3)).write(vec![(n.to_be_bytes().to_vec(), Some(vec![n as u8; 3000]))]).unwrap()
        };
        let has = |n: u32| store.tree(format!("log/{}", n % 3)).get(&n.to_be_bytes()).unwrap() == Some(vec![n as u8; 3000]);
        (0..400).for_each(put);
        store.flush().unwrap();
        assert!(!store.is_displaced());

        fs::remove_dir_all(dir.path().join("state")).unwrap();
        assert!(store.is_displaced());
        put(400);
        assert_eq!(store.put_back().unwrap(), None);
        assert!(!store.is_displaced() && (0..=400).all(has));

        fs::rename(&path, dir.path().join("away")).unwrap();
        drop(Store::open(&path).unwrap());
        assert!(store.is_displaced());
        let aside = store.put_back().unwrap().unwrap();
        assert!(aside.to_str().unwrap().contains("store.displaced-") && aside.join("db").exists());
        put(401);
        store.reopen().unwrap();
        assert!(!store.is_displaced() && (0..=401).all(has));
    }

    #[test]
    fn a_store_whose_disk_was_full_is_opened_again_with_all_that_was_flushed() {
        let Some(small) = Small::new("24m") else { return eprintln!("skipped: a file system can be made only by root") };
        let filler = small.0.path().join("filler");
        fs::write(&filler, vec![0; 8 << 20]).unwrap();
        let store = Store::open(&small.0.path().join("store")).unwrap();
        let tree = store.tree("log/1");
        let (mut flushed, mut noise) = (0u32, 1u64);
        let failure = loop {
            let value: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
                (noise >> 40) as u8
            })
            .take(8 << 10)
            .collect();
            let written = tree.write(vec![(flushed.to_be_bytes().to_vec(), Some(value))]).and_then(|()| store.flush());
            match written {
                Ok(()) => flushed += 1,
                Err(error) => break error,
            }
            assert!(flushed < 10_000, "the disk never filled");
        };
        assert!(!failure.is_damage(), "{failure:?}");
        assert!(
            tree.write(vec![(b"later".to_vec(), Some(vec![1]))]).and_then(|()| store.flush()).is_err(),
            "it has failed for good"
        );
        fs::remove_file(&filler).unwrap();
        store.reopen().unwrap();
        assert!((0..flushed).all(|n| tree.get(&n.to_be_bytes()).unwrap().is_some_and(|value| value.len() == 8 << 10)));
        tree.write(vec![(b"later".to_vec(), Some(vec![1]))]).and_then(|()| store.flush()).unwrap();
    }

    /// Cut short or with a flipped bit, a database either opens with nothing in it that was not put there, or says that it is damaged: it
    /// never hangs, never panics, and is never mistaken for a disk that is out of order.
    #[test]
    fn a_damaged_store_says_so_or_has_lost_entries_but_never_lies() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        let store = Store::open(&whole).unwrap();
        for n in 0..300u32 {
            let value = n.to_le_bytes().repeat(700);
            store.tree(format!("log/{}", n % 3)).write(vec![(n.to_be_bytes().to_vec(), Some(value))]).unwrap();
        }
        store.flush().unwrap();
        drop(store);
        let db = fs::read(whole.join("db")).unwrap();
        let (mut opened, mut damaged) = (0, 0);
        for round in 0..40usize {
            let mut bytes = db.clone();
            let at = (round * 2_654_435_761) % db.len();
            if round % 2 == 0 {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1 << (round % 8)
            }
            let path = dir.path().join(round.to_string());
            fs::create_dir(&path).unwrap();
            for name in ["conf", "db"] {
                fs::copy(whole.join(name), path.join(name)).unwrap();
            }
            fs::write(path.join("db"), bytes).unwrap();
            let read = Store::open(&path).and_then(|store| {
                for n in 0..300u32 {
                    let value = store.tree(format!("log/{}", n % 3)).get(&n.to_be_bytes())?;
                    assert!(value.is_none_or(|value| value == n.to_le_bytes().repeat(700)));
                }
                Ok(())
            });
            match read {
                Ok(()) => opened += 1,
                Err(error) => {
                    assert!(error.is_damage(), "{error:?}");
                    damaged += 1;
                }
            }
        }
        eprintln!("{opened} opened, {damaged} said that they are damaged");
    }
}
