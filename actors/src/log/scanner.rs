//! Finds in a terminal's output what its programs tell by operating system commands, without drawing it.
//!
//! ```text
//!   output, each byte once and in order ──► `]` behind an ESC ──► payload ──► its end ──► found(offset, head, length)
//! ```
//!
//! An ESC begins a sequence in whatever state a terminal is, so nothing else of the output needs to be understood. `]` is what is
//! looked for: output that draws is full of ESC.
//!
//! **Invariants.** What is found does not depend on how the output is cut, and is what a [screen](crate::mirror) hears that is fed the
//! same: commands longer than [`NOTICE_BYTES_MAX`] are heard by none. Memory is [`HEAD_BYTES_MAX`], and so is what is written down of a
//! command that has begun.
//!
//! Absent on purpose: commands introduced by a C1 control, which in UTF-8 takes two bytes and a screen that knows what it stands in.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::marks::Mark;
use crate::mirror::NOTICE_BYTES_MAX;

/// Most bytes of a payload that are kept: its beginning. Texts of marks are cut there as well.
pub const HEAD_BYTES_MAX: usize = 4 << 10;
/// Most bytes of the name of a clipboard.
const SELECTION_BYTES_MAX: usize = 16;

const ESC: u8 = 0x1b;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const BEL: u8 = 0x07;

/// Between which bytes of what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Of nothing that matters.
    #[default]
    Ground,
    /// Behind ESC.
    Escape,
    /// Within a command.
    Text,
    /// Behind an ESC within a command.
    TextEscape,
}

/// See the module's head.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanner {
    stage: Stage,
    /// The payload that has begun, as far as it is kept, and how long it is.
    #[serde(with = "serde_bytes")]
    held: Vec<u8>,
    len: u64,
}

/// What was found: a payload's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Offset behind the command's last byte.
    pub(super) offset: u64,
    /// At most [`HEAD_BYTES_MAX`]; of what goes to a clipboard, which clipboard.
    pub(super) head: &'a [u8],
    /// Of the whole payload.
    pub(super) len: u64,
}

impl Scanner {
    /// Takes the output that begins at `offset`; it follows on what it took before.
    pub(super) fn scan(&mut self, offset: u64, output: &[u8], mut found: impl FnMut(Found<'_>)) {
        let mut at = 0;
        while at < output.len() {
            match self.stage {
                Stage::Ground | Stage::Escape => at += self.seek(&output[at..]),
                Stage::Text => {
                    at += self.take(&output[at..]);
                    if self.stage == Stage::Ground {
                        self.end(offset + at as u64, &mut found);
                    }
                }
                Stage::TextEscape => {
                    let is_one_sequence = output[at] == b'\\';
                    at += usize::from(is_one_sequence);
                    self.end(offset + at as u64, &mut found);
                    self.stage = if is_one_sequence { Stage::Ground } else { Stage::Escape };
                }
            }
        }
        if self.stage == Stage::Ground {
            self.held = Vec::new();
        }
    }

    /// The marks in output that begins at `offset`, and was read at `time_ns`; it follows on what it took before.
    pub fn marks(&mut self, offset: u64, time_ns: u64, output: &[u8]) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mark = |found: Found<'_>| {
            marks.push(Mark { offset: found.offset, time_ns, head: Bytes::copy_from_slice(found.head), len: found.len });
        };
        self.scan(offset, output, mark);
        marks
    }

    /// What has begun has no end: output is missing.
    pub fn skip(&mut self) {
        *self = Self::default();
    }

    /// Looks for the beginning of a command; how far that is.
    fn seek(&mut self, output: &[u8]) -> usize {
        let carried = self.stage == Stage::Escape;
        let begins = memchr::memchr_iter(b']', output).find(|at| is_behind_escape(&output[..*at], carried));
        self.stage = match begins {
            Some(_) => Stage::Text,
            None if is_behind_escape(output, carried) => Stage::Escape,
            None => Stage::Ground,
        };
        begins.map_or(output.len(), |at| at + 1)
    }

    /// Takes what stands next of a payload; how many bytes that is. It has ended, or was given up, if the stage is ground then.
    fn take(&mut self, output: &[u8]) -> usize {
        let text = output.iter().position(|byte| *byte < 0x20).unwrap_or(output.len());
        let room = HEAD_BYTES_MAX - self.held.len();
        self.held.extend_from_slice(&output[..text.min(room)]);
        self.len += text as u64;
        match output.get(text) {
            Some(&BEL) => self.stage = Stage::Ground,
            Some(&ESC) => self.stage = Stage::TextEscape,
            Some(&(CANCEL | SUBSTITUTE)) => self.skip(),
            Some(_) | None => {}
        }
        output.len().min(text + 1)
    }

    fn end(&mut self, offset: u64, found: &mut impl FnMut(Found<'_>)) {
        if self.len <= NOTICE_BYTES_MAX as u64
            && let Some(head) = kept(&self.held)
        {
            found(Found { offset, head, len: self.len });
        }
        self.held.clear();
        self.len = 0;
    }
}

/// Whether the last of these bytes begins a sequence, but for such as have no meaning within one.
fn is_behind_escape(before: &[u8], carried: bool) -> bool {
    let passed = |byte: u8| byte >= 0x7f || (byte < 0x20 && ![ESC, CANCEL, SUBSTITUTE].contains(&byte));
    before.iter().rfind(|byte| !passed(**byte)).map_or(carried, |byte| *byte == ESC)
}

/// What is kept of a payload, if it is of a kind that is.
fn kept(payload: &[u8]) -> Option<&[u8]> {
    let mut parts = payload.splitn(3, |byte| *byte == b';');
    let (number, second, third) = (parts.next()?, parts.next(), parts.next());
    match number {
        b"0" | b"1" | b"2" | b"7" | b"99" | b"133" | b"633" | b"777" => Some(payload),
        // Progress comes many times a second, and nobody looks back for it.
        b"9" => (second != Some(b"4")).then_some(payload),
        // A question is none that is answered.
        b"52" if third == Some(b"?") => None,
        b"52" => Some(&payload[..payload.len() - third.map_or(0, <[u8]>::len)])
            .map(|head| &head[..head.len().min(number.len() + 2 + SELECTION_BYTES_MAX)]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mirror;

    /// What is found in stretches of output that follow on each other, written down and read back between them.
    fn found<'a>(stretches: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(u64, Vec<u8>, u64)>, Scanner) {
        let (mut scanner, mut all, mut offset) = (Scanner::default(), Vec::new(), 0);
        for stretch in stretches {
            scanner.scan(offset, stretch, |found| all.push((found.offset, found.head.to_vec(), found.len)));
            offset += stretch.len() as u64;
            let written = rmp_serde::to_vec(&scanner).unwrap();
            assert!(written.len() <= HEAD_BYTES_MAX + 64);
            scanner = rmp_serde::from_slice(&written).unwrap();
        }
        (all, scanner)
    }

    /// Output that is mostly what introduces and ends sequences.
    fn output() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => prop::sample::select(vec!["\x1b", "]", "\x1b]", "\x07", "\x1b\\", "\\", "\x18", "\x1a", "0;", "133;", "52;c;", "?", ";"]),
            2 => prop::sample::select(vec!["\x1b]633;E;ls", "\x1b]133;C\x07", "\x1b]9;4;1;2\x07", "\x1bP", "\x1b[", "\x1b(", "m", "\n", "\u{e9}"]),
        ];
        let noise = prop::collection::vec(any::<u8>(), 0..4);
        prop::collection::vec(prop_oneof![5 => piece.prop_map(|text| text.as_bytes().to_vec()), 1 => noise], 0..60)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_screen_hears_however_it_is_cut(output in output(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let (whole, _) = found([&output[..]]);
            let heard: Vec<_> = mirror::commands_in(&output)
                .into_iter()
                .filter_map(|(offset, payload)| Some((offset as u64, kept(&payload)?.to_vec(), payload.len() as u64)))
                .collect();
            prop_assert_eq!(&whole, &heard);
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(output.len() + 1)).chain([0, output.len()]).collect();
            at.sort_unstable();
            prop_assert_eq!(&found(at.windows(2).map(|pair| &output[pair[0]..pair[1]])).0, &whole);
        }
    }

    #[test]
    fn a_long_payload_is_cut_and_one_that_no_screen_hears_is_not_there() {
        let command = |len: usize| [b"\x1b]2;", &vec![b'x'; len - 2][..], b"\x07"].concat();
        for len in [HEAD_BYTES_MAX, HEAD_BYTES_MAX + 1, NOTICE_BYTES_MAX] {
            let (all, scanner) = found(command(len).chunks(1000));
            let [(_, head, whole)] = &all[..] else { panic!("{} were found", all.len()) };
            assert_eq!((head.len(), *whole), (len.min(HEAD_BYTES_MAX), len as u64));
            assert_eq!(scanner, Scanner::default());
        }
        assert_eq!(found([&command(NOTICE_BYTES_MAX + 1)[..]]).0, []);
        let (_, endless) = found(command(1 << 20)[..1 << 20].chunks(4096));
        assert!(endless.held.capacity() <= 2 * HEAD_BYTES_MAX);
    }

    #[test]
    fn of_a_clipboard_only_its_name_is_kept_and_progress_and_questions_are_not() {
        let heads = |output: &[u8]| found([output]).0.into_iter().map(|(_, head, len)| (head, len)).collect::<Vec<_>>();
        assert_eq!(heads(b"\x1b]52;c;c2VjcmV0\x07"), [(b"52;c;".to_vec(), 13)]);
        assert_eq!(heads(format!("\x1b]52;{};x\x07", "c".repeat(30)).as_bytes())[0].0.len(), 4 + SELECTION_BYTES_MAX);
        assert_eq!(heads(b"\x1b]52;c;?\x07\x1b]9;4;1;40\x07\x1b]8;;http://x\x07\x1b]4;1;?\x07\x1b]\x07"), []);
    }
}
