//! Recorded and made-up streams through the meter, in any pieces.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use opencredits_schema::{Basis, Provider};
use opencredits_wire::{Delivered, Dialect, Meter, StreamEnd};
use proptest::prelude::*;
use serde_json::Value;

/// A recorded stream.
struct Recorded {
    path: String,
    provider: Provider,
    dialect: Dialect,
    body: Bytes,
}

/// What came out of a meter.
#[derive(Debug, PartialEq)]
struct Metered {
    out: Vec<u8>,
    end: StreamEnd,
    usage: Option<(u64, u64, Basis)>,
    delivered: Delivered,
}

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../loadtest/fixtures"));
    let read = |path: &str| std::fs::read(folder.join(path)).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&read("index.json")).unwrap();
    rows.iter()
        .filter_map(|row| {
            let path = row["response"].as_str()?.to_owned();
            let dialect = match row["api"].as_str()? {
                "chat.completions" => Dialect::ChatCompletions,
                "messages" => Dialect::Messages,
                "responses" => Dialect::Responses,
                "generateContent" | "streamGenerateContent" => Dialect::GenerateContent,
                _ => return None,
            };
            let provider = match row["provider"].as_str()? {
                "anthropic" => Provider::Anthropic,
                "openai" | "openrouter" => Provider::OpenAi,
                "xai" => Provider::XAi,
                "google" => Provider::Google,
                _ => return None,
            };
            // Whole bodies; a stream whose source cut its last line; one that is an error.
            let unread = [
                ".json",
                "parallel-tool-call-wrapper-1.events.jsonl",
                "openai-error-1.events.jsonl",
            ];
            let well = row["status"].as_u64().unwrap_or(200) == 200;
            if !well || unread.iter().any(|end| path.ends_with(end)) {
                return None;
            }
            let file = read(&path);
            let body = if path.ends_with(".events.jsonl") { framed(&file, dialect) } else { file };
            Some(Recorded { path, provider, dialect, body: body.into() })
        })
        .collect()
});

/// Bare payloads as the provider frames them.
fn framed(lines: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut body = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).unwrap();
        if let Some(name) = event["type"].as_str() {
            body.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        body.extend_from_slice(&[b"data: ", line, b"\n\n"].concat());
    }
    if dialect == Dialect::ChatCompletions {
        body.extend_from_slice(b"data: [DONE]\n\n");
    }
    body
}

fn meter<'a>(
    recorded: (Provider, Dialect),
    hide: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Metered {
    let mut meter = Meter::new(recorded.0, recorded.1, hide);
    let mut out = Vec::new();
    for piece in pieces {
        meter.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
    }
    let end = meter.end();
    let usage = meter.usage().map(|(usage, basis)| (usage.total_input(), usage.output, basis));
    Metered { out: out.concat(), end, usage, delivered: meter.delivered() }
}

fn whole(recorded: &Recorded, hide: bool) -> Metered {
    meter((recorded.provider, recorded.dialect), hide, std::iter::once(&recorded.body[..]))
}

fn check(provider: Provider, dialect: Dialect, stream: &str, hide: bool) -> (String, StreamEnd) {
    let metered = meter((provider, dialect), hide, std::iter::once(stream.as_bytes()));
    let singly = meter((provider, dialect), hide, stream.as_bytes().chunks(1));
    assert_eq!(metered, singly, "{stream}");
    (String::from_utf8(metered.out).unwrap(), metered.end)
}

fn complete(tail: &str) -> StreamEnd {
    StreamEnd::Complete { tail: Bytes::copy_from_slice(tail.as_bytes()) }
}

/// The payloads up to the end; some recordings go on with further answers.
fn payloads(recorded: &Recorded) -> Vec<Value> {
    let payloads: Vec<_> =
        events(&recorded.body).iter().filter_map(|event| payload(event)).collect();
    let is_end = |payload: &Value| {
        payload["type"] == "message_stop" || payload["type"] == "response.completed"
    };
    let end = payloads.iter().position(is_end).map_or(payloads.len(), |end| end + 1);
    payloads.into_iter().take(end).collect()
}

/// The events of a stream with LF, by a plain cut, each with its blank line.
fn events(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap().replace("\r\n", "\n");
    text.split_inclusive("\n\n").map(str::to_owned).collect()
}

fn payload(event: &str) -> Option<Value> {
    let data = event.lines().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(data).ok()
}

fn is_usage_chunk(event: &str) -> bool {
    payload(event).is_some_and(|chunk| {
        chunk["choices"].as_array().is_some_and(Vec::is_empty) && chunk["usage"].is_object()
    })
}

/// Whole prompt and whole output by a plain parse of every event.
fn plain_usage(recorded: &Recorded) -> Option<(u64, u64)> {
    let chunks = payloads(recorded);
    let number = |usage: &Value, key: &str| usage[key].as_u64();
    match recorded.dialect {
        Dialect::Responses => {
            let mut usage = chunks.iter().map(|chunk| &chunk["response"]["usage"]);
            let usage = usage.rfind(|usage| usage.is_object())?;
            Some((number(usage, "input_tokens")?, number(usage, "output_tokens")?))
        }
        Dialect::GenerateContent => {
            let last = |key: &str| {
                chunks.iter().filter_map(|chunk| number(&chunk["usageMetadata"], key)).next_back()
            };
            let sum = |keys: [&str; 2]| keys.into_iter().filter_map(last).sum();
            let input = sum(["promptTokenCount", "toolUsePromptTokenCount"]);
            Some((input, sum(["candidatesTokenCount", "thoughtsTokenCount"])))
        }
        Dialect::ChatCompletions => {
            let usage =
                chunks.iter().map(|chunk| &chunk["usage"]).rfind(|usage| usage.is_object())?;
            let (prompt, completion) =
                (number(usage, "prompt_tokens")?, number(usage, "completion_tokens")?);
            // `providers.md` 1.6.
            let rest = number(usage, "total_tokens").unwrap_or(0).saturating_sub(prompt);
            Some((prompt, completion.max(rest)))
        }
        Dialect::Messages => {
            let told = |chunk: &Value, key: &str| {
                let message = chunk["message"]["usage"][key].as_u64();
                message.or_else(|| chunk["usage"][key].as_u64())
            };
            // A fallback's numbers stand on top, but are a pass of another model.
            if let Some(passes) =
                chunks.iter().rev().find_map(|c| c["usage"]["iterations"].as_array())
                && passes.iter().any(|pass| pass["type"] == "fallback_message")
            {
                let own = passes.iter().find(|pass| pass["type"] == "message")?;
                return Some((number(own, "input_tokens")?, number(own, "output_tokens")?));
            }
            let last = |key: &str| chunks.iter().filter_map(|chunk| told(chunk, key)).next_back();
            let input = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
            last("output_tokens").map(|output| (input.into_iter().filter_map(last).sum(), output))
        }
    }
}

#[test]
fn b5_every_recorded_stream_leaves_byte_for_byte_and_its_end_waits() {
    assert!(RECORDED.len() > 120, "{}", RECORDED.len());
    for recorded in RECORDED.iter() {
        let metered = whole(recorded, false);
        let StreamEnd::Complete { tail } = &metered.end else {
            panic!("{}: {:?}", recorded.path, metered.end)
        };
        assert_eq!([&metered.out[..], tail].concat(), recorded.body, "{}", recorded.path);
        let (out, tail) = (events(&metered.out), events(tail));
        let is_end = |event: &String| match recorded.dialect {
            Dialect::ChatCompletions => event.starts_with("data: [DONE]") || is_usage_chunk(event),
            Dialect::Messages => event.starts_with("event: message_stop"),
            Dialect::Responses => {
                event.starts_with("event: response.completed")
                    || event.starts_with("event: response.incomplete")
            }
            Dialect::GenerateContent => event.contains("\"finishReason\""),
        };
        assert!(!out.iter().any(is_end), "{}", recorded.path);
        assert!(tail.first().is_some_and(is_end), "{}: {tail:?}", recorded.path);
    }
}

#[test]
fn b6_only_the_usage_chunk_is_hidden() {
    let mut hidden = 0;
    for recorded in RECORDED.iter() {
        let metered = whole(recorded, true);
        let StreamEnd::Complete { tail } = metered.end else { panic!("{}", recorded.path) };
        let left: Vec<_> =
            events(&recorded.body).into_iter().filter(|event| !is_usage_chunk(event)).collect();
        assert_eq!(events(&[&metered.out[..], &tail].concat()), left, "{}", recorded.path);
        hidden += usize::from(left.len() < events(&recorded.body).len());
        assert_eq!(metered.usage, whole(recorded, false).usage, "{}", recorded.path);
    }
    assert!(hidden > 25, "{hidden}");
}

#[test]
fn b7_the_usage_is_what_a_plain_parse_says() {
    let mut told = 0;
    for recorded in RECORDED.iter() {
        let expected =
            plain_usage(recorded).map(|(input, output)| (input, output, Basis::Provider));
        assert_eq!(whole(recorded, true).usage, expected, "{}", recorded.path);
        told += usize::from(expected.is_some());
    }
    assert!(told > 80, "{told}");
}

#[test]
fn what_was_delivered_is_not_counted_short() {
    for recorded in RECORDED.iter() {
        let mut sums = [0; 3];
        let mut add = |sum: usize, value: &Value| {
            sums[sum] += value.as_str().map_or(0, str::len) as u64;
        };
        for chunk in payloads(recorded) {
            add(0, &chunk["delta"]["text"]);
            add(1, &chunk["delta"]["thinking"]);
            add(2, &chunk["delta"]["partial_json"]);
            match chunk["type"].as_str() {
                Some("response.output_text.delta") => add(0, &chunk["delta"]),
                Some("response.function_call_arguments.delta") => add(2, &chunk["delta"]),
                Some("response.reasoning_summary_text.delta") => add(1, &chunk["delta"]),
                _ => {}
            }
            for candidate in chunk["candidates"].as_array().into_iter().flatten() {
                for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                    add(0, &part["text"]);
                }
            }
            for choice in chunk["choices"].as_array().into_iter().flatten() {
                add(0, &choice["delta"]["content"]);
                add(0, &choice["delta"]["refusal"]);
                add(1, &choice["delta"]["reasoning_content"]);
                for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                    add(2, &call["function"]["arguments"]);
                }
            }
        }
        let [text, thinking, tool] = sums;
        let Delivered { text_bytes, thinking_bytes, tool_bytes } = whole(recorded, true).delivered;
        assert!(text_bytes >= text, "{}: {text_bytes} < {text}", recorded.path);
        assert!(thinking_bytes >= thinking, "{}", recorded.path);
        assert!(tool_bytes >= tool, "{}", recorded.path);
    }
}

#[test]
fn a_stream_that_stops_before_its_end_is_cut_wherever_it_stops() {
    for recorded in RECORDED.iter().step_by(7) {
        let full = whole(recorded, false);
        let end = full.out.len();
        for stop in (0..=end).step_by((end / 40).max(1)) {
            let pieces = std::iter::once(&recorded.body[..stop]);
            let cut = meter((recorded.provider, recorded.dialect), false, pieces);
            assert_eq!(cut.end, StreamEnd::Cut, "{} at {stop}", recorded.path);
            assert!(full.out.starts_with(&cut.out), "{} at {stop}", recorded.path);
            assert!(cut.out.is_empty() || cut.out.ends_with(b"\n"), "{} at {stop}", recorded.path);
        }
    }
}

#[test]
fn a_chunk_of_whole_events_leaves_as_it_is() {
    for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
        let chunk = Bytes::from_static(
            b"event: content_block_delta\ndata: {\"delta\":{\"text\":\"a\"}}\n\n: x\n\ndata: {}\n\n",
        );
        let mut meter = Meter::new(Provider::Anthropic, dialect, true);
        let mut out = Vec::new();
        meter.push(chunk.clone(), &mut out).unwrap();
        assert_eq!(out.iter().map(|bytes| bytes.as_ptr()).collect::<Vec<_>>(), [chunk.as_ptr()]);
        assert_eq!(out, [chunk]);
    }
}

#[test]
fn b9_an_error_in_the_stream_is_not_passed_on() {
    let chat = |error: &str| format!("data: {{\"choices\":[]}}\n\n{error}\n\ndata: [DONE]\n\n");
    for error in [
        r#"data: {"error":{"message":"sk-secret","type":"server_error"}}"#,
        r#"data: {"code":"x","error":"text"}"#,
        "event: error\ndata: {\"message\":\"x\"}",
    ] {
        let stream = chat(error);
        let (out, end) = check(Provider::XAi, Dialect::ChatCompletions, &stream, false);
        assert_eq!(out, "data: {\"choices\":[]}\n\n");
        assert!(is_error(&end), "{end:?}");
    }
    let stream = "event: ping\ndata: {}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let (out, end) = check(Provider::Anthropic, Dialect::Messages, stream, false);
    assert_eq!(out, "event: ping\ndata: {}\n\n");
    assert!(is_error(&end), "{end:?}");
}

fn is_error(end: &StreamEnd) -> bool {
    !matches!(end, StreamEnd::Complete { .. } | StreamEnd::Cut)
}

#[test]
fn the_word_error_in_a_text_or_null_is_no_error() {
    for chunk in [
        r#"data: {"choices":[{"delta":{"content":"{\"error\":{\"a\":1}}"}}],"error":null}"#,
        r#"data: {"choices":[{"delta":{"error":{"a":1}}}],"usage":null}"#,
        r#"data: {"choices":[{"delta":{"content":"data: [DONE]\n\n\"usage\":{}"}}]}"#,
    ] {
        let chunk = format!("{chunk}\n\n");
        let stream = format!("{chunk}data: [DONE]\n\n: bye\n\n");
        let ended = check(Provider::OpenAi, Dialect::ChatCompletions, &stream, true);
        assert_eq!(ended, (chunk, complete("data: [DONE]\n\n: bye\n\n")));
    }
}

#[test]
fn a_content_chunk_with_usage_passes_and_the_last_numbers_win() {
    let content = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}}\n\n";
    let last = content.replace(":1,", ":2,").replace(":4}", ":5}");
    let stream = format!("{content}{last}");
    let cut =
        meter((Provider::XAi, Dialect::ChatCompletions), true, [stream.as_bytes()].into_iter());
    assert_eq!(cut.out, stream.as_bytes());
    assert_eq!((cut.end, cut.usage), (StreamEnd::Cut, Some((3, 2, Basis::Partial))));
    let done = format!("{stream}data: [DONE]\n\n");
    let all = meter((Provider::XAi, Dialect::ChatCompletions), true, [done.as_bytes()].into_iter());
    assert_eq!(all.usage, Some((3, 2, Basis::Provider)));
}

#[test]
fn delivered_bytes_make_tokens_rounded_up() {
    let delivered = |text_bytes| Delivered { text_bytes, thinking_bytes: 1, tool_bytes: 2 };
    assert_eq!([0, 1, 2, 5, 6].map(|text| delivered(text).tokens()), [1, 1, 2, 2, 3]);
    assert_eq!(Delivered::default().tokens(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_split_of_a_recorded_stream_meters_the_same(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        hide in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        let recorded = which.get(&RECORDED);
        let mut body = recorded.body.to_vec();
        if crlf {
            body = String::from_utf8(body).unwrap().replace("\r\n", "\n").replace('\n', "\r\n").into();
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let kind = (recorded.provider, recorded.dialect);
        let split = meter(kind, hide, cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]));
        let at_once = meter(kind, hide, std::iter::once(&body[..]));
        prop_assert_eq!(&split, &at_once);
        let plain = whole(recorded, hide);
        prop_assert_eq!((split.usage, split.delivered), (plain.usage, plain.delivered));
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_grow(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::sample::select(vec![
                    &b"data: "[..], b"event: message_delta\n", b"event: error\r\n", b"\n\n", b"\r\n",
                    b"{\"usage\":{\"output_tokens\":", b"{\"error\":", b"\"delta\":{\"text\":\"", b"}}",
                    b"data: [DONE]\n\n", b"{\"choices\":[],\"usage\":{}}\n\n",
                ]).prop_map(<[u8]>::to_vec),
            ],
            0..30),
        chat in any::<bool>(),
        hide in any::<bool>(),
    ) {
        let dialect = if chat { Dialect::ChatCompletions } else { Dialect::Messages };
        let mut meter = Meter::new(Provider::OpenAi, dialect, hide);
        let mut out = Vec::new();
        for piece in &pieces {
            if meter.push(Bytes::copy_from_slice(piece), &mut out).is_err() {
                return Ok(());
            }
        }
        let mut left = out.concat().len();
        if let StreamEnd::Complete { tail } = meter.end() {
            left += tail.len();
        }
        prop_assert!(left <= pieces.concat().len());
        let delivered = meter.delivered();
        prop_assert!(delivered.tokens() <= pieces.concat().len() as u64);
    }
}
