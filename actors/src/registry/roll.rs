//! The roll of terminals: takes in what is told of them, counts it, and says what happened. Pure.
//!
//! **Invariants.** What a terminal reports before it was announced, or after it was forgotten, is passed over. What was counted stays
//! counted when a terminal goes.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::{
    Announce, Card, ChildUse, Happening, Listing, MemoryParts, News, Page, PerTerm, Removal, Report, Standing, Tally,
    TermFigures,
};
use crate::{
    Name, TermId,
    log::stats::LogShare,
    memory::allocated,
    pty::{Exit, Fate},
};

/// What a listing takes on the wire beyond its texts: names of fields, numbers, and what the kernel says of the foreground, of which a
/// directory is 512 bytes at most.
const LISTING_BYTES: usize = 480 + 512;
/// What is known of a terminal beside its texts, here and by the supervisor: record, card, report, and the trees they are in.
const KNOWN_BYTES: usize = 2000;
/// What each text takes on the wire beyond its bytes.
const TEXT_BYTES: usize = 5;

/// What a supervisor counts in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) spawned: u64,
    pub(super) adopted: u64,
    pub(super) respawned: u64,
    pub(super) exited_code: u64,
    pub(super) exited_signal: u64,
    pub(super) exited_unknown: u64,
    pub(super) hibernations: u64,
    pub(super) wakeups: u64,
    pub(super) tally: Tally,
}

/// How many terminals stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) live: usize,
    pub(super) hibernated: usize,
    pub(super) exited: usize,
    pub(super) lost: usize,
    pub(super) clients: usize,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Roll {
    listings: BTreeMap<TermId, Listing>,
    totals: Totals,
}

/// Something that happened to a terminal of that name.
pub(super) type Told = (TermId, Name, Happening);

impl Roll {
    /// Takes in what the supervisor says of a terminal.
    pub(super) fn announce(&mut self, Announce { card, news }: Announce) -> Option<Told> {
        let (id, name) = (card.id, card.name.clone());
        let (report, children) = self.listings.remove(&id).map_or((None, None), |listing| (listing.report, listing.children));
        self.listings.insert(id, Listing { card: Arc::new(card), report, log: LogShare::default(), children });
        self.totals.count(&news);
        (news != News::Recalled).then_some((id, name, Happening::Terminal(news)))
    }

    /// Takes in how a terminal says it stands, if it is known. Its first report is no change of anything.
    pub(super) fn report(&mut self, mut report: Report) -> Option<Vec<Told>> {
        let listing = self.listings.get_mut(&report.id)?;
        self.totals.tally.add(report.since);
        match (listing.is_hibernated(), report.hibernated) {
            (false, true) => self.totals.hibernations += 1,
            (true, false) => self.totals.wakeups += 1,
            (true, true) | (false, false) => {}
        }
        let clients = std::mem::take(&mut report.news).into_iter().map(Happening::Inside);
        let changes = listing.report.as_ref().map(|before| changes(before, &report)).unwrap_or_default();
        let (id, name) = (report.id, listing.card.name.clone());
        listing.report = Some(Arc::new(report));
        Some(clients.chain(changes).map(|happening| (id, name.clone(), happening)).collect())
    }

    /// Takes in what the processes in terminals use.
    pub(super) fn note_use(&mut self, used: Vec<(TermId, ChildUse)>) {
        for (id, used) in used {
            if let Some(listing) = self.listings.get_mut(&id) {
                listing.children = Some(used);
            }
        }
    }

    /// Strikes a terminal off.
    pub(super) fn forget(&mut self, id: TermId, cause: Removal) -> Option<Told> {
        self.listings.remove(&id).map(|listing| (id, listing.card.name.clone(), Happening::Removed(cause)))
    }

    /// Terminals behind `after` that fit `bytes_max`, and one if none does.
    pub(super) fn page(&self, after: Option<TermId>, bytes_max: usize, shares: &BTreeMap<TermId, LogShare>) -> Page {
        let mut listings = Vec::new();
        let mut bytes = 0;
        for listing in self.listings.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)) {
            bytes += weight(listing.1);
            if bytes > bytes_max && !listings.is_empty() {
                return Page { listings, more: true };
            }
            listings.push(Listing { log: share(shares, *listing.0), ..listing.1.clone() });
        }
        Page { listings, more: false }
    }

    /// How many there are of what.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for listing in self.listings.values() {
            match listing.card.standing {
                Standing::Live if listing.is_hibernated() => counts.hibernated += 1,
                Standing::Live => counts.live += 1,
                Standing::Restarting(Fate::Ended(_)) | Standing::Exited(_) => counts.exited += 1,
                Standing::Restarting(Fate::Lost) | Standing::Lost => counts.lost += 1,
            }
            counts.clients += listing.report.as_ref().map_or(0, |report| report.clients);
        }
        counts
    }

    /// What was counted.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// What all of them take.
    pub(super) fn memory(&self, shares: &BTreeMap<TermId, LogShare>) -> MemoryParts {
        let parts = self.listings.iter().map(|(id, listing)| Listing { log: share(shares, *id), ..listing.clone() }.memory());
        parts.fold(MemoryParts::default(), MemoryParts::and)
    }

    /// The terminals that are shown one by one.
    pub(super) fn figures(&self, per_term: PerTerm, shares: &BTreeMap<TermId, LogShare>) -> Vec<TermFigures> {
        per_term.select(self.listings.iter().map(|(id, listing)| figures(listing, share(shares, *id))).collect())
    }
}

impl Listing {
    /// Estimated bytes of memory that it takes.
    pub fn memory(&self) -> MemoryParts {
        let told = self.report.as_ref().map_or(MemoryParts::default(), |report| report.memory);
        MemoryParts { actor: told.actor + self.card.memory_bytes() as u64, log: self.log.memory, ..told }
    }

    /// Whether its screen is dropped until something needs it.
    pub fn is_hibernated(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.hibernated)
    }
}

impl Totals {
    fn count(&mut self, news: &News) {
        match news {
            News::Created => self.spawned += 1,
            News::Adopted => self.adopted += 1,
            News::Respawned { .. } => self.respawned += 1,
            News::Exited(exit) | News::Restarting { fate: Fate::Ended(exit), trouble: None, .. } => match exit {
                Exit::Code(_) => self.exited_code += 1,
                Exit::Signal(_) => self.exited_signal += 1,
                Exit::Unknown => self.exited_unknown += 1,
            },
            News::Recalled
            | News::Lost
            | News::Restarting { .. }
            | News::Renamed { .. }
            | News::ReapNotice { .. }
            | News::Reaped => {}
        }
    }
}

impl Tally {
    fn add(&mut self, Self { output, input, lags }: Self) {
        self.output += output;
        self.input += input;
        self.lags += lags;
    }
}

fn changes(before: &Report, now: &Report) -> Vec<Happening> {
    let resized = (before.size != now.size).then_some(Happening::Resized(now.size));
    let titled = (before.title != now.title).then(|| Happening::Title(now.title.clone()));
    resized.into_iter().chain(titled).collect()
}

fn weight(Listing { card, report, .. }: &Listing) -> usize {
    let argv: usize = card.argv.iter().map(|arg| arg.len() + TEXT_BYTES).sum();
    let title = report.as_ref().map_or(0, |report| report.title.len() + report.marks.text_bytes());
    LISTING_BYTES + argv + card.name.as_str().len() + card.cwd.as_os_str().len() + title + 3 * TEXT_BYTES
}

fn share(shares: &BTreeMap<TermId, LogShare>, id: TermId) -> LogShare {
    shares.get(&id).copied().unwrap_or_default()
}

impl Card {
    /// Bytes that it takes, and the record and the report beside it.
    fn memory_bytes(&self) -> usize {
        let texts = self.argv.iter().map(String::capacity).chain([self.name.as_str().len(), self.cwd.as_os_str().len()]);
        KNOWN_BYTES + 2 * texts.map(allocated).sum::<usize>()
    }
}

fn figures(listing: &Listing, log: LogShare) -> TermFigures {
    let Listing { card, report, .. } = listing;
    TermFigures {
        id: card.id,
        name: card.name.clone(),
        memory: Listing { log, ..listing.clone() }.memory(),
        output: report.as_ref().map_or(card.offset, |report| report.offset),
        log_bytes: log.stored,
        children: listing.children,
        last_output_ms: report.as_ref().and_then(|report| report.last_output_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Card, TermNews},
        *,
    };
    use crate::{Size, pty::Restart};

    fn card(id: u32, standing: Standing) -> Card {
        Card {
            id: TermId(id),
            name: format!("t{id}").parse().unwrap(),
            argv: vec!["sh".into(), "-c".into(), "x".repeat(1000)],
            cwd: "/".into(),
            created_ms: 1,
            size: Size::DEFAULT,
            offset: 7,
            standing,
            restart: Restart::Never,
            respawns: 0,
            short_lives: 0,
            due_ms: 0,
            trouble: None,
            pid: None,
        }
    }

    fn report(id: u32, title: &str, clients: usize, output: u64) -> Report {
        Report {
            id: TermId(id),
            marks: Default::default(),
            size: Size::DEFAULT,
            title: title.into(),
            offset: output,
            clients,
            hibernated: false,
            used: std::time::Instant::now(),
            last_output_ms: None,
            memory: MemoryParts::default(),
            since: Tally { output, input: 1, lags: 0 },
            news: vec![],
        }
    }

    fn roll(ids: impl IntoIterator<Item = u32>) -> Roll {
        let mut roll = Roll::default();
        for id in ids {
            roll.announce(Announce { card: card(id, Standing::Live), news: News::Created });
        }
        roll
    }

    fn happenings(told: Option<Vec<Told>>) -> Vec<Happening> {
        told.into_iter().flatten().map(|(_, _, happening)| happening).collect()
    }

    #[test]
    fn a_report_tells_of_what_has_changed_since_the_one_before() {
        let mut roll = roll([1]);
        assert_eq!(happenings(roll.report(report(1, "a title", 0, 3))), []);
        assert_eq!(happenings(roll.report(report(1, "a title", 1, 4))), []);
        let wide = Report { size: Size::new(100, 24).unwrap(), ..report(1, "another", 1, 0) };
        let expected = [Happening::Resized(wide.size), Happening::Title("another".into())];
        assert_eq!(happenings(roll.report(wide)), expected);
        let news = vec![TermNews::Detached { client: 4 }];
        let told = roll.report(Report { size: Size::new(100, 24).unwrap(), news, ..report(1, "another", 0, 0) });
        assert_eq!(happenings(told), [Happening::Inside(TermNews::Detached { client: 4 })]);
        assert_eq!(roll.totals().tally, Tally { output: 7, input: 4, lags: 0 });
    }

    #[test]
    fn sleeping_and_waking_are_counted() {
        let mut roll = roll([1]);
        for hibernated in [false, true, true, false, true] {
            roll.report(Report { hibernated, ..report(1, "", 0, 0) });
        }
        assert_eq!((roll.totals().hibernations, roll.totals().wakeups), (2, 1));
        assert_eq!((roll.counts().live, roll.counts().hibernated), (0, 1));
    }

    #[test]
    fn what_is_said_of_an_unknown_terminal_changes_nothing_and_totals_outlast_a_known_one() {
        let mut roll = roll([1]);
        assert_eq!(happenings(roll.report(report(9, "", 5, 5))), []);
        roll.report(report(1, "", 2, 5));
        assert_eq!(roll.counts(), Counts { live: 1, clients: 2, ..Counts::default() });
        let ended = Announce { card: card(1, Standing::Exited(Exit::Signal(9))), news: News::Exited(Exit::Signal(9)) };
        assert!(roll.announce(ended).is_some());
        assert_eq!(roll.counts(), Counts { exited: 1, clients: 2, ..Counts::default() });
        assert_eq!(roll.forget(TermId(1), Removal::EndedMax).map(|told| told.2), Some(Happening::Removed(Removal::EndedMax)));
        assert_eq!((roll.forget(TermId(1), Removal::Asked), roll.counts()), (None, Counts::default()));
        let totals = roll.totals();
        assert_eq!((totals.spawned, totals.exited_signal, totals.tally.output), (1, 1, 5));
    }

    #[test]
    fn pages_follow_each_other_without_gap_and_hold_one_at_least() {
        let roll = roll([2, 3, 5, 8]);
        for bytes_max in [0, 1400, 3000, 100_000] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = roll.page(after, bytes_max, &BTreeMap::new());
                seen.extend(page.listings.iter().map(|listing| listing.card.id.0));
                after = page.listings.last().map(|listing| listing.card.id);
                if !page.more {
                    break;
                }
            }
            assert_eq!(seen, [2, 3, 5, 8], "{bytes_max}");
        }
    }
}
