//! What was said to be on disk is there after a kill, however often and whenever.

mod support;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use support::{example, soak};

#[test]
fn what_was_acknowledged_is_there_after_every_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut kept, mut leaving): (BTreeSet<u64>, BTreeSet<u64>) = Default::default();
    let (mut put, mut early) = (0, 0);
    for kill in 0..if soak() { 3000 } else { 150 } {
        let mut storer = Command::new(example("storer"))
            .arg(dir.path().join("store"))
            .arg(kill.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(storer.stdout.take().unwrap()).lines();
        let (began, beginning) = mpsc::channel();
        let is_early = kill % 4 == 3;
        let killer = thread::spawn(move || {
            if !is_early {
                let _ = beginning.recv();
            }
            // The moment is random on purpose, and so is waited for, not derived from an event.
            thread::sleep(Duration::from_micros(rand::random_range(0..if is_early { 20_000 } else { 80_000 })));
            storer.kill().unwrap();
            storer.wait().unwrap()
        });
        let (mut has, mut ready) = (BTreeSet::new(), false);
        for line in lines.map_while(Result::ok) {
            let (word, key) = line.split_once(' ').map_or((&*line, 0), |(word, key)| (word, key.parse().unwrap()));
            match word {
                "has" => _ = has.insert(key),
                "ready" => {
                    ready = true;
                    let _ = began.send(());
                    has.remove(&0);
                    let lost: Vec<_> = kept.difference(&has).filter(|key| !leaving.contains(key)).collect();
                    assert!(lost.is_empty(), "kill {kill}: lost {lost:?}");
                    // One more may have been written than was acknowledged; one fewer deleted.
                    let extra: Vec<_> = has.difference(&kept).collect();
                    assert!(extra.len() <= 1, "kill {kill}: {extra:?} came from nowhere");
                    (kept, leaving) = (has.clone(), BTreeSet::new());
                }
                "put" => {
                    put += 1;
                    kept.insert(key);
                }
                "deleting" => _ = leaving.insert(key),
                "deleted" => _ = (kept.remove(&key), leaving.remove(&key)),
                _ => panic!("{line}"),
            }
        }
        drop(began);
        let end = killer.join().unwrap();
        assert!(end.code().is_none(), "kill {kill}: the store failed: {end}");
        early += usize::from(!ready);
    }
    println!("{put} puts acknowledged; killed {early} times before it had opened");
}
