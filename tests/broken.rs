//! What others have broken, with a real supervisor: the broken part is set aside under a name that says so, the rest goes on,
//! one line tells of it, and no child is ended for it.

#[path = "support/feeding.rs"]
mod feeding;
mod support;

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use feeding::{Foreign, change_state, database, is_root, remove, store};
use kaval_actors::{
    Findings, TermId,
    pty::Exit,
    supervisor::manifest::{Manifest, Record, State},
};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::{PidfdFlags, getpid, pidfd_open},
};
use serde_json::Value;
use support::Instance;

/// A terminal that shows what it is typed.
fn talker(instance: &Instance, name: &str) {
    let script = "stty -echo; echo begun; while read x; do echo got $x; done";
    instance.ok(&["new", "-d", name, "--", "sh", "-c", script]);
    instance.ok(&["wait", name, "--match", "begun"]);
}

/// It still does.
fn talks(instance: &Instance, name: &str, word: &str) {
    instance.ok(&["send", name, "--enter", word]);
    instance.ok(&["wait", name, "--match", &format!("got {word}")]);
}

fn status(instance: &Instance) -> Value {
    serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap()
}

fn set_aside(instance: &Instance) -> Vec<String> {
    let lines: Vec<String> = serde_json::from_value(status(instance)["set_aside"].clone()).unwrap();
    for line in &lines {
        assert!(instance.log.count(line) > 0, "{line}");
        assert!(instance.ok(&["status"]).contains(&format!("set aside    {line}\n")), "{line}");
    }
    lines
}

/// The line that says all of that is there; the others are not looked at.
fn tells(lines: &[String], parts: &[&str]) -> bool {
    lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

fn term(instance: &Instance, name: &str) -> Value {
    instance.ls().into_iter().find(|term| term["name"] == name).unwrap_or_else(|| panic!("no {name}: {:?}", instance.ls()))
}

fn raw(instance: &Instance, name: &str) -> String {
    instance.ok(&["history", name, "--format", "raw"])
}

fn aside_files(dir: &Path, beginning: &str) -> usize {
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning)).count()
}

fn null() -> fs::File {
    fs::File::open("/dev/null").unwrap()
}

#[test]
fn descriptors_that_are_not_what_they_are_called_are_closed_and_reported_once() {
    let instance = Instance::start();
    if !is_root() {
        return;
    }
    talker(&instance, "talker");
    let before = term(&instance, "talker");
    let tag = before["id"].as_u64().unwrap();
    store(&instance, "m901", null());
    store(&instance, "hello", null());
    store(&instance, "p902", null());
    store(&instance, "i903", null());
    // Beside what is good: that must stay.
    for name in [format!("m{tag}"), format!("p{tag}"), "j0".to_owned()] {
        store(&instance, &name, null());
    }
    store(&instance, &format!("p{tag}"), pidfd_open(getpid(), PidfdFlags::empty()).unwrap());
    instance.kill_supervisor();
    let lines = set_aside(&instance);
    for (name, why) in [
        ("m901", "it is no terminal"),
        ("hello", "nobody knows the name"),
        ("p902", "it is no process"),
        ("i903", "it is no input"),
        (&format!("m{tag}"), "it is no terminal"),
        (&format!("p{tag}"), "it is no process"),
        (&format!("p{tag}"), "its process is on another terminal"),
        ("j0", "it is no journal"),
    ] {
        assert!(tells(&lines, &[&format!("descriptor {name} "), why]), "{name}, {why}: {lines:#?}");
    }
    talks(&instance, "talker", "one");
    instance.kill_supervisor();
    assert!(!tells(&set_aside(&instance), &["901"]), "it was dropped");
    talks(&instance, "talker", "two");
    assert_eq!(term(&instance, "talker")["pid"], before["pid"]);
    assert_eq!(instance.ls().len(), 1);
}

#[test]
fn a_live_terminal_without_a_record_is_taken_in_and_its_id_is_not_given_again() {
    let instance = Instance::start();
    if !is_root() {
        return;
    }
    let foreign = Foreign::start("stty -echo; echo begun; while read x; do echo got $x; done");
    store(&instance, "m1e", &foreign.master);
    for _ in 0..2 {
        instance.kill_supervisor();
        let found = term(&instance, "recovered-50");
        assert_eq!((&found["pid"], &found["state"]), (&foreign.pid().into(), &"live".into()));
    }
    instance.ok(&["wait", "recovered-50", "--match", "begun"]);
    talks(&instance, "recovered-50", "one");
    instance.ok(&["new", "-d", "another", "--", "true"]);
    assert_eq!(term(&instance, "another")["id"], 51);
    assert!(instance.log.count("terminal 50 had no record and was taken back as recovered-50") == 1);
}

#[test]
fn of_two_terminals_under_one_name_neither_loses_its_child() {
    let instance = Instance::start();
    if !is_root() {
        return;
    }
    talker(&instance, "talker");
    let before = term(&instance, "talker");
    let foreign = Foreign::start("stty -echo; while read x; do echo got $x; done");
    store(&instance, &format!("m{}", before["id"]), &foreign.master);
    instance.kill_supervisor();
    let lines = set_aside(&instance);
    assert!(tells(&lines, &["two terminals named m1"]), "{lines:#?}");
    for word in ["one", "two"] {
        let listed = instance.ls();
        assert_eq!(listed.len(), 2, "{listed:?}");
        assert_eq!(term(&instance, "talker")["pid"], before["pid"]);
        assert_eq!(term(&instance, "recovered-2")["pid"], foreign.pid());
        talks(&instance, "talker", word);
        talks(&instance, "recovered-2", word);
        instance.kill_supervisor();
    }
    assert!(foreign.runs());
}

/// Journals that are damaged as a stray write would, of another kind altogether, and too short.
#[test]
fn a_torn_journal_is_set_aside_and_terminals_go_on_behind_a_gap() {
    let instance = Instance::start();
    if !is_root() {
        return;
    }
    let names = ["a", "b", "c", "d"];
    names.iter().for_each(|name| talker(&instance, name));
    instance.ok(&["new", "-d", "e", "--no-log", "--", "sh", "-c", "seq 1 30000; echo shown; exec sleep 1000"]);
    instance.ok(&["wait", "e", "--match", "shown"]);
    let pids: Vec<_> = instance.ls().iter().map(|term| term["pid"].clone()).collect();
    let begun = (names.len() * "begun\r\n".len()) as u64;
    support::spin_until("the log", || status(&instance)["log"]["logged_bytes"].as_u64() >= Some(begun));
    let lanes = status(&instance)["lanes"].as_array().unwrap().len() - 1;
    let garbage = memfd_create("garbage", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&garbage, &[0x5a; 100_000], 0).unwrap();
    let short = memfd_create("short", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&short, b"kavaljnl", 0).unwrap();
    let offsets = || -> Vec<u64> { instance.ls().iter().map(|term| term["offset"].as_u64().unwrap()).collect() };
    for (round, kind) in ["damaged", "foreign", "short", "gone"].into_iter().enumerate() {
        let before = offsets();
        for lane in 0..lanes {
            let name = format!("j{lane}");
            match kind {
                "damaged" => damage_journals(&instance),
                "foreign" => {
                    remove(&instance, &name);
                    store(&instance, &name, &garbage);
                }
                "short" => {
                    remove(&instance, &name);
                    store(&instance, &name, &short);
                }
                _ => remove(&instance, &name),
            }
        }
        instance.kill_supervisor();
        let lines = set_aside(&instance);
        assert!((0..lanes).all(|lane| tells(&lines, &[&format!("journal {lane} ")])), "{kind}: {lines:#?}");
        assert_eq!(instance.ls().iter().map(|term| term["pid"].clone()).collect::<Vec<_>>(), pids, "{kind}");
        assert!(offsets()[4] > before[4], "{kind}: an offset is given twice of what is not logged");
        assert!(names.iter().all(|name| instance.ok(&["screen", name]).starts_with("begun\n")), "{kind}: screens are gone");
        let word = format!("round{round}");
        names.iter().for_each(|name| talks(&instance, name, &word));
        assert!(offsets().iter().zip(&before).all(|(now, before)| now > before), "{kind}: an offset was given twice");
        instance.kill_supervisor();
        names.iter().for_each(|name| assert!(raw(&instance, name).contains(&format!("got {word}")), "{kind}, {name}"));
    }
    let aside: Vec<_> =
        (0..lanes).map(|lane| aside_files(&instance.state_dir(), &format!("journal-{lane}.damaged-"))).collect();
    let expected = (0..lanes).map(|lane| if 5 % lanes == lane { 0 } else { 2 });
    assert!(
        aside.iter().copied().eq(expected),
        "of garbage, and of what was damaged, but where something is not logged: {aside:?}"
    );
}

/// Writes over the first record of every journal.
fn damage_journals(instance: &Instance) {
    let pid = instance.supervisor_pid().unwrap().as_raw_nonzero();
    let fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| entry.path()).collect();
    for fd in fds.iter().filter(|fd| fs::read_link(fd).is_ok_and(|link| link.to_string_lossy().contains("kaval-journal"))) {
        fs::OpenOptions::new().write(true).open(fd).unwrap().write_all_at(&[0xff; 64], 4104).unwrap();
    }
}

#[test]
fn a_record_that_cannot_be_used_is_set_aside_and_its_terminal_lives_on() {
    let instance = Instance::start();
    talker(&instance, "broken");
    talker(&instance, "whole");
    instance.ok(&["rename", "broken", "other"]);
    let before = term(&instance, "other");
    change_state(&instance, |state| {
        let key = format!("term/{:010}", before["id"].as_u64().unwrap()).into_bytes();
        database(state).tree("manifest").write_through(vec![(key, Some(vec![0xc1, 2, 3]))]).unwrap();
    });
    let lines = set_aside(&instance);
    assert!(
        tells(&lines, &["record term/0000000001 cannot be used and is set aside as set-aside/term/0000000001"]),
        "{lines:#?}"
    );
    assert!(tells(&lines, &["terminal 1 had no record and was taken back as broken"]), "{lines:#?}");
    assert_eq!(term(&instance, "broken")["pid"], before["pid"]);
    talks(&instance, "broken", "one");
    talks(&instance, "whole", "one");
    assert!(raw(&instance, "broken").starts_with("begun"), "its log is still its own");
}

/// The backup knows one terminal as it was, one otherwise, and one not at all; one that it knows is gone.
#[test]
fn state_from_an_old_backup_ends_no_child_and_forgets_no_id() {
    let instance = Instance::start();
    talker(&instance, "early");
    talker(&instance, "misjudged");
    talker(&instance, "brief");
    let backup = instance.path("backup");
    change_state(&instance, |state| copy(&state.join("store"), &backup));
    talks(&instance, "early", "since");
    instance.ok(&["kill", "brief"]);
    instance.ok(&["wait", "brief", "--exit"]);
    talker(&instance, "late");
    let before: Vec<_> = ["early", "misjudged", "late"].map(|name| term(&instance, name)["pid"].clone()).into();
    change_state(&instance, |state| {
        fs::remove_dir_all(state.join("store")).unwrap();
        copy(&backup, &state.join("store"));
        let database = database(state);
        let manifest = Manifest::open(&database).unwrap();
        let record = manifest.load(&Findings::default()).unwrap().remove(&TermId(2)).unwrap();
        manifest.put(&Record { state: State::Exited(Exit::Code(7)), ..record }).unwrap();
    });
    let lines = set_aside(&instance);
    assert!(tells(&lines, &["terminal 2 (misjudged) is recorded as ended, and lives"]), "{lines:#?}");
    assert!(tells(&lines, &["terminal 4 had no record and was taken back as late"]), "{lines:#?}");
    assert_eq!(["early", "misjudged", "late"].map(|name| term(&instance, name)["pid"].clone()).to_vec(), before);
    assert_eq!(term(&instance, "brief")["state"], "lost");
    assert!(raw(&instance, "brief").starts_with("begun"));
    for name in ["early", "misjudged", "late"] {
        talks(&instance, name, "on");
        let text = raw(&instance, name);
        assert!(text.starts_with("begun") && text.ends_with("got on\r\n"), "{name}: {text:?}");
    }
    assert_eq!(raw(&instance, "early"), "begun\r\ngot since\r\ngot on\r\n");
    instance.ok(&["new", "-d", "new", "--", "true"]);
    assert_eq!(term(&instance, "new")["id"], 5);
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn state_from_another_machine_is_read_and_nothing_of_it_is_taken_to_run() {
    let there = Instance::start();
    talker(&there, "moved");
    talks(&there, "moved", "there");
    let (left, dir) = (there.end(), Instance::fresh_dir());
    copy(&left.path().join("state"), &dir.path().join("state"));
    let here = Instance::start_in(dir, "", &[], &[]);
    assert_eq!(term(&here, "moved")["state"], "lost");
    assert_eq!(raw(&here, "moved"), "begun\r\ngot there\r\n");
    here.ok(&["new", "-d", "next", "--", "true"]);
    assert_eq!(term(&here, "next")["id"], 2);
}

/// The other machine's terminal has the same number as the one that runs here.
#[test]
fn state_from_another_machine_put_under_terminals_that_run_is_not_taken_for_theirs() {
    let there = Instance::start();
    talker(&there, "theirs");
    talks(&there, "theirs", "there");
    let left = there.end();
    let here = Instance::start();
    talker(&here, "ours");
    let pid = term(&here, "ours")["pid"].clone();
    change_state(&here, |state| {
        fs::remove_dir_all(state.join("store")).unwrap();
        copy(&left.path().join("state/kaval/store"), &state.join("store"));
    });
    assert!(tells(&set_aside(&here), &["the store is another's", "set aside as", "store.foreign-"]), "{:?}", set_aside(&here));
    assert_eq!(aside_files(&here.state_dir(), "store.foreign-"), 1);
    assert_eq!((here.ls().len(), &term(&here, "ours")["pid"]), (1, &pid));
    talks(&here, "ours", "here");
    assert_eq!(raw(&here, "ours"), "begun\r\ngot here\r\n");
    here.kill_supervisor();
    assert_eq!(set_aside(&here), Vec::<String>::new());
    assert_eq!(raw(&here, "ours"), "begun\r\ngot here\r\n");
}

#[test]
fn a_store_deleted_under_a_supervisor_is_written_anew_and_nobody_notices() {
    let instance = Instance::start();
    talker(&instance, "talker");
    talks(&instance, "talker", "before");
    let supervisor = instance.supervisor_pid();
    for (round, path) in [instance.state_dir().join("store"), instance.state_dir()].into_iter().enumerate() {
        fs::remove_dir_all(&path).unwrap();
        instance.log.await_count("the store was deleted or replaced while it was in use", round + 1);
        talks(&instance, "talker", &format!("after{round}"));
        instance.ok(&["new", "-d", &format!("t{round}"), "--", "true"]);
        instance.ok(&["wait", &format!("t{round}"), "--exit"]);
    }
    assert_eq!(status(&instance)["set_aside"].as_array().unwrap().len(), 2);
    assert_eq!(status(&instance)["pid"], supervisor.unwrap().as_raw_nonzero().get());
    assert_eq!(status(&instance)["log"]["faulty"], false);
    let again = Instance::start_in(instance.end(), "", &[], &[]);
    let names: Vec<_> = again.ls().iter().map(|term| (term["name"].clone(), term["state"].clone())).collect();
    assert_eq!(
        names,
        [("talker", "lost"), ("t0", "exited"), ("t1", "exited")].map(|(name, state)| (name.into(), state.into()))
    );
    assert_eq!(raw(&again, "talker"), "begun\r\ngot before\r\ngot after0\r\ngot after1\r\n");
}

/// A file system of memory, mounted where an instance keeps its state.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn at(path: std::path::PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1g,mode=700", "kaval-test"]).arg(&path).output();
        mounted.ok()?.status.success().then_some(Self(path))
    }

    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_read_only_file_system_the_start_fails_with_one_clear_line_and_works_once_it_is_writable() {
    let dir = Instance::fresh_dir();
    let Some(disk) = Mounted::at(dir.path().join("state")) else {
        return println!("skipped: a file system can be mounted only by root");
    };
    let instance = Instance::start_in(dir, "", &[], &[]);
    talker(&instance, "talker");
    let doctor: Vec<Value> = serde_json::from_str(&instance.ok(&["doctor", "--json"])).unwrap();
    let found = doctor.iter().find(|check| check["check"] == "disk").unwrap();
    assert!(found["verdict"] == "warn" && found["found"].as_str().unwrap().contains("in memory"), "{found}");
    let dir = instance.end();
    disk.remount("ro");
    let output = support::command_in(dir.path()).args(["serve", "--metrics", "off"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let own: Vec<_> = said.lines().filter(|line| line.starts_with("kaval: ")).collect();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(own.len() == 1 && own[0].contains("is on a read-only file system: make it writable"), "{said}");
    disk.remount("rw");
    let instance = Instance::start_in(dir, "", &[], &[]);
    assert_eq!(term(&instance, "talker")["state"], "lost");
    drop(instance.end());
}
