//! What a terminal is told and asked: by its supervisor, by its lane, by clients.

use actix::{ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, ResponseActFuture, WrapFuture, fut};

use super::{
    super::{
        Attach, AttachFrom, Attached, Buried, Checkpoint, ClientId, Condemn, Detach, FindAnchor, FindTime, Hibernate,
        HibernateError, Input, InputError, ListClients, Mode, Pump, ReadMarks, ReadPage, Resize, ResizeError, Rest, Resume,
        Rethink, Snapshot, SnapshotKind, Stop, TakeSnapshot, Unreadable, Warn,
        answers::Sifted,
        fanout::Client,
        page,
        state::{Happening, Phase},
    },
    CHECKPOINT_RETRY, Terminal, Unacknowledged,
};
use crate::{
    TermId,
    log::{
        lines::{Anchor, Seek},
        marks::MarkPage,
        piece::{GapReason, Page},
        store::StoreError,
    },
    registry::TermNews,
};

impl Handler<Checkpoint> for Terminal {
    type Result = ();

    fn handle(&mut self, _: Checkpoint, ctx: &mut Self::Context) {
        let lane = self.lane.clone();
        let mut journal = lane.journal();
        let hibernated = self.screen.is_hibernated();
        self.screen.now(&mut journal);
        let taken = self.screen.checkpoint(&mut journal);
        if let Err(error) = taken.and_then(|()| if hibernated { self.screen.hibernate(&mut journal) } else { Ok(()) }) {
            tracing::error!(id = %self.id, %error, "a checkpoint that the journal waits for could not be taken");
            // The lane waits for this one and asks no other.
            ctx.notify_later(Checkpoint, CHECKPOINT_RETRY);
        }
        if self.phase.recorded_exit().is_some() && self.clients.is_empty() {
            self.screen.park(&journal);
        }
        drop(journal);
        self.report_soon(ctx);
    }
}

impl Handler<Buried> for Terminal {
    type Result = ();

    fn handle(&mut self, Buried(exit): Buried, ctx: &mut Self::Context) {
        self.happen(Happening::Buried(exit), ctx);
        self.publish(ctx);
    }
}

impl Handler<Rest> for Terminal {
    type Result = ();

    fn handle(&mut self, Rest(waiting): Rest, ctx: &mut Self::Context) {
        self.release_pty(ctx);
        self.waiting = Some(waiting);
        self.warned = None;
        self.clients.values().for_each(|client| client.wait(waiting));
        self.report();
    }
}

impl Handler<Resume> for Terminal {
    type Result = ();

    fn handle(&mut self, Resume { held, seam }: Resume, ctx: &mut Self::Context) {
        self.release_pty(ctx);
        self.answers.forget_questions();
        self.waiting = None;
        self.seam = Some(seam);
        self.happen(Happening::Resumed, ctx);
        self.live_once_recalled(held, ctx);
    }
}

impl Handler<Warn> for Terminal {
    type Result = ();

    fn handle(&mut self, Warn(at_ms): Warn, _: &mut Self::Context) {
        if matches!(self.phase, Phase::Running { .. }) {
            self.warn(at_ms);
        }
    }
}

impl Handler<Condemn> for Terminal {
    type Result = ();

    fn handle(&mut self, _: Condemn, _: &mut Self::Context) {
        self.warned = None;
    }
}

impl Handler<Stop> for Terminal {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.clients.values().for_each(Client::detach);
        self.release_pty(ctx);
        self.lane.journal().forget(self.id);
        ctx.stop();
    }
}

/// What waits for a screen that has to be read from disk first.
type Recalled<T> = ResponseActFuture<Terminal, T>;

impl Terminal {
    fn attach(&mut self, attach: Attach, ctx: &mut Context<Self>) -> Attached {
        self.note_used();
        let id = ClientId::fresh();
        let offset = match attach.from {
            AttachFrom::Screen => self.end_offset(),
            AttachFrom::Offset(offset) => offset,
        };
        let size = attach.size.filter(|_| attach.mode == Mode::ReadWrite);
        let cursor = self.lane.journal().seek(self.id, offset);
        if size.is_some() && self.pty.is_some() {
            self.catch_up(ctx);
            self.expect_answers(id, offset, attach.from != AttachFrom::Screen);
        }
        let answered = self.settled_until();
        let client = Client::new(attach.mode, size, attach.program, cursor, offset);
        let outbox = client.outbox.clone();
        self.clients.insert(id, client);
        self.reporter.news.push(TermNews::Attached { client: id.0 });
        self.activate(Some(id));
        if attach.from == AttachFrom::Screen || offset > self.end_offset() {
            self.show(id, ctx);
        }
        self.publish(ctx);
        if let (Some(waiting), Some(client)) = (self.waiting, self.clients.get(&id)) {
            client.wait(waiting);
        }
        if let (Some(at_ms), Some(client)) = (self.warned, self.clients.get(&id)) {
            client.warn(Some(at_ms));
        }
        self.report();
        Attached { client: id, outbox, answered }
    }

    fn snapshot(&mut self, kind: SnapshotKind, ctx: &mut Context<Self>) -> Snapshot {
        self.note_used();
        let mut journal = self.lane.journal();
        let offset = journal.end_offset(self.id).unwrap_or(0);
        let snapshot = Snapshot::of(self.screen.now(&mut journal), offset, kind);
        drop(journal);
        self.heed(ctx);
        self.park_if_over();
        self.report_soon(ctx);
        self.drowse(ctx);
        snapshot
    }
}

impl Handler<Attach> for Terminal {
    type Result = Recalled<Attached>;

    fn handle(&mut self, attach: Attach, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.recalled().map(|(), terminal, ctx| terminal.attach(attach, ctx)))
    }
}

impl Handler<Pump> for Terminal {
    type Result = ();

    fn handle(&mut self, Pump(id): Pump, ctx: &mut Self::Context) {
        self.pump(id, ctx);
    }
}

impl Handler<Detach> for Terminal {
    type Result = MessageResult<Detach>;

    fn handle(&mut self, Detach(which): Detach, ctx: &mut Self::Context) -> Self::Result {
        let going: Vec<_> = self.clients.extract_if(|id, _| which.is_none_or(|which| which == *id)).collect();
        if !going.is_empty() {
            self.park_if_over();
            self.reporter.news.extend(going.iter().map(|(id, _)| TermNews::Detached { client: id.0 }));
            self.report();
            going.iter().for_each(|(_, client)| client.detach());
            going.iter().for_each(|(id, _)| self.answer_for_absent(*id, ctx));
            self.note_used();
            self.drowse(ctx);
        }
        MessageResult(going.len())
    }
}

impl Handler<ListClients> for Terminal {
    type Result = MessageResult<ListClients>;

    fn handle(&mut self, _: ListClients, _: &mut Self::Context) -> Self::Result {
        let end = self.end_offset();
        MessageResult(self.clients.iter().map(|(id, client)| client.view(*id, end)).collect())
    }
}

impl Handler<Hibernate> for Terminal {
    type Result = Result<(), HibernateError>;

    fn handle(&mut self, _: Hibernate, _: &mut Self::Context) -> Self::Result {
        if self.phase.recorded_exit().is_some() {
            return Err(HibernateError::Ended);
        }
        self.hibernate().map_err(|error| HibernateError::NoCheckpoint(error.to_string()))
    }
}

impl Handler<Rethink> for Terminal {
    type Result = ();

    fn handle(&mut self, _: Rethink, ctx: &mut Self::Context) {
        self.drowse_anew(ctx);
    }
}

impl Handler<Input> for Terminal {
    type Result = ();

    fn handle(&mut self, input: Input, ctx: &mut Self::Context) {
        let mode = input.client.and_then(|id| self.clients.get(&id)).map(|client| client.mode);
        if mode == Some(Mode::ReadOnly) {
            let _ = input.reply.send(Err(InputError::ReadOnly));
            return;
        }
        let Some(Sifted { data, settled, typed }) = self.sifted(&input, ctx) else {
            let _ = input.reply.send(Ok(()));
            return;
        };
        match self.keep(&data, input.numbered.as_ref(), settled) {
            Ok(at) => {
                self.note_active();
                self.activate(input.client.filter(|_| typed));
                self.unacknowledged.push_back(Unacknowledged { at, reply: input.reply });
                self.deliver(ctx);
                self.report_soon(ctx);
            }
            Err(refusal) => _ = input.reply.send(Err(refusal)),
        }
    }
}

impl Handler<Resize> for Terminal {
    type Result = Result<(), ResizeError>;

    fn handle(&mut self, Resize { client, size }: Resize, ctx: &mut Self::Context) -> Self::Result {
        if let Some(id) = client {
            match self.clients.get_mut(&id) {
                Some(client) if client.mode == Mode::ReadWrite => client.size = Some(size),
                Some(_) | None => return Ok(()),
            }
            self.note_use(client);
            if self.pty.is_none() {
                // The next child gets it; who watches is told of the end if there is none.
                return Ok(());
            }
        }
        self.resize(size)?;
        self.publish(ctx);
        Ok(())
    }
}

impl Handler<TakeSnapshot> for Terminal {
    type Result = Recalled<Snapshot>;

    fn handle(&mut self, TakeSnapshot(kind): TakeSnapshot, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.recalled().map(move |(), terminal, ctx| terminal.snapshot(kind, ctx)))
    }
}

impl Handler<ReadPage> for Terminal {
    type Result = Recalled<Page>;

    fn handle(&mut self, ReadPage { start, to, bytes_max }: ReadPage, _: &mut Self::Context) -> Self::Result {
        let mut here = page::page(&self.lane.journal(), self.id, start, to, bytes_max);
        let floor = if self.logged { self.lane.log().stats().floor(self.id) } else { None };
        let Some(floor) = floor.filter(|floor| *floor < here.floor) else {
            if !self.logged {
                page::give_reason(&mut here, GapReason::NotLogged);
            }
            return Box::pin(fut::ready(here));
        };
        if page::is_whole(&here, start) {
            return Box::pin(fut::ready(Page { floor, ..here }));
        }
        let (id, log) = (self.id, self.lane.log().clone());
        let read = async move {
            let found = log.read(id, move |reader| reader.page(start, to, bytes_max)).await;
            match found {
                Ok(Some(disk)) => page::join(disk, &here, start, to),
                Ok(None) => here,
                Err(error) => {
                    tracing::error!(%id, error = &error as &dyn std::error::Error, "history cannot be read from disk");
                    page::give_reason(&mut here, GapReason::Fault);
                    here
                }
            }
        };
        Box::pin(read.into_actor(self))
    }
}

impl Handler<ReadMarks> for Terminal {
    type Result = Recalled<Option<MarkPage>>;

    fn handle(&mut self, ReadMarks { after }: ReadMarks, _: &mut Self::Context) -> Self::Result {
        if !self.logged {
            return Box::pin(fut::ready(None));
        }
        let (id, log) = (self.id, self.lane.log().clone());
        let read = async move {
            log.read(id, move |reader| reader.marks(after)).await.unwrap_or_else(|error| {
                tracing::error!(%id, error = &error as &dyn std::error::Error, "marks cannot be read from disk");
                None
            })
        };
        Box::pin(read.into_actor(self))
    }
}

impl Handler<FindAnchor> for Terminal {
    type Result = Recalled<Result<Option<Anchor>, Unreadable>>;

    /// The journal has the newest stretch, and all of it; what is before is on disk.
    fn handle(&mut self, FindAnchor(seek): FindAnchor, _: &mut Self::Context) -> Self::Result {
        let id = self.id;
        let journal = self.lane.journal();
        let since = page::counts_since(&journal, id).unwrap_or(0);
        let here = |base| page::anchor(&journal, id, seek, since, base);
        let on_disk = if self.logged { self.lane.log().stats().floor(id) } else { None };
        let floor = journal.floor_offset(id).unwrap_or(u64::MAX);
        let Some(_) = on_disk.filter(|on_disk| *on_disk < floor) else {
            // What a screen has counted that nothing is kept before is all there is to count.
            return Box::pin(fut::ready(Ok(here(0))));
        };
        let is_behind = matches!(seek, Seek::After(offset) if offset >= floor);
        if since == 0
            && let Some(anchor) = here(0).filter(|_| is_behind || !matches!(seek, Seek::After(_)))
        {
            return Box::pin(fut::ready(Ok(Some(anchor))));
        }
        drop(journal);
        let log = self.lane.log().clone();
        let read = async move {
            log.count_lines(id).await?;
            log.read(id, move |reader| Ok((reader.base(since)?, reader.anchor(seek)?))).await
        };
        Box::pin(read.into_actor(self).map(move |read, terminal, _| {
            let (base, on_disk) = read.map_err(|error| unreadable(id, &error))?;
            let here = || base.and_then(|base| page::anchor(&terminal.lane.journal(), id, seek, since, base));
            Ok(match seek {
                Seek::After(_) => on_disk.or_else(here),
                Seek::Line(_) | Seek::Offset(_) => here().or(on_disk),
            })
        }))
    }
}

impl Handler<FindTime> for Terminal {
    type Result = Recalled<Result<u64, Unreadable>>;

    fn handle(&mut self, FindTime { time_ns }: FindTime, _: &mut Self::Context) -> Self::Result {
        let (id, end) = (self.id, self.end_offset());
        let (here, floor) = {
            let journal = self.lane.journal();
            (page::at_time(&journal, id, time_ns), journal.floor_offset(id).unwrap_or(end))
        };
        if !self.logged || here.is_some() {
            return Box::pin(fut::ready(Ok(here.unwrap_or(floor))));
        }
        let log = self.lane.log().clone();
        let read = async move { log.read(id, move |reader| reader.at_time(time_ns)).await };
        Box::pin(read.into_actor(self).map(move |read, _, _| {
            let on_disk = read.map_err(|error| unreadable(id, &error))?;
            Ok(on_disk.unwrap_or(floor))
        }))
    }
}

fn unreadable(id: TermId, error: &StoreError) -> Unreadable {
    tracing::error!(%id, error = error as &dyn std::error::Error, "history cannot be read from disk");
    Unreadable
}
