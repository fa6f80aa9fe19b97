//! A model of the catalogue: whose it is, what it can take, what of it has a price.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use super::row::{Fees, Rates, Tariff};
use crate::Tier;

/// Who runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// Anthropic.
    Anthropic,
    /// OpenAI.
    OpenAi,
    /// Google.
    Google,
    /// xAI.
    XAi,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::OpenAi, Self::Google, Self::XAi];

    /// The name before the slash of a model's id.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Google => "google",
            Self::XAi => "xai",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = ParseProviderError;

    fn from_str(text: &str) -> Result<Self, ParseProviderError> {
        let found = Self::ALL.into_iter().find(|provider| provider.as_str() == text);
        found.ok_or_else(|| ParseProviderError(text.chars().take(40).collect()))
    }
}

/// A text that names no provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not anthropic, openai, google or xai")]
pub struct ParseProviderError(String);

/// Where the provider serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// On its chat endpoint (and on `/v1/responses`, where the provider has one).
    Chat,
    /// On `/v1/responses` only.
    ResponsesOnly,
}

/// Whether the provider still serves a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelStatus {
    /// It does.
    Current,
    /// It does not; the price is the last known.
    Retired {
        /// The day it ended, `YYYY-MM-DD`, if known.
        on: Option<String>,
    },
}

/// What a model can take and do, as the sources tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Features {
    /// Images.
    pub vision: bool,
    /// PDF documents.
    pub pdf: bool,
    /// Audio.
    pub audio_input: bool,
    /// Tools.
    pub tools: bool,
    /// Several tool calls in one turn.
    pub parallel_tools: bool,
    /// A forced choice of tool.
    pub tool_choice: bool,
    /// Output held to a JSON schema.
    pub json_schema: bool,
    /// Reasoning, which is billed as output.
    pub reasoning: bool,
    /// Thinking whose length the model chooses (Anthropic).
    pub adaptive_thinking: bool,
    /// An answer begun by the caller (Anthropic).
    pub assistant_prefill: bool,
    /// Prompt caching.
    pub prompt_caching: bool,
    /// The provider's own web search.
    pub web_search: bool,
}

/// A provider's own tool that can cost a fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTool {
    /// Searches of the web.
    WebSearch,
    /// Searches of X (xAI).
    XSearch,
    /// Runs of provider-side code.
    CodeExecution,
    /// Searches of files.
    FileSearch,
    /// Fetches of web pages.
    WebFetch,
}

/// A model: facts for the catalogue, and prices. Frozen by its `Arc` while a request runs.
#[derive(Debug)]
pub struct Model {
    /// The id in this API: `anthropic/claude-opus-5-5`.
    pub id: Arc<str>,
    /// Who runs it.
    pub provider: Provider,
    /// The id in the provider's API.
    pub upstream_id: String,
    /// A name to show.
    pub name: String,
    /// Tokens of prompt and answer together.
    pub context_window: u64,
    /// The longest prompt, in tokens.
    pub max_input_tokens: u64,
    /// The longest answer, in tokens.
    pub max_output_tokens: u64,
    /// The shortest prompt that is cached, in tokens, if known.
    pub prompt_cache_min_tokens: Option<u64>,
    /// Where it is served.
    pub endpoint: Endpoint,
    /// What it can take and do.
    pub features: Features,
    /// Whether it is still served.
    pub status: ModelStatus,
    /// The content id of its price row: 16 hex digits of SHA-256 over the canonical JSON.
    pub price_id: Arc<str>,
    /// The canonical JSON of its price row.
    pub price_row: Arc<str>,
    pub(super) standard: Tariff,
    pub(super) tiers: Vec<(Tier, Tariff)>,
    pub(super) fees: Fees,
    pub(super) geo_multiplier: Option<u32>,
    pub(super) hold: Option<Rates>,
}

impl Model {
    /// Whether the provider no longer serves it.
    #[must_use]
    pub const fn is_retired(&self) -> bool {
        matches!(self.status, ModelStatus::Retired { .. })
    }

    /// Whether the book knows what a request on this tier costs. An answer that reports another
    /// tier is charged as standard; a request that asks for one is to be refused.
    #[must_use]
    pub fn prices_tier(&self, tier: Tier) -> bool {
        let own = self.tiers.iter().any(|(own, _)| *own == tier);
        match tier {
            Tier::Standard => true,
            // Committed capacity: the tokens are billed at the standard prices.
            Tier::Priority => own || self.provider == Provider::Anthropic,
            Tier::Flex | Tier::Fast | Tier::Batch => own,
        }
    }

    /// Whether the book knows what a call of this tool costs. Calls without a price are charged
    /// nothing, so a request that allows them is to be refused.
    #[must_use]
    pub fn prices_tool(&self, tool: ServerTool) -> bool {
        match tool {
            ServerTool::WebSearch => self.fees.web_search.is_some(),
            ServerTool::XSearch => self.fees.x_search.is_some(),
            ServerTool::CodeExecution => self.fees.code_execution.is_some(),
            ServerTool::FileSearch => self.fees.file_search.is_some(),
            // Anthropic's is free beyond its tokens; nothing is known of others.
            ServerTool::WebFetch => self.provider == Provider::Anthropic,
        }
    }

    /// Whether the book knows what inference there (`inference_geo`) costs.
    #[must_use]
    pub fn prices_geo(&self, geo: &str) -> bool {
        match geo {
            "global" => true,
            "us" => self.geo_multiplier.is_some(),
            _ => false,
        }
    }

    /// The tier's own prices, or the standard ones.
    pub(super) fn tariff(&self, tier: Tier) -> &Tariff {
        let own = self.tiers.iter().find(|(own, _)| *own == tier);
        own.map_or(&self.standard, |(_, tariff)| tariff)
    }
}
