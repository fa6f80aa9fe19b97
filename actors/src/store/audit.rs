//! The audit: replays every account and compares it with what the store says.

use std::collections::BTreeMap;

use opencredits_schema::{
    Account, AccountId, Credits, Dispute, Entry, Event, Head, LedgerAccount, PartnerBalance,
    PartnerId, Refund, TrialBalance,
};

use super::Books;

/// More differences than this are not listed one by one.
const DIFFERENCES_MAX: usize = 100;

/// Adds up accounts and partners and notes what does not agree.
#[derive(Debug, Default)]
pub(super) struct Auditor {
    trial: TrialBalance,
    shares: BTreeMap<PartnerId, Credits>,
    settled: Credits,
    reversed: Credits,
    books: Books,
}

impl Auditor {
    /// Replays one account's events and compares the result with its stored head.
    pub(super) fn account(&mut self, stored: &Head, balance: Credits, events: &[(u64, Event)]) {
        let id = stored.id;
        self.books.accounts = self.books.accounts.saturating_add(1);
        let mut replayed = Account::new(id);
        for (seq, event) in events {
            replayed.apply(event);
            if replayed.head().seq != *seq {
                self.differ(format!("account {id}: event {seq} follows a gap"));
            }
            self.trial.add(&Entry::of(id, event));
            self.add_shares(event);
        }
        if replayed.head() != stored {
            self.differ(format!("account {id}: the stored head is not what its events make"));
        }
        if balance != replayed.balance() {
            let replayed = replayed.balance();
            self.differ(format!("account {id}: balance {balance}, but its events make {replayed}"));
        }
        let posted = self.trial.sum(LedgerAccount::User(id));
        if posted != i128::from(balance.micro()) {
            self.differ(format!("account {id}: postings do not sum to its balance"));
        }
    }

    /// Compares a partner's stored money with the shares of all events.
    pub(super) fn partner(&mut self, id: PartnerId, stored: PartnerBalance, by_day: Credits) {
        let earned = self.shares.remove(&id).unwrap_or_default();
        if earned != stored.earned {
            let stored = stored.earned;
            self.differ(format!("partner {id}: earned {stored}, but its shares sum to {earned}"));
        }
        if earned != by_day {
            self.differ(format!("partner {id}: its days sum to {by_day}, its shares to {earned}"));
        }
        self.trial.add(&Entry::payout(id, stored.paid_out));
    }

    /// The result.
    pub(super) fn finish(mut self, open_checkpoints: u64) -> Books {
        for (partner, share) in std::mem::take(&mut self.shares) {
            self.differ(format!("partner {partner} earned {share} and is not in the store"));
        }
        let total = self.trial.total();
        if total != 0 {
            self.differ(format!("all postings sum to {total} microcredits"));
        }
        self.books.postings = self.trial.postings;
        self.books.sums = self.trial.by_kind();
        let sum = |name| self.books.sums.get(name).copied().unwrap_or_default();
        let shares = sum("partners").saturating_add(sum("payout")).saturating_add(sum("accrued"));
        let expected = self.settled.minus(self.reversed).micro();
        if shares != i128::from(expected) {
            self.differ(format!(
                "partners and accrued hold {shares} microcredits, but settled shares less \
                 reversals are {expected}"
            ));
        }
        self.books.open_checkpoints = open_checkpoints;
        self.books
    }

    fn add_shares(&mut self, event: &Event) {
        for (partner, share) in event.shares() {
            let earned = self.shares.entry(partner).or_default();
            *earned = earned.plus(share);
        }
        match event {
            Event::Settled(s) | Event::Adjusted(s) => {
                self.settled = self.settled.plus(s.charged.share);
                let amounts = s.charged.cost.plus(s.charged.share);
                let debt = s.debt.map_or(Credits::ZERO, |debt| debt.amount);
                let paid = s.lots.iter().map(|spend| spend.taken).sum::<Credits>().plus(debt);
                if paid != amounts {
                    let request = s.charged.request;
                    self.differ(format!("request {request}: lots paid {paid} of {amounts}"));
                }
            }
            Event::Refunded(Refund { reversed, .. })
            | Event::Disputed(Dispute { reversed, .. }) => {
                let back = reversed.iter().map(|(_, share)| *share).sum();
                self.reversed = self.reversed.plus(back);
            }
            Event::Received(_)
            | Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => {}
        }
    }

    /// Notes a difference.
    pub(super) fn differ(&mut self, difference: String) {
        if self.books.differences.len() < DIFFERENCES_MAX {
            self.books.differences.push(difference);
        }
    }

    /// Notes a record that cannot be read.
    pub(super) fn corrupt(&mut self, account: AccountId, what: &str) {
        self.differ(format!("account {account}: {what}"));
    }
}
