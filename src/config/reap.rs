//! `[reap]`: which terminals are hung up for having been idle, and which records of ended ones are removed.

use std::{collections::BTreeSet, time::Duration};

use kaval_actors::{Name, supervisor::Reaping};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::value;

/// `[reap]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reap {
    /// How long a terminal may be idle, watched or not; for ever, if absent.
    #[serde(serialize_with = "value::duration_or_off::serialize", deserialize_with = "idle_time")]
    pub idle_after: Option<Duration>,
    /// How long before its end those who are attached are told.
    #[serde(with = "value::duration")]
    pub notice: Duration,
    /// Most records of terminals that have ended.
    pub ended_max: usize,
    /// How long such a record is kept; for ever, if absent.
    #[serde(with = "value::duration_or_off")]
    pub ended_after: Option<Duration>,
}

impl Default for Reap {
    fn default() -> Self {
        Self {
            idle_after: None,
            notice: Duration::from_secs(300),
            ended_max: 500,
            ended_after: Some(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

impl Reap {
    /// As the supervisor takes it, where terminals of these names are declared.
    pub fn settings(&self, declared: BTreeSet<Name>) -> Reaping {
        let Self { idle_after, notice, ended_max, ended_after } = *self;
        Reaping { idle_after, notice, ended_max, ended_after, declared }
    }
}

/// A time to be idle, or `off`. None at all would hang up everything at once, and is not what who writes 0 wants.
fn idle_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match value::duration_or_off::deserialize(deserializer)? {
        Some(Duration::ZERO) => Err(D::Error::custom("0s is no time to be idle for: use 8h or 2days, or off")),
        idle_after => Ok(idle_after),
    }
}
