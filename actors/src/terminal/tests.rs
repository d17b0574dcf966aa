//! Terminals on a lane, with a real PTY whose slave end the test holds.

use std::{
    cell::Cell,
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, Recipient, System};
use rustix::pty::OpenptFlags;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::*;
use crate::{
    Size, TermId,
    log::{
        journal::{BYTES_MIN, DataPath, Journal, JournalFds},
        retention::Limits,
        service::{Log, Settings},
        store::Store,
    },
    pty::{Exit, Fate, Master},
    registry::{Report, TermNews},
};

const PATIENCE: Duration = Duration::from_secs(20);
const TERM: TermId = TermId(1);

/// Hears what a supervisor and a registry would.
struct Ear {
    drained: mpsc::UnboundedSender<Drained>,
    gone: mpsc::UnboundedSender<Gone>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<Drained> for Ear {
    type Result = ();

    fn handle(&mut self, drained: Drained, _: &mut Self::Context) {
        let _ = self.drained.send(drained);
    }
}

impl Handler<Gone> for Ear {
    type Result = ();

    fn handle(&mut self, gone: Gone, _: &mut Self::Context) {
        let _ = self.gone.send(gone);
    }
}

impl Handler<Report> for Ear {
    type Result = ();

    fn handle(&mut self, report: Report, _: &mut Self::Context) {
        let _ = self.reports.send(report);
    }
}

struct Stage {
    terminal: Addr<Terminal>,
    drained: mpsc::UnboundedReceiver<Drained>,
    gone: mpsc::UnboundedReceiver<Gone>,
    reports: mpsc::UnboundedReceiver<Report>,
}

fn pty() -> (Arc<Master>, OwnedFd) {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let slave = rustix::fs::open(slave.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    (Arc::new(Master::new(master).unwrap()), slave)
}

fn journal() -> Journal {
    Journal::open(JournalFds::create().unwrap(), BYTES_MIN, DataPath::Splice).unwrap().0
}

/// A log whose files have no names any more.
fn log() -> Log {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { term_bytes_max: 1 << 30, age_max: Duration::from_secs(1 << 30), total_bytes_max: 1 << 40 };
    let settings = Settings { sync: Duration::from_millis(20), stall_max: Duration::from_secs(5), limits };
    Log::start(
        Store::open(&dir.path().join("store")).unwrap(),
        settings,
        BTreeSet::from([TERM]),
        crate::Findings::default(),
        || (),
    )
    .unwrap()
}

/// A terminal on this thread.
fn start(course: Course) -> Stage {
    start_with(journal(), course)
}

fn start_with(journal: Journal, course: Course) -> Stage {
    Lane::install(journal, log()).unwrap();
    start_on_lane(course)
}

fn start_on_lane(course: Course) -> Stage {
    let ((drained_at, drained), (gone_at, gone)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let (reports_at, reports) = mpsc::unbounded_channel();
    let ear = Ear { drained: drained_at, gone: gone_at, reports: reports_at }.start();
    let (supervisor, obituary): (Recipient<Drained>, Recipient<Gone>) = (ear.clone().recipient(), ear.clone().recipient());
    let registry = ear.recipient();
    let (size, seam, moved) = (Size::DEFAULT, None, None);
    let activity = Activity::default();
    let start =
        Start { id: TERM, size, offset: 0, logged: true, course, seam, supervisor, gone: obituary, moved, registry, activity };
    Stage { terminal: Terminal::new(start).start(), drained, gone, reports }
}

fn attach(from: AttachFrom) -> Attach {
    Attach { mode: Mode::ReadWrite, size: None, from, program: "test/1".to_owned() }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("nothing happened")
}

/// One whose child ended in the gap waited for a hangup that never came, and could not even be killed.
#[test]
fn an_orphan_whose_pty_something_keeps_open_is_drained() {
    System::new().block_on(async {
        let (master, slave) = pty();
        let mut stage = start(Course::Orphaned(master));
        rustix::io::write(&slave, b"last words").unwrap();
        let drained = soon(stage.drained.recv()).await.unwrap();
        assert_eq!((drained.fate, drained.offset), (Fate::Ended(Exit::Unknown), 10));
    });
}

#[test]
fn one_who_was_told_the_end_is_no_client_any_more() {
    System::new().block_on(async {
        let mut stage = start(Course::Ended(Some(Exit::Code(3))));
        for _ in 0..3 {
            let attached = stage.terminal.send(attach(AttachFrom::Offset(0))).await.unwrap();
            assert_eq!(soon(attached.outbox.next()).await, Some((Event::Exited(Exit::Code(3)), false)));
            assert_eq!(soon(attached.outbox.next()).await, None);
        }
        let (mut news, mut clients) = (Vec::new(), usize::MAX);
        while news.len() < 6 {
            let report = soon(stage.reports.recv()).await.unwrap();
            news.extend(report.news);
            clients = report.clients;
        }
        assert_eq!((clients, matches!(news[5], TermNews::Detached { .. })), (0, true));
    });
}

/// Law 9: the client that was cut off sends again what still waits for a child that does not read.
#[test]
fn input_sent_again_while_it_waits_is_delivered_once() {
    System::new().block_on(async {
        let (master, slave) = pty();
        let mut mode = rustix::termios::tcgetattr(&slave).unwrap();
        mode.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &mode).unwrap();
        let stage = start(Course::Orphaned(master));
        // More than the line's buffers hold, so that it waits.
        let data = bytes::Bytes::from(vec![b'x'; 256 * 1024]);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (reply, answer) = oneshot::channel();
            let numbered = Some(("client".to_owned(), 1));
            stage.terminal.send(Input { client: None, numbered, data: data.clone(), reply }).await.unwrap();
            answers.push(answer);
        }
        let reader = slave.try_clone().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let (mut total, mut buffer) = (0, [0; 4096]);
            while total < 256 * 1024 {
                total += rustix::io::read(&reader, &mut buffer).unwrap();
            }
            total
        });
        for answer in answers {
            assert_eq!(soon(answer).await.unwrap(), Ok(()));
        }
        assert_eq!(soon(read).await.unwrap(), 256 * 1024);
        assert_eq!(rustix::io::ioctl_fionread(&slave).unwrap(), 0, "it was delivered twice");
    });
}

/// A message that makes the actor panic, as a bug would.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Terminal {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Self::Context) {
        panic!("as the test wants it");
    }
}

/// Clients waited for ever on a queue that nobody filled.
#[test]
fn an_actor_that_dies_lets_go_of_its_clients_and_its_death_is_told() {
    System::new().block_on(async {
        let (master, _slave) = pty();
        let mut stage = start(Course::Orphaned(master));
        let attached = stage.terminal.send(attach(AttachFrom::Screen)).await.unwrap();
        assert!(matches!(soon(attached.outbox.next()).await, Some((Event::Screen { .. }, _))));
        stage.terminal.do_send(Die);
        assert_eq!(soon(stage.gone.recv()).await.unwrap().0, TERM);
        while let Some((event, _)) = soon(attached.outbox.next()).await {
            assert!(!event.is_last(), "{event:?}");
        }
    });
}

/// Asks whether there is more to draw.
#[derive(actix::Message)]
#[rtype(result = "bool")]
struct IsDrawing;

impl Handler<IsDrawing> for Terminal {
    type Result = bool;

    fn handle(&mut self, _: IsDrawing, _: &mut Self::Context) -> bool {
        self.drawing
    }
}

/// Law 6: what is drawn after an adoption was drawn in one go, and neighbours waited for all of it.
#[test]
fn neighbours_get_their_turns_while_a_terminal_catches_up() {
    const BACKLOG: usize = 4 << 20;
    System::new().block_on(async {
        let mut journal = journal();
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        for _ in 0..BACKLOG / 65_536 {
            rustix::io::write(&writer, &[b'x'; 65_536]).unwrap();
            while journal.ingest(TERM, reader.as_fd(), 65_536).unwrap().bytes > 0 {}
        }
        assert_eq!(journal.end_offset(TERM), Some(BACKLOG as u64));
        let (master, _slave) = pty();
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        actix_rt::spawn(async move {
            loop {
                tokio::task::yield_now().await;
                counted.set(counted.get() + 1);
            }
        });
        let stage = start_with(journal, Course::Orphaned(master));
        while stage.terminal.send(IsDrawing).await.unwrap() {}
        assert!(turns.get() >= BACKLOG / 65_536 / 2, "{} turns", turns.get());
    });
}

/// While terminals were still being adopted, one that needed room had those not yet there forgotten, and their offsets with them; one
/// that died before it gave its checkpoint was never asked again, and its lane stood still.
#[test]
fn one_who_is_asked_for_room_before_it_is_there_keeps_its_offset_and_is_asked_again() {
    System::new().block_on(async {
        let (mut journal, flooding) = (journal(), TermId(2));
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let flood = move |journal: &mut Journal, term| {
            rustix::io::write(&writer, &[b'x'; 4096]).unwrap();
            let taken = journal.ingest(term, reader.as_fd(), 4096).map(|_| ());
            taken.and_then(|()| if term == flooding { journal.checkpoint(term, b"screen") } else { Ok(()) })
        };
        flood(&mut journal, TERM).unwrap();
        while flood(&mut journal, flooding).is_ok() {}
        Lane::install(journal, log()).unwrap();
        let lane = Lane::current();
        lane.ask_for_room();
        assert_eq!(lane.journal().end_offset(TERM), Some(4096));

        let (master, _slave) = pty();
        let mut stage = start_on_lane(Course::Orphaned(master));
        stage.terminal.send(IsDrawing).await.unwrap();
        lane.ask_for_room();
        while stage.terminal.send(IsDrawing).await.unwrap() {}
        lane.log().drain().await;
        flood(&mut lane.journal(), flooding).expect("room");
        assert_eq!(soon(stage.reports.recv()).await.unwrap().offset, 4096);
    });
}

#[test]
fn what_is_counted_is_reported_once_and_what_a_client_did_before_it_is_answered() {
    System::new().block_on(async {
        let (master, slave) = pty();
        let mut stage = start(Course::Orphaned(master));
        let attached = stage.terminal.send(attach(AttachFrom::Offset(0))).await.unwrap();
        let mut output = 0;
        for piece in [&b"one"[..], b"\x1b]2;a title\x07", b"three"] {
            rustix::io::write(&slave, piece).unwrap();
            while soon(attached.outbox.next()).await.is_some_and(|(event, _)| !matches!(event, Event::Output { .. })) {}
        }
        let size = Size::new(90, 30).unwrap();
        stage.terminal.send(Resize { client: None, size }).await.unwrap().unwrap();
        let last = loop {
            let report = soon(stage.reports.recv()).await.unwrap();
            output += report.since.output;
            if report.size == size {
                break report;
            }
        };
        assert_eq!((last.offset, output, last.title.as_str(), last.clients), (20, 20, "a title", 1));
        assert!(last.memory.mirror > 0 && last.memory.clients > 0 && last.last_output_ms.is_some());
    });
}

/// Asks for what the next report would say.
struct Stand;

impl actix::Message for Stand {
    type Result = Report;
}

impl Handler<Stand> for Terminal {
    type Result = actix::MessageResult<Stand>;

    fn handle(&mut self, _: Stand, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.stands())
    }
}

async fn text(terminal: &Addr<Terminal>) -> String {
    match terminal.send(TakeSnapshot(SnapshotKind::Text)).await.unwrap().body {
        SnapshotBody::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hibernated_terminal_keeps_title_and_screen_and_wakes_on_output() {
    System::new().block_on(async {
        let (master, slave) = pty();
        let stage = start(Course::Orphaned(master));
        let attached = stage.terminal.send(attach(AttachFrom::Offset(0))).await.unwrap();
        rustix::io::write(&slave, b"\x1b]2;a title\x07before").unwrap();
        while soon(attached.outbox.next()).await.is_some_and(|(event, _)| !matches!(event, Event::Output { .. })) {}
        assert_eq!(stage.terminal.send(Hibernate).await.unwrap(), Ok(()));
        let asleep = stage.terminal.send(Stand).await.unwrap();
        assert_eq!((asleep.hibernated, asleep.title.as_str()), (true, "a title"));
        rustix::io::write(&slave, b" after").unwrap();
        while soon(attached.outbox.next()).await.is_some_and(|(event, _)| !matches!(event, Event::Output { .. })) {}
        let awake = stage.terminal.send(Stand).await.unwrap();
        assert_eq!((awake.hibernated, awake.title.as_str()), (false, "a title"));
        assert!(awake.memory.mirror > asleep.memory.mirror + 80 * 24 * 32 / 2);
        assert_eq!(text(&stage.terminal).await, "before after\n");
    });
}

#[test]
fn a_checkpoint_asked_of_a_hibernated_terminal_leaves_it_asleep() {
    System::new().block_on(async {
        let (master, slave) = pty();
        let stage = start(Course::Orphaned(master));
        let attached = stage.terminal.send(attach(AttachFrom::Offset(0))).await.unwrap();
        rustix::io::write(&slave, b"kept").unwrap();
        while soon(attached.outbox.next()).await.is_some_and(|(event, _)| !matches!(event, Event::Output { .. })) {}
        stage.terminal.send(Hibernate).await.unwrap().unwrap();
        stage.terminal.send(Checkpoint).await.unwrap();
        assert!(stage.terminal.send(Stand).await.unwrap().hibernated);
        assert_eq!(text(&stage.terminal).await, "kept\n");
        assert!(!stage.terminal.send(Stand).await.unwrap().hibernated);
    });
}

#[test]
fn who_watches_is_listed_with_what_waits_for_them() {
    System::new().block_on(async {
        let (master, slave) = pty();
        let stage = start(Course::Orphaned(master));
        let size = Some(Size::new(90, 30).unwrap());
        let attached = stage.terminal.send(Attach { size, ..attach(AttachFrom::Offset(0)) }).await.unwrap();
        let taken = stage.terminal.send(attach(AttachFrom::Offset(0))).await.unwrap();
        rustix::io::write(&slave, b"four").unwrap();
        while soon(taken.outbox.next()).await.is_some_and(|(event, _)| !matches!(event, Event::Output { .. })) {}
        let listed = stage.terminal.send(ListClients).await.unwrap();
        let view = listed.iter().find(|view| view.id == attached.client).unwrap();
        assert_eq!((view.program.as_str(), view.mode, view.size), ("test/1", Mode::ReadWrite, size));
        assert!(view.waiting_bytes > 4 && view.since_ms > 0);
        assert_eq!((listed.len(), view.behind_bytes), (2, 0));
    });
}

#[test]
fn a_terminal_that_has_ended_is_not_hibernated() {
    System::new().block_on(async {
        let stage = start(Course::Ended(Some(Exit::Code(0))));
        assert_eq!(stage.terminal.send(Hibernate).await.unwrap(), Err(HibernateError::Ended));
    });
}
