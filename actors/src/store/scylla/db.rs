//! One session with the cluster: bounded asks, whole answers, and the outcome of conditional writes.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};

use super::StoreError;
use super::cql::Statements;

/// How long the cluster may take for one request, and for a connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How soon a connection that answers nothing is known to be dead.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// Rows in one page of an answer.
const PAGE_ROWS: i32 = 500;

/// A session in a keyspace, and its statements.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) session: Session,
    pub(super) cql: Statements,
    /// Conditional batches that the cluster has answered.
    pub(super) batches: AtomicU64,
    /// So many answers of conditional batches are lost on their way to a test.
    #[cfg(test)]
    pub(super) lose: std::sync::atomic::AtomicUsize,
    /// So many writes reach the cluster before it is away for a test.
    #[cfg(test)]
    pub(super) writes_left: std::sync::atomic::AtomicUsize,
}

/// Connects to the first of the nodes that answers; the driver finds the others and comes back to
/// those that were away.
pub(super) async fn connect(nodes: &[String]) -> Result<Session, StoreError> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .build();
    SessionBuilder::new()
        .known_nodes(nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(CONNECT_TIMEOUT)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .pool_size(PoolSize::PerShard(NonZeroUsize::MIN))
        .compression(None::<Compression>)
        .fetch_full_schema_metadata(false)
        .build()
        .await
        .map_err(|error| unavailable(&format!("{}: {error}", nodes.join(","))))
}

impl Db {
    pub(super) fn new(session: Session, cql: Statements) -> Self {
        Self {
            session,
            cql,
            batches: AtomicU64::new(0),
            #[cfg(test)]
            lose: std::sync::atomic::AtomicUsize::new(0),
            #[cfg(test)]
            writes_left: std::sync::atomic::AtomicUsize::new(usize::MAX),
        }
    }

    #[cfg(test)]
    fn count_write(&self) -> Result<(), StoreError> {
        use std::sync::atomic::Ordering::Relaxed;
        let left = self.writes_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| unavailable(&"the cluster is away"))
    }

    /// The answer to a statement that has none, or that is not wanted.
    pub(super) async fn run(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        self.count_write()?;
        self.session.execute_unpaged(statement, values).await.map_err(failed)?;
        Ok(())
    }

    /// The first row, if there is one.
    pub(super) async fn one<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Option<T>, StoreError>
    where
        T: for<'f> DeserializeRow<'f, 'f>,
    {
        let answer = self.session.execute_unpaged(statement, values).await.map_err(failed)?;
        let rows = answer.into_rows_result().map_err(corrupt)?;
        rows.maybe_first_row::<T>().map_err(corrupt)
    }

    /// All rows, read page by page.
    pub(super) async fn all<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'f> DeserializeRow<'f, 'f>,
    {
        let mut all = Vec::new();
        let mut from = Some(PagingState::start());
        while let Some(state) = from {
            let (page, next) = self.page(statement, &values, state).await?;
            all.extend(page);
            from = next;
        }
        Ok(all)
    }

    /// A page of rows, and where the next one begins.
    pub(super) async fn page<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        from: PagingState,
    ) -> Result<(Vec<T>, Option<PagingState>), StoreError>
    where
        T: for<'f> DeserializeRow<'f, 'f>,
    {
        let mut statement = statement.clone();
        statement.set_page_size(PAGE_ROWS);
        let asked = self.session.execute_single_page(&statement, values, from).await;
        let (answer, next) = asked.map_err(failed)?;
        let rows = answer.into_rows_result().map_err(corrupt)?;
        let rows = rows.rows::<T>().map_err(corrupt)?.collect::<Result<_, _>>();
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(state),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((rows.map_err(corrupt)?, next))
    }

    /// Asks a conditional write; whether it was applied. An unknown outcome is asked again: whoever
    /// is told "not applied" looks whether what stands there is its own.
    pub(super) async fn applied(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<bool, StoreError> {
        #[cfg(test)]
        self.count_write()?;
        let answer = match self.session.execute_unpaged(statement, &values).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "a conditional write is asked again");
                self.session.execute_unpaged(statement, &values).await.map_err(failed)?
            }
        };
        applied(answer)
    }

    /// Asks a conditional batch in one partition; whether it was applied. An error leaves that
    /// unknown.
    pub(super) async fn batch_applied<R: SerializeRow>(
        &self,
        statements: Vec<BatchStatement>,
        values: Vec<R>,
    ) -> Result<bool, StoreError> {
        #[cfg(test)]
        self.count_write()?;
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        let policy = scylla::policies::retry::FallthroughRetryPolicy::new();
        batch.set_retry_policy(Some(std::sync::Arc::new(policy)));
        let answer = self.session.batch(&batch, values).await.map_err(failed)?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::Relaxed;
            let lose = self.lose.load(Relaxed);
            if lose > 0 {
                self.lose.store(lose - 1, Relaxed);
                return Err(unavailable(&"the answer is lost"));
            }
        }
        applied(answer)
    }

    /// Writes rows of one partition that no condition guards.
    pub(super) async fn write_all<R: SerializeRow>(
        &self,
        statement: &PreparedStatement,
        rows: Vec<R>,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        self.count_write()?;
        let statements = rows.iter().map(|_| BatchStatement::from(statement.clone())).collect();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        self.session.batch(&batch, rows).await.map_err(failed)?;
        Ok(())
    }
}

/// Whether a conditional write was applied: the first column of the first row says so, on Cassandra
/// and on ScyllaDB.
fn applied(answer: QueryResult) -> Result<bool, StoreError> {
    let rows = answer.into_rows_result().map_err(corrupt)?;
    let row = rows.first_row::<Row>().map_err(corrupt)?;
    Ok(matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))))
}

pub(super) fn unavailable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

pub(super) fn failed(error: scylla::errors::ExecutionError) -> StoreError {
    unavailable(&error)
}

pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}
