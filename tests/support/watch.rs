//! Waiting for a condition, and a bystander: a terminal that nobody may disturb, watched over the wire by hand.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    raw::Raw,
    support::{Instance, PATIENCE},
};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; panics with `what` if it never does.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `look` finds something.
pub fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(POLL);
    }
}

/// A terminal that counts, and a client that follows it on a connection of its own.
pub struct Bystander<'a> {
    instance: &'a Instance,
    seen: Arc<Mutex<Seen>>,
    stream: UnixStream,
}

#[derive(Default)]
struct Seen {
    text: String,
    next: Option<u64>,
    trouble: Option<String>,
}

impl<'a> Bystander<'a> {
    pub const NAME: &'static str = "bystander";

    /// Starts both, and waits for the first numbers.
    pub fn begin(instance: &'a Instance) -> Self {
        let count = "i=0; while :; do i=$((i+1)); echo \"<$i>\"; sleep 0.01; done";
        instance.ok(&["new", "-d", Self::NAME, "--", "sh", "-c", count]);
        let mut client = Raw::hello(&instance.socket());
        let stream = client.stream().try_clone().unwrap();
        let history = json!({"req": 1, "op": "attach", "term": Self::NAME, "from": 0});
        client.send(&history);
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = seen.clone();
        thread::spawn(move || follow(client, &shared));
        let bystander = Self { instance, seen, stream };
        bystander.goes_on();
        bystander
    }

    /// Waits for numbers that were counted from now on; what came so far is in order and without gap, on the first connection.
    pub fn goes_on(&self) {
        let before = self.count();
        until("the bystander's terminal counts on", || self.count() > before + 3);
        let listed = self.instance.ls().into_iter().find(|term| term["name"] == Self::NAME).expect("the bystander is listed");
        assert_eq!((&listed["state"], &listed["clients"]), (&json!("live"), &json!(1)));
    }

    fn count(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.trouble, None, "the bystander was disturbed");
        let numbers: Vec<usize> = seen.text.split_terminator("\r\n").filter_map(number).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len()), "numbers are missing in {:?}", seen.text);
        numbers.len()
    }
}

impl Drop for Bystander<'_> {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn number(line: &str) -> Option<usize> {
    line.strip_prefix('<')?.strip_suffix('>')?.parse().ok()
}

fn follow(mut client: Raw, shared: &Mutex<Seen>) {
    while let Some(frame) = client.receive() {
        let mut seen = shared.lock().unwrap();
        match (frame.ev.as_deref(), frame.ok.is_some()) {
            (None, true) | (Some("resized"), _) => {}
            (Some("output"), _) => {
                let (offset, data) = (frame.offset.unwrap(), frame.data.unwrap());
                if seen.next.is_some_and(|next| next != offset) {
                    seen.trouble = Some(format!("output at {offset}, not at {:?}", seen.next));
                }
                seen.next = Some(offset + data.len() as u64);
                seen.text.push_str(&String::from_utf8_lossy(&data));
            }
            _ => seen.trouble = Some(format!("{frame:?}")),
        }
    }
    shared.lock().unwrap().trouble.get_or_insert("the connection ended".into());
}
