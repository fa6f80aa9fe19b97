//! Anthropic's usage: told in pieces, the last value of each field counts.

use opencredits_schema::{Tier, ToolCalls, Usage};

use super::{Node, count, take, tier};

/// The longest name of a place that is kept, in bytes.
const GEO_MAX: usize = 32;

/// The usage of one message so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnthropicUsage {
    input: Option<u64>,
    cache_creation: Option<u64>,
    ephemeral_5m: Option<u64>,
    ephemeral_1h: Option<u64>,
    cache_read: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    web_search: Option<u64>,
    web_fetch: Option<u64>,
    tier: Option<Tier>,
    fast: Option<bool>,
    geo: Option<String>,
    iterations: Option<Iterations>,
}

/// The passes of a message, where it took several.
#[derive(Clone, Debug, Default)]
struct Iterations {
    /// The passes beside the message, each with its own model, if told.
    others: Vec<(Option<String>, Usage)>,
    /// The sum of the message's own passes, if another model finished the message: then the
    /// top-level numbers are that model's, and are among the others.
    replaced: Option<Usage>,
}

impl AnthropicUsage {
    /// Takes a `usage` object: of a body, of `message_start`, of a `message_delta`. Its numbers
    /// are cumulative and replace the earlier ones; an absent or null field keeps them.
    pub(crate) fn merge(&mut self, usage: &Node<'_>) {
        let latest = |field: &mut Option<u64>, path: &[&str]| {
            *field = count(usage, path).or(*field);
        };
        latest(&mut self.input, &["input_tokens"]);
        latest(&mut self.cache_creation, &["cache_creation_input_tokens"]);
        latest(&mut self.ephemeral_5m, &["cache_creation", "ephemeral_5m_input_tokens"]);
        latest(&mut self.ephemeral_1h, &["cache_creation", "ephemeral_1h_input_tokens"]);
        latest(&mut self.cache_read, &["cache_read_input_tokens"]);
        latest(&mut self.output, &["output_tokens"]);
        latest(&mut self.thinking, &["output_tokens_details", "thinking_tokens"]);
        latest(&mut self.web_search, &["server_tool_use", "web_search_requests"]);
        latest(&mut self.web_fetch, &["server_tool_use", "web_fetch_requests"]);
        self.tier = usage.get("service_tier").and_then(tier).or(self.tier);
        let speed = usage.get("speed").and_then(Node::as_word);
        self.fast = speed.map(|speed| speed == "fast").or(self.fast);
        let geo = usage.get("inference_geo").and_then(Node::as_word);
        if let Some(geo) = geo.filter(|geo| geo.len() <= GEO_MAX) {
            self.geo = Some(geo.to_owned());
        }
        if let Some(entries) = usage.get("iterations").and_then(Node::as_list) {
            self.iterations = Some(Iterations::read(entries));
        }
    }

    /// What was used so far; `None` if nothing was told.
    pub(crate) fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let mut usage = self.tokens();
        if let Some(iterations) = &self.iterations {
            usage = iterations.replaced.clone().unwrap_or(usage);
            usage.passes.clone_from(&iterations.others);
        }
        usage.tool_calls = ToolCalls {
            web_search: self.web_search.unwrap_or(0),
            web_fetch: self.web_fetch.unwrap_or(0),
            ..ToolCalls::default()
        };
        usage.tier = self.tier.unwrap_or_default();
        if self.fast == Some(true) {
            usage.tier = Tier::Fast;
        }
        usage.geo = self.geo.clone().filter(|geo| geo != "global" && geo != "not_available");
        Some(usage)
    }

    fn tokens(&self) -> Usage {
        let split = self.ephemeral_5m.unwrap_or(0).saturating_add(self.ephemeral_1h.unwrap_or(0));
        // The total is what counts: recorded splits are missing, stale or smaller.
        let mut written = self.cache_creation.unwrap_or(split);
        let cache_write_1h = take(&mut written, self.ephemeral_1h);
        let output = self.output.unwrap_or(0);
        Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write_5m: written,
            cache_write_1h,
            output,
            reasoning: self.thinking.unwrap_or(0).min(output),
            ..Usage::default()
        }
    }
}

impl Iterations {
    /// Only passes of type `message` are in the top-level numbers (13 of 13 recorded): a
    /// compaction or an advisor is billed on top. A fallback takes the top-level numbers over.
    fn read(entries: &[Node<'_>]) -> Self {
        let mut read = Self::default();
        let mut own = Usage::default();
        let mut fell_back = false;
        for entry in entries {
            let mut pass = AnthropicUsage::default();
            pass.merge(entry);
            let pass = pass.tokens();
            let kind = entry.get("type").and_then(Node::as_word).unwrap_or("message");
            if kind == "message" {
                add(&mut own, &pass);
                continue;
            }
            fell_back |= kind == "fallback_message";
            let model = entry.get("model").and_then(Node::as_word).map(str::to_owned);
            read.others.push((model, pass));
        }
        read.replaced = fell_back.then_some(own);
        read
    }
}

fn add(sum: &mut Usage, pass: &Usage) {
    for (sum, pass) in [
        (&mut sum.input, pass.input),
        (&mut sum.cache_read, pass.cache_read),
        (&mut sum.cache_write_5m, pass.cache_write_5m),
        (&mut sum.cache_write_1h, pass.cache_write_1h),
        (&mut sum.output, pass.output),
        (&mut sum.reasoning, pass.reasoning),
    ] {
        *sum = sum.saturating_add(pass);
    }
}
