//! Doing what was planned: the effects on disk, descriptors and processes, one after the other on a thread of their own.
//!
//! ```text
//!   supervisor actor ──Job──► executor thread: Record, OpenPty, SpawnHeld, … in plan's order ──Done──► supervisor actor: actors' effects
//! ```
//!
//! **Invariants.** One thread does all of it, so no two spawns overlap (`openpty` marks its descriptors close-on-exec only after the
//! fact), and no actor's thread waits for a disk or a fork. Effects on actors are the supervisor's to do, in the same order. A job that
//! panics fails, and those behind it are done. However many terminals are signalled at once, processes are looked at once.

use std::{
    ffi::OsString,
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::{
    custody::{Custody, Tag},
    inventory::Descriptors,
    manifest::{Manifest, ManifestError, Record, State, now_ms},
    plan::{Effect, Step, effects},
};
use crate::{
    TermId,
    pty::{
        adopt::{self, Sessions, pid_of},
        cgroup::Groups,
        input::InputQueue,
        launch::{self, FileLimits},
        spawn::{self, Command, Pty, SpawnError},
    },
};

/// How long a child on its way to being held is waited for, and how often it is looked at.
const HELD_MAX: Duration = Duration::from_secs(5);
const HELD_RETRY: Duration = Duration::from_millis(1);

/// Why a step was not done to its end. What was done of it is repaired by the next plan.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The child could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The record could not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The child that a killed supervisor left did not become ready to be let go.
    #[error("a child left by a supervisor that was killed has ended or does not stop where it should")]
    NotHeld,
    /// It panicked.
    #[error("a fault in kaval itself: its log says where")]
    Panicked,
    /// The executor's thread is gone.
    #[error("the executor has ended")]
    Gone,
}

/// What the child of a terminal that is not logged is told: were its record lost, this is where it is known from.
pub(super) const NOT_LOGGED: (&str, &str) = ("KAVAL_TERM_LOG", "off");

/// What every child is given.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The supervisor's socket, for `KAVAL_SOCKET`.
    pub socket: PathBuf,
    /// The open-file limits that the supervisor was started with.
    pub limits: FileLimits,
    /// Where it is to run, if there are control groups to be had.
    pub groups: Option<Groups>,
}

/// A step to do for one terminal.
#[derive(Debug)]
struct Job {
    id: TermId,
    record: Option<Record>,
    descriptors: Descriptors,
    task: Task,
    asked: Instant,
    reply: oneshot::Sender<Done>,
}

#[derive(Debug)]
enum Task {
    Step(Step),
    Put,
    Signal(Signal),
}

/// What became of a job.
#[derive(Debug)]
pub struct Done {
    /// The record as it now is; `None` if there is none.
    pub record: Option<Record>,
    /// What is now held.
    pub descriptors: Descriptors,
    /// Whether it was done to its end.
    pub result: Result<(), ExecuteError>,
}

/// A handle to the executor's thread.
#[derive(Debug, Clone)]
pub struct Executor {
    jobs: mpsc::Sender<Job>,
}

impl Executor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(manifest: Manifest, custody: Box<dyn Custody>, surroundings: Surroundings) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let worker = Worker { manifest, custody, surroundings };
        thread::Builder::new().name("kaval-executor".into()).spawn(move || worker.work(&queue))?;
        Ok(Self { jobs })
    }

    /// Does the effects of `step` that are not on actors.
    pub async fn step(&self, id: TermId, record: Option<Record>, descriptors: Descriptors, step: Step) -> Done {
        self.ask(id, record, descriptors, Task::Step(step)).await
    }

    /// Writes a record; on disk when done.
    pub async fn put(&self, record: Record) -> Done {
        self.ask(record.id, Some(record), Descriptors::default(), Task::Put).await
    }

    /// Sends a signal to all that runs in a terminal.
    pub async fn signal(&self, id: TermId, descriptors: Descriptors, signal: Signal) -> Done {
        self.ask(id, None, descriptors, Task::Signal(signal)).await
    }

    async fn ask(&self, id: TermId, record: Option<Record>, descriptors: Descriptors, task: Task) -> Done {
        let (reply, answer) = oneshot::channel();
        let gone = Done { record: record.clone(), descriptors: descriptors.clone(), result: Err(ExecuteError::Gone) };
        if self.jobs.send(Job { id, record, descriptors, task, asked: Instant::now(), reply }).is_err() {
            return gone;
        }
        answer.await.unwrap_or(gone)
    }
}

struct Worker {
    manifest: Manifest,
    custody: Box<dyn Custody>,
    surroundings: Surroundings,
}

/// What effects of one job work on.
struct Progress<'a> {
    id: TermId,
    asked: Instant,
    /// Those of an earlier job, if there are any.
    sessions: &'a mut Option<Sessions>,
    record: Option<Record>,
    descriptors: Descriptors,
    pty: Option<Pty>,
}

impl Worker {
    /// Does jobs for ever; what it has seen of other processes it forgets when it has nothing to do.
    fn work(&self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut sessions = None;
            self.run(first, &mut sessions);
            queue.try_iter().for_each(|job| self.run(job, &mut sessions));
        }
    }

    fn run(&self, Job { id, record, descriptors, task, asked, reply }: Job, sessions: &mut Option<Sessions>) {
        let mut progress = Progress { id, asked, sessions, record, descriptors, pty: None };
        // What a job holds when it panics is handed back as it is: every effect can be cut short there.
        let done = catch_unwind(AssertUnwindSafe(|| self.perform(task, &mut progress)));
        let result = done.unwrap_or(Err(ExecuteError::Panicked));
        let _ = reply.send(Done { record: progress.record, descriptors: progress.descriptors, result });
    }

    fn perform(&self, task: Task, on: &mut Progress<'_>) -> Result<(), ExecuteError> {
        match task {
            Task::Step(step @ (Step::Respawn | Step::Launch)) => {
                on.start_again();
                effects(step).into_iter().try_for_each(|effect| self.apply(effect, on))
            }
            Task::Step(step) => effects(step).into_iter().try_for_each(|effect| self.apply(effect, on)),
            Task::Put => Ok(on.record.as_ref().map_or(Ok(()), |record| self.manifest.put(record))?),
            Task::Signal(signal) => {
                on.signal(signal);
                Ok(())
            }
        }
    }

    fn apply(&self, effect: Effect, on: &mut Progress<'_>) -> Result<(), ExecuteError> {
        match effect {
            Effect::Record(state) => {
                if let Some(record) = &mut on.record {
                    let recorded = Record { state, ..record.clone() };
                    self.manifest.put(&recorded)?;
                    *record = recorded;
                }
            }
            Effect::Delete => {
                if let Some(record) = on.record.take() {
                    self.remove_group(record.id);
                    self.manifest.delete(record.id)?;
                }
            }
            Effect::Release => self.release(on),
            Effect::OpenPty => self.open_pty(on)?,
            Effect::SpawnHeld => self.spawn_held(on)?,
            Effect::StorePidfd => self.store_pidfd(on),
            Effect::AwaitHeld => await_held(on)?,
            Effect::Continue => {
                self.place(on);
                if let Some(pidfd) = &on.descriptors.pidfd
                    && let Err(error) = spawn::release(pidfd.as_fd())
                {
                    tracing::warn!(%error, "the child ended before it was let go");
                }
            }
            Effect::SendHangup => on.signal(Signal::HUP),
            Effect::StartActor | Effect::TellActor(_) | Effect::RestActor | Effect::StopActor => {}
        }
        Ok(())
    }

    fn release(&self, on: &mut Progress<'_>) {
        on.descriptors = Descriptors::default();
        self.remove_group(on.id);
        for tag in [Tag::Input(on.id), Tag::Pidfd(on.id), Tag::Master(on.id)] {
            warn_custody("drop", tag, self.custody.remove(&tag.to_string()));
        }
    }

    /// Gives the child its group.
    fn place(&self, on: &Progress<'_>) {
        let Some(groups) = &self.surroundings.groups else { return };
        let child = on.descriptors.pidfd.as_ref().and_then(|pidfd| pid_of(pidfd.as_fd()));
        if let Some(error) = child.and_then(|child| groups.place(on.id, child).err()) {
            tracing::warn!(term = %on.id, %error, "the child runs without a control group of its own");
        }
    }

    fn remove_group(&self, id: TermId) {
        if let Some(groups) = &self.surroundings.groups {
            groups.remove(id);
        }
    }

    fn open_pty(&self, on: &mut Progress<'_>) -> Result<(), ExecuteError> {
        let Some(record) = &on.record else { return Ok(()) };
        let pty = Pty::open(record.size)?;
        let input =
            InputQueue::create_behind(&record.again.heard).map_err(|error| SpawnError::NoPty { reason: error.to_string() })?;
        let tags = (Tag::Master(record.id), Tag::Input(record.id));
        let master = self.custody.store(&tags.0.to_string(), pty.master().as_fd());
        let held =
            master.and_then(|()| self.custody.store(&tags.1.to_string(), input.as_fd())).and_then(|()| self.custody.settle());
        warn_custody("keep", tags.0, held);
        on.pty = Some(pty);
        on.descriptors.input = Some(Arc::new(input));
        Ok(())
    }

    fn spawn_held(&self, on: &mut Progress<'_>) -> Result<(), ExecuteError> {
        let (Some(record), Some(pty)) = (&on.record, on.pty.take()) else { return Ok(()) };
        let command = self.command(record);
        command.check()?;
        let (master, held) = pty.spawn_held(&command, self.surroundings.limits)?;
        on.descriptors.master = Some(Arc::new(master));
        on.descriptors.pidfd = Some(Arc::new(held.pidfd));
        on.descriptors.pidfd_stored = false;
        Ok(())
    }

    fn store_pidfd(&self, on: &mut Progress<'_>) {
        if let (Some(record), Some(pidfd), false) = (&on.record, &on.descriptors.pidfd, on.descriptors.pidfd_stored) {
            let tag = Tag::Pidfd(record.id);
            warn_custody("keep", tag, self.custody.store(&tag.to_string(), pidfd.as_fd()).and_then(|()| self.custody.settle()));
            on.descriptors.pidfd_stored = true;
        }
    }

    fn command(&self, record: &Record) -> Command {
        let socket = self.surroundings.socket.to_string_lossy();
        let id = record.id.to_string();
        let mut own = vec![("KAVAL_SOCKET", &*socket), ("KAVAL_TERM_ID", &id), ("KAVAL_TERM_NAME", record.name.as_str())];
        if !record.logged {
            own.push(NOT_LOGGED);
        }
        let inherited = std::env::vars_os().collect::<Vec<(OsString, OsString)>>().into_iter();
        let cwd = record.again.seam.as_ref().map_or(&record.cwd, |seam| &seam.dir).clone();
        Command { argv: record.argv.clone(), cwd, env: spawn::environment(inherited, &own, &record.env) }
    }
}

impl Progress<'_> {
    /// Notes what is about to be, if it is another child of a terminal that had one.
    fn start_again(&mut self) {
        if let Some(record) = &mut self.record
            && let State::Restarting(fate) = record.state
        {
            record.start(fate, now_ms());
        }
    }

    /// Signals all that runs in the terminal.
    fn signal(&mut self, signal: Signal) {
        let Some(pidfd) = &self.descriptors.pidfd else { return };
        let sessions = match self.sessions.take().filter(|sessions| sessions.are_newer_than(self.asked)) {
            Some(sessions) => sessions,
            None => Sessions::scan(),
        };
        self.sessions.insert(sessions).signal(pidfd.as_fd(), signal);
    }
}

/// A supervisor that was killed while it spawned left a child that has yet to become the launcher, name itself and stop. Continued before
/// that, it would stop and stay.
fn await_held(on: &Progress<'_>) -> Result<(), ExecuteError> {
    let creating = on.record.as_ref().is_some_and(|record| matches!(record.state, State::Creating | State::Restarting(_)));
    let (true, Some(pidfd)) = (creating, &on.descriptors.pidfd) else { return Ok(()) };
    let deadline = Instant::now() + HELD_MAX;
    while Instant::now() < deadline {
        match adopt::pid_of(pidfd.as_fd()) {
            Some(pid) if launch::is_held(pid) => return Ok(()),
            Some(_) => thread::sleep(HELD_RETRY),
            None => break,
        }
    }
    Err(ExecuteError::NotHeld)
}

/// A custodian that cannot be reached costs durability, not the terminal.
fn warn_custody(what: &str, tag: Tag, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%tag, %error, "the keeper could not {what} a descriptor: this terminal would not survive the supervisor");
    }
}

#[cfg(test)]
mod tests {
    use std::{io, os::fd::BorrowedFd};

    use super::*;
    use crate::{Findings, log::store::Store};

    /// A custodian with a fault.
    struct Faulty;

    impl Custody for Faulty {
        fn store(&self, _: &str, _: BorrowedFd<'_>) -> io::Result<()> {
            panic!("on purpose");
        }

        fn remove(&self, _: &str) -> io::Result<()> {
            Ok(())
        }

        fn settle(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(id: u32) -> Record {
        Record { argv: vec!["true".into()], ..Record::new(TermId(id), format!("t{id}").parse().unwrap()) }
    }

    #[tokio::test]
    async fn a_job_that_panics_fails_and_those_behind_it_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let manifest = Manifest::open(&store).unwrap();
        let surroundings = Surroundings { socket: "/none".into(), limits: FileLimits::current(), groups: None };
        let executor = Executor::start(manifest, Box::new(Faulty), surroundings).unwrap();
        for id in 1..3 {
            let done = executor.step(TermId(id), Some(record(id)), Descriptors::default(), Step::Spawn).await;
            assert!(matches!(done.result, Err(ExecuteError::Panicked)), "{:?}", done.result);
            assert_eq!(done.record.map(|record| record.id), Some(TermId(id)));
        }
        executor.put(record(3)).await.result.unwrap();
        assert!(Manifest::open(&store).unwrap().load(&Findings::default()).unwrap().contains_key(&TermId(3)));
    }
}
