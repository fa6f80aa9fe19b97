//! The documented server side: a partner's backend with Express, run as it stands in the docs.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use opencredits_loadtest::stripe::Card;
use serde_json::json;

use super::{Shop, answer};
use crate::sdk;
use crate::support::chat;

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_backend_keeps_the_key_and_asks_with_it() {
    let shop = Shop::open().await;
    // It stands beside the packages that it needs.
    let copy = sdk::root().join("target/express-example");
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::copy(sdk::root().join("docs/examples/express/server.mjs"), copy.join("server.mjs"))
        .unwrap();
    let packages = copy.join("node_modules");
    std::fs::remove_file(&packages).ok();
    std::os::unix::fs::symlink(sdk::root().join("tests/sdk/node_modules"), &packages).unwrap();
    let mut child = Command::new(sdk::node())
        .arg(copy.join("server.mjs"))
        .env("OPENCREDITS_URL", &shop.client.base)
        .env("PORT", "0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.trim().strip_prefix("listening on ").unwrap().to_owned();

    let ask = |cookie: &str| {
        let body = chat("openai/gpt-4o", "Hello");
        shop.client.http.post(format!("{base}/api/chat")).header("cookie", cookie).json(&body)
    };
    assert_eq!(answer(ask("session=nobody")).await.0, 402);
    let key = shop.log_in("a@example.com").await;
    let save = shop.client.http.post(format!("{base}/api/save-credits-key"));
    let save = save.header("cookie", "session=one").json(&json!({"userKey": key}));
    assert_eq!(answer(save).await.0, 204);
    let (status, said) = answer(ask("session=one")).await;
    assert_eq!((status, &said["error"]["type"]), (402, &json!("insufficient_credits")));

    let order = shop.order(&key, "attempt-0123456789", "10").await;
    shop.stripe.pay(&order.session, Card::Good).unwrap();
    shop.stripe.until_delivered().await;
    let (status, said) = answer(ask("session=one")).await;
    assert_eq!(status, 200, "{said}");
    assert!(said["choices"][0]["message"]["content"].is_string(), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    shop.world.until_quiet().await;
    shop.close().await;
}
