//! Laws 1, 2 and 9 on the real thing: a supervisor that is SIGKILLed at random moments, while terminals stream, are created and end, loses,
//! repeats and moves no byte, and neither children nor clients notice.
//!
//! `KAVAL_SOAK=1` kills a thousand times.

#[path = "support/subjects.rs"]
mod subjects;
mod support;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kaval::{
    client::{ClientError, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, Code, Empty, ExitInfo, LsOk, NewOk, Op, TermRef},
};
use rustix::process::{Pid, Signal, kill_process};
use subjects::{Subject, attach, create_subjects, history, insist, watch};
use support::{Instance, PATIENCE, example, soak};

/// Room for everything that is written: nothing may be dropped for want of it.
const ROOMY: &str = "[journal]\nbytes_max = \"1GiB\"\n";

fn subjects(instance: &Instance, modes: &[&str]) -> Vec<Subject> {
    create_subjects(modes, &example("emitter"), instance.dir(), |args| _ = instance.ok(args))
}

/// The supervisor that the keeper runs now: the one of its children that the keeper itself started. What a dead supervisor had only just
/// forked looks the same, but for whose process id its environment names.
fn running_supervisor(keeper: Pid) -> Option<Pid> {
    let keeper = keeper.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    let pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    let started_by_keeper = |pid: &i32| {
        let own = format!("SYSTEMD_EXEC_PID={pid}");
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == own.as_bytes()))
    };
    pids.filter(started_by_keeper).find_map(Pid::from_raw)
}

/// Kills the supervisor `kills` times: three times of four some way into its life, else while it is still coming up.
///
/// The moments are random on purpose, and so are waited for, not derived from an event.
fn kill_at_random(instance: &Instance, kills: usize) {
    let keeper = instance.keeper_pid();
    let mut ready_before = 0;
    for n in 0..kills {
        let early = n % 4 == 3;
        let supervisor = spin_until(|| running_supervisor(keeper));
        if !early {
            instance.log.await_count(" INFO ready ", ready_before + 1);
        }
        let within_us = if early { 40_000 } else { 150_000 };
        thread::sleep(Duration::from_micros(rand::random_range(0..within_us)));
        ready_before = instance.log.count(" INFO ready ");
        kill_process(supervisor, Signal::KILL).unwrap();
        spin_until(|| running_supervisor(keeper).filter(|pid| *pid != supervisor));
    }
}

fn spin_until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing happened");
        thread::yield_now();
    }
}

/// Creates, ends and removes terminals until told to stop; each must run its command exactly once, whatever is killed meanwhile.
async fn churn(socket: PathBuf, dir: PathBuf, who: usize, stop: Arc<AtomicBool>) -> usize {
    let mut rounds = 0;
    while !stop.load(Ordering::Acquire) {
        let (name, ran) = (format!("churn-{who}-{rounds}"), dir.join(format!("ran-{who}-{rounds}")));
        let script = format!("echo ran >> '{}'; echo made; exit 3", ran.display());
        let new = Op::New {
            name: Some(name.clone()),
            command: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            cwd: None,
            env: vec![],
            size: None,
            token: rand::random::<u64>() | 1,
            if_absent: false,
            no_log: false,
            restart: Default::default(),
        };
        let created: NewOk = insist(&socket, new).await.unwrap();
        assert_eq!(created.name, name);
        let received = watch(socket.clone(), name.clone()).await;
        assert_eq!(received.exit, Some(ExitInfo::Code(3)), "{name}");
        assert_eq!(received.bytes, b"made\r\n", "{name}");
        assert_eq!(fs::read_to_string(&ran).unwrap(), "ran\n", "{name} did not run its command exactly once");
        match insist::<Empty>(&socket, Op::Rm { term: name.as_str().into() }).await {
            Ok(Empty {}) => {}
            // The answer to a removal that was done may have been lost with the supervisor.
            Err(ClientError::Refused(error)) if error.code == Code::NoSuchTerm => {}
            Err(error) => panic!("{name}: {error}"),
        }
        rounds += 1;
    }
    rounds
}

/// How often recovery found what.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "read by way of Debug")]
struct Found {
    kills: usize,
    pipe: usize,
    tail: usize,
    voided: usize,
    create: usize,
    end: usize,
}

impl Found {
    fn of(instance: &Instance, kills: usize) -> Self {
        let lines = instance.log.lines();
        let count = |has: &dyn Fn(&str) -> bool| lines.iter().filter(|line| has(line)).count();
        let recovered = |line: &str, nothing: &str| line.contains("journal recovered") && !line.contains(nothing);
        let repairing = |line: &str, steps: &[&str]| line.contains("repairing") && steps.iter().any(|step| line.contains(step));
        Self {
            kills,
            pipe: count(&|line| recovered(line, "pipe_bytes=0")),
            tail: count(&|line| recovered(line, "tail_bytes=0")),
            voided: count(&|line| recovered(line, "voided=false")),
            create: count(&|line| repairing(line, &["Spawn", "Launch"])),
            end: count(&|line| repairing(line, &["Bury", "Discard", "Forget"])),
        }
    }
}

/// Streams, kills, and compares; the names of terminals whose bytes differ somewhere.
fn survive(instance: &Instance, modes: &[&str], kills: usize, churning: bool) -> Vec<String> {
    let subjects = subjects(instance, modes);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let watching: Vec<_> =
        subjects.iter().map(|subject| runtime.spawn(watch(instance.socket(), subject.name.clone()))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let start_churning = |who| runtime.spawn(churn(instance.socket(), instance.dir().to_owned(), who, stop.clone()));
    let churners: Vec<_> = (0..if churning { 3 } else { 0 }).map(start_churning).collect();
    kill_at_random(instance, kills);
    stop.store(true, Ordering::Release);
    let rounds: usize = churners.into_iter().map(|churner| runtime.block_on(churner).unwrap()).sum();
    fs::write(instance.path("stop"), "").unwrap();

    let mut differing = Vec::new();
    let mut total = 0;
    for (subject, watching) in subjects.iter().zip(watching) {
        let received = runtime.block_on(async { tokio::time::timeout(PATIENCE, watching).await }).expect("an end").unwrap();
        let (record, history) =
            (fs::read(&subject.record).unwrap(), runtime.block_on(history(&instance.socket(), &subject.name)));
        total += record.len();
        if (0, &record) != (history.0, &history.1) || record != received.bytes || received.lags > 0 {
            differing.push(format!(
                "{}: wrote {}, history {}, received {}, {} lags",
                subject.name,
                record.len(),
                history.1.len(),
                received.bytes.len(),
                received.lags
            ));
        }
        assert_eq!(received.exit, Some(ExitInfo::Code(subject.exit)), "{}", subject.name);
    }
    let listing: LsOk = runtime.block_on(insist(&instance.socket(), Op::Ls { after: None })).unwrap();
    assert_eq!(listing.terms.len(), subjects.len(), "terminals were left over: {:?}", listing.terms);
    println!(
        "{:?}, {rounds} terminals created, ended and removed meanwhile, {total} bytes compared",
        Found::of(instance, kills)
    );
    differing
}

#[test]
fn no_kill_loses_repeats_or_moves_a_byte_and_no_child_or_client_notices() {
    let instance = Instance::start_with(ROOMY, &[]);
    let modes = ["flood", "flood", "flood", "flood", "count", "count", "count", "trickle", "trickle", "trickle"];
    let differing = survive(&instance, &modes, if soak() { 1000 } else { 100 }, true);
    assert!(differing.is_empty(), "{differing:#?}");
    compare_with_disk(instance, modes.len(), ROOMY);
}

/// What is on disk once keeper and supervisor are gone and nothing else is left, against the children's records.
fn compare_with_disk(instance: Instance, subjects: usize, config: &str) {
    let names: Vec<String> = instance.ls().iter().map(|term| term["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), subjects);
    let instance = Instance::start_in(instance.end(), config, &[], &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for name in names {
        let record = fs::read(instance.path(&format!("record-{}", name.rsplit_once('-').unwrap().1))).unwrap();
        let (floor, history) = runtime.block_on(history(&instance.socket(), &name));
        assert!(
            (floor, &history) == (0, &record),
            "{name}: wrote {}, {} are on disk from {floor} on",
            record.len(),
            history.len()
        );
    }
}

/// The journal is too small for what is written, so kills land while blocks are sealed, merged, flushed and evicted, and while segments are
/// freed; what the journal has let go of is read from disk, and joined to what it has.
fn survive_logging(config: &str, kills: usize, is_right: impl Fn(u64, &[u8], &[u8]) -> bool) {
    let instance = Instance::start_with(config, &[]);
    let subjects = subjects(&instance, &["flood", "flood", "count", "count", "trickle", "trickle"]);
    kill_at_random(&instance, kills);
    fs::write(instance.path("stop"), "").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for subject in &subjects {
        instance.ok(&["wait", &subject.name, "--exit"]);
        let record = fs::read(&subject.record).unwrap();
        let (floor, history) = runtime.block_on(history(&instance.socket(), &subject.name));
        let (name, wrote, kept) = (&subject.name, record.len(), history.len());
        assert!(is_right(floor, &history, &record), "{name}: wrote {wrote}, kept {kept} from {floor} on");
    }
    let again = Instance::start_in(instance.end(), config, &[], &[]);
    for subject in &subjects {
        let record = fs::read(&subject.record).unwrap();
        let (floor, history) = runtime.block_on(history(&again.socket(), &subject.name));
        assert!(is_right(floor, &history, &record), "{} from disk: {} from {floor} on", subject.name, history.len());
    }
}

#[test]
fn no_kill_costs_the_log_a_byte_that_the_journal_has_let_go_of() {
    let config = "[journal]\nbytes_max = \"16MiB\"\n[log]\nsync = \"20ms\"\nstall_max = \"1min\"\n";
    survive_logging(config, if soak() { 1000 } else { 100 }, |floor, kept, wrote| floor == 0 && kept == wrote);
}

#[test]
fn what_retention_leaves_over_kills_is_the_end_of_what_was_written() {
    let config = "[journal]\nbytes_max = \"16MiB\"\n[log]\nsync = \"20ms\"\nstall_max = \"1min\"\nbytes_max = \"2MiB\"\n";
    survive_logging(config, if soak() { 1000 } else { 100 }, |floor, kept, wrote| {
        kept.len() >= wrote.len().min(1 << 20) && wrote.get(floor as usize..) == Some(kept)
    });
}

/// The test above can fail: where bytes pass through the supervisor's memory, it does.
#[test]
fn copying_instead_of_splicing_loses_bytes() {
    let instance = Instance::start_with(ROOMY, &["--data-path", "copy"]);
    let differing = survive(&instance, &["flood", "flood", "flood", "flood"], 60, false);
    assert!(!differing.is_empty(), "60 kills of a copying supervisor lost nothing");
}

/// Types numbered lines until told to stop; everything that was typed.
async fn type_lines(socket: PathBuf, name: String, stop: Arc<AtomicBool>) -> Vec<u8> {
    let options =
        SessionOptions { socket, term: TermRef::Name(name), mode: AttachMode::Rw, size: None, from: AttachFrom::Screen };
    let mut session = attach(options).await;
    let mut typed = Vec::new();
    for line in 0.. {
        if stop.load(Ordering::Acquire) && session.is_settled() {
            break;
        }
        if session.is_settled() && !stop.load(Ordering::Acquire) {
            let text = format!("line {line}, typed once\n");
            typed.extend_from_slice(text.as_bytes());
            session.input(text.into()).await;
        }
        // An acknowledgement is no update: `next` is left again and again to look for it.
        let _ = tokio::time::timeout(Duration::from_millis(1), session.next()).await;
    }
    typed
}

/// Law 9.
#[test]
fn what_is_typed_over_any_kills_arrives_once_and_whole() {
    let instance = Instance::start();
    let file = instance.path("typed");
    let script = format!("stty raw -echo; echo ready; exec cat > '{}'", file.display());
    instance.ok(&["new", "-d", "typist", "--", "sh", "-c", &script]);
    instance.ok(&["wait", "typist", "--match", "ready"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let typing = runtime.spawn(type_lines(instance.socket(), "typist".to_owned(), stop.clone()));
    kill_at_random(&instance, if soak() { 1000 } else { 100 });
    stop.store(true, Ordering::Release);
    let typed = runtime.block_on(async { tokio::time::timeout(PATIENCE, typing).await }).expect("an end").unwrap();
    spin_until(|| (fs::read(&file).ok()?.len() >= typed.len()).then_some(()));
    assert!(fs::read(&file).unwrap() == typed, "what arrived differs from the {} bytes typed", typed.len());
    println!("{} lines typed over the kills", typed.iter().filter(|byte| **byte == b'\n').count());
}

/// A client that only wrote while its supervisor waited for it to read would stand still here.
#[test]
fn a_large_paste_into_a_terminal_that_echoes_arrives_whole() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "echo", "--", "sh", "-c", "stty raw -echo; echo ready; exec cat"]);
    instance.ok(&["wait", "echo", "--match", "ready"]);
    let paste: Vec<u8> = (0..2 << 20).map(|i: u32| b' ' + (i % 89) as u8).collect();
    let socket = instance.socket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let echoed = runtime.block_on(async {
        let (mode, from) = (AttachMode::Rw, AttachFrom::Screen);
        let mut session = attach(SessionOptions { socket, term: "echo".into(), mode, size: None, from }).await;
        session.input(paste.clone().into()).await;
        let mut echoed = Vec::new();
        while echoed.len() < paste.len() {
            match tokio::time::timeout(PATIENCE, session.next()).await.expect("an echo").unwrap() {
                Update::Output { data, .. } => echoed.extend_from_slice(&data),
                other => assert!(matches!(other, Update::Screen { .. }), "{other:?}"),
            }
        }
        echoed
    });
    assert!(echoed == paste, "what came back differs");
}
