//! Screens that are dropped from memory while nobody needs them: nobody notices.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/subjects.rs"]
mod subjects;
mod support;
#[path = "support/watch.rs"]
mod watching;

use std::{fs, time::Instant};

use serde_json::Value;
use subjects::watch;
use support::{Instance, PATIENCE};
use watching::{until, until_some};

const AT_ONCE: &str = "[memory]\nhibernate_after = \"20ms\"\n";
const NEVER: &str = "[memory]\nhibernate_after = \"off\"\n";

fn state(instance: &Instance, name: &str) -> String {
    let term = instance.ls().into_iter().find(|term| term["name"] == name).unwrap();
    term["state"].as_str().unwrap().to_owned()
}

fn await_state(instance: &Instance, name: &str, wanted: &str) {
    until(&format!("{name} to be {wanted}"), || state(instance, name) == wanted);
}

fn memory(instance: &Instance, name: &str) -> u64 {
    let term = instance.ls().into_iter().find(|term| term["name"] == name).unwrap();
    term["memory_bytes"].as_u64().unwrap()
}

fn status(instance: &Instance) -> Value {
    serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap()
}

/// A terminal that runs a script, and has put out everything up to `MARK`.
fn script(instance: &Instance, name: &str, script: &str) {
    instance.ok(&["new", "-d", name, "--", "sh", "-c", script]);
    instance.ok(&["wait", name, "--match", "MARK"]);
}

#[test]
fn an_idle_terminal_sleeps_and_wakes_on_output_on_attach_and_when_its_screen_is_asked_for() {
    let instance = Instance::start_with(AT_ONCE, &[]);
    script(&instance, "t", "printf '\\033]2;a title\\007MARK\\n'; read line; echo \"got $line\"; exec cat");
    let awake = 80 * 24 * 32;
    await_state(&instance, "t", "hibernated");
    assert!(memory(&instance, "t") < awake / 4, "{} bytes asleep", memory(&instance, "t"));
    assert_eq!(instance.ls()[0]["title"], "a title");
    assert_eq!(instance.ok(&["screen", "t"]), "MARK\n");
    await_state(&instance, "t", "hibernated");
    instance.ok(&["send", "t", "--enter", "word"]);
    instance.ok(&["wait", "t", "--match", "got word"]);
    assert_eq!(instance.ok(&["screen", "t"]), "MARK\nword\ngot word\n");
    await_state(&instance, "t", "hibernated");
    let metrics = status(&instance);
    assert_eq!((metrics["terms"]["hibernated"].as_u64(), metrics["memory"]["mirrors_bytes"].as_u64()), (Some(1), Some(0)));
}

/// The predecessor never let go of anything: one that has ended takes no screen either.
#[test]
fn a_terminal_that_has_ended_has_no_screen_in_memory() {
    let instance = Instance::start_with(NEVER, &[]);
    instance.ok(&["new", "-d", "t", "--", "echo", "MARK"]);
    instance.ok(&["wait", "t", "--exit"]);
    until("its screen to go", || status(&instance)["memory"]["mirrors_bytes"] == 0);
    assert_eq!(instance.ok(&["screen", "t"]), "MARK\n");
    until("its screen to go again", || status(&instance)["memory"]["mirrors_bytes"] == 0);
}

/// A question that is asked of a sleeping terminal is answered as by one that is awake: here, where the cursor was left.
#[test]
fn a_sleeping_terminal_answers_its_program() {
    let instance = Instance::start_with(AT_ONCE, &[]);
    let ask = "stty raw -echo; printf '\\033[7;9HMARK'; head -c 1 >/dev/null; printf '\\033[6n'; \
               answer=$(head -c 7 | tr -d '\\033'); printf '\\r\\n<%s>' \"$answer\"; exec cat";
    script(&instance, "t", ask);
    await_state(&instance, "t", "hibernated");
    instance.ok(&["send", "t", "x"]);
    instance.ok(&["wait", "t", "--match", "<\\[7;13R>"]);
}

#[test]
fn who_is_attached_sees_every_byte_of_one_that_sleeps_and_wakes() {
    let instance = Instance::start_with("[memory]\nhibernate_after = \"20ms\"\nmirrors_max = 0\n", &[]);
    script(&instance, "t", "echo MARK; while read line; do echo \"got $line\"; done");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let watching = runtime.spawn(watch(instance.socket(), "t".to_owned()));
    until("the client", || instance.ls()[0]["clients"] == 1);
    for round in 0..3 {
        await_state(&instance, "t", "hibernated");
        instance.ok(&["send", "t", "--enter", &format!("round-{round}")]);
        instance.ok(&["wait", "t", "--match", &format!("got round-{round}")]);
    }
    instance.ok(&["kill", "t"]);
    let received = runtime.block_on(async { tokio::time::timeout(PATIENCE, watching).await }).expect("an end").unwrap();
    let seen = String::from_utf8(received.bytes).unwrap();
    assert_eq!(received.lags, 0);
    for round in 0..3 {
        assert_eq!(seen.matches(&format!("got round-{round}")).count(), 1, "{seen:?}");
    }
}

#[test]
fn beyond_their_limit_the_screens_that_were_not_used_for_longest_go() {
    let screen = 80 * 24 * 32;
    let limit = 4 * screen + screen / 2;
    let instance = Instance::start_with(&format!("[memory]\nhibernate_after = \"off\"\nmirrors_max = {limit}\n"), &[]);
    for n in 0..8 {
        script(&instance, &format!("t{n}"), "echo MARK; exec cat");
    }
    let used = |n: usize| instance.ok(&["screen", &format!("t{n}")]);
    used(2);
    let names = |wanted: &str| {
        let terms = instance.ls().into_iter().filter(|term| term["state"] == wanted);
        terms.map(|term| term["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("what is too much to go", || status(&instance)["memory"]["mirrors_bytes"].as_u64().unwrap() <= limit);
    assert_eq!(names("hibernated"), ["t0", "t1", "t3", "t4"]);
    assert_eq!(names("live"), ["t2", "t5", "t6", "t7"]);
    fs::write(instance.path("config/kaval/kaval.toml"), "[memory]\nhibernate_after = \"off\"\nmirrors_max = 0\n").unwrap();
    instance.ok(&["reload"]);
    until("all to go", || names("hibernated").len() == 8);
}

#[test]
fn a_reload_changes_when_terminals_sleep() {
    let instance = Instance::start_with(NEVER, &[]);
    script(&instance, "t", "echo MARK; exec cat");
    assert_eq!(state(&instance, "t"), "live");
    fs::write(instance.path("config/kaval/kaval.toml"), AT_ONCE).unwrap();
    assert!(instance.ok(&["reload"]).contains("memory.hibernate_after"));
    await_state(&instance, "t", "hibernated");
}

/// A clock that ticks a little slower than the idle time would be dropped and drawn again at every tick.
#[test]
fn a_trickle_does_not_thrash() {
    let instance = Instance::start_with(AT_ONCE, &["--metrics", "127.0.0.1:0"]);
    instance.ok(&["new", "-d", "clock", "--", "sh", "-c", "while :; do echo tick; sleep 0.04; done"]);
    let ticks = |n: usize| instance.ok(&["history", "clock"]).lines().count() >= n;
    until("a hundred ticks", || ticks(100));
    let terms = instance.ls();
    let log = until_some("the log", || terms[0]["log_bytes"].as_u64());
    // A checkpoint is some 200 bytes here; a hundred of them would be 20 KB.
    assert!(log < 10_000, "{log} bytes of log after a hundred ticks");
}

/// Law 3 where it counts: kills while terminals fall asleep and wake.
#[test]
fn a_kill_at_any_moment_of_falling_asleep_and_waking_is_not_noticed() {
    let instance = Instance::start_with("[memory]\nhibernate_after = \"1ms\"\nmirrors_max = 0\n", &[]);
    let script = "i=0; while :; do i=$((i+1)); printf '\\033[3;5r\\033[%dm%d\\033[5;1H\\n' $((i % 8 + 30)) $i; \
                  [ -e stop ] && break; sleep 0.02; done; printf '\\033[1;1HMARK'; exec cat";
    let dir = instance.dir().to_str().unwrap().to_owned();
    instance.ok(&["new", "-d", "t", "--cwd", &dir, "--", "sh", "-c", script]);
    let begun = Instant::now();
    for kill in 0..30u32 {
        instance.kill_supervisor();
        until("the next supervisor", || instance.run(&["ls"]).status.success());
        // Kills land anywhere in the rhythm of output and sleep.
        let offset = instance.ls()[0]["offset"].as_u64().unwrap();
        until("more output", || instance.ls()[0]["offset"].as_u64().unwrap() > offset + u64::from(kill % 5));
        assert!(begun.elapsed() < PATIENCE);
    }
    fs::write(instance.path("stop"), "").unwrap();
    instance.ok(&["wait", "t", "--match", "MARK"]);
    let raw = instance.run(&["history", "t", "--format", "raw"]).stdout;
    fs::write(instance.path("raw"), raw).unwrap();
    let cat = "stty raw -echo; cat raw; exec cat";
    instance.ok(&["new", "-d", "again", "--cwd", &dir, "--", "sh", "-c", cat]);
    instance.ok(&["wait", "again", "--match", "MARK"]);
    let cells = |name: &str| {
        let screen: Value = serde_json::from_str(&instance.ok(&["screen", name, "--format", "json"])).unwrap();
        (screen["cells"].clone(), screen["cursor"].clone())
    };
    assert_eq!(cells("t"), cells("again"));
}
