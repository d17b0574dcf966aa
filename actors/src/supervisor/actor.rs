//! The actor: keeps records and observations, asks the plan, has its steps done, and keeps those waiting who asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult, ResponseActFuture, ResponseFuture, SpawnHandle,
    WrapFuture, fut,
};
use actix_rt::ArbiterHandle;
use rustix::process::Signal;
use tokio::{sync::oneshot, time::sleep};

use super::{
    CreateError, Created, EndAll, Find, FindAll, Found, Kill, KillError, NoSuchTerm, Remove, RemoveError, Rename, RenameError,
    Selector, SetLimits,
    execute::{Done, ExecuteError, Executor},
    inventory::Descriptors,
    manifest::{Record, State, now_ms},
    plan::{ActorSeen, Effect, Observed, Process, Step, effects, plan_one},
    reap::Reaping,
    reaper::Reaper,
};
use crate::{
    TermId,
    log::service::Log,
    pty::{Fate, Restart, adopt},
    registry::{Announce, Card, DropMirrors, Forget, News, Obey, Registry, Removal, Standing},
    terminal::{
        Activity, Buried, Course, Drained, Gone, Held, Hibernate, Lane, Moved, Rest, Resume, Start, Stop, Terminal, Waiting,
    },
};

/// How long until a step that failed is planned again, and an actor that died is started again.
const RETRY: Duration = Duration::from_millis(500);
/// How much longer than the grace period everything is given to end.
const END_ALL_SLACK: Duration = Duration::from_secs(3);

/// What is refused above.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most terminals, ended ones included.
    pub terms_max: usize,
    /// How long a child that was hung up may take to end before it is killed.
    pub kill_grace: Duration,
    /// How long a child that ever ends soon after its start waits to be started again, at most.
    pub restart_delay_max: Duration,
}

/// What a supervisor is made of.
pub struct SupervisorParts {
    /// The manifest's records.
    pub records: BTreeMap<TermId, Record>,
    /// The first id that was never given.
    pub next_id: TermId,
    /// The descriptors that were handed back.
    pub terminals: BTreeMap<TermId, Descriptors>,
    /// The arbiters that have a lane; a terminal is on number `id % lanes`.
    pub lanes: Vec<ArbiterHandle>,
    /// Does what is planned.
    pub executor: Executor,
    /// Keeps what terminals put out.
    pub log: Log,
    /// What is refused.
    pub limits: Limits,
    /// What is reaped.
    pub reaping: Reaping,
    /// Told of every terminal, and what becomes of it.
    pub registry: Addr<Registry>,
    /// Told once everything handed back has been dealt with.
    pub ready: oneshot::Sender<()>,
}

/// See [the module](super).
pub struct Supervisor {
    pub(super) records: BTreeMap<TermId, Record>,
    pub(super) entries: HashMap<TermId, Entry>,
    pub(super) next_id: TermId,
    lanes: Vec<ArbiterHandle>,
    executor: Executor,
    pub(super) log: Log,
    pub(super) limits: Limits,
    pub(super) reaper: Reaper,
    registry: Addr<Registry>,
    recovering: BTreeSet<TermId>,
    ready: Option<oneshot::Sender<()>>,
}

/// What is known of a terminal beyond its record.
#[derive(Default)]
pub(super) struct Entry {
    descriptors: Descriptors,
    pub(super) actor: Option<Addr<Terminal>>,
    seen: ActorSeen,
    /// When it is started again, while it waits for that, and what wakes the supervisor then.
    due: Option<(Instant, SpawnHandle)>,
    /// When there was output or input.
    pub(super) activity: Activity,
    /// When those who watch were told last that it will be hung up for being idle.
    pub(super) warned: Option<Instant>,
    /// Why it is removed, if it is.
    removal: Removal,
    /// A step or a write of its record is under way.
    busy: bool,
    /// Those whose change of the record is to be written before anything else is done.
    writers: Vec<oneshot::Sender<Result<(), ExecuteError>>>,
    /// Those who asked for its creation.
    pub(super) creators: Vec<oneshot::Sender<Result<Created, CreateError>>>,
    /// Those who wait for its end or removal.
    mourners: Vec<oneshot::Sender<()>>,
}

impl Supervisor {
    /// One that reconciles when its context starts.
    pub fn new(parts: SupervisorParts) -> Self {
        let recovering: BTreeSet<TermId> = parts.records.keys().chain(parts.terminals.keys()).copied().collect();
        let entry = |(id, descriptors)| (id, Entry { descriptors, ..Entry::default() });
        Self {
            reaper: Reaper::new(parts.reaping, parts.records.values()),
            records: parts.records,
            entries: parts.terminals.into_iter().map(entry).collect(),
            next_id: parts.next_id,
            lanes: parts.lanes,
            executor: parts.executor,
            log: parts.log,
            limits: parts.limits,
            registry: parts.registry,
            recovering,
            ready: Some(parts.ready),
        }
    }

    fn observe(&mut self, id: TermId) -> Observed {
        let is_live = self.records.get(&id).is_some_and(|record| record.state == State::Live);
        let Some(entry) = self.entries.get_mut(&id) else { return Observed::NOTHING };
        let due = entry.due.as_ref().is_some_and(|(due, _)| *due <= Instant::now());
        match entry.actor {
            Some(_) if is_live => Observed {
                master: entry.descriptors.master.is_some(),
                pidfd: entry.descriptors.pidfd.is_some(),
                process: Process::Running,
                actor: Some(entry.seen),
                due,
            },
            Some(_) => Observed { actor: Some(entry.seen), due, ..entry.descriptors.observe() },
            None => Observed { due, ..entry.descriptors.observe() },
        }
    }

    /// Sees to it that a terminal that waits to be started again is looked at when it is time.
    fn keep_time(&mut self, id: TermId, ctx: &mut Context<Self>) {
        let (Some(record), Some(entry)) = (self.records.get(&id), self.entries.get_mut(&id)) else { return };
        match (record.state, &entry.due) {
            (State::Restarting(_), None) => {
                let wait = record.remaining(now_ms(), self.limits.restart_delay_max);
                // Before the timer is set: what it finds not to be due when it wakes, nothing looks at again.
                let due = Instant::now() + wait;
                let wake = ctx.run_later(wait, move |supervisor, ctx| supervisor.reconcile(id, ctx));
                entry.due = Some((due, wake));
            }
            (State::Restarting(_), Some(_)) => {}
            (State::Creating | State::Live | State::Exited(_) | State::Lost | State::Removing, _) => {
                if let Some((_, wake)) = entry.due.take() {
                    ctx.cancel_future(wake);
                }
            }
        }
    }

    /// Plans for one terminal and begins what there is to do.
    pub(super) fn reconcile(&mut self, id: TermId, ctx: &mut Context<Self>) {
        if self.entries.get(&id).is_some_and(|entry| entry.busy) {
            return;
        }
        if self.entries.get(&id).is_some_and(|entry| !entry.writers.is_empty()) {
            return self.write(id, ctx);
        }
        self.keep_time(id, ctx);
        let seen = self.observe(id);
        match plan_one(self.records.get(&id), &seen) {
            Some(step) => self.begin(id, step, ctx),
            None => self.settled(id),
        }
    }

    fn begin(&mut self, id: TermId, step: Step, ctx: &mut Context<Self>) {
        match step {
            Step::Adopt | Step::Recall => tracing::debug!(%id, ?step, "reconciling"),
            Step::Rest(fate) => tracing::info!(%id, ?fate, "a terminal will be started again"),
            Step::Respawn => tracing::info!(%id, "a terminal is started again"),
            _ if self.recovering.contains(&id) => tracing::info!(%id, ?step, "repairing what was cut short"),
            _ => tracing::debug!(%id, ?step, "reconciling"),
        }
        let mut record = self.records.get(&id).cloned();
        if let (Step::Rest(fate), Some(record)) = (step, &mut record) {
            record.rest(fate, now_ms(), self.limits.restart_delay_max);
        }
        if let (Step::Bury(_) | Step::Lose, Some(record)) = (step, &mut record) {
            record.ended_ms = Some(now_ms());
        }
        let entry = self.entries.entry(id).or_default();
        entry.busy = true;
        if effects(step).contains(&Effect::StopActor)
            && let Some(actor) = entry.actor.take()
        {
            // Once in an actor's life.
            actor.do_send(Stop);
        }
        let (executor, descriptors) = (self.executor.clone(), entry.descriptors.clone());
        let work = async move { executor.step(id, record, descriptors, step).await };
        ctx.spawn(work.into_actor(self).map(move |done, supervisor, ctx| supervisor.finish(id, step, done, ctx)));
    }

    fn finish(&mut self, id: TermId, step: Step, done: Done, ctx: &mut Context<Self>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.busy = false;
        entry.descriptors = done.descriptors;
        let was_restarting = matches!(self.records.get(&id).map(|record| record.state), Some(State::Restarting(_)));
        self.merge_record(id, done.record, done.result.is_ok());
        match done.result {
            Ok(()) => {
                self.tell_registry(id, step, was_restarting);
                if matches!(step, Step::Bury(_) | Step::Lose) {
                    self.reap_within(Duration::ZERO, ctx);
                }
                for effect in effects(step) {
                    self.apply_to_actor(id, effect, ctx);
                }
                self.reconcile(id, ctx);
            }
            Err(ExecuteError::Spawn(error)) if step == Step::Respawn => self.stumble(id, error.kind(), ctx),
            Err(ExecuteError::Panicked) if step == Step::Respawn => self.stumble(id, "a fault in kaval itself", ctx),
            Err(ExecuteError::Spawn(error)) => {
                tracing::warn!(%id, kind = error.kind(), "a terminal could not be started");
                self.abandon(id, &error.to_string(), ctx);
            }
            Err(error @ ExecuteError::Panicked) if step == Step::Spawn => {
                tracing::error!(%id, "a terminal could not be started for a fault in kaval itself");
                self.abandon(id, &error.to_string(), ctx);
            }
            Err(error) => {
                tracing::error!(%id, ?step, error = &error as &dyn std::error::Error, "a step failed and will be tried again");
                ctx.run_later(RETRY, move |supervisor, ctx| supervisor.reconcile(id, ctx));
            }
        }
    }

    /// A child that could not be started again is tried again later, and ever so.
    fn stumble(&mut self, id: TermId, why: &str, ctx: &mut Context<Self>) {
        tracing::warn!(%id, kind = why, "a terminal could not be started again, and will be tried again");
        let (Some(record), Some(entry)) = (self.records.get_mut(&id), self.entries.get_mut(&id)) else { return };
        entry.due = None;
        if let State::Restarting(fate) = record.state {
            record.stumble(why, now_ms(), self.limits.restart_delay_max);
            self.announce_rest(id, fate);
            self.rest_actor(id);
        }
        drop(self.changed(id, ctx));
    }

    fn tell_registry(&self, id: TermId, step: Step, was_restarting: bool) {
        let recovering = self.recovering.contains(&id);
        match step {
            Step::Respawn | Step::Launch if was_restarting => {
                let times = self.records.get(&id).map_or(0, |record| record.again.times);
                self.announce(id, News::Respawned { times });
            }
            Step::Spawn | Step::Launch | Step::Respawn => self.announce(id, News::Created),
            Step::Adopt if recovering => self.announce(id, News::Adopted),
            Step::Recall if recovering => self.announce(id, News::Recalled),
            Step::Bury(Fate::Ended(exit)) => self.announce(id, News::Exited(exit)),
            Step::Rest(fate) => self.announce_rest(id, fate),
            Step::Bury(Fate::Lost) | Step::Lose => self.announce(id, News::Lost),
            // Once in a terminal's life.
            Step::Forget => {
                let cause = self.entries.get(&id).map(|entry| entry.removal).unwrap_or_default();
                self.registry.do_send(Forget { id, cause });
            }
            // An actor that died and was started again is the same terminal as before.
            Step::Adopt | Step::Recall | Step::Hangup | Step::Discard => {}
        }
    }

    fn announce_rest(&self, id: TermId, fate: Fate) {
        let Some(record) = self.records.get(&id) else { return };
        let (due_ms, trouble) = (record.again.due_ms, record.again.trouble.clone());
        self.announce(id, News::Restarting { fate, due_ms, trouble });
    }

    /// Tells the registry what has become of a terminal.
    pub(super) fn announce(&self, id: TermId, news: News) {
        let Some(record) = self.records.get(&id) else { return };
        let standing = match record.state {
            State::Creating | State::Live => Standing::Live,
            State::Restarting(fate) => Standing::Restarting(fate),
            State::Exited(exit) => Standing::Exited(exit),
            State::Lost | State::Removing => Standing::Lost,
        };
        let pidfd = self.entries.get(&id).and_then(|entry| entry.descriptors.pidfd.as_ref());
        let live = pidfd.filter(|_| standing == Standing::Live);
        let card = Card {
            id,
            name: record.name.clone(),
            argv: record.argv.clone(),
            cwd: record.cwd.clone(),
            created_ms: record.created_ms,
            size: record.size,
            offset: record.offset,
            standing,
            restart: record.restart,
            respawns: record.again.times,
            short_lives: record.again.short_lives,
            due_ms: record.again.due_ms,
            trouble: record.again.trouble.clone(),
            pid: live.and_then(|pidfd| adopt::pid_of(pidfd.as_fd())).map(|pid| pid.as_raw_nonzero().get() as u32),
        };
        // A few times in a terminal's life.
        self.registry.do_send(Announce { card, news });
    }

    /// Takes a step's record over, except for what was asked meanwhile.
    fn merge_record(&mut self, id: TermId, done: Option<Record>, is_done: bool) {
        match (done, self.records.get_mut(&id)) {
            (Some(done), Some(record)) if record.state != State::Removing => {
                (record.state, record.ended_ms) = (done.state, done.ended_ms);
                // What was counted for what was not done to its end is counted when it is.
                if is_done {
                    record.again = done.again;
                }
            }
            (Some(_), Some(_) | None) => {}
            (None, _) => {
                self.records.remove(&id);
                self.lane(id).spawn_fn(move || Lane::current().forget(id));
                self.log.forget(id);
            }
        }
    }

    /// A creation that failed is forgotten; who asked for it is told why.
    pub(super) fn abandon(&mut self, id: TermId, why: &str, ctx: &mut Context<Self>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            for creator in entry.creators.drain(..) {
                let _ = creator.send(Err(CreateError::Failed(why.to_owned())));
            }
        }
        if let Some(record) = self.records.get_mut(&id) {
            record.state = State::Removing;
        }
        self.reconcile(id, ctx);
    }

    fn apply_to_actor(&mut self, id: TermId, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::StartActor => {
                self.start_actor(id, ctx);
                self.reap_later(ctx);
            }
            Effect::TellActor(fate) => {
                if let Some(actor) = self.entries.get(&id).and_then(|entry| entry.actor.as_ref()) {
                    // Once in a child's life.
                    actor.do_send(Buried(fate.exit()));
                }
            }
            Effect::RestActor => self.rest_actor(id),
            Effect::SendHangup => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.seen.hung_up = true;
                }
                ctx.run_later(self.limits.kill_grace, move |supervisor, ctx| supervisor.kill_if_live(id, ctx));
            }
            Effect::Record(_)
            | Effect::Delete
            | Effect::Release
            | Effect::OpenPty
            | Effect::SpawnHeld
            | Effect::StorePidfd
            | Effect::AwaitHeld
            | Effect::Continue
            | Effect::StopActor => {}
        }
    }

    fn rest_actor(&self, id: TermId) {
        let actor = self.entries.get(&id).and_then(|entry| entry.actor.as_ref());
        if let (Some(actor), Some(Record { state: State::Restarting(fate), again, .. })) = (actor, self.records.get(&id)) {
            // Once in a child's life, and once for each that could not be started.
            actor.do_send(Rest(Waiting { fate: *fate, due_ms: again.due_ms }));
        }
    }

    fn start_actor(&mut self, id: TermId, ctx: &mut Context<Self>) {
        let (Some(record), Some(entry)) = (self.records.get(&id), self.entries.get_mut(&id)) else { return };
        let held = (entry.descriptors.master.clone(), entry.descriptors.pidfd.clone());
        entry.seen = ActorSeen::default();
        entry.activity.note(Instant::now());
        entry.warned = None;
        if let (Some(actor), (Some(master), Some(pidfd)), Some(seam)) = (&entry.actor, held.clone(), record.again.seam.clone())
        {
            let held = Held { master, pidfd, input: entry.descriptors.input.clone() };
            // Once in a child's life.
            return actor.do_send(Resume { held, seam });
        }
        let course = match (record.state, held) {
            (State::Live | State::Creating, (Some(master), Some(pidfd))) => {
                Course::Live(Held { master, pidfd, input: entry.descriptors.input.clone() })
            }
            (State::Live | State::Creating, (Some(master), None)) => Course::Orphaned(master),
            (State::Live, (None, _)) => Course::Lost,
            (State::Restarting(fate), _) => Course::Resting(Waiting { fate, due_ms: record.again.due_ms }),
            (State::Exited(exit), _) => Course::Ended(Some(exit)),
            (State::Creating | State::Lost | State::Removing, _) => Course::Ended(None),
        };
        let start = Start {
            id,
            size: record.size,
            offset: record.offset,
            logged: record.logged,
            course,
            seam: record.again.seam.clone(),
            supervisor: ctx.address().recipient(),
            gone: ctx.address().recipient(),
            moved: (record.restart != Restart::Never).then(|| ctx.address().recipient()),
            registry: self.registry.clone().recipient(),
            activity: entry.activity.clone(),
        };
        let lane = &self.lanes[id.0 as usize % self.lanes.len()];
        entry.actor = Some(Terminal::start_in_arbiter(lane, move |_| Terminal::new(start)));
    }

    fn lane(&self, id: TermId) -> &ArbiterHandle {
        &self.lanes[id.0 as usize % self.lanes.len()]
    }

    fn kill_if_live(&mut self, id: TermId, ctx: &mut Context<Self>) {
        let live = self.records.get(&id).is_some_and(|record| record.state == State::Live);
        if let (true, Some(entry)) = (live, self.entries.get(&id)) {
            let (executor, descriptors) = (self.executor.clone(), entry.descriptors.clone());
            ctx.spawn(async move { _ = executor.signal(id, descriptors, Signal::KILL).await }.into_actor(self));
        }
    }

    /// Nothing is left to do for this terminal: those who waited for that are told.
    fn settled(&mut self, id: TermId) {
        let record = self.records.get(&id);
        let has_pty = self.entries.get(&id).is_some_and(|entry| entry.descriptors.master.is_some());
        if record.is_some_and(|record| record.state == State::Live) && !has_pty {
            // It is lost, and will be started again once its actor has said where its output ends.
            return;
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            if let Some(record) = record.filter(|record| record.state != State::Creating) {
                for creator in entry.creators.drain(..) {
                    let _ = creator.send(Ok(Created { id, name: record.name.clone() }));
                }
            }
            if record.is_none_or(|record| !matches!(record.state, State::Live | State::Restarting(_))) {
                entry.mourners.drain(..).for_each(|mourner| _ = mourner.send(()));
            }
        }
        if record.is_none() {
            self.entries.remove(&id);
        }
        self.recovering.remove(&id);
        if self.recovering.is_empty()
            && let Some(ready) = self.ready.take()
        {
            let _ = ready.send(());
        }
    }

    /// Has a changed record written, once no step of the terminal is under way, and then plans anew.
    pub(super) fn changed(&mut self, id: TermId, ctx: &mut Context<Self>) -> oneshot::Receiver<Result<(), ExecuteError>> {
        let (reply, written) = oneshot::channel();
        self.entries.entry(id).or_default().writers.push(reply);
        self.reconcile(id, ctx);
        written
    }

    fn write(&mut self, id: TermId, ctx: &mut Context<Self>) {
        let (Some(record), Some(entry)) = (self.records.get(&id).cloned(), self.entries.get_mut(&id)) else { return };
        entry.busy = true;
        let mut writers = std::mem::take(&mut entry.writers);
        let executor = self.executor.clone();
        let write = async move { executor.put(record).await.result };
        ctx.spawn(write.into_actor(self).map(move |result, supervisor, ctx| {
            if let Some(entry) = supervisor.entries.get_mut(&id) {
                entry.busy = false;
            }
            let failed = result.is_err();
            if let Some(first) = writers.pop() {
                let _ = first.send(result);
            }
            if !failed {
                writers.into_iter().for_each(|writer| _ = writer.send(Ok(())));
            }
            supervisor.reconcile(id, ctx);
        }));
    }

    /// Has a terminal's child hung up, and killed if it outlasts that; resolves once that is on record.
    pub(super) fn end(&mut self, id: TermId, ctx: &mut Context<Self>) -> oneshot::Receiver<Result<(), ExecuteError>> {
        if let Some(record) = self.records.get_mut(&id) {
            record.ending = true;
        }
        self.changed(id, ctx)
    }

    /// Has a terminal that has ended forgotten, with its log; resolves once that is on record.
    pub(super) fn remove(
        &mut self,
        id: TermId,
        cause: Removal,
        ctx: &mut Context<Self>,
    ) -> oneshot::Receiver<Result<(), ExecuteError>> {
        if let (Some(record), Some(entry)) = (self.records.get_mut(&id), self.entries.get_mut(&id)) {
            record.state = State::Removing;
            entry.removal = cause;
        }
        self.changed(id, ctx)
    }

    /// Whether terminals are still being taken over.
    pub(super) fn is_recovering(&self) -> bool {
        !self.recovering.is_empty()
    }

    fn select(&self, selector: &Selector) -> Result<TermId, NoSuchTerm> {
        let found = match selector {
            Selector::Id(id) => self.records.get(id).filter(|record| record.state != State::Removing).map(|record| record.id),
            Selector::Name(name) => self.by_name(name),
        };
        found.ok_or_else(|| NoSuchTerm { selector: selector.clone(), hint: self.hint(selector) })
    }

    pub(super) fn by_name(&self, name: &str) -> Option<TermId> {
        let mut records = self.records.values().filter(|record| record.state != State::Removing);
        records.find(|record| record.name.as_str() == name).map(|record| record.id)
    }

    fn hint(&self, selector: &Selector) -> String {
        let Selector::Name(wanted) = selector else { return String::new() };
        let names = self.records.values().map(|record| record.name.as_str());
        let close = names.map(|name| (strsim::levenshtein(name, wanted), name)).min();
        match close {
            Some((distance, name)) if distance <= 1 + wanted.len() / 4 => format!(" (did you mean {name}?)"),
            _ => String::new(),
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Every live terminal may report its end, and every actor its own, without waiting for a place.
        ctx.set_mailbox_capacity(1024);
        // Once in the actor's life.
        self.registry.do_send(Obey(ctx.address().recipient()));
        self.reap_within(Duration::ZERO, ctx);
        let recorded: Arc<BTreeSet<TermId>> = Arc::new(self.records.keys().copied().collect());
        for lane in &self.lanes {
            let recorded = recorded.clone();
            lane.spawn_fn(move || Lane::current().keep_only(&recorded));
        }
        let ids: Vec<TermId> = self.recovering.iter().copied().collect();
        for id in ids {
            self.reconcile(id, ctx);
        }
        if self.recovering.is_empty()
            && let Some(ready) = self.ready.take()
        {
            let _ = ready.send(());
        }
    }
}

impl Handler<Drained> for Supervisor {
    type Result = ();

    fn handle(&mut self, Drained { id, fate, offset, size, heard }: Drained, ctx: &mut Self::Context) {
        if let (Some(entry), Some(record)) = (self.entries.get_mut(&id), self.records.get_mut(&id)) {
            entry.seen.drained = Some(fate);
            (record.offset, record.size) = (offset, size);
            if record.restarts_after(fate) {
                record.again.heard = heard;
            }
        }
        self.reconcile(id, ctx);
    }
}

impl Handler<Moved> for Supervisor {
    type Result = ();

    fn handle(&mut self, Moved { id, dirs }: Moved, ctx: &mut Self::Context) {
        let record = self.records.get_mut(&id).filter(|record| record.state == State::Live && record.whereabouts != dirs);
        if let Some(record) = record {
            record.whereabouts = dirs;
            drop(self.changed(id, ctx));
        }
    }
}

impl Handler<Gone> for Supervisor {
    type Result = ();

    fn handle(&mut self, Gone(id): Gone, ctx: &mut Self::Context) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // One that was told to stop was let go of before. Its mailbox may outlive this message: whether it still takes mail says nothing.
        if entry.actor.take().is_some() {
            tracing::error!(%id, "a terminal's actor died and is started again");
            entry.seen = ActorSeen::default();
            ctx.run_later(RETRY, move |supervisor, ctx| supervisor.reconcile(id, ctx));
        }
    }
}

impl Handler<Find> for Supervisor {
    type Result = Result<Found, NoSuchTerm>;

    fn handle(&mut self, Find(selector): Find, _: &mut Self::Context) -> Self::Result {
        let id = self.select(&selector)?;
        let terminal = self.entries.get(&id).and_then(|entry| entry.actor.clone());
        Ok(Found { record: self.records[&id].clone(), terminal })
    }
}

impl Handler<SetLimits> for Supervisor {
    type Result = ();

    fn handle(&mut self, SetLimits(limits): SetLimits, _: &mut Self::Context) {
        self.limits = limits;
    }
}

impl Handler<FindAll> for Supervisor {
    type Result = MessageResult<FindAll>;

    fn handle(&mut self, _: FindAll, _: &mut Self::Context) -> Self::Result {
        let records = self.records.values().filter(|record| record.state != State::Removing);
        let terminal = |id| self.entries.get(id).and_then(|entry| entry.actor.clone());
        MessageResult(records.map(|record| Found { record: record.clone(), terminal: terminal(&record.id) }).collect())
    }
}

impl Handler<DropMirrors> for Supervisor {
    type Result = ();

    fn handle(&mut self, DropMirrors(ids): DropMirrors, _: &mut Self::Context) {
        for actor in ids.iter().filter_map(|id| self.entries.get(id)?.actor.as_ref()) {
            // Once until it was used again.
            actor.do_send(Hibernate);
        }
    }
}

impl Handler<Kill> for Supervisor {
    type Result = ResponseFuture<Result<(), KillError>>;

    fn handle(&mut self, Kill { selector, signal }: Kill, ctx: &mut Self::Context) -> Self::Result {
        let id = match self.select(&selector) {
            Ok(id) => id,
            Err(error) => return Box::pin(async { Err(error.into()) }),
        };
        let (Some(record), Some(entry)) = (self.records.get(&id), self.entries.get(&id)) else {
            return Box::pin(async { Err(NoSuchTerm { selector, hint: String::new() }.into()) });
        };
        let name = record.name.clone();
        let can_end = match record.state {
            State::Live | State::Creating => true,
            // Nothing runs that a signal could be sent to.
            State::Restarting(_) => signal.is_none(),
            State::Exited(_) | State::Lost | State::Removing => false,
        };
        if !can_end {
            return Box::pin(async { Err(KillError::Ended(name)) });
        }
        if let Some(number) = signal {
            let Some(signal) = Signal::from_named_raw(number) else {
                return Box::pin(async move { Err(KillError::BadSignal(number)) });
            };
            let (executor, descriptors) = (self.executor.clone(), entry.descriptors.clone());
            return Box::pin(async move {
                executor.signal(id, descriptors, signal).await.result.map_err(|error| KillError::Failed(name, error))
            });
        }
        let answer = self.end(id, ctx);
        Box::pin(async move { answer.await.unwrap_or(Err(ExecuteError::Gone)).map_err(|error| KillError::Failed(name, error)) })
    }
}

impl Handler<Rename> for Supervisor {
    type Result = ResponseActFuture<Self, Result<(), RenameError>>;

    fn handle(&mut self, Rename { selector, name }: Rename, ctx: &mut Self::Context) -> Self::Result {
        let id = match self.select(&selector) {
            Ok(id) => id,
            Err(error) => return Box::pin(fut::err(error.into())),
        };
        if self.by_name(name.as_str()).is_some_and(|holder| holder != id) {
            return Box::pin(fut::err(RenameError::NameTaken(name)));
        }
        let Some(record) = self.records.get_mut(&id) else {
            return Box::pin(fut::err(NoSuchTerm { selector, hint: String::new() }.into()));
        };
        let before = std::mem::replace(&mut record.name, name);
        let written = self.changed(id, ctx);
        let written = async move { written.await.unwrap_or(Err(ExecuteError::Gone)) };
        Box::pin(written.into_actor(self).map(move |result, supervisor, ctx| {
            // The name may have been one that is left alone.
            supervisor.reap_later(ctx);
            result.inspect(|()| supervisor.announce(id, News::Renamed { from: before.clone() })).map_err(|error| {
                if let Some(record) = supervisor.records.get_mut(&id) {
                    record.name = before.clone();
                }
                RenameError::Failed(before, error)
            })
        }))
    }
}

impl Handler<Remove> for Supervisor {
    type Result = ResponseFuture<Result<(), RemoveError>>;

    fn handle(&mut self, Remove(selector): Remove, ctx: &mut Self::Context) -> Self::Result {
        let id = match self.select(&selector) {
            Ok(id) => id,
            Err(error) => return Box::pin(async { Err(error.into()) }),
        };
        let (Some(record), Some(entry)) = (self.records.get(&id), self.entries.get_mut(&id)) else {
            return Box::pin(async { Err(NoSuchTerm { selector, hint: String::new() }.into()) });
        };
        let name = record.name.clone();
        if matches!(record.state, State::Live | State::Creating) {
            return Box::pin(async { Err(RemoveError::Live(name)) });
        }
        let (gone, removed) = oneshot::channel();
        entry.mourners.push(gone);
        let answer = self.remove(id, Removal::Asked, ctx);
        Box::pin(async move {
            answer.await.unwrap_or(Err(ExecuteError::Gone)).map_err(|error| RemoveError::Failed(name, error))?;
            let _ = removed.await;
            Ok(())
        })
    }
}

impl Handler<EndAll> for Supervisor {
    type Result = ResponseFuture<usize>;

    fn handle(&mut self, _: EndAll, ctx: &mut Self::Context) -> Self::Result {
        let live: Vec<TermId> = self
            .records
            .values()
            .filter(|record| matches!(record.state, State::Live | State::Creating | State::Restarting(_)))
            .map(|record| record.id)
            .collect();
        let mut ends = Vec::new();
        for id in live {
            if let (Some(record), Some(entry)) = (self.records.get_mut(&id), self.entries.get_mut(&id)) {
                record.ending = true;
                let (reply, end) = oneshot::channel();
                entry.mourners.push(reply);
                ends.push(end);
            }
            drop(self.changed(id, ctx));
        }
        let patience = self.limits.kill_grace + END_ALL_SLACK;
        Box::pin(async move {
            let deadline = sleep(patience);
            tokio::pin!(deadline);
            let mut left = ends.len();
            for end in ends {
                tokio::select! {
                    _ = end => left -= 1,
                    () = &mut deadline => return left,
                }
            }
            left
        })
    }
}
