//! Terminals whose children keep their own record of what they write, and clients that follow them from the first byte to the end.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use kaval::{
    client::{Client, ClientError, Incoming, Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, Event, ExitInfo, HistoryFormat, Op, TermRef},
};

use crate::support::PATIENCE;

/// A terminal under test, and where its child keeps its own record.
pub struct Subject {
    pub name: String,
    pub record: PathBuf,
    pub exit: i32,
}

/// What a client of one terminal got.
pub struct Received {
    pub bytes: Vec<u8>,
    pub lags: usize,
    pub exit: Option<ExitInfo>,
}

/// Has `kaval` make a terminal of each mode, whose children keep their records in `dir`, and go on until a file `stop` is there.
pub fn create_subjects(modes: &[&str], emitter: &Path, dir: &Path, kaval: impl Fn(&[String])) -> Vec<Subject> {
    let create = |(i, mode): (usize, &&str)| {
        let subject = Subject { name: format!("{mode}-{i}"), record: dir.join(format!("record-{i}")), exit: 10 + i as i32 };
        let (record, stop) = (subject.record.to_string_lossy(), dir.join("stop"));
        let (seed, exit) = ((i + 1).to_string(), subject.exit.to_string());
        let command = [&*emitter.to_string_lossy(), mode, &seed, &record, &stop.to_string_lossy(), &exit].map(str::to_owned);
        let args = ["new", "-d", &subject.name, "--"].map(str::to_owned);
        kaval(&[&args[..], &command[..]].concat());
        subject
    };
    modes.iter().enumerate().map(create).collect()
}

pub async fn attach(options: SessionOptions) -> Session {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Session::attach(options.clone()).await {
            Ok(session) => return session,
            Err(error) => assert!(error.is_passing() && Instant::now() < deadline, "{:?}: {error}", options.term),
        }
        tokio::task::yield_now().await;
    }
}

/// Watches a terminal from its first byte to its end.
pub async fn watch(socket: PathBuf, name: String) -> Received {
    let options = SessionOptions {
        socket,
        term: TermRef::Name(name.clone()),
        mode: AttachMode::Ro,
        size: None,
        from: AttachFrom::Offset(0),
    };
    let mut session = attach(options).await;
    let mut received = Received { bytes: Vec::new(), lags: 0, exit: None };
    loop {
        match session.next().await.unwrap_or_else(|error| panic!("the client of {name}: {error}")) {
            Update::Output { offset, data } => {
                assert!(received.lags > 0 || offset == received.bytes.len() as u64, "{name}: a gap or an overlap at {offset}");
                received.bytes.extend_from_slice(&data);
            }
            Update::Lagged { .. } => received.lags += 1,
            Update::Exited(exit) => {
                received.exit = Some(exit);
                return received;
            }
            Update::Screen { .. }
            | Update::Resized { .. }
            | Update::Respawning { .. }
            | Update::Reaping { .. }
            | Update::Lost => {}
            Update::Detached => panic!("{name} was detached"),
        }
    }
}

/// All that is kept: where it begins, and the bytes, which follow on each other.
pub async fn history(socket: &Path, name: &str) -> (u64, Vec<u8>) {
    let mut client = Client::connect(socket).await.unwrap();
    let stream = client
        .request(Op::History { term: name.into(), format: HistoryFormat::Raw, from: 0, to: None, tail: None, timed: false })
        .await
        .unwrap();
    let (mut floor, mut bytes): (Option<u64>, Vec<u8>) = (None, Vec::new());
    loop {
        match client.next().await.unwrap() {
            Incoming::Event(Event::Output { data, offset, .. }) => {
                // What was evicted while it was read is gone, and what came before it does not count any more.
                if floor.is_none_or(|floor| offset != floor + bytes.len() as u64) {
                    floor = Some(offset);
                    bytes.clear();
                }
                bytes.extend_from_slice(&data.0);
            }
            Incoming::Event(Event::End { req }) if req == stream => return (floor.unwrap_or(0), bytes),
            Incoming::Ok { .. } | Incoming::Event(_) => {}
            Incoming::Err { error, .. } => panic!("{error}"),
        }
    }
}

/// Asks again and again until a supervisor lives long enough to answer.
pub async fn insist<T: serde::de::DeserializeOwned>(socket: &Path, op: Op) -> Result<T, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = async { Client::connect(socket).await?.call(op.clone()).await };
        match asked.await {
            Err(error) if error.is_passing() && Instant::now() < deadline => tokio::task::yield_now().await,
            result => return result,
        }
    }
}
