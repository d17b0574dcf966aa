//! The supervisor process, put together in the order in which it starts.
//!
//! ```text
//!   keeper (unless under one, or systemd) ─► descriptors taken back ─► lock ─► lanes: journals recovered
//!      ─► manifest ─► supervisor actor: everything adopted ─► socket ─► declared terminals made ─► READY ─► until a signal or a shutdown
//! ```
//!
//! **Invariants.** Terminals are read again before the socket is there. One supervisor a state directory, by a lock that dies with it. It
//! can be killed anywhere on this way.

mod declared;
mod lanes;
mod lock;
mod logging;
mod operator;
mod profile;
mod reload;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, System};
use anyhow::Context;
use kaval_actors::{
    TermId,
    log::{journal::DataPath, store::Store, writer::Log},
    pty::launch::FileLimits,
    supervisor::{
        Custody, NoCustody, Supervisor, SupervisorParts,
        execute::{Executor, Surroundings},
        inventory::Inventory,
        manifest::Record,
    },
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::sleep,
};

use self::{operator::Levers, reload::Reloader};
use crate::{
    config::Config,
    fdstore::{self, FdStore},
    keeper, places,
    private::private_dir,
    socket::{self, Hub},
};

/// How often it is looked at whether the supervisor's actor still lives.
const DEATH_CHECK: Duration = Duration::from_secs(1);

/// What `kaval serve` is told.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The configuration file; the usual one if absent.
    pub config: Option<PathBuf>,
    /// Where state is kept; the usual place if absent.
    pub state_dir: Option<PathBuf>,
    /// Where the socket is; the usual place if absent.
    pub socket: Option<PathBuf>,
    /// Whether to run under a keeper where there is no systemd to keep descriptors.
    pub keeper: bool,
    /// How output gets into the journal.
    pub data_path: DataPath,
}

/// Runs a supervisor, or the keeper over it, to its end.
///
/// # Errors
/// What keeps it from starting.
pub fn run(options: &ServeOptions) -> anyhow::Result<ExitCode> {
    let store = FdStore::from_env();
    if store.is_none() && options.keeper {
        let this = std::env::current_exe().context("cannot find the kaval program itself")?;
        let command: Vec<_> = [this.into_os_string()].into_iter().chain(std::env::args_os().skip(1)).collect();
        return Ok(keeper::run(&command)?);
    }
    logging::init();
    let config_file = options.config.clone().or_else(places::config_file);
    let config = Config::read(config_file.as_deref())?;
    let state_dir = options.state_dir.clone().unwrap_or_else(places::state_dir);
    private_dir(&state_dir)?;
    let state_dir = fs::canonicalize(&state_dir).with_context(|| format!("state directory {state_dir:?} cannot be used"))?;
    let _lock = lock::acquire(&state_dir)?;
    let socket = socket_path(options)?;
    let limits = original_limits();
    limits.raise().context("cannot raise the limit on open files")?;

    let started = Instant::now();
    let inherited = fdstore::take_inherited().context("cannot take back what the keeper holds")?;
    let inventory = Inventory::sort(inherited);
    System::new().block_on(supervise(options, config, &state_dir, socket, limits, store, inventory, started))
}

/// The open-file limits that children are given: the keeper's own, if it raised ours.
fn original_limits() -> FileLimits {
    let current = FileLimits::current();
    match std::env::var("KAVAL_NOFILE").ok().as_deref() {
        Some("unlimited") => FileLimits { soft: None, ..current },
        Some(number) => FileLimits { soft: number.parse().ok().or(current.soft), ..current },
        None => current,
    }
}

fn socket_path(options: &ServeOptions) -> anyhow::Result<PathBuf> {
    match &options.socket {
        // The usual place is checked also when it is spelt out, as it is by a start in the background.
        Some(path) if *path != places::server_socket() => {
            let path = std::path::absolute(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
                private_dir(parent)?;
            }
            Ok(path)
        }
        Some(_) | None => {
            let path = places::server_socket();
            if let Some(parent) = path.parent() {
                private_dir(parent)?;
            }
            Ok(path)
        }
    }
}

#[allow(clippy::too_many_arguments)]
async fn supervise(
    options: &ServeOptions,
    config: Config,
    state_dir: &Path,
    socket: PathBuf,
    limits: FileLimits,
    store: Option<FdStore>,
    mut inventory: Inventory,
    started: Instant,
) -> anyhow::Result<ExitCode> {
    let custody = custody(store.clone());
    for stray in &inventory.strays {
        tracing::warn!(name = %stray, "a descriptor that was kept is of no use and is dropped");
        custody.remove(stray)?;
    }
    let adopted = inventory.terminals.len();
    let store::Opened { store: database, manifest, records, next_id, unknown } =
        store::open(&state_dir.join("store"), &mut inventory.terminals)?;
    let log = start_log(database, &config, &records, &unknown)?;
    let (arbiters, lanes) =
        lanes::start(inventory.journals, config.journal.bytes_max.as_u64(), options.data_path, &*custody, &log)?;
    let executor = Executor::start(manifest, custody, Surroundings { socket: socket.clone(), limits })?;
    let (ready, recovered) = oneshot::channel();
    let limits = reload::limits(&config);
    let parts =
        SupervisorParts { records, next_id, terminals: inventory.terminals, lanes, executor, log: log.clone(), limits, ready };
    let supervisor = Supervisor::new(parts).start();
    recovered.await.context("the supervisor did not come up")?;

    let listener = socket::bind(&socket)?;
    let reloader = Rc::new(Reloader::new(options.config.clone(), config, supervisor.clone(), log.clone()));
    reloader.begin().await?;
    let operator = Rc::new(Levers { reloader });
    let hub = Rc::new(Hub::new(supervisor, format!("{:016x}", rand::random::<u64>()), operator));
    if let Some(store) = &store {
        store.ready()?;
    }
    tracing::info!(socket = %socket.display(), adopted, took_ms = started.elapsed().as_millis() as u64, "ready");
    let end = until_the_end(listener, &hub, &log).await?;
    tracing::info!(%end, "ending");
    if let Some(store) = &store {
        store.stopping()?;
    }
    let _ = fs::remove_file(&socket);
    log.drain().await;
    drop(arbiters);
    Ok(ExitCode::SUCCESS)
}

/// Starts the log thread, for all terminals but those that were told to stay off the disk.
fn start_log(store: Store, config: &Config, records: &BTreeMap<TermId, Record>, unknown: &BTreeSet<TermId>) -> io::Result<Log> {
    let log = Log::start(store, config.log.settings(), records.keys().chain(unknown).copied().collect())?;
    records.values().filter(|record| !record.logged).for_each(|record| log.exclude(record.id));
    Ok(log)
}

async fn until_the_end(listener: UnixListener, hub: &Rc<Hub>, log: &Log) -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let serving = actix_rt::spawn(socket::serve(listener, hub.clone()));
    let end = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = hub.ended.notified() => "shutdown",
        () = death(&hub.supervisor) => return Err(io::Error::other("the supervisor's actor died: a fresh process takes over")),
        () = damage(log) => return Err(io::Error::other("the store is damaged: a fresh process sets it aside")),
    };
    serving.abort();
    Ok(end)
}

/// Resolves once the actor is dead, of a panic: nothing in this process could be asked or ended any more.
async fn death(supervisor: &Addr<Supervisor>) {
    while supervisor.connected() {
        sleep(DEATH_CHECK).await;
    }
}

/// Resolves once the store was found to be damaged for good.
async fn damage(log: &Log) {
    while !log.stats().condemned.load(Ordering::Relaxed) {
        sleep(DEATH_CHECK).await;
    }
}

/// The notify socket, as the actors see it.
struct Kept(FdStore);

impl Custody for Kept {
    fn store(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.store(name, fd).map_err(io::Error::other)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name).map_err(io::Error::other)
    }

    fn settle(&self) -> io::Result<()> {
        self.0.barrier().map_err(io::Error::other)
    }
}

fn custody(store: Option<FdStore>) -> Box<dyn Custody> {
    match store {
        Some(store) => Box::new(Kept(store)),
        None => {
            tracing::warn!("nobody keeps descriptors: terminals end with this supervisor");
            Box::new(NoCustody)
        }
    }
}
