//! SIGTERM: what runs ends or is cut, and is settled either way.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Process, Settings, run, said};
use super::{PATIENCE, Site, metric, until};
use crate::support::{User, chat, message};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_running_stream_end_and_exits_0() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let gateway = Process::serve(&settings).await;
    let user = gateway.user("100").await;
    let mut request = chat("openai/gpt-4o", "Hi [[sim output=20 gate=term gate_after=5]]");
    request["stream"] = json!(true);
    let mut answer = gateway.post(&user, "/v1/chat/completions", &request).send().await.unwrap();
    let mut text = answer.chunk().await.unwrap().unwrap().to_vec();
    site.providers.until_waiting_at("term").await;
    let address = gateway.address().to_owned();
    gateway.signal("TERM");
    until_refused(&address).await;
    site.providers.open_gate("term");
    while let Some(bytes) = answer.chunk().await.unwrap() {
        text.extend(bytes);
    }
    assert!(String::from_utf8(text).unwrap().ends_with("data: [DONE]\n\n"));
    let status = tokio::time::timeout(PATIENCE, gateway.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let row = the_one_usage(&settings, &user).await;
    assert_eq!((&row["status"], &row["basis"]), (&json!("completed"), &json!("provider")));
    assert_eq!(row["usage"]["output"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_cuts_and_settles_what_takes_too_long_and_exits_0() {
    let site = Site::new().await;
    let settings = site.settings(&[("SHUTDOWN_WAIT", "200ms")]);
    let gateway = Process::serve(&settings).await;
    let words = "Hi [[sim output=20 hang=5]]";
    let chat = ("/v1/chat/completions", chat("openai/gpt-4o", words));
    let messages = ("/v1/messages", message("anthropic/claude-sonnet-4-6", words));
    let mut running = Vec::new();
    for (path, mut request) in [chat, messages] {
        let user = gateway.user("100").await;
        request["stream"] = json!(true);
        let mut answer = gateway.post(&user, path, &request).send().await.unwrap();
        let begun = some_deltas(&mut answer).await;
        running.push((user, answer, begun));
    }
    gateway.signal("TERM");
    let mut users = Vec::new();
    for (at, (user, answer, begun)) in running.into_iter().enumerate() {
        let rest = tokio::time::timeout(PATIENCE, answer.text()).await.unwrap().unwrap();
        let text = begun + &rest;
        let error = if at == 0 { "data: {\"error\":" } else { "event: error\n" };
        assert!(text.contains(error), "{text}");
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
        users.push(user);
    }
    let status = tokio::time::timeout(PATIENCE, gateway.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    for user in users {
        let row = the_one_usage(&settings, &user).await;
        assert_eq!(row["status"], "limit_reached", "{row}");
        assert!(row["usage"]["output"].as_u64().unwrap() > 0, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_settles_what_nobody_reads_and_releases_what_has_not_begun() {
    let site = Site::new().await;
    let settings = site.settings(&[("SHUTDOWN_WAIT", "200ms"), ("ON_CLIENT_GONE", "drain")]);
    let gateway = Process::serve(&settings).await;
    let (gone, waiting) = (gateway.user("100").await, gateway.user("100").await);
    let mut request = chat("openai/gpt-4o", "Hi [[sim output=20 hang=5]]");
    request["stream"] = json!(true);
    let mut answer = gateway.post(&gone, "/v1/chat/completions", &request).send().await.unwrap();
    some_deltas(&mut answer).await;
    drop(answer);
    until(async || metric(&gateway, "opencredits_open_drains").await == 1).await;
    let request = chat("openai/gpt-4o", "Hi [[sim gate=head gate_after=0]]");
    let request = gateway.post(&waiting, "/v1/chat/completions", &request);
    let request = tokio::spawn(request.send());
    site.providers.until_waiting_at("head").await;
    gateway.signal("TERM");
    let answer = tokio::time::timeout(PATIENCE, request).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"), "nothing was charged");
    let status = tokio::time::timeout(PATIENCE, gateway.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let row = the_one_usage(&settings, &gone).await;
    assert_eq!(row["status"], "client_gone", "{row}");
    let gateway = Process::serve(&settings).await;
    assert_eq!(gateway.settled_balance(&waiting).await, 100_000_000);
}

/// Reads a stream until some of its text has come.
async fn some_deltas(answer: &mut reqwest::Response) -> String {
    assert_eq!(answer.status(), 200);
    let mut text = String::new();
    while text.matches("delta").count() < 6 {
        text.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
    }
    text
}

/// Resolves when nobody listens at an address any more.
async fn until_refused(address: &str) {
    let refused = async {
        while TcpStream::connect(address).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
}

/// The user's only charge, as a gateway that is started again tells it; the books are balanced.
async fn the_one_usage(settings: &Settings, user: &User) -> Value {
    let gateway = Process::serve(settings).await;
    gateway.settled_balance(user).await;
    let books = run(&["books"], settings).await;
    assert!(books.status.success(), "{}", said(&books));
    let rows = gateway.history(user).await;
    let mut usage: Vec<_> = rows.into_iter().filter(|row| row["type"] != "grant").collect();
    assert_eq!(usage.len(), 1, "{usage:?}");
    usage.remove(0)
}
