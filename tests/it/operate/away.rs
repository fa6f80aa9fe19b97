//! A cluster that cannot be reached, or does not answer: what runs goes on, what comes is told to come
//! again, and nothing is lost once it is back.

use std::sync::Arc;

use opencredits_loadtest::ports::free_address;
use opencredits_loadtest::receipts::{Receipt, Seen};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::cql_server::{self, Way};
use super::nodes::{ask, ask_and_watch, audited, users};
use super::process::{Process, complaint, run};
use super::{PATIENCE, Site, until};
use crate::support::{User, chat};

const STREAMS: usize = 8;
const CHUNKS: usize = 10;

/// Answers that may wait for the store; far fewer than are asked for.
const QUEUE: usize = 16;
const WAVES: usize = 6;
const WAVE: usize = 8;

/// Longer than the store is away here.
const SETTLE_WAIT: &str = "120s";

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_cut_off_loses_nothing() {
    is_away("away_cut", Way::Cut, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_loses_nothing() {
    is_away("away_stalled", Way::Stalled, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_nodes_without_its_cluster_loses_nothing() {
    is_away("away_node", Way::Stalled, true).await;
}

async fn is_away(keyspace: &str, away: Way, one_of_several: bool) {
    let (way, told) = watch::channel(Way::Open);
    let servers = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
    let store = cql_server::network(servers[0].clone(), told).await;
    let site = Site::new().await;
    let mut settings = site.settings(&[
        ("STORE", &format!("scylla:{store}/{keyspace}")),
        ("JOURNAL_QUEUE", &QUEUE.to_string()),
        ("SETTLE_WAIT", SETTLE_WAIT),
    ]);
    if one_of_several {
        let address = free_address().unwrap().to_string();
        settings.insert("NODE_ADDRESS".to_owned(), address);
        settings.insert("NODE_SECRET".to_owned(), "a-secret-that-only-the-nodes-share".to_owned());
    }
    let migrated = run(&["migrate"], &settings).await;
    assert!(migrated.status.success(), "{}", complaint(&migrated));
    let gateway = Arc::new(Process::serve(&settings).await);
    let (users, mut receipts) = users(&gateway, STREAMS, "1000").await;

    let (shown, mut all_shown) = mpsc::unbounded_channel();
    let streams: Vec<_> = (0..STREAMS)
        .map(|payer| {
            let (gateway, user) = (Arc::clone(&gateway), users[payer].clone());
            tokio::spawn(stream(gateway, user, payer, shown.clone()))
        })
        .collect();
    let all = u64::try_from(STREAMS).unwrap();
    site.providers.until(|counts| counts.waiting.get("away") == Some(&all)).await;

    way.send(away).unwrap();
    let asked = flood(&site, &gateway, &users[0]).await;
    until(async || ready(&gateway).await == 503).await;
    assert!(refused(&gateway, &users[0]).await);
    // What runs needs the store for its end only.
    site.providers.open_gate("away");
    for _ in 0..STREAMS {
        tokio::time::timeout(PATIENCE, all_shown.recv()).await.unwrap().unwrap();
    }

    way.send(Way::Open).unwrap();
    until(async || ready(&gateway).await == 200).await;
    for stream in streams {
        let receipt = stream.await.unwrap();
        assert!(matches!(receipt.seen, Seen::End(_)), "{receipt:?}");
        receipts.requests.push(receipt);
    }
    for asked in asked {
        receipts.requests.push(asked.await.unwrap());
    }
    let again = ask(&gateway, &users[0], 0, "Hi [[sim output=5]]", false).await;
    assert!(matches!(again.seen, Seen::End(_)), "{again:?}");
    receipts.requests.push(again);
    audited(&[&gateway], &settings, &receipts).await;
}

/// A stream that stands at a gate halfway, and says when all of its content has come.
async fn stream(
    gateway: Arc<Process>,
    user: User,
    payer: usize,
    shown: mpsc::UnboundedSender<()>,
) -> Receipt {
    let words = format!("Hi [[sim output=10 chunks={CHUNKS} gate=away gate_after=5]]");
    let mut text = String::new();
    let see = |bytes: &[u8]| {
        let before = chunks(&text);
        text.push_str(&String::from_utf8_lossy(bytes));
        if before < CHUNKS && chunks(&text) >= CHUNKS {
            shown.send(()).unwrap();
        }
    };
    ask_and_watch(&gateway, &user, payer, (&words, true), see).await
}

/// Content chunks in what has come of a stream.
fn chunks(text: &str) -> usize {
    text.lines().filter(|line| line.contains(r#""content":""#) && line.ends_with('}')).count()
}

/// Asks wave after wave, each once the one before is at the provider or answered: the gateway takes no
/// more of them than may wait for the store.
async fn flood(site: &Site, gateway: &Arc<Process>, user: &User) -> Vec<JoinHandle<Receipt>> {
    let begun = |at_provider: u64| usize::try_from(at_provider).unwrap() - STREAMS;
    let mut asked = Vec::new();
    for _ in 0..WAVES {
        asked.extend((0..WAVE).map(|_| {
            let (gateway, user) = (Arc::clone(gateway), user.clone());
            tokio::spawn(async move { ask(&gateway, &user, 0, "Hi [[sim output=5]]", false).await })
        }));
        until(async || {
            let answered = asked.iter().filter(|asked| asked.is_finished()).count();
            begun(site.providers.counts().requests) + answered >= asked.len()
        })
        .await;
    }
    let begun = begun(site.providers.counts().requests);
    // For an account that is active the store is not asked before the provider is.
    assert!(begun > 0, "none of {} were begun", asked.len());
    assert!(begun <= QUEUE + 2 * WAVE, "{begun} of {} were begun", asked.len());
    asked
}

async fn ready(gateway: &Process) -> u16 {
    let ready = gateway.http.get(format!("{}/readyz", gateway.base)).send().await;
    ready.unwrap().status().as_u16()
}

/// Whether a new request is told when to come again.
async fn refused(gateway: &Process, user: &User) -> bool {
    let request = chat("openai/gpt-4o", "Hi [[sim output=5]]");
    let answer = gateway.post(user, "/v1/chat/completions", &request).send().await.unwrap();
    let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap());
    answer.status() == 503 && wait.is_some_and(|wait| wait.parse::<u64>().is_ok())
}
