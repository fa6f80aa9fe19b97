//! What an answer says that it used, read from the provider's words into disjoint classes
//! (`providers.md` 1 and 2.1).

mod anthropic;
mod google;
mod node;
mod openai;
mod xai;

#[cfg(test)]
mod tests;

use opencredits_schema::{Provider, Tier, Usage};
use serde::Deserialize;

pub(crate) use anthropic::AnthropicUsage;
pub(crate) use google::GoogleUsage;
pub(crate) use node::Node;

use crate::Dialect;

/// The usage that a whole JSON answer tells. `None`: it tells none, which is never zero; an
/// explicit zero is zero.
#[must_use]
pub fn usage_of_body(provider: Provider, dialect: Dialect, body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        usage: Option<Node<'a>>,
        #[serde(borrow)]
        service_tier: Option<Node<'a>>,
        #[serde(borrow, rename = "usageMetadata")]
        usage_metadata: Option<Node<'a>>,
    }
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    if let (Provider::Google, Some(metadata)) = (provider, &body.usage_metadata) {
        let mut google = GoogleUsage::default();
        google.merge(metadata);
        return google.usage();
    }
    let usage = body.usage?;
    match dialect {
        Dialect::ChatCompletions | Dialect::Responses | Dialect::GenerateContent => {
            let mut read = chat(provider, &usage)?;
            read.tier = body.service_tier.as_ref().and_then(tier).unwrap_or(read.tier);
            Some(read)
        }
        Dialect::Messages => {
            let mut anthropic = AnthropicUsage::default();
            anthropic.merge(&usage);
            anthropic.usage()
        }
    }
}

/// The `usage` object of OpenAI's dialect, as this provider means it.
pub(crate) fn chat(provider: Provider, usage: &Node<'_>) -> Option<Usage> {
    match provider {
        Provider::XAi => xai::usage(usage),
        Provider::OpenAi | Provider::Google | Provider::Anthropic => openai::usage(usage),
    }
}

/// The tier that a provider's word means; a word of tomorrow is no word.
pub(crate) fn tier(word: &Node<'_>) -> Option<Tier> {
    let word = word.as_word()?.to_ascii_lowercase();
    match word.strip_prefix("service_tier_").unwrap_or(&word) {
        // OpenAI's `scale` is committed capacity, which no list price tells.
        "default" | "standard" | "scale" => Some(Tier::Standard),
        "flex" => Some(Tier::Flex),
        "priority" => Some(Tier::Priority),
        "fast" => Some(Tier::Fast),
        "batch" => Some(Tier::Batch),
        _ => None,
    }
}

/// The count at a path. `null` and what is no count are absent.
fn count(value: &Node<'_>, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(value, |value, key| value.get(key))?.as_count()
}

/// A part of a whole, taken out of what is left of it: parts never sum to more than the whole.
fn take(left: &mut u64, part: Option<u64>) -> u64 {
    let part = part.unwrap_or(0).min(*left);
    *left -= part;
    part
}
