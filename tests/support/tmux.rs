//! A window that somebody sits at: a shell in a pane of a tmux server of its own, and what is to be seen there, cell by cell.
//!
//! ```text
//!   test ─ keys, sizes ─► tmux pane ─ typing ─► bash ─► kaval attach ─► terminal
//!     └───── Picture ◄── what tmux drew     ==     what kaval screen says ──┘
//! ```

#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{KAVAL, PATIENCE};

/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Its shell: a prompt of its own, and `go`, which says how a command ended and whether it left the terminal's settings alone.
const SHELL_SETUP: &str = r#"
PS1='pane$ '
unset HISTFILE PROMPT_COMMAND
go() { stty -g >before; "$@"; echo "code $?"; stty -g >after; cmp before after && echo settings kept; }
"#;

/// Waits until `look` sees it.
#[track_caller]
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE / 3;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(instead) => assert!(Instant::now() < deadline, "{what} did not come; there is:\n{instead}"),
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The first of these programs that is not installed.
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    programs.iter().copied().find(|program| !is_there(program))
}

/// See the module's head. Its server ends with it.
pub struct Pane {
    dir: PathBuf,
    id: String,
}

impl Pane {
    /// A shell in `dir`, with the environment of `kaval`.
    pub fn open(kaval: &Command, dir: &Path, (cols, rows): (u16, u16)) -> Self {
        let id = format!("kaval-test-{:08x}", rand::random::<u32>());
        let pane = Self { dir: dir.to_owned(), id };
        std::fs::write(dir.join("setup.sh"), SHELL_SETUP).unwrap();
        let mut command = pane.command();
        for (key, value) in kaval.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", Path::new(KAVAL).parent().unwrap().display()));
        let (x, y) = (cols.to_string(), rows.to_string());
        let shell = "exec bash --noprofile --rcfile setup.sh";
        let status = command.args(["new-session", "-d", "-x", &x, "-y", &y, shell, ";", "set", "-g", "status", "off"]).status();
        assert!(status.unwrap().success(), "tmux did not start");
        pane.resize((cols, rows));
        pane.await_screen(|text| text.ends_with("pane$"));
        pane
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.id, "-f", "/dev/null"]).current_dir(&self.dir);
        command.env("TMUX_TMPDIR", &self.dir).env("HOME", &self.dir).env("LC_ALL", "C.UTF-8");
        command
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().unwrap();
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types these characters.
    pub fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Types a line.
    pub fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line, ";", "send-keys", "Enter"]);
    }

    /// Presses a key by tmux's name.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Gives the window another size.
    pub fn resize(&self, (cols, rows): (u16, u16)) {
        self.tmux(&["resize-window", "-x", &cols.to_string(), "-y", &rows.to_string()]);
    }

    /// Has programs in the pane put into tmux's clipboard, and read from it, what they like; it has that text.
    pub fn open_clipboard(&self, text: &str) {
        self.tmux(&["set", "-s", "set-clipboard", "on", ";", "set-buffer", text]);
    }

    /// What was put into tmux's clipboard last.
    pub fn clipboard(&self) -> String {
        self.tmux(&["show-buffer"])
    }

    /// What the pane shows.
    pub fn text(&self) -> String {
        trimmed(&self.tmux(&["capture-pane", "-p"]))
    }

    /// What the pane shows and has shown.
    pub fn scrollback(&self) -> String {
        trimmed(&self.tmux(&["capture-pane", "-p", "-S", "-"]))
    }

    /// Waits until the pane shows what is expected; what that was.
    #[track_caller]
    pub fn await_screen(&self, expected: impl Fn(&str) -> bool) -> String {
        await_some("the expected screen", || {
            let text = self.text();
            if expected(&text) { Ok(text) } else { Err(text) }
        })
    }

    /// What is drawn, cell by cell.
    pub fn picture(&self) -> Picture {
        let format = "#{pane_height} #{pane_width} #{cursor_y} #{cursor_x} #{cursor_flag} #{alternate_on}";
        let told = self.tmux(&["display-message", "-p", format, ";", "capture-pane", "-p", "-e", "-N"]);
        let (numbers, drawing) = told.split_once('\n').unwrap();
        let numbers: Vec<u16> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let [rows, cols, row, col, visible, alternate] = numbers[..] else { panic!("{numbers:?}") };
        let (text, cells) = drawn(drawing, rows, cols);
        Picture { text, cells, cursor: (row, col.min(cols - 1)), visible: visible == 1, alternate: alternate == 1 }
    }

    /// What programs set and a shell expects back: cursor shown, main screen, wrapping, no mouse, no margins.
    pub fn is_clean(&self) -> bool {
        let flags =
            "#{cursor_flag}#{wrap_flag} #{alternate_on}#{mouse_any_flag}#{insert_flag}#{origin_flag}#{keypad_cursor_flag}";
        let margins = "#{scroll_region_upper} #{e|-:#{pane_height},#{scroll_region_lower}}";
        self.tmux(&["display-message", "-p", &format!("{flags} {margins}")]) == "11 00000 0 1\n"
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "the pane showed last:\n{}",
                trimmed(&String::from_utf8_lossy(&self.command().args(["capture-pane", "-p"]).output().unwrap().stdout))
            );
        }
        let _ = self.command().arg("kill-server").status();
    }
}

/// Lines without what is blank at their ends and at the screen's.
pub fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// A screen: what each cell shows and in which style, and the cursor.
#[derive(Clone, PartialEq)]
pub struct Picture {
    pub text: String,
    cells: Vec<Vec<(String, String)>>,
    pub cursor: (u16, u16),
    pub visible: bool,
    pub alternate: bool,
}

impl Picture {
    /// Of what `kaval screen --format json` prints.
    pub fn of_json(json: &str) -> Self {
        let screen: Value = serde_json::from_str(json).unwrap();
        let number = |value: &Value| value.as_u64().unwrap() as u16;
        let lines: Vec<_> = screen["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let row_of = |row: &Value| row.as_array().unwrap().iter().map(told_cell).collect();
        let cursor = &screen["cursor"];
        Self {
            text: trimmed(&lines.join("\n")),
            cells: screen["cells"].as_array().unwrap().iter().map(row_of).map(without_tail_style).collect(),
            cursor: (number(&cursor["row"]), number(&cursor["col"]).min(number(&screen["cols"]) - 1)),
            visible: cursor["visible"] == true,
            alternate: screen["alternate"] == true,
        }
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        (self.cells[0].len() as u16, self.cells.len() as u16)
    }

    /// How many of its cells have a style.
    pub fn styled_cells(&self) -> usize {
        self.cells.iter().flatten().filter(|(_, style)| !style.is_empty()).count()
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cursor, visible, alternate, .. } = self;
        write!(out, "{:?}, cursor {cursor:?}, shown: {visible}, alternate: {alternate}\n{}", self.size(), self.text)
    }
}

/// Where two pictures differ.
pub fn difference(pane: &Picture, told: &Picture) -> String {
    let cells = |picture: &Picture| picture.cells.iter().flatten().cloned().collect::<Vec<_>>();
    let width = usize::from(pane.size().0);
    let first = cells(pane).into_iter().zip(cells(told)).enumerate().find(|(_, (a, b))| a != b);
    let first = first.map(|(at, (a, b))| format!("row {}, column {}: {a:?} and {b:?}", at / width, at % width));
    format!("pane: {pane:?}\n---\nkaval: {told:?}\n---\nfirst difference of cells: {first:?}")
}

/// The text and the cells of a drawing whose colours go on from line to line.
fn drawn(drawing: &str, rows: u16, cols: u16) -> (String, Vec<Vec<(String, String)>>) {
    let mut parser = vt100::Parser::new(rows.try_into().unwrap(), cols.try_into().unwrap(), 0);
    parser.process(drawing.trim_end_matches('\n').replace('\n', "\r\n").as_bytes());
    let cell = |row, col| drawn_cell(parser.screen().cell(row, col).unwrap());
    let lines: Vec<_> = parser.screen().rows(0, cols).collect();
    (
        trimmed(&lines.join("\n")),
        (0..rows).map(|row| without_tail_style((0..cols).map(|col| cell(row, col)).collect())).collect(),
    )
}

/// tmux does not tell the background of what was erased at a row's end.
fn without_tail_style(mut row: Vec<(String, String)>) -> Vec<(String, String)> {
    let tail = row.iter_mut().rev().take_while(|(text, style)| text == " " && (style.is_empty() || style.starts_with("bg=")));
    tail.for_each(|(_, style)| style.clear());
    row
}

fn drawn_cell(cell: &vt100::Cell) -> (String, String) {
    let color = |color| match color {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(Value::from(index)),
        vt100::Color::Rgb(r, g, b) => Some(Value::from(format!("#{r:02x}{g:02x}{b:02x}"))),
    };
    let flags = [cell.bold(), cell.dim(), cell.italic(), cell.underline(), cell.inverse()];
    styled(cell.contents(), color(cell.fgcolor()), color(cell.bgcolor()), flags)
}

fn told_cell(cell: &Value) -> (String, String) {
    let color = |key| cell.get(key).cloned();
    let flags = ["bold", "dim", "italic", "underline", "inverse"].map(|key| cell[key] == true);
    styled(cell["t"].as_str().unwrap(), color("fg"), color("bg"), flags)
}

/// A blank cell, whether written or never touched, is a space, and has the style that can be seen of one.
fn styled(text: &str, fg: Option<Value>, bg: Option<Value>, flags: [bool; 5]) -> (String, String) {
    let text = if text.is_empty() { " " } else { text };
    let [bold, dim, italic, underline, inverse] = flags;
    let inked = text != " " || underline || inverse;
    let named = [
        ("bold", bold && inked),
        ("dim", dim && inked),
        ("italic", italic && inked),
        ("underline", underline),
        ("inverse", inverse),
    ];
    let mut words: Vec<String> = named.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect();
    words.extend(fg.filter(|_| inked).map(|color| format!("fg={color}")));
    words.extend(bg.map(|color| format!("bg={color}")));
    (text.to_owned(), words.join(" "))
}
