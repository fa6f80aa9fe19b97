//! A running request: its hold, its metering, its one settlement.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opencredits_actors::{AskError, Done};
use opencredits_dialects::decode_request;
use opencredits_schema::{
    AccountId, Basis, Charge, Charged, Checkpoint, Command, Credits, Hold, Model, PicoUsd,
    PriceBook, Provider, ReferralRate, RequestId, SettledBy, Status, Timestamp, Usage,
};
use opencredits_wire::{Dialect, Meter, count_tokens};
use tokio::sync::Notify;

use crate::checkout;
use crate::gateway::Gateway;
use crate::lock::lock;

/// What was agreed when the hold was placed; nothing that changes later touches it.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Whose account pays.
    pub account: AccountId,
    /// The hold.
    pub hold: Hold,
    /// The model, with its frozen price row.
    pub model: Arc<Model>,
    /// The price book of the moment.
    pub book: Arc<PriceBook>,
    /// The partner's rate.
    pub rate: ReferralRate,
    /// The client's dialect.
    pub dialect: Dialect,
    /// The provider's dialect.
    pub upstream: Dialect,
    /// What the input likely is, in tokens, if the provider never tells.
    pub input_estimate: u64,
    /// The client's own words, kept where their tokens have to be counted if the client goes away:
    /// the provider tells its input at the end only, and no other part of it is unknown.
    pub countable: Option<Bytes>,
    /// Whether the model may reason unseen.
    pub may_reason: bool,
    /// Web searches that are billed and not told in the usage.
    pub searches: u64,
}

/// A running request.
#[derive(Debug)]
pub struct Live {
    /// What was agreed.
    pub terms: Terms,
    meter: Mutex<Meter>,
    /// Bytes of the upstream's body that have come.
    received: AtomicU64,
    ended: AtomicBool,
    client_gone: AtomicBool,
    started: Instant,
    renewed: Mutex<Instant>,
    noted: Mutex<Noted>,
    /// Told when the request has to end now.
    pub cut: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Noted {
    number: u64,
    received: Option<u64>,
}

/// What a settlement cost, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What the user paid.
    pub charge: Credits,
    /// The balance after it.
    pub balance: Credits,
}

/// A settlement that is not durable in time. It stays queued and is never a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settlement is not durable yet")]
pub struct Unsettled;

impl Live {
    /// A request whose hold has just been placed.
    #[must_use]
    pub fn new(terms: Terms, meter: Meter) -> Self {
        let now = Instant::now();
        Self {
            terms,
            meter: Mutex::new(meter),
            received: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            client_gone: AtomicBool::new(false),
            started: now,
            renewed: Mutex::new(now),
            noted: Mutex::default(),
            cut: Arc::new(Notify::new()),
        }
    }

    /// The request's name.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.terms.hold.request
    }

    /// The metering of what has come so far.
    pub fn meter(&self) -> MutexGuard<'_, Meter> {
        lock(&self.meter)
    }

    /// Notes that the upstream's body has begun or goes on.
    pub fn received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that nobody waits for the answer any more.
    pub fn client_left(&self) {
        self.client_gone.store(true, Ordering::Relaxed);
    }

    /// What the request is to be charged for what it has delivered; `None` when nothing has come,
    /// and the hold is released.
    pub fn charged(&self, status: Status, counted: Basis) -> Option<Box<Charged>> {
        let bytes = self.received.load(Ordering::Relaxed);
        if bytes == 0 {
            return None;
        }
        let (told, delivered) = {
            let meter = self.meter();
            let told = match meter.usage() {
                // Counting all words takes longer than all else here, and no more is known by it.
                Some((usage, Basis::Provider)) => {
                    return Some(self.price(usage, Basis::Provider, status));
                }
                told => told,
            };
            let delivered = match counted {
                Basis::Counted => meter.counted_tokens(),
                Basis::Provider | Basis::Partial | Basis::Estimated => meter.delivered().tokens(),
            };
            (told, delivered)
        };
        let (usage, basis) = match told {
            Some((usage, _)) => {
                // Gemini counts as it goes, so what was delivered is in its count.
                let runs = self.terms.upstream == Dialect::GenerateContent && usage.output > 0;
                let output = if runs { usage.output } else { usage.output.max(delivered) };
                let basis = if usage.total_input() > 0 { Basis::Partial } else { counted };
                (self.with_input(Usage { output, ..usage }, counted), basis)
            }
            None => {
                let usage = Usage { output: delivered, ..Usage::default() };
                (self.with_input(usage, counted), counted)
            }
        };
        Some(self.price(usage, basis, status))
    }

    /// Whether the provider can be stopped now and what it did be known: it tells its usage as it
    /// goes, or all that it wrote was seen.
    #[must_use]
    pub fn can_be_cut(&self) -> bool {
        let meter = self.meter();
        match self.terms.upstream {
            Dialect::GenerateContent => meter.usage().is_some(),
            Dialect::Messages => !self.terms.may_reason && meter.countable(),
            Dialect::ChatCompletions | Dialect::Responses => {
                self.terms.countable.is_some() && meter.countable()
            }
        }
    }

    /// The charge for a usage.
    #[must_use]
    pub fn price(&self, mut usage: Usage, basis: Basis, status: Status) -> Box<Charged> {
        let told = usage.tool_calls.web_search;
        usage.tool_calls.web_search = told.max(self.terms.searches);
        let Terms { model, book, rate, hold, .. } = &self.terms;
        let client_gone = self.client_gone.load(Ordering::Relaxed);
        let gone = client_gone && status != Status::Recovered;
        let status = if gone { Status::ClientGone } else { status };
        let charge = model.charge(book, &usage, *rate).unwrap_or_else(|error| {
            // No real usage is so large; the hold is the most that was agreed.
            tracing::error!(request = %hold.request, %error, "a usage cannot be priced");
            Charge::new(
                PicoUsd(hold.amount.micro().saturating_mul(10_000)),
                ReferralRate::default(),
            )
        });
        Box::new(Charged {
            request: hold.request,
            key: hold.key,
            partner: hold.partner,
            model: Arc::clone(&model.id),
            price_id: Arc::clone(&model.price_id),
            rate: *rate,
            usage,
            provider_cost: charge.provider_cost,
            cost: charge.cost,
            share: charge.share,
            basis,
            status,
        })
    }

    fn with_input(&self, usage: Usage, basis: Basis) -> Usage {
        if usage.total_input() > 0 {
            return usage;
        }
        let words = self.terms.countable.as_ref().filter(|_| basis == Basis::Counted);
        let prompt = words.and_then(|words| decode_request(self.terms.dialect, words).ok());
        let counted = prompt.map(|prompt| prompt.text_tokens(count_tokens));
        Usage { input: counted.unwrap_or(self.terms.input_estimate), ..usage }
    }

    /// How long it has run.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether its lease was last renewed so long ago; if so it counts as renewed now.
    #[must_use]
    pub fn renews(&self, every: Duration) -> bool {
        let mut renewed = lock(&self.renewed);
        let due = renewed.elapsed() >= every;
        if due {
            *renewed = Instant::now();
        }
        due
    }

    /// A checkpoint, if anything has come since the last one.
    #[must_use]
    pub fn checkpoint(&self, node: u64, at: Timestamp) -> Option<Box<Checkpoint>> {
        let received = self.received.load(Ordering::Relaxed);
        let number = {
            let mut noted = lock(&self.noted);
            if noted.received == Some(received) {
                return None;
            }
            noted.received = Some(received);
            noted.number = noted.number.saturating_add(1);
            noted.number
        };
        let hold = self.terms.hold.clone();
        let charged = self.charged(Status::Recovered, Basis::Estimated).map(|c| self.capped(c));
        let account = self.terms.account;
        Some(Box::new(Checkpoint { account, hold, number, node, charged, at }))
    }

    /// A recovered charge is at most the hold.
    fn capped(&self, charged: Box<Charged>) -> Box<Charged> {
        let amount = self.terms.hold.amount;
        if charged.total() <= amount {
            return charged;
        }
        let whole = charged.total();
        let share = charged.share.portion(amount, whole);
        let cost = amount.minus(share);
        let provider_cost = PicoUsd(cost.micro().saturating_mul(10_000));
        Box::new(Charged { cost, share, provider_cost, ..*charged })
    }

    /// Compares the provider's own bill with ours.
    fn check_bill(&self, gateway: &Gateway, charged: &Charged) {
        if self.terms.model.provider != Provider::XAi || charged.usage.cost_ticks.is_none() {
            return;
        }
        let ours = self.terms.model.computed_cost(&self.terms.book, &charged.usage);
        if ours != Ok(charged.provider_cost) {
            gateway.metrics.bill_mismatch.increment(1);
            let (ours, theirs) = (ours.map_or(0, |cost| cost.0), charged.provider_cost.0);
            tracing::warn!(request = %self.id(), model = %self.terms.model.id, ours, theirs,
                "the provider's bill is not what the price book says");
        }
    }
}

/// The one that has to settle a request: dropping it settles what was seen, on every way out.
#[derive(Debug)]
pub struct Open {
    gateway: Arc<Gateway>,
    live: Arc<Live>,
}

impl Open {
    /// Enters a request into the table of running ones.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, live: Live) -> Self {
        let live = Arc::new(live);
        gateway.running.enter(&live);
        gateway.metrics.open_streams.increment(1.0);
        Self { gateway, live }
    }

    /// The request.
    #[must_use]
    pub const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The gateway.
    #[must_use]
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Settles, or releases where there is nothing to charge. Once: a later call finds it done.
    ///
    /// # Errors
    /// [`Unsettled`] when the store does not take it in time; it stays queued.
    pub fn settle(
        &self,
        charged: Option<Box<Charged>>,
    ) -> impl Future<Output = Result<Receipt, Unsettled>> + Send + 'static {
        let first = !self.live.ended.swap(true, Ordering::AcqRel);
        let (gateway, live) = (Arc::clone(&self.gateway), Arc::clone(&self.live));
        async move { if first { end(gateway, live, charged).await } else { Err(Unsettled) } }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.live.ended.load(Ordering::Acquire) {
            let charged = self.live.charged(Status::UpstreamCut, Basis::Estimated);
            tokio::spawn(self.settle(charged));
        }
    }
}

async fn end(
    gateway: Arc<Gateway>,
    live: Arc<Live>,
    charged: Option<Box<Charged>>,
) -> Result<Receipt, Unsettled> {
    let request = live.id();
    let wait = gateway.config.times.settle_wait;
    let started = Instant::now();
    let mut asking = Box::pin(ask_end(Arc::clone(&gateway), Arc::clone(&live), charged));
    let asked = tokio::time::timeout(wait, &mut asking).await;
    gateway.metrics.settle_wait.record(started.elapsed().as_secs_f64());
    match asked {
        Ok(Ok(receipt)) => Ok(receipt),
        Ok(Err(error)) => {
            tracing::error!(%request, %error, "a settlement failed");
            Err(Unsettled)
        }
        Err(_) => {
            gateway.metrics.settle_late.increment(1);
            tracing::error!(%request, "a settlement is late; it stays queued");
            tokio::spawn(asking);
            Err(Unsettled)
        }
    }
}

async fn ask_end(
    gateway: Arc<Gateway>,
    live: Arc<Live>,
    charged: Option<Box<Charged>>,
) -> Result<Receipt, AskError> {
    let request = live.id();
    let by = SettledBy::Request;
    let command = match charged {
        Some(charged) => {
            live.check_bill(&gateway, &charged);
            gateway.metrics.settled.increment(1);
            if charged.total() > live.terms.hold.amount {
                gateway.metrics.overdrafts.increment(1);
                let (cost, hold) = (charged.total(), live.terms.hold.amount);
                tracing::warn!(%request, %cost, %hold, "a request cost more than its hold");
            }
            Command::Settle { charged, by, at: gateway.system.now() }
        }
        None => {
            gateway.metrics.holds_released.increment(1);
            Command::Release { request, by }
        }
    };
    // A settlement that was given up would be a refund.
    let answer = gateway.system.insist(live.terms.account, command).await;
    gateway.running.leave(request);
    gateway.metrics.open_streams.decrement(1.0);
    let answer = answer?;
    let charge = match answer.done {
        Done::Settled(outcome) => {
            let owner = (live.terms.account, live.terms.hold.partner);
            checkout::left(&gateway, owner, answer.balance.minus(answer.held));
            outcome.total()
        }
        Done::Placed(_) | Done::Renewed | Done::Moved => Credits::ZERO,
    };
    Ok(Receipt { charge, balance: answer.balance })
}
