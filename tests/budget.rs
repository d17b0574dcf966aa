//! A supervisor that is near the limit of its memory: it gives back what it can, takes nothing new on, and ends nothing.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/scrape.rs"]
mod scrape;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    fs,
    io::Write,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use scrape::{ANYWHERE, Scrape};
use serde_json::Value;
use support::Instance;
use watch::{until, until_some};

fn status(instance: &Instance) -> Value {
    serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap()
}

fn own(instance: &Instance) -> u64 {
    status(instance)["memory"]["own_bytes"].as_u64().unwrap()
}

fn state(instance: &Instance, name: &str) -> String {
    let term = instance.ls().into_iter().find(|term| term["name"] == name).unwrap();
    term["state"].as_str().unwrap().to_owned()
}

fn configure(instance: &Instance, config: &str) {
    fs::write(instance.path("config/kaval/kaval.toml"), config).unwrap();
}

/// A limit of which what is used is so many percent; the supervisor is started anew with it.
fn limit_at(instance: &Instance, percent: u64, rest: &str) -> u64 {
    let limit = own(instance) * 100 / percent;
    configure(instance, &format!("[memory]\nlimit = {limit}\nhibernate_after = \"off\"\n{rest}"));
    let before = status(instance)["pid"].clone();
    instance.kill_supervisor();
    until("the next supervisor", || instance.run(&["status"]).status.success() && status(instance)["pid"] != before);
    limit
}

/// An instance whose supervisor was restarted once: what it used at its first start, and what another with the same terminals will.
fn settled() -> Instance {
    let instance = Instance::start_with("[memory]\nhibernate_after = \"off\"\n", &ANYWHERE);
    instance.ok(&["new", "-d", "there", "--", "sh", "-c", "echo MARK; exec cat"]);
    instance.ok(&["wait", "there", "--match", "MARK"]);
    instance.kill_supervisor();
    until("the next supervisor", || instance.run(&["screen", "there"]).stdout == b"MARK\n");
    instance
}

#[test]
fn near_the_limit_nothing_new_is_taken_on_and_what_is_there_goes_on() {
    let instance = settled();
    let diag = instance.path("diag");
    let rest = format!("[diag]\ndir = \"{}\"\nevery = \"1s\"\nbaseline_after = \"1s\"\n", diag.display());
    // So far above the limit that no level that could be reached by giving back is low enough.
    let limit = limit_at(&instance, 150, &rest);
    until("the critical level", || status(&instance)["memory"]["level"] == 3);
    let told = instance.fails(&["new", "-d", "more", "--", "cat"], 1);
    assert!(told.contains("near the limit of its memory") && told.contains("memory.limit"), "{told}");
    assert_eq!(told.lines().count(), 1);
    let refused = instance.fails(&["wait", "there", "--match", "MARK"], 1);
    assert!(refused.contains("takes nothing new on"), "{refused}");
    assert!(instance.ok(&["status"]).contains("(memory.limit): no terminal is made"));

    until("its screen to be dropped", || state(&instance, "there") == "hibernated");
    instance.ok(&["send", "there", "--enter", "still there"]);
    until("the answer", || instance.ok(&["screen", "there"]).contains("still there"));
    let events = instance.ok(&["history", "there"]);
    assert!(events.contains("still there"));

    let scrape = Scrape::of(&instance);
    assert_eq!((scrape.value("kaval_heap_limit_bytes"), scrape.value("kaval_memory_level")), (limit as f64, 3.0));
    instance.log.await_count("the log's database has started over", 1);
    await_reports(&diag, &instance.ls()[0]["id"]);

    // With room again, all is as before.
    configure(&instance, "[memory]\nlimit = \"off\"\n");
    let before = status(&instance)["pid"].clone();
    instance.kill_supervisor();
    until("the next supervisor", || instance.run(&["status"]).status.success() && status(&instance)["pid"] != before);
    instance.ok(&["new", "-d", "more", "--", "cat"]);
    assert_eq!(status(&instance)["memory"]["limit_bytes"], Value::Null);
}

/// What is written down: a description, lines, a report at the threshold, and a profile that pprof reads.
fn await_reports(diag: &Path, id: &Value) {
    let files = |start: &str, end: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(diag).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_one = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(start) && name.ends_with(end)
        };
        entries.filter(is_one).collect()
    };
    let report = until_some("a report near the limit", || files("near-limit-95-", ".txt").pop());
    let text = fs::read_to_string(report).unwrap();
    assert!(text.contains("the 1 largest of 1 terminals") && text.contains(&format!(" there ({id}): mirror")), "{text}");
    let profile = until_some("a profile", || files("near-limit-95-", ".pb.gz").pop());
    until("the profile to be whole", || {
        fs::read(&profile).is_ok_and(|bytes| bytes.len() > 1000 && bytes.starts_with(&[0x1f, 0x8b]))
    });
    until("a description", || files("baseline-", ".txt").len() == 1);
    let lines = || fs::read_to_string(diag.join("diag.log")).unwrap_or_default();
    until("lines", || lines().lines().count() >= 3);
    assert!(lines().contains("heap") && lines().contains("1 hibernated") && lines().contains("MB/min"), "{}", lines());
}

/// Screens of 32 MB each fill it up; once they are dropped there is room again, and the same supervisor goes on as before.
#[test]
fn what_is_given_back_makes_room_again() {
    let config = "[memory]\nlimit = \"128MiB\"\nmirrors_max = \"1GiB\"\nhibernate_after = \"off\"\n";
    let instance = Instance::start_with(config, &[]);
    for n in 0..6 {
        // Some may be too many already.
        instance.run(&["new", "-d", &format!("large-{n}"), "--size", "1000x1000", "--", "sh", "-c", "printf MARK; exec cat"]);
    }
    instance.log.await_count("memory is near its limit", 1);
    instance.log.await_count("memory is further from its limit", 1);
    until("room for another", || instance.run(&["new", "-d", "another", "--", "cat"]).status.success());
    until("the normal level", || status(&instance)["memory"]["level"] == 0);
    assert_eq!(instance.ok(&["screen", "large-0"]), "MARK\n");
}

#[test]
fn between_the_levels_only_what_costs_little_is_done() {
    let instance = settled();
    limit_at(&instance, 74, "mirrors_max = \"1MiB\"\n");
    until("the elevated level", || status(&instance)["memory"]["level"] == 1);
    instance.ok(&["new", "-d", "more", "--", "sh", "-c", "echo MARK; exec cat"]);
    instance.ok(&["wait", "more", "--match", "MARK"]);
    let events = || instance.ok(&["status"]);
    assert!(events().contains("screens are dropped sooner"), "{}", events());
}

/// By systemd's protocol: what it names is told what it wants to hear, and hints. The variables reach the supervisor, also a later one, and no child.
#[test]
fn a_hint_that_memory_is_short_has_screens_dropped_and_nobody_refused() {
    let dir = Instance::fresh_dir();
    let path = dir.path().join("pressure");
    let manager = UnixListener::bind(&path).unwrap();
    let env = [("MEMORY_PRESSURE_WATCH", path.to_str().unwrap()), ("MEMORY_PRESSURE_WRITE", "aGVsbG8=")];
    let config = "[memory]\nhibernate_after = \"off\"\nmirrors_max = 100000\n";
    let instance = Instance::start_in(dir, config, &[], &env);
    let (mut told, _) = manager.accept().unwrap();
    let mut heard = [0; 5];
    std::io::Read::read_exact(&mut told, &mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    instance.kill_supervisor();
    let (mut told, _) = manager.accept().unwrap();
    until("the next supervisor", || instance.run(&["status"]).status.success());
    instance.ok(&["new", "-d", "t", "--", "sh", "-c", "env; echo MARK; exec cat"]);
    instance.ok(&["wait", "t", "--match", "MARK"]);
    assert!(!instance.ok(&["history", "t"]).contains("MEMORY_PRESSURE"));
    assert_eq!(state(&instance, "t"), "live");
    told.write_all(b"x").unwrap();
    until("its screen to be dropped", || state(&instance, "t") == "hibernated");
    instance.ok(&["new", "-d", "more", "--", "cat"]);
}

/// The limit of the group that the supervisor is in counts for the supervisor, not for what its terminals' programs use in it.
#[test]
fn a_control_groups_limit_is_the_supervisors_and_what_children_use_is_not() {
    let Some(group) = Group::new() else {
        return eprintln!("skipped: a control group can be made only by root, where the memory controller is to be had");
    };
    let limit = 300 << 20;
    group.limit(limit);
    let instance = Instance::start();
    // The next supervisor is born where its keeper is.
    let keeper = instance.keeper_pid().as_raw_nonzero().to_string();
    fs::write(group.0.join("cgroup.procs"), &keeper).unwrap();
    instance.kill_supervisor();
    until("the next supervisor", || instance.run(&["status"]).status.success());
    until("the limit", || status(&instance)["memory"]["limit_bytes"] == limit);
    // Children of the supervisor are born into its group: this one holds nine tenths of what that may have.
    let hog = format!("python3 -c 'b = bytearray({}); print(\"MARK\", flush=True); input()'", limit / 10 * 8);
    instance.ok(&["new", "-d", "hog", "--", "sh", "-c", &hog]);
    instance.ok(&["wait", "hog", "--match", "MARK", "--timeout", "60"]);
    assert_eq!(status(&instance)["memory"]["level"], 0);
    instance.ok(&["new", "-d", "more", "--", "cat"]);
}

/// A control group of the version-1 or version-2 memory controller.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("kaval-test-budget-{}", std::process::id());
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let made = roots.iter().map(|root| Path::new(root).join(&name)).find(|group| {
            let made = fs::create_dir(group).is_ok();
            let controlled = ["memory.limit_in_bytes", "memory.max"].iter().any(|file| group.join(file).exists());
            if made && !controlled {
                let _ = fs::remove_dir(group);
            }
            made && controlled
        })?;
        Some(Self(made))
    }

    fn limit(&self, bytes: u64) {
        let file =
            ["memory.limit_in_bytes", "memory.max"].iter().map(|file| self.0.join(file)).find(|file| file.exists()).unwrap();
        fs::write(file, bytes.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
