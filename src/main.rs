//! The `kaval` binary.
fn main() {}
