//! kaval as a service: what signals do to it, what clients are told, what the next supervisor knows of the one before, sockets that a
//! service manager listens on, and the units in `config/systemd`.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kaval::{
    client::{Client, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, LsOk, Op},
};
use raw::Raw;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Instance, KAVAL, Log, PATIENCE, command_in};
use tempfile::TempDir;
use watch::until;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts a terminal that runs until it is hung up; its child's process id.
fn sleeper(instance: &Instance, name: &str) -> Pid {
    instance.ok(&["new", "-d", name, "--", "sleep", "100000"]);
    pid(instance, name)
}

fn pid(instance: &Instance, name: &str) -> Pid {
    let term = instance.ls().into_iter().find(|term| term["name"] == name).unwrap();
    Pid::from_raw(term["pid"].as_i64().unwrap() as i32).unwrap()
}

fn state(instance: &Instance, name: &str) -> String {
    let term = instance.ls().into_iter().find(|term| term["name"] == name).unwrap();
    term["state"].as_str().unwrap().to_owned()
}

fn runs(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, tail)| !tail.starts_with(['Z', 'X'])))
}

/// What the last supervisor that started said of the one before.
fn previous_end(instance: &Instance) -> String {
    let lines = instance.log.lines();
    let line = lines.iter().rfind(|line| line.contains("previous_end=")).expect("a start");
    let (_, rest) = line.split_once("previous_end=").unwrap();
    rest.split_once(" cause=").unwrap().0.to_owned()
}

/// Sends the supervisor a signal and waits for the next one.
fn restart(instance: &Instance, signal: Signal) {
    let ready = instance.log.count(" INFO ready ");
    kill_process(instance.supervisor_pid().unwrap(), signal).unwrap();
    instance.log.await_count(" INFO ready ", ready + 1);
}

#[test]
fn the_next_supervisor_knows_how_the_one_before_it_ended() {
    let mut instance = Instance::start();
    assert_eq!(previous_end(&instance), "first start");
    sleeper(&instance, "kept");
    for (signal, known_as) in [
        (Signal::KILL, "signal 9"),
        (Signal::TERM, "clean"),
        (Signal::FPE, "signal 8"),
        (Signal::ABORT, "signal 6"),
        (Signal::INT, "clean"),
    ] {
        restart(&instance, signal);
        assert_eq!(previous_end(&instance), known_as, "{signal:?}");
    }
    instance.ok(&["new", "-d", "env", "--", "env"]);
    instance.ok(&["wait", "env", "--exit"]);
    assert!(!instance.ok(&["history", "env", "--format", "raw"]).contains("PREVIOUS_END"));
    // The keeper's death takes its witness along.
    kill_process(instance.keeper_pid(), Signal::KILL).unwrap();
    kill_process(instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
    instance.await_end();
    instance.start_again();
    assert_eq!(previous_end(&instance), "unknown");
    // A start that fails is an end as well.
    assert_eq!(instance.stop(), Some(0));
    let socket = instance.socket();
    let _ = fs::remove_file(&socket);
    fs::write(&socket, "in the way").unwrap();
    assert_eq!(instance.run(&["serve", "--no-keeper"]).status.code(), Some(1));
    fs::remove_file(&socket).unwrap();
    instance.start_again();
    assert_eq!(previous_end(&instance), "exit code 1");
}

/// Under systemd nobody but systemd sees the end, and says so to what `ExecStopPost=` runs.
#[test]
fn what_systemd_saw_reaches_the_next_supervisor() {
    let mut instance = Instance::start();
    let note = |instance: &Instance, result: &str, code: &str, status: &str| {
        let mut note = instance.command(&["note-end"]);
        note.env("SERVICE_RESULT", result).env("EXIT_CODE", code).env("EXIT_STATUS", status);
        assert!(note.status().unwrap().success());
    };
    for (result, code, status, known_as) in [
        ("signal", "killed", "KILL", "signal 9"),
        ("watchdog", "dumped", "ABRT", "watchdog"),
        ("oom-kill", "killed", "KILL", "out of memory"),
        ("success", "exited", "0", "clean"),
    ] {
        kill_process(instance.keeper_pid(), Signal::KILL).unwrap();
        kill_process(instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
        instance.await_end();
        note(&instance, result, code, status);
        instance.start_again();
        assert_eq!(previous_end(&instance), known_as);
    }
    let empty = tempfile::tempdir().unwrap();
    let said = instance.fails(&["note-end", "--state-dir", empty.path().to_str().unwrap()], 1);
    assert!(said.contains("no supervisor has run"), "{said}");
}

#[test]
fn sigterm_to_the_supervisor_answers_clients_tells_streams_and_keeps_terminals() {
    let instance = Instance::start();
    let child = sleeper(&instance, "kept");
    let mut raw = Raw::hello(&instance.socket());
    raw.send(&json!({"req": 1, "op": "attach", "term": "kept", "from": "screen"}));
    assert_eq!(raw.receive().unwrap().req, Some(1));
    assert_eq!(raw.receive().unwrap().ev.as_deref(), Some("screen"));
    let mut silent = Raw::connect(&instance.socket());
    instance.ok(&["ls"]);

    restart(&instance, Signal::TERM);
    let last = raw.receive().unwrap();
    assert_eq!((last.req, last.refusal().code.as_str()), (Some(1), "restarting"));
    assert!(raw.receive().is_none());
    assert_eq!(silent.receive().unwrap().refusal().code, "restarting");
    assert!(silent.receive().is_none());
    assert_eq!((pid(&instance, "kept"), state(&instance, "kept").as_str()), (child, "live"));
    assert_eq!(instance.log.count("clients were told left=0"), 1);
}

#[test]
fn a_request_that_takes_longer_than_the_end_is_answered_with_restarting() {
    let instance = Instance::start_with("[limits]\nkill_grace = \"60s\"\n", &[]);
    instance.ok(&["new", "-d", "deaf", "--", "sh", "-c", "trap '' HUP; echo deaf; while :; do sleep 1; done"]);
    instance.ok(&["wait", "deaf", "--match", "deaf"]);
    let mut raw = Raw::hello(&instance.socket());
    raw.send(&json!({"req": 1, "op": "shutdown"}));
    raw.send(&json!({"req": 2, "op": "history", "term": "deaf", "from": 0}));
    while raw.receive().unwrap().ev.as_deref() != Some("end") {}
    restart(&instance, Signal::TERM);
    let answer = raw.receive().unwrap();
    assert_eq!((answer.req, answer.refusal().code.as_str()), (Some(1), "restarting"));
    assert!(raw.receive().is_none());
}

#[test]
fn an_attached_client_goes_on_where_it_was_after_a_clean_restart() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "echo", "--", "cat"]);
    runtime().block_on(async {
        let options = SessionOptions {
            socket: instance.socket(),
            term: "echo".into(),
            mode: AttachMode::Rw,
            size: None,
            from: AttachFrom::Offset(0),
        };
        let mut session = Session::attach(options).await.unwrap();
        let mut text = Vec::new();
        for (line, after) in [("before\n", "before\r\nbefore\r\n"), ("after\n", "before\r\nbefore\r\nafter\r\nafter\r\n")] {
            session.input(line.into()).await;
            while text != after.as_bytes() {
                match session.next().await.unwrap() {
                    Update::Output { offset, data } => {
                        assert_eq!(offset, text.len() as u64);
                        text.extend_from_slice(&data);
                    }
                    other => panic!("{other:?}"),
                }
            }
            restart(&instance, Signal::TERM);
            assert_eq!(session.next().await.unwrap(), Update::Lost);
        }
    });
}

#[test]
fn waiting_for_idleness_does_not_take_a_supervisor_that_is_away_for_a_quiet_terminal() {
    let instance = Instance::start();
    let stop = instance.path("stop");
    let script = format!("until [ -e '{}' ]; do echo tick; sleep 0.02; done; exec cat", stop.display());
    instance.ok(&["new", "-d", "t", "--", "sh", "-c", &script]);
    let wait = |timeout: &str| {
        let mut command = instance.command(&["wait", "t", "--idle", "400", "--timeout", timeout]);
        let waiting = command.stderr(Stdio::null()).spawn().unwrap();
        until("the one that waits", || instance.ls()[0]["clients"] == 1);
        waiting
    };
    let mut waiting = wait("1.5");
    let ready = instance.log.count(" INFO ready ");
    kill_process(instance.keeper_pid(), Signal::STOP).unwrap();
    kill_process(instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
    let code = waiting.wait().unwrap().code();
    kill_process(instance.keeper_pid(), Signal::CONT).unwrap();
    assert_eq!(code, Some(124));
    instance.log.await_count(" INFO ready ", ready + 1);

    let mut waiting = wait("60");
    instance.kill_supervisor();
    fs::write(stop, "").unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_the_end_up() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "flood", "--", "sh", "-c", "head -c 4000000 /dev/zero; exec sleep 100000"]);
    instance.ok(&["wait", "flood", "--idle", "200"]);
    let mut deaf = Raw::hello(&instance.socket());
    deaf.send(&json!({"req": 1, "op": "attach", "term": "flood", "from": 0}));
    instance.ok(&["ls"]);
    restart(&instance, Signal::TERM);
    assert_eq!(instance.log.count("clients were told left=1"), 1);
}

#[test]
fn sigterm_or_sigint_to_the_keeper_ends_both_and_hangs_terminals_up() {
    let mut instance = Instance::start();
    for signal in [Signal::TERM, Signal::INT] {
        let name = format!("term-{}", signal.as_raw());
        let child = sleeper(&instance, &name);
        let supervisor = instance.supervisor_pid().unwrap();
        kill_process(instance.keeper_pid(), signal).unwrap();
        assert_eq!(instance.await_end(), Some(0));
        assert!(!runs(supervisor));
        until("the hang-up of the child", || !runs(child));
        instance.start_again();
        assert_eq!((previous_end(&instance).as_str(), state(&instance, &name).as_str()), ("clean", "lost"));
    }
    assert_eq!(instance.log.count("the log is on disk"), 2);
}

#[test]
fn sigterm_to_a_supervisor_without_terminals_ends_its_keeper() {
    let mut instance = Instance::start();
    kill_process(instance.supervisor_pid().unwrap(), Signal::TERM).unwrap();
    assert_eq!(instance.await_end(), Some(0));
}

#[test]
fn sighup_to_keeper_or_supervisor_reads_the_configuration_and_ends_nobody() {
    let instance = Instance::start();
    let (keeper, supervisor) = (instance.keeper_pid(), instance.supervisor_pid().unwrap());
    kill_process(keeper, Signal::HUP).unwrap();
    instance.log.await_count("the configuration was read again", 1);
    kill_process(supervisor, Signal::HUP).unwrap();
    instance.log.await_count("the configuration was read again", 2);
    fs::write(instance.path("config/kaval/kaval.toml"), "[limits]\nterm_max = 3\n").unwrap();
    kill_process(supervisor, Signal::HUP).unwrap();
    instance.log.await_count("unknown key limits.term_max", 1);
    instance.ok(&["ls"]);
    assert_eq!((instance.supervisor_pid(), instance.log.count(" INFO ready ")), (Some(supervisor), 1));
}

#[test]
fn a_second_supervisor_on_the_same_state_is_refused_by_name() {
    let instance = Instance::start();
    let other = instance.path("other.sock");
    let said = instance.fails(&["serve", "--no-keeper", "--socket", other.to_str().unwrap()], 1);
    let owner = format!("a supervisor (pid {}) already runs on state directory", instance.supervisor_pid().unwrap());
    assert!(said.contains(&owner) && said.contains("--state-dir"), "{said}");
    instance.ok(&["ls"]);
}

/// A directory for one supervisor, and a service manager that does nothing but listen.
struct Manager {
    dir: TempDir,
    notify: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kaval-test-").tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { dir, notify }
    }

    /// Starts `kaval serve` as systemd would.
    fn start(&self, env: &[(&str, String)]) -> (Child, Log) {
        let mut command = command_in(self.dir.path());
        let own = Command::new("sh");
        let script = "export SYSTEMD_EXEC_PID=$$; exec \"$0\" serve";
        let environment: Vec<_> =
            command.get_envs().map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned))).collect();
        command = own;
        for (key, value) in environment {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.args(["-c", script, KAVAL]).env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command.envs(env.iter().map(|(key, value)| (key, value)));
        let mut daemon = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        log.clone().follow(daemon.stderr.take().unwrap());
        (daemon, log)
    }

    /// The next message that is neither about descriptors nor the line that says how it is.
    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).expect("a message");
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if !["FDNAME=", "BARRIER=", "STATUS="].iter().any(|other| text.contains(other)) {
                return text;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_readiness_reloads_and_the_end() {
    let manager = Manager::new();
    let (mut daemon, _log) = manager.start(&[]);
    assert_eq!(manager.hears(), "READY=1\n");
    kill_process(Pid::from_child(&daemon), Signal::HUP).unwrap();
    let reloading = manager.hears();
    let (word, time) = reloading.trim_end().split_once("\nMONOTONIC_USEC=").expect("two fields");
    assert_eq!((word, time.parse::<u64>().is_ok()), ("RELOADING=1", true));
    assert_eq!(manager.hears(), "READY=1\n");
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert_eq!(manager.hears(), "STOPPING=1\n");
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn under_a_service_manager_an_upgrade_is_what_the_unit_says() {
    let manager = Manager::new();
    let (mut daemon, _log) = manager.start(&[]);
    assert_eq!(manager.hears(), "READY=1\n");
    let refused = command_in(manager.dir.path()).args(["upgrade", "--binary", KAVAL]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&format!("install {KAVAL:?} where the unit's ExecStart= points, then kaval upgrade")), "{said}");
    assert_eq!(refused.status.code(), Some(1));
    let mut upgrade = command_in(manager.dir.path()).arg("upgrade").stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(manager.hears(), "STOPPING=1\n");
    assert!(daemon.wait().unwrap().success());
    // As Restart=always would have it.
    let (mut next, _log) = manager.start(&[]);
    assert_eq!(manager.hears(), "READY=1\n");
    assert!(upgrade.wait().unwrap().success());
    kill_process(Pid::from_child(&next), Signal::TERM).unwrap();
    assert!(next.wait().unwrap().success());
}

/// Whether a program is there; says so if not.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// A logout takes the runtime directory along, and whoever tidies up may: what runs could not be reached ever again.
#[test]
fn a_socket_that_was_removed_is_there_again() {
    let instance = Instance::start();
    let child = sleeper(&instance, "t");
    let options = SessionOptions {
        socket: instance.socket(),
        term: "t".into(),
        mode: AttachMode::Rw,
        size: None,
        from: AttachFrom::Screen,
    };
    let runtime = runtime();
    let mut session = runtime.block_on(Session::attach(options)).unwrap();
    assert!(matches!(runtime.block_on(session.next()), Ok(Update::Screen { .. })));
    for directory_too in [false, true] {
        let socket = instance.socket();
        let removed = if directory_too { fs::remove_dir_all(socket.parent().unwrap()) } else { fs::remove_file(&socket) };
        removed.unwrap();
        until("the socket", || instance.run(&["ls"]).status.success());
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
    assert!(runs(child) && instance.log.count(" INFO ready ") == 1);
    instance.ok(&["send", "t", "x"]);
    assert!(matches!(runtime.block_on(session.next()), Ok(Update::Output { .. })), "the client that was there is served");
}

#[test]
fn a_socket_that_systemd_listens_on_is_served_with_and_without_a_keeper() {
    if !has("systemd-socket-activate") {
        return;
    }
    for args in [&["serve"][..], &["serve", "--no-keeper"]] {
        let manager = Manager::new();
        let socket = manager.dir.path().join("activated.sock");
        let mut activator = Command::new("systemd-socket-activate");
        activator.arg("-l").arg(&socket).arg("--fdname=listen");
        for (variable, dir) in [("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state"), ("XDG_CONFIG_HOME", "config")] {
            activator.arg(format!("--setenv={variable}={}", manager.dir.path().join(dir).display()));
        }
        let mut daemon = activator.arg(KAVAL).args(args).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        log.clone().follow(daemon.stderr.take().unwrap());
        until("the activator's socket", || socket.exists());
        runtime().block_on(async {
            let mut client = Client::connect(&socket).await.unwrap();
            let _: LsOk = client.call(Op::Ls { after: None }).await.unwrap();
        });
        log.await_count(&format!("socket={}", socket.display()), 1);
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        assert!(daemon.wait().unwrap().success());
        assert!(socket.exists(), "the socket is its maker's to remove");
    }
}

fn units(flavour: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd").join(flavour)
}

/// A setting of a unit, wherever it stands.
fn setting(unit: &str, key: &str) -> Option<String> {
    let mut lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
}

#[test]
fn the_units_pass_systemds_own_check() {
    if !has("systemd-analyze") {
        return;
    }
    for flavour in ["user", "system"] {
        let dir = tempfile::tempdir().unwrap();
        for name in ["kaval.service", "kaval.socket"] {
            // The binary is wherever it was built.
            let text = fs::read_to_string(units(flavour).join(name)).unwrap().replace("/usr/local/bin/kaval", KAVAL);
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).env("XDG_RUNTIME_DIR", dir.path());
        if flavour == "user" {
            verify.arg("--user");
        }
        let verified = verify.args(["kaval.service", "kaval.socket"].map(|name| dir.path().join(name))).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        // Of what is newer than the systemd at hand it says that it is passed over.
        let newer = ["FileDescriptorStorePreserve", "DelegateSubgroup"];
        let passed_over = |line: &&str| line.contains("ignoring") && newer.iter().any(|key| line.contains(key));
        let about_us: Vec<_> = said.lines().filter(|line| line.contains("kaval")).filter(|line| !passed_over(line)).collect();
        assert!(verified.status.success() && about_us.is_empty(), "{flavour}: {said}");
    }
}

/// Three descriptors a terminal and three a lane, of which there are at most eight.
#[test]
fn the_units_let_systemd_hold_every_descriptor_of_the_most_terminals() {
    let most = kaval::config::Limits::default().terms_max * 3 + 8 * 3;
    for flavour in ["user", "system"] {
        let unit = fs::read_to_string(units(flavour).join("kaval.service")).unwrap();
        let held: usize = setting(&unit, "FileDescriptorStoreMax").unwrap().parse().unwrap();
        assert!(held >= most, "{flavour}: {held} < {most}");
    }
}
