//! kill -9 in the middle of many streams: no end that a client has seen is lost, nothing is
//! charged twice, no hold stays.

mod run;
mod stream;
mod tampered;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opencredits_loadtest::receipts::Told;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::operate::process::{self, Process, Settings, run, said};
use crate::operate::{Site, assert_holds_each_once, until};
use crate::support::{Client, User, chat, message, micro};

/// Streams in all: a third ends at once, some end around the kill, half are far from their end.
const STREAMS: usize = 50;
const USERS: usize = 5;

/// How far all streams are.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    begun: usize,
    ended: usize,
}

/// What a client has of a stream when its connection is gone.
#[derive(Debug)]
struct Seen {
    /// The gateway's name of the request.
    request: String,
    /// What the stream said that it cost and its output tokens, if its end was seen.
    end: Option<(i64, u64)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_saw_end_survives_kill_9_exactly_once() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let gateway = Process::serve(&settings).await;
    let pace = |at: usize| match at % 10 {
        0..3 => "output=10".to_owned(),
        3..5 => format!("output=50 chunks=50 delay_ms={}", 10 + at),
        _ => "output=2000 chunks=2000 delay_ms=50".to_owned(),
    };
    let Streams { users, mut watched, running } = Streams::start(&gateway, pace).await;
    watched.wait_for(|now| now.begun == STREAMS && now.ended >= 10).await.unwrap();
    until(async || open_checkpoints(&gateway).await >= 10).await;
    let now = *watched.borrow();
    assert!(now.begun - now.ended >= 20, "{now:?}");
    gateway.kill();

    let seen = seen(running).await;
    let ended = seen.iter().filter(|seen| seen.end.is_some()).count();
    assert!((10..=STREAMS - 20).contains(&ended), "{ended} ended");

    kill_during_start(&site, &settings).await;
    let recovered = Process::serve(&settings).await;
    let rows = audited(&recovered, &settings, &users).await;
    let of_checkpoints = assert_is_what_was_seen(&rows, &seen);
    assert!(of_checkpoints >= 1, "of streams that ran for seconds something is known");
    recovered.kill();

    kill_during_start(&site, &settings).await;
    let again = Process::serve(&settings).await;
    assert_eq!(audited(&again, &settings, &users).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ends_of_a_burst_of_ends_are_durable_when_they_are_seen() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let gateway = Process::serve(&settings).await;
    let pace = |_| "output=10 gate=burst gate_after=9".to_owned();
    let Streams { users, mut watched, running } = Streams::start(&gateway, pace).await;
    let all = u64::try_from(STREAMS).unwrap();
    site.providers.until(|counts| counts.waiting.get("burst") == Some(&all)).await;
    // What the provider has sent may still be on its way.
    watched.wait_for(|now| now.begun == STREAMS).await.unwrap();
    site.providers.open_gate("burst");
    watched.wait_for(|now| now.ended >= 1).await.unwrap();
    gateway.kill();
    let seen = seen(running).await;
    let again = Process::serve(&settings).await;
    let rows = audited(&again, &settings, &users).await;
    assert_is_what_was_seen(&rows, &seen);
}

/// Streams that are being read.
struct Streams {
    users: Vec<User>,
    watched: watch::Receiver<Progress>,
    running: Vec<JoinHandle<Seen>>,
}

impl Streams {
    /// Starts all of them, each with the directive of its number.
    async fn start(gateway: &Process, pace: impl Fn(usize) -> String) -> Self {
        let mut users = Vec::new();
        for _ in 0..USERS {
            users.push(gateway.user("1000").await);
        }
        let (progress, watched) = watch::channel(Progress::default());
        let progress = Arc::new(progress);
        let start = |at: usize| {
            let (client, user) = (gateway.client.clone(), users[at % USERS].clone());
            tokio::spawn(read(client, user, at, pace(at), Arc::clone(&progress)))
        };
        let running = (0..STREAMS).map(start).collect();
        Self { users, watched, running }
    }
}

/// What the clients have when all connections are gone.
async fn seen(running: Vec<JoinHandle<Seen>>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for stream in running {
        seen.push(stream.await.unwrap());
    }
    seen
}

/// Reads a stream until it ends or breaks.
async fn read(
    client: Client,
    user: User,
    at: usize,
    pace: String,
    progress: Arc<watch::Sender<Progress>>,
) -> Seen {
    let words = format!("Hi [[sim {pace}]]");
    let (path, mut request) = if at.is_multiple_of(2) {
        ("/v1/chat/completions", chat("openai/gpt-4o", &words))
    } else {
        ("/v1/messages", message("anthropic/claude-sonnet-4-6", &words))
    };
    if at.is_multiple_of(2) {
        request["stream_options"] = json!({"include_usage": true});
    }
    request["stream"] = json!(true);
    request["max_tokens"] = json!(3000);
    let request = client.post(&user, path, &request).header("x-opencredits-cost", "1");
    let mut answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let request = answer.headers().get("x-opencredits-request-id").unwrap();
    let request = request.to_str().unwrap().to_owned();
    progress.send_modify(|now| now.begun += 1);
    let mut told = Told::default();
    let mut seen = None;
    while let Ok(Some(bytes)) = answer.chunk().await {
        told.push(&bytes);
        if seen.is_none() {
            seen = told.end().map(|end| (end.charge.micro(), end.tokens.unwrap().output));
            progress.send_modify(|now| now.ended += usize::from(seen.is_some()));
        }
    }
    Seen { request, end: seen }
}

async fn open_checkpoints(gateway: &Process) -> u64 {
    let books = gateway.operate("GET", "/admin/v1/books", &Value::Null).await;
    assert_eq!(books["balanced"], true, "{books}");
    books["open_checkpoints"].as_u64().unwrap()
}

/// Starts the gateway and kills it as soon as it has the file: before or in its recovery.
async fn kill_during_start(site: &Site, settings: &Settings) {
    let mut child = process::program(settings).serve().unwrap();
    let database = site.folder.path().join("oc.db");
    let locks = tokio::time::timeout(Duration::from_secs(60), child.locks(&database)).await;
    assert!(locks.unwrap(), "it ended by itself");
    child.kill();
}

/// The charges of all users, by their rows' ids; nothing is held and the books balance.
async fn audited(
    gateway: &Process,
    settings: &Settings,
    users: &[User],
) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for user in users {
        gateway.settled_balance(user).await;
        for row in gateway.history(user).await {
            if row["type"] != "grant" {
                rows.insert(row["id"].as_str().unwrap().to_owned(), row);
            }
        }
        let account = format!("/admin/v1/accounts/{}", user.account);
        let account = gateway.operate("GET", &account, &Value::Null).await;
        assert_eq!(account["open_holds"], 0, "{account}");
    }
    assert_eq!(open_checkpoints(gateway).await, 0);
    let books = run(&["books"], settings).await;
    assert!(books.status.success(), "{}", said(&books));
    rows
}

/// Asserts that the charges are what clients saw; how many of them come from a checkpoint.
fn assert_is_what_was_seen(rows: &BTreeMap<String, Value>, seen: &[Seen]) -> usize {
    let history: Vec<Value> = rows.values().cloned().collect();
    assert!(history.iter().all(|row| row["type"] == "usage"), "{history:?}");
    let of = |seen: &Seen| -> Vec<&Value> {
        history.iter().filter(|row| row["request_id"] == *seen.request).collect()
    };
    let ends = seen.iter().filter_map(|seen| Some((seen.request.clone(), seen.end?.0)));
    let ends: Vec<_> = ends.collect();
    assert_holds_each_once(&history, &ends);
    let mut recovered = 0;
    for stream in seen {
        let rows = of(stream);
        match stream.end {
            Some((_, output)) => {
                assert_eq!(rows[0]["status"], "completed", "{}", rows[0]);
                assert_eq!(rows[0]["usage"]["output"], output, "{}", rows[0]);
            }
            None => assert!(rows.len() <= 1, "{rows:?}"),
        }
        for row in rows.iter().filter(|row| row["status"] == "recovered") {
            let basis = row["basis"].as_str().unwrap();
            assert!(["partial", "estimated"].contains(&basis), "{row}");
            assert!(micro(&row["credits"]) < 0, "{row}");
            recovered += 1;
        }
    }
    let known: usize = seen.iter().map(|seen| of(seen).len()).sum();
    assert_eq!(known, history.len(), "every charge is one of these streams'");
    recovered
}
