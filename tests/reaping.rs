//! Terminals that were idle for too long are hung up, and records of ended ones do not pile up.

#[path = "support/follower.rs"]
mod follower;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/subjects.rs"]
mod subjects;
mod support;
#[path = "support/watch.rs"]
mod watching;

use std::{fs, time::Duration};

use follower::Follower;
use kaval::{
    client::{Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, ExitInfo},
};
use serde_json::Value;
use subjects::attach;
use support::{Instance, PATIENCE};
use watching::until;

/// Long enough for a busy machine to bring the output of a busy terminal within it.
const IDLE_MS: u64 = 2500;
const NOTICE_MS: u64 = 1000;
const ON: &str = "[reap]\nidle_after = \"2500ms\"\nnotice = \"1s\"\n";
/// How far two clocks, and who writes down when by one of them, may be apart.
const SLACK_MS: u64 = 50;

/// A terminal that says a word, and nothing more.
fn idler(instance: &Instance, name: &str, args: &[&str]) {
    let command = ["--", "sh", "-c", "echo MARK; exec cat"];
    instance.ok(&[&["new", "-d", name], args, &command].concat());
    instance.ok(&["wait", name, "--match", "MARK"]);
}

fn term(instance: &Instance, name: &str) -> Option<Value> {
    instance.ls().into_iter().find(|term| term["name"] == name)
}

fn names(instance: &Instance) -> Vec<String> {
    instance.ls().iter().map(|term| term["name"].as_str().unwrap().to_owned()).collect()
}

fn configure(instance: &Instance, config: &str) {
    fs::write(instance.path("config/kaval/kaval.toml"), config).unwrap();
    instance.ok(&["reload"]);
}

/// The events so far up to the first of that kind on that terminal.
fn events(instance: &Instance, kind: &str, name: &str) -> Vec<Value> {
    Follower::start(instance, &["--from", "1"]).up_to(kind, name)
}

fn of<'a>(events: &'a [Value], kind: &str, name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["kind"] == kind && event["name"] == name).collect()
}

fn time(event: &Value) -> u64 {
    event["time"].as_u64().unwrap()
}

/// A client on a connection of its own.
struct Client {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

impl Client {
    fn attach(instance: &Instance, name: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (socket, term, from) = (instance.socket(), name.into(), AttachFrom::Screen);
        let session = runtime.block_on(attach(SessionOptions { socket, term, mode: AttachMode::Rw, size: None, from }));
        Self { runtime, session }
    }

    fn next(&mut self) -> Update {
        let next = async { tokio::time::timeout(PATIENCE, self.session.next()).await };
        self.runtime.block_on(next).expect("an update").unwrap()
    }

    fn type_in(&mut self, text: &'static str) {
        self.runtime.block_on(self.session.input(bytes::Bytes::from_static(text.as_bytes())));
    }

    /// What comes up to the first that is wanted, that included.
    fn up_to(&mut self, wanted: impl Fn(&Update) -> bool) -> Vec<Update> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| !wanted(last)) {
            seen.push(self.next());
        }
        seen
    }
}

fn warnings(updates: &[Update]) -> Vec<bool> {
    let told = |update: &Update| if let Update::Reaping { at } = update { Some(at.is_some()) } else { None };
    updates.iter().filter_map(told).collect()
}

#[test]
fn nothing_is_hung_up_unless_that_is_wanted() {
    let instance = Instance::start_with("[reap]\nnotice = \"1ms\"\n", &[]);
    idler(&instance, "kept", &[]);
    configure(&instance, "[reap]\nidle_after = \"1ms\"\nnotice = \"1ms\"\n");
    instance.ok(&["wait", "kept", "--exit"]);
    let told = events(&instance, "exited", "kept");
    assert_eq!(of(&told, "reap-notice", "kept").len(), 1);
}

#[test]
fn who_is_idle_is_warned_and_hung_up_though_watched_and_who_speaks_or_is_spoken_to_is_not() {
    let instance = Instance::start_with(ON, &[]);
    instance.ok(&["new", "-d", "speaks", "--", "sh", "-c", "while :; do echo tick; sleep 0.1; done"]);
    let listen = "stty -echo; echo MARK; while read line; do :; done";
    instance.ok(&["new", "-d", "spoken-to", "--", "sh", "-c", listen]);
    instance.ok(&["wait", "spoken-to", "--match", "MARK"]);
    idler(&instance, "idle", &[]);
    let mut watcher = Client::attach(&instance, "idle");
    until("the end of the idle one", || {
        instance.ok(&["send", "spoken-to", "--enter", "word"]);
        // Looking at a screen is no use of the terminal.
        instance.ok(&["screen", "idle"]);
        term(&instance, "idle").unwrap()["state"] == "exited"
    });
    let told = events(&instance, "exited", "idle");
    let kinds = told.iter().filter(|event| event["name"] == "idle").map(|event| event["kind"].as_str().unwrap());
    let kinds: Vec<&str> = kinds.filter(|kind| !kind.ends_with("tached")).collect();
    assert_eq!(kinds, ["created", "reap-notice", "reaped", "exited"]);
    let (notice, end) = (of(&told, "reap-notice", "idle")[0], of(&told, "reaped", "idle")[0]);
    let (begun, warned) = (time(of(&told, "created", "idle")[0]), time(notice));
    assert!(time(end) + SLACK_MS >= begun + IDLE_MS && time(end) + SLACK_MS >= warned + NOTICE_MS, "{told:#?}");
    assert!(notice["at"].as_u64().unwrap().abs_diff(warned + NOTICE_MS) <= SLACK_MS, "{notice}");
    for name in ["speaks", "spoken-to"] {
        assert_eq!(term(&instance, name).unwrap()["state"], "live");
        assert_eq!(of(&told, "reap-notice", name).len(), 0, "{name}");
    }
    let seen = watcher.up_to(|update| matches!(update, Update::Exited(_)));
    assert_eq!((warnings(&seen), seen.last()), (vec![true], Some(&Update::Exited(ExitInfo::Signal(1)))));
}

#[test]
fn what_is_typed_after_the_warning_averts_it_for_all_who_watch() {
    let instance = Instance::start_with(ON, &[]);
    idler(&instance, "t", &[]);
    let (mut one, mut other) = (Client::attach(&instance, "t"), Client::attach(&instance, "t"));
    let is_warning = |update: &Update| matches!(update, Update::Reaping { at: Some(_) });
    one.up_to(is_warning);
    let mut late = Client::attach(&instance, "t");
    one.type_in("x");
    for client in [&mut one, &mut other, &mut late] {
        let seen = client.up_to(|update| matches!(update, Update::Exited(_)));
        let told = warnings(&seen);
        assert!(told.ends_with(&[false, true]) && told.iter().filter(|warned| !**warned).count() == 1, "{told:?}");
    }
    let told = events(&instance, "exited", "t");
    let reaping = told.iter().map(|event| event["kind"].as_str().unwrap()).filter(|kind| kind.starts_with("reap"));
    assert_eq!(reaping.collect::<Vec<_>>(), ["reap-notice", "reap-averted", "reap-notice", "reaped"]);
    let (averted, end) = (of(&told, "reap-averted", "t")[0], of(&told, "reaped", "t")[0]);
    assert!(time(end) + SLACK_MS >= time(averted) + IDLE_MS, "{told:#?}");
}

#[test]
fn what_is_declared_and_what_is_always_wanted_is_left_alone() {
    let declared = "[[term]]\nname = \"declared\"\ncommand = [\"sh\", \"-c\", \"echo MARK; exec cat\"]\n";
    let instance = Instance::start_with(&format!("{ON}{declared}"), &[]);
    instance.ok(&["wait", "declared", "--match", "MARK"]);
    instance.ok(&["rename", "declared", "renamed"]);
    idler(&instance, "always", &["--restart", "always"]);
    idler(&instance, "failing", &["--restart", "on-failure"]);
    // It is hung up as by kaval kill: that is no failure.
    instance.ok(&["wait", "failing", "--exit"]);
    let told = events(&instance, "exited", "failing");
    for name in ["renamed", "always"] {
        assert_eq!(term(&instance, name).unwrap()["state"], "live");
        assert_eq!(of(&told, "reap-notice", name).len(), 0);
    }
    configure(&instance, ON);
    instance.ok(&["wait", "renamed", "--exit"]);
    assert_eq!(term(&instance, "always").unwrap()["state"], "live");
}

#[test]
fn a_restart_of_the_supervisor_begins_the_idle_time_and_the_warning_anew() {
    let instance = Instance::start_with(ON, &[]);
    idler(&instance, "t", &[]);
    let mut client = Client::attach(&instance, "t");
    client.up_to(|update| matches!(update, Update::Reaping { at: Some(_) }));
    instance.kill_supervisor();
    instance.ok(&["wait", "t", "--exit"]);
    let told = events(&instance, "exited", "t");
    let (adopted, warned, end) = (of(&told, "adopted", "t"), of(&told, "reap-notice", "t"), of(&told, "reaped", "t"));
    let begun = time(adopted[0]);
    let last = time(warned.last().unwrap());
    assert!(last >= begun && time(end[0]) + SLACK_MS >= begun + IDLE_MS, "{told:#?}");
    assert!(time(end[0]) + SLACK_MS >= last + NOTICE_MS, "{told:#?}");
}

#[test]
fn a_reload_that_turns_it_on_warns_those_first_that_are_idle_already() {
    let instance = Instance::start();
    idler(&instance, "t", &[]);
    let mut client = Client::attach(&instance, "t");
    fs::write(instance.path("config/kaval/kaval.toml"), "[reap]\nidle_after = \"20ms\"\nnotice = \"1h\"\n").unwrap();
    assert!(instance.ok(&["reload"]).contains("reap.idle_after"));
    instance.ok(&["wait", "t", "--exit"]);
    assert_eq!(warnings(&client.up_to(|update| matches!(update, Update::Exited(_)))), [true]);
}

#[test]
fn a_reload_that_turns_it_off_averts_it() {
    let instance = Instance::start_with("[reap]\nidle_after = \"6s\"\nnotice = \"3s\"\n", &[]);
    idler(&instance, "t", &[]);
    let mut client = Client::attach(&instance, "t");
    client.up_to(|update| matches!(update, Update::Reaping { at: Some(_) }));
    configure(&instance, "");
    client.up_to(|update| matches!(update, Update::Reaping { at: None }));
    events(&instance, "reap-averted", "t");
    assert_eq!(term(&instance, "t").unwrap()["state"], "live");
}

fn ended(instance: &Instance, name: &str) {
    instance.ok(&["new", "-d", name, "--", "echo", "some output"]);
    instance.ok(&["wait", name, "--exit"]);
}

#[test]
fn of_those_that_have_ended_the_last_ones_stay() {
    let instance = Instance::start_with("[reap]\nended_max = 3\n", &[]);
    let mut follower = Follower::start(&instance, &["--from", "1"]);
    idler(&instance, "live", &[]);
    instance.ok(&["new", "-d", "again", "--restart", "always", "--", "false"]);
    until("a wait", || term(&instance, "again").unwrap()["respawn_at"].as_u64().is_some());
    for n in 0..5 {
        ended(&instance, &format!("t{n}"));
    }
    let told = follower.up_to("removed", "t1");
    let removed: Vec<_> = told.iter().filter(|event| event["kind"] == "removed").collect();
    assert_eq!(removed.iter().map(|event| &event["name"]).collect::<Vec<_>>(), ["t0", "t1"]);
    assert!(removed.iter().all(|event| event["cause"] == "ended_max"), "{removed:?}");
    assert_eq!(names(&instance), ["live", "again", "t2", "t3", "t4"]);
    instance.fails(&["history", "t0"], 3);
    assert_eq!(instance.ok(&["history", "t2"]), "some output\n");
    instance.ok(&["rm", "t3"]);
    assert_eq!(follower.up_to("removed", "t3").last().unwrap()["cause"], "asked");
    configure(&instance, "[reap]\nended_max = 0\n");
    follower.up_to("removed", "t4");
    assert_eq!(names(&instance), ["live", "again"]);
}

#[test]
fn those_that_ended_too_long_ago_go_whenever_that_was_and_none_that_is_declared() {
    let declared = "[[term]]\nname = \"declared\"\ncommand = [\"true\"]\n";
    let instance = Instance::start_with(&format!("[reap]\nended_after = \"off\"\n{declared}"), &[]);
    instance.ok(&["wait", "declared", "--exit"]);
    ended(&instance, "old");
    instance.kill_supervisor();
    assert_eq!(names(&instance), ["declared", "old"]);
    let mut follower = Follower::start(&instance, &[]);
    idler(&instance, "live", &[]);
    configure(&instance, &format!("[reap]\nended_after = \"1ms\"\n{declared}"));
    assert_eq!(follower.up_to("removed", "old").last().unwrap()["cause"], "ended_after");
    instance.ok(&["kill", "live"]);
    assert_eq!(follower.up_to("removed", "live").last().unwrap()["cause"], "ended_after");
    assert_eq!(names(&instance), ["declared"]);
}

#[test]
fn a_wait_is_no_longer_than_the_longest_that_can_be_asked_for() {
    let long = Duration::from_secs(u64::from(u32::MAX));
    let instance =
        Instance::start_with(&format!("[reap]\nidle_after = \"{0}s\"\nended_after = \"{0}s\"\n", long.as_secs()), &[]);
    ended(&instance, "t");
    idler(&instance, "u", &[]);
    assert_eq!(names(&instance), ["t", "u"]);
}
