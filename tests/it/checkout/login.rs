//! Login by mail, keys by device, and what one partner's keys may spend of an account.

use opencredits_loadtest::stripe::Card;
use serde_json::json;

use super::{Shop, answer, futures_all, partner, user};
use crate::support::{chat, micro};

#[tokio::test]
async fn a_code_can_be_tried_five_times_and_used_once() {
    let shop = Shop::open().await;
    let wish = json!({"publishable_key": shop.publishable_key, "email": "a@example.com"});
    let (_, sent) = shop.post("/checkout/login", None, &wish).await;
    let right = shop.code("a@example.com").await;
    let wrong = if right == "000000" { "111111" } else { "000000" };
    let enter = |code: &str| json!({"publishable_key": shop.publishable_key, "attempt": sent["attempt"], "code": code});
    for left in (1..5).rev() {
        let (status, said) = shop.post("/checkout/verify", None, &enter(wrong)).await;
        assert_eq!((status, &said["error"]["type"]), (400, &json!("wrong_code")), "{left}");
    }
    for code in [wrong, &right] {
        let (status, said) = shop.post("/checkout/verify", None, &enter(code)).await;
        assert_eq!((status, &said["error"]["type"]), (400, &json!("code_expired")));
    }
    let (_, sent) = shop.post("/checkout/login", None, &wish).await;
    let code = shop.code("a@example.com").await;
    let entry = json!({"publishable_key": shop.publishable_key, "attempt": sent["attempt"],
        "code": code});
    let entries = futures_all((0..5).map(|_| shop.post("/checkout/verify", None, &entry))).await;
    assert_eq!(entries.iter().filter(|(status, _)| *status == 200).count(), 1, "{entries:?}");
    shop.close().await;
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_five() {
    let shop = Shop::open().await;
    let wish = json!({"publishable_key": shop.publishable_key, "email": "a@example.com"});
    let (_, sent) = shop.post("/checkout/login", None, &wish).await;
    let right = shop.code("a@example.com").await;
    let wrong = if right == "000000" { "111111" } else { "000000" };
    let entry = json!({"publishable_key": shop.publishable_key, "attempt": sent["attempt"],
        "code": wrong});
    let entries = futures_all((0..40).map(|_| shop.post("/checkout/verify", None, &entry))).await;
    let told = entries.iter().filter(|(_, said)| said["error"]["type"] == "wrong_code").count();
    assert!(told <= 4, "{told} guesses were answered");
    shop.close().await;
}

#[tokio::test]
async fn known_and_unknown_addresses_get_the_same_answer_and_few_mails() {
    let shop = Shop::open().await;
    shop.log_in("known@example.com").await;
    let wish = |email: &str| json!({"publishable_key": shop.publishable_key, "email": email});
    let (first, known) = shop.post("/checkout/login", None, &wish("known@example.com")).await;
    let (second, unknown) = shop.post("/checkout/login", None, &wish("new@example.com")).await;
    assert_eq!((first, second), (200, 200));
    let shape = |answer: &serde_json::Value| answer["attempt"].as_str().unwrap().len();
    assert_eq!(shape(&known), shape(&unknown));
    assert_eq!(shop.post("/checkout/login", None, &wish("KNOWN@example.com")).await.0, 200);
    let (status, said) = shop.post("/checkout/login", None, &wish("known@example.com")).await;
    assert_eq!((status, &said["error"]["type"]), (429, &json!("rate_limited")));
    for bad in ["", "nobody", "a@b", "a b@example.com"] {
        let (status, said) = shop.post("/checkout/login", None, &wish(bad)).await;
        assert_eq!((status, &said["error"]["param"]), (400, &json!("email")), "{bad}");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_address_sends_a_bounded_number_of_mails() {
    let shop = Shop::with(&[("LOGIN_LIMIT_PER_IP", "3/h")]).await;
    let mut statuses = Vec::new();
    for number in 0..5 {
        let wish = json!({"publishable_key": shop.publishable_key,
            "email": format!("u{number}@example.com")});
        statuses.push(shop.post("/checkout/login", None, &wish).await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    shop.close().await;
}

#[tokio::test]
async fn each_device_has_a_key_of_its_own_and_logout_revokes_it() {
    let shop = Shop::open().await;
    let laptop = shop.log_in("a@example.com").await;
    let phone = shop.log_in("a@example.com").await;
    assert_ne!(laptop, phone);
    let order = shop.order(&laptop, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    assert_eq!(shop.balance(&phone).await, 1_000_000_000, "one account, one balance");
    let (status, _) = shop.post("/checkout/logout", Some(&laptop), &json!({})).await;
    assert_eq!(status, 204);
    let me = |key: &str| {
        let url = format!("{}/checkout/me", shop.world.base);
        answer(shop.world.http.get(url).header("x-user-key", key))
    };
    assert_eq!(me(&laptop).await.0, 401);
    let (status, account) = me(&phone).await;
    assert_eq!((status, &account["email"]), (200, &json!("a•••@example.com")));
    shop.close().await;
}

#[tokio::test]
async fn another_partner_spends_what_is_bought_there_until_the_user_consents_to_more() {
    let shop = Shop::open().await;
    let key = shop.log_in("a@example.com").await;
    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;

    let other = partner(&shop.world, "other").await;
    let entered = shop.log_in_at(&other, "a@example.com").await;
    assert_eq!(entered["consent"]["needed"], true, "{entered}");
    assert_eq!(micro(&entered["consent"]["elsewhere"]), 1_000_000_000);
    let there = entered["user_key"].as_str().unwrap();
    let ask = async |key: &str| {
        let body = chat("openai/gpt-4o", "Hello");
        let sent = shop.world.post(&user(key), "/v1/chat/completions", &body).send().await.unwrap();
        sent.status().as_u16()
    };
    assert_eq!((ask(&key).await, ask(there).await), (200, 402));
    let consent = json!({"limit": "1.50"});
    let (status, said) = shop.post("/checkout/consent", Some(there), &consent).await;
    assert_eq!(status, 401, "the partner's page has the key, and must not consent by it: {said}");
    let token = entered["consent_token"].as_str().unwrap();
    let agree = async |key: &str, limit: &str| {
        let request = shop.client.http.post(format!("{}/checkout/consent", shop.client.base));
        let request = request.header("x-user-key", key).header("x-consent-token", token);
        answer(request.json(&json!({"limit": limit}))).await.0
    };
    assert_eq!(agree(&key, "1.50").await, 401, "not for another partner");
    assert_eq!(agree(there, "1.50").await, 200);
    assert_eq!(ask(there).await, 200);
    shop.world.until_quiet().await;
    for bad in ["-1", "x", "99999999999999999999"] {
        assert_eq!(agree(there, bad).await, 400, "{bad}");
    }
    assert_eq!(agree(there, "0").await, 200);
    assert_eq!(ask(there).await, 402);
    shop.close().await;
}

#[tokio::test]
async fn a_partners_page_cannot_enter_a_code() {
    let shop = Shop::open().await;
    let wish = json!({"publishable_key": shop.publishable_key, "email": "a@example.com"});
    let (_, sent) = shop.post("/checkout/login", None, &wish).await;
    let code = shop.code("a@example.com").await;
    let entry = json!({"publishable_key": shop.publishable_key, "attempt": sent["attempt"],
        "code": code});
    let enter = |origin: &str| {
        let request = shop.client.http.post(format!("{}/checkout/verify", shop.client.base));
        answer(request.header("origin", origin).json(&entry))
    };
    assert_eq!(enter(super::ORIGIN).await.0, 403);
    assert_eq!(enter(&shop.client.base).await.0, 200);
    shop.close().await;
}
