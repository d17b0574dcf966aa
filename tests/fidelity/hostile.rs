//! What no program sends, but a file that is `cat` or an attacker does: it costs a bounded amount of memory and time, nothing panics, and
//! what comes next is drawn right.
//!
//! Memory is what this thread has taken from the allocator and not given back, so other tests may run beside.

use std::{
    iter,
    time::{Duration, Instant},
};

use kaval_actors::{Size, mirror::Mirror};
use tikv_jemalloc_ctl::thread;

use crate::{picture::Picture, reference::Reference};

/// Most that a mirror may grow by, beside its screen, whatever it is fed.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// Longest that any of these may take, whatever the machine is doing: what is bounded takes milliseconds a megabyte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest that a few kilobytes of commands, or a megabyte of text, may take.
const PATIENCE_SMALL: Duration = Duration::from_secs(1);

const PIECE_BYTES: usize = 64 << 10;

/// Ends whatever string or sequence is open, and starts anew.
const END: &[u8] = b"\x18\x1b\\\x1bc";

/// Drawn at the end of each, and to be seen then.
const PROOF: &[u8] = b"\x1b[2;3Hright \x1b[1;31mred\x1b[m\r\n\xe6\xbc\xa2!";

/// Those that are too much for the mirror, and why. Each must still be.
const TOO_MUCH: &[(&str, &str)] =
    &[("endless invalid UTF-8", "vte looks for an escape in all that follows, after each invalid byte")];

type Pieces = Box<dyn Iterator<Item = Vec<u8>>>;

/// `begin`, and `megabytes` of `body` repeated, in pieces.
fn endless(begin: &[u8], body: &[u8], megabytes: usize) -> Pieces {
    let piece = body.repeat(PIECE_BYTES / body.len());
    let pieces = (megabytes << 20) / piece.len();
    Box::new(iter::once(begin.to_vec()).chain(iter::repeat_n(piece, pieces)))
}

fn once(bytes: impl Into<Vec<u8>>) -> Pieces {
    Box::new(iter::once(bytes.into()))
}

fn cases() -> Vec<(&'static str, Pieces)> {
    let parameters = |n: usize, last: &str| format!("\x1b[{}{last}", vec!["7"; n].join(";"));
    vec![
        ("an endless OSC", endless(b"\x1b]52;c;", b"QUJD", 100)),
        ("an endless OSC of parameters", endless(b"\x1b]9", b";1", 100)),
        ("an endless DCS", endless(b"\x1bPq", b"#0;2;0;0;0", 100)),
        ("an endless DCS of parameters", endless(b"\x1bP", b"1;", 20)),
        ("an endless APC", endless(b"\x1b_G", b"AAAA", 100)),
        ("an endless PM", endless(b"\x1b^", b"x", 20)),
        ("an endless SOS", endless(b"\x1bX", b"x", 20)),
        ("an endless CSI", endless(b"\x1b[", b"1;", 20)),
        ("a CSI of endless digits", endless(b"\x1b[", b"9", 20)),
        ("endless intermediates", endless(b"\x1b", b" ", 20)),
        ("endless escapes", endless(b"", b"\x1b", 20)),
        ("endless combining characters", endless(b"a", "\u{301}".as_bytes(), 5)),
        ("endless zeros", endless(b"", b"\0", 20)),
        ("megabyte titles", Box::new(iter::repeat_n(format!("\x1b]2;{}\x07", "t".repeat(1 << 20)).into_bytes(), 20))),
        ("many titles", endless(b"", b"\x1b]2;a title\x07\x1b]0;b\x1b\\\x1b]1;c\x07", 5)),
        ("a title stack", endless(b"", b"\x1b[22;0t", 2)),
        (
            "huge parameters",
            once(
                "ABCDEFGHIJKLMPSTXZ@`abdefghlmnrstu"
                    .chars()
                    .map(|last| format!("\x1b[18446744073709551616;99999999999999999999{last}"))
                    .collect::<String>(),
            ),
        ),
        (
            "thousands of parameters",
            once("ABCDHJKLMPSTXmrhl".chars().map(|last| parameters(5000, &last.to_string())).collect::<String>()),
        ),
        ("thousands of subparameters", once(format!("\x1b[{}m", vec!["4"; 5000].join(":")))),
        (
            "unknown modes",
            once(
                (0..70_000)
                    .map(|mode| format!("\x1b[?{mode}h\x1b[{mode}l"))
                    .filter(|text| !text.contains("?2026h"))
                    .collect::<String>(),
            ),
        ),
    ]
}

/// Work that is out of all proportion to its bytes.
fn heavy() -> Vec<(&'static str, Pieces)> {
    vec![
        ("repetitions", once("x\x1b[65535b".repeat(500))),
        ("scrolls", once("\x1b[65535S\x1b[65535T".repeat(250))),
        ("insertions", once("\x1b[65535L\x1b[65535M\x1b[65535@\x1b[65535P\x1b[65535X".repeat(100))),
        ("endless invalid UTF-8", endless(b"", b"\xff\xc3\xe2\x82\xf0\x9f\xa6\x80\xed\xa0\x80", 1)),
        ("tabulations", once("\x1b[65535I\x1b[65535Z".repeat(250))),
    ]
}

fn held() -> u64 {
    thread::allocatedp::read().unwrap().get() - thread::deallocatedp::read().unwrap().get()
}

/// Whether what comes next is drawn as alacritty draws it on an empty screen.
fn proves_right(mirror: &mut Mirror) -> Result<(), String> {
    let mut reference = Reference::new(mirror.size());
    reference.feed(PROOF);
    mirror.feed(&[END, PROOF].concat()).map_err(|panicked| panicked.to_string())?;
    let differences = Picture::of(mirror).differences(&reference.picture());
    if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
}

/// What goes wrong, if anything does.
fn survive(size: Size, pieces: Pieces, patience: Duration) -> Result<(), String> {
    let mut mirror = Mirror::new(size);
    mirror.feed(b"\x1b[?1049h\x1b[?1049l").map_err(|panicked| panicked.to_string())?;
    let (before, start) = (held(), Instant::now());
    for piece in pieces {
        mirror.feed(&piece).map_err(|panicked| panicked.to_string())?;
        mirror.take_notices();
        let grown = held().saturating_sub(before + piece.capacity() as u64);
        if grown > GROWTH_BYTES_MAX {
            return Err(format!("grown by {grown} bytes"));
        }
        if start.elapsed() > patience {
            return Err(format!("takes longer than {patience:?}"));
        }
    }
    Mirror::restore(&mirror.checkpoint()).map_err(|bad| bad.to_string())?;
    proves_right(&mut mirror)
}

fn judge(name: &str, result: Result<(), String>) -> Option<String> {
    let excused = TOO_MUCH.iter().any(|(known, _)| *known == name);
    match (result, excused) {
        (Ok(()), false) | (Err(_), true) => None,
        (Err(reason), false) => Some(format!("{name}: {reason}")),
        (Ok(()), true) => Some(format!("{name} is borne now: take it out of the table")),
    }
}

#[test]
fn endless_and_huge_sequences_cost_a_bounded_amount() {
    let wrong: Vec<String> =
        cases().into_iter().filter_map(|(name, pieces)| judge(name, survive(Size::DEFAULT, pieces, PATIENCE))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_few_bytes_are_no_endless_work() {
    let wrong: Vec<String> =
        heavy().into_iter().filter_map(|(name, pieces)| judge(name, survive(Size::DEFAULT, pieces, PATIENCE_SMALL))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A bit of everything, at once on screens of any size.
fn medley() -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..40 {
        bytes.extend_from_slice(
            format!("\x1b[{};{}H漢e\u{301}🦀 text {n}\t\x1b[{n}@\x1b[{n}P\x1b[{n}L\x1b[{n}M\r\n", n * 37, n * 31).as_bytes(),
        );
        bytes.extend_from_slice(
            format!("\x1b[{};{}r\x1b[?6h\x1b[5;5H\x1bM\x1b[?1049{}\x1b[{}X", n, n + 5, if n % 2 == 0 { 'h' } else { 'l' }, n)
                .as_bytes(),
        );
    }
    bytes
}

#[test]
fn the_smallest_and_the_largest_screens_are_drawn_on() {
    let sides = [1, 2, 3, u32::from(Size::SIDE_MAX)];
    let sizes = sides.iter().flat_map(|&cols| sides.iter().map(move |&rows| Size::new(cols, rows).unwrap()));
    let results = sizes.map(|size| {
        let mut mirror = Mirror::new(size);
        mirror.feed(&medley()).and_then(|()| mirror.feed(END)).map_err(|panicked| format!("{size}: {panicked}"))?;
        Mirror::restore(&mirror.checkpoint()).map_err(|bad| format!("{size}: {bad}"))?;
        if size.cols() > 20 && size.rows() > 2 { proves_right(&mut mirror) } else { Ok(()) }
    });
    let wrong: Vec<String> = results.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_storm_of_resizes_costs_a_bounded_amount() {
    let mut mirror = Mirror::new(Size::DEFAULT);
    let before = held();
    let piece = medley();
    for n in 0..2000u32 {
        let size = Size::new(1 + n * 7919 % 200, 1 + n * 104_729 % 60).unwrap();
        mirror.resize(size).unwrap();
        mirror.feed(&piece[n as usize % 100..][..100]).unwrap();
        mirror.take_notices();
    }
    mirror.resize(Size::DEFAULT).unwrap();
    let grown = held().saturating_sub(before + piece.capacity() as u64);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
    proves_right(&mut mirror).unwrap();
}
