//! What a request may be, and what is sent on of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use opencredits_schema::{CacheClass, Model, PriceBook, Provider, Tier};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

fn book() -> PriceBook {
    PriceBook::built_in().unwrap()
}

fn model(id: &str) -> Arc<Model> {
    Arc::clone(book().model(id).unwrap_or_else(|| panic!("{id}")))
}

fn chat(body: &str) -> Result<Request, BadRequest> {
    Request::parse(Dialect::ChatCompletions, Bytes::from(body.to_owned()))
}

fn messages(body: &str) -> Result<Request, BadRequest> {
    Request::parse(Dialect::Messages, Bytes::from(body.to_owned()))
}

/// A request with these further members.
fn chat_with(members: &str) -> Result<Request, BadRequest> {
    chat(&format!(r#"{{"model":"gpt-4o","messages":[]{members}}}"#))
}

fn messages_with(members: &str) -> Result<Request, BadRequest> {
    let body = format!(r#"{{"model":"m","max_tokens":4000,"messages":[]{members}}}"#);
    messages(&body)
}

fn sent(request: &Request, model: &Model, edits: Edits) -> String {
    String::from_utf8(request.upstream_body(model, edits).concat()).unwrap()
}

/// What goes upstream instead of this body, without further edits.
fn check_sent(id: &str, body: &str, upstream: &str) {
    let model = model(id);
    let dialect =
        if id.starts_with("anthropic") { Dialect::Messages } else { Dialect::ChatCompletions };
    let request = Request::parse(dialect, Bytes::from(body.to_owned())).unwrap();
    assert_eq!(sent(&request, &model, Edits::default()), upstream);
}

#[test]
fn the_fields_that_matter_are_read() {
    let request = chat(
        r#" {"model":"gp\u0074-4o","stream":true,"n":3,"messages":[{"role":"user","content":"hi"}],
            "stream_options":{"include_usage":true},"max_tokens":77,"unknown":{"a":[1,2,{}]}} "#,
    )
    .unwrap();
    assert_eq!(request.model(), "gpt-4o");
    assert!(request.stream() && request.wants_usage_chunk());
    let output = request.output(&model("openai/gpt-4o"));
    assert_eq!((output.limit, output.n, output.given), (77, 3, true));
    assert_eq!(output.billable(77), 231);
    assert_eq!(output.limit_within(231), 77);
    assert_eq!(output.limit_within(100), 33);
    assert!(!chat_with("").unwrap().stream());
}

#[test]
fn bad_bodies_are_refused_and_name_the_field() {
    let cases = [
        ("", None),
        ("{", None),
        ("[]", None),
        ("\"a\"", None),
        ("null", None),
        (r#"{"model":"m","messages":[]} x"#, None),
        (r#"{"model":"m","messages":[],}"#, None),
        ("\u{feff}{}", None),
        (r#"{"messages":[]}"#, Some("model")),
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"model":null,"messages":[]}"#, Some("model")),
        (r#"{"model":"","messages":[]}"#, Some("model")),
        (r#"{"model":1,"messages":[]}"#, Some("model")),
        (r#"{"model":["m"],"messages":[]}"#, Some("model")),
        (r#"{"model":"m","messages":{}}"#, Some("messages")),
        (r#"{"model":"m","messages":null}"#, Some("messages")),
        (r#"{"model":"m","messages":"hi"}"#, Some("messages")),
        (r#"{"model":"m","messages":["hi"]}"#, Some("messages")),
        (r#"{"model":"m","messages":[{"content":5}]}"#, Some("messages")),
        (r#"{"model":"m","messages":[],"stream":"yes"}"#, Some("stream")),
        (r#"{"model":"m","messages":[],"stream":1}"#, Some("stream")),
        (r#"{"model":"m","messages":[],"stream_options":[]}"#, Some("stream_options")),
        (r#"{"model":"m","messages":[],"max_tokens":"9"}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[],"max_tokens":0}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[],"max_tokens":-1}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[],"max_tokens":1.5}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[],"max_tokens":1e999}"#, Some("max_tokens")),
        (r#"{"model":"m","messages":[],"n":129}"#, Some("n")),
        (r#"{"model":"m","messages":[],"n":0}"#, Some("n")),
        (r#"{"model":"m","messages":[],"tools":{}}"#, Some("tools")),
        (r#"{"model":"m","messages":[],"tools":["a"]}"#, Some("tools")),
        (r#"{"model":"m","messages":[],"service_tier":1}"#, Some("service_tier")),
        (r#"{"model":"m","messages":[],"thinking":true}"#, Some("thinking")),
        (r#"{"model":"m","messages":[],"thinking":{"budget_tokens":-5}}"#, Some("thinking")),
    ];
    for (body, param) in cases {
        let error = chat(body).unwrap_err();
        assert_eq!(error.param.as_deref(), param, "{body}: {error}");
        assert!(!error.message.is_empty());
    }
    let latin = Bytes::from_static(b"{\"model\":\"m\",\"messages\":[],\"a\":\"\xff\"}");
    let error = Request::parse(Dialect::ChatCompletions, latin).unwrap_err();
    assert!(error.message.contains("UTF-8"), "{error}");
    let long = "m".repeat(MODEL_NAME_MAX + 1);
    assert!(chat(&format!(r#"{{"model":"{long}","messages":[]}}"#)).is_err());
}

#[test]
fn duplicate_fields_that_matter_are_refused() {
    let error = chat(r#"{"model":"a","messages":[],"model":"b"}"#).unwrap_err();
    assert_eq!(error.message, "duplicate field `model`");
    assert_eq!(error.param.as_deref(), Some("model"));
    for members in [
        r#","messages":[]"#,
        r#","stream":true,"stream":false"#,
        r#","max_tokens":1,"max_t\u006fkens":2"#,
        r#","system":"a","system":"b""#,
        r#","tools":[],"tools":[]"#,
        r#","stream_options":{"include_usage":true,"include_usage":false}"#,
        r#","tools":[{"type":"a","type":"function"}]"#,
        r#","thinking":{"budget_tokens":1,"budget_tokens":2}"#,
        r#","system":[{"type":"image","source":{"type":"url","type":"base64"}}]"#,
    ] {
        let error = chat_with(members).unwrap_err();
        assert!(error.message.starts_with("duplicate field"), "{members}: {error}");
    }
    assert!(chat_with(r#","user":"a","user":"b""#).is_ok());
}

#[test]
fn messages_need_an_output_limit_and_counting_does_not() {
    let body = r#"{"model":"m","messages":[]}"#;
    assert_eq!(messages(body).unwrap_err().param.as_deref(), Some("max_tokens"));
    let null = r#"{"model":"m","messages":[],"max_tokens":null}"#;
    assert_eq!(messages(null).unwrap_err().param.as_deref(), Some("max_tokens"));
    let count = Request::parse_count(Bytes::from_static(body.as_bytes())).unwrap();
    let model = model("anthropic/claude-haiku-4-5");
    assert_eq!(count.check(&book(), &model), Ok(()));
    let upstream = r#"{"model":"claude-haiku-4-5","messages":[]}"#;
    assert_eq!(sent(&count, &model, Edits::default()), upstream);
}

#[test]
fn a_depth_bomb_is_refused() {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for bomb in [deep("[", "]"), deep(r#"{"a":"#, "}"), deep(r#"{"content":["#, "]}")] {
        // Closed it is no JSON in the second case, and refused all the same.
        assert!(chat(&bomb).is_err());
        for place in [
            format!(r#""x":{bomb}"#),
            format!(r#""messages":{bomb}"#),
            format!(r#""messages":[{{"content":{bomb}}}]"#),
            format!(r#""messages":[{{"input":{bomb}}}]"#),
            format!(r#""tools":[{{"input_schema":{bomb}}}]"#),
            format!(r#""tools":[{bomb}]"#),
            format!(r#""stream_options":{bomb}"#),
            format!(r#""cache_control":{bomb}"#),
        ] {
            let body = format!(r#"{{"model":"m",{place},"messages":[]}}"#);
            assert!(chat(&body).is_err(), "{place:.40}");
        }
    }
    assert!(chat(&"[".repeat(100_000)).is_err());
    let shallow = format!(r#","x":{}1{}"#, "[".repeat(128), "]".repeat(128));
    assert!(chat_with(&shallow).is_ok());
    let text = format!(r#","x":["{}"]"#, "[".repeat(1_000));
    assert!(chat_with(&text).is_ok());
}

#[test]
fn a_stream_always_asks_for_its_usage() {
    let tail = r#""max_tokens":5,"service_tier":"default","messages":[]}"#;
    for (options, upstream) in [
        (
            r#""stream_options":{"include_usage":true},"#,
            r#""stream_options":{"include_usage":true},"#,
        ),
        (
            r#""stream_options":{"include_usage":false},"#,
            r#""stream_options":{"include_usage":true},"#,
        ),
        (r#""stream_options":{ },"#, r#""stream_options":{"include_usage":true },"#),
        (r#""stream_options":null,"#, r#""stream_options":{"include_usage":true},"#),
        (
            r#""stream_options":{"include_obfuscation":false},"#,
            r#""stream_options":{"include_usage":true,"include_obfuscation":false},"#,
        ),
        (
            r#""stream_options":{"a":1, "include_usage" : null},"#,
            r#""stream_options":{"a":1, "include_usage" : true},"#,
        ),
    ] {
        check_sent(
            "openai/gpt-4o",
            &format!(r#"{{"model":"gpt-4o","stream":true,{options}{tail}"#),
            &format!(r#"{{"model":"gpt-4o","stream":true,{upstream}{tail}"#),
        );
    }
    check_sent(
        "openai/gpt-4o",
        &format!(r#"{{"model":"gpt-4o","stream":true,{tail}"#),
        &format!(
            r#"{{"stream_options":{{"include_usage":true}},"model":"gpt-4o","stream":true,{tail}"#
        ),
    );
    let plain = format!(r#"{{"model":"gpt-4o","stream":false,{tail}"#);
    check_sent("openai/gpt-4o", &plain, &plain);
}

#[test]
fn an_output_limit_is_always_sent() {
    let head = r#""service_tier":"default","messages":[]"#;
    for (id, given, upstream) in [
        ("openai/gpt-4o", "", r#""max_completion_tokens":16384,"#),
        ("openai/gpt-5", "", r#""max_completion_tokens":32768,"#),
        ("openai/gpt-4", "", r#""max_completion_tokens":4096,"#),
        ("xai/grok-4.3", "", r#""max_tokens":32768,"#),
    ] {
        let bare = id.split_once('/').unwrap().1;
        let body = format!(r#"{{{given}"model":"{bare}",{head}}}"#);
        check_sent(id, &body, &format!(r#"{{{upstream}"model":"{bare}",{head}}}"#));
    }
    for (given, upstream) in [
        (r#""max_tokens":999999999"#, r#""max_tokens":16384"#),
        (r#""max_completion_tokens":999999999"#, r#""max_completion_tokens":16384"#),
        (r#""max_completion_tokens":null"#, r#""max_completion_tokens":16384"#),
        (
            r#""max_tokens":null,"max_completion_tokens":7"#,
            r#""max_tokens":null,"max_completion_tokens":7"#,
        ),
        (
            r#""max_tokens":9,"max_completion_tokens":7"#,
            r#""max_tokens":7,"max_completion_tokens":7"#,
        ),
        (r#""max_tokens":16384"#, r#""max_tokens":16384"#),
    ] {
        let body = format!(r#"{{"model":"gpt-4o",{given},{head}}}"#);
        check_sent("openai/gpt-4o", &body, &format!(r#"{{"model":"gpt-4o",{upstream},{head}}}"#));
    }
    check_sent(
        "openai/gpt-4o",
        &format!(r#"{{"model":"gpt-4o","prediction":{{}},{head}}}"#),
        &format!(r#"{{"max_tokens":16384,"model":"gpt-4o","prediction":{{}},{head}}}"#),
    );
}

#[test]
fn a_lowered_limit_is_sent_where_the_caller_put_its_own() {
    let lowered = Edits { max_tokens: Some(100), thinking_budget: Some(50) };
    let gpt = model("openai/gpt-4o");
    for (given, upstream) in [
        (r#""max_tokens":4000"#, r#""max_tokens":100"#),
        (r#""max_completion_tokens":4000"#, r#""max_completion_tokens":100"#),
        (
            r#""max_completion_tokens":101,"max_tokens":4000"#,
            r#""max_completion_tokens":100,"max_tokens":100"#,
        ),
        (r#""max_tokens":99"#, r#""max_tokens":99"#),
    ] {
        let head = r#"{"service_tier":"default","model":"gpt-4o","messages":[]"#;
        let request = chat(&format!("{head},{given}}}")).unwrap();
        assert_eq!(sent(&request, &gpt, lowered), format!("{head},{upstream}}}"));
    }
    let claude = model("anthropic/claude-haiku-4-5");
    let head = r#"{"service_tier":"standard_only","model":"claude-haiku-4-5","messages":[]"#;
    let body = format!(
        r#"{head},"max_tokens":4000,"thinking":{{"type":"enabled","budget_tokens": 2000 }}}}"#
    );
    let request = messages(&body).unwrap();
    let upstream = format!(
        r#"{head},"max_tokens":100,"thinking":{{"type":"enabled","budget_tokens": 50 }}}}"#
    );
    assert_eq!(sent(&request, &claude, lowered), upstream);
}

#[test]
fn a_limit_is_not_lowered_below_its_floor() {
    let claude = model("anthropic/claude-sonnet-4-5");
    let floors = |members: &str| {
        let body = format!(r#"{{"model":"m","messages":[]{members}}}"#);
        let output = messages(&body).unwrap().output(&claude);
        (output.limit, output.floor, output.floor_lowered_budget)
    };
    assert_eq!(floors(r#","max_tokens":500"#), (500, 500, 500));
    assert_eq!(floors(r#","max_tokens":32000"#), (32_000, 1_024, 1_024));
    let thinking = |limit: u64, budget: u64| {
        floors(&format!(r#","max_tokens":{limit},"thinking":{{"budget_tokens":{budget}}}"#))
    };
    assert_eq!(thinking(32_000, 31_999), (32_000, 32_000, 2_048));
    assert_eq!(thinking(32_000, 8_000), (32_000, 9_024, 2_048));
    assert_eq!(thinking(32_000, 1_024), (32_000, 2_048, 2_048));
    assert_eq!(thinking(999_999_999, 2_000), (64_000, 3_024, 2_048));
    let grok = chat_with("").unwrap().output(&model("xai/grok-4.3"));
    assert_eq!((grok.limit, grok.extra_reasoning), (32_768, 32_768));
    assert!(!grok.given);
}

#[test]
fn the_standard_tier_is_asked_for_by_name() {
    let gpt = r#""max_tokens":5,"messages":[]}"#;
    let claude = r#""max_tokens":5,"messages":[]}"#;
    for (tier, upstream) in [
        ("", r#"{"service_tier":"default","model":"gpt-4o","#),
        (r#""service_tier":"auto","#, r#"{"model":"gpt-4o","service_tier":"default","#),
        (r#""service_tier":null,"#, r#"{"model":"gpt-4o","service_tier":"default","#),
        (r#""service_tier":"priority","#, r#"{"model":"gpt-4o","service_tier":"priority","#),
    ] {
        let body = format!(r#"{{"model":"gpt-4o",{tier}{gpt}"#);
        check_sent("openai/gpt-4o", &body, &format!("{upstream}{gpt}"));
    }
    for (tier, upstream) in [
        ("", r#"{"service_tier":"standard_only","model":"claude-opus-4-8","#),
        (
            r#""service_tier":"auto","#,
            r#"{"model":"claude-opus-4-8","service_tier":"standard_only","#,
        ),
    ] {
        // The caller's namespaced id becomes the provider's.
        let body = format!(r#"{{"model":"anthropic/claude-opus-4-8",{tier}{claude}"#);
        check_sent("anthropic/claude-opus-4-8", &body, &format!("{upstream}{claude}"));
    }
    let grok = r#"{"model":"grok-4.3","max_tokens":5,"messages":[]}"#;
    check_sent("xai/grok-4.3", grok, grok);
}

#[test]
fn server_tools_get_a_bound() {
    let head = r#"{"service_tier":"standard_only","model":"claude-opus-4-8","max_tokens":5,"messages":[],"#;
    check_sent(
        "anthropic/claude-opus-4-8",
        &format!(
            r#"{head}"tools":[{{"name":"web_search","type":"web_search_20250305"}},{{"type":"web_fetch_20250910","max_uses":null}},{{"type":"advisor_20260301","max_uses":2}},{{"name":"f","input_schema":{{}}}},{{"type":"bash_20250124"}}]}}"#
        ),
        &format!(
            r#"{head}"tools":[{{"name":"web_search","type":"web_search_20250305","max_uses":5}},{{"type":"web_fetch_20250910","max_uses":5}},{{"type":"advisor_20260301","max_uses":2}},{{"name":"f","input_schema":{{}}}},{{"type":"bash_20250124"}}]}}"#
        ),
    );
    let tool = |uses: &str| {
        messages_with(&format!(r#","tools":[{{"type":"web_search_20250305","max_uses":{uses}}}]"#))
    };
    assert!(tool("100").is_ok());
    for uses in ["101", "0", "-1", "\"5\"", "1.5"] {
        assert_eq!(tool(uses).unwrap_err().param.as_deref(), Some("tools"), "{uses}");
    }
}

#[test]
fn a_tier_or_place_without_a_price_is_refused() {
    let cases = [
        ("openai/gpt-4o", r#","service_tier":"priority""#, true),
        ("openai/gpt-4o", r#","service_tier":"flex""#, false),
        ("openai/gpt-5", r#","service_tier":"flex""#, true),
        ("openai/gpt-5", r#","service_tier":"scale""#, false),
        ("openai/gpt-5", r#","service_tier":"batch""#, false),
        ("openai/gpt-5", r#","speed":"fast""#, false),
        ("xai/grok-4.3", r#","service_tier":"priority""#, false),
        ("xai/grok-4.3", r#","service_tier":"auto""#, true),
        ("anthropic/claude-opus-4-8", r#","speed":"fast""#, true),
        ("anthropic/claude-opus-4-8", r#","speed":"standard""#, true),
        ("anthropic/claude-opus-4-8", r#","speed":null"#, true),
        ("anthropic/claude-sonnet-4-5", r#","speed":"fast""#, false),
        ("anthropic/claude-opus-4-8", r#","service_tier":"standard_only""#, true),
        ("anthropic/claude-opus-4-8", r#","service_tier":"priority""#, false),
        ("anthropic/claude-opus-4-8", r#","inference_geo":"us""#, true),
        ("anthropic/claude-opus-4-8", r#","inference_geo":"global""#, true),
        ("anthropic/claude-opus-4-8", r#","inference_geo":"eu""#, false),
        ("anthropic/claude-sonnet-4-5", r#","inference_geo":"us""#, false),
        ("openai/gpt-4o", r#","web_search_options":null"#, true),
        ("openai/gpt-5", r#","tools":[{"type":"web_search"}]"#, false),
        ("openai/gpt-5", r#","tools":[{"type":"code_interpreter"}]"#, false),
        ("openai/gpt-5", r#","tools":[{"type":"custom"},{"type":"function"}]"#, true),
        ("xai/grok-4.3", r#","tools":[{"type":"x_search"}]"#, false),
        ("xai/grok-4.3", r#","search_parameters":{"mode":"off"}"#, true),
        ("xai/grok-4.3", r#","search_parameters":{"max_search_results":5}"#, true),
        ("anthropic/claude-opus-4-8", r#","tools":[{"type":"code_execution_20260120"}]"#, false),
        ("anthropic/claude-opus-4-8", r#","tools":[{"type":"web_search_20250305"}]"#, true),
        ("anthropic/claude-opus-4-8", r#","tools":[{"type":"brandnew_20300101"}]"#, false),
        ("anthropic/claude-opus-4-8", r#","tools":[{"type":"memory_20250818"}]"#, true),
        (
            "anthropic/claude-sonnet-5",
            r#","tools":[{"type":"advisor_20260301","model":"claude-opus-4-8"}]"#,
            true,
        ),
        (
            "anthropic/claude-sonnet-5",
            r#","tools":[{"type":"advisor_20260301","model":"claude-unheard-of"}]"#,
            false,
        ),
    ];
    let book = book();
    for (id, members, fine) in cases {
        let read = if id.starts_with("anthropic") { messages_with } else { chat_with };
        let request = read(members).unwrap();
        let model = model(id);
        assert_eq!(request.check(&book, &model).is_ok(), fine, "{id} {members}");
    }
}

#[test]
fn a_model_of_another_route_is_refused() {
    let book = book();
    for (id, fine) in [
        ("openai/gpt-4o", [true, false]),
        ("openai/gpt-5-pro", [false, false]),
        ("xai/grok-4.3", [true, false]),
        ("google/gemini-2.5-pro", [false, false]),
        ("anthropic/claude-opus-4-8", [false, true]),
    ] {
        let model = model(id);
        assert_eq!(chat_with("").unwrap().check(&book, &model).is_ok(), fine[0], "{id}");
        assert_eq!(messages_with("").unwrap().check(&book, &model).is_ok(), fine[1], "{id}");
    }
}

#[test]
fn a_demand_counts_all_that_can_be_used() {
    let demand = |id: &str, members: &str| {
        let read = if id.starts_with("anthropic") { messages_with } else { chat_with };
        read(members).unwrap().demand(&model(id), 1_000).unwrap()
    };
    let plain = demand("openai/gpt-5", "");
    assert_eq!((plain.input, plain.output, plain.tiers), (1_000, 0, vec![Tier::Standard]));
    let flex = demand("openai/gpt-5", r#","service_tier":"flex""#);
    assert_eq!(flex.tiers, [Tier::Standard, Tier::Flex]);
    let claude = "anthropic/claude-opus-4-8";
    assert_eq!(demand(claude, r#","speed":"fast""#).tiers, [Tier::Standard, Tier::Fast]);
    assert!(demand(claude, r#","inference_geo":"us""#).geo);
    for (members, class) in [
        ("", CacheClass::None),
        (r#","system":"cache_control""#, CacheClass::None),
        (r#","cache_control":null"#, CacheClass::None),
        (r#","cache_control":{"type":"ephemeral"}"#, CacheClass::FiveMinutes),
        (r#","system":[{"type":"text","text":"a","cache_control":{}}]"#, CacheClass::FiveMinutes),
        (r#","tools":[{"name":"f","cache_control":{"ttl":"5m"}}]"#, CacheClass::FiveMinutes),
        (r#","tools":[{"name":"f","cache_control":{"ttl":"1h"}}]"#, CacheClass::OneHour),
        (r#","system":[{"content":[{"cache_control":{"ttl":"1\u0068"}}]}]"#, CacheClass::OneHour),
    ] {
        assert_eq!(demand(claude, members).cache, class, "{members}");
    }
    let tools = demand(
        claude,
        r#","tools":[{"type":"web_search_20250305","max_uses":3},{"type":"web_fetch_20250910"},
            {"type":"advisor_20260301","model":"claude-opus-5","max_tokens":100,"max_uses":2}],
            "context_management":{"edits":[{"type":"compact_20260112"}]}"#,
    );
    assert_eq!((tools.tool_calls.web_search, tools.tool_calls.web_fetch), (3, 5));
    assert_eq!(tools.passes.len(), 3);
    assert_eq!(tools.passes[0].0.as_deref(), Some("claude-opus-5"));
    assert_eq!(tools.passes[0].2, 100);
    assert_eq!(tools.passes[2].0, None);
    let live = demand("xai/grok-4.3", r#","search_parameters":{"mode":"auto"}"#);
    assert_eq!(live.tool_calls.web_search, 20);
}

/// The book with every recorded model, and with prices for the tools of the recordings.
fn book_of_recordings() -> PriceBook {
    let json = include_str!("../../../../schema/prices/models.json");
    let mut book: Value = serde_json::from_str(json).unwrap();
    let models = book["models"].as_array_mut().unwrap();
    for (provider, template) in [
        ("anthropic", "anthropic/claude-sonnet-4-5"),
        ("openai", "openai/gpt-4o"),
        ("xai", "xai/grok-4.3"),
    ] {
        let like = models.iter().find(|model| model["id"] == template).unwrap().clone();
        for name in MODELS_MISSING.iter().filter_map(|id| id.strip_prefix(&format!("{provider}/")))
        {
            let mut model = like.clone();
            model["id"] = json!(format!("{provider}/{name}"));
            model["upstream_id"] = json!(name);
            models.push(model);
        }
    }
    for model in models {
        if model["provider"] == "anthropic" {
            model["web_search_per_1k"] = json!("10");
            model["fees_per_1k"] = json!({"code_execution": "1"});
        }
        if model["id"] == "openai/gpt-4o-search-preview" {
            model["web_search_per_1k"] = json!("10");
        }
    }
    PriceBook::parse(&book.to_string()).unwrap()
}

const MODELS_MISSING: [&str; 16] = [
    "anthropic/claude-sonnet-4-0",
    "anthropic/claude-3-opus-20240229",
    "anthropic/claude-3-haiku-20240307",
    "anthropic/claude-2.1",
    "anthropic/claude-3-5-sonnet-20241022",
    "anthropic/claude-3-5-haiku-latest",
    "anthropic/claude-3-5-sonnet-20240620",
    "anthropic/claude-3-opus-latest",
    "openai/gpt-4-vision-preview",
    "openai/gpt-audio",
    "openai/gpt-4o-search-preview",
    "openai/gpt-audio-mini",
    "openai/gpt-4.5-preview",
    "openai/o1-mini",
    "xai/grok-4-fast",
    "xai/grok-2",
];

/// The recorded requests: (id, provider, api, status, body, input tokens told by the answer).
fn recordings() -> Vec<(String, String, String, u64, Bytes)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../loadtest/fixtures"));
    let index = std::fs::read(root.join("index.json")).expect("loadtest/fixtures");
    let index: Value = serde_json::from_slice(&index).unwrap();
    let apis = ["chat.completions", "messages", "count_tokens"];
    let providers = ["openai", "anthropic", "xai"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for entry in index.as_array().unwrap() {
        let (provider, api) = (text(&entry["provider"]), text(&entry["api"]));
        let Some(path) = entry["request"].as_str() else { continue };
        if apis.contains(&&*api) && providers.contains(&&*provider) {
            let body = Bytes::from(std::fs::read(root.join(path)).unwrap());
            all.push((text(&entry["id"]), provider, api, entry["status"].as_u64().unwrap(), body));
        }
    }
    all
}

#[test]
fn recorded_requests_that_were_answered_pass() {
    let book = book_of_recordings();
    let (mut passed, mut refused) = (0, Vec::new());
    for (id, provider, api, status, body) in recordings() {
        let read = match &*api {
            "count_tokens" => Request::parse_count(body.clone()),
            "messages" => Request::parse(Dialect::Messages, body.clone()),
            _ => Request::parse(Dialect::ChatCompletions, body.clone()),
        };
        let request = match read {
            Ok(request) => request,
            Err(error) if status == 200 => {
                refused.push((id, error.message));
                continue;
            }
            Err(_) => continue,
        };
        let name = format!("{provider}/{}", request.model());
        let Some(model) = book.model(&name) else {
            assert_ne!(status, 200, "{id}: no {name}");
            continue;
        };
        if let Err(error) = request.check(&book, model) {
            assert_ne!(status, 200, "{id}: {error}");
            continue;
        }
        let demand = request.demand(model, request.input_cheap(model)).unwrap();
        assert!(demand.input > 0);
        assert!(request.input_exact(model) <= request.input_cheap(model), "{id}");
        check_edits(&request, model, Edits::default());
        passed += usize::from(status == 200);
    }
    refused.sort();
    let refused: Vec<_> = refused.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    assert_eq!(refused.len(), 3, "{refused:#?}");
    assert_eq!(refused.iter().filter(|(_, why)| why.contains("mcp_servers")).count(), 2);
    assert_eq!(refused.iter().filter(|(_, why)| why.contains("file_id")).count(), 1);
    assert!(passed > 140, "{passed}");
}

/// What goes upstream is the original JSON but for the named changes, and its pieces between the
/// edits are the original's bytes.
fn check_edits(request: &Request, model: &Model, edits: Edits) {
    let pieces = request.upstream_body(model, edits);
    let mut from = 0;
    let body = request.body();
    let mut kept = 0;
    for piece in &pieces {
        let inside = body.as_ptr_range().contains(&piece.as_ptr());
        if inside {
            let at = piece.as_ptr() as usize - body.as_ptr() as usize;
            assert!(at >= from, "the pieces are in order");
            from = at + piece.len();
            kept += piece.len();
        }
    }
    assert!(kept + 64 * pieces.len() >= body.len(), "only small values are replaced");
    let upstream: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    let mut expected: Value = serde_json::from_slice(body).unwrap();
    expect_edits(&mut expected, request, model, edits);
    assert_eq!(upstream, expected);
}

/// The edits again, on the full model of the JSON.
fn expect_edits(json: &mut Value, request: &Request, model: &Model, edits: Edits) {
    json["model"] = json!(model.upstream_id);
    if request.purpose == Purpose::Count {
        return;
    }
    let chat = request.dialect() == Dialect::ChatCompletions;
    if chat && request.stream() {
        if !json["stream_options"].is_object() {
            json["stream_options"] = json!({});
        }
        json["stream_options"]["include_usage"] = json!(true);
    }
    let full = request.output(model).limit;
    let limit = edits.max_tokens.map_or(full, |lowered| lowered.min(full));
    let mut given = false;
    for name in ["max_tokens", "max_completion_tokens"] {
        if let Some(value) =
            json.get(name).and_then(Value::as_u64).filter(|_| chat || name == "max_tokens")
        {
            given = true;
            json[name] = json!(value.min(limit));
        }
    }
    if !given {
        let name = match model.provider {
            Provider::OpenAi => "max_completion_tokens",
            Provider::Anthropic | Provider::Google | Provider::XAi => "max_tokens",
        };
        json[name] = json!(limit);
    }
    let standard = match model.provider {
        Provider::OpenAi => Some("default"),
        Provider::Anthropic => Some("standard_only"),
        Provider::Google | Provider::XAi => None,
    };
    let tier = json.get("service_tier").cloned().unwrap_or_default();
    if let Some(standard) = standard.filter(|_| tier.is_null() || tier == "auto") {
        json["service_tier"] = json!(standard);
    }
    if let (Some(lowered), Some(budget)) =
        (edits.thinking_budget, json["thinking"]["budget_tokens"].as_u64())
    {
        json["thinking"]["budget_tokens"] = json!(budget.min(lowered));
    }
    if json["thinking"].is_null() {
        // Indexing has made it.
        let original: Value = serde_json::from_slice(request.body()).unwrap();
        if original.get("thinking").is_none() {
            json.as_object_mut().unwrap().remove("thinking");
        }
    }
    if chat {
        return;
    }
    for tool in json.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        let kind = tool["type"].as_str().unwrap_or_default().to_owned();
        let bounded = ["web_search_20", "web_fetch_", "advisor_"];
        if bounded.iter().any(|prefix| kind.starts_with(prefix)) && tool["max_uses"].is_null() {
            tool["max_uses"] = json!(5);
        }
        if kind.is_empty() {
            let tool = tool.as_object_mut().unwrap();
            tool.retain(|name, value| name != "type" || !value.is_null());
        }
    }
}

/// Some JSON white space.
fn space() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "", " ", "\n\t"]).prop_map(str::to_owned)
}

/// A member of a request: its name and its possible values.
fn members() -> impl Strategy<Value = Vec<(String, String)>> {
    let choices: Vec<(&str, Vec<&str>)> = vec![
        ("stream", vec!["true", "false", "null"]),
        (
            "stream_options",
            vec![
                "null",
                "{}",
                "{ \"a\" : 1 }",
                r#"{"include_usage":false}"#,
                r#"{"b":[{}], "include_usage" : null,"c":""}"#,
                r#"{"include_usage":true}"#,
            ],
        ),
        ("max_tokens", vec!["1", "3000", "99999999999"]),
        ("max_completion_tokens", vec!["null", "2000", "99999999999"]),
        ("service_tier", vec!["null", "\"auto\"", "\"default\""]),
        ("thinking", vec!["null", "{}", r#"{"type":"enabled", "budget_tokens": 2000}"#]),
        ("temperature", vec!["0.5", "1"]),
        ("user", vec![r#""\"{[ \\""#, "\"\u{2028}é\"", "null"]),
        (
            "tools",
            vec![
                "null",
                "[]",
                r#"[{"type":"web_search_20250305","name":"w"},{"name":"a","input_schema":{}}]"#,
                r#"[{"max_uses" : null , "type" : "advisor_20260301"}]"#,
            ],
        ),
    ];
    let picks: Vec<_> = choices
        .into_iter()
        .map(|(name, values)| {
            let value = prop::option::of(prop::sample::select(values));
            value.prop_map(move |value| value.map(|value| (name.to_owned(), value.to_owned())))
        })
        .collect();
    let text = "\\PC{0,20}".prop_map(|text| json!([{"role": "user", "content": text}]).to_string());
    (picks, text).prop_map(|(picks, text)| {
        let mut all: Vec<_> = picks.into_iter().flatten().collect();
        all.push(("messages".to_owned(), text));
        all.push(("model".to_owned(), "\"some-name\"".to_owned()));
        all
    })
}

proptest! {
    #[test]
    fn what_goes_upstream_differs_only_by_the_named_changes(
        members in members().prop_shuffle(),
        gap in space(),
        which in 0_usize..3,
        max_tokens in prop::option::of(1_u64..5_000),
        thinking_budget in prop::option::of(1_u64..5_000),
    ) {
        let (id, dialect) = [
            ("openai/gpt-4o", Dialect::ChatCompletions),
            ("xai/grok-4.3", Dialect::ChatCompletions),
            ("anthropic/claude-opus-4-8", Dialect::Messages),
        ][which];
        let mut body = format!("{gap}{{");
        for (at, (name, value)) in members.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(body, "{comma}{gap}\"{name}\"{gap}:{gap}{value}{gap}").unwrap();
        }
        body.push_str("}\n");
        let has_limit = members.iter().any(|(name, _)| name == "max_tokens");
        prop_assume!(dialect == Dialect::ChatCompletions || has_limit);
        let request = Request::parse(dialect, Bytes::from(body)).unwrap();
        check_edits(&request, &model(id), Edits { max_tokens, thinking_budget });
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Request::parse(Dialect::Messages, Bytes::from(body)).is_err());
    }

    #[test]
    fn arbitrary_changes_never_panic(
        at in any::<prop::sample::Index>(),
        recording in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let seeds = [
            r#"{"model":"m","max_tokens":9,"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf"}}]}]}"#,
            r#"{"model":"m","max_tokens":9,"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image\/png;base64,iVBORw0K\/\/\/\/"}}]}],"stream":true}"#,
            r#"{"model":"m","max_tokens":9,"tools":[{"type":"web_search_20250305"}],"messages":[{"content":"\ud83d\ude00"}],"stream_options":{"a":1}}"#,
        ];
        let mut body = recording.get(&seeds).as_bytes().to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
            if let Ok(request) = Request::parse(dialect, Bytes::from(body.clone())) {
                for id in ["openai/gpt-4o", "anthropic/claude-opus-4-8"] {
                    let model = model(id);
                    let pieces = request.upstream_body(&model, Edits::default()).concat();
                    prop_assert!(serde_json::from_slice::<&RawValue>(&pieces).is_ok());
                    prop_assert!(request.input_cheap(&model) >= request.input_estimate(&model));
                }
            }
        }
    }
}
