//! Bounds against measured anchors and recordings.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use opencredits_schema::{Model, PriceBook};

use crate::request::{Dialect, Request};

fn model(id: &str) -> Arc<Model> {
    Arc::clone(PriceBook::built_in().unwrap().model(id).unwrap_or_else(|| panic!("{id}")))
}

/// The head of a PNG of this size, and as many bytes behind it.
fn png(width: u32, height: u32, rest: usize) -> String {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.resize(bytes.len() + rest, 0xAB);
    STANDARD.encode(bytes)
}

fn chat(content: &str) -> Request {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{content}]}}]}}"#);
    Request::parse(Dialect::ChatCompletions, Bytes::from(body)).unwrap()
}

fn messages(content: &str) -> Request {
    let body = format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{content}]}}]}}"#
    );
    Request::parse(Dialect::Messages, Bytes::from(body)).unwrap()
}

/// A request with an image of this size, in the dialect of the model's provider.
fn with_image(id: &str, data: &str) -> Request {
    if id.starts_with("anthropic") {
        let source = format!(r#"{{"type":"base64","media_type":"image/png","data":"{data}"}}"#);
        return messages(&format!(r#"{{"type":"image","source":{source}}}"#));
    }
    let url = format!("data:image/png;base64,{data}");
    chat(&format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#))
}

/// The media's part of the bound.
fn image_tokens(id: &str, data: &str) -> u64 {
    let model = model(id);
    with_image(id, data).media().iter().map(|media| media.tokens(&model)).sum()
}

/// `providers.md` 4.4: (model, width, height, tokens measured, most that the bound may be).
const ANCHORS: [(&str, u32, u32, u64, u64); 12] = [
    ("anthropic/claude-sonnet-4-5", 540, 360, 260, 300),
    ("anthropic/claude-sonnet-4-5", 1001, 1001, 1_311, 1_400),
    ("anthropic/claude-sonnet-4-5", 128, 128, 25, 60),
    ("openai/gpt-4o", 50, 65, 255, 300),
    ("openai/gpt-4o", 100, 100, 255, 300),
    ("openai/gpt-5", 50, 50, 210, 250),
    ("openai/gpt-4.1-nano", 540, 360, 502, 550),
    ("google/gemini-2.5-pro", 100, 100, 258, 300),
    ("google/gemini-3-flash-preview", 128, 128, 1_102, 1_200),
    ("google/gemini-3-flash-preview", 400, 400, 1_102, 1_200),
    ("xai/grok-2-1212", 50, 65, 256, 600),
    ("xai/grok-4.3", 128, 128, 20, 600),
];

#[test]
fn an_image_costs_at_least_what_was_measured() {
    for (id, width, height, measured, most) in ANCHORS {
        let bound = image_tokens(id, &png(width, height, 100));
        assert!((measured..=most).contains(&bound), "{id} {width}x{height}: {bound}");
    }
}

#[test]
fn an_image_costs_at_most_the_providers_maximum() {
    for (id, most) in [
        ("anthropic/claude-sonnet-4-5", 1_600),
        ("anthropic/claude-opus-4-8", 4_800),
        ("openai/gpt-4o", 1_445),
        ("openai/gpt-4o-mini", 48_169),
        ("openai/gpt-4.1-nano", 3_779),
        ("google/gemini-2.5-pro", 4_128),
        ("xai/grok-4.3", 1_792),
    ] {
        let huge = image_tokens(id, &png(30_000, 90_000, 100));
        let unseen = image_tokens(id, "bm8gaW1hZ2UgYXQgYWxs");
        assert_eq!((huge, unseen), (most + 16, most + 16), "{id}");
        assert_eq!(image_tokens(id, ""), most + 16, "{id}");
    }
}

#[test]
fn the_detail_of_an_image_counts() {
    let tokens = |id: &str, detail: &str| {
        let image = format!(
            r#"{{"type":"image_url","image_url":{{"url":"https://a/b.png","detail":"{detail}"}}}}"#
        );
        let model = model(id);
        chat(&image).media().iter().map(|media| media.tokens(&model)).sum::<u64>()
    };
    assert_eq!(tokens("openai/gpt-4o", "low"), 85 + 16);
    assert_eq!(tokens("openai/gpt-4o", "high"), 1_445 + 16);
    assert_eq!(tokens("openai/gpt-5", "low"), 70 + 16);
    assert_eq!(tokens("openai/gpt-5.4", "original"), 24_600 + 16);
}

#[test]
fn media_data_is_not_counted_as_text() {
    for id in ["anthropic/claude-sonnet-4-5", "openai/gpt-4o"] {
        let model = model(id);
        let small = with_image(id, &png(100, 100, 100));
        let large = with_image(id, &png(100, 100, 300_000));
        assert_eq!(small.input_cheap(&model), large.input_cheap(&model), "{id}");
        assert_eq!(small.input_exact(&model), large.input_exact(&model), "{id}");
        assert!(large.input_cheap(&model) < 1_000, "{id}");
    }
}

#[test]
fn text_is_text_wherever_it_hides() {
    let long = "word ".repeat(2_000);
    let model = model("anthropic/claude-sonnet-4-5");
    for source in [
        format!(r#"{{"type":"text","media_type":"text/plain","data":"{long}"}}"#),
        format!(r#"{{"type":"base64","media_type":"text/plain","data":"{long}"}}"#),
        format!(r#"{{"type":"content","content":[{{"type":"text","text":"{long}"}}]}}"#),
    ] {
        let request = messages(&format!(r#"{{"type":"document","source":{source}}}"#));
        assert!(request.input_cheap(&model) > 10_000);
    }
    let named = r#"{"type":"search_result","source":"https://a","content":[]}"#;
    assert!(messages(named).media().is_empty());
}

#[test]
fn slashes_may_be_escaped_in_data() {
    let data = png(50, 65, 3_000).replace('/', "\\/");
    assert!(data.contains("\\/") || !data.contains('/'));
    let url = format!(r"data:image\/png;base64,{data}");
    let request = chat(&format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#));
    let tokens: u64 = request.media().iter().map(|m| m.tokens(&model("openai/gpt-4o"))).sum();
    assert_eq!(tokens, 255 + 16);
}

#[test]
fn a_document_is_bounded_by_its_pages() {
    let model = model("anthropic/claude-sonnet-4-5");
    let pdf = |text: &str| {
        let data = STANDARD.encode(text);
        let source =
            format!(r#"{{"type":"base64","media_type":"application/pdf","data":"{data}"}}"#);
        let request = messages(&format!(r#"{{"type":"document","source":{source}}}"#));
        request.media().iter().map(|media| media.tokens(&model)).sum::<u64>()
    };
    let page = 4_600;
    assert_eq!(pdf("%PDF-1.4 /Type /Pages /Type /Page >>"), page);
    assert_eq!(pdf("/Type /Page >> /Type/Page\n/Type /Page/"), 3 * page);
    assert_eq!(pdf(&"x".repeat(9_000)), 5 * page);
    assert_eq!(pdf(&"x".repeat(5_000_000)), 100 * page);
    let unseen = r#"{"type":"document","source":{"type":"url","url":"https://a/b.pdf"}}"#;
    assert_eq!(messages(unseen).input_cheap(&model), 200_000);
}

#[test]
fn audio_is_bounded_by_its_bytes() {
    let data = STANDARD.encode(vec![7; 50_000]);
    let audio =
        format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"mp3"}}}}"#);
    let request = chat(&audio);
    let model = model("openai/gpt-4o");
    // 50 seconds of the lowest bit rate are 500 tokens.
    let tokens: u64 = request.media().iter().map(|media| media.tokens(&model)).sum();
    assert!((500..2_000).contains(&tokens), "{tokens}");
    assert!(request.demand(&model, 1).unwrap().audio);
}

#[test]
fn the_three_counts_are_in_order() {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(200);
    for id in ["openai/gpt-4o", "xai/grok-4.3"] {
        let model = model(id);
        let request = chat(&format!(r#"{{"type":"text","text":"{text}"}}"#));
        let (cheap, exact) = (request.input_cheap(&model), request.input_exact(&model));
        assert!(exact < cheap / 2, "{exact} {cheap}");
        // 2,000 words.
        assert!(exact >= 2_000, "{exact}");
        assert!(request.input_estimate(&model) < cheap);
    }
    let tiny = model("openai/gpt-4");
    let request = chat(&format!(r#"{{"type":"text","text":"{text}"}}"#));
    assert_eq!(request.input_cheap(&tiny), tiny.max_input_tokens);
}

#[test]
fn server_tools_add_to_the_input() {
    let model = model("anthropic/claude-opus-4-8");
    let with = |tools: &str| {
        let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[],"tools":[{tools}]}}"#);
        let length = body.len() as u64;
        let request = Request::parse(Dialect::Messages, Bytes::from(body)).unwrap();
        request.input_cheap(&model) - length
    };
    assert_eq!(with(""), 64);
    assert_eq!(with(r#"{"name":"f"}"#), 64 + 640);
    assert_eq!(with(r#"{"type":"computer_20251124"}"#), 704 + 3_000);
    assert_eq!(with(r#"{"type":"web_search_20250305"}"#), 704 + 3_000 + 50_000);
    assert_eq!(with(r#"{"type":"web_search_20250305","max_uses":1}"#), 704 + 3_000 + 10_000);
}

/// Every recorded answer's input tokens are within both bounds (`providers.md` 4.1).
#[test]
fn recorded_inputs_are_within_the_bounds() {
    use serde_json::Value;
    let root =
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../loadtest/fixtures"));
    let index: Value =
        serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
    let book = PriceBook::built_in().unwrap();
    let mut seen = 0;
    for entry in index.as_array().unwrap().iter().filter(|entry| entry["status"] == 200) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let dialect = match (text("provider"), text("api")) {
            ("openai" | "xai", "chat.completions") => Dialect::ChatCompletions,
            ("anthropic", "messages") => Dialect::Messages,
            _ => continue,
        };
        let (Some(asked), Some(answered)) = (entry["request"].as_str(), entry["response"].as_str())
        else {
            continue;
        };
        let Some(tokens) = told_input(&std::fs::read_to_string(root.join(answered)).unwrap())
        else {
            continue;
        };
        let Ok(request) =
            Request::parse(dialect, Bytes::from(std::fs::read(root.join(asked)).unwrap()))
        else {
            continue;
        };
        let Some(model) = book.model(&format!("{}/{}", text("provider"), request.model())) else {
            continue;
        };
        let (cheap, exact) = (request.input_cheap(model), request.input_exact(model));
        assert!(tokens <= cheap, "{}: {tokens} > {cheap}", text("id"));
        assert!(tokens <= exact, "{}: {tokens} > {exact}", text("id"));
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}

/// The largest input that the answer tells, wherever it does.
fn told_input(answer: &str) -> Option<u64> {
    let sum = |names: &[&str], text: &str| -> Option<u64> {
        let mut sum = None;
        for name in names {
            let key = format!("\"{name}\":");
            let most = text.match_indices(&key).filter_map(|(at, _)| {
                let digits = text.get(at + key.len()..)?.trim_start();
                let end = digits.find(|c: char| !c.is_ascii_digit())?;
                digits.get(..end)?.parse::<u64>().ok()
            });
            if let Some(most) = most.max() {
                sum = Some(sum.unwrap_or(0) + most);
            }
        }
        sum
    };
    let anthropic = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
    // The passes of a compaction are held for apart.
    let top = answer.split("\"iterations\"").next().unwrap_or(answer);
    sum(&["prompt_tokens"], answer).or_else(|| sum(&anthropic, top))
}
