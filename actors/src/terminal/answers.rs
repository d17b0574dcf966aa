//! Who answers what a program asks its terminal: exactly one.
//!
//! ```text
//!   question at offset X, drawn ──► an interactive client's stream covers X? ── yes ──► its terminal answers ── in time ──┐
//!                                            │ no                                        │ it goes away, lags past X,      │
//!                                            ▼                                           ▼ or is silent: overdue           ▼
//!                                   the screen's own answer ◄────────────────────────────┘                       input queue
//!                                            └──────────────────────────────────────────────────────────────────────────▲
//! ```
//!
//! A client is interactive if it may type and has told its window's size; one whose window is of another size than the terminal's cannot
//! show what is asked. Of several the one used last answers. The terminals of the others are asked as well, since they show the same: what
//! they say is found in their input, wherever in it, and dropped. [`Questions`] keeps count of all that.
//!
//! **Invariants.** What the supervisor answers is input under a sender of its own, numbered by the question's offset; what a client answers
//! carries that number beside the client's own, in one record. So no replay, of this supervisor or the next, answers again, and a question
//! that has no answer on record is found again by the supervisor that draws it, and waits a moment for the client whose terminal has it in
//! hand. A client that resumes is told up to where questions are settled: those are not to be shown to its terminal once more.
//!
//! **What is left**, and to which side it leans. Lost: a question behind which a checkpoint was taken (256 KiB of output, a hibernation) before
//! it was answered, if the supervisor and the client whose terminal has it in hand are both killed then; the answer of a client that is
//! refused since a program does not read its input; questions beyond what [`Questions`] keeps; one of several of a kind, where a client leaves with
//! them in hand and comes back, or another comes meanwhile (of 27,000 random schedules, one). Doubled: where two clients were asked two questions, the
//! later was answered first, and the supervisor is killed before the earlier is; where a client comes back to another supervisor with an
//! answer that it had not sent, and a checkpoint hides the question there; and where a client that is not kaval's own shows what is settled.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, SpawnHandle};
use bytes::Bytes;

use super::{
    ClientId, Terminal,
    fanout::Client,
    questions::{Question, Questions, Verdict},
    reply,
};
use crate::{
    mirror::{Told, What},
    pty::input::{ANSWERS, Appended, Numbered},
    registry::TermNews,
};

/// How long after a question an answer that nothing is known of, of a client that is not to answer, is taken for one.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";
/// Most that is told of in one report: a program that does nothing but tell is not heard out, and takes no other's events away.
const NEWS_MAX: usize = 100;
/// Least time between two bells that are told.
const BELL_EVERY: Duration = Duration::from_secs(1);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Answers {
    questions: Questions,
    /// Runs while questions wait.
    timer: Option<SpawnHandle>,
    asked: Option<Instant>,
    /// The client used last.
    active: Option<ClientId>,
    /// Where output stood when this supervisor took over: what was told before has been told.
    pub(super) taken_over_at: u64,
    rung: Option<Instant>,
    /// Since when a command runs, as far as this supervisor has seen it begin.
    command_since: Option<Instant>,
}

/// Input, without what is not wanted of it.
pub(super) struct Sifted {
    pub(super) data: Bytes,
    /// Up to here questions are settled by it.
    pub(super) settled: Option<u64>,
    /// Somebody typed.
    pub(super) typed: bool,
}

impl Answers {
    /// Who used it last.
    pub(super) fn active(&self) -> Option<ClientId> {
        self.active
    }

    /// Whoever asked is no more: no answer is wanted.
    pub(super) fn forget_questions(&mut self) {
        self.questions.withdraw();
        self.command_since = None;
    }
}

impl Terminal {
    /// Acts on what programs told and asked in what was drawn.
    pub(super) fn heed(&mut self, ctx: &mut Context<Self>) {
        for heard in self.screen.take_heard() {
            let is_new = heard.offset > self.answers.taken_over_at;
            match heard.what {
                // Several may have been shown it, and one of them is yet to say what it has to.
                What::Query(reply) if self.is_decided(heard.offset) => {
                    self.answers.questions.remember(&Question { offset: heard.offset, reply }, Instant::now());
                }
                What::Query(reply) => {
                    let question = Question { offset: heard.offset, reply };
                    if is_new {
                        self.decide(question)
                    } else {
                        self.answers.questions.ask_absent(question, Instant::now())
                    }
                    self.answer_overdue(ctx);
                }
                What::Bell if is_new => self.ring(heard.offset),
                What::Told(told) if is_new => self.tell(heard.offset, told),
                What::Bell | What::Told(_) => {}
            }
        }
    }

    /// Whether it is on record who answers the question there.
    fn is_decided(&self, offset: u64) -> bool {
        self.input.as_ref().and_then(|queue| queue.last(ANSWERS)).is_some_and(|last| offset <= last)
    }

    fn ring(&mut self, offset: u64) {
        let now = Instant::now();
        if self.answers.rung.is_none_or(|rung| now.duration_since(rung) >= BELL_EVERY) {
            self.answers.rung = Some(now);
            self.reporter.news.push(TermNews::Bell { offset });
        }
    }

    fn tell(&mut self, offset: u64, told: Told) {
        let mut took = None;
        match told {
            Told::CommandStarted { .. } => self.answers.command_since = Some(Instant::now()),
            Told::CommandFinished { .. } => took = self.answers.command_since.take().map(|since| since.elapsed()),
            Told::Cwd(_) | Told::Notification(_) | Told::Progress(_) | Told::Clipboard { .. } => {}
        }
        if self.reporter.news.len() < NEWS_MAX {
            self.reporter.news.push(TermNews::Told { offset, told, took });
        }
    }

    /// Notes which client is used, if it is an interactive one.
    pub(super) fn note_use(&mut self, client: Option<ClientId>) {
        let is_interactive = |id: &ClientId| self.clients.get(id).is_some_and(Client::is_interactive);
        self.answers.active = client.filter(is_interactive).or(self.answers.active);
    }

    /// Whose terminal answers, if any does.
    fn answerer(&self) -> Option<(ClientId, &Client)> {
        let shows = |client: &Client| client.is_interactive() && client.size == Some(self.size);
        let used_last = self.answers.active.and_then(|id| Some((id, self.clients.get(&id)?)));
        used_last.filter(|(_, client)| shows(client)).or_else(|| {
            let clients = self.clients.iter().filter(|(_, client)| shows(client));
            clients.max_by_key(|(id, _)| **id).map(|(id, client)| (*id, client))
        })
    }

    fn decide(&mut self, question: Question) {
        let now = Instant::now();
        self.answers.asked = Some(now);
        let owner = self.answerer().filter(|(_, client)| client.covers(question.offset)).map(|(id, _)| id);
        let shows =
            |client: &Client| client.is_interactive() && client.size == Some(self.size) && client.covers(question.offset);
        let shown: Vec<ClientId> = self.clients.iter().filter(|(_, client)| shows(client)).map(|(id, _)| *id).collect();
        self.answers.questions.ask(question, owner, &shown, now);
    }

    /// Answers what nobody else did in time, and sees to it that this is done again when the next is due.
    pub(super) fn answer_overdue(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        while let Some(question) = self.answers.questions.take_overdue(now) {
            self.put_answer(&question, ctx);
        }
        if let (None, Some(at)) = (self.answers.timer, self.answers.questions.overdue_at()) {
            let timer = ctx.run_later(at.saturating_duration_since(now), |terminal, ctx| {
                terminal.answers.timer = None;
                terminal.answer_overdue(ctx);
            });
            self.answers.timer = Some(timer);
        }
    }

    /// Puts the screen's answer into the child's input, unless one with that number was.
    fn put_answer(&mut self, question: &Question, ctx: &mut Context<Self>) {
        let Some(queue) = self.input.as_mut().filter(|_| self.pty.is_some()) else { return };
        match queue.append(Some(Numbered { source: ANSWERS, seq: question.offset }), &question.reply) {
            Ok(Appended::At(_)) => self.deliver(ctx),
            Ok(Appended::Repeated) => {}
            Ok(Appended::Full) => {
                tracing::debug!(id = %self.id, "a question of a program that does not read its input is not answered");
            }
            Err(error) => tracing::error!(id = %self.id, %error, "an answer could not be kept"),
        }
    }

    /// Up to here questions are settled: whoever shows them again is not to answer them.
    pub(super) fn settled_until(&self) -> u64 {
        let on_record = self.input.as_ref().and_then(|queue| queue.last(ANSWERS)).unwrap_or(0);
        self.answers.questions.settled_until().max(on_record)
    }

    /// A client has come that has had output up to `begins`.
    pub(super) fn expect_answers(&mut self, client: ClientId, begins: u64, resumes: bool) {
        self.answers.questions.attached(client, begins, resumes, Instant::now());
    }

    /// A client was shown a screen instead of what came behind `from`.
    pub(super) fn expect_no_answers(&mut self, client: ClientId, from: u64, ctx: &mut Context<Self>) {
        self.answers.questions.skipped(client, from, Instant::now());
        self.answer_overdue(ctx);
    }

    /// A client has gone.
    pub(super) fn answer_for_absent(&mut self, client: ClientId, ctx: &mut Context<Self>) {
        self.answers.questions.gone(client, Instant::now());
        self.answer_overdue(ctx);
    }

    /// Takes out of a client's input what its terminal was not to answer. All that its terminal was shown has been drawn.
    pub(super) fn sift(&mut self, client: ClientId, data: &Bytes) -> Sifted {
        let settled_before = self.settled_until();
        let (mut kept, mut typed) = (Vec::with_capacity(data.len()), false);
        let mut rest = &data[..];
        while !rest.is_empty() {
            let answer = reply::read(rest);
            let length = answer.map_or_else(|| typed_length(rest), |answer| answer.length);
            let is_wanted = answer.is_none_or(|answer| self.is_wanted(client, answer));
            typed |= answer.is_none();
            kept.extend_from_slice(if is_wanted { &rest[..length] } else { &[] });
            rest = &rest[length..];
        }
        let settled = self.settled_until();
        Sifted { data: kept.into(), settled: (settled > settled_before).then_some(settled), typed }
    }

    fn is_wanted(&mut self, client: ClientId, answer: reply::Reply) -> bool {
        match self.answers.questions.answered(client, answer.kind, Instant::now()) {
            Verdict::Wanted => true,
            Verdict::Unwanted => false,
            // An answer too many does less harm than a keystroke lost.
            Verdict::Late | Verdict::Unknown if answer.may_be_key => true,
            Verdict::Late => false,
            Verdict::Unknown => {
                let recent = self.answers.asked.is_some_and(|asked| asked.elapsed() < ANSWER_MAX);
                !recent || self.answerer().is_none_or(|(answerer, _)| answerer == client)
            }
        }
    }
}

/// Whether an answer may be in it.
pub(super) fn may_hold_answer(data: &[u8]) -> bool {
    memchr::memchr_iter(0x1b, data).any(|at| reply::read(&data[at..]).is_some())
}

/// Length of what was typed or pasted before the next answer may begin.
fn typed_length(bytes: &[u8]) -> usize {
    let searched = match bytes.strip_prefix(PASTE_BEGINS) {
        Some(pasted) => PASTE_BEGINS.len() + memchr::memmem::find(pasted, PASTE_ENDS).unwrap_or(pasted.len()),
        None => 1,
    };
    memchr::memchr(0x1b, &bytes[searched..]).map_or(bytes.len(), |at| searched + at)
}
