//! What a recorded answer says of itself, by a full parse of all of it: `providers.md` 1, written
//! a second time and slowly, to hold the gateway's reading against.

use opencredits_loadtest::simulators::Recording;
use opencredits_schema::{ToolCalls, Usage};
use serde_json::{Map, Value};

/// Each JSON value of the answer: the body, or the data of its events. Two files hold several
/// answers one behind the other; an answer ends with its terminal event.
fn values(recording: &Recording) -> Vec<Value> {
    let body = recording.body();
    if !recording.is_stream() {
        return serde_json::from_slice(&body).into_iter().collect();
    }
    let text = std::str::from_utf8(&body).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let values = data.filter_map(|data| serde_json::from_str::<Value>(data.trim()).ok());
    let mut ended = false;
    let first = values.take_while(|value| {
        let last = value["type"] == "message_stop" || value["type"] == "response.completed";
        let goes_on = !ended;
        ended |= last;
        goes_on
    });
    first.collect()
}

/// The model that the answer names.
pub fn model(recording: &Recording) -> Value {
    let named = |value: &Value| {
        let places = ["/model", "/message/model", "/response/model"];
        places.into_iter().find_map(|place| value.pointer(place)).cloned()
    };
    let named: Vec<Value> = values(recording).iter().filter_map(named).collect();
    named
        .into_iter()
        .find(|name| name.as_str().is_some_and(|name| !name.is_empty()))
        .unwrap_or_default()
}

/// The last usage object of the OpenAI dialects, whichever field it stands in.
pub fn bill(recording: &Recording) -> Option<Value> {
    let usage = |value: &Value| {
        let places = ["/usage", "/response/usage"];
        places.into_iter().filter_map(|place| value.pointer(place)).find(|u| u.is_object()).cloned()
    };
    values(recording).iter().filter_map(usage).next_back()
}

/// What it used; none where it does not say.
pub fn usage(recording: &Recording) -> Option<Usage> {
    match &*recording.provider {
        "anthropic" => anthropic(recording),
        "google" => google(recording),
        _ if recording.api == "responses" => bill(recording).map(|usage| responses(&usage)),
        "xai" => bill(recording).map(|usage| xai(&usage)),
        _ => {
            let mut usage = openai(&bill(recording)?);
            // Billed by the answer, which does not tell it.
            let searches = recording.model.as_ref().is_some_and(|id| id.contains("-search-"));
            usage.tool_calls.web_search = u64::from(searches);
            Some(usage)
        }
    }
}

fn count(usage: &Value, place: &str) -> u64 {
    usage.pointer(place).and_then(Value::as_u64).unwrap_or(0)
}

fn openai(usage: &Value) -> Usage {
    let input = |name: &str| count(usage, &format!("/prompt_tokens_details/{name}"));
    let output = |name: &str| count(usage, &format!("/completion_tokens_details/{name}"));
    let (cached, written) = (input("cached_tokens"), input("cache_write_tokens"));
    let audio = input("audio_tokens");
    Usage {
        input: count(usage, "/prompt_tokens") - cached - written - audio,
        cache_read: cached,
        cache_write_5m: written,
        input_audio: audio,
        output: count(usage, "/completion_tokens"),
        output_audio: output("audio_tokens"),
        reasoning: output("reasoning_tokens"),
        ..Usage::default()
    }
}

fn xai(usage: &Value) -> Usage {
    let base = openai(usage);
    // Here reasoning stands beside the completion.
    let output = base.output + base.reasoning;
    let cost_ticks = usage["cost_in_usd_ticks"].as_u64();
    Usage { output, cost_ticks, ..base }
}

/// Here reasoning is part of the output, of xAI's too.
fn responses(usage: &Value) -> Usage {
    let cached = count(usage, "/input_tokens_details/cached_tokens");
    let written = count(usage, "/input_tokens_details/cache_write_tokens");
    Usage {
        input: count(usage, "/input_tokens") - cached - written,
        cache_read: cached,
        cache_write_5m: written,
        output: count(usage, "/output_tokens"),
        reasoning: count(usage, "/output_tokens_details/reasoning_tokens"),
        cost_ticks: usage["cost_in_usd_ticks"].as_u64(),
        ..Usage::default()
    }
}

/// Cumulative, a field that a chunk leaves out keeps its value.
fn google(recording: &Recording) -> Option<Usage> {
    let chunks = values(recording).into_iter().flat_map(|value| match value {
        Value::Array(chunks) => chunks,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![value]
        }
    });
    let mut fields = Map::new();
    for chunk in chunks {
        fields.extend(chunk["usageMetadata"].as_object().cloned().into_iter().flatten());
    }
    if fields.is_empty() {
        return None;
    }
    let usage = Value::Object(fields);
    let n = |place: &str| count(&usage, place);
    let of_kind = |list: &str, kind: &str, number: u64| {
        let all = usage[list].as_array().into_iter().flatten();
        let own = all.filter(|part| part["modality"] == kind || part["modality"] == number);
        own.map(|part| count(part, "/tokenCount")).sum::<u64>()
    };
    let (cached, audio) =
        (n("/cachedContentTokenCount"), of_kind("promptTokensDetails", "AUDIO", 4));
    let cached_audio = of_kind("cacheTokensDetails", "AUDIO", 4);
    let input = n("/promptTokenCount") - cached - (audio - cached_audio);
    Some(Usage {
        input: input + n("/toolUsePromptTokenCount"),
        cache_read: cached - cached_audio,
        cache_read_audio: cached_audio,
        input_audio: audio - cached_audio,
        output: n("/candidatesTokenCount") + n("/thoughtsTokenCount"),
        output_audio: of_kind("candidatesTokensDetails", "AUDIO", 4),
        output_image: of_kind("candidatesTokensDetails", "IMAGE", 2),
        reasoning: n("/thoughtsTokenCount"),
        ..Usage::default()
    })
}

fn anthropic(recording: &Recording) -> Option<Usage> {
    let mut fields = Map::new();
    for value in values(recording) {
        let places = ["/usage", "/message/usage"];
        let told = places.into_iter().find_map(|place| value.pointer(place)?.as_object());
        // Cumulative: the last value of each field counts, and what is absent stays.
        let told = told.into_iter().flatten().filter(|(_, value)| !value.is_null());
        fields.extend(told.map(|(name, value)| (name.clone(), value.clone())));
    }
    if fields.is_empty() {
        return None;
    }
    let usage = Value::Object(fields);
    let passes: Vec<_> = usage["iterations"].as_array().into_iter().flatten().collect();
    let is_own = |pass: &&&Value| pass["type"] == "message";
    // A fallback's numbers stand at the top: then the request's own are in its passes.
    let fell_back = passes.iter().any(|pass| pass["type"] == "fallback_message");
    let mut own = if fell_back {
        let own = passes.iter().filter(is_own).map(|pass| tokens(pass));
        own.fold(Usage::default(), |sum, pass| Usage {
            input: sum.input + pass.input,
            cache_read: sum.cache_read + pass.cache_read,
            cache_write_5m: sum.cache_write_5m + pass.cache_write_5m,
            cache_write_1h: sum.cache_write_1h + pass.cache_write_1h,
            output: sum.output + pass.output,
            ..sum
        })
    } else {
        tokens(&usage)
    };
    let others = passes.iter().filter(|pass| !is_own(pass));
    let model = |pass: &Value| pass["model"].as_str().map(str::to_owned);
    own.passes = others.map(|pass| (model(pass), tokens(pass))).collect();
    own.tool_calls = ToolCalls {
        web_search: count(&usage, "/server_tool_use/web_search_requests"),
        web_fetch: count(&usage, "/server_tool_use/web_fetch_requests"),
        ..ToolCalls::default()
    };
    let tier = usage["service_tier"].as_str().unwrap_or("standard");
    assert_eq!(tier, "standard", "no recording has another tier");
    Some(own)
}

fn tokens(usage: &Value) -> Usage {
    let written = count(usage, "/cache_creation_input_tokens");
    let hour = count(usage, "/cache_creation/ephemeral_1h_input_tokens").min(written);
    Usage {
        input: count(usage, "/input_tokens"),
        cache_read: count(usage, "/cache_read_input_tokens"),
        cache_write_5m: written - hour,
        cache_write_1h: hour,
        output: count(usage, "/output_tokens"),
        reasoning: count(usage, "/output_tokens_details/thinking_tokens"),
        ..Usage::default()
    }
}
