//! The commands of a history, found in its output by the marks that shells put there (`OSC 133`, `OSC 633`; see
//! [`Marks`]).
//!
//! **Invariants.** What is found does not depend on how the output was cut. Memory is one sequence and one command.

use serde::Serialize;

use super::piece::Piece;
use crate::mirror::{Marks, NOTICE_BYTES_MAX, Told};

/// A command that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Its line; empty if the shell did not tell.
    pub line: String,
    /// Offset of the first byte that it put out.
    pub offset: u64,
    /// Offset behind its last byte; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// When it began, milliseconds since the Unix epoch.
    pub started: u64,
    /// Milliseconds it took; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Its exit code, if the shell told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Commands {
    marks: Marks,
    /// A sequence that has begun.
    begun: Vec<u8>,
    open: Option<Command>,
}

impl Commands {
    /// Takes in the next piece; the commands that end in it.
    pub fn take(&mut self, piece: &Piece) -> Vec<Command> {
        match piece {
            Piece::Output { offset, time_ns, data } => self.scan(*offset, time_ns / 1_000_000, data),
            Piece::Gap { .. } => {
                self.begun.clear();
                Vec::new()
            }
            Piece::Resize { .. } | Piece::Checkpoint { .. } => Vec::new(),
        }
    }

    /// The one that runs.
    pub fn finish(self) -> Option<Command> {
        self.open
    }

    fn scan(&mut self, offset: u64, now_ms: u64, data: &[u8]) -> Vec<Command> {
        let (mut ended, mut at) = (Vec::new(), 0);
        while at < data.len() {
            if self.begun.is_empty() {
                let Some(found) = memchr::memchr(0x1b, &data[at..]) else { break };
                at += found;
            }
            let byte = data[at];
            at += 1;
            self.begun.push(byte);
            match state(&self.begun) {
                Sequence::Begun => {}
                Sequence::Other => {
                    // What ended it may begin another.
                    at -= usize::from(byte == 0x1b && self.begun.len() > 1);
                    self.begun.clear();
                }
                Sequence::Whole(payload) => {
                    let told = self.marks.hear(payload);
                    self.begun.clear();
                    ended.extend(told.and_then(|told| self.turn(told, offset + at as u64, now_ms)));
                }
            }
        }
        ended
    }

    fn turn(&mut self, told: Told, offset: u64, now_ms: u64) -> Option<Command> {
        match told {
            Told::CommandStarted { line } => {
                let line = line.unwrap_or_default();
                self.open = Some(Command { line, offset, end: None, started: now_ms, took_ms: None, code: None });
                None
            }
            Told::CommandFinished { code, .. } => {
                let command = self.open.take()?;
                let took_ms = Some(now_ms.saturating_sub(command.started));
                Some(Command { end: Some(offset), took_ms, code, ..command })
            }
            Told::Cwd(_) | Told::Notification(_) | Told::Progress(_) | Told::Clipboard { .. } => None,
        }
    }
}

enum Sequence<'a> {
    /// It may become one that matters.
    Begun,
    /// It is none that matters.
    Other,
    /// What is between introducer and terminator.
    Whole(&'a [u8]),
}

fn state(bytes: &[u8]) -> Sequence<'_> {
    const INTRODUCERS: [&[u8]; 2] = [b"\x1b]133;", b"\x1b]633;"];
    let begins = |introducer: &&[u8]| introducer.starts_with(bytes) || bytes.starts_with(introducer);
    if !INTRODUCERS.iter().any(begins) || bytes.len() > NOTICE_BYTES_MAX {
        return Sequence::Other;
    }
    match bytes {
        [_, b']', payload @ .., 0x07] | [_, b']', payload @ .., 0x1b, b'\\'] => Sequence::Whole(payload),
        _ => Sequence::Begun,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pieces: &[(u64, &[u8])]) -> (Vec<Command>, Option<Command>) {
        let mut commands = Commands::default();
        let mut offset = 0;
        let mut ended = Vec::new();
        for (time_ms, data) in pieces {
            let data = bytes::Bytes::copy_from_slice(data);
            ended.extend(commands.take(&Piece::Output { offset, time_ns: time_ms * 1_000_000, data: data.clone() }));
            offset += data.len() as u64;
        }
        (ended, commands.finish())
    }

    const OUTPUT: &[u8] = b"\x1b]133;A\x07$ \x1b[1mls\x1b[m\x1b]633;E;ls\x1b\\\r\n\x1b]133;C\x07a b\r\n\x1b]133;D;2\x07\x1b]133;A\x07$ \x1b]133;C\x07";

    #[test]
    fn commands_have_their_offsets_times_and_codes() {
        let begins = OUTPUT.windows(3).position(|window| window == b"a b").unwrap();
        let (ended, open) = found(&[(1000, &OUTPUT[..begins]), (1700, &OUTPUT[begins..])]);
        assert_eq!(
            ended,
            [Command {
                line: "ls".into(),
                offset: begins as u64,
                end: Some(begins as u64 + 15),
                started: 1000,
                took_ms: Some(700),
                code: Some(2)
            }]
        );
        let open = open.unwrap();
        assert_eq!((open.line.as_str(), open.offset, open.started), ("", OUTPUT.len() as u64, 1700));
    }

    proptest! {
        #[test]
        fn what_is_found_does_not_depend_on_cuts(noise in prop::collection::vec(any::<u8>(), 0..40), cut in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
            let output = [&noise[..], b"\x1b\\", OUTPUT, b"\x1b", OUTPUT].concat();
            let (mut a, mut b) = (cut.index(output.len()), other.index(output.len()));
            if a > b {
                (a, b) = (b, a);
            }
            let whole = found(&[(5, &output)]);
            prop_assert_eq!(&found(&[(5, &output[..a]), (5, &output[a..b]), (5, &output[b..])]), &whole);
            prop_assert_eq!(whole.0.len() >= 2, true);
        }
    }
}
