//! Placing the hold: the most that a request can cost, or what the account covers of it.

use std::sync::Arc;

use opencredits_actors::{AskError, Done};
use opencredits_schema::{
    AccountId, Command, Credits, Demand, Hold, Limit, Model, Partner, Place, PriceBook, Provider,
    ReferralRate, Refusal, RequestId, SettledBy, Shortfall,
};
use opencredits_wire::{Edits, OutputDemand, Request};

use crate::auth::Caller;
use crate::checkout;
use crate::error::{ApiError, ErrorCode, LimitedBy, Shortage};
use crate::gateway::Gateway;

/// The coarse bound of the input is good enough where its price is at most this part of what is
/// available (`providers.md` 4.3).
const CHEAP_PART: i64 = 8;

/// Bodies above this are counted off the reactor: a tokenizer takes a millisecond for 20 kB.
const COUNT_INLINE_MAX: usize = 16 << 10;

/// The least thinking budget that Anthropic takes.
const BUDGET_MIN: u64 = 1024;

/// A hold, and what has to be lowered for it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The hold.
    pub hold: Hold,
    /// What is sent upstream lower than asked.
    pub edits: Edits,
    /// The web searches that OpenAI's chat bills per answer and does not tell in its usage.
    pub searches: u64,
}

/// A placement that is being asked for. A client that goes away before the answer leaves nobody
/// who would settle: dropping this releases what was placed.
#[derive(Debug)]
pub struct Asked {
    gateway: Arc<Gateway>,
    account: AccountId,
    request: RequestId,
    answered: bool,
}

impl Asked {
    /// A placement that is asked for from now on.
    #[must_use]
    pub fn new(gateway: &Arc<Gateway>, account: AccountId, request: RequestId) -> Self {
        Self { gateway: Arc::clone(gateway), account, request, answered: false }
    }

    /// The answer has come; `known` unless it is that the outcome is unknown.
    pub fn answered(mut self, known: bool) {
        self.answered = known;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let (gateway, account, request) = (Arc::clone(&self.gateway), self.account, self.request);
        let command = Command::Release { request, by: SettledBy::Request };
        tokio::spawn(async move {
            // Refused where nothing was placed.
            gateway.system.ask(account, command).await.ok();
        });
    }
}

/// What a hold is placed for.
#[derive(Debug)]
pub struct Wish<'a> {
    /// The request's name.
    pub id: RequestId,
    /// Who pays.
    pub caller: &'a Caller,
    /// Who earns.
    pub partner: &'a Partner,
    /// The request.
    pub request: &'a Arc<Request>,
    /// Its model.
    pub model: &'a Arc<Model>,
    /// The prices.
    pub book: &'a PriceBook,
}

impl Wish<'_> {
    /// Places the hold. Nearly all requests are done with the coarse bound; who could not pay that
    /// is counted exactly, and then has the output limit lowered to what is covered.
    ///
    /// # Errors
    /// 402 that says what is missing; 400; 429 for too many holds; 503.
    pub async fn place(&self, gateway: &Gateway) -> Result<Placed, ApiError> {
        let output = self.request.output(self.model);
        let coarse = self.demand(self.request.input_cheap(self.model))?;
        let wished = self.quote(&coarse, output.billable(output.limit))?;
        let input = self.quote(&coarse, 0)?.micro().saturating_mul(CHEAP_PART);
        let place = self.wish(gateway, wished, wished, Credits::from_micro(input));
        match gateway.system.ask(self.caller.key.account, place).await {
            Ok(answer) => self.placed(gateway, &output, &coarse, wished, answer.done),
            Err(AskError::Refused(Refusal::InsufficientCredits(_))) => {
                self.place_exactly(gateway, &output).await
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn place_exactly(
        &self,
        gateway: &Gateway,
        output: &OutputDemand,
    ) -> Result<Placed, ApiError> {
        let exact = self.demand(self.count().await?)?;
        let wished = self.quote(&exact, output.billable(output.limit))?;
        let least = self.quote(&exact, output.billable(output.floor_lowered_budget))?.min(wished);
        let place = self.wish(gateway, wished, least, Credits::ZERO);
        match gateway.system.ask(self.caller.key.account, place).await {
            Ok(answer) => self.placed(gateway, output, &exact, wished, answer.done),
            Err(AskError::Refused(Refusal::InsufficientCredits(shortfall))) => {
                gateway.metrics.holds_refused.increment(1);
                // Money does not help against a limit of the key's own.
                if shortfall.limit != Limit::Key {
                    let owner = (self.caller.key.account, self.partner.id);
                    checkout::left(gateway, owner, shortfall.coverable);
                }
                Err(self.short(output, &exact, shortfall))
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn count(&self) -> Result<u64, ApiError> {
        if self.request.body().len() <= COUNT_INLINE_MAX {
            return Ok(self.request.input_exact(self.model));
        }
        let (request, model) = (Arc::clone(self.request), Arc::clone(self.model));
        let counting = tokio::task::spawn_blocking(move || request.input_exact(&model));
        counting.await.map_err(ApiError::internal)
    }

    fn demand(&self, input: u64) -> Result<Demand, ApiError> {
        Ok(self.request.demand(self.model, input)?)
    }

    fn rate(&self) -> ReferralRate {
        self.partner.referral_rate
    }

    fn quote(&self, demand: &Demand, output: u64) -> Result<Credits, ApiError> {
        let demand = Demand { output, ..demand.clone() };
        let quote = self.model.quote(self.book, &demand, self.rate());
        let quote = quote.map_err(|error| ApiError::invalid_request(error.to_string()))?;
        // A free model is held for as well: a hold is what makes a request one.
        Ok(quote.total().max(Credits::from_micro(1)))
    }

    fn wish(
        &self,
        gateway: &Gateway,
        amount: Credits,
        least: Credits,
        headroom: Credits,
    ) -> Command {
        let lease = gateway.system.hold_lease().as_millis();
        let lease = i64::try_from(lease).unwrap_or(i64::MAX);
        Command::Place(Place {
            request: self.id,
            key: self.caller.key.id,
            partner: self.partner.id,
            amount,
            least,
            headroom,
            key_limit: self.caller.key.spend_limit,
            partner_extra: self.caller.partner_extra,
            holds_max: gateway.config.inside.holds_per_account,
            expires_at: gateway.system.now().plus_millis(lease),
            resumed: false,
        })
    }

    fn placed(
        &self,
        gateway: &Gateway,
        output: &OutputDemand,
        demand: &Demand,
        wished: Credits,
        done: Done,
    ) -> Result<Placed, ApiError> {
        let Done::Placed(hold) = done else {
            return Err(ApiError::internal("a placement was answered as something else"));
        };
        gateway.metrics.holds_placed.increment(1);
        let mut edits = Edits::default();
        if hold.amount < wished {
            let limit = output.limit_within(self.affordable(demand, hold.amount));
            edits.max_tokens = Some(limit);
            edits.thinking_budget = output
                .thinking_budget
                .filter(|budget| budget.saturating_add(BUDGET_MIN) > limit)
                .map(|budget| budget.min(limit.saturating_sub(BUDGET_MIN).max(BUDGET_MIN)));
        }
        let untold = self.model.provider == Provider::OpenAi;
        let searches = if untold { demand.tool_calls.web_search } else { 0 };
        Ok(Placed { hold, edits, searches })
    }

    fn affordable(&self, demand: &Demand, budget: Credits) -> u64 {
        self.model.affordable_output(self.book, demand, self.rate(), budget)
    }

    fn short(&self, output: &OutputDemand, demand: &Demand, shortfall: Shortfall) -> ApiError {
        let Shortfall { required, coverable, held, limit, .. } = shortfall;
        ApiError::insufficient_credits(&Shortage {
            required,
            available: coverable,
            held,
            affordable_output: output.limit_within(self.affordable(demand, coverable)),
            limit: match limit {
                Limit::Balance => LimitedBy::Balance,
                Limit::Key => LimitedBy::Key,
                Limit::Partner => LimitedBy::Partner,
            },
            waiting_helps: held.is_positive() && coverable.plus(held) >= required,
        })
    }
}

fn refused(error: AskError) -> ApiError {
    match error {
        AskError::Refused(Refusal::TooManyHolds(holds)) => ApiError::new(
            ErrorCode::RateLimited,
            format!("{holds} requests of this account run already. Wait for one to end."),
        ),
        AskError::Refused(refusal) => ApiError::internal(refusal),
        error @ (AskError::NoAccount
        | AskError::Lost
        | AskError::Moving
        | AskError::Unavailable(_)) => error.into(),
    }
}
