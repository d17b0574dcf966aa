//! Anywhere in a history: lines by number, times, screens as they were, and pages for who scrolls.

mod support;

use std::{fs, thread};

use kaval::wire::{LinesAsked, LinesAt, LinesOk, Op};
use serde_json::Value;
use support::{Instance, spin_until};

/// Runs `sh -c SCRIPT` as a terminal of that size to its end.
fn ran(instance: &Instance, name: &str, size: &str, script: &str) {
    instance.ok(&["new", "-d", name, "--size", size, "--", "sh", "-c", script]);
    instance.ok(&["wait", name, "--exit"]);
}

fn numbers(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

fn lines(instance: &Instance, name: &str, range: &str) -> String {
    instance.ok(&["history", name, "--lines", range])
}

fn offset(instance: &Instance, name: &str) -> u64 {
    instance.ls().iter().find(|term| term["name"] == name).unwrap()["offset"].as_u64().unwrap()
}

fn asked(at: LinesAt, back: bool, max: u64) -> LinesAsked {
    LinesAsked { term: "t".into(), at, back, max, styled: false, frames: false }
}

fn page(instance: &Instance, asked: LinesAsked) -> LinesOk {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { instance.client().await.call(Op::Lines(asked)).await.unwrap() })
}

/// All pages backwards from the end.
fn backwards(instance: &Instance, max: u64) -> Vec<(u64, String)> {
    let (mut all, mut at) = (Vec::new(), LinesAt::End);
    loop {
        let LinesOk { items, before, .. } = page(instance, asked(at, true, max));
        let lines = items.into_iter().filter(|item| item.missing.is_none());
        all.splice(0..0, lines.map(|item| (item.number.unwrap(), item.line)));
        match before {
            Some(before) => at = LinesAt::Line(before),
            None => return all,
        }
    }
}

#[test]
fn lines_are_read_by_number_from_anywhere_also_over_kills_and_in_every_form() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--size", "80x24", "--", "sh", "-c", "seq 0 199999; exec cat"]);
    instance.ok(&["wait", "t", "--match", "^199999$"]);
    let ranges = || {
        for (from, to) in [(0, 1), (0, 200), (99_900, 100_100), (12_345, 54_321), (199_950, 200_000), (77_777, 77_777)] {
            assert!(lines(&instance, "t", &format!("{from}..{to}")) == numbers(from..to), "{from}..{to}");
        }
        assert!(lines(&instance, "t", "199000..") == numbers(199_000..200_000));
        assert!(lines(&instance, "t", "..300") == numbers(0..300));
        assert!(instance.ok(&["history", "t", "--tail", "30000"]) == numbers(170_000..200_000));
    };
    ranges();
    for _ in 0..3 {
        instance.kill_supervisor();
        ranges();
    }
    let styled = instance.ok(&["history", "t", "--lines", "500..502", "--format", "ansi"]);
    assert_eq!(styled, "500\n501\n");
    let objects = instance.ok(&["history", "t", "--lines", "500..502", "--json"]);
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[1]["number"], &objects[1]["line"]), (&501.into(), &"501".into()));
    let from = objects[1]["offset"].to_string();
    assert!(instance.ok(&["history", "t", "--from", &from]).starts_with("501\n"));
    assert!(objects[1]["time"].as_u64() > Some(1_700_000_000_000));
}

#[test]
fn pages_backwards_give_every_line_once_over_sizes_and_being_started_again() {
    let instance = Instance::start();
    let script = r#"n=$(cat "$0" 2>/dev/null || echo 0); echo $((n + 1)) >"$0"; seq -f "run $n line %06.0f of a few words" 0 20000
        read size; seq -f "run $n then %06.0f" 0 3000; [ $n -ge 1 ] && exec cat; exit 1"#;
    let count = instance.path("count");
    let args = ["new", "-d", "t", "--size", "80x24", "--restart", "always", "--", "sh", "-c", script];
    instance.ok(&[&args[..], &[count.to_str().unwrap()]].concat());
    for run in 0..2 {
        instance.ok(&["wait", "t", "--match", &format!("run {run} line 020000")]);
        instance.ok(&["resize", "t", if run == 0 { "12x7" } else { "100x30" }]);
        instance.kill_supervisor();
        instance.ok(&["send", "t", "--enter", "go on"]);
    }
    instance.ok(&["wait", "t", "--match", "run 1 then 003000"]);
    let all = backwards(&instance, 777);
    assert!(all.iter().map(|(number, _)| *number).eq(0..all.len() as u64));
    let expected: Vec<String> = (0..2)
        .flat_map(|run| {
            let first = (0..=20_000).map(move |n| format!("run {run} line {n:06} of a few words"));
            first.chain((0..=3000).map(move |n| format!("run {run} then {n:06}")))
        })
        .collect();
    // What stood at 80 columns when it became 12 wide was cut there, as in xterm.
    let told: Vec<&String> = all.iter().map(|(_, line)| line).filter(|line| line.starts_with("run ")).collect();
    assert_eq!(told.len(), expected.len());
    assert!(told.iter().zip(&expected).all(|(told, expected)| expected.starts_with(told.as_str())));
    let text = instance.ok(&["history", "t"]);
    assert!(text.lines().eq(all.iter().map(|(_, line)| line.as_str())));
    assert!(lines(&instance, "t", "0..") == text);
}

#[test]
fn a_screen_as_it_was_is_what_was_shown_then() {
    let instance = Instance::start();
    let script = r"seq 1 50000; printf 'first\n'; read a; seq 1 70000; printf '\033[?1049h\033[2J\033[5;5Hfull screen'; read a; printf '\033[?1049l'; exec cat";
    instance.ok(&["new", "-d", "t", "--size", "80x24", "--", "sh", "-c", script]);
    let json = |args: &[&str]| {
        let screen = instance.ok(&[&["screen", "t", "--json"], args].concat());
        serde_json::from_str::<Value>(&screen).unwrap()
    };
    let mut shown = Vec::new();
    for (step, expected) in ["first", "full screen", "^70000$"].into_iter().enumerate() {
        instance.ok(&["wait", "t", "--match", expected]);
        if step == 1 {
            instance.ok(&["resize", "t", "100x10"]);
            spin_until("the new size", || json(&[])["cols"] == 100);
        }
        // Typed lines are echoed: the output is at rest before the next.
        instance.ok(&["wait", "t", "--idle", "300"]);
        let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        shown.push((json(&[]), instance.ok(&["screen", "t"]), millis));
        thread::sleep(std::time::Duration::from_millis(20));
        if step < 2 {
            instance.ok(&["send", "t", "--enter", "go on"]);
        }
    }
    for _ in 0..2 {
        for (view, text, millis) in &shown {
            assert_eq!(&json(&["--at", &view["offset"].to_string()]), view);
            let time = jiff::Timestamp::from_millisecond(*millis as i64).unwrap().to_string();
            assert_eq!(&json(&["--at", &time]), view);
            assert_eq!(&instance.ok(&["screen", "t", "--at", &time]), text);
        }
        instance.kill_supervisor();
    }
}

#[test]
fn times_bound_a_history() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "sh", "-c", "seq 1 100; read a; seq 101 200; exec cat"]);
    instance.ok(&["wait", "t", "--match", "^100$"]);
    instance.ok(&["wait", "t", "--idle", "200"]);
    let between = jiff::Timestamp::now().to_string();
    thread::sleep(std::time::Duration::from_millis(20));
    instance.ok(&["send", "t", "--enter", "go"]);
    instance.ok(&["wait", "t", "--match", "^200$"]);
    for raw in [true, false] {
        let format = if raw { "raw" } else { "text" };
        let before = instance.ok(&["history", "t", "--until", &between, "--format", format]);
        let after = instance.ok(&["history", "t", "--since", &between, "--format", format]);
        assert!(!before.contains("101") && after.contains("101") && after.contains("200"), "{before}{after}");
        assert_eq!(before + &after, instance.ok(&["history", "t", "--format", format]));
    }
}

#[test]
fn what_cannot_be_had_is_told_in_one_line() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"8MiB\"\n[log]\nbytes_max = \"64KiB\"\n", &[]);
    for (name, no_log) in [("t", None), ("lost", Some("--no-log"))] {
        let script = "seq 1 2000000; exec cat";
        let args = ["new", "-d", name].into_iter().chain(no_log).chain(["--", "sh", "-c", script]);
        instance.ok(&args.collect::<Vec<_>>());
        instance.ok(&["wait", name, "--match", "^2000000$", "--timeout", "120"]);
    }
    let end = offset(&instance, "t");
    for (args, code, said) in [
        (vec!["history", "t", "--lines", "9..3"], 2, "line 9 is behind line 3"),
        (vec!["history", "t", "--lines", "many"], 2, "no range of lines"),
        (vec!["history", "t", "--lines", "3..x"], 2, "no line number"),
        (vec!["history", "t", "--lines", "3000000.."], 1, "has no line 3000000 yet"),
        (vec!["history", "t", "--lines", "5..9", "--format", "raw"], 2, "raw output has no lines"),
        (vec!["history", "t", "--since", "yesterday"], 2, "is no time"),
        (vec!["history", "t", "--since", "1h ago"], 1, "was not there yet"),
        (vec!["history", "t", "--since", "2100-01-01"], 2, "yet to come"),
        (vec!["history", "t", "--since", "now", "--until", "1h ago"], 2, "nothing lies between"),
        (vec!["screen", "t", "--at", "1h ago"], 1, "was not there yet"),
        (vec!["screen", "t", "--at", "a while"], 2, "is no time"),
        (vec!["screen", "lost", "--at", "100"], 1, "is not kept (not logged)"),
        (vec!["history", "lost", "--lines", "5..9"], 1, "not kept (not logged)"),
        (vec!["history", "nobody", "--lines", "5..9"], 3, "nobody"),
    ] {
        let error = instance.fails(&args, code);
        assert!(error.trim_end().lines().count() == 1 && error.contains(said), "{args:?}: {error}");
    }
    let error = instance.fails(&["screen", "t", "--at", &(end + 1).to_string()], 1);
    assert!(error.contains("is behind its end"), "{error}");
    spin_until("the oldest output is removed", || page(&instance, asked(LinesAt::Line(0), false, 1)).floor > 0);
    let first = page(&instance, asked(LinesAt::Line(0), false, 1));
    assert_eq!((first.floor_reason.as_str(), first.before), ("evicted", None));
    for args in [["history", "t", "--lines", "5..9"], ["screen", "t", "--at", "100"]] {
        let error = instance.fails(&args, 1);
        assert!(error.contains("not kept (evicted)") && error.trim_end().lines().count() == 1, "{error}");
    }
    // What is kept has the numbers that it always had, in memory and on disk.
    for name in ["t", "lost"] {
        assert!(lines(&instance, name, "1999000..2000000").starts_with("1999001\n1999002\n"), "{name}");
        let note = instance.ok(&["history", name, "--lines", "..1999990"]);
        let (note, rest) = note.split_once('\n').unwrap();
        let first: u64 = rest.lines().nth(1).unwrap().parse().unwrap();
        assert!(note.starts_with("[… ") && rest.lines().skip(1).eq(numbers(first..1_999_991).lines()), "{name}");
    }
}

#[test]
fn what_is_left_when_less_is_to_be_kept_from_now_on_reads_on_as_it_did() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"8MiB\"\n", &[]);
    instance.ok(&["new", "-d", "t", "--size", "80x24", "--", "sh", "-c", "seq 0 1999999; exec cat"]);
    instance.ok(&["wait", "t", "--match", "^1999999$", "--timeout", "120"]);
    assert_eq!(lines(&instance, "t", "5..7"), "5\n6\n");
    fs::write(instance.path("config/kaval/kaval.toml"), "[journal]\nbytes_max = \"8MiB\"\n[log]\nbytes_max = \"256KiB\"\n")
        .unwrap();
    assert_eq!(instance.ok(&["reload"]), "applied log.bytes_max\n");
    spin_until("the oldest output is removed", || page(&instance, asked(LinesAt::Line(0), false, 1)).floor > 0);
    let first = page(&instance, asked(LinesAt::Line(0), false, 100));
    assert_eq!((first.floor_reason.as_str(), first.before), ("evicted", None));
    assert!(first.items[0].missing.is_some(), "{:?}", first.items[0]);
    // Of the first line the beginning may be gone.
    assert!(first.items[1].number.unwrap().to_string().ends_with(&first.items[1].line), "{:?}", first.items[1]);
    for item in &first.items[2..] {
        assert_eq!(item.line, item.number.unwrap().to_string());
    }
    let all = instance.ok(&["history", "t"]);
    let mut given = all.lines();
    let note = given.next().unwrap();
    assert!(note.ends_with(" bytes not kept: evicted …]"), "{note}");
    let kept: Vec<u64> = given.skip(1).map(|line| line.parse().unwrap()).collect();
    assert!(kept.first() > Some(&0) && kept.is_sorted_by(|a, b| a + 1 == *b) && kept.last() == Some(&1_999_999));
    let at = first.floor.to_string();
    let at_the_floor = instance.run(&["screen", "t", "--at", &at]);
    let error = String::from_utf8(at_the_floor.stderr).unwrap();
    let at = error.trim_end().strip_suffix(" on").map_or(at.as_str(), |error| error.rsplit(' ').next().unwrap());
    let screen = instance.ok(&["screen", "t", "--at", at]);
    let rows: Vec<u64> = screen.lines().take(20).map(|row| row.parse().unwrap()).collect();
    assert!(rows[0] > 0 && rows.is_sorted_by(|a, b| a + 1 == *b), "{screen}");
    let evicted = instance.fails(&["screen", "t", "--at", "9"], 1);
    assert!(evicted.contains("is not kept (evicted)"), "{evicted}");
}

#[test]
fn who_scrolls_gets_pages_from_offsets_and_times_with_frames() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", r"seq 0 999; printf '\033[?1049h\033[H\033[2Jan editor\033[?1049l'; seq 1000 1999");
    let middle = page(&instance, asked(LinesAt::Line(1234), false, 10));
    assert_eq!((middle.before, middle.after, middle.floor, middle.floor_reason.as_str()), (Some(1234), Some(1244), 0, "start"));
    let again = page(&instance, asked(LinesAt::Offset(middle.items[0].offset + 1), false, 1));
    assert!(again.items[0].number >= Some(1234), "{again:?}");
    let last = page(&instance, asked(LinesAt::End, true, 30));
    assert_eq!((last.after, last.items.len(), last.items[29].standing, last.items[0].standing), (None, 30, true, false));
    let past = page(&instance, asked(LinesAt::Time(u64::MAX / 2_000_000), false, 30));
    assert!(past.items.iter().all(|item| item.standing), "{past:?}");
    let framed = LinesAsked { frames: true, ..asked(LinesAt::Line(900), false, 200) };
    let framed = page(&instance, framed);
    let frames: Vec<_> = framed.items.iter().filter(|item| item.frame).collect();
    assert_eq!((frames.len(), frames[0].line.trim_end()), (1, "an editor"));
    assert!((970..1000).contains(&frames[0].number.unwrap()), "{frames:?}");
    assert!(instance.ok(&["history", "t", "--lines", "900..1100", "--frames"]).contains("an editor"));
}

/// They were looked for as far as output had come by the time it was looked, and so for ever.
#[test]
fn the_last_lines_are_found_while_output_floods() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--size", "80x24", "--", "sh", "-c", "while :; do echo flood; done"]);
    instance.ok(&["wait", "t", "--match", "flood"]);
    for _ in 0..10 {
        let tail = instance.ok(&["history", "t", "--tail", "3"]);
        assert!(tail.lines().count() == 3 && tail.lines().all(|line| "flood".starts_with(line)), "{tail:?}");
        let last = page(&instance, asked(LinesAt::End, true, 50));
        assert!(last.items.len() == 50 && last.after.is_none() && last.items[49].standing, "{last:?}");
    }
}
