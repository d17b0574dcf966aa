//! kaval: a supervisor for long-lived terminals.

pub mod fdstore;
pub mod keeper;
