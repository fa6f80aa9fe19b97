//! One simulated answer before it takes a provider's shape: text, tool calls and counts.

use serde_json::{Map, Value, json};

use super::script::{OUTPUT_MAX, Script};

/// Chunks of a streamed answer that asks for no number of them.
const CHUNKS_USUAL: u64 = 64;
/// How deep a made-up value follows its schema.
const DEPTH_MAX: u32 = 8;
/// Words of one token each, with the space before them.
const WORDS: [&str; 10] =
    [" The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", "."];

/// What a provider module read from a request.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) model: String,
    /// The text of the last user message.
    pub(super) text: String,
    /// Bytes of all text in the prompt.
    pub(super) prompt_bytes: usize,
    pub(super) tools: Vec<Tool>,
    /// A tool is to be called: there are tools, and the last word is the user's.
    pub(super) calls: bool,
    /// What a structured answer must look like.
    pub(super) schema: Option<Value>,
    pub(super) limit: Option<u64>,
    /// The limit does not count reasoning (xAI).
    pub(super) reasoning_beside_limit: bool,
    pub(super) stream: bool,
    /// Usage is to be streamed (OpenAI's `include_usage`).
    pub(super) include_usage: bool,
    /// Reasoning is to be shown.
    pub(super) shows_reasoning: bool,
    /// The tier asked for.
    pub(super) tier: Option<String>,
    /// The media types of images, documents and sound in it.
    pub(super) media: Vec<String>,
}

/// A function that the caller offers.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
}

/// The answer, cut into the pieces in which a stream sends it.
#[derive(Debug)]
pub(super) struct Turn {
    /// Counts up over the life of the process; ids are made of it.
    pub(super) serial: u64,
    /// Unix seconds.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) parts: Vec<Part>,
    pub(super) counts: Counts,
    /// The output limit ended it.
    pub(super) limited: bool,
    /// The usage object that the script dictates.
    pub(super) usage: Option<Value>,
    pub(super) no_usage: bool,
    pub(super) no_done: bool,
    pub(super) ticks: Option<u64>,
    /// The tier asked for, if it is one that answers name.
    pub(super) tier: Option<String>,
}

/// One block of the answer.
#[derive(Debug)]
pub(super) enum Part {
    Reasoning(Vec<String>),
    Text(Vec<String>),
    Call { id: u64, name: String, pieces: Vec<String> },
}

/// Tokens, in disjoint classes but for `cached`, which is part of `input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) reasoning: u64,
}

impl Turn {
    /// The answer to a request under a script; `serial` and `created` make its ids.
    pub(super) fn new(asked: &Asked, script: &Script, serial: u64, created: u64) -> Self {
        let bodies = bodies(asked, script);
        let natural = bodies.iter().map(|body| body.tokens).sum::<u64>();
        let wanted = script.output.unwrap_or(natural);
        let limit = asked.limit.unwrap_or(u64::MAX);
        let beside = asked.reasoning_beside_limit;
        let reasoning = if beside { script.reasoning } else { script.reasoning.min(limit) };
        let room = if beside { limit } else { limit.saturating_sub(reasoning) };
        let output = wanted.min(room);
        let limited = output < wanted || reasoning < script.reasoning;

        let mut parts = Vec::new();
        if reasoning > 0 && asked.shows_reasoning {
            parts.push(Part::Reasoning(split(&words(reasoning), reasoning.min(8))));
        }
        let chunks = script.chunks.and_then(|n| u64::try_from(n).ok());
        let each = u64::try_from(bodies.len()).unwrap_or(1).max(1);
        for body in bodies {
            let count = chunks.map_or_else(|| body.tokens.min(CHUNKS_USUAL), |n| n.div_ceil(each));
            let pieces = split(kept(&body, output, wanted), count);
            parts.push(body.part(pieces, serial));
        }
        let input = tokens(asked.prompt_bytes).saturating_add(7);
        let counts = Counts { input, cached: script.cached.min(input), output, reasoning };
        Self {
            serial,
            created,
            model: asked.model.clone(),
            parts,
            counts,
            limited,
            usage: script.usage.clone(),
            no_usage: script.no_usage,
            no_done: script.no_done,
            ticks: script.ticks,
            tier: asked.tier.clone().filter(|tier| tier == "flex" || tier == "priority"),
        }
    }

    /// Whether it calls a tool.
    pub(super) fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call { .. }))
    }

    /// All visible text in one string.
    pub(super) fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(pieces) => Some(pieces.concat()),
            Part::Reasoning(_) | Part::Call { .. } => None,
        });
        texts.collect()
    }

    /// All reasoning in one string.
    pub(super) fn reasoning(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Reasoning(pieces) => Some(pieces.concat()),
            Part::Text(_) | Part::Call { .. } => None,
        });
        texts.collect()
    }

    /// The script's usage object, or the provider's own of the counts; none if usage is hidden.
    pub(super) fn usage_or(&self, own: Value) -> Option<Value> {
        if self.no_usage { None } else { Some(self.usage.clone().unwrap_or(own)) }
    }
}

/// A block that is not yet cut into pieces.
struct Body {
    text: String,
    tokens: u64,
    call: Option<(u64, String)>,
}

impl Body {
    fn part(self, pieces: Vec<String>, serial: u64) -> Part {
        match self.call {
            Some((index, name)) => {
                Part::Call { id: serial.saturating_mul(10).saturating_add(index), name, pieces }
            }
            None => Part::Text(pieces),
        }
    }
}

fn bodies(asked: &Asked, script: &Script) -> Vec<Body> {
    if let Some(calls) = &script.calls {
        let calls = calls.iter().zip(0_u64..);
        return calls.map(|((name, args), index)| call(name, args, index)).collect();
    }
    if asked.calls && script.text.is_none() {
        let many = if asked.text.contains("parallel") { 2 } else { 1 };
        let picked = asked.tools.iter().cycle().take(many).zip(0_u64..);
        return picked.map(|(tool, index)| made_up(tool, index)).collect();
    }
    if let Some(text) = script.text.clone().or_else(|| structured(asked)) {
        return vec![Body { tokens: tokens(text.len()), text, call: None }];
    }
    if !asked.media.is_empty() && script.output.is_none() && script.chunks.is_none() {
        let text = format!("I see {}.", asked.media.join(" and "));
        return vec![Body { tokens: tokens(text.len()), text, call: None }];
    }
    let chunks = script.chunks.and_then(|n| u64::try_from(n).ok());
    let count = script.output.or(chunks).unwrap_or(10).min(OUTPUT_MAX);
    vec![Body { text: words(count), tokens: count, call: None }]
}

fn made_up(tool: &Tool, index: u64) -> Body {
    call(&tool.name, &sample(&tool.schema, DEPTH_MAX), index)
}

fn call(name: &str, arguments: &Value, index: u64) -> Body {
    let text = arguments.to_string();
    let count = tokens(text.len()).saturating_add(8);
    Body { tokens: count, text, call: Some((index, name.to_owned())) }
}

fn structured(asked: &Asked) -> Option<String> {
    asked.schema.as_ref().map(|schema| sample(schema, DEPTH_MAX).to_string())
}

/// The part of a body that an output of `output` of `wanted` tokens keeps.
fn kept(body: &Body, output: u64, wanted: u64) -> &str {
    if output >= wanted || wanted == 0 {
        return &body.text;
    }
    if body.text == words(body.tokens) {
        let end = words(output).len();
        return body.text.get(..end).unwrap_or(&body.text);
    }
    let length = u64::try_from(body.text.len()).unwrap_or(u64::MAX);
    let share = u128::from(length).saturating_mul(output.into()) / u128::from(wanted);
    let end = usize::try_from(share).unwrap_or(body.text.len());
    body.text.get(..body.text.floor_char_boundary(end)).unwrap_or("")
}

/// A text of exactly so many one-token words.
fn words(count: u64) -> String {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let text: String = WORDS.iter().cycle().take(count).copied().collect();
    text.strip_prefix(' ').map(str::to_owned).unwrap_or(text)
}

/// A text in about `count` pieces of equal length, never an empty one.
fn split(text: &str, count: u64) -> Vec<String> {
    let count = usize::try_from(count.max(1)).unwrap_or(usize::MAX);
    let chars: Vec<char> = text.chars().collect();
    let count = count.min(chars.len().max(1));
    let bound = |index: usize| index.saturating_mul(chars.len()) / count;
    let pieces = (0..count).map(|index| chars.get(bound(index)..bound(index.saturating_add(1))));
    pieces.flatten().filter(|piece| !piece.is_empty()).map(|p| p.iter().collect()).collect()
}

/// A quarter of the bytes, rounded up.
fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

/// A value that a JSON schema allows, made without chance.
fn sample(schema: &Value, depth: u32) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let deeper = depth.saturating_sub(1);
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|e| e.first()) {
        return first.clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(first) = schema.get(word).and_then(Value::as_array).and_then(|a| a.first()) {
            return sample(first, deeper);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        other => other.and_then(Value::as_str),
    };
    match kind.map(str::to_lowercase).as_deref() {
        Some("string") => json!("Paris"),
        Some("integer") => json!(2),
        Some("number") => json!(2.5),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => json!([sample(schema.get("items").unwrap_or(&Value::Null), deeper)]),
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let pairs = properties.into_iter().flatten();
            Value::Object(pairs.map(|(k, v)| (k.clone(), sample(v, deeper))).collect::<Map<_, _>>())
        }
    }
}

/// The media types that a request names, in whichever dialect.
pub(super) fn media_types(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => {
            let inline = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
            inline.map(|(kind, _)| kind.to_owned()).into_iter().collect()
        }
        Value::Array(all) => all.iter().flat_map(media_types).collect(),
        Value::Object(members) => {
            let named = ["media_type", "mimeType"].iter().filter_map(|key| members.get(*key));
            let named = named.filter_map(Value::as_str).map(str::to_owned);
            named.chain(members.values().flat_map(media_types)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Bytes of all text below a value: strings under `text` or `content`, or bare ones in a list.
pub(super) fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => {
            let texts = ["text", "content", "parts", "messages", "system", "contents"];
            texts.iter().filter_map(|name| fields.get(*name)).map(text_bytes).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The text of a message's content, a string or a list of blocks.
pub(super) fn plain_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(asked: &Asked, script: &Script) -> Turn {
        Turn::new(asked, script, 1, 1_700_000_000)
    }

    #[test]
    fn a_script_sets_the_tokens_and_the_chunks() {
        let script = Script { chunks: Some(7), output: Some(50), ..Script::default() };
        let turn = turn(&Asked::default(), &script);
        assert_eq!(turn.counts, Counts { input: 7, cached: 0, output: 50, reasoning: 0 });
        assert!(matches!(&turn.parts[0], Part::Text(pieces) if pieces.len() == 7));
        assert_eq!(turn.text().split_whitespace().count(), 45); // the full stops stick to the dogs
    }

    #[test]
    fn the_output_limit_ends_text_and_reasoning() {
        let script = Script { output: Some(50), reasoning: 20, ..Script::default() };
        let asked = Asked { limit: Some(30), ..Asked::default() };
        let limited = turn(&asked, &script);
        assert!(limited.limited);
        assert_eq!((limited.counts.output, limited.counts.reasoning), (10, 20));
        assert_eq!(limited.text(), words(10));

        let beside = Asked { limit: Some(30), reasoning_beside_limit: true, ..Asked::default() };
        assert_eq!(turn(&beside, &script).counts.output, 30);
        let enough = Asked { limit: Some(70), ..Asked::default() };
        assert!(!turn(&enough, &script).limited);
    }

    #[test]
    fn tool_arguments_follow_their_schema() {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "unit": {"enum": ["c", "f"]},
            "days": {"type": ["integer", "null"]}, "tags": {"type": "array", "items": {"type": "boolean"}}}});
        let tools = vec![Tool { name: "weather".to_owned(), schema }];
        let asked = Asked { tools, calls: true, text: "parallel".to_owned(), ..Asked::default() };
        let turn = turn(&asked, &Script::default());
        assert_eq!(turn.parts.len(), 2);
        let Part::Call { name, pieces, .. } = &turn.parts[0] else { panic!("no call") };
        assert_eq!(name, "weather");
        let arguments: Value = serde_json::from_str(&pieces.concat()).unwrap();
        assert_eq!(arguments, json!({"city": "Paris", "unit": "c", "days": 2, "tags": [true]}));
    }

    #[test]
    fn text_of_any_script_is_cut_between_characters() {
        let script = Script {
            text: Some("żółw 🐢 na plaży".to_owned()),
            chunks: Some(9),
            ..Script::default()
        };
        let turn = turn(&Asked::default(), &script);
        assert_eq!(turn.text(), "żółw 🐢 na plaży");
    }
}
