//! Google's usage: told in every chunk, cumulative.

use opencredits_schema::{Tier, Usage};

use super::{Node, count, take, tier};

/// The usage of one native Gemini answer so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct GoogleUsage {
    prompt: Option<u64>,
    cached: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    tool_use: Option<u64>,
    audio: Option<u64>,
    cached_audio: Option<u64>,
    output_audio: Option<u64>,
    output_image: Option<u64>,
    tier: Option<Tier>,
}

impl GoogleUsage {
    /// Takes a chunk's `usageMetadata`: the last value of a field counts, and a chunk without the
    /// field keeps the earlier one.
    pub(crate) fn merge(&mut self, metadata: &Node<'_>) {
        let latest = |field: &mut Option<u64>, name: &str| {
            *field = count(metadata, &[name]).or(*field);
        };
        latest(&mut self.prompt, "promptTokenCount");
        latest(&mut self.cached, "cachedContentTokenCount");
        latest(&mut self.candidates, "candidatesTokenCount");
        latest(&mut self.thoughts, "thoughtsTokenCount");
        latest(&mut self.tool_use, "toolUsePromptTokenCount");
        let modality = |field: &mut Option<u64>, details: &str, name: &str, number: u64| {
            *field = of_modality(metadata.get(details), name, number).or(*field);
        };
        modality(&mut self.audio, "promptTokensDetails", "AUDIO", 4);
        modality(&mut self.cached_audio, "cacheTokensDetails", "AUDIO", 4);
        modality(&mut self.output_audio, "candidatesTokensDetails", "AUDIO", 4);
        modality(&mut self.output_image, "candidatesTokensDetails", "IMAGE", 2);
        self.tier = metadata.get("serviceTier").and_then(tier).or(self.tier);
    }

    /// What was used so far; `None` if nothing was told.
    pub(crate) fn usage(&self) -> Option<Usage> {
        if self.prompt.is_none() && self.candidates.is_none() && self.thoughts.is_none() {
            return None;
        }
        let mut input = self.prompt.unwrap_or(0);
        let mut cache_read = take(&mut input, self.cached);
        let cache_read_audio = take(&mut cache_read, self.cached_audio);
        let audio = self.audio.map(|audio| audio.saturating_sub(cache_read_audio));
        let input_audio = take(&mut input, audio);
        // Thoughts and the results of built-in tools come on top (906 of 906 recorded totals).
        let output = self.candidates.unwrap_or(0).saturating_add(self.thoughts.unwrap_or(0));
        let mut visible = self.candidates.unwrap_or(0);
        Some(Usage {
            input: input.saturating_add(self.tool_use.unwrap_or(0)),
            cache_read,
            input_audio,
            cache_read_audio,
            output,
            output_audio: take(&mut visible, self.output_audio),
            output_image: take(&mut visible, self.output_image),
            reasoning: self.thoughts.unwrap_or(0),
            tier: self.tier.unwrap_or_default(),
            ..Usage::default()
        })
    }
}

/// The tokens of a modality, which some recordings name by its number.
fn of_modality(details: Option<&Node<'_>>, name: &str, number: u64) -> Option<u64> {
    let named = |entry: &&Node<'_>| {
        let modality = entry.get("modality");
        modality.is_some_and(|told| told.as_word() == Some(name) || told.as_count() == Some(number))
    };
    count(details?.as_list()?.iter().find(named)?, &["tokenCount"])
}
