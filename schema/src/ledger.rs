//! Double entry: every durable event is an entry whose postings sum to zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    AccountId, Credits, Dispute, DisputeStage, Event, LotKind, PartnerId, Repaid, Settlement,
};

/// The accounts of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerAccount {
    /// Money from and to Stripe.
    Stripe,
    /// The operator's promotion: where grants come from.
    Promotion,
    /// What providers are owed.
    Provider,
    /// Credits whose payment is disputed.
    Disputed,
    /// The operator's losses: shares that were paid on money that went back.
    Losses,
    /// Shares on overdrafts, until they are repaid.
    Accrued,
    /// What was paid out to partners.
    Payout,
    /// A user's credits.
    User(AccountId),
    /// A partner's earned shares.
    Partner(PartnerId),
}

/// An amount that moves between two ledger accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Where it leaves.
    pub from: LedgerAccount,
    /// Where it arrives.
    pub to: LedgerAccount,
    /// How much; negative moves the other way.
    pub amount: Credits,
}

/// The postings of one event. Never changed, only reversed by a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The postings.
    pub postings: SmallVec<[Posting; 4]>,
}

impl Entry {
    /// The postings of an account's event; none for one that stays in memory.
    #[must_use]
    pub fn of(account: AccountId, event: &Event) -> Self {
        let mut entry = Self::default();
        let user = LedgerAccount::User(account);
        match event {
            Event::Settled(settlement) | Event::Adjusted(settlement) => {
                entry.charge(user, settlement);
            }
            Event::Received(money) => {
                let source = match money.kind {
                    LotKind::Grant => LedgerAccount::Promotion,
                    LotKind::Purchase => LedgerAccount::Stripe,
                };
                entry.post(source, user, money.credits);
                entry.repay(&money.repaid);
            }
            Event::Refunded(refund) => {
                entry.post(user, LedgerAccount::Stripe, refund.credits);
                entry.reverse(&refund.reversed);
            }
            Event::Disputed(dispute) => entry.dispute(user, dispute),
            Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => {}
        }
        entry
    }

    /// The posting of a payout to a partner.
    #[must_use]
    pub fn payout(partner: PartnerId, amount: Credits) -> Self {
        let mut entry = Self::default();
        entry.post(LedgerAccount::Partner(partner), LedgerAccount::Payout, amount);
        entry
    }

    fn dispute(&mut self, user: LedgerAccount, dispute: &Dispute) {
        let (from, to) = match (dispute.stage, dispute.was_open) {
            (DisputeStage::Opened, _) => (user, LedgerAccount::Disputed),
            (DisputeStage::Won, true) => (LedgerAccount::Disputed, user),
            (DisputeStage::Lost, true) => (LedgerAccount::Disputed, LedgerAccount::Stripe),
            (DisputeStage::Lost, false) => (user, LedgerAccount::Stripe),
            (DisputeStage::Won, false) => return,
        };
        self.post(from, to, dispute.credits);
        self.repay(&dispute.repaid);
        self.reverse(&dispute.reversed);
    }

    /// Accrued shares move to their partners.
    fn repay(&mut self, repaid: &[Repaid]) {
        for repaid in repaid {
            if let Some(partner) = repaid.partner {
                self.post(LedgerAccount::Accrued, LedgerAccount::Partner(partner), repaid.share);
            }
        }
    }

    /// Shares go back from their partners to the operator's losses.
    fn reverse(&mut self, reversed: &[(PartnerId, Credits)]) {
        for (partner, share) in reversed {
            self.post(LedgerAccount::Partner(*partner), LedgerAccount::Losses, *share);
        }
    }

    fn charge(&mut self, user: LedgerAccount, settlement: &Settlement) {
        let charged = &settlement.charged;
        let paid = settlement.lots.iter().map(|spend| spend.share).sum::<Credits>();
        self.post(user, LedgerAccount::Provider, charged.cost);
        self.post(user, LedgerAccount::Partner(charged.partner), paid);
        self.post(user, LedgerAccount::Accrued, charged.share.minus(paid));
    }

    fn post(&mut self, from: LedgerAccount, to: LedgerAccount, amount: Credits) {
        if amount != Credits::ZERO {
            self.postings.push(Posting { from, to, amount });
        }
    }
}

/// The sums of all postings by ledger account; users and partners by their own.
#[derive(Clone, Debug, Default)]
pub struct TrialBalance {
    /// The number of postings added up.
    pub postings: u64,
    sums: BTreeMap<LedgerAccount, i128>,
}

impl TrialBalance {
    /// Adds an entry's postings.
    pub fn add(&mut self, entry: &Entry) {
        for posting in &entry.postings {
            let amount = i128::from(posting.amount.micro());
            self.postings = self.postings.saturating_add(1);
            let from = self.sums.entry(posting.from).or_default();
            *from = from.saturating_sub(amount);
            let to = self.sums.entry(posting.to).or_default();
            *to = to.saturating_add(amount);
        }
    }

    /// What arrived at an account less what left it, in microcredits.
    #[must_use]
    pub fn sum(&self, account: LedgerAccount) -> i128 {
        self.sums.get(&account).copied().unwrap_or(0)
    }

    /// The sum over all accounts: zero in balanced books.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.sums.values().sum()
    }

    /// The sums by kind of account, for people: name and microcredits.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<&'static str, i128> {
        let mut kinds = BTreeMap::new();
        for (account, sum) in &self.sums {
            let kind = match account {
                LedgerAccount::Stripe => "stripe",
                LedgerAccount::Promotion => "promotion",
                LedgerAccount::Provider => "provider",
                LedgerAccount::Disputed => "disputed",
                LedgerAccount::Losses => "losses",
                LedgerAccount::Accrued => "accrued",
                LedgerAccount::Payout => "payout",
                LedgerAccount::User(_) => "users",
                LedgerAccount::Partner(_) => "partners",
            };
            let total: &mut i128 = kinds.entry(kind).or_default();
            *total = total.saturating_add(*sum);
        }
        kinds
    }
}
