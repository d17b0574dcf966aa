//! kaval: a supervisor for long-lived terminals.
