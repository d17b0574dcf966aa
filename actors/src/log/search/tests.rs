//! What a search finds, against looking through every line that rendering everything gives.

use std::convert::Infallible;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    Size,
    log::{
        piece::{Page, PageStart, Piece},
        render::{Renderer, STRIDE_BYTES},
    },
    mirror::Mirror,
};

/// A history in memory, with a screen put on record now and then.
struct Tape {
    pieces: Vec<Piece>,
    anchors: Vec<Anchor>,
    size: Size,
    end: u64,
    /// Most bytes of a page, whatever is asked for.
    page_bytes: usize,
    mirror: Mirror,
    model: Renderer,
    lines: Vec<Line>,
    drawn: u64,
}

impl Tape {
    fn new(size: Size, page_bytes: usize) -> Self {
        let (mirror, model) = (Mirror::new(size), Renderer::new(size));
        Self { pieces: Vec::new(), anchors: Vec::new(), size, end: 0, page_bytes, mirror, model, lines: Vec::new(), drawn: 0 }
    }

    fn output(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let time_ns = 1_000_000 * (self.pieces.len() as u64 + 1);
        let piece = Piece::Output { offset: self.end, time_ns, data: bytes.to_vec().into() };
        self.model.take(&piece);
        self.lines.extend(self.model.lines());
        self.mirror.feed(bytes).unwrap();
        self.end = piece.end();
        self.pieces.push(piece);
    }

    fn resize(&mut self, size: Size) {
        let piece = Piece::Resize { offset: self.end, time_ns: 7, size };
        self.model.take(&piece);
        self.lines.extend(self.model.lines());
        self.mirror.resize(size).unwrap();
        self.pieces.push(piece);
    }

    fn checkpoint(&mut self) {
        let data = self.mirror.checkpoint().into();
        self.anchors.push(Anchor { offset: self.end, line: self.mirror.tally().lines, time_ns: 9 });
        self.pieces.push(Piece::Checkpoint { offset: self.end, time_ns: 9, data });
    }

    /// Everything that matches, by looking at everything.
    fn expected(&self, pattern: &Pattern) -> Vec<Match> {
        let mut model = Renderer::new(self.size);
        let mut all: Vec<(Line, bool)> = Vec::new();
        for piece in &self.pieces {
            model.take(piece);
            all.extend(model.lines().into_iter().map(|line| (line, false)));
        }
        let standing = model.finish().into_iter().map(|line| (line, true));
        let number = all.len() as u64;
        let numbered = |(number, (mut line, standing)): (u64, (Line, bool))| {
            line.number = Some(number);
            (line, standing)
        };
        all.extend((number..).zip(standing).map(numbered));
        all.iter().rev().filter_map(|(line, standing)| Match::of(pattern, line, *standing)).collect()
    }

    /// Everything that a search finds, `max` a turn; each search does some turns and is resumed by another.
    fn found(&mut self, pattern: &Arc<Pattern>, max: usize, turns: usize, stretch_bytes: u64) -> Vec<Match> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let mut search = Search::new(pattern.clone(), self.end, before);
            search.stretch_bytes = stretch_bytes;
            for _ in 0..turns {
                found.extend(search.turn(self, max).unwrap_or_else(|never| match never {}));
            }
            before = search.before();
            if before.is_none() {
                return found;
            }
        }
    }
}

impl Source for Tape {
    type Error = Infallible;

    fn page(&mut self, start: PageStart, to: u64, bytes_max: usize) -> Result<Page, Infallible> {
        let mut page = Page { end: self.end, size: Some(self.size), ..Page::default() };
        let to = to.min(self.end);
        let newest = |at_most| {
            self.pieces.iter().rposition(|piece| matches!(piece, Piece::Checkpoint { offset, .. } if *offset <= at_most))
        };
        let (mut at, first) = match start {
            PageStart::Offset(offset) => (offset, 0),
            PageStart::Checkpoint(at_most) => match newest(at_most.min(to)) {
                Some(index) => (self.pieces[index].end(), index),
                None => (0, 0),
            },
        };
        let mut room = bytes_max.min(self.page_bytes);
        for (index, piece) in self.pieces.iter().enumerate().skip(first) {
            match piece {
                Piece::Checkpoint { .. } if index == first && matches!(start, PageStart::Checkpoint(_)) => {
                    page.pieces.push(piece.clone())
                }
                Piece::Resize { offset, .. } if *offset >= at && *offset <= to => page.pieces.push(piece.clone()),
                Piece::Output { offset, time_ns, data } if piece.end() > at && *offset < to => {
                    if room == 0 {
                        page.next = Some(at);
                        break;
                    }
                    let from = (at - offset) as usize;
                    let length = (data.len() - from).min((to - at) as usize).min(room);
                    page.pieces.push(Piece::Output { offset: at, time_ns: *time_ns, data: data.slice(from..from + length) });
                    (at, room) = (at + length as u64, room - length);
                    if length < data.len() - from && at < to {
                        page.next = Some(at);
                        break;
                    }
                }
                _ => {}
            }
        }
        self.drawn += page.pieces.len() as u64;
        Ok(page)
    }

    fn anchor(&mut self, seek: Seek) -> Result<Option<Anchor>, Infallible> {
        let last = |is_before: &dyn Fn(&Anchor) -> bool| self.anchors.iter().rfind(|anchor| is_before(anchor)).copied();
        Ok(match seek {
            Seek::Offset(offset) => last(&|anchor| anchor.offset <= offset),
            Seek::Line(line) => last(&|anchor| anchor.line <= line),
            Seek::After(offset) => self.anchors.iter().find(|anchor| anchor.offset >= offset).copied(),
        })
    }
}

#[derive(Debug, Clone)]
enum Act {
    Output(Bytes),
    Resize(Size),
    Checkpoint,
}

const COLOURS: &[&str] =
    &["", "", "\x1b[m", "\x1b[0m", "\x1b[1;32m", "\x1b[38;5;7m", "\x1b[48:2::1:2:3m", "\x1b[7m", "\x1b(B\x1b[m", "\x1b[4m"];
const WORDS: &[&str] = &[
    "needle",
    "need",
    "le ",
    "  ",
    "é",
    "漢字",
    "a",
    "xyz",
    "0123456789",
    "e\u{301}",
    "\u{a0}",
    "\u{200b}",
    "☃",
    "\u{ad}",
    "-",
    "\u{fffd}",
    "needle needle needle ",
    "                    ",
];
const TOLD: &[&str] =
    &["\x07", "\x1b]0;needle\x07", "\x1b]133;A\x1b\\", "\x1b[?25l", "\x1b[?2004h", "\x1b=", "\x1b]8;;needle\x07"];
const EDITS: &[&str] =
    &["\r", "\x08", "\t", "\x1b[K", "\x1b[1K", "\x1b[2K", "\x1b[3C", "\x1b[2D", "\x1b[G", "\x1b[5G", "\x08\x08\x08"];
const ODD: &[&str] = &[
    "\x1b[2J",
    "\x1b[H",
    "\x1b[2;4r",
    "\x1b[r",
    "\x1b[?1049h",
    "\x1b[?1049l",
    "\x1bc",
    "\x1b[2S",
    "\x1b[A",
    "\x1bM",
    "\n",
    "\x0b",
    "\x1b[4h",
    "\x1b[4l",
    "\x1b[?7l",
    "\x1b[?7h",
    "\x1b(0",
    "\x1b(B",
    "\x1b[3g",
    "\x1b[?45h",
    "\x1b[20h",
    "\x1b[5b",
    "\u{9b}2K",
    "\x0e",
    "\x0f",
    "\x1b[",
    "\x1b]0;",
    "\u{fe0f}",
    "\x1b[J",
    "\x1b[P",
    "\x1b[@",
    "\x1b[9;9H",
    "\x7f",
    "\x1b[?3h",
    "\x1bH",
];

fn part(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(of)
}

/// A line of text and colours, perhaps with edits.
fn line() -> impl Strategy<Value = String> {
    let any_part = prop_oneof![8 => part(WORDS), 4 => part(COLOURS), 1 => part(TOLD), 2 => part(EDITS)];
    let plain = prop_oneof![9 => part(WORDS), 3 => part(COLOURS)];
    let parts = prop_oneof![2 => prop::collection::vec(plain, 0..12), 1 => prop::collection::vec(any_part, 0..12)];
    parts.prop_map(|parts| parts.concat() + "\r\n")
}

fn block() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (prop::collection::vec(line(), 1..6), "[a-z ]{0,12}\r\n", 1usize..80)
            .prop_map(|(lines, filler, times)| (filler.repeat(times) + &lines.concat() + &filler.repeat(times / 2)).into_bytes()),
        3 => prop::collection::vec(line(), 0..30).prop_map(|lines| lines.concat().into_bytes()),
        1 => (part(ODD), line()).prop_map(|(odd, line)| format!("{odd}{line}").into_bytes()),
        1 => part(ODD).prop_map(|odd| odd.as_bytes().to_vec()),
        1 => part(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => (1usize..20).prop_map(|times| "needle ".repeat(times * times).into_bytes()),
        1 => Just(vec![0xff, b'n', 0xe6, 0xbc]),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => block().prop_map(|bytes| Act::Output(bytes.into())),
        1 => (1u32..40, 1u32..9).prop_map(|(cols, rows)| Act::Resize(Size::new(cols, rows).unwrap())),
        2 => Just(Act::Checkpoint),
    ]
}

fn patterns() -> impl Strategy<Value = (&'static str, bool)> {
    let texts: &[&str] = &[
        "needle",
        "NEEDLE",
        "xyz",
        "need.*xyz",
        "^need",
        "le$",
        r"\bneed\b",
        "",
        "漢",
        "é",
        r"[0-9]{10}a",
        r"\s\s-",
        r"(?s)a.a",
        "needle|-",
        r"e\s*$",
        "[^a]x",
        r"\x20{5}x",
        "zzzzz",
        "\u{301}",
        "3456789-",
    ];
    (prop::sample::select(texts), any::<bool>())
}

fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("KAVAL_SOAK").is_some() { 20_000 } else { 200 };
    ProptestConfig { cases, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_search_finds_what_looking_at_every_line_does_the_newest_first(
        size in (1u32..40, 1u32..9), acts in prop::collection::vec(act(), 0..40), pattern in patterns(), page_bytes in 50usize..5000, max in 10usize..60, turns in 1usize..9, stretch_bytes in 200u64..20_000,
    ) {
        let mut tape = Tape::new(Size::new(size.0, size.1).unwrap(), page_bytes);
        for act in acts {
            match act {
                Act::Output(bytes) => tape.output(&bytes),
                Act::Resize(size) => tape.resize(size),
                Act::Checkpoint => tape.checkpoint(),
            }
        }
        let pattern = Arc::new(Pattern::new(pattern.0, false, pattern.1).unwrap());
        let expected = tape.expected(&pattern);
        let found = tape.found(&pattern, max, turns, stretch_bytes);
        prop_assert_eq!(found.len(), expected.len());
        for (found, mut expected) in found.iter().zip(expected) {
            // Where a stretch begins within a stride, a line's place is that.
            prop_assert!((expected.offset..=expected.offset + STRIDE_BYTES as u64).contains(&found.offset));
            expected.offset = found.offset;
            prop_assert_eq!(found, &expected);
        }
    }
}
