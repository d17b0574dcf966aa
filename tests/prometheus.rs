//! A real Prometheus scrapes a live supervisor, and says through its own interface what the test brought about.
//!
//! ```text
//!   test ──► terminals ──► kaval /metrics ◄──scrape, every 200 ms── prometheus ◄──query── test
//! ```

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use support::{Instance, Log, PATIENCE};
use tempfile::TempDir;
use watch::{until, until_some};

/// Where the supervisor serves metrics, as it logged it.
fn address(instance: &Instance) -> String {
    instance.log.await_count("metrics are served", 1);
    let line = instance.log.lines().into_iter().find(|line| line.contains("metrics are served")).unwrap();
    line.split("address=").nth(1).unwrap().to_owned()
}

/// A Prometheus of the test's own; ended when dropped.
struct Prometheus {
    process: Child,
    address: String,
    _dir: TempDir,
}

impl Prometheus {
    /// One that scrapes `target`; `None`, and a word about it, where it is not installed.
    fn start(target: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        let scrape = format!("[{{job_name: kaval, static_configs: [{{targets: [\"{target}\"]}}]}}]");
        fs::write(&config, format!("global: {{scrape_interval: 200ms}}\nscrape_configs: {scrape}\n")).unwrap();
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&config).arg("--storage.tsdb.path").arg(dir.path().join("data"));
        command.arg("--web.listen-address=127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut process) = command.spawn() else {
            eprintln!("skipped: prometheus is not installed");
            return None;
        };
        let log = Log::default();
        log.clone().follow(process.stderr.take().unwrap());
        log.await_count("Listening on", 1);
        let line = log.lines().into_iter().find(|line| line.contains("Listening on")).unwrap();
        let address = line.rsplit("address=").next().unwrap().to_owned();
        log.await_count("Server is ready", 1);
        Some(Self { process, address, _dir: dir })
    }

    /// What a query gives now: one value a series.
    fn query(&self, query: &str) -> Vec<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Version 1.0 is answered in one piece.
        write!(stream, "GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        series.iter().map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Waits until a query gives this.
    fn await_answer(&self, query: &str, expected: &[f64]) {
        until(&format!("{query} = {expected:?}, but {:?}", self.query(query)), || self.query(query) == expected);
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn prometheus_sees_what_happens_and_no_longer_sees_a_removed_terminal() {
    let instance = Instance::start_with("", &["--metrics", "127.0.0.1:0"]);
    let Some(prometheus) = Prometheus::start(&address(&instance)) else { return };
    prometheus.await_answer("up{job=\"kaval\"}", &[1.0]);
    prometheus.await_answer("kaval_terms{state=\"live\"}", &[0.0]);

    for name in ["idle", "other"] {
        instance.ok(&["new", "-d", name, "--", "sh", "-c", "printf 12345; exec sleep 100000"]);
    }
    instance.ok(&["new", "-d", "ended", "--", "sh", "-c", "printf 1234567; exit 3"]);
    instance.ok(&["wait", "ended", "--exit"]);
    prometheus.await_answer("kaval_terms{state=\"live\"}", &[2.0]);
    prometheus.await_answer("kaval_terms{state=\"exited\"}", &[1.0]);
    prometheus.await_answer("sum(kaval_terms)", &[3.0]);
    prometheus.await_answer("kaval_term_output_bytes_total{id=\"1\"}", &[5.0]);
    prometheus.await_answer("kaval_term_output_bytes_total{id=\"3\"}", &[7.0]);
    prometheus.await_answer("kaval_output_bytes_total", &[17.0]);
    prometheus.await_answer("kaval_terms_exited_total{cause=\"code\"}", &[1.0]);
    let pid = until_some("the process's descriptors", || prometheus.query("process_open_fds").first().copied());
    assert!(pid > 0.0);

    // A series that a scrape no longer has is stale at once, and is not carried on for the usual five minutes.
    instance.ok(&["rm", "ended"]);
    prometheus.await_answer("kaval_term_output_bytes_total{id=\"3\"}", &[]);
    prometheus.await_answer("count(kaval_term_memory_bytes{id=\"3\"})", &[]);
    prometheus.await_answer("kaval_terms{state=\"exited\"}", &[0.0]);
    assert_eq!(prometheus.query("kaval_term_output_bytes_total{id=\"1\"}"), [5.0]);
    assert_eq!(prometheus.query("count(count by (id) (kaval_term_memory_bytes))"), [2.0]);
}
