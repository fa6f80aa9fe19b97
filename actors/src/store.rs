//! Where events become durable: one trait, with a store in memory for tests and SQLite for real.

mod audit;
mod event_keys;
mod memory;
mod scylla;
mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opencredits_schema::{
    AccountId, Checkpoint, Credits, Document, DocumentKind, EarningsRow, Event, Head, HistoryRow,
    Key, KeyId, KeyUse, Outcome, Partner, PartnerBalance, PartnerId, RequestId, Timestamp,
    UsageQuery,
};

use crate::nodes::Member;

pub use memory::MemoryStore;
pub use scylla::{MoveEnd, MoveProgress, ScyllaSettings, ScyllaStore};
pub use sqlite::SqliteStore;

/// What a store's method returns: a future of its answer.
pub type Answered<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or written now; the outcome may be unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Another record has the same name or another writer was faster.
    #[error("conflict: {0}")]
    Conflict(String),
    /// What it holds cannot be read.
    #[error("the store holds what cannot be read: {0}")]
    Corrupt(String),
}

/// Something to make durable. The writes of one account are in the order of its events.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all writes are events")]
pub enum Write {
    /// A durable event.
    Event {
        /// What happened.
        event: Event,
        /// The account after it; `head.seq` is the event's number.
        head: Head,
        /// Whether the request's checkpoint goes away with it.
        forget: bool,
    },
    /// A running request's newest checkpoint.
    Checkpoint(Box<Checkpoint>),
    /// A checkpoint that no settlement follows: its hold was released.
    Forget {
        /// Whose.
        account: AccountId,
        /// The request.
        request: RequestId,
    },
}

/// Writes that are committed together; shared, so that a try again costs no copy.
pub type Batch = Arc<Vec<Arc<Write>>>;

impl Write {
    /// Whose write it is.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        match self {
            Self::Event { head, .. } => head.id,
            Self::Checkpoint(checkpoint) => checkpoint.account,
            Self::Forget { account, .. } => *account,
        }
    }
}

/// A write that the store refuses for good. It and the account's later writes in the batch were
/// not done; all others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The write's place in the batch.
    pub index: usize,
    /// Why.
    pub why: Rejection,
}

/// Why a write is refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The request was settled, or the money received, before; with the stored outcome if any.
    Duplicate(Option<Outcome>),
    /// The account has moved on without this writer.
    Fenced,
}

/// An account as stored.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its durable part.
    pub head: Head,
    /// Outcomes that the requests themselves may still correct.
    pub recent: Vec<Outcome>,
    /// Its open checkpoints.
    pub checkpoints: Vec<Checkpoint>,
}

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// What does not agree; empty in balanced books.
    pub differences: Vec<String>,
    /// The number of postings.
    pub postings: u64,
    /// The number of accounts.
    pub accounts: u64,
    /// Open checkpoints: running requests, or what recovery will settle.
    pub open_checkpoints: u64,
    /// Sums by kind of ledger account, in microcredits.
    pub sums: BTreeMap<&'static str, i128>,
}

impl Books {
    /// Whether everything agrees.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.differences.is_empty()
    }
}

/// A payout's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayoutOutcome {
    /// Booked, now or by an earlier call with the same entry; what is payable after it.
    Done(Credits),
    /// More than is payable, which is this.
    TooMuch(Credits),
}

/// A payout to a partner.
#[derive(Clone, Debug)]
pub struct Payout {
    /// Its unique name.
    pub entry: String,
    /// To whom.
    pub partner: PartnerId,
    /// How much.
    pub credits: Credits,
    /// The operator's reference.
    pub reference: String,
    /// When.
    pub at: Timestamp,
}

/// What an idempotency key was used for before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// Never: it is kept now.
    First,
    /// With the same fields: the first answer.
    Repeat(String),
    /// With other fields.
    Other,
}

fn one_node() -> StoreError {
    StoreError::Conflict("this store is used by one node".to_owned())
}

/// A durable store of accounts, partners and keys.
pub trait Store: Send + Sync + 'static {
    /// Makes a batch durable in one commit. Idempotent: a batch whose outcome was unknown can be
    /// given again.
    fn commit(&self, batch: Batch) -> Answered<'_, Vec<Rejected>>;
    /// Whether a commit blocks the thread that asks for it: then the journal has one of its own.
    fn blocks(&self) -> bool {
        false
    }
    /// How many writes one commit carries at most: bounds a commit's time.
    fn batch_max(&self) -> usize {
        4096
    }
    /// Takes an account for writing and reads it; `None` if there is none. From here on the store
    /// refuses the writes of whoever had it before.
    fn load(&self, account: AccountId) -> Answered<'_, Option<Loaded>>;
    /// An account's durable part, for whoever only looks; `None` if there is none.
    fn head(&self, account: AccountId) -> Answered<'_, Option<Head>> {
        Box::pin(async move { Ok(self.load(account).await?.map(|loaded| loaded.head)) })
    }
    /// Makes an account; does nothing if it is there.
    fn create_account(
        &self,
        account: AccountId,
        email: Option<String>,
        at: Timestamp,
    ) -> Answered<'_, ()>;
    /// The account with a mail address.
    fn account_by_email(&self, email: String) -> Answered<'_, Option<AccountId>>;
    /// An account's mail address, if it has one.
    fn email_of(&self, account: AccountId) -> Answered<'_, Option<String>>;
    /// Accounts that have open checkpoints.
    fn unfinished(&self) -> Answered<'_, Vec<AccountId>>;
    /// A page of an account's events, newest first, and whether there are more.
    fn history(
        &self,
        account: AccountId,
        limit: usize,
        offset: usize,
    ) -> Answered<'_, (Vec<HistoryRow>, bool)>;
    /// Makes a key; does nothing if the id is there.
    fn put_key(&self, key: Key) -> Answered<'_, ()>;
    /// The key with a hash.
    fn key_by_hash(&self, hash: [u8; 32]) -> Answered<'_, Option<Key>>;
    /// An account's keys.
    fn keys_of(&self, account: AccountId) -> Answered<'_, Vec<Key>>;
    /// Revokes a key; the key as it is then, `None` if there is none.
    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Answered<'_, Option<Key>>;
    /// Keeps when and where a key was used; does nothing if it was used later, or is not there.
    fn use_key(&self, key: KeyId, used: KeyUse) -> Answered<'_, ()>;
    /// Makes a partner or changes it.
    fn put_partner(&self, partner: Partner) -> Answered<'_, ()>;
    /// All partners, oldest first.
    fn partners(&self) -> Answered<'_, Vec<Partner>>;
    /// The partner with an id.
    fn partner(&self, id: PartnerId) -> Answered<'_, Option<Partner>>;
    /// The partner with a publishable key.
    fn partner_by_publishable(&self, key: String) -> Answered<'_, Option<Partner>>;
    /// The partner with a secret's hash.
    fn partner_by_secret(&self, hash: [u8; 32]) -> Answered<'_, Option<Partner>>;
    /// A partner's money.
    fn partner_balance(&self, id: PartnerId) -> Answered<'_, PartnerBalance>;
    /// Books a payout unless it is more than payable; once per entry.
    fn payout(&self, payout: Payout) -> Answered<'_, PayoutOutcome>;
    /// A partner's requests.
    fn partner_usage(&self, id: PartnerId, query: UsageQuery) -> Answered<'_, Vec<HistoryRow>>;
    /// A partner's earnings by day and model, oldest first.
    fn earnings(
        &self,
        id: PartnerId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Answered<'_, Vec<EarningsRow>>;
    /// Keeps price rows by their content id.
    fn keep_prices(&self, rows: Vec<(String, String)>) -> Answered<'_, ()>;
    /// Remembers an idempotency key with a fingerprint of the fields and an answer.
    fn once(&self, key: String, fingerprint: [u8; 32], answer: String) -> Answered<'_, Once>;
    /// The document with an id.
    fn document(&self, kind: DocumentKind, id: String) -> Answered<'_, Option<Document>>;
    /// The document with another name; which of them where several have it is not said.
    fn document_named(&self, kind: DocumentKind, name: String) -> Answered<'_, Option<Document>>;
    /// Writes a document if it still is of the version that it names, and gives it the next one;
    /// `false` if someone was faster.
    fn put_document(&self, document: Document) -> Answered<'_, bool>;
    /// Documents that were due before a moment, the oldest first.
    fn due_documents(
        &self,
        kind: DocumentKind,
        before: Timestamp,
        limit: usize,
    ) -> Answered<'_, Vec<Document>>;
    /// Forgets the documents of a kind that were due before a moment; how many those were.
    fn forget_documents(&self, kind: DocumentKind, before: Timestamp) -> Answered<'_, usize>;
    /// Says that a node runs; its row ends by itself after so long.
    fn announce(&self, _member: Member, _lasts: Duration) -> Answered<'_, ()> {
        Box::pin(std::future::ready(Err(one_node())))
    }
    /// Says that a node runs no more.
    fn withdraw(&self, _node: u64) -> Answered<'_, ()> {
        Box::pin(std::future::ready(Err(one_node())))
    }
    /// The nodes that have said that they run, and whose row has not ended.
    fn members(&self) -> Answered<'_, Vec<Member>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Tells all nodes to forget something, by its name.
    fn notify(&self, _name: String) -> Answered<'_, ()> {
        Box::pin(std::future::ready(Err(one_node())))
    }
    /// What nodes were told to forget in the last minute, and when.
    fn notices(&self) -> Answered<'_, Vec<(i64, String)>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Audits everything from one snapshot.
    fn audit(&self) -> Answered<'_, Books>;
    /// Copies the store while it runs.
    fn backup(&self, to: PathBuf) -> Answered<'_, ()>;
    /// Whether the store can be written now.
    fn check(&self) -> Answered<'_, ()>;
}
