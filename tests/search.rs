//! Finding lines in histories: the newest first, all of them once, in one terminal or in all, while nobody else waits.

mod support;

use kaval::{
    client::{Client, Incoming},
    wire::{AttachFrom, AttachMode, Data, DetachOk, Empty, Event, Op, SearchAsked},
};
use serde_json::Value;
use support::{Instance, KAVAL, spin_until};
use tokio::runtime::Runtime;

/// Sixty thousand lines, one of a thousand an error: those with 7, 1007 and so on.
const LINES: &str = r#"awk 'BEGIN { for (i = 0; i < 60000; i++) printf (i % 1000 == 7 ? "\033[1;31mError\033[m (%d) hére\n" : "line %d of many\n"), i }'"#;
/// Much that has to be drawn to be searched.
const SLOW: &str = r#"awk 'BEGIN { for (i = 0; i < 300000; i++) printf "\033[1;1H\033[24;1Hline %d of many\n", i }'"#;

/// A terminal that has put out what a script does, and is there still.
fn ran(instance: &Instance, name: &str, script: &str) {
    let script = format!("{script}; echo that was all; exec cat");
    instance.ok(&["new", "-d", name, "--size", "80x24", "--", "sh", "-c", &script]);
    instance.ok(&["wait", name, "--match", "^that was all$", "--timeout", "120"]);
}

/// What a search finds, and the cursor if it was cut short.
fn search(instance: &Instance, args: &[&str]) -> (Vec<Value>, Option<String>) {
    let output = instance.run(&[&["search", "--json"], args].concat());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cursor = found.pop_if(|last| last.get("resume").is_some()).map(|last| last["resume"].as_str().unwrap().to_owned());
    assert_eq!(output.status.code(), Some(i32::from(found.is_empty())), "{args:?}: {stdout}");
    (found, cursor)
}

fn numbers(found: &[Value]) -> Vec<u64> {
    found.iter().map(|found| found["number"].as_u64().unwrap()).collect()
}

/// Searches to the end, as often cut short as that takes.
fn resumed(instance: &Instance, args: &[&str]) -> Vec<Value> {
    let (mut all, mut cursor) = search(instance, args);
    while let Some(at) = cursor {
        let (found, next) = search(instance, &[args, &["--resume", &at]].concat());
        all.extend(found);
        cursor = next;
    }
    all
}

fn asked(term: &str, pattern: &str) -> Op {
    let (literal, ignore_case) = (false, false);
    Op::Search(SearchAsked {
        term: term.into(),
        pattern: pattern.to_owned(),
        literal,
        ignore_case,
        limit: None,
        budget_ms: None,
        before: None,
    })
}

#[test]
fn lines_that_match_come_the_newest_first_with_what_kaval_history_knows_of_them() {
    let instance = Instance::start();
    ran(&instance, "t", LINES);
    let expected: Vec<u64> = (0..60).rev().map(|n| n * 1000 + 7).collect();
    for _ in 0..2 {
        for args in [&["t", "Error"][..], &["t", "-i", r"^ERROR \(\d+\)"], &["t", "-F", "Error ("], &["t", "-iF", ") HÉRE"]] {
            assert_eq!(numbers(&search(&instance, args).0), expected, "{args:?}");
        }
        instance.kill_supervisor();
    }
    let (found, _) = search(&instance, &["t", r"\([0-9]+7\)|h.re", "--limit", "1"]);
    let Value::Array(spans) = &found[0]["spans"] else { panic!("{found:?}") };
    assert_eq!(*spans, [serde_json::json!([6, 13]), serde_json::json!([14, 18])]);
    let range = format!("{}..{}", found[0]["number"], found[0]["number"].as_u64().unwrap() + 1);
    let history: Value = serde_json::from_str(&instance.ok(&["history", "t", "--lines", &range, "--json"])).unwrap();
    for field in ["number", "offset", "time", "line"] {
        assert_eq!(history[field], found[0][field], "{field}");
    }
    assert_eq!(found[0]["name"], "t");
    let standing = &search(&instance, &["t", "that was all"]).0[0];
    assert_eq!((&standing["number"], &standing["standing"]), (&60_000.into(), &true.into()));
    let text = instance.ok(&["search", "t", "Error", "--limit", "2"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("t:59007 20") && lines[0].ends_with(" Error (59007) hére"), "{text}");
    assert!(lines[1].starts_with("t:58007 ") && lines.len() == 2, "{text}");
    let nothing = instance.run(&["search", "t", "error"]);
    assert_eq!((nothing.status.code(), nothing.stdout.len(), nothing.stderr.len()), (Some(1), 0, 0));
}

#[test]
fn a_search_that_is_cut_short_goes_on_where_it_ended() {
    let instance = Instance::start();
    ran(&instance, "t", LINES);
    let whole = search(&instance, &["t", "[05]7"]).0;
    assert!(whole.len() > 3000);
    for cut in [["--limit", "499"], ["--budget", "1ms"], ["--limit", "2500"]] {
        assert_eq!(resumed(&instance, &[&["t", "[05]7"], &cut[..]].concat()), whole, "{cut:?}");
    }
    let output = instance.run(&["search", "t", "Error", "--limit", "1"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let cursor = said.trim_end().rsplit(' ').next().unwrap();
    assert!(said.contains("not everything was searched") && cursor.ends_with(":59007"), "{said}");
    assert!(instance.ok(&["search", "t", "Error", "--limit", "1", "--resume", cursor]).starts_with("t:58007 "));
}

#[test]
fn all_terminals_are_searched_ended_ones_too_the_newest_first() {
    let instance = Instance::start();
    for name in ["a", "b", "c", "d"] {
        ran(&instance, name, &format!("echo needle in {name}; seq 1 30; echo another needle in {name}"));
    }
    instance.ok(&["kill", "b"]);
    instance.ok(&["wait", "b", "--exit"]);
    instance.ok(&["admin", "hibernate", "c"]);
    let expected: Vec<(String, String)> = ["d", "c", "b", "a"]
        .into_iter()
        .flat_map(|name| ["another needle in", "needle in"].map(|line| (name.to_owned(), format!("{line} {name}"))))
        .collect();
    let seen = |found: Vec<Value>| -> Vec<_> {
        let text = |found: &Value, field: &str| found[field].as_str().unwrap().to_owned();
        found.iter().map(|found| (text(found, "name"), text(found, "line"))).collect()
    };
    for limit in ["1", "2", "3", "100"] {
        assert_eq!(seen(resumed(&instance, &["--all", "needle", "--limit", limit])), expected);
    }
}

#[test]
fn what_is_removed_and_what_comes_while_a_search_goes_on_does_not_disturb_it() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"8MiB\"\n[log]\nbytes_max = \"1MiB\"\n", &[]);
    instance.ok(&["new", "-d", "t", "--", "sh", "-c", "seq 1 2000000; exec cat"]);
    instance.ok(&["wait", "t", "--match", "^[1-9][0-9]{4,}$"]);
    let is_over = || instance.ok(&["screen", "t"]).contains("\n2000000\n");
    let mut rounds = 0;
    while !is_over() || rounds == 0 {
        let found = numbers(&resumed(&instance, &["t", "00$", "--limit", "400"]));
        assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
        assert!(found.iter().all(|number| number % 100 == 99), "{found:?}");
        rounds += 1;
    }
    let floor = || {
        let page = kaval::wire::LinesAsked {
            term: "t".into(),
            at: kaval::wire::LinesAt::Line(0),
            back: false,
            max: 1,
            styled: false,
            frames: false,
        };
        Runtime::new().unwrap().block_on(async {
            instance.client().await.call::<kaval::wire::LinesOk>(Op::Lines(page)).await.unwrap().floor_line.unwrap_or(0)
        })
    };
    spin_until("the oldest output is removed", || floor() > 0);
    let output = instance.run(&["search", "t", "[^0]00$", "--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("are not kept (evicted) and not searched") && said.lines().count() == 1, "{said}");
    let found: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = floor();
    let expected: Vec<u64> = (first..2_000_000).rev().filter(|n| n % 100 == 99 && n % 1000 != 999 && *n > first).collect();
    let found: Vec<u64> = numbers(&found).into_iter().filter(|number| *number > first).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_terminal_whose_output_stays_off_the_disk_is_searched_as_far_as_it_is_kept() {
    let instance = Instance::start_with("[journal]\nbytes_max = \"8MiB\"\n", &[]);
    for (name, last) in [("little", 5000), ("much", 2_000_000)] {
        instance.ok(&["new", "-d", name, "--no-log", "--", "sh", "-c", &format!("seq 1 {last}; exec cat")]);
        instance.ok(&["wait", name, "--match", &format!("^{last}$"), "--timeout", "120"]);
    }
    let little = instance.run(&["search", "little", "^1234$"]);
    assert!(little.status.success() && little.stderr.is_empty(), "{little:?}");
    let much = instance.run(&["search", "much", "^1999999$"]);
    let said = String::from_utf8(much.stderr).unwrap();
    assert!(much.status.success() && said.contains("not kept (not logged) and not searched"), "{said}");
    assert!(String::from_utf8(much.stdout).unwrap().starts_with("much:1999998 "));
}

/// Reads a connection up to the event that is waited for.
async fn events(client: &mut Client, mut until: impl FnMut(&Event) -> bool) -> Event {
    loop {
        match client.next().await.unwrap() {
            Incoming::Event(event) if until(&event) => return event,
            Incoming::Err { error, .. } => panic!("{error}"),
            Incoming::Event(_) | Incoming::Ok { .. } => {}
        }
    }
}

#[test]
fn keystrokes_elsewhere_are_answered_while_searches_go_on() {
    let instance = Instance::start();
    ran(&instance, "big", SLOW);
    ran(&instance, "t", "true");
    Runtime::new().unwrap().block_on(async {
        let (mut searcher, mut typist) = (instance.client().await, instance.client().await);
        let attach = Op::Attach { term: "t".into(), size: None, from: AttachFrom::Screen, mode: AttachMode::Rw };
        typist.request(attach).await.unwrap();
        events(&mut typist, |event| matches!(event, Event::Screen { .. })).await;
        let mut searches = Vec::new();
        for _ in 0..6 {
            searches.push(searcher.request(asked("big", "zzz")).await.unwrap());
        }
        let under_way = |event: &Event| matches!(event, Event::Searched { before: Some(_), offset, .. } if *offset > 0);
        events(&mut searcher, under_way).await;
        let input = Op::Input { term: "t".into(), client: None, seq: 0, data: Data(b"typed\n".as_slice().into()) };
        typist.request(input).await.unwrap();
        let mut echoed = Vec::new();
        let echo = events(&mut typist, |event| {
            if let Event::Output { data, .. } = event {
                echoed.extend_from_slice(&data.0);
            }
            echoed.windows(5).any(|shown| shown == b"typed")
        });
        let ended = async {
            for _ in &searches {
                events(&mut searcher, |event| matches!(event, Event::End { .. })).await;
            }
        };
        tokio::select! {
            biased;
            _ = echo => {}
            () = ended => panic!("every search was over before a keystroke was echoed"),
        }
    });
}

#[test]
fn a_search_that_is_given_up_ends_before_it_is_through() {
    let instance = Instance::start();
    ran(&instance, "big", SLOW);
    Runtime::new().unwrap().block_on(async {
        let mut client = instance.client().await;
        let searches = [client.request(asked("big", "zzz")).await.unwrap(), client.request(asked("big", "yyy")).await.unwrap()];
        events(&mut client, |event| matches!(event, Event::Searched { before: Some(_), .. })).await;
        for stream in searches {
            client.request(Op::Detach { stream: Some(stream), term: None, client: None }).await.unwrap();
        }
        for _ in searches {
            let mut is_through = false;
            events(&mut client, |event| {
                is_through |= matches!(event, Event::Searched { before: None, .. });
                matches!(event, Event::End { .. })
            })
            .await;
            assert!(!is_through);
        }
        let again = Op::Detach { stream: Some(searches[0]), term: None, client: None };
        assert!(client.call::<DetachOk>(again).await.unwrap_err().to_string().contains("no stream open"));
    });
}

#[test]
fn what_cannot_be_searched_for_is_told_in_one_line() {
    let instance = Instance::start();
    ran(&instance, "t", "seq 1 100");
    ran(&instance, "other", "true");
    let long = "x".repeat(5000);
    for (args, code, said) in [
        (vec!["t", "a(b"], 2, "at character 2: unclosed group"),
        (vec!["t", "é[z-a]"], 2, "at character 3: invalid character class range"),
        (vec!["t", r"\pX"], 2, "at character 1: Unicode property not found"),
        (vec!["t", r"(\w{1000}){1000}"], 2, "more than 1048576 bytes of memory"),
        (vec!["t", &long], 2, "the pattern has 5000 bytes"),
        (vec!["t"], 2, "what for?"),
        (vec!["--all", "t", "x"], 2, "goes without a NAME"),
        (vec!["nobody", "x"], 3, "no such terminal: nobody"),
        (vec!["t", "x", "--limit", "0"], 2, "--limit"),
        (vec!["t", "x", "--budget", "soon"], 2, "write 500ms"),
        (vec!["t", "x", "--resume", "there"], 2, "is no cursor"),
        (vec!["other", "x", "--resume", "1:50"], 2, "of another terminal than other"),
    ] {
        let error = instance.fails(&[&["search"], &args[..]].concat(), code);
        assert!(error.contains(said), "{args:?}: {error}");
    }
    let refused = Runtime::new().unwrap().block_on(async {
        let mut client = instance.client().await;
        client.call::<Empty>(asked("t", "*")).await.unwrap_err().to_string()
    });
    assert!(refused.contains("at character 1: repetition operator missing expression"), "{refused}");
}

#[test]
fn matches_are_coloured_where_a_terminal_shows_them_unless_that_is_not_wanted() {
    let instance = Instance::start();
    ran(&instance, "t", "echo one needle here");
    for (name, variable, is_coloured) in [("coloured", "NO_COLOR=", true), ("plain", "NO_COLOR=1", false)] {
        let args = ["new", "-d", name, "--size", "80x5", "--env", variable, "--", KAVAL, "search", "t", "needle"];
        instance.ok(&args);
        instance.ok(&["wait", name, "--exit"]);
        let shown = instance.ok(&["history", name, "--format", "ansi"]);
        assert!(shown.contains("needle"), "{shown}");
        assert_eq!(shown.contains("one needle here"), !is_coloured, "{shown:?}");
    }
}
