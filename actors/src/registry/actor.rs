//! The actor: takes in what it is told, numbers what happened, and answers.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, WrapFuture};
use tokio::sync::watch;

use super::{
    Announce, DropMirrors, EndEvents, Event, Figures, FollowEvents, Followed, Forget, Happening, Ledger, LimitMirrors, List,
    LogFigures, Note, NoteUse, Obey, PerTerm, Pulse, ReadEvents, Ready, Report, TakeFigures,
    feed::Feed,
    mirrors::Mirrors,
    roll::{Roll, Told},
};
use crate::log::stats::{FAULT_KINDS, Stats};

/// How long until numbers that could not be reserved are asked for again.
const RESERVE_RETRY: Duration = Duration::from_secs(5);
/// How often it is looked at how the log is, and at mirrors that were in use.
const LOOK: Duration = Duration::from_secs(1);
/// Messages that may wait: `send` waits for a place, and those who tell do not.
const MAILBOX_MAX: usize = 1024;

/// What a registry is made of.
pub struct RegistryParts {
    /// Where numbers come from.
    pub ledger: Ledger,
    /// The first that were reserved.
    pub numbers: Range<u64>,
    /// How the supervisor before this one ended, in a few words.
    pub previous_end: String,
    /// Whether there was one.
    pub is_restart: bool,
    /// Why the last upgrade was undone, if it was.
    pub upgrade_undone: Option<String>,
    /// How often supervisors ended how.
    pub restarts: BTreeMap<String, u64>,
    /// The arbiters' pulses, the main one's first.
    pub pulses: Vec<Arc<Pulse>>,
    /// What the log does.
    pub log: Arc<Stats>,
    /// Which terminals have series of their own.
    pub per_term: PerTerm,
    /// Whether those have their names among them.
    pub term_info: bool,
    /// Bytes that all mirrors together may take.
    pub mirrors_max: u64,
    /// Bytes of memory that were in use before there was any terminal, the log's apart.
    pub base_bytes: u64,
}

/// See [the module](super).
pub struct Registry {
    parts: RegistryParts,
    roll: Roll,
    feed: Feed,
    mirrors: Mirrors,
    /// Who has mirrors dropped.
    obeying: Option<Recipient<DropMirrors>>,
    /// Told of every event; `None` once events have ended.
    news: Option<watch::Sender<u64>>,
    reserving: bool,
    recovery: Option<Duration>,
    log_seen: LogSeen,
}

impl Registry {
    /// One that knows of no terminal yet.
    pub fn new(parts: RegistryParts) -> Self {
        let feed = Feed::new(parts.numbers.clone());
        let news = Some(watch::Sender::new(feed.next()));
        let mirrors = Mirrors::new(parts.mirrors_max);
        Self {
            parts,
            roll: Roll::default(),
            feed,
            mirrors,
            obeying: None,
            news,
            reserving: false,
            recovery: None,
            log_seen: LogSeen::default(),
        }
    }

    fn tell(&mut self, told: impl IntoIterator<Item = Told>, ctx: &mut Context<Self>) {
        for (id, name, what) in told {
            self.feed.push(Event { seq: 0, time_ms: now_ms(), term: Some((id, name)), what });
        }
        self.publish(ctx);
    }

    /// Wakes those who follow, and sees to it that there are numbers for what comes.
    fn publish(&mut self, ctx: &mut Context<Self>) {
        let next = self.feed.next();
        if let Some(news) = &self.news {
            news.send_if_modified(|last| std::mem::replace(last, next) != next);
        }
        if self.feed.left() < Ledger::LOW && !self.reserving {
            self.reserve(ctx);
        }
    }

    /// The log thread tells nobody: it is looked at.
    fn look_at_log(&mut self, ctx: &mut Context<Self>) {
        let told = self.log_seen.advance(&LogFigures::of(&self.parts.log));
        for what in told {
            self.feed.push(Event { seq: 0, time_ms: now_ms(), term: None, what });
        }
        self.publish(ctx);
    }

    /// Has mirrors dropped that are too many.
    fn trim(&mut self) {
        let Some(obeying) = &self.obeying else { return };
        let surplus = self.mirrors.surplus(Instant::now());
        if !surplus.is_empty() {
            // Each terminal is named once until it was used again.
            obeying.do_send(DropMirrors(surplus));
        }
    }

    fn reserve(&mut self, ctx: &mut Context<Self>) {
        self.reserving = true;
        let ledger = self.parts.ledger.clone();
        let reserved = actix_rt::task::spawn_blocking(move || ledger.reserve());
        ctx.spawn(reserved.into_actor(self).map(|reserved, registry, ctx| match reserved {
            Ok(Ok(numbers)) => {
                registry.reserving = false;
                registry.feed.grant(numbers);
                registry.publish(ctx);
            }
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "events wait for their numbers");
                ctx.run_later(RESERVE_RETRY, |registry, ctx| registry.reserve(ctx));
            }
            Err(_) => registry.reserving = false,
        }));
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The log, as it was last looked at.
#[derive(Debug, Default)]
struct LogSeen {
    faults: [u64; FAULT_KINDS.len()],
    faulty: bool,
}

impl LogSeen {
    /// What has happened since.
    fn advance(&mut self, now: &LogFigures) -> Vec<Happening> {
        let new = FAULT_KINDS.into_iter().zip(now.faults.iter().zip(self.faults)).filter(|(_, (now, before))| **now > *before);
        let mut told: Vec<_> = new.map(|(kind, _)| Happening::LogFault { kind }).collect();
        if self.faulty && !now.faulty {
            told.push(Happening::LogResumed);
        }
        *self = Self { faults: now.faults, faulty: now.faulty };
        told
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MAX);
        ctx.run_interval(LOOK, |registry, ctx| {
            registry.look_at_log(ctx);
            registry.trim();
        });
        if self.parts.is_restart {
            let what = Happening::SupervisorRestarted { cause: self.parts.previous_end.clone() };
            self.feed.push(Event { seq: 0, time_ms: now_ms(), term: None, what });
        }
        if let Some(reason) = self.parts.upgrade_undone.clone() {
            let what = Happening::UpgradeUndone { reason };
            self.feed.push(Event { seq: 0, time_ms: now_ms(), term: None, what });
        }
        self.publish(ctx);
    }
}

impl Handler<Announce> for Registry {
    type Result = ();

    fn handle(&mut self, announce: Announce, ctx: &mut Self::Context) {
        let told = self.roll.announce(announce);
        self.tell(told, ctx);
    }
}

impl Handler<Forget> for Registry {
    type Result = ();

    fn handle(&mut self, Forget { id, cause }: Forget, ctx: &mut Self::Context) {
        self.mirrors.forget(id);
        let told = self.roll.forget(id, cause);
        self.tell(told, ctx);
    }
}

impl Handler<Report> for Registry {
    type Result = ();

    fn handle(&mut self, report: Report, ctx: &mut Self::Context) {
        let (id, used) = (report.id, report.used);
        let mirror = if report.hibernated { 0 } else { report.memory.mirror };
        if let Some(told) = self.roll.report(report) {
            self.mirrors.note(id, used, mirror);
            self.tell(told, ctx);
            self.trim();
        }
    }
}

impl Handler<Ready> for Registry {
    type Result = ();

    fn handle(&mut self, Ready(took): Ready, _: &mut Self::Context) {
        self.recovery = Some(took);
    }
}

impl Handler<NoteUse> for Registry {
    type Result = ();

    fn handle(&mut self, NoteUse(used): NoteUse, _: &mut Self::Context) {
        self.roll.note_use(used);
    }
}

impl Handler<Note> for Registry {
    type Result = ();

    fn handle(&mut self, Note(what): Note, ctx: &mut Self::Context) {
        self.feed.push(Event { seq: 0, time_ms: now_ms(), term: None, what });
        self.publish(ctx);
    }
}

impl Handler<LimitMirrors> for Registry {
    type Result = ();

    fn handle(&mut self, LimitMirrors(bytes_max): LimitMirrors, _: &mut Self::Context) {
        self.mirrors.limit(bytes_max);
        self.trim();
    }
}

impl Handler<Obey> for Registry {
    type Result = ();

    fn handle(&mut self, Obey(who): Obey, _: &mut Self::Context) {
        self.obeying = Some(who);
        self.trim();
    }
}

impl Handler<List> for Registry {
    type Result = MessageResult<List>;

    fn handle(&mut self, List { after, bytes_max }: List, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.roll.page(after, bytes_max, &self.parts.log.shares()))
    }
}

impl Handler<TakeFigures> for Registry {
    type Result = MessageResult<TakeFigures>;

    fn handle(&mut self, TakeFigures { terms }: TakeFigures, _: &mut Self::Context) -> Self::Result {
        let per_term = if terms { self.parts.per_term } else { PerTerm::Off };
        let shares = self.parts.log.shares();
        MessageResult(Figures {
            counts: self.roll.counts(),
            totals: self.roll.totals(),
            mirrors_bytes: self.mirrors.bytes(),
            names: self.parts.term_info,
            previous_end: self.parts.previous_end.clone(),
            upgrade_undone: self.parts.upgrade_undone.clone(),
            restarts: self.parts.restarts.clone(),
            recovery: self.recovery,
            lanes: self.parts.pulses.iter().map(|pulse| pulse.figures()).collect(),
            log: LogFigures::of(&self.parts.log),
            memory: self.roll.memory(&shares),
            base_bytes: self.parts.base_bytes + self.feed.memory_bytes() as u64,
            terms: self.roll.figures(per_term, &shares),
        })
    }
}

impl Handler<FollowEvents> for Registry {
    type Result = MessageResult<FollowEvents>;

    fn handle(&mut self, _: FollowEvents, _: &mut Self::Context) -> Self::Result {
        let next = self.feed.next();
        let news = self.news.as_ref().map_or_else(|| watch::channel(next).1, watch::Sender::subscribe);
        MessageResult(Followed { next, news })
    }
}

impl Handler<ReadEvents> for Registry {
    type Result = MessageResult<ReadEvents>;

    fn handle(&mut self, ReadEvents { from, term, max }: ReadEvents, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.feed.read(from, term, max))
    }
}

impl Handler<EndEvents> for Registry {
    type Result = ();

    fn handle(&mut self, _: EndEvents, _: &mut Self::Context) {
        self.news = None;
    }
}
