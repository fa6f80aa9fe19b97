//! One AI request, as `place.rs`, `running.rs` and `live.rs` of the gateway drive it: place, stream
//! with checkpoints and renewals, settle or release. The provider is a row of choices.

use std::sync::Arc;
use std::time::Duration;

use opencredits_actors::{Answer, AskError, Done, System};
use opencredits_schema::{
    AccountId, Basis, Charge, Charged, Checkpoint, Command, Credits, Hold, KeyId, PartnerId,
    PicoUsd, Place, ReferralRate, Refusal, RequestId, SettledBy, Status, Usage,
};

use super::world::{Outside, World, pass};

pub const LEASE: Duration = Duration::from_secs(3);
/// `LOOK_EVERY` of `running.rs`.
const LOOK_EVERY: u64 = 500;
/// `OPENCREDITS_SETTLE_WAIT`.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// A planted bug asks again under an id that is so much higher.
pub const RENAMED: u128 = 1_000_000;

/// Who asks, and what the provider will do.
#[derive(Clone, Copy)]
pub struct Caller {
    pub account: AccountId,
    pub key: KeyId,
    pub partner: PartnerId,
    pub rate: ReferralRate,
    pub key_limit: Option<Credits>,
}

/// How a request's stream ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the provider's usage.
    Whole,
    /// Without: by what was delivered.
    Cut,
    /// With more than was agreed.
    Dearer,
}

struct Running {
    world: Arc<World>,
    system: Arc<System>,
    caller: Caller,
    hold: Hold,
    input: u64,
    output: u64,
    checkpoints: u64,
}

/// Runs a request from its placement to its end.
pub async fn run(world: Arc<World>, system: Arc<System>, caller: Caller, id: RequestId) {
    let input = world.choices.between(1, 400);
    let limit = world.choices.between(1, 300);
    let Some(hold) = place(&world, &system, &caller, id, price(&caller, input, limit)).await else {
        return;
    };
    let mut running = Running { world, system, caller, hold, input, output: 0, checkpoints: 0 };
    if running.world.choices.chance(10) {
        // The provider fails before its first byte.
        running.world.rest(0, 1500).await;
        return running.end(None).await;
    }
    let end =
        running.world.choices.pick(&[End::Whole, End::Whole, End::Whole, End::Cut, End::Dearer]);
    running.stream(limit, end).await;
    if running.world.choices.chance(4) {
        // Its task is gone without a word: its lease ends.
        pass!(running.world, "vanishes", "{id}");
        return running.world.ledger().vanished(id);
    }
    let charged = match end {
        End::Whole => running.charged(Basis::Provider, Status::Completed),
        End::Cut => running.charged(Basis::Estimated, Status::UpstreamCut),
        End::Dearer => {
            running.output = limit + 50;
            running.charged(Basis::Provider, Status::Completed)
        }
    };
    running.end(Some(charged)).await;
}

/// The hold, or `None` where there is none.
async fn place(
    world: &Arc<World>,
    system: &Arc<System>,
    caller: &Caller,
    id: RequestId,
    quote: Charge,
) -> Option<Hold> {
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    let lowers = world.choices.chance(40);
    let amount = quote.total();
    let place = Command::Place(Place {
        request: id,
        key: caller.key,
        partner: caller.partner,
        amount,
        least: if lowers { Credits::from_micro(amount.micro() / 2 + 1) } else { amount },
        headroom: Credits::ZERO,
        key_limit: caller.key_limit,
        partner_extra: None,
        holds_max: 4,
        expires_at: world.now().plus_millis(lease),
        resumed: false,
    });
    world.ledger().placing(id, caller.account, caller.key);
    pass!(world, "place", "{id} {amount} of {}", caller.account);
    // A client that goes away before the answer leaves nobody who would settle.
    let patience = if world.choices.chance(10) { 1 } else { 60_000 };
    let asked = system.ask(caller.account, place);
    let answer = tokio::time::timeout(Duration::from_millis(patience), asked).await;
    let release = Command::Release { request: id, by: SettledBy::Request };
    match answer {
        Ok(Ok(answer)) => {
            let Done::Placed(hold) = &answer.done else { panic!("{answer:?}") };
            pass!(world, "placed", "{id} {}", hold.amount);
            let now = world.now();
            let kept = world.ledger().placed(hold, &answer, caller.key_limit, now);
            world.check(kept);
            Some(hold.clone())
        }
        Ok(Err(AskError::Refused(refusal))) => {
            pass!(world, "refused", "{id} {refusal}");
            None
        }
        Ok(Err(
            AskError::Lost | AskError::Moving | AskError::NoAccount | AskError::Unavailable(_),
        ))
        | Err(_) => {
            pass!(world, "unplaced", "{}", id);
            world.ledger().ending(id, None);
            // Refused where nothing was placed.
            system.ask(caller.account, release).await.ok();
            None
        }
    }
}

impl Running {
    /// Reads what the provider sends, with a look at the table of running requests in between.
    async fn stream(&mut self, limit: u64, end: End) {
        let world = Arc::clone(&self.world);
        let chunks = world.choices.between(1, 12);
        // A process that hangs renews nothing, and its requests settle late.
        let hangs = world.choices.chance(8);
        let mut age = 0;
        let mut renewed = 0;
        for _ in 0..chunks {
            let gap = world.choices.between(1, LOOK_EVERY);
            tokio::time::sleep(Duration::from_millis(gap)).await;
            age += gap;
            let before = self.output;
            self.output = (before + world.choices.between(0, limit / 4 + 1)).min(limit);
            if age < LOOK_EVERY {
                continue;
            }
            if self.checkpoints == 0 || self.output > before {
                self.checkpoint().await;
            }
            if !hangs && age - renewed >= 1000 {
                renewed = age;
                self.renew().await;
            }
        }
        if hangs {
            pass!(world, "hangs", "{}", self.hold.request);
            world.rest(1000, 6000).await;
        }
        if end == End::Cut {
            self.output = self.output.max(1);
        }
    }

    async fn checkpoint(&mut self) {
        self.checkpoints += 1;
        // Before the first byte there is nothing to charge.
        let started = self.output > 0;
        let charged = started.then(|| self.charged(Basis::Estimated, Status::Recovered));
        let checkpoint = Box::new(Checkpoint {
            account: self.caller.account,
            hold: self.hold.clone(),
            number: self.checkpoints,
            node: self.system.node(),
            charged,
            at: self.world.now(),
        });
        let (id, number) = (self.hold.request, self.checkpoints);
        pass!(self.world, "checkpoint", "{id} {number} {}", self.output);
        self.world.ledger().checkpointed(&checkpoint);
        self.system.checkpoint(checkpoint);
    }

    async fn renew(&self) {
        let id = self.hold.request;
        pass!(self.world, "renew", "{}", id);
        let lease = i64::try_from(LEASE.as_millis()).unwrap();
        let until = self.world.now().plus_millis(lease);
        self.world.ledger().renewed(id, until);
        self.system.renew(self.caller.account, id);
    }

    /// Settles, or releases where there is nothing to charge; sometimes twice.
    async fn end(self, charged: Option<Box<Charged>>) {
        let id = self.hold.request;
        self.world.ledger().ending(id, charged.clone());
        self.ask_end(charged.clone()).await;
        while self.world.choices.chance(20) {
            self.world.rest(0, 2500).await;
            self.ask_end(charged.clone()).await;
        }
    }

    async fn ask_end(&self, charged: Option<Box<Charged>>) {
        let (world, id, by) = (&self.world, self.hold.request, SettledBy::Request);
        let total = charged.as_ref().map(|charged| charged.total());
        pass!(world, "end", "{id} for {total:?}");
        let command = match charged {
            Some(charged) => Command::Settle { charged, by, at: world.now() },
            None => Command::Release { request: id, by },
        };
        let mut asking = Box::pin(self.insist(command.clone()));
        let answer = match tokio::time::timeout(SETTLE_WAIT, &mut asking).await {
            Ok(answer) => answer,
            Err(_) => {
                pass!(world, "late", "{id}");
                if world.outside == Some(Outside::RetryAsNew) {
                    self.system.insist(self.caller.account, renamed(command)).await.ok();
                }
                asking.await
            }
        };
        match answer {
            Ok(answer) => {
                pass!(world, "ended", "{id} {:?}", answer.done);
                let kept = world.ledger().ended(id, &answer.done);
                world.check(kept);
            }
            // A release of what its lease has ended already.
            Err(AskError::Refused(Refusal::HoldNotOpen(_))) => {}
            Err(error) => pass!(world, "failed", "{id} {error}"),
        }
    }

    /// Asks until the outcome is known, unless that is the planted bug.
    async fn insist(&self, command: Command) -> Result<Answer, AskError> {
        let account = self.caller.account;
        if self.world.outside == Some(Outside::RefundOnError) {
            return self.system.ask(account, command).await;
        }
        self.system.insist(account, command).await
    }

    /// What the usage so far costs.
    fn charged(&self, basis: Basis, status: Status) -> Box<Charged> {
        let Self { caller, hold, input, output, .. } = self;
        let mut charge = price(caller, *input, *output);
        if status == Status::Recovered && charge.total() > hold.amount {
            // A recovered charge is at most the hold.
            let share = charge.share.portion(hold.amount, charge.total());
            let cost = hold.amount.minus(share);
            charge = Charge { provider_cost: PicoUsd(cost.micro() * 10_000), cost, share };
        }
        Box::new(Charged {
            request: hold.request,
            key: hold.key,
            partner: hold.partner,
            model: "simulated/model".into(),
            price_id: "simulated".into(),
            rate: caller.rate,
            usage: Usage { input: *input, output: *output, ..Usage::default() },
            provider_cost: charge.provider_cost,
            cost: charge.cost,
            share: charge.share,
            basis,
            status,
        })
    }
}

/// The same settlement under another request id (a planted bug).
fn renamed(command: Command) -> Command {
    let Command::Settle { mut charged, by, at } = command else { return command };
    charged.request = RequestId::new(charged.request.bits() + RENAMED);
    Command::Settle { charged, by, at }
}

/// The price of a usage, which is also the quote for its bounds.
fn price(caller: &Caller, input: u64, output: u64) -> Charge {
    let pico = input * 2_503 + output * 10_007;
    Charge::new(PicoUsd(i64::try_from(pico).unwrap()), caller.rate)
}
