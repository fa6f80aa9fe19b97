//! The account page: who gets in, what is seen, and what is taken back.

use serde_json::{Value, json};

use super::{Desk, ORIGIN, Shop, answer};
use crate::operate::until;
use crate::support::World;

impl Desk {
    /// A token of the account page.
    async fn enter(&self, email: &str) -> String {
        let (status, sent) = self.post("/account/login", None, &json!({"email": email})).await;
        assert_eq!(status, 200, "{sent}");
        let entry = json!({"attempt": sent["attempt"], "code": self.code(email).await});
        let (status, entered) = self.post("/account/verify", None, &entry).await;
        assert_eq!(status, 200, "{entered}");
        entered["token"].as_str().unwrap().to_owned()
    }

    async fn account(&self, method: &str, path: &str, token: &str) -> (u16, Value) {
        let url = format!("{}/account/{path}", self.client.base);
        let request = self.client.http.request(method.parse().unwrap(), url);
        answer(request.header("x-account-token", token)).await
    }
}

#[tokio::test]
async fn the_owner_sees_keys_by_app_with_their_last_use_and_the_history() {
    let shop = Shop::open().await;
    let key = shop.log_in("A@example.com").await;
    assert_eq!(shop.status(&key).await, 200);
    shop.log_in_at(&super::partner(&shop.world, "other app").await, "a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, opencredits_loadtest::stripe::Card::Good).unwrap();
    shop.stripe.until_delivered().await;

    let token = shop.enter("a@example.com").await;
    let seen = async || shop.account("GET", "me", &token).await.1;
    until(async || seen().await["keys"].to_string().contains("last_used\":1")).await;
    let me = seen().await;
    assert_eq!((&me["email"], &me["balance"]), (&json!("a@example.com"), &json!(1000)));
    let keys = me["keys"].as_array().unwrap();
    let by = |app: &str| keys.iter().find(|key| key["app"] == app).unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(by("shop")["origin"], ORIGIN);
    assert_eq!(
        (&by("other app")["last_used"], &by("other app")["origin"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(me["history"][0]["type"], "purchase");
    assert!(!me.to_string().contains("oc_sk_"), "no key is told");
    shop.close().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_nobody_revokes_anothers() {
    let shop = Shop::open().await;
    let (key, others) = (shop.log_in("a@example.com").await, shop.log_in("b@example.com").await);
    assert_eq!(shop.balance(&key).await, 0);
    let (token, other) = (shop.enter("a@example.com").await, shop.enter("b@example.com").await);
    let (_, me) = shop.account("GET", "me", &token).await;
    let path = format!("keys/{}", me["keys"][0]["id"].as_str().unwrap());
    assert_eq!(shop.account("DELETE", &path, &other).await.0, 404);
    assert_eq!(shop.account("DELETE", "keys/nonsense", &token).await.0, 404);
    assert_eq!(shop.balance(&key).await, 0, "it is still good");
    assert_eq!(shop.account("DELETE", &path, &token).await.0, 204);
    assert_eq!(shop.status(&key).await, 401);
    assert_eq!(shop.account("GET", "me", &token).await.1["keys"], json!([]));
    assert_eq!(shop.balance(&others).await, 0);
    shop.close().await;
}

#[tokio::test]
async fn a_code_is_good_only_where_it_was_asked_for() {
    let shop = Shop::open().await;
    let email = "a@example.com";
    let (_, sent) = shop.post("/account/login", None, &json!({"email": email})).await;
    let entry = json!({"publishable_key": shop.publishable_key, "attempt": sent["attempt"],
        "code": shop.code(email).await});
    let (status, said) = shop.post("/checkout/verify", None, &entry).await;
    assert_eq!((status, &said["error"]["type"]), (400, &json!("code_expired")));
    let wish = json!({"publishable_key": shop.publishable_key, "email": email});
    let (_, sent) = shop.post("/checkout/login", None, &wish).await;
    let entry = json!({"attempt": sent["attempt"], "code": shop.code(email).await});
    let (status, said) = shop.post("/account/verify", None, &entry).await;
    assert_eq!((status, &said["error"]["type"]), (400, &json!("code_expired")));
    shop.close().await;
}

#[tokio::test]
async fn only_the_token_of_a_recent_login_opens_the_account() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let token = shop.enter("a@example.com").await;
    for (method, path) in [("GET", "me"), ("POST", "logout"), ("DELETE", "keys/key_1")] {
        for wrong in ["", "0", &key, &"0".repeat(64)] {
            let (status, said) = shop.account(method, path, wrong).await;
            assert_eq!(
                (status, &said["error"]["type"]),
                (401, &json!("invalid_user_key")),
                "{path}"
            );
        }
    }
    assert_eq!(shop.account("GET", "me", &token).await.0, 200);
    let file = rusqlite::Connection::open(shop.world.folder.path().join("oc.db")).unwrap();
    let sql = "UPDATE documents SET body = json_set(body, '$.ends', 1), version = version + 1 \
               WHERE id LIKE 'account:%'";
    assert_eq!(file.execute(sql, []).unwrap(), 1);
    assert_eq!(shop.account("GET", "me", &token).await.0, 401, "half an hour later");
    let token = shop.enter("a@example.com").await;
    assert_eq!(shop.account("POST", "logout", &token).await.0, 204);
    assert_eq!(shop.account("GET", "me", &token).await.0, 401);
    shop.close().await;
}

#[tokio::test]
async fn no_other_page_asks_in_the_owners_name() {
    let shop = Shop::open().await;
    let token = shop.enter("a@example.com").await;
    for (method, path) in [("POST", "login"), ("POST", "verify"), ("GET", "me"), ("POST", "logout")]
    {
        let url = format!("{}/account/{path}", shop.client.base);
        let request = shop.client.http.request(method.parse().unwrap(), url);
        let request = request.header("x-account-token", &token).header("origin", ORIGIN);
        let (status, said) = answer(request.json(&json!({"email": "a@example.com"}))).await;
        assert_eq!((status, &said["error"]["type"]), (403, &json!("origin_not_allowed")), "{path}");
    }
    shop.close().await;
}

#[tokio::test]
async fn the_page_runs_only_its_own_script_and_stands_in_no_frame() {
    let shop = Shop::open().await;
    let url = format!("{}/account", shop.client.base);
    let page = shop.client.http.get(&url).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    let text = page.text().await.unwrap();
    assert!(text.contains("/assets/account.js") && !text.contains("<style"));
    assert_eq!(answer(shop.client.http.get(format!("{url}/nothing"))).await.0, 404);
    assert_eq!(answer(shop.client.http.get(format!("{url}/login"))).await.0, 405);
    shop.close().await;
}

#[tokio::test]
async fn without_a_checkout_there_is_no_account_page() {
    let world = World::start().await;
    for path in ["/account", "/account/me"] {
        assert_eq!(answer(world.http.get(format!("{}{path}", world.base))).await.0, 503);
    }
    world.end().await;
}
