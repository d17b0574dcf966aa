//! The actor: messages in, effects out. What is decided is decided in [`super::state`]; what is drawn, in [`super::screen`].

mod handlers;

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix::{
    Actor, ActorContext, ActorFuture, ActorFutureExt, AsyncContext, Context, Recipient, Running, SpawnHandle, StreamHandler,
    WrapFuture, fut,
};
use bytes::Bytes;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
    time::sleep,
};

use super::{
    Activity, ClientId, Course, Drained, Gone, Input, InputError, Lane, ResizeError, Seam, Start, Waiting,
    answers::{Answers, Sifted, may_hold_answer},
    drowse::Drowse,
    fanout::{Client, Need},
    intake::Intake,
    messages::Held,
    reporter::Reporter,
    screen::Screen,
    state::{Happening, Phase},
    whereabouts::Whereabouts,
};
use crate::{
    Size, TermId,
    log::{
        journal::{Ingest, JournalError, Kind, RECORD_MAX, Source},
        replay,
    },
    mirror,
    pty::{
        Exit, Fate, Master,
        exit::{self, Life},
        input::{self, ANSWERS, Appended, InputQueue, Numbered},
        ready,
    },
    registry::{MemoryParts, TermNews},
};

/// Input that may wait for the child while more is acknowledged at once; beyond, senders are held up.
const INPUT_BYTES_AHEAD: u64 = 64 * 1024;
/// Output that the mirror draws in one turn before others get theirs.
const DRAW_BYTES_MAX: usize = RECORD_MAX;
/// A turn that brings less than this is no flood: it is drawn at once.
const FLOOD_TURN_BYTES: usize = 2048;
/// How long a flood's output may wait for more of it, up to [`DRAW_BYTES_MAX`], before it is drawn: large pieces are cheaper, and the
/// PTY is read while they gather. Whoever asks for the screen does not wait.
const DRAW_DELAY: Duration = Duration::from_millis(2);
/// How long after a child's end output may still trickle from one that kept its PTY open.
const QUIET_AFTER_EXIT: Duration = Duration::from_secs(2);
/// How long until a checkpoint that had no room is tried again.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(1);
/// How often a zombie's exit status is asked for while its parent has not reaped it, and for how long.
const REAP_RETRY: Duration = Duration::from_millis(5);
const REAP_RETRIES_MAX: u32 = 1000;
/// Messages that may wait for one terminal.
const MAILBOX_MAX: usize = 256;

/// See [the module](super).
pub struct Terminal {
    pub(super) id: TermId,
    pub(super) lane: Rc<Lane>,
    logged: bool,
    pub(super) pty: Option<Rc<AsyncFd<Arc<Master>>>>,
    course: Option<Course>,
    /// Before the output of the present child; it may have been written already.
    seam: Option<Seam>,
    waiting: Option<Waiting>,
    obituary: Obituary,
    pub(super) phase: Phase,
    pub(super) screen: Screen,
    pub(super) size: Size,
    pub(super) clients: HashMap<ClientId, Client>,
    pub(super) input: Option<InputQueue>,
    pub(super) answers: Answers,
    unacknowledged: VecDeque<Unacknowledged>,
    intake: Option<SpawnHandle>,
    writer: Option<SpawnHandle>,
    /// Ends the draining of a PTY that something else keeps open.
    quiet: Option<SpawnHandle>,
    pub(super) whereabouts: Whereabouts,
    activity: Activity,
    /// When it is hung up unless there is output or input until then, if that was told.
    warned: Option<u64>,
    pub(super) drowse: Drowse,
    pub(super) drawing: bool,
    /// The last turn could not take what the PTY may hold.
    held_back: bool,
    /// Bytes that came since the mirror was last drawn on.
    undrawn: usize,
    delayed: Option<SpawnHandle>,
    pub(super) last_output_ms: Option<u64>,
    pub(super) reporter: Reporter,
}

/// Input that is kept, but so far back that whoever sent it is to wait: its end, and who waits.
struct Unacknowledged {
    at: u64,
    reply: oneshot::Sender<Result<(), InputError>>,
}

/// Tells the supervisor that the actor is no more, however it came to that.
struct Obituary {
    id: TermId,
    supervisor: Recipient<Drained>,
    gone: Recipient<Gone>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        // Once in an actor's life.
        self.gone.do_send(Gone(self.id));
    }
}

impl Terminal {
    /// One that starts when its context does, on the present thread's lane.
    pub fn new(start: Start) -> Self {
        let lane = Lane::current();
        let phase = match &start.course {
            Course::Live(_) | Course::Orphaned(_) => Phase::Running { hung_up: false },
            Course::Lost => Phase::Drained(Fate::Lost.exit()),
            Course::Resting(Waiting { fate, .. }) => Phase::Drained(fate.exit()),
            Course::Ended(exit) => Phase::Ended(exit.unwrap_or(Exit::Unknown)),
        };
        // Where there is no journal left, the log knows how far the output went.
        let logged = if start.logged { lane.log().stats().end(start.id) } else { None };
        lane.journal().begin(start.id, start.offset.max(logged.unwrap_or(0)));
        let screen = Screen::parked(start.id, start.size, &lane.journal());
        Self {
            id: start.id,
            size: start.size,
            lane,
            logged: start.logged,
            pty: None,
            phase,
            screen,
            obituary: Obituary { id: start.id, supervisor: start.supervisor, gone: start.gone },
            waiting: start.course.waiting(),
            course: Some(start.course),
            seam: start.seam,
            clients: HashMap::new(),
            input: None,
            answers: Answers::default(),
            unacknowledged: VecDeque::new(),
            intake: None,
            writer: None,
            quiet: None,
            whereabouts: Whereabouts::new(start.moved),
            activity: start.activity,
            warned: None,
            drowse: Drowse::new(),
            drawing: false,
            undrawn: 0,
            delayed: None,
            held_back: false,
            last_output_ms: None,
            reporter: Reporter::new(start.registry),
        }
    }

    /// Takes over the PTY: its first size goes on record, or the recorded one back to it.
    fn take_over(&mut self, master: Arc<Master>, ctx: &mut Context<Self>) -> io::Result<()> {
        if self.recorded_size().is_none() {
            let record = self.lane.journal().append(self.id, Kind::Resize, &mirror::encode_size(self.size));
            record.map_err(io::Error::other)?;
        }
        if let Some(size) = self.recorded_size()
            && master.size()? != (size.cols(), size.rows())
        {
            tracing::info!(id = %self.id, %size, "the pty's size is not the one on record: set");
            master.resize(size)?;
        }
        let pty = Rc::new(ready::register(master, Interest::READABLE | Interest::WRITABLE)?);
        self.intake = Some(ctx.add_stream(Intake::new(self.id, self.lane.clone(), pty.clone())));
        self.pty = Some(pty);
        self.answers.taken_over_at = self.end_offset();
        Ok(())
    }

    /// The size after the last resize in the journal.
    fn recorded_size(&mut self) -> Option<Size> {
        let size = self.lane.journal().shape(self.id).and_then(mirror::decode_size);
        self.size = size.unwrap_or(self.size);
        size
    }

    /// Takes over a child and its PTY, behind its seam.
    fn live(&mut self, Held { master, pidfd, input }: Held, ctx: &mut Context<Self>) -> io::Result<()> {
        self.sew()?;
        self.take_over(master, ctx)?;
        self.open_input(input, ctx)?;
        self.watch_child(pidfd, ctx);
        Ok(())
    }

    /// Resolves once there is a screen to show: at once, but for a terminal that has ended and whose last screen is on disk only.
    fn recalled(&self) -> impl ActorFuture<Self, Output = ()> + 'static {
        let log = self.screen.is_elsewhere(&self.lane.journal()).then(|| self.lane.log().clone());
        let (id, size, end) = (self.id, self.size, self.end_offset());
        let read = async move {
            match log {
                Some(log) => Some(log.read(id, move |reader| replay::screen(reader, size, end)).await),
                None => None,
            }
        };
        read.into_actor(self).map(move |screen, terminal, _| match screen {
            None => {}
            Some(Ok(mirror)) => {
                terminal.size = mirror.size();
                terminal.screen.recall(mirror);
            }
            Some(Err(error)) => {
                tracing::error!(%id, error = &error as &dyn std::error::Error, "the screen of a terminal that has ended cannot be read");
            }
        })
    }

    /// Takes over a child whose seam is to be written behind the screen before it, once that is there. Nothing else is done meanwhile.
    fn live_once_recalled(&mut self, held: Held, ctx: &mut Context<Self>) {
        ctx.wait(self.recalled().map(|(), terminal, ctx| match terminal.live(held, ctx) {
            Ok(()) => {
                terminal.activate(terminal.answers.active());
                terminal.publish(ctx);
                terminal.report();
            }
            Err(error) => give_up(terminal.id, &error, ctx),
        }));
    }

    /// Whether the seam before the present child's output is still to be written.
    fn is_unsewn(&self) -> bool {
        self.seam.as_ref().is_some_and(|seam| self.end_offset() <= seam.at)
    }

    /// Writes the seam, unless it is there. Where nothing is left of the journal, the screen before it comes first: what follows is drawn on that.
    fn sew(&mut self) -> io::Result<()> {
        let Some(seam) = self.seam.clone().filter(|_| self.is_unsewn()) else { return Ok(()) };
        let lane = self.lane.clone();
        let mut journal = lane.journal();
        let bytes = seam.bytes(self.screen.now(&mut journal));
        if !journal.holds_screen(self.id) {
            self.screen.checkpoint(&mut journal).map_err(io::Error::other)?;
        }
        journal.insert(self.id, &bytes).map_err(io::Error::other)
    }

    fn watch_child(&mut self, pidfd: Arc<OwnedFd>, ctx: &mut Context<Self>) {
        let id = self.id;
        self.whereabouts.follow(&pidfd);
        let ended = child_end(pidfd).into_actor(self);
        ctx.spawn(ended.map(move |result, terminal, ctx| {
            let exit = result.unwrap_or_else(|error| {
                tracing::error!(%id, %error, "the child can no longer be watched");
                Exit::Unknown
            });
            terminal.child_ended(exit, ctx);
        }));
    }

    fn child_ended(&mut self, exit: Exit, ctx: &mut Context<Self>) {
        self.happen(Happening::ChildEnded(exit), ctx);
        self.await_quiet(ctx);
    }

    /// Ends the draining of a PTY that something else keeps open, but not while the journal has no room for what it holds.
    fn await_quiet(&mut self, ctx: &mut Context<Self>) {
        self.quiet = Some(ctx.run_later(QUIET_AFTER_EXIT, |terminal, ctx| {
            if terminal.held_back { terminal.await_quiet(ctx) } else { terminal.happen(Happening::Quiet, ctx) }
        }));
    }

    fn happen(&mut self, happening: Happening, ctx: &mut Context<Self>) {
        let before = self.phase;
        self.phase = before.after(happening);
        match self.phase {
            Phase::Drained(exit) if !matches!(before, Phase::Drained(_)) => self.report_drained(Fate::Ended(exit)),
            Phase::Ended(_) if !matches!(before, Phase::Ended(_)) => {
                self.release_pty(ctx);
                self.retire();
            }
            Phase::Running { .. } | Phase::Draining(_) | Phase::Drained(_) | Phase::Ended(_) => {}
        }
    }

    /// Leaves the room in the journal to those that live, once all is on disk, its last screen included.
    fn retire(&mut self) {
        if self.logged {
            self.lane.journal().retire(self.id);
        }
    }

    fn report_drained(&mut self, fate: Fate) {
        let lane = self.lane.clone();
        let mut journal = lane.journal();
        self.screen.now(&mut journal);
        if let Err(error) = self.screen.checkpoint(&mut journal) {
            tracing::warn!(id = %self.id, %error, "the last screen is not on record: it is drawn again from what came before");
        }
        drop(journal);
        let offset = self.end_offset();
        self.report();
        // Once in a child's life.
        let heard = self.input.as_ref().map_or_else(Vec::new, InputQueue::heard);
        self.obituary.supervisor.do_send(Drained { id: self.id, fate, offset, size: self.size, heard });
    }

    fn release_pty(&mut self, ctx: &mut Context<Self>) {
        for handle in [self.intake.take(), self.writer.take(), self.quiet.take()].into_iter().flatten() {
            ctx.cancel_future(handle);
        }
        for waiting in self.unacknowledged.drain(..) {
            let _ = waiting.reply.send(Err(InputError::Ended));
        }
        (self.pty, self.input) = (None, None);
    }

    pub(super) fn end_offset(&self) -> u64 {
        self.lane.journal().end_offset(self.id).unwrap_or(0)
    }

    /// Estimated bytes of memory that it takes, by what for.
    pub(super) fn memory(&self) -> MemoryParts {
        MemoryParts {
            mirror: self.screen.memory_bytes(),
            pending: self.input.as_ref().map_or(0, InputQueue::pending),
            clients: self.clients.values().map(Client::memory_bytes).sum(),
            actor: ACTOR_BYTES as u64,
            log: 0,
        }
    }

    /// Gives what the journal has to clients first, then to the mirror.
    fn publish(&mut self, ctx: &mut Context<Self>) {
        self.pump_all(ctx);
        self.draw(ctx);
    }

    /// The same with a turn's output: of a flood the mirror is given much at a time.
    fn publish_turn(&mut self, bytes: usize, ctx: &mut Context<Self>) {
        self.pump_all(ctx);
        self.undrawn += bytes;
        if bytes < FLOOD_TURN_BYTES || self.undrawn >= DRAW_BYTES_MAX {
            self.draw(ctx);
        } else if self.delayed.is_none() {
            self.delayed = Some(ctx.run_later(DRAW_DELAY, |terminal, ctx| terminal.draw(ctx)));
        }
    }

    fn pump_all(&mut self, ctx: &mut Context<Self>) {
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in ids {
            self.pump(id, ctx);
        }
    }

    /// Draws all there is, and acts on what is asked in it: whoever has been shown it may answer.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        self.screen.now(&mut self.lane.journal());
        self.heed(ctx);
    }

    fn draw(&mut self, ctx: &mut Context<Self>) {
        self.undrawn = 0;
        if let Some(delayed) = self.delayed.take() {
            ctx.cancel_future(delayed);
        }
        let was_asleep = self.screen.is_hibernated();
        let more = self.screen.advance(&mut self.lane.journal(), DRAW_BYTES_MAX);
        if was_asleep && self.screen.is_awake() {
            self.note_woken();
        }
        self.heed(ctx);
        self.park_if_over();
        self.report_soon(ctx);
        self.drowse(ctx);
        if more && !self.drawing {
            self.drawing = true;
            self.draw_soon(ctx);
        }
    }

    /// Draws on once others have had their turn.
    fn draw_soon(&self, ctx: &mut Context<Self>) {
        ctx.spawn(fut::wrap_future::<_, Self>(self.lane.usher().others_first()).map(|(), terminal, ctx| {
            terminal.drawing = false;
            terminal.draw(ctx);
        }));
    }

    fn pump(&mut self, id: ClientId, ctx: &mut Context<Self>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let need = client.pump(self.id, &self.lane.journal());
        match need {
            Need::Nothing => {}
            Need::Redraw => self.show(id, ctx),
            Need::Resync => {
                let end = self.end_offset();
                self.catch_up(ctx);
                if let Some(client) = self.clients.get_mut(&id) {
                    let from = client.lag(end);
                    self.reporter.tally.lags += 1;
                    self.report_news(TermNews::Lagged { client: id.0, from, to: end });
                    self.expect_no_answers(id, from, ctx);
                }
                self.show(id, ctx);
            }
        }
        self.tell_exit(id);
    }

    /// Notes output or input, which is what keeps it from being hung up for being idle.
    fn note_active(&mut self) {
        self.note_used();
        self.activity.note(self.drowse.used);
        self.warn(None);
    }

    /// Tells who watches when it is hung up, or that it is not; nothing if that is what they know.
    fn warn(&mut self, at_ms: Option<u64>) {
        if std::mem::replace(&mut self.warned, at_ms) == at_ms {
            return;
        }
        self.clients.values().for_each(|client| client.warn(at_ms));
        if at_ms.is_none() {
            self.report_news(TermNews::ReapAverted);
        }
    }

    fn tell_exit(&mut self, id: ClientId) {
        let end = self.end_offset();
        let Some(exit) = self.phase.recorded_exit() else { return };
        if self.clients.get(&id).is_some_and(|client| client.has_all(end))
            && let Some(client) = self.clients.remove(&id)
        {
            self.park_if_over();
            self.report_news(TermNews::Detached { client: id.0 });
            client.exit(exit);
        }
    }

    /// Drops the grid of a terminal that has ended and that nobody watches.
    fn park_if_over(&mut self) {
        if self.phase.recorded_exit().is_some() && self.clients.is_empty() {
            self.screen.park(&self.lane.journal());
        }
    }

    fn show(&mut self, id: ClientId, ctx: &mut Context<Self>) {
        self.catch_up(ctx);
        let mut journal = self.lane.journal();
        let mirror = self.screen.now(&mut journal);
        let (data, size) = (Bytes::from([mirror.repaint(), mirror.begun()].concat()), mirror.size());
        let (offset, cursor) = (journal.end_offset(self.id).unwrap_or(0), journal.end());
        if let Some(client) = self.clients.get_mut(&id) {
            client.show(data, size, offset, cursor);
        }
    }

    /// Makes `client` the active one: the terminal gets its window's size.
    fn activate(&mut self, client: Option<ClientId>) {
        self.note_use(client);
        let size = client.and_then(|id| self.clients.get(&id)).and_then(|client| client.size);
        if let Some(size) = size
            && let Err(error) = self.resize(size)
        {
            tracing::warn!(id = %self.id, %error, "the active client's size was not set");
        }
    }

    fn resize(&mut self, size: Size) -> Result<(), ResizeError> {
        if size == self.size {
            return Ok(());
        }
        let Some(pty) = self.pty.clone() else { return Err(ResizeError::Ended) };
        let refused = |error: &dyn std::error::Error| ResizeError::Refused(error.to_string());
        self.lane.journal().append(self.id, Kind::Resize, &mirror::encode_size(size)).map_err(|error| refused(&error))?;
        pty.get_ref().resize(size).map_err(|error| refused(&error))?;
        self.size = size;
        self.report();
        Ok(())
    }

    /// Opens the input that was on its way to the child; without one that is kept, input lasts as long as this process.
    fn open_input(&mut self, kept: Option<Arc<OwnedFd>>, ctx: &mut Context<Self>) -> io::Result<()> {
        let file = match kept {
            Some(file) => file,
            None => Arc::new(InputQueue::create()?),
        };
        let mut input = InputQueue::open(file)?;
        if let Some(seam) = &self.seam {
            // What the child before asked is not this one's to hear the answer of.
            input.append(Some(Numbered { source: ANSWERS, seq: seam.at }), &[])?;
        }
        self.input = Some(input);
        self.deliver(ctx);
        Ok(())
    }

    /// Delivers what the PTY takes, and the rest once it takes more.
    pub(super) fn deliver(&mut self, ctx: &mut Context<Self>) {
        let (Some(pty), Some(input), None) = (self.pty.clone(), &mut self.input, &self.writer) else { return };
        match input.deliver(pty.get_ref()) {
            Ok(false) => {}
            Ok(true) => {
                let writable = async move { await_writable(&pty).await };
                self.writer = Some(ctx.spawn(writable.into_actor(self).map(|result, terminal, ctx| {
                    terminal.writer = None;
                    if result.is_ok() {
                        terminal.deliver(ctx);
                    }
                })));
            }
            Err(error) => tracing::debug!(id = %self.id, %error, "input has nowhere to go"),
        }
        self.acknowledge();
    }

    /// Answers those whose input is no longer far back.
    fn acknowledge(&mut self) {
        let Some(input) = &self.input else { return };
        let near = input.delivered() + INPUT_BYTES_AHEAD;
        while self.unacknowledged.front().is_some_and(|waiting| waiting.at <= near) {
            if let Some(waiting) = self.unacknowledged.pop_front() {
                let _ = waiting.reply.send(Ok(()));
            }
        }
    }

    /// What the child is to get of input; nothing of what it got already.
    fn sifted(&mut self, input: &Input, ctx: &mut Context<Self>) -> Option<Sifted> {
        let client = input.client.filter(|_| may_hold_answer(&input.data));
        let Some(client) = client else { return Some(Sifted { data: input.data.clone(), settled: None, typed: true }) };
        if let (Some(queue), Some((name, seq))) = (&self.input, &input.numbered)
            && queue.has(Numbered { source: input::source(name), seq: *seq })
        {
            return None;
        }
        self.catch_up(ctx);
        Some(self.sift(client, &input.data))
    }

    /// Keeps input for the child, by which questions up to `answered` are settled; where it ends in the queue, or why it was not taken.
    fn keep(&mut self, data: &[u8], numbered: Option<&(String, u64)>, answered: Option<u64>) -> Result<u64, InputError> {
        let takes = self.pty.is_some() && !matches!(self.phase, Phase::Drained(_));
        let Some(queue) = self.input.as_mut().filter(|_| takes) else { return Err(InputError::Ended) };
        let numbered = numbered.map(|(name, seq)| Numbered { source: input::source(name), seq: *seq });
        match queue.append_answering(numbered, answered, data) {
            Ok(Appended::At(end)) => {
                self.reporter.tally.input += data.len() as u64;
                Ok(end)
            }
            Ok(Appended::Repeated) => Ok(0),
            Ok(Appended::Full) => Err(InputError::Full),
            Err(error) => {
                tracing::error!(id = %self.id, %error, "input could not be kept");
                Err(InputError::NoMemory)
            }
        }
    }
}

/// Resolves when the PTY takes input again. It took none a moment ago, so readiness that is on record is checked before it counts.
async fn await_writable(pty: &AsyncFd<Arc<Master>>) -> io::Result<()> {
    loop {
        let mut guard = pty.writable().await?;
        let takes = |pty: &AsyncFd<Arc<Master>>| {
            if pty.get_ref().is_writable() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        };
        if let Ok(result) = guard.try_io(takes) {
            return result;
        }
    }
}

/// Resolves when the process has ended, with how.
async fn child_end(pidfd: Arc<OwnedFd>) -> io::Result<Exit> {
    let pidfd = ready::register(pidfd, Interest::READABLE)?;
    let mut retries = 0;
    loop {
        match exit::ask(pidfd.get_ref().as_fd()) {
            Life::Ended(exit) => return Ok(exit),
            Life::Running => {
                let mut guard = pidfd.readable().await?;
                if exit::ask(pidfd.get_ref().as_fd()) == Life::Running {
                    guard.clear_ready();
                }
            }
            Life::Unreaped if retries < REAP_RETRIES_MAX => {
                retries += 1;
                sleep(REAP_RETRY).await;
            }
            Life::Unreaped => return Ok(Exit::Unknown),
        }
    }
}

/// Ends the actor of a PTY that could not be taken over: the supervisor starts another.
fn give_up(id: TermId, error: &io::Error, ctx: &mut Context<Terminal>) {
    tracing::error!(%id, %error, "the pty could not be taken over: the supervisor tries again");
    ctx.stop();
}

impl Actor for Terminal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MAX);
        self.lane.join(self.id, ctx.address());
        let taken = match self.course.take().unwrap_or(Course::Ended(None)) {
            Course::Live(held) if self.is_unsewn() => {
                self.live_once_recalled(held, ctx);
                Ok(())
            }
            Course::Live(held) => self.live(held, ctx),
            Course::Orphaned(master) => self
                .sew()
                .and_then(|()| self.take_over(master, ctx))
                .and_then(|()| self.open_input(None, ctx))
                .map(|()| self.child_ended(Exit::Unknown, ctx)),
            Course::Lost => {
                ctx.wait(self.recalled().map(|(), terminal, _| terminal.report_drained(Fate::Lost)));
                Ok(())
            }
            Course::Resting(_) => {
                self.recorded_size();
                Ok(())
            }
            Course::Ended(_) => {
                self.recorded_size();
                self.retire();
                Ok(())
            }
        };
        if let Err(error) = taken {
            return give_up(self.id, &error, ctx);
        }
        self.report();
        if !matches!(self.phase, Phase::Ended(_)) {
            self.drawing = true;
            self.draw_soon(ctx);
        }
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.lane.leave(self.id);
        Running::Stop
    }
}

impl StreamHandler<Result<Ingest, JournalError>> for Terminal {
    fn handle(&mut self, turn: Result<Ingest, JournalError>, ctx: &mut Self::Context) {
        self.held_back = turn.is_err();
        match turn {
            Ok(Ingest { bytes, source }) => {
                if bytes > 0 {
                    self.last_output_ms = Some(now_ms());
                    self.note_active();
                    self.reporter.tally.output += bytes as u64;
                    self.happen(Happening::Output, ctx);
                }
                self.publish_turn(bytes, ctx);
                self.report_soon(ctx);
                if source == Source::HungUp {
                    self.happen(Happening::HungUp, ctx);
                }
            }
            // It may have much to say, and is not to blame that nobody hears it.
            Err(JournalError::Full) => {
                self.note_active();
                tracing::debug!(id = %self.id, "the journal is full: reading pauses");
            }
            Err(error) => tracing::error!(id = %self.id, error = &error as &dyn std::error::Error, "output is held back"),
        }
        self.lane.ask_for_room();
    }
}

/// What an actor takes, its context and mailbox included; and, as measured, what the runtime takes for what it waits for.
const ACTOR_BYTES: usize = size_of::<Terminal>() + size_of::<Context<Terminal>>() + 1600;

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
