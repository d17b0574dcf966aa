//! Whether memory keeps growing. Pure.
//!
//! **Invariants.** A start, a single jump and a sawtooth are no growth that lasts: each minute of the last [`MINUTES`] must have added to it.
//! Once alarmed, it stays so until a whole minute adds nothing.

use std::collections::VecDeque;

/// Minutes that growth must last for.
const MINUTES: usize = 5;
/// Bytes a minute that are too many.
pub(super) const ALARM: i64 = 10_000_000;

/// The heap, minute by minute.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// The last [`MINUTES`] and one.
    heap: VecDeque<u64>,
    pub(super) alarmed: bool,
}

impl Growth {
    /// Takes in the heap after another minute; whether that begins an alarm.
    pub(super) fn minute(&mut self, heap: u64) -> bool {
        self.heap.push_back(heap);
        if self.heap.len() > MINUTES + 1 {
            self.heap.pop_front();
        }
        let last = self.steps().last().is_some_and(|step| step > 0);
        let was = self.alarmed;
        self.alarmed = last && (was || self.lasts());
        self.alarmed && !was
    }

    fn steps(&self) -> impl Iterator<Item = i64> {
        self.heap.iter().zip(self.heap.iter().skip(1)).map(|(before, after)| *after as i64 - *before as i64)
    }

    fn lasts(&self) -> bool {
        self.heap.len() > MINUTES && self.per_minute() > ALARM && self.steps().all(|step| step > ALARM / 4)
    }

    /// Bytes that each of these minutes added, on average; 0 while there was none.
    pub(super) fn per_minute(&self) -> i64 {
        let minutes = self.heap.len().saturating_sub(1).max(1) as i64;
        self.steps().sum::<i64>() / minutes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alarms(heaps: impl IntoIterator<Item = u64>) -> usize {
        let mut growth = Growth::default();
        heaps.into_iter().filter(|heap| growth.minute(*heap)).count()
    }

    #[test]
    fn steady_growth_is_told_once_and_again_only_after_a_rest() {
        let grows = |from: u64| (0..20).map(move |n| from + n * 11_000_000);
        assert_eq!(alarms(grows(50_000_000)), 1);
        assert_eq!(alarms(grows(0).chain([0]).chain(grows(0))), 2);
        assert_eq!(alarms((0..20).map(|n| n * 9_000_000)), 0);
    }

    #[test]
    fn a_start_a_jump_and_a_sawtooth_are_none() {
        assert_eq!(alarms([0, 90_000_000, 91_000_000, 91_000_000, 91_000_000, 91_000_000, 91_000_000]), 0);
        assert_eq!(alarms([5, 5, 5, 5, 5, 300_000_000, 300_000_000, 300_000_000, 300_000_000]), 0);
        assert_eq!(alarms((0..40).map(|n| if n % 2 == 0 { 0 } else { 500_000_000 })), 0);
    }

    proptest! {
        #[test]
        fn nothing_that_falls_back_within_five_minutes_alarms(heaps in prop::collection::vec(0u64..1_000_000_000, 0..60)) {
            let mut growth = Growth::default();
            let mut last_fall = 0;
            for (n, heap) in heaps.iter().enumerate() {
                if n > 0 && heaps[n - 1] >= *heap {
                    last_fall = n;
                }
                let alarm = growth.minute(*heap);
                prop_assert!(!alarm || n - last_fall >= MINUTES);
            }
        }
    }
}
