//! Random streams, drawn by the mirror and by alacritty, on small screens, where sequences meet each other soon.
//!
//! `KAVAL_SOAK` set: some ten million sequences, instead of a hundred thousand.

use std::env;

use kaval_actors::{Size, mirror::Mirror};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use crate::{
    grammar::{self, Act, MISSING, Op},
    picture::Picture,
    reference::Reference,
};

/// Most acts in a stream; half as many on average.
const OPS_MAX: usize = 50;

/// Streams until which a feature that the mirror lacks must have made a difference.
const SEARCHED: u32 = 8000;

fn cases() -> u32 {
    if env::var_os("KAVAL_SOAK").is_some() { 400_000 } else { 4000 }
}

/// What differs after a stream, if anything does.
fn compare(size: Size, ops: &[Op]) -> Result<(), String> {
    let (mut mirror, mut reference) = (Mirror::new(size), Reference::new(size));
    // In one piece, as far as sizes allow: what stands together is drawn together.
    let mut written = Vec::new();
    let draw = |mirror: &mut Mirror, written: &mut Vec<u8>| {
        let drawn = mirror.feed(written).map_err(|panicked| panicked.to_string());
        written.clear();
        drawn
    };
    for op in ops {
        match &op.act {
            Act::Write(bytes) => {
                written.extend_from_slice(bytes);
                reference.feed(bytes);
            }
            Act::Rows(rows) => {
                draw(&mut mirror, &mut written)?;
                let size = Size::new(size.cols().into(), *rows).unwrap();
                mirror.resize(size).map_err(|panicked| panicked.to_string())?;
                reference.resize(size);
            }
        }
    }
    draw(&mut mirror, &mut written)?;
    let differences = Picture::of(&mirror).differences(&reference.picture());
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n  ")) }
}

/// The shortest stream found that the two draw differently, of all features but those `left_out`.
fn search(left_out: &[&str], cases: u32, shrink_iters_max: u32) -> Option<String> {
    let strategy = (grammar::sizes(), grammar::streams(left_out, OPS_MAX));
    let found = shortest(&strategy, cases, shrink_iters_max, |(size, ops)| compare(*size, ops));
    found.map(|((size, ops), reason)| format!("{size} {ops:?}\n  {reason}"))
}

/// The shortest case found that does not pass, and why.
pub(crate) fn shortest<S: Strategy>(
    strategy: &S,
    cases: u32,
    shrink_iters_max: u32,
    check: impl Fn(&S::Value) -> Result<(), String>,
) -> Option<(S::Value, String)> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: shrink_iters_max, ..Config::default() };
    match runner(config).run(strategy, |case| check(&case).map_err(TestCaseError::fail)) {
        Ok(()) => None,
        Err(TestError::Fail(reason, case)) => Some((case, reason.to_string())),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn random_streams_are_drawn_as_alacritty_draws_them() {
    if let Some(found) = search(&grammar::names(MISSING), cases(), 20_000) {
        panic!("{found}");
    }
}

#[test]
fn every_feature_that_is_said_to_be_missing_makes_a_difference() {
    let missing = grammar::names(MISSING);
    let exact = missing.iter().filter(|feature| {
        let others: Vec<&str> = missing.iter().copied().filter(|name| name != *feature).collect();
        search(&others, SEARCHED, 0).is_none()
    });
    let exact: Vec<_> = exact.collect();
    assert!(exact.is_empty(), "nothing differs with these: take them out of the table: {exact:?}");
}

/// The same streams every time, so that one who changes something knows what came of it; others in soak.
fn runner(config: Config) -> TestRunner {
    match std::env::var_os("KAVAL_SOAK") {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}
