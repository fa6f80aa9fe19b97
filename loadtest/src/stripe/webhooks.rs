//! Webhooks: signed, repeated until they are taken, and spoiled where a test wants that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use http::Method;
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::watch;

use super::state::now;
use crate::client::Client;

/// Tries of one delivery.
const TRIES_MAX: u32 = 10;
/// The wait before the second try; each further one is twice as long, up to a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between tries.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

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
    /// They are signed with another secret.
    BadSignature,
    /// They are signed, but ten minutes ago.
    Stale,
}

/// The way to the endpoint.
#[derive(Debug)]
pub(super) struct Webhooks {
    secret: String,
    client: Client,
    state: Mutex<State>,
    running: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    url: Option<String>,
    mode: WebhookMode,
    held: Vec<Value>,
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

    pub(super) fn set_url(&self, url: &str) {
        self.lock().url = Some(url.to_owned());
    }

    pub(super) fn set_mode(&self, mode: WebhookMode) {
        self.lock().mode = mode;
    }

    pub(super) fn release(self: &Arc<Self>, reversed: bool) {
        let mut held = std::mem::take(&mut self.lock().held);
        if reversed {
            held.reverse();
        }
        self.deliver(held, 1);
    }

    pub(super) async fn until_idle(&self) {
        // The sender is ours, so it cannot be gone.
        drop(self.running.subscribe().wait_for(|running| *running == 0).await);
    }

    pub(super) fn send(self: &Arc<Self>, events: Vec<Value>) {
        let mode = self.lock().mode;
        match mode {
            WebhookMode::Hold => self.lock().held.extend(events),
            WebhookMode::Drop => {}
            WebhookMode::Repeat(times) => self.deliver(events, times),
            WebhookMode::Normal | WebhookMode::BadSignature | WebhookMode::Stale => {
                self.deliver(events, 1);
            }
        }
    }

    /// Sends events one after the other; each so many times at once.
    fn deliver(self: &Arc<Self>, events: Vec<Value>, times: usize) {
        if events.is_empty() {
            return;
        }
        let (mode, url) = {
            let state = self.lock();
            (state.mode, state.url.clone())
        };
        let Some(url) = url else { return };
        self.running.send_modify(|running| *running = running.saturating_add(1));
        let webhooks = Arc::clone(self);
        tokio::spawn(async move {
            for event in events {
                let each = (0..times).map(|_| webhooks.deliver_one(&url, &event, mode));
                let mut deliveries = tokio::task::JoinSet::new();
                each.for_each(|delivery| {
                    deliveries.spawn(delivery);
                });
                deliveries.join_all().await;
            }
            webhooks.running.send_modify(|running| *running = running.saturating_sub(1));
        });
    }

    fn deliver_one(
        self: &Arc<Self>,
        url: &str,
        event: &Value,
        mode: WebhookMode,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (webhooks, url, body) = (Arc::clone(self), url.to_owned(), event.to_string());
        async move {
            let mut wait = FIRST_WAIT;
            for _ in 0..TRIES_MAX {
                let header = webhooks.signature(&body, mode);
                let headers = [
                    ("content-type", "application/json; charset=utf-8"),
                    ("stripe-signature", header.as_str()),
                ];
                let sent = webhooks.client.send(Method::POST, &url, &headers, body.clone()).await;
                let spoiled = matches!(mode, WebhookMode::BadSignature | WebhookMode::Stale);
                if spoiled || sent.is_ok_and(|answer| answer.status.is_success()) {
                    return;
                }
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            }
        }
    }

    fn signature(&self, body: &str, mode: WebhookMode) -> String {
        let time = if mode == WebhookMode::Stale { now() - 600 } else { now() };
        let secret = match mode {
            WebhookMode::BadSignature => "whsec_of_somebody_else",
            WebhookMode::Normal
            | WebhookMode::Hold
            | WebhookMode::Drop
            | WebhookMode::Repeat(_)
            | WebhookMode::Stale => &self.secret,
        };
        sign(body, secret, time)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
