//! A client's request on a node: it holds, runs, and settles or releases.

use std::sync::Arc;
use std::time::Duration;

use opencredits_schema::{AccountId, Checkpoint, Command, Credits, Hold, RequestId, SettledBy};
use tokio::time::sleep;

use super::super::super::{KEY, PARTNER, charged};
use super::ledger::{Ledger, Request, State};
use crate::{AskError, Done, System};

/// What a client does, chosen before it begins.
pub(super) struct Plan {
    pub(super) number: u128,
    pub(super) account: AccountId,
    pub(super) node: u64,
    pub(super) amount: i64,
    pub(super) cost: i64,
    pub(super) runs: Duration,
    pub(super) checkpoint: bool,
    pub(super) releases: bool,
    /// The hold ends then, unless it is ended before.
    pub(super) expires_at: opencredits_schema::Timestamp,
}

impl Plan {
    fn hold(&self) -> Hold {
        Hold {
            request: RequestId::new(self.number),
            amount: Credits::from_micro(self.amount),
            key: KEY,
            partner: PARTNER,
            expires_at: self.expires_at,
        }
    }

    fn total(&self) -> i64 {
        self.cost + self.cost / 10
    }
}

/// Runs a request to its end.
pub(super) async fn run(system: Arc<System>, ledger: Arc<Ledger>, plan: Plan) {
    let Plan { number, account, node, amount, .. } = plan;
    let alone = ledger.is_away(node);
    ledger.begin(number, Request { account, node, amount, state: State::Asked, alone });
    let mut place = super::super::super::place(number, amount);
    if let Command::Place(place) = &mut place {
        place.expires_at = plan.expires_at;
    }
    match system.ask(account, place).await {
        Ok(_) => ledger.enter(number, State::Admitted),
        Err(AskError::Refused(_)) => return ledger.refused(number),
        // What the gateway does with a request whose hold it does not know.
        Err(_) => return release(&system, &ledger, &plan).await,
    }
    sleep(plan.runs / 2).await;
    if plan.checkpoint {
        system.checkpoint(Box::new(Checkpoint {
            account,
            hold: plan.hold(),
            number: 1,
            node,
            charged: Some(charged(number, plan.cost, plan.cost / 10)),
            at: system.now(),
        }));
    }
    sleep(plan.runs / 2).await;
    if plan.releases && !plan.checkpoint {
        return release(&system, &ledger, &plan).await;
    }
    settle(&system, &ledger, &plan).await;
}

async fn release(system: &System, ledger: &Ledger, plan: &Plan) {
    ledger.enter(plan.number, State::Released);
    let by = SettledBy::Request;
    let release = Command::Release { request: RequestId::new(plan.number), by };
    // Where nobody hears it the lease ends it.
    drop(system.ask(plan.account, release).await);
}

async fn settle(system: &System, ledger: &Ledger, plan: &Plan) {
    ledger.enter(plan.number, State::Settling(plan.total()));
    let charged = charged(plan.number, plan.cost, plan.cost / 10);
    let settle = Command::Settle { charged, by: SettledBy::Request, at: system.now() };
    let owner = system.directory.nodes.as_ref().and_then(|n| n.owner_elsewhere(plan.account));
    match system.insist(plan.account, settle).await {
        Ok(answer) => {
            let outcome = match answer.done {
                Done::Settled(outcome) => Some(outcome.cost.micro() + outcome.share.micro()),
                Done::Placed(_) | Done::Renewed | Done::Moved => None,
            };
            let (number, total) = (plan.number, plan.total());
            ledger.check(
                outcome == Some(total),
                format_args!("{number} was told {outcome:?}, not {total}"),
            );
            if owner.is_some() {
                ledger.note("settled elsewhere", format_args!("{number}"));
            }
            ledger.enter(number, State::Settled(total));
        }
        Err(error) => {
            let number = plan.number;
            ledger.check(false, format_args!("{number} could not be settled: {error}"));
        }
    }
}
