//! The door to the actors: starts them, asks them, stops them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opencredits_schema::{
    AccountId, Checkpoint, Command, Partner, PartnerId, Refusal, RequestId, Timestamp,
};
use ractor::{Actor, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::account::{AccountMsg, Answer, View};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::journal::{Journal, JournalState, OnBroken};
use crate::partner::Partners;
use crate::store::{Payout, PayoutOutcome, Store, StoreError};
use crate::supervisor::{AccountsSupervisor, Nothing, PartnersSupervisor, Root};

/// How often an unknown outcome is asked again under the same request id.
const ASKS_MAX: usize = 8;

/// The pause before what must be done is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long the system runs: leases, rest, and who this process is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A hold ends so long after it was placed or renewed.
    pub hold_lease: Duration,
    /// An account with nothing open rests after so long.
    pub passivate_after: Duration,
    /// This incarnation of the process: a number that no other one has.
    pub node: u64,
    /// Tells the time of day.
    pub clock: Clock,
}

impl Settings {
    pub(crate) fn lease_millis(&self) -> i64 {
        i64::try_from(self.hold_lease.as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn passivate_after_millis(&self) -> i64 {
        i64::try_from(self.passivate_after.as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Why an ask has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such account.
    #[error("no such account")]
    NoAccount,
    /// The actor was started anew meanwhile: whether it was done is not known. Commands are keyed,
    /// so they can be asked again.
    #[error("the outcome is unknown")]
    Lost,
    /// Something is down.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl From<StoreError> for AskError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The running actors.
#[derive(Debug)]
pub struct System {
    directory: Arc<Directory>,
    partners: Arc<Partners>,
    store: Arc<dyn Store>,
    root: ActorRef<Nothing>,
    accounts: ActorRef<Nothing>,
    partners_supervisor: ActorRef<Nothing>,
    sweeper: JoinHandle<()>,
}

impl std::fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl System {
    /// Starts the supervisors and the journal, and settles what a crash left open.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(store: Arc<dyn Store>, settings: Settings) -> Result<Self, AskError> {
        let failed = |error: ractor::SpawnErr| AskError::Unavailable(error.to_string());
        let journal = Arc::new(Journal::default());
        let directory =
            Arc::new(Directory::new(Arc::clone(&journal), Arc::clone(&store), settings));
        let partners = Arc::new(Partners::new(directory.store.clone()));
        let abandon = Arc::clone(&directory);
        let on_broken: OnBroken =
            Arc::new(move |account| abandon.tell(account, AccountMsg::Abandon));
        let root = Root { journal, store: Arc::clone(&store), on_broken };
        let (root, _) = Actor::spawn(None, root, ()).await.map_err(failed)?;
        let supervisor = AccountsSupervisor { directory: Arc::clone(&directory) };
        let (accounts, _) =
            Actor::spawn_linked(None, supervisor, (), root.get_cell()).await.map_err(failed)?;
        directory.supervised_by(accounts.get_cell());
        let (partners_supervisor, _) =
            Actor::spawn_linked(None, PartnersSupervisor, (), root.get_cell())
                .await
                .map_err(failed)?;
        partners.supervised_by(partners_supervisor.get_cell());
        let sweeper = tokio::spawn(sweep(Arc::clone(&directory)));
        let system =
            Self { directory, partners, store, root, accounts, partners_supervisor, sweeper };
        system.recover().await?;
        Ok(system)
    }

    /// The store, for what needs no actor: histories, keys, earnings.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.directory.settings.now()
    }

    /// This incarnation of the process.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.directory.settings.node
    }

    /// How long a hold lives unless it is renewed.
    #[must_use]
    pub fn hold_lease(&self) -> Duration {
        self.directory.settings.hold_lease
    }

    /// Asks an account. Placing, renewing and releasing answer at once; settlements and money
    /// answer when they are durable. An unknown outcome is asked again: commands are keyed.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, account: AccountId, command: Command) -> Result<Answer, AskError> {
        for _ in 0..ASKS_MAX {
            let (reply, answer) = oneshot::channel();
            self.directory.send(account, AccountMsg::Ask(command.clone(), reply)).await?;
            match answer.await {
                Ok(Err(AskError::Lost)) | Err(_) => {}
                Ok(result) => return result,
            }
        }
        Err(AskError::Lost)
    }

    /// Asks until the outcome is known, for however long the store is down: what must not be given
    /// up, as a settlement that would become a refund.
    ///
    /// # Errors
    /// [`AskError::Refused`], [`AskError::NoAccount`].
    pub async fn insist(&self, account: AccountId, command: Command) -> Result<Answer, AskError> {
        loop {
            match self.ask(account, command.clone()).await {
                Err(error @ (AskError::Lost | AskError::Unavailable(_))) => {
                    tracing::warn!(%account, %error, "the outcome is not known yet");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// Notes what a running request has used so far. Nobody waits for it.
    pub fn checkpoint(&self, checkpoint: Box<Checkpoint>) {
        self.directory.tell(checkpoint.account, AccountMsg::Checkpoint(checkpoint));
    }

    /// Renews a hold's lease. Nobody waits for it.
    pub fn renew(&self, account: AccountId, request: RequestId) {
        let expires_at = self.now().plus_millis(self.directory.settings.lease_millis());
        let (reply, _) = oneshot::channel();
        let command = Command::Renew { request, expires_at };
        self.directory.tell(account, AccountMsg::Ask(command, reply));
    }

    /// An account as it is now.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn view(&self, account: AccountId) -> Result<View, AskError> {
        for _ in 0..ASKS_MAX {
            let (reply, answer) = oneshot::channel();
            self.directory.send(account, AccountMsg::View(reply)).await?;
            if let Ok(view) = answer.await {
                return Ok(view);
            }
        }
        Err(AskError::Lost)
    }

    /// A partner's record; from memory when it was asked for before.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn partner(&self, id: PartnerId) -> Result<Option<Arc<Partner>>, AskError> {
        self.partners.get(id).await
    }

    /// Changes a partner's record; the change holds for requests that start after the answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn change_partner(
        &self,
        id: PartnerId,
        change: impl FnOnce(&mut Partner) + Send + 'static,
    ) -> Result<Arc<Partner>, AskError> {
        self.partners.change(id, Box::new(change)).await
    }

    /// Books a payout unless it is more than payable.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn payout(&self, payout: Payout) -> Result<PayoutOutcome, AskError> {
        self.partners.payout(payout).await
    }

    /// Waits until all that was decided of an account is durable, or was refused by the store.
    pub async fn settled(&self, account: AccountId) {
        self.directory.journal.settled(account).await;
    }

    /// Copies the store while it runs.
    ///
    /// # Errors
    /// As the store says.
    pub async fn backup(&self, to: PathBuf) -> Result<(), StoreError> {
        self.store.backup(to).await
    }

    /// What the journal has to do, and whether the store takes it.
    #[must_use]
    pub fn journal(&self) -> JournalState {
        self.directory.journal.state()
    }

    /// The number of accounts that have an actor.
    #[must_use]
    pub fn active_accounts(&self) -> usize {
        self.directory.active()
    }

    /// Expires and passivates what is due at a moment, as the sweeper does by itself.
    pub fn sweep(&self, now: Timestamp) {
        self.directory.sweep(now);
    }

    /// Panics an account's actor, so that a test sees what that does.
    #[doc(hidden)]
    pub fn panic_account(&self, account: AccountId) {
        self.directory.tell(account, AccountMsg::Fail);
    }

    /// Waits until all that was decided is durable, then ends the actors. `false` when the store
    /// did not take it in time: checkpoints settle the rest at the next start.
    pub async fn stop(&self, wait: Duration) -> bool {
        let drained = tokio::time::timeout(wait, self.directory.journal.drained()).await.is_ok();
        self.sweeper.abort();
        for actor in [&self.accounts, &self.partners_supervisor, &self.root] {
            actor.stop(None);
        }
        drained
    }

    /// Starts each account with open checkpoints: loading settles them.
    async fn recover(&self) -> Result<(), AskError> {
        let unfinished = self.store.unfinished().await?;
        for account in &unfinished {
            self.directory.start(*account).await?;
        }
        if !unfinished.is_empty() {
            self.directory.journal.drained().await;
            tracing::info!(accounts = unfinished.len(), "settled what a crash had left open");
        }
        Ok(())
    }
}

/// Looks after leases and idle accounts, four times a lease or rest.
async fn sweep(directory: Arc<Directory>) {
    let Settings { hold_lease, passivate_after, .. } = directory.settings;
    let period = (hold_lease.min(passivate_after) / 4)
        .clamp(Duration::from_millis(50), Duration::from_secs(15));
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        directory.sweep(directory.settings.now());
    }
}
