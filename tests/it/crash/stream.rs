//! A long stream that is killed with the gateway costs what its last checkpoint saw, once, and that is
//! at most a second and a commit behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opencredits_loadtest::crash::dice::Dice;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{audited, kill_during_start};
use crate::operate::Site;
use crate::operate::process::Process;
use crate::support::{Client, User, chat, message};

/// Streams at the same time, and times that they are killed.
const STREAMS: usize = 8;
const KILLS: u64 = 3;
/// Each streams for 30 seconds: so many words, so far apart.
const WORDS: u64 = 3000;
const DELAY_MS: u64 = 10;
/// What may be lost, and a commit on a machine that has other things to do.
const LOST: Duration = Duration::from_secs(1);
const COMMIT: Duration = Duration::from_millis(1500);

/// What a client has of a stream, and since when.
#[derive(Clone, Debug, Default)]
struct Delivered {
    request: String,
    text_bytes: Vec<(Option<Instant>, usize)>,
}

impl Delivered {
    /// Tokens in what had come at a moment: four bytes each, as checkpoints count them.
    fn tokens_at(&self, moment: Instant) -> u64 {
        let come = self.text_bytes.iter().filter(|(when, _)| when.is_some_and(|w| w <= moment));
        let bytes: usize = come.map(|(_, bytes)| bytes).sum();
        u64::try_from(bytes.div_ceil(4)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_stream_costs_what_its_last_checkpoint_saw_once() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let mut dice = Dice::new(30);
    let mut gateway = Process::serve(&settings).await;
    let user = gateway.user("10000").await;
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for _ in 0..KILLS {
        let started = Instant::now();
        let (begun, mut begins) = watch::channel(0_usize);
        let (begun, mut running) = (Arc::new(begun), Vec::new());
        for at in 0..STREAMS {
            let kept = Arc::new(Mutex::new(Delivered::default()));
            let reading =
                read(gateway.client.clone(), user.clone(), at, Arc::clone(&kept), begun.clone());
            running.push((kept, tokio::spawn(reading)));
        }
        begins.wait_for(|begun| *begun == STREAMS).await.unwrap();
        let moment = Duration::from_millis(dice.between(2800, 5500));
        tokio::time::sleep(moment).await;
        let before = Instant::now();
        gateway.kill();
        let killed = Instant::now();
        let mut delivered = Vec::new();
        for (kept, reading) in running {
            reading.await.unwrap();
            delivered.push(kept.lock().unwrap().clone());
        }
        let checkpoints = checkpoints(&site);

        kill_during_start(&site, &settings).await;
        gateway = Process::serve(&settings).await;
        let rows = audited(&gateway, &settings, std::slice::from_ref(&user)).await;
        for stream in &delivered {
            let own: Vec<_> =
                rows.values().filter(|row| row["request_id"] == *stream.request).collect();
            assert_eq!(own.len(), 1, "charged once: {own:?}");
            let row = own[0];
            assert_eq!((&row["type"], &row["status"]), (&json!("usage"), &json!("recovered")));
            let output = row["usage"]["output"].as_u64().unwrap();
            assert_eq!(checkpoints.get(&stream.request), Some(&output), "its last checkpoint");
            let least = stream.tokens_at(before.checked_sub(LOST + COMMIT).unwrap());
            assert!(least > 0 && output >= least, "{output} tokens, {least} had come long before");
            // Ten words of the simulator have 45 bytes.
            let sent = (killed - started).as_millis() / u128::from(DELAY_MS) + 20;
            let most = u64::try_from(sent).unwrap() * 45 / 40;
            assert!(output <= most, "{output} tokens, {most} can have been sent");
        }
        let charges_before = known.len();
        assert!(known.iter().all(|(id, row)| rows.get(id) == Some(row)), "nothing old changed");
        assert_eq!(rows.len(), charges_before + STREAMS);
        known = rows;
    }
    gateway.kill();
    kill_during_start(&site, &settings).await;
    let again = Process::serve(&settings).await;
    assert_eq!(audited(&again, &settings, &[user]).await, known);
}

/// Reads a stream until it breaks, noting when how much of its text came.
async fn read(
    client: Client,
    user: User,
    at: usize,
    kept: Arc<Mutex<Delivered>>,
    begun: Arc<watch::Sender<usize>>,
) {
    let words = format!("Hi [[sim output={WORDS} chunks={WORDS} delay_ms={DELAY_MS}]]");
    let (path, mut request) = if at.is_multiple_of(2) {
        ("/v1/chat/completions", chat("openai/gpt-4o", &words))
    } else {
        ("/v1/messages", message("anthropic/claude-sonnet-4-6", &words))
    };
    request["stream"] = json!(true);
    request["max_tokens"] = json!(4000);
    let mut answer = client.post(&user, path, &request).send().await.unwrap();
    let name = answer.headers().get("x-opencredits-request-id").unwrap().to_str().unwrap();
    kept.lock().unwrap().request = name.to_owned();
    begun.send_modify(|begun| *begun += 1);
    let mut line = Vec::new();
    while let Ok(Some(bytes)) = answer.chunk().await {
        for byte in bytes {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let text = text_of(&line);
            if text > 0 {
                kept.lock().unwrap().text_bytes.push((Some(Instant::now()), text));
            }
            line.clear();
        }
    }
}

/// Bytes of text in a line of a stream.
fn text_of(line: &[u8]) -> usize {
    let Some(data) = line.strip_prefix(b"data: ") else { return 0 };
    let Ok(event) = serde_json::from_slice::<Value>(data) else { return 0 };
    let text = event["choices"][0]["delta"]["content"].as_str();
    text.or_else(|| event["delta"]["text"].as_str()).map_or(0, str::len)
}

/// The output tokens of each open checkpoint in the store of a gateway that is dead. A copy is read:
/// whoever closes the file cleans up in it.
fn checkpoints(site: &Site) -> BTreeMap<String, u64> {
    let copy = tempfile::tempdir().unwrap();
    for file in ["oc.db", "oc.db-wal", "oc.db-ahead0", "oc.db-ahead1", "oc.db.lock"] {
        let from = site.folder.path().join(file);
        if from.exists() {
            std::fs::copy(from, copy.path().join(file)).unwrap();
        }
    }
    let path = copy.path().join("oc.db");
    opencredits_actors::SqliteStore::audit_file(&path).unwrap();
    let file = rusqlite::Connection::open(path).unwrap();
    let mut rows = file.prepare("SELECT request, body FROM checkpoints").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let read = |row: rusqlite::Result<([u8; 16], String)>| {
        let (request, body) = row.unwrap();
        let request = opencredits_schema::RequestId::new(u128::from_be_bytes(request)).to_string();
        let body: Value = serde_json::from_str(&body).unwrap();
        (request, body["charged"]["usage"]["output"].as_u64().unwrap())
    };
    rows.map(read).collect()
}
