//! Listings for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::wire::{ExitInfo, TermInfo};

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[m";

/// Longest command shown.
const COMMAND_CHARS_MAX: usize = 40;

/// `kaval ls`.
pub(super) fn terminals(terms: &[TermInfo], colour: bool) -> String {
    if terms.is_empty() {
        return "no terminals: kaval new makes one\n".to_owned();
    }
    let header = ["NAME", "STATE", "PID", "SIZE", "CLIENTS", "AGE", "OUTPUT", "COMMAND"].map(str::to_owned);
    let rows: Vec<_> = terms.iter().map(row).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|i| [&header].into_iter().chain(&rows).map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = line(&header, &widths, |_, cell| if colour { format!("{BOLD}{cell}{RESET}") } else { cell });
    for (term, row) in terms.iter().zip(&rows) {
        text += &line(row, &widths, |i, cell| match (colour, i) {
            (true, 1) => format!("{}{cell}{RESET}", state_colour(term)),
            _ => cell,
        });
    }
    text
}

fn state_colour(term: &TermInfo) -> &'static str {
    match term.state.as_str() {
        "live" | "hibernated" => GREEN,
        "lost" => YELLOW,
        _ => DIM,
    }
}

fn row(term: &TermInfo) -> [String; 8] {
    let state = match term.exit {
        Some(ExitInfo::Code(code)) => format!("exited {code}"),
        Some(ExitInfo::Signal(signal)) => format!("exited sig {signal}"),
        Some(ExitInfo::Unknown(_)) => "exited ?".to_owned(),
        None => term.state.clone(),
    };
    let created = UNIX_EPOCH + Duration::from_millis(term.created);
    let age = SystemTime::now().duration_since(created).unwrap_or_default();
    [
        term.name.clone(),
        state,
        term.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        term.size.to_string(),
        term.clients.to_string(),
        duration(age),
        bytes(term.offset),
        command(&term.command),
    ]
}

fn command(argv: &[String]) -> String {
    let text: String = argv.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(COMMAND_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn duration(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{} KiB", n / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", n / 1_048_576),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// One row: padded cells, two spaces apart, nothing after the last. Numbers are aligned right.
fn line(cells: &[String; 8], widths: &[usize], paint: impl Fn(usize, String) -> String) -> String {
    let last = cells.len() - 1;
    let pad = |(i, cell): (usize, &String)| {
        let width = widths[i];
        let padded = match i {
            2 | 4..=6 => format!("{cell:>width$}"),
            _ if i == last => cell.clone(),
            _ => format!("{cell:<width$}"),
        };
        paint(i, padded)
    };
    cells.iter().enumerate().map(pad).collect::<Vec<_>>().join("  ") + "\n"
}

#[cfg(test)]
mod tests {
    use kaval_actors::Size;

    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_aligned_right() {
        let term = |name: &str, offset| TermInfo {
            name: name.into(),
            id: 1,
            state: "live".into(),
            pid: Some(42),
            size: Size::DEFAULT,
            command: vec!["sh".into(), "-c".into(), "a\nb".into()],
            cwd: "/".into(),
            title: String::new(),
            created: u64::MAX / 2_000_000,
            last_output: None,
            clients: 0,
            offset,
            exit: None,
            memory_bytes: 0,
            log_bytes: 0,
        };
        let text = terminals(&[term("a", 5), term("longer", 5 << 20)], false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "a       live    42  80x24        0   0s     5 B  sh -c a b");
        assert_eq!(lines[2], "longer  live    42  80x24        0   0s   5 MiB  sh -c a b");
        assert_eq!(lines[0].find("COMMAND"), lines[1].find("sh -c"));
    }
}
