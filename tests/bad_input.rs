//! Bad input, from the command line, in files and on the wire: an error that names it, the exit code of the contract, nothing lost. In
//! each test a bystander's terminal counts on and its client stays attached, without a gap.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    fs,
    net::Shutdown,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::Path,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use raw::{FRAME_BYTES_MAX, Frame, Raw};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, test_kill_process};
use serde_json::{Value, json};
use support::Instance;
use watch::{Bystander, until, until_some};

/// Asserts that `text` has every one of `parts`.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

fn names(instance: &Instance) -> Vec<String> {
    instance.ls().iter().map(|term| term["name"].as_str().unwrap().to_owned()).collect()
}

fn term(instance: &Instance, name: &str) -> Value {
    instance.ls().into_iter().find(|term| term["name"] == name).unwrap_or_else(|| panic!("no terminal {name}"))
}

/// A terminal that has ended with code 0.
fn ended(instance: &Instance, name: &str) {
    instance.ok(&["new", "-d", name, "--", "true"]);
    instance.ok(&["wait", name, "--exit"]);
}

/// Runs a kaval command in a terminal of its own; its exit code and what it showed.
fn in_a_terminal(instance: &Instance, args: &[&str]) -> (u32, String) {
    let pair = native_pty_system().openpty(PtySize::default()).unwrap();
    let command = instance.command(args);
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => builder.env(key, value),
            None => builder.env_remove(key),
        }
    }
    let mut child = pair.slave.spawn_command(builder).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let shown = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut reader, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let code = child.wait().unwrap().exit_code();
    (code, shown.join().unwrap())
}

// What the command line is given.

#[test]
fn a_name_with_a_slash_is_refused_and_named() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let long = "x".repeat(65);
    for name in ["a/b", "", "..//", "a b", "ü", &long] {
        says(&instance.fails(&["new", "-d", name, "--", "true"], 2), &["terminal name", name, "use 1 to 64 of"]);
        let answer = Raw::hello(&instance.socket()).ask(&json!({"req": 1, "op": "new", "name": name, "command": ["true"]}));
        let refusal = answer.refusal();
        assert_eq!(refusal.code, "bad_request");
        says(&refusal.message, &["terminal name", name]);
    }
    assert_eq!(instance.ok(&["new", "-d", &long[1..], "--", "true"]).trim(), &long[1..]);
    bystander.goes_on();
}

#[test]
fn an_existing_name_is_refused_or_with_if_absent_that_terminal() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let before = term(&instance, Bystander::NAME);
    says(
        &instance.fails(&["new", "-d", Bystander::NAME, "--", "true"], 1),
        &[Bystander::NAME, "exists already", "--if-absent"],
    );
    assert_eq!(instance.ok(&["new", "-d", "--if-absent", Bystander::NAME, "--", "true"]), format!("{}\n", Bystander::NAME));
    let json: Value = serde_json::from_str(&instance.ok(&["new", "-d", "--json", "--if-absent", Bystander::NAME])).unwrap();
    assert_eq!(json, json!({"id": before["id"], "name": Bystander::NAME}));
    let after = term(&instance, Bystander::NAME);
    assert_eq!((&after["pid"], &after["command"]), (&before["pid"], &before["command"]));
    assert_eq!(names(&instance), [Bystander::NAME]);
    says(&instance.fails(&["new", "-d", "--if-absent", "--", "true"], 2), &["NAME"]);
    bystander.goes_on();
}

#[test]
fn a_size_is_taken_at_the_limit_and_refused_beyond_it() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    instance.ok(&["new", "-d", "big", "--size", "1000x1000", "--", "cat"]);
    instance.ok(&["new", "-d", "small", "--size", "1x1", "--", "cat"]);
    instance.ok(&["resize", "small", "1000x1000"]);
    for size in ["0x0", "0x24", "80x0", "1001x1", "1x1001", "70000x70000", "80", "80x24x3", "axb", "99999999999x1"] {
        says(&instance.fails(&["new", "-d", "none", "--size", size, "--", "cat"], 2), &[size]);
        says(&instance.fails(&["resize", "big", size], 2), &[size]);
    }
    let mut raw = Raw::hello(&instance.socket());
    for (cols, rows) in [(0, 0), (1001, 1), (70000, 70000)] {
        let size = json!({"cols": cols, "rows": rows});
        for request in [
            json!({"req": 1, "op": "resize", "term": "big", "size": size}),
            json!({"req": 2, "op": "new", "name": "none", "command": ["cat"], "size": size}),
            json!({"req": 3, "op": "attach", "term": "big", "size": size}),
        ] {
            let refusal = raw.ask(&request).refusal();
            assert_eq!(refusal.code, "bad_request");
            says(&refusal.message, &[&format!("size {cols}x{rows} is out of range: each side is 1 to 1000")]);
        }
    }
    assert_eq!(names(&instance), [Bystander::NAME, "big", "small"]);
    for name in ["big", "small"] {
        assert_eq!(term(&instance, name)["size"], json!({"cols": 1000, "rows": 1000}));
    }
    bystander.goes_on();
}

#[test]
fn a_command_or_directory_that_cannot_be_used_leaves_nothing_behind() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let (file, absent) = (instance.path("file"), instance.path("absent"));
    fs::write(&file, "not a program").unwrap();
    let (file, absent) = (file.to_str().unwrap(), absent.to_str().unwrap());
    let cases = [
        ("no-such-command-9", "not found"),
        (absent, "not found"),
        (file, "is not executable"),
        ("/tmp", "is a directory"),
        ("", "not found"),
    ];
    for (command, why) in cases {
        says(&instance.fails(&["new", "-d", "x", "--", command], 1), &[&format!("command {command:?}"), why]);
    }
    for cwd in [absent, file] {
        says(&instance.fails(&["new", "-d", "x", "--cwd", cwd, "--", "true"], 1), &[cwd, "is not a directory"]);
    }
    assert_eq!(names(&instance), [Bystander::NAME]);
    instance.ok(&["new", "-d", "x", "--", "true"]);
    bystander.goes_on();
}

#[test]
fn a_bad_variable_is_refused_on_the_command_line_and_on_the_wire() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    for variable in ["NOVALUE", "=x", ""] {
        says(&instance.fails(&["new", "-d", "--env", variable, "--", "true"], 2), &["--env", "KEY=VALUE"]);
    }
    let mut raw = Raw::hello(&instance.socket());
    let cases = [
        (json!({"env": [["A=B", "x"]]}), "without ="),
        (json!({"env": [["", "x"]]}), "needs a name"),
        (json!({"env": [["A", "x\u{0}y"]]}), "NUL"),
        (json!({"env": [["A\u{0}", "x"]]}), "NUL"),
        (json!({"command": ["ec\u{0}ho"]}), "NUL"),
        (json!({"cwd": "/t\u{0}mp"}), "directory"),
        (json!({"env": [["A", "x".repeat(200_000)]]}), "at most 131072"),
    ];
    for (case, part) in cases {
        let mut request = json!({"req": 1, "op": "new", "name": "x", "command": ["true"]});
        request.as_object_mut().unwrap().extend(case.as_object().unwrap().clone());
        let refusal = raw.ask(&request).refusal();
        assert_eq!(refusal.code, "spawn_failed");
        says(&refusal.message, &[part]);
    }
    assert_eq!(names(&instance), [Bystander::NAME]);
    bystander.goes_on();
}

#[test]
fn an_unknown_terminal_is_exit_code_3_for_every_command_with_a_hint_for_a_near_miss() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let commands: [&[&str]; 9] = [
        &["send", "NAME", "text"],
        &["resize", "NAME", "80x24"],
        &["kill", "NAME"],
        &["kill", "NAME", "--signal", "TERM"],
        &["rm", "NAME"],
        &["wait", "NAME", "--exit"],
        &["screen", "NAME"],
        &["history", "NAME", "--format", "raw"],
        &["wait", "NAME", "--match", "x", "--timeout", "5"],
    ];
    for command in commands {
        let named = |name: &str| command.iter().map(|word| word.replace("NAME", name)).collect::<Vec<_>>();
        says(&instance.fails(&named("bystandr"), 3), &["no terminal bystandr (did you mean bystander?)", "kaval ls"]);
        let far = instance.fails(&named("quite-another"), 3);
        says(&far, &["no terminal quite-another: see kaval ls"]);
    }
    let (code, shown) = in_a_terminal(&instance, &["attach", "bystandr"]);
    assert_eq!(code, 3, "{shown}");
    says(&shown, &["did you mean bystander?"]);
    bystander.goes_on();
}

#[test]
fn attaching_without_a_terminal_is_exit_code_125_and_creates_nothing() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    for args in [&["attach", Bystander::NAME][..], &["new", "x", "--", "true"], &[]] {
        says(&instance.fails(args, 125), &["needs a terminal", "stdin", "kaval new -d"]);
    }
    assert_eq!(names(&instance), [Bystander::NAME]);
    bystander.goes_on();
}

#[test]
fn a_signal_or_an_option_that_does_not_exist_is_bad_usage_on_one_line() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    for signal in ["NOPE", "0", "32", "-1", "SIG"] {
        says(&instance.fails(&["kill", Bystander::NAME, &format!("--signal={signal}")], 2), &[signal, "no such signal"]);
    }
    let mut raw = Raw::hello(&instance.socket());
    for signal in [0, -1, 4096] {
        let refusal = raw.ask(&json!({"req": 1, "op": "kill", "term": Bystander::NAME, "signal": signal})).refusal();
        assert_eq!(refusal.code, "bad_request", "{}", refusal.message);
    }
    for args in [&["frobnicate"][..], &["ls", "--frob"], &["attach"], &["wait", Bystander::NAME], &["resize", Bystander::NAME]]
    {
        instance.fails(args, 2);
    }
    bystander.goes_on();
}

// What waits, and what reads back.

#[test]
fn a_wait_that_runs_out_is_exit_code_124_and_names_the_terminal() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    for until in [&["--exit"][..], &["--idle", "60000"], &["--match", "never shown"]] {
        let args = [&["wait", Bystander::NAME, "--timeout", "0.2"][..], until].concat();
        says(&instance.fails(&args, 124), &[Bystander::NAME, "0.2 s"]);
    }
    bystander.goes_on();
}

#[test]
fn a_wait_for_what_cannot_be_is_bad_usage() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    for pattern in ["(", "[a", "*", "a{99999999}"] {
        says(&instance.fails(&["wait", Bystander::NAME, "--match", pattern], 2), &["--match", pattern, "regular expression"]);
    }
    for seconds in ["-1", "nan", "inf", "10000000000", "soon"] {
        let timeout = format!("--timeout={seconds}");
        says(&instance.fails(&["wait", Bystander::NAME, "--exit", &timeout], 2).to_lowercase(), &["--timeout", seconds]);
    }
    says(&instance.fails(&["wait", Bystander::NAME, "--idle=-5"], 2), &["--idle"]);
    bystander.goes_on();
}

#[test]
fn history_ranges_that_make_no_sense_are_refused_and_empty_ones_are_empty() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    instance.ok(&["new", "-d", "h", "--", "printf", "0123456789"]);
    instance.ok(&["wait", "h", "--exit"]);
    let read = |from: &str, to: &str| instance.ok(&["history", "h", "--format", "raw", "--from", from, "--to", to]);
    for (from, to, expected) in
        [("0", "10", "0123456789"), ("3", "5", "34"), ("0", "0", ""), ("10", "10", ""), ("4", "999", "456789")]
    {
        assert_eq!(read(from, to), expected, "{from}..{to}");
    }
    let end_max = u64::MAX.to_string();
    says(&instance.fails(&["history", "h", "--format", "raw", "--from", "5", "--to", "3"], 2), &["--from 5", "--to 3"]);
    for (from, to) in [("11", "12"), (end_max.as_str(), end_max.as_str())] {
        says(
            &instance.fails(&["history", "h", "--format", "raw", "--from", from, "--to", to], 1),
            &["h", from, "kept from 0 to 10"],
        );
    }
    for (option, value) in [("--from", "-1"), ("--to", "1.5"), ("--from", "99999999999999999999"), ("--to", "end")] {
        let option = format!("{option}={value}");
        says(&instance.fails(&["history", "h", "--format", "raw", &option], 2), &[value]);
    }
    bystander.goes_on();
}

// What a terminal's state does not allow.

#[test]
fn an_ended_terminal_takes_no_input_no_size_and_no_kill() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    ended(&instance, "done");
    for args in
        [&["send", "done", "x"][..], &["resize", "done", "10x10"], &["kill", "done"], &["kill", "done", "--signal", "INT"]]
    {
        says(&instance.fails(args, 1), &["terminal done", "ended"]);
    }
    let mut raw = Raw::hello(&instance.socket());
    for request in [
        json!({"req": 1, "op": "input", "term": "done", "data": "x"}),
        json!({"req": 2, "op": "resize", "term": "done", "size": {"cols": 9, "rows": 9}}),
        json!({"req": 3, "op": "kill", "term": "done"}),
    ] {
        assert_eq!(raw.ask(&request).refusal().code, "ended", "{request}");
    }
    assert_eq!(term(&instance, "done")["exit"], json!({"code": 0}));
    instance.ok(&["rm", "done"]);
    instance.fails(&["rm", "done"], 3);
    bystander.goes_on();
}

#[test]
fn a_live_terminal_is_not_removed_and_the_others_named_with_it_are() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    ended(&instance, "a");
    ended(&instance, "b");
    let refusal = instance.fails(&["rm", "a", Bystander::NAME, "b"], 1);
    says(&refusal, &[Bystander::NAME, "is live", "kaval kill bystander"]);
    assert_eq!(names(&instance), [Bystander::NAME]);
    bystander.goes_on();
}

#[test]
fn an_end_that_a_client_saw_leaves_no_client_behind() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    ended(&instance, "done");
    until("nobody is attached", || term(&instance, "done")["clients"] == 0);
    instance.ok(&["new", "-d", "twice", "--", "cat"]);
    let mut raw = Raw::hello(&instance.socket());
    let attach = json!({"req": 7, "op": "attach", "term": "twice"});
    assert!(raw.ask(&attach).ok.is_some());
    let refusal = raw.ask(&attach).refusal();
    assert_eq!(refusal.code, "bad_request");
    says(&refusal.message, &["7", "stream"]);
    assert_eq!(term(&instance, "twice")["clients"], 1);
    drop(raw);
    until("nobody is attached", || term(&instance, "twice")["clients"] == 0);
    bystander.goes_on();
}

// Limits.

#[test]
fn the_most_terminals_allowed_are_made_and_one_more_is_refused() {
    let instance = Instance::start_with("[limits]\nterms_max = 3\n", &[]);
    let bystander = Bystander::begin(&instance);
    ended(&instance, "done");
    instance.ok(&["new", "-d", "third", "--", "cat"]);
    says(&instance.fails(&["new", "-d", "fourth", "--", "cat"], 1), &["3 terminals", "limits.terms_max", "kaval rm"]);
    assert_eq!(instance.ok(&["new", "-d", "third", "--if-absent"]), "third\n");
    instance.ok(&["rm", "done"]);
    instance.ok(&["new", "-d", "fourth", "--", "cat"]);
    bystander.goes_on();
}

#[test]
fn one_connection_too_many_is_told_so_and_the_next_one_is_served() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    // The bystander has the first.
    let mut connections: Vec<Raw> = (1..1024).map(|_| Raw::hello(&instance.socket())).collect();
    let refusal = Raw::connect(&instance.socket()).receive().unwrap().refusal();
    assert_eq!(refusal.code, "limit");
    for _ in 0..20 {
        says(&instance.fails(&["ls"], 1), &["as many connections as it may"]);
    }
    connections.pop();
    until("a place is free", || instance.run(&["ls"]).status.success());
    connections.clear();
    bystander.goes_on();
}

// The wire.

#[test]
fn a_hello_that_is_wrong_is_told_what_is_right() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let cases = [
        (json!({"kaval": 2, "client": "x"}), "version", "only version 1"),
        (json!({"kaval": 0}), "version", "version 0"),
        (json!({"req": 1, "op": "ls"}), "bad_request", "first frame"),
        (json!({"kaval": "one"}), "bad_request", "first frame"),
        (json!([1, 2]), "bad_request", "first frame"),
    ];
    for (hello, code, part) in cases {
        let mut raw = Raw::connect(&instance.socket());
        raw.send(&hello);
        let refusal = raw.receive().unwrap().refusal();
        assert_eq!(refusal.code, code);
        says(&refusal.message, &[part]);
        assert!(raw.receive().is_none(), "the connection is closed");
    }
    bystander.goes_on();
}

#[test]
fn a_request_that_is_wrong_is_answered_by_number_and_the_connection_goes_on() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let mut raw = Raw::hello(&instance.socket());
    let cases = [
        (json!({"op": "frobnicate"}), "unknown_op", "no op \"frobnicate\"; there are new, ls"),
        (json!({"op": "x".repeat(100_000)}), "unknown_op", "no op"),
        (json!({"op": "screen"}), "bad_request", "term"),
        (json!({"op": "screen", "term": null}), "bad_request", "screen: "),
        (json!({"op": "screen", "term": -1}), "bad_request", "screen: "),
        (json!({"op": "screen", "term": "x", "format": "gif"}), "bad_request", "gif"),
        (json!({"op": "resize", "term": "x"}), "bad_request", "size"),
        (json!({"op": "resize", "term": "x", "size": "80x24"}), "bad_request", "resize: "),
        (json!({"op": "input", "term": "x"}), "bad_request", "data"),
        (json!({"op": "input", "term": "x", "data": 7}), "bad_request", "input: "),
        (json!({"op": "new", "command": "ls"}), "bad_request", "new: "),
        (json!({"op": "new", "env": [["A"]]}), "bad_request", "new: "),
        (json!({"op": "attach", "term": "x", "from": "start"}), "bad_request", "from"),
        (json!({"op": "attach", "term": "x", "mode": "wo"}), "bad_request", "wo"),
        (json!({"op": "attach", "term": 4_000_000_000_u32}), "no_such_term", "#4000000000"),
        (json!({"op": "history", "term": "x", "from": -1}), "bad_request", "history: "),
        (json!({"op": "kill", "term": "x", "signal": "TERM"}), "bad_request", "kill: "),
        (json!({"op": "detach", "stream": 99}), "bad_request", "99"),
    ];
    for (number, (mut request, code, part)) in (1..).zip(cases) {
        request["req"] = json!(number);
        let refusal = raw.ask(&request).refusal();
        assert_eq!(refusal.code, code, "{request}: {}", refusal.message);
        says(&refusal.message, &[part]);
    }
    assert!(raw.ask(&json!({"req": 99, "op": "ls", "not": {"known": [1, 2]}})).ok.is_some());
    bystander.goes_on();
}

#[test]
fn a_request_without_a_number_is_refused_and_ends_only_its_connection() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    for request in
        [json!({"op": "ls"}), json!({"req": "1", "op": "ls"}), json!({"req": -1, "op": "ls"}), json!({"req": 1}), json!(7)]
    {
        let mut raw = Raw::hello(&instance.socket());
        raw.send(&request);
        assert_eq!(raw.receive().unwrap().refusal().code, "bad_request", "{request}");
        assert!(raw.receive().is_none());
    }
    bystander.goes_on();
}

#[test]
fn a_frame_of_the_longest_length_is_read_and_one_byte_more_is_refused() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let mut raw = Raw::hello(&instance.socket());
    let request = |padding: usize| json!({"req": 1, "op": "ls", "padding": "x".repeat(padding)});
    let overhead = raw::frame(&request(FRAME_BYTES_MAX / 2)).len() - 4 - FRAME_BYTES_MAX / 2;
    assert!(raw.ask(&request(FRAME_BYTES_MAX - overhead)).ok.is_some());
    raw.write(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes());
    let refusal = raw.receive().unwrap().refusal();
    assert_eq!(refusal.code, "frame_too_long");
    says(&refusal.message, &["1048576"]);
    assert!(raw.receive().is_none());
    let mut raw = Raw::connect(&instance.socket());
    raw.write(&u32::MAX.to_be_bytes());
    assert_eq!(raw.receive().unwrap().refusal().code, "frame_too_long");
    bystander.goes_on();
}

#[test]
fn a_frame_cut_off_by_the_end_of_the_connection_does_nothing() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let whole = raw::frame(&json!({"req": 1, "op": "new", "name": "half", "command": ["cat"]}));
    for length in [1, 3, 4, 5, whole.len() / 2, whole.len() - 1] {
        let mut raw = Raw::hello(&instance.socket());
        raw.write(&whole[..length]);
        raw.stream().shutdown(Shutdown::Write).unwrap();
        assert_eq!(raw.receive().unwrap().refusal().code, "bad_request", "after {length} bytes");
        assert!(raw.receive().is_none());
    }
    assert_eq!(names(&instance), [Bystander::NAME]);
    bystander.goes_on();
}

/// The one test that takes the 10 s which a client may dawdle; an idle one may take for ever.
#[test]
fn a_client_that_dawdles_is_told_so_and_an_idle_one_is_not() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let whole = raw::frame(&json!({"req": 1, "op": "ls"}));
    let mut idle = Raw::hello(&instance.socket());
    let begun = Instant::now();
    let mut late = Raw::hello(&instance.socket());
    let mut silent = Raw::connect(&instance.socket());
    let mut stalled: Vec<Raw> = [2, 4, 7].map(|length| stalled_after(&instance, &whole[..length])).into();
    // A frame that began late has as long as any other: this one's first byte comes shortly before the others' time is up.
    until("the limit is near", || begun.elapsed() > Duration::from_millis(9_500));
    late.write(&whole[..5]);
    for raw in stalled.iter_mut().chain([&mut silent]) {
        let refusal = raw.receive().unwrap().refusal();
        assert_eq!(refusal.code, "timeout");
        says(&refusal.message, &["within 10 s"]);
        assert!(raw.receive().is_none());
    }
    assert!((9..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    late.write(&whole[5..]);
    assert!(late.receive().unwrap().ok.is_some(), "the late one");
    assert!(idle.ask(&json!({"req": 1, "op": "ls"})).ok.is_some());
    bystander.goes_on();
}

fn stalled_after(instance: &Instance, bytes: &[u8]) -> Raw {
    let mut raw = Raw::hello(&instance.socket());
    raw.write(bytes);
    raw
}

#[test]
fn random_bytes_harm_nobody() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let supervisor = instance.supervisor_pid();
    let mut random = SmallRng::seed_from_u64(0x006b_6176_616c);
    for round in 0..300 {
        let mut raw = if round % 4 == 0 { Raw::connect(&instance.socket()) } else { Raw::hello(&instance.socket()) };
        for _ in 0..random.random_range(1..8) {
            let bytes = rubbish(&mut random, round % 3 == 0);
            if !raw.try_write(&bytes) {
                break;
            }
        }
        let _ = raw.stream().shutdown(Shutdown::Write);
        while let Some(frame) = raw.receive() {
            assert!(frame.ok.is_none() || frame.req.is_some(), "{frame:?}");
        }
    }
    assert_eq!(instance.log.count("panic"), 0);
    assert_eq!((names(&instance), instance.supervisor_pid()), (vec![Bystander::NAME.to_owned()], supervisor));
    bystander.goes_on();
}

/// Bytes without any order; or a request of which some bytes were changed, in a whole frame.
fn rubbish(random: &mut SmallRng, shapeless: bool) -> Vec<u8> {
    if shapeless {
        let mut bytes = vec![0; random.random_range(1..2000)];
        random.fill_bytes(&mut bytes);
        return bytes;
    }
    let requests = [
        json!({"req": 1, "op": "screen", "term": "nobody", "format": "json"}),
        json!({"req": 2, "op": "history", "term": "nobody", "from": 7}),
        json!({"req": 3, "op": "input", "term": "nobody", "seq": 7, "data": "text"}),
        json!({"req": 4, "op": "attach", "term": "nobody", "size": {"cols": 80, "rows": 24}}),
    ];
    let mut bytes = raw::frame(&requests[random.random_range(0..requests.len())]);
    for _ in 0..random.random_range(1..6) {
        let place = random.random_range(4..bytes.len());
        bytes[place] = random.random();
    }
    bytes
}

// A client that does not read.

/// How many bytes of its output the flooding terminal is to have put out before its client reads again.
const FLOOD_BYTES: u64 = 24 << 20;
/// What `yes` of it puts out through a PTY, over and over.
const FLOOD: &[u8] = b"0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
/// How much the supervisor's memory may grow over it: the stalled client's queue is 256 KiB, what is in the socket as much again.
const GROWTH_KIB_MAX: u64 = 16 << 10;

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount_and_is_resynced_when_it_does() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"16 MiB\"\n", &[]);
    let bystander = Bystander::begin(&instance);
    let mut stalled = Raw::hello(&instance.socket());
    let before = memory_kib(&instance, "RssAnon:");
    instance.ok(&["new", "-d", "flood", "--", "yes", std::str::from_utf8(FLOOD).unwrap().trim_end()]);
    assert!(stalled.ask(&json!({"req": 1, "op": "attach", "term": "flood", "from": 0})).ok.is_some());
    until("the flood has gone far", || term(&instance, "flood")["offset"].as_u64().unwrap() > FLOOD_BYTES);
    bystander.goes_on();
    let after = memory_kib(&instance, "RssAnon:");
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB");
    assert!(memory_kib(&instance, "RssShmem:") < 24 << 10, "the journal is bounded");
    read_to_resync(&mut stalled);
    bystander.goes_on();
}

fn memory_kib(instance: &Instance, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", instance.supervisor_pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads what waits, the lag, the fresh screen and 1 MiB of what follows; every byte must be the one of its offset.
fn read_to_resync(client: &mut Raw) {
    let first = read_output(client, 0, |_| false);
    let lagged = first.frame;
    assert_eq!((lagged.ev.as_deref(), lagged.from), (Some("lagged"), Some(first.next)), "{lagged:?}");
    let to = lagged.to.unwrap();
    assert!(to > first.next, "{lagged:?}");
    let screen = client.receive().unwrap();
    assert_eq!((screen.ev.as_deref(), screen.offset, screen.cols), (Some("screen"), Some(to), Some(80)));
    let then = read_output(client, to, |next| next > to + (1 << 20));
    assert!(then.next > to + (1 << 20), "{:?}", then.frame);
}

struct Run {
    next: u64,
    frame: Frame,
}

/// Reads output from `next` on until `enough`, or until something else comes.
fn read_output(client: &mut Raw, mut next: u64, enough: impl Fn(u64) -> bool) -> Run {
    loop {
        let frame = client.receive().unwrap();
        let (Some("output"), Some(data)) = (frame.ev.as_deref(), &frame.data) else {
            if frame.ev.as_deref() == Some("resized") {
                continue;
            }
            return Run { next, frame };
        };
        assert_eq!(frame.offset, Some(next));
        let right = data.iter().zip(next..).all(|(byte, at)| *byte == FLOOD[at as usize % FLOOD.len()]);
        assert!(right, "wrong bytes after {next}");
        next += data.len() as u64;
        if enough(next) {
            return Run { next, frame };
        }
    }
}

// Supervisors that must not start.

/// Runs `kaval serve …` in the instance's environment; it must fail with exit code 1, and say why on the last line.
fn serve_fails(instance: &Instance, args: &[&str]) -> String {
    let output = instance.run(&[&["serve"], args].concat());
    refused(&output)
}

fn refused(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let said: Vec<_> = stderr.lines().filter(|line| line.starts_with("kaval: ")).collect();
    assert_eq!(said.len(), 1, "{stderr}");
    said[0].to_owned()
}

#[test]
fn a_second_supervisor_on_a_state_directory_is_refused_and_the_first_goes_on() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let (first, state) = (instance.supervisor_pid().unwrap(), instance.state_dir());
    let other_socket = instance.path("other.sock");
    for keeper in [&[][..], &["--no-keeper"]] {
        let args = [&["--socket", other_socket.to_str().unwrap()], keeper].concat();
        says(&serve_fails(&instance, &args), &[state.to_str().unwrap(), &format!("pid {first}"), "--state-dir"]);
    }
    assert!(!other_socket.exists());
    assert_eq!((instance.supervisor_pid(), test_kill_process(first)), (Some(first), Ok(())));
    bystander.goes_on();
}

#[test]
fn a_directory_that_others_may_enter_or_own_is_refused() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let socket = instance.path("other.sock");
    let refuse =
        |dir: &Path| serve_fails(&instance, &["--state-dir", dir.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    let dir = instance.path("open");
    fs::create_dir(&dir).unwrap();
    for mode in [0o755, 0o710, 0o701] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        says(&refuse(&dir), &[dir.to_str().unwrap(), &format!("mode 0{mode:o}"), "chmod 700"]);
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&dir, Some(4242), None).unwrap();
    says(&refuse(&dir), &[dir.to_str().unwrap(), "uid 4242"]);
    let file = instance.path("file");
    fs::write(&file, "").unwrap();
    says(&refuse(&file), &[file.to_str().unwrap(), "not a directory"]);
    let link = instance.path("link");
    std::os::unix::fs::symlink(instance.state_dir(), &link).unwrap();
    says(&refuse(&link), &[link.to_str().unwrap(), "not a directory"]);
    bystander.goes_on();
}

#[test]
fn a_runtime_directory_that_others_may_enter_or_own_is_refused() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let (runtime, state) = (instance.path("other-run"), instance.path("other-state"));
    let dir = runtime.join("kaval");
    fs::create_dir_all(&dir).unwrap();
    let serve = || {
        let mut command = instance.command(&["serve", "--state-dir", state.to_str().unwrap()]);
        refused(&command.env("XDG_RUNTIME_DIR", &runtime).output().unwrap())
    };
    let listing = || refused(&instance.command(&["ls"]).env("XDG_RUNTIME_DIR", &runtime).output().unwrap());
    let spelt_out = || {
        let socket = dir.join("kaval.sock");
        let mut command = instance.command(&["serve", "--state-dir", state.to_str().unwrap(), "--socket"]);
        refused(&command.arg(socket).env("XDG_RUNTIME_DIR", &runtime).output().unwrap())
    };
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    for said in [serve(), spelt_out(), listing()] {
        says(&said, &[dir.to_str().unwrap(), "mode 0755", "chmod 700"]);
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&dir, Some(4242), None).unwrap();
    for said in [serve(), spelt_out(), listing()] {
        says(&said, &[dir.to_str().unwrap(), "uid 4242"]);
    }
    bystander.goes_on();
}

#[test]
fn a_stale_socket_is_replaced() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let (state, socket) = (instance.path("other-state"), instance.path("other.sock"));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let (state, socket) = (state.to_str().unwrap(), socket.to_str().unwrap());
    let mut other = instance.command(&["serve", "--no-keeper", "--state-dir", state, "--socket", socket]).spawn().unwrap();
    until("the other answers", || instance.run(&["ls", "--socket", socket]).status.success());
    assert_eq!(fs::metadata(socket).unwrap().permissions().mode() & 0o7777, 0o600);
    instance.ok(&["shutdown", "--force", "--socket", socket]);
    assert!(other.wait().unwrap().success());
    assert!(!Path::new(socket).exists());
    bystander.goes_on();
}

#[test]
fn a_live_socket_or_a_file_in_its_place_is_never_replaced() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let state = instance.path("other-state");
    let serve =
        |socket: &Path| serve_fails(&instance, &["--state-dir", state.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    let live = instance.socket();
    says(&serve(&live), &[live.to_str().unwrap(), "another supervisor answers"]);
    let file = instance.path("precious");
    fs::write(&file, "precious").unwrap();
    says(&serve(&file), &[file.to_str().unwrap(), "not a socket"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let long = instance.path(&"x".repeat(100));
    says(&serve(&long), &[long.to_str().unwrap(), "at most 107"]);
    bystander.goes_on();
}

#[test]
fn without_a_supervisor_every_command_is_exit_code_5_and_names_the_socket() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let nowhere = instance.path("nowhere.sock");
    let nowhere = nowhere.to_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["ls"],
        &["send", "x", "y"],
        &["resize", "x", "80x24"],
        &["kill", "x"],
        &["rm", "x"],
        &["screen", "x"],
        &["wait", "x", "--exit"],
        &["shutdown"],
    ];
    for command in commands {
        says(&instance.fails(&[&["--socket", nowhere], command].concat(), 5), &[nowhere, "start one with kaval"]);
    }
    // This one starts a supervisor where none answers; not beside one that has the state directory.
    says(&instance.fails(&["--socket", nowhere, "new", "-d"], 5), &["already runs on state directory"]);
    let by_variable = instance.command(&["ls"]).env("KAVAL_SOCKET", nowhere).output().unwrap();
    assert_eq!(by_variable.status.code(), Some(5));
    let (code, shown) = in_a_terminal(&instance, &["attach", "x", "--socket", nowhere]);
    assert_eq!(code, 5, "{shown}");
    bystander.goes_on();
}

#[test]
fn a_configuration_that_is_wrong_names_the_key_and_the_line() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let file = instance.path("wrong.toml");
    let cases = [
        ("[limits]\nterm_max = 3\n", "line 2", "term_max"),
        ("\n[limit]\n", "line 2", "limit"),
        ("[limits]\n\nkill_grace = \"5 parsecs\"\n", "line 3", "kill_grace"),
        ("[limits]\nterms_max = -1\n", "line 2", "terms_max"),
        ("[limits]\nterms_max = \"many\"\n", "line 2", "terms_max"),
        ("[journal]\nbytes_max = \"lots\"\n", "line 2", "bytes_max"),
        ("[limits\n", "line 1", "limits"),
    ];
    for (text, line, key) in cases {
        fs::write(&file, text).unwrap();
        let (state, socket) = (instance.path("other-state"), instance.path("other.sock"));
        let (state, socket) = (state.to_str().unwrap(), socket.to_str().unwrap());
        let said = serve_fails(&instance, &["--config", file.to_str().unwrap(), "--state-dir", state, "--socket", socket]);
        says(&said, &[file.to_str().unwrap(), line, key]);
    }
    let absent = instance.path("absent.toml");
    says(&serve_fails(&instance, &["--config", absent.to_str().unwrap()]), &[absent.to_str().unwrap()]);
    bystander.goes_on();
}

#[test]
fn a_stranger_on_the_machine_is_not_served() {
    let instance = Instance::start();
    let bystander = Bystander::begin(&instance);
    let socket = instance.socket();
    for dir in [instance.dir().to_owned(), instance.path("run"), instance.path("run/kaval")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let copy = instance.path("kaval");
    fs::copy(support::KAVAL, &copy).unwrap();
    let mut stranger = std::process::Command::new(&copy);
    std::os::unix::process::CommandExt::uid(&mut stranger, 4242);
    let output = stranger.args(["ls", "--socket", socket.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let line =
        until_some("the refusal is logged", || instance.log.lines().into_iter().find(|line| line.contains("another user")));
    says(&line, &["refused"]);
    fs::set_permissions(instance.path("run/kaval"), fs::Permissions::from_mode(0o700)).unwrap();
    bystander.goes_on();
}
