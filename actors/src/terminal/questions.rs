//! Which questions wait for an answer, whose terminal owes it, and what becomes of an answer that comes. Pure.
//!
//! ```text
//!              ┌─► a client's ── its terminal answers ───────────────────────┐
//!   asked ─────┤       │ it goes away                                        ├─► settled
//!              │       ▼                                                     │
//!              ├─► anybody's ─── who was shown it answers, having come back ─┤
//!              │       │ nobody does, for a while                            │
//!              └───────┴──────► overdue: the supervisor answers ─────────────┘
//! ```
//!
//! A client's terminal answers in order all that it was shown, whether it is to or not. So for each client that is kept, in order, and what
//! comes is taken for the answer to the first of its kind that is this client's to give; if there is none, for one that is not wanted any
//! more. What was asked before it, and is its to answer, it will not answer: that is settled, too.
//!
//! **Invariants.** Of the answers to a question one passes, or the supervisor gives one. The supervisor's come in the order of the questions.
//! Bounded by [`OPEN_MAX`] and [`SHOWN_MAX`]: with more questions than that under way the oldest are overdue at once, or forgotten.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use super::{
    ClientId,
    reply::{self, Kind},
};

/// How long a client's terminal has to answer, from when the question was asked: more than a slow line takes, less than programs wait.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long the questions of a client that went away, or of one of the supervisor before, wait for it to come back.
pub(super) const RETURN_WAIT: Duration = Duration::from_millis(500);
/// Most questions that wait for an answer, and most bytes of what the screen would answer to them.
const OPEN_MAX: usize = 4096;
const OPEN_BYTES_MAX: usize = 256 << 10;
/// Most answers that are kept count of for a client.
const SHOWN_MAX: usize = 4096;
/// Most answers that clients which went away may come back with, and for how long: a session of kaval's tries for a minute.
const LEFT_MAX: usize = 1024;
const LEFT_WAIT: Duration = Duration::from_secs(60);

/// What was asked, where, and what the screen answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) offset: u64,
    pub(super) reply: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    question: Question,
    /// Whose terminal answers; anybody's who was shown it, if that went away.
    owner: Option<ClientId>,
    abandoned: bool,
    until: Instant,
    settled: bool,
}

impl Open {
    fn is_to_answer(&self, client: ClientId) -> bool {
        !self.settled && self.owner.is_none_or(|owner| owner == client)
    }
}

/// An answer that a client's terminal gives.
#[derive(Debug, Clone, Copy)]
struct Shown {
    offset: u64,
    kind: Kind,
    /// Until then it is expected in its turn; later, to come or not.
    until: Option<Instant>,
    /// It was this client's to answer, and seemed not to be answered.
    passed_over: bool,
    /// What may have been the answer to it was taken for that to an earlier question, which this client may never have been shown.
    lent: bool,
}

impl Shown {
    fn new(offset: u64, kind: Kind, until: Option<Instant>) -> Self {
        Self { offset, kind, until, passed_over: false, lent: false }
    }
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The program waits for it.
    Wanted,
    /// The question was settled otherwise.
    Unwanted,
    /// The same, but long ago, or not known whether it was this client's.
    Late,
    /// Nothing is known that would be answered so.
    Unknown,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// In the order of their offsets. Settled ones stay behind one that is not.
    open: VecDeque<Open>,
    open_bytes: usize,
    shown: HashMap<ClientId, VecDeque<Shown>>,
    /// Answers that clients which went away did not give: one that comes back may.
    left: VecDeque<Shown>,
    settled_until: u64,
    /// The question of several parts that was answered last, and by whom.
    last: Option<(ClientId, u64)>,
}

impl Questions {
    /// A question was asked: `owner` is to answer it, and the supervisor at once if nobody is; `shown` are all whose terminals will.
    pub(super) fn ask(&mut self, question: Question, owner: Option<ClientId>, shown: &[ClientId], now: Instant) {
        let until = if owner.is_some() { now + ANSWER_WAIT } else { now };
        for client in shown {
            self.show(*client, &question, Some(now + ANSWER_WAIT));
        }
        self.push(Open { question, owner, abandoned: false, until, settled: false });
    }

    /// A question was asked of a client that may come back.
    pub(super) fn ask_absent(&mut self, question: Question, now: Instant) {
        self.remember(&question, now);
        self.push(Open { question, owner: None, abandoned: true, until: now + RETURN_WAIT, settled: false });
    }

    /// A question was asked of a client that may come back; it is settled, or is asked for all that.
    pub(super) fn remember(&mut self, question: &Question, now: Instant) {
        for kind in reply::kinds(&question.reply) {
            self.leave(Shown::new(question.offset, kind, None), now);
        }
    }

    fn push(&mut self, open: Open) {
        self.open_bytes += open.question.reply.len();
        self.open.push_back(open);
    }

    fn pop_if(&mut self, is_over: impl Fn(&Open) -> bool) -> Option<Open> {
        let open = self.open.pop_front_if(|open| is_over(open))?;
        self.open_bytes -= open.question.reply.len();
        self.settled_until = open.question.offset;
        Some(open)
    }

    fn show(&mut self, client: ClientId, question: &Question, until: Option<Instant>) {
        let shown = self.shown.entry(client).or_default();
        for kind in reply::kinds(&question.reply) {
            if shown.len() >= SHOWN_MAX {
                shown.pop_front();
            }
            shown.push_back(Shown::new(question.offset, kind, until));
        }
    }

    /// A client came that has had output up to `begins`: what others left unanswered may be its to answer, all the more if it `resumes`.
    pub(super) fn attached(&mut self, client: ClientId, begins: u64, resumes: bool, now: Instant) {
        self.left.retain(|left| left.until.is_some_and(|until| now < until));
        let late = self.left.iter().filter(|left| left.offset <= begins).map(|left| Shown { until: None, ..*left });
        self.shown.insert(client, late.collect());
        let open = std::mem::take(&mut self.open);
        for open in open.iter().filter(|open| open.question.offset > begins) {
            self.show(client, &open.question, Some(now + ANSWER_WAIT));
        }
        self.open = open;
        for open in self.open.iter_mut().filter(|open| open.abandoned && resumes) {
            open.until = now + ANSWER_WAIT;
        }
    }

    /// A client went away.
    pub(super) fn gone(&mut self, client: ClientId, now: Instant) {
        let known: HashSet<u64> = self.left.iter().map(|left| left.offset).collect();
        for shown in self.shown.remove(&client).unwrap_or_default() {
            if !known.contains(&shown.offset) {
                self.leave(shown, now);
            }
        }
        for open in self.open.iter_mut().filter(|open| open.owner == Some(client)) {
            (open.owner, open.abandoned, open.until) = (None, true, now + RETURN_WAIT);
        }
    }

    fn leave(&mut self, shown: Shown, now: Instant) {
        if self.left.len() >= LEFT_MAX {
            self.left.pop_front();
        }
        self.left.push_back(Shown::new(shown.offset, shown.kind, Some(now + LEFT_WAIT)));
    }

    /// A client was not shown what came behind `from`.
    pub(super) fn skipped(&mut self, client: ClientId, from: u64, now: Instant) {
        if let Some(shown) = self.shown.get_mut(&client) {
            shown.retain(|shown| shown.offset <= from);
        }
        for open in self.open.iter_mut().filter(|open| open.owner == Some(client) && open.question.offset > from) {
            (open.owner, open.until) = (None, now);
        }
    }

    /// A client's terminal gave an answer.
    pub(super) fn answered(&mut self, client: ClientId, kind: Kind, now: Instant) -> Verdict {
        let Some(shown) = self.shown.get(&client) else { return Verdict::Unknown };
        let mut late = None;
        for (at, expected) in shown.iter().enumerate().filter(|(_, expected)| expected.kind == kind) {
            let open = find(&self.open, expected.offset);
            if open.is_some_and(|at| self.open[at].is_to_answer(client)) || self.last == Some((client, expected.offset)) {
                self.settle(client, at, now);
                return Verdict::Wanted;
            }
            if !expected.lent && expected.until.is_some_and(|until| now < until) {
                self.forget(client, at);
                return Verdict::Unwanted;
            }
            late = late.filter(|_| !expected.passed_over).or(Some(at));
        }
        let Some(at) = late else { return Verdict::Unknown };
        let passed_over = shown[at].passed_over;
        self.forget(client, at);
        if passed_over { Verdict::Wanted } else { Verdict::Late }
    }

    fn forget(&mut self, client: ClientId, at: usize) {
        if let Some(shown) = self.shown.get_mut(&client) {
            shown.remove(at);
        }
    }

    /// Settles the question that `client` expected to answer at `at`, and those before it that it was to answer and did not.
    fn settle(&mut self, client: ClientId, at: usize, now: Instant) {
        let Some(shown) = self.shown.get_mut(&client) else { return };
        let before: Vec<Shown> = shown.drain(..at).collect();
        let Some(answer) = shown.pop_front() else { return };
        if (answer.until.is_none() || answer.lent)
            && let Some(next) = shown.iter_mut().find(|next| next.kind == answer.kind && next.until.is_some() && !next.lent)
        {
            next.lent = true;
        }
        for passed in before.into_iter().rev() {
            match find(&self.open, passed.offset).map(|at| &mut self.open[at]) {
                Some(open) if open.owner == Some(client) && !open.settled && passed.lent => {
                    (open.owner, open.until) = (None, now);
                    shown.push_front(Shown { until: None, lent: false, ..passed });
                }
                Some(open) if open.owner == Some(client) && !open.settled && passed.offset != answer.offset => {
                    open.settled = true;
                    shown.push_front(Shown { until: None, passed_over: true, ..passed });
                }
                Some(_) | None => shown.push_front(passed),
            }
        }
        if let Some(at) = find(&self.open, answer.offset) {
            self.open[at].settled = true;
        }
        self.last = Some((client, answer.offset));
        self.drop_settled();
    }

    /// Nobody waits for an answer any more to what was asked so far; terminals that were shown it answer all the same.
    pub(super) fn withdraw(&mut self) {
        self.open.iter_mut().for_each(|open| open.settled = true);
        self.last = None;
        self.drop_settled();
    }

    fn drop_settled(&mut self) {
        while self.pop_if(|open| open.settled).is_some() {}
    }

    /// The oldest question, if nobody answered it in time: it is settled by this.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<Question> {
        let full = self.open.len() > OPEN_MAX || self.open_bytes > OPEN_BYTES_MAX;
        let open = self.pop_if(|open| full || open.until <= now)?;
        self.drop_settled();
        Some(open.question)
    }

    /// When the oldest question will be overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.open.front().map(|open| open.until)
    }

    /// Up to here all questions are settled.
    pub(super) fn settled_until(&self) -> u64 {
        self.settled_until
    }
}

fn find(open: &VecDeque<Open>, offset: u64) -> Option<usize> {
    open.binary_search_by_key(&offset, |open| open.question.offset).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;

    const CURSOR: &[u8] = b"\x1b[1;1R";
    const DEVICE: &[u8] = b"\x1b[?62;22c";
    const COLOR: &[u8] = b"\x1b]11;rgb:0/0/0\x07";
    const ONE: ClientId = ClientId(1);
    const TWO: ClientId = ClientId(2);

    fn question(offset: u64, reply: &[u8]) -> Question {
        Question { offset, reply: reply.to_vec() }
    }

    fn kind(reply: &[u8]) -> Kind {
        reply::read(reply).unwrap().kind
    }

    #[test]
    fn of_two_who_were_shown_it_the_answer_of_one_passes() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        questions.ask(question(4, CURSOR), Some(ONE), &[ONE, TWO], now);
        assert_eq!(questions.answered(TWO, kind(CURSOR), now), Verdict::Unwanted);
        assert_eq!(questions.answered(TWO, kind(CURSOR), now), Verdict::Unknown);
        assert_eq!((questions.answered(ONE, kind(CURSOR), now), questions.settled_until()), (Verdict::Wanted, 4));
        assert_eq!(questions.overdue_at(), None);
    }

    #[test]
    fn what_was_asked_by_one_who_is_no_more_is_answered_by_nobody() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        questions.ask(question(4, CURSOR), Some(ONE), &[ONE], now);
        questions.ask(question(5, DEVICE), Some(ONE), &[ONE], now);
        questions.withdraw();
        assert_eq!((questions.take_overdue(now + ANSWER_WAIT), questions.settled_until()), (None, 5));
        assert_eq!(questions.answered(ONE, kind(CURSOR), now), Verdict::Unwanted);
        questions.ask(question(9, CURSOR), Some(ONE), &[ONE], now);
        assert_eq!(questions.answered(ONE, kind(DEVICE), now), Verdict::Unwanted);
        assert_eq!(questions.answered(ONE, kind(CURSOR), now), Verdict::Wanted);
    }

    #[test]
    fn what_a_terminal_passes_over_it_will_not_answer() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        questions.ask(question(4, COLOR), Some(ONE), &[ONE], now);
        questions.ask(question(8, DEVICE), Some(ONE), &[ONE], now);
        assert_eq!(questions.answered(ONE, kind(DEVICE), now), Verdict::Wanted);
        assert_eq!((questions.settled_until(), questions.overdue_at()), (8, None));
    }

    #[test]
    fn one_who_is_silent_is_answered_for_and_what_it_says_too_late_is_dropped() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        questions.ask(question(4, CURSOR), Some(ONE), &[ONE], now);
        assert_eq!(questions.take_overdue(now), None);
        let later = now + ANSWER_WAIT;
        assert_eq!(questions.take_overdue(later), Some(question(4, CURSOR)));
        // One that was never answered is in nobody's way.
        questions.ask(question(8, CURSOR), Some(ONE), &[ONE], later);
        assert_eq!(questions.answered(ONE, kind(CURSOR), later), Verdict::Wanted);
        assert_eq!(questions.answered(ONE, kind(CURSOR), later), Verdict::Late);
        assert_eq!(questions.answered(ONE, kind(CURSOR), later), Verdict::Unknown);
    }

    #[test]
    fn one_who_went_away_with_a_question_answers_it_when_it_comes_back_in_time_and_not_later() {
        for (away, expected) in [(RETURN_WAIT / 2, Verdict::Wanted), (RETURN_WAIT, Verdict::Late)] {
            let (mut questions, now) = (Questions::default(), Instant::now());
            questions.ask(question(4, CURSOR), Some(ONE), &[ONE], now);
            questions.gone(ONE, now);
            let answered = questions.take_overdue(now + away).is_some();
            questions.attached(TWO, 9, true, now + away);
            assert_eq!(questions.answered(TWO, kind(CURSOR), now + away), expected);
            assert_eq!(answered, expected == Verdict::Late);
            assert_eq!(questions.take_overdue(now + away + ANSWER_WAIT), None);
        }
    }

    #[test]
    fn what_a_screen_stood_in_for_is_answered_at_once() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        questions.ask(question(4, CURSOR), Some(ONE), &[ONE], now);
        questions.ask(question(8, CURSOR), Some(ONE), &[ONE], now);
        questions.skipped(ONE, 5, now);
        assert_eq!(questions.take_overdue(now), None, "answers come in the questions' order");
        assert_eq!(questions.answered(ONE, kind(CURSOR), now), Verdict::Wanted);
        assert_eq!(questions.take_overdue(now), Some(question(8, CURSOR)));
        assert_eq!(questions.answered(ONE, kind(CURSOR), now), Verdict::Unknown);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Ask(u8),
        /// The terminal of one of those attached answers what it was shown first, if it does that at all.
        Answer(u8),
        Leave(u8),
        /// One who has seen so much of what was put out comes back.
        Return(u8),
        Attach,
        Wait(u16),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0u8..3).prop_map(Act::Ask),
            5 => any::<u8>().prop_map(Act::Answer),
            1 => any::<u8>().prop_map(Act::Leave),
            1 => any::<u8>().prop_map(Act::Return),
            1 => Just(Act::Attach),
            2 => (0u16..700).prop_map(Act::Wait),
        ]
    }

    /// A window: what its terminal has yet to answer, oldest first, and whether it answers.
    #[derive(Debug, Clone)]
    struct Window {
        client: ClientId,
        seen: u64,
        owes: VecDeque<Question>,
    }

    /// The same schedules every time, many more and others in soak: of some 30,000 one has clients that come and go so that an answer is lost.
    fn schedules() -> ProptestConfig {
        match std::env::var_os("KAVAL_SOAK") {
            Some(_) => ProptestConfig { cases: 10_000, ..ProptestConfig::default() },
            None => ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() },
        }
    }

    proptest! {
        #![proptest_config(schedules())]

        /// Of all that is asked each is answered once, by count, whoever comes and goes and however long terminals take.
        #[test]
        fn each_question_is_answered_once(acts in prop::collection::vec(act(), 1..80)) {
            let (mut questions, mut now, mut next) = (Questions::default(), Instant::now(), 0);
            let (mut windows, mut away) = (Vec::<Window>::new(), Vec::<Window>::new());
            let (mut asked, mut answered, mut offset, began) = (0, 0, 0, now);
            for act in acts {
                match act {
                    Act::Ask(what) => {
                        offset += 4;
                        asked += 1;
                        let question = question(offset, [CURSOR, DEVICE, COLOR][usize::from(what)]);
                        for window in &mut windows {
                            window.owes.push_back(question.clone());
                            window.seen = offset;
                        }
                        let shown: Vec<ClientId> = windows.iter().map(|window| window.client).collect();
                        questions.ask(question, shown.last().copied(), &shown, now);
                    }
                    Act::Answer(which) => {
                        let Some(n) = usize::from(which).checked_rem(windows.len()) else { continue };
                        let Some(question) = windows[n].owes.pop_front() else { continue };
                        let verdict = questions.answered(windows[n].client, kind(&question.reply), now);
                        prop_assert_ne!(verdict, Verdict::Unknown);
                        answered += usize::from(verdict == Verdict::Wanted);
                    }
                    Act::Leave(which) => {
                        let Some(n) = usize::from(which).checked_rem(windows.len()) else { continue };
                        let window = windows.swap_remove(n);
                        questions.gone(window.client, now);
                        away.push(window);
                    }
                    Act::Return(which) => {
                        let Some(n) = usize::from(which).checked_rem(away.len()) else { continue };
                        let mut window = away.swap_remove(n);
                        next += 1;
                        window.client = ClientId(next);
                        let settled = questions.settled_until();
                        let missed = questions.open.iter().map(|open| &open.question);
                        let missed = missed.filter(|question| question.offset > window.seen && question.offset > settled);
                        window.owes.extend(missed.cloned());
                        questions.attached(window.client, window.seen, true, now);
                        window.seen = offset;
                        windows.push(window);
                    }
                    Act::Attach => {
                        next += 1;
                        windows.push(Window { client: ClientId(next), seen: offset, owes: VecDeque::new() });
                        questions.attached(ClientId(next), offset, false, now);
                    }
                    Act::Wait(ms) => now += Duration::from_millis(ms.into()),
                }
                while questions.take_overdue(now).is_some() {
                    answered += 1;
                }
                prop_assert!(answered <= asked);
            }
            for window in &mut windows {
                for question in std::mem::take(&mut window.owes) {
                    answered += usize::from(questions.answered(window.client, kind(&question.reply), now) == Verdict::Wanted);
                }
            }
            let all_in_time = now < began + RETURN_WAIT && away.iter().all(|window| window.owes.is_empty());
            now += 2 * ANSWER_WAIT;
            while questions.take_overdue(now).is_some() {
                answered += 1;
            }
            // What comes late, or from one that came back, may be taken for the answer to what was asked later, and that of one who then goes
            // for good is lost.
            prop_assert!(answered == asked || answered < asked && !all_in_time, "{} of {}", answered, asked);
            prop_assert_eq!(questions.settled_until(), offset);
        }
    }
}
