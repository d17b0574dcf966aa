//! Which terminals have series of their own. Pure.

use std::{fmt, str::FromStr};

use super::TermFigures;

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerTerm {
    /// Every one.
    All,
    /// So many: where there are more, those that take the most memory.
    Top(usize),
    /// None.
    Off,
}

/// Why a text is no [`PerTerm`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no choice of terminals: use \"all\", \"off\" or \"top:\" and a number")]
pub struct PerTermError(String);

impl Default for PerTerm {
    /// All of them, until they are so many that a scrape becomes large: some ten series each.
    fn default() -> Self {
        Self::Top(200)
    }
}

impl FromStr for PerTerm {
    type Err = PerTermError;

    fn from_str(text: &str) -> Result<Self, PerTermError> {
        let top = || text.strip_prefix("top:")?.parse().ok().map(Self::Top);
        match text {
            "all" => Ok(Self::All),
            "off" => Ok(Self::Off),
            _ => top().ok_or_else(|| PerTermError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for PerTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Top(n) => write!(f, "top:{n}"),
            Self::Off => f.write_str("off"),
        }
    }
}

impl PerTerm {
    /// Those of `terms` that are chosen; of two that take the same, the older one.
    pub(super) fn select(self, mut terms: Vec<TermFigures>) -> Vec<TermFigures> {
        let most = match self {
            Self::All => terms.len(),
            Self::Top(most) => most,
            Self::Off => 0,
        };
        if most < terms.len() {
            terms.sort_by_key(|term| (std::cmp::Reverse(term.memory.total()), term.id));
            terms.truncate(most);
        }
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MemoryParts, *};
    use crate::TermId;

    fn term(id: u32, mirror: u64) -> TermFigures {
        let memory = MemoryParts { mirror, ..MemoryParts::default() };
        TermFigures {
            id: TermId(id),
            name: "t".parse().unwrap(),
            memory,
            output: 0,
            log_bytes: 0,
            children: None,
            last_output_ms: None,
        }
    }

    fn chosen(choice: &str) -> Vec<u32> {
        let terms = vec![term(1, 5), term(2, 9), term(3, 5), term(4, 1)];
        choice.parse::<PerTerm>().unwrap().select(terms).into_iter().map(|term| term.id.0).collect()
    }

    #[test]
    fn the_largest_are_chosen_where_not_all_are() {
        assert_eq!((chosen("all"), chosen("top:4")), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
        assert_eq!((chosen("top:2"), chosen("top:0"), chosen("off")), (vec![2, 1], vec![], vec![]));
    }

    #[test]
    fn a_choice_reads_back_and_anything_else_is_refused() {
        for choice in ["all", "off", "top:7"] {
            assert_eq!(choice.parse::<PerTerm>().unwrap().to_string(), choice);
        }
        for wrong in ["", "top", "top:", "top:-1", "some"] {
            assert!(wrong.parse::<PerTerm>().unwrap_err().to_string().contains("top:"), "{wrong}");
        }
    }
}
