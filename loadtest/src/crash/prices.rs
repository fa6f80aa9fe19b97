//! The most that a request may cost, as its client reckons it from the public prices.

use http::Method;
use opencredits_schema::Credits;
use serde::Deserialize;

use super::ground::Ground;
use crate::receipts::exact;

/// The models that are asked: one of each provider.
const MODELS: [&str; 4] =
    ["openai/gpt-4o", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash", "xai/grok-4.3"];
/// The tokens for which prices are asked: enough to show what a single one costs, and below what
/// makes a long prompt dearer.
const TOKENS: u64 = 100_000;
/// Roundings, in microcredits.
const ROUNDED: i64 = 4;

/// The prices of each payer's partner, share included.
#[derive(Debug, Default)]
pub(super) struct Prices {
    /// By payer, then by model.
    payers: Vec<[Price; MODELS.len()]>,
}

/// What so many tokens cost.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    input: Credits,
    output: Credits,
}

#[derive(Deserialize)]
struct Answer {
    models: Vec<Estimate>,
}

#[derive(Deserialize)]
struct Estimate {
    id: String,
    #[serde(deserialize_with = "exact")]
    credits_per_request: Credits,
}

impl Prices {
    /// A model by its number.
    pub(super) fn model(number: usize) -> &'static str {
        MODELS.get(number).copied().unwrap_or_default()
    }

    /// Asks a running gateway for the prices at a partner, for its next payer; nothing is known
    /// where it does not answer.
    pub(super) async fn ask(&mut self, ground: &Ground, publishable_key: &str) {
        let mut prices = [Price::default(); MODELS.len()];
        for (input, output) in [(TOKENS, 0), (0, TOKENS)] {
            let url = format!(
                "{}/v1/credits/pricing?publishable_key={publishable_key}&models={}\
                 &input_tokens={input}&output_tokens={output}",
                ground.access.base,
                MODELS.join(",")
            );
            let asked = ground.client.send(Method::GET, &url, &[], "").await;
            let answer = asked.ok().and_then(|answer| {
                serde_json::from_slice::<Answer>(&answer.body).ok().map(|answer| answer.models)
            });
            for estimate in answer.unwrap_or_default() {
                let at = MODELS.iter().position(|model| *model == estimate.id);
                let Some(price) = at.and_then(|at| prices.get_mut(at)) else { continue };
                let part = if input > 0 { &mut price.input } else { &mut price.output };
                *part = estimate.credits_per_request;
            }
        }
        self.payers.push(prices);
    }

    /// The most that a request with so many bytes and that output limit may cost; none where the
    /// price is not known.
    pub(super) fn at_most(
        &self,
        payer: usize,
        model: usize,
        bytes: usize,
        limit: u64,
    ) -> Option<Credits> {
        let price = self.payers.get(payer)?.get(model)?;
        if price.input == Credits::ZERO || price.output == Credits::ZERO {
            return None;
        }
        let input = part(price.input, u64::try_from(bytes).ok()?);
        let output = part(price.output, limit);
        Some(input.plus(output).plus(Credits::from_micro(ROUNDED)))
    }
}

/// What so many tokens cost at the price of [`TOKENS`].
fn part(price: Credits, tokens: u64) -> Credits {
    let micro = |tokens: u64| Credits::from_micro(i64::try_from(tokens).unwrap_or(i64::MAX));
    price.portion(micro(tokens), micro(TOKENS))
}
