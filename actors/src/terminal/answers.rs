//! Who answers what a program asks its terminal: exactly one.
//!
//! ```text
//!   question at offset X, drawn ──► an interactive client's stream covers X? ── yes ──► its terminal answers
//!                                            │ no                                        │ it lags past X, or goes before X
//!                                            ▼                                           ▼
//!                                   the screen's own answer ──► input queue ◄────────────┘
//! ```
//!
//! A client is interactive if it may type and has told its window's size. Of several the one used last answers; what the terminals of
//! the others say to the question, which they see as well, is recognised in their input and dropped.
//!
//! **Invariants.** An answer, and that a client has to give one, is input under a sender of its own, numbered by the question's offset: no
//! replay, of this supervisor or the next, answers again. Questions that a supervisor finds undecided wait a moment for clients
//! of the one before, whose streams cover them. A client that is killed with a question in hand takes the answer with it.

use std::{
    mem,
    time::{Duration, Instant},
};

use actix::{AsyncContext, Context};

use super::{ClientId, Terminal, fanout::Client};
use crate::{
    mirror::{Told, What},
    pty::input::{ANSWERS, Appended, Numbered},
    registry::TermNews,
};

/// How long questions from before this supervisor wait for clients to come back.
const RETURN_MAX: Duration = Duration::from_millis(500);
/// How long after a question what looks like an answer is taken for one.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Most that is told of in one report: a program that does nothing but tell is not heard out, and takes no other's events away.
const NEWS_MAX: usize = 100;
/// Least time between two bells that are told.
const BELL_EVERY: Duration = Duration::from_secs(1);

/// What was asked, where, and what the screen answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    offset: u64,
    reply: Vec<u8>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// On their way to a client.
    owed: Vec<(ClientId, Question)>,
    /// From before this supervisor.
    undecided: Vec<Question>,
    asked: Option<Instant>,
    /// The client used last.
    active: Option<ClientId>,
    /// Where output stood when this supervisor took over: what was told before has been told.
    pub(super) taken_over_at: u64,
    rung: Option<Instant>,
    /// Since when a command runs, as far as this supervisor has seen it begin.
    command_since: Option<Instant>,
}

impl Answers {
    /// Whoever asked is no more.
    pub(super) fn forget_questions(&mut self) {
        (self.owed, self.undecided, self.command_since) = (Vec::new(), Vec::new(), None);
    }
}

impl Terminal {
    /// Acts on what programs told and asked in what was drawn.
    pub(super) fn heed(&mut self, ctx: &mut Context<Self>) {
        for heard in self.screen.take_heard() {
            let is_new = heard.offset > self.answers.taken_over_at;
            match heard.what {
                What::Query(_) if self.is_decided(heard.offset) => {}
                What::Query(reply) => {
                    let question = Question { offset: heard.offset, reply };
                    // Those that wait come first: numbers only grow.
                    let is_next = is_new && self.answers.undecided.is_empty();
                    if is_next { self.decide(question, ctx) } else { self.wait_for_clients(question, ctx) }
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
        let used_last = self.answers.active.and_then(|id| Some((id, self.clients.get(&id)?)));
        used_last.or_else(|| {
            let clients = self.clients.iter().filter(|(_, client)| client.is_interactive());
            clients.max_by_key(|(id, _)| **id).map(|(id, client)| (*id, client))
        })
    }

    fn decide(&mut self, question: Question, ctx: &mut Context<Self>) {
        self.answers.asked = Some(Instant::now());
        let answerer = self.answerer().filter(|(_, client)| client.covers(question.offset));
        let on_its_way = answerer.map(|(id, client)| (id, !client.has_all(question.offset)));
        let data = if on_its_way.is_some() { &[][..] } else { &question.reply };
        if self.put_answer(Some(question.offset), data, ctx)
            && let Some((id, true)) = on_its_way
        {
            self.answers.owed.push((id, question));
        }
    }

    /// Puts an answer into the child's input, unless one with that number was; whether it was put.
    fn put_answer(&mut self, number: Option<u64>, data: &[u8], ctx: &mut Context<Self>) -> bool {
        let Some(queue) = self.input.as_mut().filter(|_| self.pty.is_some()) else { return false };
        match queue.append(number.map(|seq| Numbered { source: ANSWERS, seq }), data) {
            Ok(Appended::At(_)) => {
                self.deliver(ctx);
                true
            }
            Ok(Appended::Repeated) => false,
            Ok(Appended::Full) => {
                tracing::debug!(id = %self.id, "a question of a program that does not read its input is not answered");
                false
            }
            Err(error) => {
                tracing::error!(id = %self.id, %error, "an answer could not be kept");
                false
            }
        }
    }

    fn wait_for_clients(&mut self, question: Question, ctx: &mut Context<Self>) {
        if self.answers.undecided.is_empty() {
            ctx.run_later(RETURN_MAX, |terminal, ctx| {
                for question in mem::take(&mut terminal.answers.undecided) {
                    terminal.decide(question, ctx);
                }
            });
        }
        self.answers.undecided.push(question);
    }

    /// Answers in place of clients that have gone, or were shown a screen instead, before the question got to them.
    pub(super) fn answer_for_absent(&mut self, ctx: &mut Context<Self>) {
        let owed = mem::take(&mut self.answers.owed);
        for (id, question) in owed {
            match self.clients.get(&id) {
                Some(client) if !client.covers(question.offset) => _ = self.put_answer(None, &question.reply, ctx),
                Some(client) if client.has_all(question.offset) => {}
                Some(_) => self.answers.owed.push((id, question)),
                None => _ = self.put_answer(None, &question.reply, ctx),
            }
        }
    }

    /// Whether input is the answer of a terminal that was not to give one.
    pub(super) fn is_unasked_answer(&self, client: Option<ClientId>, data: &[u8]) -> bool {
        let recent = self.answers.asked.is_some_and(|asked| asked.elapsed() < ANSWER_MAX);
        let (Some(from), Some((answerer, _))) = (client, self.answerer()) else { return false };
        recent && from != answerer && is_answer(data)
    }
}

/// Whether input is nothing but what a terminal says when asked. What may also be a key (`CSI 97;5u`, `CSI 1;2R`) is taken for one: an answer
/// too many does less harm than a keystroke lost.
fn is_answer(data: &[u8]) -> bool {
    let mut rest = data;
    while !rest.is_empty() {
        let Some(length) = answer_length(rest) else { return false };
        rest = &rest[length..];
    }
    !data.is_empty()
}

/// Length of the answer that `bytes` begin with.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let [0x1b, kind, body @ ..] = bytes else { return None };
    match kind {
        b'[' => {
            let end = body.iter().position(|byte| (0x40..0x7f).contains(byte))?;
            let parameters = &body[..end];
            let is_said = match body[end] {
                b'c' | b'u' | b'y' => matches!(parameters, [b'?' | b'>' | b'=', ..]) || parameters.ends_with(b"$"),
                b'R' => !matches!(parameters, [] | [b'1', b';', b'1'..=b'9'] | [b'1', b';', b'1', _]),
                b'n' | b't' => !parameters.is_empty(),
                _ => false,
            };
            let is_plain = parameters.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b'?' | b'>' | b'=' | b'$'));
            (is_said && is_plain).then_some(end + 3)
        }
        b'P' | b']' => {
            let bell = memchr::memchr(7, body).map(|at| at + 1);
            let terminator = memchr::memmem::find(body, b"\x1b\\").map(|at| at + 2);
            Some(2 + bell.into_iter().chain(terminator).min()?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_what_is_typed() {
        for answer in [
            "\x1b[?62;22c",
            "\x1b[12;40R",
            "\x1b[0n",
            "\x1b[?2026;2$y",
            "\x1bP>|xterm\x1b\\",
            "\x1b]11;rgb:0/0/0\x07\x1b[?1;2c",
        ] {
            assert!(is_answer(answer.as_bytes()), "{answer:?}");
        }
        for typed in [
            "",
            "a",
            "\x1b",
            "\x1b[A",
            "\x1b[c",
            "\x1b[1;5C",
            "\x1b[12;40Rx",
            "\x1b]11;",
            "\x1b[97;5u",
            "\x1b[1;2R",
            "\x1b[200~\x1b[0n",
        ] {
            assert!(!is_answer(typed.as_bytes()), "{typed:?}");
        }
    }
}
