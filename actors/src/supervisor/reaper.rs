//! The reaper: looks at what the supervisor knows when there may be something to do, and has it done the way others have it done, by a kill or
//! a removal. What is decided is decided in [`super::reap`].
//!
//! **Invariants.** One timer, and none while nothing can become due. A restart of the supervisor begins every idle time anew, warnings
//! included; when a terminal ended is on record. The age of a record is told by a clock that a leap of the wall clock does not make old.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, Handler, SpawnHandle};

use super::{
    SetReaping,
    actor::Supervisor,
    manifest::{Record, now_ms},
    reap::{Reaping, Verdict},
};
use crate::{
    TermId,
    log::clock::{Clock, since_boot},
    registry::News,
    terminal::{Condemn, Warn},
};

/// Between two looks at least: what becomes due together is dealt with together.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// And at most while records grow old: the clock that they age by is looked at now and then.
const LOOK_AT_RECORDS: Duration = Duration::from_secs(3600);
/// How long until it is looked again while terminals are still being taken over.
const RETRY: Duration = Duration::from_millis(500);

const NANOS_PER_MS: u64 = 1_000_000;

/// See the module's head.
pub(super) struct Reaper {
    settings: Reaping,
    clock: Clock,
    /// When it looks next, if it will.
    wake: Option<(Instant, SpawnHandle)>,
}

impl Reaper {
    /// One for a supervisor that has these records: the clock has been where they say.
    pub(super) fn new<'a>(settings: Reaping, records: impl IntoIterator<Item = &'a Record>) -> Self {
        let last_ms = records.into_iter().map(|record| record.created_ms.max(record.ended_ms.unwrap_or(0))).max();
        let last_ns = last_ms.map(|last_ms| last_ms.saturating_mul(NANOS_PER_MS));
        Self { settings, clock: Clock::new(last_ns, since_boot()), wake: None }
    }

    fn now_ms(&mut self) -> u64 {
        self.clock.now(now_ms().saturating_mul(NANOS_PER_MS), since_boot()) / NANOS_PER_MS
    }
}

impl Supervisor {
    /// A terminal has begun to live: it may be due when nothing else is.
    pub(super) fn reap_later(&mut self, ctx: &mut Context<Self>) {
        if let Some(idle_after) = self.reaper.settings.idle_after {
            self.reap_within(idle_after / 2, ctx);
        }
    }

    /// Looks within that time.
    pub(super) fn reap_within(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        let wait = wait.max(LOOK_EVERY);
        let Some(at) = Instant::now().checked_add(wait) else { return };
        if let Some((due, wake)) = self.reaper.wake.take() {
            if due <= at {
                self.reaper.wake = Some((due, wake));
                return;
            }
            ctx.cancel_future(wake);
        }
        let wake = ctx.run_later(wait, |supervisor, ctx| {
            supervisor.reaper.wake = None;
            supervisor.reap(ctx);
        });
        self.reaper.wake = Some((at, wake));
    }

    fn reap(&mut self, ctx: &mut Context<Self>) {
        if self.is_recovering() {
            return self.reap_within(RETRY, ctx);
        }
        let due = [self.reap_idle(ctx), self.reap_ended(ctx)];
        if let Some(wait) = due.into_iter().flatten().min() {
            self.reap_within(wait, ctx);
        }
    }

    /// Warns and hangs up; how long until there may be another to warn or hang up.
    fn reap_idle(&mut self, ctx: &mut Context<Self>) -> Option<Duration> {
        self.reaper.settings.idle_after?;
        let now = Instant::now();
        let judged = self.records.iter().filter_map(|(id, record)| Some((*id, self.judge(*id, record, now)?)));
        let judged: Vec<(TermId, Verdict)> = judged.collect();
        let mut next = None;
        for (id, verdict) in judged {
            let wait = match verdict {
                Verdict::Wait(wait) => wait,
                Verdict::Warn(left) => {
                    self.warn(id, left, now);
                    left
                }
                Verdict::HangUp => {
                    self.hang_up(id, ctx);
                    continue;
                }
            };
            next = Some(next.map_or(wait, |next: Duration| next.min(wait)));
        }
        next
    }

    fn judge(&self, id: TermId, record: &Record, now: Instant) -> Option<Verdict> {
        let idle_max = self.reaper.settings.idle_max(record)?;
        let entry = self.entries.get(&id).filter(|entry| entry.actor.is_some())?;
        let since = |at: Instant| now.saturating_duration_since(at);
        Some(self.reaper.settings.judge(idle_max, since(entry.activity.last()), entry.warned.map(since)))
    }

    fn warn(&mut self, id: TermId, left: Duration, now: Instant) {
        let at_ms = now_ms().saturating_add(left.as_millis() as u64);
        tracing::info!(%id, left_s = left.as_secs(), "a terminal is idle, and will be hung up");
        // Told before the terminal can say that it is averted.
        self.announce(id, News::ReapNotice { at_ms });
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.warned = Some(now);
        if let Some(actor) = &entry.actor {
            // Once in an idle time.
            actor.do_send(Warn(Some(at_ms)));
        }
    }

    fn hang_up(&mut self, id: TermId, ctx: &mut Context<Self>) {
        tracing::info!(%id, "a terminal was idle for too long, and is hung up");
        self.announce(id, News::Reaped);
        if let Some(actor) = self.entries.get(&id).and_then(|entry| entry.actor.as_ref()) {
            // Once in a terminal's life.
            actor.do_send(Condemn);
        }
        drop(self.end(id, ctx));
    }

    /// Removes records of what has ended; how long until there may be another to remove.
    fn reap_ended(&mut self, ctx: &mut Context<Self>) -> Option<Duration> {
        let now_ms = self.reaper.now_ms();
        self.date_ends(now_ms, ctx);
        let ended = self.records.values().filter_map(|record| Some((self.reaper.settings.ended_ms(record)?, record.id)));
        let (going, next) = self.reaper.settings.surplus(ended.collect(), now_ms);
        for (id, cause) in going {
            tracing::info!(%id, cause = ?cause, "a terminal that has ended is removed");
            drop(self.remove(id, cause, ctx));
        }
        next.map(|wait| wait.min(LOOK_AT_RECORDS))
    }

    /// What ended when nobody wrote down when, under a version before this one, is as good as ended now.
    fn date_ends(&mut self, now_ms: u64, ctx: &mut Context<Self>) {
        let undated = self.records.values_mut().filter(|record| record.has_ended() && record.ended_ms.is_none());
        let dated: Vec<TermId> = undated
            .map(|record| {
                record.ended_ms = Some(now_ms);
                record.id
            })
            .collect();
        for id in dated {
            drop(self.changed(id, ctx));
        }
    }

    /// Forgets what was said to be due, where that is not so any more.
    fn withdraw_warnings(&mut self) {
        for entry in self.entries.values_mut() {
            if let (Some(_), Some(actor)) = (entry.warned.take(), &entry.actor) {
                // Once for each warning.
                actor.do_send(Warn(None));
            }
        }
    }
}

impl Handler<SetReaping> for Supervisor {
    type Result = ();

    fn handle(&mut self, SetReaping(settings): SetReaping, ctx: &mut Self::Context) {
        if settings != self.reaper.settings {
            self.reaper.settings = settings;
            self.withdraw_warnings();
            self.reap_within(Duration::ZERO, ctx);
        }
    }
}
