//! How much output a request can cause, and how far its limit can be lowered.

use opencredits_schema::{Model, Provider};

use super::{Dialect, Limit, Request};

/// The output limit that is sent when the caller gives none.
const DEFAULT_LIMIT: u64 = 16_384;
/// The same for models that reason.
const DEFAULT_REASONING_LIMIT: u64 = 32_768;
/// xAI's reasoning may come on top of the limit: it counts completion without it.
const XAI_REASONING_EXTRA: u64 = 32_768;
/// A limit is not lowered below this much visible output, nor a thinking budget below itself.
const FLOOR: u64 = 1_024;

/// The output that a request can cause. All in tokens, for one of its `n` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputDemand {
    /// The limit that is sent upstream unless it is lowered: the caller's or the default, at most
    /// the model's.
    pub limit: u64,
    /// How many answers are asked for; it multiplies all.
    pub n: u64,
    /// Whether the caller gave a limit.
    pub given: bool,
    /// The thinking budget that the caller gave.
    pub thinking_budget: Option<u64>,
    /// The least limit that the caller is served with.
    pub floor: u64,
    /// The same when the thinking budget is lowered to its minimum of 1,024 as well; equals
    /// `floor` when there is no larger budget.
    pub floor_lowered_budget: u64,
    /// What may be billed beyond the limit: xAI's reasoning, rejected predictions.
    pub extra_reasoning: u64,
}

impl OutputDemand {
    /// All output that can be billed when this limit is sent.
    #[must_use]
    pub fn billable(&self, limit: u64) -> u64 {
        limit.saturating_add(self.extra_reasoning).saturating_mul(self.n)
    }

    /// The largest limit whose [`OutputDemand::billable`] is within so many tokens; 0 if none is.
    #[must_use]
    pub fn limit_within(&self, tokens: u64) -> u64 {
        let each = tokens.checked_div(self.n).unwrap_or(0);
        each.saturating_sub(self.extra_reasoning).min(self.limit)
    }
}

impl Request {
    /// The output that the request can cause on this model.
    #[must_use]
    pub fn output(&self, model: &Model) -> OutputDemand {
        let given = self.given_limit();
        let default =
            if model.features.reasoning { DEFAULT_REASONING_LIMIT } else { DEFAULT_LIMIT };
        let limit = given.unwrap_or(default).min(model.max_output_tokens);
        let thinking_budget = self.thinking.budget.as_ref().map(|(budget, _)| *budget);
        let floor = thinking_budget.map_or(FLOOR, |budget| budget.saturating_add(FLOOR));
        let lowered = thinking_budget.map_or(FLOOR, |budget| budget.min(FLOOR) + FLOOR);
        let xai = model.provider == Provider::XAi && model.features.reasoning;
        let reasoning = if xai { XAI_REASONING_EXTRA } else { 0 };
        OutputDemand {
            limit,
            n: self.n,
            given: given.is_some(),
            thinking_budget,
            floor: limit.min(floor),
            floor_lowered_budget: limit.min(lowered),
            extra_reasoning: reasoning.saturating_add(self.prediction_bytes),
        }
    }

    /// The caller's limit; of two the smaller, since both will be held to it.
    fn given_limit(&self) -> Option<u64> {
        let value = |limit: &Option<Limit>| limit.as_ref().and_then(|limit| limit.value);
        let other = match self.dialect {
            Dialect::ChatCompletions => value(&self.max_completion_tokens),
            // Not a field of this dialect.
            Dialect::Messages | Dialect::Responses | Dialect::GenerateContent => None,
        };
        value(&self.max_tokens).into_iter().chain(other).min()
    }
}
