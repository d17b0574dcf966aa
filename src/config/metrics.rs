//! `[metrics]`: what is counted, and where that is to be seen.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
};

use kaval_actors::registry::PerTerm;
use serde::{Deserialize, Serialize};

/// `[metrics]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where they are served.
    pub address: Listen,
    /// Which terminals have series of their own.
    #[serde(with = "per_term")]
    pub per_term: PerTerm,
    /// Whether those have one with their name.
    pub term_info: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { address: Listen::default(), per_term: PerTerm::default(), term_info: true }
    }
}

mod per_term {
    use kaval_actors::registry::PerTerm;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(choice: &PerTerm, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(choice)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PerTerm, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// An address to listen at, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// At this one.
    At(SocketAddr),
    /// At none.
    Off,
}

impl Default for Listen {
    fn default() -> Self {
        Self::At((Ipv4Addr::LOCALHOST, 9776).into())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = || text.parse().map(Self::At);
        let error = |_| format!("{text:?} is no address to listen at: use one as 127.0.0.1:9776 or [::1]:9776, or off");
        if text == "off" { Ok(Self::Off) } else { at().map_err(error) }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}
