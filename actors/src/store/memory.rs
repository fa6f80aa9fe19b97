//! A store in memory, for tests: it keeps the same rules as the real ones and can be made to fail.

mod documents;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opencredits_schema::{
    AccountId, Credits, Document, DocumentKind, EarningsRow, Event, HistoryRow, Key, KeyId, KeyUse,
    Partner, PartnerBalance, PartnerId, Timestamp, UsageQuery,
};

use tokio::time::Instant;

use self::state::{Epochs, State};
use super::event_keys::kind_of;
use super::{
    Answered, Batch, Books, Loaded, Once, Payout, PayoutOutcome, Rejected, Store, StoreError,
};
use crate::nodes::Member;

/// A store that forgets everything with its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// The epochs under which a node has taken its accounts; `None` for a store of one node.
    epochs: Option<Mutex<Epochs>>,
    failing: AtomicBool,
    losing: AtomicBool,
}

impl MemoryStore {
    /// The same store as one of several nodes sees it, with faults of its own.
    #[must_use]
    pub fn of_node(&self) -> Self {
        let epochs = Some(Mutex::default());
        Self { state: Arc::clone(&self.state), epochs, ..Self::default() }
    }

    /// Loses every answer of what was done, or heals it.
    pub fn lose_answers(&self, losing: bool) {
        self.losing.store(losing, Ordering::Relaxed);
    }

    /// How many events were refused because their writer had lost the account.
    #[must_use]
    pub fn fenced(&self) -> u64 {
        lock(&self.state).fenced
    }

    /// Makes every call fail as unavailable, or heals it.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Answered<'_, T> {
        let mut state = lock(&self.state);
        let result = if self.failing.load(Ordering::Relaxed) {
            Err(StoreError::Unavailable("told to fail".to_owned()))
        } else {
            work(&mut state)
        };
        let result = if self.losing.load(Ordering::Relaxed) {
            result.and(Err(StoreError::Unavailable("told to lose the answer".to_owned())))
        } else {
            result
        };
        Box::pin(std::future::ready(result))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Answered<'_, Vec<Rejected>> {
        let epochs = self.epochs.as_ref().map(|epochs| lock(epochs).clone());
        self.run(|state| Ok(state.commit(&batch, epochs.as_ref())))
    }

    fn load(&self, account: AccountId) -> Answered<'_, Option<Loaded>> {
        self.run(|state| {
            if let Some(epochs) = &self.epochs {
                // A former owner may have written one that the settling owner did not know.
                state.forget_settled();
                lock(epochs).insert(account, state.next_epoch(account));
            }
            Ok(state.load(account))
        })
    }

    fn create_account(
        &self,
        account: AccountId,
        email: Option<String>,
        _at: Timestamp,
    ) -> Answered<'_, ()> {
        self.run(|state| state.create_account(account, email))
    }

    fn account_by_email(&self, email: String) -> Answered<'_, Option<AccountId>> {
        self.run(|state| Ok(state.emails.get(&email).copied()))
    }

    fn email_of(&self, account: AccountId) -> Answered<'_, Option<String>> {
        self.run(|state| {
            let found = state.emails.iter().find(|(_, of)| **of == account);
            Ok(found.map(|(email, _)| email.clone()))
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

    fn use_key(&self, key: KeyId, used: KeyUse) -> Answered<'_, ()> {
        self.run(|state| {
            if let Some(key) = state.keys.get_mut(&key) {
                key.used(used);
            }
            Ok(())
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

    fn document(&self, kind: DocumentKind, id: String) -> Answered<'_, Option<Document>> {
        self.run(|state| Ok(state.documents.by_id(kind, id)))
    }

    fn document_named(&self, kind: DocumentKind, name: String) -> Answered<'_, Option<Document>> {
        self.run(|state| Ok(state.documents.by_name(kind, &name)))
    }

    fn put_document(&self, document: Document) -> Answered<'_, bool> {
        self.run(|state| Ok(state.documents.put(document)))
    }

    fn due_documents(
        &self,
        kind: DocumentKind,
        before: Timestamp,
        limit: usize,
    ) -> Answered<'_, Vec<Document>> {
        self.run(|state| Ok(state.documents.due(kind, before, limit)))
    }

    fn forget_documents(&self, kind: DocumentKind, before: Timestamp) -> Answered<'_, usize> {
        self.run(|state| Ok(state.documents.forget(kind, before)))
    }

    fn announce(&self, member: Member, lasts: Duration) -> Answered<'_, ()> {
        self.run(|state| {
            state.members.insert(member.node, (member, Instant::now() + lasts));
            Ok(())
        })
    }

    fn withdraw(&self, node: u64) -> Answered<'_, ()> {
        self.run(|state| {
            state.members.remove(&node);
            Ok(())
        })
    }

    fn members(&self) -> Answered<'_, Vec<Member>> {
        self.run(|state| {
            state.members.retain(|_, (_, ends)| Instant::now() < *ends);
            Ok(state.members.values().map(|(member, _)| member.clone()).collect())
        })
    }

    fn notify(&self, name: String) -> Answered<'_, ()> {
        self.run(|state| {
            let number = i64::try_from(state.notices.len()).unwrap_or(i64::MAX);
            state.notices.push((number, name));
            Ok(())
        })
    }

    fn notices(&self) -> Answered<'_, Vec<(i64, String)>> {
        self.run(|state| Ok(state.notices.clone()))
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
