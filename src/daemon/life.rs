//! From readiness to the end: clients are served, signals obeyed, and everybody is told before it is over.
//!
//! ```text
//!   SIGHUP ─► RELOADING ─► configuration read again ─► READY
//!   SIGTERM, SIGINT ─► STOPPING ─► no new connections ─► requests answered, streams told `restarting` ─► log on disk
//!                      ─► exit 0, terminals kept
//!   kaval upgrade ─► the keeper knows what to start ─► as SIGTERM, but for the log, which the next supervisor goes on with
//!   kaval shutdown ─► every terminal has ended ─► STOPPING ─► log on disk ─► exit 0
//!   an actor that all depend on died, the store is damaged ─► exit 1: a fresh process takes over
//! ```
//!
//! **Invariants.** The end takes no longer than its limits allow, whatever clients do. A further signal during it changes nothing: under a
//! keeper in a terminal, Ctrl-C arrives twice.

use std::{
    fmt, io,
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix::Addr;
use kaval_actors::{
    log::service::Log,
    registry::{Figures, Registry, TakeFigures},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

use super::reload::Reloader;
use crate::{
    fdstore::{FdStore, FdStoreError},
    socket::Hub,
};

/// How often it is looked at whether the actors that all depend on still live, and whether the store is whole.
const DEATH_CHECK: Duration = Duration::from_secs(1);
/// How often the service manager's line about the supervisor is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How long clients may take to hear that the supervisor is being restarted: more than the grace that requests have.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// How long a disk may take to write what is in memory. What it does not take stays in the journals, which outlive this process.
const LOG_MAX: Duration = Duration::from_secs(10);

/// The same where somebody waits for the next supervisor, which goes on with what is left.
const LOG_UPGRADE_MAX: Duration = Duration::from_millis(100);

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// This signal came: whoever started the supervisor may start the next, which finds the terminals.
    Signal(&'static str),
    /// A client asked for another supervisor, which whoever started this one starts.
    Upgrade,
    /// A client asked for the end of everything, and everything has ended.
    Shutdown,
    /// The supervisor's actor, or the registry, died of a panic: nothing in this process can be asked or ended any more.
    Death,
    /// The store was found to be damaged for good.
    Damage,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => f.write_str(name),
            Self::Upgrade => f.write_str("upgrade"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Death => f.write_str("an actor that all depend on died"),
            Self::Damage => f.write_str("the store is damaged"),
        }
    }
}

/// The signals that are obeyed.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Handles them from now on. To be done before readiness is told: what is told to reload right then must not die of it.
    ///
    /// # Errors
    /// When they cannot be handled.
    pub(super) fn catch() -> io::Result<Self> {
        let kinds = (SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup());
        Ok(Self { terminate: signal(kinds.0)?, interrupt: signal(kinds.1)?, hangup: signal(kinds.2)? })
    }
}

/// Has clients served, and reloads, until the end.
pub(super) async fn until_the_end(
    mut signals: Signals,
    serving: impl Future<Output = ()> + 'static,
    hub: &Rc<Hub>,
    log: &Log,
    reloader: &Reloader,
    store: Option<&FdStore>,
) -> End {
    let serving = actix_rt::spawn(serving);
    let showing = store.map(|store| actix_rt::spawn(show_status(store.clone(), hub.registry.clone())));
    let end = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break End::Signal("SIGTERM"),
            _ = signals.interrupt.recv() => break End::Signal("SIGINT"),
            _ = signals.hangup.recv() => reload(reloader, store).await,
            () = hub.upgrading.notified() => break End::Upgrade,
            () = hub.ended.notified() => break End::Shutdown,
            () = death(hub) => break End::Death,
            () = damage(log) => break End::Damage,
        }
    };
    if let Some(showing) = showing {
        showing.abort();
    }
    tell(store, FdStore::stopping);
    serving.abort();
    // The listener is gone with its task: who is told to reconnect does not reach this process again.
    let _ = serving.await;
    end
}

/// Ends what clients have open, and has the log written down.
pub(super) async fn part(end: End, hub: &Hub, log: &Log) {
    let started = Instant::now();
    match end {
        End::Signal(_) | End::Upgrade => {
            let left = hub.close(FAREWELL_MAX).await;
            tracing::info!(left, took_ms = started.elapsed().as_millis() as u64, "clients were told");
        }
        End::Shutdown => {}
        End::Death | End::Damage => return,
    }
    let patience = if end == End::Upgrade { LOG_UPGRADE_MAX } else { LOG_MAX };
    match timeout(patience, log.drain()).await {
        Ok(()) => tracing::info!(took_ms = started.elapsed().as_millis() as u64, "the log is on disk"),
        Err(_) => tracing::info!("the log is not on disk yet: the next supervisor goes on with it"),
    }
}

/// Keeps the line that `systemctl status` shows true.
async fn show_status(store: FdStore, registry: Addr<Registry>) {
    let mut shown = String::new();
    while let Ok(figures) = registry.send(TakeFigures { terms: false }).await {
        let line = status_line(&figures);
        if line != shown {
            tell(Some(&store), |store| store.status(&line));
            shown = line;
        }
        sleep(STATUS_EVERY).await;
    }
}

fn status_line(figures: &Figures) -> String {
    let states = figures.states().map(|(state, terms)| format!("{terms} {state}")).join(", ");
    let log = if figures.log.faulty { "; the log stands still" } else { "" };
    format!("Terminals: {states}; clients: {}{log}", figures.clients())
}

async fn reload(reloader: &Reloader, store: Option<&FdStore>) {
    tell(store, FdStore::reloading);
    // What became of it, it says in the log itself.
    let _ = reloader.reload().await;
    tell(store, FdStore::ready);
}

/// Says something to the service manager; one that does not hear is no reason to stop.
fn tell(store: Option<&FdStore>, what: impl Fn(&FdStore) -> Result<(), FdStoreError>) {
    if let Some(Err(error)) = store.map(what) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the service manager was not told");
    }
}

/// Resolves once the store was found to be damaged.
async fn damage(log: &Log) {
    while !log.stats().condemned.load(Ordering::Relaxed) {
        sleep(DEATH_CHECK).await;
    }
}

/// Resolves once the supervisor's actor or the registry is dead.
async fn death(hub: &Hub) {
    while hub.supervisor.connected() && hub.registry.connected() {
        sleep(DEATH_CHECK).await;
    }
}
