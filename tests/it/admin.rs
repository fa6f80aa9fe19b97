//! The admin and the partner API: made, repeated, changed, paid out, audited.

use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, World, chat, micro};

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_wants_its_token_and_its_own_address() {
    let world = World::start().await;
    let ask = async |base: &str, token: &str| {
        let url = format!("{base}/admin/v1/partners");
        world.http.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&world.admin, ADMIN_TOKEN).await, 200);
    assert_eq!(ask(&world.admin, "another-token-of-at-least-32-bytes").await, 401);
    assert_eq!(ask(&world.base, ADMIN_TOKEN).await, 404);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_under_its_idempotency_key_makes_nothing_new() {
    let world = World::start().await;
    let post = async |path: &str, key: &str, body: &Value| {
        let url = format!("{}{path}", world.admin);
        let request = world.http.post(url).bearer_auth(ADMIN_TOKEN).json(body);
        let answer = request.header("idempotency-key", key).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let partner = json!({"name": "once", "referral_rate": "0.10"});
    let (status, first) = post("/admin/v1/partners", "p1", &partner).await;
    assert_eq!(status, 201, "{first}");
    let (_, again) = post("/admin/v1/partners", "p1", &partner).await;
    assert_eq!((&again["id"], &again["repeat"]), (&first["id"], &json!(true)));
    assert_eq!(again["secret_key"], Value::Null);
    let other = json!({"name": "other", "referral_rate": "0.10"});
    assert_eq!(post("/admin/v1/partners", "p1", &other).await.0, 409);

    let account = json!({"partner": first["id"], "email": null, "credits": "50"});
    let (status, made) = post("/admin/v1/accounts", "a1", &account).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(micro(&made["balance"]), 50_000_000);
    let (_, again) = post("/admin/v1/accounts", "a1", &account).await;
    assert_eq!((&again["id"], &again["user_key"]), (&made["id"], &Value::Null));

    let path = format!("/admin/v1/accounts/{}/grants", made["id"].as_str().unwrap());
    let grant = json!({"credits": "12.5", "reason": "a present"});
    for _ in 0..2 {
        let (_, granted) = post(&path, "g1", &grant).await;
        assert_eq!(micro(&granted["balance"]), 62_500_000, "{granted}");
    }
    let (_, back) = post(&path, "g2", &json!({"credits": "-2.5", "reason": "a mistake"})).await;
    assert_eq!(micro(&back["balance"]), 60_000_000, "{back}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_sees_each_request_and_is_paid_what_it_earned() {
    let world = World::start().await;
    let user = world.user("100").await;
    for _ in 0..3 {
        let answer = world.post(&user, "/v1/chat/completions", &chat("openai/gpt-4o", "Hi"));
        assert_eq!(answer.send().await.unwrap().status(), 200);
    }
    let see = async |path: &str| {
        let url = format!("{}{path}", world.base);
        let answer = world.http.get(url).bearer_auth(&user.secret_key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    let usage = see("/partner/v1/usage?limit=2").await;
    let rows = usage["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let rest = see(&format!("/partner/v1/usage?after={}", usage["next"].as_str().unwrap())).await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    assert!(!usage.to_string().contains(&user.account));
    let shares: i64 = rows
        .iter()
        .chain(rest["data"].as_array().unwrap())
        .map(|row| micro(&row["referral_share"]))
        .sum();
    let earnings = see("/partner/v1/earnings").await;
    assert_eq!(micro(&earnings["earned"]), shares);
    assert_eq!(micro(&earnings["payable"]), shares);
    assert_eq!(earnings["by_day"][0]["requests"], 3);
    assert_eq!(earnings["by_model"][0]["model"], "openai/gpt-4o");
    let profile = see("/partner/v1/profile").await;
    assert_eq!(profile["publishable_key"], user.publishable_key.as_str());

    let path = format!("/admin/v1/partners/{}/payouts", user.partner);
    let too_much = json!({"credits": "99", "reference": "x"});
    assert!(world.try_operate("POST", &path, &too_much).await.0 >= 400);
    let all = opencredits_schema::Credits::from_micro(shares).to_string();
    let paid = world.operate("POST", &path, &json!({"credits": all, "reference": "x"})).await;
    assert_eq!(micro(&paid["payable"]), 0);
    let books = world.operate("GET", "/admin/v1/books", &Value::Null).await;
    assert_eq!(books["balanced"], true, "{books}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_models_and_balance_are_told_as_documented() {
    let world = World::start().await;
    let partner = json!({"name": "free", "referral_rate": "0", "allowed_models": ["anthropic/*"]});
    let user = world.user_of(&partner, "4850.5").await;
    let balance = world.get(&user, "/v1/credits/balance").await;
    assert_eq!(
        balance,
        json!({"balance": 4850.5, "currency": "credits", "held": 0, "available": 4850.5})
    );

    let url = format!("{}/v1/credits/pricing", world.base);
    let body = json!({"publishable_key": user.publishable_key,
        "models": ["anthropic/claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-6", "openai/gpt-4o"]});
    let posted: Value =
        world.http.post(&url).json(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(posted["token_assumption"], json!({"input": 2500, "output": 2500}));
    let models = posted["models"].as_array().unwrap();
    assert!(models.iter().all(|model| model["id"] != "openai/gpt-4o"), "{posted}");
    let sonnet = models.iter().find(|model| model["id"] == "anthropic/claude-sonnet-4-6").unwrap();
    assert_eq!(sonnet["credits_per_request"], 4.5);
    let query = format!(
        "{url}?publishable_key={}&models=anthropic/claude-sonnet-4-6&input_tokens=1000&output_tokens=0",
        user.publishable_key
    );
    let got: Value = world.http.get(query).send().await.unwrap().json().await.unwrap();
    assert_eq!(got["models"][0]["credits_per_request"], 0.3);
    assert_eq!(world.http.get(&url).send().await.unwrap().status(), 400);

    let models: Value = world
        .http
        .get(format!("{}/v1/models", world.base))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let list = models["data"].as_array().unwrap();
    assert!(list.len() > 100 && models["has_more"] == false);
    let retired: Vec<_> = list.iter().map(|model| model["status"] == "retired").collect();
    assert!(retired.is_sorted(), "retired models come last");
    let one =
        world.http.get(format!("{}/v1/models/openai/gpt-4o", world.base)).send().await.unwrap();
    assert_eq!(one.json::<Value>().await.unwrap()["id"], "openai/gpt-4o");
    world.end().await;
}
