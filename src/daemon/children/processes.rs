//! Whose process is whose, and what it uses, by one pass over `/proc`. Pure but for [`all`].
//!
//! A process is a terminal's if it is in the session that the terminal's child leads, or if somebody up its line of parents is. One that
//! left both, as daemons do, is nobody's: only a control group keeps hold of it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Read,
};

use kaval_actors::TermId;

/// What a process tells in its `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    parent: u32,
    session: u32,
    /// Its own time and that of children it has waited for, in clock ticks.
    ticks: u64,
    resident_pages: u64,
}

/// What a terminal's processes use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) ticks: u64,
    pub(super) resident_pages: u64,
}

/// Every process there is, by its number.
pub(super) fn all() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut text = Vec::with_capacity(512);
    let read = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        text.clear();
        File::open(entry.path().join("stat")).and_then(|mut file| file.read_to_end(&mut text)).ok()?;
        Some((pid, parse(&text)?))
    };
    entries.filter_map(read).collect()
}

/// What a `stat` says. The name of the program, in parentheses, may hold anything.
fn parse(stat: &[u8]) -> Option<Process> {
    let behind = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[behind + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: number(1)? as u32,
        session: number(3)? as u32,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        resident_pages: number(21)?,
    })
}

/// What each of these terminals, named with its child, has in use.
pub(super) fn sums(processes: &HashMap<u32, Process>, children: &[(TermId, u32)]) -> BTreeMap<TermId, Sum> {
    let leaders: HashMap<u32, TermId> = children.iter().map(|(id, pid)| (*pid, *id)).collect();
    let mut owners: HashMap<u32, Option<TermId>> = HashMap::new();
    let mut sums: BTreeMap<TermId, Sum> = children.iter().map(|(id, _)| (*id, Sum::default())).collect();
    for (pid, process) in processes {
        let Some(sum) = owner(*pid, processes, &leaders, &mut owners).and_then(|id| sums.get_mut(&id)) else { continue };
        sum.ticks += process.ticks;
        sum.resident_pages += process.resident_pages;
    }
    sums
}

/// Whose a process is; found out once for each on the way up.
fn owner(
    pid: u32,
    processes: &HashMap<u32, Process>,
    leaders: &HashMap<u32, TermId>,
    owners: &mut HashMap<u32, Option<TermId>>,
) -> Option<TermId> {
    let (mut at, mut way) = (pid, Vec::new());
    let found = loop {
        if let Some(known) = owners.get(&at) {
            break *known;
        }
        let Some(process) = processes.get(&at) else { break None };
        if let Some(id) = leaders.get(&at).or_else(|| leaders.get(&process.session)) {
            break Some(*id);
        }
        // In a ring, which numbers that were given anew meanwhile may make, nobody is found.
        owners.insert(at, None);
        way.push(at);
        at = process.parent;
    };
    way.into_iter().for_each(|passed| _ = owners.insert(passed, found));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: u32, session: u32, ticks: u64) -> Process {
        Process { parent, session, ticks, resident_pages: 10 }
    }

    #[test]
    fn a_stat_is_read_whatever_the_program_is_called() {
        let stat = b"42 (a ) S 7 (b) R 7 42 41 34816 42 4194304 1 2 3 4 5 6 70 80 20 0 1 0 100 1000 33 1844 1 1\n";
        let expected = Process { parent: 7, session: 41, ticks: 5 + 6 + 70 + 80, resident_pages: 33 };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!((parse(b"42 (cut"), parse(b"")), (None, None));
    }

    #[test]
    fn processes_are_of_the_session_or_of_the_parents_terminal_or_of_nobody() {
        let processes = HashMap::from([
            (1, process(0, 1, 1000)),
            (10, process(1, 10, 1)),
            (11, process(10, 10, 2)),
            // It began a session of its own, and has a child in it.
            (12, process(11, 12, 4)),
            (13, process(12, 12, 8)),
            (20, process(1, 20, 16)),
            // A daemon: neither its session nor a parent is known.
            (30, process(1, 30, 32)),
            // A ring.
            (40, process(41, 40, 64)),
            (41, process(40, 40, 128)),
        ]);
        let sums = sums(&processes, &[(TermId(1), 10), (TermId(2), 20), (TermId(3), 99)]);
        let ticks: Vec<_> = sums.iter().map(|(id, sum)| (id.0, sum.ticks, sum.resident_pages)).collect();
        assert_eq!(ticks, [(1, 15, 40), (2, 16, 10), (3, 0, 0)]);
    }

    #[test]
    fn this_process_is_among_all() {
        let pid = std::process::id();
        let all = all();
        assert!(all[&pid].resident_pages > 0);
        let session = all[&pid].session;
        assert!(sums(&all, &[(TermId(1), session)])[&TermId(1)].resident_pages >= all[&pid].resident_pages);
    }
}
