//! The log as the rest of kaval sees it: a handle to the log thread, which tells it what to follow and what to forget, and reads.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    journal::{Bell, Follower},
    reader::Reader,
    readers::Readers,
    recount::{self, Counted},
    retention::Limits,
    stats::Stats,
    store::{Store, StoreError},
    writer::Writer,
};
use crate::{Findings, TermId};

/// What the log thread is told at its start.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Output is on disk at most this long after it came, unless the disk is slower.
    pub sync: Duration,
    /// How long a disk that takes nothing may hold a full journal, and so the terminals, back.
    pub stall_max: Duration,
    /// What is kept.
    pub limits: Limits,
}

pub(super) enum Command {
    Follow(Follower),
    Admit(TermId),
    Forget(TermId),
    Limit(Limits),
    Shrink,
    Drain(oneshot::Sender<()>),
    Count(TermId, Counted, oneshot::Sender<()>),
}

/// A handle to the log thread.
#[derive(Debug, Clone)]
pub struct Log {
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
    stats: Arc<Stats>,
    store: Store,
    readers: Readers,
}

impl Log {
    /// Starts the thread, and those that read, on which `on_start` is called first, and returns when it knows what is there. Terminals that are
    /// `known` are logged; logs of others are deleted: they were forgotten by a supervisor that was killed over it. What it
    /// finds broken it notes among the `findings`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        store: Store,
        settings: Settings,
        known: BTreeSet<TermId>,
        findings: Findings,
        on_start: fn(),
    ) -> io::Result<Self> {
        let (commands, queue) = mpsc::channel();
        let (stats, shared) = (Arc::new(Stats::default()), store.clone());
        let (bell_there, bell) = mpsc::channel();
        let (stocked, ready) = mpsc::channel();
        let thread_stats = stats.clone();
        let thread = thread::Builder::new().name("kaval-log".into()).spawn(move || {
            on_start();
            let Ok(bell) = bell.recv() else { return };
            let mut writer = Writer::new(store, settings, queue, bell, thread_stats, findings);
            writer.take_stock_or_fail(known);
            let _ = stocked.send(());
            writer.run();
        })?;
        let bell = Arc::new(Bell::new(thread.thread().clone(), settings.stall_max));
        let _ = bell_there.send(bell.clone());
        let _ = ready.recv();
        Ok(Self { commands, bell, stats, store: shared, readers: Readers::start(on_start)? })
    }

    /// Wakes the thread, for a journal to hold on to.
    pub fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Has a journal followed.
    pub fn follow(&self, follower: Follower) {
        self.tell(Command::Follow(follower));
    }

    /// Has a new terminal logged; to be told before its first byte. What it is not told of stays off the disk.
    pub fn admit(&self, id: TermId) {
        self.tell(Command::Admit(id));
    }

    /// Deletes a terminal's log.
    pub fn forget(&self, id: TermId) {
        self.tell(Command::Forget(id));
    }

    /// Changes what is kept.
    pub fn limit(&self, limits: Limits) {
        self.tell(Command::Limit(limits));
    }

    /// Has the database start over, since its cache cannot be made smaller while it is open.
    pub fn shrink(&self) {
        self.tell(Command::Shrink);
    }

    /// Resolves once everything that is in the journals now is on disk, or the disk has refused it.
    pub async fn drain(&self) {
        let (reply, drained) = oneshot::channel();
        self.tell(Command::Drain(reply));
        let _ = drained.await;
    }

    /// What it does.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Reads a terminal's log, on one of a few threads: others wait.
    ///
    /// # Errors
    /// The store's.
    pub async fn read<T: Send + 'static>(
        &self,
        id: TermId,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Reader::new(&self.store, id);
        self.readers.read(move || read(&reader)).await
    }

    /// Finds the line numbers of checkpoints that have none, if there are any, and puts them on record: for as long as that takes.
    ///
    /// # Errors
    /// The store's.
    pub async fn count_lines(&self, id: TermId) -> Result<(), StoreError> {
        while let Some(counted) = self.read(id, recount::turn).await? {
            let (reply, recorded) = oneshot::channel();
            self.tell(Command::Count(id, counted, reply));
            if recorded.await.is_err() {
                return Err(StoreError::Closed);
            }
        }
        Ok(())
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("the log thread has ended: nothing is logged");
        }
        self.bell.urge();
    }
}
