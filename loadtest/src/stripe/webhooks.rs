//! Webhooks: signed, repeated until they are taken, and spoiled where a test wants that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::endpoints::Endpoint;
use super::state::{text, unix_time};
use crate::client::Client;

/// Tries of one delivery.
const TRIES_MAX: u32 = 10;
/// The wait before the second try; each further one is twice as long, up to a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between tries.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Tries that are remembered.
const LOG_MAX: usize = 10_000;

/// What happens to webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookMode {
    /// They are sent, in order.
    #[default]
    Normal,
    /// They wait until they are released.
    Hold,
    /// They are lost.
    Drop,
    /// Each is sent so many times at once.
    Repeat(usize),
    /// The events of one change are sent in reverse order.
    Reorder,
    /// They are signed with another secret.
    BadSignature,
    /// They are signed, but ten minutes ago.
    Stale,
    /// Each is sent so much later.
    Slow(Duration),
}

/// The ways to the endpoints.
#[derive(Debug)]
pub(super) struct Webhooks {
    secret: String,
    client: Client,
    state: Mutex<State>,
    running: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    endpoints: Vec<Endpoint>,
    mode: WebhookMode,
    held: Vec<Value>,
    log: Vec<Value>,
}

impl Webhooks {
    pub(super) fn new(secret: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            client: Client::default(),
            state: Mutex::default(),
            running: watch::Sender::new(0),
        }
    }

    /// The endpoint that was there before the API was asked for any.
    pub(super) fn set_url(&self, url: &str) {
        const FIRST: &str = "we_first";
        let mut state = self.lock();
        state.endpoints.retain(|endpoint| endpoint.id != FIRST);
        state.endpoints.insert(0, Endpoint::of_all(FIRST, url, &self.secret));
    }

    pub(super) fn add(&self, endpoint: Endpoint) {
        self.lock().endpoints.push(endpoint);
    }

    /// Whether there was such an endpoint.
    pub(super) fn remove(&self, id: &str) -> bool {
        let mut state = self.lock();
        let before = state.endpoints.len();
        state.endpoints.retain(|endpoint| endpoint.id != id);
        state.endpoints.len() < before
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.lock().endpoints.clone()
    }

    pub(super) fn set_mode(&self, mode: WebhookMode) {
        self.lock().mode = mode;
    }

    /// Each try so far: event, endpoint, and what it answered.
    pub(super) fn log(&self) -> Vec<Value> {
        self.lock().log.clone()
    }

    pub(super) fn release(self: &Arc<Self>, reversed: bool) {
        let mut held = std::mem::take(&mut self.lock().held);
        if reversed {
            held.reverse();
        }
        self.deliver(held, 1);
    }

    /// Resolves when nothing is under way.
    pub(super) async fn until_idle(&self) {
        // The sender is here: it does not go away.
        drop(self.running.subscribe().wait_for(|running| *running == 0).await);
    }

    pub(super) fn send(self: &Arc<Self>, mut events: Vec<Value>) {
        let mode = self.lock().mode;
        match mode {
            WebhookMode::Hold => self.lock().held.extend(events),
            WebhookMode::Drop => {}
            WebhookMode::Repeat(times) => self.deliver(events, times),
            WebhookMode::Reorder => {
                events.reverse();
                self.deliver(events, 1);
            }
            WebhookMode::Normal
            | WebhookMode::BadSignature
            | WebhookMode::Stale
            | WebhookMode::Slow(_) => self.deliver(events, 1),
        }
    }

    /// Sends events one after the other to all endpoints; each so many times at once.
    fn deliver(self: &Arc<Self>, events: Vec<Value>, times: usize) {
        let (mode, endpoints) = {
            let state = self.lock();
            (state.mode, state.endpoints.clone())
        };
        if events.is_empty() || endpoints.is_empty() {
            return;
        }
        self.running.send_modify(|running| *running = running.saturating_add(1));
        let webhooks = Arc::clone(self);
        tokio::spawn(async move {
            for event in events {
                let kind = text(&event, "type");
                let mut deliveries = JoinSet::new();
                for endpoint in endpoints.iter().filter(|endpoint| endpoint.takes(kind)) {
                    for _ in 0..times {
                        let (webhooks, endpoint) = (Arc::clone(&webhooks), endpoint.clone());
                        let event = event.clone();
                        deliveries.spawn(async move {
                            webhooks.deliver_one(&endpoint, &event, mode).await;
                        });
                    }
                }
                deliveries.join_all().await;
            }
            webhooks.running.send_modify(|running| *running = running.saturating_sub(1));
        });
    }

    async fn deliver_one(&self, endpoint: &Endpoint, event: &Value, mode: WebhookMode) {
        if let WebhookMode::Slow(wait) = mode {
            tokio::time::sleep(wait).await;
        }
        let body = event.to_string();
        let mut wait = FIRST_WAIT;
        for _ in 0..TRIES_MAX {
            let header = signature(&body, &endpoint.secret, mode);
            let headers = [
                ("content-type", "application/json; charset=utf-8"),
                ("stripe-signature", header.as_str()),
            ];
            let sent = self.client.send(Method::POST, &endpoint.url, &headers, body.clone()).await;
            let status = sent.ok().map(|answer| answer.status);
            self.note(endpoint, event, status.map(|status| status.as_u16()));
            let spoiled = matches!(mode, WebhookMode::BadSignature | WebhookMode::Stale);
            let gone = !self.endpoints().iter().any(|one| one.id == endpoint.id);
            if spoiled || gone || status.is_some_and(|status| status.is_success()) {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    fn note(&self, endpoint: &Endpoint, event: &Value, status: Option<u16>) {
        let mut state = self.lock();
        if state.log.len() < LOG_MAX {
            state.log.push(json!({"event": text(event, "id"), "type": text(event, "type"),
                "endpoint": endpoint.id, "status": status}));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signature(body: &str, secret: &str, mode: WebhookMode) -> String {
    // The time of the wall, whatever the objects' clock says: whoever takes it has no other.
    let now = unix_time();
    match mode {
        WebhookMode::BadSignature => sign(body, "whsec_of_somebody_else", now),
        WebhookMode::Stale => sign(body, secret, now - 600),
        WebhookMode::Normal
        | WebhookMode::Hold
        | WebhookMode::Drop
        | WebhookMode::Repeat(_)
        | WebhookMode::Reorder
        | WebhookMode::Slow(_) => sign(body, secret, now),
    }
}

/// The `Stripe-Signature` of a body that is signed at a time, in unix seconds.
pub fn sign(body: &str, secret: &str, time: i64) -> String {
    // A MAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{time}.{body}").as_bytes());
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time},v1={hex}")
}
