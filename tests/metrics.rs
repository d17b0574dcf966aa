//! What those see who watch over a supervisor: metrics over HTTP, events, the status, and the listing that comes from the same place.

#[path = "support/follower.rs"]
mod follower;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/scrape.rs"]
mod scrape;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File},
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::fs::DirBuilderExt,
    process::{Command, Stdio},
};

use follower::Follower;
use raw::Raw;
use rustix::fs::{FlockOperation, flock};
use scrape::{ANYWHERE, address, http};
use serde_json::{Value, json};
use support::Instance;
use watch::{until, until_some};

const README: &str = include_str!("../README.md");
/// Where metrics are served when nobody says.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9776";

fn shell(instance: &Instance, name: &str, script: &str) {
    instance.ok(&["new", "-d", name, "--", "sh", "-c", script]);
}

fn scraped(instance: &Instance) -> String {
    let (status, text) = http(&address(instance), "GET", "/metrics");
    assert_eq!(status, 200, "{text}");
    text
}

/// The series of a scrape that have this label.
fn series<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
    text.lines().filter(|line| line.contains(label)).map(|line| line.split(['{', ' ']).next().unwrap()).collect()
}

fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    lines.next().unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

/// Metrics by name: their kind, and the labels of their series.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn in_readme() -> Metrics {
    let section = README.split("\n## Metrics\n").nth(1).expect("a section on metrics").split("\n## ").next().unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `kaval_") || line.starts_with("| `process_")).map(cells);
    let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let labels = |cell: &str| ticked(cell.split('=').next().unwrap()).into_iter().collect();
    rows.map(|row| (ticked(&row[1]).remove(0), (row[2].clone(), labels(&row[3])))).collect()
}

fn on_endpoint(text: &str) -> Metrics {
    let declared = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    declared.map(|(name, kind)| (name.to_owned(), (kind.to_owned(), labels(text, name)))).collect()
}

fn labels(text: &str, name: &str) -> BTreeSet<String> {
    let inner = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split('}').next());
    inner.flat_map(|inner| inner.split("\",")).map(|label| label.split('=').next().unwrap().to_owned()).collect()
}

/// `promtool`'s opinion; none where it is not installed.
fn lint(text: &str) -> Option<String> {
    let mut promtool = Command::new("promtool");
    let piped = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn every_metric_is_in_the_readme_and_every_one_there_is_on_the_endpoint() {
    let instance = Instance::start_with("", &ANYWHERE);
    shell(&instance, "t", "echo ready; exec cat");
    instance.ok(&["wait", "t", "--match", "ready"]);
    instance.kill_supervisor();
    instance.ok(&["send", "t", "--enter", "typed"]);
    until("output was counted", || series(&scraped(&instance), "id=\"1\"").len() == 7);
    let text = scraped(&instance);
    assert_eq!(on_endpoint(&text), in_readme());
    match lint(&text) {
        Some(complaints) => assert_eq!(complaints, ""),
        None => println!("promtool is not installed: skipped"),
    }
}

#[test]
fn what_is_counted_adds_up() {
    let instance = Instance::start_with("", &ANYWHERE);
    shell(&instance, "t", "stty -echo; printf 12345; read line; exit 3");
    shell(&instance, "killed", "kill -9 $$");
    instance.ok(&["wait", "killed", "--exit"]);
    instance.ok(&["send", "t", "--enter", "typed"]);
    instance.ok(&["wait", "t", "--exit"]);
    let text = scraped(&instance);
    for (name, expected) in [
        ("kaval_terms{state=\"live\"}", 0.0),
        ("kaval_terms{state=\"hibernated\"}", 0.0),
        ("kaval_terms{state=\"exited\"}", 2.0),
        ("kaval_terms{state=\"lost\"}", 0.0),
        ("kaval_terms_spawned_total", 2.0),
        ("kaval_terms_adopted_total", 0.0),
        ("kaval_terms_exited_total{cause=\"code\"}", 1.0),
        ("kaval_terms_exited_total{cause=\"signal\"}", 1.0),
        ("kaval_terms_exited_total{cause=\"unknown\"}", 0.0),
        ("kaval_output_bytes_total", 5.0),
        ("kaval_term_output_bytes_total{id=\"1\"}", 5.0),
        ("kaval_input_bytes_total", 6.0),
        ("kaval_client_lags_total", 0.0),
        ("kaval_attach_duration_seconds_count", 2.0),
        ("kaval_history_duration_seconds_count", 0.0),
    ] {
        assert_eq!(value(&text, name), expected, "{name}");
    }
    instance.ok(&["history", "t", "--format", "raw"]);
    until("history was counted", || value(&scraped(&instance), "kaval_history_duration_seconds_count") == 1.0);
    until("every arbiter has been looked at", || value(&scraped(&instance), "kaval_loop_lag_seconds_count") >= 2.0);
    for name in [
        "kaval_heap_allocated_bytes",
        "kaval_heap_resident_bytes",
        "kaval_log_heap_bytes",
        "kaval_journal_bytes",
        "process_open_fds",
    ] {
        assert!(value(&scraped(&instance), name) > 0.0, "{name}");
    }
}

#[test]
fn series_stay_while_a_terminal_is_idle_and_go_when_it_is_removed() {
    let instance = Instance::start_with("", &ANYWHERE);
    shell(&instance, "idle", "echo once; exec cat");
    shell(&instance, "gone", "echo once");
    instance.ok(&["wait", "gone", "--exit"]);
    instance.ok(&["wait", "idle", "--match", "once"]);
    let both = |text: &str| [1, 2].map(|id| series(text, &format!("id=\"{id}\"")).len());
    until("output was counted", || both(&scraped(&instance)) == [7, 7]);
    let before = scraped(&instance);
    assert_eq!(series(&before, "id=\"1\""), series(&before, "id=\"2\""));
    instance.ok(&["rm", "gone"]);
    let after = scraped(&instance);
    assert_eq!(series(&after, "id=\"1\""), series(&before, "id=\"1\""));
    assert_eq!(series(&after, "id=\"2\""), BTreeSet::new());
    assert_eq!(value(&after, "kaval_terms_spawned_total"), 2.0);
}

#[test]
fn the_largest_terminals_have_series_and_names_only_where_they_are_wanted() {
    let some = Instance::start_with("[metrics]\nper_term = \"top:1\"\nterm_info = false\n", &ANYWHERE);
    shell(&some, "small", "exec cat");
    some.ok(&["new", "-d", "large", "--size", "300x100", "--", "sh", "-c", "echo ready; exec cat"]);
    some.ok(&["wait", "large", "--match", "ready"]);
    until("the large one has been drawn", || series(&scraped(&some), "id=\"2\"").len() == 6);
    let text = scraped(&some);
    assert!(series(&text, "id=\"1\"").is_empty() && !text.contains("kaval_term_info"), "{text}");
    let none = Instance::start_with("[metrics]\nper_term = \"off\"\n", &ANYWHERE);
    shell(&none, "t", "exec cat");
    assert!(series(&scraped(&none), "id=").is_empty());
    assert_eq!(value(&scraped(&none), "kaval_terms{state=\"live\"}"), 1.0);
}

#[test]
fn it_is_alive_before_it_is_ready_and_offers_nothing_else() {
    let dir = Instance::fresh_dir();
    let store = dir.path().join("state/kaval/store");
    DirBuilder::new().recursive(true).mode(0o700).create(&store).unwrap();
    let held = File::create(store.join("db")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let instance = Instance::launch(dir, "", &ANYWHERE, &[]);
    let address = address(&instance);
    assert_eq!(http(&address, "GET", "/readyz").0, 503);
    assert_eq!(http(&address, "GET", "/healthz"), (200, "ok\n".to_owned()));
    assert!(http(&address, "GET", "/metrics").1.contains("process_start_time_seconds"));
    assert_eq!(instance.log.count(" INFO ready "), 0);
    drop(held);
    instance.log.await_count(" INFO ready ", 1);
    assert_eq!(http(&address, "GET", "/readyz"), (200, "ok\n".to_owned()));
    for path in ["/", "/metrics/", "/healthz/x", "/favicon.ico"] {
        assert_eq!(http(&address, "GET", path).0, 404, "{path}");
    }
    for method in ["POST", "HEAD", "DELETE"] {
        assert_eq!(http(&address, method, "/metrics").0, 405, "{method}");
    }
}

#[test]
fn clients_that_dawdle_hold_their_places_for_a_while_only() {
    let instance = Instance::start_with("", &ANYWHERE);
    let address = address(&instance);
    let dawdlers: Vec<_> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(http(&address, "GET", "/healthz").0, 200);
    drop(dawdlers);
}

#[test]
fn a_chosen_address_that_is_taken_ends_the_start_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let instance = Instance::start();
    let state = instance.path("other");
    let serve = ["serve", "--no-keeper", "--state-dir", state.to_str().unwrap(), "--metrics"];
    let said = instance.fails(&[&serve[..], &[&address]].concat(), 1);
    assert!(said.contains(&address) && said.contains("metrics.address"), "{said}");
    let said = instance.fails(&[&serve[..], &["localhost"]].concat(), 2);
    assert!(said.contains("127.0.0.1:9776"), "{said}");
}

#[test]
fn the_default_address_that_is_taken_is_a_warning_and_is_had_later() {
    // Another instance of this machine may hold it instead.
    let taken = TcpListener::bind(DEFAULT_ADDRESS);
    let config = format!("[metrics]\naddress = \"{DEFAULT_ADDRESS}\"\n");
    let instance = Instance::start_with(&config, &[]);
    instance.log.await_count("default address of metrics is taken", 1);
    assert!(instance.ok(&["status"]).contains("metrics      off"));
    match taken {
        Ok(taken) => {
            drop(taken);
            assert_eq!(address(&instance), DEFAULT_ADDRESS);
        }
        Err(_) => println!("{DEFAULT_ADDRESS} is taken by another program: half of this is skipped"),
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[test]
fn events_tell_a_terminals_life_in_order() {
    let instance = Instance::start();
    let mut all = Follower::start(&instance, &["--from", "0"]);
    shell(&instance, "t", "printf '\\033]2;a title\\007ready'; read line; exit 3");
    instance.ok(&["wait", "t", "--match", "ready"]);
    assert_eq!(all.up_to("title", "t")[0]["seq"], 1, "nothing comes before the first");
    let mut one = Follower::start(&instance, &["t", "--from", "1", "--json"]);
    instance.ok(&["resize", "t", "90x30"]);
    instance.ok(&["send", "t", "--enter", ""]);
    instance.ok(&["wait", "t", "--exit"]);
    instance.ok(&["rm", "t"]);
    let told = one.up_to("removed", "t");
    let of = |kind: &str| told.iter().find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {told:#?}"));
    assert_eq!(kinds(&told)[0], "created");
    assert_eq!((&of("resized")["cols"], &of("resized")["rows"]), (&json!(90), &json!(30)));
    assert_eq!((&of("title")["title"], &of("exited")["exit"]), (&json!("a title"), &json!({"code": 3})));
    assert_eq!(of("attached")["client"], of("detached")["client"]);
    assert!(told.iter().all(|event| event["term"] == 1 && event["time"].is_u64()), "{told:#?}");
    assert_eq!(one.end(), (vec![], Some(0)), "nothing comes after the end");
    instance.fails(&["events", "t"], 3);
    instance.ok(&["shutdown", "--force"]);
    let (rest, code) = all.end();
    assert_eq!((kinds(&rest).last(), code), (Some(&"removed"), Some(0)));
}

#[test]
fn events_go_on_over_kills_and_no_number_is_given_twice() {
    let instance = Instance::start();
    let mut follower = Follower::start(&instance, &["--from", "1"]);
    instance.ok(&["new", "-d", "first", "--", "cat"]);
    let mut events = follower.up_to("created", "first");
    for round in 0..3 {
        instance.kill_supervisor();
        let name = format!("t{round}");
        instance.ok(&["new", "-d", &name, "--", "cat"]);
        let more = follower.up_to("created", &name);
        assert_eq!(kinds(&more)[..2], ["missed", "supervisor-restarted"], "{more:#?}");
        assert!(kinds(&more).contains(&"adopted"), "{more:#?}");
        events.extend(more);
    }
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let status: Value = serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap();
    assert_eq!(status["previous_end"], "signal 9");
    let last = numbers.last().unwrap().to_string();
    let again = Follower::start(&instance, &["--from", &last]).up_to("created", "t2");
    assert_eq!(again, events[events.len() - 1..], "asked for again by its number");
    let unknown = (numbers.last().unwrap() + 1000).to_string();
    let mut lost = Follower::start(&instance, &["--from", &unknown]);
    assert_eq!(lost.next()["kind"], "missed");
    instance.ok(&["resize", "t2", "90x30"]);
    assert_eq!(lost.next()["kind"], "resized");
}

/// More events than are kept come while it does not read.
#[test]
fn a_reader_that_is_too_slow_is_told_what_it_missed() {
    const EVENTS: u64 = 16_000;
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    let (mut slow, mut busy) = (Raw::hello(&instance.socket()), Raw::hello(&instance.socket()));
    assert!(slow.ask(&json!({"req": 1, "op": "events"})).ok.is_some());
    for req in 1..=EVENTS / 2 {
        busy.send(&json!({"req": 2 * req, "op": "attach", "term": 1, "mode": "ro"}));
        assert!(busy.ask(&json!({"req": 2 * req + 1, "op": "detach", "stream": 2 * req})).ok.is_some());
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < EVENTS {
        let frame = slow.receive().expect("an event");
        match (frame.from, frame.to) {
            (Some(from), Some(to)) => missed += to - from,
            _ => told += 1,
        }
    }
    assert!(missed > 0 && told >= 10_000, "{told} told, {missed} missed");
}

#[test]
fn what_was_answered_is_listed() {
    let instance = Instance::start();
    let mut raw = Raw::hello(&instance.socket());
    let listed = || instance.ls().remove(0);
    let command = json!({"req": 1, "op": "new", "name": "t", "command": ["cat"]});
    assert!(raw.ask(&command).ok.is_some());
    assert_eq!((&listed()["state"], &listed()["clients"]), (&json!("live"), &json!(0)));
    assert!(listed()["pid"].as_u64().is_some_and(|pid| fs::exists(format!("/proc/{pid}")).unwrap()));
    assert!(raw.ask(&json!({"req": 2, "op": "attach", "term": "t", "size": {"cols": 90, "rows": 30}})).ok.is_some());
    assert_eq!((&listed()["clients"], &listed()["size"]), (&json!(1), &json!({"cols": 90, "rows": 30})));
    assert!(raw.ask(&json!({"req": 3, "op": "resize", "term": "t", "size": {"cols": 70, "rows": 20}})).ok.is_some());
    assert_eq!(listed()["size"], json!({"cols": 70, "rows": 20}));
    assert!(raw.ask(&json!({"req": 4, "op": "detach", "stream": 2})).ok.is_some());
    assert_eq!(listed()["clients"], 0);
    instance.ok(&["kill", "t"]);
    instance.ok(&["wait", "t", "--exit"]);
    assert_eq!((&listed()["state"], &listed()["pid"]), (&json!("exited"), &Value::Null));
    instance.ok(&["rm", "t"]);
    assert_eq!(instance.ls(), Vec::<Value>::new());
}

/// They do not fit a frame, whose limit every answer keeps.
#[test]
fn a_long_listing_comes_in_pages() {
    const TERMS: usize = 60;
    let instance = Instance::start();
    let mut raw = Raw::hello(&instance.socket());
    let filling = "x".repeat(40_000);
    for req in 0..TERMS {
        let new = json!({"req": req, "op": "new", "command": ["true", filling]});
        assert!(raw.ask(&new).ok.is_some());
    }
    let listed: Vec<u64> = instance.ls().iter().map(|term| term["id"].as_u64().unwrap()).collect();
    assert!(listed.iter().copied().eq(1..=TERMS as u64), "{listed:?}");
    assert!(raw.ask(&json!({"req": 100, "op": "ls"})).ok.unwrap().more);
    assert!(!raw.ask(&json!({"req": 101, "op": "ls", "after": TERMS - 2})).ok.unwrap().more);
}

#[test]
fn status_shows_the_present_supervisor_and_how_the_one_before_ended() {
    let instance = Instance::start_with("", &ANYWHERE);
    let status = || serde_json::from_str::<Value>(&instance.ok(&["status", "--json"])).unwrap();
    let first = status();
    assert_eq!(first["pid"], instance.supervisor_pid().unwrap().as_raw_nonzero().get());
    assert_eq!((&first["previous_end"], &first["data_path"]), (&json!("first start"), &json!("splice")));
    assert_eq!(first["metrics"], address(&instance));
    let lanes: Vec<&str> = first["lanes"].as_array().unwrap().iter().map(|lane| lane["name"].as_str().unwrap()).collect();
    assert_eq!(lanes[..2], ["main", "lane 0"]);
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    instance.kill_supervisor();
    let second = status();
    assert_eq!((&second["terms"]["live"], &second["terms"]["exited"]), (&json!(1), &json!(0)));
    assert_ne!(second["boot"], first["boot"]);
    assert_eq!(second["previous_end"], "signal 9");
    assert_eq!(value(&scraped(&instance), "kaval_supervisor_restarts_total{cause=\"signal\"}"), 1.0);
    until_some("the start was timed", || status()["recovery_ms"].as_u64());
    let text = instance.ok(&["status"]);
    assert!(text.contains("1 live, 0 hibernated") && !text.contains('\x1b'), "{text}");
}
