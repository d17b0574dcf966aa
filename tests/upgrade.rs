//! `kaval upgrade`: another supervisor takes over and nobody notices; what cannot is refused, or undone; state of a newer format stays as
//! it is.

#[path = "support/subjects.rs"]
mod subjects;
mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use kaval::{
    client::{SessionOptions, Update},
    wire::{AttachFrom, AttachMode, ExitInfo},
};
use kaval_actors::{log::store::Store, supervisor::manifest::FORMAT};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use subjects::{attach, create_subjects, history, watch};
use support::{Instance, KAVAL, PATIENCE, example, soak};

/// Room for everything that is written: nothing may be dropped for want of it.
const ROOMY: &str = "[journal]\nbytes_max = \"1GiB\"\n";

/// A copy of kaval, in place of what is there. Made by another process: a descriptor that this one has open for writing may be inherited by
/// what another test forks, and the file could not be executed then.
fn install(path: &Path) {
    let new = path.with_extension("new");
    assert!(Command::new("cp").args([Path::new(KAVAL), &new]).status().unwrap().success());
    fs::rename(new, path).unwrap();
}

/// A shell script that says what kaval says of its formats, and does something else when it is to serve.
fn impostor(path: &Path, formats: &str, serve: &str) {
    let text = format!("#!/bin/sh\ncase $1 in formats) {formats} ;; esac\n{serve}\n");
    let write = "printf '%s' \"$1\" >\"$2\" && chmod +x \"$2\"";
    assert!(Command::new("sh").args(["-c", write, "sh", &text]).arg(path).status().unwrap().success());
}

fn honest() -> String {
    format!("exec '{KAVAL}' formats")
}

/// What the supervisor's process was started from.
fn runs_from(instance: &Instance) -> PathBuf {
    fs::read_link(format!("/proc/{}/exe", instance.supervisor_pid().unwrap())).unwrap()
}

fn status(instance: &Instance) -> Value {
    serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn upgrades_cost_no_byte_and_attached_clients_go_on() {
    let instance = Instance::start_with(ROOMY, &[]);
    let modes = ["flood", "flood", "count", "count", "trickle", "trickle"];
    let subjects = create_subjects(&modes, &example("emitter"), instance.dir(), |args| _ = instance.ok(args));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let watching: Vec<_> =
        subjects.iter().map(|subject| runtime.spawn(watch(instance.socket(), subject.name.clone()))).collect();
    let file = [instance.path("kaval-0"), instance.path("kaval-1")];
    for n in 0..if soak() { 100 } else { 8 } {
        let boot = status(&instance)["boot"].clone();
        let path = &file[n / 2 % 2];
        install(path);
        // The other file, and then the same one, which is another by now.
        let args = if n % 2 == 0 { vec!["upgrade", "--binary", text(path)] } else { vec!["upgrade"] };
        let said = instance.ok(&args);
        let expected = format!("upgraded: {0} → {0}, 6 terminals kept, away for ", env!("CARGO_PKG_VERSION"));
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(&runs_from(&instance), path);
        let now = status(&instance);
        assert!(now["boot"] != boot && now["previous_end"] == "clean" && now["upgrade_undone"].is_null(), "{now}");
        println!("{}", said.trim_end());
        let away: u64 = said.trim_end().rsplit(' ').nth(1).unwrap().parse().unwrap();
        assert!(away < 10_000, "nobody answered for {away} ms");
    }
    fs::write(instance.path("stop"), "").unwrap();
    for (subject, watching) in subjects.iter().zip(watching) {
        let received = runtime.block_on(async { tokio::time::timeout(PATIENCE, watching).await }).expect("an end").unwrap();
        let record = fs::read(&subject.record).unwrap();
        let (floor, history) = runtime.block_on(history(&instance.socket(), &subject.name));
        assert_eq!((floor, received.lags, received.exit), (0, 0, Some(ExitInfo::Code(subject.exit))), "{}", subject.name);
        assert!(
            record == received.bytes && record == history,
            "{}: wrote {}, received {}, history {}",
            subject.name,
            record.len(),
            received.bytes.len(),
            history.len()
        );
    }
}

#[test]
fn without_a_terminal_an_upgrade_is_none_the_less_one() {
    let instance = Instance::start();
    let said = instance.ok(&["upgrade", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["from"], &said["to"]), (&env!("CARGO_PKG_VERSION").into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!((&said["live"], &said["boot"]), (&0.into(), &status(&instance)["boot"]));
    instance.ok(&["new", "-d", "t", "--", "sleep", "100000"]);
    assert!(instance.ok(&["upgrade"]).contains("1 terminal kept"));
}

#[test]
fn what_cannot_be_upgraded_to_is_refused_and_nothing_changes() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "sleep", "100000"]);
    let before = (status(&instance)["boot"].clone(), instance.supervisor_pid());
    let path = |name| instance.path(name);
    fs::write(path("plain"), "text").unwrap();
    impostor(&path("mute"), "exit 0", "exit 0");
    impostor(&path("fails"), "exit 3", "exit 3");
    let newer = r#"echo '{"kaval":"9.9.9","state":{"oldest":7,"newest":9},"journal":{"oldest":1,"newest":1}}'; exit 0"#;
    impostor(&path("newer"), newer, "exit 0");
    for (name, reason) in [
        ("absent", "No such file"),
        ("plain", "it is no executable file"),
        ("mute", "is it a kaval?"),
        ("fails", "exit status: 3): is it a kaval?"),
        ("newer", "is kaval 9.9.9, too old or too new for an upgrade: it reads state of the formats 7 to 9"),
    ] {
        let said = instance.fails(&["upgrade", "--binary", text(&path(name))], 1);
        assert!(said.contains(reason) && said.contains("nothing was changed"), "{name}: {said}");
    }
    assert_eq!((status(&instance)["boot"].clone(), instance.supervisor_pid()), before);
}

#[test]
fn where_nobody_would_start_the_next_one_there_is_no_upgrade() {
    let instance = Instance::start_with("", &["--no-keeper"]);
    let said = instance.fails(&["upgrade"], 1);
    assert!(said.contains("nothing would start it again"), "{said}");
    instance.ok(&["ls"]);
}

#[test]
fn an_upgrade_that_does_not_come_up_is_undone_and_said_so_until_one_succeeds() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = SessionOptions {
        socket: instance.socket(),
        term: "t".into(),
        mode: AttachMode::Rw,
        size: None,
        from: AttachFrom::Offset(0),
    };
    let mut session = runtime.block_on(attach(options));
    let bad = instance.path("bad");
    impostor(&bad, &honest(), "exit 3");
    let said = instance.fails(&["upgrade", "--binary", text(&bad)], 1);
    let reason = format!("{} exited with code 3 before it was ready", bad.display());
    assert!(said.contains(&format!("kaval {} is back: {reason}", env!("CARGO_PKG_VERSION"))), "{said}");
    let terms = instance.ls();
    assert_eq!((terms.len(), &terms[0]["state"]), (1, &"live".into()));

    let shows = |undone: &Value| {
        assert_eq!(&status(&instance)["upgrade_undone"], undone);
        instance.ok(&["status"])
    };
    assert!(shows(&reason.clone().into()).contains(&format!("upgrade      undone: {reason}")));
    instance.kill_supervisor();
    shows(&reason.clone().into());
    assert!(instance.log.count("an upgrade was undone") == 2, "{}", instance.log.lines().join("\n"));

    runtime.block_on(async {
        session.input("typed\n".into()).await;
        let mut shown = Vec::new();
        while !shown.ends_with(b"typed\r\ntyped\r\n") {
            match tokio::time::timeout(PATIENCE, session.next()).await.expect("an echo").unwrap() {
                Update::Output { offset, data } => {
                    assert_eq!(offset, shown.len() as u64);
                    shown.extend_from_slice(&data);
                }
                other => assert_eq!(other, Update::Lost),
            }
        }
    });
    let good = instance.path("good");
    install(&good);
    instance.ok(&["upgrade", "--binary", text(&good)]);
    assert!(!shows(&Value::Null).contains("undone"));
}

#[test]
fn a_file_that_is_broken_or_gone_by_the_next_crash_does_not_keep_terminals_away() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "sleep", "100000"]);
    let file = instance.path("kaval");
    install(&file);
    instance.ok(&["upgrade", "--binary", text(&file)]);
    fs::remove_file(&file).unwrap();
    instance.kill_supervisor();
    assert_eq!(runs_from(&instance), PathBuf::from(format!("{} (deleted)", file.display())));
    let comm = fs::read_to_string(format!("/proc/{}/comm", instance.supervisor_pid().unwrap())).unwrap();
    assert_eq!(comm, "kaval\n");
    // Children are started from the image as well.
    instance.ok(&["new", "-d", "u", "--", "sleep", "100000"]);
    impostor(&file, &honest(), "exit 3");
    instance.kill_supervisor();
    assert_eq!(status(&instance)["upgrade_undone"], format!("{} exited with code 3 before it was ready", file.display()));
    assert_eq!(instance.ls().iter().filter(|term| term["state"] == "live").count(), 2);
    // Mended, it is what an upgrade starts.
    install(&file);
    instance.ok(&["upgrade"]);
    assert_eq!(runs_from(&instance), file);
}

/// Every file of a directory, with what is in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read =
        |path: PathBuf| if path.is_dir() { contents(&path) } else { BTreeMap::from([(path.clone(), fs::read(path).unwrap())]) };
    entries.flat_map(read).collect()
}

#[test]
fn a_state_directory_of_a_newer_format_is_refused_and_not_touched() {
    let mut instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "echo", "kept"]);
    instance.ok(&["wait", "t", "--exit"]);
    assert_eq!(instance.stop(), Some(0));
    let (state, format) = (instance.state_dir(), instance.state_dir().join("format"));
    let (own, newer) = (format!("{FORMAT}\n"), format!("{}\n", FORMAT + 1));
    assert_eq!(fs::read_to_string(&format).unwrap(), own);
    fs::write(&format, &newer).unwrap();
    let before = contents(&state);
    for args in [&["serve"][..], &["serve", "--no-keeper"]] {
        let output = instance.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(format!("has format {newer}").trim_end()) && said.contains(": nothing was changed"), "{said}");
        assert_eq!(output.status.code(), Some(1));
        assert!(contents(&state) == before, "something was changed");
    }
    fs::write(&format, &own).unwrap();

    // The database says so as well.
    let number = |format: u32| {
        let store = Store::open(&state.join("store")).unwrap();
        store.tree("manifest").write_through(vec![(b"format".to_vec(), Some(format.to_be_bytes().to_vec()))]).unwrap();
    };
    number(FORMAT + 1);
    let output = instance.run(&["serve", "--no-keeper"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("the manifest has format {}", FORMAT + 1)), "{said}");
    let aside = |path: &PathBuf| path.to_string_lossy().contains("damaged");
    assert!(output.status.code() == Some(1) && !contents(&state).keys().any(aside));
    number(FORMAT);
    instance.start_again();
    assert_eq!(instance.ok(&["history", "t"]), "kept\n");
}

/// The keeper's copies of journals.
fn journals(keeper: Pid) -> Vec<File> {
    let entries = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let is_journal =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("kaval-journal"));
    entries.filter(is_journal).map(|path| File::options().read(true).write(true).open(path).unwrap()).collect()
}

#[test]
fn a_journal_of_a_newer_format_is_refused_and_kept_until_somebody_reads_it() {
    /// Where a journal says which format it has.
    const FORMAT_AT: u64 = 8;
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "sh", "-c", "echo before; read x; echo after"]);
    instance.ok(&["wait", "t", "--match", "before"]);
    let journals = journals(instance.keeper_pid());
    let number =
        |format: u64| journals.iter().for_each(|journal| journal.write_all_at(&format.to_ne_bytes(), FORMAT_AT).unwrap());
    number(2);
    kill_process(instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
    // Again and again, as a terminal is held.
    instance.log.await_count("a journal that was kept has format 2", 3);
    let ready = instance.log.count(" INFO ready ");
    number(1);
    instance.log.await_count(" INFO ready ", ready + 1);
    instance.ok(&["send", "t", "--enter", "x"]);
    instance.ok(&["wait", "t", "--exit"]);
    assert_eq!(instance.ok(&["history", "t"]), "before\nx\nafter\n");
}

#[test]
fn watchers_of_events_hear_of_an_upgrade_that_was_undone() {
    let instance = Instance::start();
    let bad = instance.path("bad");
    impostor(&bad, &honest(), "exit 3");
    let said = instance.fails(&["upgrade", "--binary", text(&bad)], 1);
    assert!(said.contains("is back"), "{said}");
    let mut events = instance.command(&["events", "--from", "0"]);
    let mut events = events.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(events.stdout.take().unwrap()));
    let mut lines = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let undone = lines.find(|event| event["kind"] == "upgrade-undone").expect("an event");
    assert_eq!(undone["reason"], format!("{} exited with code 3 before it was ready", bad.display()));
    events.kill().unwrap();
    events.wait().unwrap();
}

/// What a supervisor of format 1 left behind: `ended` wrote 24,000 lines and a hundred in bold red and ended with 3, its log has a checkpoint;
/// `live` (2) saved a cursor, wrote 60,000 lines and `begun`, and its journal has a checkpoint.
#[test]
fn what_the_previous_format_left_is_adopted_to_the_last_byte_and_colour() {
    let dir = Instance::fresh_dir();
    let left = dir.path().join("left");
    fs::create_dir_all(&left).unwrap();
    fs::create_dir_all(dir.path().join("run")).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.tar.gz");
    assert!(Command::new("tar").arg("xzf").arg(fixture).arg("-C").arg(&left).status().unwrap().success());
    fs::create_dir_all(dir.path().join("state")).unwrap();
    fs::rename(left.join("state"), dir.path().join("state/kaval")).unwrap();
    let instance = Instance::start_upon(dir, &left);

    let terms = instance.ls();
    let seen: Vec<_> = terms.iter().map(|term| ["name", "state", "exit", "offset"].map(|key| term[key].clone())).collect();
    assert_eq!(json!(seen), json!([["ended", "exited", {"code": 3}, 432_412], ["live", "live", null, 1_380_034]]));
    let ended = "one line of many\r\n".repeat(24_000) + &(1..=100).map(|n| format!("{n}\r\n")).collect::<String>();
    let wrote = instance.ok(&["history", "ended", "--format", "raw"]);
    assert!(wrote == format!("\x1b[1;31m{ended}\x1b]0;done\x07\x1b[0m"), "{} bytes", wrote.len());
    let live = format!("\x1b[38;2;1;2;3;1m\x1b7\x1b[48;5;20m{}begun\r\n", "a line of no interest\r\n".repeat(60_000));
    assert!(instance.ok(&["history", "live", "--format", "raw"]) == live);

    let cell =
        |screen: &Value, row: usize, col: usize| json!(["t", "fg", "bg", "bold"].map(|key| &screen["cells"][row][col][key]));
    let screen = |name: &str| serde_json::from_str::<Value>(&instance.ok(&["screen", name, "--format", "json"])).unwrap();
    let shown = screen("ended");
    assert_eq!(json!([shown["title"], shown["lines"][22]]), json!(["done", "100"]));
    assert_eq!(cell(&shown, 22, 0), json!(["1", 1, null, true]));

    // Its pen, and the pen that it saved, are those of the checkpoint.
    let mut screens = Vec::new();
    for line in ["one", "\x1b8two"] {
        instance.ok(&["send", "live", "--enter", line]);
        instance.ok(&["wait", "live", "--match", line.trim_start_matches("\x1b8")]);
        screens.push(screen("live"));
    }
    assert_eq!(cell(&screens[0], 23, 0), json!(["g", "#010203", 20, true]));
    assert_eq!(cell(&screens[1], 0, 0), json!(["t", "#010203", null, true]));
    let format = instance.state_dir().join("format");
    instance.kill_supervisor();
    assert_eq!(fs::read_to_string(format).unwrap(), format!("{FORMAT}\n"));
    assert_eq!(instance.ls()[1]["state"], "live");
}
