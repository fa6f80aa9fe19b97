//! The price book's rules as stories, then as properties over every model.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;
use crate::{Credits, PicoUsd, ReferralRate, Tier, ToolCalls, Usage};

fn book() -> PriceBook {
    PriceBook::built_in().unwrap()
}

fn rate(points: u16) -> ReferralRate {
    ReferralRate::from_basis_points(points).unwrap()
}

/// Checks what a usage costs, in microdollars (10⁻⁶ USD).
#[track_caller]
fn check(model: &str, usage: &Usage, micro_usd: i64) {
    let book = book();
    let cost = book.model(model).unwrap().cost(&book, usage);
    assert_eq!(cost, Ok(PicoUsd(micro_usd * 1_000_000)), "{model}");
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

/// A book of one model with these further fields.
fn book_with(fields: &str) -> Result<PriceBook, PriceBookError> {
    PriceBook::parse(&format!(
        r#"{{"models":[{{"id":"openai/m","provider":"openai","upstream_id":"m",
        "context_window":1,"max_input_tokens":1,"max_output_tokens":1,{fields}}}]}}"#
    ))
}

#[test]
fn the_built_in_book_is_good_and_every_model_has_a_price() {
    let book = book();
    assert_eq!(book.models().count(), 156);
    let mut retired_seen = false;
    for model in book.models() {
        assert!(model.is_retired() || !retired_seen, "{} comes after a retired one", model.id);
        retired_seen |= model.is_retired();
        assert!(model.computed_cost(&book, &usage(1000, 0)).unwrap().0 > 0, "{}", model.id);
        assert!(model.computed_cost(&book, &usage(0, 1000)).unwrap().0 > 0, "{}", model.id);
        assert!(model.max_input_tokens > 0 && model.max_output_tokens > 0, "{}", model.id);
        assert_eq!(book.model(&model.id).unwrap().id, model.id);
    }
}

#[test]
fn sonnet_4_at_2500_and_2500_without_a_share_costs_4_5_credits() {
    let book = book();
    let model = book.model("anthropic/claude-sonnet-4").unwrap();
    let charge = model.charge(&book, &usage(2500, 2500), rate(0)).unwrap();
    assert_eq!(charge.total().to_string(), "4.5");
    let charge = model.charge(&book, &usage(2500, 2500), rate(1000)).unwrap();
    assert_eq!((charge.cost.to_string(), charge.share.to_string()), ("4.5".into(), "0.45".into()));
    assert_eq!(charge.total().to_string(), "4.95");
}

#[test]
fn a_model_is_found_by_id_alias_and_bare_name() {
    let book = book();
    for (name, id) in [
        ("openai/gpt-4o", Some("openai/gpt-4o")),
        ("gpt-4o", Some("openai/gpt-4o")),
        ("claude-opus-5-5", Some("anthropic/claude-opus-5-5")),
        ("claude-opus-5.5", Some("anthropic/claude-opus-5-5")),
        ("anthropic/claude-opus-4.6", Some("anthropic/claude-opus-4-6")),
        ("grok-3-latest", Some("xai/grok-3")),
        ("google/gpt-4o", None),
        ("", None),
    ] {
        assert_eq!(book.model(name).map(|model| &*model.id), id, "{name}");
    }
}

#[test]
fn a_bare_name_of_two_providers_is_nobodys() {
    let row = |provider: &str| {
        format!(
            r#"{{"id":"{provider}/m","provider":"{provider}","upstream_id":"m","context_window":1,
            "max_input_tokens":1,"max_output_tokens":1,
            "price_usd_per_mtok":{{"input":"1","output":"1"}}}}"#
        )
    };
    let rows = [row("openai"), row("xai"), row("google")].join(",");
    let book = PriceBook::parse(&format!(r#"{{"models":[{rows}]}}"#)).unwrap();
    assert!(book.model("m").is_none());
    assert!(book.model("xai/m").is_some());
}

#[test]
fn a_retired_model_names_its_successor() {
    let book = book();
    for (retired, successor) in [
        ("anthropic/claude-sonnet-4-20250514", Some("anthropic/claude-sonnet-5-5")),
        ("anthropic/claude-opus-4.1", Some("anthropic/claude-opus-5-5")),
        ("anthropic/claude-3-5-haiku", Some("anthropic/claude-haiku-5-5")),
        ("xai/grok-3", Some("xai/grok-4.7")),
        ("xai/grok-4-fast-reasoning", Some("xai/grok-4.7")),
        ("google/gemini-2.0-flash", Some("google/gemini-3.8-flash")),
    ] {
        let model = book.model(retired).unwrap();
        assert!(model.is_retired());
        assert_eq!(book.successor(model).map(|model| &*model.id), successor, "{retired}");
    }
}

#[test]
fn b1_cache_creation_is_not_billed_as_input_again() {
    let usage = Usage { input: 3, cache_write_5m: 12_304, output: 550, ..Usage::default() };
    check("anthropic/claude-3-7-sonnet", &usage, 54_399);
}

#[test]
fn b2_an_hours_cache_writes_cost_twice_the_input() {
    let five_minutes = Usage { cache_write_5m: 600_000, ..Usage::default() };
    check("anthropic/claude-opus-4-8", &five_minutes, 3_750_000);
    let both = Usage { cache_write_1h: 400_000, ..five_minutes };
    check("anthropic/claude-opus-4-8", &both, 3_750_000 + 4_000_000);
}

#[test]
fn b3_cache_reads_and_writes_count_for_the_threshold_and_the_whole_request_is_dearer() {
    let below = Usage {
        input: 100_000,
        cache_read: 100_000,
        cache_write_5m: 72_000,
        output: 1000,
        ..Usage::default()
    };
    check("openai/gpt-5.6", &below, 400_000 + 40_000 + 360_000 + 20_000);
    let above = Usage { cache_write_5m: 72_001, ..below };
    check("openai/gpt-5.6", &above, 800_000 + 80_000 + 720_010 + 30_000);
    let priority = Usage { tier: Tier::Priority, ..above };
    check("openai/gpt-5.6", &priority, 2 * (800_000 + 80_000 + 720_010 + 30_000));
}

#[test]
fn b4_exactly_at_the_threshold_xai_is_upper_and_gemini_is_lower() {
    check("xai/grok-4.5", &usage(199_999, 0), 399_998);
    check("xai/grok-4.5", &usage(200_000, 0), 800_000);
    check("xai/grok-4.20-reasoning", &usage(200_000, 0), 500_000);
    check("google/gemini-2.5-pro", &usage(200_000, 0), 250_000);
    check("google/gemini-3.1-pro-preview", &usage(200_000, 0), 400_000);
    check("google/gemini-3.1-pro-preview", &usage(200_001, 0), 800_004);
}

#[test]
fn b5_xai_ticks_equal_our_own_sum_with_reasoning_added_on_chat() {
    let book = book();
    // Recorded: prompt 526 (512 cached), completion 27, reasoning 72, 1,615,400 ticks.
    let mut usage = Usage {
        input: 14,
        cache_read: 512,
        output: 27 + 72,
        reasoning: 72,
        cost_ticks: Some(1_615_400),
        ..Usage::default()
    };
    let model = book.model("xai/grok-code-fast-1").unwrap();
    assert_eq!(model.cost(&book, &usage), model.computed_cost(&book, &usage));
    assert_eq!(model.cost(&book, &usage), Ok(PicoUsd(161_540_000)));
    // The provider's own bill wins, and only xAI's is one.
    usage.cost_ticks = Some(1_615_401);
    assert_eq!(model.cost(&book, &usage), Ok(PicoUsd(161_540_100)));
    assert_eq!(model.computed_cost(&book, &usage), Ok(PicoUsd(161_540_000)));
    let other = book.model("openai/gpt-4o").unwrap();
    assert_eq!(other.cost(&book, &usage), other.computed_cost(&book, &usage));
    usage.cost_ticks = Some(u64::MAX);
    assert_eq!(model.cost(&book, &usage), Err(PriceError::TooLarge));
}

#[test]
fn b5_two_web_searches_explain_the_difference_to_an_xai_bill() {
    let tool_calls = ToolCalls { web_search: 2, x_search: 1, ..ToolCalls::default() };
    let usage = Usage { input: 100, tool_calls, ..Usage::default() };
    check("xai/grok-4.3", &usage, 125 + 15_000);
}

#[test]
fn b6_gemini_thoughts_are_output_cached_is_apart_and_tool_prompts_are_input() {
    // prompt 1000 (400 cached), tool use 50, candidates 20, thoughts 300.
    let usage = Usage {
        input: 1000 - 400 + 50,
        cache_read: 400,
        output: 320,
        reasoning: 300,
        ..Usage::default()
    };
    check("google/gemini-2.5-flash", &usage, 195 + 12 + 800);
    let audio = Usage { input_audio: 10, cache_read_audio: 100, ..Usage::default() };
    check("google/gemini-2.5-flash", &audio, 10 + 3);
}

#[test]
fn b10_recovered_tokens_are_priced_and_not_the_placeholder() {
    let placeholder = Usage { input: 1000, output: 1, ..Usage::default() };
    check("anthropic/claude-sonnet-4-5", &placeholder, 3000 + 15);
    let recovered = Usage { output: 500, ..placeholder };
    check("anthropic/claude-sonnet-4-5", &recovered, 3000 + 7500);
}

#[test]
fn b14_what_has_no_price_is_refused_and_never_free() {
    let book = book();
    assert!(book.model("openai/gpt-unknown").is_none());
    for fields in [
        r#""price_usd_per_mtok":{"input":"1"}"#,
        r#""price_usd_per_mtok":{"output":"1"}"#,
        r#""price_usd_per_mtok":null"#,
        r#""name":"no prices at all""#,
    ] {
        assert!(book_with(fields).is_err(), "{fields}");
    }
    let gpt = book.model("openai/gpt-5.6").unwrap();
    let opus = book.model("anthropic/claude-opus-4-8").unwrap();
    let sonnet = book.model("anthropic/claude-sonnet-4-5").unwrap();
    let grok = book.model("xai/grok-4.3").unwrap();
    let tiers = |model: &Model| {
        [Tier::Standard, Tier::Flex, Tier::Priority, Tier::Fast].map(|tier| model.prices_tier(tier))
    };
    assert_eq!(tiers(gpt), [true, true, true, true]);
    assert_eq!(tiers(opus), [true, false, true, true]);
    assert_eq!(tiers(sonnet), [true, false, true, false]);
    assert_eq!(tiers(grok), [true, false, false, false]);
    assert!(gpt.prices_tool(ServerTool::WebSearch) && gpt.prices_tool(ServerTool::FileSearch));
    assert!(opus.prices_tool(ServerTool::WebFetch) && grok.prices_tool(ServerTool::XSearch));
    assert!(!opus.prices_tool(ServerTool::CodeExecution));
    assert!(!book.model("gpt-4.1-nano").unwrap().prices_tool(ServerTool::WebSearch));
    assert!(opus.prices_geo("us") && opus.prices_geo("global") && !opus.prices_geo("eu"));
    assert!(!sonnet.prices_geo("us"));
}

#[test]
fn b15_openai_cache_writes_are_priced_from_5_6_on() {
    let writes = Usage { cache_write_5m: 1000, ..Usage::default() };
    check("openai/gpt-5.6", &writes, 5000);
    check("openai/gpt-5.4", &writes, 2500);
    let book = book();
    // Written unasked, so held for unasked.
    let demand = Demand { input: 1000, ..Demand::default() };
    let quote = book.model("openai/gpt-5.6").unwrap().quote(&book, &demand, rate(0)).unwrap();
    assert_eq!(quote.provider_cost, PicoUsd(5_000_000_000));
}

#[test]
fn a_tier_is_charged_at_its_variant_or_as_standard() {
    let at = |tier| Usage { tier, ..usage(1000, 100) };
    check("anthropic/claude-opus-4-8", &at(Tier::Fast), 10_000 + 5000);
    check("anthropic/claude-opus-4-8", &at(Tier::Priority), 5000 + 2500);
    check("openai/gpt-5.6", &at(Tier::Flex), 2000 + 1000);
    check("xai/grok-4.3", &at(Tier::Priority), 1250 + 250);
    // Google's batch variant lists no cache price: the usual one holds.
    let cached = Usage { cache_read: 1000, tier: Tier::Batch, ..Usage::default() };
    check("google/gemini-2.5-pro", &cached, 125);
}

#[test]
fn inference_in_the_us_costs_a_tenth_more_but_its_fees_do_not() {
    let tool_calls = ToolCalls { web_search: 1, ..ToolCalls::default() };
    let us = Usage { geo: Some("us".into()), tool_calls, ..usage(1000, 100) };
    check("anthropic/claude-opus-4-8", &us, 5500 + 2750 + 10_000);
    check("anthropic/claude-sonnet-4-5", &us, 3000 + 1500 + 10_000);
    let global = Usage { geo: Some("global".into()), ..us };
    check("anthropic/claude-opus-4-8", &global, 5000 + 2500 + 10_000);
}

#[test]
fn a_multiplier_is_rounded_once_with_all_the_rest() {
    let book = book_with(
        r#""price_usd_per_mtok":{"input":"0.000001","output":"1"},
        "geo_multiplier_basis_points":11000"#,
    )
    .unwrap();
    let model = book.model("openai/m").unwrap();
    let us = |input| Usage { geo: Some("us".into()), ..usage(input, 0) };
    for (input, pico) in [(1, 2), (9, 10), (10, 11), (11, 13)] {
        assert_eq!(model.cost(&book, &us(input)), Ok(PicoUsd(pico)), "{input}");
    }
    let mut passes = us(1);
    passes.passes = vec![(None, usage(1, 0)); 9];
    assert_eq!(model.cost(&book, &passes), Ok(PicoUsd(11)), "rounded once, not per pass");
}

#[test]
fn a_pass_is_billed_at_its_own_model() {
    let advised = Usage {
        passes: vec![
            (None, usage(55_196, 1000)),
            (Some("claude-opus-4-8".into()), usage(1000, 100)),
            (Some("claude-unheard-of".into()), usage(1000, 0)),
        ],
        ..usage(220, 10)
    };
    let own = 440 + 100 + 110_392 + 10_000;
    check("anthropic/claude-sonnet-5", &advised, own + 5000 + 2500 + 2000);
    // A pass of the model itself runs on the request's tier; another model's on its own.
    let fast = Usage { tier: Tier::Fast, ..advised };
    let opus = 5 * 220 + 25 * 10 + 5 * 55_196 + 25_000 + 5000 + 2500 + 5000;
    check("anthropic/claude-opus-4-8", &fast, 2 * opus);
}

#[test]
fn a_prompt_with_audio_is_held_at_the_price_of_audio() {
    let book = book();
    let model = book.model("google/gemini-2.5-flash").unwrap();
    for (audio, pico) in [(false, 300_000_000), (true, 1_000_000_000)] {
        let demand = Demand { input: 1000, audio, ..Demand::default() };
        let quote = model.quote(&book, &demand, rate(0)).unwrap();
        assert_eq!(quote.provider_cost, PicoUsd(pico));
    }
}

#[test]
fn disagreeing_sources_are_held_with_the_higher_and_charged_with_the_lower() {
    let book = book();
    let model = book.model("xai/grok-code-fast-1").unwrap();
    let demand = Demand { input: 1000, output: 1000, ..Demand::default() };
    let quote = model.quote(&book, &demand, rate(0)).unwrap();
    assert_eq!(quote.provider_cost, PicoUsd(3_000_000_000));
    check("xai/grok-code-fast-1", &usage(1000, 1000), 1700);
}

#[test]
fn audio_and_images_in_the_output_are_taken_out_of_it() {
    let book = book_with(
        r#""price_usd_per_mtok":{"input":"1","output":"2","output_audio":"10","output_image":"20"}"#,
    )
    .unwrap();
    let model = book.model("openai/m").unwrap();
    let cost = |output, output_audio, output_image| {
        let usage = Usage { output, output_audio, output_image, ..Usage::default() };
        model.cost(&book, &usage).unwrap().0
    };
    assert_eq!(cost(10, 2, 3), (5 * 2 + 2 * 10 + 3 * 20) * 1_000_000);
    assert_eq!(cost(10, 20, 20), 10 * 10 * 1_000_000, "never more than the output");
}

#[test]
fn a_sum_beyond_counting_is_an_error() {
    let book = book();
    let model = book.model("openai/o1-pro").unwrap();
    let huge = usage(u64::MAX, u64::MAX);
    assert_eq!(model.charge(&book, &huge, rate(5000)), Err(PriceError::TooLarge));
    let demand = Demand { input: u64::MAX, ..Demand::default() };
    assert_eq!(model.quote(&book, &demand, rate(0)), Err(PriceError::TooLarge));
    assert_eq!(model.affordable_output(&book, &demand, rate(0), Credits::MAX), 0);
}

#[test]
fn a_price_row_is_named_by_its_content() {
    let prices = r#""price_usd_per_mtok":{"input":"1","output":"2"}"#;
    let id = |fields: &str| {
        let book = book_with(fields).unwrap();
        book.model("openai/m").unwrap().price_id.to_string()
    };
    assert_eq!(id(prices).len(), 16);
    assert_eq!(id(prices), id(&format!(r#""name":"M","status":"retired",{prices}"#)));
    assert_eq!(id(prices), id(r#""price_usd_per_mtok":{"output":"2.0","input":"1.00"}"#));
    assert_ne!(id(prices), id(&format!(r#""web_search_per_1k":"10",{prices}"#)));
    let book = book();
    let ids: std::collections::HashSet<_> = book.price_rows().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), book.models().count());
    for (_, row) in book.price_rows() {
        assert!(serde_json::from_str::<serde_json::Value>(row).unwrap()["base"].is_object());
    }
}

#[test]
fn a_bad_book_tells_everything_that_is_wrong() {
    let error = PriceBook::parse(
        r#"{"schema":"models/2","aliases":{"a":1},"models":[
        {"id":"openai/m","provider":"opnai","upstream_id":"m","context_window":"1",
         "max_input_tokens":-1,"endpoint":"chta","status":"gone","features":{"vision":1},
         "price_usd_per_mtok":{"input":"1","output":2,"cache_raed":"1"},
         "long_context":[{"input":"0.0000001"}],
         "price_variants":{"residency=eu":{},"service_tier=flex":{"output":"-1"},
            "speed=fast":{},"service_tier=fast":{}},
         "geo_multiplier_basis_points":9999,"web_search_per_1k":"x","fees_per_1k":{"tea":"1"}},
        7]}"#,
    )
    .unwrap_err();
    let text = error.to_string();
    for fault in [
        "book: schema is not models/1",
        "book: aliases `a` is not a text",
        "openai/m: provider `opnai` is not anthropic, openai, google or xai",
        "openai/m: context_window is not a count",
        "openai/m: max_input_tokens is not a count",
        "openai/m: max_output_tokens is not a count",
        "openai/m: endpoint is not chat",
        "openai/m: status is not current",
        "openai/m: features invalid type",
        "openai/m: price_usd_per_mtok: output 2 is not a decimal text",
        "openai/m: price_usd_per_mtok: cache_raed is not a known price",
        "openai/m: price_usd_per_mtok lacks input or output",
        "openai/m: long_context: input_tokens_over is not a count",
        "openai/m: long_context: input \"0.0000001\" is not a decimal text",
        "openai/m: price_variants `residency=eu` is not a known variant",
        "openai/m: price_variants: service_tier=flex: output \"-1\" is not a decimal text",
        "is one of two for its tier",
        "openai/m: geo_multiplier_basis_points is not from 10000",
        "openai/m: web_search_per_1k \"x\" is not a decimal text",
        "openai/m: fees_per_1k: tea is not a known fee",
        "model 1: id is not a text",
    ] {
        assert!(text.contains(fault), "{fault}\nis not in\n{text}");
    }
    assert!(PriceBook::parse("{").is_err() && PriceBook::parse("{}").is_err());
}

#[test]
fn two_rows_of_one_id_and_aliases_of_nothing_are_faults() {
    let row = r#"{"id":"openai/m","provider":"openai","upstream_id":"m","context_window":1,
        "max_input_tokens":1,"max_output_tokens":1,"price_usd_per_mtok":{"input":"1","output":"1"}}"#;
    let aliases = r#"{"openai/m":"openai/m","b":"openai/none"}"#;
    let book = format!(r#"{{"models":[{row},{row}],"aliases":{aliases}}}"#);
    let error = PriceBook::parse(&book).unwrap_err();
    let faults = ["openai/m: listed twice", "alias b: no model `openai/none`"];
    assert!(faults.iter().all(|fault| error.faults().contains(&(*fault).to_owned())), "{error}");
    assert!(error.faults().contains(&"alias openai/m: is an id".to_owned()), "{error}");
}

#[test]
fn a_provider_is_what_its_name_says() {
    for provider in Provider::ALL {
        assert_eq!(provider.as_str().parse(), Ok(provider));
    }
    assert!("OpenAI".parse::<Provider>().is_err());
}

const TIERS: [Tier; 5] = [Tier::Standard, Tier::Flex, Tier::Priority, Tier::Fast, Tier::Batch];
const PASSES: [Option<&str>; 4] =
    [None, Some("claude-opus-4-8"), Some("claude-haiku-5-5"), Some("gpt-5.6")];

/// Sizes near the thresholds as well as small ones.
fn tokens() -> impl Strategy<Value = u64> {
    let near = proptest::sample::select(vec![100_000_u64, 128_000, 199_999, 200_000, 272_000]);
    let near = (near, 0_u64..4).prop_map(|(threshold, by)| threshold - 1 + by);
    prop_oneof![0_u64..5000, 0_u64..1_500_000, near]
}

fn demands() -> impl Strategy<Value = Demand> {
    let cache = [CacheClass::None, CacheClass::FiveMinutes, CacheClass::OneHour];
    let passes = (proptest::sample::select(PASSES.to_vec()), tokens(), 0_u64..50_000)
        .prop_map(|(id, input, output)| (id.map(str::to_owned), input, output));
    let bounds = (tokens(), 0_u64..200_000, any::<bool>(), any::<bool>(), 0_u64..20);
    let cache = proptest::sample::select(cache.to_vec());
    let tiers = subsequence(TIERS.to_vec(), 0..=TIERS.len());
    (bounds, cache, tiers, proptest::collection::vec(passes, 0..3)).prop_map(
        |((input, output, audio, geo, calls), cache, tiers, passes)| Demand {
            input,
            output,
            cache,
            audio,
            tiers,
            geo,
            tool_calls: ToolCalls { web_search: calls, x_search: 1, ..ToolCalls::default() },
            passes,
        },
    )
}

/// Takes parts of a total by weights of a thousand, as the classes of a usage.
fn within(demand: &Demand, model: &Model, input: u64, output: u64, weights: &[u64]) -> Usage {
    let mut left = input;
    let mut take = |may: bool, weight: u64| {
        let part = if may { left * weight / 1000 } else { 0 };
        left -= part;
        part
    };
    let writes = demand.cache != CacheClass::None || model.provider != Provider::Anthropic;
    Usage {
        input: take(true, weights[0]),
        cache_read: take(true, weights[1]),
        cache_write_5m: take(writes, weights[2]),
        cache_write_1h: take(demand.cache == CacheClass::OneHour, weights[3]),
        input_audio: take(demand.audio, weights[4]),
        cache_read_audio: take(demand.audio, weights[5]),
        output: output * weights[6] / 1000,
        ..Usage::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_usage_within_a_demand_costs_more_than_its_quote(
        at in any::<Index>(),
        demand in demands(),
        weights in proptest::collection::vec(
            prop_oneof![Just(0_u64), Just(1000_u64), 0_u64..=1000], 7),
        tier in any::<Index>(),
        points in 0_u16..=5000,
    ) {
        let book = book_once();
        let models: Vec<_> = book.models().collect();
        let model = at.get(&models);
        let mut usage = within(&demand, model, demand.input, demand.output, &weights);
        if !demand.tiers.is_empty() {
            usage.tier = *tier.get(&demand.tiers);
        }
        usage.geo = demand.geo.then(|| "us".to_owned());
        usage.tool_calls = demand.tool_calls;
        usage.passes = demand.passes.iter().map(|(id, input, output)| {
            let other = id.as_ref().and_then(|id| book.model(&format!("{}/{id}", model.provider)));
            let other = other.unwrap_or(model);
            (id.clone(), within(&demand, other, *input, *output, &weights))
        }).collect();
        let charge = model.charge(book, &usage, rate(points)).unwrap();
        let quote = model.quote(book, &demand, rate(points)).unwrap();
        prop_assert!(charge.total() <= quote.total(), "{}: {charge:?} {quote:?}", model.id);
        prop_assert!(charge.provider_cost <= quote.provider_cost);
        prop_assert_eq!(charge.total().micro(), charge.cost.micro() + charge.share.micro());
    }

    #[test]
    fn affordable_output_is_the_most_that_the_budget_covers(
        at in any::<Index>(),
        demand in demands(),
        budget in prop_oneof![0_i64..1_000_000, 0_i64..1_000_000_000_000, Just(Credits::MAX.micro())],
        points in 0_u16..=5000,
    ) {
        let book = book_once();
        let models: Vec<_> = book.models().collect();
        let model = at.get(&models);
        let budget = Credits::from_micro(budget);
        let most = model.affordable_output(book, &demand, rate(points), budget);
        let covered = |output| {
            let demand = Demand { output, ..demand.clone() };
            model.quote(book, &demand, rate(points)).is_ok_and(|quote| quote.total() <= budget)
        };
        prop_assert!(most == 0 || covered(most));
        prop_assert!(most == u64::MAX || !covered(most + 1));
    }

    #[test]
    fn any_text_is_a_book_or_faults(text in ".*", field in "[a-z_]{1,12}", value in any::<i64>()) {
        prop_assert!(PriceBook::parse(&text).is_err());
        let unpriced = book_with(&format!(r#""{field}":{value}"#));
        prop_assert!(unpriced.is_err());
    }
}

/// One book for all cases of a property.
fn book_once() -> &'static PriceBook {
    static BOOK: std::sync::LazyLock<PriceBook> = std::sync::LazyLock::new(book);
    &BOOK
}
