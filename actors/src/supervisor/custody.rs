//! Who keeps descriptors while no supervisor runs: the keeper or systemd, behind one small trait, and the names it keeps them by.
//!
//! Names are at most eight bytes, since all of them travel in one environment string of 128 KiB: a letter and a number in base 36.

use std::{fmt, io, os::fd::BorrowedFd};

use crate::TermId;

/// Keeps duplicates of descriptors, by name, beyond this process's death.
pub trait Custody: Send {
    /// Hands a duplicate over. What is there under the name stays as well.
    ///
    /// # Errors
    /// When the custodian cannot be reached.
    fn store(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Has everything under a name dropped.
    ///
    /// # Errors
    /// When the custodian cannot be reached.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns once what was handed over before is held.
    ///
    /// # Errors
    /// When the custodian cannot be reached, or does not answer in time.
    fn settle(&self) -> io::Result<()>;
}

/// Nobody: terminals end with this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCustody;

impl Custody for NoCustody {
    fn store(&self, _: &str, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a kept descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// `m`: a terminal's PTY master.
    Master(TermId),
    /// `p`: its child's pidfd.
    Pidfd(TermId),
    /// `i`: its input on the way to the child.
    Input(TermId),
    /// `j`: a lane's journal.
    Journal(u32),
    /// `r`: the reading end of a lane's pipe.
    PipeReader(u32),
    /// `w`: its writing end.
    PipeWriter(u32),
}

impl Tag {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.get(1..).filter(|digits| !digits.is_empty() && digits.len() <= 7)?;
        let number = u32::from_str_radix(digits, 36).ok()?;
        let tag = match name.as_bytes()[0] {
            b'm' => Self::Master(TermId(number)),
            b'p' => Self::Pidfd(TermId(number)),
            b'i' => Self::Input(TermId(number)),
            b'j' => Self::Journal(number),
            b'r' => Self::PipeReader(number),
            b'w' => Self::PipeWriter(number),
            _ => return None,
        };
        (tag.to_string() == name).then_some(tag)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, mut number) = match *self {
            Self::Master(TermId(id)) => ('m', id),
            Self::Pidfd(TermId(id)) => ('p', id),
            Self::Input(TermId(id)) => ('i', id),
            Self::Journal(lane) => ('j', lane),
            Self::PipeReader(lane) => ('r', lane),
            Self::PipeWriter(lane) => ('w', lane),
        };
        let mut digits = Vec::new();
        loop {
            digits.push(char::from_digit(number % 36, 36).expect("below 36"));
            number /= 36;
            if number == 0 {
                break;
            }
        }
        write!(f, "{letter}{}", digits.iter().rev().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tag_is_short_and_reads_back(number in any::<u32>(), kind in 0usize..6) {
            let tags = [
                Tag::Master(TermId(number)), Tag::Pidfd(TermId(number)), Tag::Input(TermId(number)), Tag::Journal(number), Tag::PipeReader(number), Tag::PipeWriter(number),
            ];
            let name = tags[kind].to_string();
            prop_assert!(name.len() <= 8);
            prop_assert_eq!(Tag::parse(&name), Some(tags[kind]));
        }

        #[test]
        fn any_text_parses_to_a_tag_that_spells_it_or_to_none(text in ".{0,10}") {
            prop_assert!(Tag::parse(&text).is_none_or(|tag| tag.to_string() == text));
        }
    }
}
