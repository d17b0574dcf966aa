//! What a user, or a script, sees of each command; and the world that a child finds itself in.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};
use support::{Background, Instance};
use watch::{until, until_some};

fn listed(instance: &Instance, name: &str) -> Option<Value> {
    instance.ls().into_iter().find(|term| term["name"] == name)
}

fn term(instance: &Instance, name: &str) -> Value {
    listed(instance, name).unwrap_or_else(|| panic!("no terminal {name}"))
}

fn pid(instance: &Instance, name: &str) -> Pid {
    Pid::from_raw(term(instance, name)["pid"].as_i64().unwrap() as i32).unwrap()
}

fn exit(instance: &Instance, name: &str) -> Value {
    serde_json::from_str::<Value>(&instance.ok(&["wait", name, "--exit", "--json"])).unwrap()["exit"].clone()
}

fn raw_history(instance: &Instance, name: &str) -> String {
    instance.ok(&["history", name, "--format", "raw"])
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Whether a process is there and not just a zombie.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, tail)| !tail.starts_with(['Z', 'X']))
}

/// Starts `sh -c SCRIPT` as a terminal.
fn shell(instance: &Instance, name: &str, script: &str) {
    instance.ok(&["new", "-d", name, "--", "sh", "-c", script]);
}

/// Runs kaval in a terminal of its own, types `answer`, and gives its exit code and what it showed.
fn asked(instance: &Instance, args: &[&str], question: &str, answer: &str) -> (u32, String) {
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
    let (mut reader, mut writer) = (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
    let mut shown = Vec::new();
    let mut piece = [0; 1024];
    while !String::from_utf8_lossy(&shown).contains(question) {
        let n = reader.read(&mut piece).expect("the question");
        shown.extend_from_slice(&piece[..n]);
    }
    writer.write_all(answer.as_bytes()).unwrap();
    while let Ok(n @ 1..) = reader.read(&mut piece) {
        shown.extend_from_slice(&piece[..n]);
    }
    (child.wait().unwrap().exit_code(), String::from_utf8_lossy(&shown).into_owned())
}

// Creating and listing.

#[test]
fn new_prints_the_name_and_makes_one_up_from_the_command() {
    let instance = Instance::start();
    assert_eq!(instance.ok(&["new", "-d", "mine", "--", "cat"]), "mine\n");
    assert_eq!(instance.ok(&["new", "-d", "--", "/bin/cat"]), "cat-2\n");
    assert_eq!(instance.ok(&["new", "-d"]), "sh-3\n");
    let json: Value = serde_json::from_str(&instance.ok(&["new", "-d", "--json", "--", "cat"])).unwrap();
    assert_eq!(json, json!({"id": 4, "name": "cat-4"}));
}

#[test]
fn new_starts_a_supervisor_where_none_answers_and_one_only() {
    let background = Background::new();
    let names = ["a", "b", "c"].map(|name| {
        let child = background.command(&["new", "-d", name, "--", "sleep", "1000"]).spawn().unwrap();
        (name, child)
    });
    for (name, child) in names {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listed: Value = serde_json::from_slice(&background.run(&["ls", "--json"]).stdout).unwrap();
    let names: BTreeSet<_> = listed.as_array().unwrap().iter().map(|term| term["name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["a", "b", "c"]));
}

#[test]
fn why_a_supervisor_did_not_start_is_told_in_its_own_words() {
    let background = Background::new();
    fs::write(background.dir().join("config/kaval/kaval.toml"), "nonsense = 1\n").unwrap();
    let output = background.run(&["new", "-d", "a"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("did not start: ") && said.contains("nonsense") && said.lines().count() == 1, "{said}");
}

#[test]
fn new_starts_where_and_with_what_it_is_told() {
    let instance = Instance::start();
    fs::create_dir(instance.path("there")).unwrap();
    let there = instance.path("there");
    let args = ["new", "-d", "t", "--cwd", "there", "--env", "A=1", "--env", "B=x=y", "--size", "100x7", "--"];
    let script = "pwd; echo $A $B; stty size";
    let status = instance.command(&[&args[..], &["sh", "-c", script]].concat()).current_dir(instance.dir()).status();
    assert!(status.unwrap().success());
    assert_eq!(exit(&instance, "t"), json!({"code": 0}));
    assert_eq!(raw_history(&instance, "t"), format!("{}\r\n1 x=y\r\n7 100\r\n", there.display()));
}

#[test]
fn ls_lists_for_people_and_says_so_when_there_is_nothing() {
    let instance = Instance::start();
    assert_eq!(instance.ok(&["ls"]), "no terminals: kaval new makes one\n");
    assert_eq!(instance.ls(), Vec::<Value>::new());
    shell(&instance, "seven", "exit 7");
    instance.ok(&["wait", "seven", "--exit"]);
    instance.ok(&["new", "-d", "cat", "--", "cat"]);
    let listing = instance.ok(&["ls"]);
    let words: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "STATE", "PID", "SIZE", "CLIENTS", "AGE", "OUTPUT", "CPU", "MEMORY", "COMMAND"]);
    assert_eq!(words[1][..5], ["seven", "exited", "7", "-", "80x24"]);
    assert_eq!((&words[2][..2], words[2].last()), (&["cat", "live"][..], Some(&"cat")));
    assert!(!listing.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn ls_json_has_the_shape_of_the_contract() {
    let instance = Instance::start();
    shell(&instance, "live", "printf '\\033]2;a title\\007ready'; exec cat");
    instance.ok(&["wait", "live", "--match", "ready"]);
    shell(&instance, "dead", "kill -9 $$");
    assert_eq!(exit(&instance, "dead"), json!({"signal": 9}));
    until("all of it is counted", || term(&instance, "live")["offset"] == 17);
    let (live, dead) = (term(&instance, "live"), term(&instance, "dead"));
    let expected = "name id state pid size command cwd title created last_output clients offset exit memory_bytes log_bytes";
    let expected: BTreeSet<&str> = expected.split(' ').collect();
    assert_eq!((keys(&live), keys(&dead)), (expected.clone(), expected));
    assert_eq!((&live["id"], &live["state"], &live["exit"]), (&json!(1), &json!("live"), &Value::Null));
    assert_eq!((&live["size"], &live["title"]), (&json!({"cols": 80, "rows": 24}), &json!("a title")));
    assert_eq!(live["command"][0], "sh");
    assert_eq!(live["cwd"], json!(std::env::current_dir().unwrap()));
    for number in ["pid", "created", "last_output", "clients", "memory_bytes", "log_bytes"] {
        assert!(live[number].is_u64(), "{number}: {live}");
    }
    assert_eq!((&dead["state"], &dead["pid"], &dead["exit"]), (&json!("exited"), &Value::Null, &json!({"signal": 9})));
}

// Input, size, screen, history.

#[test]
fn send_types_words_stdin_and_enter() {
    let instance = Instance::start();
    shell(&instance, "t", "stty -echo; echo ready; exec cat");
    instance.ok(&["wait", "t", "--match", "ready"]);
    instance.ok(&["send", "t", "--enter", "several", "words", "-x"]);
    instance.ok(&["wait", "t", "--match", "^several words -x$"]);
    instance.ok(&["send", "t", "half"]);
    instance.ok(&["send", "t", "--enter", " line"]);
    instance.ok(&["wait", "t", "--match", "^half line$"]);
    let mut piped = instance.command(&["send", "t"]).stdin(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all("from stdin ü\n".as_bytes()).unwrap();
    assert!(piped.wait().unwrap().success());
    instance.ok(&["wait", "t", "--match", "^from stdin ü$"]);
    instance.ok(&["send", "t", "\u{4}"]);
    assert_eq!(exit(&instance, "t"), json!({"code": 0}));
}

#[test]
fn resize_reaches_the_child() {
    let instance = Instance::start();
    shell(&instance, "t", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done");
    instance.ok(&["wait", "t", "--match", "ready"]);
    instance.ok(&["resize", "t", "132x43"]);
    instance.ok(&["wait", "t", "--match", "^43 132$"]);
    assert_eq!(term(&instance, "t")["size"], json!({"cols": 132, "rows": 43}));
}

#[test]
fn screen_is_text_or_what_draws_it() {
    let instance = Instance::start();
    shell(&instance, "t", "printf 'one\\r\\n\\033[1;31mtwo\\033[m'; exec cat");
    instance.ok(&["wait", "t", "--match", "two"]);
    let text = instance.ok(&["screen", "t"]);
    assert_eq!(text.trim_end(), "one\ntwo");
    assert_eq!(text, instance.ok(&["screen", "t", "--format", "text"]));
    let mut parser = vt100::Parser::default();
    parser.process(instance.ok(&["screen", "t", "--format", "ansi"]).as_bytes());
    assert_eq!(parser.screen().contents(), "one\ntwo");
    let cell = parser.screen().cell(1, 0).unwrap();
    assert_eq!((cell.bold(), cell.fgcolor()), (true, vt100::Color::Idx(1)));
}

#[test]
fn screen_json_has_the_shape_of_the_contract() {
    let instance = Instance::start();
    let script = "printf '\\033]2;tt\\007\\033[2;1H\\033[1;31mR\\033[0;4;38;2;1;2;3mD\\033[0m\\347\\225\\214 x  '; exec cat";
    instance.ok(&["new", "-d", "t", "--size", "10x3", "--", "sh", "-c", script]);
    instance.ok(&["wait", "t", "--match", "x"]);
    let screen: Value = serde_json::from_str(&instance.ok(&["screen", "t", "--json"])).unwrap();
    let expected = "name id offset rows cols cursor alternate title cwd lines cells";
    assert_eq!(keys(&screen), expected.split(' ').collect());
    assert_eq!((&screen["name"], &screen["id"], &screen["title"]), (&json!("t"), &json!(1), &json!("tt")));
    assert_eq!((&screen["rows"], &screen["cols"], &screen["alternate"]), (&json!(3), &json!(10), &json!(false)));
    assert_eq!(screen["cursor"], json!({"row": 1, "col": 8, "visible": true, "style": "default"}));
    assert_eq!(screen["lines"], json!(["", "RD界 x", ""]));
    let cells = screen["cells"][1].as_array().unwrap();
    assert_eq!(cells[0], json!({"t": "R", "fg": 1, "bold": true}));
    assert_eq!(cells[1], json!({"t": "D", "fg": "#010203", "underline": true}));
    assert_eq!((&cells[2], &cells[3]), (&json!({"t": "界"}), &json!({"t": ""})));
    assert!(screen["cells"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == 10));
    until("ls has counted what the screen shows", || term(&instance, "t")["offset"] == screen["offset"]);
}

#[test]
fn history_raw_is_every_byte_and_any_range_of_them() {
    let instance = Instance::start();
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line-$i; done";
    shell(&instance, "t", script);
    instance.ok(&["wait", "t", "--exit"]);
    let whole: String = (1..=3000).map(|n| format!("line-{n}\r\n")).collect();
    assert_eq!(raw_history(&instance, "t"), whole);
    assert_eq!(term(&instance, "t")["offset"], whole.len());
    for (from, to) in [(0, 1), (1, 2), (100, 20_000), (whole.len() - 1, whole.len()), (whole.len() / 2, whole.len())] {
        let (from_text, to_text) = (from.to_string(), to.to_string());
        let range = instance.ok(&["history", "t", "--format", "raw", "--from", &from_text, "--to", &to_text]);
        assert_eq!(range, whole[from..to], "{from}..{to}");
    }
    assert_eq!(instance.ok(&["history", "t", "--format", "raw", "--from", "30000"]), whole[30_000..]);
}

// Waiting.

#[test]
fn wait_for_an_exit_prints_how_and_for_a_match_the_line() {
    let instance = Instance::start();
    shell(&instance, "t", "echo some words; read x; exit 9");
    assert_eq!(instance.ok(&["wait", "t", "--match", "wor.s"]), "some words\n");
    let json: Value = serde_json::from_str(&instance.ok(&["wait", "t", "--match", "^some", "--json"])).unwrap();
    assert_eq!(json, json!({"match": "some words"}));
    instance.ok(&["wait", "t", "--idle", "50"]);
    instance.ok(&["send", "t", "--enter", "go"]);
    assert_eq!(instance.ok(&["wait", "t", "--exit"]), "exited with code 9\n");
    assert_eq!(exit(&instance, "t"), json!({"code": 9}));
    assert!(instance.fails(&["wait", "t", "--match", "never"], 1).contains("exited with code 9 before that"));
}

#[test]
fn wait_for_idleness_outlasts_the_output() {
    let instance = Instance::start();
    shell(&instance, "t", "i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo quiet; exec cat");
    instance.ok(&["wait", "t", "--idle", "1500"]);
    assert!(instance.ok(&["screen", "t"]).contains("quiet"));
}

// Ending.

#[test]
fn kill_hangs_up_the_child_and_what_runs_in_its_session() {
    let instance = Instance::start();
    shell(&instance, "t", "sleep 1000 & echo pid=$!=; wait");
    let line = instance.ok(&["wait", "t", "--match", "pid=\\d+="]);
    let background = Pid::from_raw(line.split('=').nth(1).unwrap().parse().unwrap()).unwrap();
    instance.ok(&["kill", "t"]);
    assert_eq!(exit(&instance, "t"), json!({"signal": 1}));
    until("the background process has ended", || !runs(background));
    assert!(raw_history(&instance, "t").starts_with("pid="), "the log stays");
}

#[test]
fn a_child_that_ignores_the_hangup_is_killed_after_the_grace_period() {
    let instance = Instance::start_with("[limits]\nkill_grace = \"700ms\"\n", &[]);
    shell(&instance, "t", "trap '' HUP; echo ready; while :; do sleep 0.05; done");
    instance.ok(&["wait", "t", "--match", "ready"]);
    let begun = Instant::now();
    instance.ok(&["kill", "t"]);
    assert_eq!(exit(&instance, "t"), json!({"signal": 9}));
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[test]
fn kill_with_a_signal_sends_just_that() {
    let instance = Instance::start();
    shell(&instance, "t", "trap 'echo got it' USR1; trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done");
    instance.ok(&["wait", "t", "--match", "ready"]);
    instance.ok(&["kill", "t", "--signal", "USR1"]);
    instance.ok(&["wait", "t", "--match", "got it"]);
    assert_eq!(term(&instance, "t")["state"], "live");
    instance.ok(&["kill", "t", "--signal", "15"]);
    assert_eq!(exit(&instance, "t"), json!({"code": 5}));
}

#[test]
fn rm_forgets_and_neither_name_nor_id_is_in_the_way() {
    let instance = Instance::start();
    shell(&instance, "t", "exit 0");
    instance.ok(&["wait", "t", "--exit"]);
    instance.ok(&["rm", "t"]);
    assert_eq!(instance.ls(), Vec::<Value>::new());
    shell(&instance, "t", "exit 1");
    assert_eq!((term(&instance, "t")["id"].clone(), exit(&instance, "t")), (json!(2), json!({"code": 1})));
}

#[test]
fn shutdown_asks_and_ends_nothing_unless_told_so() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    assert!(instance.fails(&["shutdown"], 1).contains("1 terminal is live: end them all with kaval shutdown --force"));
    let (code, shown) = asked(&instance, &["shutdown"], "[y/N]", "n\r");
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("nothing was ended"), "{shown}");
    assert_eq!(term(&instance, "t")["state"], "live");
    let (code, shown) = asked(&instance, &["shutdown"], "1 terminal is live. End them all? [y/N]", "y\r");
    assert_eq!(code, 0, "{shown}");
    until("keeper and supervisor have ended", || !runs(instance.keeper_pid()));
}

#[test]
fn shutdown_by_force_leaves_no_process_and_no_socket() {
    let instance = Instance::start_with("[limits]\nkill_grace = \"300ms\"\n", &[]);
    instance.ok(&["new", "-d", "polite", "--", "cat"]);
    shell(&instance, "stubborn", "trap '' HUP TERM; echo ready; while :; do sleep 0.05; done");
    instance.ok(&["wait", "stubborn", "--match", "ready"]);
    let children = [pid(&instance, "polite"), pid(&instance, "stubborn")];
    let supervisor = instance.supervisor_pid().unwrap();
    instance.ok(&["shutdown", "--force"]);
    until("nothing runs", || !children.into_iter().chain([supervisor, instance.keeper_pid()]).any(runs));
    assert!(!instance.socket().exists());
    instance.fails(&["ls"], 5);
}

// Help and completions.

#[test]
fn every_command_has_help() {
    let instance = Instance::start();
    let help = instance.ok(&["--help"]);
    let unwrapped = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        unwrapped
            .contains("Exit codes: 0 done, 1 failed, 2 bad usage, 3 no such terminal, 5 no supervisor answers, 124 timed out")
    );
    let section = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = section.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    for command in
        "new attach ls send resize rename clients detach kill rm wait screen view history serve reload upgrade shutdown admin completions"
            .split(' ')
    {
        assert!(commands.contains(&command), "{command} is missing in:\n{help}");
    }
    for command in commands.iter().filter(|command| **command != "help") {
        let help = instance.ok(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: kaval {command}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    assert!(instance.ok(&["--version"]).starts_with("kaval "));
}

#[test]
fn completions_name_every_command_for_every_shell() {
    let instance = Instance::start();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = instance.ok(&["completions", shell]);
        for word in ["shutdown", "history", "completions", "if-absent"] {
            assert!(script.contains(word), "{word} is missing for {shell}");
        }
    }
    instance.fails(&["completions", "tcsh"], 2);
}

// The child's world.

/// Starts a terminal that writes down its environment; what it wrote.
fn environment_of_a_child(instance: &Instance, name: &str) -> BTreeMap<String, String> {
    let file = instance.path(name);
    shell(instance, name, &format!("env -0 > {}; exit 0", file.display()));
    assert_eq!(exit(instance, name), json!({"code": 0}));
    let text = fs::read_to_string(file).unwrap();
    text.split_terminator('\0').filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[test]
fn a_child_sees_its_terminal_and_nothing_of_the_supervisors_own() {
    let given = [
        ("MALLOC_CONF", "narenas:1"),
        ("KAVAL_DIAG_DIR", "/tmp"),
        ("WATCHDOG_USEC", "1"),
        ("WATCHDOG_PID", "1"),
        ("LISTEN_FDNAMES", "x"),
        ("LISTEN_PID", "1"),
        ("KAVAL_TERM_ID", "99"),
        ("TERM", "dumb"),
        ("KEPT", "yes"),
    ];
    let instance = Instance::start_with_env("", &[], &given);
    for incarnation in 0..2 {
        let name = format!("t{incarnation}");
        let env = environment_of_a_child(&instance, &name);
        let socket = instance.socket();
        let (id, socket) = ((incarnation + 1).to_string(), socket.to_str().unwrap());
        let own = [("KAVAL_SOCKET", socket), ("KAVAL_TERM_ID", &id), ("KAVAL_TERM_NAME", &name)];
        for (key, value) in own.into_iter().chain([("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("KEPT", "yes")]) {
            assert_eq!(env.get(key).map(String::as_str), Some(value), "{key}");
        }
        let foreign =
            |key: &&String| ["NOTIFY_", "LISTEN_", "WATCHDOG_", "KAVAL_", "MALLOC_"].iter().any(|start| key.starts_with(start));
        let foreign: Vec<&String> = env.keys().filter(foreign).collect();
        assert_eq!(foreign, ["KAVAL_SOCKET", "KAVAL_TERM_ID", "KAVAL_TERM_NAME"]);
        // The next supervisor is handed descriptors, and told so in its environment.
        instance.kill_supervisor();
    }
}

#[test]
fn kaval_inside_a_terminal_talks_to_the_supervisor_around_it() {
    let instance = Instance::start();
    shell(&instance, "t", &format!("unset XDG_RUNTIME_DIR; {} ls", support::KAVAL));
    assert_eq!(exit(&instance, "t"), json!({"code": 0}));
    assert!(raw_history(&instance, "t").contains("NAME"));
}

#[test]
fn a_child_leads_a_session_of_its_own_with_the_terminal_as_its_own() {
    let instance = Instance::start();
    shell(&instance, "t", "tty; exec cat");
    let tty = instance.ok(&["wait", "t", "--match", "/dev/pts/"]);
    let pid = pid(&instance, "t");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<i64> = stat.rsplit_once(") ").unwrap().1.split(' ').skip(1).map_while(|field| field.parse().ok()).collect();
    let (group, session, tty_nr, foreground) = (fields[1], fields[2], fields[3], fields[4]);
    let pid = i64::from(pid.as_raw_nonzero().get());
    assert_eq!((group, session, foreground), (pid, pid, pid));
    assert_ne!(tty_nr, 0);
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_str(), Some(tty.trim()));
}

#[test]
fn a_child_has_the_limit_on_open_files_that_kaval_was_started_with() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(777), ..limit }).unwrap();
    let instance = Instance::start();
    for name in ["t1", "t2"] {
        shell(&instance, name, "ulimit -Sn; ulimit -Hn");
        instance.ok(&["wait", name, "--exit"]);
        let hard = limit.maximum.map_or("unlimited".to_owned(), |hard| hard.to_string());
        assert_eq!(raw_history(&instance, name), format!("777\r\n{hard}\r\n"));
        instance.kill_supervisor();
    }
}

/// Terminals that are made at once.
const CROWD: usize = 30;

#[test]
fn no_descriptor_leaks_into_a_child_while_many_others_are_made_or_after_adoption() {
    let instance = Instance::start();
    // Without a redirection: dash would keep a copy of what it redirects.
    let script = "ls -1 /proc/$$/fd; echo listed; exec cat";
    thread::scope(|scope| {
        for n in 0..CROWD {
            let instance = &instance;
            scope.spawn(move || shell(instance, &format!("t{n}"), script));
        }
    });
    let mut ptys = BTreeSet::new();
    for n in 0..CROWD {
        let name = format!("t{n}");
        instance.ok(&["wait", &name, "--match", "listed"]);
        assert_eq!(raw_history(&instance, &name), "0\r\n1\r\n2\r\nlisted\r\n", "{name}");
        ptys.insert(only_pty_of(pid(&instance, &name)));
    }
    assert_eq!(ptys.len(), CROWD);
    // The next supervisor has all of them from the keeper.
    instance.kill_supervisor();
    shell(&instance, "late", script);
    instance.ok(&["wait", "late", "--match", "listed"]);
    assert_eq!(raw_history(&instance, "late"), "0\r\n1\r\n2\r\nlisted\r\n");
    assert!(ptys.insert(only_pty_of(pid(&instance, "late"))));
}

/// Where every descriptor of a process leads to, which must be one place, a PTY.
fn only_pty_of(pid: Pid) -> String {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let places: BTreeSet<String> =
        descriptors.map(|fd| fs::read_link(fd.unwrap().path()).unwrap().to_string_lossy().into_owned()).collect();
    let [pty] = &places.iter().collect::<Vec<_>>()[..] else { panic!("{pid} has {places:?}") };
    assert!(pty.starts_with("/dev/pts/"), "{pty}");
    pty.to_string()
}

/// The keeper is stopped, so that no supervisor comes while children end; then it goes on.
#[test]
fn a_child_that_ends_while_there_is_no_supervisor_has_its_true_exit_status() {
    let instance = Instance::start();
    let go = instance.path("go");
    let script = format!("echo ready; until [ -e {} ]; do sleep 0.01; done; echo last words; exit 42", go.display());
    shell(&instance, "coded", &script);
    instance.ok(&["new", "-d", "signalled", "--", "cat"]);
    instance.ok(&["wait", "coded", "--match", "ready"]);
    let (coded, signalled) = (pid(&instance, "coded"), pid(&instance, "signalled"));
    let ready = instance.log.count(" INFO ready ");
    let supervisor = instance.supervisor_pid().unwrap();
    kill_process(instance.keeper_pid(), Signal::STOP).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    until("the supervisor is dead", || !runs(supervisor));
    fs::write(&go, "").unwrap();
    kill_process(signalled, Signal::TERM).unwrap();
    until("both children have ended", || !runs(coded) && !runs(signalled));
    kill_process(instance.keeper_pid(), Signal::CONT).unwrap();
    instance.log.await_count(" INFO ready ", ready + 1);
    assert_eq!(exit(&instance, "coded"), json!({"code": 42}));
    assert_eq!(exit(&instance, "signalled"), json!({"signal": 15}));
    assert_eq!(raw_history(&instance, "coded"), "ready\r\nlast words\r\n");
    let state = until_some("both are listed", || listed(&instance, "signalled"));
    assert_eq!(state["state"], "exited");
}
