//! What open streams and accounts cost a gateway in memory, at a site of its own.
//!
//! Memory is resident memory. Allocators keep what was freed, so what idle accounts leave behind is
//! seen by making as many again: what the second ones add, the first ones had not given back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::mix::{Kind, Mix};
use super::plan::{Plan, Shot};
use super::server::Watched;
use super::site::{Site, SiteError};
use super::target::User;
use crate::client::Client;

/// Accounts that are made at a time, and streams that are opened.
const ACCOUNTS: usize = 1_000;
const STREAMS: usize = 500;
/// Requests that run at once.
const ASKING_MAX: usize = 32;
/// When an account of this site rests; the run itself keeps the gateway's default.
const PASSIVATE_AFTER: &str = "3s";
/// The longest wait for the gateway to come to a state.
const STATE_WAIT: Duration = Duration::from_secs(60);
/// How often the gateway is asked for its state.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The metrics that tell the gateway's state.
const ACTIVE: &str = "opencredits_active_accounts";
const STREAMING: &str = "opencredits_open_streams";

/// Bytes of resident memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Of the gateway before anything was asked.
    pub bare: u64,
    /// Of each stream that is open and waits for its provider.
    pub per_open_stream: Option<u64>,
    /// Of each account that was asked for a moment ago.
    pub per_active_account: Option<u64>,
    /// Of each account that was asked for once and rests.
    pub per_idle_account: Option<u64>,
}

/// Starts a site and measures it.
///
/// # Errors
/// [`SiteError`].
pub async fn measure(gateway: &Path) -> Result<Footprint, SiteError> {
    let rest = [("PASSIVATE_AFTER".to_owned(), PASSIVATE_AFTER.to_owned())];
    let (site, mut accounts) = Site::start(gateway, &rest.into()).await?;
    let (client, base) = (Client::default(), accounts.access().base.clone());
    let watched = site.watched(accounts.access());
    let state = State { client: &client, watched: &watched };
    // What the first requests need once for all is no account's.
    let first = accounts.make(ASKING_MAX).await?;
    ask_all(&client, &base, &first).await;
    state.all_rest().await;
    let bare = state.rss();

    let users = accounts.make(ACCOUNTS).await?;
    ask_all(&client, &base, &users).await;
    let all_active = state.are_active(ACCOUNTS).await;
    let active = state.rss();
    let mut rested = state.all_rest().await;
    let idle = state.rss();
    let more = accounts.make(ACCOUNTS).await?;
    ask_all(&client, &base, &more).await;
    rested &= state.all_rest().await;
    let idle_twice = state.rss();

    let streams = open_streams(&site, &users).await;
    let opened = state.streams(streams.len()).await;
    let with_streams = state.rss();
    let each = |from: u64, to: u64, count: usize| {
        to.saturating_sub(from).checked_div(u64::try_from(count).unwrap_or_default())
    };
    Ok(Footprint {
        bare,
        per_open_stream: each(idle_twice, with_streams, streams.len()).filter(|_| opened),
        per_active_account: each(bare, active, ACCOUNTS).filter(|_| all_active),
        per_idle_account: each(idle, idle_twice, ACCOUNTS).filter(|_| rested),
    })
}

/// What the gateway says of itself.
struct State<'a> {
    client: &'a Client,
    watched: &'a Watched,
}

impl State<'_> {
    fn rss(&self) -> u64 {
        self.watched.rss().unwrap_or_default()
    }

    /// Whether so many accounts are active at this moment: a slow machine lets the first ones rest
    /// before the last ones are asked.
    async fn are_active(&self, count: usize) -> bool {
        let active = self.watched.read_metrics(self.client).await.get(ACTIVE);
        active.is_some_and(|active| active >= number(count))
    }

    async fn all_rest(&self) -> bool {
        self.until(ACTIVE, |active| active < 1.0).await
    }

    async fn streams(&self, count: usize) -> bool {
        self.until(STREAMING, |open| open >= number(count)).await
    }

    /// Waits until a metric is as wanted; `false` where it does not come to it.
    async fn until(&self, metric: &str, wanted: impl Fn(f64) -> bool) -> bool {
        let looking = async {
            while !self.watched.read_metrics(self.client).await.get(metric).is_some_and(&wanted) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(STATE_WAIT, looking).await.is_ok()
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Asks each account for its balance, which makes it active.
async fn ask_all(client: &Client, base: &str, users: &[User]) {
    let (asking, mut asked) = (Arc::new(Semaphore::new(ASKING_MAX)), JoinSet::new());
    for user in users {
        let (client, asking, key) = (client.clone(), Arc::clone(&asking), user.key.clone());
        let url = format!("{base}/v1/credits/balance");
        asked.spawn(async move {
            let _one = asking.acquire().await;
            // A figure that lacks some accounts is a little too small, no more.
            drop(client.send(Method::GET, &url, &[("x-user-key", &key)], "").await);
        });
    }
    asked.join_all().await;
}

/// Opens streams whose provider then says nothing for a long time.
async fn open_streams(site: &Site, users: &[User]) -> Vec<TcpStream> {
    let (chunks, delay_ms) = (Some(2), 120_000);
    let kind = Kind { stream: true, chunks, delay_ms, ..Kind::default() };
    let mix = Mix { zipf: 0.0, kinds: vec![kind], ..Mix::default() };
    let plan = Plan::new(&mix, &site.target, users.to_vec(), false, 1);
    let mut rng = Rng::with_seed(1);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let Some(shot) = plan.draw(&mut rng) else { break };
        if let Ok(stream) = open_stream(site, &shot).await {
            streams.push(stream);
        }
    }
    streams
}

/// Opens one, and returns when its head has come.
async fn open_stream(site: &Site, shot: &Shot<'_>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(site.target.address).await?;
    let mut request = Vec::new();
    shot.shape.write(shot.user, &mut request);
    stream.write_all(&request).await?;
    stream.read_u8().await?;
    Ok(stream)
}
