//! What `/metrics` shows.
//!
//! ```text
//!   histograms ──► the process's recorder, for good ────────────┐
//!   figures, process ──► a recorder made for this scrape ───────┴─► text
//! ```
//!
//! **Invariant.** A series is there if what it counts is there at the moment of the scrape: a recorder never drops one by itself.

use std::fmt::Write;

use kaval_actors::registry::{self, Figures, Histogram};
use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::vitals::{self, BUDGET, Heap, Usage};

const GAUGES: &[(&str, &str)] = &[
    ("kaval_heap_allocated_bytes", "Bytes that the supervisor uses, as its allocator says."),
    ("kaval_heap_resident_bytes", "Bytes that the allocator has from the kernel, in memory."),
    ("kaval_log_heap_bytes", "Bytes of them that the log and its database use."),
    ("kaval_memory_own_bytes", "Bytes of resident memory that are the supervisor's own: what is compared with its limit."),
    ("kaval_heap_limit_bytes", "Bytes of memory that the supervisor may use itself; 0 if as many as there are."),
    ("kaval_memory_level", "How near that is: 0 normal, 1 elevated, 2 high, 3 critical: nothing new is taken on."),
    ("kaval_heap_growth_bytes_per_minute", "Bytes that each of the last five minutes added to the heap."),
    ("process_resident_memory_bytes", "Resident memory size in bytes."),
    ("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds."),
    ("process_open_fds", "Number of open file descriptors."),
    ("process_max_fds", "Maximum number of open file descriptors."),
];
const CPU_SECONDS: (&str, &str) = ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");

/// See the module's head.
pub(super) struct Scraper {
    histograms: PrometheusHandle,
}

impl Scraper {
    /// Installs the recorder of histograms for the process.
    ///
    /// # Errors
    /// When there is one already.
    pub(super) fn install() -> Result<Self, BuildError> {
        let with_buckets = |builder: PrometheusBuilder, histogram: Histogram| {
            builder.set_buckets_for_metric(Matcher::Full(histogram.name().to_owned()), histogram.buckets())
        };
        let histograms = Histogram::ALL.into_iter().try_fold(PrometheusBuilder::new(), with_buckets)?.install_recorder()?;
        Histogram::ALL.into_iter().for_each(Histogram::register);
        Ok(Self { histograms })
    }

    /// See [`super::keep_up`].
    pub(super) fn keep_up(&self) {
        self.histograms.run_upkeep();
    }

    /// Everything as Prometheus reads it; of the process alone while there are no figures.
    pub(super) fn render(&self, figures: Option<&Figures>) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || {
            registry::describe();
            describe();
            record_process();
            figures.inspect(|figures| figures.record());
        });
        let seconds = figures.map(child_seconds).unwrap_or_default();
        recorder.handle().render() + &seconds + &self.histograms.render()
    }
}

/// The processor time of each terminal's processes: a recorder's counters are whole numbers, and these are not.
fn child_seconds(figures: &Figures) -> String {
    const NAME: &str = "kaval_term_child_cpu_seconds_total";
    let mut text = String::new();
    for term in &figures.terms {
        let Some(children) = term.children else { continue };
        if text.is_empty() {
            text = format!("# HELP {NAME} Processor time of the processes in a terminal, in seconds.\n# TYPE {NAME} counter\n");
        }
        let _ = writeln!(text, "{NAME}{{id=\"{}\"}} {}", term.id, children.cpu.as_secs_f64());
    }
    text
}

fn describe() {
    GAUGES.iter().for_each(|&(name, help)| describe_gauge!(name, help));
    describe_counter!(CPU_SECONDS.0, CPU_SECONDS.1);
}

fn record_process() {
    let revision = option_env!("KAVAL_REVISION").unwrap_or("unknown");
    gauge!("kaval_build_info", "version" => env!("CARGO_PKG_VERSION"), "revision" => revision).set(1.0);
    let heap = Heap::now();
    gauge!("kaval_heap_allocated_bytes").set(heap.allocated_bytes as f64);
    gauge!("kaval_heap_resident_bytes").set(heap.resident_bytes as f64);
    gauge!("kaval_memory_own_bytes").set(vitals::own_bytes().unwrap_or(heap.resident_bytes) as f64);
    gauge!("kaval_heap_limit_bytes").set(BUDGET.limited().map_or(0, |(bytes, _)| bytes) as f64);
    gauge!("kaval_memory_level").set(f64::from(BUDGET.level()));
    gauge!("kaval_heap_growth_bytes_per_minute").set(BUDGET.growth() as f64);
    if let Some(bytes) = vitals::log_heap_bytes() {
        gauge!("kaval_log_heap_bytes").set(bytes as f64);
    }
    match Usage::now() {
        Ok(usage) => {
            gauge!("process_resident_memory_bytes").set(usage.resident_bytes as f64);
            gauge!("process_start_time_seconds").set(usage.started_s);
            gauge!("process_open_fds").set(usage.open_fds as f64);
            gauge!("process_max_fds").set(usage.max_fds as f64);
            counter!("process_cpu_seconds_total").absolute(usage.cpu_s);
        }
        Err(error) => tracing::debug!(%error, "the kernel does not tell of this process"),
    }
}
