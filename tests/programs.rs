//! What programs tell their terminal is listed and is an event. What they ask: `questions.rs`.

#[path = "support/tmux.rs"]
mod tmux;

mod support;

use serde_json::Value;
use support::Instance;
use tmux::{await_some, missing};

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
