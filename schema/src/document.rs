//! Documents: small records beside the accounts that several may want to change at once.
//!
//! Each has a version; whoever writes names the version that was read, and is refused if someone was
//! faster. That is one conditional write on any store.

use crate::Timestamp;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKind {
    /// An [`crate::Order`], named by its payment, due when Stripe is to be asked about it.
    Order,
    /// A login that waits for its code, due when it is to be forgotten.
    Login,
    /// A webhook that was worked off, due when it is to be forgotten.
    Webhook,
    /// What a user lets a partner's keys spend.
    Consent,
    /// Somebody's wish to become a partner.
    Application,
    /// A [`crate::TopUp`], due when something is to be done about it.
    TopUp,
}

impl DocumentKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Order, Self::Login, Self::Webhook, Self::Consent, Self::Application, Self::TopUp];

    /// Its number in a store.
    #[must_use]
    pub const fn column(self) -> i64 {
        match self {
            Self::Order => 1,
            Self::Login => 2,
            Self::Webhook => 3,
            Self::Consent => 4,
            Self::Application => 5,
            Self::TopUp => 6,
        }
    }
}

/// A small record beside the accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is about.
    pub kind: DocumentKind,
    /// Its id among its kind.
    pub id: String,
    /// How often it was written; 0 for one that is not there yet.
    pub version: u64,
    /// Another name by which it is found.
    pub name: Option<String>,
    /// When something is to be done about it.
    pub due: Option<Timestamp>,
    /// JSON.
    pub body: String,
}
