//! A process that writes to a database until it is killed, for `tests/store.rs`: what it says has been written must be there ever after.
//!
//! ```text
//!   storer DIR SEED      has K ..., ready, then over and over: put K, deleting K, deleted K
//! ```
//!
//! Another thread writes, merges and drops the logs of terminals meanwhile, as kaval's own does.

use std::{
    io::{Write, stdout},
    path::Path,
    thread,
};

use anyhow::Context;
use kaval_actors::log::store::{Changes, Store, Tree};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let dir = arguments.next().context("a directory is missing")?;
    let seed: u64 = arguments.next().and_then(|seed| seed.to_str()?.parse().ok()).context("a seed is missing")?;
    let store = Store::open(Path::new(&dir))?;
    let records = store.tree("manifest");
    let mut keys: Vec<u64> = records.scan(b"")?.iter().map(|(key, _)| number(key)).collect();
    keys.iter().for_each(|key| println!("has {key}"));
    say("ready");
    let logs = store.clone();
    thread::spawn(move || log(&logs, SmallRng::seed_from_u64(!seed)));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut next = keys.last().map_or(1, |last| last + 1);
    loop {
        records.write_through(vec![put(next, &mut random, 400), (b"next".to_vec(), Some(next.to_be_bytes().to_vec()))])?;
        say(&format!("put {next}"));
        keys.push(next);
        next += 1;
        if keys.len() > 20 {
            let gone = keys.swap_remove(random.random_range(0..keys.len() - 1));
            say(&format!("deleting {gone}"));
            records.write_through(vec![(key(gone), None)])?;
            say(&format!("deleted {gone}"));
        }
    }
}

/// Writes blocks, merges small ones, evicts the oldest, drops whole trees.
fn log(store: &Store, mut random: SmallRng) -> anyhow::Result<()> {
    for n in 1_u64.. {
        let name = format!("log/{}", random.random_range(1..6));
        let tree: Tree = store.tree(name.as_str());
        let held = tree.scan(b"")?;
        let mut changes: Changes = (0..random.random_range(1..12)).map(|i| put(n * 100 + i, &mut random, 20_000)).collect();
        changes.extend(held.iter().take(held.len().saturating_sub(60)).map(|(key, _)| (key.clone(), None)));
        tree.write(changes)?;
        store.flush()?;
        if random.random_ratio(1, 40) {
            store.drop_tree(&name)?;
        }
    }
    Ok(())
}

fn put(at: u64, random: &mut SmallRng, bytes_max: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut value = vec![0; random.random_range(1..bytes_max)];
    random.fill_bytes(&mut value);
    (key(at), Some(value))
}

fn key(at: u64) -> Vec<u8> {
    at.to_be_bytes().to_vec()
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn say(line: &str) {
    println!("{line}");
    let _ = stdout().flush();
}
