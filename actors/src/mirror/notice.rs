//! What a program tells its terminal, or asks of it, other than what to draw.

use super::marks::Told;

/// Most bytes of one that are kept; of a longer one nothing is.
pub const NOTICE_BYTES_MAX: usize = 64 << 10;

/// Most that wait to be taken; what comes then is dropped, unless it is a question.
pub const NOTICES_MAX: usize = 1024;
/// Most that wait if they are questions: as many as 64 KiB of output can hold, so that none that is drawn in one piece is lost.
pub const QUESTIONS_MAX: usize = 32 << 10;

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Bytes fed up to its end, since notices were last taken.
    pub at: u64,
    /// What it is.
    pub what: What,
}

/// What a program can tell or ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// BEL.
    Bell,
    /// An operating system command that tells something new.
    Told(Told),
    /// A question, with what this screen answers at that point.
    Query(Vec<u8>),
}
