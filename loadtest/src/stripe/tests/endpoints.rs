//! Webhook endpoints and the lists of the API.

use http::Method;

use super::{Card, Receiver, SESSION, call, create, start};

#[tokio::test]
async fn an_endpoint_tells_its_secret_once() {
    let (stripe, _) = start().await;
    let form = "url=http://127.0.0.1:9/x&enabled_events[]=charge.refunded&enabled_events[]=*";
    let (status, made) = call(&stripe, Method::POST, "webhook_endpoints", form).await;
    assert_eq!(status, 200, "{made}");
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(made["enabled_events"], serde_json::json!(["charge.refunded", "*"]));
    let path = format!("webhook_endpoints/{}", made["id"].as_str().unwrap());
    let (_, read) = call(&stripe, Method::GET, &path, "").await;
    assert_eq!((&read["id"], read.get("secret")), (&made["id"], None));
    let (_, list) = call(&stripe, Method::GET, "webhook_endpoints", "").await;
    assert_eq!(list["data"], serde_json::json!([read]));
    let (_, gone) = call(&stripe, Method::DELETE, &path, "").await;
    assert_eq!(gone["deleted"], true);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(call(&stripe, method, &path, "").await.0, 404);
    }
}

#[tokio::test]
async fn a_bad_endpoint_is_refused_by_the_field_that_is_bad() {
    let (stripe, _) = start().await;
    for (form, param) in [
        ("enabled_events[]=*", "url"),
        ("url=ftp://x&enabled_events[]=*", "url"),
        ("url=http://x", "enabled_events"),
        ("url=http://x&enabled_events[]=*&secret=mine", "secret"),
    ] {
        let (status, said) = call(&stripe, Method::POST, "webhook_endpoints", form).await;
        assert_eq!((status, said["error"]["param"].as_str()), (400, Some(param)), "{form}");
    }
    for at in 0..17 {
        let form = "url=http://127.0.0.1:9&enabled_events[]=*";
        let (status, _) = call(&stripe, Method::POST, "webhook_endpoints", form).await;
        assert_eq!(status == 200, at < 16, "{at}");
    }
}

#[tokio::test]
async fn each_endpoint_gets_what_it_asked_for_under_its_own_secret() {
    let (stripe, client) = start().await;
    let (all, some) = (Receiver::start().await, Receiver::start().await);
    stripe.send_webhooks_to(&all.url);
    let form = format!("url={}&enabled_events[0]=charge.succeeded", some.url);
    let (_, made) = call(&stripe, Method::POST, "webhook_endpoints", &form).await;
    let session = create(&stripe, &client, None, SESSION).await.json();
    stripe.pay(session["id"].as_str().unwrap(), Card::Good).unwrap();
    stripe.until_delivered().await;
    assert_eq!(all.kinds().len(), 3);
    assert!(all.signed("whsec_x").is_some());
    assert_eq!(some.kinds(), ["charge.succeeded"]);
    assert_eq!(some.signed("whsec_x"), None);
    assert!(some.signed(made["secret"].as_str().unwrap()).is_some());

    let path = format!("webhook_endpoints/{}", made["id"].as_str().unwrap());
    call(&stripe, Method::DELETE, &path, "").await;
    stripe.refund(session["id"].as_str().unwrap(), 100).unwrap();
    stripe.until_delivered().await;
    assert_eq!((all.kinds().len(), some.kinds().len()), (4, 1));
}

#[tokio::test]
async fn a_session_lists_its_line() {
    let (stripe, client) = start().await;
    let session = create(&stripe, &client, None, SESSION).await.json();
    let path = format!("checkout/sessions/{}/line_items", session["id"].as_str().unwrap());
    let (_, list) = call(&stripe, Method::GET, &path, "").await;
    let line = &list["data"][0];
    assert_eq!((&line["amount_total"], &line["quantity"]), (&1000.into(), &1.into()));
    assert_eq!(
        (&line["description"], &line["price"]["unit_amount"]),
        (&"Credits".into(), &1000.into())
    );
    let (status, _) = call(&stripe, Method::GET, "checkout/sessions/cs_none/line_items", "").await;
    assert_eq!(status, 404);
}
