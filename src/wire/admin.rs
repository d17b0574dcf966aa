//! The bodies of the answers to administration.

use kaval_actors::Size;
use serde::{Deserialize, Serialize};

use super::AttachMode;

/// The answer to `detach`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DetachOk {
    /// How many were.
    pub detached: usize,
}

/// The answer to `clients`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientsOk {
    /// Who is attached, by terminal and then by age.
    pub clients: Vec<ClientInfo>,
}

/// One who is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Names the attachment, as long as this supervisor runs.
    pub id: u64,
    /// The terminal's id.
    pub term: u32,
    /// The terminal's name.
    pub name: String,
    /// What the client may do.
    pub mode: AttachMode,
    /// The size of its window, if it has told.
    pub size: Option<Size>,
    /// When it attached, in milliseconds since the Unix epoch.
    pub since: u64,
    /// What it called itself in its hello.
    pub client: String,
    /// Bytes of events that wait for it.
    pub waiting_bytes: u64,
    /// Bytes of output that it has yet to be given beyond those.
    pub behind_bytes: u64,
}

/// The answer to `hibernate`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HibernateOk {
    /// How many were.
    pub hibernated: usize,
}

/// The answer to `heap_profile`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HeapProfileOk {
    /// How many bytes it has.
    pub bytes: usize,
}

/// The answer to `upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeOk {
    /// The version of what is started next. Another `boot` in the answer to hello tells that it is there; whether it is that version, or
    /// this one again, `status` tells.
    pub version: String,
}

/// The answer to `reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadOk {
    /// The terminals that are declared, in the order of their declaration, and then those that no longer are.
    pub terms: Vec<ReloadedTerm>,
    /// The settings that have changed.
    pub settings: Vec<ReloadedSetting>,
}

/// A terminal that is or was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedTerm {
    /// Its name in the configuration.
    pub name: String,
    /// What was done.
    pub outcome: TermOutcome,
    /// Why, or what there is to do; empty if that is plain.
    #[serde(default)]
    pub note: String,
}

/// What a reload did with a declared terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TermOutcome {
    /// There was none: it was made.
    Created,
    /// There is one.
    Left,
    /// There is one, made by another declaration: left as it is.
    Changed,
    /// It is no longer declared: left as it is.
    Undeclared,
    /// It could not be made.
    Refused,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A setting that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedSetting {
    /// As in `limits.terms_max`.
    pub key: String,
    /// What became of it.
    pub outcome: SettingOutcome,
}

/// What a reload did with a setting that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingOutcome {
    /// It counts from now on.
    Applied,
    /// It counts once the supervisor is restarted.
    Restart,
    /// It is for clients, which read it when they start.
    Client,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}
