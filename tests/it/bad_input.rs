//! What clients should not send: each gets its documented error in bounded time, and holds nothing.

mod door;
mod keys;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{User, World, chat, message, micro};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// A good request of each dialect.
fn good() -> [(&'static str, Value); 2] {
    [(CHAT, chat("openai/gpt-4o", "Hi")), (MESSAGES, message("anthropic/claude-sonnet-4-6", "Hi"))]
}

async fn post_raw(
    world: &World,
    user: &User,
    path: &str,
    body: impl Into<reqwest::Body>,
) -> Response {
    let request = world.http.post(format!("{}{path}", world.base)).header("x-user-key", &user.key);
    request.header("content-type", "application/json").body(body).send().await.unwrap()
}

/// Asserts that an answer is this error in the shape of its path; its message.
async fn assert_error(answer: Response, path: &str, status: u16, kind: &str) -> String {
    let headers = answer.headers().clone();
    let told = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(told, status, "{path}: {text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let error = &body["error"];
    assert_eq!(error["type"], kind, "{path}: {body}");
    if path.contains("/messages") {
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(error.as_object().unwrap().len(), 2, "{body}");
    } else {
        assert_eq!(error["code"], json!(status.to_string()), "{body}");
        assert!(error.as_object().unwrap().contains_key("param"), "{body}");
    }
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(headers["access-control-allow-origin"], "*", "a page can read it");
    if (400..405).contains(&status) {
        assert_eq!(headers["x-should-retry"], "false", "{status}");
    }
    if matches!(status, 429 | 503) {
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1);
    }
    error["message"].as_str().unwrap().to_owned()
}

/// Asserts that nothing was held, charged or sent on, and that the gateway still works.
async fn assert_unharmed(world: &World, user: &User) {
    assert!(world.providers.requests().is_empty(), "a provider was asked");
    let balance = world.get(user, "/v1/credits/balance").await;
    assert_eq!(micro(&balance["held"]), 0);
    assert_eq!(world.history(user).await.len(), 1, "only the grant");
    for (path, request) in good() {
        let answer = world.post(user, path, &request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    world.settled_balance(user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_request_is_400() {
    let world = World::start().await;
    let user = world.user("100").await;
    let deep =
        format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for (path, good) in good() {
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body.to_string().into_bytes()
        };
        let without = |name: &str| {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name);
            body.to_string().into_bytes()
        };
        let whole = good.to_string();
        let twice = |member: &str| whole.replacen('{', &format!("{{{member},"), 1).into_bytes();
        let mut latin = whole.clone().into_bytes();
        let at = latin.windows(2).position(|pair| pair == b"Hi").unwrap();
        latin[at] = 0xff;
        let mut bodies = vec![
            Vec::new(),
            b"{".to_vec(),
            whole.as_bytes()[..whole.len() - 1].to_vec(),
            format!("{whole}{whole}").into_bytes(),
            b"[]".to_vec(),
            b"null".to_vec(),
            b"model=gpt-4o".to_vec(),
            latin,
            deep.clone().into_bytes(),
            with("extra", json!(1)).into_iter().chain(*b"x").collect(),
            without("model"),
            without("messages"),
            with("model", json!(5)),
            with("model", json!("")),
            with("model", json!("m".repeat(10_000))),
            with("messages", json!("Hi")),
            with("messages", json!({"role": "user"})),
            with("stream", json!("yes")),
            with("max_tokens", json!(-1)),
            with("max_tokens", json!(1.5)),
            with("max_tokens", json!("many")),
            with("tools", json!("all")),
            twice(r#""model":"openai/gpt-4o-mini""#),
            twice(r#""stream":true,"stream":false"#),
            twice(r#""max_tokens":1,"max_tokens":100000"#),
        ];
        if path == CHAT {
            bodies.push(with("n", json!(0)));
            bodies.push(with("n", json!(1_000_000)));
            bodies.push(with("stream_options", json!("usage")));
        } else {
            bodies.push(without("max_tokens"));
        }
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            let answer = post_raw(&world, &user, path, body).await;
            assert_eq!(answer.status(), 400, "{path}: {shown}");
            assert_error(answer, path, 400, "invalid_request").await;
        }
    }
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_tomorrow_pass_untouched() {
    let world = World::start().await;
    let user = world.user("100").await;
    for (path, mut request) in good() {
        let novel = json!({"deep": [1, 2.50, {"a\u{1F600}": null}], "model": "not this one"});
        request["field_of_tomorrow"] = novel.clone();
        let answer = world.post(&user, path, &request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let sent = world.providers.last_request().unwrap().json();
        assert_eq!(sent["field_of_tomorrow"], novel);
    }
    world.settled_balance(&user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_so() {
    let world = World::start().await;
    let user = world.user("100").await;
    let tool = |kind: &str| json!([{"type": kind, "name": "a"}]);
    for (path, model, field, value, says) in [
        (CHAT, "anthropic/claude-sonnet-4-6", "n", json!(2), "`n`"),
        (CHAT, "google/gemini-2.5-pro", "modalities", json!(["audio"]), "modalities"),
        (CHAT, "google/gemini-2.5-pro", "web_search_options", json!({}), "web_search_options"),
        (MESSAGES, "openai/gpt-4o", "tools", tool("bash_20250124"), "bash_20250124"),
        (MESSAGES, "xai/grok-4.3", "tools", tool("web_fetch_20250910"), "web_fetch_20250910"),
        (
            MESSAGES,
            "google/gemini-2.5-pro",
            "tools",
            tool("computer_20250124"),
            "computer_20250124",
        ),
    ] {
        // What only another provider could make of it.
        let mut request = message(model, "Hi");
        request[field] = value;
        let answer = world.post(&user, path, &request).send().await.unwrap();
        let said = assert_error(answer, path, 400, "invalid_request").await;
        assert!(said.contains(says), "{said}");
    }
    for path in [CHAT, MESSAGES] {
        let answer = world.post(&user, path, &message("openai/none", "Hi")).send().await.unwrap();
        let said = assert_error(answer, path, 404, "model_not_found").await;
        assert!(said.contains("openai/none"), "{said}");
    }
    let answer = world.post(&user, "/v1/responses", &json!({"model": "openai/gpt-4o"}));
    assert_error(answer.send().await.unwrap(), "/v1/responses", 400, "invalid_request").await;
    for path in ["/v1/nothing", "/v1/chat", "/v1/messages/batches", "/admin/v1/books", "/metrics"] {
        let answer = world.post(&user, path, &json!({})).send().await.unwrap();
        assert_error(answer, path, 404, "not_found").await;
    }
    for (path, allowed) in
        [(CHAT, "POST"), (MESSAGES, "POST"), ("/v1/credits/pricing", "GET, POST")]
    {
        let answer = world.http.put(format!("{}{path}", world.base)).send().await.unwrap();
        assert_eq!(answer.headers()["allow"], allowed);
        assert_error(answer, path, 405, "method_not_allowed").await;
    }
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_documented_error_comes_in_both_shapes() {
    let world = World::start().await;
    let user = world.user("100").await;
    let poor = world.user("0").await;
    let narrow = json!({"name": "narrow", "referral_rate": "0", "allowed_models": ["google/*"]});
    let narrow = world.user_of(&narrow, "100").await;
    let nobody = User { key: format!("oc_sk_{}", "0".repeat(72)), ..user.clone() };
    for (path, request) in good() {
        let post = async |user: &User, request: &Value| {
            world.post(user, path, request).send().await.unwrap()
        };
        assert_error(post(&user, &json!({})).await, path, 400, "invalid_request").await;
        assert_error(post(&nobody, &request).await, path, 401, "invalid_user_key").await;
        let bare = world.http.post(format!("{}{path}", world.base)).json(&request);
        assert_error(bare.send().await.unwrap(), path, 401, "missing_api_key").await;
        let said =
            assert_error(post(&poor, &request).await, path, 402, "insufficient_credits").await;
        assert!(said.starts_with("Insufficient credits. Please top up your balance."), "{said}");
        assert_error(post(&narrow, &request).await, path, 403, "model_not_allowed").await;
        let unknown = message("openai/none", "Hi");
        assert_error(post(&user, &unknown).await, path, 404, "model_not_found").await;
        let failing = message(request["model"].as_str().unwrap(), "[[sim status=500]]");
        let said = assert_error(post(&user, &failing).await, path, 502, "upstream_error").await;
        assert_eq!(said, "The AI provider returned an error.");
    }
    for user in [&user, &poor, &narrow] {
        assert_eq!(world.settled_balance(user).await % 100_000_000, 0);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_reach_into_the_operators_account_are_refused() {
    let world = World::start().await;
    let user = world.user("100").await;
    let file = json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]);
    let image = json!([{"role": "user", "content":
        [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]);
    for (path, good) in good() {
        for (name, value) in [
            ("store", json!(true)),
            ("background", json!(true)),
            ("previous_response_id", json!("resp_1")),
            ("conversation", json!("conv_1")),
            ("prompt", json!({"id": "pmpt_1"})),
            ("mcp_servers", json!([{"type": "url", "url": "https://a.example"}])),
            ("container", json!("cntr_1")),
            ("vector_store_ids", json!(["vs_1"])),
            ("tools", json!([{"type": "mcp", "server_url": "https://a.example"}])),
            ("tools", json!([{"type": "file_search", "vector_store_ids": ["vs_1"]}])),
            ("messages", file.clone()),
            ("messages", image.clone()),
            ("service_tier", json!("of tomorrow")),
        ] {
            let mut request = good.clone();
            request[name] = value;
            let answer = world.post(&user, path, &request).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}: {request}");
            assert_error(answer, path, 400, "invalid_request").await;
        }
    }
    assert_unharmed(&world, &user).await;
    world.end().await;
}
