//! What a client may ask, and the bodies of the answers.

use kaval_actors::{
    Size, TermId,
    mirror::{Notification, Progress, ScreenView},
    pty::Restart,
    supervisor::Selector,
};
use serde::{Deserialize, Serialize};

use super::{
    ExitInfo,
    event::Data,
    lines::{LinesAsked, Moment},
    search::SearchAsked,
};

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client; its answers carry it.
    pub req: u64,
    /// What.
    #[serde(flatten)]
    pub op: Op,
}

/// Every op's name.
pub const OPS: &[&str] = &[
    "new",
    "ls",
    "attach",
    "detach",
    "input",
    "resize",
    "rename",
    "kill",
    "rm",
    "screen",
    "history",
    "lines",
    "seek",
    "search",
    "clients",
    "events",
    "status",
    "reload",
    "log_level",
    "hibernate",
    "heap_profile",
    "upgrade",
    "shutdown",
];

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// Creates a terminal. Answer: [`NewOk`].
    New {
        /// Its name; made up if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Program and arguments; the user's shell if empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// Where it starts; the home directory if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// Variables beyond the supervisor's.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        env: Vec<(String, String)>,
        /// Its size; 80×24 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<Size>,
        /// A random number: asking again with the same one, after a reconnect, gives the same terminal.
        #[serde(default)]
        token: u64,
        /// An existing terminal of that name is the answer.
        #[serde(default)]
        if_absent: bool,
        /// Its output stays off the disk.
        #[serde(default)]
        no_log: bool,
        /// Whether its child is started again: `never`, `on-failure` or `always`.
        #[serde(default)]
        restart: Restart,
    },
    /// Lists the terminals, by id. Answer: [`LsOk`].
    Ls {
        /// Only those behind this id: the last one of an answer that says that there is more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u32>,
    },
    /// Opens a stream of a terminal's screen and output. Answer: [`AttachOk`], then `screen`, `output`, `resized`, `lagged`,
    /// `exited`, `detached`, `end`.
    Attach {
        /// Which.
        term: TermRef,
        /// The client's window, which becomes the terminal's size (for `rw`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<Size>,
        /// Where to begin.
        #[serde(default)]
        from: AttachFrom,
        /// What it may do.
        #[serde(default)]
        mode: AttachMode,
    },
    /// Ends a stream of this connection, or those of a terminal on whatever connection. Answer: [`DetachOk`](super::DetachOk).
    Detach {
        /// The `req` of the request that opened it; without `term`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<u64>,
        /// Whose; without `stream`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<TermRef>,
        /// Which of its clients, as [`Op::Clients`] numbers them; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<u64>,
    },
    /// Types. Answered with [`Empty`] once delivered.
    Input {
        /// Where.
        term: TermRef,
        /// Who types: a name that the client keeps over reconnects.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
        /// The client's running number: one that was delivered before is acknowledged and not delivered again.
        #[serde(default)]
        seq: u64,
        /// What.
        data: Data,
    },
    /// Sets a terminal's size. Answer: [`Empty`].
    Resize {
        /// Which.
        term: TermRef,
        /// Its new size.
        size: Size,
    },
    /// Gives a terminal another name. Answer: [`Empty`], once that is on disk.
    Rename {
        /// Which.
        term: TermRef,
        /// Its new name.
        name: String,
    },
    /// Ends a terminal's child. Answer: [`Empty`].
    Kill {
        /// Whose.
        term: TermRef,
        /// Just this signal, by number; else it is hung up, and killed after a grace period.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// Forgets an ended terminal. Answer: [`Empty`].
    Rm {
        /// Which.
        term: TermRef,
    },
    /// The screen as it is, or as it was. Answer: [`ScreenOk`].
    Screen {
        /// Which.
        term: TermRef,
        /// How.
        #[serde(default)]
        format: ScreenFormat,
        /// When; now if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Moment>,
    },
    /// A page of lines by number, for who scrolls. Answer: [`LinesOk`](super::LinesOk).
    Lines(LinesAsked),
    /// How far a terminal's output had come at a time. Answer: [`SeekOk`](super::SeekOk).
    Seek {
        /// Whose.
        term: TermRef,
        /// When: milliseconds since the Unix epoch.
        time: u64,
    },
    /// Opens a stream of the lines in which a pattern is found, the newest first. Answer: [`SearchOk`](super::SearchOk), then `found`, `searched`,
    /// `end`.
    Search(SearchAsked),
    /// Reads history back. Answer: [`HistoryOk`], then `output` (raw) or `lines`, and `end`. Of a timed one `screen`, and then `output`, `resized` and
    /// `lagged`.
    History {
        /// Which.
        term: TermRef,
        /// How.
        #[serde(default)]
        format: HistoryFormat,
        /// First offset; the oldest kept if absent or older. Of lines, those that left the screen from there on.
        #[serde(default)]
        from: u64,
        /// First offset not wanted; the end as of now if absent. Of lines, those that left before it; up to the end those that
        /// stand on the screen, too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// Only so many lines, the last ones; not together with `from`. With `to`, of those that left the screen before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tail: Option<u64>,
        /// With the screen where it begins, changes of size, and the time of everything; only of raw history.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed: bool,
    },
    /// Opens a stream of what happens. Answer: [`EventsOk`](super::EventsOk), then `event`, `end`.
    Events {
        /// To which terminal; all of them, and the supervisor, if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<TermRef>,
        /// From this number on; from now on if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
    },
    /// How the supervisor is. Answer: [`StatusOk`](super::StatusOk).
    Status,
    /// Lists who is attached. Answer: [`ClientsOk`](super::ClientsOk).
    Clients {
        /// To which terminal; to any if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<TermRef>,
    },
    /// Reads the configuration again and makes the terminals that it declares. Answer: [`ReloadOk`](super::ReloadOk).
    Reload,
    /// Sets how much the supervisor logs, until it ends. Answer: [`Empty`].
    #[serde(rename = "log_level")]
    LogLevel {
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`; or for parts, as in `info,kaval::socket=debug`.
        level: String,
    },
    /// Drops the mirrors of live terminals, after a checkpoint. Answer: [`HibernateOk`](super::HibernateOk).
    Hibernate {
        /// Which; every live one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<TermRef>,
    },
    /// Opens a stream of a profile of the supervisor's heap, in pprof's format. Answer: [`HeapProfileOk`](super::HeapProfileOk), then `data`
    /// and `end`.
    #[serde(rename = "heap_profile")]
    HeapProfile,
    /// Has another supervisor take this one's place, terminals kept. Answer: [`UpgradeOk`](super::UpgradeOk), and then this one ends.
    Upgrade {
        /// The file to start, instead of the one that this supervisor was started from: an absolute path. Not under systemd.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<String>,
    },
    /// Ends every terminal and the supervisor. Answer: [`Empty`], once all have ended.
    Shutdown,
}

/// A terminal by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged, expecting = "term is a name or an id")]
pub enum TermRef {
    /// Its id.
    Id(u32),
    /// Its name.
    Name(String),
}

impl From<TermRef> for Selector {
    fn from(term: TermRef) -> Self {
        match term {
            TermRef::Id(id) => Self::Id(TermId(id)),
            TermRef::Name(name) => Self::Name(name),
        }
    }
}

impl From<&str> for TermRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// Where a stream begins: `"screen"`, or an offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "from is \"screen\" or an offset")]
pub enum AttachFrom {
    /// With the output from this offset on.
    Offset(u64),
    /// With the screen.
    #[default]
    #[serde(with = "screen_word")]
    Screen,
}

mod screen_word {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("screen")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "screen" => Ok(()),
            other => Err(D::Error::custom(format!("from is \"screen\" or an offset, not {other:?}"))),
        }
    }
}

/// What an attached client may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// Watch, type and set the size.
    #[default]
    Rw,
    /// Watch.
    Ro,
}

/// How a screen is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScreenFormat {
    /// Rows of text, in `text`.
    #[default]
    Text,
    /// Bytes that draw it, in `data`.
    Ansi,
    /// Cell by cell, in `screen`.
    Json,
}

/// How history is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryFormat {
    /// Lines of text, wrapped rows joined.
    #[default]
    Text,
    /// The same with colours and other attributes.
    Ansi,
    /// Lines of text, each as an object: `{"offset", "line"}`, and `"continues": true` where a line was too long and goes on.
    Json,
    /// Output, as the child wrote it.
    Raw,
    /// The commands that shells told of, each as an object: `{"line", "offset", "started"}`, and once it has ended `"end"`, `"took_ms"` and, if
    /// told, `"code"`.
    Commands,
}

/// A command of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Its line; empty if its shell did not tell.
    pub line: String,
    /// Offset of the first byte that it put out.
    pub offset: u64,
    /// Offset behind its last byte, once it has ended.
    #[serde(default)]
    pub end: Option<u64>,
    /// When it began, milliseconds since the Unix epoch.
    pub started: u64,
    /// Milliseconds it took, once it has ended.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Its exit code, if its shell told.
    #[serde(default)]
    pub code: Option<i32>,
}

/// Nothing to say beyond that it was done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Empty {}

/// The answer to `new`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewOk {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// The answer to `attach`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachOk {
    /// The terminal's id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Questions of programs up to this offset are settled: what the stream brings of them is not to be answered.
    #[serde(default)]
    pub answered: u64,
}

/// The answer to `history`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HistoryOk {
    /// The first offset that is still kept.
    pub floor: u64,
    /// After the last byte there was when asked.
    pub end: u64,
}

/// The answer to `ls`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LsOk {
    /// The terminals, by id; as many as fit a frame.
    pub terms: Vec<TermInfo>,
    /// There are more: ask again, with the last one's id as `after`.
    #[serde(default)]
    pub more: bool,
}

/// One terminal of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TermInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// `live`, `hibernated` (live, its mirror dropped until it is needed), `exited` or `lost`.
    pub state: String,
    /// Its child's process id, while there is one.
    pub pid: Option<u32>,
    /// Its size.
    pub size: Size,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where its shell says that it is, or else its foreground process; where it started, if neither is known.
    pub cwd: String,
    /// The title its programs set; empty if none.
    pub title: String,
    /// The program in the foreground, if it is another than the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreground: Option<String>,
    /// The command line that runs, as its shell told; empty if it told only that one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// How far what it runs has got, as that told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The last notification of its programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<Notification>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When output last came since the supervisor started, likewise.
    pub last_output: Option<u64>,
    /// How many watch.
    pub clients: usize,
    /// Where its output stands.
    pub offset: u64,
    /// How its child ended.
    pub exit: Option<ExitInfo>,
    /// Whether its child is started again; absent if never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// How often it was; absent if never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub respawns: u64,
    /// When it will be, in milliseconds since the Unix epoch, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respawn_at: Option<u64>,
    /// The how-manieth of its children in a row that did not live long has ended, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_lives: Option<u32>,
    /// Why it could not be started again the last time, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Estimated bytes of memory it takes in the supervisor.
    pub memory_bytes: u64,
    /// Bytes of its log on disk.
    pub log_bytes: u64,
    /// Processor time that its processes have used, in seconds; absent until they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_cpu_seconds: Option<f64>,
    /// How much of one processor they use lately, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_cpu_percent: Option<f64>,
    /// Their memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_memory_bytes: Option<u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TermInfo {
    /// Whether its child runs.
    pub fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "live" | "hibernated")
    }
}

/// The answer to `screen`; of `text`, `data` and `screen` the one that was asked for is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScreenOk {
    /// The terminal's name.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Where it was taken.
    pub offset: u64,
    /// Where the child started.
    pub cwd: String,
    /// Rows of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Bytes that draw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Cell by cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<ScreenView>,
}
