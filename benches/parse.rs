//! What the mirror's layers cost over the parser they stand on: `Mirror::feed` next to a bare `vt100::Parser::process`.
//!
//! `cargo bench --bench parse`. `KAVAL_BENCH_MB` (20) of each kind of output on 80×24, in pieces of 16 KiB, as the journal hands them on;
//! both within each of `KAVAL_BENCH_ROUNDS` (9) rounds, in turns first. Figures are MB/s; the ratio is of the same round, above 1 where the
//! mirror is faster. Recordings (those of `tests/golden`) are repeated end to end. `KAVAL_BENCH_ONLY` names one kind.
#![allow(missing_docs)]

mod support;

use std::{fs, num::NonZeroU16, path::Path, time::Instant};

use kaval_actors::{Size, mirror::Mirror};
use support::{Flavour, Samples, setting, table};

const PIECE_BYTES: usize = 16 << 10;

const RECORDINGS: [&str; 4] = ["vim", "less", "htop", "tmux"];

fn main() {
    if support::is_test_run() {
        return;
    }
    let bytes = setting("KAVAL_BENCH_MB", 20usize) * 1_000_000;
    let rounds = setting("KAVAL_BENCH_ROUNDS", 9usize);
    let only = setting("KAVAL_BENCH_ONLY", String::new());
    let wanted = kinds(bytes).into_iter().filter(|(name, _)| only.is_empty() || *name == only);
    let rows: Vec<Vec<String>> = wanted.map(|(name, stream)| measure(&name, &stream, rounds)).collect();
    table(&format!("{} MB on 80×24, MB/s", bytes / 1_000_000), &["output", "vt100", "mirror", "mirror / vt100"], &rows);
}

fn kinds(bytes: usize) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::Builder::new().prefix("kaval-bench-").tempdir().unwrap();
    let lines = |flavour: Flavour| {
        let text = fs::read_to_string(flavour.write(dir.path(), bytes as u64)).unwrap();
        text.replace('\n', "\r\n").into_bytes()
    };
    let mut kinds = Flavour::ALL.map(|flavour| (flavour.name().to_owned(), lines(flavour))).to_vec();
    kinds.push(("unicode".to_owned(), repeated(unicode().as_bytes(), bytes)));
    kinds.push(("addressed".to_owned(), repeated(addressed().as_bytes(), bytes)));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    kinds.extend(RECORDINGS.map(|name| {
        let recording = fs::read(golden.join(name).join("recording")).unwrap();
        (name.to_owned(), repeated(&recording, bytes))
    }));
    kinds
}

fn repeated(piece: &[u8], bytes: usize) -> Vec<u8> {
    piece.repeat(bytes.div_ceil(piece.len()))
}

/// Text of many scripts, some of it wide, some of it combined, in lines of some length.
fn unicode() -> String {
    let words = [
        "naïve",
        "café",
        "Übergröße",
        "漢字かな",
        "данные",
        "ελληνικά",
        "e\u{301}te\u{301}",
        "→",
        "🦀",
        "한국어",
        "plain",
        "words",
    ];
    let word = |n: usize| words[n * 7 % words.len()];
    (0..1000).map(|line| (0..4 + line % 6).map(|n| word(line + n)).collect::<Vec<_>>().join(" ") + "\r\n").collect()
}

/// A full-screen program that writes coloured figures all over.
fn addressed() -> String {
    let figure = |n: usize| {
        let (row, col, color) = (1 + n * 7 % 24, 1 + n * 31 % 70, 31 + n % 7);
        format!("\x1b[{row};{col}H\x1b[{color}m{:>6.2}\x1b[0m", (n * 7919 % 10_000) as f64 / 100.0)
    };
    (0..3000).map(figure).collect()
}

fn measure(name: &str, stream: &[u8], rounds: usize) -> Vec<String> {
    let (mut bare, mut mirror) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        if round % 2 == 0 {
            bare.push(bare_speed(stream));
        }
        mirror.push(mirror_speed(stream));
        if round % 2 == 1 {
            bare.push(bare_speed(stream));
        }
    }
    vec![name.to_owned(), bare.spread(0), mirror.spread(0), mirror.over(&bare).spread(2)]
}

/// MB/s.
fn speed(stream: &[u8], mut feed: impl FnMut(&[u8])) -> f64 {
    let start = Instant::now();
    stream.chunks(PIECE_BYTES).for_each(&mut feed);
    stream.len() as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn bare_speed(stream: &[u8]) -> f64 {
    let side = |n: u16| NonZeroU16::new(n).unwrap();
    let mut parser = vt100::Parser::new(side(24), side(80), 0);
    speed(stream, |piece| parser.process(piece))
}

fn mirror_speed(stream: &[u8]) -> f64 {
    let mut mirror = Mirror::new(Size::DEFAULT);
    speed(stream, |piece| {
        mirror.feed(piece).unwrap();
        mirror.take_notices();
    })
}
