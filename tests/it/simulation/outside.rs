//! Money from outside, as Stripe's webhooks and the operator bring it: more than once, in any order,
//! until it is acknowledged; `checkout/fulfil.rs` and `admin/grants.rs` of the gateway in short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opencredits_actors::{AskError, Payout, PayoutOutcome, System};
use opencredits_schema::{AccountId, Command, Credits, DisputeStage, LotKind, PartnerId, Refusal};

use super::world::{Outside, World, pass};

/// What an order's buyer paid.
#[derive(Clone, Debug)]
struct Order {
    key: String,
    account: AccountId,
    credits: Credits,
    partner: PartnerId,
}

/// What a delivery tells.
#[derive(Clone, Debug)]
enum News {
    Paid(Order),
    Refunded(Order, Credits),
    Disputed(Order, DisputeStage),
    Granted { key: String, account: AccountId, credits: Credits },
    PayOut { entry: String, partner: PartnerId, credits: Credits },
}

/// Something that is told until it is acknowledged.
pub struct Delivery {
    news: News,
    /// When it is told first, in milliseconds after a start.
    after: u64,
    done: AtomicBool,
}

/// All that comes from outside in a run.
pub struct Post {
    pub deliveries: Vec<Arc<Delivery>>,
}

impl Post {
    pub fn new(world: &World, accounts: &[AccountId], partners: &[PartnerId]) -> Self {
        let choices = &world.choices;
        let mut news = Vec::new();
        for (number, account) in (1u64..).zip(accounts) {
            let credits = Credits::from_micro(choices.between(100, 1500).cast_signed());
            news.push((
                0,
                News::Granted { key: format!("grant-{number}"), account: *account, credits },
            ));
        }
        for number in 1..=choices.between(1, 4) {
            let order = Order {
                key: format!("order-{number}"),
                account: choices.pick(accounts),
                credits: Credits::from_micro(choices.between(200, 2500).cast_signed()),
                partner: choices.pick(partners),
            };
            let part = |percent| {
                order.credits.portion(Credits::from_micro(percent), Credits::from_micro(100))
            };
            if choices.chance(30) {
                news.push((choices.between(0, 9000), News::Refunded(order.clone(), part(40))));
                news.push((choices.between(0, 9000), News::Refunded(order.clone(), part(70))));
            }
            if choices.chance(30) {
                let end = choices.pick(&[DisputeStage::Won, DisputeStage::Lost]);
                for stage in [DisputeStage::Opened, end] {
                    news.push((choices.between(0, 9000), News::Disputed(order.clone(), stage)));
                }
            }
            news.push((choices.between(0, 9000), News::Paid(order)));
        }
        if choices.chance(30) {
            let (key, account) = ("back-1".to_owned(), choices.pick(accounts));
            let credits = Credits::from_micro(choices.between(1, 300).cast_signed()).negated();
            news.push((choices.between(1000, 9000), News::Granted { key, account, credits }));
        }
        for number in 1..=choices.between(0, 2) {
            let credits = Credits::from_micro(choices.between(1, 60).cast_signed());
            let (entry, partner) = (format!("payout-{number}"), choices.pick(partners));
            news.push((choices.between(2000, 9000), News::PayOut { entry, partner, credits }));
        }
        let delivery = |(after, news)| Arc::new(Delivery { news, after, done: false.into() });
        Self { deliveries: news.into_iter().map(delivery).collect() }
    }
}

/// Tells it until it is acknowledged, and sometimes once more.
pub async fn deliver(world: Arc<World>, system: Arc<System>, delivery: Arc<Delivery>) {
    if delivery.done.load(Ordering::Relaxed) && !world.choices.chance(20) {
        return;
    }
    world.rest(delivery.after, delivery.after + 50).await;
    let mut try_number = 0;
    loop {
        try_number += 1;
        let told = Told { world: &world, system: &system, try_number };
        pass!(world, "deliver", "{:?}", delivery.news);
        // Told again, it may be done now though it could not be done before.
        delivery.done.store(false, Ordering::Relaxed);
        let done = told.tell(&delivery.news).await;
        if done {
            pass!(world, "delivered", "{:?}", delivery.news);
            delivery.done.store(true, Ordering::Relaxed);
            if !world.choices.chance(25) {
                return;
            }
        }
        world.rest(100, 1500).await;
    }
}

struct Told<'a> {
    world: &'a Arc<World>,
    system: &'a Arc<System>,
    try_number: u64,
}

impl Told<'_> {
    async fn tell(&self, news: &News) -> bool {
        match news {
            News::Paid(order) => self.fulfil(order).await,
            // What comes before its purchase fulfils the order first.
            News::Refunded(order, cumulative) => {
                let command = Command::Refund {
                    source: order.key.clone(),
                    cumulative: *cumulative,
                    at: self.world.now(),
                };
                let key = format!("refund:{}:{}", order.key, cumulative.micro());
                self.fulfil(order).await
                    && self.once(&key, order.account, Credits::ZERO, command).await
            }
            News::Disputed(order, stage) => {
                let dispute = format!("dispute-of-{}", order.key);
                let key = format!("dispute:{dispute}:{stage:?}");
                let back = if *stage == DisputeStage::Won { order.credits } else { Credits::ZERO };
                let command = Command::Dispute {
                    source: order.key.clone(),
                    dispute,
                    stage: *stage,
                    credits: order.credits,
                    at: self.world.now(),
                };
                self.fulfil(order).await && self.once(&key, order.account, back, command).await
            }
            News::Granted { key, account, credits } => {
                let command = self.receive(key, LotKind::Grant, *credits, None);
                self.once(key, *account, *credits, command).await
            }
            News::PayOut { entry, partner, credits } => {
                self.pay_out(entry, *partner, *credits).await
            }
        }
    }

    async fn fulfil(&self, order: &Order) -> bool {
        let by_delivery = self.world.outside == Some(Outside::KeyByDelivery);
        let key = if by_delivery {
            format!("{}.{}", order.key, self.try_number)
        } else {
            order.key.clone()
        };
        let command = self.receive(&key, LotKind::Purchase, order.credits, Some(order.partner));
        self.once(&order.key, order.account, order.credits, command).await
    }

    fn receive(
        &self,
        key: &str,
        kind: LotKind,
        credits: Credits,
        partner: Option<PartnerId>,
    ) -> Command {
        Command::Receive {
            source: key.to_owned(),
            kind,
            credits,
            reason: String::new(),
            partner,
            at: self.world.now(),
        }
    }

    /// Asks for what may have been done before; durable after.
    async fn once(
        &self,
        key: &str,
        account: AccountId,
        credits: Credits,
        command: Command,
    ) -> bool {
        self.world.ledger().receiving(key, account, credits);
        let answer = self.system.ask(account, command).await;
        match answer {
            Ok(_) => {
                pass!(self.world, "came", "{}", key);
                let kept = self.world.ledger().received(key);
                self.world.check(kept);
                true
            }
            Err(AskError::Refused(Refusal::Received)) => {
                // Somebody else's is on its way, or was durable long ago.
                self.system.settled(account).await;
                pass!(self.world, "came", "{}", key);
                self.world.ledger().is_durable(key) || key.starts_with(['d', 'r'])
            }
            Err(AskError::Refused(refusal)) => {
                pass!(self.world, "refused", "{key} {refusal}");
                true
            }
            Err(error) => {
                pass!(self.world, "failed", "{key} {error}");
                false
            }
        }
    }

    async fn pay_out(&self, entry: &str, partner: PartnerId, credits: Credits) -> bool {
        let payout = Payout {
            entry: entry.to_owned(),
            partner,
            credits,
            reference: String::new(),
            at: self.world.now(),
        };
        match self.system.payout(payout).await {
            Ok(PayoutOutcome::Done(_)) => {
                pass!(self.world, "paid out", "{}", entry);
                self.world.ledger().paid_out(entry, credits);
                true
            }
            Ok(PayoutOutcome::TooMuch(_)) => true,
            Err(_) => false,
        }
    }
}
