//! What draws a screen on a client's terminal, in whatever state that is, and what leaves such a terminal clean.
//!
//! ```text
//!   PLAIN, BLANK │ the other screen: cells, its saved cursor │ the one that shows: cells, saved cursor
//!               │ margins, tabs, sets, modes, colours, title │ cursor
//! ```
//!
//! An alternate screen that does not show and is blank is left out: to draw it, a terminal has to show it.
//!
//! Absent: titles that were put aside (no sequence empties a terminal's own stack), and what REP would repeat.
//!
//! Order matters: what changes how the rest would be read (margins, origin mode, character sets, insert mode) comes behind all that is drawn.

use std::fmt::Write as _;

use vt100::Screen;

use super::{
    checkpoint::copy,
    drawing::{self, REPLACEMENT_STAND_IN},
    modes::{KEYPAD, ORIGIN, SYNCHRONIZED, WRAP},
    paint,
    replies::color,
    state::{Place, Saved, State},
};

/// Puts a terminal in whatever state into a plain one: no half sequence, no update held back, the main screen, no margins, no origin mode,
/// wrapping, no insertion, ASCII, no mouse reports, no pasting in brackets, cursor shown. What stands on the main screen stays.
pub(crate) const PLAIN: &str = "\x18\x1b\\\x1b[?2026l\x1b[?1049l\x1b[?6l\x1b[r\x1b[?7h\x1b[?45l\x1b[4l\x1b[20l\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[m\x1b[?1l\x1b>\
    \x1b[?5l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\x1b[?1004l\x1b[?25h\x1b[0 q";

/// Empties the screen of such a terminal, its cursor at the top and saved there. Erased backwards from the last cell: of a screen erased
/// forwards some terminals keep a copy in their scrollback.
pub(crate) const BLANK: &str = "\x1b[999;999H\x1b[1J\x1b[H\x1b7";

/// Modes that say how what is drawn is read: they come last.
const READING: [u16; 2] = [ORIGIN, WRAP];

/// See the module's head.
pub(super) fn repaint(state: &State, screen: &Screen) -> Vec<u8> {
    let mut out = String::with_capacity(4096);
    out.push_str(PLAIN);
    out.push_str(BLANK);
    tab_stops(state, screen, &mut out);
    let alternate = screen.alternate_screen();
    if alternate {
        let mut main = copy(screen);
        main.process(b"\x1b[?47l");
        paint::cells(main.screen(), &mut out);
        // The cursor that entering saves is the one that leaving comes back to.
        saved(state.saved[0].unwrap_or_default(), state, main.screen(), &mut out);
        out.push_str("\x1b[?1049h");
        plain_sets(&mut out);
        // Entering cleared it with the pen that was saved.
        out.push_str("\x1b[2J");
    } else {
        hidden_alternate(state, screen, &mut out);
    }
    paint::cells(screen, &mut out);
    // The main screen's was saved with the clean slate.
    let cursor = state.saved[usize::from(alternate)];
    if alternate || cursor.is_some() {
        saved(cursor.unwrap_or_default(), state, screen, &mut out);
        out.push_str("\x1b7");
        plain_sets(&mut out);
    }
    lasting(state, &mut out);
    final_reading(state, screen, &mut out);
    out.replace(REPLACEMENT_STAND_IN, "\u{fffd}").into_bytes()
}

/// Draws the alternate screen and leaves it again, the cursor where it was.
fn hidden_alternate(state: &State, screen: &Screen, out: &mut String) {
    if !state.alternate_used {
        return;
    }
    let mut other = copy(screen);
    other.process(b"\x1b[?47h");
    let mut cells = String::new();
    paint::cells(other.screen(), &mut cells);
    let cursor = state.saved[1].unwrap_or_default();
    if cells.is_empty() && cursor == Saved::default() {
        return;
    }
    // Entering saves the main one's cursor again: where the clean slate had it, and not behind the last tab stop.
    out.push_str("\x1b[H\x1b[?1049h");
    out.push_str(&cells);
    saved(cursor, state, other.screen(), out);
    out.push_str("\x1b7");
    plain_sets(out);
    out.push_str("\x1b[?1049l");
}

fn tab_stops(state: &State, screen: &Screen, out: &mut String) {
    out.push_str("\x1b[3g");
    for col in (0..screen.size().1.get()).filter(|&col| state.tabs.is_set(col)) {
        let _ = write!(out, "\x1b[{}G\x1bH", col + 1);
    }
}

/// Takes a terminal to where a saved cursor was.
fn saved(cursor: Saved, state: &State, screen: &Screen, out: &mut String) {
    let row = cursor.place.row.min(screen.size().0.get() - 1);
    let first = if cursor.origin { state.margins.map_or(0, |(top, _)| top) } else { 0 };
    if cursor.origin {
        margins(state, out);
        out.push_str("\x1b[?6h");
    }
    let place = Place { row, ..cursor.place };
    paint::client_cursor(screen, place, first, cursor.pen, out);
    charsets(&cursor.charsets, out);
}

/// Back from what a saved cursor took along.
fn plain_sets(out: &mut String) {
    out.push_str("\x1b[?6l\x1b[r\x1b[m\x1b(B\x1b)B\x1b*B\x1b+B\x0f");
}

fn charsets(charsets: &super::charset::Charsets, out: &mut String) {
    for (which, set) in "()*+".chars().zip(charsets.sets) {
        let _ = write!(out, "\x1b{which}{}", set.name());
    }
    out.push_str(["\x0f", "\x0e", "\x1bn", "\x1bo"][usize::from(charsets.shift & 3)]);
}

fn margins(state: &State, out: &mut String) {
    if let Some((top, bottom)) = state.margins {
        let _ = write!(out, "\x1b[{};{}r", top + 1, bottom + 1);
    }
}

/// What a client's terminal keeps and uses, but does not read output by.
fn lasting(state: &State, out: &mut String) {
    for (mode, on) in state.modes.changed().filter(|(mode, _)| !READING.contains(mode) && *mode != SYNCHRONIZED) {
        match mode {
            KEYPAD => out.push_str("\x1b="),
            mode => _ = write!(out, "\x1b[?{mode}{}", if on { 'h' } else { 'l' }),
        }
    }
    let _ = write!(out, "\x1b[{} q\x1b]2;{}\x1b\\", state.cursor_style, state.title);
    for (&which, &value) in &state.colors {
        out.push_str(&color(which, value));
    }
}

/// How what comes next is read, and where.
fn final_reading(state: &State, screen: &Screen, out: &mut String) {
    margins(state, out);
    let origin = state.modes.has(ORIGIN);
    if origin {
        out.push_str("\x1b[?6h");
    }
    let first = if origin { state.margins.map_or(0, |(top, _)| top) } else { 0 };
    paint::client_cursor(screen, drawing::place(screen), first, state.pen, out);
    charsets(&state.charsets, out);
    out.push_str(match state.charsets.single {
        None => "",
        Some(2) => "\x1bN",
        Some(_) => "\x1bO",
    });
    for (on, sequence) in
        [(!state.modes.has(WRAP), "\x1b[?7l"), (state.modes.insert, "\x1b[4h"), (state.modes.newline, "\x1b[20h")]
    {
        if on {
            out.push_str(sequence);
        }
    }
}
