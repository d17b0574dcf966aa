//! What `/metrics` shows, series by series.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
};

use crate::support::{Instance, PATIENCE};

pub const ANYWHERE: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// Where the present supervisor serves metrics, as it logged it.
pub fn address(instance: &Instance) -> String {
    instance.log.await_count("metrics are served", 1);
    let line = instance.log.lines().into_iter().rfind(|line| line.contains("metrics are served")).unwrap();
    line.split("address=").nth(1).unwrap().to_owned()
}

/// Sends one request; the status and the body of the answer.
pub fn http(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// One scrape.
pub struct Scrape(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    pub fn of(instance: &Instance) -> Self {
        let (status, text) = http(&address(instance), "GET", "/metrics");
        assert_eq!(status, 200, "{text}");
        Self(text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample).collect())
    }

    /// The only series of that name.
    pub fn value(&self, name: &str) -> f64 {
        let mut found = self.0.iter().filter(|sample| sample.name == name);
        let value = found.next().unwrap_or_else(|| panic!("no {name}")).value;
        assert!(found.next().is_none(), "{name} has several series");
        value
    }

    /// All series of that name with these labels, added up; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value));
        self.0.iter().filter(|sample| sample.name == name).filter(has).map(|sample| sample.value).sum()
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let label = |pair: &str| pair.split_once('=').map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()));
    let labels = labels.trim_end_matches('}').split("\",").filter_map(label).collect();
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap() }
}
