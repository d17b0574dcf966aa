//! `kaval events`, followed line by line.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Stdio},
};

use serde_json::Value;

use crate::support::Instance;

/// `kaval events …`, as it runs.
pub struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    pub fn start(instance: &Instance, args: &[&str]) -> Self {
        let mut child = instance.command(&[&["events"], args].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The events up to the first of that kind, on that terminal.
    pub fn up_to(&mut self, kind: &str, name: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        while events.last().is_none_or(|event| event["kind"] != kind || event["name"] != name) {
            events.push(self.next());
        }
        events
    }

    pub fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("an event").unwrap()).unwrap()
    }

    /// What is left up to the end, and the exit code.
    pub fn end(mut self) -> (Vec<Value>, Option<i32>) {
        let rest = self.lines.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        (rest, self.child.wait().unwrap().code())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
