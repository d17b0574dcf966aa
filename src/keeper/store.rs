//! What the keeper holds: descriptors under names, as many as fit into the one string that hands them back.
//!
//! Pure: generic over what a descriptor is, so that its tests need no files.
//!
//! **Invariant:** `LISTEN_FDNAMES=` and all names, joined by colons, are a string the kernel accepts. A store that
//! outgrew it could never be handed to a supervisor again, and every terminal would be lost; so the descriptor
//! that would be one too many is refused instead.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use crate::fdstore::name_is_valid;

/// The variable whose size limits the store.
pub(super) const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

/// The kernel's `MAX_ARG_STRLEN`: one string of the environment, its closing NUL included, is at most this long
/// (32 pages; the keeper assumes the smallest page, 4 KiB).
const ENVIRONMENT_STRING_BYTES_MAX: usize = 128 * 1024;

/// What is left of it for the names: the variable's name, `=` and NUL go off.
const NAMES_BYTES_MAX: usize = ENVIRONMENT_STRING_BYTES_MAX - NAMES_VARIABLE.len() - "=\0".len();

/// Descriptors whose name begins so are terminals (PTY masters, `m<id>`): they are worth living for.
const TERMINAL_PREFIX: &str = "m";

/// A descriptor's name: 1 to 255 printable ASCII characters without a colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(String);

impl Name {
    /// `None` if the name is not one a descriptor may have.
    pub(super) fn new(name: &str) -> Option<Self> {
        name_is_valid(name).then(|| Self(name.to_owned()))
    }

    /// What systemd calls a descriptor that was stored without a name.
    pub(super) fn unnamed() -> Self {
        Self("stored".to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names would no longer fit into the environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// The descriptors held, any number under one name.
#[derive(Debug)]
pub(super) struct Store<F> {
    held: BTreeMap<Name, Vec<F>>,
    len: usize,
    names_bytes: usize,
}

impl<F> Store<F> {
    pub(super) fn new() -> Self {
        Self { held: BTreeMap::new(), len: 0, names_bytes: 0 }
    }

    /// Holds `fd` beside whatever has that name already; on [`NoRoom`] it is dropped.
    pub(super) fn add(&mut self, name: &Name, fd: F) -> Result<(), NoRoom> {
        let colon = usize::from(self.len > 0);
        let names_bytes = self.names_bytes + colon + name.0.len();
        if names_bytes > NAMES_BYTES_MAX {
            return Err(NoRoom);
        }
        self.held.entry(name.clone()).or_default().push(fd);
        self.len += 1;
        self.names_bytes = names_bytes;
        Ok(())
    }

    /// Drops everything of that name.
    pub(super) fn remove(&mut self, name: &Name) {
        let Some(removed) = self.held.remove(name) else {
            return;
        };
        self.len -= removed.len();
        let with_colons = removed.len() * (name.0.len() + 1);
        let last_colon = usize::from(self.len == 0);
        self.names_bytes -= with_colons - last_colon;
    }

    /// How many descriptors are held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether one of them is a terminal.
    pub(super) fn holds_terminal(&self) -> bool {
        let from_prefix_on = (Bound::Included(TERMINAL_PREFIX), Bound::Unbounded);
        let first = self.held.range::<str, _>(from_prefix_on).next();
        first.is_some_and(|(name, _)| name.0.starts_with(TERMINAL_PREFIX))
    }

    /// Everything held, by name.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Name, &F)> {
        let each = |(name, fds)| std::iter::repeat(name).zip(fds);
        self.held.iter().flat_map(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn joined<F>(store: &Store<F>) -> String {
        let names: Vec<_> = store.entries().map(|(name, _)| name.as_str()).collect();
        names.join(":")
    }

    #[test]
    fn second_descriptor_of_a_name_is_held_beside_the_first_and_removed_with_it() {
        let mut store = Store::new();
        store.add(&name("j0"), 1).unwrap();
        store.add(&name("j0"), 2).unwrap();
        store.add(&name("m1"), 3).unwrap();
        assert_eq!(joined(&store), "j0:j0:m1");
        store.remove(&name("j0"));
        let left: Vec<_> = store.entries().collect();
        assert_eq!(left, [(&name("m1"), &3)]);
    }

    #[test]
    fn only_a_pty_master_counts_as_a_terminal() {
        let mut store = Store::new();
        for other in ["j0", "r0", "w0", "p1", "i1", "n1", "l9", "M1", "stored"] {
            store.add(&name(other), ()).unwrap();
            assert!(!store.holds_terminal(), "{other}");
        }
        store.add(&name("m1"), ()).unwrap();
        assert!(store.holds_terminal());
        store.remove(&name("m1"));
        assert!(!store.holds_terminal());
    }

    #[test]
    fn names_fill_the_environment_string_to_the_last_byte_and_no_further() {
        let mut store = Store::new();
        while store.names_bytes + 256 <= NAMES_BYTES_MAX {
            store.add(&name(&"x".repeat(255)), ()).unwrap();
        }
        let rest = NAMES_BYTES_MAX - store.names_bytes - 1;
        assert_eq!(store.add(&name(&"y".repeat(rest + 1)), ()), Err(NoRoom));
        assert_eq!(store.add(&name(&"y".repeat(rest)), ()), Ok(()));
        let string = format!("{NAMES_VARIABLE}={}\0", joined(&store));
        assert_eq!(string.len(), ENVIRONMENT_STRING_BYTES_MAX);
        assert_eq!(store.add(&name("z"), ()), Err(NoRoom));
    }

    proptest! {
        /// The model is a plain list of pairs.
        #[test]
        fn store_agrees_with_a_list_of_pairs(steps in prop::collection::vec((any::<bool>(), "[jmn][0-3]{0,2}"), 0..60)) {
            let mut store = Store::new();
            let mut model: Vec<(String, usize)> = Vec::new();
            for (step, (add, text)) in steps.into_iter().enumerate() {
                if add {
                    store.add(&name(&text), step).unwrap();
                    model.push((text, step));
                } else {
                    store.remove(&name(&text));
                    model.retain(|(name, _)| *name != text);
                }
                model.sort();
                let held: Vec<_> = store.entries().map(|(name, fd)| (name.0.clone(), *fd)).collect();
                prop_assert_eq!(&held, &model);
                prop_assert_eq!(store.len(), model.len());
                prop_assert_eq!(store.names_bytes, joined(&store).len());
                prop_assert_eq!(store.holds_terminal(), model.iter().any(|(name, _)| name.starts_with('m')));
            }
        }
    }
}
