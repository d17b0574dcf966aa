//! Output without the questions in it, for a terminal that is not to answer them.
//!
//! It follows all output, so that it knows what has begun where questions are to be left out from: a sequence that is half through by
//! then is ended there by CAN, and not taken for one, if it turns out to be a question. While they are left out, sequences go on whole.
//!
//! **Invariant.** What is not a question comes out as it went in. Questions that are written with C1 characters, which no program does, are
//! not looked for.

use super::{
    cutter::{Cutter, Ended, Kind},
    replies,
    sequence::Csi,
};

const ESC: u8 = 0x1b;
const CANCEL: u8 = 0x18;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Hush {
    cutter: Cutter,
    /// The sequence that waits for its end.
    held: Vec<u8>,
    /// Its head went on before questions were to be left out.
    cut: bool,
}

impl Hush {
    /// Notes output that goes on as it is.
    pub fn pass(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let out = [&std::mem::take(&mut self.held)[..], bytes].concat();
        while !bytes.is_empty() {
            let (taken, _) = self.step(bytes);
            bytes = &bytes[taken..];
        }
        self.cut = !self.cutter.is_ground();
        out
    }

    /// Output with no question in it; what is half a sequence waits.
    pub fn hush(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            let (taken, ended) = self.step(bytes);
            self.held.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            // An ESC that is no terminator ended a string and began the next sequence.
            let begun = if taken == 0 && ended.is_some() { self.held.pop() } else { None };
            let is_over = begun.is_some() || self.cutter.is_ground();
            if is_over && ended.as_ref().is_some_and(is_question) {
                out.extend_from_slice(if self.cut { &[CANCEL] } else { &[] });
                self.held.clear();
            } else if is_over || self.held.len() > QUESTION_BYTES_MAX {
                out.append(&mut self.held);
                self.cut |= !is_over;
            }
            self.cut &= !is_over;
            self.held.extend(begun);
        }
        out
    }

    fn step(&mut self, bytes: &[u8]) -> (usize, Option<Ended>) {
        if !self.cutter.is_ground() {
            return self.cutter.take(bytes);
        }
        match memchr::memchr(ESC, bytes) {
            Some(0) => {
                self.cutter.escape();
                (1, None)
            }
            text => (text.unwrap_or(bytes.len()), None),
        }
    }
}

/// Longest question that is held whole; the end of a longer one is still known for one, and the terminal told to forget what it has of it.
const QUESTION_BYTES_MAX: usize = 4096;

fn is_question(ended: &Ended) -> bool {
    match ended {
        Ended::Escape(sequence) => sequence == b"Z",
        Ended::Control(sequence) => Csi::read(sequence).is_some_and(|csi| replies::is_question(&csi)),
        Ended::Text(Kind::Dcs, text) => text.starts_with(b"$q") || text.starts_with(b"+q"),
        Ended::Text(Kind::Osc, text) => asks_for_color(text),
        Ended::Text(Kind::Other, _) | Ended::Character(_) => false,
    }
}

/// Of colours and of the clipboard.
fn asks_for_color(osc: &[u8]) -> bool {
    let mut fields = osc.split(|byte| *byte == b';');
    let is_color = matches!(fields.next(), Some(b"4" | b"5" | b"52" | [b'1', b'0'..=b'9']));
    is_color && fields.any(|field| field == b"?")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUESTIONS: [&str; 9] =
        ["\x1b[c", "\x1b[>c", "\x1b[6n", "\x1b[?6n", "\x1b[?2026$p", "\x1b[18t", "\x1b]11;?\x07", "\x1bP+q544e\x1b\\", "\x1bZ"];
    const OTHERS: [&str; 7] =
        ["plain", "\x1b[1;31m", "\x1b]2;a title\x07", "\x1b]11;#123456\x1b\\", "\r\n", "\u{9b}1", "\x1b[?25l"];

    proptest! {
        /// However it is cut, and wherever leaving questions out begins: a terminal is asked what was asked before, and draws the rest.
        #[test]
        fn questions_are_left_out_and_nothing_else(
            pieces in prop::collection::vec((any::<bool>(), 0usize..9), 0..20),
            cuts in prop::collection::vec(0usize..200, 0..6),
            from in 0usize..100,
        ) {
            let text = |(asks, n): &(bool, usize)| if *asks { QUESTIONS[*n] } else { OTHERS[*n % OTHERS.len()] };
            let all: String = pieces.iter().map(text).collect();
            let mut hush = Hush::default();
            let from = from.min(all.len());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(all.len())).chain([0, from, all.len()]).collect();
            cuts.sort_unstable();
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                let piece = &all.as_bytes()[pair[0]..pair[1]];
                out.extend(if pair[0] < from { hush.pass(piece) } else { hush.hush(piece) });
            }
            let (mut expected, mut at) = (String::new(), 0);
            for piece in &pieces {
                let (begin, end) = (at, at + text(piece).len());
                at = end;
                match piece.0 {
                    true if begin >= from => {}
                    true if end > from => expected.push_str(&format!("{}\x18", &text(piece)[..from - begin])),
                    _ => expected.push_str(text(piece)),
                }
            }
            prop_assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
