//! Listings for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::wire::{AttachMode, ClientInfo, CommandInfo, ExitInfo, TermInfo, signal_text};

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const RESET: &str = "\x1b[m";

/// Longest command shown.
const COMMAND_CHARS_MAX: usize = 40;

/// `kaval ls`.
pub(super) fn terminals(terms: &[TermInfo], colour: bool) -> String {
    if terms.is_empty() {
        return "no terminals: kaval new makes one\n".to_owned();
    }
    let header = ["NAME", "STATE", "PID", "SIZE", "CLIENTS", "AGE", "OUTPUT", "CPU", "MEMORY", "COMMAND"];
    let rows: Vec<_> = terms.iter().map(row).collect();
    let colours = terms.iter().map(state_colour).collect::<Vec<_>>();
    columns(header, &[2, 4, 5, 6, 7, 8], &rows, colour.then_some((1, &colours)))
}

/// `kaval clients`.
pub(super) fn clients(clients: &[ClientInfo], colour: bool) -> String {
    if clients.is_empty() {
        return "nobody is attached\n".to_owned();
    }
    let header = ["ID", "TERMINAL", "MODE", "SIZE", "SINCE", "WAITING", "BEHIND", "CLIENT"];
    let rows: Vec<_> = clients.iter().map(client_row).collect();
    let colours = vec![BOLD; clients.len()];
    columns(header, &[0, 4, 5, 6], &rows, colour.then_some((1, &colours)))
}

/// `kaval history --commands`.
pub(super) fn commands(commands: &[CommandInfo], colour: bool) -> String {
    if commands.is_empty() {
        return "no command was told of: source config/shell/kaval.bash (or .zsh, .fish) in the shell\n".to_owned();
    }
    let header = ["STARTED", "TOOK", "EXIT", "FROM", "TO", "COMMAND"];
    let rows: Vec<_> = commands.iter().map(command_row).collect();
    let colours = commands.iter().map(|command| if command.code.unwrap_or(0) == 0 { GREEN } else { YELLOW }).collect();
    columns(header, &[0, 1, 2, 3, 4], &rows, colour.then_some((2, &colours)))
}

fn command_row(command: &CommandInfo) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        format!("{} ago", ago(command.started)),
        or_dash(command.took_ms.map(short)),
        or_dash(command.code.map(|code| code.to_string())),
        command.offset.to_string(),
        or_dash(command.end.map(|end| end.to_string())),
        command.line.clone(),
    ]
}

/// A short time, to the unit that matters.
fn short(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => duration(Duration::from_millis(ms)),
    }
}

fn client_row(client: &ClientInfo) -> [String; 8] {
    let mode = match client.mode {
        AttachMode::Rw => "rw",
        AttachMode::Ro => "ro",
    };
    [
        client.id.to_string(),
        client.name.clone(),
        mode.to_owned(),
        client.size.map_or_else(|| "-".to_owned(), |size| size.to_string()),
        ago(client.since),
        bytes(client.waiting_bytes),
        bytes(client.behind_bytes),
        client.client.clone(),
    ]
}

/// Aligned columns under a header, those of the given numbers to the right, and one in the rows' colours; the header is bold where there are
/// colours.
fn columns<const N: usize>(
    header: [&str; N],
    right: &[usize],
    rows: &[[String; N]],
    colours: Option<(usize, &Vec<&'static str>)>,
) -> String {
    let header = header.map(str::to_owned);
    let cells = |i: usize| [&header].into_iter().chain(rows).map(move |row| row[i].chars().count());
    let widths: Vec<usize> = (0..N).map(|i| cells(i).max().unwrap_or(0)).collect();
    let mut text = line(&header, &widths, right, |_, cell| match colours {
        Some(_) => format!("{BOLD}{cell}{RESET}"),
        None => cell,
    });
    for (at, row) in rows.iter().enumerate() {
        text += &line(row, &widths, right, |i, cell| match colours {
            Some((column, colours)) if column == i => format!("{}{cell}{RESET}", colours[at]),
            Some(_) | None => cell,
        });
    }
    text
}

fn state_colour(term: &TermInfo) -> &'static str {
    match term.state.as_str() {
        "live" | "hibernated" => GREEN,
        _ if term.respawn_at.is_some() => YELLOW,
        "lost" => YELLOW,
        _ => DIM,
    }
}

fn row(term: &TermInfo) -> [String; 10] {
    let state = match term.exit {
        _ if term.respawn_at.is_some() => respawning(term),
        Some(ExitInfo::Code(code)) => format!("exited {code}"),
        Some(ExitInfo::Signal(signal)) => format!("exited {}", signal_text(signal)),
        Some(ExitInfo::Unknown(_)) => "exited ?".to_owned(),
        None => term.state.clone(),
    };
    [
        term.name.clone(),
        state,
        term.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        term.size.to_string(),
        term.clients.to_string(),
        ago(term.created),
        bytes(term.offset),
        term.child_cpu_percent.filter(|_| term.is_live()).map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0}%")),
        term.child_memory_bytes.filter(|_| term.is_live()).map_or_else(|| "-".to_owned(), bytes),
        command(&term.command),
    ]
}

/// `exited 1, again in 8s`
fn respawning(term: &TermInfo) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(term.respawn_at.unwrap_or_default());
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    let what = match (&term.trouble, term.exit) {
        (Some(_), _) => "not started".to_owned(),
        (None, Some(ExitInfo::Code(code))) => format!("exited {code}"),
        (None, Some(ExitInfo::Signal(signal))) => format!("exited {}", signal_text(signal)),
        (None, Some(ExitInfo::Unknown(_))) => "exited ?".to_owned(),
        (None, None) => "lost".to_owned(),
    };
    format!("{what}, again in {}", duration(left))
}

fn command(argv: &[String]) -> String {
    let text: String = argv.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(COMMAND_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// How long ago that was, milliseconds since the Unix epoch.
fn ago(since_ms: u64) -> String {
    duration(SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(since_ms)).unwrap_or_default())
}

/// A time, to the largest unit that it has one of.
pub(super) fn duration(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{} KiB", n / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", n / 1_048_576),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// One row: padded cells, two spaces apart, nothing after the last.
fn line(cells: &[String], widths: &[usize], right: &[usize], paint: impl Fn(usize, String) -> String) -> String {
    let last = cells.len() - 1;
    let pad = |(i, cell): (usize, &String)| {
        let width = widths[i];
        let padded = match i {
            _ if right.contains(&i) => format!("{cell:>width$}"),
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
            foreground: None,
            running: None,
            progress: None,
            notification: None,
            created: u64::MAX / 2_000_000,
            last_output: None,
            clients: 0,
            offset,
            exit: None,
            restart: Default::default(),
            respawns: 0,
            respawn_at: None,
            short_lives: None,
            trouble: None,
            memory_bytes: 0,
            log_bytes: 0,
            child_cpu_seconds: Some(1.0),
            child_cpu_percent: Some(12.4),
            child_memory_bytes: Some(3 << 20),
        };
        let text = terminals(&[term("a", 5), term("longer", 5 << 20)], false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "a       live    42  80x24        0   0s     5 B  12%   3 MiB  sh -c a b");
        assert_eq!(lines[2], "longer  live    42  80x24        0   0s   5 MiB  12%   3 MiB  sh -c a b");
        assert_eq!(lines[0].find("COMMAND"), lines[1].find("sh -c"));
    }
}
