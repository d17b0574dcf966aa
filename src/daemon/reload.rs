//! The configuration, read again while the supervisor runs; and the terminals that it declares, made where they are missing.
//!
//! ```text
//!   start, after adoption ─────────────────────────────┐
//!   reload: read ─► what has changed ─► apply what is live ─┴─► reconcile: records ─► plan ─► Create … ─► what was done
//! ```
//!
//! **Invariants.** A file that is wrong changes nothing. One reload at a time. What cannot be applied live is named at every reload until
//! the supervisor is restarted.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
};

use actix::Addr;
use actix_rt::ArbiterHandle;
use kaval_actors::{
    Name,
    log::service::Log,
    supervisor::{
        Create, FindAll, Limits, Reaping, SetLimits, SetReaping, Supervisor,
        manifest::{Declaration, Record},
    },
};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    declared::{Action, plan},
    lanes,
};
use crate::{
    config::{self, Applies, Config, ConfigError, changes},
    places,
    wire::{ReloadOk, ReloadedSetting, ReloadedTerm, SettingOutcome, TermOutcome},
};

/// Why a reload was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The supervisor's actor has died, or the process ends.
    #[error("the supervisor is ending")]
    Ending,
}

/// See the module's head.
pub(super) struct Reloader {
    /// The file that was named at the start; the usual one, if it is there, otherwise.
    file: Option<PathBuf>,
    parts: Reconfigured,
    started: Config,
    now: RefCell<Config>,
    turn: Mutex<()>,
}

/// What is told of what is changed live.
pub(super) struct Reconfigured {
    pub(super) supervisor: Addr<Supervisor>,
    /// What mirrors may take, which the budget looks at.
    pub(super) mirrors_max: Rc<Cell<u64>>,
    pub(super) log: Log,
    pub(super) lanes: Vec<ArbiterHandle>,
}

/// What a configuration refuses.
pub(super) fn limits(config: &Config) -> Limits {
    let config::Limits { terms_max, kill_grace, restart_delay_max } = config.limits;
    Limits { terms_max, kill_grace, restart_delay_max }
}

/// What a configuration reaps.
pub(super) fn reaping(config: &Config) -> Reaping {
    config.reap.settings(config.term.iter().map(|term| Declaration::from(term).name).collect())
}

impl Reloader {
    /// One for a supervisor that was started with `config`, out of `file`.
    pub(super) fn new(file: Option<PathBuf>, config: Config, parts: Reconfigured) -> Self {
        Self { file, parts, now: RefCell::new(config.clone()), started: config, turn: Mutex::new(()) }
    }

    /// Makes the terminals that the configuration of the start declares.
    ///
    /// # Errors
    /// [`ReloadError::Ending`].
    pub(super) async fn begin(&self) -> Result<(), ReloadError> {
        let _turn = self.turn.lock().await;
        let config = self.now.borrow().clone();
        self.reconcile(&config).await.map(drop)
    }

    /// Reads the configuration again, applies what can be, and makes the terminals that it declares.
    ///
    /// # Errors
    /// [`ReloadError`]; a bad file changes nothing.
    pub(super) async fn reload(&self) -> Result<ReloadOk, ReloadError> {
        let _turn = self.turn.lock().await;
        let file = self.file.clone().or_else(places::config_file);
        let read = spawn_blocking(move || Config::read(file.as_deref())).await.map_err(|_| ReloadError::Ending)?;
        let new = read.inspect_err(|error| tracing::error!(%error, "the configuration was not reloaded"))?;
        let settings: Vec<_> = changes(&self.started, &self.now.borrow(), &new).into_iter().map(setting).collect();
        self.apply(&new).await?;
        let terms = self.reconcile(&new).await?;
        self.now.replace(new);
        for ReloadedSetting { key, outcome } in &settings {
            tracing::info!(%key, ?outcome, "a setting has changed");
        }
        tracing::info!("the configuration was read again");
        Ok(ReloadOk { terms, settings })
    }

    async fn apply(&self, new: &Config) -> Result<(), ReloadError> {
        let Reconfigured { supervisor, mirrors_max, log, lanes } = &self.parts;
        supervisor.send(SetLimits(limits(new))).await.map_err(|_| ReloadError::Ending)?;
        mirrors_max.set(new.memory.mirrors_max.as_u64());
        supervisor.send(SetReaping(reaping(new))).await.map_err(|_| ReloadError::Ending)?;
        log.limit(new.log.settings().limits);
        lanes::hibernate_after(lanes, new.memory.hibernate_after);
        Ok(())
    }

    async fn reconcile(&self, config: &Config) -> Result<Vec<ReloadedTerm>, ReloadError> {
        let found = self.parts.supervisor.send(FindAll).await.map_err(|_| ReloadError::Ending)?;
        let records: Vec<Record> = found.into_iter().map(|found| found.record).collect();
        let desired: Vec<Declaration> = config.term.iter().map(Declaration::from).collect();
        let mut terms = Vec::new();
        for (name, action) in plan(&desired, &records) {
            let (outcome, note) = match action {
                Action::Create(declaration) => self.create(declaration).await?,
                Action::Leave(note) => (TermOutcome::Left, note),
                Action::Changed(note) => (TermOutcome::Changed, note),
                Action::Undeclared(note) => (TermOutcome::Undeclared, note),
            };
            log(&name, outcome);
            terms.push(ReloadedTerm { name: name.to_string(), outcome, note });
        }
        Ok(terms)
    }

    async fn create(&self, declaration: Declaration) -> Result<(TermOutcome, String), ReloadError> {
        Ok(match self.parts.supervisor.send(Create::from(declaration)).await.map_err(|_| ReloadError::Ending)? {
            Ok(_) => (TermOutcome::Created, String::new()),
            Err(error) => (TermOutcome::Refused, error.to_string()),
        })
    }
}

/// Names what was done and to which, not what runs there: that is for who asks.
fn log(name: &Name, outcome: TermOutcome) {
    match outcome {
        TermOutcome::Refused => tracing::warn!(%name, "a declared terminal could not be made: kaval reload says why"),
        TermOutcome::Left => tracing::debug!(%name, "a declared terminal is there"),
        TermOutcome::Created | TermOutcome::Changed | TermOutcome::Undeclared | TermOutcome::Unknown => {
            tracing::info!(%name, ?outcome, "a declared terminal");
        }
    }
}

fn setting((key, applies): (String, Applies)) -> ReloadedSetting {
    let outcome = match applies {
        Applies::Now => SettingOutcome::Applied,
        Applies::AtRestart => SettingOutcome::Restart,
        Applies::ToClients => SettingOutcome::Client,
    };
    ReloadedSetting { key, outcome }
}
