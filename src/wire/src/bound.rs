//! How many input tokens a request can have, counted before it is sent.
//!
//! Three numbers for three purposes: a hard bound from bytes that costs nothing, a close bound by
//! tokenizer for who could not pay the first, and an estimate for the checkpoint of a running
//! request. Media are cut out of the text and priced by formula in all of them.

use opencredits_schema::{Model, Provider};

mod media;
mod text;

pub(crate) use media::{Detail, Media};
pub(crate) use text::count_escaped;
pub use text::count_tokens;

use crate::request::Request;

/// Tokens of a tool's instructions that the provider adds to the prompt.
const SERVER_TOOL_TOKENS: u64 = 3_000;
/// Tokens of one result of a provider's own tool.
const TOOL_RESULT_TOKENS: u64 = 10_000;

impl Request {
    /// A bound that no tokenizer is needed for: a token is at least a byte of text.
    #[must_use]
    pub fn input_cheap(&self, model: &Model) -> u64 {
        let text = self.text_bytes().saturating_add(hidden(self, model.provider));
        self.bound(model, text)
    }

    /// A close bound: the text counted by the o200k tokenizer, times what the provider's own was
    /// measured to count more, plus a reserve. About a millisecond for 20 kB; the first call loads
    /// the tokenizer (65 ms, 66 MB).
    #[must_use]
    pub fn input_exact(&self, model: &Model) -> u64 {
        let cuts = self.media().iter().filter_map(Media::cut);
        let tokens = text::count(self.text(), cuts);
        let tokens = tokens.saturating_mul(percent(model)).div_ceil(100);
        // Counting cannot be worse than counting bytes.
        let tokens = tokens.min(self.text_bytes());
        self.bound(model, tokens.saturating_add(hidden(self, model.provider)))
    }

    /// What the input likely is, for a running request's checkpoint: neither bound nor count.
    #[must_use]
    pub fn input_estimate(&self, model: &Model) -> u64 {
        let text = self.text_bytes() / 4;
        let text = text.saturating_add(hidden(self, model.provider));
        text.saturating_add(self.media_tokens(model)).min(model.max_input_tokens)
    }

    /// The bytes of the body that are text: all but the data of media.
    fn text_bytes(&self) -> u64 {
        let media = self.media().iter().filter_map(Media::cut).map(|cut| cut.len());
        let media = media.fold(0, usize::saturating_add);
        u64::try_from(self.body().len().saturating_sub(media)).unwrap_or(u64::MAX)
    }

    /// What the media likely or at most cost, in tokens (`providers.md` 4.4).
    #[must_use]
    pub fn media_tokens(&self, model: &Model) -> u64 {
        let each = self.media().iter().map(|media| media.tokens(model));
        each.fold(0, u64::saturating_add)
    }

    fn bound(&self, model: &Model, text: u64) -> u64 {
        // The provider itself refuses a longer prompt. What its own tools add is no part of that
        // prompt: it is billed for each of their rounds.
        let sent = text.saturating_add(self.media_tokens(model)).min(model.max_input_tokens);
        let (declared, uses) = self.server_tools();
        let declared = declared.saturating_mul(SERVER_TOOL_TOKENS);
        let results = uses.saturating_mul(TOOL_RESULT_TOKENS);
        sent.saturating_add(declared).saturating_add(results)
    }
}

/// The provider's own prompt around the request (`providers.md` 4.1).
fn hidden(request: &Request, provider: Provider) -> u64 {
    let (base, tools) = match provider {
        Provider::OpenAi | Provider::Google => (64, 64),
        Provider::Anthropic => (64, 640),
        Provider::XAi => (256, 320),
    };
    if request.has_tools() { base + tools } else { base }
}

/// The provider's tokens for a hundred of o200k, with a reserve (`providers.md` 4.3).
fn percent(model: &Model) -> u64 {
    match model.provider {
        Provider::OpenAi => 105,
        Provider::Google => 115,
        Provider::XAi => 140,
        Provider::Anthropic if is_recent_claude(model) => 150,
        Provider::Anthropic => 125,
    }
}

/// Whether a Claude is of 4.7 or later: a new tokenizer and larger images. Without a version in
/// its name it counts as recent, which is the dearer guess.
pub(crate) fn is_recent_claude(model: &Model) -> bool {
    let mut version = model.upstream_id.split(['-', '.']).filter(|part| part.len() <= 2);
    let mut next = || version.find_map(|part| part.parse::<u64>().ok());
    match (next(), next()) {
        (None, _) => true,
        (Some(major), minor) => (major, minor.unwrap_or(0)) >= (4, 7),
    }
}

#[cfg(test)]
mod tests;
