//! The audit: every account is replayed and compared, while gateways go on.
//!
//! There is no snapshot. An account is compared as it was at its head; copies are compared at the
//! event that they name, so what is written meanwhile is no difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use opencredits_schema::{AccountId, Credits, Head, HistoryRow, PartnerBalance, PartnerId};
use scylla::response::PagingState;
use tokio::task::JoinSet;

use super::super::audit::Auditor;
use super::super::{Books, StoreError};
use super::read::{EARNED_BUCKETS, EARNING_DAYS, earned_bucket, events};
use super::{Inner, from_text, unavailable};

/// Accounts whose events are in memory at the same time.
const ACCOUNTS_AT_ONCE: usize = 16;

/// An account's row: id, balance, head_seq, copied, head.
type AccountRow = (i64, Option<i64>, Option<i64>, Option<i64>, Option<String>);

/// An account with its events, and what its partners' rows say of it.
struct Replay {
    row: AccountRow,
    events: Result<Vec<HistoryRow>, StoreError>,
    earned: HashMap<PartnerId, (i64, Credits)>,
}

impl Inner {
    /// Audits everything, account by account and partner by partner.
    pub(super) async fn audit(self: &Arc<Self>) -> Result<Books, StoreError> {
        self.copy_now().await?;
        let mut auditor = Auditor::default();
        let mut earned: BTreeMap<PartnerId, Credits> = BTreeMap::new();
        let mut next = Some(PagingState::start());
        while let Some(state) = next {
            let page = self.db.page::<AccountRow>(&self.db.cql.all_accounts, (), state).await?;
            for rows in page.0.chunks(ACCOUNTS_AT_ONCE) {
                let mut reads = JoinSet::new();
                for row in rows.iter().cloned() {
                    let inner = Arc::clone(self);
                    reads.spawn(async move { inner.replay(row).await });
                }
                while let Some(replay) = reads.join_next().await {
                    let replay = replay.map_err(|error| unavailable(&error))??;
                    compare(&mut auditor, &mut earned, replay);
                }
            }
            next = page.1;
        }
        for partner in self.partners().await? {
            let earned = earned.remove(&partner.id).unwrap_or_default();
            let by_day = earned.plus(self.days_off(partner.id).await?);
            let paid_out = self.payouts(&mut auditor, partner.id).await?;
            auditor.partner(partner.id, PartnerBalance { earned, paid_out }, by_day);
        }
        let open: usize = self.unfinished().await?.values().sum();
        Ok(auditor.finish(u64::try_from(open).unwrap_or(u64::MAX)))
    }

    async fn replay(&self, row: AccountRow) -> Result<Replay, StoreError> {
        let account = AccountId::from_column(row.0);
        let (seq, copied) = (row.2.unwrap_or(0), row.3.unwrap_or(0));
        let events = match events(&self.db, account, 1, seq, copied).await {
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            other => other,
        };
        let shares = events.iter().flatten().flat_map(|row| row.event.shares());
        let partners: BTreeSet<PartnerId> = shares.map(|(partner, _)| partner).collect();
        let mut earned = HashMap::new();
        for partner in partners {
            let values = (partner.column(), earned_bucket(account), account.column());
            let row: Option<(i64, i64)> = self.db.one(&self.db.cql.earned, values).await?;
            let (seq, micro) = row.unwrap_or_default();
            earned.insert(partner, (seq, Credits::from_micro(micro)));
        }
        Ok(Replay { row, events, earned })
    }

    /// How much more a partner's days say than its rows by account, where both are of the same event.
    async fn days_off(&self, partner: PartnerId) -> Result<Credits, StoreError> {
        type DayRow = (i64, String, i64, i64, i64, i64);
        let mut days: HashMap<i64, (i64, Credits)> = HashMap::new();
        for day in self.times(partner, EARNING_DAYS, i64::MIN, i64::MAX).await? {
            let rows: Vec<DayRow> =
                self.db.all(&self.db.cql.day_rows, (partner.column(), day)).await?;
            for (account, _, seq, _, _, share) in rows {
                let sum = days.entry(account).or_default();
                *sum = (sum.0.max(seq), sum.1.plus(Credits::from_micro(share)));
            }
        }
        let mut off = Credits::ZERO;
        for bucket in 0..EARNED_BUCKETS {
            let rows: Vec<(i64, i64, i64)> =
                self.db.all(&self.db.cql.earned_rows, (partner.column(), bucket)).await?;
            for (account, seq, earned) in rows {
                let (day_seq, sum) = days.get(&account).copied().unwrap_or_default();
                if day_seq == seq {
                    off = off.plus(sum.minus(Credits::from_micro(earned)));
                }
            }
        }
        Ok(off)
    }

    /// A partner's payouts, which must sum to what is kept as paid out.
    async fn payouts(
        &self,
        auditor: &mut Auditor,
        partner: PartnerId,
    ) -> Result<Credits, StoreError> {
        let kept = Credits::from_micro(self.paid_out(partner).await?.unwrap_or(0));
        let rows: Vec<(Option<i64>,)> =
            self.db.all(&self.db.cql.payouts, (partner.column(),)).await?;
        let booked = rows.into_iter().filter_map(|(credits,)| credits.map(Credits::from_micro));
        let booked: Credits = booked.sum();
        if booked < kept {
            auditor.differ(format!(
                "partner {partner}: paid out {kept}, but its payouts sum to {booked}"
            ));
        }
        Ok(kept)
    }
}

/// Compares an account with its events, and what its partners' rows say with its shares.
fn compare(auditor: &mut Auditor, earned: &mut BTreeMap<PartnerId, Credits>, replay: Replay) {
    let Replay { row: (id, balance, head_seq, copied, head), events, earned: rows } = replay;
    let account = AccountId::from_column(id);
    let (Some(balance), Some(head_seq), Some(head)) = (balance, head_seq, head) else {
        return auditor.corrupt(account, "it has no head");
    };
    let (head, events) = match (from_text::<Head>(&head), events) {
        (Ok(head), Ok(events)) => (head, events),
        (Err(error), _) | (_, Err(error)) => return auditor.corrupt(account, &error.to_string()),
    };
    for (partner, (seq, row)) in rows {
        // What its shares were at the row's event, at the last one that is copied, and now.
        let (mut then, mut at_copied, mut now) = (Credits::ZERO, Credits::ZERO, Credits::ZERO);
        for event in &events {
            let number = event.seq.cast_signed();
            let shares = event.event.shares();
            let share = shares.iter().filter(|(of, _)| *of == partner).map(|(_, s)| *s).sum();
            now = now.plus(share);
            if number <= seq {
                then = then.plus(share);
            }
            if number <= copied.unwrap_or(0).max(seq) {
                at_copied = at_copied.plus(share);
            }
        }
        let is_newer = seq > head_seq;
        let agrees = is_newer || (row == then && then == at_copied);
        let counted = if agrees { now } else { row };
        let sum = earned.entry(partner).or_default();
        *sum = sum.plus(counted);
    }
    let events: Vec<_> = events.into_iter().map(|row| (row.seq, row.event)).collect();
    auditor.account(&head, Credits::from_micro(balance), &events);
    if head.seq.cast_signed() != head_seq {
        auditor.corrupt(account, "its head is of another event than it says");
    }
}
