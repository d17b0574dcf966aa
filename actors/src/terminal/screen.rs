//! The terminal's mirror and how far it has read the journal: drawn on by bounded steps, dropped and rebuilt from a checkpoint.
//!
//! **Invariant.** What the mirror shows is what the journal's records up to its cursor draw, however often it was rebuilt. A
//! record that makes the parser panic is left out and a checkpoint taken behind it, so that no rebuild meets it again.

use crate::{
    Size, TermId,
    log::journal::{Cursor, Journal, JournalError, Kind, RECORD_MAX, Record},
    mirror::{self, Marks, Mirror, NOTICES_MAX, Panicked, QUESTIONS_MAX, What},
};

/// Output after which a new checkpoint is worth its 2–4 KB and 25 µs: what a rebuild replays is some 5 ms of parsing, and history can be
/// drawn from anywhere at that cost.
const CHECKPOINT_EVERY_BYTES: u64 = 256 << 10;

/// Output drawn in one piece.
const BATCH_BYTES: usize = 64 << 10;

/// A question takes two bytes at least.
const _: () = assert!(BATCH_BYTES / 2 <= QUESTIONS_MAX && RECORD_MAX / 2 <= QUESTIONS_MAX);

/// What a program told or asked, and the offset behind it.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) offset: u64,
    pub(super) what: What,
}

/// See the module's head.
pub(super) struct Screen {
    id: TermId,
    initial: Size,
    /// `None` when parked: rebuilt from the journal's base when next needed.
    mirror: Option<Box<Mirror>>,
    /// The title it had when it was hibernated, and what its programs had told; `None` if it is not.
    asleep: Option<(String, Marks)>,
    cursor: Cursor,
    /// Output drawn since the last checkpoint.
    uncheckpointed: u64,
    /// The newest checkpoint is of this very screen.
    stands: bool,
    /// A checkpoint's parts, while they are being read back.
    parts: Vec<u8>,
    /// Up to here records are drawn one by one: one of them makes the parser panic.
    careful_until: Option<Cursor>,
    /// Up to this offset what programs told and asked has been heard: no replay has it heard again.
    heard_until: u64,
    heard: Vec<Heard>,
}

impl Screen {
    /// One that will be rebuilt from the journal's base when first needed.
    pub(super) fn parked(id: TermId, initial: Size, journal: &Journal) -> Self {
        let cursor = journal.base(id).unwrap_or_else(|| journal.end());
        Self {
            id,
            initial,
            mirror: None,
            asleep: None,
            cursor,
            uncheckpointed: 0,
            stands: false,
            parts: Vec::new(),
            careful_until: None,
            heard_until: 0,
            heard: Vec::new(),
        }
    }

    /// Drops the grid, to be rebuilt from the journal's base.
    fn restart(&mut self, initial: Size, journal: &Journal) {
        let (heard_until, heard) = (self.heard_until, std::mem::take(&mut self.heard));
        *self = Self { heard_until, heard, ..Self::parked(self.id, initial, journal) };
    }

    /// Drops the grid of a terminal that goes on, behind a checkpoint of it: its title is remembered.
    ///
    /// # Errors
    /// The journal's: it stays awake.
    pub(super) fn hibernate(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        self.now(journal);
        if !self.stands {
            self.checkpoint(journal)?;
        }
        let told = (self.title().to_owned(), self.marks().cloned().unwrap_or_default());
        self.park(journal);
        self.asleep = Some(told);
        Ok(())
    }

    /// Whether a grid is there.
    pub(super) fn is_awake(&self) -> bool {
        self.mirror.is_some()
    }

    /// Whether it was hibernated and has not been needed since.
    pub(super) fn is_hibernated(&self) -> bool {
        self.mirror.is_none() && self.asleep.is_some()
    }

    /// Shows a screen that was rebuilt from elsewhere, since the journal has none.
    pub(super) fn recall(&mut self, mirror: Mirror) {
        self.mirror = Some(Box::new(mirror));
    }

    /// Whether it would have to be [recalled](Screen::recall) before it shows anything.
    pub(super) fn is_elsewhere(&self, journal: &Journal) -> bool {
        self.mirror.is_none() && !journal.holds_screen(self.id)
    }

    /// Drops the grid.
    pub(super) fn park(&mut self, journal: &Journal) {
        self.restart(self.size(), journal);
    }

    /// The size now, as far as drawn.
    pub(super) fn size(&self) -> Size {
        self.mirror.as_ref().map_or(self.initial, |mirror| mirror.size())
    }

    /// The title, as far as drawn.
    pub(super) fn title(&self) -> &str {
        self.mirror
            .as_ref()
            .map(|mirror| mirror.title())
            .or(self.asleep.as_ref().map(|(title, _)| title.as_str()))
            .unwrap_or_default()
    }

    /// What its programs told, as far as drawn.
    pub(super) fn marks(&self) -> Option<&Marks> {
        self.mirror.as_ref().map(|mirror| mirror.marks()).or(self.asleep.as_ref().map(|(_, marks)| marks))
    }

    /// What was told and asked in what was drawn since the last time.
    pub(super) fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Takes from the mirror what was told and asked in what it was fed last, which began at `from`.
    fn hear(&mut self, from: u64) {
        let Some(mirror) = &mut self.mirror else { return };
        let until = self.heard_until;
        for notice in mirror.take_notices() {
            let offset = from + notice.at;
            if offset > until && (self.heard.len() < NOTICES_MAX || matches!(notice.what, What::Query(_))) {
                self.heard.push(Heard { offset, what: notice.what });
            }
            self.heard_until = self.heard_until.max(offset);
        }
    }

    /// Bytes that the mirror takes, or that it left: what is remembered while it is dropped.
    pub(super) fn memory_bytes(&self) -> u64 {
        let asleep = self.asleep.as_ref().map_or(0, |(title, marks)| title.capacity() + marks.text_bytes());
        (self.mirror.as_ref().map_or(0, |mirror| mirror.memory_bytes()) + asleep) as u64
    }

    /// Draws at most some `budget` bytes more; whether there may be more left.
    pub(super) fn advance(&mut self, journal: &mut Journal, budget: usize) -> bool {
        let mut drawn = 0;
        loop {
            if drawn >= budget {
                return true;
            }
            let before = self.cursor;
            if let Some((offset, bytes)) = self.batch(journal, budget - drawn) {
                drawn += bytes.len();
                self.draw_batch(offset, &bytes, before, journal);
                continue;
            }
            let Some(record) = journal.next(self.id, &mut self.cursor) else { return false };
            drawn += record.payload.len();
            if self.draw(record) == Err(Panicked) {
                self.rebuild_without(journal, before);
            } else if self.uncheckpointed >= CHECKPOINT_EVERY_BYTES && self.checkpoint(journal).is_err() {
                tracing::debug!(id = %self.id, "no room for a checkpoint yet");
            }
        }
    }

    /// The mirror, having seen every record.
    pub(super) fn now(&mut self, journal: &mut Journal) -> &Mirror {
        while self.advance(journal, usize::MAX) {}
        self.mirror.get_or_insert_with(|| Box::new(Mirror::new_at(self.initial, journal.end_offset(self.id).unwrap_or(0))))
    }

    /// Takes a checkpoint, if the mirror has seen every record.
    ///
    /// # Errors
    /// The journal's: the one before it still stands.
    pub(super) fn checkpoint(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        let mut probe = self.cursor;
        if journal.next(self.id, &mut probe).is_some() {
            return Ok(());
        }
        let end = journal.end_offset(self.id).unwrap_or(0);
        let mirror = self.mirror.get_or_insert_with(|| Box::new(Mirror::new_at(self.initial, end)));
        journal.checkpoint(self.id, &mirror.checkpoint())?;
        self.cursor = journal.end();
        (self.uncheckpointed, self.stands) = (0, true);
        Ok(())
    }

    /// Takes the output records that follow each other up to `max` bytes, if they are more than one: a flood is cheaper to draw in
    /// large pieces, since what scrolls off within a piece need not be drawn at all.
    fn batch(&mut self, journal: &Journal, max: usize) -> Option<(u64, Vec<u8>)> {
        if self.careful_until.is_some_and(|until| self.cursor < until) {
            return None;
        }
        let mut probe = self.cursor;
        let first = journal.next(self.id, &mut probe).filter(|record| record.kind == Kind::Output)?;
        let mut behind = probe;
        let mut bytes = Vec::new();
        while let Some(record) = journal.next(self.id, &mut probe) {
            let so_far = bytes.len().max(first.payload.len());
            if record.kind != Kind::Output || so_far + record.payload.len() > max {
                break;
            }
            if bytes.is_empty() {
                bytes.reserve(max.min(BATCH_BYTES));
                bytes.extend_from_slice(first.payload);
            }
            bytes.extend_from_slice(record.payload);
            behind = probe;
            if bytes.len() >= BATCH_BYTES {
                break;
            }
        }
        if bytes.is_empty() {
            return None;
        }
        self.cursor = behind;
        Some((first.offset, bytes))
    }

    fn draw_batch(&mut self, offset: u64, bytes: &[u8], before: Cursor, journal: &mut Journal) {
        (self.uncheckpointed, self.stands) = (self.uncheckpointed + bytes.len() as u64, false);
        let drawn = self.mirror.get_or_insert_with(|| Box::new(Mirror::new_at(self.initial, offset))).feed(bytes);
        self.hear(offset);
        if drawn.is_err() {
            tracing::debug!(id = %self.id, ?before, "the parser panicked on a batch: its records are drawn one by one");
            let until = self.cursor;
            self.restart(self.initial, journal);
            self.careful_until = Some(until);
        } else if self.uncheckpointed >= CHECKPOINT_EVERY_BYTES && self.checkpoint(journal).is_err() {
            tracing::debug!(id = %self.id, "no room for a checkpoint yet");
        }
    }

    fn draw(&mut self, record: Record<'_>) -> Result<(), Panicked> {
        match record.kind {
            Kind::Output => {
                (self.uncheckpointed, self.stands) = (self.uncheckpointed + record.payload.len() as u64, false);
                let drawn = self
                    .mirror
                    .get_or_insert_with(|| Box::new(Mirror::new_at(self.initial, record.offset)))
                    .feed(record.payload);
                self.hear(record.offset);
                drawn
            }
            Kind::Resize => {
                self.stands = false;
                match (mirror::decode_size(record.payload), &mut self.mirror) {
                    (Some(size), Some(mirror)) => mirror.resize(size),
                    (Some(size), None) => {
                        self.mirror = Some(Box::new(Mirror::new_at(size, record.offset)));
                        Ok(())
                    }
                    (None, _) => Ok(()),
                }
            }
            Kind::Checkpoint => {
                self.restore(record.offset, record.payload);
                Ok(())
            }
            Kind::CheckpointFirst => {
                self.parts = record.payload.to_vec();
                Ok(())
            }
            Kind::CheckpointMore => {
                self.parts.extend_from_slice(record.payload);
                Ok(())
            }
            Kind::CheckpointLast => {
                self.parts.extend_from_slice(record.payload);
                let parts = std::mem::take(&mut self.parts);
                self.restore(record.offset, &parts);
                Ok(())
            }
            Kind::Void => Ok(()),
        }
    }

    /// A checkpoint met while reading on is the state the mirror is in already; it is needed only by one that has none.
    fn restore(&mut self, offset: u64, checkpoint: &[u8]) {
        if self.mirror.is_none() {
            match Mirror::restore(checkpoint) {
                Ok(mut mirror) => {
                    mirror.count_from(offset);
                    (self.mirror, self.stands) = (Some(Box::new(mirror)), true);
                }
                Err(error) => tracing::error!(id = %self.id, %error, "a checkpoint was left out"),
            }
        }
    }

    /// Replays from the base to before the record at `poison`, leaves that out, and takes a checkpoint behind it.
    fn rebuild_without(&mut self, journal: &mut Journal, poison: Cursor) {
        tracing::error!(id = %self.id, "the parser panicked: the screen is rebuilt without what it was given");
        let behind = self.cursor;
        let careful_until = self.careful_until;
        self.restart(self.initial, journal);
        self.careful_until = careful_until;
        let mut replay = self.cursor;
        while replay < poison {
            self.cursor = replay;
            match journal.next(self.id, &mut replay) {
                Some(record) if replay <= poison && self.draw(record).is_ok() => {}
                Some(_) | None => break,
            }
        }
        self.cursor = behind;
        self.uncheckpointed = CHECKPOINT_EVERY_BYTES;
        if let Err(error) = self.checkpoint(journal) {
            tracing::warn!(id = %self.id, %error, "no checkpoint could be taken behind the panic");
        }
    }
}
