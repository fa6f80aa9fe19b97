//! The program as an operator meets it: its words, its files, its signals.

mod away;
mod cluster;
#[path = "../../actors/src/tests/cql_server.rs"]
mod cql_server;
mod long;
mod moving;
mod nodes;
pub mod process;
mod shutdown;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opencredits_loadtest::simulators::Providers;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{self, User, chat, micro};
use process::{Process, Settings, complaint, run, said};

/// More than anything here takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Simulated providers, and an empty folder for a database.
pub struct Site {
    pub folder: TempDir,
    pub providers: Providers,
}

impl Site {
    pub async fn new() -> Self {
        let providers = Providers::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), providers }
    }

    /// The settings of a gateway here, with some of its own.
    pub fn settings(&self, own: &[(&str, &str)]) -> Settings {
        let mut settings = support::settings(&self.providers.origin(), &self.store("oc.db"));
        settings.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        settings
    }

    /// The store in a file here.
    pub fn store(&self, file: &str) -> String {
        format!("sqlite:{}", self.folder.path().join(file).display())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_file_ends_and_names_the_first() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let first = Process::serve(&settings).await;
    // On the same address too it is the file that is in use first of all.
    let same_address = site.settings(&[("LISTEN", first.address())]);
    for (word, settings) in [("serve", &settings), ("migrate", &settings), ("serve", &same_address)]
    {
        let second = run(&[word], settings).await;
        let complaint = complaint(&second);
        assert_eq!(second.status.code(), Some(1), "{word}: {complaint}");
        assert!(complaint.contains(&format!("process {}", first.id())), "{word}: {complaint}");
        assert!(complaint.contains(first.address()), "{word}: {complaint}");
    }
    // The first one has not noticed.
    first.user("10").await;
    first.kill();
    assert!(run(&["migrate"], &settings).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_key_that_a_provider_lacks() {
    let site = Site::new().await;
    let mut settings = site.settings(&[]);
    settings.remove("OPENAI_API_KEY");
    let gateway = Process::serve(&settings).await;
    let user = gateway.user("10").await;
    let answer = gateway.post(&user, "/v1/chat/completions", &chat("openai/gpt-4o", "Hi")).send();
    assert_eq!(answer.await.unwrap().status(), 502);
    let log = gateway.log();
    assert!(log.contains("upstream_error: OPENCREDITS_OPENAI_API_KEY is not set"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_gateway_holds_all_that_was_acknowledged_before_it() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let gateway = Process::serve(&settings).await;
    let user = gateway.user("1000").await;
    let (count, mut counted) = watch::channel(Vec::<(String, i64)>::new());
    let (count, enough) = (Arc::new(count), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (client, user) = (gateway.client.clone(), user.clone());
            let (count, enough) = (Arc::clone(&count), Arc::clone(&enough));
            tokio::spawn(async move {
                while !enough.load(Ordering::Relaxed) || count.borrow().len() < 50 {
                    let request = chat("openai/gpt-4o", "Hi [[sim output=5]]");
                    let answer = client.post(&user, "/v1/chat/completions", &request).send().await;
                    let charged = charged(&answer.unwrap());
                    count.send_modify(|all| all.push(charged));
                }
            })
        })
        .collect();
    counted.wait_for(|all| all.len() >= 20).await.unwrap();
    let acknowledged = counted.borrow().clone();
    let copy = site.folder.path().join("copy.db");
    let backup = run(&["backup", copy.to_str().unwrap()], &settings).await;
    assert!(backup.status.success(), "{}", complaint(&backup));
    enough.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let again = run(&["backup", copy.to_str().unwrap()], &settings).await;
    assert_eq!(again.status.code(), Some(1), "a copy must not be overwritten");

    let restored = site.settings(&[("STORE", &site.store("copy.db"))]);
    for settings in [&settings, &restored] {
        let books = run(&["books"], settings).await;
        assert!(books.status.success(), "{}{}", said(&books), complaint(&books));
    }
    let copied = Process::serve(&restored).await;
    assert_holds_each_once(&copied.history(&user).await, &acknowledged);
    copied.settled_balance(&user).await;
    assert_holds_each_once(&gateway.history(&user).await, &counted.borrow());
}

/// The request and the charge that an answer's headers tell.
fn charged(answer: &reqwest::Response) -> (String, i64) {
    assert_eq!(answer.status(), 200);
    let told = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
    (told("x-opencredits-request-id"), micro(&Value::String(told("x-opencredits-charge"))))
}

/// Asserts that each of these charges stands in a history once.
pub fn assert_holds_each_once(history: &[Value], charges: &[(String, i64)]) {
    for (request, charge) in charges {
        let rows: Vec<_> = history.iter().filter(|row| row["request_id"] == **request).collect();
        assert_eq!(rows.len(), 1, "{request}: {rows:?}");
        assert_eq!(micro(&rows[0]["credits"]), -charge, "{}", rows[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "for whoever looks at how long it took")]
async fn an_empty_folder_becomes_a_ready_gateway() {
    let site = Site::new().await;
    let started = Instant::now();
    let gateway = Process::serve(&site.settings(&[])).await;
    let answer = gateway.http.get(format!("{}/readyz", gateway.base)).send().await.unwrap();
    println!("ready after {:?}", started.elapsed());
    assert_eq!(answer.status(), 200);
    assert!(site.folder.path().join("oc.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn books_exits_1_on_a_file_that_was_tampered_with() {
    let site = Site::new().await;
    let settings = site.settings(&[]);
    let gateway = Process::serve(&settings).await;
    let user = gateway.user("10").await;
    let request = chat("openai/gpt-4o", "Hi");
    charged(&gateway.post(&user, "/v1/chat/completions", &request).send().await.unwrap());
    gateway.kill();
    assert_eq!(run(&["books"], &settings).await.status.code(), Some(0));
    let file = rusqlite::Connection::open(site.folder.path().join("oc.db")).unwrap();
    file.execute("UPDATE accounts SET balance = balance + 1", []).unwrap();
    drop(file);
    let books = run(&["books"], &settings).await;
    assert_eq!(books.status.code(), Some(1));
    assert!(said(&books).contains("NOT BALANCED"), "{}", said(&books));
    let books = run(&["books", "--json"], &settings).await;
    assert_eq!(books.status.code(), Some(1));
    let books: Value = serde_json::from_slice(&books.stdout).unwrap();
    assert_eq!(books["balanced"], false);
    assert_eq!(books["differences"].as_array().unwrap().len(), 2, "{books}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_names_every_bad_value_at_once() {
    let site = Site::new().await;
    let bad = [
        ("LISTEN", "nowhere"),
        ("ADMIN_TOKEN", "a-small-secret"),
        ("STORE", "oracle:x"),
        ("RATE_LIMIT_PER_KEY", "fast"),
        ("MAX_BODY", "big"),
        ("HEADER_TIMEOUT", "soon"),
        ("ON_CLIENT_GONE", "cry"),
        ("OPENAI_BASE_URL", "ftp://x"),
        ("LSTEN", "127.0.0.1:1"),
    ];
    let checked = run(&["check-config"], &site.settings(&bad)).await;
    assert_eq!(checked.status.code(), Some(1));
    let complaint = complaint(&checked);
    for (name, _) in bad {
        assert!(complaint.contains(&format!("OPENCREDITS_{name}")), "{name}: {complaint}");
    }
    assert!(!complaint.contains("a-small-secret"), "a secret is not said: {complaint}");
    assert_eq!(run(&["serve"], &site.settings(&bad)).await.status.code(), Some(1));

    let checked = run(&["check-config"], &site.settings(&[])).await;
    assert!(checked.status.success());
    assert!(said(&checked).contains("OPENCREDITS_LISTEN"), "{}", said(&checked));
    assert!(!said(&checked).contains(support::ADMIN_TOKEN));
    assert!(!site.folder.path().join("oc.db").exists(), "it only looks");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_the_operator_only() {
    let site = Site::new().await;
    let gateway = Process::serve(&site.settings(&[])).await;
    let user = gateway.user("10").await;
    let request = chat("openai/gpt-4o", "Hi");
    charged(&gateway.post(&user, "/v1/chat/completions", &request).send().await.unwrap());
    let (status, metrics) = gateway.try_operate("GET", "/metrics", &Value::Null).await;
    let metrics = metrics.as_str().unwrap();
    assert_eq!(status, 200);
    for name in ["requests_total", "settled_total", "upstream_ttfb_seconds", "open_connections"] {
        assert!(metrics.contains(&format!("opencredits_{name}")), "{name}: {metrics}");
    }
    for (address, path, status) in [
        (&gateway.base, "/metrics", 404),
        (&gateway.base, "/admin/v1/books", 404),
        (&gateway.base, "/healthz", 200),
        (&gateway.admin, "/healthz", 200),
        (&gateway.admin, "/readyz", 200),
        (&gateway.admin, "/v1/models", 404),
    ] {
        let answer = gateway.http.get(format!("{address}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{address}{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_without_a_price_file_ends_nothing() {
    let site = Site::new().await;
    let gateway = Process::serve(&site.settings(&[])).await;
    gateway.signal("HUP");
    let answer = gateway.http.get(format!("{}/readyz", gateway.base)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    gateway.signal("TERM");
    let status = tokio::time::timeout(PATIENCE, gateway.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0), "by a signal, not by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_follow_their_file_and_a_bad_one_changes_nothing() {
    let site = Site::new().await;
    let file = site.folder.path().join("prices.json");
    write_prices(&file, "2.5");
    let settings = site.settings(&[("PRICES", file.to_str().unwrap())]);
    let gateway = Process::serve(&settings).await;
    let user = gateway.user("10").await;
    let before = price(&gateway, &user).await;
    write_prices(&file, "5");
    until(async || price(&gateway, &user).await != before).await;
    let after = price(&gateway, &user).await;
    assert!(after > before, "{after} {before}");

    std::fs::write(&file, "{\"models\": [{\"id\": 7}]}").unwrap();
    gateway.signal("HUP");
    until(async || metric(&gateway, "opencredits_prices_refused_total").await > 0).await;
    assert_eq!(price(&gateway, &user).await, after);
    let other = site.store("other.db");
    let at_start = site.settings(&[("PRICES", file.to_str().unwrap()), ("STORE", &other)]);
    let start = run(&["serve"], &at_start).await;
    assert_eq!(start.status.code(), Some(1));
    assert!(complaint(&start).contains("price book"), "{}", complaint(&start));

    write_prices(&file, "2.5");
    gateway.signal("HUP");
    until(async || price(&gateway, &user).await == before).await;
}

/// The built-in prices, with another one for gpt-4o's input.
fn write_prices(file: &Path, input: &str) {
    let built_in = include_str!("../../schema/prices/models.json");
    let mut book: Value = serde_json::from_str(built_in).unwrap();
    let rows = book["models"].as_array_mut().unwrap();
    let row = rows.iter_mut().find(|row| row["id"] == "openai/gpt-4o").unwrap();
    row["price_usd_per_mtok"]["input"] = json!(input);
    std::fs::write(file, book.to_string()).unwrap();
}

/// What gpt-4o costs at the moment, in microcredits.
async fn price(gateway: &Process, user: &User) -> i64 {
    let path = format!(
        "{}/v1/credits/pricing?publishable_key={}&models=openai/gpt-4o",
        gateway.base, user.publishable_key
    );
    let answer: Value = gateway.http.get(path).send().await.unwrap().json().await.unwrap();
    micro(&answer["models"][0]["credits_per_request"])
}

/// A metric without labels; 0 until it is first counted.
async fn metric(gateway: &Process, name: &str) -> u64 {
    let (_, metrics) = gateway.try_operate("GET", "/metrics", &Value::Null).await;
    let mut lines = metrics.as_str().unwrap().lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Asks again and again until something is so.
pub async fn until(is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}
