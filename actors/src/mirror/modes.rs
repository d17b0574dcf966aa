//! Modes that a program can set, reset, ask for, save and restore.

use serde::{Deserialize, Serialize};

/// DEC private modes that are kept, and how a terminal starts with them. Their place here is their bit in a checkpoint.
const PRIVATE: [(u16, bool); 27] = [
    (1, false),
    (5, false),
    (6, false),
    (7, true),
    (8, true),
    (9, false),
    (12, false),
    (25, true),
    (40, false),
    (45, false),
    (66, false),
    (67, false),
    (1000, false),
    (1001, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1005, false),
    (1006, false),
    (1007, false),
    (1015, false),
    (1016, false),
    (1034, false),
    (1036, false),
    (2004, false),
    (2026, false),
    (2031, false),
];

pub(super) const CURSOR_KEYS: u16 = 1;
pub(super) const ORIGIN: u16 = 6;
pub(super) const WRAP: u16 = 7;
pub(super) const CURSOR_SHOWN: u16 = 25;
pub(super) const WIDTH_ALLOWED: u16 = 40;
pub(super) const WRAP_BACK: u16 = 45;
pub(super) const KEYPAD: u16 = 66;
pub(super) const SYNCHRONIZED: u16 = 2026;
/// One of these at a time.
const MOUSE_REPORTS: [u16; 5] = [9, 1000, 1001, 1002, 1003];
/// One of these at a time.
const MOUSE_ENCODINGS: [u16; 4] = [1005, 1006, 1015, 1016];

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Modes {
    private: u32,
    saved: u32,
    /// IRM: text pushes what stands behind it on.
    pub(super) insert: bool,
    /// LNM: a line feed is a carriage return too.
    pub(super) newline: bool,
}

fn bit(mode: u16) -> Option<u32> {
    PRIVATE.iter().position(|&(number, _)| number == mode).map(|at| 1 << at)
}

impl Default for Modes {
    fn default() -> Self {
        let initial = (0..).zip(PRIVATE).fold(0, |bits, (at, (_, on))| bits | u32::from(on) << at);
        Self { private: initial, saved: initial, insert: false, newline: false }
    }
}

impl Modes {
    /// Whether a private mode is set; `None` if it is none that is kept.
    pub(super) fn private(&self, mode: u16) -> Option<bool> {
        bit(mode).map(|bit| self.private & bit != 0)
    }

    /// The same of one that is kept.
    pub(super) fn has(&self, mode: u16) -> bool {
        self.private(mode).unwrap_or(false)
    }

    /// Sets or resets a private mode; of mouse modes, which exclude each other, the others with it.
    pub(super) fn set(&mut self, mode: u16, on: bool) {
        let Some(bit) = bit(mode) else { return };
        if MOUSE_REPORTS.contains(&mode) {
            self.private &= !bits(&MOUSE_REPORTS);
        } else if on && MOUSE_ENCODINGS.contains(&mode) {
            self.private &= !bits(&MOUSE_ENCODINGS);
        }
        self.private = if on { self.private | bit } else { self.private & !bit };
    }

    /// Saves a private mode.
    pub(super) fn save(&mut self, mode: u16) {
        let bit = bit(mode).unwrap_or(0);
        self.saved = self.saved & !bit | self.private & bit;
    }

    /// What was saved of a private mode.
    pub(super) fn saved(&self, mode: u16) -> Option<bool> {
        bit(mode).map(|bit| self.saved & bit != 0)
    }

    /// Every private mode that differs from how a terminal starts.
    pub(super) fn changed(&self) -> impl Iterator<Item = (u16, bool)> {
        PRIVATE
            .iter()
            .map(|&(mode, initial)| (mode, self.has(mode), initial))
            .filter(|(_, on, initial)| on != initial)
            .map(|(mode, on, _)| (mode, on))
    }
}

fn bits(modes: &[u16]) -> u32 {
    modes.iter().filter_map(|&mode| bit(mode)).fold(0, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mouse_modes_exclude_each_other() {
        let mut modes = Modes::default();
        [1000, 1003, 1005, 1006].iter().for_each(|&mode| modes.set(mode, true));
        assert_eq!([1000, 1003, 1005, 1006].map(|mode| modes.has(mode)), [false, true, false, true]);
        modes.set(1000, false);
        modes.set(1005, false);
        assert_eq!([1003, 1006].map(|mode| modes.has(mode)), [false, true]);
    }

    #[test]
    fn a_saved_mode_is_what_it_was() {
        let mut modes = Modes::default();
        modes.save(25);
        modes.set(25, false);
        assert_eq!((modes.saved(25), modes.saved(2), modes.private(2)), (Some(true), None, None));
        assert_eq!(modes.changed().collect::<Vec<_>>(), [(25, false)]);
    }
}
