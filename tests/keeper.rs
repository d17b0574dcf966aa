//! The keeper as a process: descriptors survive the supervisor's death, its end and its signals are passed on.
//!
//! ```text
//!   test ──spawns──► kept keeper ──forks──► kept supervisor, again and again
//!     ▲                                        │
//!     └──────────── one connection each ◄──────┘   the test's commands, its answers
//! ```
//!
//! Nothing here sleeps: a restart is a new connection, a death a closed one, an exit a readable pidfd.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// How long anything may take on a loaded machine before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn kept() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let kept = test.ancestors().nth(2).unwrap().join("examples/kept");
    assert!(kept.exists(), "{kept:?} is missing: `cargo build --example kept`");
    kept
}

fn wait_readable(fd: impl AsFd, what: &str) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let events = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)).unwrap();
    assert!(events > 0, "{what} did not happen");
}

struct Keeper {
    process: Child,
    stderr: BufReader<ChildStderr>,
    listener: UnixListener,
    _directory: TempDir,
}

impl Keeper {
    fn start() -> Self {
        Self::start_as(|kept| Command::new(kept))
    }

    /// Starts it from a shell that runs `preparation` first.
    fn start_after(preparation: &str) -> Self {
        let script = format!("{preparation}; exec \"$0\" \"$@\"");
        Self::start_as(|kept| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(script).arg(kept);
            shell
        })
    }

    fn start_as(command: impl FnOnce(&Path) -> Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let mut command = command(&kept());
        command.arg("keeper").arg(&path).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        Self { process, stderr, listener, _directory: directory }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// The next supervisor it starts.
    fn supervisor(&self) -> Supervisor {
        wait_readable(&self.listener, "start of a supervisor");
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut supervisor = Supervisor { stream: BufReader::new(stream), pid: Pid::INIT };
        let pid = supervisor.answer().parse().unwrap();
        supervisor.pid = Pid::from_raw(pid).unwrap();
        supervisor
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The next line on its stderr that contains `part`.
    fn says(&mut self, part: &str) -> String {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it never said {part:?}");
        }
        line
    }

    /// The code it exits with.
    fn exit_code(&mut self) -> Option<i32> {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        wait_readable(pidfd, "end of the keeper");
        self.process.wait().unwrap().code()
    }

    fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// How many descriptors it has whose target contains `part`.
    fn descriptors_of(&self, part: &str) -> usize {
        let directory = format!("/proc/{}/fd", self.pid());
        let entries = std::fs::read_dir(directory).unwrap();
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.to_string_lossy().contains(part)).count()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Supervisor {
    stream: BufReader<UnixStream>,
    pid: Pid,
}

impl Supervisor {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the supervisor is gone");
        line.trim_end().to_owned()
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.stream.get_mut(), "{command}").unwrap();
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }

    fn obey(&mut self, command: &str) {
        assert_eq!(self.ask(command), "ok", "{command}");
    }

    /// The keeper has taken note of it when this returns.
    fn become_ready(&mut self) {
        self.obey("ready");
        self.obey("barrier");
    }

    fn kill(self) {
        kill_process(self.pid, Signal::KILL).unwrap();
    }

    fn exit(mut self, code: u8) {
        self.tell(&format!("exit {code}"));
    }
}

/// The outcome of `kept run` over a shell script, after `preparation` in another shell.
fn run_script(preparation: &str, script: &str) -> Output {
    let outer = format!("{preparation} exec \"$0\" run sh -c \"$1\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(outer).arg(kept()).arg(script);
    command.output().unwrap()
}

#[test]
fn descriptors_come_back_by_name_with_content_and_offset_after_sigkill() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    assert_eq!(first.ask("inherited"), "");
    assert_eq!(first.ask("env LISTEN_FDS"), "absent");
    first.obey("store m1 hello 2");
    first.obey("store j0 journal 7");
    first.obey("store j0 another 0");
    first.obey("barrier");
    first.kill();

    let mut second = keeper.supervisor();
    let expected = "j0=another@0 j0=journal@7 m1=hello@2";
    assert_eq!(second.ask("inherited"), expected);
    assert_eq!(second.ask("inherited-twice"), "0");
    second.obey("store m2 more 0");
    second.obey("barrier");
    second.kill();

    let mut third = keeper.supervisor();
    assert_eq!(third.ask("inherited"), format!("{expected} m2=more@0"));
}

#[test]
fn removed_descriptors_are_closed_and_do_not_come_back() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    first.obey("store m1 a 0");
    first.obey("store m2 b 0");
    first.obey("store m2 c 0");
    first.obey("barrier");
    assert_eq!(keeper.descriptors_of("memfd:m2"), 2);
    first.obey("remove m2");
    first.obey("barrier");
    assert_eq!(keeper.descriptors_of("memfd:m2"), 0);
    first.kill();
    assert_eq!(keeper.supervisor().ask("inherited"), "m1=a@0");
}

#[test]
fn barrier_returns_once_everything_before_it_is_taken() {
    let keeper = Keeper::start();
    let mut supervisor = keeper.supervisor();
    for number in 1..=50 {
        supervisor.obey(&format!("store m{number} content 0"));
        supervisor.obey("barrier");
        assert_eq!(keeper.descriptors_of("memfd:m"), number);
    }
}

#[test]
fn messages_still_queued_when_their_supervisor_is_dead_count() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    let death = pidfd_open(first.pid, PidfdFlags::empty()).unwrap();
    keeper.signal(Signal::STOP);
    // Fewer than the least a queue holds (net.unix.max_dgram_qlen is 10), as nobody reads it.
    first.tell("store-and-die 8");
    wait_readable(death, "death of the supervisor");
    keeper.signal(Signal::CONT);
    let inherited = keeper.supervisor().ask("inherited");
    assert_eq!(inherited.matches("=last-words@0").count(), 8, "{inherited}");
}

#[test]
fn two_thousand_descriptors_come_back() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    first.obey("store-many 2000");
    first.kill();
    let mut expected: Vec<_> = (0..2000).map(|number| format!("m{number}=m{number}@0")).collect();
    expected.sort();
    assert_eq!(keeper.supervisor().ask("inherited"), expected.join(" "));
}

#[test]
fn names_up_to_the_kernels_limit_are_held_and_one_more_is_refused() {
    let mut keeper = Keeper::start();
    let mut first = keeper.supervisor();
    // 511 names of 255 bytes and one of 240, each but the last with its colon: 131,056 bytes, the most there is
    // room for.
    for number in 0..511 {
        first.obey(&format!("store m{number:0254} x 0"));
    }
    first.obey(&format!("store m{:0239} x 0", 511));
    first.obey("store m x 0");
    first.obey("barrier");
    keeper.says("no room");
    first.kill();
    let inherited = keeper.supervisor().ask("inherited");
    assert_eq!(inherited.split(' ').count(), 512);
}

#[test]
fn restarted_supervisor_has_no_descriptors_but_stdio_and_the_inherited() {
    let keeper = Keeper::start_after("exec 7</dev/null 9</dev/null");
    let mut first = keeper.supervisor();
    assert_eq!(first.ask("open-at-start"), "0 1 2");
    for name in ["m1", "p1", "j0", "r0", "w0"] {
        first.obey(&format!("store {name} x 0"));
    }
    first.kill();
    let mut second = keeper.supervisor();
    assert_eq!(second.ask("open-at-start"), "0 1 2 3 4 5 6 7");
    second.obey("remove j0");
    second.kill();
    assert_eq!(keeper.supervisor().ask("open-at-start"), "0 1 2 3 4 5 6");
}

#[test]
fn environment_is_the_keepers_with_its_own_additions() {
    let stale = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x WATCHDOG_USEC=1 WATCHDOG_PID=$$ \
                 NOTIFY_SOCKET=/nowhere OTHER=kept";
    let keeper = Keeper::start_after(stale);
    let mut first = keeper.supervisor();
    for gone in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert_eq!(first.ask(&format!("env {gone}")), "absent", "{gone}");
    }
    assert_eq!(first.ask("env OTHER"), "kept");
    assert_eq!(first.ask("env KAVAL_KEEPER"), keeper.pid().to_string());
    assert_eq!(first.ask("env SYSTEMD_EXEC_PID"), first.pid.to_string());
    first.obey("store m1 x 0");
    first.kill();
    let mut second = keeper.supervisor();
    assert_eq!(second.ask("env LISTEN_PID"), second.pid.to_string());
    assert_eq!(second.ask("env LISTEN_FDNAMES"), "m1");
}

#[test]
fn a_supervisor_is_told_who_was_before_it_and_how_that_ended() {
    let keeper = Keeper::start_after("export KAVAL_PREVIOUS_END='1 exit 0'");
    let mut first = keeper.supervisor();
    assert_eq!(first.ask("env KAVAL_PREVIOUS_END"), "absent");
    first.obey("store m1 x 0");
    let first_pid = first.pid;
    first.kill();
    let mut second = keeper.supervisor();
    assert_eq!(second.ask("env KAVAL_PREVIOUS_END"), format!("{first_pid} signal 9"));
    let second_pid = second.pid;
    second.exit(3);
    assert_eq!(keeper.supervisor().ask("env KAVAL_PREVIOUS_END"), format!("{second_pid} exit 3"));
}

#[test]
fn supervisor_starts_with_more_descriptors_than_its_original_limit() {
    let keeper = Keeper::start_after("ulimit -Sn 100");
    let mut first = keeper.supervisor();
    assert_eq!(first.ask("soft-limit"), "100");
    first.obey("store-many 120");
    first.kill();
    let mut second = keeper.supervisor();
    assert_eq!(second.ask("inherited").split(' ').count(), 120);
    assert_eq!(second.ask("soft-limit"), "187");
    assert_eq!(second.ask("env KAVAL_NOFILE"), "100");
}

#[test]
fn message_from_another_process_is_ignored_and_its_descriptor_closed() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    let address = first.ask("env NOTIFY_SOCKET");
    let (here, there) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    send_to(&address, "FDSTORE=1\nFDNAME=m9", there.as_fd());
    drop(there);
    wait_readable(&here, "closing of the foreign descriptor");
    first.obey("store m1 x 0");
    send_to(&address, "FDSTOREREMOVE=1\nFDNAME=m1", here.as_fd());
    first.obey("barrier");
    first.kill();
    assert_eq!(keeper.supervisor().ask("inherited"), "m1=x@0");
}

fn send_to(address: &str, text: &str, fd: BorrowedFd<'_>) {
    let name = address.strip_prefix('@').unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn code_of_a_supervisor_that_cannot_start_is_passed_through() {
    for code in [0, 1, 2] {
        let mut keeper = Keeper::start();
        keeper.supervisor().exit(code);
        assert_eq!(keeper.exit_code(), Some(code.into()));
    }
    assert_eq!(run_script("", "kill -9 $$").status.code(), Some(137));
}

#[test]
fn program_that_is_not_there_is_named_and_exits_with_127() {
    let output = Command::new(kept()).args(["run", "/nonexistent/kaval"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot start \"/nonexistent/kaval\""), "{stderr}");
}

#[test]
fn supervisor_starts_with_the_signals_the_keeper_was_started_with() {
    // What the surroundings of this test ignore stays ignored, `nohup` does, and nothing is blocked.
    for preparation in ["", "trap '' HUP INT;"] {
        let signals = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
        let without = format!("{preparation} exec sh -c \"{signals}\"");
        let without = Command::new("sh").arg("-c").arg(without).output().unwrap();
        let with = run_script(preparation, signals);
        let text = |output: Output| String::from_utf8(output.stdout).unwrap();
        let expected = text(without);
        assert!(expected.contains("SigBlk:\t0000000000000000\n"), "{expected}");
        assert_eq!(text(with), expected);
    }
}

#[test]
fn sigterm_is_forwarded_and_ends_the_keeper_with_the_supervisors_code() {
    let mut keeper = Keeper::start();
    let mut supervisor = keeper.supervisor();
    supervisor.obey("store m1 x 0");
    assert_eq!(supervisor.ask("await-signal"), "awaiting");
    keeper.signal(Signal::TERM);
    assert_eq!(supervisor.answer(), "15");
    assert!(keeper.is_running());
    supervisor.exit(4);
    assert_eq!(keeper.exit_code(), Some(4));
}

#[test]
fn supervisor_that_dies_of_the_forwarded_sigterm_ends_the_keeper_with_143() {
    let mut keeper = Keeper::start();
    let mut supervisor = keeper.supervisor();
    supervisor.obey("store m1 x 0");
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.exit_code(), Some(143));
}

#[test]
fn other_signals_are_forwarded_and_end_nothing() {
    let mut keeper = Keeper::start();
    let mut supervisor = keeper.supervisor();
    for (signal, number) in [(Signal::HUP, "1"), (Signal::USR1, "10")] {
        assert_eq!(supervisor.ask("await-signal"), "awaiting");
        keeper.signal(signal);
        assert_eq!(supervisor.answer(), number);
    }
    supervisor.obey("store m1 x 0");
    supervisor.kill();
    keeper.supervisor();
    assert!(keeper.is_running());
}

#[test]
fn sigterm_between_two_supervisors_ends_the_keeper_at_once() {
    let mut keeper = Keeper::start();
    keeper.supervisor().obey("store m1 x 0");
    for _ in 0..4 {
        keeper.supervisor().exit(1);
    }
    keeper.says("restarting in 400ms");
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.exit_code(), Some(143));
}

#[test]
fn clean_exit_with_a_terminal_held_is_followed_by_the_next_supervisor() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    first.obey("store m1 x 0");
    first.exit(0);
    assert_eq!(keeper.supervisor().ask("inherited"), "m1=x@0");
}

#[test]
fn clean_exit_with_nothing_but_a_journal_held_ends_the_keeper() {
    let mut keeper = Keeper::start();
    let mut supervisor = keeper.supervisor();
    supervisor.obey("ready");
    supervisor.obey("store j0 x 0");
    supervisor.exit(0);
    assert_eq!(keeper.exit_code(), Some(0));
}

#[test]
fn crash_after_readiness_hands_back_the_journal_though_no_terminal_is_held() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    first.obey("ready");
    first.obey("store j0 x 0");
    first.kill();
    assert_eq!(keeper.supervisor().ask("inherited"), "j0=x@0");
}

#[test]
fn keeper_without_terminals_gives_up_after_five_deaths_in_a_row_without_readiness() {
    let mut keeper = Keeper::start();
    let mut first = keeper.supervisor();
    first.obey("ready");
    first.kill();
    for _ in 0..5 {
        keeper.supervisor().exit(3);
    }
    assert_eq!(keeper.exit_code(), Some(3));
}

#[test]
fn stderr_that_nobody_reads_does_not_hold_up_the_keeper() {
    let (_unread, full) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&full, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::empty()).unwrap();
    let mut command = Command::new(kept());
    command.args(["run", "sh", "-c", "exit 3"]).stderr(full);
    let mut keeper = command.spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&keeper), PidfdFlags::empty()).unwrap();
    wait_readable(pidfd, "end of the keeper");
    assert_eq!(keeper.wait().unwrap().code(), Some(3));
}

#[test]
fn keeper_with_a_terminal_never_gives_up() {
    let keeper = Keeper::start();
    let mut first = keeper.supervisor();
    first.obey("store m1 x 0");
    first.exit(3);
    for _ in 0..6 {
        keeper.supervisor().exit(3);
    }
    assert_eq!(keeper.supervisor().ask("inherited"), "m1=x@0");
}

#[test]
fn orphan_becomes_the_keepers_child_and_is_reaped() {
    let keeper = Keeper::start();
    let mut supervisor = keeper.supervisor();
    let orphan = supervisor.ask("orphan");
    let status = format!("/proc/{orphan}/status");
    let parent = format!("PPid:\t{}\n", keeper.pid());
    assert!(std::fs::read_to_string(&status).unwrap().contains(&parent));

    let pidfd = pidfd_open(Pid::from_raw(orphan.parse().unwrap()).unwrap(), PidfdFlags::empty());
    supervisor.obey("end-orphan");
    wait_readable(pidfd.unwrap(), "end of the orphan");
    // The keeper reaps before it forwards: once this signal arrived, the dead are gone.
    assert_eq!(supervisor.ask("await-signal"), "awaiting");
    keeper.signal(Signal::USR1);
    assert_eq!(supervisor.answer(), "10");
    assert!(!Path::new(&status).exists(), "the orphan is a zombie still");
}

#[test]
fn sigterm_at_any_moment_of_the_start_ends_keeper_and_supervisor() {
    for step in 0..60 {
        let (here, there) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut command = Command::new(kept());
        command.args(["run", "sleep", "1000"]).stdout(there).stderr(Stdio::null());
        let mut keeper = command.spawn().unwrap();
        drop(command);
        let moment = Instant::now() + step * Duration::from_micros(100);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        kill_process(Pid::from_child(&keeper), Signal::TERM).unwrap();
        // Both have the pipe for their stdout: it hangs up when neither is left.
        wait_readable(here, "end of keeper and supervisor");
        let status = keeper.wait().unwrap();
        assert!(status.code() == Some(143) || status.signal() == Some(15), "{status}");
    }
}

/// A directory with a copy of the supervisor in it, and a keeper over that.
struct Installed {
    dir: TempDir,
    keeper: Keeper,
}

impl Installed {
    fn start(trial: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        copy(&kept(), &program);
        let keeper = Keeper::start_as(|_| {
            let mut command = Command::new(program);
            command.env("KEPT_TRIAL_MS", trial.as_millis().to_string());
            command
        });
        Self { dir, keeper }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Puts a shell script there, in place of what there is.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let (new, write) = (self.path("new"), "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod +x \"$2\"");
        assert!(Command::new("sh").args(["-c", write, "sh", text, &new]).status().unwrap().success());
        std::fs::rename(new, &path).unwrap();
        path
    }
}

/// By another process: a descriptor that this one has open for writing may be inherited by what another test forks, and the file
/// could not be executed then.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

fn undone(supervisor: &mut Supervisor) -> String {
    supervisor.ask("env KAVAL_UPGRADE_UNDONE")
}

#[test]
fn upgrade_starts_what_the_programs_file_is_then_or_another_file() {
    let installed = Installed::start(PATIENCE);
    let mut first = installed.keeper.supervisor();
    assert_eq!(first.ask("env KAVAL_PROGRAM"), installed.path("program"));
    first.become_ready();
    copy(&kept(), &installed.dir.path().join("newer"));
    std::fs::rename(installed.path("newer"), installed.path("program")).unwrap();
    assert_eq!(first.ask("exe"), format!("{} (deleted)", installed.path("program")));
    // Nothing is held, and it goes on all the same.
    first.obey("upgrade");
    first.exit(0);
    let mut second = installed.keeper.supervisor();
    assert_eq!(second.ask("exe"), installed.path("program"));
    second.become_ready();
    let other = installed.dir.path().join("other");
    copy(&kept(), &other);
    second.obey("store m1 x 0");
    second.obey(&format!("upgrade {}", other.display()));
    second.exit(0);
    let mut third = installed.keeper.supervisor();
    assert_eq!((third.ask("exe"), third.ask("inherited")), (installed.path("other"), "m1=x@0".to_owned()));
    third.become_ready();
    third.kill();
    let mut fourth = installed.keeper.supervisor();
    assert_eq!((fourth.ask("exe"), fourth.ask("env KAVAL_PROGRAM")), (installed.path("other"), installed.path("other")));
    assert_eq!(undone(&mut fourth), "absent");
}

#[test]
fn candidate_that_ends_before_it_is_ready_is_replaced_by_the_image_that_was_ready() {
    let installed = Installed::start(PATIENCE);
    let mut first = installed.keeper.supervisor();
    first.become_ready();
    let other = installed.script("other", "exit 3");
    // Not even a terminal is needed for it to be put back.
    first.obey(&format!("upgrade {other}"));
    first.exit(0);
    let mut second = installed.keeper.supervisor();
    let reason = format!("{other} exited with code 3 before it was ready");
    assert_eq!(undone(&mut second), reason);
    assert_eq!(second.ask("exe"), installed.path("program"));
    assert_eq!(second.ask("env KAVAL_PROGRAM"), installed.path("program"));
    second.become_ready();
    second.obey("store m1 x 0");
    second.kill();
    let mut third = installed.keeper.supervisor();
    assert_eq!((undone(&mut third), third.ask("inherited")), (reason.clone(), "m1=x@0".to_owned()));
    third.become_ready();
    // Until one succeeds.
    third.obey("upgrade");
    third.exit(0);
    let mut fourth = installed.keeper.supervisor();
    assert_eq!(undone(&mut fourth), "absent");
    fourth.become_ready();
    fourth.kill();
    assert_eq!(undone(&mut installed.keeper.supervisor()), "absent");
}

#[test]
fn candidate_that_cannot_be_executed_is_replaced_as_well() {
    let installed = Installed::start(PATIENCE);
    let mut first = installed.keeper.supervisor();
    first.become_ready();
    first.obey("upgrade /nonexistent/kaval");
    first.exit(0);
    let told = undone(&mut installed.keeper.supervisor());
    assert_eq!(told, "/nonexistent/kaval exited with code 127 before it was ready");
}

#[test]
fn candidate_that_hangs_is_ended_and_replaced() {
    let installed = Installed::start(Duration::from_millis(200));
    let mut first = installed.keeper.supervisor();
    first.become_ready();
    first.obey("store m1 x 0");
    let other = installed.script("other", "exec sleep 1000");
    first.obey(&format!("upgrade {other}"));
    first.exit(0);
    let mut second = installed.keeper.supervisor();
    let told = undone(&mut second);
    assert!(told.starts_with(&format!("{other} was not ready within 2")) && told.ends_with("ms and was ended"), "{told}");
    assert_eq!(second.ask("inherited"), "m1=x@0");
    assert!(second.ask("env KAVAL_PREVIOUS_END").ends_with(" signal 9"));
}

#[test]
fn image_that_was_ready_outlives_its_file() {
    let installed = Installed::start(PATIENCE);
    let mut first = installed.keeper.supervisor();
    first.become_ready();
    std::fs::remove_file(installed.path("program")).unwrap();
    first.kill();
    let mut second = installed.keeper.supervisor();
    assert_eq!(second.ask("exe"), format!("{} (deleted)", installed.path("program")));
    assert_eq!((undone(&mut second), second.ask("open-at-start")), ("absent".to_owned(), "0 1 2".to_owned()));
    second.become_ready();
    // What was put in its place meanwhile is tried, and does not work.
    let program = installed.script("program", "exit 4");
    second.kill();
    let told = undone(&mut installed.keeper.supervisor());
    assert_eq!(told, format!("{program} exited with code 4 before it was ready"));
}

#[test]
fn supervisor_that_is_not_ready_asks_for_no_upgrade() {
    let installed = Installed::start(PATIENCE);
    let mut first = installed.keeper.supervisor();
    first.obey("store m1 x 0");
    first.obey("upgrade /nonexistent/kaval");
    first.exit(0);
    let mut second = installed.keeper.supervisor();
    assert_eq!((second.ask("inherited"), undone(&mut second)), ("m1=x@0".to_owned(), "absent".to_owned()));
}
