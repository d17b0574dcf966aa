//! The mirrors that are in memory, the least recently used first, and which of them are too many. Pure.
//!
//! **Invariants.** Only those that were used within [`BUSY`] may make all together more than is allowed: dropping one of them would be for
//! nothing, it would be drawn again at once. One that is told to go is not told again before it was used again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::TermId;

/// What was used within this time is in use.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Mirrors {
    bytes_max: u64,
    bytes: u64,
    /// When each was last used, and its bytes.
    known: HashMap<TermId, (Instant, u64)>,
    by_use: BTreeSet<(Instant, TermId)>,
    /// Told to go, and not used since.
    told: BTreeMap<TermId, Instant>,
}

impl Mirrors {
    /// None, of at most so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, known: HashMap::new(), by_use: BTreeSet::new(), told: BTreeMap::new() }
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Allows so many bytes from now on.
    pub(super) fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
        self.told.clear();
    }

    /// Takes in what a terminal's mirror takes, and when it was last used.
    pub(super) fn note(&mut self, id: TermId, used: Instant, bytes: u64) {
        self.strike(id);
        if self.told.get(&id).is_some_and(|told| *told != used) {
            self.told.remove(&id);
        }
        if bytes > 0 {
            self.known.insert(id, (used, bytes));
            self.by_use.insert((used, id));
            self.bytes += bytes;
        }
    }

    /// Forgets a terminal.
    pub(super) fn forget(&mut self, id: TermId) {
        self.strike(id);
        self.told.remove(&id);
    }

    fn strike(&mut self, id: TermId) {
        if let Some((used, bytes)) = self.known.remove(&id) {
            self.by_use.remove(&(used, id));
            self.bytes -= bytes;
        }
    }

    /// Those that are to go now, and were not told yet.
    pub(super) fn surplus(&mut self, now: Instant) -> Vec<TermId> {
        let (mut left, mut going) = (self.bytes, Vec::new());
        for (used, id) in &self.by_use {
            if left <= self.bytes_max || now.saturating_duration_since(*used) < BUSY {
                break;
            }
            left -= self.known.get(id).map_or(0, |(_, bytes)| *bytes);
            if self.told.insert(*id, *used).is_none() {
                going.push(*id);
            }
        }
        going
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Random uses, sizes and limits; whoever is told to go does so at once, or stays.
        #[test]
        fn what_is_not_in_use_stays_within_the_limit_and_the_least_recently_used_goes_first(
            steps in prop::collection::vec((0u32..8, 0u64..100, 0u64..1500, 0u64..300, any::<bool>()), 1..80),
        ) {
            let start = Instant::now();
            let (mut mirrors, mut now) = (Mirrors::new(200), start);
            let mut model: BTreeMap<TermId, (Instant, u64)> = BTreeMap::new();
            for (id, bytes, later, limit, obeys) in steps {
                now += Duration::from_millis(later);
                mirrors.limit(limit);
                mirrors.note(TermId(id), now, bytes);
                model.insert(TermId(id), (now, bytes));
                for going in mirrors.surplus(now) {
                    let (used, bytes) = model[&going];
                    prop_assert!(bytes > 0 && now - used >= BUSY);
                    if obeys {
                        mirrors.note(going, used, 0);
                        model.insert(going, (used, 0));
                    }
                    let older = model.values().filter(|(other, bytes)| *other < used && *bytes > 0).count();
                    prop_assert!(older == 0 || !obeys);
                }
                prop_assert_eq!(mirrors.bytes(), model.values().map(|(_, bytes)| bytes).sum::<u64>());
                let idle: u64 = model.values().filter(|(used, _)| now - *used >= BUSY).map(|(_, bytes)| bytes).sum();
                let busy = mirrors.bytes() - idle;
                prop_assert!(!obeys || idle == 0 || idle + busy <= limit, "{idle} idle, {busy} busy, {limit} allowed");
                prop_assert_eq!(mirrors.surplus(now), []);
            }
        }
    }

    #[test]
    fn one_that_does_not_go_is_told_again_only_once_it_was_used_again() {
        let start = Instant::now();
        let mut mirrors = Mirrors::new(10);
        mirrors.note(TermId(1), start, 100);
        let later = start + BUSY;
        assert_eq!((mirrors.surplus(later), mirrors.surplus(later)), (vec![TermId(1)], vec![]));
        mirrors.note(TermId(1), start, 100);
        assert_eq!(mirrors.surplus(later), []);
        mirrors.note(TermId(1), later, 100);
        assert_eq!(mirrors.surplus(later + BUSY), [TermId(1)]);
        mirrors.forget(TermId(1));
        assert_eq!((mirrors.bytes(), mirrors.surplus(later + BUSY)), (0, vec![]));
    }
}
