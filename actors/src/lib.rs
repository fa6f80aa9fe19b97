//! Runs the rules of `opencredits-schema`: supervised actors, a journal with group commit, stores.
//!
//! [`System`] is the door. A command goes to the account's one actor, which decides and applies in
//! memory; what is durable is answered when the journal has committed it.

mod account;
mod clock;
mod directory;
mod fault;
mod journal;
mod nodes;
mod partner;
mod running;
mod store;
mod supervisor;
mod system;
mod thread;

#[cfg(test)]
mod tests;

pub use account::{Answer, Done, View};
pub use clock::Clock;
#[cfg(feature = "planted-faults")]
pub use fault::Fault;
pub use journal::JournalState;
pub use nodes::{Member, NodeSettings, Notice};
pub use store::{
    Answered, Batch, Books, Loaded, MemoryStore, MoveEnd, MoveProgress, Once, Payout,
    PayoutOutcome, Rejected, Rejection, ScyllaSettings, ScyllaStore, SqliteStore, Store,
    StoreError, Write,
};
pub use system::{AskError, Settings, System};
