//! What an account answers.

use opencredits_schema::{Credits, Hold, Outcome};
use serde::{Deserialize, Serialize};

/// The answer to a command, with the account as it is then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was done.
    pub done: Done,
    /// The balance after it.
    pub balance: Credits,
    /// What is held after it.
    pub held: Credits,
    /// The number of the account's last durable event.
    pub seq: u64,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The hold is open.
    Placed(Hold),
    /// The lease is renewed.
    Renewed,
    /// The request has ended so.
    Settled(Outcome),
    /// Money came in or went back.
    Moved,
}

/// An account as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What was bought and granted less what was spent.
    pub balance: Credits,
    /// What running requests hold.
    pub held: Credits,
    /// The number of open holds.
    pub open_holds: usize,
}
