//! The door to the actors: starts them, asks them, stops them.

mod join;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opencredits_schema::{
    AccountId, Checkpoint, Command, Partner, PartnerId, Refusal, RequestId, Timestamp,
};
use ractor::{Actor, ActorRef};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::account::{AccountMsg, Answer, Origin, View};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::journal::{Journal, JournalState, OnBroken};
use crate::nodes::{Nodes, Notice};
use crate::partner::Partners;
use crate::store::{Payout, PayoutOutcome, Store, StoreError};
use crate::supervisor::{AccountsSupervisor, Nothing, PartnersSupervisor, Root};
use crate::thread::RuntimeThread;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
    /// The account passes from one node to another.
    #[error("the account passes between nodes")]
    Moving,
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
    pub(crate) directory: Arc<Directory>,
    partners: Arc<Partners>,
    store: Arc<dyn Store>,
    root: ActorRef<Nothing>,
    accounts: ActorRef<Nothing>,
    partners_supervisor: ActorRef<Nothing>,
    tasks: Vec<JoinHandle<()>>,
    /// The journal's, where its commits block.
    _thread: Option<RuntimeThread>,
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
        Box::pin(Self::start_with(store, settings, None)).await
    }

    async fn start_with(
        store: Arc<dyn Store>,
        settings: Settings,
        nodes: Option<Nodes>,
    ) -> Result<Self, AskError> {
        let failed = |error: ractor::SpawnErr| AskError::Unavailable(error.to_string());
        let journal = Arc::new(Journal::default());
        let directory =
            Arc::new(Directory::new(Arc::clone(&journal), Arc::clone(&store), settings, nodes));
        let partners = Arc::new(Partners::new(directory.store.clone()));
        let abandon = Arc::clone(&directory);
        let on_broken: OnBroken =
            Arc::new(move |account| abandon.tell(account, AccountMsg::Abandon));
        let thread = store.blocks().then(|| RuntimeThread::start("journal")).transpose();
        let thread = thread.map_err(|error| AskError::Unavailable(error.to_string()))?;
        let runtime = thread.as_ref().map_or_else(Handle::current, |own| own.runtime().clone());
        let root = Root { journal, store: Arc::clone(&store), on_broken, runtime };
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
        let tasks = vec![tokio::spawn(sweep(Arc::clone(&directory)))];
        let mut system = Self {
            directory,
            partners,
            store,
            root,
            accounts,
            partners_supervisor,
            tasks,
            _thread: thread,
        };
        system.meet_the_others().await?;
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
        if let Some(nodes) = &self.directory.nodes {
            return Box::pin(self.directory.ask_anywhere(nodes, account, command)).await;
        }
        for _ in 0..ASKS_MAX {
            match self.directory.ask_once(account, command.clone(), Origin::Here).await {
                Err(AskError::Lost) => {}
                result => return result,
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
                Err(error @ (AskError::Lost | AskError::Moving | AskError::Unavailable(_))) => {
                    tracing::warn!(%account, %error, "the outcome is not known yet");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// Notes what a running request has used so far. Nobody waits for it.
    pub fn checkpoint(&self, checkpoint: Box<Checkpoint>) {
        if self.directory.nodes.is_none() || self.directory.runs_here(checkpoint.account) {
            self.directory.tell(checkpoint.account, AccountMsg::Checkpoint(checkpoint));
            return;
        }
        let directory = Arc::clone(&self.directory);
        tokio::spawn(async move {
            let Some(nodes) = &directory.nodes else { return };
            directory.note_anywhere(nodes, checkpoint).await;
        });
    }

    /// Renews a hold's lease. Nobody waits for it.
    pub fn renew(&self, account: AccountId, request: RequestId) {
        let expires_at = self.now().plus_millis(self.directory.settings.lease_millis());
        let command = Command::Renew { request, expires_at };
        if self.directory.nodes.is_none() || self.directory.runs_here(account) {
            let (reply, _) = oneshot::channel();
            self.directory.tell(account, AccountMsg::Ask(command, reply, Origin::Here));
            return;
        }
        let directory = Arc::clone(&self.directory);
        tokio::spawn(async move {
            let Some(nodes) = &directory.nodes else { return };
            // One that is not open any more needs it no more.
            drop(directory.ask_anywhere(nodes, account, command).await);
        });
    }

    /// An account as it is now.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn view(&self, account: AccountId) -> Result<View, AskError> {
        if let Some(nodes) = &self.directory.nodes {
            return Box::pin(self.directory.view_anywhere(nodes, account)).await;
        }
        for _ in 0..ASKS_MAX {
            match self.directory.view_once(account).await {
                Err(AskError::Lost) => {}
                result => return result,
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
        let changed = self.partners.change(id, Box::new(change)).await?;
        self.notify(Notice::Partner(id)).await?;
        Ok(changed)
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
        self.tasks.iter().for_each(JoinHandle::abort);
        self.directory.withdraw().await;
        for actor in [&self.accounts, &self.partners_supervisor, &self.root] {
            actor.stop(None);
        }
        drained
    }

    /// Starts each account with open checkpoints: loading settles them.
    async fn recover(&self) -> Result<(), AskError> {
        let accounts = self.directory.recover().await?;
        if accounts > 0 {
            self.directory.journal.drained().await;
            tracing::info!(accounts, "settled what a crash had left open");
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
