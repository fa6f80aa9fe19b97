//! Reads: an account's take-over, its events, a partner's requests and earnings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opencredits_schema::{
    AccountId, Credits, EarningsRow, Event, HistoryRow, Outcome, PartnerBalance, PartnerId,
    RequestId, Timestamp, UsageQuery,
};

use super::super::{Loaded, StoreError};
use super::db::Db;
use super::owned::{Freshness, Owned};
use super::{Inner, from_text, unavailable};

/// Consecutive events that one partition of the history holds.
const HISTORY_BUCKET: i64 = 512;

/// Partitions over which a partner's earnings by account are spread.
pub(super) const EARNED_BUCKETS: i32 = 16;

/// How often an account is asked for again while its former owner still writes.
const TAKES_MAX: usize = 16;

const HOUR_MILLIS: i64 = 3_600_000;

/// The partition of the history that holds an event.
pub(super) const fn history_bucket(seq: i64) -> i64 {
    seq.div_euclid(HISTORY_BUCKET)
}

/// The partition that holds what a partner earned from an account.
pub(super) fn earned_bucket(account: AccountId) -> i32 {
    i32::try_from(account.number() % u64::from(EARNED_BUCKETS.unsigned_abs())).unwrap_or(0)
}

/// The hour in which a request began: its id begins with its time.
pub(super) fn hour_of(request: RequestId) -> i64 {
    i64::try_from(request.bits() >> 80).unwrap_or(i64::MAX).div_euclid(HOUR_MILLIS)
}

/// An account's events from one number to another, in order. Those up to `copied` are known to be in
/// the history. Whatever is missing at both places is left out.
pub(super) async fn events(
    db: &Db,
    account: AccountId,
    from: i64,
    to: i64,
    copied: i64,
) -> Result<Vec<HistoryRow>, StoreError> {
    type Raw = (i64, i64, String);
    // The account's own partition first: what is trimmed meanwhile is in the history by then.
    let mut raw: BTreeMap<i64, (i64, String)> = BTreeMap::new();
    let keep = |rows: Vec<Raw>| rows.into_iter().map(|(seq, balance, body)| (seq, (balance, body)));
    let tail = from.max(copied.saturating_add(1));
    if tail <= to {
        raw.extend(keep(db.all(&db.cql.tail, (account.column(), tail, to)).await?));
    }
    for bucket in history_bucket(from)..=history_bucket(to) {
        let start = bucket.saturating_mul(HISTORY_BUCKET);
        let (first, last) = (from.max(start), to.min(start.saturating_add(HISTORY_BUCKET - 1)));
        let wanted = last.saturating_sub(first).saturating_add(1);
        if i64::try_from(raw.range(first..=last).count()).is_ok_and(|found| found < wanted) {
            let values = (account.column(), bucket, first, last);
            raw.extend(keep(db.all(&db.cql.history, values).await?));
        }
    }
    let row = |(seq, (balance, body)): (i64, (i64, String))| {
        let (seq, balance_after) = (seq.cast_unsigned(), Credits::from_micro(balance));
        Ok(HistoryRow { account, seq, event: from_text(&body)?, balance_after })
    };
    raw.into_iter().map(row).collect()
}

impl Inner {
    /// Takes an account for writing and reads it: from here on no earlier owner can write to it.
    pub(super) async fn load(
        self: &Arc<Self>,
        account: AccountId,
    ) -> Result<Option<Loaded>, StoreError> {
        let id = account.column();
        for _ in 0..TAKES_MAX {
            let Some(stored) = self.db.head(account, Freshness::Quorum).await? else {
                return Ok(None);
            };
            let Owned { epoch, head_seq, copied, .. } = stored.owned;
            let next = epoch.saturating_add(1);
            let take = (next, self.owner, id, epoch, head_seq);
            if !self.db.applied(&self.db.cql.own_account, take).await? {
                // Its owner wrote meanwhile, or the outcome was unknown and it is ours: look again.
                continue;
            }
            let known = self.accounts.get(account).filter(|known| known.epoch == epoch);
            let copied = known.map_or(copied, |known| known.copied.max(copied));
            let trimmed = known.map_or(0, |known| known.trimmed);
            self.accounts.put(account, Owned { epoch: next, head_seq, copied, trimmed });
            if copied < head_seq {
                self.copies.leave_to_tail(account);
            }
            let head = stored.head()?;
            let recent = self.recovered(account).await?;
            let checkpoints = self.open_checkpoints(account).await?;
            return Ok(Some(Loaded { head, recent, checkpoints }));
        }
        Err(unavailable(&format!("account {account} is being written by another node")))
    }

    /// Outcomes that the requests themselves may still correct, the oldest first.
    async fn recovered(&self, account: AccountId) -> Result<Vec<Outcome>, StoreError> {
        let cql = &self.db.cql;
        let bodies: Vec<(String,)> = self.db.all(&cql.recovered, (account.column(),)).await?;
        let mut outcomes = Vec::new();
        for (body,) in bodies.iter().rev() {
            if let Event::Settled(settlement) = from_text(body)? {
                outcomes.push(Outcome::from(settlement.as_ref()));
            }
        }
        let adjusted = |outcome: &Outcome| name(2, outcome.request);
        let adjusted = self.known(account, outcomes.iter().map(adjusted).collect()).await?;
        outcomes.retain(|outcome| !adjusted.contains_key(&name(2, outcome.request)));
        Ok(outcomes)
    }

    /// Which of so many names the account knows.
    pub(super) async fn known(
        &self,
        account: AccountId,
        names: Vec<Vec<u8>>,
    ) -> Result<HashMap<Vec<u8>, i64>, StoreError> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let known = self.db.all(&self.db.cql.names, (account.column(), names)).await?;
        Ok(known.into_iter().collect())
    }

    /// A page of an account's events, newest first, found by arithmetic.
    pub(super) async fn history(
        &self,
        account: AccountId,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<HistoryRow>, bool), StoreError> {
        let Some(stored) = self.db.head(account, Freshness::Quorum).await? else {
            return Ok((Vec::new(), false));
        };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let last = stored.owned.head_seq.saturating_sub(number(offset));
        let first = last.saturating_sub(number(limit)).saturating_add(1).max(1);
        if last < first {
            return Ok((Vec::new(), last >= 1));
        }
        let mut page = events(&self.db, account, first, last, stored.owned.copied).await?;
        if number(page.len()) <= last.saturating_sub(first) {
            return Err(StoreError::Corrupt(format!(
                "account {account} lacks events between {first} and {last}"
            )));
        }
        page.reverse();
        Ok((page, first > 1))
    }

    /// A partner's requests, newest first.
    pub(super) async fn partner_usage(
        self: &Arc<Self>,
        id: PartnerId,
        query: &UsageQuery,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.copy_now().await?;
        let floor = |at: Timestamp| u128::from(at.millis().max(0).cast_unsigned()) << 80;
        let after = query.after.map_or(u128::MAX, RequestId::bits);
        let to = query.to.map_or(u128::MAX, floor).min(after);
        let from = query.from.map_or(0, floor);
        let range = (hour_of(RequestId::new(from)), hour_of(RequestId::new(to)));
        let hours = self.times(id, USAGE_HOURS, range.0, range.1).await?;
        let mut page = Vec::new();
        for hour in hours.into_iter().rev() {
            type Found = (Vec<u8>, i64, i64, String);
            let bounds = (from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec());
            let values = (id.column(), hour, bounds.0, bounds.1);
            let found: Vec<Found> = self.db.all(&self.db.cql.usage, values).await?;
            for (_, account, seq, model) in found {
                if query.model.as_ref().is_some_and(|wanted| *wanted != model) {
                    continue;
                }
                if page.len() >= query.limit {
                    return Ok(page);
                }
                let account = AccountId::from_column(account);
                page.extend(events(&self.db, account, seq, seq, seq).await?);
            }
        }
        Ok(page)
    }

    /// A partner's money: what it earned from each account, and its payouts.
    pub(super) async fn partner_balance(
        self: &Arc<Self>,
        id: PartnerId,
    ) -> Result<PartnerBalance, StoreError> {
        self.copy_now().await?;
        let mut earned = Credits::ZERO;
        for bucket in 0..EARNED_BUCKETS {
            let rows: Vec<(i64, i64, i64)> =
                self.db.all(&self.db.cql.earned_rows, (id.column(), bucket)).await?;
            let sum = rows.into_iter().map(|(_, _, micro)| Credits::from_micro(micro)).sum();
            earned = earned.plus(sum);
        }
        let paid_out = Credits::from_micro(self.paid_out(id).await?.unwrap_or(0));
        Ok(PartnerBalance { earned, paid_out })
    }

    /// A partner's earnings by day and model, oldest first.
    pub(super) async fn earnings(
        self: &Arc<Self>,
        id: PartnerId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Vec<EarningsRow>, StoreError> {
        self.copy_now().await?;
        let from = from.map_or(i64::MIN, Timestamp::day);
        let to = to.map_or(i64::MAX, |to| to.plus_millis(-1).day());
        let mut sums: BTreeMap<(i64, String), EarningsRow> = BTreeMap::new();
        for day in self.times(id, EARNING_DAYS, from, to).await? {
            type Found = (i64, String, i64, i64, i64, i64);
            let rows: Vec<Found> = self.db.all(&self.db.cql.day_rows, (id.column(), day)).await?;
            for (_, model, _, requests, cost, share) in rows {
                let sum = sums.entry((day, model.clone())).or_insert_with(|| EarningsRow {
                    day,
                    model,
                    requests: 0,
                    cost: Credits::ZERO,
                    share: Credits::ZERO,
                });
                sum.requests = sum.requests.saturating_add(requests.cast_unsigned());
                sum.cost = sum.cost.plus(Credits::from_micro(cost));
                sum.share = sum.share.plus(Credits::from_micro(share));
            }
        }
        Ok(sums.into_values().collect())
    }

    /// The days or hours of a partner that have rows, in order.
    pub(super) async fn times(
        &self,
        id: PartnerId,
        kind: i8,
        from: i64,
        to: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let values = (id.column(), kind, from, to);
        let times: Vec<(i64,)> = self.db.all(&self.db.cql.times, values).await?;
        Ok(times.into_iter().map(|(time,)| time).collect())
    }
}

/// The kinds of `partner_times`.
pub(super) const EARNING_DAYS: i8 = 0;
pub(super) const USAGE_HOURS: i8 = 1;

/// The name of a request's settlement (1) or adjustment (2) within its account.
pub(super) fn name(kind: u8, request: RequestId) -> Vec<u8> {
    std::iter::once(kind).chain(request.bits().to_be_bytes()).collect()
}
