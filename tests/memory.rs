//! What the gauges say of memory is what the allocator says.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/scrape.rs"]
mod scrape;
mod support;
#[path = "support/watch.rs"]
mod watch;

use kaval::{
    client::Client,
    wire::{AttachFrom, AttachMode, Empty, NewOk, Op, TermRef},
};
use scrape::Scrape;
use support::Instance;
use watch::until;

/// Draws more than a screenful, and is silent.
const FULL: &str =
    "stty -echo; i=0; while [ $i -lt 40 ]; do echo \"line $i of a screen that is full of words\"; i=$((i+1)); done; ";
const EVERY_TERM: &str = "[metrics]\nper_term = \"all\"\n[memory]\nhibernate_after = \"off\"\nmirrors_max = \"1GiB\"\n";

/// What the parts add up to, as a share of what the allocator says. The pending input and the journal are no part of its heap.
fn share(scrape: &Scrape) -> f64 {
    let parts = ["mirror", "clients", "actor"].map(|part| scrape.sum("kaval_term_memory_bytes", &[("part", part)]));
    let beside = ["kaval_log_heap_bytes", "kaval_heap_base_bytes"].map(|name| scrape.value(name));
    parts.iter().chain(&beside).sum::<f64>() / scrape.value("kaval_heap_allocated_bytes")
}

/// Reports come within a second: what is asked for holds from then on.
fn adds_up(instance: &Instance, when: &str) {
    let mut last = 0.0;
    let within = |share: f64| (0.9..=1.1).contains(&share);
    let holds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(when, || {
            last = share(&Scrape::of(instance));
            within(last)
        });
    }));
    assert!(holds.is_ok(), "{when}: the gauges add up to {last:.3} of the allocator's figure");
}

async fn create(client: &mut Client, script: &str) -> u32 {
    let new = Op::New {
        name: None,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        cwd: None,
        env: Vec::new(),
        size: None,
        token: 0,
        if_absent: false,
        no_log: false,
        restart: Default::default(),
    };
    let NewOk { id, .. } = client.call(new).await.unwrap();
    id
}

fn count(instance: &Instance, state: &str) -> f64 {
    Scrape::of(instance).sum("kaval_terms", &[("state", state)])
}

/// Law 7, from no terminal to three hundred: awake, on both screens, flooding, watched, stalled, asleep, ended.
#[test]
fn the_gauges_add_up_to_what_the_allocator_says() {
    let instance = Instance::start_with(EVERY_TERM, &scrape::ANYWHERE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    adds_up(&instance, "with no terminal");
    runtime.block_on(async {
        let mut client = instance.client().await;
        for n in 0..300 {
            let script = match n % 10 {
                0 => format!("{FULL} printf '\\033[?1049h\\033[Hhello'; exec sleep 1000"),
                1 => FULL.to_owned(),
                _ => format!("{FULL} exec sleep 1000"),
            };
            create(&mut client, &script).await;
            if n == 9 {
                adds_up(&instance, "with ten terminals");
            }
        }
    });
    until("those that end to do so", || count(&instance, "exited") == 30.0);
    adds_up(&instance, "with three hundred terminals awake");

    let mut clients = Vec::new();
    runtime.block_on(async {
        let mut client = instance.client().await;
        for n in 0..20 {
            let id = match n % 2 {
                0 => create(&mut client, "exec yes some words that are put out without end").await,
                _ => 3,
            };
            let mut watching = instance.client().await;
            let attach = Op::Attach { term: TermRef::Id(id), size: None, from: AttachFrom::Screen, mode: AttachMode::Ro };
            watching.request(attach).await.unwrap();
            clients.push(watching);
        }
    });
    let queues = || Scrape::of(&instance).sum("kaval_term_memory_bytes", &[("part", "clients")]);
    until("ten queues to fill", || queues() > 10.0 * f64::from(256 << 10));
    adds_up(&instance, "with ten clients that do not read");

    drop(clients);
    until("clients to go", || Scrape::of(&instance).value("kaval_clients") == 0.0);
    let terms = instance.ls();
    let floods = terms.iter().filter(|term| term["command"][2].as_str().unwrap().contains("yes"));
    floods.for_each(|term| _ = instance.ok(&["kill", term["name"].as_str().unwrap()]));
    until("floods to end", || count(&instance, "exited") == 40.0);
    runtime.block_on(async {
        let mut client = instance.client().await;
        let _: kaval::wire::HibernateOk = client.call(Op::Hibernate { term: None }).await.unwrap();
        let _: Result<Empty, _> = client.call(Op::Rm { term: TermRef::Id(2) }).await;
    });
    until("all to sleep", || count(&instance, "hibernated") == 270.0);
    adds_up(&instance, "with 270 terminals asleep");
}

/// What sleeping terminals gave up goes back to the kernel, without anything else going on.
#[test]
fn memory_that_is_no_longer_used_is_given_back() {
    let instance = Instance::start_with(EVERY_TERM, &scrape::ANYWHERE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let resident = || Scrape::of(&instance).value("kaval_heap_resident_bytes");
    runtime.block_on(async {
        let mut client = instance.client().await;
        for _ in 0..200 {
            create(&mut client, &format!("{FULL} exec sleep 1000")).await;
        }
    });
    let screens = 200.0 * 80.0 * 24.0 * 32.0;
    until("screens to be drawn", || Scrape::of(&instance).value("kaval_mirrors_bytes") >= screens);
    let before = resident();
    instance.ok(&["admin", "hibernate", "--all"]);
    until("most of what screens took to be given back", || resident() < before - screens * 0.7);
}
