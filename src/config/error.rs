//! What is wrong with a configuration, on one line: file, line, key, and what to write instead.

use std::{io, path::PathBuf};

use serde_path_to_error::{Path, Segment};

/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 60;
/// A name further from a known one than this is no slip of the finger.
const SLIPS_MAX: usize = 3;

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
    /// It is wrong somewhere.
    #[error("configuration {path:?}, line {line}: {what}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Which key, and what is wrong with it.
        what: String,
    },
}

/// The line, from 1, of a byte of `text`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// What is wrong where there is no key yet, and with which line.
pub(super) fn syntax(text: &str, at: usize, message: &str) -> String {
    let line = text.lines().nth(line_of(text, at) - 1).unwrap_or_default().trim();
    let line: String = line.chars().take(LINE_CHARS_MAX).collect();
    format!("{}, in {line:?}", message.replace('\n', " "))
}

/// What is wrong, and with which key.
pub(super) fn what(key: &str, message: &str) -> String {
    let message = message.replace('\n', " ").replace("expected usize", "expected a whole number");
    match message.strip_prefix("unknown field ") {
        Some(rest) => unknown(key, rest),
        None if key.is_empty() => message,
        None => format!("{key}: {message}"),
    }
}

/// The key that a path leads to, as in `term[1].size`, without what the parser adds on its own account.
pub(super) fn key(path: &Path) -> String {
    path.iter().fold(String::new(), |key, segment| match segment {
        Segment::Seq { index } => format!("{key}[{index}]"),
        Segment::Map { key: name } | Segment::Enum { variant: name } if !name.starts_with('$') => {
            if key.is_empty() {
                name.clone()
            } else {
                format!("{key}.{name}")
            }
        }
        Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => key,
    })
}

/// Serde's "unknown field `a`, expected one of `b`, `c`", as a question or a list.
fn unknown(key: &str, rest: &str) -> String {
    let mut words = rest.split('`').skip(1).step_by(2);
    let wrong = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(name, wrong), *name)).min();
    match near {
        Some((slips, name)) if slips <= SLIPS_MAX => format!("unknown key {key}: did you mean {name}?"),
        Some(_) | None => format!("unknown key {key}: there are {}", known.join(", ")),
    }
}
