//! An answer's end is its receipt: it waits for the store, and what the store is late with is
//! charged all the same.

use serde_json::json;

use crate::support::{World, chat, message};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_in_an_error_when_its_charge_is_not_durable_in_time() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["oc.db-ahead0", "oc.db-ahead1"] {
        // The log ahead of the database has no room: every commit is the database's own.
        std::os::unix::fs::symlink("/dev/full", folder.path().join(file)).unwrap();
    }
    let world = World::within(folder, &[("SETTLE_WAIT", "300ms")]).await;
    let user = world.user("100").await;
    // Another process's write transaction: the gateway can read and cannot commit.
    let other = rusqlite::Connection::open(world.folder.path().join("oc.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    for (path, mut request, end) in [
        ("/v1/chat/completions", chat("openai/gpt-4o", "Hi"), "[DONE]"),
        ("/v1/messages", message("anthropic/claude-sonnet-4-6", "Hi"), "message_stop"),
    ] {
        request["stream"] = json!(true);
        let answer = world.post(&user, path, &request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        // Holds and content need no commit; the end does.
        assert!(text.contains("The ") && text.contains("\"error\""), "{text}");
        assert!(!text.contains(end), "{text}");
    }
    let whole = world.post(&user, "/v1/chat/completions", &chat("openai/gpt-4o", "Hi"));
    let whole = whole.send().await.unwrap();
    assert_eq!(whole.status(), 503);
    assert_eq!(whole.headers().get("x-should-retry").unwrap(), "false");
    assert!(!whole.headers().contains_key("retry-after"));
    let ready = world.http.get(format!("{}/readyz", world.base)).send().await.unwrap();
    assert_eq!(ready.status(), 503);

    other.execute_batch("ROLLBACK").unwrap();
    let charged = async || {
        let rows = world.history(&user).await;
        rows.iter().filter(|row| row["type"] == "usage").count()
    };
    while charged().await < 3 {
        tokio::task::yield_now().await;
    }
    world.settled_balance(&user).await;
    assert_eq!(charged().await, 3);
    world.end().await;
}
