//! What of the events outlasts a supervisor: the numbers that are used up, and how often supervisors ended how. Blocking: never used on an
//! actor's thread.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::log::store::{Store, StoreError, Tree};

const TREE: &str = "events";
const NEXT_KEY: &[u8] = b"next";
const RESTARTS_PREFIX: &[u8] = b"restarts/";
/// Numbers that are reserved with one write: what a supervisor that is killed leaves out at most.
const BLOCK: u64 = 4096;

/// Why the ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the numbers of events cannot be read or written")]
pub struct LedgerError(#[from] StoreError);

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Ledger {
    tree: Tree,
    /// No number below is given.
    first: u64,
}

impl Ledger {
    /// How many numbers are worth reserving more: half a block, so that the write has the time that the other half lasts.
    pub(super) const LOW: u64 = BLOCK / 2;

    /// The one in that store. In a store that was renewed, since it was damaged, or is an old copy, numbers go on with the
    /// milliseconds since the Unix epoch: there were never as many events.
    pub fn open(store: &Store, renewed: bool) -> Self {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64);
        Self { tree: store.tree(TREE), first: if renewed { now_ms } else { 1 } }
    }

    /// The first number that is not reserved.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn next(&self) -> Result<u64, LedgerError> {
        Ok(self.tree.get(NEXT_KEY)?.map_or(self.first, |bytes| number(&bytes).max(self.first)))
    }

    /// Reserves the numbers that follow on all that ever were; on disk when this returns.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn reserve(&self) -> Result<Range<u64>, LedgerError> {
        let next = self.next()?;
        self.tree.write_through(vec![(NEXT_KEY.to_vec(), Some((next + BLOCK).to_be_bytes().to_vec()))])?;
        Ok(next..next + BLOCK)
    }

    /// Counts a supervisor's end; how often any ended how.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn count_restart(&self, cause: &str) -> Result<BTreeMap<String, u64>, LedgerError> {
        let key = [RESTARTS_PREFIX, cause.as_bytes()].concat();
        let before = self.tree.get(&key)?.map_or(0, |bytes| number(&bytes));
        self.tree.write_through(vec![(key, Some((before + 1).to_be_bytes().to_vec()))])?;
        self.restarts()
    }

    /// How often supervisors ended how.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn restarts(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        let cause = |key: &[u8]| String::from_utf8_lossy(&key[RESTARTS_PREFIX.len()..]).into_owned();
        let entries = self.tree.scan(RESTARTS_PREFIX)?;
        Ok(entries.into_iter().map(|(key, value)| (cause(&key), number(&value))).collect())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_reserved_twice_and_restarts_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut end = 1;
        for n in 1..=3 {
            let ledger = Ledger::open(&Store::open(dir.path()).unwrap(), false);
            let reserved = ledger.reserve().unwrap();
            assert_eq!((reserved.start, reserved.is_empty()), (end, false));
            end = reserved.end;
            assert_eq!(ledger.count_restart("signal").unwrap(), BTreeMap::from([("signal".to_owned(), n)]));
        }
        let copied = Ledger::open(&Store::open(dir.path()).unwrap(), true);
        let numbers = [copied.reserve().unwrap(), copied.reserve().unwrap()];
        assert!(numbers[0].start > 1 << 40 && numbers[1].start == numbers[0].end);
        let anew = tempfile::tempdir().unwrap();
        assert!(Ledger::open(&Store::open(anew.path()).unwrap(), true).reserve().unwrap().start > 1 << 40);
    }
}
