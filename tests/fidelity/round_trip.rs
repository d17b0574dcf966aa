//! That a repaint is the whole of a screen: drawn by another terminal, which then goes on with the stream, it makes no difference.
//!
//! ```text
//! stream ─────────────────────────────────► Reference ─┐
//! head ─► Mirror ─ repaint ─► Reference ◄─ tail        ├─► equal pictures and modes
//!                                     └────────────────┘
//! ```

use kaval_actors::{Size, mirror::Mirror};
use proptest::{prelude::*, sample::Index};

use crate::{
    fuzz::shortest,
    grammar::{self, Act, MISSING, Op},
    picture::Picture,
    recordings,
    reference::Reference,
};

/// What a repaint does not carry yet, beside what the mirror does not know ([`MISSING`]). Each must still make a difference.
const NOT_CARRIED: &[(&str, &str)] = &[("repeat", "a character drawn before is not known for one to be repeated")];

/// Recordings whose repaint is not the whole of them, and why.
const RECORDINGS_NOT_CARRIED: &[(&str, &str)] = &[
    ("decaln_reset", "alacritty keeps margins and cursor at DECALN; xterm does not"),
    ("deccolm_reset", "alacritty clears for DECCOLM; xterm only after mode 40"),
    ("saved_cursor_alt", "alacritty has a cursor for each screen"),
    ("selective_erasure", "alacritty ignores DECSED and DECSEL"),
    ("vttest_origin_mode_1", "CUU stops at the margin in xterm, and not in alacritty"),
    ("vttest_origin_mode_2", "CUU stops at the margin in xterm, and not in alacritty"),
    ("vttest_scroll", "CUU stops at the margin in xterm, and not in alacritty"),
];

/// Streams until which a feature that is not carried must have made a difference.
const SEARCHED: u32 = 3000;

const OPS_MAX: usize = 40;

/// How many places of each recording are tried.
const CUTS: usize = 8;

fn cases() -> u32 {
    if std::env::var_os("KAVAL_SOAK").is_some() { 100_000 } else { 3000 }
}

/// What is lost by a repaint after `head`, if anything is. `within` something that only as a whole does the same in alacritty, what
/// comes of it is looked at alone.
fn compare(size: Size, head: &[u8], tail: &[u8], within: bool) -> Result<(), String> {
    let (mut direct, mut repainted, mut mirror) = (Reference::new(size), Reference::new(size), Mirror::new(size));
    direct.feed(head);
    mirror.feed(head).map_err(|panicked| panicked.to_string())?;
    repainted.feed(&[mirror.repaint(), mirror.begun()].concat());
    let drawn = Picture::of(&mirror).differences(&direct.picture());
    if !drawn.is_empty() && !within {
        return Err(format!("in the mirror: {}", drawn.join("\n  ")));
    }
    let at_once = repainted.picture().differences(&direct.picture());
    if !at_once.is_empty() && !within {
        return Err(format!("at once: {}", at_once.join("\n  ")));
    }
    direct.feed(tail);
    repainted.feed(tail);
    let later = repainted.picture().differences(&direct.picture());
    if !later.is_empty() {
        return Err(format!("later: {}", later.join("\n  ")));
    }
    if repainted.modes() != direct.modes() {
        return Err(format!("modes {:?}, not {:?}", repainted.modes(), direct.modes()));
    }
    Ok(())
}

fn written(ops: &[Op]) -> Vec<u8> {
    let bytes = |op: &Op| match &op.act {
        Act::Write(bytes) => bytes.clone(),
        Act::Rows(rows) => panic!("no stream of this test has another number of rows: {rows}"),
    };
    ops.iter().flat_map(bytes).collect()
}

/// A stream's head and tail, cut anywhere: a sequence or a character may be cut in two. Whether something is.
fn cut(ops: &[Op], at: &Index) -> (Vec<u8>, Vec<u8>, bool) {
    let mut head = written(ops);
    let at = at.index(head.len() + 1);
    let tail = head.split_off(at);
    let within = (0..=ops.len()).all(|count| written(&ops[..count]).len() != at);
    (head, tail, within)
}

/// The shortest stream found whose repaint loses something, of all features but those `left_out`.
fn search(left_out: &[&str], cases: u32, shrink_iters_max: u32) -> Option<String> {
    let left_out: Vec<&str> = left_out.iter().copied().chain(grammar::names(MISSING)).chain(["rows"]).collect();
    let strategy = (grammar::sizes(), grammar::streams(&left_out, OPS_MAX), any::<Index>());
    let found = shortest(&strategy, cases, shrink_iters_max, |(size, ops, at)| {
        let (head, tail, within) = cut(ops, at);
        compare(*size, &head, &tail, within)
    });
    found.map(|((size, ops, at), reason)| {
        let (head, tail, _) = cut(&ops, &at);
        format!("{size} {ops:?}\n  {} | {}\n  {reason}", head.escape_ascii(), tail.escape_ascii())
    })
}

#[test]
fn a_repaint_is_the_whole_of_a_random_stream() {
    if let Some(found) = search(&grammar::names(NOT_CARRIED), cases(), 20_000) {
        panic!("{found}");
    }
}

#[test]
fn every_feature_that_is_said_not_to_be_carried_makes_a_difference() {
    let missing = grammar::names(NOT_CARRIED);
    let carried = missing.iter().filter(|feature| {
        let others: Vec<&str> = missing.iter().copied().filter(|name| name != *feature).collect();
        search(&others, SEARCHED, 0).is_none()
    });
    let carried: Vec<_> = carried.collect();
    assert!(carried.is_empty(), "nothing is lost with these: take them out of the table: {carried:?}");
}

/// Where to cut near `at`: behind a line's end, where all looks as in alacritty, and within whatever is there.
fn near(bytes: &[u8], at: usize) -> [(usize, bool); 2] {
    let line = bytes[at..].iter().position(|&byte| byte == b'\n');
    [(line.map_or(bytes.len(), |line| at + line + 1), false), (at, true)]
}

#[test]
fn a_repaint_is_the_whole_of_a_recording_but_for_those_in_the_table() {
    let mut wrong = Vec::new();
    for recording in recordings::all() {
        let bytes = &recording.bytes;
        let cuts = (1..=CUTS).flat_map(|cut| near(bytes, bytes.len() * cut / CUTS));
        let lost = cuts.filter_map(|(at, within)| {
            compare(recording.size, &bytes[..at], &bytes[at..], within)
                .err()
                .map(|lost| format!("at {at} of {}, {lost}", bytes.len()))
        });
        let excused = RECORDINGS_NOT_CARRIED.iter().any(|(name, _)| *name == recording.name);
        match (lost.collect::<Vec<_>>().first(), excused) {
            (None, false) | (Some(_), true) => {}
            (Some(lost), false) => wrong.push(format!("{}: {lost}", recording.name)),
            (None, true) => wrong.push(format!("{} loses nothing now: take it out of the table", recording.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
