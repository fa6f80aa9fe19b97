//! The store as a process sees it: the durable state behind latency, errors and lies.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use opencredits_actors::{
    Answered, Batch, Books, Loaded, MemoryStore, Once, Payout, PayoutOutcome, Rejected, Store,
    StoreError,
};
use opencredits_schema::{
    AccountId, Document, DocumentKind, EarningsRow, HistoryRow, Key, KeyId, KeyUse, Partner,
    PartnerBalance, PartnerId, Timestamp, UsageQuery,
};

use super::world::{Outside, Weather, World, at_once, pass};

/// A store whose durable state is the world's.
pub struct SimulatedStore {
    world: Arc<World>,
    /// A batch that was called durable and is not (a planted bug).
    owed: Mutex<Option<Batch>>,
    /// An earlier state of each account (a planted bug).
    earlier: Mutex<std::collections::BTreeMap<AccountId, Loaded>>,
}

impl SimulatedStore {
    pub fn new(world: Arc<World>) -> Self {
        Self { world, owed: Mutex::default(), earlier: Mutex::default() }
    }

    /// A call's way through the weather: it may fail before or after it took effect, and a process
    /// may end at each of its steps.
    async fn through<T>(
        &self,
        call: &'static str,
        may_panic: bool,
        work: impl FnOnce(&World) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let world = &self.world;
        self.wait().await;
        self.fail(call, "before", may_panic).await?;
        pass!(world, "store", "{}", call);
        let result = work(world);
        pass!(world, "stored", "{}", call);
        self.wait().await;
        self.fail(call, "after", may_panic).await?;
        result
    }

    /// A millisecond at least: what was answered in this one is noted before anything is durable.
    async fn wait(&self) {
        match self.world.weather() {
            Weather::Calm | Weather::Shaky | Weather::Down => self.world.rest(1, 3).await,
            Weather::Slow => self.world.rest(20, 900).await,
        }
    }

    async fn fail(&self, call: &str, when: &str, may_panic: bool) -> Result<(), StoreError> {
        let world = &self.world;
        let fails = match world.weather() {
            Weather::Calm | Weather::Slow => false,
            Weather::Shaky => world.choices.chance(20),
            Weather::Down => true,
        };
        if !fails {
            return Ok(());
        }
        pass!(world, "fails", "{call} {when} its effect");
        if may_panic && world.choices.chance(15) {
            // A bug in the journal's own task; its message would only be noise.
            std::panic::resume_unwind(Box::new("told to panic"));
        }
        Err(StoreError::Unavailable("bad weather".to_owned()))
    }

    /// What is committed now: all of the batch, unless the store lies.
    fn written(&self, batch: &Batch) -> Result<Vec<Rejected>, StoreError> {
        let durable = &self.world.durable;
        if self.world.outside != Some(Outside::StoreLies) {
            return at_once(durable.commit(Arc::clone(batch)));
        }
        let before = self.owed.lock().unwrap().replace(Arc::clone(batch));
        before.map_or_else(|| Ok(Vec::new()), |before| at_once(durable.commit(before)))
    }

    fn read(&self, account: AccountId) -> Result<Option<Loaded>, StoreError> {
        let loaded = at_once(self.world.durable.load(account))?;
        if self.world.outside != Some(Outside::StaleRead) {
            return Ok(loaded);
        }
        let Some(loaded) = loaded else { return Ok(None) };
        let earlier = self.earlier.lock().unwrap().insert(account, loaded.clone());
        Ok(Some(earlier.unwrap_or(loaded)))
    }
}

/// Calls that the weather leaves as they are.
macro_rules! through {
    ($($call:ident($($name:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $call(&self, $($name: $kind),*) -> Answered<'_, $answer> {
            let work = move |world: &World| at_once(MemoryStore::$call(&world.durable, $($name),*));
            Box::pin(self.through(stringify!($call), false, work))
        })*
    };
}

impl Store for SimulatedStore {
    fn commit(&self, batch: Batch) -> Answered<'_, Vec<Rejected>> {
        Box::pin(self.through("commit", true, move |world| {
            let mut accounts: Vec<_> = batch.iter().map(|write| write.account()).collect();
            accounts.sort_unstable();
            accounts.dedup();
            let rejected = self.written(&batch)?;
            for rejected in &rejected {
                world.step("rejected", format_args!("{rejected:?}"));
            }
            for account in accounts {
                world.observe(account);
            }
            Ok(rejected)
        }))
    }

    fn load(&self, account: AccountId) -> Answered<'_, Option<Loaded>> {
        Box::pin(self.through("load", false, move |_| self.read(account)))
    }

    through! {
        create_account(account: AccountId, email: Option<String>, at: Timestamp) -> ();
        account_by_email(email: String) -> Option<AccountId>;
        email_of(account: AccountId) -> Option<String>;
        unfinished() -> Vec<AccountId>;
        history(account: AccountId, limit: usize, offset: usize) -> (Vec<HistoryRow>, bool);
        put_key(key: Key) -> ();
        key_by_hash(hash: [u8; 32]) -> Option<Key>;
        keys_of(account: AccountId) -> Vec<Key>;
        revoke_key(key: KeyId, at: Timestamp) -> Option<Key>;
        use_key(key: KeyId, used: KeyUse) -> ();
        put_partner(partner: Partner) -> ();
        partners() -> Vec<Partner>;
        partner(id: PartnerId) -> Option<Partner>;
        partner_by_publishable(key: String) -> Option<Partner>;
        partner_by_secret(hash: [u8; 32]) -> Option<Partner>;
        partner_balance(id: PartnerId) -> PartnerBalance;
        payout(payout: Payout) -> PayoutOutcome;
        partner_usage(id: PartnerId, query: UsageQuery) -> Vec<HistoryRow>;
        earnings(id: PartnerId, from: Option<Timestamp>, to: Option<Timestamp>) -> Vec<EarningsRow>;
        keep_prices(rows: Vec<(String, String)>) -> ();
        once(key: String, fingerprint: [u8; 32], answer: String) -> Once;
        document(kind: DocumentKind, id: String) -> Option<Document>;
        document_named(kind: DocumentKind, name: String) -> Option<Document>;
        put_document(document: Document) -> bool;
        due_documents(kind: DocumentKind, before: Timestamp, limit: usize) -> Vec<Document>;
        forget_documents(kind: DocumentKind, before: Timestamp) -> usize;
        audit() -> Books;
        backup(to: PathBuf) -> ();
        check() -> ();
    }
}
