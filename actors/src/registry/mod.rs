//! The registry: what is known of every terminal, told by those who know it, so that nobody has to ask the terminals.
//!
//! ```text
//!   supervisor ──Announce, Forget──►┌─ registry actor ─┐──► List: kaval ls
//!   terminals ───Report───────────►│ roll    (pure)   │──► TakeFigures: /metrics, kaval status
//!   (at once, then once a second)  │ feed    (pure)   │──► ReadEvents: kaval events
//!   arbiters ────Pulse (atomics)──►└───────┬──────────┘
//!                                          └─ ledger: numbers of events, reserved ahead on disk
//! ```
//!
//! **Invariants.** A terminal that has nothing to say costs nothing: no message, no timer. What a client was answered is to be seen here,
//! since whoever did it told the registry first. A terminal's figures go with it. The number of an event is never given
//! again, whatever is killed.

mod actor;
mod feed;
mod gauges;
mod ledger;
mod messages;
mod mirrors;
mod pulse;
mod roll;
mod selection;

pub use self::{
    actor::{Registry, RegistryParts},
    gauges::{Figures, Histogram, LogFigures, TermFigures, describe},
    ledger::{Ledger, LedgerError},
    messages::{
        Announce, Batch, Card, ChildUse, DropMirrors, EndEvents, Event, FollowEvents, Followed, Forget, Happening,
        LimitMirrors, List, Listing, MemoryParts, News, Note, NoteUse, Obey, Page, ReadEvents, Ready, Removal, Report,
        Standing, TakeFigures, Tally, TermNews,
    },
    pulse::{LaneFigures, Pulse},
    selection::{PerTerm, PerTermError},
};
