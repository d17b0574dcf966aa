//! The lanes: arbiters (threads) with a journal each, new or taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_rt::{Arbiter, ArbiterHandle};
use anyhow::Context;
use kaval_actors::{
    Findings, TermId,
    log::{
        journal::{
            self, DataPath, Journal, JournalError, JournalFds, Recovery,
            aside::{self, Held},
        },
        service::Log,
    },
    registry::Pulse,
    supervisor::{Custody, custody::Tag, inventory::Inventory},
    terminal::Lane,
};

/// More lanes than this do not help: one moves some 40 MB/s of drawn output.
const LANES_MAX: usize = 8;

/// What may have gone through a journal of which nothing is known: no terminal puts out more in years.
const EVER_UNKNOWN: u64 = 1 << 44;

/// What was started.
pub(super) struct Lanes {
    /// To be kept: an arbiter ends when it is dropped.
    pub(super) arbiters: Vec<Arbiter>,
    pub(super) handles: Vec<ArbiterHandle>,
    /// The last terminal that the journals have records of, whether it is still known or not.
    pub(super) last_id: Option<TermId>,
    /// The lanes whose journal is lost, and how much output it may have held.
    pub(super) lost: BTreeMap<u32, Held>,
}

/// What lanes are started from.
pub(super) struct Surroundings<'a> {
    pub(super) bytes_max: u64,
    pub(super) path: DataPath,
    pub(super) custody: &'a dyn Custody,
    pub(super) log: &'a Log,
    /// Where a journal that cannot be read is put.
    pub(super) state_dir: &'a Path,
    /// Terminals whose output must not get there.
    pub(super) unlogged: &'a BTreeSet<TermId>,
    /// Names that directory.
    pub(super) lineage: u64,
    pub(super) findings: &'a Findings,
}

/// Starts as many lanes as there were, or, at the first start, processors. A lane whose journal cannot be read gets a new one,
/// and says so.
///
/// # Errors
/// When the system has no descriptors, memory or threads left.
pub(super) fn start(inventory: &mut Inventory, around: &Surroundings<'_>) -> anyhow::Result<Lanes> {
    let lanes = match inventory.lanes {
        0 => thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX) as u32,
        lanes => lanes,
    };
    let mut started = Lanes { arbiters: Vec::new(), handles: Vec::new(), last_id: None, lost: BTreeMap::new() };
    for lane in 0..lanes {
        let mut kept = inventory.journals.remove(&lane);
        if let Some(fds) = kept.as_ref().filter(|_| inventory.repiped.contains(&lane)) {
            keep_pipe(lane, fds, around.custody)?;
            around
                .findings
                .note(format!("the pipe of journal {lane} was not kept: what was in it is lost, and it has a new one"));
        }
        if kept.is_none() && inventory.lanes > 0 {
            around
                .findings
                .note(format!("journal {lane} was not kept: output that was not on disk yet is lost, and it has a new one"));
            started.lost.insert(lane, Held { now: around.bytes_max / u64::from(lanes), ever: EVER_UNKNOWN });
        }
        started.start_one(lane, lanes, kept.take(), around)?;
    }
    started.handles = started.arbiters.iter().map(Arbiter::handle).collect();
    Ok(started)
}

impl Lanes {
    fn start_one(&mut self, lane: u32, lanes: u32, kept: Option<JournalFds>, around: &Surroundings<'_>) -> anyhow::Result<()> {
        let Surroundings { path, log, .. } = *around;
        let arbiter = Arbiter::new();
        let share = around.bytes_max / u64::from(lanes);
        let file = kept.as_ref().map(|fds| fds.file.try_clone()).transpose().context("cannot open a journal that was kept")?;
        let opened = kept.map(|fds| open(&arbiter, fds, share, path, log));
        match (opened, file) {
            (Some(Ok((recovery, last))), _) => {
                report(lane, recovery);
                self.last_id = self.last_id.max(last);
            }
            // Want of memory, say, or of a newer program: what the journal holds is not given up for that, and the next start may have it.
            (Some(Err(error @ (JournalError::Io { .. } | JournalError::Version { found: journal::FORMAT.. }))), _) => {
                return Err(error).context("cannot open a journal that was kept");
            }
            (Some(Err(error)), Some(file)) => {
                self.lost.insert(lane, aside::held(file.as_fd()));
                put_aside(lane, lanes, &error, file.as_fd(), around);
                open(&arbiter, fresh(lane, around)?, share, path, log).context("cannot begin a journal")?;
            }
            (None, _) | (_, None) => {
                open(&arbiter, fresh(lane, around)?, share, path, log).context("cannot begin a journal")?;
            }
        }
        self.arbiters.push(arbiter);
        Ok(())
    }
}

/// Writes a journal that cannot be read down for whoever can, unless there is output in it that must not be on disk.
fn put_aside(lane: u32, lanes: u32, error: &JournalError, file: BorrowedFd<'_>, around: &Surroundings<'_>) {
    let bytes = aside::held(file).now;
    let may_be_written = !around.unlogged.iter().any(|id| id.0 % lanes == lane);
    let fate = if may_be_written {
        let aside = around.state_dir.join(format!("journal-{lane}.damaged-{}", now_ms()));
        match aside::copy(file, &aside) {
            Ok(()) => format!("set aside as {}", aside.display()),
            Err(error) => format!("dropped, since it cannot be written down ({error})"),
        }
    } else {
        "dropped, since it may hold output of terminals that are not logged".to_owned()
    };
    around.findings.note(format!(
        "journal {lane} cannot be read ({error}) and is {fate}: at most {bytes} bytes that were not on disk yet are missing"
    ));
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// Has terminals hibernate once they were idle for so long, or never.
pub(super) fn hibernate_after(lanes: &[ArbiterHandle], idle: Option<Duration>) {
    for lane in lanes {
        lane.spawn_fn(move || Lane::current().hibernate_after(idle));
    }
}

/// Has every arbiter's pulse beat, the main one's included, on which this is called.
pub(super) fn pulses(lanes: &[ArbiterHandle]) -> Vec<Arc<Pulse>> {
    let main = Pulse::new("main");
    actix_rt::spawn(main.clone().beat(|| 0));
    let lane = |(n, lane): (usize, &ArbiterHandle)| {
        let pulse = Pulse::new(format!("lane {n}"));
        let beating = pulse.clone();
        lane.spawn_fn(move || _ = actix_rt::spawn(beating.beat(|| Lane::current().journal().live_bytes())));
        pulse
    };
    [main].into_iter().chain(lanes.iter().enumerate().map(lane)).collect()
}

/// A new journal, in custody before it is used.
fn fresh(lane: u32, around: &Surroundings<'_>) -> anyhow::Result<JournalFds> {
    let (custody, fds) = (around.custody, JournalFds::create().context("cannot make a journal")?);
    fds.set_lineage(around.lineage).context("cannot make a journal")?;
    let name = Tag::Journal(lane).to_string();
    custody.remove(&name)?;
    custody.store(&name, fds.file.as_fd())?;
    keep_pipe(lane, &fds, custody)?;
    Ok(fds)
}

/// Has a pipe's two ends kept, and nothing else under their names.
fn keep_pipe(lane: u32, fds: &JournalFds, custody: &dyn Custody) -> anyhow::Result<()> {
    for (tag, fd) in [(Tag::PipeReader(lane), &fds.reader), (Tag::PipeWriter(lane), &fds.writer)] {
        custody.remove(&tag.to_string())?;
        custody.store(&tag.to_string(), fd.as_fd())?;
    }
    Ok(custody.settle()?)
}

/// Opens the journal on the arbiter's own thread, where it stays; what there was to mend, and the last terminal that has records in it.
fn open(
    arbiter: &Arbiter,
    fds: JournalFds,
    bytes_max: u64,
    path: DataPath,
    log: &Log,
) -> Result<(Recovery, Option<TermId>), JournalError> {
    let log = log.clone();
    let (reply, answer) = mpsc::channel();
    arbiter.spawn_fn(move || {
        let opened = Journal::open(fds, bytes_max, path).and_then(|(journal, recovery)| {
            let last = journal.terms().max();
            let installed = Lane::install(journal, log).map(|()| (recovery, last));
            installed.map_err(|source| JournalError::Io { what: "following it", source })
        });
        let _ = reply.send(opened);
    });
    answer.recv().unwrap_or(Err(JournalError::Foreign))
}

fn report(lane: u32, recovery: Recovery) {
    let Recovery { tail_bytes, pipe_bytes, voided } = recovery;
    tracing::info!(lane, tail_bytes, pipe_bytes, voided, "journal recovered");
}
