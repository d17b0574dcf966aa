//! Plays a recording of asciicast into alacritty_terminal.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{fs, path::Path};

use alacritty_terminal::{
    Term,
    event::VoidListener,
    grid::Dimensions,
    index::{Column, Line},
    term::{Config, cell::Flags, test::TermSize},
    vte::ansi::Processor,
};
use kaval_actors::Size;
use serde_json::Value;

pub struct Recording {
    pub header: Value,
    /// Seconds since the beginning, code, data.
    events: Vec<(f64, String, String)>,
}

impl Recording {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line:?}")));
        let header = lines.next().unwrap();
        let (mut now, counts_on) = (0.0, header["version"] == 3);
        let event = |event: Value| {
            let time = event[0].as_f64().unwrap();
            assert!(time >= if counts_on { 0.0 } else { now }, "time runs backwards");
            now = if counts_on { now + time } else { time };
            (now, event[1].as_str().unwrap().to_owned(), event[2].as_str().unwrap().to_owned())
        };
        Self { events: lines.map(event).collect(), header }
    }

    /// The size that it begins with.
    pub fn size(&self) -> Size {
        let (size, cols, rows) = match self.header["version"].as_u64() {
            Some(3) => (&self.header["term"], "cols", "rows"),
            _ => (&self.header, "width", "height"),
        };
        let side = |name: &str| u32::try_from(size[name].as_u64().unwrap()).unwrap();
        Size::new(side(cols), side(rows)).unwrap()
    }

    pub fn resizes(&self) -> Vec<&str> {
        self.events.iter().filter(|(_, code, _)| code == "r").map(|(_, _, data)| data.as_str()).collect()
    }

    /// All output.
    pub fn output(&self) -> String {
        self.events.iter().filter(|(_, code, _)| code == "o").map(|(_, _, data)| data.as_str()).collect()
    }

    /// When the event came that has this.
    pub fn time_of(&self, text: &str) -> f64 {
        self.events.iter().find(|(_, _, data)| data.contains(text)).unwrap_or_else(|| panic!("no {text:?}")).0
    }

    /// The rows that it ends on, without trailing blanks.
    pub fn played(&self) -> Vec<String> {
        let config = Config { scrolling_history: 0, ..Config::default() };
        let mut term = Term::new(config, &sides(self.size()), VoidListener);
        let mut parser: Processor = Processor::new();
        for (_, code, data) in &self.events {
            match code.as_str() {
                "o" => parser.advance(&mut term, data.as_bytes()),
                "r" => term.resize(sides(data.parse().unwrap())),
                other => panic!("an event {other:?}"),
            }
        }
        let grid = term.grid();
        let cell = |row: usize, col: usize| {
            let cell = &grid[Line(row as i32)][Column(col)];
            let is_second = cell.flags.contains(Flags::WIDE_CHAR_SPACER);
            if is_second { String::new() } else { cell.c.to_string() }
        };
        let row = |row: usize| (0..grid.columns()).map(|col| cell(row, col)).collect::<String>().trim_end().to_owned();
        (0..grid.screen_lines()).map(row).collect()
    }
}

fn sides(size: Size) -> TermSize {
    TermSize::new(size.cols().into(), size.rows().into())
}

/// The rows of `kaval screen --json`.
pub fn screen_of(json: &Value) -> Vec<String> {
    json["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}
