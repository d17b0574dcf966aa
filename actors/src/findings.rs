//! What was found to be broken, and what became of it: a line each, for whoever asks how the supervisor is.
//!
//! **Invariant.** Each is logged when it is noted, once, in the same words.

use std::sync::{Arc, Mutex, PoisonError};

/// Most that are kept: what breaks for ever must not fill the memory.
const KEPT_MAX: usize = 100;

/// A list that all who may find something share.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Vec<String>>>);

impl Findings {
    /// Keeps a line, and logs it.
    pub fn note(&self, line: impl Into<String>) {
        let line = line.into();
        tracing::warn!("{line}");
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < KEPT_MAX {
            lines.push(line);
        }
    }

    /// All that were noted, the first first.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_shared_and_bounded() {
        let findings = Findings::default();
        (0..KEPT_MAX + 1).for_each(|n| findings.clone().note(n.to_string()));
        assert_eq!(findings.lines().len(), KEPT_MAX);
        assert_eq!(findings.lines()[0], "0");
    }
}
