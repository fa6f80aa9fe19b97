//! What a request used, in disjoint classes, whatever the provider calls them.

use serde::{Deserialize, Serialize};

/// Tokens and tool calls of one request (`providers.md` 2.1). The input classes are disjoint and
/// their sum is the whole prompt; `output` is everything billed as output, reasoning included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Plain input tokens, neither read from nor written to a cache, not audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub input: u64,
    /// Input tokens read from a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Input tokens written to a cache for five minutes (OpenAI's cache writes as well).
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    /// Input tokens written to a cache for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Audio input tokens, on models that price them apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    /// Audio input tokens read from a cache, on models that price them apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_audio: u64,
    /// All tokens billed as output.
    #[serde(skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Of `output`: audio tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    /// Of `output`: image tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_image: u64,
    /// Of `output`: reasoning; told, never priced on its own.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Calls of the provider's own tools that cost a fee.
    #[serde(skip_serializing_if = "ToolCalls::is_empty")]
    pub tool_calls: ToolCalls,
    /// The tier that was really used.
    #[serde(skip_serializing_if = "Tier::is_standard")]
    pub tier: Tier,
    /// Where it was inferred, if the provider prices that (`us`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo: Option<String>,
    /// The provider's own bill in ticks of 10⁻¹⁰ USD (xAI only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_ticks: Option<u64>,
    /// Further passes billed at a model's own price: Anthropic's compaction and advisor.
    /// `None` as the model is the request's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<(Option<String>, Self)>,
}

impl Usage {
    /// The whole prompt: the sum of the input classes.
    #[must_use]
    pub fn total_input(&self) -> u64 {
        [
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.input_audio,
            self.cache_read_audio,
        ]
        .into_iter()
        .fold(self.input, u64::saturating_add)
    }
}

/// Calls of a provider's own tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolCalls {
    /// Searches of the web.
    #[serde(skip_serializing_if = "is_zero")]
    pub web_search: u64,
    /// Searches of X (xAI).
    #[serde(skip_serializing_if = "is_zero")]
    pub x_search: u64,
    /// Runs of provider-side code.
    #[serde(skip_serializing_if = "is_zero")]
    pub code_execution: u64,
    /// Searches of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub file_search: u64,
    /// Fetches of web pages; free beyond their tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub web_fetch: u64,
}

impl ToolCalls {
    /// Whether no tool was called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The service tier that a request ran on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The usual one.
    #[default]
    Standard,
    /// Cheaper and slower.
    Flex,
    /// Dearer and sooner (OpenAI, Google, Anthropic's committed capacity).
    Priority,
    /// OpenAI's `fast` tier and Anthropic's `speed: fast`.
    Fast,
    /// Half price, hours later; never asked for by the gateway.
    Batch,
}

impl Tier {
    fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// Where a settlement's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The provider's final usage.
    Provider,
    /// The provider's last running usage.
    Partial,
    /// Tokens counted on what was delivered.
    Counted,
    /// Estimated from bytes.
    Estimated,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// To its end.
    Completed,
    /// The client went away.
    ClientGone,
    /// The upstream broke off.
    UpstreamCut,
    /// A limit of the gateway ended it.
    LimitReached,
    /// Settled from a checkpoint after a crash.
    Recovered,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
