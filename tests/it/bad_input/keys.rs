//! Keys and what they may do: where they travel, how often they ask, when they end.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, assert_error, assert_unharmed, good};
use crate::support::{User, World, chat, message};

/// The routes that need a key, with a request for each, and what each answers to a good one.
fn authenticated() -> [(&'static str, &'static str, Value, u16); 6] {
    let counted = json!({"model": "anthropic/claude-sonnet-4-6",
        "messages": [{"role": "user", "content": "Hi"}]});
    [
        ("POST", CHAT, chat("openai/gpt-4o", "Hi"), 200),
        ("POST", MESSAGES, message("anthropic/claude-sonnet-4-6", "Hi"), 200),
        ("POST", "/v1/messages/count_tokens", counted, 200),
        ("POST", "/v1/responses", json!({"model": "openai/gpt-4o", "input": "Hi"}), 200),
        ("GET", "/v1/credits/balance", Value::Null, 200),
        ("GET", "/v1/credits/history", Value::Null, 200),
    ]
}

fn request(world: &World, method: &str, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = world.http.request(method.clone(), format!("{}{path}", world.base));
    if method == reqwest::Method::POST { request.json(body) } else { request }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_travels_in_three_headers_on_every_route() {
    let world = World::start().await;
    let user = world.user("100").await;
    let headers = |key: &str| {
        [
            ("x-user-key", key.to_owned()),
            ("authorization", format!("Bearer {key}")),
            ("x-api-key", key.to_owned()),
        ]
    };
    let long = format!("oc_sk_{}", "a".repeat(10 << 10));
    let cut = user.key.get(..70).unwrap();
    for (method, path, body, status) in authenticated() {
        for (name, value) in headers(&user.key) {
            let answer = request(&world, method, path, &body).header(name, value).send().await;
            assert_eq!(answer.unwrap().status(), status, "{path} {name}");
        }
        for bad in ["nonsense", "oc_sk_", &long, cut, &user.publishable_key] {
            for (name, value) in headers(bad) {
                let answer = request(&world, method, path, &body).header(name, value).send().await;
                assert_error(answer.unwrap(), path, 401, "invalid_user_key").await;
            }
        }
        let answer = request(&world, method, path, &body).send().await.unwrap();
        assert_error(answer, path, 401, "missing_api_key").await;
        // The first of the three counts.
        let answer = request(&world, method, path, &body)
            .header("x-user-key", &user.key)
            .header("authorization", "Bearer nonsense")
            .header("x-api-key", "nonsense");
        assert_eq!(answer.send().await.unwrap().status(), status, "{path}");
    }
    world.settled_balance(&user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn base_urls_may_be_mixed_up() {
    let world = World::start().await;
    let user = world.user("100").await;
    for (method, path, body, status) in authenticated() {
        let bare = path.strip_prefix("/v1").unwrap();
        for path in [bare.to_owned(), format!("/v1{path}"), format!("/v1/v1{path}")] {
            let request = request(&world, method, &path, &body).header("x-user-key", &user.key);
            assert_eq!(request.send().await.unwrap().status(), status, "{path}");
        }
    }
    for path in ["/models", "/v1/v1/models", "/models/openai/gpt-4o"] {
        let answer = world.http.get(format!("{}{path}", world.base)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    world.settled_balance(&user).await;
    world.end().await;
}

/// Another key for a user's account.
async fn key(world: &World, user: &User, limits: Value) -> (String, User) {
    let mut fields = limits;
    fields["partner"] = json!(user.partner);
    let path = format!("/admin/v1/accounts/{}/keys", user.account);
    let made = world.operate("POST", &path, &fields).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), User { key: text("user_key"), ..user.clone() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let world = World::start().await;
    let user = world.user("100").await;
    for (path, request) in good() {
        let (_, limited) = key(&world, &user, json!({"rate_limit": "1/min"})).await;
        let answer = world.post(&limited, path, &request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-ratelimit-limit-requests"], "1");
        assert_eq!(answer.headers()["x-ratelimit-remaining-requests"], "0");
        let answer = world.post(&limited, path, &request).send().await.unwrap();
        let headers = answer.headers().clone();
        assert_error(answer, path, 429, "rate_limited").await;
        assert_eq!(headers["x-ratelimit-limit-requests"], "1");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
        assert!(headers.contains_key("x-ratelimit-reset-requests"));
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((30..=60).contains(&wait), "{wait}");
        assert!(!headers.contains_key("x-should-retry"));
        // The limit is the key's, not the account's.
        let answer = world.post(&user, path, &request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(world.history(&user).await.len(), 5);
    world.settled_balance(&user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partners_limit_holds_for_each_of_its_keys() {
    let world = World::start().await;
    let partner = json!({"name": "slow", "referral_rate": "0", "rate_limit_per_key": "1/min"});
    let user = world.user_of(&partner, "100").await;
    let request = chat("openai/gpt-4o", "Hi");
    for status in [200, 429] {
        let answer = world.post(&user, CHAT, &request).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_or_expired_key_is_401_at_once() {
    let world = World::start().await;
    let user = world.user("100").await;
    let (id, other) = key(&world, &user, json!({})).await;
    let (_, expired) = key(&world, &user, json!({"expires_at": 1_000_000_000})).await;
    let path = "/v1/credits/balance";
    world.get(&other, path).await;
    world.operate("DELETE", &format!("/admin/v1/keys/{id}"), &json!({})).await;
    for bad in [&other, &expired] {
        let request = request(&world, "GET", path, &Value::Null).header("x-user-key", &bad.key);
        assert_error(request.send().await.unwrap(), path, 401, "invalid_user_key").await;
        for (path, request) in good() {
            let answer = world.post(bad, path, &request).send().await.unwrap();
            assert_error(answer, path, 401, "invalid_user_key").await;
        }
    }
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_sells_its_allowed_models_only() {
    let world = World::start().await;
    let partner = json!({"name": "narrow", "referral_rate": "0.10",
        "allowed_models": ["openai/gpt-4o", "anthropic/*"]});
    let user = world.user_of(&partner, "100").await;
    for (path, model, status) in [
        (CHAT, "openai/gpt-4o", 200),
        (CHAT, "gpt-4o", 200),
        (CHAT, "openai/gpt-4o-mini", 403),
        (CHAT, "xai/grok-4.3", 403),
        (MESSAGES, "anthropic/claude-sonnet-4-6", 200),
        (MESSAGES, "anthropic/claude-sonnet-4.6", 200),
        (MESSAGES, "openai/gpt-4o-mini", 403),
    ] {
        let answer = world.post(&user, path, &message(model, "Hi")).send().await.unwrap();
        if status == 403 {
            let said = assert_error(answer, path, 403, "model_not_allowed").await;
            assert!(said.contains(model), "{said}");
        } else {
            assert_eq!(answer.status(), status, "{path} {model}");
        }
    }
    world.settled_balance(&user).await;
    world.end().await;
}
