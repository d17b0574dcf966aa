//! What programs may do with the clipboard of whoever is attached (OSC 52). Pure: output in, output as it is shown out.
//!
//! ```text
//!   OSC 52 ; selection ; data  ─► passed on, unless the policy is off
//!   OSC 52 ; selection ; ?     ─► dropped: the answer would be typed, and tell a program what somebody copied elsewhere
//!   OSC 5522 ; …               ─► dropped: kitty's clipboard protocol, of which most is such questions; programs that find it missing use 52
//!   anything else              ─► as it is
//! ```
//!
//! **Invariants.** No question about the clipboard gets out, however it is cut or spelt. At most [`HELD_BYTES_MAX`] wait for what follows, and only
//! behind what can still become such a command. The log and the wire have all of it.

use std::borrow::Cow;

use crate::config::ClipboardPolicy;

/// Longest beginning of a command that is waited out; one that is longer is dropped.
const HELD_BYTES_MAX: usize = 256;
const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
/// A C1 control in UTF-8, and the one of them that introduces commands.
const C1_HEAD: u8 = 0xc2;
const C1_COMMAND: u8 = 0x9d;
const NUMBER: u32 = 52;
const NUMBER_KITTY: u32 = 5522;
/// Stands for what is dropped: like it, it ends what may have begun before.
const NOTHING: &[u8] = b"\x1b\\";

/// Behind what of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ground,
    Escape,
    /// The head of a C1 control, which may stand behind an ESC.
    Head {
        escaped: bool,
    },
    Number(u32),
    Selection,
    Data,
    Dropped,
    DroppedEscape,
}

/// What becomes of a byte, and of those held before it.
enum Next {
    /// They wait for more.
    Hold(Stage),
    /// Those before it are passed on; it is looked at anew.
    Pass,
    /// All are dropped.
    Drop(Stage),
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Clipboard {
    policy: ClipboardPolicy,
    stage: Stage,
    held: Vec<u8>,
}

impl Clipboard {
    pub(super) fn new(policy: ClipboardPolicy) -> Self {
        Self { policy, stage: Stage::Ground, held: Vec::new() }
    }

    /// What comes next does not follow on what has come.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.policy);
    }

    /// What of output is to be shown.
    pub(super) fn pass<'a>(&mut self, output: &'a [u8]) -> Cow<'a, [u8]> {
        if self.stage == Stage::Ground && memchr::memchr2(ESC, C1_HEAD, output).is_none() {
            return Cow::Borrowed(output);
        }
        let (mut shown, mut at) = (Vec::with_capacity(self.held.len() + output.len()), 0);
        while at < output.len() {
            if self.stage == Stage::Ground {
                let plain = memchr::memchr2(ESC, C1_HEAD, &output[at..]).unwrap_or(output.len() - at);
                shown.extend_from_slice(&output[at..at + plain]);
                at += plain;
            }
            let Some(&byte) = output.get(at) else { break };
            at += usize::from(self.take(byte, &mut shown));
        }
        Cow::Owned(shown)
    }

    /// Takes a byte, if it has not to be looked at anew.
    fn take(&mut self, byte: u8, shown: &mut Vec<u8>) -> bool {
        match next(self.stage, byte, self.policy) {
            Next::Hold(stage) if self.held.len() < HELD_BYTES_MAX => {
                self.held.push(byte);
                self.stage = stage;
                true
            }
            // An ESC with much that has no meaning behind it: there is no command to be dropped yet.
            Next::Hold(Stage::Escape | Stage::Head { .. }) => self.drop_held(Stage::Ground, shown),
            Next::Hold(_) => self.drop_held(Stage::Dropped, shown),
            Next::Drop(stage) => self.drop_held(stage, shown),
            Next::Pass => {
                shown.append(&mut self.held);
                self.stage = Stage::Ground;
                false
            }
        }
    }

    fn drop_held(&mut self, stage: Stage, shown: &mut Vec<u8>) -> bool {
        if !matches!(self.stage, Stage::Dropped | Stage::DroppedEscape) {
            shown.extend_from_slice(NOTHING);
            // Control characters between an ESC and what it introduces do what they do elsewhere.
            let lead = self.held.iter().take_while(|byte| **byte != b']');
            shown.extend(lead.filter(|byte| **byte < 0x20 && **byte != ESC));
        }
        self.held.clear();
        self.stage = stage;
        true
    }
}

fn next(stage: Stage, byte: u8, policy: ClipboardPolicy) -> Next {
    let is_end = matches!(byte, BEL | ESC | CANCEL | SUBSTITUTE);
    // Has no meaning within a command.
    let is_idle = (byte < 0x20 && !is_end) || byte == 0x7f;
    match (stage, byte) {
        (Stage::Ground, ESC) => Next::Hold(Stage::Escape),
        (Stage::Ground | Stage::Escape, C1_HEAD) => Next::Hold(Stage::Head { escaped: stage == Stage::Escape }),
        (Stage::Escape, b']') | (Stage::Head { .. }, C1_COMMAND) => Next::Hold(Stage::Number(0)),
        (Stage::Escape, BEL | 0x80..) => Next::Hold(stage),
        (Stage::Head { escaped: true }, _) => next(Stage::Escape, byte, policy),
        (Stage::Number(NUMBER), b';') if policy == ClipboardPolicy::Off => Next::Drop(Stage::Dropped),
        (Stage::Number(NUMBER), b';') => Next::Hold(Stage::Selection),
        (Stage::Number(NUMBER_KITTY), b';') => Next::Drop(Stage::Dropped),
        (Stage::Number(number), b'0'..=b'9') => {
            Next::Hold(Stage::Number(number.saturating_mul(10).saturating_add(u32::from(byte - b'0'))))
        }
        (Stage::Selection, b';') => Next::Hold(Stage::Data),
        (Stage::Selection, _) if !is_end => Next::Hold(stage),
        (Stage::Data, b'?') => Next::Drop(Stage::Dropped),
        (Stage::Data, b' ') => Next::Hold(stage),
        (Stage::Dropped, BEL | CANCEL | SUBSTITUTE) | (Stage::DroppedEscape, b'\\') => Next::Drop(Stage::Ground),
        (Stage::Dropped, ESC) => Next::Hold(Stage::DroppedEscape),
        (Stage::Dropped, _) => Next::Drop(stage),
        (Stage::DroppedEscape, _) => next(Stage::Escape, byte, policy),
        (Stage::Escape | Stage::Number(_) | Stage::Data, _) if is_idle => Next::Hold(stage),
        (Stage::Ground | Stage::Escape | Stage::Head { .. } | Stage::Number(_) | Stage::Selection | Stage::Data, _) => {
            Next::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use proptest::prelude::*;
    use vt100::{Callbacks, Parser, Screen};

    use super::*;

    const POLICIES: [ClipboardPolicy; 2] = [ClipboardPolicy::Write, ClipboardPolicy::Off];

    fn shown(policy: ClipboardPolicy, pieces: &[&[u8]]) -> Vec<u8> {
        let mut clipboard = Clipboard::new(policy);
        pieces.iter().flat_map(|piece| clipboard.pass(piece).into_owned()).collect()
    }

    /// What a terminal would do with its clipboard.
    #[derive(Default)]
    struct Asked {
        written: Vec<Vec<u8>>,
        questions: usize,
    }

    impl Callbacks for Asked {
        fn copy_to_clipboard(&mut self, _: &mut Screen, _: &[u8], data: &[u8]) {
            self.written.push(data.to_vec());
        }

        fn paste_from_clipboard(&mut self, _: &mut Screen, _: &[u8]) {
            self.questions += 1;
        }
    }

    fn seen(output: &[u8]) -> (String, Asked) {
        let (rows, cols) = (NonZero::new(24).unwrap(), NonZero::new(80).unwrap());
        let mut parser = Parser::new_with_callbacks(rows, cols, 0, Asked::default());
        parser.process(output);
        (parser.screen().contents_formatted(), std::mem::take(parser.callbacks_mut()))
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let part = prop::sample::select(vec![
            "\x1b",
            "]",
            "52",
            ";",
            "c",
            "?",
            "\x07",
            "\x1b\\",
            "\x18",
            "\x1b]52;c;?\x07",
            "\x1b]52;c;aGk=\x07",
            "\x1b]52;;?\x1b\\",
            "\x1b]0;",
            "\x1bP",
            "\x1b[1m",
            "text",
            "\u{e9}",
            "\n",
        ]);
        // Its end ends whatever has begun, so that nothing waits.
        prop::collection::vec(part, 0..30).prop_map(|parts| (parts.concat() + "\x1b\\.").into_bytes())
    }

    proptest! {
        #[test]
        fn no_question_gets_out_and_nothing_else_is_lost_however_output_is_cut(output in output(), cut in any::<prop::sample::Index>()) {
            let (before, after) = output.split_at(cut.index(output.len() + 1));
            let (screen, asked) = seen(&output);
            for policy in POLICIES {
                let whole = shown(policy, &[&output]);
                prop_assert_eq!(&shown(policy, &[before, after]), &whole);
                let (left, did) = seen(&whole);
                prop_assert_eq!(&left, &screen);
                prop_assert_eq!(did.questions, 0);
                let written = if policy == ClipboardPolicy::Write { &asked.written[..] } else { &[] };
                prop_assert_eq!(did.written, written);
            }
        }
    }

    #[test]
    fn a_question_is_known_however_it_is_spelt() {
        for question in [
            "\x1b]52;c;?\x07",
            "\x1b]52;;?\x1b\\",
            "\x1b]052;p;?\x07",
            "\x1b\x01]5\x012;c\x01;\x01?\x07",
            "\u{9d}52;c;?\x07",
            "\x1b\u{9d}52;c;?\x07",
            "\x1b\u{e9}]52;c; ?x\x18",
            "\x1bPtmux;\x1b\x1b]52;c;?\x07",
            "\x1b]5522;type=read;?\x1b\\",
            "\x1b]5522;loc=primary:type=read;dGV4dC9wbGFpbg==?\x07",
        ] {
            let left = shown(ClipboardPolicy::Write, &[b"a", question.as_bytes(), b"b"]);
            assert!(!left.contains(&b'?') && left.starts_with(b"a") && left.ends_with(b"b"), "{question:?} leaves {left:?}");
        }
    }

    #[test]
    fn what_is_endless_is_dropped_and_does_not_gather() {
        let mut clipboard = Clipboard::new(ClipboardPolicy::Write);
        assert_eq!(&*clipboard.pass(&[b"\x1b]52;", &vec![b'c'; 1 << 20][..]].concat()), NOTHING);
        assert!(clipboard.held.capacity() <= 2 * HELD_BYTES_MAX);
        assert_eq!(&*clipboard.pass(b";?\x07text"), b"text");
        let long = [b"\x1b]52;c;", &vec![b'x'; 1 << 20][..], b"\x07"].concat();
        assert!(clipboard.pass(&long) == long);
        let text = "\u{4e00}".repeat(300) + "]52;c;?";
        let left = clipboard.pass(format!("\x1b{text}").as_bytes()).into_owned();
        let left = left.strip_prefix(NOTHING).unwrap();
        assert!(text.as_bytes().ends_with(left) && left.len() > text.len() - HELD_BYTES_MAX - 2, "{} are left", left.len());
    }
}
