//! What a partner is told, and who is told nothing.

use serde_json::{Value, json};

use super::*;
use crate::admin::tests::Fixture;
use crate::auth::Caller;

/// A partner at 10 % with a user of 1000 credits.
struct Shop {
    fixture: Fixture,
    partner: Value,
    user: Arc<Caller>,
}

impl Shop {
    async fn open() -> Self {
        let fixture = Fixture::new().await;
        let partner = fixture.partner(&json!({"name": "A", "referral_rate": "0.10"})).await;
        let user = fixture.user_of(&partner, "1000").await;
        Self { fixture, partner, user }
    }

    async fn get(&self, path: &str) -> Result<Response<Bytes>, ApiError> {
        let key = self.partner["secret_key"].as_str().unwrap();
        let request = Fixture::bearing(key, "GET", &format!("/partner/v1/{path}"), "");
        handle(&self.fixture.gateway, &request).await
    }
}

#[tokio::test]
async fn a_request_is_broken_down_without_its_user() {
    let shop = Shop::open().await;
    shop.fixture.settle(&shop.user, 1, "openai/gpt-4o").await;
    let page = Fixture::ok(shop.get("usage").await);
    let row = &page["data"][0];
    for (field, value) in [
        ("type", json!("usage")),
        ("model", json!("openai/gpt-4o")),
        ("usage", json!({"input": 500, "output": 2000})),
        ("provider_cost", json!(1.05)),
        ("referral_share", json!(0.105)),
        ("charge", json!(1.155)),
        ("status", json!("completed")),
        ("basis", json!("provider")),
        ("request_id", json!(Fixture::request_id(1).to_string())),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
    assert_eq!(row["account"].as_str().unwrap().len(), 16);
    let account = shop.user.key.account.to_string();
    assert!(!page.to_string().contains(account.trim_start_matches("acc_")));
    assert_eq!(page["next"], Value::Null);
}

#[tokio::test]
async fn all_requests_are_reached_page_by_page() {
    let shop = Shop::open().await;
    for number in 1..=5 {
        shop.fixture.settle(&shop.user, number, "openai/gpt-4o").await;
    }
    // A recovered request has two rows, which no page tears apart.
    shop.fixture.recover(&shop.user, 3).await;
    let mut seen = Vec::new();
    let mut query = "usage?limit=2".to_owned();
    loop {
        let page = Fixture::ok(shop.get(&query).await);
        let rows = page["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["request_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("usage?limit=2&after={next}");
    }
    let id = |number| Fixture::request_id(number).to_string();
    let recovered = Fixture::recovered_id(3).to_string();
    let mut expected = vec![id(1), id(2), id(3), id(4), id(5), recovered.clone(), recovered];
    expected.sort();
    expected.reverse();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn requests_are_chosen_by_time_and_model() {
    let shop = Shop::open().await;
    shop.fixture.settle(&shop.user, 1, "openai/gpt-4o").await;
    shop.fixture.settle(&shop.user, 2, "anthropic/claude-opus-4-6").await;
    for (query, count) in [
        ("", 2),
        ("model=openai/gpt-4o", 1),
        ("model=anthropic%2Fclaude-opus-4.6", 1),
        ("model=none", 0),
        ("from=1970-01-01", 2),
        ("to=2001-01-01T00:00:00Z", 0),
        ("from=99999999999", 0),
    ] {
        let page = Fixture::ok(shop.get(&format!("usage?{query}")).await);
        assert_eq!(page["data"].as_array().unwrap().len(), count, "{query}");
    }
    for bad in ["usage?from=yesterday", "usage?after=1", "usage?limit=x", "earnings?to=x"] {
        let error = shop.get(bad).await.unwrap_err();
        assert_eq!(error.code().status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn earnings_are_summed_by_day_and_by_model() {
    let shop = Shop::open().await;
    for (number, model) in [(1, "openai/gpt-4o"), (2, "openai/gpt-4o"), (3, "xai/grok-4.5")] {
        shop.fixture.settle(&shop.user, number, model).await;
    }
    let all = Fixture::ok(shop.get("earnings").await);
    let day = dates::day_text(Fixture::settled_at().day());
    let expected = json!({"earned": 0.315, "paid_out": 0, "payable": 0.315,
        "by_day": [{"day": day, "requests": 3, "provider_cost": 3.15, "referral_share": 0.315}],
        "by_model": [
            {"model": "openai/gpt-4o", "requests": 2, "provider_cost": 2.1, "referral_share": 0.21},
            {"model": "xai/grok-4.5", "requests": 1, "provider_cost": 1.05,
                "referral_share": 0.105}]});
    assert_eq!(all, expected);
    let none = Fixture::ok(shop.get("earnings?to=2001-01-01").await);
    let expected = json!({"earned": 0, "paid_out": 0, "payable": 0.315, "by_day": [],
        "by_model": []});
    assert_eq!(none, expected);
}

#[tokio::test]
async fn a_profile_shows_the_partner_and_no_secret() {
    let shop = Shop::open().await;
    let profile = Fixture::ok(shop.get("profile").await);
    let expected = json!({"id": shop.partner["id"], "name": "A",
        "publishable_key": shop.partner["publishable_key"], "referral_rate": 0.1,
        "allowed_models": null, "allowed_origins": []});
    assert_eq!(profile, expected);
}

#[tokio::test]
async fn only_a_partners_secret_key_opens_the_partner_api() {
    let shop = Shop::open().await;
    let publishable = shop.partner["publishable_key"].as_str().unwrap();
    let stranger = keys::generate(keys::PARTNER_SECRET).unwrap();
    let long = format!("oc_rk_{}", "0".repeat(10_000));
    for bad in [publishable, stranger.expose(), &long, "oc_rk_"] {
        let request = Fixture::bearing(bad, "GET", "/partner/v1/profile", "");
        let error = handle(&shop.fixture.gateway, &request).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidUserKey);
    }
    let request = Fixture::request("GET", "/partner/v1/profile", "");
    let error = handle(&shop.fixture.gateway, &request).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::MissingApiKey);
    assert_eq!(shop.get("secrets").await.unwrap_err().code(), ErrorCode::NotFound);
    let key = shop.partner["secret_key"].as_str().unwrap();
    let request = Fixture::bearing(key, "POST", "/partner/v1/usage", "");
    let error = handle(&shop.fixture.gateway, &request).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::MethodNotAllowed);
}
