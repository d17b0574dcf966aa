//! How single values are spelt: durations, sizes in bytes, directories. Each says what it wants when it gets something else.

use std::{env, fmt, path::PathBuf};

use kaval_actors::Size;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// `"5s"`.
pub(super) mod duration {
    use std::time::Duration;

    use humantime_serde::re::humantime::{format_duration, parse_duration};
    use serde::{Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_duration(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = super::text(deserializer, "a duration, as in \"500ms\", \"5s\" or \"2min\"")?;
        parse_duration(&text).map_err(|_| D::Error::custom(format!("{text:?} is no duration: use 500ms, 5s or 2min")))
    }
}

/// `"5s"`, or `"off"` for none.
pub(super) mod duration_or_off {
    use std::time::Duration;

    use humantime_serde::re::humantime::{format_duration, parse_duration};
    use serde::{Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.collect_str(&format_duration(*duration)),
            None => serializer.serialize_str("off"),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = super::text(deserializer, "a duration, as in \"30s\" or \"2min\", or \"off\"")?;
        if text == "off" {
            return Ok(None);
        }
        let wrong = |_| D::Error::custom(format!("{text:?} is no duration: use 30s or 2min, or off"));
        parse_duration(&text).map(Some).map_err(wrong)
    }
}

/// `"512MiB"`, or `"auto"` or `"off"`.
pub(super) mod memory_limit {
    use serde::{Deserializer, Serializer, de::Error};

    use crate::config::MemoryLimit;

    pub(in crate::config) fn serialize<S: Serializer>(limit: &MemoryLimit, serializer: S) -> Result<S::Ok, S::Error> {
        match limit {
            MemoryLimit::Auto => serializer.serialize_str("auto"),
            MemoryLimit::Off => serializer.serialize_str("off"),
            MemoryLimit::Bytes(bytes) => serializer.serialize_u64(bytes.as_u64()),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MemoryLimit, D::Error> {
        match super::text(deserializer, "a size, as in \"512MiB\", or \"auto\" or \"off\"")?.as_str() {
            "auto" => Ok(MemoryLimit::Auto),
            "off" => Ok(MemoryLimit::Off),
            text => {
                let wrong = |_| D::Error::custom(format!("{text:?} is no size: use 512MiB or 2GB, or auto or off"));
                let bytes: bytesize::ByteSize = text.parse().map_err(wrong)?;
                if bytes < MemoryLimit::LEAST {
                    let least = MemoryLimit::LEAST;
                    return Err(D::Error::custom(format!("{text:?} is less than a supervisor takes: use {least} at least")));
                }
                Ok(MemoryLimit::Bytes(bytes))
            }
        }
    }
}

/// A directory, or `"off"` for none.
pub(super) mod directory_or_off {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(dir: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        match dir {
            Some(dir) => serializer.collect_str(&dir.display()),
            None => serializer.serialize_str("off"),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" { Ok(None) } else { super::absolute(&text).map(Some).map_err(D::Error::custom) }
    }
}

/// `"64MiB"`, or a number of bytes.
pub(super) mod bytes {
    use bytesize::ByteSize;
    use serde::{Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(size.as_u64())
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        let text = super::text(deserializer, "a size, as in \"64MiB\", \"2GB\" or a number of bytes")?;
        text.parse().map_err(|_| D::Error::custom(format!("{text:?} is no size: use 64MiB, 2GB or a number of bytes")))
    }
}

/// `"80x24"`.
pub(super) fn cells<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let text = text(deserializer, "a size in columns and rows, as in \"80x24\"")?;
    text.parse().map(Some).map_err(D::Error::custom)
}

/// An absolute path, or one in the home directory.
pub(super) fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    absolute(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = match (text.strip_prefix('~'), env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        (Some(_) | None, _) => PathBuf::from(text),
    };
    if path.is_absolute() { Ok(path) } else { Err(format!("{text:?} is no absolute directory: use /a/path or ~/a/path")) }
}

/// A text, or a whole number as its text.
fn text<'de, D: Deserializer<'de>>(deserializer: D, wanted: &'static str) -> Result<String, D::Error> {
    struct Text(&'static str);

    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }

    deserializer.deserialize_any(Text(wanted))
}
