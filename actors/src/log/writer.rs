//! The log thread: follows every lane's journal, writes what is there to the terminals' trees, and tells the lanes how far that is on disk.
//!
//! ```text
//!             ┌── stirred: wait out the rest of `sync` ──┐
//!   asleep ───┤                                          ├──► pass: read ─► trees ─► flush ─► lanes told ─► retention ──► asleep
//!             └── urged: at once ────────────────────────┘       │ fails
//!                                                                ▼
//!                                        fault: lanes lose what has no room, the store is opened anew, and the pass tried again
//! ```
//!
//! **Invariants.** Memory is bounded by a pass's share of a journal, whatever comes and whatever the disk does. A lane is told that a record
//! is stored only after a flush that followed its writing. A fault costs what the journals could not hold meanwhile, as gaps of
//! known length, and nothing else; it ends by itself. One thread, so that no two passes meet.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;

use super::{
    clock::{Clock, since_boot},
    journal::{Bell, Entry, Follower, Missing},
    recount::Counted,
    retention::{self, Eviction, Summary},
    service::{Command, Settings},
    stats::{FAULT_KINDS, FaultKind, Stats, WRITE_DURATION},
    store::{Store, StoreError},
    tree::{self, TermLog},
};
use crate::{Findings, TermId};

/// Journal bytes that are written in one go before the next lane gets its turn.
const PASS_BYTES: u64 = 4 << 20;
/// Free disk space below which nothing is logged: what else runs on the machine needs it more, and the manifest does.
const FREE_BYTES_MIN: u64 = 16 << 20;
/// How long until a store that failed is opened anew, first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How long retention may take in one pass.
const RETENTION_MAX: Duration = Duration::from_millis(200);
/// How often the limits are looked at while there is ever more to write.
const RETENTION_AMID: Duration = Duration::from_secs(1);
/// How often it is looked at whether the store is still where it was, while there is nothing to write.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Where the time that was believed last is kept, and how often it is written down.
const CLOCK_TREE: &str = "clock";
const CLOCK_KEY: &[u8] = b"believed-ns";
const CLOCK_EVERY: Duration = Duration::from_secs(3600);
/// How often the limits are looked at while there is nothing to write: output gets old by itself.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// Why nothing can be written for now.
#[derive(Debug)]
pub(super) struct Fault {
    kind: FaultKind,
    retry_at: Instant,
    pause: Duration,
}

#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("the disk has less than {} MiB free", FREE_BYTES_MIN >> 20)]
    DiskFull,
    #[error("the log takes all of log.total_bytes_max on disk")]
    Limit,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the journal cannot be read")]
    Journal(#[source] io::Error),
}

impl PassError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::DiskFull => FaultKind::DiskFull,
            Self::Limit => FaultKind::Limit,
            Self::Store(_) => FaultKind::Store,
            Self::Journal(_) => FaultKind::Journal,
        }
    }
}

/// What the thread does, apart from the thread.
pub(super) struct Writer {
    store: Store,
    pub(super) settings: Settings,
    queue: mpsc::Receiver<Command>,
    pub(super) bell: Arc<Bell>,
    pub(super) stats: Arc<Stats>,
    findings: Findings,
    pub(super) lanes: Vec<Follower>,
    logs: HashMap<TermId, TermLog>,
    /// Whose output is logged. Journals hold more: that of terminals that are not, or that are forgotten.
    admitted: BTreeSet<TermId>,
    draining: Vec<oneshot::Sender<()>>,
    /// The database is to start over.
    shrinking: bool,
    /// Line numbers that were found, to be put on record.
    counting: Vec<(TermId, Counted, oneshot::Sender<()>)>,
    pub(super) fault: Option<Fault>,
    /// What was last wrong: a gap that is found has come of it.
    cause: FaultKind,
    last_pass: Instant,
    last_retention: Instant,
    /// Known once the store was read.
    clock: Option<Clock>,
    clock_kept: Option<Instant>,
    entries: Vec<Entry>,
    payload: Vec<u8>,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        settings: Settings,
        queue: mpsc::Receiver<Command>,
        bell: Arc<Bell>,
        stats: Arc<Stats>,
        findings: Findings,
    ) -> Self {
        let now = Instant::now();
        Self {
            store,
            settings,
            queue,
            bell,
            stats,
            findings,
            lanes: Vec::new(),
            logs: HashMap::new(),
            admitted: BTreeSet::new(),
            draining: Vec::new(),
            shrinking: false,
            counting: Vec::new(),
            fault: None,
            cause: FaultKind::Stall,
            last_pass: now,
            last_retention: now,
            clock: None,
            clock_kept: None,
            entries: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(super) fn take_stock_or_fail(&mut self, known: BTreeSet<TermId>) {
        self.admitted = known;
        if let Err(error) = self.take_stock() {
            self.fail(&error.into());
        }
    }

    /// Until every handle is gone.
    pub(super) fn run(mut self) {
        while self.obey() {
            self.turn();
            self.sleep();
        }
    }

    /// Makes a pass if it is time.
    pub(super) fn turn(&mut self) {
        if self.is_due() {
            // One who asks during the pass waits for the next: this one may be past what is meant.
            let draining = std::mem::take(&mut self.draining);
            self.stats.set_busy(true);
            self.pass_or_fail();
            self.stats.set_busy(false);
            draining.into_iter().for_each(|drained| _ = drained.send(()));
        }
    }

    /// Does what it is told; `false` once nobody is left to tell anything.
    fn obey(&mut self) -> bool {
        loop {
            match self.queue.try_recv() {
                Ok(Command::Follow(follower)) => self.lanes.push(follower),
                Ok(Command::Admit(id)) => _ = self.admitted.insert(id),
                Ok(Command::Forget(id)) => self.forget(id),
                Ok(Command::Limit(limits)) => self.settings.limits = limits,
                Ok(Command::Shrink) => self.shrinking = true,
                Ok(Command::Drain(reply)) => self.draining.push(reply),
                Ok(Command::Count(id, counted, reply)) => self.counting.push((id, counted, reply)),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn is_due(&self) -> bool {
        let has_work = self.bell.is_stirred() || self.fault.is_some();
        let waited_out = self.last_pass.elapsed() >= if has_work { self.settings.sync } else { RETENTION_EVERY };
        let retry = self.fault.as_ref().is_none_or(|fault| Instant::now() >= fault.retry_at);
        !self.draining.is_empty()
            || self.shrinking
            || !self.counting.is_empty()
            || (retry && (self.bell.take_urgent() || waited_out || self.store.is_displaced()))
    }

    fn sleep(&self) {
        let idle = !self.bell.is_stirred() && self.fault.is_none();
        let until_sync = self.settings.sync.saturating_sub(self.last_pass.elapsed()).max(Duration::from_millis(1));
        let wait = match &self.fault {
            Some(fault) => fault.retry_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
            None if !self.draining.is_empty() || self.shrinking || !self.counting.is_empty() => Duration::ZERO,
            None if idle => LOOK_EVERY,
            None => until_sync,
        };
        thread::park_timeout(wait);
    }

    pub(super) fn forget(&mut self, id: TermId) {
        self.admitted.remove(&id);
        self.logs.remove(&id);
        self.stats.logs().remove(&id);
        if let Err(error) = self.store.drop_tree(&tree::name(id)) {
            tracing::warn!(%id, error = &error as &dyn std::error::Error, "a log could not be deleted: the next start tries again");
        }
    }

    /// Finds out what logs there are, and deletes those of nobody.
    fn take_stock(&mut self) -> Result<(), StoreError> {
        for name in self.store.tree_names()? {
            match tree::owner(&name) {
                Some(id) if self.admitted.contains(&id) => {
                    let log = TermLog::open(&self.store, id)?;
                    self.note(id, &log);
                }
                Some(id) => {
                    tracing::info!(%id, "the log of a terminal that was forgotten is deleted");
                    self.store.drop_tree(&name)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn note(&self, id: TermId, log: &TermLog) {
        let standing = log.standing();
        self.stats.logs().insert(
            id,
            Summary {
                bytes: standing.bytes,
                oldest_ns: standing.oldest_ns,
                floor: standing.floor,
                end: standing.end,
                memory: log.memory_bytes() as u64,
            },
        );
    }

    pub(super) fn pass_or_fail(&mut self) {
        let begun = Instant::now();
        // What is committed from now on may be missed by this pass, and stirs anew.
        self.bell.take_stirred();
        let logged = self.stats.logged_bytes.load(Ordering::Relaxed);
        let pass = || self.reopen_after_fault().and_then(|()| self.pass()).and_then(|()| self.shrink());
        let panicked = |_| Err(PassError::Store(StoreError::Panicked { what: "written" }));
        let result = catch_unwind(AssertUnwindSafe(pass)).unwrap_or_else(panicked);
        self.last_pass = Instant::now();
        if self.stats.logged_bytes.load(Ordering::Relaxed) > logged {
            metrics::histogram!(WRITE_DURATION).record(begun.elapsed());
        }
        match result {
            Ok(()) => {
                if self.fault.is_none() {
                    self.cause = FaultKind::Stall;
                }
                if let Some(fault) = self.fault.take() {
                    tracing::info!(kind = FAULT_KINDS[fault.kind as usize], "the log goes on");
                    self.set_lossy(false);
                }
            }
            Err(error) => self.fail(&error),
        }
        tracing::trace!(took_ms = begun.elapsed().as_millis() as u64, "a pass of the log");
    }

    /// Has the database start over, if it was asked for, once all that was taken is on disk.
    fn shrink(&mut self) -> Result<(), PassError> {
        if !std::mem::take(&mut self.shrinking) || self.store.is_displaced() {
            return Ok(());
        }
        self.store.flush()?;
        self.logs.clear();
        self.store.reopen()?;
        self.take_stock()?;
        tracing::info!("the log's database has started over, to give memory back");
        Ok(())
    }

    /// What was under way when the fault came may be half done: everything is read again, from the store and from the journals.
    fn reopen_after_fault(&mut self) -> Result<(), PassError> {
        let Some(fault) = &self.fault else { return Ok(()) };
        self.logs.clear();
        self.lanes.iter_mut().for_each(Follower::rewind);
        // One that is displaced has what is nowhere else: it is put back, not closed.
        if fault.kind == FaultKind::Store && !self.store.is_displaced() {
            self.store.reopen()?;
            self.take_stock()?;
        }
        Ok(())
    }

    fn fail(&mut self, error: &PassError) {
        let kind = error.kind();
        self.cause = kind;
        let before = self.fault.take();
        if before.as_ref().is_none_or(|fault| fault.kind != kind) {
            self.stats.count_fault(kind);
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "the log stands still: terminals go on, and output may be missing from their history");
        }
        if let (PassError::Store(error), Some(Fault { kind: FaultKind::Store, .. })) = (error, &before)
            && error.is_damage()
            && self.store.free_bytes().is_ok_and(|free| free >= FREE_BYTES_MIN)
        {
            self.condemn();
        }
        let pause = before.map_or(RETRY_FIRST, |fault| (fault.pause * 2).min(RETRY_MAX));
        self.fault = Some(Fault { kind, retry_at: Instant::now() + pause, pause });
        self.set_lossy(true);
    }

    /// The store is damaged, and opening it anew did not help. One on a full disk may only look so.
    fn condemn(&self) {
        match self.store.condemn() {
            Ok(()) => self.stats.condemned.store(true, Ordering::Relaxed),
            Err(error) => tracing::error!(%error, "the store is damaged and cannot be marked so"),
        }
    }

    fn set_lossy(&self, lossy: bool) {
        self.stats.faulty.store(lossy, Ordering::Relaxed);
        self.lanes.iter().for_each(|lane| lane.progress().set_lossy(lossy));
    }

    fn pass(&mut self) -> Result<(), PassError> {
        if self.store.is_displaced() {
            self.put_store_back()?;
        }
        self.count()?;
        self.measure()?;
        loop {
            let mut more = false;
            for lane in 0..self.lanes.len() {
                more |= self.write_some(lane)?;
            }
            self.store.flush()?;
            self.lanes.iter().for_each(|lane| lane.progress().set_stored(lane.position()));
            if !more {
                break;
            }
            if self.last_retention.elapsed() > RETENTION_AMID {
                self.retain()?;
            }
            self.measure()?;
        }
        self.retain()?;
        Ok(())
    }

    /// Puts line numbers on record that were found.
    fn count(&mut self) -> Result<(), StoreError> {
        for (id, Counted(found), recorded) in std::mem::take(&mut self.counting) {
            if self.admitted.contains(&id) {
                let mut log = match self.logs.remove(&id) {
                    Some(log) => log,
                    None => TermLog::open(&self.store, id)?,
                };
                log.recount(&found)?;
                self.note(id, &log);
                self.logs.insert(id, log);
                let _ = recorded.send(());
            }
        }
        Ok(())
    }

    /// Somebody has deleted the store, or put another in its place.
    fn put_store_back(&mut self) -> Result<(), PassError> {
        // It takes as long as there is much, and nobody is to think that this thread hangs.
        self.stats.set_busy(false);
        let put_back = self.store.put_back();
        self.stats.set_busy(true);
        let aside = put_back?;
        self.logs.clear();
        let other =
            aside.map_or_else(String::new, |aside| format!("; what was in its place is set aside as {}", aside.display()));
        self.findings.note(format!(
            "the store was deleted or replaced while it was in use: it was written down anew, with all that was in it{other}"
        ));
        self.stats.count_fault(FaultKind::Store);
        Ok(())
    }

    /// Refuses when the disk has no room, or the log has reached its own limit.
    fn measure(&mut self) -> Result<(), PassError> {
        let disk = self.store.disk_bytes();
        let free = self.store.free_bytes().unwrap_or(u64::MAX);
        self.stats.disk_bytes.store(disk, Ordering::Relaxed);
        self.stats.disk_free_bytes.store(free, Ordering::Relaxed);
        if free < FREE_BYTES_MIN {
            return Err(PassError::DiskFull);
        }
        // Files do not get smaller, but what retention frees in them is used again.
        let limits = &self.settings.limits;
        if disk + PASS_BYTES > limits.total_bytes_max && self.live_bytes() > retention::budget(limits, disk) {
            let before = self.live_bytes();
            self.retain()?;
            let after = self.live_bytes();
            if after == before && after > retention::budget(&self.settings.limits, disk) {
                return Err(PassError::Limit);
            }
        }
        Ok(())
    }

    fn live_bytes(&self) -> u64 {
        self.stats.logs().values().map(|log| log.bytes).sum()
    }

    /// Writes the next stretch of a lane's journal; whether there is more.
    fn write_some(&mut self, lane: usize) -> Result<bool, PassError> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let more = self.lanes[lane].read(PASS_BYTES, &mut entries).map_err(PassError::Journal)?;
        // Who is new was told of before its first record was committed, and so before that was read.
        self.obey();
        let mut touched = BTreeSet::new();
        let taken = entries.iter().try_for_each(|entry| self.take(lane, entry, &mut touched));
        self.entries = entries;
        taken?;
        for id in touched {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            let committed = log.commit()?;
            self.stats.logged_bytes.fetch_add(committed.logged, Ordering::Relaxed);
            if committed.gap > 0 {
                self.note_gap(committed.gap);
                tracing::warn!(%id, bytes = committed.gap, "output is missing from the log");
            }
            let log = &self.logs[&id];
            self.note(id, log);
        }
        Ok(more)
    }

    fn note_gap(&self, bytes: u64) {
        self.stats.gap_bytes[self.cause as usize].fetch_add(bytes, Ordering::Relaxed);
        if self.cause == FaultKind::Stall {
            self.stats.count_fault(FaultKind::Stall);
        }
    }

    fn take(&mut self, lane: usize, entry: &Entry, touched: &mut BTreeSet<TermId>) -> Result<(), PassError> {
        if !self.admitted.contains(&entry.term) {
            return Ok(());
        }
        let journal = self.lanes[lane].journal_id();
        let log = match self.logs.entry(entry.term) {
            std::collections::hash_map::Entry::Occupied(log) => log.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => vacant.insert(TermLog::open(&self.store, entry.term)?),
        };
        if log.has(journal, entry) {
            return Ok(());
        }
        self.payload.clear();
        match self.lanes[lane].payload(entry, &mut self.payload) {
            Ok(()) => {
                log.take(journal, entry, &self.payload);
                touched.insert(entry.term);
            }
            Err(Missing::Dropped) => {}
            Err(Missing::Unmapped(error)) => return Err(PassError::Journal(error)),
            Err(Missing::Damaged) => {
                self.stats.count_fault(FaultKind::Journal);
                tracing::error!(id = %entry.term, offset = entry.offset, len = entry.len, "a record of the journal is damaged: it cannot be logged");
            }
        }
        Ok(())
    }

    /// Removes what is over the limits, for a bounded time.
    fn retain(&mut self) -> Result<(), StoreError> {
        self.last_retention = Instant::now();
        let disk = self.stats.disk_bytes.load(Ordering::Relaxed);
        let mut stuck = BTreeSet::new();
        let now_ns = self.believed_now()?;
        while self.last_retention.elapsed() < RETENTION_MAX {
            let eviction = retention::next(&self.stats.logs(), &stuck, &self.settings.limits, disk, now_ns);
            let Some(Eviction { id, bytes, before_ns }) = eviction else { break };
            let mut log = match self.logs.remove(&id) {
                Some(log) => log,
                None => TermLog::open(&self.store, id)?,
            };
            if log.evict(bytes, before_ns)? == 0 {
                stuck.insert(id);
            }
            self.note(id, &log);
            self.logs.insert(id, log);
        }
        self.stats.live_bytes.store(self.live_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// The time that output is aged by, which is written down now and then.
    fn believed_now(&mut self) -> Result<u64, StoreError> {
        let (tree, at) = (self.store.tree(CLOCK_TREE), since_boot());
        let mut clock = match self.clock.take() {
            Some(clock) => clock,
            None => {
                let kept = tree.get(CLOCK_KEY)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
                Clock::new(kept, at)
            }
        };
        let was_doubted = clock.is_doubted();
        let now = clock.now(now_ns(), at);
        if clock.is_doubted() && !was_doubted {
            self.findings
                .note("the clock has leapt ahead: output is not removed for its age until the new time has stood for a day");
        }
        self.clock = Some(clock);
        if self.clock_kept.is_none_or(|kept| kept.elapsed() >= CLOCK_EVERY) {
            tree.write(vec![(CLOCK_KEY.to_vec(), Some(now.to_be_bytes().to_vec()))])?;
            self.clock_kept = Some(Instant::now());
        }
        Ok(now)
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
