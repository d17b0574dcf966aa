//! What the registry is told, by the supervisor, by terminals and by the daemon, and what it is asked.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Message, Recipient};
use tokio::sync::watch;

use super::gauges::Figures;
use crate::{
    Name, Size, TermId,
    log::stats::LogShare,
    mirror::{Marks, Told},
    pty::{Exit, Fate, Restart},
};

/// What the supervisor knows of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its id.
    pub id: TermId,
    /// Its name.
    pub name: Name,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it started.
    pub cwd: PathBuf,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Its size when created.
    pub size: Size,
    /// Where its output stood when that was last recorded.
    pub offset: u64,
    /// Where it stands.
    pub standing: Standing,
    /// Whether its child is started again.
    pub restart: Restart,
    /// How often it was.
    pub respawns: u64,
    /// How many lives of its children in a row were short.
    pub short_lives: u32,
    /// When it is to be started again, milliseconds since the Unix epoch, while it waits for that.
    pub due_ms: u64,
    /// Why it could not be the last time, if it could not.
    pub trouble: Option<String>,
    /// Its child's process id, while there is one.
    pub pid: Option<u32>,
}

/// Where a terminal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its child runs.
    Live,
    /// Its child came to its end so, and another will be started.
    Restarting(Fate),
    /// Its child has ended.
    Exited(Exit),
    /// Its PTY is gone.
    Lost,
}

/// From the supervisor: a terminal is new, or has changed. Sent before anybody is answered who asked for it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Announce {
    /// The terminal as it now is.
    pub card: Card,
    /// What happened to it.
    pub news: News,
}

/// What the supervisor may have to say of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was created.
    Created,
    /// Its child outlived the supervisor before this one.
    Adopted,
    /// It had ended already when the supervisor started.
    Recalled,
    /// Its child has ended.
    Exited(Exit),
    /// Its PTY is gone.
    Lost,
    /// Another child will be started.
    Restarting {
        /// How the one before came to its end.
        fate: Fate,
        /// When, milliseconds since the Unix epoch.
        due_ms: u64,
        /// Why that could not be done just now, if it was tried.
        trouble: Option<String>,
    },
    /// Another child was started.
    Respawned {
        /// The how-manieth time that was.
        times: u64,
    },
    /// It had another name.
    Renamed {
        /// That name.
        from: Name,
    },
    /// It is idle, and will be hung up for that.
    ReapNotice {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// It was idle for too long, and is hung up.
    Reaped,
}

/// From the supervisor: a terminal was removed. Unknown ones are passed over.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Forget {
    /// Which.
    pub id: TermId,
    /// Why.
    pub cause: Removal,
}

/// Why a terminal was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Removal {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// More have ended since than are kept.
    EndedMax,
    /// It ended too long ago.
    EndedAfter,
}

/// From a terminal: how it stands. Sent at once when a client changed something, else at most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Report {
    /// Its id.
    pub id: TermId,
    /// Its size.
    pub size: Size,
    /// The title its programs set; empty if none.
    pub title: String,
    /// What its programs told of themselves.
    pub marks: Marks,
    /// Where its output stands.
    pub offset: u64,
    /// How many watch.
    pub clients: usize,
    /// Its screen is dropped until something needs it.
    pub hibernated: bool,
    /// When something last needed it.
    pub used: Instant,
    /// When output last came, milliseconds since the Unix epoch; `None` before any did since the supervisor started.
    pub last_output_ms: Option<u64>,
    /// Estimated bytes of memory.
    pub memory: MemoryParts,
    /// What was counted since the report before.
    pub since: Tally,
    /// What happened since the report before.
    pub news: Vec<TermNews>,
}

/// Estimated bytes of memory that a terminal takes in the supervisor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryParts {
    /// Its screen.
    pub mirror: u64,
    /// Input that waits for the child.
    pub pending: u64,
    /// Its clients' queues.
    pub clients: u64,
    /// The actor itself, and what others know of it.
    pub actor: u64,
    /// Its part of what the log holds in memory.
    pub log: u64,
}

impl MemoryParts {
    /// Each by its name.
    pub fn parts(self) -> [(&'static str, u64); 5] {
        let Self { mirror, pending, clients, actor, log } = self;
        [("mirror", mirror), ("pending", pending), ("clients", clients), ("actor", actor), ("log", log)]
    }

    /// This and another's.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            mirror: self.mirror + other.mirror,
            pending: self.pending + other.pending,
            clients: self.clients + other.clients,
            actor: self.actor + other.actor,
            log: self.log + other.log,
        }
    }

    /// All of it.
    pub fn total(self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What a terminal counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of output.
    pub output: u64,
    /// Bytes of input.
    pub input: u64,
    /// How often a client had to be resynced.
    pub lags: u64,
}

/// What a terminal may have to say: of its clients, each by the number that names its attachment, and of its programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TermNews {
    /// A program rang the bell.
    Bell {
        /// Where in the output.
        offset: u64,
    },
    /// A program told something of itself.
    Told {
        /// Where in the output.
        offset: u64,
        /// What.
        told: Told,
        /// How long what has ended took, if that was seen to begin.
        took: Option<Duration>,
    },
    /// It will not be hung up for having been idle: there was output or input, or the settings have changed.
    ReapAverted,
    /// One came.
    Attached {
        /// Which.
        client: u64,
    },
    /// One went.
    Detached {
        /// Which.
        client: u64,
    },
    /// One was too far behind: output was left out for it.
    Lagged {
        /// Which.
        client: u64,
        /// First byte left out.
        from: u64,
        /// First byte not left out.
        to: u64,
    },
}

/// What the processes in a terminal use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChildUse {
    /// Processor time since it was first looked at, and what those that were there then had used before.
    pub cpu: Duration,
    /// Of one processor, lately.
    pub share: f64,
    /// Bytes of memory.
    pub memory: u64,
}

/// From the daemon: what the processes in terminals use. Unknown ones are passed over.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct NoteUse(pub Vec<(TermId, ChildUse)>);

/// From the daemon: this has happened to the supervisor.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Note(pub Happening);

/// From the daemon: all mirrors together may take so many bytes from now on. The least recently used ones are dropped first, those that were
/// used within the last second never.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct LimitMirrors(pub u64);

/// From the supervisor: who is told which mirrors are to be dropped.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Obey(pub Recipient<DropMirrors>);

/// To the supervisor: these are to be hibernated.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DropMirrors(pub Vec<TermId>);

/// From the daemon: everything handed back has been dealt with, so long after the start.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Ready(pub Duration);

/// Lists terminals by id, from after `after` on, until they would take more than `bytes_max` on the wire.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Page")]
pub struct List {
    /// The last one of the page before.
    pub after: Option<TermId>,
    /// Most bytes; one terminal is listed whatever it takes.
    pub bytes_max: usize,
}

/// A part of the list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The terminals.
    pub listings: Vec<Listing>,
    /// There are more behind them.
    pub more: bool,
}

/// One terminal of a [`Page`].
#[derive(Debug, Clone)]
pub struct Listing {
    /// What the supervisor knows.
    pub card: Arc<Card>,
    /// What the terminal said last; `None` before it said anything.
    pub report: Option<Arc<Report>>,
    /// Its log.
    pub log: LogShare,
    /// Its processes; `None` until they were looked at.
    pub children: Option<ChildUse>,
}

/// Asks for everything that is counted.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Figures")]
pub struct TakeFigures {
    /// Terminals one by one as well, as the configuration has it.
    pub terms: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number: greater than that of every event before, also of supervisors before.
    pub seq: u64,
    /// When, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// To which terminal, and what that was called then.
    pub term: Option<(TermId, Name)>,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Of the supervisor.
    Terminal(News),
    /// It was removed.
    Removed(Removal),
    /// It has another size.
    Resized(Size),
    /// It has another title.
    Title(String),
    /// Of its clients and programs.
    Inside(TermNews),
    /// The supervisor before this one ended, so.
    SupervisorRestarted {
        /// In a few words.
        cause: String,
    },
    /// Memory is nearer to its limit than before, or further from it.
    MemoryLevel {
        /// `normal`, `elevated`, `high` or `critical`.
        level: String,
    },
    /// Memory keeps growing.
    MemoryGrowth {
        /// Bytes a minute.
        per_minute: i64,
    },
    /// An upgrade was undone; told at every start, until one succeeds.
    UpgradeUndone {
        /// Why.
        reason: String,
    },
    /// The log came to a stand.
    LogFault {
        /// Why: one of [`FAULT_KINDS`](crate::log::stats::FAULT_KINDS).
        kind: &'static str,
    },
    /// The log goes on.
    LogResumed,
}

/// Asks where events stand, and to be told of new ones.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Followed")]
pub struct FollowEvents;

/// Where events stand.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The number that the next event will have, or a lower one.
    pub next: u64,
    /// Changes with every event; ends when events do.
    pub news: watch::Receiver<u64>,
}

/// Asks for events from a number on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Batch")]
pub struct ReadEvents {
    /// The first number wanted.
    pub from: u64,
    /// Only this terminal's.
    pub term: Option<TermId>,
    /// How many to look at, at most.
    pub max: usize,
}

/// Events in order.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Numbers from the first to before the second are not kept any more, or were never given.
    pub missed: Option<(u64, u64)>,
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Where to read on.
    pub next: u64,
}

/// From the daemon at its end: nothing more will happen, streams of events may end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct EndEvents;
