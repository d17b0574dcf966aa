//! A screen as bytes, and back, exactly.
//!
//! ```text
//!   columns u16 │ rows u16 │ VERSION │ state's length u32 │ state (MessagePack) │ lines that have left │ what draws both grids
//! ```
//!
//! Numbers are little-endian. Earlier ones, which were a repaint behind the size and began with CAN, still restore, as far as they went.

use vt100::{Parser, Screen};

use super::{BadCheckpoint, leaving::Tally, paint, state::State};
use crate::Size;

const VERSION: u8 = 2;
/// The oldest that is read. Its pens are spelt out, and are read by who reads pens.
const VERSION_MIN: u8 = 1;
/// What a repaint began with.
const REPAINT: u8 = 0x18;

/// A size as a journal's resize record and a checkpoint spell it: columns, rows, little-endian.
pub fn encode_size(size: Size) -> [u8; 4] {
    let ([a, b], [c, d]) = (size.cols().to_le_bytes(), size.rows().to_le_bytes());
    [a, b, c, d]
}

/// Reads [`encode_size`]'s bytes.
pub fn decode_size(bytes: &[u8]) -> Option<Size> {
    let [a, b, c, d] = *bytes else { return None };
    Size::new(u16::from_le_bytes([a, b]).into(), u16::from_le_bytes([c, d]).into()).ok()
}

/// A parser between sequences that shows the same.
pub(super) fn copy(screen: &Screen) -> Parser {
    let (rows, cols) = screen.size();
    let mut copy = Parser::new(rows, cols, 0);
    *copy.screen_mut() = screen.clone();
    copy
}

pub(super) fn encode(size: Size, state: &State, tally: &Tally, screen: &Screen) -> Vec<u8> {
    // Numbers, strings and maps of them can always be written to memory.
    let hidden = rmp_serde::to_vec(state).unwrap_or_default();
    let mut out = encode_size(size).to_vec();
    out.push(VERSION);
    out.extend_from_slice(&(hidden.len() as u32).to_le_bytes());
    out.extend_from_slice(&hidden);
    out.extend_from_slice(&tally.encode());
    out.extend_from_slice(grids(state, screen).as_bytes());
    out
}

/// What draws both grids on an empty vt100.
fn grids(state: &State, screen: &Screen) -> String {
    let mut out = String::with_capacity(4096);
    if state.alternate_used {
        let mut other = copy(screen);
        other.process(if screen.alternate_screen() { b"\x1b[?47l" } else { b"\x1b[?47h" });
        let (main, alternate) = if screen.alternate_screen() { (other.screen(), screen) } else { (screen, other.screen()) };
        grid(main, &mut out);
        out.push_str("\x1b[?47h");
        grid(alternate, &mut out);
        if !screen.alternate_screen() {
            out.push_str("\x1b[?47l");
        }
    } else {
        paint::cells(screen, &mut out);
    }
    if let Some((top, bottom)) = state.margins {
        out.push_str(&format!("\x1b[{};{}r", top + 1, bottom + 1));
    }
    paint::cursor(screen, state.pen, &mut out);
    out
}

fn grid(screen: &Screen, out: &mut String) {
    paint::cells(screen, out);
    paint::cursor(screen, Default::default(), out);
}

/// The tally of a checkpoint, if it has one that this version counts on from.
pub fn tally(checkpoint: &[u8]) -> Option<Tally> {
    match decode(checkpoint).ok()? {
        Decoded::Screen { grids, .. } => Tally::decode(grids),
        Decoded::Repaint { .. } => None,
    }
}

/// A checkpoint's parts.
pub(super) enum Decoded<'a> {
    Screen { size: Size, state: Box<State>, grids: &'a [u8] },
    Repaint { size: Size, repaint: &'a [u8] },
}

pub(super) fn decode(checkpoint: &[u8]) -> Result<Decoded<'_>, BadCheckpoint> {
    let (size, rest) = checkpoint.split_at_checked(4).ok_or(BadCheckpoint)?;
    let size = decode_size(size).ok_or(BadCheckpoint)?;
    match rest {
        [REPAINT, ..] => Ok(Decoded::Repaint { size, repaint: rest }),
        [VERSION_MIN..=VERSION, a, b, c, d, rest @ ..] => {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let (hidden, grids) = rest.split_at_checked(length).ok_or(BadCheckpoint)?;
            let state: State = rmp_serde::from_slice(hidden).map_err(|_| BadCheckpoint)?;
            state.fits(size).then_some(Decoded::Screen { size, state: Box::new(state), grids }).ok_or(BadCheckpoint)
        }
        _ => Err(BadCheckpoint),
    }
}
