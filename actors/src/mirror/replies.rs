//! What this screen answers when a program asks. Pure.
//!
//! It calls itself a VT220 with colour, and `kaval` by name. It has no pixels: where these are asked for a cell is 8 by 16. It tells no
//! title, as xterm does not unless told to: a title comes from output, and would go to the shell as if it had been typed. Of kitty's
//! keyboard protocol (`CSI ? u`) it says nothing, as xterm.

use std::fmt::Write as _;

use super::{
    modes::{Modes, ORIGIN},
    pen::Pen,
    sequence::Csi,
    state::Place,
};

/// What answers depend on.
pub(super) struct Facts<'a> {
    pub(super) rows: u16,
    pub(super) cols: u16,
    pub(super) place: Place,
    /// First row that scrolls, and last.
    pub(super) margins: (u16, u16),
    pub(super) modes: &'a Modes,
    pub(super) pen: Pen,
    pub(super) cursor_style: u8,
    pub(super) alternate: bool,
}

/// DA1: a VT220 with colour.
pub(super) const PRIMARY: &str = "\x1b[?62;22c";
const SECONDARY: &str = "\x1b[>1;10;0c";
const TERTIARY: &str = "\x1bP!|00000000\x1b\\";
const VERSION: &str = concat!("\x1bP>|kaval(", env!("CARGO_PKG_VERSION"), ")\x1b\\");
/// A cell's pixels: rows, columns.
const CELL_PIXELS: (u32, u32) = (16, 8);

/// What a control sequence is answered.
pub(super) fn to_sequence(csi: &Csi, facts: &Facts<'_>) -> Option<String> {
    let first = csi.params.get(0);
    match (csi.prefix, csi.intermediate, csi.last) {
        (0, 0, b'c') if first == 0 => Some(PRIMARY.to_owned()),
        (b'>', 0, b'c') if first == 0 => Some(SECONDARY.to_owned()),
        (b'=', 0, b'c') if first == 0 => Some(TERTIARY.to_owned()),
        (b'>', 0, b'q') if first == 0 => Some(VERSION.to_owned()),
        (0, 0, b'n') => status(first, facts),
        (b'?', 0, b'n') => private_status(first, facts),
        (0, 0, b't') => window(first, facts),
        (0, 0, b'x') if first <= 1 => Some(format!("\x1b[{};1;1;128;128;1;0x", first + 2)),
        (0, b'$', b'p') => Some(format!("\x1b[{first};{}$y", ansi_mode(first, facts))),
        (b'?', b'$', b'p') => Some(format!("\x1b[?{first};{}$y", private_mode(first, facts))),
        _ => None,
    }
}

/// Whether a control sequence asks something of some terminal, be it one that this screen has no answer to.
pub(super) fn is_question(csi: &Csi) -> bool {
    let facts = Facts {
        rows: 1,
        cols: 1,
        place: Place::default(),
        margins: (0, 0),
        modes: &Modes::default(),
        pen: Pen::default(),
        cursor_style: 0,
        alternate: false,
    };
    let of_others = matches!((csi.prefix, csi.intermediate, csi.last), (b'?', 0, b'u' | b'm' | b'S'));
    of_others || to_sequence(csi, &facts).is_some()
}

fn position(facts: &Facts<'_>) -> (u16, u16) {
    let first = if facts.modes.has(ORIGIN) { facts.margins.0 } else { 0 };
    (facts.place.row.saturating_sub(first) + 1, facts.place.col + 1)
}

fn status(what: u16, facts: &Facts<'_>) -> Option<String> {
    let (row, col) = position(facts);
    match what {
        5 => Some("\x1b[0n".to_owned()),
        6 => Some(format!("\x1b[{row};{col}R")),
        _ => None,
    }
}

/// No printer, no user-defined keys locked, a keyboard, no locator.
fn private_status(what: u16, facts: &Facts<'_>) -> Option<String> {
    let (row, col) = position(facts);
    match what {
        6 => Some(format!("\x1b[?{row};{col};1R")),
        15 => Some("\x1b[?13n".to_owned()),
        25 => Some("\x1b[?20n".to_owned()),
        26 => Some("\x1b[?27;1;0;0n".to_owned()),
        53 | 55 => Some("\x1b[?50n".to_owned()),
        56 => Some("\x1b[?57;0n".to_owned()),
        75 => Some("\x1b[?70n".to_owned()),
        85 => Some("\x1b[?83n".to_owned()),
        _ => None,
    }
}

fn window(what: u16, facts: &Facts<'_>) -> Option<String> {
    let (rows, cols) = (u32::from(facts.rows), u32::from(facts.cols));
    match what {
        11 => Some("\x1b[1t".to_owned()),
        13 => Some("\x1b[3;0;0t".to_owned()),
        14 => Some(format!("\x1b[4;{};{}t", rows * CELL_PIXELS.0, cols * CELL_PIXELS.1)),
        15 => Some(format!("\x1b[5;{};{}t", rows * CELL_PIXELS.0, cols * CELL_PIXELS.1)),
        16 => Some(format!("\x1b[6;{};{}t", CELL_PIXELS.0, CELL_PIXELS.1)),
        18 => Some(format!("\x1b[8;{rows};{cols}t")),
        19 => Some(format!("\x1b[9;{rows};{cols}t")),
        20 => Some("\x1b]L\x1b\\".to_owned()),
        21 => Some("\x1b]l\x1b\\".to_owned()),
        _ => None,
    }
}

/// 0 not known, 1 set, 2 reset, 3 always set, 4 always reset.
fn ansi_mode(mode: u16, facts: &Facts<'_>) -> u8 {
    match mode {
        4 => told(facts.modes.insert),
        20 => told(facts.modes.newline),
        2 => 4,
        12 => 3,
        _ => 0,
    }
}

fn private_mode(mode: u16, facts: &Facts<'_>) -> u8 {
    match mode {
        47 | 1047 | 1049 => told(facts.alternate),
        1048 => 1,
        3 => 2,
        mode => facts.modes.private(mode).map_or(0, told),
    }
}

fn told(on: bool) -> u8 {
    if on { 1 } else { 2 }
}

/// What a device control string is answered.
pub(super) fn to_device_control(string: &[u8], facts: &Facts<'_>) -> Option<Vec<u8>> {
    if let Some(setting) = string.strip_prefix(b"$q") {
        return Some(match self::setting(setting, facts) {
            Some(value) => format!("\x1bP1$r{value}\x1b\\").into_bytes(),
            None => b"\x1bP0$r\x1b\\".to_vec(),
        });
    }
    let names = string.strip_prefix(b"+q")?;
    // Each is answered with what it costs to ask, and no more.
    Some(names.split(|&byte| byte == b';').take(CAPABILITIES_MAX).flat_map(capability).collect())
}

/// Most capabilities that are told at once.
const CAPABILITIES_MAX: usize = 64;

fn setting(name: &[u8], facts: &Facts<'_>) -> Option<String> {
    match name {
        b"m" => Some(format!("{}m", facts.pen.parameters())),
        b"r" => Some(format!("{};{}r", facts.margins.0 + 1, facts.margins.1 + 1)),
        b"s" => Some(format!("1;{}s", facts.cols)),
        b"t" => Some(format!("{}t", facts.rows)),
        b" q" => Some(format!("{} q", facts.cursor_style.max(1))),
        b"\"p" => Some("62;1\"p".to_owned()),
        b"\"q" => Some("0\"q".to_owned()),
        _ => None,
    }
}

fn capability(name: &[u8]) -> Vec<u8> {
    let value = match unhex(name).as_deref() {
        Some(b"TN" | b"name") => "xterm-256color",
        Some(b"Co" | b"colors") => "256",
        Some(b"RGB") => "8/8/8",
        _ => return [b"\x1bP0+r", name, b"\x1b\\"].concat(),
    };
    let value: String = value.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    [b"\x1bP1+r", name, b"=", value.as_bytes(), b"\x1b\\"].concat()
}

fn unhex(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    hex.chunks(2).map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

/// What colour `OSC 10` and up tells, or an entry of the palette, unless a program set another: light grey on black.
pub(super) fn default_color(color: u16) -> (u8, u8, u8) {
    const SYSTEM: [(u8, u8, u8); 16] = [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ];
    let level = |n: u16| if n == 0 { 0 } else { (55 + 40 * n) as u8 };
    match color {
        0..=15 => SYSTEM[usize::from(color)],
        16..=231 => (level((color - 16) / 36), level((color - 16) / 6 % 6), level((color - 16) % 6)),
        232..=255 => [8 + 10 * (color - 232) as u8; 3].into(),
        257 => (0, 0, 0),
        _ => (229, 229, 229),
    }
}

/// Tells a colour: of the palette, or from 256 on those of `OSC 10` and up.
pub(super) fn color(color: u16, (r, g, b): (u8, u8, u8)) -> String {
    let name = if color < 256 { format!("4;{color}") } else { (color - 246).to_string() };
    format!("\x1b]{name};rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}\x1b\\")
}
