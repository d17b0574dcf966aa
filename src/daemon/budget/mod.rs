//! The supervisor's memory, kept within a limit, and told of.
//!
//! ```text
//!   own memory, once a second ─┐            ┌─► mirrors_max for the registry     ┐ by level: see `level`
//!   limit ─────────────────────┼─► level ───┼─► the allocator gives back         │
//!   hints that memory is short ┘            ├─► the log's database starts over   │
//!                                           └─► nothing new is taken on          ┘
//!   heap, once a minute ─► growth ─► event, gauge          near the limit, and now and then ─► diag: files
//! ```
//!
//! sled has no way to shrink its cache while it is open: it is closed and opened again, by the log's thread, which takes a moment in
//! which output waits in the journal.
//!
//! **Invariants.** No terminal is ever ended for memory. What is used is this process's own memory, resident, without the files that it
//! maps: its children's, in whatever group, does not count. Nothing here waits on an actor's thread.

mod diag;
mod growth;
mod level;
mod limit;
mod pressure;

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix::Addr;
use kaval_actors::{
    log::service::Log,
    registry::{Figures, Happening, LimitMirrors, List, Note, Registry, TakeFigures},
};
use tokio::{task::spawn_blocking, time::sleep};

pub(crate) use self::limit::Limit;
use self::{diag::Diag, growth::Growth, level::Level, pressure::Pressure};
use super::profile;
use crate::{
    config,
    vitals::{self, BUDGET, Heap},
};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// How long a hint counts.
const HINT: Duration = Duration::from_secs(30);
/// Least time between two times that the allocator is told to give back, and that the database starts over.
const PURGE_EVERY: Duration = Duration::from_secs(10);
const SHRINK_EVERY: Duration = Duration::from_secs(120);
/// The part of the limit that the journal may have at most.
const JOURNAL_PART: u64 = 4;

/// What the supervisor uses, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    heap: u64,
    log: u64,
    resident: u64,
    /// What counts: resident memory of its own.
    own: u64,
}

impl Used {
    fn now() -> Self {
        let heap = Heap::now();
        let log = vitals::log_heap_bytes().unwrap_or(0);
        let own = vitals::own_bytes().unwrap_or(heap.resident_bytes);
        Self { heap: heap.allocated_bytes, log, resident: heap.resident_bytes, own }
    }
}

/// The limit in force, which `vitals` tells from now on.
pub(super) fn limit(memory: &config::Memory) -> Option<Limit> {
    let limit = match memory.limit {
        config::MemoryLimit::Off => None,
        config::MemoryLimit::Auto => limit::find(None),
        config::MemoryLimit::Bytes(bytes) => limit::find(Some(bytes.as_u64())),
    };
    if let Some(Limit { bytes, source }) = &limit {
        tracing::info!(bytes, source, "memory is limited");
        BUDGET.limit(*bytes, source);
    }
    limit
}

/// How much of what is configured the journal may have where there is a limit.
pub(super) fn journal(configured: u64, limit: Option<&Limit>) -> u64 {
    limit.map_or(configured, |limit| configured.min(limit.bytes / JOURNAL_PART))
}

/// See the module's head.
pub(super) struct Budget {
    limit: Option<Limit>,
    /// Bytes that mirrors may take by the configuration, which may change.
    mirrors_max: Rc<Cell<u64>>,
    registry: Addr<Registry>,
    log: Log,
    diag: Option<Diag>,
    settings: config::Diag,
    level: Level,
    growth: Growth,
    /// The mirrors' limit as it was told last.
    told_mirrors: u64,
    /// The threshold that was reported last.
    told_threshold: u64,
    hinted: Option<Instant>,
    purged: Option<Instant>,
    shrunk: Option<Instant>,
}

impl Budget {
    pub(super) fn new(
        limit: Option<Limit>,
        mirrors_max: Rc<Cell<u64>>,
        registry: Addr<Registry>,
        log: Log,
        settings: config::Diag,
    ) -> Self {
        let dir = std::env::var_os("KAVAL_DIAG_DIR").filter(|dir| !dir.is_empty()).map(Into::into).or(settings.dir.clone());
        let open = |dir| {
            Diag::open(dir).inspect_err(|error| tracing::warn!(%error, "the directory for diagnosis cannot be used")).ok()
        };
        let told_mirrors = mirrors_max.get();
        Self {
            limit,
            mirrors_max,
            registry,
            log,
            diag: dir.and_then(open),
            settings,
            level: Level::Normal,
            growth: Growth::default(),
            told_mirrors,
            told_threshold: 0,
            hinted: None,
            purged: None,
            shrunk: None,
        }
    }

    /// Keeps to it until the process ends.
    pub(super) async fn keep(mut self) {
        let mut pressure = Pressure::watch();
        let begun = Instant::now();
        let (mut minute, mut line, mut baseline) =
            (begun + MINUTE, begun + self.settings.every, Some(self.settings.baseline_after));
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = pressure.hint() => self.note_hint(),
            }
            let Ok(used) = spawn_blocking(Used::now).await else { return };
            self.look(used).await;
            let now = Instant::now();
            if now >= minute {
                minute = now + MINUTE;
                self.minute(used).await;
            }
            if baseline.is_some_and(|after| begun.elapsed() >= after) {
                baseline = None;
                self.report("baseline", "baseline", used).await;
            }
            if now >= line {
                line = now + self.settings.every;
                self.line(used).await;
            }
        }
    }

    fn note_hint(&mut self) {
        if self.hinted.replace(Instant::now()).is_none_or(|last| last.elapsed() > HINT) {
            tracing::info!("memory is short on this machine: what can be done without is given back");
        }
    }

    async fn look(&mut self, used: Used) {
        let limit = self.limit.as_ref().map(|limit| limit.bytes);
        let level = limit.map_or(Level::Normal, |limit| Level::of(used.own, limit, self.level));
        if level != self.level {
            self.change(level, used);
        }
        let hinted = self.hinted.is_some_and(|at| at.elapsed() < HINT);
        self.act(if hinted { level.max(Level::Elevated) } else { level });
        if let Some(limit) = limit
            && let Some(percent) = diag::threshold(&mut self.told_threshold, used.own, limit)
        {
            self.near_limit(percent, used).await;
        }
    }

    fn change(&mut self, level: Level, used: Used) {
        let source = self.limit.as_ref().map_or("", |limit| limit.source.as_str());
        if level > self.level {
            tracing::warn!(%level, used = used.own, limit = source, "memory is near its limit");
        } else {
            tracing::info!(%level, used = used.own, "memory is further from its limit");
        }
        self.level = level;
        BUDGET.set_level(level as u8, level == Level::Critical);
        self.registry.do_send(Note(Happening::MemoryLevel { level: level.to_string() }));
    }

    /// What a level asks for.
    fn act(&mut self, level: Level) {
        let mirrors = level.mirrors(self.mirrors_max.get());
        if std::mem::replace(&mut self.told_mirrors, mirrors) != mirrors {
            self.registry.do_send(LimitMirrors(mirrors));
        }
        if level >= Level::High && is_due(&mut self.shrunk, SHRINK_EVERY) {
            self.log.shrink();
        }
        if level >= Level::Elevated && is_due(&mut self.purged, PURGE_EVERY) {
            drop(spawn_blocking(vitals::purge));
        }
    }

    async fn minute(&mut self, used: Used) {
        let alarm = self.growth.minute(used.heap);
        let per_minute = self.growth.per_minute();
        BUDGET.set_growth(per_minute);
        if alarm {
            tracing::warn!(
                per_minute,
                heap = used.heap,
                "memory keeps growing: kaval ls and kaval admin heap-profile tell more"
            );
            self.registry.do_send(Note(Happening::MemoryGrowth { per_minute }));
            self.report("growth", "growth", used).await;
        }
    }

    async fn line(&self, used: Used) {
        let (Some(diag), Ok(figures)) = (self.diag.clone(), self.registry.send(TakeFigures { terms: false }).await) else {
            return;
        };
        let limit = self.limit.as_ref().map(|limit| limit.bytes);
        let line = format!("{} {}", vitals::time(), diag::line(used, limit, &figures, self.growth.per_minute()));
        tell(spawn_blocking(move || diag.log(&line)).await.unwrap_or(Ok(())));
    }

    async fn near_limit(&self, percent: u64, used: Used) {
        let name = format!("near-limit-{percent}");
        self.report("near-limit", &name, used).await;
        let Some(diag) = self.diag.clone() else { return };
        match profile::take().await {
            Ok(profile) => {
                let name = format!("{name}-{}.pb.gz", vitals::time());
                tell(spawn_blocking(move || diag.write("near-limit", &name, &profile).map(drop)).await.unwrap_or(Ok(())));
            }
            Err(error) => tracing::warn!(%error, "no profile of the heap"),
        }
    }

    async fn report(&self, kind: &'static str, name: &str, used: Used) {
        let Some(diag) = self.diag.clone() else { return };
        let Ok(figures) = self.figures().await else { return };
        let Ok(page) = self.registry.send(List { after: None, bytes_max: usize::MAX }).await else { return };
        let (time, limit) = (vitals::time(), self.limit.as_ref().map(|limit| limit.bytes));
        let name = format!("{name}-{time}.txt");
        let growth = self.growth.per_minute();
        let text = move || diag::report(&time, used, limit, &figures, growth, page.listings);
        let write = move || diag.write(kind, &name, text().as_bytes());
        match spawn_blocking(write).await {
            Ok(Ok(path)) => tracing::info!(path = %path.display(), "a report of memory was written"),
            Ok(Err(error)) => tell(Err(error)),
            Err(_) => {}
        }
    }

    async fn figures(&self) -> Result<Figures, actix::MailboxError> {
        self.registry.send(TakeFigures { terms: false }).await
    }
}

/// Whether so much time is over since the last time, which is now then.
fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

fn tell(written: std::io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!(%error, "a report of memory could not be written");
    }
}
