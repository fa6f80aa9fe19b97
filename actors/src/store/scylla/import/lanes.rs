//! So many things at the same time, and no more in memory.

use tokio::task::JoinSet;

use super::super::super::StoreError;
use super::super::unavailable;

/// Accounts or records that are under way at the same time: each account has a page of events in memory.
pub(super) const AT_ONCE: usize = 32;

/// Runs work beside each other, and fails with the first that fails.
pub(super) struct Lanes {
    tasks: JoinSet<Result<(), StoreError>>,
    most: usize,
}

impl Lanes {
    pub(super) fn new(most: usize) -> Self {
        Self { tasks: JoinSet::new(), most }
    }

    /// Begins some work as soon as there is room.
    pub(super) async fn run(
        &mut self,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        while self.tasks.len() >= self.most {
            self.wait().await?;
        }
        self.tasks.spawn(work);
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
