//! Random streams, drawn by the mirror and by alacritty, on small screens, where sequences meet each other soon.
//!
//! `KAVAL_SOAK` set: some ten million sequences, instead of some hundred thousand.

use std::env;

use kaval_actors::{Size, mirror::Mirror};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestError, TestRunner},
};

use crate::{
    grammar::{self, MISSING, Op},
    picture::Picture,
    reference::Reference,
};

const OPS_MAX: usize = 50;

/// How many streams, so that the sequences in them are as many as the module's head says.
fn cases() -> u32 {
    if env::var_os("KAVAL_SOAK").is_some() { 400_000 } else { 4000 }
}

fn sizes() -> impl Strategy<Value = Size> {
    (4..24u32, 2..8u32).prop_map(|(cols, rows)| Size::new(cols, rows).unwrap())
}

/// What differs after a stream, if anything does.
fn compare(size: Size, ops: &[Op]) -> Result<(), String> {
    let (mut mirror, mut reference) = (Mirror::new(size), Reference::new(size));
    let bytes = grammar::concat(ops);
    mirror.feed(&bytes).map_err(|panicked| panicked.to_string())?;
    reference.feed(&bytes);
    let differences = Picture::of(&mirror).differences(&reference.picture());
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n  ")) }
}

/// The shortest stream found that the two draw differently, of all features but those `left_out`.
fn search(left_out: &[&'static str], cases: u32) -> Option<String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let strategy = (sizes(), grammar::streams(left_out, OPS_MAX));
    let found = runner.run(&strategy, |(size, ops)| compare(size, &ops).map_err(TestCaseError::fail));
    match found {
        Ok(()) => None,
        Err(TestError::Fail(reason, (size, ops))) => Some(format!("{size} {ops:?}\n  {reason}")),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn find_features() {
    let base = ["text", "long text", "return and feed", "position", "attributes"];
    let names = grammar::names();
    for name in &names {
        let left_out: Vec<_> = names.iter().copied().filter(|n| n != name && !base.contains(n)).collect();
        match search(&left_out, 3000) {
            None => println!("OK {name}"),
            Some(found) => println!("DIFF {name}: {found}"),
        }
    }
}
