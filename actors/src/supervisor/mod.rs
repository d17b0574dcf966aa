//! The supervisor: owns the set of terminals, and brings what runs in line with what should.
//!
//! ```text
//!                          ┌─────────────── supervisor actor ───────────────┐
//!   Create, Kill, Remove ──►  records  ──► plan(desired, observed) ─► steps ─► executor thread: disk, PTYs, custody
//!   Drained, Gone, Moved ──►  what is seen                            └─────► terminal actors, on their lanes
//! ```
//!
//! Whatever becomes of a terminal is announced to the [registry](crate::registry) before anybody is answered who asked for it.
//!
//! **Invariants.** Creation, adoption, exit, restart, kill and removal are all the same thing: a record or an observation changes, and
//! the plan is made again. At most one step a terminal is under way.

mod actor;
pub mod again;
mod create;
pub mod custody;
pub mod execute;
pub mod inventory;
pub mod manifest;
mod messages;
pub mod plan;
mod reap;
mod reaper;
pub mod rescue;

pub use self::{
    actor::{Limits, Supervisor, SupervisorParts},
    custody::{Custody, NoCustody},
    messages::{
        Create, CreateError, Created, EndAll, Find, FindAll, Found, Kill, KillError, NoSuchTerm, Remove, RemoveError, Rename,
        RenameError, Selector, SetLimits, SetReaping,
    },
    reap::Reaping,
};
