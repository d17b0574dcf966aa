//! What one connection may ask, and how it is answered where that is too much.

mod support;

use kaval::{
    client::{Client, ClientError, Incoming},
    wire::{AttachFrom, AttachMode, Code, DetachOk, Event, LsOk, NewOk, Op, ScreenFormat, ScreenOk},
};
use kaval_actors::Size;
use support::{Instance, PATIENCE};
use tokio::time::timeout;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn new(name: &str, command: &[&str]) -> Op {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Op::New {
        name: Some(name.to_owned()),
        command,
        cwd: None,
        env: vec![],
        size: None,
        token: 0,
        if_absent: false,
        no_log: false,
        restart: Default::default(),
    }
}

fn attach(name: &str) -> Op {
    Op::Attach { term: name.into(), size: None, from: AttachFrom::Offset(0), mode: AttachMode::Ro }
}

async fn call<T: serde::de::DeserializeOwned>(client: &mut Client, op: Op) -> Result<T, ClientError> {
    timeout(PATIENCE, client.call(op)).await.expect("an answer")
}

/// It was never answered.
#[test]
fn an_answer_that_no_frame_holds_is_an_error() {
    let instance = Instance::start();
    runtime().block_on(async {
        let mut client = instance.client().await;
        let mut huge = new("huge", &["cat"]);
        if let Op::New { size, .. } = &mut huge {
            *size = Some(Size::new(1000, 1000).unwrap());
        }
        let _: NewOk = call(&mut client, huge).await.unwrap();
        match call::<ScreenOk>(&mut client, Op::Screen { term: "huge".into(), format: ScreenFormat::Json, at: None }).await {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, Code::Limit),
            other => panic!("{other:?}"),
        }
    });
}

/// The frame under way was cut short, and what came behind it could not be read.
#[test]
fn a_stream_that_is_detached_while_its_client_lags_ends_behind_a_whole_frame() {
    let instance = Instance::start();
    runtime().block_on(async {
        let mut client = instance.client().await;
        let _: NewOk =
            call(&mut client, new("flood", &["sh", "-c", "head -c 4000000 /dev/zero; exec sleep 1000"])).await.unwrap();
        let mut watcher = instance.client().await;
        let watched = watcher.request(attach("flood")).await.unwrap();
        let mut end = 0;
        while end < 4_000_000 {
            if let Incoming::Event(Event::Output { req, offset, data, .. }) =
                timeout(PATIENCE, watcher.next()).await.unwrap().unwrap()
            {
                assert_eq!(req, watched);
                end = offset + data.0.len() as u64;
            }
        }
        // Fills the socket, which this client does not read: once this is answered elsewhere, the stream is stuck in a frame.
        let stream = client.request(attach("flood")).await.unwrap();
        for _ in 0..20 {
            let _: LsOk = call(&mut watcher, Op::Ls { after: None }).await.unwrap();
        }
        let detach = Op::Detach { stream: Some(stream), term: None, client: None };
        let detached: DetachOk = call(&mut client, detach).await.unwrap();
        assert_eq!(detached.detached, 1);
        let _: LsOk = call(&mut client, Op::Ls { after: None }).await.unwrap();
    });
}

/// Each left a client and its queue with the terminal.
#[test]
fn a_stream_that_has_ended_is_no_client() {
    let instance = Instance::start();
    runtime().block_on(async {
        let mut client = instance.client().await;
        let _: NewOk = call(&mut client, new("ended", &["true"])).await.unwrap();
        for _ in 0..3 {
            let stream = client.request(attach("ended")).await.unwrap();
            loop {
                match timeout(PATIENCE, client.next()).await.unwrap().unwrap() {
                    Incoming::Event(Event::End { req }) if req == stream => break,
                    Incoming::Err { error, .. } => panic!("{error}"),
                    Incoming::Ok { .. } | Incoming::Event(_) => {}
                }
            }
        }
        let listing: LsOk = call(&mut client, Op::Ls { after: None }).await.unwrap();
        assert_eq!(listing.terms[0].clients, 0);
    });
}

/// What a storm of reconnecting clients costs for each terminal that each attaches to: a repaint that waits, and what keeps count of it.
const ATTACHED_BYTES_MAX: u64 = 16 << 10;

#[test]
fn sixty_clients_that_attach_to_everything_at_once_cost_sixty_viewports() {
    const CLIENTS: u64 = 60;
    const TERMS: u64 = 20;
    let instance = Instance::start();
    let draw = "seq -f 'a line that has left the screen %g' 5000; for i in $(seq 23); do printf '\\033[1;3%dm%079d\\033[m\\n' $((i % 8)) $i; done; exec cat";
    for n in 0..TERMS {
        instance.ok(&["new", "-d", &format!("t{n}"), "--size", "80x24", "--", "sh", "-c", draw]);
        instance.ok(&["wait", &format!("t{n}"), "--match", "0000023"]);
    }
    let allocated = || json_of(&instance, &["status", "--json"])["memory"]["allocated_bytes"].as_u64().unwrap();
    let before = allocated();
    runtime().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = instance.client().await;
            for n in 0..TERMS {
                let from = AttachFrom::Screen;
                let op = Op::Attach { term: format!("t{n}").as_str().into(), size: None, from, mode: AttachMode::Ro };
                client.request(op).await.unwrap();
            }
            clients.push(client);
        }
        support::spin_until("everybody is attached", || instance.ls().iter().all(|term| term["clients"] == CLIENTS));
        let each = allocated().saturating_sub(before) / (CLIENTS * TERMS);
        assert!(each < ATTACHED_BYTES_MAX, "{each} bytes a client and terminal");
        println!("{each} bytes a client and terminal");
        for client in &mut clients {
            let mut screens = 0;
            while screens < TERMS {
                match timeout(PATIENCE, client.next()).await.expect("a screen").unwrap() {
                    Incoming::Event(Event::Screen { data, .. }) => {
                        assert!(data.0.windows(7).any(|digits| digits == b"0000023"));
                        screens += 1;
                    }
                    Incoming::Err { error, .. } => panic!("{error}"),
                    Incoming::Ok { .. } | Incoming::Event(_) => {}
                }
            }
        }
    });
}

fn json_of(instance: &Instance, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&instance.ok(args)).unwrap()
}
