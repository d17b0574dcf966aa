//! The supervisor process, put together in the order in which it starts.
//!
//! ```text
//!   keeper (unless under one, or systemd) ─► lock ─► http ─► descriptors taken back ─► manifest ─► log ─► lanes: journals recovered
//!      ─► registry, supervisor actor: everything adopted ─► socket ─► declared terminals made ─► READY ─► life: until a signal or a
//!      shutdown ─► clients told, log on disk ─► how it ended written down ─► exit
//! ```
//!
//! **Invariants.** Terminals are read again before the socket is there. One supervisor a state directory, by a lock that dies with it. It
//! can be killed anywhere on this way.

mod budget;
mod children;
mod declared;
mod formats;
mod lanes;
mod life;
mod listening;
mod lock;
mod logging;
mod marker;
mod operator;
mod previous;
mod profile;
mod reload;
mod store;
mod upgrade;
mod watchdog;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use actix::{Actor, System};
use actix_rt::ArbiterHandle;
use anyhow::{Context, bail};
use kaval_actors::{
    Findings, Size, TermId,
    log::{
        journal::{DataPath, aside::Held},
        replay,
        service::Log,
        store::Store,
    },
    pty::{cgroup::Groups, launch::FileLimits},
    registry::{Ledger, LedgerError, Pulse, Ready, Registry, RegistryParts},
    supervisor::{
        Custody, NoCustody, Supervisor, SupervisorParts,
        execute::{Executor, Surroundings},
        inventory::{Inventory, Stray},
        manifest::{FormatNote, Manifest, Record},
    },
    terminal::Lane,
};
use tokio::sync::oneshot;

use self::{
    budget::Budget,
    lanes::Lanes,
    life::{End, Signals},
    marker::Running,
    operator::Levers,
    reload::{Reconfigured, Reloader},
    watchdog::{Watchdog, Watched},
};
pub use self::{formats::line as formats_line, previous::PreviousEnd};
use crate::{
    config::{Config, Listen, Metrics},
    disk::{Disk, Kind},
    fdstore::{self, FdStore},
    http::{self, Endpoint, Port},
    keeper, places,
    private::private_dir,
    socket::{self, Hub, HubParts},
    vitals,
};

/// What `kaval serve` is told.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The configuration file; the usual one if absent.
    pub config: Option<PathBuf>,
    /// Where state is kept; the usual place if absent.
    pub state_dir: Option<PathBuf>,
    /// Where the socket is; the usual place if absent.
    pub socket: Option<PathBuf>,
    /// Where metrics are served; as the configuration says if absent.
    pub metrics: Option<Listen>,
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
        return Ok(keeper::run(&command, keeper::TRIAL_MAX)?);
    }
    logging::init();
    // An image that has no file any more is executed by a number.
    let _ = rustix::thread::set_name(c"kaval");
    vitals::give_memory_back();
    let config_file = options.config.clone().or_else(places::config_file);
    let config = Config::read(config_file.as_deref())?;
    let state_dir = options.state_dir.clone().unwrap_or_else(places::state_dir);
    private_dir(&state_dir)?;
    let state_dir = fs::canonicalize(&state_dir).with_context(|| format!("state directory {state_dir:?} cannot be used"))?;
    let disk = Disk::under(&state_dir).with_context(|| format!("state directory {state_dir:?} cannot be used"))?;
    if disk.read_only {
        bail!("state directory {state_dir:?} is on a read-only file system: make it writable, or give another --state-dir");
    }
    formats::check_state(&state_dir)?;
    let _lock = lock::acquire(&state_dir)?;
    let endpoint = port(options.metrics, config.metrics.address).map(http::start).transpose()?;
    let (running, previous_end) = Running::begin(&state_dir);
    tracing::info!(%previous_end, cause = previous_end.cause(), "starting");
    let limits = original_limits();
    limits.raise().context("cannot raise the limit on open files")?;

    let started = Instant::now();
    let (listener, kept) = apart(fdstore::take_inherited().context("cannot take back what the keeper holds")?);
    let place = match listener {
        Some(listener) => Place::Inherited(listener),
        None => Place::Path(socket_path(options)?),
    };
    let inventory = Inventory::sort(kept);
    formats::check_journals(inventory.journals.values())?;
    match System::new().block_on(supervise(
        options,
        config,
        &state_dir,
        place,
        limits,
        store,
        inventory,
        endpoint,
        previous_end,
        started,
    ))? {
        End::Signal(_) | End::Upgrade | End::Shutdown => {
            running.ended_clean();
            Ok(ExitCode::SUCCESS)
        }
        end @ End::Death => {
            running.panicked();
            bail!("{end}: a fresh process takes over")
        }
        end @ End::Damage => bail!("{end}: a fresh process sets it aside"),
    }
}

/// Adds what systemd has seen of a supervisor's end to what that wrote down itself: what `ExecStopPost=` runs.
///
/// # Errors
/// When no supervisor has run on the state directory, or it cannot be written to.
pub fn note_end(state_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let state_dir = state_dir.unwrap_or_else(places::state_dir);
    marker::note_end(&state_dir).with_context(|| format!("how the supervisor on {state_dir:?} ended cannot be noted"))
}

/// The listening socket that systemd handed over, if it did, and everything else.
fn apart(inherited: Vec<(String, OwnedFd)>) -> (Option<OwnedFd>, Vec<(String, OwnedFd)>) {
    let (mut listeners, kept): (Vec<_>, Vec<_>) = inherited.into_iter().partition(|(_, fd)| socket::is_listener(fd.as_fd()));
    for (name, _) in listeners.drain(1.min(listeners.len())..) {
        tracing::warn!(%name, "there is more than one socket to listen on: this one is not used");
    }
    (listeners.pop().map(|(_, fd)| fd), kept)
}

/// Where clients are listened for.
enum Place {
    /// At a path that is to be bound.
    Path(PathBuf),
    /// On a socket that a service manager has bound, and keeps.
    Inherited(OwnedFd),
}

/// Control groups for terminals, where systemd runs us and lets us have them.
fn groups() -> Option<Groups> {
    if std::env::var_os(keeper::KEEPER_VARIABLE).is_some() {
        return None;
    }
    let groups = Groups::take_over().unwrap_or_else(|error| {
        tracing::warn!(%error, "the service's control group cannot be used: terminals have none of their own");
        None
    })?;
    tracing::info!(dir = ?groups.dir(), "each new terminal has a control group of its own");
    Some(groups)
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
    // The usual place is checked also when it is spelt out, as it is by a start in the background.
    let path = options.socket.as_ref().map(std::path::absolute).transpose()?.unwrap_or_else(places::server_socket);
    listening::make_dir(&path)?;
    Ok(path)
}

#[allow(clippy::too_many_arguments)]
async fn supervise(
    options: &ServeOptions,
    config: Config,
    state_dir: &Path,
    place: Place,
    limits: FileLimits,
    store: Option<FdStore>,
    mut inventory: Inventory,
    endpoint: Option<Arc<Endpoint>>,
    previous_end: PreviousEnd,
    started: Instant,
) -> anyhow::Result<End> {
    let (listener, socket) = match place {
        Place::Path(path) => (None, path),
        Place::Inherited(fd) => socket::inherit(fd).map(|(listener, path)| (Some(listener), path))?,
    };
    let is_ours = listener.is_none();
    let watchdog = store.clone().map(Watchdog::start).transpose().context("cannot start a thread")?;
    let custody = custody(store.clone());
    let findings = Findings::default();
    if let Some(Kind::Remote(name)) = Disk::under(state_dir).ok().map(|disk| disk.kind) {
        findings.note(format!(
            "state directory {} is on a file system that is not this machine's own ({name}): its locks, which keep a second \
             supervisor out, and its flushes are as good as whoever runs it makes them; a local disk is better (--state-dir)",
            state_dir.display()
        ));
    }
    drop_strays(&inventory, &*custody, &findings);
    let store::Opened { store: database, manifest, mut records, next_id, unknown, renewed, lineage } =
        store::open(&state_dir.join("store"), &mut inventory, &*custody, &findings)?;
    let adopted = inventory.terminals.len();
    let ledger = Ledger::open(&database, renewed);
    let log = start_log(database, &config, &records, &unknown, findings.clone())?;
    let unlogged = records.values().filter(|record| !record.logged).map(|record| record.id).collect();
    let memory_limit = budget::limit(&config.memory);
    let around = lanes::Surroundings {
        bytes_max: budget::journal(config.journal.bytes_max.as_u64(), memory_limit.as_ref()),
        path: options.data_path,
        custody: &*custody,
        log: &log,
        state_dir,
        unlogged: &unlogged,
        lineage,
        findings: &findings,
    };
    let Lanes { arbiters, handles: lanes, last_id, lost } = lanes::start(&mut inventory, &around)?;
    go_on_behind_what_is_lost(&mut records, &inventory, &lost, &lanes, &log, &manifest).await?;
    // An id that the journals know is not given again, even if its record was lost with a damaged store.
    let next_id = next_id.max(store::after(last_id));
    manifest.skip_to(next_id)?;
    lanes::hibernate_after(&lanes, config.memory.hibernate_after);
    let pulses = lanes::pulses(&lanes);
    let registry = registry(ledger, &previous_end, &config, pulses.clone(), &log)?.start();
    if let Some(endpoint) = &endpoint {
        endpoint.set_registry(registry.clone());
    }
    let groups = if store.is_some() { groups() } else { None };
    let format_note = manifest.format_note();
    let executor = Executor::start(manifest, custody, Surroundings { socket: socket.clone(), limits, groups: groups.clone() })?;
    let (ready, recovered) = oneshot::channel();
    let limits = reload::limits(&config);
    let parts = SupervisorParts {
        records,
        next_id,
        terminals: inventory.terminals,
        lanes: lanes.clone(),
        executor,
        log: log.clone(),
        limits,
        reaping: reload::reaping(&config),
        registry: registry.clone(),
        ready,
    };
    let supervisor = Supervisor::new(parts).start();
    recovered.await.context("the supervisor did not come up")?;
    registry.send(Ready(started.elapsed())).await.context("the registry did not come up")?;

    let listener = match listener {
        Some(listener) => listener,
        None => socket::bind(&socket)?,
    };
    let mirrors_max = Rc::new(Cell::new(config.memory.mirrors_max.as_u64()));
    let budget = Budget::new(memory_limit, mirrors_max.clone(), registry.clone(), log.clone(), config.diag.clone());
    let reloader = Rc::new(Reloader::new(
        options.config.clone(),
        config,
        Reconfigured { supervisor: supervisor.clone(), mirrors_max, log: log.clone(), lanes },
    ));
    reloader.begin().await?;
    let operator = Rc::new(Levers { reloader: reloader.clone(), store: store.clone() });
    let (boot, data_path) = (format!("{:016x}", rand::random::<u64>()), options.data_path);
    if let Some(endpoint) = &endpoint {
        endpoint.set_ready();
    }
    let hub = Rc::new(Hub::new(HubParts { supervisor, registry, operator, boot, started, data_path, endpoint, findings }));
    let signals = Signals::catch().context("cannot handle signals")?;
    if let Some(store) = &store {
        store.ready()?;
    }
    note_format(state_dir.to_owned(), format_note);
    if let Some(watchdog) = &watchdog {
        watchdog.ready(Watched { pulses, log: log.stats().clone() });
    }
    actix_rt::spawn(budget.keep());
    actix_rt::spawn(children::watch(hub.registry.clone(), groups));
    tracing::info!(socket = %socket.display(), adopted, took_ms = started.elapsed().as_millis() as u64, "ready");
    let serving = listening::serve(listener, is_ours.then(|| socket.clone()), hub.clone());
    let end = life::until_the_end(signals, serving, &hub, &log, &reloader, store.as_ref()).await;
    tracing::info!(%end, "ending");
    life::part(end, &hub, &log).await;
    // Left behind for who may be started next, it makes clients wait for that one.
    let has_successor = store.is_some() && end != End::Shutdown;
    if is_ours && !has_successor {
        let _ = fs::remove_file(&socket);
    }
    drop(arbiters);
    Ok(end)
}

/// Has it written down that what is on disk is this program's now. Until it is, the one before reads it as well.
fn note_format(state_dir: PathBuf, manifest: FormatNote) {
    drop(tokio::task::spawn_blocking(move || {
        if let Err(error) = formats::note(&state_dir, &manifest) {
            tracing::error!(error = %format!("{error:#}"), "the format of what is on disk cannot be written down");
        }
    }));
}

/// Has the custodian drop what is of no use, unless something else is kept under its name: what may be dropped of that is a
/// matter of the terminal's end.
fn drop_strays(inventory: &Inventory, custody: &dyn Custody, findings: &Findings) {
    for Stray { name, why } in &inventory.strays {
        findings.note(format!("the descriptor {name} that was kept is of no use and was closed: {why}"));
        if !inventory.keeps(name)
            && let Err(error) = custody.remove(name)
        {
            tracing::warn!(%name, %error, "the keeper could not drop a descriptor");
        }
    }
}

/// Has terminals whose journal is lost go on with their last screen that is on disk, behind all output that the journal may
/// have held: no offset stands for two bytes, and the log has a gap there.
async fn go_on_behind_what_is_lost(
    records: &mut BTreeMap<TermId, Record>,
    inventory: &Inventory,
    lost: &BTreeMap<u32, Held>,
    lanes: &[ArbiterHandle],
    log: &Log,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    for (&id, record) in records {
        let lane = id.0 % lanes.len() as u32;
        let master = inventory.terminals.get(&id).and_then(|held| held.master.as_ref());
        let (Some(master), Some(held)) = (master, lost.get(&lane)) else { continue };
        let end = log.stats().end(id);
        // What is not logged was nowhere else.
        let offset = record.offset.max(end.unwrap_or(0)) + if record.logged { held.now } else { held.ever };
        record.offset = offset;
        let (cols, rows) = master.size().unwrap_or_default();
        record.size = Size::new(cols.into(), rows.into()).unwrap_or(record.size);
        manifest.put(record)?;
        let (Some(end), size) = (end, record.size) else { continue };
        match log.read(id, move |reader| replay::screen(reader, size, end)).await {
            Ok(mut mirror) => {
                if mirror.resize(size).is_err() {
                    tracing::warn!(%id, "the screen on disk cannot be drawn at the pty's size");
                }
                lanes[lane as usize].spawn_fn(move || {
                    if let Err(error) = Lane::current().begin_again(id, offset, &mirror.checkpoint()) {
                        tracing::warn!(%id, %error, "the terminal begins with an empty screen");
                    }
                });
            }
            Err(error) => tracing::warn!(%id, %error, "the terminal begins with an empty screen"),
        }
    }
    Ok(())
}

/// Starts the log thread, for all terminals but those that were told to stay off the disk.
fn start_log(
    store: Store,
    config: &Config,
    records: &BTreeMap<TermId, Record>,
    unknown: &BTreeSet<TermId>,
    findings: Findings,
) -> io::Result<Log> {
    let logged = records.values().filter(|record| record.logged).map(|record| &record.id);
    Log::start(store, config.log.settings(), logged.chain(unknown).copied().collect(), findings, vitals::count_as_log)
}

/// Where to serve metrics, if anywhere. The default address is shared by all who do not choose one: it may be taken.
fn port(chosen: Option<Listen>, configured: Listen) -> Option<Port> {
    match chosen.unwrap_or(configured) {
        Listen::Off => None,
        Listen::At(address) if chosen.is_none() && configured == Listen::default() => Some(Port::Wanted(address)),
        Listen::At(address) => Some(Port::Required(address)),
    }
}

/// The registry, with numbers for its first events. A disk that takes no write delays events, and keeps no supervisor from starting.
fn registry(
    ledger: Ledger,
    previous_end: &PreviousEnd,
    config: &Config,
    pulses: Vec<Arc<Pulse>>,
    log: &Log,
) -> anyhow::Result<Registry> {
    let is_restart = *previous_end != PreviousEnd::FirstStart;
    let counted = if is_restart { ledger.count_restart(previous_end.cause()) } else { ledger.restarts() };
    let mut restarts = counted.or_else(|error| delayed(&error).and_then(|()| ledger.restarts()))?;
    for cause in PreviousEnd::CAUSES {
        restarts.entry(cause.to_owned()).or_default();
    }
    let numbers = ledger.reserve().or_else(|error| delayed(&error).and_then(|()| ledger.next().map(|next| next..next)))?;
    let Metrics { per_term, term_info, .. } = config.metrics;
    let log = log.stats().clone();
    let (previous_end, upgrade_undone) = (previous_end.to_string(), upgrade_undone());
    let mirrors_max = config.memory.mirrors_max.as_u64();
    let parts = RegistryParts {
        ledger,
        numbers,
        previous_end,
        is_restart,
        upgrade_undone,
        restarts,
        pulses,
        log,
        per_term,
        term_info,
        mirrors_max,
        base_bytes: vitals::Heap::now().allocated_bytes.saturating_sub(vitals::log_heap_bytes().unwrap_or(0)),
    };
    Ok(Registry::new(parts))
}

/// Why the last upgrade was undone, as the keeper has it.
fn upgrade_undone() -> Option<String> {
    let reason = std::env::var("KAVAL_UPGRADE_UNDONE").ok()?;
    tracing::warn!(%reason, "an upgrade was undone: this is the version before it");
    Some(reason)
}

fn delayed(error: &LedgerError) -> Result<(), LedgerError> {
    tracing::error!(error = error as &dyn std::error::Error, "the start could not be recorded");
    Ok(())
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
