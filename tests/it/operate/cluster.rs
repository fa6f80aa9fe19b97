//! The program on a cluster: the same words, and what they say where there is no file.

use opencredits_loadtest::settle::{self, Measured, Options};

use super::process::{Process, complaint, run, said};
use super::{Site, assert_holds_each_once, charged, cql_server};
use crate::support::chat;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_runs_on_a_cluster_and_a_crash_loses_nothing_that_it_acknowledged() {
    let site = Site::new().await;
    let nodes = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
    let store = format!("scylla:{}/operate", nodes.join(","));
    let settings = site.settings(&[("STORE", &store)]);

    let early = run(&["serve"], &settings).await;
    assert_eq!(early.status.code(), Some(1));
    assert!(complaint(&early).contains("run `opencredits migrate`"), "{}", complaint(&early));
    for told in ["3 migrations run", "0 migrations run"] {
        let migrated = run(&["migrate"], &settings).await;
        assert!(migrated.status.success(), "{}", complaint(&migrated));
        assert!(said(&migrated).contains(told), "{}", said(&migrated));
    }

    let first = Process::serve(&settings).await;
    let user = first.user("1000").await;
    let mut acknowledged = Vec::new();
    for _ in 0..10 {
        let request = chat("openai/gpt-4o", "Hi [[sim output=5]]");
        let answer = first.client.post(&user, "/v1/chat/completions", &request).send().await;
        acknowledged.push(charged(&answer.unwrap()));
    }
    first.kill();
    let second = Process::serve(&settings).await;
    assert_holds_each_once(&second.history(&user).await, &acknowledged);
    second.settled_balance(&user).await;
    // Beside the gateway that serves.
    let books = run(&["books"], &settings).await;
    assert!(books.status.success(), "{}{}", said(&books), complaint(&books));
    assert!(said(&books).starts_with("balanced: 1 accounts"), "{}", said(&books));
    let backup = run(&["backup", "copy.db"], &settings).await;
    assert_eq!(backup.status.code(), Some(1));
    assert!(complaint(&backup).contains("nodetool snapshot"), "{}", complaint(&backup));
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_are_measured_on_either_store() {
    let site = Site::new().await;
    let nodes = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
    let cluster = format!("scylla:{}/settled", nodes.join(","));
    for (store, in_batches) in [(site.store("settled.db"), false), (cluster, true)] {
        let words =
            ["--store", &store, "--accounts", "1", "8", "--callers", "80", "--seconds", "1"];
        let mut told = Vec::new();
        settle::run(&Options::of(words).unwrap(), |measured| {
            told.push(*measured);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(told.iter().map(|one| one.accounts).collect::<Vec<_>>(), [1, 8]);
        for Measured { settlements_per_second, events_per_batch, .. } in told {
            assert!(settlements_per_second > 0.0);
            // Eighty callers wait for at most eight accounts.
            assert_eq!(events_per_batch.is_some_and(|events| events > 1.0), in_batches);
        }
    }
}
