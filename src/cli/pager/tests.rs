//! The pager against a simple history: whatever is typed, and whatever comes and goes meanwhile, it shows that history.

use kaval_actors::{Size, mirror::Mirror};
use proptest::prelude::*;

use super::{
    ask::{Answer, Ask, Query, Target, Use},
    cache::{BYTES_MAX, line_number},
    draw,
    keys::Key,
    state::{Outcome, Pager},
    wrap,
};
use crate::wire::{LineItem, LinesAt, LinesOk};

/// A history: every line that there ever was, of which those before the floor are gone and the last few stand on the screen.
#[derive(Debug, Clone)]
struct Model {
    lines: Vec<String>,
    floor: usize,
    standing: usize,
    /// Most lines that a page is given, less than it may ask for.
    page_max: usize,
}

impl Model {
    fn of(lines: usize) -> Self {
        Self {
            lines: (0..lines).map(|n| format!("line {n}")).collect(),
            floor: 0,
            standing: lines.min(5),
            page_max: usize::MAX,
        }
    }

    fn item(&self, number: usize) -> LineItem {
        let standing = number + self.standing >= self.lines.len();
        let line = self.lines[number].clone();
        LineItem { number: Some(number as u64), offset: number as u64, time: 1000, line, standing, ..LineItem::default() }
    }

    fn note(&self) -> LineItem {
        LineItem { offset: 1, line: "gone".to_owned(), missing: Some(1), ..LineItem::default() }
    }

    fn page(&self, at: LinesAt, back: bool, max: u64) -> LinesOk {
        let (end, max) = (self.lines.len(), self.page_max.min(max as usize));
        let at = match at {
            LinesAt::Line(line) | LinesAt::Offset(line) | LinesAt::Time(line) => (line as usize).min(end),
            LinesAt::End => end,
        };
        let (from, to) = if back { (at.saturating_sub(max), at) } else { (at, at.saturating_add(max).min(end)) };
        let (from, to) = (from.max(self.floor), to.max(self.floor).max(from));
        let to = if !back && to == self.floor { (self.floor + max).min(end) } else { to };
        let mut items: Vec<_> = (from..to).map(|number| self.item(number)).collect();
        if from == self.floor && self.floor > 0 {
            items.insert(0, self.note());
        }
        LinesOk {
            items,
            before: (from > self.floor).then_some(from as u64),
            after: (to < end).then_some(to as u64),
            floor: self.floor as u64,
            floor_reason: if self.floor > 0 { "evicted" } else { "start" }.to_owned(),
            floor_line: Some(self.floor as u64),
            end: end as u64,
        }
    }

    fn answer(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Page { at, back, max, .. } => Answer::Page(self.page(*at, *back, *max)),
            Ask::Find(Query { pattern, from, back, .. }) => {
                let in_reach = |n: &usize| if *back { (*n as u64) < *from } else { *n as u64 >= *from };
                let mut found = (self.floor..self.lines.len()).filter(in_reach).filter(|n| pattern.is_match(&self.lines[*n]));
                Answer::Found(if *back { found.next_back() } else { found.next() }.map(|n| n as u64))
            }
            // Every hundredth line is a command's.
            Ask::Command { line, back } => {
                let found = if *back { line.saturating_sub(1) / 100 * 100 } else { (line / 100 + 1) * 100 };
                let is_there = found != *line && (self.floor as u64..self.lines.len() as u64).contains(&found);
                Answer::Command(is_there.then_some(found))
            }
            Ask::Copy { from, to } => {
                let text = (*from..=*to).filter_map(|n| Some(self.lines.get(n as usize)?.clone() + "\n")).collect();
                Answer::Copied { text, lines: to - from + 1 }
            }
            Ask::Save { .. } => Answer::Saved { lines: self.lines.len() as u64, bytes: 0 },
        }
    }
}

/// A pager on a model.
struct Stage {
    model: Model,
    pager: Pager,
    asked: Vec<Ask>,
    copied: String,
}

impl Stage {
    fn new(model: Model, size: (usize, usize)) -> Self {
        let mut stage =
            Self { model, pager: Pager::new("t".to_owned(), size, false), asked: Vec::new(), copied: String::new() };
        stage.settle();
        stage
    }

    /// Answers until nothing more is asked.
    fn settle(&mut self) -> Outcome {
        for _ in 0..200 {
            let Some((number, ask)) = self.pager.next_ask() else { return Outcome::Stay };
            assert!(self.pager.awaits(number));
            let answer = self.model.answer(&ask);
            if let Answer::Copied { text, .. } = &answer {
                self.copied = text.clone();
            }
            let outcome = self.pager.take(answer, &ask);
            self.asked.push(ask);
            if outcome == Outcome::Quit {
                return outcome;
            }
        }
        panic!("it asks for ever: {:?}", self.asked.last());
    }

    fn press(&mut self, key: Key) {
        assert_eq!(self.pager.press(key), Outcome::Stay, "{key:?}");
        self.settle();
    }

    fn enter(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(Key::Char(c)));
        self.press(Key::Enter);
    }

    /// The rows of its window, as a terminal draws them.
    fn window(&self) -> Vec<String> {
        let size = Size::new(self.pager.view.cols as u32, self.pager.view.rows as u32).unwrap();
        let mut mirror = Mirror::new(size);
        mirror.feed(b"left over\r\nfrom before\x1b[?7l").unwrap();
        mirror.feed(draw::screen(&self.pager, None).as_bytes()).unwrap();
        let mut rows: Vec<_> = mirror.text().lines().map(str::to_owned).collect();
        rows.resize(self.pager.view.rows, String::new());
        rows
    }

    fn first(&self) -> String {
        self.window()[0].clone()
    }

    fn foot(&self) -> String {
        self.window().last().unwrap().clone()
    }

    /// It shows what the model has there, row by row.
    fn check(&self) {
        let pager = &self.pager;
        if pager.view.is_empty() || pager.view.rows < 2 {
            return;
        }
        let mut expected = Vec::new();
        let mut place = pager.view.top.place;
        let mut last = None;
        while let Some(item) = pager.view.cache.get(place).filter(|_| expected.len() < pager.view.text_rows()) {
            let rows = wrap::rows(&super::view::shown(item), pager.view.cols, None);
            assert_eq!(rows.len(), pager.view.height(item));
            let skipped = if place == pager.view.top.place { pager.view.top.row } else { 0 };
            assert!(skipped < rows.len(), "the top is no row");
            expected.extend(rows[skipped..].iter().map(|row| row.text().trim_end().to_owned()));
            if item.missing.is_some() {
                last = None;
            }
            if let Some(number) = line_number(item) {
                assert_eq!(item.line, self.model.lines[number as usize]);
                assert!(last.is_none_or(|last| number == last + 1), "{number} follows {last:?}");
                last = Some(number);
            }
            place += 1;
        }
        expected.truncate(pager.view.text_rows());
        expected.resize(pager.view.text_rows(), String::new());
        let window = self.window();
        let shown: Vec<_> = window.iter().take(pager.view.text_rows()).map(|row| row.trim_end().to_owned()).collect();
        if pager.prompt.is_none() && pager.help.is_none() {
            assert_eq!(shown, expected);
        }
        assert!(pager.view.cache.bytes() <= BYTES_MAX + (1 << 20), "{} bytes at hand", pager.view.cache.bytes());
    }
}

#[test]
fn it_opens_at_the_end_and_goes_by_lines_pages_and_halves() {
    let mut stage = Stage::new(Model::of(10_000), (60, 11));
    assert_eq!((stage.first().as_str(), stage.window()[9].as_str()), ("line 9990", "line 9999"));
    assert!(stage.foot().starts_with(" t  lines 9990-9999 of 10000  at the end"), "{}", stage.foot());
    for (key, first) in [
        (Key::Up, 9989),
        (Key::PageUp, 9980),
        (Key::Ctrl('u'), 9975),
        (Key::Char('j'), 9976),
        (Key::Char(' '), 9985),
        (Key::Ctrl('d'), 9990),
        (Key::Down, 9990),
        (Key::Home, 0),
        (Key::Char('k'), 0),
        (Key::Char('j'), 1),
        (Key::End, 9990),
    ] {
        stage.press(key);
        assert_eq!(stage.first(), format!("line {first}"), "{key:?}");
    }
    "25k".chars().for_each(|c| stage.press(Key::Char(c)));
    assert_eq!(stage.first(), "line 9965");
}

#[test]
fn every_line_is_seen_once_on_the_way_up_and_down_in_bounded_memory() {
    let mut model = Model::of(8000);
    model.lines.iter_mut().for_each(|line| line.push_str(&"\x1b[m".repeat(300)));
    let mut stage = Stage::new(model, (20, 101));
    let mut tops = vec![stage.pager.shown_numbers().0];
    while !stage.pager.view.is_at_start() {
        stage.press(Key::PageUp);
        stage.check();
        tops.push(stage.pager.shown_numbers().0);
    }
    assert!(tops.windows(2).all(|pair| pair[0] - pair[1] == 99 || pair[1] == 0), "{tops:?}");
    while !stage.pager.view.is_at_end() {
        stage.press(Key::PageDown);
        stage.check();
    }
    assert_eq!(stage.pager.shown_numbers().1, 7999);
}

#[test]
fn what_is_not_at_hand_yet_is_owed_and_keys_wait_for_what_was_asked_before() {
    let mut stage = Stage::new(Model::of(10_000), (60, 11));
    (0..200).for_each(|_| _ = stage.pager.press(Key::PageUp));
    stage.settle();
    assert_eq!(stage.first(), format!("line {}", 9990 - 200 * 9));
    for key in [Key::Char(':'), Key::Char('7'), Key::Enter, Key::Char('j'), Key::Char('v'), Key::Char('j'), Key::Char('y')] {
        assert_eq!(stage.pager.press(key), Outcome::Stay);
    }
    stage.settle();
    assert_eq!((stage.first().as_str(), stage.copied.as_str()), ("line 8", "line 8\nline 9\n"));
}

#[test]
fn matches_are_gone_through_and_a_search_can_be_given_up() {
    let mut stage = Stage::new(Model::of(10_000), (60, 11));
    stage.press(Key::Char('g'));
    stage.enter("/LINE 4[0-9]2$");
    assert!(stage.foot().contains("\"LINE 4[0-9]2$\" is nowhere below"), "{}", stage.foot());
    stage.enter("/line 4[0-9]2$");
    assert_eq!((stage.window()[3].as_str(), stage.pager.hit), ("line 402", Some(402)));
    for (key, hit) in [('n', 412), ('n', 422), ('N', 412), ('N', 402)] {
        stage.press(Key::Char(key));
        assert_eq!(stage.pager.hit, Some(hit), "{key}");
        stage.check();
    }
    stage.press(Key::Char('/'));
    stage.enter("nowhere");
    let before = stage.first();
    assert_eq!(stage.pager.press(Key::Char('n')), Outcome::Stay);
    let (number, _) = stage.pager.next_ask().unwrap();
    assert_eq!(stage.pager.press(Key::Char('j')), Outcome::Stay);
    assert_eq!(stage.pager.press(Key::Ctrl('c')), Outcome::Stay);
    assert!(!stage.pager.awaits(number) && stage.foot().contains("given up"));
    stage.settle();
    assert_eq!(stage.first(), before, "a key that waited was heeded");
    stage.enter("?(");
    assert!(stage.foot().contains("is no pattern"), "{}", stage.foot());
}

#[test]
fn commands_times_and_lines_are_jumped_to() {
    let mut stage = Stage::new(Model::of(1000), (60, 11));
    stage.press(Key::Char('['));
    assert_eq!(stage.first(), "line 900");
    stage.press(Key::Char('['));
    stage.press(Key::Char('['));
    assert_eq!(stage.first(), "line 700");
    stage.press(Key::Char(']'));
    assert_eq!(stage.first(), "line 800");
    stage.enter(":50");
    stage.press(Key::Char('['));
    stage.press(Key::Char('['));
    assert!(stage.foot().contains("no command is known before this"), "{}", stage.foot());
    stage.enter("t1970-01-01T00:00:00.321Z");
    assert_eq!(stage.first(), "line 321");
    stage.enter("tlater");
    assert!(stage.foot().contains("is no time"), "{}", stage.foot());
    stage.enter("t2999-01-01");
    assert!(stage.foot().contains("yet to come"), "{}", stage.foot());
    stage.enter(":4711");
    assert!(stage.foot().contains("there is no line 4711 yet") && stage.first() == "line 990", "{}", stage.foot());
}

#[test]
fn a_selection_goes_as_far_as_it_is_moved_and_the_view_with_it() {
    let mut stage = Stage::new(Model::of(1000), (60, 11));
    stage.press(Key::Char('y'));
    assert!(stage.foot().contains("nothing is selected"));
    stage.enter(":100");
    stage.press(Key::Char('v'));
    stage.press(Key::PageDown);
    stage.press(Key::PageDown);
    assert!(stage.foot().contains("lines 100-118 selected") && stage.first() == "line 109", "{}", stage.foot());
    stage.press(Key::Char('o'));
    stage.press(Key::Char('k'));
    assert_eq!(stage.first(), "line 99");
    stage.press(Key::Char('y'));
    assert_eq!(stage.copied.lines().count(), 20);
    assert!(stage.foot().contains("copied 20 lines, "), "{}", stage.foot());
    for (key, lines) in [(Key::Home, 100), (Key::End, 901)] {
        stage.enter(":99");
        stage.press(Key::Char('v'));
        stage.press(key);
        stage.press(Key::Char('y'));
        assert_eq!(stage.copied.lines().count(), lines, "{key:?}");
    }
    stage.press(Key::Char('v'));
    stage.press(Key::Escape);
    assert!(stage.pager.selection.is_none());
    assert_eq!(stage.pager.press(Key::Escape), Outcome::Quit);
}

#[test]
fn what_comes_is_followed_and_otherwise_told_of() {
    let mut stage = Stage::new(Model::of(100), (60, 11));
    stage.model.lines.extend((100..150).map(|n| format!("line {n}")));
    stage.press(Key::Down);
    assert_eq!(stage.first(), "line 91", "what is new was asked for, and gone to");
    stage.press(Key::Char('F'));
    assert!(stage.first() == "line 140" && stage.foot().contains("following"), "{}", stage.foot());
    stage.model.lines.push("line 150".to_owned());
    assert!(stage.pager.tick_in().is_some());
    stage.pager.tick();
    stage.settle();
    assert_eq!(stage.first(), "line 141");
    stage.press(Key::Char('k'));
    assert!(stage.first() == "line 140" && stage.pager.tick_in().is_none());
    stage.press(Key::Char('G'));
    stage.press(Key::Char('G'));
    assert!(stage.pager.following, "at the end the end follows");
}

#[test]
fn lines_that_go_are_told_of_and_those_at_hand_stay() {
    let mut stage = Stage::new(Model::of(5000), (60, 11));
    stage.enter(":1000");
    stage.model.floor = 3000;
    stage.press(Key::Down);
    assert_eq!(stage.first(), "line 1001");
    stage.enter(":5");
    assert!(stage.foot().contains("line 5 is not kept any more (evicted)"), "{}", stage.foot());
    assert_eq!(stage.first(), "line 3000");
    stage.press(Key::Up);
    assert_eq!(stage.first(), "gone");
    assert!(stage.foot().contains("nothing before this: evicted"), "{}", stage.foot());
}

#[test]
fn what_cannot_be_had_is_said_once_and_asked_for_again_at_the_next_key() {
    let mut stage = Stage::new(Model::of(5000), (60, 11));
    stage.pager.press(Key::Char('g'));
    assert!(stage.pager.next_ask().is_some());
    stage.pager.fail("it is gone".to_owned());
    assert!(stage.foot().contains("it is gone") && stage.pager.next_ask().is_none());
    stage.press(Key::Char('g'));
    assert_eq!(stage.first(), "line 0");
}

#[test]
fn no_lines_at_all_are_no_lines() {
    let mut stage = Stage::new(Model::of(0), (60, 11));
    for key in [Key::Up, Key::Down, Key::Home, Key::End, Key::Char('v'), Key::Char('f'), Key::Char('[')] {
        stage.press(key);
    }
    stage.enter("/x");
    stage.press(Key::Char('k'));
    assert!(stage.foot().starts_with(" t  no lines"), "{}", stage.foot());
}

fn key() -> impl Strategy<Value = Vec<Key>> {
    let one =
        |keys: &'static str| prop::sample::select(keys.chars().map(Key::Char).collect::<Vec<_>>()).prop_map(|key| vec![key]);
    let typed = |text: String| text.chars().map(Key::Char).chain([Key::Enter]).collect::<Vec<_>>();
    prop_oneof![
        6 => prop::sample::select(vec![Key::Up, Key::Down, Key::PageUp, Key::PageDown, Key::Ctrl('d'), Key::Ctrl('u')])
            .prop_map(|key| vec![key]),
        4 => one("jkbduvoy[]nNF \u{e9}fh5"),
        1 => one("gG"),
        1 => (0u64..800).prop_map(move |line| typed(format!(":{line}"))),
        1 => (0u64..800, prop::bool::ANY).prop_map(move |(n, up)| typed(format!("{}{n}$", if up { '?' } else { '/' }))),
        1 => (0u64..800).prop_map(move |n| typed(format!("t1970-01-01T00:00:00.{n:03}Z"))),
    ]
}

/// What happens between two keys.
#[derive(Debug, Clone)]
enum Turn {
    Keys(Vec<Key>),
    Comes(usize),
    Goes(usize),
    Size(usize, usize),
    Tick,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => key().prop_map(Turn::Keys),
        2 => (1usize..40).prop_map(Turn::Comes),
        1 => (1usize..60).prop_map(Turn::Goes),
        1 => (1usize..50, 1usize..30).prop_map(|(cols, rows)| Turn::Size(cols, rows)),
        1 => Just(Turn::Tick),
    ]
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if std::env::var_os("KAVAL_SOAK").is_some() { 5000 } else { 50 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_is_done_it_shows_the_history_row_by_row(
        lines in 0usize..600,
        long in 1usize..9,
        page_max in 1usize..60,
        size in (1usize..50, 1usize..30),
        turns in prop::collection::vec(turn(), 0..40),
    ) {
        let words = |n: usize| if n.is_multiple_of(long) { n % 23 } else { 0 };
        let line = |n: usize| format!("line {n}{}", " wörds 漢字".repeat(words(n)));
        let mut model = Model { page_max, ..Model::of(lines) };
        model.lines = (0..lines).map(line).collect();
        let mut stage = Stage::new(model, size);
        for turn in turns {
            match turn {
                Turn::Keys(keys) => for key in keys {
                    if stage.pager.press(key) == Outcome::Quit || stage.settle() == Outcome::Quit {
                        return Ok(());
                    }
                },
                Turn::Comes(count) => {
                    let known = stage.model.lines.len();
                    stage.model.lines.extend((known..known + count).map(line));
                }
                Turn::Goes(count) => {
                    let last = stage.model.lines.len().saturating_sub(stage.model.standing);
                    stage.model.floor = (stage.model.floor + count).min(last);
                }
                Turn::Size(cols, rows) => stage.pager.resize((cols, rows)),
                Turn::Tick => stage.pager.tick(),
            }
            stage.settle();
            stage.check();
        }
    }

    #[test]
    fn a_line_down_and_up_again_is_where_it_was(lines in 100usize..600, from in 0u64..600, cols in 5usize..40, rows in 2usize..30) {
        let mut stage = Stage::new(Model::of(lines), (cols, rows));
        stage.enter(&format!(":{from}"));
        let (top, is_last) = (stage.pager.view.top.row, stage.pager.view.is_at_end());
        let number = stage.pager.shown_numbers().0;
        stage.press(Key::Down);
        stage.press(Key::Up);
        if is_last {
            stage.press(Key::Down);
        }
        prop_assert_eq!((stage.pager.shown_numbers().0, stage.pager.view.top.row), (number, top));
    }
}

#[test]
fn a_page_that_leads_nowhere_ends_the_way() {
    let mut stage = Stage::new(Model::of(5000), (60, 11));
    stage.pager.press(Key::PageUp);
    while let Some((_, ask)) = stage.pager.next_ask() {
        let empty = LinesOk { items: Vec::new(), before: Some(4000), ..stage.model.page(LinesAt::Line(4600), true, 1) };
        let answer = match ask {
            Ask::Page { use_: Use::Before, .. } => Answer::Page(empty),
            Ask::Page {
                use_: Use::Jump(Target::Last | Target::First | Target::Line { .. }) | Use::After | Use::Tail, ..
            }
            | Ask::Find(_)
            | Ask::Command { .. }
            | Ask::Copy { .. }
            | Ask::Save { .. } => stage.model.answer(&ask),
        };
        stage.asked.push(ask.clone());
        assert!(stage.asked.len() < 50, "it asks for ever");
        stage.pager.take(answer, &ask);
    }
}
