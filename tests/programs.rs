//! What programs ask their terminal and tell it: each question is answered once, by whoever is there, and what is told is listed and is an event.

#[path = "support/tmux.rs"]
mod tmux;

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::Instance;
use tmux::{Pane, await_some, missing};

/// Ends a test, with its reason, where a program that it uses is not installed.
macro_rules! needs {
    ($($program:literal),*) => {
        if let Some(program) = missing(&[$($program),*]) {
            return println!("skipped: {program} is not installed");
        }
    };
}

/// A child that asks for the cursor's place whenever a line comes, and tells what came in answer until nothing has come for a second.
const ASKER: &str = r#"
import os, select, sys, termios, tty
tty.setraw(0)
os.write(1, b"ready\r\n")
while True:
    line = b""
    while not line.endswith(b"\r"):
        line += os.read(0, 1)
    os.write(1, b"\x1b[6n")
    answers = b""
    while select.select([0], [], [], 1)[0]:
        answers += os.read(0, 100)
    os.write(1, b"%s: %d\r\n" % (line.strip(), answers.count(b"R")))
"#;

fn asker(instance: &Instance) {
    instance.ok(&["new", "-d", "t", "--size", "100x30", "--", "python3", "-c", ASKER]);
    instance.ok(&["wait", "t", "--match", "ready"]);
}

/// Has the child ask; how many answers it got.
fn answers(instance: &Instance, question: &str) -> u32 {
    instance.ok(&["send", "t", "--enter", question]);
    let told = await_some("an answer", || {
        let screen = instance.ok(&["screen", "t"]);
        let found = screen.lines().find_map(|line| line.strip_prefix(question)?.strip_prefix(": ").map(str::to_owned));
        found.ok_or(screen)
    });
    told.parse().unwrap()
}

#[test]
fn a_question_is_answered_once_whoever_is_attached_and_whoever_is_killed() {
    needs!("tmux", "python3");
    let instance = Instance::start();
    asker(&instance);
    assert_eq!(answers(&instance, "alone"), 1);
    let window = || Pane::open(&instance.command::<&str>(&[]), instance.dir(), (100, 30));
    let (first, second) = (window(), window());
    first.enter("kaval attach t");
    first.await_screen(|text| text.contains("alone: 1"));
    assert_eq!(answers(&instance, "watched"), 1);
    second.enter("kaval attach t");
    second.await_screen(|text| text.contains("watched: 1"));
    assert_eq!(answers(&instance, "twice"), 1);
    instance.kill_supervisor();
    await_some("the clients' return", || match &instance.ls()[0]["clients"] {
        clients if *clients == 2 => Ok(()),
        clients => Err(clients.to_string()),
    });
    assert_eq!(answers(&instance, "killed"), 1);
    for pane in [&first, &second] {
        pane.press("C-\\");
        pane.await_screen(|text| text.contains("comes back"));
    }
    assert_eq!(answers(&instance, "left"), 1);
    instance.kill_supervisor();
    assert_eq!(answers(&instance, "again"), 1);
}

#[test]
fn fish_starts_at_once_while_nobody_is_attached() {
    needs!("fish");
    let instance = Instance::start();
    let began = Instant::now();
    let home = format!("HOME={}", instance.dir().display());
    instance.ok(&[
        "new",
        "-d",
        "fish",
        "--env",
        &home,
        "--",
        "fish",
        "--no-config",
        "-C",
        "function fish_prompt; echo 'fish$ '; end",
    ]);
    instance.ok(&["wait", "fish", "--match", r"fish\$", "--timeout", "20"]);
    // It waits ten seconds for an answer that does not come.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(!instance.ok(&["screen", "fish"]).contains("could not read response"), "{}", instance.ok(&["screen", "fish"]));
}

fn events(instance: &Instance, name: &str, kinds: &[&str]) -> Vec<Value> {
    let mut child = instance.command(&["events", name, "--from", "0"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut found = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["kind"] == "exited" {
            break;
        }
        if kinds.contains(&event["kind"].as_str().unwrap()) {
            found.push(event);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    found
}

#[test]
fn what_a_program_tells_is_listed_outlives_the_supervisor_and_is_an_event() {
    let instance = Instance::start();
    let script = r#"
        printf '\033]7;file://host/tmp/a%%20b\007\033]9;4;1;40\007\033]777;notify;make;is done\007'
        printf '\033]133;A\007$ \033]133;B\007\033]633;E;make\\x3b all\007\033]133;C\007'
        echo told; read x
        printf '\007\033]133;D;3\007\033]9;4;0\007\033]52;c;aGk=\007'; echo gone; read x"#;
    instance.ok(&["new", "-d", "t", "--", "sh", "-c", script]);
    instance.ok(&["wait", "t", "--match", "told"]);
    for _ in 0..2 {
        await_some("what was told", || {
            let term = &instance.ls()[0];
            let (place, got) =
                ((&term["cwd"], &term["running"]), (&term["progress"]["percent"], &term["notification"]["body"]));
            let told = place == (&"/tmp/a b".into(), &"make; all".into()) && got == (&40.into(), &"is done".into());
            if told { Ok(()) } else { Err(term.to_string()) }
        });
        instance.kill_supervisor();
    }
    instance.ok(&["send", "t", "--enter", ""]);
    instance.ok(&["wait", "t", "--match", "gone"]);
    await_some("the end of what ran", || {
        let term = &instance.ls()[0];
        if (&term["running"], &term["progress"]) == (&Value::Null, &Value::Null) { Ok(()) } else { Err(term.to_string()) }
    });
    instance.ok(&["send", "t", "--enter", ""]);
    instance.ok(&["wait", "t", "--exit"]);
    let kinds = ["bell", "command-finished", "progress", "clipboard"];
    let told = events(&instance, "t", &kinds);
    let names: Vec<&str> = told.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(names, ["bell", "command-finished", "progress", "clipboard"]);
    assert_eq!((&told[1]["code"], &told[1]["line"]), (&3.into(), &"make; all".into()), "{:?}", told[1]);
}

#[test]
fn where_no_program_tells_the_kernel_does() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--cwd", "/", "--", "bash", "--norc", "-i"]);
    instance.ok(&["send", "t", "--enter", "cd /usr; sleep 1000"]);
    await_some("what is in the foreground", || {
        let term = &instance.ls()[0];
        if term["foreground"] == "sleep" && term["cwd"] == "/usr" { Ok(()) } else { Err(term.to_string()) }
    });
}

#[test]
fn the_commands_of_real_shells_are_listed_with_their_codes() {
    for (shell, args) in [("bash", &["--norc", "--noprofile", "-i"][..]), ("zsh", &["-f", "-i"]), ("fish", &["--no-config"])] {
        if missing(&[shell]).is_some() {
            println!("skipped: {shell} is not installed");
            continue;
        }
        let instance = Instance::start();
        let home = format!("HOME={}", instance.dir().display());
        let command = [&["new", "-d", "t", "--env", &home, "--env", "PS1=$ ", "--", shell][..], args].concat();
        instance.ok(&command);
        let script = format!("{}/config/shell/kaval.{shell}", env!("CARGO_MANIFEST_DIR"));
        instance.ok(&["send", "t", "--enter", &format!("source '{script}'; cd /usr; echo so''urced")]);
        instance.ok(&["wait", "t", "--match", "^sourced"]);
        instance.ok(&["send", "t", "--enter", "echo 'a;b'"]);
        instance.ok(&["wait", "t", "--match", "^a;b"]);
        instance.ok(&["send", "t", "--enter", "sh -c 'exit 3'"]);
        let commands = await_some("the commands", || {
            let listed = instance.ok(&["history", "t", "--commands", "--json"]);
            let commands: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if commands.iter().any(|command| command["code"] == 3) { Ok(commands) } else { Err(listed) }
        });
        let [.., echo, exit] = &commands[..] else { panic!("{commands:?}") };
        assert_eq!((&echo["line"], &echo["code"]), (&"echo 'a;b'".into(), &0.into()), "{shell}: {commands:?}");
        assert_eq!(exit["line"], "sh -c 'exit 3'", "{shell}");
        let (from, to) = (echo["offset"].to_string(), echo["end"].to_string());
        let output = instance.ok(&["history", "t", "--format", "raw", "--from", &from, "--to", &to]);
        assert!(output.contains("a;b\r\n"), "{shell}: {output:?}");
        let table = instance.ok(&["history", "t", "--commands", "--tail", "1"]);
        assert!(table.starts_with("STARTED") && table.lines().count() == 2 && table.contains("sh -c 'exit 3'"), "{table}");
        assert_eq!(instance.ls()[0]["cwd"], "/usr", "{shell}");
    }
}
