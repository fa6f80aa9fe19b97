//! The durable part of an account: its balance, its lots and its debts.
//!
//! Always: balance = Σ unspent − Σ debts, and the debts' shares are what is accrued.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    AccountId, Credits, Debt, Dispute, DisputeStage, Event, KeyId, Lot, LotDispute, LotKind,
    LotSpend, MoneyIn, PartnerId, Refund, Repaid, Settlement,
};

type Spends = SmallVec<[LotSpend; 2]>;

/// What the store keeps of an account, beside its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The account.
    pub id: AccountId,
    /// The number of the last durable event.
    pub seq: u64,
    /// What was bought and granted less what was spent.
    pub balance: Credits,
    /// Grants before purchases, each oldest first: the order of spending.
    pub lots: Vec<Lot>,
    /// Overdrafts, oldest first.
    pub debts: Vec<Debt>,
    // Most accounts have one: each settlement's write carries a copy, which then allocates nothing for it.
    by_key: SmallVec<[(KeyId, Credits); 1]>,
    by_partner: SmallVec<[(PartnerId, Credits); 1]>,
}

impl Head {
    /// The head of a new account.
    #[must_use]
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            seq: 0,
            balance: Credits::ZERO,
            lots: Vec::new(),
            debts: Vec::new(),
            by_key: SmallVec::new(),
            by_partner: SmallVec::new(),
        }
    }

    /// What requests with this key were charged.
    #[must_use]
    pub fn spent_by_key(&self, key: KeyId) -> Credits {
        find(&self.by_key, key)
    }

    /// What requests with this partner's keys were charged.
    #[must_use]
    pub fn spent_by_partner(&self, partner: PartnerId) -> Credits {
        find(&self.by_partner, partner)
    }

    /// What was bought in a partner's page and has not gone back.
    #[must_use]
    pub fn bought_at(&self, partner: PartnerId) -> Credits {
        let bought = self.lots.iter().filter(|lot| lot.partner == Some(partner));
        bought.map(Lot::disputable).sum()
    }

    /// The lot that money from outside made.
    #[must_use]
    pub fn lot_of(&self, kind: LotKind, source: &str) -> Option<&Lot> {
        self.lots.iter().find(|lot| lot.kind == kind && *lot.source == *source)
    }

    /// Which lots pay an amount, and what none can pay. The share is split as the amount is.
    pub(super) fn plan_spend(
        &self,
        amount: Credits,
        share: Credits,
        partner: Option<PartnerId>,
    ) -> (Spends, Option<Debt>) {
        plan(self.lots.iter(), amount, share, partner)
    }

    /// Which lots beside one pay an amount that carries no share.
    pub(super) fn plan_spend_beside(&self, seq: u64, amount: Credits) -> (Spends, Option<Debt>) {
        plan(self.lots.iter().filter(|lot| lot.seq != seq), amount, Credits::ZERO, None)
    }

    /// Where an amount that was charged too much goes back: first to debts, the newest first, then
    /// to the lots that were spent last.
    pub(super) fn plan_return(
        &self,
        amount: Credits,
        share: Credits,
        partner: PartnerId,
    ) -> (Spends, Option<Debt>) {
        let relieved = relieve(&mut self.debts.clone(), amount, share, partner);
        let mut left = amount.minus(relieved.amount);
        let mut share_left = share.minus(relieved.share);
        let mut spends = Spends::new();
        for lot in self.lots.iter().rev().filter(|lot| lot.spent().is_positive()) {
            let back = left.min(lot.spent());
            if back.is_positive() {
                let share_back = share_left.portion(back, left);
                spends.push(LotSpend {
                    lot: lot.seq,
                    taken: back.negated(),
                    share: share_back.negated(),
                });
                left = left.minus(back);
                share_left = share_left.minus(share_back);
            }
        }
        // What rounding left of the share comes off a lot of its own, so that it is posted once.
        let earned = |lot: &&Lot| lot.shares.iter().any(|(earner, _)| *earner == partner);
        if let Some(lot) = self.lots.iter().rev().find(earned).filter(|_| share_left.is_positive())
        {
            let share = share_left.negated();
            spends.push(LotSpend { lot: lot.seq, taken: Credits::ZERO, share });
        }
        let relief = relieved.amount.is_positive() || relieved.share.is_positive();
        let debt = relief.then(|| Debt {
            partner: Some(partner),
            amount: relieved.amount.negated(),
            share: relieved.share.negated(),
        });
        (spends, debt)
    }

    /// The debts that new money repays, oldest first.
    pub(super) fn plan_repayment(&self, credits: Credits) -> Vec<Repaid> {
        let mut left = credits;
        let mut repaid = Vec::new();
        for debt in &self.debts {
            let amount = left.min(debt.amount);
            if !left.is_positive() {
                break;
            }
            let whole = amount == debt.amount;
            let share = if whole { debt.share } else { debt.share.portion(amount, debt.amount) };
            repaid.push(Repaid { partner: debt.partner, amount, share });
            left = left.minus(amount);
        }
        repaid
    }

    pub(super) fn apply(&mut self, event: &Event) {
        self.seq = self.seq.saturating_add(1);
        self.balance = self.balance.plus(event.credits());
        match event {
            Event::Settled(settlement) | Event::Adjusted(settlement) => self.charge(settlement),
            Event::Received(money) => self.receive(money),
            Event::Refunded(refund) => self.refund(refund),
            Event::Disputed(dispute) => self.dispute(dispute),
            Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => {}
        }
    }

    fn charge(&mut self, settlement: &Settlement) {
        let charged = &settlement.charged;
        self.spend(&settlement.lots, Some(charged.partner));
        self.owe(settlement.debt);
        add(&mut self.by_key, charged.key, charged.total());
        add(&mut self.by_partner, charged.partner, charged.total());
    }

    fn receive(&mut self, money: &MoneyIn) {
        self.spend(&money.lots, None);
        self.owe(money.debt);
        if !money.credits.is_positive() {
            return;
        }
        let mut lot = Lot {
            seq: self.seq,
            kind: money.kind,
            source: money.source.as_str().into(),
            partner: money.partner,
            amount: money.credits,
            unspent: money.credits,
            refunded: Credits::ZERO,
            disputes: Vec::new(),
            shares: SmallVec::new(),
        };
        self.repay(&money.repaid, &mut lot);
        let place = self.lots.partition_point(|other| other.kind <= lot.kind);
        self.lots.insert(place, lot);
    }

    /// A lot's money repays debts, and their shares are earned from it.
    fn repay(&mut self, repaid: &[Repaid], lot: &mut Lot) {
        for (debt, repaid) in self.debts.iter_mut().zip(repaid) {
            debt.amount = debt.amount.minus(repaid.amount);
            debt.share = debt.share.minus(repaid.share);
            lot.unspent = lot.unspent.minus(repaid.amount);
            if let Some(partner) = repaid.partner {
                lot.add_share(partner, repaid.share);
            }
        }
        self.debts.retain(is_open);
    }

    fn dispute(&mut self, step: &Dispute) {
        let bought = |lot: &Lot| lot.kind == LotKind::Purchase && *lot.source == *step.source;
        let Some(at) = self.lots.iter().position(bought) else { return };
        let mut lot = self.lots.remove(at);
        let taken = step.balance_change() < Credits::ZERO;
        let kept = lot.disputes.iter().position(|dispute| dispute.id == step.dispute);
        let (credits, from_spent) = match step.stage {
            DisputeStage::Won => (Credits::ZERO, Credits::ZERO),
            DisputeStage::Opened | DisputeStage::Lost if taken => {
                (step.credits, step.credits.minus(step.from_unspent))
            }
            DisputeStage::Opened | DisputeStage::Lost => {
                let before = kept.and_then(|at| lot.disputes.get(at));
                before.map_or_else(Default::default, |before| (before.credits, before.from_spent))
            }
        };
        if let Some(at) = kept {
            lot.disputes.remove(at);
        }
        let (id, stage) = (step.dispute.clone(), step.stage);
        lot.disputes.push(LotDispute { id, stage, credits, from_spent });
        if taken {
            lot.unspent = lot.unspent.minus(step.from_unspent);
        } else {
            lot.unspent = lot.unspent.plus(step.balance_change());
            self.repay(&step.repaid, &mut lot);
        }
        for (partner, share) in &step.reversed {
            lot.add_share(*partner, share.negated());
        }
        self.lots.insert(at, lot);
        self.spend(&step.lots, None);
        self.owe(step.debt);
    }

    fn refund(&mut self, refund: &Refund) {
        let bought =
            |lot: &&mut Lot| lot.kind == LotKind::Purchase && *lot.source == *refund.source;
        if let Some(lot) = self.lots.iter_mut().find(bought) {
            lot.unspent = lot.unspent.minus(refund.from_unspent);
            lot.refunded = lot.refunded.plus(refund.credits);
            for (partner, share) in &refund.reversed {
                lot.add_share(*partner, share.negated());
            }
        }
        self.spend(&refund.lots, None);
        self.owe(refund.debt);
    }

    fn spend(&mut self, spends: &Spends, partner: Option<PartnerId>) {
        for spend in spends {
            if let Some(lot) = self.lots.iter_mut().find(|lot| lot.seq == spend.lot) {
                lot.unspent = lot.unspent.minus(spend.taken);
                if let Some(partner) = partner {
                    lot.add_share(partner, spend.share);
                }
            }
        }
    }

    fn owe(&mut self, debt: Option<Debt>) {
        match debt {
            Some(debt) if debt.amount.is_positive() => self.debts.push(debt),
            Some(Debt { partner: Some(partner), amount, share }) => {
                relieve(&mut self.debts, amount.negated(), share.negated(), partner);
            }
            Some(_) | None => {}
        }
    }
}

fn plan<'a>(
    lots: impl Iterator<Item = &'a Lot>,
    amount: Credits,
    share: Credits,
    partner: Option<PartnerId>,
) -> (Spends, Option<Debt>) {
    let mut spends = Spends::new();
    let (mut left, mut share_left) = (amount, share);
    for lot in lots {
        if !left.is_positive() {
            break;
        }
        let taken = left.min(lot.unspent);
        if taken.is_positive() {
            let part = share_left.portion(taken, left);
            spends.push(LotSpend { lot: lot.seq, taken, share: part });
            left = left.minus(taken);
            share_left = share_left.minus(part);
        }
    }
    let debt = left.is_positive().then_some(Debt { partner, amount: left, share: share_left });
    (spends, debt)
}

/// What `relieve` took off.
struct Relieved {
    amount: Credits,
    share: Credits,
}

/// Takes an amount off the debts and as much of a share off the partner's: its own debts first,
/// then any, each the newest first.
fn relieve(debts: &mut Vec<Debt>, amount: Credits, share: Credits, partner: PartnerId) -> Relieved {
    let mut relieved = Relieved { amount: Credits::ZERO, share: Credits::ZERO };
    for own in [true, false] {
        for debt in debts.iter_mut().rev().filter(|debt| (debt.partner == Some(partner)) == own) {
            let part = debt.amount.min(amount.minus(relieved.amount));
            debt.amount = debt.amount.minus(part);
            relieved.amount = relieved.amount.plus(part);
            if own {
                let share_part = debt.share.min(share.minus(relieved.share));
                debt.share = debt.share.minus(share_part);
                relieved.share = relieved.share.plus(share_part);
            }
        }
    }
    debts.retain(is_open);
    relieved
}

/// A debt stays until its amount is repaid and its share has moved.
fn is_open(debt: &Debt) -> bool {
    debt.amount.is_positive() || debt.share.is_positive()
}

fn find<Id: PartialEq>(sums: &[(Id, Credits)], id: Id) -> Credits {
    sums.iter().find(|(of, _)| *of == id).map_or(Credits::ZERO, |(_, sum)| *sum)
}

fn add<Id: PartialEq>(sums: &mut SmallVec<[(Id, Credits); 1]>, id: Id, amount: Credits) {
    match sums.iter_mut().find(|(of, _)| *of == id) {
        Some((_, sum)) => *sum = sum.plus(amount),
        None => sums.push((id, amount)),
    }
}
