//! A file moves into a cluster: the same keys, the same balances, the same history, once.

use std::time::Duration;

use super::process::{Process, Settings, complaint, run, said};
use super::{Site, assert_holds_each_once, charged, cql_server};
use crate::support::chat;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_a_file_goes_on_in_a_cluster() {
    let site = Site::new().await;
    let nodes = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
    let keyspace = format!("scylla:{}/moved", nodes.join(","));
    let (on_file, file) = (site.settings(&[]), site.store("oc.db"));
    let on_cluster = site.settings(&[("STORE", &keyspace)]);
    let words = ["migrate", "--from", &file, "--to", &keyspace];

    let early = run(&words, &on_file).await;
    assert_eq!(early.status.code(), Some(1));
    assert!(complaint(&early).contains("there is no such file"), "{}", complaint(&early));

    let first = Process::serve(&on_file).await;
    let user = first.user("1000").await;
    let request = chat("openai/gpt-4o", "Hi [[sim output=5]]");
    let mut acknowledged = Vec::new();
    for _ in 0..10 {
        let answer = first.client.post(&user, "/v1/chat/completions", &request).send().await;
        acknowledged.push(charged(&answer.unwrap()));
    }
    let balance = first.settled_balance(&user).await;
    let served = run(&words, &on_file).await;
    assert_eq!(served.status.code(), Some(1));
    assert!(complaint(&served).contains(&format!("process {}", first.id())));
    // Its last settlements are in the ahead log only.
    first.kill();

    let moved = run(&words, &on_file).await;
    assert!(moved.status.success(), "{}{}", said(&moved), complaint(&moved));
    assert!(said(&moved).contains("balanced: 1 accounts"), "{}", said(&moved));
    assert!(said(&moved).contains(&format!("OPENCREDITS_STORE={keyspace}")), "{}", said(&moved));
    assert_same_books(1, &on_file, &on_cluster).await;

    let second = Process::serve(&on_cluster).await;
    assert_eq!(second.settled_balance(&user).await, balance);
    let answer = second.client.post(&user, "/v1/chat/completions", &request).send().await;
    acknowledged.push(charged(&answer.unwrap()));
    assert_holds_each_once(&second.history(&user).await, &acknowledged);
    let again = run(&words, &on_file).await;
    assert!(said(&again).contains("was moved"), "{}{}", said(&again), complaint(&again));
}

async fn assert_same_books(accounts: usize, on_file: &Settings, on_cluster: &Settings) {
    let file = run(&["books"], on_file).await;
    let cluster = run(&["books"], on_cluster).await;
    assert!(file.status.success() && cluster.status.success(), "{}", complaint(&cluster));
    let balanced = format!("balanced: {accounts} accounts, ");
    assert!(said(&file).starts_with(&balanced), "{}", said(&file));
    assert_eq!(said(&file), said(&cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_makes_no_sense_says_what_does() {
    let site = Site::new().await;
    for (words, told) in [
        (["--from", "sqlite:a.db", "--from", "sqlite:a.db"], "--from"),
        (["--from", "scylla:a:1/k", "--to", "scylla:a:1/k"], "a move goes from sqlite:PATH"),
        (["--from", "sqlite:a.db", "--to", "sqlite:b.db"], "a move goes to scylla:"),
    ] {
        let refused = run(&[&["migrate"], &words[..]].concat(), &site.settings(&[])).await;
        assert_eq!(refused.status.code(), Some(2), "{}", complaint(&refused));
        assert!(complaint(&refused).contains(told), "{}", complaint(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_ends_right_when_it_is_run_again() {
    let site = Site::new().await;
    let nodes = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
    let keyspace = format!("scylla:{}/killed", nodes.join(","));
    let (on_file, file) = (site.settings(&[]), site.store("oc.db"));
    let on_cluster = site.settings(&[("STORE", &keyspace)]);
    let gateway = Process::serve(&on_file).await;
    for _ in 0..40 {
        let user = gateway.user("10").await;
        let request = chat("openai/gpt-4o", "Hi [[sim output=5]]");
        charged(&gateway.post(&user, "/v1/chat/completions", &request).send().await.unwrap());
    }
    gateway.kill();
    // Whoever is killed while it makes the tables keeps the next one waiting for a minute.
    assert!(run(&["migrate"], &on_cluster).await.status.success());
    let words = ["migrate", "--from", &file, "--to", &keyspace];
    for millis in [150, 250, 350, 450, 550] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_opencredits"));
        let mut moving = command.args(words).env_clear().spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        moving.kill().await.unwrap();
    }
    let moved = run(&words, &on_file).await;
    assert!(moved.status.success(), "{}{}", said(&moved), complaint(&moved));
    assert_same_books(40, &on_file, &on_cluster).await;
}
