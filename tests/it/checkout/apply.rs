//! How somebody becomes a partner: an application, a mailed code, an operator's yes.

use serde_json::json;

use super::{Shop, answer};

#[tokio::test]
async fn an_application_becomes_a_partner_once_an_operator_approves_it() {
    let shop = Shop::open().await;
    let url = format!("{}/partners/apply", shop.client.base);
    let send = |form: String| {
        let request = shop.client.http.post(&url).body(form);
        answer(request.header("content-type", "application/x-www-form-urlencoded"))
    };
    let (status, page) = answer(shop.client.http.get(&url)).await;
    assert!(status == 200 && page.as_str().unwrap().contains("Become a partner"));
    for bad in [
        "name=&website=https%3A%2F%2Fa.example&email=a%40example.com",
        "name=A&website=https%3A%2F%2Fa.example%2Fpath&email=a%40example.com",
        "name=A&website=https%3A%2F%2Fa.example&email=nobody",
    ] {
        assert_eq!(send(bad.to_owned()).await.0, 400, "{bad}");
    }
    let wish = "name=%3Cb%3EMy+app&website=https%3A%2F%2Fa.example&email=P%40example.com";
    let (status, page) = send(wish.to_owned()).await;
    let page = page.as_str().unwrap();
    assert_eq!(status, 200, "{page}");
    let id = page.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let code = shop.code("p@example.com").await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    assert_eq!(send(format!("id={id}&code={wrong}")).await.0, 400);

    let list = async || shop.client.operate("GET", "/admin/v1/applications", &json!({})).await;
    assert_eq!(list().await["data"], json!([]), "its address is not verified yet");
    let approve = format!("/admin/v1/applications/{id}/approve");
    let rate = json!({"referral_rate": "0.20"});
    assert_eq!(shop.client.try_operate("POST", &approve, &rate).await.0, 404);
    assert_eq!(send(format!("id={id}&code={code}")).await.0, 200);
    let waiting = list().await;
    assert_eq!(waiting["data"][0]["name"], "<b>My app");
    assert_eq!(waiting["data"][0]["website"], "https://a.example");

    let made = shop.client.operate("POST", &approve, &rate).await;
    assert_eq!(made["allowed_origins"], json!(["https://a.example"]));
    assert!(made["secret_key"].is_string(), "{made}");
    let again = shop.client.operate("POST", &approve, &rate).await;
    assert_eq!((&again["id"], &again["secret_key"]), (&made["id"], &json!(null)));
    assert_eq!(list().await["data"], json!([]));
    let mails = format!("{}/dev/mailbox?email=p@example.com", shop.client.base);
    let (_, mails) = answer(shop.client.http.get(mails)).await;
    let key = made["publishable_key"].as_str().unwrap();
    assert!(mails["messages"][0]["text"].as_str().unwrap().contains(key), "{mails}");
    assert_eq!(mails["messages"].as_array().unwrap().len(), 2, "approved once, told once");
    shop.close().await;
}
