//! Exact money: each charge to the microcredit, and never more than there is.

use std::sync::Arc;
use std::time::Duration;

use opencredits::request::Incoming;
use opencredits::{completion, random};
use opencredits_wire::Dialect;
use serde_json::{Value, json};

use crate::operate::until;
use crate::support::{World, chat, message, micro};

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_cost_plus_share_and_is_told_with_the_answer() {
    let world = World::start().await;
    let user = world.user("100").await;
    let answer = world.post(&user, "/v1/chat/completions", &chat("openai/gpt-4o", "Hi"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let told = |name: &str| {
        let value = answer.headers().get(name).unwrap().to_str().unwrap();
        micro(&Value::String(value.to_owned()))
    };
    let (charge, balance) = (told("x-opencredits-charge"), told("x-opencredits-balance"));
    let body: Value = answer.json().await.unwrap();
    // gpt-4o: 2.5 and 10 USD per million tokens, so 250 and 1000 microcredits a token.
    let tokens = |name: &str| body["usage"][name].as_i64().unwrap();
    let cost = tokens("prompt_tokens") * 250 + tokens("completion_tokens") * 1000;
    assert_eq!(charge, cost + cost / 10);
    assert_eq!(balance, 100_000_000 - charge);
    let rows = world.history(&user).await;
    assert_eq!(micro(&rows[0]["credits"]), -charge);
    assert_eq!(micro(&rows[0]["provider_cost"]), cost);
    assert_eq!(micro(&rows[0]["referral_share"]), cost / 10);
    assert_eq!(rows[0]["basis"], "provider");
    assert_eq!(rows[0]["status"], "completed");
    assert_eq!(world.settled_balance(&user).await, balance);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_charged_as_the_same_answer_whole() {
    let world = World::start().await;
    for (path, request) in [
        ("/v1/chat/completions", chat("openai/gpt-4o", "Hi [[sim output=50]]")),
        ("/v1/chat/completions", chat("xai/grok-4.3", "Hi [[sim output=50]]")),
        ("/v1/messages", message("anthropic/claude-sonnet-4-6", "Hi [[sim output=50]]")),
    ] {
        let mut charges = Vec::new();
        for stream in [false, true] {
            let user = world.user("100").await;
            let mut request = request.clone();
            request["stream"] = json!(stream);
            let answer = world.post(&user, path, &request).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let text = answer.text().await.unwrap();
            assert!(
                !text.contains("prompt_tokens") || !stream,
                "the usage chunk was not asked for"
            );
            charges.push(world.settled_balance(&user).await);
        }
        assert_eq!(charges[0], charges[1], "{request}");
        assert!(charges[0] < 100_000_000);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_gets_the_cost_inside_the_usage() {
    let world = World::start().await;
    for (path, request) in [
        ("/v1/chat/completions", chat("openai/gpt-4o", "Hi")),
        ("/v1/messages", message("anthropic/claude-sonnet-4-6", "Hi")),
    ] {
        for stream in [false, true] {
            let user = world.user("100").await;
            let mut request = request.clone();
            request["stream"] = json!(stream);
            if stream && path == "/v1/chat/completions" {
                request["stream_options"] = json!({"include_usage": true});
            }
            let answer = world.post(&user, path, &request).header("x-opencredits-cost", "1");
            let text = answer.send().await.unwrap().text().await.unwrap();
            let spent = 100_000_000 - world.settled_balance(&user).await;
            let cost = opencredits_schema::Credits::from_micro(spent);
            assert!(text.contains(&format!("\"cost\":{cost}")), "{cost}: {text}");
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b13_parallel_requests_admit_what_the_account_can_pay() {
    let world = Arc::new(World::start().await);
    // 1,000 tokens of gpt-4o are 1 credit, and a tenth; the short prompt is some hundredths.
    let user = world.user("6").await;
    let mut request = chat("openai/gpt-4o", "Hi [[sim gate=open gate_after=0]]");
    request["max_tokens"] = json!(1000);
    let (said, mut statuses) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..200 {
        let (world, user, request) = (Arc::clone(&world), user.clone(), request.clone());
        let said = said.clone();
        tokio::spawn(async move {
            let answer = world.post(&user, "/v1/chat/completions", &request).send().await.unwrap();
            said.send(answer.status().as_u16()).unwrap();
        });
    }
    drop(said);
    // The refused ones answer while the admitted ones wait at the provider.
    for _ in 0..195 {
        assert_eq!(statuses.recv().await, Some(402));
    }
    let balance = world.get(&user, "/v1/credits/balance").await;
    assert!(micro(&balance["available"]) >= 0, "{balance}");
    world.providers.open_gate("open");
    for _ in 0..5 {
        assert_eq!(statuses.recv().await, Some(200));
    }
    assert_eq!(statuses.recv().await, None);
    world.settled_balance(&user).await;
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_account_gets_a_shorter_answer() {
    let world = World::start().await;
    for given in [None, Some(100_000)] {
        let user = world.user("2").await;
        let mut request = chat("openai/gpt-4o", "Hi [[sim output=9999]]");
        if let Some(limit) = given {
            request["max_tokens"] = json!(limit);
        }
        let answer = world.post(&user, "/v1/chat/completions", &request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let limit = answer.headers().get("x-opencredits-max-tokens").unwrap();
        let limit: i64 = limit.to_str().unwrap().parse().unwrap();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], "length");
        assert_eq!(body["usage"]["completion_tokens"], limit);
        let left = world.settled_balance(&user).await;
        assert!((0..300_000).contains(&left), "{left} of 2 credits are left");
    }
    let user = world.user("0.9").await;
    let request = chat("openai/gpt-4o", "Hi");
    let answer = world.post(&user, "/v1/chat/completions", &request).send().await.unwrap();
    assert_eq!(answer.status(), 402);
    assert_eq!(answer.headers().get("x-should-retry").unwrap(), "false");
    let body: Value = answer.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Insufficient credits. Please top up your balance."), "{message}");
    assert!(
        message.contains("0.9 are available") && message.contains("output tokens"),
        "{message}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thinking_budget_is_lowered_when_the_account_covers_no_more() {
    let world = World::start().await;
    // Sonnet: 15 USD per million, so 1.65 credits with the share for 1,000 tokens.
    let user = world.user("5").await;
    let mut request = message("anthropic/claude-sonnet-4-6", "Hi [[sim output=20]]");
    request["max_tokens"] = json!(32_000);
    request["thinking"] = json!({"type": "enabled", "budget_tokens": 31_999});
    let answer = world.post(&user, "/v1/messages", &request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-opencredits-budget-tokens"));
    let sent = world.providers.last_request().unwrap().json();
    let (limit, budget) = (&sent["max_tokens"], &sent["thinking"]["budget_tokens"]);
    let (limit, budget) = (limit.as_u64().unwrap(), budget.as_u64().unwrap());
    assert!(limit >= 2048 && budget >= 1024 && budget < limit, "{limit} {budget}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_spends_no_more_than_its_limit() {
    let world = World::start().await;
    let user = world.user("1000").await;
    let limited = json!({"partner": user.partner, "spend_limit": "0.5"});
    let path = format!("/admin/v1/accounts/{}/keys", user.account);
    let key = world.operate("POST", &path, &limited).await;
    let limited =
        crate::support::User { key: key["user_key"].as_str().unwrap().to_owned(), ..user.clone() };
    let request = chat("openai/gpt-4o", "Hi");
    let answer = world.post(&limited, "/v1/chat/completions", &request).send().await.unwrap();
    assert_eq!(answer.status(), 402);
    let body: Value = answer.json().await.unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains("key's spending limit"), "{body}");
    let answer = world.post(&user, "/v1/chat/completions", &request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    world.end().await;
}

/// One thread, so that the test decides who runs: the handler asks for its hold and is dropped, as
/// hyper drops it when the connection closes, before the account's actor has had a turn.
#[tokio::test]
async fn a_client_that_goes_away_while_its_hold_is_placed_leaves_nothing_held() {
    // So long a lease that only the request itself can end its hold within the test.
    let own = [("HOLD_LEASE", "1h"), ("PASSIVATE_AFTER", "100ms")];
    let world = World::with(&own).await;
    let user = world.user("100").await;
    let gateway = &world.gateway;
    // The actor that the operator's request started runs on that connection's thread.
    until(async || gateway.system.active_accounts() == 0).await;
    let incoming = Incoming {
        id: random::request_id(),
        method: http::Method::POST,
        path: "/v1/chat/completions".to_owned(),
        query: String::new(),
        headers: http::HeaderMap::from_iter([(
            http::HeaderName::from_static("x-user-key"),
            http::HeaderValue::try_from(&user.key).unwrap(),
        )]),
        peer: std::net::Ipv4Addr::LOCALHOST.into(),
        body: chat("openai/gpt-4o", "Hi").to_string().into(),
    };
    let caller = gateway.caller(&incoming.headers, incoming.peer).await.unwrap();
    let partner = gateway.partner_of(&caller, &incoming.headers).await.unwrap();
    // Its actor is up, on this thread, so the first poll of the handler leaves the wish in the actor's mailbox.
    gateway.system.view(caller.key.account).await.unwrap();
    let handler =
        completion::complete(gateway, incoming, Dialect::ChatCompletions, &caller, &partner);
    tokio::select! {
        biased;
        _ = handler => panic!("it did not wait for the actor"),
        () = std::future::ready(()) => {}
    }
    let released = async {
        while gateway.system.view(caller.key.account).await.unwrap().open_holds > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(gateway.system.view(caller.key.account).await.unwrap().open_holds, 1);
    tokio::time::timeout(Duration::from_secs(20), released).await.expect("the hold stays");
    assert_eq!(world.settled_balance(&user).await, 100_000_000);
    world.end().await;
}
