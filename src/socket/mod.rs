//! The Unix socket that clients talk to: made safely, and each connection served on its own.
//!
//! ```text
//!   listener ──► connection: hello ─► requests, in order ─┬─► supervisor, terminals (messages)
//!                     ▲                                    ├─► streams: one task an attachment, or a stream of events
//!                     │                                    └─► history: rendered, and searched, in turns, on threads of its own
//!                     └── writer, shared by replies and streams of this connection
//! ```
//!
//! **Invariants.** Only the same user, or root, is served. The number of connections, of requests under way on each and of bytes waiting for
//! each is bounded; a client that sends rubbish, dawdles or never reads costs that, and nobody else notices. When the supervisor ends to be
//! started again, every request that came has its answer, if only `restarting`, and every stream ends with that.

mod admin;
mod attach;
mod bind;
mod connection;
mod events;
mod foreground;
mod history;
mod lines;
mod ops;
mod search;
mod status;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use actix::Addr;
use kaval_actors::{Findings, log::journal::DataPath, registry::Registry, supervisor::Supervisor};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::bind::{BindError, bind, inherit, is_listener};
use crate::{
    http::Endpoint,
    wire::{ReloadOk, UpgradeOk, WireError},
};

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// An answer that takes its time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, WireError>> + 'a>>;

/// What only the whole daemon can do for whoever administers it.
pub trait Operator {
    /// Reads the configuration again and reconciles. An error changes nothing.
    fn reload(&self) -> Later<'_, ReloadOk>;

    /// A profile of the heap, in pprof's format.
    fn heap_profile(&self) -> Later<'_, Bytes>;

    /// Sees to it that another supervisor follows this one, from that file or from its own, and that it can. An error changes nothing.
    fn upgrade(&self, binary: Option<String>) -> Later<'_, UpgradeOk>;

    /// Whether another supervisor follows this one, however it ends, and finds its terminals.
    fn is_kept(&self) -> bool;

    /// Sets how much is logged.
    ///
    /// # Errors
    /// When that is no level.
    fn set_log_level(&self, level: &str) -> Result<(), WireError>;
}

/// What a hub is made of.
pub struct HubParts {
    /// The supervisor.
    pub supervisor: Addr<Supervisor>,
    /// The registry.
    pub registry: Addr<Registry>,
    /// The daemon.
    pub operator: Rc<dyn Operator>,
    /// Names this run of the supervisor.
    pub boot: String,
    /// When it was started.
    pub started: Instant,
    /// How output gets into the journal.
    pub data_path: DataPath,
    /// Where metrics are served, if anywhere.
    pub endpoint: Option<Arc<Endpoint>>,
    /// What was found to be broken.
    pub findings: Findings,
}

/// What all connections share.
pub struct Hub {
    /// The supervisor.
    pub supervisor: Addr<Supervisor>,
    /// The registry.
    pub registry: Addr<Registry>,
    /// Names this run of the supervisor.
    pub boot: String,
    /// The daemon.
    pub operator: Rc<dyn Operator>,
    started: Instant,
    data_path: DataPath,
    endpoint: Option<Arc<Endpoint>>,
    findings: Findings,
    /// Told when a client asked for the end of everything, once everything has ended.
    pub ended: Notify,
    /// Told when another supervisor is to take this one's place.
    pub upgrading: Notify,
    connections: Cell<usize>,
    /// Told whenever a connection has ended.
    left: Notify,
    /// The supervisor is about to be restarted.
    closing: CancellationToken,
    /// Held by every stream of events.
    streams: Rc<()>,
    /// Held by every rendering of history, for a turn.
    renderers: Semaphore,
    /// Held by every search, for a turn.
    searchers: Semaphore,
}

impl Hub {
    /// A hub without connections.
    pub fn new(parts: HubParts) -> Self {
        let HubParts { supervisor, registry, operator, boot, started, data_path, endpoint, findings } = parts;
        Self {
            supervisor,
            registry,
            boot,
            operator,
            started,
            data_path,
            endpoint,
            findings,
            ended: Notify::new(),
            upgrading: Notify::new(),
            connections: Cell::new(0),
            left: Notify::new(),
            closing: CancellationToken::new(),
            streams: Rc::default(),
            renderers: Semaphore::new(history::RENDERERS_MAX),
            searchers: Semaphore::new(search::SEARCHERS_MAX),
        }
    }

    /// Tells every client that the supervisor is being restarted, in answer to what it has asked and on its streams, and hangs up. Returns
    /// once all are gone, or after `limit`; how many are left.
    pub async fn close(&self, limit: Duration) -> usize {
        self.closing.cancel();
        let gone = async {
            while self.connections.get() > 0 {
                self.left.notified().await;
            }
        };
        let _ = timeout(limit, gone).await;
        self.connections.get()
    }
}

/// Accepts connections for ever. Runs on the main thread's local set.
pub async fn serve(listener: UnixListener, hub: Rc<Hub>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_trusted(&stream) => {
                let hub = hub.clone();
                actix_rt::spawn(async move {
                    let before = hub.connections.get();
                    hub.connections.set(before + 1);
                    connection::serve(stream, &hub, before < CONNECTIONS_MAX).await;
                    hub.connections.set(hub.connections.get() - 1);
                    hub.left.notify_one();
                });
            }
            Ok(_) => tracing::warn!("a connection by another user was refused"),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn is_trusted(stream: &UnixStream) -> bool {
    let peer: io::Result<_> = stream.peer_cred();
    peer.is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw())
}
