//! The bodies of the answers about the supervisor itself.

use serde::{Deserialize, Serialize};

/// The answer to `events`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EventsOk {
    /// The terminal's id, if one was asked for: good for asking again after it was renamed or removed.
    pub term: Option<u32>,
    /// The first number that will be told.
    pub next: u64,
}

/// The answer to `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusOk {
    /// The supervisor's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Names this run of it, as in the answer to hello.
    pub boot: String,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// How the one before it ended, in a few words; `first start` if there was none.
    pub previous_end: String,
    /// Why the last upgrade was undone, and the version before runs on; absent if that is not so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_undone: Option<String>,
    /// Nobody starts the next one, or keeps what terminals need until then: they end with this one.
    #[serde(default)]
    pub unkept: bool,
    /// What was found to be broken at its start or since, and set aside, closed or mended: a line each.
    #[serde(default)]
    pub set_aside: Vec<String>,
    /// How long it took from its start until every terminal was taken over, in milliseconds.
    pub recovery_ms: Option<u64>,
    /// How output reaches the journal: `splice`, or `copy`, which a kill may cost bytes.
    pub data_path: String,
    /// Terminals, by state.
    pub terms: TermCounts,
    /// What the processes in terminals use.
    #[serde(default)]
    pub children: ChildrenInfo,
    /// Clients that are attached to a terminal.
    pub clients: usize,
    /// Connections to the socket, this one included.
    pub connections: usize,
    /// The allocator's figures, in bytes.
    pub memory: MemoryInfo,
    /// Output that the journals hold, in bytes.
    pub journal_bytes: u64,
    /// What is on disk.
    pub log: LogInfo,
    /// Descriptors.
    pub fds: FdInfo,
    /// The threads that terminals run on, and the main one first.
    pub lanes: Vec<LaneInfo>,
    /// Where metrics are served; absent if nowhere.
    pub metrics: Option<String>,
}

/// How many terminals are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermCounts {
    /// Its child runs.
    pub live: usize,
    /// The same, and its screen is parked.
    pub hibernated: usize,
    /// Its child has ended.
    pub exited: usize,
    /// Its PTY is gone.
    pub lost: usize,
}

/// What the processes in all terminals use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChildrenInfo {
    /// Of one processor, lately, in percent.
    pub cpu_percent: f64,
    /// Their memory, in bytes.
    pub memory_bytes: u64,
    /// The terminals that use most, three at most.
    pub largest: Vec<ChildInfo>,
}

/// What the processes in a terminal use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildInfo {
    /// The terminal's name.
    pub name: String,
    /// Of one processor, lately, in percent.
    pub cpu_percent: f64,
    /// Their memory, in bytes.
    pub memory_bytes: u64,
}

/// The allocator's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// Bytes in use.
    pub allocated_bytes: u64,
    /// Bytes that the allocator has from the kernel, in memory.
    pub resident_bytes: u64,
    /// Bytes of those in use that the screens of terminals take.
    #[serde(default)]
    pub mirrors_bytes: u64,
    /// Resident bytes of the supervisor's own: what is compared with the limit.
    #[serde(default)]
    pub own_bytes: u64,
    /// How many it may use; absent if as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Who says so: a setting or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_source: Option<String>,
    /// How near the limit is: 0 (normal), 1 (elevated), 2 (high) or 3 (critical: nothing new is taken on).
    #[serde(default)]
    pub level: u8,
}

/// What is on disk, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInfo {
    /// Output that was logged since the supervisor started.
    pub logged_bytes: u64,
    /// All logs, as they are stored.
    pub live_bytes: u64,
    /// The files that they are stored in.
    pub disk_bytes: u64,
    /// What is free on that disk.
    pub disk_free_bytes: u64,
    /// Output that never got there since the supervisor started.
    pub gap_bytes: u64,
    /// It stands still, since it cannot be written.
    pub faulty: bool,
}

/// Descriptors that are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdInfo {
    /// How many are.
    pub open: u64,
    /// How many may be.
    pub max: u64,
}

/// A thread that terminals run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneInfo {
    /// Its name.
    pub name: String,
    /// The most that a timer on it was late in the last minute, in milliseconds.
    pub lag_ms: f64,
    /// Output that its journal holds, in bytes.
    pub journal_bytes: u64,
}
