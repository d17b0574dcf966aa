//! The configuration: `kaval.toml`, every key with its default. `config/kaval.toml` documents them.
//!
//! **Invariants.** A file is taken whole or not at all. What is wrong is told on one line, with the file, the line and the key.

mod changes;
mod error;
mod metrics;
mod reap;
mod term;
mod value;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use kaval_actors::log::{retention, service::Settings};
use serde::{Deserialize, Serialize};

pub use self::{
    changes::{Applies, changes},
    error::ConfigError,
    metrics::{Listen, Metrics},
    reap::Reap,
    term::Term,
};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the supervisor refuses.
    pub limits: Limits,
    /// What is hung up, and what is forgotten.
    pub reap: Reap,
    /// What else is in memory.
    pub memory: Memory,
    /// Output in memory.
    pub journal: Journal,
    /// Output on disk.
    pub log: Log,
    /// What is counted.
    pub metrics: Metrics,
    /// What is written down of memory.
    pub diag: Diag,
    /// The client.
    pub attach: Attach,
    /// Terminals that are to be there.
    #[serde(skip_serializing)]
    pub term: Vec<Term>,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most terminals, ended ones included.
    pub terms_max: usize,
    /// How long a child that was hung up may take to end before it is killed.
    #[serde(with = "value::duration")]
    pub kill_grace: Duration,
    /// How long a child that ever ends soon after its start waits to be started again, at most.
    #[serde(with = "value::duration")]
    pub restart_delay_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { terms_max: 2000, kill_grace: Duration::from_secs(5), restart_delay_max: Duration::from_secs(300) }
    }
}

/// `[memory]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Bytes of memory that the supervisor may use itself.
    #[serde(with = "value::memory_limit")]
    pub limit: MemoryLimit,
    /// How long a terminal is idle before its mirror is dropped; never, if absent.
    #[serde(with = "value::duration_or_off")]
    pub hibernate_after: Option<Duration>,
    /// Bytes of all mirrors together.
    #[serde(with = "value::bytes")]
    pub mirrors_max: ByteSize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { limit: MemoryLimit::Auto, hibernate_after: Some(Duration::from_secs(30)), mirrors_max: ByteSize::mib(64) }
    }
}

/// How much memory the supervisor may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// As much as its control group, if that has a limit.
    Auto,
    /// As much as there is.
    Off,
    /// So many bytes.
    Bytes(ByteSize),
}

impl MemoryLimit {
    /// With less, not even a supervisor without terminals would do.
    pub const LEAST: ByteSize = ByteSize::mib(4);
}

/// `[diag]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diag {
    /// Where reports go; nowhere if absent.
    #[serde(with = "value::directory_or_off")]
    pub dir: Option<PathBuf>,
    /// How often a line is written.
    #[serde(with = "value::duration")]
    pub every: Duration,
    /// How long after its start the supervisor is described.
    #[serde(with = "value::duration")]
    pub baseline_after: Duration,
}

impl Default for Diag {
    fn default() -> Self {
        Self { dir: None, every: Duration::from_secs(300), baseline_after: Duration::from_secs(300) }
    }
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Bytes of output, of all terminals together, that are kept.
    #[serde(with = "value::bytes")]
    pub bytes_max: ByteSize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { bytes_max: ByteSize::mib(64) }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How long output may take to be on disk: what a power cut may cost.
    #[serde(with = "value::duration")]
    pub sync: Duration,
    /// How long a disk that takes nothing may hold the terminals back.
    #[serde(with = "value::duration")]
    pub stall_max: Duration,
    /// Compressed bytes of one terminal.
    #[serde(with = "value::bytes")]
    pub bytes_max: ByteSize,
    /// Age.
    #[serde(with = "value::duration")]
    pub age_max: Duration,
    /// Bytes on disk, all included.
    #[serde(with = "value::bytes")]
    pub total_bytes_max: ByteSize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            sync: Duration::from_secs(1),
            stall_max: Duration::from_secs(5),
            bytes_max: ByteSize::mib(256),
            age_max: Duration::from_secs(365 * 24 * 3600),
            total_bytes_max: ByteSize::gib(10),
        }
    }
}

impl Log {
    /// As the log thread takes them.
    pub fn settings(&self) -> Settings {
        let limits = retention::Limits {
            term_bytes_max: self.bytes_max.as_u64(),
            age_max: self.age_max,
            total_bytes_max: self.total_bytes_max.as_u64(),
        };
        Settings { sync: self.sync, stall_max: self.stall_max, limits }
    }
}

/// `[attach]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attach {
    /// The key that detaches.
    pub detach_key: DetachKey,
    /// What programs may do with the window's clipboard.
    pub clipboard: ClipboardPolicy,
}

/// What programs may do with the clipboard of whoever is attached. Reading it is no choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipboardPolicy {
    /// Put something there.
    #[default]
    Write,
    /// Nothing.
    Off,
}

impl Default for Attach {
    fn default() -> Self {
        Self { detach_key: DetachKey(0x1c), clipboard: ClipboardPolicy::default() }
    }
}

/// A control key, as `ctrl-a` to `ctrl-z`, `ctrl-\`, `ctrl-]`, `ctrl-^` or `ctrl-_`: the byte that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DetachKey(pub u8);

impl TryFrom<String> for DetachKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let key = text.to_ascii_lowercase();
        match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some(&[key @ (b'a'..=b'z' | b'\\' | b']' | b'^' | b'_')]) => Ok(Self(key.to_ascii_uppercase() & 0x1f)),
            _ => Err(format!("{text:?} is no detach key: use ctrl- and one of a to z, \\, ], ^, _")),
        }
    }
}

impl From<DetachKey> for String {
    fn from(DetachKey(byte): DetachKey) -> Self {
        format!("ctrl-{}", char::from(byte | 0x40).to_ascii_lowercase())
    }
}

impl Config {
    /// Reads a file; without one everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(at, what)| {
            let line = error::line_of(&text, at);
            ConfigError::Wrong { path: path.to_owned(), line, what }
        })
    }

    /// Parses a file's text. An error is at a byte of it, and says which key is wrong.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let file =
            toml::Deserializer::parse(text).map_err(|error| (at(&error), error::syntax(text, at(&error), error.message())))?;
        let config: Self = serde_path_to_error::deserialize(file)
            .map_err(|error| (at(error.inner()), error::what(&error::key(error.path()), error.inner().message())))?;
        match term::twice(&config.term) {
            Some((index, term)) => {
                let message = format!("a terminal named {} is declared above", term.name.as_ref());
                Err((term.name.span().start, error::what(&format!("term[{index}].name"), &message)))
            }
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use kaval_actors::pty::Restart;

    use super::*;

    #[test]
    fn the_documented_file_is_the_default() {
        let documented: Config = toml::from_str(include_str!("../../config/kaval.toml")).unwrap();
        assert_eq!(documented, Config::default());
    }

    #[test]
    fn the_documented_file_has_every_key() {
        let documented: toml::Table = toml::from_str(include_str!("../../config/kaval.toml")).unwrap();
        let keys = |table: toml::Table| {
            let named = |(section, keys): (String, toml::Value)| {
                let toml::Value::Table(keys) = keys else { panic!("{section} is no section") };
                keys.into_iter().map(|(key, _)| format!("{section}.{key}")).collect::<Vec<_>>()
            };
            table.into_iter().flat_map(named).collect::<Vec<_>>()
        };
        assert_eq!(keys(documented), keys(toml::Table::try_from(Config::default()).unwrap()));
    }

    #[test]
    fn the_documented_terminal_is_one_with_every_key() {
        let documented = include_str!("../../config/kaval.toml");
        let example = documented.split_once("# [[term]]\n").expect("an example of a terminal").1;
        let lines: Vec<&str> = example.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let term: Term = toml::from_str(&lines.join("\n")).unwrap();
        let Term { name, command, cwd, env, size, restart } = term;
        assert_eq!((name.as_ref().as_str(), command.len(), env.len()), ("build", 2, 1));
        assert!(cwd.is_some_and(|cwd| cwd.is_absolute()) && size.is_some() && restart == Restart::Always);
    }

    #[test]
    fn an_error_names_the_line_and_the_key_and_says_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kaval.toml");
        for (text, expected) in [
            ("[limits]\nterm_max = 3\n", "line 2: unknown key limits.term_max: did you mean terms_max?"),
            ("\n[limit]\n", "line 2: unknown key limit: did you mean limits?"),
            ("[limits]\nxyzzy = 3\n", "line 2: unknown key limits.xyzzy: there are terms_max, kill_grace, restart_delay_max"),
            (
                "[limits]\nterms_max = \"many\"\n",
                "line 2: limits.terms_max: invalid type: string \"many\", expected a whole number",
            ),
            (
                "[limits]\nkill_grace = \"5 parsecs\"\n",
                "line 2: limits.kill_grace: \"5 parsecs\" is no duration: use 500ms, 5s or 2min",
            ),
            ("[limits]\nkill_grace = 5\n", "line 2: limits.kill_grace: \"5\" is no duration: use 500ms, 5s or 2min"),
            ("[limits]\nkill_grace = true\n", "expected a duration, as in \"500ms\", \"5s\" or \"2min\""),
            ("[attach]\ndetach_key = \"f1\"\n", "line 2: attach.detach_key: \"f1\" is no detach key"),
            ("[attach]\nclipboard = \"read\"\n", "line 2: attach.clipboard: unknown variant `read`, expected `write` or `off`"),
            (
                "[memory]\nhibernate_after = \"soon\"\n",
                "line 2: memory.hibernate_after: \"soon\" is no duration: use 30s or 2min, or off",
            ),
            ("[reap]\nidle_after = \"0\"\n", "line 2: reap.idle_after: 0s is no time to be idle for: use 8h or 2days, or off"),
            ("[reap]\nnotice = \"off\"\n", "line 2: reap.notice: \"off\" is no duration: use 500ms, 5s or 2min"),
            ("[reap]\nended_max = -1\n", "line 2: reap.ended_max: invalid value: integer `-1`"),
            (
                "[memory]\nlimit = \"1MiB\"\n",
                "line 2: memory.limit: \"1MiB\" is less than a supervisor takes: use 4.0 MiB at least",
            ),
            ("[memory]\nlimit = \"much\"\n", "line 2: memory.limit: \"much\" is no size: use 512MiB or 2GB, or auto or off"),
            ("[journal]\nbytes_max = \"lots\"\n", "line 2: journal.bytes_max: \"lots\" is no size: use 64MiB"),
            ("[metrics]\naddress = \"localhost\"\n", "line 2: metrics.address: \"localhost\" is no address to listen at"),
            ("[metrics]\nper_term = \"many\"\n", "line 2: metrics.per_term: \"many\" is no choice of terminals"),
            ("[[term]]\ncommand = [\"ls\"]\n", "line 1: term[0]: missing field `name`"),
            ("[[term]]\nname = \"a b\"\n", "line 2: term[0].name: terminal name \"a b\" is not allowed"),
            (
                "[[term]]\nname = \"a\"\n[[term]]\nname = \"b\"\nsize = \"80\"\n",
                "line 5: term[1].size: size \"80\" is not COLSxROWS",
            ),
            ("[[term]]\nname = \"a\"\ncwd = \"tmp\"\n", "line 3: term[0].cwd: \"tmp\" is no absolute directory"),
            (
                "[[term]]\nname = \"a\"\ncommand = \"ls\"\n",
                "line 3: term[0].command: invalid type: string \"ls\", expected a sequence",
            ),
            (
                "[[term]]\nname = \"a\"\nenv = { A = 1 }\n",
                "line 3: term[0].env.A: invalid type: integer `1`, expected a string",
            ),
            (
                "[[term]]\nname = \"a\"\nxyzzy = \"always\"\n",
                "line 3: unknown key term[0].xyzzy: there are name, command, cwd, env, size, restart",
            ),
            (
                "[[term]]\nname = \"a\"\nrestart = \"often\"\n",
                "line 3: term[0].restart: unknown variant `often`, expected one of `never`, `on-failure`, `always`",
            ),
            (
                "[[term]]\nname = \"a\"\n\n[[term]]\nname = \"a\"\n",
                "line 5: term[1].name: a terminal named a is declared above",
            ),
            ("\n[limits\n", "line 2: unclosed table, expected `]`, in \"[limits\""),
        ] {
            fs::write(&path, text).unwrap();
            let error = Config::read(Some(&path)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.lines().count() == 1, "{error}\nis not\n{expected}");
        }
        assert!(matches!(Config::read(Some(&dir.path().join("none"))), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn a_detach_key_is_spelt_as_it_is_read() {
        for key in ["ctrl-a", "ctrl-z", "ctrl-\\", "ctrl-]", "ctrl-^", "ctrl-_"] {
            assert_eq!(String::from(DetachKey::try_from(key.to_owned()).unwrap()), key);
        }
    }
}
