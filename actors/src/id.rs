//! What a terminal is called, and how large it may be: the checked words that every other module passes around.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A terminal's immutable identity: a small integer, given once and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TermId(pub u32);

impl fmt::Display for TermId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A terminal's unique name: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no terminal name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("terminal name {0:?} is not allowed: use 1 to 64 of A-Z a-z 0-9 . _ -")]
pub struct NameError(String);

impl Name {
    /// Most characters of a name.
    pub const LEN_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if (1..=Self::LEN_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(Self::LEN_MAX + 1).collect()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A screen's size in cells, 1×1 to [`Size::SIDE_MAX`] a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawSize")]
pub struct Size {
    cols: u16,
    rows: u16,
}

/// Why a size is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A side is 0 or too long.
    #[error("size {cols}x{rows} is out of range: each side is 1 to {max}", max = Size::SIDE_MAX)]
    OutOfRange {
        /// Columns asked for.
        cols: u32,
        /// Rows asked for.
        rows: u32,
    },
    /// The text is not `COLSxROWS`.
    #[error("size {0:?} is not COLSxROWS, as in 80x24")]
    Malformed(String),
}

#[derive(Deserialize)]
struct RawSize {
    cols: u32,
    rows: u32,
}

impl Size {
    /// Most columns, and most rows. A mirror cell is 32 bytes: this bounds a mirror to 64 MB, both screens drawn.
    pub const SIDE_MAX: u16 = 1000;
    /// What a terminal gets when nobody says: 80×24.
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// A size of `cols` × `rows` cells.
    ///
    /// # Errors
    /// [`SizeError::OutOfRange`] if a side is 0 or above [`Size::SIDE_MAX`].
    pub fn new(cols: u32, rows: u32) -> Result<Self, SizeError> {
        let side = |n: u32| u16::try_from(n).ok().filter(|n| (1..=Self::SIDE_MAX).contains(n));
        match (side(cols), side(rows)) {
            (Some(cols), Some(rows)) => Ok(Self { cols, rows }),
            _ => Err(SizeError::OutOfRange { cols, rows }),
        }
    }

    /// Columns.
    pub fn cols(self) -> u16 {
        self.cols
    }

    /// Rows.
    pub fn rows(self) -> u16 {
        self.rows
    }
}

impl TryFrom<RawSize> for Size {
    type Error = SizeError;

    fn try_from(raw: RawSize) -> Result<Self, SizeError> {
        Self::new(raw.cols, raw.rows)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let sides = text.split_once(['x', 'X', '×']).and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
        let (cols, rows) = sides.ok_or_else(|| SizeError::Malformed(text.chars().take(32).collect()))?;
        Self::new(cols, rows)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}", self.cols, self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_at_their_limits() {
        for good in ["a", "a.b_c-9", &"x".repeat(64)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "a b", "é", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_tried_at_their_limits() {
        assert_eq!("80x24".parse(), Ok(Size::DEFAULT));
        assert!("1x1".parse::<Size>().is_ok() && "1000x1000".parse::<Size>().is_ok());
        for bad in ["0x24", "80x0", "1001x24", "80x1001", "70000x70000"] {
            assert!(matches!(bad.parse::<Size>(), Err(SizeError::OutOfRange { .. })), "{bad}");
        }
        for bad in ["", "80", "x", "80x", "-1x5", "80x24x2", "99999999999x1"] {
            assert!(matches!(bad.parse::<Size>(), Err(SizeError::Malformed(_))), "{bad}");
        }
    }
}
