//! What is different in a configuration that was read again, and when that counts. Pure.
//!
//! **Invariant.** Every setting is looked at, whoever adds it: one that nobody has said can be changed live needs a restart. Declared terminals
//! are no settings.

use toml::{Table, Value};

use super::Config;

/// Settings that a running supervisor takes over.
const LIVE: &[&str] = &[
    "limits.terms_max",
    "limits.kill_grace",
    "limits.restart_delay_max",
    "reap.idle_after",
    "reap.notice",
    "reap.ended_max",
    "reap.ended_after",
    "memory.hibernate_after",
    "memory.mirrors_max",
    "log.bytes_max",
    "log.age_max",
    "log.total_bytes_max",
];
/// What only clients read, each time they start.
const CLIENT: &str = "attach.";

/// When a changed setting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// From now on.
    Now,
    /// Once the supervisor is restarted.
    AtRestart,
    /// At each start of a client.
    ToClients,
}

/// The settings that differ: from those now in force, or, where a restart is needed, from those that the supervisor started with.
pub fn changes(started: &Config, now: &Config, new: &Config) -> Vec<(String, Applies)> {
    let (started, now) = (settings(started), settings(now));
    let differs = |old: &[(String, Value)], setting: &(String, Value)| !old.contains(setting);
    let change = |setting: &(String, Value)| {
        let applies = match setting.0.as_str() {
            key if LIVE.contains(&key) => Applies::Now,
            key if key.starts_with(CLIENT) => Applies::ToClients,
            _ => Applies::AtRestart,
        };
        let old = if applies == Applies::AtRestart { &started } else { &now };
        differs(old, setting).then(|| (setting.0.clone(), applies))
    };
    settings(new).iter().filter_map(change).collect()
}

/// Every setting by its dotted key.
fn settings(config: &Config) -> Vec<(String, Value)> {
    let table = Table::try_from(config).expect("a configuration is a table");
    let mut settings = Vec::new();
    collect(table, "", &mut settings);
    settings
}

fn collect(table: Table, prefix: &str, settings: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => collect(inner, &format!("{key}."), settings),
            value @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)) => {
                settings.push((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_live_is_a_setting() {
        let settings = settings(&Config::default());
        for key in LIVE {
            assert!(settings.iter().any(|(known, _)| known == key), "{key}");
        }
        assert!(settings.iter().any(|(known, _)| known.starts_with(CLIENT)));
    }

    #[test]
    fn a_default_that_is_spelt_out_is_no_change() {
        let spelt = read("[limits]\nkill_grace = \"5000ms\"\n[journal]\nbytes_max = \"65536KiB\"\n");
        assert_eq!(changes(&Config::default(), &Config::default(), &spelt), []);
    }

    #[test]
    fn a_live_setting_is_told_once_and_one_that_needs_a_restart_until_then() {
        let started = Config::default();
        let new = read("[limits]\nterms_max = 7\n[journal]\nbytes_max = 9000000\n[attach]\ndetach_key = \"ctrl-a\"\n");
        let all = [("attach.detach_key", Applies::ToClients), ("journal.bytes_max", Applies::AtRestart)];
        let live = ("limits.terms_max", Applies::Now);
        let named =
            |changes: &[(&str, Applies)]| changes.iter().map(|(key, when)| ((*key).to_owned(), *when)).collect::<Vec<_>>();
        assert_eq!(changes(&started, &started, &new), named(&[all[0], all[1], live]));
        assert_eq!(changes(&started, &new, &new), named(&[all[1]]));
        assert_eq!(changes(&started, &new, &started), named(&[all[0], live]));
    }

    #[test]
    fn declared_terminals_are_no_settings() {
        assert_eq!(changes(&Config::default(), &Config::default(), &read("[[term]]\nname = \"a\"\n")), []);
    }
}
