//! What of the logs goes, so that they stay within their limits. Pure: sizes and times in, one removal at a time out.
//!
//! **Invariant.** Applying what [`next`] says, and asking again, ends: a removal that freed nothing is not asked for again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::TermId;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one terminal's log, compressed.
    pub term_bytes_max: u64,
    /// Age of output.
    pub age_max: Duration,
    /// Bytes on disk, of all logs together, with what the database needs around them.
    pub total_bytes_max: u64,
}

/// What the database takes on disk for a byte that is kept: up to 4 was measured with hundreds of trees coming and going, and it never
/// gives space back.
const OVERHEAD: u64 = 5;
/// Once this part of the total is used on disk, as measured, the overhead is more than was thought, and half as much is kept.
const DISK_ALARM: (u64, u64) = (9, 10);
/// What is removed beyond what must be, so that the next byte does not ask for more: one part in this many.
const SLACK: u64 = 16;

/// A terminal's log, from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// When the oldest block began, nanoseconds since the Unix epoch; 0 if there is none.
    pub oldest_ns: u64,
    /// The first offset that is kept.
    pub floor: u64,
    /// The first offset that is not there yet.
    pub end: u64,
    /// Bytes of memory.
    pub memory: u64,
}

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// From whose log.
    pub id: TermId,
    /// At least so many of its oldest bytes.
    pub bytes: u64,
    /// And what is older than this, nanoseconds since the Unix epoch.
    pub before_ns: u64,
}

/// The next removal, if one is needed: who is over its own limit first, then whoever has the oldest output. Those in `stuck` have nothing that
/// could go.
pub fn next(
    logs: &BTreeMap<TermId, Summary>,
    stuck: &BTreeSet<TermId>,
    limits: &Limits,
    disk_bytes: u64,
    now_ns: u64,
) -> Option<Eviction> {
    let candidates = || logs.iter().filter(|(id, log)| log.oldest_ns > 0 && !stuck.contains(id));
    let age_ns = limits.age_max.as_nanos().min(u64::MAX.into()) as u64;
    let before_ns = now_ns.saturating_sub(age_ns);
    let own = candidates().find_map(|(&id, log)| {
        let over = log.bytes.saturating_sub(limits.term_bytes_max);
        let old = log.oldest_ns < before_ns.saturating_sub(age_ns / SLACK);
        (over > 0 || old).then(|| Eviction {
            id,
            bytes: if over > 0 { over + limits.term_bytes_max / SLACK } else { 0 },
            before_ns: if old { before_ns } else { 0 },
        })
    });
    own.or_else(|| {
        let live: u64 = logs.values().map(|log| log.bytes).sum();
        let over = live.saturating_sub(budget(limits, disk_bytes));
        let (&id, log) = candidates().min_by_key(|(_, log)| log.oldest_ns).filter(|_| over > 0)?;
        Some(Eviction { id, bytes: (over / SLACK).max(log.bytes / SLACK).max(1), before_ns: 0 })
    })
}

/// How many bytes all logs together may have: half as many as planned while the disk, as measured, is nearly at its limit.
pub(super) fn budget(limits: &Limits, disk_bytes: u64) -> u64 {
    let planned = limits.total_bytes_max / OVERHEAD;
    let alarm = limits.total_bytes_max / DISK_ALARM.1 * DISK_ALARM.0;
    if disk_bytes > alarm { planned / 2 } else { planned }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { term_bytes_max: 1000, age_max: Duration::from_secs(100), total_bytes_max: 20_000 };
    const NOW: u64 = 1_000_000_000_000;

    proptest! {
        /// Logs whose blocks have 50 bytes each and come at any times: what is left is within all limits, and the oldest went first.
        #[test]
        fn what_is_left_is_within_the_limits(
            logs in prop::collection::vec(prop::collection::vec(0u64..200, 0..60), 0..30), disk in 0u64..19_000,
        ) {
            let mut logs: Vec<Vec<u64>> = logs;
            let at = |age: u64| NOW - age * 1_000_000_000;
            logs.iter_mut().for_each(|ages| ages.sort_unstable_by(|a, b| b.cmp(a)));
            let summaries = |logs: &[Vec<u64>]| -> BTreeMap<TermId, Summary> {
                let of = |(id, ages): (usize, &Vec<u64>)| (TermId(id as u32), Summary {
                    bytes: 50 * ages.len() as u64, oldest_ns: ages.first().map_or(0, |age| at(*age)), ..Summary::default()
                });
                logs.iter().enumerate().map(of).collect()
            };
            let mut steps = 0;
            let disk = disk.min(17_000);
            while let Some(eviction) = next(&summaries(&logs), &BTreeSet::new(), &LIMITS, disk, NOW) {
                let ages = &mut logs[eviction.id.0 as usize];
                let mut freed = 0;
                while !ages.is_empty() && (freed < eviction.bytes || at(ages[0]) < eviction.before_ns) {
                    ages.remove(0);
                    freed += 50;
                }
                prop_assert!(freed > 0);
                steps += 1;
                prop_assert!(steps < 2000);
            }
            prop_assert!(logs.iter().all(|ages| ages.len() * 50 <= 1000));
            prop_assert!(logs.iter().flatten().all(|age| *age <= 107));
            prop_assert!(logs.iter().map(|ages| ages.len() as u64 * 50).sum::<u64>() <= 4000);
        }
    }

    #[test]
    fn a_disk_that_fills_makes_less_be_kept() {
        let limits = Limits { term_bytes_max: 5000, ..LIMITS };
        let logs = BTreeMap::from([(TermId(1), Summary { bytes: 2500, oldest_ns: NOW - 5, ..Summary::default() })]);
        assert_eq!(next(&logs, &BTreeSet::new(), &limits, 17_000, NOW), None);
        assert_eq!(next(&logs, &BTreeSet::new(), &limits, 18_500, NOW).map(|eviction| eviction.id), Some(TermId(1)));
        assert_eq!(next(&logs, &BTreeSet::from([TermId(1)]), &limits, 18_500, NOW), None);
    }
}
