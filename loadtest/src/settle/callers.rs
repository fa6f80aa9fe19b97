//! Callers that hold and settle, again and again, and how much of it a time brings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opencredits_actors::{Clock, Settings, Store, System};
use opencredits_schema::{AccountId, KeyId, RequestId, Timestamp};
use tokio::task::JoinSet;

use super::SettleError;
use crate::bench::commands::{PARTNER, grant, partner, place, settle};
use crate::load::server::cpu_of;

/// Longer than any run: nothing expires or rests.
const LEASE: Duration = Duration::from_secs(3_600);
/// The longest wait for the last settlements.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// How many ask how many accounts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) callers: u64,
    pub(crate) accounts: u64,
    /// This incarnation of the process: a number that no other one on the store has.
    pub(crate) node: u64,
    /// The first account's number; the others follow.
    pub(crate) first: u64,
}

/// Callers at work on a store.
#[derive(Debug)]
pub(crate) struct Callers {
    system: Arc<System>,
    settled: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

/// What was settled in a time, by which CPU of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) settled: u64,
    pub(crate) cpu: Duration,
    pub(crate) took: Duration,
}

impl Callers {
    /// Makes the accounts, with more credits than they spend, and lets the callers begin.
    ///
    /// # Errors
    /// As the store says.
    pub(crate) async fn start(store: Arc<dyn Store>, crowd: Crowd) -> Result<Self, SettleError> {
        let Crowd { callers, accounts, node, first } = crowd;
        store.put_partner(partner(PARTNER)).await?;
        let settings =
            Settings { hold_lease: LEASE, passivate_after: LEASE, node, clock: Clock::default() };
        let system = Arc::new(System::start(Arc::clone(&store), settings).await?);
        let account = |number: u64| AccountId::new(first.wrapping_add(number));
        for number in 0..accounts {
            store.create_account(account(number), None, Timestamp::default()).await?;
            system.ask(account(number), grant(account(number))).await?;
        }
        let settled = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let account = account(caller.checked_rem(accounts).unwrap_or_default());
            let request = (u128::from(node) << 80) | u128::from(caller);
            let (system, settled) = (Arc::clone(&system), Arc::clone(&settled));
            tasks.spawn(call(system, account, request, settled));
        }
        Ok(Self { system, settled, tasks })
    }

    /// Lets so much time pass, and tells what it brought.
    ///
    /// # Errors
    /// When this process's CPU time cannot be read.
    pub(crate) async fn window(&self, length: Duration) -> Result<Window, SettleError> {
        let cpu = || cpu_of(std::process::id()).map_err(SettleError::Cpu);
        let (before, used) = (self.settled.load(Ordering::Relaxed), cpu()?);
        let began = Instant::now();
        tokio::time::sleep(length).await;
        let settled = self.settled.load(Ordering::Relaxed).saturating_sub(before);
        Ok(Window { settled, cpu: cpu()?.saturating_sub(used), took: began.elapsed() })
    }

    /// Sends the callers away, and waits until what they settled is durable; whether it is.
    pub(crate) async fn stop(mut self) -> bool {
        self.tasks.abort_all();
        self.system.stop(STOP_WAIT).await
    }
}

/// Places and settles until it is aborted or the system ends.
async fn call(system: Arc<System>, account: AccountId, first: u128, settled: Arc<AtomicU64>) {
    let key = KeyId::new(account.number());
    for round in 0_u128.. {
        let request = RequestId::new(first | (round << 32));
        let placed = system.ask(account, place(request, key)).await;
        let done = system.ask(account, settle(request, key)).await;
        if placed.and(done).is_err() {
            return;
        }
        settled.fetch_add(1, Ordering::Relaxed);
    }
}
