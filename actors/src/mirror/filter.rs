//! Ahead of vt100: whatever vt100 does not draw as xterm does is drawn by other means here.
//!
//! ```text
//!              ┌ run: what can be followed without looking at the grid ───┐
//!   output ────┤                                                          ├─► vt100
//!              └ cutter: whole sequences ─► control, strings ─► drawing ──┘
//!                                             │    (computes, reads the grid back, draws with what vt100 gets right)
//!                                             └─► notices: what programs tell, and what they ask with what it is answered
//! ```
//!
//! **Invariants.** Nothing depends on how output was cut. What is not in the grid is in [`State`]. Work for one sequence is at most a
//! few screenfuls. Nothing that makes vt100 panic reaches it.
//!
//! Sequences are not read with `vte`, which vt100 itself reads with: what waits of half a sequence cannot be taken out of it, nor what it
//! holds of an endless string be bounded.

use vt100::{Callbacks, Parser};

use super::{
    cutter::Ended,
    drawing::Drawing,
    notice::Notice,
    run::{DRAWN_BYTES, Run},
    sequence::Csi,
    state::State,
};

const ESC: u8 = 0x1b;
/// Longest sequence that is looked for as a whole.
const SEQUENCE_BYTES_MAX: usize = 64;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) state: State,
    /// What was told and asked, if anybody listens.
    pub(super) heard: Option<Vec<Notice>>,
}

impl Filter {
    /// Draws `bytes`, of which the first is at `at`.
    pub(super) fn drive<C: Callbacks>(&mut self, bytes: &[u8], at: u64, vt: &mut Parser<C>) {
        let (mut begun, mut drawn) = (0, Vec::with_capacity(bytes.len().min(DRAWN_BYTES)));
        while begun < bytes.len() {
            let rest = &bytes[begun..];
            begun += if self.state.cutter.is_between() {
                match self.run(rest, &mut drawn, vt) {
                    0 => self.step(rest, at + begun as u64, vt),
                    passed => passed,
                }
            } else if self.state.cutter.is_ground() {
                self.complete(rest, at + begun as u64, vt)
            } else {
                self.take(rest, at + begun as u64, vt)
            };
        }
    }

    /// Draws what can be followed; how many bytes that is. `drawn` is room to work in.
    fn run<C: Callbacks>(&mut self, bytes: &[u8], drawn: &mut Vec<u8>, vt: &mut Parser<C>) -> usize {
        drawn.clear();
        let length = Run::new(&mut self.state, vt.screen(), drawn).take(bytes);
        vt.process(drawn);
        length
    }

    /// Takes what stands next between sequences: a control character, or text up to one.
    fn step<C: Callbacks>(&mut self, bytes: &[u8], at: u64, vt: &mut Parser<C>) -> usize {
        match bytes[0] {
            ESC => self.whole(bytes, at, vt).unwrap_or_else(|| {
                self.state.cutter.escape();
                1
            }),
            byte @ ..b' ' => {
                self.drawing(at + 1, vt).control(byte);
                self.state.last_char = None;
                1
            }
            _ => self.text(bytes, at, vt),
        }
    }

    /// A sequence that is all there and plain need not wait.
    fn whole<C: Callbacks>(&mut self, bytes: &[u8], at: u64, vt: &mut Parser<C>) -> Option<usize> {
        match bytes.get(1)? {
            b'[' => {
                let body = &bytes[2..bytes.len().min(SEQUENCE_BYTES_MAX)];
                let last = body
                    .iter()
                    .position(|byte| !matches!(byte, b' '..b'@'))
                    .filter(|&last| matches!(body[last], b'@'..=b'~'))?;
                if let Some(csi) = Csi::read(&body[..=last]) {
                    self.drawing(at + last as u64 + 3, vt).sequence(&csi);
                }
                self.state.last_char = None;
                Some(last + 3)
            }
            b'P' | b'X' | b']' | b'^' | b'_' => None,
            b'0'..=b'~' => {
                self.drawing(at + 2, vt).escape(&bytes[1..2]);
                self.state.last_char = None;
                Some(2)
            }
            _ => None,
        }
    }

    /// Draws text up to a control character or to what is no UTF-8; keeps a head at the end.
    fn text<C: Callbacks>(&mut self, bytes: &[u8], at: u64, vt: &mut Parser<C>) -> usize {
        let length = bytes.iter().position(|byte| *byte < b' ').unwrap_or(bytes.len());
        let (text, error) = match str::from_utf8(&bytes[..length]) {
            Ok(text) => (text, None),
            Err(error) => (str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(), Some(error.error_len())),
        };
        let is_c1 = |c| matches!(c, '\u{80}'..'\u{a0}');
        if let Some(c1) = text.find(is_c1) {
            self.drawing(at, vt).print(&text[..c1]);
            self.introduce(text.as_bytes()[c1 + 1], at + c1 as u64 + 2, vt);
            return c1 + 2;
        }
        self.drawing(at, vt).print(text);
        match error {
            None => length,
            Some(None) if length == bytes.len() => {
                self.state.cutter.head().extend_from_slice(&bytes[text.len()..]);
                length
            }
            Some(bad) => {
                self.drawing(at, vt).print("\u{fffd}");
                bad.map_or(length, |bad| text.len() + bad)
            }
        }
    }

    /// A C1 control in its two bytes of UTF-8, which end at `end`: the sequence it stands for.
    fn introduce<C: Callbacks>(&mut self, second: u8, end: u64, vt: &mut Parser<C>) {
        self.state.cutter.escape();
        self.take(&[second - 0x40], end - 1, vt);
    }

    /// Completes the character whose head waits; how many bytes that took.
    fn complete<C: Callbacks>(&mut self, bytes: &[u8], at: u64, vt: &mut Parser<C>) -> usize {
        let head = self.state.cutter.head();
        for (used, &byte) in bytes.iter().enumerate() {
            head.push(byte);
            match str::from_utf8(head) {
                Ok(character) => {
                    let character = character.to_owned();
                    head.clear();
                    let end = at + used as u64 + 1;
                    match *character.as_bytes() {
                        [0xc2, second @ 0x80..0xa0] => self.introduce(second, end, vt),
                        _ => self.drawing(end, vt).print(&character),
                    }
                    return used + 1;
                }
                Err(error) if error.error_len().is_some() => {
                    head.clear();
                    self.drawing(at, vt).print("\u{fffd}");
                    return used;
                }
                Err(_) => {}
            }
        }
        bytes.len()
    }

    /// Goes on with a sequence that has begun.
    fn take<C: Callbacks>(&mut self, bytes: &[u8], at: u64, vt: &mut Parser<C>) -> usize {
        let (taken, ended) = self.state.cutter.take(bytes);
        let mut drawing = self.drawing(at + taken as u64, vt);
        match ended {
            None => {}
            Some(Ended::Character(byte)) => drawing.control(byte),
            Some(Ended::Escape(sequence)) => drawing.escape(&sequence),
            Some(Ended::Control(sequence)) => {
                if let Some(csi) = Csi::read(&sequence) {
                    drawing.sequence(&csi);
                }
            }
            Some(Ended::Text(kind, payload)) => drawing.string(kind, payload),
        }
        if self.state.cutter.is_ground() {
            self.state.last_char = None;
        }
        taken
    }

    /// To draw what ends at `at`.
    pub(super) fn drawing<'a, C: Callbacks>(&'a mut self, at: u64, vt: &'a mut Parser<C>) -> Drawing<'a, C> {
        Drawing { vt, state: &mut self.state, heard: self.heard.as_mut(), at }
    }
}
