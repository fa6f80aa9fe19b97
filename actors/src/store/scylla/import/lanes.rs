//! So many things at the same time, and no more in memory; each is tried again while the cluster is away
//! for a moment.

use std::time::Duration;

use tokio::task::JoinSet;

use super::super::super::StoreError;
use super::super::unavailable;

/// Accounts or records that are under way at the same time: each account has a page of events in memory.
pub(super) const AT_ONCE: usize = 32;

/// How often something is tried again, and the first pause before it; each next one is twice as long.
const TRIES_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Runs work beside each other, and fails with the first that fails.
pub(super) struct Lanes {
    tasks: JoinSet<Result<(), StoreError>>,
    most: usize,
}

impl Lanes {
    pub(super) fn new(most: usize) -> Self {
        Self { tasks: JoinSet::new(), most }
    }

    /// Begins some work, which can be done again, as soon as there is room.
    pub(super) async fn run<F>(
        &mut self,
        work: impl Fn() -> F + Send + 'static,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        while self.tasks.len() >= self.most {
            self.wait().await?;
        }
        self.tasks.spawn(patiently(work));
        Ok(())
    }

    /// Waits until all work has ended.
    pub(super) async fn end(mut self) -> Result<(), StoreError> {
        while !self.tasks.is_empty() {
            self.wait().await?;
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        let ended = self.tasks.join_next().await;
        ended.map_or(Ok(()), |ended| ended.map_err(|error| unavailable(&error)).flatten())
    }
}

async fn patiently<F>(work: impl Fn() -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES_MAX {
        match work().await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(pause).await,
            end => return end,
        }
        pause = pause.saturating_mul(2);
    }
    work().await
}
