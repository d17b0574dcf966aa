//! `kaval doctor` against real directories, sockets and supervisors: what is well, what is not, and what to do about it.

mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::Command,
};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use support::{Instance, command_in};

/// The checks, by name, and the exit code.
fn doctor(command: &mut Command) -> (Vec<Value>, Option<i32>) {
    let output = command.args(["doctor", "--json"]).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

fn text<'a>(check: &'a Value, key: &str) -> &'a str {
    check[key].as_str().unwrap_or_default()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_supervisor_that_runs_well_is_found_well_and_a_line_a_check_says_so() {
    let instance = Instance::start();
    let (checks, code) = doctor(&mut instance.command::<&str>(&[]));
    assert_eq!(code, Some(0), "{checks:#?}");
    let names =
        ["socket", "permissions", "configuration", "systemd unit", "linger", "ptys", "open files", "disk", "clock", "kernel"];
    for name in names {
        assert!(["ok", "warn"].contains(&text(check(&checks, name), "verdict")), "{checks:#?}");
    }
    assert_eq!(check(&checks, "socket")["verdict"], "ok");
    let lines = instance.ok(&["doctor"]);
    assert_eq!(lines.lines().count(), checks.len());
    assert!(lines.lines().all(|line| ["ok    ", "warn  "].iter().any(|word| line.starts_with(word))), "{lines}");
    assert!(lines.starts_with(&format!("ok    socket         kaval {} answers at ", env!("CARGO_PKG_VERSION"))), "{lines}");
}

/// Everything looked well until the supervisor ended, and with it every terminal.
#[test]
fn that_the_keeper_is_gone_is_said() {
    let mut instance = Instance::start();
    let status = |instance: &Instance| serde_json::from_str::<Value>(&instance.ok(&["status", "--json"])).unwrap();
    assert_eq!(status(&instance)["unkept"], false);
    kill_process(instance.keeper_pid(), Signal::KILL).unwrap();
    instance.await_end();
    let (status, (checks, code)) = (status(&instance), doctor(&mut instance.command::<&str>(&[])));
    instance.ok(&["shutdown", "--force"]);
    assert_eq!((&status["unkept"], code), (&Value::Bool(true), Some(1)), "{status:#}");
    let keeper = check(&checks, "keeper");
    assert!(text(keeper, "verdict") == "fail" && text(keeper, "mend").contains("kaval shutdown"), "{keeper:#}");
}

#[test]
fn without_a_supervisor_everything_else_is_checked_and_what_fails_is_named_with_its_mending() {
    let dir = Instance::fresh_dir();
    for name in ["run/kaval", "state/kaval", "config/kaval"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
        chmod(&dir.path().join(name), 0o700);
    }
    let run = || doctor(&mut command_in(dir.path()));
    let (checks, code) = run();
    assert_eq!((code, text(check(&checks, "socket"), "verdict")), (Some(0), "warn"), "{checks:#?}");
    assert!(text(check(&checks, "socket"), "mend").contains("kaval serve"));

    chmod(&dir.path().join("state/kaval"), 0o755);
    let (checks, code) = run();
    let permissions = check(&checks, "permissions");
    assert_eq!((code, text(permissions, "verdict")), (Some(1), "fail"));
    assert!(text(permissions, "found").contains("chmod 700"), "{permissions}");
    chmod(&dir.path().join("state/kaval"), 0o700);

    fs::write(dir.path().join("config/kaval/kaval.toml"), "[log]\nbites_max = 3\n").unwrap();
    let (checks, code) = run();
    let config = check(&checks, "configuration");
    assert_eq!((code, text(config, "verdict")), (Some(1), "fail"));
    assert!(text(config, "found").contains("log.bites_max"), "{config}");
    fs::remove_file(dir.path().join("config/kaval/kaval.toml")).unwrap();

    // Left by a supervisor that was killed; and taken by something that is none.
    let socket = dir.path().join("run/kaval/kaval.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    chmod(&socket, 0o600);
    let html = std::thread::spawn(move || {
        use std::io::Write;
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"<html>\n\n\n\n\n\n\n\n").unwrap();
    });
    let (checks, code) = run();
    html.join().unwrap();
    assert_eq!((code, text(check(&checks, "socket"), "verdict")), (Some(1), "fail"), "{checks:#?}");
    let (checks, code) = run();
    assert_eq!((code, text(check(&checks, "socket"), "verdict")), (Some(0), "warn"), "{checks:#?}");
    chmod(&socket, 0o666);
    let (checks, _) = run();
    assert!(text(check(&checks, "permissions"), "mend").starts_with("chmod 600"), "{checks:#?}");
}
