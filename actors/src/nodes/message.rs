//! What nodes say to each other.

use opencredits_schema::{AccountId, Checkpoint, Command, Hold};
use serde::{Deserialize, Serialize};

use crate::account::{Answer, View};
use crate::system::AskError;

/// What one node asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum NodeAsk {
    /// Something of an account that lives there.
    Command { account: AccountId, command: Command },
    /// How an account that lives there is.
    View { account: AccountId },
    /// What a request that runs here has used of an account that lives there.
    Checkpoint(Box<Checkpoint>),
    /// Another node is about to take an account: decide nothing more for it, and say which of its holds
    /// are those of requests that run there.
    GiveUp { account: AccountId },
}

/// What the other one answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum NodeAnswer {
    /// What came of a command.
    Command(Result<Answer, AskError>),
    /// How the account is.
    View(Result<View, AskError>),
    /// It was noted.
    Noted,
    /// The account is given up; the holds of requests that run there.
    GivenUp(Vec<Hold>),
    /// The account does not live there.
    NotHere,
}
