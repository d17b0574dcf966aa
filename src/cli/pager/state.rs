//! What a pager shows, and what becomes of it: keys, sizes and answers in, the next thing to ask for and a picture out. Pure.
//!
//! ```text
//!   keys ─┐                                       ┌─► next_ask: one thing at a time
//!   size ─┼─► Pager { view, owed, wish } ─────────┤
//!   answer┘                                       └─► screen (in draw)
//! ```
//!
//! **Invariants.** What a key asks for that is not at hand yet is owed, and done as pages come; keys wait for what a key before them asked
//! for, as long as that takes. A question that nobody waits for any more is given up. No state needs more of a history than the cache holds.

use std::{collections::VecDeque, time::Duration};

use regex::{Regex, RegexBuilder};

use super::{
    ask::{Answer, Ask, Query, Target, Use},
    cache::PAGE_LINES,
    keys::Key,
    view::{Spot, View},
};
use crate::{
    cli::when::When,
    wire::{LinesAt, LinesOk},
};

/// Between two looks at the end, while it is followed: the first when something has come, the last when nothing has for a while.
const FOLLOW_FIRST: Duration = Duration::from_millis(100);
const FOLLOW_LAST: Duration = Duration::from_millis(500);
/// Keys that are typed ahead, at most.
const TYPED_MAX: usize = 1000;
/// Rows of what comes before it that a match is shown with: one in so many of the window's.
const MATCH_AT: usize = 3;

/// What is being typed at the foot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) kind: PromptKind,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PromptKind {
    Forward,
    Backward,
    Line,
    Time,
    Save,
}

impl PromptKind {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Forward => "/",
            Self::Backward => "?",
            Self::Line => ":",
            Self::Time => "time: ",
            Self::Save => "save to: ",
        }
    }
}

/// Lines from where it was begun to where it is now, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) anchor: u64,
    pub(super) cursor: u64,
}

impl Selection {
    pub(super) fn ends(self) -> (u64, u64) {
        (self.anchor.min(self.cursor), self.anchor.max(self.cursor))
    }
}

/// What is done by one key, in rows or lines.
#[derive(Debug, Clone, Copy)]
enum Move {
    Rows(i64),
    Start,
    End,
}

/// Where the view last went, and so is likely to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Travel {
    #[default]
    Nowhere,
    Up,
    Down,
}

/// What a key comes to that is not the pager's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Stay,
    Quit,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) name: String,
    pub(super) view: View,
    /// Rows yet to be scrolled, down if positive.
    owed: i64,
    travel: Travel,
    /// Asked for by a key, and not yet asked.
    wish: Option<Ask>,
    /// What is under way, by its number.
    asked: Option<u64>,
    is_wished: bool,
    is_long: bool,
    next_number: u64,
    /// Keys that wait for what was asked for by one before them.
    typed: VecDeque<Key>,
    /// It was asked for what is new at the end, as far as was known then.
    saw_end: bool,
    /// Nothing more is asked for of its own accord until a key is pressed: it went wrong.
    is_stuck: bool,
    pub(super) following: bool,
    follow_due: bool,
    follow_pause: Duration,
    /// How many lines there are, as far as is known, and where the output ended then and ends now.
    pub(super) total: u64,
    pub(super) total_at: u64,
    pub(super) output_end: u64,
    pub(super) frames: bool,
    pub(super) prompt: Option<Prompt>,
    pub(super) sought: Option<Regex>,
    sought_text: String,
    sought_back: bool,
    /// The line that was found last.
    pub(super) hit: Option<u64>,
    pub(super) selection: Option<Selection>,
    /// A line to be brought into view.
    reveal: Option<u64>,
    pub(super) message: Option<String>,
    pub(super) help: Option<usize>,
    /// The first digits of a key's count: `5j`.
    count: Option<usize>,
}

impl Pager {
    /// One that shows the end of a history; scrolled up by a page, if that is how it was opened.
    pub(super) fn new(name: String, size: (usize, usize), page_up: bool) -> Self {
        let mut pager = Self {
            name,
            view: View::new(size),
            owed: 0,
            travel: Travel::Up,
            wish: None,
            asked: None,
            is_wished: false,
            is_long: false,
            next_number: 0,
            typed: VecDeque::new(),
            saw_end: true,
            is_stuck: false,
            following: false,
            follow_due: false,
            follow_pause: FOLLOW_FIRST,
            total: 0,
            total_at: 0,
            output_end: 0,
            frames: false,
            prompt: None,
            sought: None,
            sought_text: String::new(),
            sought_back: false,
            hit: None,
            selection: None,
            reveal: None,
            message: None,
            help: None,
            count: None,
        };
        pager.go_to_end();
        if page_up {
            pager.owed = -(pager.view.page() as i64);
        }
        pager
    }

    /// The window has another size.
    pub(super) fn resize(&mut self, size: (usize, usize)) {
        self.view.resize(size);
        self.settle();
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key) -> Outcome {
        let is_heeded = matches!(key, Key::Escape | Key::Ctrl('c')) || key == Key::Char('q') && self.typed.is_empty();
        if self.is_waited_for() && !is_heeded {
            if self.typed.len() < TYPED_MAX {
                self.typed.push_back(key);
            }
            return Outcome::Stay;
        }
        self.heed(key)
    }

    /// Whether something that a key asked for is not done.
    fn is_waited_for(&self) -> bool {
        self.wish.is_some() || self.asked.is_some() && self.is_wished
    }

    /// Heeds the keys that have waited.
    fn catch_up(&mut self) -> Outcome {
        while !self.is_waited_for()
            && let Some(key) = self.typed.pop_front()
        {
            if self.heed(key) == Outcome::Quit {
                return Outcome::Quit;
            }
        }
        Outcome::Stay
    }

    fn heed(&mut self, key: Key) -> Outcome {
        self.is_stuck = false;
        if let Some(first) = self.help {
            self.help = match key {
                Key::Char('j' | ' ') | Key::Down | Key::PageDown => Some(first + 1),
                Key::Char('k') | Key::Up | Key::PageUp => Some(first.saturating_sub(1)),
                _ => None,
            };
            return Outcome::Stay;
        }
        self.message = None;
        if self.prompt.is_some() {
            return self.press_in_prompt(key);
        }
        if matches!(key, Key::Escape | Key::Ctrl('c')) {
            return self.cancel(key);
        }
        if let Key::Char(digit @ '0'..='9') = key {
            let digit = digit as usize - '0' as usize;
            self.count = Some((self.count.unwrap_or(0) * 10 + digit).min(1_000_000));
            return Outcome::Stay;
        }
        let count = self.count.take();
        self.press_plain(key, count)
    }

    fn press_plain(&mut self, key: Key, count: Option<usize>) -> Outcome {
        let times = count.unwrap_or(1).max(1) as i64;
        let (page, half) = (self.view.page() as i64, (self.view.text_rows() / 2).max(1) as i64);
        match key {
            Key::Char('q' | 'Q') => return Outcome::Quit,
            Key::Char('j' | 'e') | Key::Down | Key::Enter | Key::Ctrl('e' | 'n') => self.go(Move::Rows(times)),
            Key::Char('k') | Key::Up | Key::Ctrl('y' | 'p') => self.go(Move::Rows(-times)),
            Key::Char(' ') | Key::PageDown | Key::Ctrl('f') => self.go(Move::Rows(times * page)),
            Key::Char('b') | Key::PageUp | Key::Ctrl('b') => self.go(Move::Rows(-times * page)),
            Key::Char('d') | Key::Ctrl('d') => self.go(Move::Rows(times * half)),
            Key::Char('u') | Key::Ctrl('u') => self.go(Move::Rows(-times * half)),
            Key::Char('g' | 'G' | '<' | '>') if count.is_some() => self.go_to_line(count.unwrap_or(0) as u64),
            Key::Char('g' | '<') | Key::Home => self.go(Move::Start),
            Key::Char('G' | '>') | Key::End => self.go(Move::End),
            Key::Char('F') => self.follow(),
            Key::Char('/') => self.open_prompt(PromptKind::Forward),
            Key::Char('?') => self.open_prompt(PromptKind::Backward),
            Key::Char(':') => self.open_prompt(PromptKind::Line),
            Key::Char('t') => self.open_prompt(PromptKind::Time),
            Key::Char('s') => self.open_prompt(PromptKind::Save),
            Key::Char('n') => self.find(self.sought_back),
            Key::Char('N') => self.find(!self.sought_back),
            Key::Char('[') => self.command(true),
            Key::Char(']') => self.command(false),
            Key::Char('v' | 'V') => self.select(),
            Key::Char('o') => self.swap_ends(),
            Key::Char('y') => self.copy(),
            Key::Char('f') => self.toggle_frames(),
            Key::Char('h') => self.help = Some(0),
            Key::Char(_) | Key::Ctrl(_) | Key::Escape | Key::Backspace | Key::Left | Key::Right => {}
        }
        Outcome::Stay
    }

    /// Gives up what is under way, or else what is selected, or else the pager.
    fn cancel(&mut self, key: Key) -> Outcome {
        let was_counting = self.count.take().is_some();
        if self.is_waited_for() && !self.view.is_empty() {
            (self.wish, self.asked, self.is_long) = (None, None, false);
            self.typed.clear();
            self.message = Some("given up".to_owned());
        } else if self.selection.take().is_some() || was_counting {
        } else if std::mem::take(&mut self.following) {
            self.message = Some("not following any more".to_owned());
        } else if key == Key::Escape {
            return Outcome::Quit;
        } else {
            self.message = Some("q quits".to_owned());
        }
        Outcome::Stay
    }

    /// Whether something that takes a while is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.asked.is_some() && self.is_long
    }

    fn press_in_prompt(&mut self, key: Key) -> Outcome {
        let Some(prompt) = &mut self.prompt else { return Outcome::Stay };
        match key {
            Key::Char(c) => prompt.text.push(c),
            Key::Ctrl('u') => prompt.text.clear(),
            Key::Ctrl('w') => {
                let kept = prompt.text.trim_end().rfind(' ').map_or(0, |at| at + 1);
                prompt.text.truncate(kept);
            }
            Key::Backspace if prompt.text.is_empty() => self.prompt = None,
            Key::Backspace => _ = prompt.text.pop(),
            Key::Escape | Key::Ctrl('c') => self.prompt = None,
            Key::Enter => {
                if let Some(Prompt { kind, text }) = self.prompt.take() {
                    return self.entered(kind, &text);
                }
            }
            Key::Ctrl(_)
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => {}
        }
        Outcome::Stay
    }

    fn open_prompt(&mut self, kind: PromptKind) {
        self.prompt = Some(Prompt { kind, text: String::new() });
    }

    fn entered(&mut self, kind: PromptKind, text: &str) -> Outcome {
        match kind {
            PromptKind::Forward | PromptKind::Backward => {
                self.sought_back = kind == PromptKind::Backward;
                if self.seek(text) {
                    self.find(self.sought_back);
                }
            }
            PromptKind::Line => match text.trim() {
                "q" | "q!" | "quit" => return Outcome::Quit,
                "" => {}
                text => match text.parse() {
                    Ok(line) => self.go_to_line(line),
                    Err(_) => self.message = Some(format!("{text:?} is no line number")),
                },
            },
            PromptKind::Time if text.trim().is_empty() => {}
            PromptKind::Time => match text.parse::<When>() {
                Ok(when) if when.is_to_come() => self.message = Some("that is yet to come".to_owned()),
                Ok(When(time)) => self.jump(LinesAt::Time(time), Target::First),
                Err(message) => self.message = Some(message),
            },
            PromptKind::Save if text.trim().is_empty() => {}
            PromptKind::Save => {
                let lines = self.selection.take().map(Selection::ends);
                self.wish_for(Ask::Save { lines, path: text.trim().into() });
            }
        }
        Outcome::Stay
    }

    /// Sets what is looked for; whether there is something.
    fn seek(&mut self, text: &str) -> bool {
        if text.is_empty() {
            return self.sought.is_some() || self.said("nothing was looked for yet");
        }
        match RegexBuilder::new(text).case_insensitive(is_any_case(text)).build() {
            Ok(pattern) => {
                (self.sought, self.sought_text, self.hit) = (Some(pattern), text.to_owned(), None);
                true
            }
            Err(error) => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
                self.said(&format!("{text:?} is no pattern: {why}"))
            }
        }
    }

    fn said(&mut self, message: &str) -> bool {
        self.message = Some(message.to_owned());
        false
    }

    fn find(&mut self, back: bool) {
        let Some(pattern) = self.sought.clone() else {
            self.said("nothing was looked for yet: / looks down, ? looks up");
            return;
        };
        let (top, bottom) = self.shown_numbers();
        let hit = self.hit.filter(|hit| (top..=bottom).contains(hit));
        let from = match (hit, back) {
            (Some(hit), true) => hit,
            (Some(hit), false) => hit + 1,
            (None, true) => bottom + 1,
            (None, false) => top,
        };
        self.following = false;
        let text = self.sought_text.clone();
        let any_case = is_any_case(&text);
        self.wish_for(Ask::Find(Query { pattern, text, any_case, from, back }));
    }

    fn command(&mut self, back: bool) {
        let (top, _) = self.shown_numbers();
        self.following = false;
        self.wish_for(Ask::Command { line: top, back });
    }

    /// The numbers of the first and the last line in the window; of no line, what the next one's would be.
    pub(super) fn shown_numbers(&self) -> (u64, u64) {
        self.view.shown_numbers().unwrap_or((self.total, self.total))
    }

    fn select(&mut self) {
        if self.selection.take().is_some() {
            return;
        }
        if self.view.is_empty() {
            self.message = Some("there is no line to select".to_owned());
            return;
        }
        let (top, bottom) = self.shown_numbers();
        let at = self.hit.filter(|hit| (top..=bottom).contains(hit)).unwrap_or(top);
        self.following = false;
        self.selection = Some(Selection { anchor: at, cursor: at });
    }

    fn swap_ends(&mut self) {
        if let Some(Selection { anchor, cursor }) = self.selection {
            self.selection = Some(Selection { anchor: cursor, cursor: anchor });
            self.show_cursor();
        }
    }

    fn copy(&mut self) {
        let Some(selection) = self.selection.take() else {
            self.message = Some("nothing is selected: v begins a selection".to_owned());
            return;
        };
        let (from, to) = selection.ends();
        self.wish_for(Ask::Copy { from, to });
    }

    fn toggle_frames(&mut self) {
        self.frames = !self.frames;
        let what = if self.frames { "full-screen programs are shown" } else { "full-screen programs are left out" };
        self.message = Some(what.to_owned());
        if self.view.is_at_end() {
            return self.go_to_end();
        }
        let (top, _) = self.shown_numbers();
        self.jump(LinesAt::Line(top), Target::First);
    }

    fn follow(&mut self) {
        self.selection = None;
        (self.following, self.follow_due, self.follow_pause) = (true, true, FOLLOW_FIRST);
    }

    /// When to call [`Pager::tick`], if at all.
    pub(super) fn tick_in(&self) -> Option<Duration> {
        (self.following && !self.follow_due && self.asked.is_none() && self.help.is_none()).then_some(self.follow_pause)
    }

    /// So much time has passed.
    pub(super) fn tick(&mut self) {
        (self.follow_due, self.is_stuck) = (true, false);
    }

    fn go(&mut self, how: Move) {
        if self.selection.is_some() {
            return self.go_selecting(how);
        }
        match how {
            Move::Rows(rows) => {
                self.following &= rows > 0;
                self.travel = if rows < 0 { Travel::Up } else { Travel::Down };
                self.owed += rows;
                self.saw_end = false;
                self.settle();
            }
            Move::Start => self.go_to_start(),
            Move::End if self.view.is_at_end() && !self.following => self.follow(),
            Move::End => self.go_to_end(),
        }
    }

    fn go_selecting(&mut self, how: Move) {
        let Some(selection) = &mut self.selection else { return };
        let floor = self.view.cache.floor().line.unwrap_or(0);
        match how {
            Move::Rows(rows) => {
                let cursor = selection.cursor.saturating_add_signed(rows);
                selection.cursor =
                    cursor.clamp(floor.min(selection.cursor), self.total.saturating_sub(1).max(selection.cursor));
                self.travel = if rows < 0 { Travel::Up } else { Travel::Down };
                self.show_cursor();
            }
            Move::Start => {
                selection.cursor = 0;
                self.go_to_start();
            }
            Move::End => {
                selection.cursor = u64::MAX;
                self.go_to_end();
            }
        }
    }

    fn show_cursor(&mut self) {
        self.reveal = self.selection.map(|selection| selection.cursor);
        self.settle();
    }

    fn go_to_start(&mut self) {
        self.following = false;
        self.travel = Travel::Down;
        self.jump(LinesAt::Line(0), Target::First);
    }

    fn go_to_end(&mut self) {
        self.travel = Travel::Up;
        self.jump(LinesAt::End, Target::Last);
    }

    fn go_to_line(&mut self, line: u64) {
        self.hit = None;
        self.show_line(line, 0);
    }

    /// Brings a line to the top, with so many rows before it.
    fn show_line(&mut self, line: u64, above: usize) {
        self.following = false;
        if self.view.cache.numbers().is_some_and(|(first, last)| (first..=last).contains(&line))
            && let Some(place) = self.view.cache.find(line)
        {
            self.view.top = Spot { place, row: 0 };
            (self.owed, self.travel) = (-(above as i64), Travel::Nowhere);
            return self.settle();
        }
        self.jump(LinesAt::Line(line.saturating_sub(above as u64)), Target::Line { number: line, above });
    }

    fn jump(&mut self, at: LinesAt, target: Target) {
        (self.owed, self.reveal) = (0, None);
        self.wish = Some(self.page_ask(at, target == Target::Last, Use::Jump(target)));
    }

    fn wish_for(&mut self, ask: Ask) {
        self.wish = Some(ask);
    }

    fn page_ask(&self, at: LinesAt, back: bool, use_: Use) -> Ask {
        Ask::Page { at, back, max: PAGE_LINES.max(2 * self.view.rows as u64), frames: self.frames, use_ }
    }

    /// What is to be asked now, with its number. Its answer, or that there is none, is told before the next is.
    pub(super) fn next_ask(&mut self) -> Option<(u64, Ask)> {
        if self.asked.is_some() {
            return None;
        }
        let wish = self.wish.take();
        self.is_wished = wish.is_some();
        self.is_long = wish.as_ref().is_some_and(|ask| !matches!(ask, Ask::Page { .. }));
        let ask = wish.or_else(|| self.own_ask())?;
        self.next_number += 1;
        self.asked = Some(self.next_number);
        Some((self.next_number, ask))
    }

    /// Whether the answer to a question is still waited for.
    pub(super) fn awaits(&self, number: u64) -> bool {
        self.asked == Some(number)
    }

    /// What it needs to do as it was told, or will soon.
    fn own_ask(&mut self) -> Option<Ask> {
        if self.is_stuck {
            return None;
        }
        if self.following && std::mem::take(&mut self.follow_due) {
            let (max, use_) = (2 * self.view.rows as u64, Use::Jump(Target::Last));
            return Some(Ask::Page { at: LinesAt::End, back: true, max, frames: self.frames, use_ });
        }
        let before = self.view.cache.before().map(|at| self.page_ask(LinesAt::Line(at), true, Use::Before));
        let after = self.view.cache.after().map(|at| self.page_ask(LinesAt::Line(at), false, Use::After));
        let (first, last) = self.view.cache.numbers().unwrap_or((0, 0));
        let (above, below) = (self.view.rows_above(), self.view.rows_below());
        let page = self.view.text_rows();
        let owes_up = self.owed < 0 || self.reveal.is_some_and(|line| line < first);
        let owes_down = self.owed > 0 || self.reveal.is_some_and(|line| line > last);
        if (owes_up || self.view.cache.has_end() && above == 0 && below < page) && before.is_some() {
            return before;
        }
        if (owes_down || below < page) && after.is_some() {
            return after;
        }
        if owes_down && !self.saw_end && self.view.cache.has_end() {
            return Some(self.page_ask(LinesAt::Line(self.view.cache.tail()), false, Use::Tail));
        }
        match self.travel {
            Travel::Up if above < page => before,
            Travel::Down if below < 2 * page => after,
            Travel::Nowhere | Travel::Up | Travel::Down => None,
        }
    }

    /// It was answered.
    pub(super) fn take(&mut self, answer: Answer, ask: &Ask) -> Outcome {
        (self.asked, self.is_long) = (None, false);
        match (answer, ask) {
            (Answer::Page(page), Ask::Page { use_, .. }) => self.take_page(page, *use_),
            (Answer::Found(Some(line)), _) => {
                self.hit = Some(line);
                self.show_hit(line);
            }
            (Answer::Found(None), Ask::Find(Query { back: true, .. })) => {
                self.message = Some(format!("{:?} is nowhere above", self.sought_text));
            }
            (Answer::Found(None), _) => self.message = Some(format!("{:?} is nowhere below", self.sought_text)),
            (Answer::Command(Some(line)), _) => self.show_line(line, 0),
            (Answer::Command(None), Ask::Command { back: true, .. }) => {
                self.message = Some("no command is known before this".to_owned());
            }
            (Answer::Command(None), _) => self.message = Some("no command is known behind this".to_owned()),
            (Answer::Copied { text, lines }, _) => {
                self.message = Some(format!("copied {}, {}", lines_text(lines), bytes_text(text.len() as u64)));
            }
            (Answer::Saved { lines, bytes }, Ask::Save { path, .. }) => {
                self.message = Some(format!("saved {}, {}, to {}", lines_text(lines), bytes_text(bytes), path.display()));
            }
            (Answer::Page(_) | Answer::Saved { .. }, _) => {}
        }
        self.catch_up()
    }

    /// It cannot be answered.
    pub(super) fn fail(&mut self, message: String) {
        (self.asked, self.is_long, self.is_stuck, self.owed, self.reveal) = (None, false, true, 0, None);
        self.typed.clear();
        self.message = Some(message);
    }

    fn take_page(&mut self, page: LinesOk, use_: Use) {
        let had_end = self.output_end;
        self.output_end = page.end;
        match use_ {
            Use::Before => self.view.cache.prepend(page, self.view.top.place),
            Use::After => self.view.cache.append(page, self.view.top.place),
            Use::Tail => {
                self.saw_end = true;
                self.view.cache.cut_tail();
                self.view.cache.append(page, self.view.top.place);
            }
            Use::Jump(Target::Last) => {
                let is_news = page.end != had_end;
                self.follow_pause = if is_news { FOLLOW_FIRST } else { (self.follow_pause * 2).min(FOLLOW_LAST) };
                self.view.cache.replace(page);
                self.view.top = self.view.last_top();
                if self.following {
                    self.travel = Travel::Nowhere;
                }
            }
            Use::Jump(target @ (Target::First | Target::Line { .. })) => self.take_jump(page, target),
        }
        self.see_total();
        self.settle();
        if use_ == Use::Tail && self.view.cache.has_end() {
            self.owed = self.owed.min(0);
        }
    }

    fn take_jump(&mut self, page: LinesOk, target: Target) {
        let wanted = match target {
            Target::Line { number, .. } => Some(number),
            Target::First | Target::Last => None,
        };
        let has_it = |wanted| page.items.iter().any(|item| item.number >= Some(wanted));
        if page.items.is_empty() || wanted.is_some_and(|wanted| !has_it(wanted)) {
            self.message = wanted.map(|line| format!("there is no line {line} yet"));
            return self.go_to_end();
        }
        self.view.cache.replace(page);
        self.travel = Travel::Down;
        self.view.top = Spot { place: self.view.cache.first(), row: 0 };
        if let (Target::Line { number, above }, Some((first, _))) = (target, self.view.cache.numbers()) {
            self.view.top.place = self.view.cache.find(number).unwrap_or(self.view.top.place);
            self.owed = -(above as i64);
            if number < first {
                self.message = Some(format!("line {number} is not kept any more ({})", self.view.cache.floor().reason));
            }
        }
    }

    fn see_total(&mut self) {
        let last = self.view.cache.numbers().map_or(0, |(_, last)| last + 1);
        if self.view.cache.has_end() {
            (self.total, self.total_at) = (last, self.output_end);
        }
        self.total = self.total.max(last);
        let first = self.view.cache.numbers().filter(|_| self.view.cache.before().is_none()).map_or(0, |(first, _)| first);
        if let Some(selection) = &mut self.selection {
            selection.cursor = selection.cursor.max(first);
            if self.view.cache.has_end() {
                selection.cursor = selection.cursor.min(last.saturating_sub(1));
            }
        }
    }

    /// Shows a line that was found: where it stands, if it is on the screen.
    fn show_hit(&mut self, line: u64) {
        let (top, bottom) = self.shown_numbers();
        if (top..=bottom).contains(&line) && !self.view.is_empty() {
            self.reveal = Some(line);
            return self.settle();
        }
        self.show_line(line, self.view.text_rows() / MATCH_AT);
    }

    /// Does of what is owed what can be done with what is at hand.
    fn settle(&mut self) {
        if self.view.is_empty() {
            return;
        }
        if let Some(line) = self.reveal {
            self.bring_into_view(line);
        }
        self.owed = self.view.scroll(self.owed);
        if self.owed < 0 && self.view.cache.before().is_none() {
            self.owed = 0;
        }
        if self.owed > 0 && self.view.cache.has_end() && self.saw_end {
            self.owed = 0;
        }
        if self.view.cache.has_end() {
            self.view.top = self.view.top.min(self.view.last_top());
        }
    }

    fn bring_into_view(&mut self, line: u64) {
        let Some((first, last)) = self.view.cache.numbers() else { return };
        let is_known = (first <= line || self.view.cache.before().is_none()) && (line <= last || self.view.cache.has_end());
        let Some(place) = self.view.cache.find(line.min(last)).filter(|_| is_known) else { return };
        self.reveal = None;
        self.view.reveal(place);
    }
}

/// Whether a pattern is to match capitals where it has small letters.
fn is_any_case(pattern: &str) -> bool {
    !pattern.contains(char::is_uppercase)
}

fn lines_text(lines: u64) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") }
}

fn bytes_text(bytes: u64) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}
