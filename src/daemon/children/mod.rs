//! What the processes in each terminal use: processor time and memory, for whoever asks which terminal is eating the machine.
//!
//! ```text
//!   registry: terminals, children ─► a pass, beside the main thread ─► ledger ─► registry: in listings, gauges, status
//!                                      ├─ its control group, where each terminal has one: exact
//!                                      └─ else `processes`: one pass over /proc for all of them
//! ```
//!
//! Memory is what is resident: of a control group without the file cache that can be dropped at once; by `/proc` the sum over its processes,
//! in which what several share counts for each.
//!
//! **Invariant.** A pass takes at most a hundredth of the time until the next.

mod ledger;
mod processes;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use actix::Addr;
use kaval_actors::{
    TermId,
    pty::cgroup::Groups,
    registry::{ChildUse, List, NoteUse, Registry},
};
use tokio::{task::spawn_blocking, time::sleep};

use self::{ledger::Ledger, processes::Sum};

/// Least time between two passes.
const EVERY: Duration = Duration::from_secs(2);
/// How much longer than a pass took it is until the next.
const REST: u32 = 100;

/// Looks again and again, until the process ends.
pub(super) async fn watch(registry: Addr<Registry>, groups: Option<Groups>) {
    let mut ledger = Ledger::default();
    loop {
        let Ok(page) = registry.send(List { after: None, bytes_max: usize::MAX }).await else { return };
        let terms: Vec<_> = page.listings.iter().map(|listing| (listing.card.id, listing.card.pid)).collect();
        drop(page);
        let (groups, begun) = (groups.clone(), Instant::now());
        let pass = spawn_blocking(move || {
            let used = pass(&terms, groups.as_ref(), &mut ledger);
            (used, ledger)
        });
        let Ok((used, kept)) = pass.await else { return };
        tracing::debug!(terms = used.len(), took_ms = begun.elapsed().as_secs_f64() * 1e3, "processes were looked at");
        ledger = kept;
        registry.do_send(NoteUse(used));
        sleep(EVERY.max(begun.elapsed() * REST)).await;
    }
}

fn pass(terms: &[(TermId, Option<u32>)], groups: Option<&Groups>, ledger: &mut Ledger) -> Vec<(TermId, ChildUse)> {
    let of_groups: BTreeMap<TermId, (Duration, Option<u64>)> = groups
        .map(|groups| terms.iter().filter_map(|(id, _)| Some((*id, of_group(&groups.group(*id))?))).collect())
        .unwrap_or_default();
    let has_all = |id: &TermId| of_groups.get(id).is_some_and(|(_, memory)| memory.is_some());
    let others: Vec<_> = terms.iter().filter(|(id, _)| !has_all(id)).filter_map(|(id, pid)| Some((*id, (*pid)?))).collect();
    let sums = if others.is_empty() { BTreeMap::new() } else { processes::sums(&processes::all(), &others) };
    let now = Instant::now();
    ledger.keep(|id| terms.iter().any(|(known, _)| *known == id));
    let used = terms.iter().map(|(id, _)| {
        let (group, sum) = (of_groups.get(id), sums.get(id));
        let Some(time) = group.map(|(time, _)| *time).or(sum.map(time_of)) else {
            return (*id, ChildUse { cpu: ledger.last(*id), share: 0.0, memory: 0 });
        };
        let memory = group.and_then(|(_, memory)| *memory).or(sum.map(memory_of)).unwrap_or(0);
        let (cpu, share) = ledger.enter(*id, time, now);
        (*id, ChildUse { cpu, share, memory })
    });
    used.collect()
}

fn time_of(sum: &Sum) -> Duration {
    Duration::from_secs_f64(sum.ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn memory_of(sum: &Sum) -> u64 {
    sum.resident_pages * rustix::param::page_size() as u64
}

/// The processor time that a group has used, and its memory where the kernel counts that.
fn of_group(group: &Path) -> Option<(Duration, Option<u64>)> {
    let time = field(&fs::read_to_string(group.join("cpu.stat")).ok()?, "usage_usec").map(Duration::from_micros)?;
    let current: Option<u64> = fs::read_to_string(group.join("memory.current")).ok().and_then(|text| text.trim().parse().ok());
    let cache = || field(&fs::read_to_string(group.join("memory.stat")).ok()?, "inactive_file");
    Some((time, current.map(|current| current.saturating_sub(cache().unwrap_or(0)))))
}

/// A number by its name, of a file with one a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_memory_is_without_what_can_be_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        assert_eq!(of_group(dir.path()), None);
        write("cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
        assert_eq!(of_group(dir.path()), Some((Duration::from_millis(2500), None)));
        write("memory.current", "1000\n");
        write("memory.stat", "anon 5\ninactive_file_extra 1\ninactive_file 400\n");
        assert_eq!(of_group(dir.path()), Some((Duration::from_millis(2500), Some(600))));
    }
}
