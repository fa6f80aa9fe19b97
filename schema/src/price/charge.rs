//! What a request costs and what it can cost at most: one sum for both.

use super::book::PriceBook;
use super::model::{Model, Provider};
use super::row::{Fees, ONE, Rates};
use crate::{Credits, PicoUsd, ReferralRate, Tier, ToolCalls, Usage};

/// Pico-dollars in one of xAI's ticks (10⁻¹⁰ USD).
const PICO_PER_TICK: u64 = 100;

/// The dearest way in which a request asks for its prompt to be cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheClass {
    /// Not at all. A provider that caches unasked may still bill its usual write.
    #[default]
    None,
    /// For five minutes.
    FiveMinutes,
    /// For an hour (or five minutes).
    OneHour,
}

/// The bounds of a request: the most that its usage can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The most input tokens, all classes together.
    pub input: u64,
    /// The most output tokens, reasoning included.
    pub output: u64,
    /// How the prompt may be written to a cache.
    pub cache: CacheClass,
    /// Whether the prompt carries audio, which some models price apart.
    pub audio: bool,
    /// All tiers that the answer may report. None means the standard one.
    pub tiers: Vec<Tier>,
    /// Whether the answer may be inferred in a place that costs more (`inference_geo: us`).
    pub geo: bool,
    /// The most calls of the provider's own tools.
    pub tool_calls: ToolCalls,
    /// Further passes: the model's id in the provider's API (`None`: this one), input, output.
    pub passes: Vec<(Option<String>, u64, u64)>,
}

/// What a request costs: the provider's price, and the partner's share on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The provider's cost before rounding.
    pub provider_cost: PicoUsd,
    /// The provider's cost, rounded up.
    pub cost: Credits,
    /// The partner's share, rounded down.
    pub share: Credits,
}

impl Charge {
    /// A cost and the share on top of it.
    #[must_use]
    pub fn new(provider_cost: PicoUsd, rate: ReferralRate) -> Self {
        let cost = provider_cost.to_credits();
        Self { provider_cost, cost, share: rate.share(cost) }
    }

    /// What the user pays: cost + share, exactly.
    #[must_use]
    pub const fn total(&self) -> Credits {
        // A cost in pico-dollars fits 64 bits, so one and a half times its microcredits do.
        self.cost.plus(self.share)
    }
}

/// A price that cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The sum is beyond 2⁶³ pico-dollars (about nine million dollars).
    #[error("the cost is too large to count")]
    TooLarge,
}

impl Model {
    /// What the provider bills: its own bill where the answer carries one (xAI), else our sum.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`].
    pub fn cost(&self, book: &PriceBook, usage: &Usage) -> Result<PicoUsd, PriceError> {
        let Some(ticks) = usage.cost_ticks.filter(|_| self.provider == Provider::XAi) else {
            return self.computed_cost(book, usage);
        };
        let pico = ticks.checked_mul(PICO_PER_TICK).and_then(|pico| i64::try_from(pico).ok());
        pico.map(PicoUsd).ok_or(PriceError::TooLarge)
    }

    /// Our own sum, whatever bill the answer carries.
    ///
    /// A pass of a model that the book lacks is priced as this one. A pass tells no place and, on
    /// this model, no tier of its own: the request's hold. Passes within passes don't exist.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`].
    pub fn computed_cost(&self, book: &PriceBook, usage: &Usage) -> Result<PicoUsd, PriceError> {
        let in_us = is_us(usage);
        let rates = self.tariff(usage.tier).at(usage.total_input());
        let mut bill = Bill::default();
        bill.add(&rates, &self.fees, self.multiplier(in_us), usage)?;
        for (id, pass) in &usage.passes {
            let model = self.pass_model(book, id.as_deref());
            let told = pass.tier != Tier::Standard || model.id != self.id;
            let tier = if told { pass.tier } else { usage.tier };
            let rates = model.tariff(tier).at(pass.total_input());
            let multiplier = model.multiplier(in_us || is_us(pass));
            bill.add(&rates, &model.fees, multiplier, pass)?;
        }
        bill.total()
    }

    /// What the user pays for a request.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`].
    pub fn charge(
        &self,
        book: &PriceBook,
        usage: &Usage,
        rate: ReferralRate,
    ) -> Result<Charge, PriceError> {
        Ok(Charge::new(self.cost(book, usage)?, rate))
    }

    /// The most that the user can pay for a request within these bounds: the charge of all its
    /// input and output, by the same sum, at the dearest prices that they can reach.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`].
    pub fn quote(
        &self,
        book: &PriceBook,
        demand: &Demand,
        rate: ReferralRate,
    ) -> Result<Charge, PriceError> {
        self.quote_output(book, demand, demand.output, rate)
    }

    /// The most output tokens, whatever the demand says of them, whose quote the budget covers;
    /// 0 if it covers none. The model's own maximum does not bound it: `n` answers multiply that.
    #[must_use]
    pub fn affordable_output(
        &self,
        book: &PriceBook,
        demand: &Demand,
        rate: ReferralRate,
        budget: Credits,
    ) -> u64 {
        let covered = |output| {
            let quote = self.quote_output(book, demand, output, rate);
            quote.is_ok_and(|quote| quote.total() <= budget)
        };
        // `least` is covered or 0, and nothing above `most` is.
        let (mut least, mut most) = (0, u64::MAX);
        while least < most {
            let middle = most - (most - least) / 2;
            if covered(middle) {
                least = middle;
            } else {
                most = middle - 1;
            }
        }
        least
    }

    fn quote_output(
        &self,
        book: &PriceBook,
        demand: &Demand,
        output: u64,
        rate: ReferralRate,
    ) -> Result<Charge, PriceError> {
        let mut bill = Bill::default();
        let tool_calls = demand.tool_calls;
        let most = Usage { input: demand.input, output, tool_calls, ..Usage::default() };
        let rates = self.dearest(demand, demand.input, false);
        bill.add(&rates, &self.fees, self.multiplier(demand.geo), &most)?;
        for (id, input, output) in &demand.passes {
            let model = self.pass_model(book, id.as_deref());
            let most = Usage { input: *input, output: *output, ..Usage::default() };
            let rates = model.dearest(demand, *input, true);
            bill.add(&rates, &model.fees, model.multiplier(demand.geo), &most)?;
        }
        Ok(Charge::new(bill.total()?, rate))
    }

    /// The dearest prices within a demand, with `input` the dearest of all input classes and
    /// `output` of all output classes. A pass may always be on the standard tier.
    fn dearest(&self, demand: &Demand, input: u64, is_pass: bool) -> Rates {
        let standard = is_pass || demand.tiers.is_empty();
        let tiers = standard.then_some(Tier::Standard).into_iter();
        let tiers = tiers.chain(demand.tiers.iter().copied());
        let reached = tiers.map(|tier| self.tariff(tier).dearest_up_to(input));
        let rates = reached.fold(self.hold.unwrap_or_default(), Rates::dearer);
        let written = match (demand.cache, self.provider) {
            (CacheClass::OneHour, _) => rates.cache_write_1h.max(rates.cache_write_5m),
            (CacheClass::FiveMinutes, _) => rates.cache_write_5m,
            (CacheClass::None, Provider::Anthropic) => 0,
            // These cache unasked, and some bill the write.
            (CacheClass::None, Provider::OpenAi | Provider::Google | Provider::XAi) => {
                rates.cache_write_5m
            }
        };
        let audio = if demand.audio { rates.input_audio.max(rates.cache_read_audio) } else { 0 };
        let input = rates.input.max(rates.cache_read).max(written).max(audio);
        let output = rates.output.max(rates.output_audio).max(rates.output_image);
        Rates { input, output, ..rates }
    }

    fn pass_model<'a>(&'a self, book: &'a PriceBook, id: Option<&str>) -> &'a Self {
        let other = id.filter(|id| *id != self.upstream_id);
        let other = other.and_then(|id| book.model(&format!("{}/{id}", self.provider)));
        other.map_or(self, AsRef::as_ref)
    }

    fn multiplier(&self, in_us: bool) -> u32 {
        self.geo_multiplier.filter(|_| in_us).unwrap_or(ONE)
    }
}

fn is_us(usage: &Usage) -> bool {
    usage.geo.as_deref() == Some("us")
}

/// A running sum in basis points of a pico-dollar, so that a multiplier needs no rounding.
#[derive(Default)]
struct Bill(i128);

impl Bill {
    /// Adds tokens at these rates times the multiplier, and tool calls at their fees: the one
    /// place where usage meets prices.
    fn add(
        &mut self,
        rates: &Rates,
        fees: &Fees,
        multiplier: u32,
        usage: &Usage,
    ) -> Result<(), PriceError> {
        // Audio and image tokens are part of the output and can't be more.
        let audio = usage.output_audio.min(usage.output);
        let image = usage.output_image.min(usage.output - audio);
        let tokens = [
            (usage.input, rates.input),
            (usage.cache_read, rates.cache_read),
            (usage.cache_write_5m, rates.cache_write_5m),
            (usage.cache_write_1h, rates.cache_write_1h),
            (usage.input_audio, rates.input_audio),
            (usage.cache_read_audio, rates.cache_read_audio),
            (usage.output - audio - image, rates.output),
            (audio, rates.output_audio),
            (image, rates.output_image),
        ];
        let calls = &usage.tool_calls;
        let fees = [
            (calls.web_search, fees.web_search.unwrap_or(0)),
            (calls.x_search, fees.x_search.unwrap_or(0)),
            (calls.code_execution, fees.code_execution.unwrap_or(0)),
            (calls.file_search, fees.file_search.unwrap_or(0)),
        ];
        self.add_all(&tokens, multiplier)?;
        self.add_all(&fees, ONE)
    }

    fn add_all(&mut self, counts: &[(u64, u64)], multiplier: u32) -> Result<(), PriceError> {
        for (count, price) in counts {
            let priced = i128::from(*count).checked_mul(i128::from(*price));
            let priced = priced.and_then(|pico| pico.checked_mul(i128::from(multiplier)));
            let sum = priced.and_then(|priced| self.0.checked_add(priced));
            self.0 = sum.ok_or(PriceError::TooLarge)?;
        }
        Ok(())
    }

    /// The sum in pico-dollars, a started one whole: the rounding up to a microcredit that follows
    /// comes to the same with it as without it.
    fn total(self) -> Result<PicoUsd, PriceError> {
        let one = i128::from(ONE);
        let pico = self.0 / one + i128::from(self.0 % one > 0);
        i64::try_from(pico).map(PicoUsd).map_err(|_| PriceError::TooLarge)
    }
}
