//! What is shipped for Grafana and Prometheus, against what it is to show: a real Prometheus, set up as the shipped configuration says,
//! scrapes two live supervisors and a third that is not there. The test brings about what can happen to them, and every query of the
//! dashboard and of the alert rules, read from the files, has to say just that.
//!
//! ```text
//!   test ──► first, second: terminals in every state, floods, kills ◄──scrape── prometheus ◄── kaval.rules.yml
//!     └─ expected values ══ answers ◄── queries of kaval.json and of the rules ────┘
//! ```

#[path = "support/dashboard.rs"]
mod dashboard;
#[path = "support/expected.rs"]
mod expected;
#[path = "support/feeding.rs"]
mod feeding;
#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/watch.rs"]
mod watch;
#[path = "support/watched.rs"]
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use dashboard::{DASHBOARD, Query, called, compared, dashboard as shipped, filled, metrics, panels, queries, variables};
use expected::{Expected, Shown, WINDOW, WINDOW_S, assert_shown, counted, is, line, near, quantile, risen};
use prometheus::Labels;
use serde_json::{Value, json};
use support::Instance;
use watch::until_some;
use watched::{
    DEATHS, FAULT_KINDS, FLOOD_LINES, HOG_BYTES, LIMIT_BYTES, Lived, SCRAPING, STUTTERS, WIDE, World, seq_bytes, shipped_file,
    status,
};

const README: &str = include_str!("../README.md");
const PROVISIONED: [&str; 2] = [
    include_str!("../grafana/provisioning/datasources/prometheus.yaml"),
    include_str!("../grafana/provisioning/dashboards/kaval.yaml"),
];

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard = shipped();
    assert!(DASHBOARD.ends_with("}\n") && dashboard["schemaVersion"].as_u64() >= Some(39) && dashboard["id"].is_null());
    let all = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert!(ids.iter().copied().eq(1..=all.len() as u64), "{ids:?}");
    let titles: BTreeSet<&str> = all.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), all.len(), "two panels have one title");
    let mut taken = BTreeSet::new();
    for panel in all {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another", panel["title"]);
        }
    }
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 15), "{title}: what is to be done?");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && refs.len() == targets.len(), "{title}");
        for asked in targets.iter().chain([panel]) {
            assert_eq!(asked["datasource"], json!({"type": "prometheus", "uid": "${datasource}"}), "{title}");
        }
    }
}

/// Of two supervisors each has its own line, and other programs that Prometheus scrapes have none.
#[test]
fn every_query_asks_for_the_chosen_supervisors_only_and_for_metrics_that_there_are() {
    for Query { of, expr, .. } in queries(&shipped()) {
        let names = metrics(&expr).len() + expr.matches("up{").count();
        assert_eq!(expr.matches("{job=~\"$job\", instance=~\"$instance\"").count(), names, "{of}: {expr}");
        for name in metrics(&expr) {
            assert!(known(&name), "{of}: {name} is not in the README");
        }
    }
}

fn known(metric: &str) -> bool {
    README.contains(&format!("| `{metric}` | "))
}

#[test]
fn provisioning_puts_the_dashboard_on_the_prometheus_that_scrapes() {
    let interval = SCRAPING.lines().find_map(|line| line.trim().strip_prefix("scrape_interval: ")).unwrap();
    assert!(PROVISIONED[0].contains(&format!("timeInterval: {interval}\n")) && PROVISIONED[0].contains("type: prometheus\n"));
    assert!(PROVISIONED[1].contains("type: file\n"));
    let folder = PROVISIONED[1].lines().find_map(|line| line.trim().strip_prefix("path: ")).unwrap();
    assert!(README.contains(folder), "the README does not say that the dashboard belongs into {folder}");
}

#[test]
fn promtool_finds_no_fault_and_each_alert_fires_when_it_should_and_not_just_before() {
    for args in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "kaval.rules.yml"],
        ["test", "rules", "kaval.rules.test.yml"],
    ] {
        let Ok(output) = Command::new("promtool").args(args).current_dir(shipped_file("")).output() else {
            return eprintln!("skipped: promtool is not installed");
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("SUCCESS"), "promtool {args:?}: {said}");
    }
    let (rules, tests) =
        (fs::read_to_string(shipped_file("kaval.rules.yml")), fs::read_to_string(shipped_file("kaval.rules.test.yml")));
    let (rules, tests) = (rules.unwrap(), tests.unwrap());
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "nothing shows that {alert} fires");
    }
}

/// How it is with a supervisor, as it says itself, and as the kernel does.
struct Facts {
    status: Value,
    terms: Vec<Value>,
    resident: f64,
    fds: f64,
}

impl Facts {
    fn of(instance: &Instance) -> Self {
        let proc = PathBuf::from(format!("/proc/{}", instance.supervisor_pid().unwrap().as_raw_nonzero()));
        let rss = fs::read_to_string(proc.join("status")).unwrap();
        let rss = rss.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
        Self {
            status: status(instance),
            terms: instance.ls(),
            resident: rss.trim().parse::<f64>().unwrap() * 1024.0,
            fds: fs::read_dir(proc.join("fd")).unwrap().count() as f64,
        }
    }

    /// The terminals without what their programs use, which never rests.
    fn terms_at_rest(&self) -> Vec<Value> {
        let mut terms = self.terms.clone();
        let uses = ["child_cpu_seconds", "child_cpu_percent", "child_memory_bytes"];
        for term in &mut terms {
            uses.iter().for_each(|key| _ = term.as_object_mut().unwrap().remove(*key));
        }
        terms
    }

    fn status(&self, pointer: &str) -> f64 {
        self.status.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {}", self.status))
    }

    fn sum(&self, key: &str) -> f64 {
        self.terms.iter().map(|term| term[key].as_f64().unwrap()).sum()
    }

    fn offset(&self, name: &str) -> f64 {
        self.terms.iter().find(|term| term["name"] == name).unwrap()["offset"].as_f64().unwrap()
    }
}

/// The memory of a terminal's programs; one of them holds what is known.
fn programs(term: &Value) -> Expected {
    let bytes = term["child_memory_bytes"].as_f64().unwrap();
    match (term["name"].as_str(), term["state"].as_str()) {
        (Some("other"), _) => Expected::Within(HOG_BYTES as f64..=HOG_BYTES as f64 * 1.5),
        (_, Some("exited" | "lost")) => is(0),
        _ => Expected::Within(0.0..=bytes * 1.2 + 1e5),
    }
}

/// One supervisor at the moment of the queries: what it said of itself, and the samples that Prometheus has of it.
struct View<'a> {
    name: &'static str,
    world: &'a World,
    facts: Facts,
    at: f64,
}

impl View<'_> {
    fn samples(&self, metric: &str) -> Vec<(Labels, Vec<(f64, f64)>)> {
        self.world.prometheus.samples(&format!("{metric}{{instance=\"{}\"}}[{WINDOW}]", self.name), self.at)
    }

    fn one(&self, metric: &str) -> Vec<(f64, f64)> {
        let mut series = self.samples(metric);
        assert_eq!(series.len(), 1, "{metric}");
        series.remove(0).1
    }

    fn quantile(&self, share: f64, metric: &str) -> Expected {
        let end = |labels: &Labels| labels["le"].parse().unwrap();
        let series = self.samples(&format!("{metric}_bucket"));
        let mut buckets: Vec<(f64, f64)> = series.iter().map(|(labels, samples)| (end(labels), risen(samples))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let value = quantile(share, &buckets);
        Expected::Within(value * 0.8..=value * 1.2)
    }
}

impl World {
    /// Both supervisors at the time of a scrape, once nothing happens any more and all output is on disk.
    fn settle(&self) -> [View<'_>; 2] {
        let facts = || [&self.first, &self.second].map(Facts::of);
        let quiet = |facts: &[Facts; 2]| facts.each_ref().map(|facts| (facts.terms_at_rest(), facts.status["log"].clone()));
        until_some("a quiet moment", || {
            let before = facts();
            let at = self.scraped_after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64());
            let after = facts();
            let [first, second] = (quiet(&before) == quiet(&after)).then_some(after)?;
            Some([("first", first), ("second", second)].map(|(name, facts)| View { name, world: self, facts, at }))
        })
    }

    /// The time of the first scrape after that by which the first's output is on disk.
    fn scraped_after(&self, time: f64) -> f64 {
        let [first, second] =
            ["first", "second"].map(|name| format!("timestamp(kaval_logged_bytes_total{{instance=\"{name}\"}})"));
        let on_disk = "kaval_logged_bytes_total == kaval_output_bytes_total";
        let fresh = format!("({first} and on (instance) ({on_disk}) or {second}) > {time}");
        let scraped = until_some("scrapes of both", || Some(self.prometheus.query(&fresh)).filter(|it| it.len() == 2));
        scraped.into_iter().fold(0.0, f64::max)
    }
}

impl View<'_> {
    /// What each panel shows of this supervisor.
    fn panels(&self) -> BTreeMap<String, Shown> {
        let lived = self.world.lived(self.name);
        let mut all = BTreeMap::new();
        let mut panel = |title: &str, shown: Vec<(&str, Expected)>| {
            let called = |what: &str| format!("{} {what}", self.name).trim_end().to_owned();
            let shown: Shown = shown.into_iter().map(|(what, expected)| (called(what), expected)).collect();
            assert!(all.insert(title.to_owned(), shown).is_none(), "{title}");
        };
        self.ill(&lived, &mut panel);
        self.terminals(&lived, &mut panel);
        self.memory(&mut panel);
        self.log(&lived, &mut panel);
        self.clients(&lived, &mut panel);
        self.supervisor(&lived, &mut panel);
        all
    }

    fn ill(&self, lived: &Lived, panel: &mut impl FnMut(&str, Vec<(&str, Expected)>)) {
        let heap = line(&self.one("kaval_heap_allocated_bytes"), self.at);
        let (slope, now) = line(&self.one("kaval_memory_own_bytes"), self.at);
        let (own, limit) = (self.facts.status("/memory/own_bytes"), self.limit());
        let lag = "kaval_loop_lag_seconds";
        panel("Answers", vec![("", is(1))]);
        panel("Memory of its limit", limit.iter().map(|limit| ("", near(own / limit))).collect());
        panel(
            "Time to the limit",
            limit.iter().filter(|_| slope > 0.0).map(|limit| ("", near((limit - own) / slope))).collect(),
        );
        panel("Heap growth a minute", vec![("", self.growth())]);
        panel("Loop lag p99", vec![("", self.quantile(0.99, lag))]);
        panel("Deaths", vec![("", is(lived.deaths))]);
        panel("Log faults", vec![("", is(lived.faults.len() as f64))]);
        panel("Live terminals", vec![("", is(lived.states[0].1 + lived.states[1].1))]);
        let allocated = near(self.facts.status("/memory/allocated_bytes"));
        let mut against = vec![("own", near(own)), ("heap", allocated), ("own in an hour", near(now + 3600.0 * slope))];
        against.extend(limit.map(|limit| ("limit", is(limit))));
        panel("Memory against limit", against);
        panel("Heap growth", vec![("measured", self.growth()), ("slope", near(60.0 * heap.0))]);
        panel("Loop lag", vec![("p50", self.quantile(0.5, lag)), ("p99", self.quantile(0.99, lag))]);
    }

    fn terminals(&self, lived: &Lived, panel: &mut impl FnMut(&str, Vec<(&str, Expected)>)) {
        panel("Terminals by state", lived.states.map(|(state, count)| (state, is(count))).to_vec());
        let ended = ["ended, code", "ended, signal", "ended, unknown"].into_iter().zip(lived.ended);
        let mut begun: Vec<_> = ended.map(|(what, (_, count))| (what, counted(count, 60.0))).collect();
        begun.extend([("created", counted(lived.created, 60.0)), ("started again", counted(lived.respawned, 60.0))]);
        panel("Begun and ended", begun);
        let (hibernated, woken) = (counted(lived.hibernated, 60.0), counted(lived.woken, 60.0));
        panel("Hibernations and wakeups", vec![("hibernated", hibernated), ("woken", woken)]);
        panel("Memory in the supervisor, by terminal", self.by_name(|term| is(term["memory_bytes"].as_f64().unwrap())));
        panel("Output, by terminal", self.by_name(|term| self.output(term)));
        panel("Processor of its programs, by terminal", self.by_name_of_looked_at(|term| self.processor(term)));
        panel("Memory of its programs, by terminal", self.by_name_of_looked_at(programs));
    }

    /// Of those whose programs its supervisor has looked at: of what had ended before, there is nothing.
    fn by_name_of_looked_at<'b>(&'b self, of: impl Fn(&'b Value) -> Expected) -> Vec<(&'b str, Expected)> {
        let terms = self.by_name(of);
        terms
            .into_iter()
            .zip(&self.facts.terms)
            .filter(|(_, term)| !term["child_memory_bytes"].is_null())
            .map(|(it, _)| it)
            .collect()
    }

    /// What its programs have used since the supervisor looked first.
    fn processor(&self, term: &Value) -> Expected {
        let least = if term["name"] == "widest" { 1e-6 } else { 0.0 };
        Expected::Within(least..=term["child_cpu_seconds"].as_f64().unwrap_or(0.0) * 1.25 / WINDOW_S)
    }

    /// Of its memory; the second has none.
    fn limit(&self) -> Option<f64> {
        (self.name == "first").then_some(LIMIT_BYTES as f64)
    }

    /// Reckoned each minute; before the first is over there is none.
    fn growth(&self) -> Expected {
        let young = self.facts.status("/uptime_ms") < 60_000.0;
        if young { is(0) } else { Expected::Within(-1e8..=1e8) }
    }

    /// All that a flood wrote while Prometheus looked; of others what was there at the first look is not part of the rate.
    fn output(&self, term: &Value) -> Expected {
        let offset = term["offset"].as_f64().unwrap();
        let least = if term["name"] == "flood" { seq_bytes(FLOOD_LINES) as f64 } else { 0.0 };
        Expected::Within(least / WINDOW_S..=offset * 1.25 / WINDOW_S)
    }

    /// Of each terminal, called by its name, or by its id where names are not told.
    fn by_name<'b>(&'b self, of: impl Fn(&'b Value) -> Expected) -> Vec<(&'b str, Expected)> {
        let named = self.name == "first";
        self.facts.terms.iter().map(|term| (if named { term["name"].as_str().unwrap() } else { "#1" }, of(term))).collect()
    }

    fn memory(&self, panel: &mut impl FnMut(&str, Vec<(&str, Expected)>)) {
        let allocated = self.facts.status("/memory/allocated_bytes");
        let wide = if self.name == "first" { (WIDE * 300 * 100 * 32) as f64 } else { 0.0 };
        let parts = [
            ("screens", Expected::Within(wide..=wide * 1.1 + 5e6)),
            ("clients", Expected::Within(0.0..=1e5)),
            ("terminals", Expected::Within(1e3..=5e6)),
            ("log", Expected::Within(2e7..=0.98 * allocated)),
            ("base", Expected::Within(1e5..=5e6)),
            ("heap", near(allocated)),
        ];
        panel("Heap by what for", parts.to_vec());
        let process = [
            ("resident", near(self.facts.resident)),
            ("allocator", near(self.facts.status("/memory/resident_bytes"))),
            ("journal", is(self.facts.status("/journal_bytes"))),
            ("pending", is(0)),
        ];
        panel("The process", process.to_vec());
        panel("Memory level", vec![("", is(self.facts.status("/memory/level")))]);
    }

    fn log(&self, lived: &Lived, panel: &mut impl FnMut(&str, Vec<(&str, Expected)>)) {
        let banners =
            if self.name == "first" { self.facts.offset("again") - "3\r\n".len() as f64 * lived.respawned } else { 0.0 };
        let all = self.facts.sum("offset");
        let logged = risen(&self.one("kaval_logged_bytes_total"));
        assert!(logged >= all - lived.missing, "{logged} of {all} were logged, {} are missing", lived.missing);
        let put_out =
            [("put out", counted(all - banners, 1.0)), ("logged", counted(logged, 1.0)), ("typed", counted(lived.typed, 1.0))];
        panel("Output, logged, typed", put_out.to_vec());
        let live = self.one("kaval_log_live_bytes");
        let grown = live.last().unwrap().1 - live[0].1;
        let at_once =
            [("logs", is(self.facts.status("/log/live_bytes"))), ("on disk", is(self.facts.status("/log/disk_bytes")))];
        panel("Log size", at_once.to_vec());
        let free = self.one("kaval_log_disk_free_bytes");
        let (slope, now) = line(&free, self.at);
        let in_a_day = ("in a day", near(now + 86400.0 * slope));
        panel("Disk free", vec![("free", near(self.facts.status("/log/disk_free_bytes"))), in_a_day]);
        panel("Compression", vec![("", near(logged / grown))]);
        let write = "kaval_log_write_duration_seconds";
        panel("Log writes", vec![("p50", self.quantile(0.5, write)), ("p99", self.quantile(0.99, write))]);
        let faulty = |kind| f64::from(u8::from(lived.faults.contains(&kind)));
        panel("Log faults by kind", FAULT_KINDS.map(|kind| (kind, is(faulty(kind)))).to_vec());
        let missing = |kind| if kind == "stall" { counted(lived.missing, WINDOW_S) } else { is(0) };
        panel("Output that never got to the disk", FAULT_KINDS.map(|kind| (kind, missing(kind))).to_vec());
    }

    fn clients(&self, lived: &Lived, panel: &mut impl FnMut(&str, Vec<(&str, Expected)>)) {
        panel("Attached clients", vec![("", is(lived.clients))]);
        let latency = |metric| vec![("p50", self.quantile(0.5, metric)), ("p99", self.quantile(0.99, metric))];
        panel("Attach latency", latency("kaval_attach_duration_seconds"));
        panel("History latency", latency("kaval_history_duration_seconds"));
        panel("Lagged clients", vec![("", counted(lived.lags, 60.0))]);
    }

    fn supervisor(&self, lived: &Lived, panel: &mut impl FnMut(&str, Vec<(&str, Expected)>)) {
        panel("Restarts by cause", lived.restarts.iter().map(|(cause, count)| (*cause, is(*count))).collect());
        let recovery =
            Expected::Within((self.facts.status("/recovery_ms") - 1.0) / 1e3..=(self.facts.status("/recovery_ms") + 1.0) / 1e3);
        panel("Taken over at its start", vec![("terminals", is(lived.adopted)), ("seconds", recovery)]);
        let fds = Expected::Within(self.facts.fds - 5.0..=self.facts.fds + 5.0);
        panel("Descriptors", vec![("open", fds), ("limit", is(self.facts.status("/fds/max")))]);
        panel("Processor", vec![("", counted(risen(&self.one("process_cpu_seconds_total")), 1.0))]);
    }
}

impl View<'_> {
    /// The annotations that it has.
    fn annotations(&self) -> BTreeMap<String, Shown> {
        let lived = self.world.lived(self.name);
        let restarts = [("signal", lived.deaths), ("clean", lived.upgrades)].into_iter().filter(|(_, count)| *count > 0.0);
        let restarts = restarts.map(|(cause, count)| (format!("{} restarted: {cause}", self.name), counted(count, WINDOW_S)));
        let restarts = restarts.collect();
        let fault = |kind: &&str| (format!("{} log fault: {kind}", self.name), counted(1.0, WINDOW_S));
        let faults = lived.faults.iter().map(fault).collect();
        BTreeMap::from([("annotation Restarts".to_owned(), restarts), ("annotation Log faults".to_owned(), faults)])
    }

    /// What each alert compares with its threshold, part by part.
    fn alerts(&self) -> BTreeMap<&'static str, Vec<Shown>> {
        let lived = self.world.lived(self.name);
        let part = |what: Expected| Shown::from([(self.name.to_owned(), what)]);
        let own = self.facts.status("/memory/own_bytes");
        let of_limit = |of: &dyn Fn(f64) -> f64| self.limit().map_or_else(Shown::new, |limit| part(near(of(limit))));
        let slope = line(&self.one("kaval_memory_own_bytes"), self.at).0;
        let left = if slope > 0.0 { of_limit(&|limit| (limit - own) / slope) } else { Shown::new() };
        let kind = |kind: &str| {
            let count = f64::from(u8::from(lived.faults.contains(&kind)));
            (format!("{} {kind}", self.name), counted(count, WINDOW_S))
        };
        let free = self.one("kaval_log_disk_free_bytes");
        let (slope, now) = line(&free, self.at);
        let fds = self.facts.status("/fds/max");
        let open = Expected::Within((self.facts.fds - 5.0) / fds..=(self.facts.fds + 5.0) / fds);
        BTreeMap::from([
            ("KavalDown", vec![part(is(1))]),
            ("KavalCrashLoop", vec![part(counted(lived.deaths, WINDOW_S))]),
            ("KavalHeapNearLimit", vec![of_limit(&|limit| own / limit)]),
            ("KavalHeapLimitSoon", vec![left.clone(), left]),
            ("KavalHeapGrowth", vec![part(self.growth())]),
            ("KavalLoopLag", vec![part(self.quantile(0.99, "kaval_loop_lag_seconds"))]),
            ("KavalLogFault", vec![FAULT_KINDS.iter().map(|it| kind(it)).collect()]),
            ("KavalLogGap", vec![part(counted(lived.missing, WINDOW_S))]),
            ("KavalDiskNearFull", vec![part(near(self.facts.status("/log/disk_free_bytes")))]),
            ("KavalDiskFullSoon", vec![part(near(now + 86400.0 * slope))]),
            ("KavalDescriptorsNearLimit", vec![part(open)]),
        ])
    }
}

#[test]
fn every_panel_and_every_rule_says_what_was_brought_about() {
    let Some(world) = World::bring_about() else { return };
    let views = world.settle();
    world.assert_panels(&views);
    world.assert_the_largest_are_the_largest(views[0].at);
    world.assert_alerts(&views);
    let dashboard = shipped();
    let advice = panels(&dashboard).into_iter().map(|panel| world.commands_in(panel["description"].as_str().unwrap()));
    assert!(advice.sum::<usize>() > 10);
}

/// Of two supervisors, what both show in one place.
fn together<K: Ord, S>([mut all, second]: [BTreeMap<K, S>; 2], join: impl Fn(&mut S, S)) -> BTreeMap<K, S> {
    for (of, shown) in second {
        join(all.get_mut(&of).expect("what both have"), shown);
    }
    all
}

impl World {
    fn assert_panels(&self, views: &[View<'_>; 2]) {
        let of_one = |view: &View<'_>| view.panels().into_iter().chain(view.annotations()).collect();
        let mut expected: BTreeMap<String, Shown> = together(views.each_ref().map(of_one), |all, shown| all.extend(shown));
        expected.get_mut("Answers").unwrap().insert("gone".to_owned(), is(0));
        let shown = self.shown("100", views[0].at);
        assert_eq!(shown.keys().collect::<BTreeSet<_>>(), expected.keys().collect::<BTreeSet<_>>());
        for (title, expected) in &expected {
            assert_shown(title, expected, &shown[title]);
        }
        self.assert_a_wait_was_seen(views[0].at);
        let late = shown["Loop lag p99"]["first"];
        assert!(late > 0.25, "it stood still {STUTTERS} times, and its lag is {late}");
        for name in ["first", "second"] {
            let heap = |part: &str| shown["Heap by what for"][&format!("{name} {part}")];
            let parts: f64 = ["screens", "clients", "terminals", "log", "base"].map(heap).iter().sum();
            assert!(near(heap("heap")).holds(parts), "{name}: {parts} bytes have an owner, of {}", heap("heap"));
        }
        let slope = shown["Heap growth"]["first slope"];
        assert!(slope > 0.0, "{WIDE} wide screens came, and the heap grows by {slope}");
        assert_eq!(shown["Time to the limit"].keys().collect::<Vec<_>>(), ["first"], "it has a limit and grows");
    }

    /// One that waits to be started again counts as exited meanwhile, beside those that stay so.
    fn assert_a_wait_was_seen(&self, at: f64) {
        let by_state = queries(&shipped()).into_iter().find(|query| query.of == "Terminals by state").unwrap();
        let most =
            format!("max_over_time(({})[10m:250ms])", filled(&by_state.expr, &[("job", "kaval"), ("instance", "first")]));
        let most =
            self.prometheus.series(&most, at).into_iter().map(|(labels, value)| (called(&by_state.legend, &labels), value));
        assert_eq!(most.collect::<BTreeMap<_, _>>()["first exited"], 3.0);
    }

    /// With fewer to be shown, of each supervisor the largest are.
    fn assert_the_largest_are_the_largest(&self, at: f64) {
        let shown = self.shown("1", at);
        let largest = |title: &str| shown[title].keys().cloned().collect::<Vec<_>>();
        assert_eq!(largest("Memory in the supervisor, by terminal"), ["first widest", "second #1"]);
        assert_eq!(largest("Output, by terminal"), ["first flood", "second #1"]);
    }

    fn assert_alerts(&self, views: &[View<'_>; 2]) {
        let mut expected = together(views.each_ref().map(View::alerts), |all, parts| {
            for (all, part) in all.iter_mut().zip(parts) {
                all.extend(part);
            }
        });
        expected.get_mut("KavalDown").unwrap()[0].insert("gone".to_owned(), is(0));
        let rules = self.prometheus.get("rules");
        for rule in rules["groups"][0]["rules"].as_array().unwrap() {
            let (alert, condition) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
            let expected = expected.remove(alert).unwrap_or_else(|| panic!("nothing is expected of {alert}"));
            let parts = compared(condition);
            assert_eq!(parts.len(), expected.len(), "{alert}");
            for (part, expected) in parts.into_iter().zip(expected) {
                assert_shown(alert, &expected, &self.compared(part, views[0].at));
            }
            self.assert_actionable(rule);
        }
        assert!(expected.is_empty(), "{expected:?} are no alerts");
        self.assert_fired();
    }

    /// What an alert compares, by what it is about.
    fn compared(&self, part: &str, at: f64) -> BTreeMap<String, f64> {
        let about = |labels: &Labels| {
            let about = [labels.get("instance"), labels.get("kind")].into_iter().flatten();
            about.cloned().collect::<Vec<_>>().join(" ")
        };
        self.prometheus.series(part, at).into_iter().map(|(labels, value)| (about(&labels), value)).collect()
    }

    /// Whoever is woken by it is told of a command to look with.
    fn assert_actionable(&self, rule: &Value) {
        let [summary, description] = ["summary", "description"].map(|key| rule["annotations"][key].as_str().unwrap());
        assert!(summary.contains("{{ $labels.instance }}"), "{summary}");
        assert!(self.commands_in(description) > 0, "no command to look with: {description}");
    }

    /// How many of kaval's commands a text names; there is each of them.
    fn commands_in(&self, text: &str) -> usize {
        let words: Vec<&str> = text.split([' ', ',', ';', '.', ':']).collect();
        let named =
            words.windows(3).filter(|words| words[0] == "kaval" && words[1].starts_with(|c: char| c.is_ascii_lowercase()));
        let named = named.map(|words| if words[1] == "admin" { &words[1..3] } else { &words[1..2] });
        named.inspect(|command| drop(self.first.ok(&[*command, &["--help"]].concat()))).count()
    }

    /// What happened on both is what somebody is told of, in words.
    fn assert_fired(&self) {
        let alerts = self.prometheus.get("alerts");
        let firing = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        let summaries = firing.map(|alert| alert["annotations"]["summary"].as_str().unwrap().to_owned());
        let lost = |summary: &String| summary.starts_with("kaval on second has lost ") && summary.ends_with("iB of history");
        let (gaps, others): (BTreeSet<_>, BTreeSet<_>) = summaries.partition(lost);
        let expected = BTreeSet::from([
            format!("kaval on first has died {DEATHS} times in half an hour"),
            "the log of kaval on second came to a stand (stall)".to_owned(),
            "the log of kaval on second came to a stand (store)".to_owned(),
        ]);
        assert_eq!((gaps.len(), others), (1, expected));
    }

    /// What Grafana would show at a moment, panel by panel.
    fn shown(&self, top: &str, at: f64) -> BTreeMap<String, BTreeMap<String, f64>> {
        let instances = self.choices("instance", at).join("|");
        assert_eq!((self.choices("job", at), &*instances), (vec!["kaval".to_owned()], "first|gone|second"));
        let instances = format!("({instances})");
        let values =
            [("job", "kaval"), ("instance", &*instances), ("top", top), ("__rate_interval", WINDOW), ("__range", WINDOW)];
        let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for Query { of, expr, legend } in queries(&shipped()) {
            let shown = all.entry(of.clone()).or_default();
            let answer = self.prometheus.series(&filled(&expr, &values), at);
            for (labels, value) in answer {
                let called = called(&legend, &labels);
                assert!(shown.insert(called.clone(), value).is_none(), "{of} shows two series as {called}");
            }
        }
        all
    }

    /// What one can choose for a variable.
    fn choices(&self, variable: &str, at: f64) -> Vec<String> {
        let (query, label) = &variables(&shipped())[variable];
        let mut choices: Vec<_> =
            self.prometheus.series(&filled(query, &[("job", "kaval")]), at).into_iter().map(|it| it.0[label].clone()).collect();
        choices.sort();
        choices
    }
}
