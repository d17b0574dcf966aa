//! Terminals that are started again: after a reboot, after each end of a child, over kills of the supervisor; and when they are not.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/subjects.rs"]
mod subjects;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{fs, path::Path, thread, time::Duration};

use kaval::{
    client::{Client, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, Data, Empty, ExitInfo, Op},
};
use kaval_actors::Size;
use raw::Raw;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use subjects::attach;
use support::{Instance, PATIENCE, soak};
use watch::{until, until_some};

/// Waits between short lives so short that many fit into a test.
const SOON: &str = "[limits]\nrestart_delay_max = \"20ms\"\n";
/// So long that none ends in a test.
const LATER: &str = "[limits]\nrestart_delay_max = \"1h\"\n";
/// What a seam's banner begins with.
const BANNER: &str = "── kaval: restarted ";

fn term(instance: &Instance, name: &str) -> Value {
    instance.ls().into_iter().find(|term| term["name"] == name).unwrap()
}

fn lines(instance: &Instance, name: &str) -> Vec<String> {
    instance.ok(&["history", name]).lines().map(str::to_owned).collect()
}

/// What a machine that loses its power leaves: what is on disk.
fn reboot(instance: &mut Instance) {
    let supervisor = instance.supervisor_pid().unwrap();
    kill_process(instance.keeper_pid(), Signal::STOP).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    kill_process(instance.keeper_pid(), Signal::KILL).unwrap();
    instance.await_end();
    instance.start_again();
}

#[test]
fn after_a_reboot_a_terminal_is_started_once_where_it_was_or_is_lost_and_readable() {
    let mut instance = Instance::start();
    let dir = instance.path("some where");
    fs::create_dir(&dir).unwrap();
    let count = instance.path("count");
    let script = format!(
        "echo run >>'{0}'; echo in $PWD with $A; stty size; cd '{1}'; echo old screen; exec cat",
        count.display(),
        dir.display()
    );
    let always = ["new", "-d", "always", "--restart", "always", "--env", "A=b", "--size", "90x20", "--cwd", "/", "--"];
    instance.ok(&[&always[..], &["sh", "-c", &script]].concat());
    instance.ok(&["new", "-d", "never", "--", "sh", "-c", "echo only once; exec cat"]);
    for (name, text) in [("always", "old screen"), ("never", "only once")] {
        instance.ok(&["wait", name, "--match", text]);
    }
    // The directory is told within a second; the bytes are on disk within another.
    until("the directory on record", || term(&instance, "always")["cwd"] == dir.to_str().unwrap());
    let before = term(&instance, "always");
    thread::sleep(Duration::from_millis(2500));
    reboot(&mut instance);

    instance.ok(&["wait", "always", "--match", "old screen"]);
    let after = term(&instance, "always");
    assert_eq!(json!([after["id"], after["state"], after["respawns"]]), json!([before["id"], "live", 1]));
    assert!(after["pid"] != before["pid"] && after["offset"].as_u64() > before["offset"].as_u64(), "{after}");
    let told = lines(&instance, "always");
    assert_eq!(told[..3], ["in / with b", "20 90", "old screen"]);
    assert!(told[3].starts_with(BANNER) && told[3].ends_with(", its pty was gone ──"), "{told:?}");
    assert_eq!(told[4..], [&format!("in {} with b", dir.display()), "20 90", "old screen"]);
    assert_eq!(fs::read_to_string(&count).unwrap(), "run\nrun\n");

    assert_eq!(term(&instance, "never")["state"], "lost");
    assert_eq!(lines(&instance, "never"), ["only once"]);
    let refusal = Raw::hello(&instance.socket())
        .ask(&json!({"req": 1, "op": "attach", "term": "never", "from": "screen", "mode": "rw"}))
        .refusal();
    assert!(refusal.code == "ended" && refusal.message.contains("read it with kaval history never"), "{}", refusal.message);
    instance.kill_supervisor();
    assert_eq!(json!([term(&instance, "always")["respawns"], term(&instance, "never")["state"]]), json!([1, "lost"]));
    assert_eq!(lines(&instance, "always").len(), 7);
}

/// A child that says how often it ran, there and in a file of its own, and fails.
fn failing(instance: &Instance, name: &str, restart: &str) -> std::path::PathBuf {
    let record = instance.path(name).with_extension("runs");
    let script = ": >>\"$0\"; n=$(($(wc -l <\"$0\") + 1)); echo $n >>\"$0\"; echo this is run $n of many; exit 3";
    let record_text = record.to_str().unwrap().to_owned();
    instance.ok(&["new", "-d", name, "--restart", restart, "--", "sh", "-c", script, &record_text]);
    record
}

fn runs(record: &Path) -> usize {
    fs::read_to_string(record).map_or(0, |text| text.lines().count())
}

/// What a failing child has put out, run by run, with a banner between two.
fn assert_every_run_once(instance: &Instance, name: &str, record: &Path) {
    let (told, runs) = (lines(instance, name), runs(record));
    let said: Vec<_> = told.iter().step_by(2).cloned().collect();
    assert_eq!(said, (1..=runs).map(|n| format!("this is run {n} of many")).collect::<Vec<_>>());
    let banners: Vec<_> = told.iter().skip(1).step_by(2).collect();
    assert_eq!(banners.len(), runs - 1, "{told:?}");
    assert!(banners.iter().all(|line| line.starts_with(BANNER) && line.ends_with(", exit 3 ──")), "{told:?}");
}

#[test]
fn a_crash_loop_backs_off_is_seen_and_ends_when_told() {
    let instance = Instance::start_with(SOON, &[]);
    let record = failing(&instance, "loop", "on-failure");
    until("five runs", || runs(&record) >= 5);
    instance.ok(&["kill", "loop"]);
    instance.ok(&["wait", "loop", "--exit"]);
    let ended = term(&instance, "loop");
    assert_eq!(json!([ended["state"], ended["exit"], ended["restart"]]), json!(["exited", {"code": 3}, "on-failure"]));
    assert!(ended["respawn_at"].is_null());
    assert_every_run_once(&instance, "loop", &record);
    let respawns = ended["respawns"].as_u64().unwrap();
    assert_eq!(respawns as usize, runs(&record) - 1);
    instance.kill_supervisor();
    assert_eq!(term(&instance, "loop")["state"], "exited");
    assert_eq!(runs(&record) as u64, respawns + 1);
}

#[test]
fn no_kill_of_the_supervisor_runs_a_child_twice_or_not_at_all_or_doubles_a_seam() {
    let instance = Instance::start_with(SOON, &[]);
    let records = ["a", "b", "c"].map(|name| (name, failing(&instance, name, "always")));
    for _ in 0..if soak() { 400 } else { 40 } {
        // The moment is random on purpose, and so is waited for, not derived from an event.
        thread::sleep(Duration::from_micros(rand::random_range(0..60_000)));
        instance.kill_supervisor();
    }
    for (name, record) in records {
        let before = runs(&record);
        until("a further run", || runs(&record) > before);
        instance.ok(&["kill", name]);
        instance.ok(&["wait", name, "--exit"]);
        assert_every_run_once(&instance, name, &record);
        println!("{name}: {} runs", runs(&record));
    }
}

#[test]
fn one_that_waits_says_so_everywhere_and_an_end_that_is_asked_for_is_the_end() {
    let instance = Instance::start_with(LATER, &[]);
    // The fourth short life in a row waits 8 s: nothing happens while this looks.
    let record = failing(&instance, "t", "always");
    until("four runs", || runs(&record) == 4 && !term(&instance, "t")["respawn_at"].is_null());
    let waiting = term(&instance, "t");
    let expected = json!(["exited", {"code": 3}, "always", 3, 4]);
    assert_eq!(json!(["state", "exit", "restart", "respawns", "short_lives"].map(|key| &waiting[key])), expected);
    let shown = instance.ok(&["ls"]);
    assert!(shown.contains("exited 3, again in "), "{shown}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = SessionOptions {
        socket: instance.socket(),
        term: "t".into(),
        mode: AttachMode::Rw,
        size: None,
        from: AttachFrom::Screen,
    };
    let mut session = runtime.block_on(attach(options));
    let mut next = || runtime.block_on(async { tokio::time::timeout(PATIENCE, session.next()).await }).unwrap().unwrap();
    assert!(matches!(next(), Update::Screen { .. }));
    assert_eq!(next(), Update::Respawning { exit: Some(ExitInfo::Code(3)), at: waiting["respawn_at"].as_u64().unwrap() });
    instance.ok(&["kill", "t"]);
    assert_eq!(next(), Update::Exited(ExitInfo::Code(3)));
    assert!(term(&instance, "t")["respawn_at"].is_null());
    instance.kill_supervisor();
    assert_eq!((term(&instance, "t")["state"].clone(), runs(&record)), ("exited".into(), 4));

    let record = failing(&instance, "u", "always");
    until("four runs", || runs(&record) == 4 && !term(&instance, "u")["respawn_at"].is_null());
    instance.ok(&["rm", "u"]);
    instance.kill_supervisor();
    assert_eq!((instance.ls().len(), runs(&record)), (1, 4));
}

#[test]
fn an_attached_client_goes_on_with_the_next_child() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--restart", "always", "--", "sh", "-c", "echo begun; read x; exit $x"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = SessionOptions {
        socket: instance.socket(),
        term: "t".into(),
        mode: AttachMode::Rw,
        size: None,
        from: AttachFrom::Offset(0),
    };
    let (mut shown, mut waits) = (Vec::new(), Vec::new());
    let mut session = runtime.block_on(attach(options));
    for code in [7, 0] {
        let begun = |shown: &[u8]| String::from_utf8_lossy(shown).matches("begun").count();
        let lives = waits.len() + 1;
        runtime.block_on(async {
            while begun(&shown) < lives {
                match tokio::time::timeout(PATIENCE, session.next()).await.expect("output").unwrap() {
                    Update::Output { offset, data } => {
                        assert_eq!(offset, shown.len() as u64);
                        shown.extend_from_slice(&data);
                    }
                    Update::Respawning { exit, .. } => waits.push(exit),
                    Update::Resized { .. } | Update::Screen { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            session.input(format!("{code}\n").into()).await;
            while waits.len() < lives {
                match tokio::time::timeout(PATIENCE, session.next()).await.expect("an end").unwrap() {
                    Update::Output { data, .. } => shown.extend_from_slice(&data),
                    Update::Respawning { exit, .. } => waits.push(exit),
                    Update::Resized { .. } | Update::Screen { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    assert_eq!(waits, [Some(ExitInfo::Code(7)), Some(ExitInfo::Code(0))]);
    instance.ok(&["kill", "t"]);
    assert_eq!(String::from_utf8_lossy(&shown).matches(BANNER).count(), 1);
}

/// The refusal was the end of attaching, and the next child had the size of the window as it was.
#[test]
fn a_window_that_is_resized_while_its_terminal_waits_stays_and_gives_the_next_child_its_size() {
    let instance = Instance::start();
    let script = "while stty size; do sleep 0.05; done";
    instance.ok(&["new", "-d", "t", "--restart", "always", "--size", "80x24", "--", "sh", "-c", script]);
    let size = |cols, rows| Size::new(cols, rows).unwrap();
    let options = SessionOptions {
        socket: instance.socket(),
        term: "t".into(),
        mode: AttachMode::Rw,
        size: Some(size(80, 24)),
        from: AttachFrom::Screen,
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut session = attach(options).await;
        instance.ok(&["kill", "t", "--signal", "KILL"]);
        let (mut waits, mut shown) = (false, String::new());
        while !shown.contains("20 90") {
            match tokio::time::timeout(PATIENCE, session.next()).await.expect("the size").unwrap() {
                Update::Respawning { .. } => {
                    waits = true;
                    session.resize(size(90, 20)).await;
                }
                Update::Output { data, .. } if waits => shown.push_str(&String::from_utf8_lossy(&data)),
                Update::Output { .. } | Update::Resized { .. } | Update::Screen { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
    instance.ok(&["kill", "t"]);
}

/// Law 9: who resends what was not acknowledged to it, over a kill and the end of the child that got it.
#[test]
fn what_one_child_was_typed_is_not_typed_to_the_next() {
    let instance = Instance::start_with(SOON, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let type_in = |name: &str, seq, text: &str| {
        let data = Data(text.to_owned().into());
        let op = Op::Input { term: name.into(), client: Some("me".to_owned()), seq, data };
        let typed = async { Client::connect(&instance.socket()).await.unwrap().call::<Empty>(op).await };
        runtime.block_on(typed).unwrap();
    };
    for (name, killed) in [("told", false), ("killed", true)] {
        let record = instance.path(name);
        let script = format!("read line; echo $line >> {}; exit 3", record.display());
        instance.ok(&["new", "-d", name, "--restart", "always", "--", "sh", "-c", &script]);
        type_in(name, 1, "one\n");
        until("the next child", || term(&instance, name)["state"] == "live" && term(&instance, name)["respawns"] == 1);
        if killed {
            instance.kill_supervisor();
            until("the next supervisor", || instance.run(&["ls"]).status.success());
        }
        type_in(name, 1, "one\n");
        type_in(name, 2, "two\n");
        let told = || fs::read_to_string(&record).unwrap();
        until("the second line", || told().contains("two"));
        assert_eq!(told(), "one\ntwo\n");
        instance.ok(&["kill", name]);
    }
}

#[test]
fn one_that_ends_well_is_not_started_again_on_failure() {
    let instance = Instance::start_with(SOON, &[]);
    instance.ok(&["new", "-d", "t", "--restart", "on-failure", "--", "sh", "-c", "echo done"]);
    assert_eq!(instance.ok(&["wait", "t", "--exit"]), "exited with code 0\n");
    let ended = term(&instance, "t");
    assert_eq!(json!([ended["state"], ended["respawns"], ended["respawn_at"]]), json!(["exited", null, null]));
}

#[test]
fn one_that_cannot_be_started_again_is_tried_until_it_can() {
    let instance = Instance::start_with(SOON, &[]);
    let program = instance.path("program");
    let install = |path: &Path| {
        // By another process: what is open for writing here could not be executed.
        let write = "printf '#!/bin/sh\\necho here; exit 1\\n' >\"$1\" && chmod +x \"$1\"";
        assert!(std::process::Command::new("sh").args(["-c", write, "sh"]).arg(path).status().unwrap().success());
    };
    install(&program);
    instance.ok(&["new", "-d", "t", "--restart", "always", "--", program.to_str().unwrap()]);
    fs::remove_file(&program).unwrap();
    let trouble = until_some("trouble", || term(&instance, "t")["trouble"].as_str().map(str::to_owned));
    assert!(instance.ok(&["ls"]).contains("not started, again in "), "{trouble}");
    let respawns = || term(&instance, "t")["respawns"].as_u64().unwrap_or(0);
    let before = respawns();
    install(&program);
    until("a start", || respawns() > before);
    instance.ok(&["kill", "t"]);
    instance.ok(&["wait", "t", "--exit"]);
    let events = instance.ok(&["history", "t"]);
    assert!(events.contains(BANNER));
}

/// A signal is only that: what it ends is started again like anything else, and a supervisor that dies meanwhile changes nothing for who
/// watches.
#[test]
fn one_that_a_signal_ended_is_started_again_for_whoever_watches() {
    let instance = Instance::start_with(SOON, &[]);
    let record = instance.path("runs");
    let script = "echo x >>\"$0\"; echo run $(wc -l <\"$0\"); exec cat";
    instance.ok(&["new", "-d", "t", "--restart", "on-failure", "--", "sh", "-c", script, record.to_str().unwrap()]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let watching = runtime.spawn(subjects::watch(instance.socket(), "t".to_owned()));
    for n in 1..=3 {
        instance.ok(&["wait", "t", "--match", &format!("run {n}")]);
        instance.kill_supervisor();
        instance.ok(&["kill", "t", "--signal", "KILL"]);
    }
    instance.ok(&["wait", "t", "--match", "run 4"]);
    instance.ok(&["kill", "t"]);
    let received = runtime.block_on(async { tokio::time::timeout(PATIENCE, watching).await }).expect("an end").unwrap();
    assert_eq!((runs(&record), received.lags), (4, 0));
    assert_eq!(String::from_utf8_lossy(&received.bytes).matches(", signal 9 ──").count(), 3);
    assert_eq!(instance.ok(&["history", "t", "--format", "raw"]).as_bytes(), received.bytes);
}
