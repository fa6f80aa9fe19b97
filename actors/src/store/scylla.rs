//! For more than one machine: a ScyllaDB (or Cassandra) cluster, with one partition an account.
//!
//! Every flush of an account is one conditional batch in its partition, so the database itself
//! refuses a writer that lost the account. Whatever others look for elsewhere is copied behind the
//! answers by plain writes that can be done again.

mod audit;
mod checkpoints;
mod commit;
mod copies;
mod cql;
mod db;
mod documents;
mod flush;
mod import;
mod members;
mod migrate;
mod owned;
mod read;
mod records;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opencredits_schema::{
    AccountId, Document, DocumentKind, EarningsRow, Head, HistoryRow, Key, KeyId, KeyUse, Partner,
    PartnerBalance, PartnerId, Timestamp, UsageQuery,
};
use tokio::task::JoinHandle;

use self::checkpoints::Checkpoints;
use self::copies::Copies;
use self::cql::Statements;
use self::db::{Db, unavailable};
pub use self::import::{MoveEnd, MoveProgress};
use self::owned::{Accounts, Freshness};
use super::{
    Answered, Batch, Books, Loaded, Once, Payout, PayoutOutcome, Rejected, Store, StoreError,
};
use crate::nodes::Member;

/// Writes in one commit: each account's share of them is a batch of its own, and the more events a
/// batch has, the less each costs.
const WRITES_MAX: usize = 16_384;

/// The store in a keyspace of a cluster.
#[derive(Debug)]
pub struct ScyllaStore {
    inner: Arc<Inner>,
    copier: JoinHandle<()>,
}

/// Where the cluster is, and who asks.
#[derive(Clone, Debug)]
pub struct ScyllaSettings {
    /// `HOST:PORT` of the nodes to ask first.
    pub nodes: Vec<String>,
    /// The keyspace that holds the tables.
    pub keyspace: String,
    /// This incarnation of the process: a number that no other one has. Accounts are taken in its name.
    pub owner: u64,
    /// How long durable events wait for their copies, so that many are written at once.
    pub copy_after: Duration,
}

/// What the store's tasks share.
#[derive(Debug)]
struct Inner {
    db: Db,
    owner: i64,
    accounts: Accounts,
    copies: Copies,
    checkpoints: Checkpoints,
}

impl ScyllaStore {
    /// Connects to a keyspace that is up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no node answers, [`StoreError::Conflict`] when migrations
    /// are to be run first or a move into the keyspace was interrupted.
    pub async fn connect(settings: ScyllaSettings) -> Result<Self, StoreError> {
        let store = Self::open(settings).await?;
        store.inner.refuse_half_moved().await?;
        Ok(store)
    }

    async fn open(settings: ScyllaSettings) -> Result<Self, StoreError> {
        let session = db::connect(&settings.nodes).await?;
        migrate::check(&session, &settings.keyspace).await?;
        let cql = Box::pin(Statements::prepare(&session)).await?;
        let inner = Arc::new(Inner {
            db: Db::new(session, cql),
            owner: settings.owner.cast_signed(),
            accounts: Accounts::default(),
            copies: Copies::default(),
            checkpoints: Checkpoints::default(),
        });
        let copier = tokio::spawn(copy(Arc::clone(&inner), settings.copy_after));
        Ok(Self { inner, copier })
    }

    /// Makes the keyspace if it is not there, and runs the migrations that it has not seen; how many
    /// those were. Several may try at once.
    ///
    /// # Errors
    /// When no node answers, or the keyspace is of a newer program.
    pub async fn migrate(settings: &ScyllaSettings) -> Result<usize, StoreError> {
        let ScyllaSettings { nodes, keyspace, owner, .. } = settings;
        migrate::migrate(nodes, keyspace, owner.cast_signed()).await
    }

    /// How many conditional batches the cluster has answered: each carries events of one account.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.inner.db.batches.load(Ordering::Relaxed)
    }

    /// Why there is no backup here, and who makes it.
    #[must_use]
    pub fn no_backup() -> StoreError {
        StoreError::Conflict(
            "a ScyllaDB cluster is backed up by its own tools: `nodetool snapshot` on each node, \
             or `sctool backup` for all of them"
                .to_owned(),
        )
    }

    /// Empties the keyspace for the next test; its name.
    #[cfg(test)]
    pub(crate) async fn empty(&self) -> String {
        for line in opencredits_schema::CQL_MIGRATIONS.iter().flat_map(|text| text.lines()) {
            if let Some(table) = line.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
                self.query(&format!("TRUNCATE {}", table.trim_end_matches(" ("))).await;
            }
        }
        self.inner.db.session.get_keyspace().unwrap().to_string()
    }

    /// In whose name accounts are taken.
    #[cfg(test)]
    pub(crate) fn owner(&self) -> u64 {
        self.inner.owner.cast_unsigned()
    }

    /// Asks the cluster whatever a test wants.
    #[cfg(test)]
    async fn query(&self, cql: &str) {
        self.inner.db.session.query_unpaged(cql, &[]).await.unwrap();
    }

    fn ask<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Answered<'_, T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(work(Arc::clone(&self.inner)))
    }
}

impl Drop for ScyllaStore {
    fn drop(&mut self) {
        self.copier.abort();
    }
}

/// Copies what became durable, again and again.
async fn copy(inner: Arc<Inner>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        if let Err(error) = inner.copy_now().await {
            tracing::warn!(%error, "copies of events wait for the store");
        }
    }
}

fn to_text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(db::corrupt)
}

fn from_text<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(db::corrupt)
}

impl Store for ScyllaStore {
    fn commit(&self, batch: Batch) -> Answered<'_, Vec<Rejected>> {
        self.ask(|inner| inner.commit(batch))
    }

    fn batch_max(&self) -> usize {
        WRITES_MAX
    }

    fn load(&self, account: AccountId) -> Answered<'_, Option<Loaded>> {
        self.ask(|inner| async move { inner.load(account).await })
    }

    fn head(&self, account: AccountId) -> Answered<'_, Option<Head>> {
        self.ask(|inner| async move {
            let stored = inner.db.head(account, Freshness::Quorum).await?;
            stored.map(|stored| stored.head()).transpose()
        })
    }

    fn create_account(
        &self,
        account: AccountId,
        email: Option<String>,
        at: Timestamp,
    ) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.create_account(account, email, at).await })
    }

    fn account_by_email(&self, email: String) -> Answered<'_, Option<AccountId>> {
        self.ask(|inner| async move { inner.account_by_email(email).await })
    }

    fn email_of(&self, account: AccountId) -> Answered<'_, Option<String>> {
        self.ask(|inner| async move { inner.email_of(account).await })
    }

    fn unfinished(&self) -> Answered<'_, Vec<AccountId>> {
        self.ask(|inner| async move { Ok(inner.unfinished().await?.into_keys().collect()) })
    }

    fn history(
        &self,
        account: AccountId,
        limit: usize,
        offset: usize,
    ) -> Answered<'_, (Vec<HistoryRow>, bool)> {
        self.ask(|inner| async move { inner.history(account, limit, offset).await })
    }

    fn put_key(&self, key: Key) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.put_key(key).await })
    }

    fn key_by_hash(&self, hash: [u8; 32]) -> Answered<'_, Option<Key>> {
        self.ask(|inner| async move { inner.key_by_hash(hash).await })
    }

    fn keys_of(&self, account: AccountId) -> Answered<'_, Vec<Key>> {
        self.ask(|inner| async move { inner.keys_of(account).await })
    }

    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Answered<'_, Option<Key>> {
        self.ask(|inner| async move { inner.revoke_key(key, at).await })
    }

    fn use_key(&self, key: KeyId, used: KeyUse) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.use_key(key, used).await })
    }

    fn put_partner(&self, partner: Partner) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.put_partner(partner).await })
    }

    fn partners(&self) -> Answered<'_, Vec<Partner>> {
        self.ask(|inner| async move { inner.partners().await })
    }

    fn partner(&self, id: PartnerId) -> Answered<'_, Option<Partner>> {
        self.ask(|inner| async move { inner.partner(id.column()).await })
    }

    fn partner_by_publishable(&self, key: String) -> Answered<'_, Option<Partner>> {
        self.ask(|inner| async move { inner.partner_by_name(&key).await })
    }

    fn partner_by_secret(&self, hash: [u8; 32]) -> Answered<'_, Option<Partner>> {
        self.ask(|inner| async move { inner.partner_by_name(&records::secret_name(&hash)).await })
    }

    fn partner_balance(&self, id: PartnerId) -> Answered<'_, PartnerBalance> {
        self.ask(|inner| async move { inner.partner_balance(id).await })
    }

    fn payout(&self, payout: Payout) -> Answered<'_, PayoutOutcome> {
        self.ask(|inner| async move { inner.payout(&payout).await })
    }

    fn partner_usage(&self, id: PartnerId, query: UsageQuery) -> Answered<'_, Vec<HistoryRow>> {
        self.ask(|inner| async move { inner.partner_usage(id, &query).await })
    }

    fn earnings(
        &self,
        id: PartnerId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Answered<'_, Vec<EarningsRow>> {
        self.ask(|inner| async move { inner.earnings(id, from, to).await })
    }

    fn keep_prices(&self, rows: Vec<(String, String)>) -> Answered<'_, ()> {
        self.ask(|inner| async move {
            for row in rows {
                inner.db.run(&inner.db.cql.put_price, row).await?;
            }
            Ok(())
        })
    }

    fn once(&self, key: String, fingerprint: [u8; 32], answer: String) -> Answered<'_, Once> {
        self.ask(|inner| async move { inner.once(key, fingerprint, answer).await })
    }

    fn document(&self, kind: DocumentKind, id: String) -> Answered<'_, Option<Document>> {
        self.ask(|inner| async move { inner.document(kind, &id).await })
    }

    fn document_named(&self, kind: DocumentKind, name: String) -> Answered<'_, Option<Document>> {
        self.ask(|inner| async move { inner.document_named(kind, &name).await })
    }

    fn put_document(&self, document: Document) -> Answered<'_, bool> {
        self.ask(|inner| async move { inner.put_document(&document).await })
    }

    fn due_documents(
        &self,
        kind: DocumentKind,
        before: Timestamp,
        limit: usize,
    ) -> Answered<'_, Vec<Document>> {
        self.ask(|inner| async move { inner.due_documents(kind, before, limit).await })
    }

    fn forget_documents(&self, kind: DocumentKind, before: Timestamp) -> Answered<'_, usize> {
        self.ask(|inner| async move { inner.forget_documents(kind, before).await })
    }

    fn announce(&self, member: Member, lasts: Duration) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.announce(&member, lasts).await })
    }

    fn withdraw(&self, node: u64) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.withdraw(node).await })
    }

    fn members(&self) -> Answered<'_, Vec<Member>> {
        self.ask(|inner| async move { inner.members().await })
    }

    fn notify(&self, name: String) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.notify(name).await })
    }

    fn notices(&self) -> Answered<'_, Vec<(i64, String)>> {
        self.ask(|inner| async move { inner.notices().await })
    }

    fn audit(&self) -> Answered<'_, Books> {
        self.ask(|inner| async move { inner.audit().await })
    }

    fn backup(&self, _to: PathBuf) -> Answered<'_, ()> {
        self.ask(|_| std::future::ready(Err(Self::no_backup())))
    }

    fn check(&self) -> Answered<'_, ()> {
        self.ask(|inner| async move { inner.check().await })
    }
}
