//! What a terminal has put out, read back as lines of text, with colours, as objects, and raw.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/mod.rs"]
mod support;

use std::{io::Read, process::Stdio};

use kaval::{
    client::Incoming,
    wire::{Event, HistoryFormat, HistoryOk, Op},
};
use raw::Raw;
use serde_json::{Value, json};
use support::Instance;

/// Runs `sh -c SCRIPT` as a terminal of that size to its end.
fn ran(instance: &Instance, name: &str, size: &str, script: &str) {
    instance.ok(&["new", "-d", name, "--size", size, "--", "sh", "-c", script]);
    instance.ok(&["wait", name, "--exit"]);
}

fn text(instance: &Instance, args: &[&str]) -> String {
    instance.ok(&[&["history"], args].concat())
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

fn offset(instance: &Instance, name: &str) -> u64 {
    instance.ls().iter().find(|term| term["name"] == name).unwrap()["offset"].as_u64().unwrap()
}

#[test]
fn a_hundred_thousand_lines_read_back_as_they_were_whole_from_the_end_and_in_ranges() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 100000");
    assert!(text(&instance, &["t"]) == numbers(1..=100_000));
    for (tail, expected) in [
        ("0", String::new()),
        ("1", numbers(100_000..=100_000)),
        ("23", numbers(99_978..=100_000)),
        ("24", numbers(99_977..=100_000)),
        ("1000", numbers(99_001..=100_000)),
        ("70000", numbers(30_001..=100_000)),
        ("100000", numbers(1..=100_000)),
        ("200000", numbers(1..=100_000)),
        ("18446744073709551615", numbers(1..=100_000)),
    ] {
        assert!(text(&instance, &["t", "--tail", tail]) == expected, "--tail {tail}");
    }
    let end = offset(&instance, "t");
    let mut joined = String::new();
    for range in [0, 1, 70_000, 300_001, 300_002, end - 3, end].windows(2) {
        joined += &text(&instance, &["t", "--from", &range[0].to_string(), "--to", &range[1].to_string()]);
    }
    assert!(joined == numbers(1..=100_000));
    assert!(text(&instance, &["t", "--from", "400000"]).ends_with("\n99999\n100000\n"));
    let last = instance.ok(&["history", "t", "--format", "raw", "--tail", "70000"]);
    assert!(last == numbers(30_001..=100_000).replace('\n', "\r\n"));
    assert_eq!(instance.ok(&["history", "t", "--format", "raw", "--tail", "0"]), "");
}

#[test]
fn a_line_as_an_object_has_an_offset_that_reading_from_gives_it_first() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 5000");
    let lines = text(&instance, &["t", "--json"]);
    let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 5000);
    for n in [1, 700, 4000] {
        assert_eq!(objects[n - 1]["line"], n.to_string());
        let from = objects[n - 1]["offset"].to_string();
        assert!(text(&instance, &["t", "--from", &from]).starts_with(&format!("{n}\n")), "{n} from {from}");
    }
}

#[test]
fn wrapped_rows_are_joined_and_blanks_at_the_end_of_lines_are_left_out() {
    let instance = Instance::start();
    let long = "abcdefghi ".repeat(30);
    ran(&instance, "t", "37x5", &format!("echo '{long}'; echo; echo 'two  '; seq 1 9; printf '{long}'"));
    let long = long.trim_end();
    assert_eq!(text(&instance, &["t"]), format!("{long}\n\ntwo\n{}{long}\n", numbers(1..=9)));
    assert_eq!(text(&instance, &["t", "--tail", "2"]), format!("9\n{long}\n"));
}

#[test]
fn ansi_carries_colours_and_text_does_not() {
    let instance = Instance::start();
    ran(&instance, "t", "80x5", r"for i in 1 2 3 4 5 6 7; do printf '\033[1;3%smcolour\033[m %s\n' $i $i; done");
    let expected: String = (1..=7).map(|i| format!("\x1b[3{i};1mcolour\x1b[m {i}\n")).collect();
    assert_eq!(text(&instance, &["t", "--format", "ansi"]), expected);
    let plain: String = (1..=7).map(|i| format!("colour {i}\n")).collect();
    assert_eq!(text(&instance, &["t"]), plain);
}

#[test]
fn a_full_screen_program_leaves_no_lines_and_what_stands_is_the_shells() {
    let instance = Instance::start();
    let script = r"seq 1 9; vi=$(printf '~\r\n%.0s' 1 2 3 4 5 6 7 8 9); printf '\033[?1049h\033[H%s\033[?1049l' $vi; seq 10 12";
    ran(&instance, "t", "80x5", script);
    assert_eq!(text(&instance, &["t"]), numbers(1..=12));
    if std::process::Command::new("vim").arg("--version").output().is_err() {
        return eprintln!("skipped: vim is not installed");
    }
    let vim = "vim --clean -n '+put =range(1,200)' +redraw +1 +redraw +q!";
    ran(&instance, "v", "80x10", &format!("seq 1 20; {vim}; echo after"));
    assert_eq!(text(&instance, &["v"]), numbers(1..=20) + "after\n");
    assert!(instance.ok(&["history", "v", "--format", "raw"]).contains("200"), "vim drew nothing");
}

/// More than the journal holds: it is on disk, or, of a terminal that is not logged, gone.
#[test]
fn what_the_journal_has_dropped_is_read_from_disk_or_told_of_and_what_stands_comes_last() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"8MiB\"\n", &[]);
    let filler = "x".repeat(190);
    let script = format!("seq -f '%06.0f {filler}' 1 80000; printf 'ready> '; exec sleep 1000");
    let all: String = (1..=80_000).map(|n| format!("{n:06} {filler}\n")).collect::<String>() + "ready>\n";
    for (name, no_log) in [("logged", None), ("lost", Some("--no-log"))] {
        let args = ["new", "-d", name, "--size", "220x24"].into_iter().chain(no_log).chain(["--", "sh", "-c", &script]);
        instance.ok(&args.collect::<Vec<_>>());
        instance.ok(&["wait", name, "--match", "^ready>"]);
        assert!(
            all.ends_with(&text(&instance, &[name, "--tail", "3"])) && text(&instance, &[name, "--tail", "1"]) == "ready>\n"
        );
    }
    assert!(text(&instance, &["logged"]) == all);
    assert!(text(&instance, &["logged", "--tail", "70000"]) == all[all.len() - "ready>\n".len() - 198 * 69_999..]);

    let kept = text(&instance, &["lost"]);
    let (first, rest) = kept.split_once('\n').unwrap();
    assert!(first.starts_with("[… ") && first.ends_with(" bytes not kept: not logged …]"), "{first}");
    let whole = rest.split_once('\n').unwrap().1;
    assert!(whole.len() > 4 << 20 && all.ends_with(whole));
    let raw = instance.run(&["history", "lost", "--format", "raw"]);
    let said = String::from_utf8_lossy(&raw.stderr).into_owned();
    assert!(said.lines().count() == 1 && said.contains("no longer kept"), "{said}");
    assert!(raw.stdout.ends_with(b"x\r\nready> "));
}

/// More output than the journal holds, with a kill in the middle: each command is listed once, where it was.
#[test]
fn commands_are_listed_whether_their_output_is_on_disk_or_not_there_yet() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"8MiB\"\n", &[]);
    let filler = "x".repeat(190);
    let script = format!(
        r"job() {{
            printf '\033]633;E;job %d\033\\\033]133;C\007' $1
            seq -f '%06.0f {filler}' 1 $2
            printf '\033]133;D;%d\007' $(($1 % 5))
        }}
        i=0
        while [ $i -lt 60 ]; do
            job $i 1000
            [ $i != 30 ] || {{ printf '\033]133;C\007waiting>'; read line; printf '\033]133;D;0\007'; }}
            i=$((i+1))
        done
        job 60 10; printf '\033]133;C\007ready>'; exec sleep 1000"
    );
    let list = |args: &[&str]| -> Vec<Value> {
        let listed = text(&instance, &[&["t", "--commands", "--json"], args].concat());
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    instance.ok(&["new", "-d", "t", "--size", "220x24", "--", "sh", "-c", &script]);
    instance.ok(&["wait", "t", "--match", "waiting>"]);
    instance.kill_supervisor();
    let running = &list(&[])[31];
    assert!(running["line"] == "" && running["end"].is_null(), "{running}");
    instance.ok(&["send", "t", "--enter", "go"]);
    instance.ok(&["wait", "t", "--match", "ready>"]);

    let all = list(&[]);
    let ended: Vec<&Value> = all.iter().filter(|command| command["line"] != "").collect();
    assert_eq!(ended.len(), 61);
    for (n, command) in ended.iter().enumerate() {
        assert_eq!((&command["line"], &command["code"]), (&format!("job {n}").into(), &(n % 5).into()));
        let (from, to) = (command["offset"].to_string(), command["end"].to_string());
        if n % 20 == 0 {
            let output = instance.ok(&["history", "t", "--format", "raw", "--from", &from, "--to", &to]);
            assert!(output.starts_with("000001 x") && output.ends_with(&format!("x\r\n\x1b]133;D;{}\x07", n % 5)), "{n}");
        }
    }
    assert_eq!(list(&["--tail", "2"]), all[all.len() - 2..]);
    let (from, to) = (ended[10]["end"].to_string(), ended[12]["end"].to_string());
    assert_eq!(list(&["--from", &from, "--to", &to]), all[11..13]);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 200000");
    let mut history = instance.command(&["history", "t"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(history.stdout.take());
    let output = history.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn clients_that_do_not_read_keep_no_one_from_reading() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 300000");
    let stalled: Vec<Raw> = (0..10)
        .map(|_| {
            let mut client = Raw::hello(&instance.socket());
            let answer = client.ask(&json!({"req": 1, "op": "history", "term": "t", "format": "text"}));
            assert!(answer.ok.is_some());
            assert_eq!(client.receive().unwrap().ev.as_deref(), Some("lines"));
            client
        })
        .collect();
    assert!(text(&instance, &["t"]) == numbers(1..=300_000));
    drop(stalled);
}

#[test]
fn an_interrupted_reading_goes_on_where_its_last_event_said() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 300000");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut found = Vec::new();
    let next = runtime.block_on(async {
        let mut client = instance.client().await;
        client
            .request(Op::History { term: "t".into(), format: HistoryFormat::Text, from: 0, to: None, tail: None, timed: false })
            .await
            .unwrap();
        loop {
            match client.next().await.unwrap() {
                Incoming::Event(Event::Lines { data, next, more, .. }) => {
                    found.extend_from_slice(&data.0);
                    if !more {
                        return next;
                    }
                }
                Incoming::Ok { frame, .. } => assert_eq!(kaval::client::body::<HistoryOk>(&frame).unwrap().floor, 0),
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(next < offset(&instance, "t"));
    found.extend(text(&instance, &["t", "--from", &next.to_string()]).bytes());
    assert!(found == numbers(1..=300_000).into_bytes());
}

/// What a reader of a pipe gets of `kaval history`, with the supervisor killed again and again while it reads.
fn read_over_kills(instance: &Instance, args: &[&str]) -> (Vec<u8>, usize) {
    let mut reading = instance.command(&[&["history"], args].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = reading.stdout.take().unwrap();
    let (mut read, mut kills, mut piece) = (Vec::new(), 0, vec![0; 100_000]);
    loop {
        match out.read(&mut piece).unwrap() {
            0 => break,
            n => read.extend_from_slice(&piece[..n]),
        }
        if read.len() > (kills + 1) * 400_000 && kills < 3 {
            instance.kill_supervisor();
            kills += 1;
        }
    }
    assert_eq!(reading.wait().unwrap().code(), Some(0));
    (read, kills)
}

#[test]
fn a_reading_goes_on_over_kills_without_a_gap_or_a_repeat() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 300000");
    let lines = numbers(1..=300_000);
    for (args, expected) in [
        (&["t"][..], &lines),
        (&["t", "--tail", "250000"], &numbers(50_001..=300_000)),
        (&["t", "--format", "raw"], &lines.replace('\n', "\r\n")),
    ] {
        let (read, kills) = read_over_kills(&instance, args);
        assert_eq!(kills, 3);
        assert!(read == expected.as_bytes(), "{args:?}: {} bytes instead of {}", read.len(), expected.len());
    }
}

#[test]
fn tail_goes_without_a_range() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "echo x");
    instance.fails(&["history", "t", "--tail", "3", "--from", "1"], 2);
    instance.fails(&["history", "t", "--format", "ansi", "--json"], 2);
    let refusal =
        Raw::hello(&instance.socket()).ask(&json!({"req": 1, "op": "history", "term": "t", "tail": 3, "from": 2})).refusal();
    assert_eq!(refusal.code, "bad_request");
}
