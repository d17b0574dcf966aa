//! `[[term]]`: a terminal that is to be there whenever the supervisor runs.

use std::{collections::BTreeMap, path::PathBuf};

use kaval_actors::{Name, Size, pty::Restart, supervisor::manifest::Declaration};
use serde::Deserialize;
use toml::Spanned;

use super::value;

/// One `[[term]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Its name.
    pub name: Spanned<Name>,
    /// Program and arguments; the user's shell if absent.
    #[serde(default)]
    pub command: Vec<String>,
    /// Where it starts; the home directory if absent.
    #[serde(default, deserialize_with = "value::directory")]
    pub cwd: Option<PathBuf>,
    /// What its environment has beyond the supervisor's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its size; 80×24 if absent.
    #[serde(default, deserialize_with = "value::cells")]
    pub size: Option<Size>,
    /// Whether its child is started again.
    #[serde(default)]
    pub restart: Restart,
}

impl From<&Term> for Declaration {
    fn from(term: &Term) -> Self {
        let Term { name, command, cwd, env, size, restart } = term.clone();
        Self { name: name.into_inner(), argv: command, cwd, env: env.into_iter().collect(), size, restart }
    }
}

/// The first entry whose name one before it has.
pub(super) fn twice(terms: &[Term]) -> Option<(usize, &Term)> {
    let before = |at: usize| terms[..at].iter().map(|term| term.name.as_ref());
    terms.iter().enumerate().find(|(at, term)| before(*at).any(|name| name == term.name.as_ref()))
}
