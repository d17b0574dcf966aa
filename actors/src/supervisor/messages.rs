//! What the supervisor is asked. All of these come from connections, and the daemon at its end.

use std::path::PathBuf;

use actix::{Addr, Message};

use super::{
    Limits,
    execute::ExecuteError,
    manifest::{Declaration, Record, Restart},
    reap::Reaping,
};
use crate::{Name, Size, TermId, terminal::Terminal};

/// Creates a terminal. Answered once its command runs.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Created, CreateError>")]
pub struct Create {
    /// Its name; made up if absent.
    pub name: Option<Name>,
    /// Program and arguments; the user's shell if empty.
    pub argv: Vec<String>,
    /// Where it starts; the home directory if absent.
    pub cwd: Option<PathBuf>,
    /// What its environment has beyond the supervisor's.
    pub env: Vec<(String, String)>,
    /// Its size.
    pub size: Size,
    /// Whether its child is started again.
    pub restart: Restart,
    /// Whether its output goes to disk.
    pub logged: bool,
    /// Chosen at random by who asks: asking again with it gives the same terminal. 0 is none.
    pub token: u64,
    /// A terminal of that name that exists is the answer, not an error.
    pub if_absent: bool,
    /// The configuration's entry, if it is made for one.
    pub declared: Option<Declaration>,
}

impl From<Declaration> for Create {
    fn from(declared: Declaration) -> Self {
        let Declaration { name, argv, cwd, env, size, restart } = declared.clone();
        Self {
            name: Some(name),
            argv,
            cwd,
            env,
            size: size.unwrap_or(Size::DEFAULT),
            restart,
            logged: true,
            token: 0,
            if_absent: false,
            declared: Some(declared),
        }
    }
}

/// The reply to [`Create`].
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub id: TermId,
    /// Its name.
    pub name: Name,
}

/// Why a terminal was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// The name is in use.
    #[error("terminal {0} exists already: choose another name, attach to it, or use --if-absent")]
    NameTaken(Name),
    /// There are as many as there may be.
    #[error("there are {max} terminals already, the most allowed: remove ended ones with kaval rm, or raise limits.terms_max")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// An argument or variable holds a NUL byte, or they are too long together.
    #[error("{0}")]
    BadCommand(String),
    /// The child could not be started.
    #[error("{0}")]
    Failed(String),
}

/// Which terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By name.
    Name(String),
    /// By id.
    Id(TermId),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "#{id}"),
        }
    }
}

/// There is none such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no terminal {selector}{hint}: see kaval ls")]
pub struct NoSuchTerm {
    /// As asked for.
    pub selector: Selector,
    /// A name that is close, as ` (did you mean x?)`; or nothing.
    pub hint: String,
}

/// Finds a terminal's actor.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Found, NoSuchTerm>")]
pub struct Find(pub Selector);

/// The reply to [`Find`].
#[derive(Debug, Clone)]
pub struct Found {
    /// Its record.
    pub record: Record,
    /// Its actor; `None` while it is being created or restarted.
    pub terminal: Option<Addr<Terminal>>,
}

/// Sets what is refused from now on. From the daemon, when the configuration has changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SetLimits(pub Limits);

/// Sets what is reaped from now on. From the daemon, when the configuration has changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SetReaping(pub Reaping);

/// Finds every terminal, by id.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Found>")]
pub struct FindAll;

/// Ends a terminal's child.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), KillError>")]
pub struct Kill {
    /// Whose.
    pub selector: Selector,
    /// Just this signal; `None` hangs up, and kills what is left after the grace period.
    pub signal: Option<i32>,
}

/// Why a terminal's child was not ended.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// There is none such.
    #[error(transparent)]
    NoSuchTerm(#[from] NoSuchTerm),
    /// It has ended already.
    #[error("terminal {0} has ended already")]
    Ended(Name),
    /// No such signal.
    #[error("{0} is no signal number")]
    BadSignal(i32),
    /// It could not be recorded.
    #[error("terminal {0} could not be marked as ending: {1}")]
    Failed(Name, ExecuteError),
}

/// Gives a terminal another name; on disk when answered. What its child was told at its start (`KAVAL_TERM_NAME`) stays.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), RenameError>")]
pub struct Rename {
    /// Which.
    pub selector: Selector,
    /// Its new name.
    pub name: Name,
}

/// Why a terminal was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// There is none such.
    #[error(transparent)]
    NoSuchTerm(#[from] NoSuchTerm),
    /// Another terminal has that name.
    #[error("terminal {0} exists already: choose another name")]
    NameTaken(Name),
    /// It could not be recorded.
    #[error("terminal {0} keeps its name, since the new one could not be recorded: {1}")]
    Failed(Name, ExecuteError),
}

/// Forgets an ended terminal.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), RemoveError>")]
pub struct Remove(pub Selector);

/// Why a terminal was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none such.
    #[error(transparent)]
    NoSuchTerm(#[from] NoSuchTerm),
    /// Its child runs.
    #[error("terminal {0} is live: end it first with kaval kill {0}")]
    Live(Name),
    /// It could not be recorded.
    #[error("terminal {0} could not be removed: {1}")]
    Failed(Name, ExecuteError),
}

/// Hangs up every terminal. Answered when all have ended, or when some outlast even the kill; with how many still live.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct EndAll;
