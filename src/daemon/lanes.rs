//! The lanes: arbiters (threads) with a journal each, new or taken back.

use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    sync::{Arc, mpsc},
    thread,
};

use actix_rt::{Arbiter, ArbiterHandle};
use anyhow::Context;
use kaval_actors::{
    TermId,
    log::{
        journal::{self, DataPath, Journal, JournalError, JournalFds, Recovery},
        service::Log,
    },
    registry::Pulse,
    supervisor::{Custody, custody::Tag},
    terminal::Lane,
};

/// More lanes than this do not help: one moves some 40 MB/s of drawn output.
const LANES_MAX: usize = 8;

/// What was started.
pub(super) struct Lanes {
    /// To be kept: an arbiter ends when it is dropped.
    pub(super) arbiters: Vec<Arbiter>,
    pub(super) handles: Vec<ArbiterHandle>,
    /// The last terminal that the journals have records of, whether it is still known or not.
    pub(super) last_id: Option<TermId>,
}

/// Starts as many lanes as there are journals, or, at the first start, processors. A lane whose journal cannot be read gets a new one, and
/// says so.
///
/// # Errors
/// When the system has no descriptors, memory or threads left.
pub(super) fn start(
    mut journals: BTreeMap<u32, JournalFds>,
    bytes_max: u64,
    path: DataPath,
    custody: &dyn Custody,
    log: &Log,
) -> anyhow::Result<Lanes> {
    let lanes = match journals.keys().next_back() {
        Some(last) => *last + 1,
        None => thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX) as u32,
    };
    let share = bytes_max / u64::from(lanes);
    let (mut arbiters, mut last_id) = (Vec::new(), None);
    for lane in 0..lanes {
        let arbiter = Arbiter::new();
        let kept = journals.remove(&lane).map(|fds| open(&arbiter, fds, share, path, log));
        match kept {
            Some(Ok((recovery, last))) => {
                report(lane, recovery);
                last_id = last_id.max(last);
            }
            // Want of memory, say, or of a newer program: what the journal holds is not given up for that, and the next start may have it.
            Some(Err(error @ (JournalError::Io { .. } | JournalError::Version { found: journal::FORMAT.. }))) => {
                return Err(error).context("cannot open a journal that was kept");
            }
            other => {
                if let Some(Err(error)) = other {
                    tracing::error!(
                        lane,
                        error = &error as &dyn std::error::Error,
                        "a journal cannot be read: its output is lost"
                    );
                }
                open(&arbiter, fresh(lane, custody)?, share, path, log).context("cannot begin a journal")?;
            }
        }
        arbiters.push(arbiter);
    }
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    Ok(Lanes { arbiters, handles, last_id })
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
fn fresh(lane: u32, custody: &dyn Custody) -> anyhow::Result<JournalFds> {
    let fds = JournalFds::create().context("cannot make a journal")?;
    let named = [
        (Tag::Journal(lane), fds.file.as_fd()),
        (Tag::PipeReader(lane), fds.reader.as_fd()),
        (Tag::PipeWriter(lane), fds.writer.as_fd()),
    ];
    for (tag, fd) in named {
        custody.remove(&tag.to_string())?;
        custody.store(&tag.to_string(), fd)?;
    }
    custody.settle()?;
    Ok(fds)
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
