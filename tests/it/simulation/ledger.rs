//! What was asked and acknowledged, kept apart from the code under test, and the rules that every
//! durable event and every answer is held against.

use std::collections::BTreeMap;
use std::fmt;

use opencredits_actors::{Answer, Done};
use opencredits_schema::{
    Account, AccountId, Basis, Charged, Checkpoint, Credits, Entry, Event, Head, HistoryRow, Hold,
    KeyId, Outcome, RequestId, SettledBy, Settlement, Timestamp,
};

use super::request::RENAMED;

/// A rule that was broken, by its name, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.how)
    }
}

macro_rules! ensure {
    ($rule:literal, $kept:expr, $($how:tt)*) => {
        if !$kept {
            return Err(Broken { rule: $rule, how: format!($($how)*) });
        }
    };
}
pub(super) use ensure;

/// The ledger of the harness.
#[derive(Default)]
pub struct Ledger {
    accounts: BTreeMap<AccountId, Replayed>,
    requests: BTreeMap<RequestId, Request>,
    money: BTreeMap<String, Money>,
    payouts: BTreeMap<String, Credits>,
}

/// An account, made of its durable events alone.
struct Replayed {
    account: Account,
    balance: Credits,
}

/// A request as its caller knows it.
struct Request {
    account: AccountId,
    key: KeyId,
    /// The hold that was answered, until it is over for its account.
    hold: Option<Hold>,
    /// The charges of its checkpoints.
    noted: Vec<Option<Box<Charged>>>,
    /// What its own settlement asks for.
    asked: Option<Box<Charged>>,
    /// Its process is gone: nobody asks for it any more.
    dead: bool,
    /// The end that its caller was told.
    told: Option<Credits>,
    /// The rows that are durable.
    settled: Option<(SettledBy, Box<Charged>)>,
    adjusted: Option<Box<Charged>>,
}

/// Money from outside.
struct Money {
    account: AccountId,
    credits: Credits,
    /// Asked for now: it may count before it is durable.
    asked: bool,
    durable: bool,
}

impl Request {
    /// What is durably charged.
    fn charged(&self) -> Credits {
        let settled = self.settled.as_ref().map_or(Credits::ZERO, |(_, charged)| charged.total());
        settled.plus(self.adjusted.as_ref().map_or(Credits::ZERO, |charged| charged.total()))
    }

    /// What its account must still keep for it.
    fn held(&self, now: Timestamp) -> Credits {
        let live = self.hold.as_ref().filter(|hold| hold.expires_at > now && !self.dead);
        match (live, &self.settled) {
            (Some(hold), None) => {
                // Whether the account has heard of the settlement is not known.
                self.asked.as_ref().map_or(hold.amount, |asked| hold.amount.min(asked.total()))
            }
            _ => Credits::ZERO,
        }
    }
}

impl Ledger {
    pub fn open_account(&mut self, id: AccountId) {
        let replayed = Replayed { account: Account::new(id), balance: Credits::ZERO };
        self.accounts.insert(id, replayed);
    }

    /// The number of the first event that was not seen yet.
    pub fn unseen(&self, account: AccountId) -> u64 {
        self.accounts[&account].account.head().seq + 1
    }

    pub fn placing(&mut self, id: RequestId, account: AccountId, key: KeyId) {
        let request = Request {
            account,
            key,
            hold: None,
            noted: Vec::new(),
            asked: None,
            dead: false,
            told: None,
            settled: None,
            adjusted: None,
        };
        self.requests.insert(id, request);
    }

    /// A hold was answered: the account could afford it, whatever it knew then.
    pub fn placed(
        &mut self,
        hold: &Hold,
        answer: &Answer,
        key_limit: Option<Credits>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let request = self.requests.get_mut(&hold.request).unwrap();
        request.hold = Some(hold.clone());
        let account = request.account;
        ensure!(
            "no overspend",
            answer.held <= answer.balance,
            "{account} holds {} of {}",
            answer.held,
            answer.balance
        );
        let coming = self.money.values().filter(|m| m.account == account && m.asked && !m.durable);
        let coming: Credits = coming.map(|money| money.credits.max(Credits::ZERO)).sum();
        let balance = self.accounts[&account].balance.plus(coming);
        let own = || self.requests.values().filter(|request| request.account == account);
        let held: Credits = own().map(|request| request.held(now)).sum();
        ensure!(
            "no overspend",
            held <= balance,
            "{account} admitted {held} on {balance} with request {}",
            hold.request
        );
        if let Some(limit) = key_limit {
            let of_key = own().filter(|request| request.key == hold.key);
            let used: Credits = of_key.map(|r| r.charged().plus(r.held(now))).sum();
            ensure!("key limits", used <= limit, "key {} uses {used} of {limit}", hold.key);
        }
        Ok(())
    }

    pub fn renewed(&mut self, id: RequestId, until: Timestamp) {
        if let Some(hold) = self.requests.get_mut(&id).and_then(|request| request.hold.as_mut()) {
            hold.expires_at = until;
        }
    }

    pub fn checkpointed(&mut self, checkpoint: &Checkpoint) {
        let request = self.requests.get_mut(&checkpoint.hold.request).unwrap();
        request.noted.push(checkpoint.charged.clone());
    }

    /// A request is about to ask for its end: a charge, or a release.
    pub fn ending(&mut self, id: RequestId, charged: Option<Box<Charged>>) {
        let request = self.requests.get_mut(&id).unwrap();
        match charged {
            Some(charged) => request.asked = Some(charged),
            None => request.hold = None,
        }
    }

    /// Nobody asks for a request any more.
    pub fn vanished(&mut self, id: RequestId) {
        self.requests.get_mut(&id).unwrap().dead = true;
    }

    /// A request was told its end: it is durable, and the same whenever it is told.
    pub fn ended(&mut self, id: RequestId, done: &Done) -> Result<(), Broken> {
        let Done::Settled(Outcome { released, .. }) = done else {
            return Err(Broken { rule: "as asked", how: format!("{id} was told {done:?}") });
        };
        let Done::Settled(outcome) = done else { return Ok(()) };
        let request = self.requests.get_mut(&id).unwrap();
        let total = outcome.total();
        let durable = request.charged();
        ensure!(
            "durable when answered",
            total == durable
                && (*released || request.settled.is_some() || request.adjusted.is_some()),
            "{id} was told {total}, and {durable} is durable"
        );
        if let Some(asked) = &request.asked {
            // Numbers that are not the provider's own do not lower what a checkpoint charged.
            let first = request.settled.as_ref().filter(|(by, _)| *by != SettledBy::Request);
            let stays = asked.basis != Basis::Provider
                && first.is_some_and(|(_, first)| first.total() > asked.total());
            ensure!(
                "as asked",
                total == asked.total() || (stays && request.adjusted.is_none()),
                "{id} asked for {} and was told {total}",
                asked.total()
            );
        }
        ensure!(
            "the same answer again",
            request.told.is_none_or(|told| told == total),
            "{id} was told {:?}, then {total}",
            request.told
        );
        request.told = Some(total);
        request.hold = None;
        Ok(())
    }

    /// Money is asked for; again, if it was before.
    pub fn receiving(&mut self, key: &str, account: AccountId, credits: Credits) {
        let money = Money { account, credits, asked: true, durable: false };
        self.money.entry(key.to_owned()).or_insert(money).asked = true;
    }

    /// Money was acknowledged: it is durable.
    pub fn received(&mut self, key: &str) -> Result<(), Broken> {
        let money = &self.money[key];
        ensure!(
            "durable when answered",
            money.durable,
            "{key} was acknowledged and is not durable"
        );
        Ok(())
    }

    pub fn is_durable(&self, key: &str) -> bool {
        self.money.get(key).is_some_and(|money| money.durable)
    }

    /// A payout was acknowledged.
    pub fn paid_out(&mut self, entry: &str, credits: Credits) {
        self.payouts.insert(entry.to_owned(), credits);
    }

    /// What partners were told that they were paid is what they were paid.
    pub fn payouts(&self, durable: Credits) -> Result<(), Broken> {
        let told: Credits = self.payouts.values().copied().sum();
        ensure!("payouts come once", told == durable, "told {told}, paid out {durable}");
        Ok(())
    }

    /// The process is gone, and with it all that waits.
    pub fn died(&mut self) {
        for request in self.requests.values_mut() {
            request.dead |= request.told.is_none();
            request.hold = None;
        }
        for money in self.money.values_mut() {
            money.asked = false;
        }
    }

    /// An event has become durable: replayed, it makes the stored account; and it was asked for.
    pub fn observe(&mut self, row: &HistoryRow, head: Option<&Head>) -> Result<(), Broken> {
        let id = row.account;
        let replayed = self.accounts.get_mut(&id).unwrap();
        replayed.account.apply(&row.event);
        let made = replayed.account.head();
        let is_last = head.is_some_and(|head| head.seq == row.seq);
        ensure!(
            "replay equals live",
            made.seq == row.seq && (!is_last || head == Some(made)),
            "event {} of {id} makes {made:?}, stored is {head:?}",
            row.seq
        );
        replayed.balance = replayed.balance.plus(row.event.credits());
        let balance = replayed.balance;
        ensure!(
            "replay equals live",
            balance == row.balance_after && balance == made.balance,
            "{id} has {balance} after event {}, stored is {}",
            row.seq,
            row.balance_after
        );
        let posted: i128 = Entry::of(id, &row.event)
            .postings
            .iter()
            .map(|posting| i128::from(posting.amount.micro()) * sign(posting, id))
            .sum();
        ensure!(
            "sums are zero",
            posted == i128::from(row.event.credits().micro()),
            "event {} of {id} posts {posted}",
            row.seq
        );
        self.was_asked(id, &row.event)
    }

    fn was_asked(&mut self, account: AccountId, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Settled(settlement) => self.settled(account, settlement),
            Event::Adjusted(settlement) => self.adjusted(settlement),
            Event::Received(money) => {
                // A planted bug writes the number of the delivery behind the order's name.
                let key = money.source.split('.').next().unwrap_or_default();
                self.came(key, account, money.credits)
            }
            Event::Refunded(refund) => {
                let key = format!("refund:{}:{}", refund.source, refund.cumulative.micro());
                self.came(&key, account, Credits::ZERO)
            }
            Event::Disputed(dispute) => {
                let key = format!("dispute:{}:{:?}", dispute.dispute, dispute.stage);
                self.came(&key, account, Credits::ZERO)
            }
            Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => {
                Err(Broken { rule: "as asked", how: format!("{event:?} was journaled") })
            }
        }
    }

    fn settled(&mut self, account: AccountId, settlement: &Settlement) -> Result<(), Broken> {
        let Settlement { charged, by, .. } = settlement;
        let id = RequestId::new(charged.request.bits() % RENAMED);
        let Some(request) = self.requests.get_mut(&id) else {
            return Err(Broken { rule: "as asked", how: format!("nobody asked for {id}") });
        };
        let before = request.settled.replace((*by, Box::new(charged.clone())));
        let once = before.is_none() && request.adjusted.is_none();
        ensure!("settled exactly once", once, "{id} is settled by {by:?} after {before:?}");
        let (total, share) = (charged.total(), charged.share);
        let same = |asked: &Charged| asked.total() == total && asked.share == share;
        let asked = match by {
            SettledBy::Request => request.asked.as_deref().is_some_and(same),
            SettledBy::Checkpoint | SettledBy::Expiry => {
                request.noted.iter().flatten().any(|noted| same(noted))
            }
        };
        ensure!(
            "as asked",
            asked && request.account == account,
            "{id} is settled by {by:?} for {total}, asked was {:?}",
            request.asked
        );
        Ok(())
    }

    fn adjusted(&mut self, settlement: &Settlement) -> Result<(), Broken> {
        let id = settlement.charged.request;
        let request = self.requests.get_mut(&id).unwrap();
        let before = request.adjusted.replace(Box::new(settlement.charged.clone()));
        let own_before = request.settled.as_ref().is_some_and(|(by, _)| *by == SettledBy::Request);
        ensure!(
            "settled exactly once",
            before.is_none() && !own_before,
            "{id} is adjusted after {before:?}"
        );
        let (charged, asked) = (request.charged(), request.asked.as_ref().map(|a| a.total()));
        ensure!("as asked", asked == Some(charged), "{id} is charged {charged}, asked {asked:?}");
        Ok(())
    }

    fn came(&mut self, key: &str, account: AccountId, credits: Credits) -> Result<(), Broken> {
        let Some(money) = self.money.get_mut(key) else {
            return Err(Broken { rule: "as asked", how: format!("nobody asked for {key}") });
        };
        ensure!("money comes once", !money.durable, "{key} came twice");
        money.durable = true;
        let same = money.account == account && (credits == money.credits || credits.micro() == 0);
        ensure!("as asked", same, "{key} brought {credits}, asked was {}", money.credits);
        Ok(())
    }

    /// A start has settled what a kill left open, by exactly the durable checkpoints.
    pub fn recovered(&self, open: &[Checkpoint]) -> Result<(), Broken> {
        for Checkpoint { hold, charged, .. } in open {
            let id = hold.request;
            let settled = self.requests[&id].settled.as_ref();
            let expected = charged.as_ref().map(|charged| charged.total());
            ensure!(
                "recovered by its checkpoint",
                settled.map(|(_, charged)| charged.total()) == expected
                    && settled.is_none_or(|(by, _)| *by == SettledBy::Checkpoint),
                "{id} was left with {expected:?} and is settled {settled:?}"
            );
        }
        Ok(())
    }

    /// No open checkpoint is of a request whose settlement is durable.
    pub fn open(&self, checkpoint: &Checkpoint) -> Result<(), Broken> {
        let id = checkpoint.hold.request;
        let settled = self.requests[&id].settled.is_some();
        ensure!("checkpoints end with their request", !settled, "{id} is settled and open");
        Ok(())
    }

    /// All is quiet: what was asked is done, and an account is what its events make of it.
    pub fn quiet(&self, account: AccountId, balance: Credits) -> Result<(), Broken> {
        let replayed = self.accounts[&account].balance;
        ensure!(
            "replay equals live",
            replayed == balance,
            "{account} has {balance}, its events make {replayed}"
        );
        for (id, request) in &self.requests {
            let charged = request.charged();
            ensure!(
                "nothing acknowledged is lost",
                request.told.is_none_or(|told| told == charged),
                "{id} was told {:?} and is charged {charged}",
                request.told
            );
            let unpaid = request.asked.is_some() && !request.dead && request.told.is_none();
            ensure!("every request is charged", !unpaid, "{id} was never charged");
        }
        Ok(())
    }
}

/// Whether a posting arrives at the user, leaves it, or neither.
fn sign(posting: &opencredits_schema::Posting, id: AccountId) -> i128 {
    let user = opencredits_schema::LedgerAccount::User(id);
    i128::from(posting.to == user) - i128::from(posting.from == user)
}
