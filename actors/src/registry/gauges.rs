//! What is counted, as metrics: their names, what they mean, and how they are set on whatever recorder is there.
//!
//! [`Figures`] are a copy of everything at one moment, to be recorded on a recorder that was made for one scrape and goes with it, so that
//! the series of a terminal go with the terminal. [`Histogram`]s gather from the start on, on the process's recorder; they have no labels.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{
    ChildUse, LaneFigures, MemoryParts,
    roll::{Counts, Totals},
};
use crate::{
    Name, TermId,
    log::stats::{FAULT_KINDS, Stats, WRITE_DURATION},
};

const GAUGES: &[(&str, &str)] = &[
    ("kaval_build_info", "Always 1; the labels say which version runs."),
    ("kaval_terms", "Terminals, by state."),
    ("kaval_term_info", "Always 1; the labels give a terminal's name to its id."),
    ("kaval_term_memory_bytes", "Estimated memory that a terminal takes in the supervisor, by what for."),
    ("kaval_term_last_output_timestamp_seconds", "When a terminal last put something out."),
    ("kaval_term_log_bytes", "Bytes of a terminal's log."),
    ("kaval_term_child_memory_bytes", "Memory of the processes in a terminal."),
    ("kaval_log_live_bytes", "Bytes of all logs, as they are stored."),
    ("kaval_log_disk_bytes", "Bytes of the files that logs are stored in."),
    ("kaval_log_disk_free_bytes", "Bytes that are free on their disk."),
    ("kaval_journal_bytes", "Output that is held in memory, beyond the supervisor's death."),
    ("kaval_heap_base_bytes", "Memory that is in use whatever the terminals, the log's apart."),
    ("kaval_mirrors_bytes", "Memory that the screens of all terminals take."),
    ("kaval_clients", "Clients that are attached to a terminal."),
    (
        "kaval_last_recovery_duration_seconds",
        "How long the supervisor took from its start until every terminal was taken over.",
    ),
];

const COUNTERS: &[(&str, &str)] = &[
    ("kaval_term_output_bytes_total", "Bytes that a terminal has put out since it was created."),
    ("kaval_output_bytes_total", "Bytes that terminals have put out since the supervisor started."),
    ("kaval_input_bytes_total", "Bytes that were typed into terminals since the supervisor started."),
    ("kaval_logged_bytes_total", "Bytes of output that were put on disk since the supervisor started."),
    ("kaval_log_faults_total", "How often the log came to a stand, by why."),
    ("kaval_log_gap_bytes_total", "Bytes of output that never got to the disk, since the supervisor started."),
    ("kaval_client_lags_total", "How often a client was too slow and was given a fresh screen instead of the output."),
    ("kaval_terms_spawned_total", "Terminals that were created."),
    ("kaval_terms_adopted_total", "Terminals that were taken over from the supervisor before."),
    ("kaval_terms_exited_total", "Terminals whose child ended, by how."),
    ("kaval_terms_respawned_total", "How often the child of a terminal was started again."),
    ("kaval_hibernations_total", "How often the screen of a live terminal was dropped from memory."),
    ("kaval_wakeups_total", "How often one that was dropped was needed again."),
    ("kaval_supervisor_restarts_total", "Supervisors that came after one before, by how that ended; counted over all of them."),
];

/// Times of which a distribution is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Histogram {
    /// From the request to attach until it can be answered, the screen being on its way.
    Attach,
    /// From the request for history until all of it was sent.
    History,
    /// How late a timer of an arbiter came.
    LoopLag,
    /// How long a pass of the log took until what it wrote was on disk.
    LogWrite,
}

impl Histogram {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Attach, Self::History, Self::LoopLag, Self::LogWrite];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attach => "kaval_attach_duration_seconds",
            Self::History => "kaval_history_duration_seconds",
            Self::LoopLag => "kaval_loop_lag_seconds",
            Self::LogWrite => WRITE_DURATION,
        }
    }

    /// Upper ends of its buckets, in seconds: from what is not noticed to what is a fault.
    pub fn buckets(self) -> &'static [f64] {
        match self {
            Self::Attach | Self::LoopLag | Self::LogWrite => {
                &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]
            }
            Self::History => &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0],
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Attach => "Time from the request to attach until it can be answered.",
            Self::History => "Time from the request for history until all of it was sent.",
            Self::LoopLag => "How late a timer of an arbiter came.",
            Self::LogWrite => "How long a pass of the log took until what it wrote was on disk.",
        }
    }

    /// Has the recorder show it from now on, although nothing was noted.
    pub fn register(self) {
        describe_histogram!(self.name(), self.help());
        let _ = histogram!(self.name());
    }

    /// Notes one.
    pub fn record(self, time: Duration) {
        histogram!(self.name()).record(time);
    }
}

/// Describes what [`Figures`] record to the recorder.
pub fn describe() {
    GAUGES.iter().for_each(|&(name, help)| describe_gauge!(name, help));
    COUNTERS.iter().for_each(|&(name, help)| describe_counter!(name, help));
}

/// Everything that is counted, at one moment.
#[derive(Debug, Clone)]
pub struct Figures {
    pub(super) counts: Counts,
    pub(super) totals: Totals,
    /// Bytes of memory that all screens take.
    pub mirrors_bytes: u64,
    /// Estimated memory of all terminals, by what for.
    pub memory: MemoryParts,
    /// Bytes of memory that are there whatever the terminals: what there was before any, and the events that are kept.
    pub base_bytes: u64,
    /// Whether each terminal's name is given to its id.
    pub(super) names: bool,
    /// How the supervisor before this one ended, in a few words.
    pub previous_end: String,
    /// Why the last upgrade was undone, if it was.
    pub upgrade_undone: Option<String>,
    /// How often supervisors ended how.
    pub restarts: BTreeMap<String, u64>,
    /// How long the start took; `None` while it lasts.
    pub recovery: Option<Duration>,
    /// The arbiters, the main one first.
    pub lanes: Vec<LaneFigures>,
    /// The log.
    pub log: LogFigures,
    /// The terminals that are shown one by one.
    pub terms: Vec<TermFigures>,
}

/// The log's, in bytes where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFigures {
    /// Output logged since the start.
    pub logged: u64,
    /// Keys and values, of all logs.
    pub live: u64,
    /// The database's files.
    pub disk: u64,
    /// Free on that disk.
    pub disk_free: u64,
    /// Output found missing since the start, by kind of fault.
    pub gaps: [u64; FAULT_KINDS.len()],
    /// Faults by kind since the start, in the order of [`FAULT_KINDS`].
    pub faults: [u64; FAULT_KINDS.len()],
    /// Whether the log stands still.
    pub faulty: bool,
}

impl LogFigures {
    pub(super) fn of(stats: &Stats) -> Self {
        let now = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Self {
            logged: now(&stats.logged_bytes),
            live: now(&stats.live_bytes),
            disk: now(&stats.disk_bytes),
            disk_free: now(&stats.disk_free_bytes),
            gaps: std::array::from_fn(|kind| now(&stats.gap_bytes[kind])),
            faults: std::array::from_fn(|kind| now(&stats.faults[kind])),
            faulty: stats.faulty.load(Ordering::Relaxed),
        }
    }

    fn record(&self) {
        gauge!("kaval_log_live_bytes").set(self.live as f64);
        gauge!("kaval_log_disk_bytes").set(self.disk as f64);
        gauge!("kaval_log_disk_free_bytes").set(self.disk_free as f64);
        counter!("kaval_logged_bytes_total").absolute(self.logged);
        for ((kind, faults), gaps) in FAULT_KINDS.into_iter().zip(self.faults).zip(self.gaps) {
            counter!("kaval_log_gap_bytes_total", "kind" => kind).absolute(gaps);
            counter!("kaval_log_faults_total", "kind" => kind).absolute(faults);
        }
    }
}

/// One terminal's.
#[derive(Debug, Clone)]
pub struct TermFigures {
    /// Its id.
    pub id: TermId,
    /// Its name.
    pub name: Name,
    /// Estimated memory.
    pub memory: MemoryParts,
    /// Bytes put out since its creation.
    pub output: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Its processes; `None` until they were looked at.
    pub children: Option<ChildUse>,
    /// When it last put something out, milliseconds since the Unix epoch.
    pub last_output_ms: Option<u64>,
}

impl Figures {
    /// How many terminals are in each state, every state included.
    pub fn states(&self) -> [(&'static str, usize); 4] {
        let Counts { live, hibernated, exited, lost, .. } = self.counts;
        [("live", live), ("hibernated", hibernated), ("exited", exited), ("lost", lost)]
    }

    /// How many clients are attached.
    pub fn clients(&self) -> usize {
        self.counts.clients
    }

    /// Bytes that all journals hold.
    pub fn journal_bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.journal_bytes).sum()
    }

    /// Sets all of them on the recorder.
    pub fn record(&self) {
        self.record_gauges();
        self.record_totals();
        self.log.record();
        for term in &self.terms {
            term.record(self.names);
        }
    }

    fn record_gauges(&self) {
        for (state, terms) in self.states() {
            gauge!("kaval_terms", "state" => state).set(terms as f64);
        }
        gauge!("kaval_heap_base_bytes").set(self.base_bytes as f64);
        gauge!("kaval_mirrors_bytes").set(self.mirrors_bytes as f64);
        gauge!("kaval_clients").set(self.clients() as f64);
        gauge!("kaval_journal_bytes").set(self.journal_bytes() as f64);
        if let Some(recovery) = self.recovery {
            gauge!("kaval_last_recovery_duration_seconds").set(recovery.as_secs_f64());
        }
    }

    fn record_totals(&self) {
        let totals = &self.totals;
        counter!("kaval_terms_spawned_total").absolute(totals.spawned);
        counter!("kaval_terms_adopted_total").absolute(totals.adopted);
        counter!("kaval_terms_respawned_total").absolute(totals.respawned);
        let exits = [("code", totals.exited_code), ("signal", totals.exited_signal), ("unknown", totals.exited_unknown)];
        for (cause, exited) in exits {
            counter!("kaval_terms_exited_total", "cause" => cause).absolute(exited);
        }
        counter!("kaval_hibernations_total").absolute(totals.hibernations);
        counter!("kaval_wakeups_total").absolute(totals.wakeups);
        counter!("kaval_output_bytes_total").absolute(totals.tally.output);
        counter!("kaval_input_bytes_total").absolute(totals.tally.input);
        counter!("kaval_client_lags_total").absolute(totals.tally.lags);
        for (cause, restarts) in &self.restarts {
            counter!("kaval_supervisor_restarts_total", "cause" => cause.clone()).absolute(*restarts);
        }
    }
}

impl TermFigures {
    fn record(&self, named: bool) {
        let id = self.id.to_string();
        if named {
            gauge!("kaval_term_info", "id" => id.clone(), "name" => self.name.to_string()).set(1.0);
        }
        for (part, bytes) in self.memory.parts() {
            gauge!("kaval_term_memory_bytes", "id" => id.clone(), "part" => part).set(bytes as f64);
        }
        counter!("kaval_term_output_bytes_total", "id" => id.clone()).absolute(self.output);
        if let Some(ChildUse { memory, .. }) = self.children {
            gauge!("kaval_term_child_memory_bytes", "id" => id.clone()).set(memory as f64);
        }
        gauge!("kaval_term_log_bytes", "id" => id.clone()).set(self.log_bytes as f64);
        if let Some(ms) = self.last_output_ms {
            gauge!("kaval_term_last_output_timestamp_seconds", "id" => id).set(ms as f64 / 1000.0);
        }
    }
}
