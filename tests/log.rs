//! The log on disk, with a real supervisor: what is there when everything else is gone, and what a disk that fails costs.

#[path = "support/feeding.rs"]
mod feeding;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use feeding::change_state;
use kaval::{
    client::{Incoming, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, Event, HistoryFormat, Op},
};
use rustix::process::{Signal, kill_process};
use support::{Instance, example};
use tempfile::TempDir;

/// A journal that forgets soon.
const SMALL_JOURNAL: &str = "[journal]\nbytes_max = \"16MiB\"\n[log]\nsync = \"50ms\"\n";

/// History as it arrives: pieces of output, each with its offset.
fn pieces(instance: &Instance, name: &str) -> Vec<(u64, Vec<u8>)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = instance.client().await;
        let stream = client
            .request(Op::History { term: name.into(), format: HistoryFormat::Raw, from: 0, to: None, tail: None, timed: false })
            .await
            .unwrap();
        let mut pieces = Vec::new();
        loop {
            match client.next().await.unwrap() {
                Incoming::Event(Event::Output { data, offset, .. }) => pieces.push((offset, data.0.to_vec())),
                Incoming::Event(Event::End { req }) if req == stream => return pieces,
                Incoming::Ok { .. } | Incoming::Event(_) => {}
                Incoming::Err { error, .. } => panic!("{error}"),
            }
        }
    })
}

/// Bytes that are missing between the pieces; everything else must be as the child wrote it.
fn missing(pieces: &[(u64, Vec<u8>)], record: &[u8]) -> u64 {
    let (mut next, mut missing) = (0, 0);
    for (offset, bytes) in pieces {
        assert!(*offset >= next, "output at {offset} overlaps");
        assert!(record[*offset as usize..][..bytes.len()] == bytes[..], "the output at {offset} is not what was written");
        missing += offset - next;
        next = offset + bytes.len() as u64;
    }
    missing + record.len() as u64 - next
}

/// Starts a child that keeps a record of what it writes.
fn emit(instance: &Instance, mode: &str, name: &str) -> PathBuf {
    let (emitter, record, stop) = (example("emitter"), instance.path(&format!("record-{name}")), instance.path("stop"));
    let paths = [&emitter, &record, &stop].map(|path| path.to_string_lossy().into_owned());
    instance.ok(&["new", "-d", name, "--", &paths[0], mode, "7", &paths[1], &paths[2], "0"]);
    record
}

fn written(record: &Path) -> u64 {
    fs::metadata(record).map_or(0, |metadata| metadata.len())
}

fn await_written(record: &Path, more: u64) {
    let from = written(record);
    support::spin_until("the child to write on", || written(record) >= from + more);
}

#[test]
fn what_a_terminal_showed_and_put_out_is_there_when_everything_else_is_gone() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    instance.ok(&["new", "-d", "count", "--", "seq", "1", "300000"]);
    instance.ok(&["new", "-d", "still", "--size", "40x5", "--", "sh", "-c", "printf 'a\\nb\\nc'; exec sleep 1000"]);
    instance.ok(&["wait", "count", "--exit"]);
    instance.ok(&["wait", "still", "--match", "c"]);
    let (screen, expected) = (instance.ok(&["screen", "count"]), (1..=300_000).map(|n| format!("{n}\r\n")).collect::<String>());
    let again = Instance::start_in(instance.end(), SMALL_JOURNAL, &[], &[]);
    let history: Vec<u8> = pieces(&again, "count").into_iter().flat_map(|piece| piece.1).collect();
    assert!(history == expected.as_bytes(), "{} bytes of {}", history.len(), expected.len());
    assert_eq!(again.ok(&["screen", "count"]), screen);
    assert_eq!(again.ok(&["screen", "still"]).trim_end(), "a\nb\nc");
    let listed = again.ls();
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"exited".into(), &"lost".into()));
    assert_eq!(listed[0]["offset"], expected.len());
    again.ok(&["rm", "count"]);
    again.fails(&["history", "count"], 3);
}

/// The journal has long let go of what it is sent from disk, and goes on with what comes.
#[test]
fn a_client_that_resumes_from_the_first_byte_gets_every_one() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    let record = emit(&instance, "flood", "flood");
    await_written(&record, 34 << 20);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (socket, from) = (instance.socket(), AttachFrom::Offset(0));
    let received = runtime.block_on(async {
        let options = SessionOptions { socket, term: "flood".into(), mode: AttachMode::Ro, size: None, from };
        let (mut session, mut received) = (Session::attach(options).await.unwrap(), Vec::new());
        loop {
            match session.next().await.unwrap() {
                Update::Output { offset, data } => {
                    assert_eq!(offset, received.len() as u64);
                    received.extend_from_slice(&data);
                    if received.len() > 35 << 20 {
                        fs::write(instance.path("stop"), "").unwrap();
                    }
                }
                Update::Exited(_) => return received,
                Update::Screen { .. } | Update::Resized { .. } | Update::Lost => {}
                other => panic!("{other:?} after {}", received.len()),
            }
        }
    });
    assert!(received == fs::read(record).unwrap(), "{} bytes were received", received.len());
}

#[test]
fn a_terminal_that_is_not_logged_leaves_nothing_on_disk() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    instance.ok(&["new", "-d", "secret", "--no-log", "--", "sh", "-c", "printf ses; echo ame; exec sleep 1000"]);
    instance.ok(&["wait", "secret", "--match", "sesame"]);
    assert_eq!(missing(&pieces(&instance, "secret"), b"sesame\r\n"), 0);
    instance.kill_supervisor();
    assert_eq!(missing(&pieces(&instance, "secret"), b"sesame\r\n"), 0, "memory has it, also over a kill");
    let again = Instance::start_in(instance.end(), SMALL_JOURNAL, &[], &[]);
    assert_eq!(pieces(&again, "secret"), []);
    let database = fs::read(again.path("state/kaval/store/db")).unwrap();
    assert!(!database.windows(6).any(|window| window == b"sesame"), "the output is in the database");
}

/// A small file system, in the place of an instance's state.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &TempDir, size: &str) -> Option<Self> {
        let path = dir.path().join("state");
        fs::create_dir_all(&path).unwrap();
        let option = format!("size={size},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "kaval-test"]).arg(&path).output();
        mounted.ok()?.status.success().then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_a_gap_of_known_length_and_logging_resumes_by_itself() {
    let dir = tempfile::Builder::new().prefix("kaval-test-").tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir, "80m") else {
        return eprintln!("skipped: a small disk can be mounted only by root");
    };
    let instance = Instance::start_in(dir, SMALL_JOURNAL, &[], &[]);
    let count = emit(&instance, "count", "count");
    await_written(&count, 1 << 10);
    let filler = disk.0.join("filler");
    let free = || rustix::fs::statvfs(&disk.0).map(|stat| stat.f_bavail * stat.f_frsize).unwrap();
    fs::write(&filler, vec![0; free() as usize - (4 << 20)]).unwrap();
    instance.log.await_count("the log stands still", 1);
    // More than the journal holds: the pty goes on, and something is lost.
    let flood = emit(&instance, "flood", "flood");
    await_written(&flood, 24 << 20);
    await_written(&count, 1);
    fs::remove_file(&filler).unwrap();
    instance.log.await_count("the log goes on", 1);
    fs::write(instance.path("stop"), "").unwrap();
    for (name, record, loses) in [("flood", flood, true), ("count", count, false)] {
        instance.ok(&["wait", name, "--exit"]);
        let missing = missing(&pieces(&instance, name), &fs::read(record).unwrap());
        assert!(missing > 0 || !loses, "{name} lost nothing");
        let declared = instance.log.lines().iter().filter(|line| line.contains("missing from the log")).count();
        assert!(declared > 0 && missing < 60 << 20, "{missing} bytes of {name} are missing");
    }
    drop(instance.end());
}

/// A terminal whose child has shown a mark, and goes on to show others when it is typed to.
fn talker(instance: &Instance) {
    instance.ok(&[
        "new",
        "-d",
        "talker",
        "--cwd",
        "/",
        "--",
        "sh",
        "-c",
        "stty -echo; echo begun; while read x; do echo got $x; done",
    ]);
    instance.ok(&["wait", "talker", "--match", "begun"]);
}

fn store(instance: &Instance) -> PathBuf {
    instance.path("state/kaval/store")
}

fn set_aside(instance: &Instance) -> usize {
    let entries = fs::read_dir(instance.path("state/kaval")).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("store.damaged-")).count()
}

#[test]
fn a_store_that_does_not_open_is_set_aside_and_terminals_live_on() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    talker(&instance);
    let pid = instance.ls()[0]["pid"].clone();
    // What a torn file system may leave: the right files, with the wrong things in them.
    let db = store(&instance).join("db");
    let garbage: Vec<u8> = fs::read(&db).unwrap().iter().map(|byte| byte ^ 0x55).collect();
    fs::write(&db, garbage).unwrap();
    instance.kill_supervisor();
    assert_eq!(set_aside(&instance), 1, "{:?}", instance.log.lines());
    instance.ok(&["send", "talker", "--enter", "one"]);
    instance.ok(&["wait", "talker", "--match", "got one"]);
    let listed = &instance.ls()[0];
    assert_eq!((&listed["name"], &listed["pid"], &listed["state"]), (&"talker".into(), &pid, &"live".into()));
    instance.ok(&["new", "-d", "another", "--", "true"]);
    assert_ne!(instance.ls()[1]["id"], listed["id"]);
}

#[test]
fn terminals_taken_back_without_their_records_keep_what_they_were_told_to_keep_off_disk_and_their_ids() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    let name = || "talker".to_owned();
    talker(&instance);
    instance.ok(&["rename", "talker", "renamed"]);
    talker(&instance);
    instance.ok(&["new", "-d", "secret", "--no-log", "--", "sh", "-c", "stty -echo; read x; echo ses$x; exec sleep 1000"]);
    instance.ok(&["new", "-d", "ended", "--", "true"]);
    instance.ok(&["wait", "ended", "--exit"]);
    let before: Vec<_> = instance.ls().iter().map(|term| term["id"].as_u64().unwrap()).collect();
    // It would write the store anew before it is killed.
    kill_process(instance.supervisor_pid().unwrap(), Signal::STOP).unwrap();
    fs::remove_dir_all(store(&instance)).unwrap();
    instance.kill_supervisor();
    let names: Vec<String> = instance.ls().iter().map(|term| term["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, [name(), format!("recovered-{}", before[1]), "secret".to_owned()], "both were begun as talker");
    instance.ok(&["new", "-d", "another", "--", "true"]);
    let another = instance.ls().last().unwrap()["id"].as_u64().unwrap();
    assert!(another > before[3], "{another} was another terminal's, which the journal still knows: {before:?}");
    instance.ok(&["send", "secret", "--enter", "ame"]);
    instance.ok(&["wait", "secret", "--match", "sesame"]);
    let again = Instance::start_in(instance.end(), SMALL_JOURNAL, &[], &[]);
    assert_eq!(pieces(&again, "secret"), []);
}

#[test]
fn a_store_cut_short_or_gone_under_a_supervisor_that_is_killed_leaves_terminals_unharmed() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    talker(&instance);
    for (round, harm) in [
        |db: &Path| fs::write(db, &fs::read(db).unwrap()[..300]).unwrap(),
        |db: &Path| {
            fs::remove_dir_all(db.parent().unwrap()).unwrap();
        },
    ]
    .into_iter()
    .enumerate()
    {
        harm(&store(&instance).join("db"));
        instance.kill_supervisor();
        instance.ok(&["send", "talker", "--enter", &format!("round {round}")]);
        instance.ok(&["wait", "talker", "--match", &format!("got round {round}")]);
        let history: Vec<u8> = pieces(&instance, "talker").into_iter().flat_map(|piece| piece.1).collect();
        let text = String::from_utf8(history).unwrap();
        assert!(text.starts_with("begun") && text.contains(&format!("got round {round}")), "{text:?}");
    }
}

#[test]
fn what_neither_an_old_backup_nor_the_journal_has_is_a_gap_of_known_length() {
    let instance = Instance::start_with(SMALL_JOURNAL, &[]);
    let record = emit(&instance, "flood", "flood");
    await_written(&record, 1 << 20);
    let (store, backup) = (store(&instance), instance.path("backup"));
    let copy = |from: &Path, to: &Path| assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    change_state(&instance, |_| copy(&store, &backup));
    await_written(&record, 32 << 20);
    change_state(&instance, |_| {
        fs::remove_dir_all(&store).unwrap();
        copy(&backup, &store);
    });
    instance.log.await_count("output is missing from the log", 1);
    fs::write(instance.path("stop"), "").unwrap();
    instance.ok(&["wait", "flood", "--exit"]);
    let missing = missing(&pieces(&instance, "flood"), &fs::read(record).unwrap());
    assert!(missing > 1 << 20 && missing < 60 << 20, "{missing} bytes are missing");
}
