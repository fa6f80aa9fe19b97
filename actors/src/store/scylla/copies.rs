//! Copies of durable events where others look for them: the history, partners' earnings and requests.
//!
//! They are made behind the answers, and every one can be made again. An event stays in its account's
//! partition until it is copied, so a crash between leaves nothing to guess: whoever takes the account
//! next copies its tail.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, DashSet};
use opencredits_schema::{AccountId, Credits, Event, Head, HistoryRow, PartnerId, Settlement};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::super::StoreError;
use super::flush::Item;
use super::owned::Freshness;
use super::read::{EARNING_DAYS, USAGE_HOURS, earned_bucket, events, history_bucket, hour_of};
use super::{Inner, to_text, unavailable};

/// Accounts that are copied at the same time.
const COPIES_AT_ONCE: usize = 16;

/// Events that wait in memory; what is beyond is read from the account's partition again.
const WAITING_MAX: usize = 50_000;

/// Rows in one batch of copies, and their bytes.
const ROWS_MAX: usize = 50;
const BYTES_MAX: usize = 40 * 1024;

/// Remembered sums, and remembered days and hours, at most.
const REMEMBERED_MAX: usize = 100_000;

/// What an account still has to have copied.
#[derive(Debug, Default)]
struct Waiting {
    items: Vec<Item>,
    /// Whether there are events that are not among the items.
    gap: bool,
}

/// A partner's requests of a day with a model by one account, in all up to an event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    seq: i64,
    requests: i64,
    cost: Credits,
    share: Credits,
}

/// Partner, day, model.
pub(super) type DayKey = (PartnerId, i64, String);

/// What waits to be copied, and what was copied lately.
#[derive(Debug, Default)]
pub(super) struct Copies {
    waiting: DashMap<AccountId, Waiting>,
    count: AtomicUsize,
    /// One round at a time: an account's events are copied in order.
    turn: Mutex<()>,
    pub(super) sums: DashMap<AccountId, HashMap<DayKey, Sum>>,
    /// Days and hours of partners that are noted already.
    times: DashSet<(PartnerId, i8, i64)>,
}

/// An event to copy.
struct Copied<'a> {
    seq: i64,
    balance_after: i64,
    body: &'a str,
    event: &'a Event,
}

impl Copies {
    /// Adds durable events of an account, which follow those added before.
    pub(super) fn add(&self, account: AccountId, items: Vec<Item>) {
        if self.count.load(Ordering::Relaxed) >= WAITING_MAX {
            return self.leave_to_tail(account);
        }
        let mut waiting = self.waiting.entry(account).or_default();
        if waiting.gap {
            return;
        }
        // A batch that was given again brings events that wait already.
        let last = waiting.items.last().map_or(0, |item| item.seq);
        let mut new = items.into_iter().filter(|item| item.seq > last).peekable();
        if last > 0 && new.peek().is_some_and(|item| item.seq != last.saturating_add(1)) {
            // Another owner's events are between.
            drop(waiting);
            return self.leave_to_tail(account);
        }
        let before = waiting.items.len();
        waiting.items.extend(new);
        let added = waiting.items.len().saturating_sub(before);
        self.count.fetch_add(added, Ordering::Relaxed);
    }

    /// Lets an account be copied from its partition.
    pub(super) fn leave_to_tail(&self, account: AccountId) {
        let mut waiting = self.waiting.entry(account).or_default();
        self.count.fetch_sub(waiting.items.len(), Ordering::Relaxed);
        *waiting = Waiting { items: Vec::new(), gap: true };
    }

    fn take(&self) -> Vec<(AccountId, Waiting)> {
        let accounts: Vec<_> = self.waiting.iter().map(|entry| *entry.key()).collect();
        let taken: Vec<_> =
            accounts.iter().filter_map(|account| self.waiting.remove(account)).collect();
        let count = taken.iter().map(|(_, waiting)| waiting.items.len()).sum();
        self.count.fetch_sub(count, Ordering::Relaxed);
        taken
    }
}

impl Inner {
    /// Copies everything that waits now.
    pub(super) async fn copy_now(self: &Arc<Self>) -> Result<(), StoreError> {
        let _turn = self.copies.turn.lock().await;
        let room = Arc::new(Semaphore::new(COPIES_AT_ONCE));
        let mut tasks = JoinSet::new();
        for (account, waiting) in self.copies.take() {
            let (inner, room) = (Arc::clone(self), Arc::clone(&room));
            tasks.spawn(async move {
                let _place = room.acquire_owned().await;
                let result = inner.copy_account(account, waiting).await;
                if result.is_err() {
                    inner.copies.leave_to_tail(account);
                }
                result
            });
        }
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            result = result.and_then(|()| ended.map_err(|error| unavailable(&error)).flatten());
        }
        result
    }

    async fn copy_account(&self, account: AccountId, waiting: Waiting) -> Result<(), StoreError> {
        let Some(owned) = self.accounts.get(account) else {
            return self.copy_tail(account, 0).await;
        };
        let follows = |item: &Item| item.seq <= owned.copied.saturating_add(1);
        if waiting.gap || !waiting.items.first().is_some_and(follows) {
            return self.copy_tail(account, owned.copied).await;
        }
        let Some((_, head)) = waiting.items.last().and_then(Item::event) else { return Ok(()) };
        let copied = waiting.items.iter().filter_map(|item| {
            let (event, head) = item.event()?;
            let (seq, balance_after) = (item.seq, head.balance.micro());
            Some(Copied { seq, balance_after, body: &item.body, event })
        });
        self.copy(account, head, &copied.collect::<Vec<_>>()).await
    }

    /// Copies what an account's partition has beyond an event.
    async fn copy_tail(&self, account: AccountId, copied: i64) -> Result<(), StoreError> {
        let Some(stored) = self.db.head(account, Freshness::Quorum).await? else { return Ok(()) };
        let from = copied.max(stored.owned.copied).saturating_add(1);
        let tail = events(&self.db, account, from, stored.owned.head_seq, from - 1).await?;
        self.copy_rows(account, &stored.head()?, &tail).await
    }

    /// Copies consecutive events of an account, which need not be in its partition; the head is the
    /// account after the last of them.
    pub(super) async fn copy_rows(
        &self,
        account: AccountId,
        head: &Head,
        rows: &[HistoryRow],
    ) -> Result<(), StoreError> {
        let bodies = rows.iter().map(|row| to_text(&row.event)).collect::<Result<Vec<_>, _>>()?;
        let rows = rows.iter().zip(&bodies).map(|(row, body)| Copied {
            seq: row.seq.cast_signed(),
            balance_after: row.balance_after.micro(),
            body,
            event: &row.event,
        });
        self.copy(account, head, &rows.collect::<Vec<_>>()).await
    }

    /// Copies consecutive events of an account; the head is the account after the last of them.
    async fn copy(
        &self,
        account: AccountId,
        head: &Head,
        rows: &[Copied<'_>],
    ) -> Result<(), StoreError> {
        let Some(last) = rows.last() else { return Ok(()) };
        self.copy_history(account, rows).await?;
        self.copy_usage(account, rows).await?;
        self.copy_days(account, rows).await?;
        self.copy_earned(account, head, rows).await?;
        self.accounts.note_copied(account, last.seq);
        Ok(())
    }

    async fn copy_history(
        &self,
        account: AccountId,
        rows: &[Copied<'_>],
    ) -> Result<(), StoreError> {
        for bucket in rows.chunk_by(|a, b| history_bucket(a.seq) == history_bucket(b.seq)) {
            let mut batch = Vec::new();
            let mut bytes = 0usize;
            for row in bucket {
                if batch.len() >= ROWS_MAX || bytes.saturating_add(row.body.len()) > BYTES_MAX {
                    let full = std::mem::take(&mut batch);
                    bytes = 0;
                    self.db.write_all(&self.db.cql.put_history, full).await?;
                }
                bytes = bytes.saturating_add(row.body.len());
                let bucket = history_bucket(row.seq);
                batch.push((account.column(), bucket, row.seq, row.balance_after, row.body));
            }
            self.db.write_all(&self.db.cql.put_history, batch).await?;
        }
        Ok(())
    }

    async fn copy_usage(&self, account: AccountId, rows: &[Copied<'_>]) -> Result<(), StoreError> {
        type Pointer<'a> = (i64, i64, Vec<u8>, i8, i64, i64, &'a str);
        let mut by_hour: BTreeMap<(PartnerId, i64), Vec<Pointer<'_>>> = BTreeMap::new();
        for row in rows {
            let Some((settlement, kind)) = charge(row.event) else { continue };
            let charged = &settlement.charged;
            let hour = hour_of(charged.request);
            let request = charged.request.bits().to_be_bytes().to_vec();
            let partner = charged.partner.column();
            let pointer =
                (partner, hour, request, kind, account.column(), row.seq, &*charged.model);
            by_hour.entry((charged.partner, hour)).or_default().push(pointer);
        }
        for ((partner, hour), pointers) in by_hour {
            self.note_time(partner, USAGE_HOURS, hour).await?;
            for batch in pointers.chunks(ROWS_MAX) {
                self.db.write_all(&self.db.cql.put_usage, batch.to_vec()).await?;
            }
        }
        Ok(())
    }

    async fn copy_days(&self, account: AccountId, rows: &[Copied<'_>]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let mut sums: HashMap<DayKey, Sum> = HashMap::new();
        for row in rows {
            for (key, requests, cost, share) in parts(row.event) {
                if !sums.contains_key(&key) {
                    let known = self.sum(account, &key, first.seq).await?;
                    sums.insert(key.clone(), known);
                }
                let Some(sum) = sums.get_mut(&key).filter(|sum| sum.seq < row.seq) else {
                    continue;
                };
                sum.requests = sum.requests.saturating_add(requests);
                sum.cost = sum.cost.plus(cost);
                sum.share = sum.share.plus(share);
            }
        }
        for ((partner, day, model), sum) in &mut sums {
            sum.seq = sum.seq.max(last.seq);
            self.note_time(*partner, EARNING_DAYS, *day).await?;
            let Sum { seq, requests, cost, share } = *sum;
            let (cost, share) = (cost.micro(), share.micro());
            let of = (partner.column(), *day, account.column());
            let row = (of.0, of.1, of.2, &**model, seq, requests, cost, share, seq);
            self.db.run(&self.db.cql.put_day, row).await?;
        }
        if self.copies.sums.len() >= REMEMBERED_MAX {
            self.copies.sums.clear();
        }
        // Yesterday's sums are hardly ever asked for again.
        self.copies.sums.insert(account, sums);
        Ok(())
    }

    /// A day's sum as it was copied last, before events from a number on.
    ///
    /// What is remembered counts only if those events follow it without a gap: in a gap are the events
    /// that another owner copied meanwhile.
    async fn sum(&self, account: AccountId, key: &DayKey, from: i64) -> Result<Sum, StoreError> {
        let remembered = self.copies.sums.get(&account).and_then(|sums| sums.get(key).copied());
        if let Some(sum) = remembered.filter(|sum| from <= sum.seq.saturating_add(1)) {
            return Ok(sum);
        }
        let (partner, day, model) = key;
        let values = (partner.column(), *day, account.column(), &**model);
        let row: Option<(i64, i64, i64, i64)> = self.db.one(&self.db.cql.day, values).await?;
        Ok(row.map_or_else(Sum::default, |(seq, requests, cost, share)| Sum {
            seq,
            requests,
            cost: Credits::from_micro(cost),
            share: Credits::from_micro(share),
        }))
    }

    async fn copy_earned(
        &self,
        account: AccountId,
        head: &Head,
        rows: &[Copied<'_>],
    ) -> Result<(), StoreError> {
        let mut partners: Vec<PartnerId> =
            rows.iter().flat_map(|row| row.event.shares()).map(|(partner, _)| partner).collect();
        partners.sort_unstable();
        partners.dedup();
        let seq = head.seq.cast_signed();
        for partner in partners {
            let (bucket, earned) = (earned_bucket(account), earned(head, partner).micro());
            let row = (partner.column(), bucket, account.column(), seq, earned, seq);
            self.db.run(&self.db.cql.put_earned, row).await?;
        }
        Ok(())
    }

    /// Notes that a partner has rows in a day or an hour, once.
    async fn note_time(&self, partner: PartnerId, kind: i8, time: i64) -> Result<(), StoreError> {
        if self.copies.times.contains(&(partner, kind, time)) {
            return Ok(());
        }
        self.db.run(&self.db.cql.put_time, (partner.column(), kind, time)).await?;
        if self.copies.times.len() >= REMEMBERED_MAX {
            self.copies.times.clear();
        }
        self.copies.times.insert((partner, kind, time));
        Ok(())
    }
}

/// What a partner earned from an account in all: each lot keeps the shares that were paid from it.
pub(super) fn earned(head: &Head, partner: PartnerId) -> Credits {
    let shares = head.lots.iter().flat_map(|lot| &lot.shares);
    shares.filter(|(earner, _)| *earner == partner).map(|(_, share)| *share).sum()
}

/// The settlement or adjustment in an event, and its kind.
fn charge(event: &Event) -> Option<(&Settlement, i8)> {
    match event {
        Event::Settled(settlement) => Some((settlement, 1)),
        Event::Adjusted(settlement) => Some((settlement, 2)),
        Event::Received(_)
        | Event::Refunded(_)
        | Event::Disputed(_)
        | Event::Placed(_)
        | Event::Renewed { .. }
        | Event::Released { .. }
        | Event::Repeated(_) => None,
    }
}

/// What an event adds to days of partners: requests, cost, share.
fn parts(event: &Event) -> Vec<(DayKey, i64, Credits, Credits)> {
    let day = event.at().day();
    if let Some((settlement, kind)) = charge(event) {
        let charged = &settlement.charged;
        let share = settlement.lots.iter().map(|spend| spend.share).sum();
        let key = (charged.partner, day, charged.model.to_string());
        return vec![(key, i64::from(kind == 1), charged.cost, share)];
    }
    let what = match event {
        Event::Received(_) => "(repaid overdraft)",
        Event::Refunded(_) => "(refund)",
        Event::Disputed(_) => "(dispute)",
        Event::Settled(_)
        | Event::Adjusted(_)
        | Event::Placed(_)
        | Event::Renewed { .. }
        | Event::Released { .. }
        | Event::Repeated(_) => return Vec::new(),
    };
    let shares = event.shares();
    let moved = shares.into_iter();
    moved
        .map(|(partner, share)| ((partner, day, what.to_owned()), 0, Credits::ZERO, share))
        .collect()
}
