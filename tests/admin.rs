//! What an administrator does: names, clients, configuration, the levers, and what is made from the grammar.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{fs, process::Stdio, thread, time::Duration};

use kaval::{
    client::{Client, ClientError, Incoming},
    wire::{AttachFrom, AttachMode, AttachOk, Code, Data, DetachOk, Event, LsOk, Op},
};
use kaval_actors::Size;
use serde_json::{Value, json};
use support::{Instance, PATIENCE};
use tokio::time::timeout;
use watch::until;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn term(instance: &Instance, name: &str) -> Value {
    instance.ls().into_iter().find(|term| term["name"] == name).unwrap_or_else(|| panic!("no terminal {name}"))
}

fn json_of(instance: &Instance, args: &[&str]) -> Value {
    serde_json::from_str(&instance.ok(args)).unwrap()
}

fn configure(instance: &Instance, config: &str) {
    fs::write(instance.path("config/kaval/kaval.toml"), config).unwrap();
}

/// A client with a stream of a terminal.
struct Watcher {
    client: Client,
    stream: u64,
}

impl Watcher {
    async fn attach(instance: &Instance, name: &str, mode: AttachMode, size: Option<Size>) -> Self {
        let mut client = instance.client().await;
        let stream = client.request(Op::Attach { term: name.into(), size, from: AttachFrom::Offset(0), mode }).await.unwrap();
        match timeout(PATIENCE, client.next()).await.unwrap().unwrap() {
            Incoming::Ok { frame, .. } => _ = kaval::client::body::<AttachOk>(&frame).unwrap(),
            other => panic!("{other:?}"),
        }
        Self { client, stream }
    }

    /// The next event of the stream that is one of these.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            match timeout(PATIENCE, self.client.next()).await.expect("an event").unwrap() {
                Incoming::Event(event) if wanted(&event) => return event,
                Incoming::Err { error, .. } => panic!("{error}"),
                Incoming::Event(_) | Incoming::Ok { .. } => {}
            }
        }
    }
}

// Names.

#[test]
fn a_new_name_is_on_record_and_those_who_watch_do_not_notice() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "old", "--", "cat"]);
    runtime().block_on(async {
        let mut watcher = Watcher::attach(&instance, "old", AttachMode::Rw, None).await;
        assert_eq!(instance.ok(&["rename", "old", "new"]), "");
        let data = Data("typed\n".into());
        let input = Op::Input { term: "new".into(), client: None, seq: 0, data };
        // Not a call, which takes no notice of output that comes before its answer.
        watcher.client.request(input).await.unwrap();
        watcher.until(|event| matches!(event, Event::Output { .. })).await;
    });
    assert!(instance.fails(&["send", "old", "x"], 3).contains("no terminal old"));
    instance.kill_supervisor();
    assert_eq!(term(&instance, "new")["id"], 1);
    assert_eq!(instance.ls().len(), 1);
}

#[test]
fn a_name_is_had_by_one_and_may_be_taken_again_once_it_is_free() {
    let instance = Instance::start();
    for name in ["a", "b"] {
        instance.ok(&["new", "-d", name, "--", "cat"]);
    }
    assert_eq!(instance.fails(&["rename", "b", "a"], 1), "kaval: terminal a exists already: choose another name\n");
    instance.ok(&["rename", "a", "a"]);
    instance.ok(&["rename", "a", "c"]);
    instance.ok(&["rename", "b", "a"]);
    assert_eq!((&term(&instance, "c")["id"], &term(&instance, "a")["id"]), (&json!(1), &json!(2)));
    assert!(instance.fails(&["rename", "nope", "x"], 3).contains("no terminal nope"));
    assert!(instance.fails(&["rename", "a", "b c"], 2).contains("is not allowed: use 1 to 64 of"));
}

// Clients.

#[test]
fn clients_are_listed_and_each_can_be_detached() {
    let instance = Instance::start();
    assert_eq!(instance.ok(&["clients"]), "nobody is attached\n");
    for name in ["a", "b"] {
        instance.ok(&["new", "-d", name, "--", "cat"]);
    }
    runtime().block_on(async {
        let mut first = Watcher::attach(&instance, "a", AttachMode::Rw, Some(Size::new(90, 30).unwrap())).await;
        let mut second = Watcher::attach(&instance, "a", AttachMode::Ro, None).await;
        let _other = Watcher::attach(&instance, "b", AttachMode::Rw, None).await;
        let listed = json_of(&instance, &["clients", "--json"]);
        let listed = listed.as_array().unwrap();
        let seen: Vec<_> =
            listed.iter().map(|client| (&client["name"], &client["term"], &client["mode"], &client["size"])).collect();
        let size = json!({"cols": 90, "rows": 30});
        let (a, b, rw, ro) = (json!("a"), json!("b"), json!("rw"), json!("ro"));
        let (one, two, none) = (json!(1), json!(2), Value::Null);
        assert_eq!(seen, [(&a, &one, &rw, &size), (&a, &one, &ro, &none), (&b, &two, &rw, &none)]);
        for client in listed {
            assert_eq!(client["client"], concat!("kaval/", env!("CARGO_PKG_VERSION")));
            assert!(client["since"].as_u64() > Some(1_600_000_000_000), "{client}");
            assert_eq!((&client["waiting_bytes"], &client["behind_bytes"]), (&json!(0), &json!(0)));
        }
        let table = instance.ok(&["clients", "a"]);
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["ID", "TERMINAL", "MODE", "SIZE", "SINCE", "WAITING", "BEHIND", "CLIENT"]);
        assert_eq!((words.len(), &words[1][1..4], &words[2][1..4]), (3, &["a", "rw", "90x30"][..], &["a", "ro", "-"][..]));

        let told = instance.fails(&["detach", "a", "9999"], 1);
        assert_eq!(told, "kaval: terminal a has no client 9999: see kaval clients a\n");
        instance.ok(&["detach", "a", words[2][0]]);
        let detached = Event::Detached { req: second.stream };
        second.until(|event| *event == detached).await;
        second.until(|event| matches!(event, Event::End { .. })).await;
        instance.ok(&["send", "a", "--enter", "still here"]);
        first.until(|event| matches!(event, Event::Output { .. })).await;
        instance.ok(&["detach", "a"]);
        first.until(|event| matches!(event, Event::Detached { .. })).await;
        assert_eq!(instance.ok(&["clients", "a"]), "nobody is attached\n");
        instance.ok(&["detach", "a"]);
    });
    instance.fails(&["clients", "nope"], 3);
    instance.fails(&["detach", "nope"], 3);
}

#[test]
fn detach_takes_a_stream_or_a_terminal() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "a", "--", "cat"]);
    runtime().block_on(async {
        let mut watcher = Watcher::attach(&instance, "a", AttachMode::Rw, None).await;
        let stream = Some(watcher.stream);
        for (stream, term, client) in [(stream, Some("a".into()), None), (stream, None, Some(1)), (None, None, None)] {
            match watcher.client.call::<DetachOk>(Op::Detach { stream, term, client }).await {
                Err(ClientError::Refused(error)) => assert_eq!(error.code, Code::BadRequest),
                other => panic!("{other:?}"),
            }
        }
        let detached: DetachOk = watcher.client.call(Op::Detach { stream, term: None, client: None }).await.unwrap();
        assert_eq!(detached.detached, 1);
        let listing: LsOk = watcher.client.call(Op::Ls { after: None }).await.unwrap();
        assert_eq!(listing.terms[0].clients, 0);
    });
}

// Levers.

#[test]
fn the_log_level_holds_until_the_supervisor_is_restarted() {
    let instance = Instance::start();
    let debug = |instance: &Instance| instance.log.count("DEBUG");
    assert_eq!(debug(&instance), 0);
    instance.ok(&["admin", "log-level", "kaval_actors=debug,info"]);
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    instance.log.await_count("DEBUG", 1);
    for bad in ["loud", "kaval=loud", ""] {
        let told = instance.fails(&["admin", "log-level", bad], 1);
        assert!(told.starts_with(&format!("kaval: {bad:?} is no log level: use off, error, warn")), "{told}");
    }
    instance.ok(&["admin", "log-level", "off"]);
    // Awaits a line of the next one's.
    instance.kill_supervisor();
}

#[test]
fn a_hibernated_terminal_is_as_it_was_once_something_looks() {
    let instance = Instance::start();
    for name in ["a", "b"] {
        instance.ok(&["new", "-d", name, "--", "sh", "-c", "printf '\\033]2;tt\\007one\\ntwo'; exec cat"]);
        instance.ok(&["wait", name, "--match", "two"]);
    }
    instance.ok(&["new", "-d", "ended", "--", "true"]);
    instance.ok(&["wait", "ended", "--exit"]);
    let awake = term(&instance, "a");
    instance.ok(&["admin", "hibernate", "a"]);
    let asleep = term(&instance, "a");
    assert_eq!((&asleep["state"], &asleep["title"], &asleep["offset"]), (&json!("hibernated"), &json!("tt"), &awake["offset"]));
    assert!(asleep["memory_bytes"].as_u64() < awake["memory_bytes"].as_u64(), "{asleep} {awake}");
    assert_eq!(instance.ok(&["screen", "a"]), "one\ntwo\n");
    assert_eq!(term(&instance, "a")["state"], "live");
    assert_eq!(instance.ok(&["admin", "hibernate", "--all"]), "hibernated 2\n");
    instance.ok(&["send", "b", "--enter", "x"]);
    instance.ok(&["wait", "b", "--match", "^x$"]);
    assert_eq!((&term(&instance, "b")["state"], &term(&instance, "a")["state"]), (&json!("live"), &json!("hibernated")));
    assert!(instance.fails(&["shutdown"], 1).contains("2 terminals are live"));
    assert!(
        instance.fails(&["admin", "hibernate", "ended"], 1).contains("terminal ended was not hibernated: its child has ended")
    );
    instance.fails(&["admin", "hibernate", "nope"], 3);
    instance.fails(&["admin", "hibernate"], 2);
}

#[test]
fn a_heap_profile_is_written_whole_or_not_at_all() {
    let file = |instance: &Instance| instance.path("heap.pb.gz");
    let off = Instance::start_with_env("", &[], &[("_RJEM_MALLOC_CONF", "prof:false")]);
    let told = off.fails(&["admin", "heap-profile", "-o", file(&off).to_str().unwrap()], 1);
    assert!(told.contains("is not profiled: _RJEM_MALLOC_CONF in its environment says so"), "{told}");
    assert!(!file(&off).exists());
    let on = Instance::start_with_env("", &[], &[("_RJEM_MALLOC_CONF", "prof:true,lg_prof_sample:12")]);
    // The keeper hands the variable on.
    on.kill_supervisor();
    on.ok(&["admin", "heap-profile", "--output", file(&on).to_str().unwrap()]);
    let profile = fs::read(file(&on)).unwrap();
    assert!(profile.starts_with(&[0x1f, 0x8b]) && profile.len() > 1000, "{} bytes", profile.len());
    assert!(on.fails(&["admin", "heap-profile", "-o", "/nowhere/heap"], 1).contains("\"/nowhere/heap\" cannot be written"));
}

// Configuration.

const TWO: &str = "[[term]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo $WORD; pwd; stty size; exec cat\"]\n\
    cwd = \"/usr\"\nenv = { WORD = \"declared\" }\nsize = \"90x30\"\n\n[[term]]\nname = \"b\"\ncommand = [\"true\"]\n";

#[test]
fn declared_terminals_are_made_at_the_start_and_once() {
    let instance = Instance::start_with(TWO, &[]);
    instance.ok(&["wait", "a", "--match", "30 90"]);
    assert_eq!(instance.ok(&["screen", "a"]), "declared\n/usr\n30 90\n");
    instance.ok(&["wait", "b", "--exit"]);
    let before = instance.ls();
    let reloaded = instance.ok(&["reload"]);
    assert_eq!(reloaded, "left a\nleft b (has ended: kaval rm b and another reload make a new one)\n");
    instance.kill_supervisor();
    let ids = |terms: &[Value]| terms.iter().map(|term| term["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&instance.ls()), ids(&before));
    instance.ok(&["rm", "b"]);
    assert_eq!(instance.ok(&["reload"]), "left a\ncreated b\n");
    assert_eq!(term(&instance, "b")["id"], 3);
}

#[test]
fn a_reload_leaves_what_is_there_and_says_what_differs() {
    let instance = Instance::start_with(TWO, &[]);
    instance.ok(&["new", "-d", "byhand", "--", "cat"]);
    let new = "[[term]]\nname = \"a\"\ncommand = [\"cat\"]\n[[term]]\nname = \"c\"\ncommand = [\"cat\"]\n\
        [[term]]\nname = \"byhand\"\n[[term]]\nname = \"bad\"\ncommand = [\"/no/such/program\"]\n";
    configure(&instance, new);
    let output = instance.run(&["reload"]);
    let expected = "changed a (takes effect after kaval kill a and kaval rm a)\ncreated c\nleft byhand (made by hand)\n\
        refused bad (command \"/no/such/program\" not found: give a path or a program that is on PATH)\n\
        no longer declared b (left as it is: kaval rm b ends it)\n";
    instance.ok(&["wait", "b", "--exit"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().replace("kill b and kaval rm b", "rm b"), expected);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "kaval: 1 declared terminal could not be made: mend its entry and reload again\n");
    instance.ok(&["rename", "c", "renamed"]);
    configure(&instance, "[[term]]\nname = \"c\"\ncommand = [\"cat\"]\n");
    let reloaded = json_of(&instance, &["reload", "--json"]);
    assert_eq!(reloaded["terms"][0], json!({"name": "c", "outcome": "left", "note": "renamed renamed"}));
    assert_eq!(reloaded["terms"].as_array().unwrap().len(), 3, "{reloaded}");
}

#[test]
fn settings_that_can_be_are_applied_and_others_named_until_a_restart() {
    let instance = Instance::start();
    assert_eq!(instance.ok(&["reload"]), "nothing is declared, and nothing has changed\n");
    let limits = "[limits]\nterms_max = 1\n[log]\nage_max = \"1day\"\n";
    configure(&instance, &format!("{limits}[journal]\nbytes_max = \"32MiB\"\n[attach]\ndetach_key = \"ctrl-a\"\n"));
    let restart = "takes effect when the supervisor is restarted: journal.bytes_max\n";
    let client = "takes effect when a client starts: attach.detach_key\n";
    let all = format!("{client}{restart}applied limits.terms_max\napplied log.age_max\n");
    assert_eq!(instance.ok(&["reload"]), all);
    assert_eq!(instance.ok(&["reload"]), restart);
    instance.ok(&["new", "-d", "--", "cat"]);
    assert!(instance.fails(&["new", "-d", "--", "cat"], 1).contains("there are 1 terminals already"));
    instance.kill_supervisor();
    assert_eq!(instance.ok(&["reload"]), "nothing is declared, and nothing has changed\n");
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing() {
    let instance = Instance::start();
    configure(&instance, "[[term]]\nname = \"a\"\n\n[limits]\nterms_max = 1\nkill_grace = \"5 parsecs\"\n");
    let told = instance.fails(&["reload"], 1);
    assert!(told.contains("kaval.toml\", line 6: limits.kill_grace: \"5 parsecs\" is no duration: use 500ms"), "{told}");
    assert_eq!(instance.ls(), Vec::<Value>::new());
    for name in ["x", "y"] {
        instance.ok(&["new", "-d", name, "--", "cat"]);
    }
    fs::remove_file(instance.path("config/kaval/kaval.toml")).unwrap();
    instance.ok(&["reload"]);
}

/// Each declared command runs once, wherever in a reload the supervisor is killed.
#[test]
fn a_reload_that_is_killed_half_way_is_finished_by_the_next_and_nothing_runs_twice() {
    let instance = Instance::start();
    let (rounds, batch) = (if support::soak() { 100 } else { 8 }, 4);
    let mut config = String::new();
    for round in 0..rounds {
        let names: Vec<String> = (0..batch).map(|n| format!("r{round}-{n}")).collect();
        for name in &names {
            let runs = instance.path(name);
            let script = format!("echo ran >> {}; exec cat", runs.display());
            config += &format!("[[term]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
        }
        configure(&instance, &config);
        let mut reload = instance.command(&["reload"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The moment is random on purpose, and so is waited for, not derived from an event.
        thread::sleep(Duration::from_micros(rand::random_range(0..40_000)));
        instance.kill_supervisor();
        reload.wait().unwrap();
        instance.ok(&["reload"]);
        let listed = instance.ls();
        for name in &names {
            assert_eq!(listed.iter().filter(|term| term["name"] == **name && term["state"] == "live").count(), 1, "{name}");
        }
    }
    let declared = rounds * batch;
    assert_eq!(instance.ls().len(), declared);
    let ran = |n: usize| instance.path(&format!("r{}-{}", n / batch, n % batch));
    for n in 0..declared {
        until("its command has run", || ran(n).exists());
        assert_eq!(fs::read_to_string(ran(n)).unwrap(), "ran\n", "{:?}", ran(n));
    }
}

// Failures that say what to do.

#[test]
fn rm_tells_every_failure_and_ends_with_the_first_ones_code() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "live", "--", "cat"]);
    for name in ["x", "y"] {
        instance.ok(&["new", "-d", name, "--", "true"]);
        instance.ok(&["wait", name, "--exit"]);
    }
    let output = instance.run(&["rm", "x", "nope", "live", "y"]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines,
        ["kaval: no terminal nope: see kaval ls", "kaval: terminal live is live: end it first with kaval kill live"]
    );
    assert_eq!(instance.ls().len(), 1);
}

#[test]
fn a_signal_is_told_by_its_name() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    instance.ok(&["kill", "t", "--signal", "xcpu"]);
    assert_eq!(instance.ok(&["wait", "t", "--exit"]), "ended by SIGXCPU\n");
    assert!(instance.ok(&["ls"]).contains("exited SIGXCPU"));
}

// What is made from the grammar.

#[test]
fn manual_pages_are_there_for_every_command_and_nothing_hidden_is_shown() {
    let instance = Instance::start();
    let page = instance.ok(&["man"]);
    assert!(page.contains(".TH kaval 1") && page.contains("kaval\\-rename(1)"), "{page}");
    assert!(!page.contains("kaval\\-man(1)"));
    let dir = instance.path("man");
    assert_eq!(instance.ok(&["man", "--dir", dir.to_str().unwrap()]), "");
    let pages: Vec<String> = fs::read_dir(&dir).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["kaval.1", "kaval-attach.1", "kaval-reload.1", "kaval-admin-log-level.1"] {
        assert!(pages.iter().any(|page| page == name), "{name} is not among {pages:?}");
    }
    assert!(fs::read_to_string(dir.join("kaval-rename.1")).unwrap().contains("kaval rename bash\\-7 build"));
    assert!(!fs::read_to_string(dir.join("kaval-serve.1")).unwrap().contains("data\\-path"));
    assert!(!instance.ok(&["--help"]).contains("manual page"));
    instance.fails(&["man", "--dir", "/proc/nowhere"], 1);
}

#[test]
fn completions_offer_nothing_that_is_hidden() {
    let instance = Instance::start();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = instance.ok(&["completions", shell]);
        assert!(!script.contains("data-path") && !script.contains("kaval__man"), "{shell}");
        for word in ["log-level", "hibernate", "rename", "read-only", "version"] {
            assert!(script.contains(word), "{word} is missing for {shell}");
        }
    }
}

#[test]
fn every_new_command_teaches_by_an_example() {
    let instance = Instance::start();
    let commands = [
        &["rename"][..],
        &["clients"],
        &["detach"],
        &["reload"],
        &["admin", "log-level"],
        &["admin", "hibernate"],
        &["admin", "heap-profile"],
    ];
    for command in commands {
        let help = instance.ok(&[command, &["--help"]].concat());
        assert!(help.contains("Example") && help.contains(&format!("  kaval {}", command.join(" "))), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
