//! `kaval status`: how the supervisor is.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use super::{
    Failure, Sockets,
    args::Status,
    commands,
    table::{BOLD, RESET, YELLOW, bytes, duration},
};
use crate::wire::{ChildrenInfo, LogInfo, MemoryInfo, Op, StatusOk, TermCounts};

/// A timer that was this late was noticed by somebody who types.
const LAG_NOTICED_MS: f64 = 100.0;
/// Used up so far, descriptors run out soon.
const FDS_FEW: f64 = 0.8;

pub(super) async fn status(sockets: &Sockets, args: &Status) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let status: StatusOk = client.call(Op::Status).await?;
    let text = if args.json {
        serde_json::to_string(&status).map_err(io::Error::other)? + "\n"
    } else {
        render(&status, io::stdout().is_terminal())
    };
    commands::write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A line of the table: what, its value, and whether it should be looked at.
type Line = (String, String, bool);

fn render(status: &StatusOk, colour: bool) -> String {
    let lines: Vec<Line> = general(status).into_iter().chain(lanes(status)).collect();
    let width = lines.iter().map(|(what, _, _)| what.len()).max().unwrap_or(0);
    let line = |(what, value, odd): &Line| match (colour, odd) {
        (false, _) => format!("{what:<width$}  {value}\n"),
        (true, false) => format!("{BOLD}{what:<width$}{RESET}  {value}\n"),
        (true, true) => format!("{BOLD}{what:<width$}{RESET}  {YELLOW}{value}{RESET}\n"),
    };
    lines.iter().map(line).collect()
}

fn general(status: &StatusOk) -> Vec<Line> {
    let plain = |what: &str, value: String| (what.to_owned(), value, false);
    let TermCounts { live, hibernated, exited, lost } = status.terms;
    let terminals = format!("{live} live, {hibernated} hibernated, {exited} exited, {lost} lost");
    let recovery = status.recovery_ms.map_or_else(String::new, |ms| format!(", ready after {ms} ms"));
    let (allocated, resident) = (bytes(status.memory.allocated_bytes), bytes(status.memory.resident_bytes));
    let copying = status.data_path != "splice";
    let crowded = status.fds.open as f64 > status.fds.max as f64 * FDS_FEW;
    let ended_well = matches!(status.previous_end.as_str(), "clean" | "first start");
    let undone = status.upgrade_undone.iter().map(|reason| ("upgrade".to_owned(), format!("undone: {reason}"), true));
    let unkept = status.unkept.then(|| ("keeper".to_owned(), "none: terminals end with this supervisor".to_owned(), true));
    let lines = vec![
        plain("version", status.version.clone()),
        plain("process", format!("{}, boot {}", status.pid, status.boot)),
        plain("up", duration(Duration::from_millis(status.uptime_ms)) + &recovery),
        ("before it".to_owned(), status.previous_end.clone(), !ended_well),
        ("terminals".to_owned(), terminals, lost > 0),
        plain("programs", programs(&status.children)),
        plain("clients", format!("{} attached, {} connections", status.clients, status.connections)),
        plain(
            "memory",
            format!("{allocated} allocated ({} for screens), {resident} resident", bytes(status.memory.mirrors_bytes)),
        ),
        ("limit".to_owned(), limit(&status.memory), status.memory.level > 0),
        plain("journal", bytes(status.journal_bytes)),
        ("log".to_owned(), log(&status.log), status.log.faulty || status.log.gap_bytes > 0),
        ("data path".to_owned(), status.data_path.clone(), copying),
        ("descriptors".to_owned(), format!("{} of {}", status.fds.open, status.fds.max), crowded),
        plain("metrics", status.metrics.clone().unwrap_or_else(|| "off".to_owned())),
    ];
    let aside = status.set_aside.iter().map(|line| ("set aside".to_owned(), line.clone(), true));
    undone.chain(unkept).chain(aside).chain(lines).collect()
}

/// What runs in terminals, and where most of it does.
fn programs(children: &ChildrenInfo) -> String {
    let of = |percent: f64, memory: u64| format!("{percent:.0}% of a processor, {}", bytes(memory));
    let most: Vec<_> = children
        .largest
        .iter()
        .map(|child| format!("{} ({})", child.name, of(child.cpu_percent, child.memory_bytes)))
        .collect();
    let all = of(children.cpu_percent, children.memory_bytes);
    if most.is_empty() { all } else { format!("{all}; most in {}", most.join(", ")) }
}

/// How near the limit of memory is.
fn limit(memory: &MemoryInfo) -> String {
    let Some(limit) = memory.limit_bytes else { return format!("{} used, no limit", bytes(memory.own_bytes)) };
    let level = match memory.level {
        0 => "",
        1 => ": screens are dropped sooner",
        2 => ": screens and caches are dropped",
        _ => ": no terminal is made, and nobody can attach, until there is room",
    };
    let source = memory.limit_source.as_deref().unwrap_or_default();
    format!("{} used of {} ({source}){level}", bytes(memory.own_bytes), bytes(limit))
}

fn log(log: &LogInfo) -> String {
    let gaps = if log.gap_bytes > 0 { format!(", {} missing", bytes(log.gap_bytes)) } else { String::new() };
    let fault = if log.faulty { ", cannot be written" } else { "" };
    format!("{} on disk, {} free{gaps}{fault}", bytes(log.disk_bytes), bytes(log.disk_free_bytes))
}

fn lanes(status: &StatusOk) -> impl Iterator<Item = Line> {
    status.lanes.iter().map(|lane| {
        let journal = if lane.journal_bytes > 0 { format!(", journal {}", bytes(lane.journal_bytes)) } else { String::new() };
        (lane.name.clone(), format!("at most {:.1} ms late{journal}", lane.lag_ms), lane.lag_ms >= LAG_NOTICED_MS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FdInfo, LaneInfo, MemoryInfo};

    #[test]
    fn what_should_be_looked_at_stands_out_and_columns_line_up() {
        let lane = |name: &str, lag_ms| LaneInfo { name: name.to_owned(), lag_ms, journal_bytes: 0 };
        let status = StatusOk {
            version: "1.2.3".to_owned(),
            pid: 7,
            boot: "b".to_owned(),
            uptime_ms: 61_000,
            previous_end: "signal 9".to_owned(),
            upgrade_undone: None,
            unkept: false,
            set_aside: Vec::new(),
            recovery_ms: Some(5),
            data_path: "splice".to_owned(),
            terms: TermCounts { live: 1, hibernated: 0, exited: 2, lost: 0 },
            children: ChildrenInfo::default(),
            clients: 3,
            connections: 4,
            memory: MemoryInfo {
                allocated_bytes: 1 << 20,
                resident_bytes: 2 << 20,
                mirrors_bytes: 1 << 19,
                ..MemoryInfo::default()
            },
            journal_bytes: 2048,
            log: LogInfo { disk_bytes: 4096, disk_free_bytes: 1 << 30, gap_bytes: 5, ..LogInfo::default() },
            fds: FdInfo { open: 9, max: 10 },
            lanes: vec![lane("main", 1.25), lane("lane 0", 250.0)],
            metrics: None,
        };
        let plain = render(&status, false);
        let lines: Vec<_> = plain.lines().collect();
        assert_eq!(lines[2], "up           1m, ready after 5 ms");
        assert_eq!(lines[4], "terminals    1 live, 0 hibernated, 2 exited, 0 lost");
        assert_eq!((lines[14], lines[15]), ("main         at most 1.2 ms late", "lane 0       at most 250.0 ms late"));
        assert_eq!(lines[10], "log          4 KiB on disk, 1.0 GiB free, 5 B missing");
        let coloured = render(&status, true);
        let odd: Vec<_> = coloured.lines().filter(|line| line.contains(YELLOW)).collect();
        assert_eq!(odd.len(), 4, "{odd:?}");
        let broken = StatusOk { set_aside: vec!["the store: as /s".to_owned(), "m1: closed".to_owned()], ..status.clone() };
        let lines = render(&broken, false);
        assert!(lines.starts_with("set aside    the store: as /s\nset aside    m1: closed\nversion"), "{lines}");
        let unkept = StatusOk { unkept: true, ..status.clone() };
        assert!(render(&unkept, true).starts_with(&format!("{BOLD}keeper     {RESET}  {YELLOW}none: ")));
        let undone = StatusOk { upgrade_undone: Some("/k exited with code 3".to_owned()), ..status };
        assert!(render(&undone, false).starts_with("upgrade      undone: /k exited with code 3\nversion      1.2.3\n"));
    }
}
