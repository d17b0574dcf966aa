//! What each control character and sequence does, as in xterm.

use vt100::Callbacks;

use super::{
    charset::{Charset, Charsets},
    drawing::{Drawing, REPLACEMENT_STAND_IN, width},
    modes::{CURSOR_KEYS, CURSOR_SHOWN, KEYPAD, ORIGIN, WIDTH_ALLOWED, WRAP, WRAP_BACK},
    notice::What,
    replies,
    sequence::{Csi, Params},
    state::{Place, Saved},
};

impl<C: Callbacks> Drawing<'_, C> {
    /// A control character.
    pub(super) fn control(&mut self, byte: u8) {
        match byte {
            0x07 => self.tell(What::Bell),
            0x08 => self.back(1),
            b'\t' => self.tab(1),
            b'\n' | 0x0b | 0x0c => {
                self.index();
                if self.state.modes.newline {
                    self.put("\r");
                }
            }
            b'\r' => self.put("\r"),
            0x0e => self.state.charsets.shift = 1,
            0x0f => self.state.charsets.shift = 0,
            _ => {}
        }
    }

    /// What stood behind ESC.
    pub(super) fn escape(&mut self, sequence: &[u8]) {
        match sequence {
            b"6" => self.back_index(),
            b"7" => self.save_cursor(),
            b"8" => self.restore_cursor(),
            b"9" => self.forward_index(),
            b"=" => self.state.modes.set(KEYPAD, true),
            b">" => self.state.modes.set(KEYPAD, false),
            b"D" => self.index(),
            b"E" => {
                self.index();
                self.put("\r");
            }
            b"H" => {
                let col = self.place().col;
                self.state.tabs.set(col);
            }
            b"M" => self.reverse_index(),
            b"N" => self.state.charsets.single = Some(2),
            b"O" => self.state.charsets.single = Some(3),
            b"n" => self.state.charsets.shift = 2,
            b"o" => self.state.charsets.shift = 3,
            b"Z" => self.reply(replies::PRIMARY),
            b"c" => self.reset(),
            b"#8" => self.align(),
            [set @ b'('..=b'+', .., name] => self.state.charsets.sets[usize::from(set - b'(')] = Charset::named(*name),
            [set @ b'-'..=b'/', .., _] => self.state.charsets.sets[usize::from(set - b'-') + 1] = Charset::Ascii,
            _ => {}
        }
    }

    /// What stood behind CSI.
    pub(super) fn sequence(&mut self, csi: &Csi) {
        match (csi.prefix, csi.intermediate) {
            (0, 0) => self.plain_sequence(csi.last, &csi.params),
            (b'?', 0) => self.private_sequence(csi.last, &csi.params),
            (0, b' ') => self.spaced_sequence(csi.last, &csi.params),
            (0, b'!') if csi.last == b'p' => self.soft_reset(),
            (0, b'$') => self.rectangular_sequence(csi.last, &csi.params),
            (0, b'\'') => self.shift_columns(csi.last, csi.params.count(0)),
            _ => {}
        }
        if let Some(reply) = replies::to_sequence(csi, &self.facts()) {
            self.reply(reply);
        }
    }

    fn plain_sequence(&mut self, last: u8, params: &Params) {
        if params.has_parts() && last != b'm' {
            return;
        }
        let count = params.count(0);
        match last {
            b'A' | b'B' | b'C' | b'D' | b'E' | b'F' | b'G' | b'H' | b'I' | b'Z' | b'`' | b'a' | b'd' | b'e' | b'f' | b'j'
            | b'k' => {
                self.move_cursor(last, params);
            }
            b'@' => self.insert_cells(count),
            b'J' => self.erase_display(params.get(0)),
            b'K' => self.erase_line(params.get(0)),
            b'L' | b'M' => self.shift_lines(count, last.into()),
            b'P' => self.delete_cells(count),
            b'S' => self.scroll_up(count),
            b'T' if params.len() <= 1 => self.scroll_down(count),
            b'^' => self.scroll_down(count),
            b'X' => {
                self.settle();
                self.erase(&format!("\x1b[{count}X"));
            }
            b'b' => self.repeat(count),
            b'g' => self.clear_tabs(params.get(0)),
            b'h' | b'l' => self.set_ansi_modes(params, last == b'h'),
            b'm' => {
                self.state.pen = self.state.pen.after(params);
                self.put(self.state.pen.sgr());
            }
            b'r' => self.margins_by(params),
            b's' if params.len() == 0 => self.save_cursor(),
            b'u' if params.len() == 0 => self.restore_cursor(),
            b't' => self.window(params),
            _ => {}
        }
    }

    fn private_sequence(&mut self, last: u8, params: &Params) {
        match last {
            b'J' => self.erase_display(params.get(0)),
            b'K' => self.erase_line(params.get(0)),
            b'W' if params.get(0) == 5 => self.state.tabs = Default::default(),
            b'h' | b'l' => params.groups().for_each(|group| self.set_private_mode(group[0], last == b'h')),
            b's' => params.groups().for_each(|group| self.state.modes.save(group[0])),
            b'r' => params.groups().for_each(|group| {
                if let Some(on) = self.state.modes.saved(group[0]) {
                    self.set_private_mode(group[0], on);
                }
            }),
            _ => {}
        }
    }

    fn spaced_sequence(&mut self, last: u8, params: &Params) {
        let count = params.count(0).min(self.cols());
        match last {
            b'@' => self.in_each_row(0, |drawing| drawing.delete_cells(count)),
            b'A' => self.in_each_row(0, |drawing| drawing.insert_cells(count)),
            b'q' if params.get(0) <= 6 => self.state.cursor_style = params.get(0) as u8,
            _ => {}
        }
    }

    fn rectangular_sequence(&mut self, last: u8, params: &Params) {
        match last {
            b'v' => self.copy_rectangle(params),
            b'x' => self.fill_rectangle(params),
            b'z' => self.erase_rectangle(params),
            _ => {}
        }
    }

    /// `DECBI`: to the left, in the first column pushing what scrolls to the right.
    fn back_index(&mut self) {
        let (row, col) = self.settle();
        let (top, bottom) = self.margins();
        if col > 0 {
            self.goto(row, col - 1);
        } else if (top..=bottom).contains(&row) {
            self.in_each_row(0, |drawing| drawing.insert_cells(1));
        }
    }

    /// `DECFI`: to the right, in the last column pulling what scrolls to the left.
    fn forward_index(&mut self) {
        let Place { row, col, .. } = self.place();
        let (top, bottom) = self.margins();
        if col + 1 < self.cols() {
            self.goto(row, col + 1);
        } else if (top..=bottom).contains(&row) {
            self.in_each_row(0, |drawing| drawing.delete_cells(1));
        }
    }

    /// `DECIC`, `DECDC`.
    fn shift_columns(&mut self, last: u8, count: u16) {
        let Place { row, col, .. } = self.place();
        let (top, bottom) = self.margins();
        if !(top..=bottom).contains(&row) {
            return;
        }
        match last {
            b'}' => self.in_each_row(col, |drawing| drawing.insert_cells(count)),
            b'~' => self.in_each_row(col, |drawing| drawing.delete_cells(count)),
            _ => {}
        }
    }

    /// Sequences that do nothing but move the cursor.
    fn move_cursor(&mut self, last: u8, params: &Params) {
        let Place { row, col, .. } = self.place();
        let count = params.count(0);
        let (top, bottom) = self.margins();
        let (first, final_row) = self.addressed();
        let final_col = self.cols() - 1;
        let above = || row.saturating_sub(count).max(if row >= top { top } else { 0 });
        let below = || row.saturating_add(count).min(if row <= bottom { bottom } else { self.rows() - 1 });
        let absolute = |n: u16| first.saturating_add(n - 1).min(final_row);
        match last {
            b'A' => self.goto(above(), col),
            b'B' => self.goto(below(), col),
            b'C' | b'a' => self.goto(row, col.saturating_add(count).min(final_col)),
            b'D' | b'j' => self.back(count),
            b'E' => self.goto(below(), 0),
            b'F' => self.goto(above(), 0),
            b'G' | b'`' => self.goto(row, (count - 1).min(final_col)),
            b'H' | b'f' => self.goto(absolute(count), (params.count(1) - 1).min(final_col)),
            b'I' => self.tab(count),
            b'Z' => self.tab_back(count),
            b'd' => self.goto(absolute(count), col),
            b'e' => self.goto(row.saturating_add(count).min(final_row.max(row)), col),
            b'k' => self.goto(above(), col),
            _ => {}
        }
    }

    /// `BS`, `CUB`: with `DECSET 45` on into the row above.
    fn back(&mut self, count: u16) {
        let Place { row, col, wraps } = self.place();
        let modes = &self.state.modes;
        if !(modes.has(WRAP_BACK) && modes.has(WRAP)) {
            return self.goto(row, col.saturating_sub(count));
        }
        let cols = u32::from(self.cols());
        let (top, bottom) = self.margins();
        let first = if row >= top { top } else { 0 };
        // A wrap that is about to happen takes a step to take back.
        let count = u32::from(count) - u32::from(wraps);
        let from = u32::from(row - first) * cols + u32::from(col);
        let region = u32::from(bottom.max(row) - first + 1) * cols;
        let to = (from + region - count % region) % region;
        self.goto(first + (to / cols) as u16, (to % cols) as u16);
    }

    fn tab(&mut self, count: u16) {
        let Place { row, col, wraps } = self.place();
        if wraps {
            return;
        }
        let cols = self.cols();
        let to = (0..count.min(cols)).fold(col, |col, _| if col + 1 < cols { self.state.tabs.next(col, cols) } else { col });
        self.goto(row, to);
    }

    fn tab_back(&mut self, count: u16) {
        let Place { row, col, .. } = self.place();
        let to = (0..count.min(self.cols())).fold(col, |col, _| self.state.tabs.previous(col));
        self.goto(row, to);
    }

    fn clear_tabs(&mut self, which: u16) {
        let col = self.place().col;
        match which {
            0 => self.state.tabs.clear(col),
            3 => self.state.tabs.clear_all(),
            _ => {}
        }
    }

    fn erase_display(&mut self, which: u16) {
        if let which @ 0..=2 = which {
            // What is erased behind the cursor leaves a wrap to come, as in alacritty and xterm.js.
            if which != 1 {
                self.settle();
            }
            self.erase(&format!("\x1b[{which}J"));
        }
    }

    fn erase_line(&mut self, which: u16) {
        if let which @ 0..=2 = which {
            // Behind a row's end there is nothing to erase, and the wrap is still to come: as VTE, tmux and alacritty have it.
            if which != 0 || !self.place().wraps {
                self.erase(&format!("\x1b[{which}K"));
            }
        }
    }

    /// `REP`: a screenful at most, and as much more as ends in the same column.
    fn repeat(&mut self, count: u16) {
        let Some(c) = self.state.last_char else { return };
        let a_row = usize::from(self.cols() / width(c).unwrap_or(1).max(1)).max(1);
        let a_screen = a_row * usize::from(self.rows());
        let count = usize::from(count);
        let count = if count > a_screen { a_screen + (count - a_screen) % a_row } else { count };
        let c = if c == REPLACEMENT_STAND_IN { char::REPLACEMENT_CHARACTER } else { c };
        let charsets = std::mem::take(&mut self.state.charsets);
        self.print(&c.to_string().repeat(count));
        self.state.charsets = charsets;
    }

    /// `DECSTBM`.
    fn margins_by(&mut self, params: &Params) {
        let bottom = match params.get(1) {
            0 => self.rows(),
            bottom => bottom.min(self.rows()),
        };
        let top = params.count(0);
        if top < bottom {
            self.state.margins = Some((top - 1, bottom - 1)).filter(|&margins| margins != (0, self.rows() - 1));
            let home = self.addressed().0;
            self.put(format!("\x1b[{top};{bottom}r\x1b[{}H", home + 1));
        }
    }

    fn home(&mut self) {
        self.goto(self.addressed().0, 0);
    }

    fn set_ansi_modes(&mut self, params: &Params, on: bool) {
        for group in params.groups() {
            match group[0] {
                4 => self.state.modes.insert = on,
                20 => self.state.modes.newline = on,
                _ => {}
            }
        }
    }

    fn set_private_mode(&mut self, mode: u16, on: bool) {
        match mode {
            3 if self.state.modes.has(WIDTH_ALLOWED) => {
                self.reset_margins();
                self.erase_display(2);
                self.home();
            }
            47 => self.show(on),
            1047 if on => self.show(true),
            1047 => self.leave_alternate_blank(),
            1048 if on => self.save_cursor(),
            1048 => self.restore_cursor(),
            1049 if on => {
                self.save_cursor();
                self.show(true);
                self.erase_display(2);
            }
            1049 => {
                self.show(false);
                self.restore_cursor();
            }
            mode => self.state.modes.set(mode, on),
        }
        if mode == ORIGIN {
            self.home();
        }
    }

    fn leave_alternate_blank(&mut self) {
        if self.vt.screen().alternate_screen() {
            let place = self.place();
            self.erase_display(2);
            self.restore_place(place);
        }
        self.show(false);
    }

    fn save_cursor(&mut self) {
        let saved = Saved {
            place: self.place(),
            pen: self.state.pen,
            origin: self.state.modes.has(ORIGIN),
            charsets: Charsets { single: None, ..self.state.charsets },
        };
        self.state.saved[usize::from(self.vt.screen().alternate_screen())] = Some(saved);
    }

    fn restore_cursor(&mut self) {
        let saved = self.state.saved[usize::from(self.vt.screen().alternate_screen())].unwrap_or_default();
        self.state.pen = saved.pen;
        self.state.charsets = saved.charsets;
        self.state.modes.set(ORIGIN, saved.origin);
        let (first, last) = self.addressed();
        let row = saved.place.row.clamp(first, last);
        self.put(saved.pen.sgr());
        self.restore_place(Place { row, ..saved.place });
    }

    /// `DECALN`.
    fn align(&mut self) {
        let pen = self.state.pen;
        self.reset_margins();
        let row_of_e = "E".repeat(self.cols().into());
        let all: String = (1..=self.rows()).map(|row| format!("\x1b[{row}H\x1b[2K{row_of_e}")).collect();
        self.put(format!("\x1b[m{all}{}", pen.sgr()));
        self.home();
    }

    /// `RIS`.
    fn reset(&mut self) {
        self.state.stretches_ended += u32::from(self.vt.screen().alternate_screen());
        self.put("\x1bc");
        self.state.reset();
    }

    /// `DECSTR`.
    fn soft_reset(&mut self) {
        let place = self.place();
        for (mode, on) in
            [(CURSOR_KEYS, false), (ORIGIN, false), (WRAP, true), (WRAP_BACK, false), (CURSOR_SHOWN, true), (KEYPAD, false)]
        {
            self.state.modes.set(mode, on);
        }
        self.state.modes.insert = false;
        self.state.charsets = Default::default();
        self.state.saved[usize::from(self.vt.screen().alternate_screen())] = None;
        self.state.pen = Default::default();
        self.put("\x1b[m");
        self.reset_margins();
        self.restore_place(place);
    }

    /// Window operations: of those that do something, the titles' stack.
    fn window(&mut self, params: &Params) {
        if params.get(1) == 1 {
            return;
        }
        match params.get(0) {
            22 => self.state.push_title(),
            23 => self.state.pop_title(),
            _ => {}
        }
    }
}
