//! Why credits do not suffice, told so that the user can help himself.

use std::fmt;

use opencredits_schema::Credits;

/// Which limit refused the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// What the account has left.
    Balance,
    /// The spending limit of the key.
    Key,
    /// The spending limit of the account at this partner.
    Partner,
}

/// What a request would have needed, and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The most that the request can cost.
    pub required: Credits,
    /// What the limit leaves.
    pub available: Credits,
    /// What the caller's own running requests hold.
    pub held: Credits,
    /// Output tokens that the limit leaves room for, at this request's input.
    pub affordable_output: u64,
    /// The limit that refused.
    pub limit: LimitedBy,
    /// Whether the request would fit once the running ones have ended.
    pub waiting_helps: bool,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { required, available, held, affordable_output, limit, waiting_helps } = self;
        f.write_str("Insufficient credits. Please top up your balance.")?;
        write!(f, " This request can cost up to {required} credits; ")?;
        match limit {
            LimitedBy::Balance => write!(f, "{available} are available")?,
            LimitedBy::Key => write!(f, "the key's spending limit leaves {available}")?,
            LimitedBy::Partner => {
                write!(f, "your spending limit for this app leaves {available}")?;
            }
        }
        write!(f, ", {held} are held by running requests.")?;
        write!(f, " That is enough for {affordable_output} output tokens.")?;
        if *waiting_helps {
            f.write_str(" Waiting for your running requests to end would be enough.")?;
        }
        Ok(())
    }
}
