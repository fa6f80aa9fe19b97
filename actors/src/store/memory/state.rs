//! What the store in memory holds, and the rules by which it changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use opencredits_schema::{
    AccountId, Checkpoint, Event, Head, HistoryRow, Key, KeyId, Outcome, Partner, PartnerBalance,
    PartnerId, RequestId, UsageQuery,
};

use tokio::time::Instant;

use crate::fault::{Fault, planted};
use crate::nodes::Member;

use super::super::audit::Auditor;
use super::super::event_keys::{EventKeys, kind_of, whole};
use super::super::{Books, Loaded, Rejected, Rejection, StoreError, Write};
use super::documents::Documents;

/// The number under which each account was taken; a later owner has a higher one.
pub(super) type Epochs = BTreeMap<AccountId, u64>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accounts: BTreeMap<AccountId, (Head, Vec<HistoryRow>)>,
    pub(super) requests: HashMap<(RequestId, u8), Outcome>,
    pub(super) sources: HashSet<String>,
    pub(super) checkpoints: BTreeMap<RequestId, Checkpoint>,
    pub(super) keys: BTreeMap<KeyId, Key>,
    pub(super) partners: BTreeMap<PartnerId, (Partner, PartnerBalance)>,
    pub(super) payouts: HashSet<String>,
    pub(super) once: HashMap<String, ([u8; 32], String)>,
    pub(super) emails: HashMap<String, AccountId>,
    pub(super) documents: Documents,
    pub(super) epochs: Epochs,
    /// Events that were refused because their writer had lost the account.
    pub(super) fenced: u64,
    pub(super) members: BTreeMap<u64, (Member, Instant)>,
    pub(super) notices: Vec<(i64, String)>,
}

impl State {
    pub(super) fn create_account(
        &mut self,
        account: AccountId,
        email: Option<String>,
    ) -> Result<(), StoreError> {
        if self.accounts.contains_key(&account) {
            return Ok(());
        }
        if let Some(email) = email {
            if self.emails.contains_key(&email) {
                return Err(StoreError::Conflict("another account has this email".to_owned()));
            }
            self.emails.insert(email, account);
        }
        self.accounts.insert(account, (Head::new(account), Vec::new()));
        Ok(())
    }

    /// Takes an account: from here on earlier owners are refused.
    pub(super) fn next_epoch(&mut self, account: AccountId) -> u64 {
        let epoch = self.epochs.entry(account).or_default();
        if !planted(Fault::KeepEpoch) {
            *epoch = epoch.saturating_add(1);
        }
        *epoch
    }

    /// Writes what a node decided that took its accounts under these numbers.
    pub(super) fn commit(
        &mut self,
        batch: &[Arc<Write>],
        epochs: Option<&Epochs>,
    ) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let mut broken = HashSet::new();
        for (index, write) in batch.iter().enumerate() {
            if broken.contains(&write.account()) {
                continue;
            }
            let account = write.account();
            let stale = epochs.is_some_and(|own| own.get(&account) != self.epochs.get(&account));
            let is_event = matches!(write.as_ref(), Write::Event { .. });
            let refused = is_event && stale && !planted(Fault::SkipFence);
            self.fenced = self.fenced.saturating_add(u64::from(refused));
            let written = if refused { Err(Rejection::Fenced) } else { self.write(write) };
            if let Err(why) = written {
                broken.insert(write.account());
                rejected.push(Rejected { index, why });
            }
        }
        rejected
    }

    /// Forgets checkpoints of requests that are settled.
    pub(super) fn forget_settled(&mut self) {
        let requests = &self.requests;
        self.checkpoints.retain(|request, _| !requests.contains_key(&(*request, 1)));
    }

    pub(super) fn write(&mut self, write: &Write) -> Result<(), Rejection> {
        match write {
            Write::Event { event, head, forget } => self.event(event, head, *forget),
            Write::Checkpoint(checkpoint) => {
                let request = checkpoint.hold.request;
                let newest = self.checkpoints.get(&request).map_or(0, |kept| kept.number);
                if newest <= checkpoint.number && !self.requests.contains_key(&(request, 1)) {
                    self.checkpoints.insert(request, checkpoint.as_ref().clone());
                }
                Ok(())
            }
            Write::Forget { request, .. } => {
                self.checkpoints.remove(request);
                Ok(())
            }
        }
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        head: &Head,
        forget: bool,
    ) -> Result<(), Rejection> {
        let (stored, rows) = self.accounts.get_mut(&head.id).ok_or(Rejection::Fenced)?;
        let fenced = !planted(Fault::SkipFence);
        if let Some(row) = rows.iter().find(|row| row.seq == head.seq && fenced) {
            return if row.event == *event { Ok(()) } else { Err(Rejection::Fenced) };
        }
        if head.seq != stored.seq.saturating_add(1) && fenced {
            return Err(Rejection::Fenced);
        }
        let keys = EventKeys::of(event);
        if let Some(request) = keys.request
            && self.requests.contains_key(&(request, keys.kind))
            && !planted(Fault::SettleTwice)
        {
            let rows = [1, 2].map(|kind| self.requests.get(&(request, kind)).copied());
            return Err(Rejection::Duplicate(whole(rows.into_iter().flatten())));
        }
        if keys.source.as_ref().is_some_and(|source| !self.sources.insert(source.clone())) {
            return Err(Rejection::Duplicate(None));
        }
        if let (Some(request), Some(outcome)) = (keys.request, keys.outcome) {
            self.requests.insert((request, keys.kind), outcome);
            if forget {
                self.checkpoints.remove(&request);
            }
        }
        *stored = head.clone();
        rows.push(HistoryRow {
            account: head.id,
            seq: head.seq,
            event: event.clone(),
            balance_after: head.balance,
        });
        for (partner, share) in event.shares() {
            if let Some((_, balance)) = self.partners.get_mut(&partner)
                && !planted(Fault::ForgetShare)
            {
                balance.earned = balance.earned.plus(share);
            }
        }
        Ok(())
    }

    pub(super) fn load(&self, account: AccountId) -> Option<Loaded> {
        let (head, rows) = self.accounts.get(&account)?;
        let adjusted = |request| self.requests.contains_key(&(request, 2));
        let recovered = rows.iter().filter(|row| EventKeys::of(&row.event).recovered);
        let recent = recovered
            .filter_map(|row| EventKeys::of(&row.event).outcome)
            .filter(|outcome| !adjusted(outcome.request));
        let checkpoints = self.checkpoints.values().filter(|c| c.account == account).cloned();
        Some(Loaded {
            head: head.clone(),
            recent: recent.collect(),
            checkpoints: checkpoints.collect(),
        })
    }

    pub(super) fn usage(&self, id: PartnerId, query: &UsageQuery) -> Vec<HistoryRow> {
        let mut rows: Vec<_> = self
            .accounts
            .values()
            .flat_map(|(_, rows)| rows)
            .filter_map(|row| {
                let charged = row.event.charged().filter(|charged| charged.partner == id)?;
                Some((charged.request, kind_of(&row.event), row))
            })
            .filter(|(request, _, row)| {
                query.after.is_none_or(|after| *request < after)
                    && query.from.is_none_or(|from| row.event.at() >= from)
                    && query.to.is_none_or(|to| row.event.at() < to)
                    && query.model.as_ref().is_none_or(|model| {
                        row.event.charged().is_some_and(|charged| *charged.model == **model)
                    })
            })
            .collect();
        rows.sort_by_key(|(request, kind, _)| {
            (std::cmp::Reverse(*request), std::cmp::Reverse(*kind))
        });
        rows.into_iter().take(query.limit).map(|(_, _, row)| row.clone()).collect()
    }

    pub(super) fn audit(&self) -> Books {
        let mut auditor = Auditor::default();
        for (head, rows) in self.accounts.values() {
            let events: Vec<_> = rows.iter().map(|row| (row.seq, row.event.clone())).collect();
            auditor.account(head, head.balance, &events);
        }
        for (id, (_, balance)) in &self.partners {
            auditor.partner(*id, *balance, balance.earned);
        }
        auditor.finish(u64::try_from(self.checkpoints.len()).unwrap_or(u64::MAX))
    }
}
