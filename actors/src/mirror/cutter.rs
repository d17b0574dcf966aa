//! Cuts output where sequences and characters end; what has no end yet waits here.
//!
//! This is Paul Williams' parser (vt100.net/emu/dec_ansi_parser), as vte has it, except that what waits can be written down with the rest
//! of a screen, and is bounded: of a string [`NOTICE_BYTES_MAX`], of a control sequence [`SEQUENCE_BYTES_MAX`]. What is longer is dropped
//! whole, its end still found.

use serde::{Deserialize, Serialize};

use super::notice::NOTICE_BYTES_MAX;
use crate::memory::allocated;

/// Longest control sequence that is heeded.
const SEQUENCE_BYTES_MAX: usize = 256;
const ESC: u8 = 0x1b;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const BEL: u8 = 0x07;

/// A string that programs send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Osc,
    Dcs,
    /// SOS, PM, APC: heeded by none.
    Other,
}

impl Kind {
    /// What introduces it, or one that ends where it does and does nothing.
    fn lead(self, dropped: bool) -> &'static [u8] {
        match (self, dropped) {
            (Self::Osc, false) => b"\x1b]",
            (Self::Osc, true) => b"\x1b]65535;",
            (Self::Dcs, false) => b"\x1bP",
            (Self::Dcs, true) | (Self::Other, _) => b"\x1bX",
        }
    }
}

/// Between which bytes of what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Of no sequence; a character's head may wait.
    #[default]
    Ground,
    /// Behind ESC and intermediate bytes.
    Escape,
    /// Behind CSI.
    Control,
    /// Within a string.
    Text(Kind),
    /// Behind an ESC within a string.
    TextEscape(Kind),
}

/// What ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// ESC, intermediate bytes and a final one.
    Escape(Vec<u8>),
    /// What stood behind CSI.
    Control(Vec<u8>),
    /// A string's payload.
    Text(Kind, Vec<u8>),
    /// A control character within a sequence.
    Character(u8),
}

/// See the module's head.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cutter {
    stage: Stage,
    #[serde(with = "serde_bytes")]
    held: Vec<u8>,
    /// Too much has come to be held.
    over: bool,
}

impl Cutter {
    /// Whether nothing has begun.
    pub(super) fn is_between(&self) -> bool {
        self.stage == Stage::Ground && self.held.is_empty()
    }

    /// Whether no sequence has begun, though a character may have.
    pub(super) fn is_ground(&self) -> bool {
        self.stage == Stage::Ground
    }

    /// Bytes that it has allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        allocated(self.held.capacity())
    }

    /// The head of a character.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.held
    }

    /// What takes another terminal to where this stands; behind what is dropped it drops the rest, too.
    pub(super) fn begun(&self) -> Vec<u8> {
        let (lead, end): (&[u8], &[u8]) = match (self.stage, self.over) {
            (Stage::Ground, _) => (b"", b""),
            (Stage::Escape, false) => (b"\x1b", b""),
            // More intermediate bytes than any sequence has.
            (Stage::Escape, true) => (b"\x1b   ", b""),
            (Stage::Control, false) => (b"\x1b[", b""),
            // No sequence has that behind a number.
            (Stage::Control, true) => (b"\x1b[0?", b""),
            (Stage::Text(kind), over) => (kind.lead(over), b""),
            (Stage::TextEscape(kind), over) => (kind.lead(over), b"\x1b"),
        };
        [lead, &self.held, end].concat()
    }

    /// An ESC has come.
    pub(super) fn escape(&mut self) {
        self.begin(Stage::Escape);
    }

    fn begin(&mut self, stage: Stage) {
        self.stage = stage;
        self.held = Vec::new();
        self.over = false;
    }

    fn hold(&mut self, bytes: &[u8], most: usize) {
        if self.over || self.held.len() + bytes.len() > most {
            self.over = true;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    /// Takes what stands next of a sequence that has begun; how many bytes that is, and what it ended.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, Option<Ended>) {
        match self.stage {
            Stage::Ground => (0, None),
            Stage::Text(kind) => self.take_text(kind, bytes),
            Stage::TextEscape(kind) => self.end_text(kind, bytes[0]),
            Stage::Escape | Stage::Control => (1, self.take_byte(bytes[0])),
        }
    }

    fn take_byte(&mut self, byte: u8) -> Option<Ended> {
        match byte {
            ESC => self.escape(),
            CANCEL | SUBSTITUTE => self.begin(Stage::Ground),
            0x00..0x20 => return Some(Ended::Character(byte)),
            0x7f.. => {}
            _ if self.stage == Stage::Control => return self.take_control(byte),
            _ => return self.take_escape(byte),
        }
        None
    }

    fn take_control(&mut self, byte: u8) -> Option<Ended> {
        self.hold(&[byte], SEQUENCE_BYTES_MAX);
        (byte >= 0x40).then(|| self.end()).flatten().map(Ended::Control)
    }

    fn take_escape(&mut self, byte: u8) -> Option<Ended> {
        match (byte, self.held.is_empty() && !self.over) {
            (b'[', true) => self.begin(Stage::Control),
            (b']', true) => self.begin(Stage::Text(Kind::Osc)),
            (b'P', true) => self.begin(Stage::Text(Kind::Dcs)),
            (b'X' | b'^' | b'_', true) => self.begin(Stage::Text(Kind::Other)),
            _ => {
                self.hold(&[byte], SEQUENCE_BYTES_MAX);
                return (byte >= 0x30).then(|| self.end()).flatten().map(Ended::Escape);
            }
        }
        None
    }

    /// Ends what waits; what it was, unless it was too long.
    fn end(&mut self) -> Option<Vec<u8>> {
        let (held, over) = (std::mem::take(&mut self.held), self.over);
        self.begin(Stage::Ground);
        (!over).then_some(held)
    }

    fn take_text(&mut self, kind: Kind, bytes: &[u8]) -> (usize, Option<Ended>) {
        let text = bytes.iter().position(|&byte| byte < 0x20).unwrap_or(bytes.len());
        if kind != Kind::Other {
            self.hold(&bytes[..text], NOTICE_BYTES_MAX);
        }
        let Some(&control) = bytes.get(text) else { return (text, None) };
        let ended = match (control, kind) {
            (ESC, _) => {
                self.stage = Stage::TextEscape(kind);
                None
            }
            (CANCEL | SUBSTITUTE, _) => {
                self.begin(Stage::Ground);
                None
            }
            (BEL, Kind::Osc) => self.end().map(|text| Ended::Text(kind, text)),
            _ => None,
        };
        (text + 1, ended)
    }

    /// Any ESC ends a string; with a backslash it is one sequence.
    fn end_text(&mut self, kind: Kind, behind: u8) -> (usize, Option<Ended>) {
        let ended = self.end().filter(|_| kind != Kind::Other).map(|text| Ended::Text(kind, text));
        if behind == b'\\' {
            return (1, ended);
        }
        self.escape();
        (0, ended)
    }
}

/// The operating system commands in `bytes`, and where each has ended: for other readers of output to be held against.
#[cfg(test)]
pub(crate) fn commands_in(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let command = |(at, ended)| match ended {
        Ended::Text(Kind::Osc, payload) => Some((at, payload)),
        Ended::Text(Kind::Dcs | Kind::Other, _) | Ended::Escape(_) | Ended::Control(_) | Ended::Character(_) => None,
    };
    tests::ended(bytes).0.into_iter().filter_map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that ends in `bytes`, each with where it has.
    pub(super) fn ended(bytes: &[u8]) -> (Vec<(usize, Ended)>, Cutter) {
        let (mut cutter, mut all, mut at) = (Cutter::default(), Vec::new(), 0);
        while at < bytes.len() {
            if cutter.is_ground() {
                if bytes[at] == ESC {
                    cutter.escape();
                }
                at += 1;
                continue;
            }
            let (taken, ended) = cutter.take(&bytes[at..]);
            at += taken;
            all.extend(ended.map(|ended| (at, ended)));
        }
        (all, cutter)
    }

    fn what(all: Vec<(usize, Ended)>) -> Vec<Ended> {
        all.into_iter().map(|(_, ended)| ended).collect()
    }

    #[test]
    fn sequences_and_strings_end_where_they_end() {
        let (all, cutter) = ended(b"\x1b[1;\x072H\x1b(0\x1b]0;a;b\x07\x1b]2;c\x1b\\\x1bP$qm\x1b\\\x1b_x\x07y\x1b\\\x1b[?25");
        let text = |kind, text: &[u8]| Ended::Text(kind, text.to_vec());
        assert_eq!(
            what(all),
            [
                Ended::Character(7),
                Ended::Control(b"1;2H".to_vec()),
                Ended::Escape(b"(0".to_vec()),
                text(Kind::Osc, b"0;a;b"),
                text(Kind::Osc, b"2;c"),
                text(Kind::Dcs, b"$qm"),
            ]
        );
        assert!(!cutter.is_ground());
    }

    #[test]
    fn what_has_begun_goes_on_elsewhere() {
        let stream = b"\x1b[1;\x072H\x1b(0\x1b]0;a;b\x07\x1b]2;c\x1b\\\x1bP$qm\x1b\\\x1b_x\x07y\x1b\\\x1b]8;;\x1b[1m\x1b ";
        for at in 0..=stream.len() {
            let (_, cutter) = ended(&stream[..at]);
            let (_, resumed) = ended(&cutter.begun());
            assert_eq!(resumed, cutter, "at {at}");
        }
    }

    #[test]
    fn of_what_is_dropped_the_rest_is_dropped_elsewhere() {
        let long = vec![b'1'; NOTICE_BYTES_MAX + 1];
        for (head, end) in [(&b"\x1b]"[..], &b"\x07"[..]), (b"\x1bP", b"\x1b\\"), (b"\x1b[", b"m"), (b"\x1b_", b"\x1b\\")] {
            let (_, cutter) = ended(&[head, &long].concat());
            let begun = cutter.begun();
            assert!(begun.len() < 16, "{begun:?}");
            let (_, resumed) = ended(&[&begun, end].concat());
            assert!(resumed.is_between(), "{begun:?}");
        }
    }

    #[test]
    fn what_is_endless_is_dropped_and_its_end_found() {
        let long = vec![b'1'; NOTICE_BYTES_MAX + 1];
        for (head, end) in [(&b"\x1b]"[..], &b"\x07"[..]), (b"\x1bP", b"\x1b\\"), (b"\x1b[", b"m")] {
            let (all, cutter) = ended(&[head, &long, end].concat());
            assert!(all.is_empty() && cutter.is_between() && cutter.held.capacity() == 0);
        }
        let (all, _) = ended(&[b"\x1b]", &long[1..], b"\x07"].concat());
        assert_eq!(what(all), [Ended::Text(Kind::Osc, long[1..].to_vec())]);
    }
}
