//! The operator's stories, and the small gateway on which they and the other handlers' are told.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, Response};
use opencredits_actors::{MemoryStore, Settings, System};
use opencredits_schema::{
    AccountId, Basis, Charged, Command, Credits, PicoUsd, Place, PriceBook, ReferralRate,
    RequestId, SettledBy, Status, Timestamp, Usage,
};
use serde_json::{Value, json};

use super::*;
use crate::auth::Caller;
use crate::config::Config;
use crate::error::ErrorShape;
use crate::upstream::Upstream;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A gateway over a store in memory, with keys for all providers but Google.
pub(crate) struct Fixture {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) store: Arc<MemoryStore>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(&[
            ("OPENCREDITS_ADMIN_TOKEN", TOKEN),
            ("OPENCREDITS_OPENAI_API_KEY", "sk-openai"),
            ("OPENCREDITS_ANTHROPIC_API_KEY", "sk-anthropic"),
            ("OPENCREDITS_XAI_API_KEY", "sk-xai"),
        ])
        .await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let names: Vec<_> = settings.iter().map(|(name, _)| (*name).to_owned()).collect();
        let lookup = |name: &str| {
            let found = settings.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = Config::parse(lookup, &names, None).unwrap();
        let upstream = Upstream::new(&config.providers, config.workers).unwrap();
        let store = Arc::new(MemoryStore::default());
        let times = Settings {
            hold_lease: config.times.hold_lease,
            passivate_after: config.times.passivate_after,
            node: 1,
            clock: opencredits_actors::Clock::default(),
        };
        let system = System::start(Arc::clone(&store) as _, times).await.unwrap();
        let book = PriceBook::built_in().unwrap();
        Self { gateway: Arc::new(Gateway::new(config, system, upstream, None, book)), store }
    }

    pub(crate) fn request(method: &str, target: &str, body: &str) -> Incoming {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Incoming {
            id: crate::random::request_id(),
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    pub(crate) fn bearing(token: &str, method: &str, target: &str, body: &str) -> Incoming {
        let mut request = Self::request(method, target, body);
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers.insert("authorization", value);
        request
    }

    /// The body of an answer that must be a success in JSON.
    pub(crate) fn ok(result: Result<Response<Bytes>, ApiError>) -> Value {
        let response = result.unwrap();
        assert!(response.status().is_success());
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_slice(response.body()).unwrap()
    }

    /// Status and body of what the admin API answers.
    async fn ask(&self, request: &Incoming) -> (u16, Value) {
        match handle(&self.gateway, request).await {
            Ok(response) => {
                (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
            }
            Err(error) => {
                let body = error.body(ErrorShape::OpenAi);
                (error.code().status().as_u16(), serde_json::from_slice(&body).unwrap())
            }
        }
    }

    async fn admin(&self, method: &str, route: &str, body: &Value) -> (u16, Value) {
        let path = format!("/admin/v1/{route}");
        self.ask(&Self::bearing(TOKEN, method, &path, &body.to_string())).await
    }

    async fn keyed(&self, key: &str, route: &str, body: &Value) -> (u16, Value) {
        let path = format!("/admin/v1/{route}");
        let mut request = Self::bearing(TOKEN, "POST", &path, &body.to_string());
        request.headers.insert("idempotency-key", key.parse().unwrap());
        self.ask(&request).await
    }

    async fn get(&self, route: &str) -> Value {
        let (status, body) = self.admin("GET", route, &Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) async fn partner(&self, fields: &Value) -> Value {
        let (status, partner) = self.admin("POST", "partners", fields).await;
        assert_eq!(status, 201, "{partner}");
        partner
    }

    pub(crate) async fn user(&self, credits: &str) -> Arc<Caller> {
        let partner = self.partner(&json!({"name": "Shop", "referral_rate": "0.10"})).await;
        self.user_of(&partner, credits).await
    }

    pub(crate) async fn user_of(&self, partner: &Value, credits: &str) -> Arc<Caller> {
        let fields = json!({"partner": partner["id"], "email": null, "credits": credits});
        let (status, account) = self.admin("POST", "accounts", &fields).await;
        assert_eq!(status, 201, "{account}");
        self.caller(&account["user_key"]).await.unwrap()
    }

    async fn caller(&self, key: &Value) -> Result<Arc<Caller>, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert("x-user-key", key.as_str().unwrap().parse().unwrap());
        self.gateway.caller(&headers, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// Opens a hold.
    pub(crate) async fn place(&self, user: &Caller, credits: &str) {
        let amount = Credits::parse(credits).unwrap();
        let place = Place {
            request: crate::random::request_id(),
            key: user.key.id,
            partner: user.key.partner,
            amount,
            least: amount,
            headroom: Credits::ZERO,
            key_limit: None,
            partner_extra: None,
            holds_max: 10,
            expires_at: self.gateway.system.now().plus_millis(60_000),
            resumed: false,
        };
        self.gateway.system.ask(user.key.account, Command::Place(place)).await.unwrap();
    }

    /// Charges 1.05 credits at 10 %, so 1.155.
    pub(crate) async fn settle(&self, user: &Caller, number: u64, model: &str) {
        let id = Self::request_id(number);
        self.charge(user, id, model, 10_500_000_000, SettledBy::Request).await;
    }

    /// Charges a request from a checkpoint and then corrects it.
    pub(crate) async fn recover(&self, user: &Caller, number: u64) {
        let id = Self::recovered_id(number);
        for (pico, by) in
            [(10_000_000_000, SettledBy::Checkpoint), (10_500_000_000, SettledBy::Request)]
        {
            self.charge(user, id, "openai/gpt-4o", pico, by).await;
        }
    }

    async fn charge(&self, user: &Caller, id: RequestId, model: &str, pico: i64, by: SettledBy) {
        let rate = ReferralRate::from_basis_points(1000).unwrap();
        let cost = PicoUsd(pico).to_credits();
        let charged = Charged {
            request: id,
            key: user.key.id,
            partner: user.key.partner,
            model: model.into(),
            price_id: "price".into(),
            rate,
            usage: Usage { input: 500, output: 2000, ..Usage::default() },
            provider_cost: PicoUsd(pico),
            cost,
            share: rate.share(cost),
            basis: Basis::Provider,
            status: Status::Completed,
        };
        let command = Command::Settle { charged: Box::new(charged), by, at: Self::settled_at() };
        self.gateway.system.ask(user.key.account, command).await.unwrap();
    }

    /// When all charges are made: 2026-11-23T09:30:00Z.
    pub(crate) fn settled_at() -> Timestamp {
        Timestamp::from_millis(1_795_426_200_000)
    }

    /// The id of a request of that moment.
    pub(crate) fn request_id(number: u64) -> RequestId {
        let at = u128::from(Self::settled_at().millis().unsigned_abs());
        RequestId::new((at << 80) | u128::from(number * 10))
    }

    /// The id of a request between the others.
    pub(crate) fn recovered_id(number: u64) -> RequestId {
        RequestId::new(Self::request_id(number).bits() + 5)
    }
}

#[tokio::test]
async fn nobody_enters_without_the_token() {
    let fixture = Fixture::new().await;
    for path in ["/admin/v1/partners", "/admin/v1/books", "/admin/v1/none"] {
        let (status, body) = fixture.ask(&Fixture::request("GET", path, "")).await;
        assert_eq!((status, &body["error"]["type"]), (401, &json!("missing_api_key")));
        let long = "0".repeat(10_000);
        for wrong in ["", "x", TOKEN.trim_start_matches('0'), &TOKEN.to_uppercase(), &long] {
            let (status, body) = fixture.ask(&Fixture::bearing(wrong, "GET", path, "")).await;
            assert_eq!(status, 401, "{body}");
        }
    }
    let off = Fixture::with(&[]).await;
    let (status, body) = off.ask(&Fixture::bearing(TOKEN, "GET", "/admin/v1/books", "")).await;
    assert_eq!(status, 404);
    assert!(body["error"]["message"].as_str().unwrap().contains("admin API is off"));
}

#[tokio::test]
async fn a_path_is_found_by_its_method() {
    let fixture = Fixture::new().await;
    for (method, route, status) in [
        ("DELETE", "partners", 405),
        ("POST", "partners/prt_0000000000000001", 405),
        ("GET", "accounts", 405),
        ("GET", "keys/key_0000000000000001", 405),
        ("POST", "books", 405),
        ("GET", "partners/prt_0000000000000001", 404),
        ("GET", "partners/x", 404),
        ("GET", "accounts/acc_0000000000000001", 404),
        ("DELETE", "keys/key_0000000000000001", 404),
        ("GET", "books/", 404),
        ("GET", "", 404),
    ] {
        let (found, body) = fixture.admin(method, route, &json!({})).await;
        assert_eq!(found, status, "{method} {route}: {body}");
    }
}

#[tokio::test]
async fn a_partner_is_made_shown_and_changed() {
    let fixture = Fixture::new().await;
    let fields = json!({"name": "Shop", "referral_rate": "0.10",
        "allowed_models": ["openai/*"], "allowed_origins": ["https://shop.example/"],
        "rate_limit_per_key": "60/min"});
    let mut made = fixture.partner(&fields).await;
    let secret = made.as_object_mut().unwrap().remove("secret_key").unwrap();
    assert!(crate::keys::is_well_formed(crate::keys::PARTNER_SECRET, secret.as_str().unwrap()));
    let publishable = made["publishable_key"].as_str().unwrap();
    assert!(crate::keys::is_well_formed(crate::keys::PUBLISHABLE_KEY, publishable));
    assert_eq!(made["referral_rate"], json!(0.1));
    assert_eq!(made["allowed_models"], json!(["openai/*"]));
    assert_eq!(made["allowed_origins"], json!(["https://shop.example"]));
    assert_eq!(made["rate_limit_per_key"], json!("60/min"));
    assert_eq!(made["payable"], json!(0));
    let route = format!("partners/{}", made["id"].as_str().unwrap());
    assert_eq!(fixture.get(&route).await, made);
    assert_eq!(fixture.get("partners").await, json!({"data": [made]}));

    let change = json!({"referral_rate": 0.25, "allowed_models": null});
    let (status, changed) = fixture.admin("PATCH", &route, &change).await;
    assert_eq!(status, 200);
    made["referral_rate"] = json!(0.25);
    made["allowed_models"] = json!(null);
    assert_eq!(changed, made);
    assert_eq!(fixture.get(&route).await, made);
}

#[tokio::test]
async fn a_bad_field_is_named_and_nothing_is_made() {
    let fixture = Fixture::new().await;
    let user = fixture.user("1").await;
    let partner = user.key.partner.to_string();
    let accounts = format!("accounts/{}", user.key.account);
    let grants = format!("{accounts}/grants");
    let keys = format!("{accounts}/keys");
    let payouts = format!("partners/{partner}/payouts");
    for (route, fields, param) in [
        ("partners", json!({"referral_rate": "0"}), json!("name")),
        ("partners", json!({"name": " ", "referral_rate": "0"}), json!("name")),
        ("partners", json!({"name": "A"}), json!("referral_rate")),
        ("partners", json!({"name": "A", "referral_rate": "0.51"}), json!("referral_rate")),
        ("partners", json!({"name": "A", "referral_rate": -0.1}), json!("referral_rate")),
        (
            "partners",
            json!({"name": "A", "referral_rate": "0", "allowed_models": ["x/*"]}),
            json!("allowed_models"),
        ),
        (
            "partners",
            json!({"name": "A", "referral_rate": "0", "allowed_origins": ["*"]}),
            json!("allowed_origins"),
        ),
        (
            "partners",
            json!({"name": "A", "referral_rate": "0", "rate_limit_per_key": "0/s"}),
            json!("rate_limit_per_key"),
        ),
        ("partners", json!({"name": "A", "referral_rate": "0", "typo": 1}), json!(null)),
        ("accounts", json!({"partner": "prt_0000000000000001"}), json!("partner")),
        ("accounts", json!({"partner": "x"}), json!("partner")),
        ("accounts", json!({"partner": partner, "email": "ann"}), json!("email")),
        ("accounts", json!({"partner": partner, "credits": "-1"}), json!("credits")),
        (&grants, json!({"credits": "0", "reason": "r"}), json!("credits")),
        (&grants, json!({"credits": "0.0000001", "reason": "r"}), json!("credits")),
        (&grants, json!({"credits": "1", "reason": ""}), json!("reason")),
        (&keys, json!({"partner": "x"}), json!("partner")),
        (&keys, json!({"partner": partner, "rate_limit": "fast"}), json!("rate_limit")),
        (&keys, json!({"partner": partner, "spend_limit": "0"}), json!("spend_limit")),
        (&keys, json!({"partner": partner, "expires_at": "soon"}), json!("expires_at")),
        (&payouts, json!({"credits": "0", "reference": "r"}), json!("credits")),
        (&payouts, json!({"credits": "1", "reference": "r"}), json!("credits")),
    ] {
        let (status, body) = fixture.admin("POST", route, &fields).await;
        assert_eq!((status, &body["error"]["param"]), (400, &param), "{route} {fields} {body}");
    }
    assert_eq!(fixture.get("partners").await["data"].as_array().unwrap().len(), 1);
    assert_eq!(fixture.get(&accounts).await["balance"], json!(1));
    assert_eq!(fixture.get("books").await["accounts"], json!(1));
}

#[tokio::test]
async fn an_account_comes_with_a_key_and_its_credits() {
    let fixture = Fixture::new().await;
    let partner = fixture.partner(&json!({"name": "Shop", "referral_rate": "0.1"})).await;
    let fields = json!({"partner": partner["id"], "email": "ann@example.com", "credits": "12.5"});
    let (status, made) = fixture.admin("POST", "accounts", &fields).await;
    assert_eq!((status, &made["balance"], &made["repeat"]), (201, &json!(12.5), &json!(null)));
    let caller = fixture.caller(&made["user_key"]).await.unwrap();
    assert_eq!(json!(caller.key.account.to_string()), made["id"]);
    fixture.settle(&caller, 1, "openai/gpt-4o").await;
    fixture.place(&caller, "2").await;
    let shown = fixture.get(&format!("accounts/{}", caller.key.account)).await;
    let expected = json!({"id": made["id"], "balance": 11.345, "held": 2, "available": 9.345,
        "open_holds": 1, "keys": [{"id": made["key_id"],
            "fingerprint": crate::keys::fingerprint(&caller.key.hash), "partner": partner["id"],
            "created": caller.key.created.seconds(), "expires_at": null, "revoked": false,
            "revoked_at": null, "rate_limit": null, "spend_limit": null, "spent": 1.155}]});
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_repeat_answers_the_same_ids_without_the_secrets() {
    let fixture = Fixture::new().await;
    let fields = json!({"name": "Shop", "referral_rate": "0.1"});
    let (_, first) = fixture.keyed("p", "partners", &fields).await;
    // Neither the order of the fields nor spaces make another request of it.
    let text = r#"{ "referral_rate": "0.1", "name": "Shop" }"#;
    let mut request = Fixture::bearing(TOKEN, "POST", "/admin/v1/partners", text);
    request.headers.insert("idempotency-key", "p".parse().unwrap());
    let (status, second) = fixture.ask(&request).await;
    assert_eq!((status, &second["repeat"]), (201, &json!(true)));
    assert_eq!((&second["id"], &second["secret_key"]), (&first["id"], &json!(null)));
    assert_eq!(second["publishable_key"], first["publishable_key"]);
    assert!(first["secret_key"].is_string() && first["repeat"].is_null());

    let fields = json!({"partner": first["id"], "credits": "5"});
    let (_, account) = fixture.keyed("a", "accounts", &fields).await;
    let (_, again) = fixture.keyed("a", "accounts", &fields).await;
    let mut expected = account.clone();
    expected["user_key"] = json!(null);
    expected["repeat"] = json!(true);
    assert_eq!(again, expected);

    let route = format!("accounts/{}", account["id"].as_str().unwrap());
    let keys = format!("{route}/keys");
    let fields = json!({"partner": first["id"], "rate_limit": "5/s", "spend_limit": "100"});
    let (_, key) = fixture.keyed("k", &keys, &fields).await;
    let (_, again) = fixture.keyed("k", &keys, &fields).await;
    assert_eq!(again, json!({"id": key["id"], "user_key": null, "repeat": true}));
    assert_eq!(fixture.get(&route).await["keys"].as_array().unwrap().len(), 2);
    assert_eq!(fixture.get(&route).await["balance"], json!(5));
    assert_eq!(fixture.get("partners").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn other_fields_under_the_same_key_are_a_conflict() {
    let fixture = Fixture::new().await;
    let (_, partner) =
        fixture.keyed("k", "partners", &json!({"name": "A", "referral_rate": "0"})).await;
    let other = json!({"name": "B", "referral_rate": "0"});
    let (status, body) = fixture.keyed("k", "partners", &other).await;
    assert_eq!((status, &body["error"]["type"]), (409, &json!("conflict")));
    let (status, _) = fixture.keyed("k", "accounts", &json!({"partner": partner["id"]})).await;
    assert_eq!(status, 409);
    // A request that was bad in itself has used up nothing.
    let (status, _) = fixture.keyed("n", "partners", &json!({"name": "B"})).await;
    assert_eq!(status, 400);
    let (status, _) = fixture.keyed("n", "partners", &other).await;
    assert_eq!(status, 201);
    let (status, _) = fixture.keyed(&"k".repeat(256), "partners", &other).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_creation_that_broke_off_is_completed_by_its_repeat() {
    let fixture = Fixture::new().await;
    let fields = json!({"name": "Shop", "referral_rate": "0"});
    let (_, whole) = fixture.keyed("p", "partners", &fields).await;
    // Another gateway after the same crash: it knows of the key, and nothing was made.
    let broken = Fixture::new().await;
    let mut request = Fixture::bearing(TOKEN, "POST", "/admin/v1/partners", &fields.to_string());
    request.headers.insert("idempotency-key", "p".parse().unwrap());
    attempt::Attempt::begin(&broken.gateway, &request, "partner").await.unwrap();
    let (_, completed) = broken.keyed("p", "partners", &fields).await;
    assert_eq!((&completed["id"], &completed["repeat"]), (&whole["id"], &json!(true)));
    // Nobody was told the first one's secret, so this one is told.
    assert!(completed["secret_key"].is_string());

    let fields = json!({"partner": completed["id"], "credits": "7"});
    let mut request = Fixture::bearing(TOKEN, "POST", "/admin/v1/accounts", &fields.to_string());
    request.headers.insert("idempotency-key", "a".parse().unwrap());
    let begun = attempt::Attempt::begin(&broken.gateway, &request, "account").await.unwrap();
    let id = AccountId::new(begun.number("account"));
    let now = broken.gateway.system.now();
    broken.gateway.system.store().create_account(id, None, now).await.unwrap();
    for told in [true, false] {
        let (status, account) = broken.keyed("a", "accounts", &fields).await;
        assert_eq!((status, &account["id"]), (201, &json!(id.to_string())));
        assert_eq!((&account["balance"], account["user_key"].is_string()), (&json!(7), told));
    }
}

#[tokio::test]
async fn a_grant_is_given_once_and_can_be_taken_back() {
    let fixture = Fixture::new().await;
    let user = fixture.user("10").await;
    let account = user.key.account;
    let route = format!("accounts/{account}/grants");
    let give = json!({"credits": "2.5", "reason": "sorry"});
    let take = json!({"credits": "-4", "reason": "mistake"});
    for (key, fields, seq, balance) in [("g", &give, 2, 12.5), ("t", &take, 3, 8.5)] {
        let expected = json!({"entry": format!("{account}-{seq}"), "balance": balance});
        let (status, first) = fixture.keyed(key, &route, fields).await;
        assert_eq!((status, &first), (200, &expected));
        let (status, again) = fixture.keyed(key, &route, fields).await;
        assert_eq!((status, &again["entry"]), (200, &expected["entry"]));
        assert_eq!((&again["repeat"], &again["balance"]), (&json!(true), &json!(balance)));
    }
    let (_, free) = fixture.admin("POST", &route, &give).await;
    assert_eq!(free, json!({"entry": format!("{account}-4"), "balance": 11}));
    let nobody = "accounts/acc_0000000000000001/grants";
    assert_eq!(fixture.keyed("n", nobody, &give).await.0, 404);
    let whole = json!({"credits": "2305843009213.693951", "reason": "too much"});
    assert_eq!(fixture.admin("POST", &route, &whole).await.0, 400);
}

#[tokio::test]
async fn a_revoked_key_is_good_no_more() {
    let fixture = Fixture::new().await;
    let user = fixture.user("10").await;
    let keys = format!("accounts/{}/keys", user.key.account);
    let fields = json!({"partner": user.key.partner.to_string(), "rate_limit": "5/s",
        "spend_limit": 1.5, "expires_at": "2099-01-01"});
    let (status, made) = fixture.admin("POST", &keys, &fields).await;
    assert_eq!(status, 201);
    let caller = fixture.caller(&made["user_key"]).await.unwrap();
    assert_eq!(caller.rate.unwrap().to_string(), "5/s");
    assert_eq!(caller.key.spend_limit, Credits::parse("1.5").ok());
    let route = format!("keys/{}", made["id"].as_str().unwrap());
    let (status, revoked) = fixture.admin("DELETE", &route, &Value::Null).await;
    assert_eq!((status, &revoked["revoked"]), (200, &json!(true)));
    assert_eq!(fixture.caller(&made["user_key"]).await.unwrap_err().code().status(), 401);
    let (_, again) = fixture.admin("DELETE", &route, &Value::Null).await;
    assert_eq!(again, revoked);
    let shown = fixture.get(&format!("accounts/{}", user.key.account)).await;
    let shown = shown["keys"].as_array().unwrap();
    let key = shown.iter().find(|key| key["id"] == made["id"]).unwrap();
    assert_eq!(key["revoked_at"], revoked["revoked_at"]);
    assert!(!json!(shown).to_string().contains("oc_sk_"));
}

#[tokio::test]
async fn no_more_is_paid_out_than_is_payable() {
    let fixture = Fixture::new().await;
    let user = fixture.user("10").await;
    for number in 1..=2 {
        fixture.settle(&user, number, "openai/gpt-4o").await;
    }
    let partner = format!("partners/{}", user.key.partner);
    let payouts = format!("{partner}/payouts");
    let fields = json!({"credits": "0.2", "reference": "bank 1"});
    let (status, paid) = fixture.keyed("1", &payouts, &fields).await;
    assert_eq!((status, &paid["payable"]), (200, &json!(0.01)));
    let (_, again) = fixture.keyed("1", &payouts, &fields).await;
    assert_eq!((&again["entry"], &again["payable"]), (&paid["entry"], &json!(0.01)));
    assert_eq!(again["repeat"], json!(true));
    let more = json!({"credits": "0.010001", "reference": "bank 2"});
    assert_eq!(fixture.keyed("2", &payouts, &more).await.0, 400);
    let shown = fixture.get(&partner).await;
    let money = (&shown["earned"], &shown["paid_out"], &shown["payable"]);
    assert_eq!(money, (&json!(0.21), &json!(0.2), &json!(0.01)));
}

#[tokio::test]
async fn the_books_are_balanced_and_their_sums_are_credits() {
    let fixture = Fixture::new().await;
    let user = fixture.user("10").await;
    fixture.settle(&user, 1, "openai/gpt-4o").await;
    let books = fixture.get("books").await;
    let expected = json!({"balanced": true, "postings": 3, "accounts": 1,
        "sums": {"promotion": -10, "users": 8.845, "provider": 1.05, "partners": 0.105},
        "differences": [], "open_checkpoints": 0});
    assert_eq!(books, expected);
}

#[tokio::test]
async fn a_store_that_is_down_is_a_503_and_nothing_is_lost() {
    let fixture = Fixture::new().await;
    let fields = json!({"name": "Shop", "referral_rate": "0"});
    fixture.store.fail(true);
    let (status, body) = fixture.keyed("p", "partners", &fields).await;
    assert_eq!((status, &body["error"]["type"]), (503, &json!("overloaded")));
    fixture.store.fail(false);
    let (status, partner) = fixture.keyed("p", "partners", &fields).await;
    assert_eq!((status, partner["secret_key"].is_string()), (201, true));
}

#[tokio::test]
async fn one_of_many_at_once_makes_it_and_is_told_the_secret() {
    let fixture = Fixture::new().await;
    let fields = json!({"name": "Shop", "referral_rate": "0"});
    let ask = || fixture.keyed("p", "partners", &fields);
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    let answers = [first.1, second.1, third.1];
    assert!(answers.iter().all(|answer| answer["id"] == answers[0]["id"]));
    let secrets: Vec<_> =
        answers.iter().filter_map(|answer| answer["secret_key"].as_str()).collect();
    let [secret] = secrets[..] else { panic!("{secrets:?}") };
    let hash = crate::keys::hash(secret);
    let partner = fixture.gateway.system.store().partner_by_secret(hash).await.unwrap();
    assert_eq!(json!(partner.unwrap().publishable_key), answers[0]["publishable_key"]);
}
