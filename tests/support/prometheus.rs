//! A real Prometheus of a test's own: what it scrapes, and what it answers.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    support::{Log, PATIENCE},
    watch::until,
};

/// A series' labels.
pub type Labels = BTreeMap<String, String>;

/// Ended when dropped.
pub struct Prometheus {
    process: Child,
    address: String,
    _dir: TempDir,
}

impl Prometheus {
    /// One that scrapes `target`; `None`, and a word about it, where it is not installed.
    pub fn start(target: &str) -> Option<Self> {
        let scrape = format!("[{{job_name: kaval, static_configs: [{{targets: [\"{target}\"]}}]}}]");
        Self::start_with(&format!("global: {{scrape_interval: 200ms}}\nscrape_configs: {scrape}\n"), &[])
    }

    /// The same with a configuration, and the files that it refers to beside it.
    pub fn start_with(config: &str, beside: &[&Path]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        for file in beside {
            fs::copy(file, dir.path().join(file.file_name().unwrap())).unwrap();
        }
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&path).arg("--storage.tsdb.path").arg(dir.path().join("data"));
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

    /// The data that a request of its interface is answered with.
    pub fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Version 1.0 is answered in one piece.
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    fn results(&self, query: &str, at: Option<f64>) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let at = at.map_or_else(String::new, |at| format!("&time={at}"));
        let data = self.get(&format!("query?query={escaped}{at}"));
        data["result"].as_array().unwrap().clone()
    }

    /// What a query gives now: one value a series.
    pub fn query(&self, query: &str) -> Vec<f64> {
        self.results(query, None).iter().map(|series| number(&series["value"][1])).collect()
    }

    /// What a query gives at a moment.
    pub fn series(&self, query: &str, at: f64) -> Vec<(Labels, f64)> {
        self.results(query, Some(at)).iter().map(|series| (labels(series), number(&series["value"][1]))).collect()
    }

    /// The samples of a range, each with its time.
    pub fn samples(&self, range: &str, at: f64) -> Vec<(Labels, Vec<(f64, f64)>)> {
        let sample = |sample: &Value| (sample[0].as_f64().unwrap(), number(&sample[1]));
        let samples = |series: &Value| series["values"].as_array().unwrap().iter().map(sample).collect();
        self.results(range, Some(at)).iter().map(|series| (labels(series), samples(series))).collect()
    }

    /// Waits until a query gives this.
    pub fn await_answer(&self, query: &str, expected: &[f64]) {
        until(&format!("{query} = {expected:?}, but {:?}", self.query(query)), || self.query(query) == expected);
    }
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

fn labels(series: &Value) -> Labels {
    serde_json::from_value(series["metric"].clone()).unwrap()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
