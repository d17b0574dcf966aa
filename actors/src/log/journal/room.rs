//! Making room: which segments go, and when.
//!
//! The oldest segment goes once no terminal's screen is rebuilt from it, and once the log thread has what is in it on disk. While the
//! disk is slow reading pauses; when the log thread says that the disk takes nothing, or gets nowhere for `stall_max`, segments go
//! without it, and the log records a gap: no disk stops a terminal.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use rustix::fs::FallocateFlags;

use super::{
    Bell, CONTROL_SLACK, Follower, Journal, JournalError, Progress,
    layout::{CONTROL_BYTES, Kind, RECORD_MAX, SEGMENT_BYTES, segment_start},
};
use crate::TermId;

/// Segments that are not on disk before the log thread is told to hurry.
const URGENT_BYTES: u64 = 4 * SEGMENT_BYTES;

impl Journal {
    /// Has a log thread, woken by `bell`, store what is committed: it reads by the follower, and from now on no segment goes before
    /// it has been stored.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn follow(&mut self, bell: Arc<Bell>) -> std::io::Result<Follower> {
        let floor = self.control.floor().load(Ordering::Acquire);
        let progress = Arc::new(Progress::new(bell, floor));
        let follower = Follower::new(self.fds.file.try_clone()?, progress.clone())?;
        progress.stir();
        self.progress = Some(progress);
        Ok(follower)
    }

    /// The terminal has ended, and its log has everything up to here or will have: its records hold no segment back once they are stored.
    pub fn retire(&mut self, term: TermId) {
        let end = self.end;
        if let (Some(index), Some(_)) = (self.terms.get_mut(&term), &self.progress) {
            index.retired = Some(end);
        }
    }

    /// Whether the terminal's screen can be rebuilt from what is here.
    pub fn holds_screen(&self, term: TermId) -> bool {
        let held = self.terms.get(&term).filter(|index| index.firsts.front().is_some_and(|first| first.0 <= index.base));
        let base = held.and_then(|index| self.record(index.base));
        // Where records before it went with their segment, the first that is left shows nothing by itself.
        base.is_some_and(|(header, _)| header.offset == 0 || matches!(header.kind, Kind::Checkpoint | Kind::CheckpointFirst))
    }

    /// Wakes the log thread: there is something for it; at once, if much.
    pub(super) fn stir(&self) {
        if let Some(progress) = &self.progress {
            if self.end.saturating_sub(progress.stored()) > URGENT_BYTES { progress.urge() } else { progress.stir() }
        }
    }

    /// Drops the oldest segments once an eighth of the room is left; refuses when none can go and none is left.
    pub(super) fn make_room(&mut self) -> Result<(), JournalError> {
        if self.needs(self.bytes_max - self.bytes_max / 8) {
            self.drop_oldest(self.bytes_max - self.bytes_max / 8);
            if self.needs(self.bytes_max) {
                return Err(JournalError::Full);
            }
        }
        Ok(())
    }

    pub(super) fn make_room_for_control(&mut self) -> Result<(), JournalError> {
        if self.needs(self.bytes_max + CONTROL_SLACK) { Err(JournalError::Full) } else { Ok(()) }
    }

    fn needs(&self, limit: u64) -> bool {
        self.live_bytes() + RECORD_MAX as u64 > limit
    }

    fn drop_oldest(&mut self, limit: u64) {
        while self.asked.is_empty() && self.needs(limit) && self.segments.len() > 1 {
            let next = segment_start(self.first_segment + 1);
            if !self.is_stored(next) {
                return;
            }
            let blockers: Vec<TermId> = self.blockers(next).collect();
            if !blockers.is_empty() {
                self.wanted.extend(&blockers);
                self.asked.extend(blockers);
                return;
            }
            self.control.floor().store(next, Ordering::Release);
            self.punch_below_floor();
            self.segments.pop_front();
            self.first_segment += 1;
            for index in self.terms.values_mut() {
                while index.firsts.front().is_some_and(|first| first.0 < next) {
                    index.firsts.pop_front();
                }
            }
        }
    }

    /// Whether the log has, or does without, everything before `next`.
    fn is_stored(&mut self, next: u64) -> bool {
        let Some(progress) = &self.progress else { return true };
        let stored = progress.stored();
        if stored >= next || progress.is_lossy() {
            self.stalled = None;
            return true;
        }
        progress.urge();
        let stall_max = progress.stall_max();
        let (_, since) = *self.stalled.insert(match self.stalled {
            Some((before, since)) if before == stored => (before, since),
            Some(_) | None => (stored, Instant::now()),
        });
        since.elapsed() > stall_max
    }

    /// Those whose screens are rebuilt from before `next`.
    fn blockers(&self, next: u64) -> impl Iterator<Item = TermId> + '_ {
        let held = self.terms.iter().filter(move |(_, index)| index.base < next && !index.firsts.is_empty());
        held.filter(move |(_, index)| index.retired.is_none_or(|end| end > next)).map(|(term, _)| *term)
    }

    /// Gives the pages below the floor back. A failure costs memory, not bytes, and is tried again with the next segment.
    pub(super) fn punch_below_floor(&self) {
        let floor = self.control.floor().load(Ordering::Acquire);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let below = floor - CONTROL_BYTES;
        if below > 0
            && let Err(errno) = rustix::fs::fallocate(&self.fds.file, flags, CONTROL_BYTES, below)
        {
            tracing::warn!(%errno, "journal: pages of dropped segments could not be freed");
        }
    }
}
