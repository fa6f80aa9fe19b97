//! OpenAI's usage, and that of all who answer in its dialect.

use opencredits_schema::Usage;

use super::{Node, count, take};

/// Reads a `usage` object of chat completions, or of responses: `prompt` and `completion` are
/// called `input` and `output` there.
pub(super) fn usage(usage: &Node<'_>) -> Option<Usage> {
    let either = |chat, responses| count(usage, &[chat]).or_else(|| count(usage, &[responses]));
    let detail = |side: [&str; 2], name: &str| {
        side.iter().find_map(|details| count(usage, &[details, name]))
    };
    let input_detail = |name| detail(["prompt_tokens_details", "input_tokens_details"], name);
    let output_detail = |name| detail(["completion_tokens_details", "output_tokens_details"], name);

    let prompt = either("prompt_tokens", "input_tokens");
    let completion = either("completion_tokens", "output_tokens");
    let total = count(usage, &["total_tokens"]);
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let completion = completion.unwrap_or(0);
    let prompt = prompt.unwrap_or_else(|| total.unwrap_or(0).saturating_sub(completion));
    let reasoning = output_detail("reasoning_tokens").unwrap_or(0);
    let output = billed_output(prompt, completion, reasoning, total);

    // The details are subsets of the prompt, disjoint from one another.
    let mut input = prompt;
    let cache_read = take(&mut input, input_detail("cached_tokens"));
    let cache_write_5m = take(&mut input, input_detail("cache_write_tokens"));
    let input_audio = take(&mut input, input_detail("audio_tokens"));
    let mut text = output;
    let output_audio = take(&mut text, output_detail("audio_tokens"));
    let output_image = take(&mut text, output_detail("image_tokens"));
    Some(Usage {
        input,
        cache_read,
        cache_write_5m,
        input_audio,
        output,
        output_audio,
        output_image,
        reasoning: reasoning.min(output),
        ..Usage::default()
    })
}

/// The output that is billed (`providers.md` 1.6): whether reasoning is inside `completion` or
/// beside it is told by the total, not by the field's name.
fn billed_output(prompt: u64, completion: u64, reasoning: u64, total: Option<u64>) -> u64 {
    let Some(total) = total else { return completion };
    let visible = prompt.saturating_add(completion);
    if visible.checked_add(reasoning) == Some(total) {
        return completion.saturating_add(reasoning);
    }
    // Gemini's compatible endpoint tells no reasoning, but its total holds it.
    if total > visible { total.saturating_sub(prompt) } else { completion }
}
