//! `/v1/responses` and the counting of tokens: what has no state here, and what stands in for it.

use serde_json::{Value, json};

use crate::support::{User, World};

const RESPONSES: &str = "/v1/responses";

/// A model of each provider, OpenAI's once for each of its routes.
const MODELS: [&str; 5] = [
    "openai/gpt-4o",
    "openai/gpt-5-pro",
    "anthropic/claude-sonnet-4-6",
    "google/gemini-2.5-flash",
    "xai/grok-4.3",
];

fn tool() -> Value {
    json!({"type": "function", "name": "get_weather", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}}, "required": ["city"]}})
}

async fn respond(world: &World, user: &User, request: &Value) -> (u16, Value) {
    let answer = world.post(user, RESPONSES, request).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    if request["stream"] == true && status == 200 {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let last: Value = serde_json::from_str(lines.next_back().unwrap()).unwrap();
        assert_eq!(last["type"], "response.completed", "{last}");
        return (status, last["response"].clone());
    }
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn state_at_the_provider_is_refused_and_never_asked_for() {
    let world = World::start().await;
    let user = world.user("1000").await;
    for model in MODELS {
        for (field, value) in [
            ("store", json!(true)),
            ("previous_response_id", json!("resp_1")),
            ("conversation", json!("conv_1")),
            ("background", json!(true)),
            ("prompt", json!({"id": "pmpt_1"})),
        ] {
            let mut request = json!({"model": model, "input": "Hi"});
            request[field] = value;
            let (status, body) = respond(&world, &user, &request).await;
            assert_eq!(status, 400, "{model} {field}");
            assert_eq!(body["error"]["param"], field, "{model}: {body}");
        }
        assert!(world.providers.requests().is_empty());
        let (status, _) = respond(&world, &user, &json!({"model": model, "input": "Hi"})).await;
        assert_eq!(status, 200, "{model}");
        let sent = world.providers.last_request().unwrap();
        if sent.path.contains("/responses") {
            assert_eq!(sent.json()["store"], false, "{model}");
        }
        world.providers.clear_requests();
    }
    world.settled_balance(&user).await;
    world.end().await;
}

/// A tool loop whose second step refers to the items of the first, as Vercel's SDK sends it.
async fn loop_by_reference(world: &World, user: &User, model: &str, stream: bool) -> (u16, Value) {
    let asked = json!({"role": "user", "content": "The weather?"});
    let request =
        json!({"model": model, "stream": stream, "input": [asked.clone()], "tools": [tool()]});
    let (status, first) = respond(world, user, &request).await;
    assert_eq!(status, 200, "{model}: {first}");
    let items = first["output"].as_array().unwrap();
    let call = items.iter().find(|item| item["type"] == "function_call").unwrap();
    let mut input = vec![asked];
    input.extend(items.iter().map(|item| json!({"type": "item_reference", "id": item["id"]})));
    input.push(json!({"type": "function_call_output", "call_id": call["call_id"],
        "output": "sunny"}));
    let request = json!({"model": model, "stream": stream, "input": input, "tools": [tool()]});
    respond(world, user, &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn references_to_recent_items_are_resolved() {
    let world = World::start().await;
    for model in MODELS {
        for stream in [false, true] {
            let user = world.user("1000").await;
            let (status, second) = loop_by_reference(&world, &user, model, stream).await;
            assert_eq!(status, 200, "{model}: {second}");
            let texts = second["output"].as_array().unwrap().iter();
            assert!(texts.into_iter().any(|item| item["type"] == "message"), "{second}");
            world.settled_balance(&user).await;
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_is_not_known_is_told_how_to_do_without() {
    let off = World::with(&[("RESPONSES_CACHE", "0")]).await;
    let user = off.user("1000").await;
    let (status, body) = loop_by_reference(&off, &user, MODELS[0], false).await;
    assert_eq!(status, 400);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("providerOptions.openai.store: false"), "{message}");
    off.end().await;

    let world = World::start().await;
    let (one, other) = (world.user("1000").await, world.user("1000").await);
    let (_, first) = respond(&world, &one, &json!({"model": MODELS[0], "input": "Hi"})).await;
    let id = &first["output"][0]["id"];
    let request = json!({"model": MODELS[0], "input": [{"type": "item_reference", "id": id}]});
    assert_eq!(respond(&world, &one, &request).await.0, 200, "one's own");
    assert_eq!(respond(&world, &other, &request).await.0, 400, "another's");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_for_every_model_and_cost_nothing() {
    let world = World::start().await;
    let user = world.user("100").await;
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
    let image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    for model in MODELS {
        let count = async |content: &Value, tools: &Value| {
            let request = json!({"model": model, "tools": tools,
                "messages": [{"role": "user", "content": content}]});
            let path = "/v1/messages/count_tokens?beta=true";
            let answer = world.post(&user, path, &request).send().await.unwrap();
            let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
            assert_eq!(status, 200, "{model}: {body}");
            body["input_tokens"].as_u64().unwrap()
        };
        let plain = count(&json!(text), &json!([])).await;
        assert!((900..1_300).contains(&plain), "{model}: {plain}");
        let declared =
            json!([{"name": "a", "description": "b", "input_schema": tool()["parameters"]}]);
        assert!(count(&json!(text), &declared).await >= plain, "{model}");
        if model.starts_with("anthropic") {
            continue;
        }
        let source = json!({"type": "base64", "media_type": "image/png", "data": image});
        let seen = json!([{"type": "text", "text": text}, {"type": "image", "source": source}]);
        assert!(count(&seen, &json!([])).await > plain, "{model}");
    }
    assert_eq!(world.settled_balance(&user).await, 100_000_000);
    world.end().await;
}
