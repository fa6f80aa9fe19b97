//! A store in memory, for tests: it keeps the same rules as the real ones and can be made to fail.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opencredits_schema::{
    AccountId, Charged, Checkpoint, Credits, EarningsRow, Event, Head, HistoryRow, Key, KeyId,
    Outcome, Partner, PartnerBalance, PartnerId, RequestId, Timestamp, UsageQuery,
};

use super::audit::Auditor;
use super::event_keys::{EventKeys, kind_of};
use super::{
    Answered, Batch, Books, Loaded, Once, Payout, PayoutOutcome, Rejected, Rejection, Store,
    StoreError, Write,
};

/// A store that forgets everything with its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failing: bool,
    accounts: BTreeMap<AccountId, (Head, Vec<HistoryRow>)>,
    requests: HashMap<(RequestId, u8), Outcome>,
    sources: HashSet<String>,
    checkpoints: HashMap<RequestId, Checkpoint>,
    keys: BTreeMap<KeyId, Key>,
    partners: BTreeMap<PartnerId, (Partner, PartnerBalance)>,
    payouts: HashSet<String>,
    once: HashMap<String, ([u8; 32], String)>,
}

impl MemoryStore {
    /// Makes every call fail as unavailable, or heals it.
    pub fn fail(&self, failing: bool) {
        self.lock().failing = failing;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Answered<'_, T> {
        let mut state = self.lock();
        let result = if state.failing {
            Err(StoreError::Unavailable("told to fail".to_owned()))
        } else {
            work(&mut state)
        };
        Box::pin(std::future::ready(result))
    }
}

impl State {
    fn commit(&mut self, batch: &[Arc<Write>]) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let mut broken = HashSet::new();
        for (index, write) in batch.iter().enumerate() {
            if broken.contains(&write.account()) {
                continue;
            }
            if let Err(why) = self.write(write) {
                broken.insert(write.account());
                rejected.push(Rejected { index, why });
            }
        }
        rejected
    }

    fn write(&mut self, write: &Write) -> Result<(), Rejection> {
        match write {
            Write::Event { event, head, forget } => self.event(event, head, *forget),
            Write::Checkpoint(checkpoint) => {
                let request = checkpoint.hold.request;
                if !self.requests.contains_key(&(request, 1)) {
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

    fn event(&mut self, event: &Event, head: &Head, forget: bool) -> Result<(), Rejection> {
        let (stored, rows) = self.accounts.get_mut(&head.id).ok_or(Rejection::Fenced)?;
        if let Some(row) = rows.iter().find(|row| row.seq == head.seq) {
            return if row.event == *event { Ok(()) } else { Err(Rejection::Fenced) };
        }
        if head.seq != stored.seq.saturating_add(1) {
            return Err(Rejection::Fenced);
        }
        let keys = EventKeys::of(event);
        if let Some(request) = keys.request
            && let Some(outcome) = self.requests.get(&(request, keys.kind))
        {
            return Err(Rejection::Duplicate(Some(*outcome)));
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
            if let Some((_, balance)) = self.partners.get_mut(&partner) {
                balance.earned = balance.earned.plus(share);
            }
        }
        Ok(())
    }

    fn load(&self, account: AccountId) -> Option<Loaded> {
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

    fn usage(&self, id: PartnerId, query: &UsageQuery) -> Vec<HistoryRow> {
        let mut rows: Vec<_> = self
            .accounts
            .values()
            .flat_map(|(_, rows)| rows)
            .filter_map(|row| {
                let charged = charged(&row.event).filter(|charged| charged.partner == id)?;
                Some((charged.request, kind_of(&row.event), row))
            })
            .filter(|(request, _, row)| {
                query.after.is_none_or(|after| *request < after)
                    && query.from.is_none_or(|from| row.event.at() >= from)
                    && query.to.is_none_or(|to| row.event.at() < to)
                    && query.model.as_ref().is_none_or(|model| {
                        charged(&row.event).is_some_and(|charged| *charged.model == **model)
                    })
            })
            .collect();
        rows.sort_by_key(|(request, kind, _)| {
            (std::cmp::Reverse(*request), std::cmp::Reverse(*kind))
        });
        rows.into_iter().take(query.limit).map(|(_, _, row)| row.clone()).collect()
    }

    fn audit(&self) -> Books {
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

fn charged(event: &Event) -> Option<&Charged> {
    match event {
        Event::Settled(settlement) | Event::Adjusted(settlement) => Some(&settlement.charged),
        Event::Placed(_)
        | Event::Renewed { .. }
        | Event::Released { .. }
        | Event::Received(_)
        | Event::Refunded(_)
        | Event::Repeated(_) => None,
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Answered<'_, Vec<Rejected>> {
        self.run(|state| Ok(state.commit(&batch)))
    }

    fn load(&self, account: AccountId) -> Answered<'_, Option<Loaded>> {
        self.run(|state| Ok(state.load(account)))
    }

    fn create_account(
        &self,
        account: AccountId,
        _email: Option<String>,
        _at: Timestamp,
    ) -> Answered<'_, ()> {
        self.run(|state| {
            state.accounts.entry(account).or_insert_with(|| (Head::new(account), Vec::new()));
            Ok(())
        })
    }

    fn unfinished(&self) -> Answered<'_, Vec<AccountId>> {
        self.run(|state| Ok(state.checkpoints.values().map(|c| c.account).collect()))
    }

    fn history(
        &self,
        account: AccountId,
        limit: usize,
        offset: usize,
    ) -> Answered<'_, (Vec<HistoryRow>, bool)> {
        self.run(|state| {
            let rows = state.accounts.get(&account).map_or(&[][..], |(_, rows)| rows);
            let page = rows.iter().rev().skip(offset).take(limit).cloned().collect();
            Ok((page, rows.len() > offset.saturating_add(limit)))
        })
    }

    fn put_key(&self, key: Key) -> Answered<'_, ()> {
        self.run(|state| {
            state.keys.entry(key.id).or_insert(key);
            Ok(())
        })
    }

    fn key_by_hash(&self, hash: [u8; 32]) -> Answered<'_, Option<Key>> {
        self.run(|state| Ok(state.keys.values().find(|key| key.hash == hash).cloned()))
    }

    fn keys_of(&self, account: AccountId) -> Answered<'_, Vec<Key>> {
        self.run(|state| {
            Ok(state.keys.values().filter(|key| key.account == account).cloned().collect())
        })
    }

    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Answered<'_, Option<Key>> {
        self.run(|state| {
            Ok(state.keys.get_mut(&key).map(|key| {
                key.revoked_at.get_or_insert(at);
                key.clone()
            }))
        })
    }

    fn put_partner(&self, partner: Partner) -> Answered<'_, ()> {
        self.run(|state| {
            let balance = state.partners.get(&partner.id).map_or_else(Default::default, |p| p.1);
            state.partners.insert(partner.id, (partner, balance));
            Ok(())
        })
    }

    fn partners(&self) -> Answered<'_, Vec<Partner>> {
        self.run(|state| {
            let mut partners: Vec<_> = state.partners.values().map(|p| p.0.clone()).collect();
            partners.sort_by_key(|partner| (partner.created, partner.id));
            Ok(partners)
        })
    }

    fn partner(&self, id: PartnerId) -> Answered<'_, Option<Partner>> {
        self.run(|state| Ok(state.partners.get(&id).map(|p| p.0.clone())))
    }

    fn partner_by_publishable(&self, key: String) -> Answered<'_, Option<Partner>> {
        self.run(|state| {
            Ok(state.partners.values().find(|p| p.0.publishable_key == key).map(|p| p.0.clone()))
        })
    }

    fn partner_by_secret(&self, hash: [u8; 32]) -> Answered<'_, Option<Partner>> {
        self.run(|state| {
            Ok(state.partners.values().find(|p| p.0.secret_hash == hash).map(|p| p.0.clone()))
        })
    }

    fn partner_balance(&self, id: PartnerId) -> Answered<'_, PartnerBalance> {
        self.run(|state| Ok(state.partners.get(&id).map_or_else(Default::default, |p| p.1)))
    }

    fn payout(&self, payout: Payout) -> Answered<'_, PayoutOutcome> {
        self.run(|state| {
            let Some((_, balance)) = state.partners.get_mut(&payout.partner) else {
                return Ok(PayoutOutcome::TooMuch(Credits::ZERO));
            };
            if state.payouts.contains(&payout.entry) {
                return Ok(PayoutOutcome::Done(balance.payable()));
            }
            if payout.credits > balance.payable() {
                return Ok(PayoutOutcome::TooMuch(balance.payable()));
            }
            balance.paid_out = balance.paid_out.plus(payout.credits);
            state.payouts.insert(payout.entry);
            Ok(PayoutOutcome::Done(balance.payable()))
        })
    }

    fn partner_usage(&self, id: PartnerId, query: UsageQuery) -> Answered<'_, Vec<HistoryRow>> {
        self.run(|state| Ok(state.usage(id, &query)))
    }

    fn earnings(
        &self,
        id: PartnerId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Answered<'_, Vec<EarningsRow>> {
        self.run(|state| {
            let query = UsageQuery { limit: usize::MAX, from, to, ..UsageQuery::default() };
            let mut days: BTreeMap<(i64, String), EarningsRow> = BTreeMap::new();
            for row in state.usage(id, &query) {
                let (Event::Settled(s) | Event::Adjusted(s)) = &row.event else { continue };
                let (day, model) = (s.at.day(), s.charged.model.to_string());
                let sum = days.entry((day, model.clone())).or_insert_with(|| EarningsRow {
                    day,
                    model,
                    requests: 0,
                    cost: Credits::ZERO,
                    share: Credits::ZERO,
                });
                sum.requests = sum.requests.saturating_add(u64::from(kind_of(&row.event) == 1));
                sum.cost = sum.cost.plus(s.charged.cost);
                sum.share = sum.share.plus(s.lots.iter().map(|spend| spend.share).sum());
            }
            Ok(days.into_values().collect())
        })
    }

    fn keep_prices(&self, _rows: Vec<(String, String)>) -> Answered<'_, ()> {
        self.run(|_| Ok(()))
    }

    fn once(&self, key: String, fingerprint: [u8; 32], answer: String) -> Answered<'_, Once> {
        self.run(|state| {
            Ok(match state.once.get(&key) {
                Some((kept, first)) if *kept == fingerprint => Once::Repeat(first.clone()),
                Some(_) => Once::Other,
                None => {
                    state.once.insert(key, (fingerprint, answer));
                    Once::First
                }
            })
        })
    }

    fn audit(&self) -> Answered<'_, Books> {
        self.run(|state| Ok(state.audit()))
    }

    fn backup(&self, _to: PathBuf) -> Answered<'_, ()> {
        self.run(|_| Err(StoreError::Unavailable("a store in memory has no backup".to_owned())))
    }

    fn check(&self) -> Answered<'_, ()> {
        self.run(|_| Ok(()))
    }
}
