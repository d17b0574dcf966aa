//! The configuration: `kaval.toml`, every key with its default. `config/kaval.toml` documents them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use kaval_actors::log::{retention, writer::Settings};
use serde::Deserialize;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the supervisor refuses.
    pub limits: Limits,
    /// Output in memory.
    pub journal: Journal,
    /// Output on disk.
    pub log: Log,
    /// The client.
    pub attach: Attach,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most terminals, ended ones included.
    pub terms_max: usize,
    /// How long a child that was hung up may take to end before it is killed.
    #[serde(with = "humantime_serde")]
    pub kill_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { terms_max: 2000, kill_grace: Duration::from_secs(5) }
    }
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Bytes of output, of all terminals together, that are kept.
    pub bytes_max: ByteSize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { bytes_max: ByteSize::mib(64) }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How long output may take to be on disk: what a power cut may cost.
    #[serde(with = "humantime_serde")]
    pub sync: Duration,
    /// Compressed bytes of one terminal.
    pub bytes_max: ByteSize,
    /// Age.
    #[serde(with = "humantime_serde")]
    pub age_max: Duration,
    /// Bytes on disk, all included.
    pub total_bytes_max: ByteSize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            sync: Duration::from_secs(1),
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
        Settings { sync: self.sync, limits }
    }
}

/// `[attach]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attach {
    /// The key that detaches.
    pub detach_key: DetachKey,
}

impl Default for Attach {
    fn default() -> Self {
        Self { detach_key: DetachKey(0x1c) }
    }
}

/// A control key, as `ctrl-a` to `ctrl-z`, `ctrl-\`, `ctrl-]`, `ctrl-^` or `ctrl-_`: the byte that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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

/// Why there is no configuration to be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is wrong somewhere; says where.
    #[error("configuration {path:?}: {}", one_line(.source))]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: Box<toml::de::Error>,
    },
}

/// The parser's many lines in one: where, then what.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().unwrap_or_default().trim_start_matches("TOML parse error ");
    format!("{place}: {}", error.message().replace('\n', " "))
}

impl Config {
    /// Reads a file; without one everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_the_default() {
        let documented: Config = toml::from_str(include_str!("../config/kaval.toml")).unwrap();
        assert_eq!(documented, Config::default());
    }

    #[test]
    fn an_error_names_the_line_and_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kaval.toml");
        for (text, expected) in [
            ("[limits]\nterm_max = 3\n", "line 2, column 1: unknown field `term_max`"),
            ("[limits]\nkill_grace = \"5 parsecs\"\n", "line 2, column 14: "),
            ("[attach]\ndetach_key = \"f1\"\n", "line 2, column 14: \"f1\" is no detach key"),
            ("[journal]\nbytes_max = \"lots\"\n", "line 2, column 13: "),
        ] {
            fs::write(&path, text).unwrap();
            let error = Config::read(Some(&path)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
        }
        assert!(matches!(Config::read(Some(&dir.path().join("none"))), Err(ConfigError::Read { .. })));
    }
}
