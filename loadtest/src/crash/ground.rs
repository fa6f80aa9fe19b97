//! What the load, the buyers and the breaker share: where the gateway is, whether it is up, and all
//! that is known of what it was asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::sync::watch;

use crate::client::{Answer, Client};
use crate::receipts::{Access, Moved, Receipt, Receipts, Seen};

/// The pause after a call that failed: the gateway is down, or will be known to be.
const PAUSE: Duration = Duration::from_millis(20);

/// How far the load is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Requests that were begun.
    pub(super) begun: u64,
    /// Of these, those whose end a client saw.
    pub(super) seen: u64,
}

/// The shared ground.
#[derive(Debug)]
pub(super) struct Ground {
    /// For whatever is asked of the gateway.
    pub(super) client: Client,
    /// Where it is, in all its lives.
    pub(super) access: Access,
    receipts: Mutex<Receipts>,
    progress: watch::Sender<Progress>,
    up: watch::Sender<bool>,
    over: watch::Sender<bool>,
}

impl Ground {
    /// Of a gateway that is down.
    pub(super) fn new(access: Access) -> Self {
        Self {
            client: Client::default(),
            access,
            receipts: Mutex::default(),
            progress: watch::Sender::default(),
            up: watch::Sender::new(false),
            over: watch::Sender::new(false),
        }
    }

    /// All that is known.
    pub(super) fn receipts(&self) -> MutexGuard<'_, Receipts> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipts after the first so many, with whom they belong to.
    pub(super) fn receipts_since(&self, first: usize) -> Receipts {
        let all = self.receipts();
        let requests = all.requests.iter().skip(first).cloned().collect();
        Receipts { payers: all.payers.clone(), requests, ..Receipts::default() }
    }

    /// A request is begun.
    pub(super) fn begin(&self) {
        self.progress.send_modify(|now| now.begun = now.begun.saturating_add(1));
    }

    /// A request is over, one way or another.
    pub(super) fn end(&self, receipt: Receipt) {
        let seen = matches!(receipt.seen, Seen::End(_));
        self.receipts().requests.push(receipt);
        self.progress.send_modify(|now| now.seen = now.seen.saturating_add(u64::from(seen)));
    }

    /// Money came in or went back.
    pub(super) fn moved(&self, moved: Moved) {
        self.receipts().moved.push(moved);
    }

    /// How far the load is.
    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits until it is so far; put a time-out around it.
    pub(super) async fn until(&self, wanted: impl FnMut(&Progress) -> bool) {
        // The sender is ours, so it cannot be gone.
        drop(self.progress.subscribe().wait_for(wanted).await);
    }

    /// Whether the gateway is up, as far as the breaker knows.
    pub(super) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// Waits until the gateway is up; `false` once the load is over.
    pub(super) async fn goes_on(&self) -> bool {
        let (mut up, mut over) = (self.up.subscribe(), self.over.subscribe());
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => false,
            _ = up.wait_for(|up| *up) => true,
        }
    }

    /// The load is over: what runs ends by itself.
    pub(super) fn finish(&self) {
        self.over.send_replace(true);
    }

    /// A short rest, for who has just met an outage.
    pub(super) async fn rest(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    /// A call that the operator or a buyer makes again until it is answered, even when the load is
    /// over: it is keyed, so that a repeat does it once. `None` when it is refused for good, or after
    /// so many tries.
    pub(super) async fn insist(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &Value,
        tries: usize,
    ) -> Option<Answer> {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        for _ in 0..tries {
            // The sender is ours, so it cannot be gone.
            drop(self.up.subscribe().wait_for(|up| *up).await);
            let sent = self.client.send(method.clone(), url, &headers, body.to_string()).await;
            match sent {
                Ok(answer) if answer.status.is_success() => return Some(answer),
                Ok(answer) if answer.status.is_client_error() => return None,
                Ok(_) | Err(_) => self.rest().await,
            }
        }
        None
    }
}
