//! The nodes that run, by rows that end by themselves, and what they tell each other to forget.

use std::time::Duration;

use super::super::StoreError;
use super::Inner;
use super::checkpoints::now_micros;
use crate::nodes::Member;

/// How long a notice is told, and how long it is kept: clocks may differ by the time between.
const TOLD_MICROS: i64 = 60_000_000;
const KEPT_SECONDS: i32 = 120;

impl Inner {
    /// Says that a node runs.
    pub(super) async fn announce(
        &self,
        member: &Member,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let Member { node, address, started, leaving } = member;
        let seconds = i32::try_from(lasts.as_secs()).unwrap_or(i32::MAX);
        let values = (node.cast_signed(), address, started, leaving, seconds);
        self.db.run(&self.db.cql.put_member, values).await
    }

    /// Says that a node runs no more.
    pub(super) async fn withdraw(&self, node: u64) -> Result<(), StoreError> {
        self.db.run(&self.db.cql.forget_member, (node.cast_signed(),)).await
    }

    /// The nodes that run.
    pub(super) async fn members(&self) -> Result<Vec<Member>, StoreError> {
        type Row = (i64, Option<String>, Option<i64>, Option<bool>);
        let rows: Vec<Row> = self.db.all(&self.db.cql.members, ()).await?;
        let member = |(node, address, started, leaving): Row| Member {
            node: node.cast_unsigned(),
            address: address.unwrap_or_default(),
            started: started.unwrap_or_default(),
            leaving: leaving.unwrap_or_default(),
        };
        Ok(rows.into_iter().map(member).collect())
    }

    /// Tells all nodes to forget something.
    pub(super) async fn notify(&self, name: String) -> Result<(), StoreError> {
        self.db.run(&self.db.cql.put_notice, (now_micros(), name, KEPT_SECONDS)).await
    }

    /// What nodes were told to forget lately.
    pub(super) async fn notices(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let since = now_micros().saturating_sub(TOLD_MICROS);
        self.db.all(&self.db.cql.notices, (since,)).await
    }
}
