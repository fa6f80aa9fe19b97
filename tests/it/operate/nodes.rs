//! Three gateways on one real CQL server: any of them takes any request, and whichever dies, hangs or
//! leaves, nothing that a client saw is lost or charged twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opencredits_loadtest::client::Client as Auditor;
use opencredits_loadtest::ports::free_address;
use opencredits_loadtest::receipts::{
    Access, Earner, Moved, MovedKind, Payer, Receipt, Receipts, Seen, Told, audit,
};
use opencredits_schema::Credits;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cql_server::{self, Way};
use super::long;
use super::process::{Process, Settings, complaint, run, said};
use super::{PATIENCE, Site, metric, until};
use crate::support::{ADMIN_TOKEN, Client, User, chat, micro};

pub const NODES: usize = 3;
pub const USERS: usize = 6;
const WORKERS: usize = 24;
pub const CREDITS: &str = "1000";
const MODEL: &str = "openai/gpt-4o";

/// Longer than a node's row lasts: the others take its accounts meanwhile.
pub const HANG: Duration = Duration::from_secs(8);

/// How long a client waits for an answer's end before it goes to another node.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// Ends that must come after each fault, before the next one.
const ENDS: usize = 60;

/// A keyspace with a gateway on each of some addresses.
pub struct Cluster {
    site: Site,
    settings: Vec<Settings>,
    nodes: Vec<Option<Process>>,
}

impl Cluster {
    async fn start(keyspace: &str) -> Self {
        let servers = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
        let store = format!("scylla:{}/{keyspace}", servers.join(","));
        Self::on(&[&store; NODES]).await
    }

    /// Gateways that reach their one keyspace in their own ways.
    pub async fn on(stores: &[&str; NODES]) -> Self {
        let site = Site::new().await;
        let settings: Vec<_> = stores
            .iter()
            .map(|store| {
                site.settings(&[
                    ("STORE", store),
                    ("LISTEN", &free_address().unwrap().to_string()),
                    ("NODE_ADDRESS", &free_address().unwrap().to_string()),
                    ("NODE_SECRET", "a-secret-that-only-the-nodes-share"),
                    ("HOLD_LEASE", "20s"),
                ])
            })
            .collect();
        let migrated = run(&["migrate"], &settings[0]).await;
        assert!(migrated.status.success(), "{}", complaint(&migrated));
        let mut nodes = Vec::new();
        for settings in &settings {
            nodes.push(Some(Process::serve(settings).await));
        }
        Self { site, settings, nodes }
    }

    pub fn node(&self, at: usize) -> &Process {
        self.nodes[at].as_ref().unwrap()
    }

    pub fn clients(&self) -> Vec<Client> {
        (0..NODES).map(|at| self.node(at).client.clone()).collect()
    }

    /// kill -9.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].take().unwrap().kill();
    }

    /// SIGTERM, and the end that follows.
    pub async fn leave(&mut self, at: usize) {
        let leaving = self.nodes[at].take().unwrap();
        leaving.signal("TERM");
        let status = tokio::time::timeout(PATIENCE, leaving.ended()).await.unwrap();
        assert_eq!(status.code(), Some(0));
    }

    pub async fn start_again(&mut self, at: usize) {
        self.nodes[at] = Some(Process::serve(&self.settings[at]).await);
    }

    /// Holds all books against the receipts.
    pub async fn audited(&self, receipts: &Receipts) {
        let nodes: Vec<_> = self.nodes.iter().flatten().collect();
        audited(&nodes, &self.settings[0], receipts).await;
    }
}

/// Waits until nothing is held and nothing is open, then holds all books against the receipts.
pub async fn audited(nodes: &[&Process], settings: &Settings, receipts: &Receipts) {
    let node = nodes[0];
    until(async || {
        let (status, books) = node.try_operate("GET", "/admin/v1/books", &Value::Null).await;
        status == 200 && books["open_checkpoints"] == 0
    })
    .await;
    for payer in &receipts.payers {
        let account = format!("/admin/v1/accounts/{}", payer.account);
        until(async || node.try_operate("GET", &account, &Value::Null).await.1["open_holds"] == 0)
            .await;
    }
    for node in nodes {
        let (base, admin) = (node.base.clone(), node.admin.clone());
        let access = Access { base, admin, admin_token: ADMIN_TOKEN.to_owned() };
        let mut differences = Vec::new();
        // Copies for partners are a second late on other nodes than the account's own.
        for _ in 0..20 {
            differences = audit(&Auditor::default(), &access, receipts).await.unwrap();
            if differences.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(differences, Vec::<String>::new());
    }
    let books = run(&["books"], settings).await;
    assert!(books.status.success(), "{}{}", said(&books), complaint(&books));
}

/// Users with credits, and what is known of them.
pub async fn users(node: &Process, count: usize, credits: &str) -> (Vec<User>, Receipts) {
    let (mut users, mut receipts) = (Vec::new(), Receipts::default());
    for payer in 0..count {
        let user = node.user(credits).await;
        let User { account, key, partner, secret_key, .. } = user.clone();
        receipts.earners.push(Earner { id: partner, secret_key });
        receipts.payers.push(Payer { account, key, earner: payer });
        let credits = Credits::parse(credits).unwrap();
        receipts.moved.push(Moved { payer, kind: MovedKind::Grant, credits });
        users.push(user);
    }
    (users, receipts)
}

/// One request of a user, whole or as a stream, and what its client saw of it.
pub async fn ask(client: &Client, user: &User, payer: usize, words: &str, stream: bool) -> Receipt {
    ask_and_watch(client, user, payer, (words, stream), |_| {}).await
}

/// One request of a user, of whose answer somebody sees the bytes as they come.
pub async fn ask_and_watch(
    client: &Client,
    user: &User,
    payer: usize,
    (words, stream): (&str, bool),
    mut see: impl FnMut(&[u8]),
) -> Receipt {
    let mut request = chat(MODEL, words);
    request["max_tokens"] = json!(100);
    if stream {
        request["stream"] = json!(true);
        request["stream_options"] = json!({"include_usage": true});
    }
    let request = client.post(user, "/v1/chat/completions", &request);
    let broken = broken(payer);
    let Ok(mut answer) = request.header("x-opencredits-cost", "1").send().await else {
        return broken;
    };
    let header =
        |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let request = header("x-opencredits-request-id").map(|request| request.parse().unwrap());
    let charge = header("x-opencredits-charge");
    let status = answer.status().as_u16();
    if (400..500).contains(&status) {
        return Receipt { request, seen: Seen::Refused, ..broken };
    }
    let (mut told, mut body) = (Told::default(), Vec::new());
    while let Ok(Some(bytes)) = answer.chunk().await {
        see(&bytes);
        told.push(&bytes);
        body.extend(bytes);
    }
    let end = if stream { told.end() } else { Told::whole(charge.as_deref(), &body) };
    let end = end.filter(|_| status == 200);
    Receipt { request, seen: end.map_or(Seen::Broken, Seen::End), ..broken }
}

/// A request of which a client knows nothing.
fn broken(payer: usize) -> Receipt {
    Receipt { payer, model: MODEL.into(), request: None, seen: Seen::Broken, at_most: None }
}

/// Clients that ask node after node, as each user in turn.
pub struct Load {
    enough: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Vec<Receipt>>>,
}

impl Load {
    /// Clients that rest for so long after each request.
    pub fn start(clients: &[Client], users: &[User], pace: Duration) -> Self {
        let (enough, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let worker = |number: usize| {
            let (clients, users) = (clients.to_vec(), users.to_vec());
            let (enough, ended) = (Arc::clone(&enough), Arc::clone(&ended));
            tokio::spawn(async move {
                let (mut turn, mut receipts) = (number, Vec::new());
                while !enough.load(Ordering::Relaxed) {
                    turn += 1;
                    let payer = turn % users.len();
                    let stream = turn % 4 == 0;
                    let words = if stream {
                        "Hi [[sim output=20 chunks=20 delay_ms=60]]"
                    } else {
                        "Hi [[sim output=5]]"
                    };
                    let client = &clients[(turn / 2 + number) % clients.len()];
                    let asked = ask(client, &users[payer], payer, words, stream);
                    let asked = tokio::time::timeout(CLIENT_PATIENCE, asked).await;
                    let receipt = asked.unwrap_or_else(|_| broken(payer));
                    if matches!(receipt.seen, Seen::End(_)) {
                        ended.fetch_add(1, Ordering::Relaxed);
                    } else {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    receipts.push(receipt);
                    tokio::time::sleep(pace).await;
                }
                receipts
            })
        };
        let workers = (0..WORKERS).map(worker).collect();
        Self { enough, ended, workers }
    }

    /// Waits until so many more requests have ended well.
    pub async fn goes_on(&self, what: &str) {
        let before = self.ended.load(Ordering::Relaxed);
        let going = async {
            while self.ended.load(Ordering::Relaxed) < before + ENDS {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, going).await.is_ok(), "nothing ends: {what}");
    }

    pub async fn end(self) -> Vec<Receipt> {
        self.enough.store(true, Ordering::Relaxed);
        let mut receipts = Vec::new();
        for worker in self.workers {
            receipts.extend(worker.await.unwrap());
        }
        receipts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_any_request_and_the_survivors_of_one_go_on() {
    let mut cluster = Cluster::start("nodes_thin").await;
    let (users, mut receipts) = users(cluster.node(0), USERS, CREDITS).await;
    for (payer, user) in users.iter().enumerate() {
        for at in 0..NODES {
            let receipt = ask(cluster.node(at), user, payer, "Hi [[sim output=5]]", false).await;
            assert!(matches!(receipt.seen, Seen::End(_)), "node {at}: {receipt:?}");
            receipts.requests.push(receipt);
        }
    }
    cluster.kill(1);
    for (payer, user) in users.iter().enumerate() {
        for at in [0, 2] {
            let receipt = ask(cluster.node(at), user, payer, "Hi [[sim output=5]]", false).await;
            assert!(matches!(receipt.seen, Seen::End(_)), "node {at}: {receipt:?}");
            receipts.requests.push(receipt);
        }
    }
    cluster.audited(&receipts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_saw_is_lost_or_doubled_whichever_node_dies_hangs_or_leaves() {
    if let Some(asked) = long::asked() {
        return long::run(asked).await;
    }
    let mut cluster = Cluster::start("nodes_faults").await;
    let (users, mut receipts) = users(cluster.node(0), USERS, CREDITS).await;
    let load = Load::start(&cluster.clients(), &users, Duration::ZERO);
    load.goes_on("at the start").await;
    for at in 0..NODES {
        cluster.kill(at);
        load.goes_on("one was killed").await;
        cluster.start_again(at).await;
        load.goes_on("one was started again").await;
        cluster.node(at).signal("STOP");
        tokio::time::sleep(HANG).await;
        load.goes_on("one hangs").await;
        cluster.node(at).signal("CONT");
        load.goes_on("one came back").await;
    }
    cluster.leave(0).await;
    load.goes_on("one has left").await;
    cluster.start_again(0).await;
    load.goes_on("the last one was started again").await;
    receipts.requests = load.end().await;
    let ends = receipts.requests.iter().filter(|r| matches!(r.seen, Seen::End(_))).count();
    assert!(ends > receipts.requests.len() / 2, "{ends} of {}", receipts.requests.len());
    cluster.audited(&receipts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_owner_that_comes_back_is_refused_and_its_entries_are_the_next_owners() {
    const STREAMS: usize = 16;
    let servers = tokio::task::spawn_blocking(cql_server::nodes).await.unwrap();
    let (way, told) = watch::channel(Way::Open);
    let store = |at: &str| format!("scylla:{at}/nodes_stale");
    let (own, shared) = (cql_server::network(servers[0].clone(), told).await, store(&servers[0]));
    let cluster = Cluster::on(&[&store(&own), &shared, &shared]).await;
    let (users, mut receipts) = users(cluster.node(1), STREAMS, CREDITS).await;
    let streams: Vec<_> = users
        .iter()
        .cloned()
        .enumerate()
        .map(|(payer, user)| {
            let client = cluster.node(0).client.clone();
            let words = "Hi [[sim output=10 gate=stale gate_after=5]]";
            tokio::spawn(async move { ask(&client, &user, payer, words, true).await })
        })
        .collect();
    let providers = &cluster.site.providers;
    let all = u64::try_from(STREAMS).unwrap();
    providers.until(|counts| counts.waiting.get("stale") == Some(&all)).await;

    // Long enough for a checkpoint each.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The first node decides the ends of those that live there, and cannot write them down.
    way.send(Way::Cut).unwrap();
    let hung = cluster.node(0);
    providers.open_gate("stale");
    until(async || metric(hung, "opencredits_journal_failures_total").await > 0).await;
    hung.signal("STOP");
    tokio::time::sleep(HANG).await;
    // The next owners go on without it.
    for (payer, user) in users.iter().enumerate() {
        let path = format!("/admin/v1/accounts/{}/grants", user.account);
        let grant = json!({"credits": "1", "reason": "meanwhile"});
        cluster.node(1).operate("POST", &path, &grant).await;
        let credits = Credits::parse("1").unwrap();
        receipts.moved.push(Moved { payer, kind: MovedKind::Grant, credits });
    }
    way.send(Way::Open).unwrap();
    hung.signal("CONT");
    for stream in streams {
        receipts.requests.push(stream.await.unwrap());
    }
    until(async || metric(hung, "opencredits_entries_refused_total").await > 0).await;
    until(async || {
        let ready = hung.http.get(format!("{}/readyz", hung.base)).send().await;
        ready.is_ok_and(|ready| ready.status() == 200)
    })
    .await;
    cluster.audited(&receipts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_together_spend_no_more_than_an_account_has() {
    let cluster = Cluster::start("nodes_spend").await;
    let (users, mut receipts) = users(cluster.node(0), 1, "0.3").await;
    let asking: Vec<_> = (0..150)
        .map(|at| {
            let (client, user) = (cluster.node(at % NODES).client.clone(), users[0].clone());
            tokio::spawn(async move { ask(&client, &user, 0, "Hi [[sim output=80]]", false).await })
        })
        .collect();
    for asking in asking {
        receipts.requests.push(asking.await.unwrap());
    }
    let count =
        |seen: fn(&Seen) -> bool| receipts.requests.iter().filter(|r| seen(&r.seen)).count();
    let (ended, refused) =
        (count(|seen| matches!(seen, Seen::End(_))), count(|seen| *seen == Seen::Refused));
    assert!(ended > 0 && refused > 0, "{ended} ended, {refused} refused");
    cluster.audited(&receipts).await;
    let balance = cluster.node(1).get(&users[0], "/v1/credits/balance").await;
    assert!(micro(&balance["balance"]) >= 0, "{balance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_on_one_node_is_refused_on_the_others_within_5_s() {
    let cluster = Cluster::start("nodes_keys").await;
    let (users, _) = users(cluster.node(0), 1, CREDITS).await;
    for at in 0..NODES {
        let receipt = ask(cluster.node(at), &users[0], 0, "Hi", false).await;
        assert!(matches!(receipt.seen, Seen::End(_)), "node {at}: {receipt:?}");
    }
    let account = format!("/admin/v1/accounts/{}", users[0].account);
    let account = cluster.node(0).operate("GET", &account, &Value::Null).await;
    let key = account["keys"][0]["id"].as_str().unwrap();
    cluster.node(0).operate("DELETE", &format!("/admin/v1/keys/{key}"), &Value::Null).await;
    let revoked = std::time::Instant::now();
    for at in 0..NODES {
        until(async || {
            ask(cluster.node(at), &users[0], 0, "Hi", false).await.seen == Seen::Refused
        })
        .await;
    }
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
}
