//! The actors of kaval.
