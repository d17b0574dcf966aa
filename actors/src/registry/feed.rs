//! The events that are kept, by number, and the numbers they get. Pure.
//!
//! ```text
//!   push ──► next number, if one is reserved ──► kept: the last KEPT_MAX ──► read(from): missed?, events
//!        └─► waiting, until more are reserved
//! ```
//!
//! **Invariants.** Numbers only grow, and are given only where they were reserved. A reader holds a number and nothing here: one that is
//! too slow finds a gap, and is told.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use super::{Batch, Event};
use crate::TermId;

/// Events that are kept, and that may wait for numbers. Some 200 bytes each, without a title.
pub(super) const KEPT_MAX: usize = 10_000;

/// What an event takes without its texts.
const EVENT_BYTES: usize = size_of::<Event>() + 32;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Feed {
    kept: VecDeque<Arc<Event>>,
    waiting: VecDeque<Event>,
    /// How many were dropped from those that waited: their numbers are left out.
    dropped: u64,
    free: Range<u64>,
}

impl Feed {
    /// One that may give these numbers.
    pub(super) fn new(free: Range<u64>) -> Self {
        Self { kept: VecDeque::new(), waiting: VecDeque::new(), dropped: 0, free }
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.kept.len() + self.waiting.len()) * EVENT_BYTES + self.kept.capacity() * size_of::<Arc<Event>>()
    }

    /// The number that the next event will have.
    pub(super) fn next(&self) -> u64 {
        self.free.start
    }

    /// How many numbers are left.
    pub(super) fn left(&self) -> u64 {
        self.free.end - self.free.start
    }

    /// Takes an event in; its number is not looked at.
    pub(super) fn push(&mut self, event: Event) {
        if self.waiting.len() == KEPT_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(event);
        self.number();
    }

    /// Adds numbers that were reserved, which follow on those before.
    pub(super) fn grant(&mut self, more: Range<u64>) {
        self.free.end = more.end;
        let skipped = self.dropped.min(self.left());
        self.free.start += skipped;
        self.dropped -= skipped;
        self.number();
    }

    fn number(&mut self) {
        while self.left() > 0
            && let Some(event) = self.waiting.pop_front()
        {
            let seq = self.free.start;
            self.free.start += 1;
            if self.kept.len() == KEPT_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back(Arc::new(Event { seq, ..event }));
        }
    }

    /// Events from number `from` on, at most `max` of them looked at; of one terminal, if so asked.
    pub(super) fn read(&self, from: u64, term: Option<TermId>, max: usize) -> Batch {
        let start = self.kept.partition_point(|event| event.seq < from);
        let first = self.kept.get(start).map_or(self.next(), |event| event.seq);
        let looked_at =
            || self.kept.range(start..).zip(first..).take_while(|(event, n)| event.seq == *n).map(|(event, _)| event).take(max);
        let wanted = |event: &&Arc<Event>| term.is_none_or(|wanted| event.term.as_ref().is_some_and(|(id, _)| *id == wanted));
        Batch {
            missed: (first != from).then_some((from, first)),
            events: looked_at().filter(wanted).cloned().collect(),
            next: first + looked_at().count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Happening, News},
        *,
    };

    fn event(term: u32) -> Event {
        let term = Some((TermId(term), "t".parse().unwrap()));
        Event { seq: 0, time_ms: 0, term, what: Happening::Terminal(News::Created) }
    }

    fn feed(numbers: Range<u64>, events: u64) -> Feed {
        let mut feed = Feed::new(numbers);
        (0..events).for_each(|n| feed.push(event(n as u32 % 2)));
        feed
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped_and_sees_what_it_asked_for() {
        let feed = feed(10..100, 5);
        let all = feed.read(10, None, 3);
        assert_eq!((all.missed, numbers(&all), all.next), (None, vec![10, 11, 12], 13));
        let rest = feed.read(13, Some(TermId(0)), 3);
        assert_eq!((rest.missed, numbers(&rest), rest.next), (None, vec![14], 15));
        let none = feed.read(15, None, 3);
        assert_eq!((none.missed, numbers(&none), none.next), (None, vec![], 15));
    }

    #[test]
    fn older_and_unknown_numbers_are_told_as_missed() {
        let feed = feed(10..100, 5);
        assert_eq!((feed.read(3, None, 9).missed, feed.read(3, None, 9).next), (Some((3, 10)), 15));
        assert_eq!((feed.read(99, None, 9).missed, feed.read(99, None, 9).next), (Some((99, 15)), 15));
        let empty = Feed::new(7..8);
        assert_eq!((empty.read(2, None, 9).missed, empty.read(2, None, 9).next), (Some((2, 7)), 7));
    }

    #[test]
    fn only_the_last_are_kept() {
        let feed = feed(0..u64::MAX, KEPT_MAX as u64 + 3);
        assert_eq!(feed.read(0, None, 1).missed, Some((0, 3)));
    }

    #[test]
    fn events_wait_for_numbers_and_those_that_waited_too_long_leave_a_gap() {
        let mut feed = feed(1..2, KEPT_MAX as u64 + 3);
        assert_eq!((feed.read(1, None, usize::MAX).next, feed.left()), (2, 0));
        feed.grant(2..20_000);
        let batch = feed.read(2, None, usize::MAX);
        assert_eq!((batch.missed, batch.events.len(), batch.next), (Some((2, 4)), KEPT_MAX, 4 + KEPT_MAX as u64));
    }

    #[test]
    fn a_gap_within_what_is_kept_is_told_when_a_reader_gets_there() {
        let mut feed = feed(1..3, 2);
        feed.dropped = 5;
        feed.grant(3..100);
        feed.push(event(0));
        let before = feed.read(2, None, usize::MAX);
        assert_eq!((before.missed, numbers(&before), before.next), (None, vec![2], 3));
        let behind = feed.read(3, None, usize::MAX);
        assert_eq!((behind.missed, numbers(&behind), behind.next), (Some((3, 8)), vec![8], 9));
    }

    proptest! {
        #[test]
        fn whatever_is_pushed_granted_and_read_numbers_grow_and_are_reserved(steps in prop::collection::vec((0u8..3, 1u64..6), 0..60)) {
            let mut feed = Feed::new(1..4);
            let (mut reserved, mut next, mut last) = (4, 1, 0);
            for (kind, n) in steps {
                match kind {
                    0 => (0..n).for_each(|_| feed.push(event(0))),
                    1 => {
                        feed.grant(reserved..reserved + n);
                        reserved += n;
                    }
                    _ => {
                        let batch = feed.read(next, None, n as usize);
                        prop_assert!(batch.missed.is_none());
                        for seq in numbers(&batch) {
                            prop_assert!(seq == last + 1 && seq < reserved);
                            last = seq;
                        }
                        next = batch.next;
                    }
                }
            }
        }
    }
}
