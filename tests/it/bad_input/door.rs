//! The limits at the door: size, time, names of requests, and what browsers may do.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CHAT, MESSAGES, assert_error, assert_unharmed, good, post_raw};
use crate::support::{User, World};

/// Far beyond the limits of these tests.
const SOON: Duration = Duration::from_secs(20);

/// Writes bytes to a connection of its own and reads until the gateway closes it.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let address = world.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

fn head(user: &User, path: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nx-user-key: {}\r\n\
         content-type: application/json\r\n{more}\r\n",
        user.key
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_413() {
    let world = World::start().await;
    let user = world.user("100").await;
    for path in [CHAT, MESSAGES] {
        let answer = post_raw(&world, &user, path, vec![b' '; 40 << 20]).await;
        let said = assert_error(answer, path, 413, "request_too_large").await;
        assert!(said.contains(&(32 << 20).to_string()), "{said}");
    }
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_undeclared_length_has_the_same_limit() {
    let world = World::with(&[("MAX_BODY", "1KiB")]).await;
    let user = world.user("100").await;
    let chunk = format!("800\r\n{}\r\n", " ".repeat(0x800));
    let head = head(&user, CHAT, "transfer-encoding: chunked\r\n");
    let answer = raw(&world, format!("{head}{chunk}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("request_too_large"), "{answer}");
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_let_go() {
    let world = World::with(&[("HEADER_TIMEOUT", "200ms"), ("BODY_TIMEOUT", "200ms")]).await;
    let user = world.user("100").await;
    // Neither a request line nor half a head keeps a connection.
    for begun in ["", "POST ", "POST /v1/messages HTTP/1.1\r\nhost: test\r\nx-us"] {
        let answer = raw(&world, begun.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    for path in [CHAT, MESSAGES] {
        let begun = format!("{}{{\"model\":", head(&user, path, "content-length: 100\r\n"));
        let answer = raw(&world, begun.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("did not arrive in time"), "{answer}");
    }
    // The time is for the request only: an answer may take longer.
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_above_the_limit_is_431() {
    let world = World::start().await;
    let user = world.user("100").await;
    let long = format!("x-long: {}\r\n", "x".repeat(70 << 10));
    let answer = raw(&world, head(&user, CHAT, &long).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_name_of_a_request_is_said_back() {
    let world = World::start().await;
    let user = world.user("100").await;
    let own = async |name: &str| {
        let request = world.post(&user, CHAT, &json!({})).header("x-request-id", name);
        let answer = request.send().await.unwrap();
        answer.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(own("my-request-7").await, "my-request-7");
    let (first, second) = (own(&"x".repeat(1000)).await, own("with space").await);
    assert_ne!(first, second, "names that cannot be said back are replaced");
    assert!(first.len() == 36 && second.len() == 36, "{first} {second}");
    assert_unharmed(&world, &user).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_always_answered() {
    let world = World::start().await;
    for path in [CHAT, MESSAGES, "/v1/credits/balance", "/v1/models", "/nothing"] {
        let request = world.http.request(reqwest::Method::OPTIONS, format!("{}{path}", world.base));
        let request = request
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-user-key");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 204, "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert_eq!(answer.headers()["access-control-allow-headers"], "content-type,x-user-key");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_partners_key_works_from_its_origins_only() {
    let world = World::start().await;
    let partner = json!({"name": "listed", "referral_rate": "0.10",
        "allowed_origins": ["https://app.example", "http://localhost:*"]});
    let listed = world.user_of(&partner, "100").await;
    let open = world.user("100").await;
    for (path, request) in good() {
        for (user, origin, status) in [
            (&listed, "https://app.example", 200),
            (&listed, "http://localhost:5173", 200),
            (&listed, "https://other.example", 403),
            (&listed, "null", 403),
            (&open, "https://other.example", 200),
        ] {
            let request = world.post(user, path, &request).header("origin", origin);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} {origin}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "*");
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["error"]["type"] == "origin_not_allowed", status == 403, "{body}");
        }
    }
    world.settled_balance(&listed).await;
    world.end().await;
}
