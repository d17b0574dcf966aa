//! What programs ask their terminal: each question is answered once, by whoever is there, whoever comes, goes and is killed.
//!
//! `KAVAL_SOAK=1` asks twenty times as often.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/tmux.rs"]
mod tmux;

mod support;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kaval::{
    client::{ClientError, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode},
};
use kaval_actors::{Size, mirror::Hush};
use raw::{Frame, Raw};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Instance, PATIENCE, soak};
use tmux::{Pane, await_some, missing};

/// Ends a test, with its reason, where a program that it uses is not installed.
macro_rules! needs {
    ($($program:literal),*) => {
        if let Some(program) = missing(&[$($program),*]) {
            return println!("skipped: {program} is not installed");
        }
    };
}

/// A child that asks for the cursor's place whenever a line comes, and tells what came in answer until nothing has come for a second
/// after the first.
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
    while not answers or select.select([0], [], [], 1)[0]:
        answers += os.read(0, 100)
    os.write(1, b"%s: %d\r\n" % (line.strip(), answers.count(b"R")))
"#;

fn asker(instance: &Instance) {
    instance.ok(&["new", "-d", "t", "--size", "100x30", "--", "python3", "-c", ASKER]);
    instance.ok(&["wait", "t", "--match", "ready"]);
}

/// Has the child ask; how many answers it got.
fn answers(instance: &Instance, question: &str) -> u32 {
    ask(instance, question);
    told(instance, question)
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

/// A window by hand: attached to type, of the terminal's size.
fn window(instance: &Instance, from: &serde_json::Value) -> (Raw, Frame) {
    let mut raw = Raw::hello(&instance.socket());
    let size = json!({"cols": 100, "rows": 30});
    let attached = raw.ask(&json!({"req": 1, "op": "attach", "term": "t", "mode": "rw", "size": size, "from": from}));
    (raw, attached)
}

/// Where the question stands that a window is shown next.
fn await_question(window: &mut Raw) -> u64 {
    loop {
        let frame = window.receive().expect("a question");
        if frame.ev.as_deref() == Some("output")
            && let Some(at) = frame.data.unwrap().windows(4).position(|bytes| bytes == b"\x1b[6n")
        {
            return frame.offset.unwrap() + at as u64 + 4;
        }
    }
}

fn ask(instance: &Instance, question: &str) {
    instance.ok(&["send", "t", "--enter", question]);
}

/// Waits for the child to tell how many answers it got.
fn told(instance: &Instance, question: &str) -> u32 {
    let told = await_some("an answer", || {
        let screen = instance.ok(&["screen", "t"]);
        let found = screen.lines().find_map(|line| line.strip_prefix(question)?.strip_prefix(": ").map(str::to_owned));
        found.ok_or(screen)
    });
    told.parse().unwrap()
}

/// It waited for ever: what was left to a client was nobody else's.
#[test]
fn a_question_in_the_hand_of_a_client_that_is_killed_is_answered() {
    needs!("python3");
    let instance = Instance::start();
    asker(&instance);
    for (n, also_supervisor) in [false, true].into_iter().enumerate() {
        let question = format!("in hand {n}");
        let (mut window, _) = window(&instance, &json!("screen"));
        ask(&instance, &question);
        await_question(&mut window);
        if also_supervisor {
            instance.kill_supervisor();
        }
        drop(window);
        assert_eq!(told(&instance, &question), 1);
    }
}

/// It waited for ever, too.
#[test]
fn a_window_whose_terminal_does_not_answer_is_answered_for_and_what_it_says_later_is_dropped() {
    needs!("python3");
    let instance = Instance::start();
    asker(&instance);
    let (mut window, _) = window(&instance, &json!("screen"));
    ask(&instance, "silent");
    await_question(&mut window);
    assert_eq!(told(&instance, "silent"), 1);
    ask(&instance, "late");
    await_question(&mut window);
    // The answer to this one, the one that is late, and keys around it.
    window.ask(&json!({"req": 2, "op": "input", "term": "t", "data": b"\x1b[5;5R"}));
    window.ask(&json!({"req": 3, "op": "input", "term": "t", "data": b"\x1b[6;6R"}));
    assert_eq!(told(&instance, "late"), 1);
}

/// What is sent again after a reconnection may have been answered for meanwhile; what is shown again is not to be answered.
#[test]
fn a_client_that_resumes_is_told_what_is_answered_already() {
    needs!("python3");
    let instance = Instance::start();
    asker(&instance);
    let (mut shown, _) = window(&instance, &json!(0));
    ask(&instance, "one");
    let first = await_question(&mut shown);
    drop(shown);
    assert_eq!(told(&instance, "one"), 1);
    for from in [0, first] {
        let (mut again, attached) = window(&instance, &json!(from));
        assert!(attached.ok.unwrap().answered.unwrap() >= first);
        again.ask(&json!({"req": 2, "op": "input", "term": "t", "data": b"\x1b[5;5R"}));
        let question = format!("after {from}");
        ask(&instance, &question);
        while await_question(&mut again) <= first {}
        again.ask(&json!({"req": 3, "op": "input", "term": "t", "data": b"\x1b[6;6R"}));
        assert_eq!(told(&instance, &question), 1, "the answer that came late was taken for typed");
    }
}

/// It answered what was asked while it was away once more.
#[test]
fn a_window_that_was_away_does_not_answer_what_was_answered_meanwhile() {
    needs!("tmux", "python3");
    let instance = Instance::start();
    asker(&instance);
    let pane = Pane::open(&instance.command::<&str>(&[]), instance.dir(), (100, 30));
    // Its shell would take the terminal back if its own child stopped.
    pane.enter("sh -c 'kaval attach t; true'");
    await_some("the client", || if instance.ls()[0]["clients"] == 1 { Ok(()) } else { Err(instance.ls()[0].to_string()) });
    assert_eq!(answers(&instance, "before"), 1);
    let client = attached_pid(&instance);
    kill_process(client, Signal::STOP).unwrap();
    instance.kill_supervisor();
    assert_eq!(answers(&instance, "meanwhile"), 1);
    kill_process(client, Signal::CONT).unwrap();
    pane.await_screen(|text| text.contains("meanwhile: 1"));
    assert_eq!(answers(&instance, "after"), 1);
}

/// The `kaval attach` of this instance.
fn attached_pid(instance: &Instance) -> Pid {
    let state = format!("XDG_STATE_HOME={}", instance.dir().join("state").display());
    let is_attach = |pid: &i32| {
        let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let has = |bytes: &[u8], wanted: &str| bytes.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes());
        has(&read("cmdline"), "attach") && has(&read("environ"), &state)
    };
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_attach).find_map(Pid::from_raw).expect("a client")
}

/// Asks one after the other, and in the end tells how many answers came, those that came too many included.
const INSISTER: &str = r#"
import os, select, sys, termios, tty
tty.setraw(0)
count, answers = int(sys.argv[1]), b""
os.write(1, b"ready\r\n")
os.read(0, 1)
for n in range(count):
    os.write(1, b"\x1b[6n")
    while answers.count(b"R") <= n:
        answers += os.read(0, 4096)
while select.select([0], [], [], 3)[0]:
    answers += os.read(0, 4096)
os.write(1, b"answers: %d\r\n" % answers.count(b"R"))
os.read(0, 1)
"#;

fn options(socket: PathBuf) -> SessionOptions {
    SessionOptions { socket, term: "t".into(), mode: AttachMode::Rw, size: Size::new(100, 30).ok(), from: AttachFrom::Screen }
}

/// A window whose terminal answers, until it has been asked `patience` times: then it is killed with that question in hand.
async fn answer_for_a_while(socket: PathBuf, mut patience: u32, stop: &AtomicBool) -> Result<(), ClientError> {
    let mut session = Session::attach(options(socket)).await?;
    let mut hush = Hush::default();
    let mut seen = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let Ok(update) = tokio::time::timeout(Duration::from_millis(50), session.next()).await else { continue };
        match update? {
            Update::Output { offset, data } => {
                let settled = (session.answered().saturating_sub(offset) as usize).min(data.len());
                seen.extend(hush.hush(&data[..settled]));
                seen.extend(hush.pass(&data[settled..]));
            }
            Update::Screen { .. } => {
                seen.clear();
                hush = Hush::default();
            }
            Update::Resized { .. }
            | Update::Lagged { .. }
            | Update::Respawning { .. }
            | Update::Reaping { .. }
            | Update::Lost => {}
            Update::Exited(_) | Update::Detached => return Ok(()),
        }
        while let Some(at) = seen.windows(4).position(|bytes| bytes == b"\x1b[6n") {
            seen.drain(..at + 4);
            if patience == 0 {
                return Ok(());
            }
            patience -= 1;
            session.input(bytes::Bytes::from_static(b"\x1b[5;5R")).await;
        }
    }
    Ok(())
}

/// Attaches again and again.
async fn come_and_go(socket: PathBuf, stop: Arc<AtomicBool>) -> u32 {
    let mut visits = 0;
    while !stop.load(Ordering::Acquire) {
        match answer_for_a_while(socket.clone(), rand::random_range(0..400), &stop).await {
            Ok(()) => visits += 1,
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
    }
    visits
}

#[test]
fn of_thousands_of_questions_each_is_answered_once_while_windows_and_supervisors_are_killed() {
    needs!("python3");
    let (count, kills): (u32, u32) = if soak() { (100_000, 200) } else { (5_000, 10) };
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--size", "100x30", "--", "python3", "-c", INSISTER, &count.to_string()]);
    instance.ok(&["wait", "t", "--match", "ready"]);
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let windows: Vec<_> = (0..2).map(|_| runtime.spawn(come_and_go(instance.socket(), stop.clone()))).collect();
    instance.ok(&["send", "t", "go"]);
    for n in 1..=kills {
        // At some question of those that the windows answer.
        let asked = u64::from(n) * u64::from(count) * 4 / u64::from(kills + 1);
        let deadline = Instant::now() + PATIENCE;
        while offset(&instance) < asked {
            assert!(Instant::now() < deadline, "no question was answered any more at {}", offset(&instance));
            std::thread::yield_now();
        }
        instance.kill_supervisor();
    }
    instance.ok(&["wait", "t", "--match", "answers: ", "--timeout", "300"]);
    stop.store(true, Ordering::Release);
    let visits: Vec<u32> = windows.into_iter().map(|window| runtime.block_on(window).unwrap()).collect();
    let screen = instance.ok(&["screen", "t"]);
    println!("{kills} kills, {visits:?} windows: {screen}");
    assert!(screen.contains(&format!("answers: {count}\n")), "{kills} kills, {visits:?} windows: {screen}");
}

fn offset(instance: &Instance) -> u64 {
    instance.ls()[0]["offset"].as_u64().unwrap()
}
