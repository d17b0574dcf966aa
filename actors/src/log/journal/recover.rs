//! Bringing to order what a kill left: a tail without its header, and bytes in the pipe. The head of [`super`] argues each case.

use std::sync::atomic::Ordering;

use super::{
    Journal, JournalError, Recovery, io_error,
    layout::{Found, HEADER_BYTES, Header, Kind, RECORD_MAX, place, segment_of},
};
use crate::TermId;

impl Journal {
    pub(super) fn recover(&mut self) -> Result<Recovery, JournalError> {
        let size = rustix::fs::fstat(&self.fds.file).map_err(io_error("asking its size"))?.st_size as u64;
        self.punch_below_floor();
        let mut recovery = Recovery::default();
        loop {
            let at = place(self.end);
            if size <= at + HEADER_BYTES {
                break;
            }
            self.map_segment(segment_of(at))?;
            let position = (segment_of(at) - self.first_segment) as usize;
            match Header::decode(self.segments[position].header(at)) {
                Found::Record(header) if at + HEADER_BYTES + u64::from(header.len) <= size => self.note(at, &header),
                Found::Uncommitted => self.recover_tail(at, size, &mut recovery)?,
                Found::Record(_) | Found::Damaged => return Err(JournalError::Damaged { pos: at }),
            }
        }
        self.map_segment(segment_of(place(self.end)))?;
        self.recover_pipe(&mut recovery)?;
        Ok(recovery)
    }

    fn intent(&self) -> (u64, TermId, Option<Kind>) {
        let whose = self.control.intent_whose().load(Ordering::Acquire);
        (self.control.intent_pos().load(Ordering::Acquire), TermId(whose as u32), Kind::from_code((whose >> 32) as u32))
    }

    /// The file ends in bytes without a header: they are the intent's.
    fn recover_tail(&mut self, at: u64, size: u64, recovery: &mut Recovery) -> Result<(), JournalError> {
        let tail = size - at - HEADER_BYTES;
        let (pos, term, kind) = self.intent();
        let (Some(kind), true) = (kind, pos == at && tail <= RECORD_MAX as u64) else {
            return Err(JournalError::Damaged { pos: at });
        };
        if kind == Kind::Output {
            self.begin_from_intent(term);
            self.commit(at, term, Kind::Output, tail as usize);
            recovery.tail_bytes = tail;
        } else {
            self.begin_from_intent(term);
            self.commit(at, term, Kind::Void, tail as usize);
            recovery.voided = true;
        }
        Ok(())
    }

    /// A full pipe is the intent's.
    fn recover_pipe(&mut self, recovery: &mut Recovery) -> Result<(), JournalError> {
        loop {
            let waiting = rustix::io::ioctl_fionread(&self.fds.reader).map_err(io_error("asking what the pipe holds"))?;
            if waiting == 0 {
                return Ok(());
            }
            let (_, term, kind) = self.intent();
            if kind != Some(Kind::Output) {
                return Err(JournalError::Damaged { pos: self.end });
            }
            self.begin_from_intent(term);
            let at = self.declare(term, Kind::Output)?;
            self.unsettled = Some((term, at, 0));
            self.settle()?;
            recovery.pipe_bytes += waiting;
        }
    }

    /// A terminal whose first bytes were cut has no record to count its offset from: the intent has it.
    fn begin_from_intent(&mut self, term: TermId) {
        let offset = self.control.intent_offset().load(Ordering::Acquire);
        self.begin(term, offset);
    }
}
