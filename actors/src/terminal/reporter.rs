//! When a terminal tells the registry how it stands, and what it has counted until then.
//!
//! ```text
//!   a client did something, or the screen fell asleep or woke ──► at once, before any client is answered
//!   anything else ──► at once, if the last report is a second old; else when it is
//! ```
//!
//! **Invariant.** While nothing changes there is no report and no timer.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, Recipient, SpawnHandle};

use super::Terminal;
use crate::registry::{Report, Tally, TermNews};

/// Least time between two reports of which nobody waits for the second.
const EVERY: Duration = Duration::from_secs(1);

/// See the module's head.
pub(super) struct Reporter {
    to: Recipient<Report>,
    last: Option<Instant>,
    timer: Option<SpawnHandle>,
    /// Something has changed since the last report.
    due: bool,
    /// What the last report said of the screen.
    hibernated: bool,
    /// Counted since the last report.
    pub(super) tally: Tally,
    /// What happened since the last report.
    pub(super) news: Vec<TermNews>,
}

impl Reporter {
    pub(super) fn new(to: Recipient<Report>) -> Self {
        Self { to, last: None, timer: None, due: false, hibernated: false, tally: Tally::default(), news: Vec::new() }
    }
}

impl Terminal {
    /// Reports now: a client is about to be answered.
    pub(super) fn report(&mut self) {
        self.tell_whereabouts();
        let report = self.stands();
        self.reporter.due = false;
        self.reporter.hibernated = report.hibernated;
        self.reporter.last = Some(Instant::now());
        // Once a second, and once a request of a client, each of which waits for its answer.
        self.reporter.to.do_send(report);
    }

    /// Reports within a second.
    pub(super) fn report_soon(&mut self, ctx: &mut Context<Self>) {
        if self.screen.is_hibernated() != self.reporter.hibernated {
            return self.report();
        }
        self.reporter.due = true;
        if self.reporter.timer.is_some() {
            return;
        }
        let since = self.reporter.last.map_or(EVERY, |last| last.elapsed());
        if since >= EVERY {
            return self.report();
        }
        self.reporter.timer = Some(ctx.run_later(EVERY - since, |terminal, _| {
            terminal.reporter.timer = None;
            if terminal.reporter.due {
                terminal.report();
            }
        }));
    }

    /// Notes something of a client, and reports.
    pub(super) fn report_news(&mut self, news: TermNews) {
        self.reporter.news.push(news);
        self.report();
    }

    /// How it stands; what was counted is counted anew.
    pub(super) fn stands(&mut self) -> Report {
        Report {
            id: self.id,
            size: self.size,
            title: self.screen.title().to_owned(),
            marks: self.screen.marks().cloned().unwrap_or_default(),
            offset: self.end_offset(),
            clients: self.clients.len(),
            hibernated: self.screen.is_hibernated(),
            used: self.drowse.used,
            last_output_ms: self.last_output_ms,
            memory: self.memory(),
            since: std::mem::take(&mut self.reporter.tally),
            news: std::mem::take(&mut self.reporter.news),
        }
    }
}
