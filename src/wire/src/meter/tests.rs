//! The meter's rules, one by one, and over recorded streams.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::UpstreamFault;

const CHAT: Dialect = Dialect::ChatCompletions;

/// What came out of a meter, and how it ended.
#[derive(Debug, PartialEq)]
struct Story {
    out: Vec<u8>,
    end: StreamEnd,
    usage: Option<(Usage, Basis)>,
    delivered: Delivered,
}

fn run(mut meter: Meter, pieces: &[&[u8]]) -> Story {
    let mut out = Vec::new();
    for piece in pieces {
        meter.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
    }
    let end = meter.end();
    let (usage, delivered) = (meter.usage(), meter.delivered());
    assert_eq!(meter.counted_output(), delivered.tokens());
    Story { out: out.concat(), end, usage, delivered }
}

fn openai(hide: bool) -> Meter {
    Meter::new(Provider::OpenAi, CHAT, hide)
}

fn messages() -> Meter {
    Meter::new(Provider::Anthropic, Dialect::Messages, false)
}

fn complete(tail: &'static str) -> StreamEnd {
    StreamEnd::Complete { tail: Bytes::from_static(tail.as_bytes()) }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const NUMBERS: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\
    \"content\":[],\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
    \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\
    \"usage\":{\"input_tokens\":11,\"output_tokens\":5}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn bytes(parts: &[&str]) -> Vec<u8> {
    parts.concat().into_bytes()
}

#[test]
fn the_end_is_withheld_and_content_is_not() {
    let shown = run(openai(false), &[HI.as_bytes(), NUMBERS.as_bytes(), DONE.as_bytes()]);
    assert_eq!(shown.out, HI.as_bytes());
    let StreamEnd::Complete { tail } = shown.end else { panic!("{:?}", shown.end) };
    assert_eq!(tail, bytes(&[NUMBERS, DONE]));
    assert_eq!(shown.usage, Some((tokens(9, 2), Basis::Provider)));
    assert_eq!(shown.delivered, Delivered { text_bytes: 2, ..Delivered::default() });

    let story = run(messages(), &[&bytes(&[START, TEXT, DELTA, STOP, "\n: bye\n\n"])]);
    assert_eq!(story.out, bytes(&[START, TEXT, DELTA]));
    assert_eq!(story.end, StreamEnd::Complete { tail: bytes(&[STOP, "\n: bye\n\n"]).into() });
}

#[test]
fn b7_the_last_value_of_each_field_counts() {
    let late =
        "event: message_delta\ndata: {\"usage\":{\"output_tokens\":7,\"input_tokens\":null}}\n\n";
    let story = run(messages(), &[&bytes(&[START, DELTA, late, STOP])]);
    assert_eq!(story.usage, Some((tokens(11, 7), Basis::Provider)));
}

#[test]
fn b11_the_chunk_that_only_the_gateway_asked_for_is_hidden_and_counted() {
    let story = run(openai(true), &[&bytes(&[HI, NUMBERS, DONE])]);
    assert_eq!(story.out, HI.as_bytes());
    assert_eq!(story.end, complete(DONE));
    assert_eq!(story.usage, Some((tokens(9, 2), Basis::Provider)));
}

#[test]
fn b9_explicit_zeros_are_final() {
    let zeros = NUMBERS.replace(":9", ":0").replace(":2", ":0");
    let story = run(openai(true), &[&bytes(&[HI, &zeros, DONE])]);
    assert_eq!(story.usage, Some((Usage::default(), Basis::Provider)));
}

#[test]
fn running_usage_is_partial_until_the_end() {
    let running = |count| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{}}}}],\"usage\":{{\"prompt_tokens\":9,\
             \"completion_tokens\":{count}}}}}\n\n"
        )
    };
    let grok = || Meter::new(Provider::XAi, CHAT, true);
    let cut = run(grok(), &[&bytes(&[&running(1), &running(2)])]);
    assert_eq!(cut.out, bytes(&[&running(1), &running(2)]));
    assert_eq!((cut.end, cut.usage), (StreamEnd::Cut, Some((tokens(9, 2), Basis::Partial))));
    let whole = run(grok(), &[&bytes(&[&running(1), &running(2), DONE])]);
    assert_eq!(whole.usage, Some((tokens(9, 2), Basis::Provider)));
}

#[test]
fn a_cut_stream_ends_with_a_whole_event_and_without_the_withheld_ones() {
    let story = run(openai(false), &[&bytes(&[HI, NUMBERS]), b"data: {\"choi"]);
    assert_eq!((story.out, story.end), (HI.as_bytes().to_vec(), StreamEnd::Cut));
    assert_eq!(story.usage, Some((tokens(9, 2), Basis::Provider)));

    let story = run(messages(), &[&bytes(&[START, TEXT]), &TEXT.as_bytes()[..90]]);
    assert_eq!((story.out, story.end), (bytes(&[START, TEXT]), StreamEnd::Cut));
    assert_eq!(story.usage, Some((tokens(9, 1), Basis::Partial)));
    assert_eq!(story.delivered.text_bytes, 5);

    for end in ["data: [DON", "event: message_stop\ndata: {\"type\":\"mess"] {
        let meter = if end.starts_with('d') { openai(true) } else { messages() };
        assert_eq!(run(meter, &[end.as_bytes()]).end, StreamEnd::Cut);
    }
    assert_eq!(run(openai(true), &[]).end, StreamEnd::Cut);
}

#[test]
fn a_terminal_event_without_its_blank_line_is_an_end() {
    assert_eq!(run(openai(true), &[b"data: [DONE]"]).end, complete("data: [DONE]"));
    let end = STOP.trim_end();
    assert_eq!(run(messages(), &[end.as_bytes()]).end, complete(end));
}

#[test]
fn content_behind_the_numbers_takes_them_along() {
    let story = run(openai(false), &[&bytes(&[HI, NUMBERS, ": x\n\n", HI, DONE])]);
    assert_eq!(story.out, bytes(&[HI, NUMBERS, ": x\n\n", HI]));
    assert_eq!(story.end, complete(DONE));
}

#[test]
fn a_shown_cost_withholds_the_numbers() {
    let story = run(messages().with_cost(), &[&bytes(&[START, TEXT, DELTA, STOP])]);
    assert_eq!(story.out, bytes(&[START, TEXT]));
    let StreamEnd::Complete { tail } = story.end else { panic!("{:?}", story.end) };
    let costed = crate::add_cost(tail, "1.5");
    assert_eq!(costed, bytes(&[&DELTA.replace(":5}", ":5,\"cost\":1.5}"), STOP]));
}

#[test]
fn s7_an_error_event_ends_the_stream_and_is_told_otherwise() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
        \"message\":\"Overloaded\"}}\n\n";
    let story = run(messages(), &[&bytes(&[START, TEXT, error, TEXT, STOP])]);
    assert_eq!(story.out, bytes(&[START, TEXT]));
    assert_eq!(story.usage, Some((tokens(9, 1), Basis::Partial)));
    let StreamEnd::Error(told) = story.end else { panic!("{:?}", story.end) };
    assert_eq!((&*told.kind, &*told.message), ("overloaded_error", "Overloaded"));
    assert_eq!(told.fault, UpstreamFault::Overloaded { retry_after: None });

    for error in [
        "data: {\"error\":{\"message\":\"no\",\"code\":500}}\n\n",
        "data: {\"choices\":[],\"error\":\"no\"}",
        "event: error\ndata: {\"message\":\"no\"}\n\n",
    ] {
        let mut meter = openai(false);
        let mut out = Vec::new();
        meter.push(Bytes::from(bytes(&[HI, error])), &mut out).unwrap();
        let StreamEnd::Error(told) = meter.end() else { panic!("{error}") };
        assert_eq!(told.message, "no");
        assert_eq!(meter.upstream_error(), Some(&told));
        assert_eq!(out.concat(), HI.as_bytes());
    }
    let harmless = HI.replace("\"hi\"", "\"\\\"error\\\":1\"").replace("]}", "],\"error\":null}");
    let story = run(openai(true), &[&bytes(&[&harmless, DONE])]);
    assert_eq!((story.out, story.end), (harmless.into_bytes(), complete(DONE)));
}

#[test]
fn json_in_place_of_a_stream_is_handed_back() {
    for body in ["{\"choices\":[]}", "[{}]", "\n {"] {
        let mut out = Vec::new();
        let mut meter = openai(true);
        let fault = meter.push(Bytes::from_static(body.as_bytes()), &mut out);
        assert_eq!(fault, Err(StreamFault::NotEvents(Bytes::from_static(body.as_bytes()))));
        assert!(out.is_empty() && !meter.has_begun());
    }
    assert_eq!(Answer::of(Some("Text/Event-Stream; charset=utf-8")), Answer::Streamed);
    assert_eq!(Answer::of(Some("application/json")), Answer::Whole);
    assert_eq!(Answer::of(None), Answer::Whole);
}

#[test]
fn the_tail_is_bounded() {
    let mut meter = openai(true);
    let mut out = Vec::new();
    meter.push(Bytes::from_static(DONE.as_bytes()), &mut out).unwrap();
    assert!(meter.is_complete());
    let block = Bytes::from([&vec![b'x'; EVENT_MAX / 4][..], b"\n\n"].concat());
    for _ in 0..3 {
        meter.push(block.clone(), &mut out).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(meter.push(block.clone(), &mut out), Err(SseError::TooLong.into()));
    }
    let held: usize = meter.flow.tail.iter().map(Bytes::len).sum();
    assert!(held <= EVENT_MAX && out.is_empty());
}

#[test]
fn whole_events_of_one_chunk_leave_as_one_slice() {
    let chunk = Bytes::from(bytes(&[HI, HI, HI, NUMBERS, DONE]));
    let (mut meter, mut out) = (openai(true), Vec::new());
    meter.push(chunk.clone(), &mut out).unwrap();
    assert_eq!(out, [chunk.slice(..HI.len() * 3)]);
    assert_eq!(out[0].as_ptr(), chunk.as_ptr());
}

/// The recorded streams of a provider's folder.
fn recorded(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../loadtest/fixtures").join(folder);
    let mut streams = Vec::new();
    for entry in fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display())) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "sse") {
            streams.push((path.clone(), fs::read_to_string(path).unwrap()));
        }
    }
    assert!(streams.len() >= 7, "{folder}: {}", streams.len());
    streams
}

/// The JSON of each event, by the plainest reading.
fn payloads(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// Runs a recording in several splits; all of them must give one story, which comes back.
fn replay(name: &Path, stream: &str, meter: impl Fn() -> Meter) -> (Vec<u8>, Story) {
    let whole = run(meter(), &[stream.as_bytes()]);
    for size in [1, 7, 64, 1_000] {
        let pieces: Vec<_> = stream.as_bytes().chunks(size).collect();
        assert_eq!(run(meter(), &pieces), whole, "{} by {size}", name.display());
    }
    let crlf = stream.replace('\n', "\r\n");
    let other = run(meter(), &[crlf.as_bytes()]);
    assert_eq!(other.usage, whole.usage);
    let StreamEnd::Complete { tail } = &whole.end else { panic!("{}", name.display()) };
    ([&whole.out[..], tail].concat(), whole)
}

#[test]
fn recorded_chat_streams_come_out_as_they_came_and_are_counted_as_a_full_parse_says() {
    for (provider, folder) in
        [(Provider::OpenAi, "openai/chat-completions"), (Provider::XAi, "xai/chat-completions")]
    {
        for (path, stream) in recorded(folder) {
            let (all, story) = replay(&path, &stream, || Meter::new(provider, CHAT, false));
            assert_eq!(all, stream.as_bytes(), "{}", path.display());
            let numbers = payloads(&stream).iter().rfind(|data| data["usage"].is_object()).cloned();
            check_chat_usage(&path, numbers.as_ref().map(|data| &data["usage"]), &story);

            let own =
                |block: &str| block.contains("\"choices\":[]") && block.contains("\"usage\":{");
            let shown: String =
                stream.split_inclusive("\n\n").filter(|block| !own(block)).collect();
            let (all, hidden) = replay(&path, &stream, || Meter::new(provider, CHAT, true));
            assert_eq!(all, shown.as_bytes(), "{}", path.display());
            assert_eq!((hidden.usage, hidden.delivered), (story.usage, story.delivered));
        }
    }
}

fn check_chat_usage(path: &Path, told: Option<&Value>, story: &Story) {
    let Some(told) = told else { return assert_eq!(story.usage, None, "{}", path.display()) };
    let (usage, basis) = story.usage.clone().unwrap();
    let count = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64);
    let prompt = count("/prompt_tokens").unwrap();
    let cached = count("/prompt_tokens_details/cached_tokens").unwrap_or(0);
    assert_eq!(basis, Basis::Provider);
    assert_eq!((usage.total_input(), usage.cache_read), (prompt, cached));
    assert_eq!(usage.total_input() + usage.output, count("/total_tokens").unwrap());
    assert_eq!(usage.cost_ticks, count("/cost_in_usd_ticks"));
    let reasoning = count("/completion_tokens_details/reasoning_tokens").unwrap_or(0);
    assert_eq!(usage.reasoning, reasoning);
}

#[test]
fn recorded_messages_come_out_as_they_came_and_are_counted_as_a_full_parse_says() {
    for folder in ["anthropic/messages", "anthropic/sdk-sse"] {
        for (path, stream) in recorded(folder) {
            let (all, story) = replay(&path, &stream, messages);
            assert_eq!(all, stream.as_bytes(), "{}", path.display());

            let mut told = Map::new();
            for data in payloads(&stream) {
                for usage in [&data["message"]["usage"], &data["usage"]] {
                    told.extend(usage.as_object().cloned().unwrap_or_default());
                }
            }
            let count = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or(0);
            let (usage, basis) = story.usage.unwrap();
            assert_eq!(basis, Basis::Provider);
            assert_eq!(usage.input, count("input_tokens"), "{}", path.display());
            assert_eq!(usage.cache_read, count("cache_read_input_tokens"));
            let written = usage.cache_write_5m + usage.cache_write_1h;
            assert_eq!(written, count("cache_creation_input_tokens"));
            assert_eq!(usage.output, count("output_tokens"));
            let searches = told.get("server_tool_use").map(|used| &used["web_search_requests"]);
            let searches = searches.and_then(Value::as_u64).unwrap_or(0);
            assert_eq!(usage.tool_calls.web_search, searches);
        }
    }
}

#[test]
fn what_is_delivered_is_never_counted_short() {
    for (path, stream) in recorded("anthropic/messages") {
        let texts = payloads(&stream).into_iter().map(|data| {
            let delta = &data["delta"];
            let text = ["text", "thinking", "partial_json"].map(|key| delta[key].as_str());
            text.into_iter().flatten().map(str::len).sum::<usize>()
        });
        let (_, story) = replay(&path, &stream, messages);
        assert!(story.delivered.total() >= texts.sum::<usize>() as u64, "{}", path.display());
    }
    for (path, stream) in recorded("xai/chat-completions") {
        let texts = payloads(&stream).into_iter().map(|data| {
            let delta = &data["choices"][0]["delta"];
            let text = ["content", "reasoning_content"].map(|key| delta[key].as_str());
            let tool = delta["tool_calls"][0]["function"]["arguments"].as_str();
            text.into_iter().chain([tool]).flatten().map(str::len).sum::<usize>()
        });
        let (_, story) = replay(&path, &stream, || Meter::new(Provider::XAi, CHAT, true));
        assert!(story.delivered.total() >= texts.sum::<usize>() as u64, "{}", path.display());
    }
}

proptest! {
    #[test]
    fn any_order_and_any_split_is_one_story(
        parts in prop::collection::vec(
            prop::sample::select(vec![HI, NUMBERS, DONE, START, TEXT, DELTA, STOP, ": c\n\n",
                "\n", "\r\n", "data: {\"usage\":", "data: {\"error\":1}\n\n"]), 0..12),
        cuts in prop::collection::vec(0usize..1_500, 0..12),
        chat: bool, hide: bool, cost: bool,
    ) {
        let stream = bytes(&parts);
        let meter = || {
            let meter = if chat { openai(hide) } else { messages() };
            if cost { meter.with_cost() } else { meter }
        };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        let whole = run(meter(), &[&stream]);
        prop_assert_eq!(&run(meter(), &pieces), &whole);
        if let StreamEnd::Complete { tail } = &whole.end && !(chat && hide) {
            prop_assert_eq!([&whole.out[..], tail].concat(), stream);
        }
    }

    #[test]
    fn no_bytes_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..9),
        chat: bool,
    ) {
        let mut meter = if chat { openai(true) } else { messages() };
        let mut out = Vec::new();
        for piece in pieces {
            drop(meter.push(piece.into(), &mut out));
        }
        drop(meter.end());
    }
}
