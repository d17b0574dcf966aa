//! kaval as a systemd service: the shipped units under a real systemd, over kills, restarts and a stop.
//!
//! Needs root and systemd, and says so where it skips. `KAVAL_SOAK=1` kills five hundred times.

#[path = "support/manager.rs"]
mod manager;
#[path = "support/subjects.rs"]
mod subjects;
mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use kaval::wire::{ExitInfo, LsOk, Op};
use manager::Manager;
use subjects::{create_subjects, history, insist, watch};
use support::{PATIENCE, soak};

/// Room for everything that is written, and no port that another test may have.
const CONFIG: &str = "[journal]\nbytes_max = \"1GiB\"\n[metrics]\naddress = \"off\"\n";

/// Waits for a supervisor other than `before` that is ready; its process.
fn await_another(manager: &Manager, before: u32) -> u32 {
    manager.await_some("another supervisor", |manager| manager.main_pid().filter(|pid| *pid != before && manager.is_active()))
}

#[test]
fn no_kill_no_restart_and_no_upgrade_of_the_service_costs_a_byte_and_nobody_notices() {
    let Some(manager) = Manager::boot(CONFIG, "") else { return };
    let modes = [["flood"; 4], ["count"; 4], ["count"; 4], ["trickle"; 4], ["trickle"; 4]].concat();
    let (emitter, dir) = (Path::new("/usr/local/bin/emitter"), Path::new("/tmp"));
    let subjects = create_subjects(&modes, emitter, dir, |args| _ = manager.kaval(args));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let watching: Vec<_> =
        subjects.iter().map(|subject| runtime.spawn(watch(manager.socket(), subject.name.clone()))).collect();

    let mut supervisor = manager.main_pid().unwrap();
    let rounds = if soak() { 600 } else { 60 };
    for n in 0..rounds {
        if n == rounds / 2 {
            manager.install_rebuilt();
            let said = manager.kaval(&["upgrade"]);
            assert!(said.contains("20 terminals kept"), "{said}");
            supervisor = await_another(&manager, supervisor);
            assert!(manager.runs_what_is_installed(supervisor));
        }
        if n % 6 == 5 {
            assert!(manager.systemctl(&["restart", "kaval.service"]).status.success());
        } else {
            // The moment is random on purpose, and so is waited for, not derived from an event.
            thread::sleep(Duration::from_micros(rand::random_range(0..150_000)));
            manager.kill(supervisor, "-KILL");
        }
        supervisor = await_another(&manager, supervisor);
    }
    fs::write(manager.path("/tmp/stop"), "").unwrap();

    for (subject, watching) in subjects.iter().zip(watching) {
        let received = runtime.block_on(async { tokio::time::timeout(PATIENCE, watching).await }).expect("an end").unwrap();
        let record = fs::read(manager.path(&subject.record.to_string_lossy())).unwrap();
        let (floor, history) = runtime.block_on(history(&manager.socket(), &subject.name));
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
    let listing: LsOk = runtime.block_on(insist(&manager.socket(), Op::Ls { after: None })).unwrap();
    assert_eq!(listing.terms.len(), subjects.len());
    assert_eq!(manager.property("Result"), "success");
}

/// A terminal that answers every line.
fn create_answering(manager: &Manager) {
    manager.kaval(&["new", "-d", "t", "--", "sh", "-c", "stty -echo; echo begun; while read x; do echo got $x; done"]);
    manager.kaval(&["wait", "t", "--match", "begun"]);
}

fn ask(manager: &Manager, line: &str) {
    manager.kaval(&["send", "t", "--enter", line]);
    manager.kaval(&["wait", "t", "--match", &format!("got {line}")]);
}

#[test]
fn a_supervisor_killed_again_and_again_as_soon_as_it_runs_is_never_given_up() {
    let Some(manager) = Manager::boot(CONFIG, "") else { return };
    create_answering(&manager);
    let mut supervisor = manager.main_pid().unwrap();
    for _ in 0..30 {
        manager.kill(supervisor, "-KILL");
        supervisor = manager.await_some("another supervisor", |manager| manager.main_pid().filter(|pid| *pid != supervisor));
    }
    manager.await_some("a supervisor that is ready", |manager| manager.is_active().then_some(()));
    ask(&manager, "one");
    assert!(manager.property("NRestarts").parse::<u32>().unwrap() >= 30);
}

#[test]
fn all_that_runs_in_a_terminal_is_in_its_own_control_group_which_goes_with_it() {
    let Some(manager) = Manager::boot(CONFIG, "") else { return };
    create_answering(&manager);
    let group = |name: &str| manager.path("/sys/fs/cgroup/system.slice/kaval.service").join(name);
    let members = |name: &str| fs::read_to_string(group(name).join("cgroup.procs")).unwrap_or_default();
    assert_eq!(members("term-1").lines().count(), 1, "{}", manager.log());
    let supervisor = manager.main_pid().unwrap();
    // The numbers are those that the reader knows the processes by.
    assert_eq!(members("supervisor").trim(), manager.pid_outside(supervisor).to_string());
    manager.kill(supervisor, "-KILL");
    let next = await_another(&manager, supervisor);
    assert_eq!(members("supervisor").trim(), manager.pid_outside(next).to_string());
    ask(&manager, "one");
    manager.kaval(&["new", "-d", "u", "--", "sh", "-c", "sleep 1000 & echo begun; wait"]);
    manager.kaval(&["wait", "u", "--match", "begun"]);
    assert_eq!(members("term-2").lines().count(), 2);

    manager.kaval(&["kill", "t"]);
    manager.kaval(&["wait", "t", "--exit"]);
    manager.await_some("the group's end", |_| (!group("term-1").exists()).then_some(()));
    assert!(group("term-2").exists());
}

#[test]
fn a_stop_ends_cleanly_and_a_start_finds_everything_that_the_manager_could_keep() {
    let Some(manager) = Manager::boot(CONFIG, "") else { return };
    create_answering(&manager);
    ask(&manager, "one");
    let keeps = !manager.property("FileDescriptorStorePreserve").is_empty();
    assert!(manager.systemctl(&["stop", "kaval.service"]).status.success());
    assert_eq!((manager.property("ActiveState"), manager.property("Result")), ("inactive".into(), "success".into()));
    assert!(manager.systemctl(&["start", "kaval.service"]).status.success());
    if keeps {
        ask(&manager, "two");
    } else {
        println!("this systemd keeps no descriptors over a stop: the terminal is lost, and its history is not");
        assert!(manager.kaval(&["ls", "--json"]).contains(r#""state":"lost""#), "{}", manager.kaval(&["ls", "--json"]));
    }
    assert_eq!(manager.kaval(&["history", "t"]).lines().take(2).collect::<Vec<_>>(), ["begun", "got one"]);
}

/// Stops one thread, given its id, until its process dies.
const HOLD_THREAD: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, int(sys.argv[1]), None, None) != 0:
        sys.exit('ptrace: errno %d' % ctypes.get_errno())
os.waitpid(int(sys.argv[1]), WALL)
print('held', flush=True)
os.waitpid(int(sys.argv[1]), WALL)
";

#[test]
fn an_arbiter_that_stands_still_has_the_supervisor_replaced_and_its_terminals_live_on() {
    let Some(manager) = Manager::boot(CONFIG, "WatchdogSec=2s") else { return };
    create_answering(&manager);
    let supervisor = manager.main_pid().unwrap();
    let outside = manager.pid_outside(supervisor);
    let threads = fs::read_dir(format!("/proc/{outside}/task")).unwrap().flatten().map(|entry| entry.path());
    let lane = threads
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with("actix-rt|")))
        .map(|task| task.file_name().unwrap().to_string_lossy().into_owned())
        .find(|thread| *thread != outside.to_string())
        .expect("a lane's thread");
    let mut holder =
        Command::new("python3").args(["-c", HOLD_THREAD, &lane]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert_eq!(told, "held\n");
    let next = await_another(&manager, supervisor);
    holder.wait().unwrap();
    ask(&manager, "one");
    assert!(manager.kaval(&["status"]).contains("watchdog"), "{}", manager.kaval(&["status"]));
    assert!(manager.log().contains("stands still"), "{}", manager.log());
    manager.await_some("a line for systemctl status", |manager| {
        manager.property("StatusText").starts_with("Terminals: 1 live").then_some(())
    });
    assert_eq!(manager.main_pid(), Some(next), "it is well now");
}
