//! Stripe on a loopback address: its API as far as a checkout needs it, its hosted page, a stand-in
//! for Stripe.js, and signed webhooks that can be held, dropped, repeated and spoiled.
//!
//! No money moves: cards are Stripe's documented test numbers, and what each does is [`Card`].

mod api;
mod cards;
mod control;
mod endpoints;
mod form;
mod objects;
mod pages;
mod params;
mod saved;
mod server;
mod state;
mod webhooks;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use cards::Card;
pub use state::{Paid, PayError};
pub use webhooks::{WebhookMode, sign};

use crate::serve::serve;
use state::{Outage, State};
use webhooks::Webhooks;

/// A request to the API, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST /v1/checkout/sessions`.
    pub route: String,
    /// The idempotency key, if one came.
    pub idempotency_key: Option<String>,
    /// The form, as it came.
    pub body: String,
    /// The status of the answer.
    pub status: u16,
    /// The answer.
    pub answer: Value,
}

/// What makes two runs the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed {
    /// Stands in every id: simulators that follow each other before one gateway need different ones.
    pub ids: u32,
    /// The time of the objects, in unix seconds; `None` = the clock on the wall. Webhooks are always
    /// signed by the latter.
    pub now: Option<i64>,
}

/// A running simulator; dropping it closes the address.
#[derive(Debug)]
pub struct Stripe {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    origin: String,
    state: std::sync::Mutex<State>,
    webhooks: Arc<Webhooks>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Does something to the state, and sends what it tells.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let done = change(&mut state);
        let events = state.take_events();
        drop(state);
        self.webhooks.send(events);
        done
    }
}

impl Stripe {
    /// Listens on an address (port 0: a free one) and serves until dropped.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(addr: SocketAddr, webhook_secret: &str) -> io::Result<Self> {
        Self::seeded(addr, webhook_secret, Seed::default()).await
    }

    /// The same, with ids and a clock of one's own.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn seeded(addr: SocketAddr, webhook_secret: &str, seed: Seed) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let origin = format!("http://{addr}");
        let webhooks = Arc::new(Webhooks::new(webhook_secret));
        let state = std::sync::Mutex::new(State::new(&origin, seed));
        let shared = Arc::new(Shared { origin, state, webhooks });
        let answering = Arc::clone(&shared);
        let answer =
            move |head: &http::request::Parts, body: &[u8]| server::answer(&answering, head, body);
        let server = tokio::spawn(serve(listener, answer));
        Ok(Self { addr, shared, server })
    }

    /// The origin to give a client as Stripe's API base.
    pub fn origin(&self) -> String {
        self.shared.origin.clone()
    }

    /// The address of the stand-in for Stripe.js.
    pub fn js_url(&self) -> String {
        format!("{}/endive/stripe.js", self.shared.origin)
    }

    /// Where webhooks go from now on.
    pub fn send_webhooks_to(&self, url: &str) {
        self.shared.webhooks.set_url(url);
    }

    /// What happens to webhooks from now on.
    pub fn webhooks(&self, mode: WebhookMode) {
        self.shared.webhooks.set_mode(mode);
    }

    /// Sends what was held; in reverse order if told so.
    pub fn release_webhooks(&self, reversed: bool) {
        self.shared.webhooks.release(reversed);
    }

    /// Tells everything again, as Stripe does for days while it is not heard; newest first if told so.
    pub fn tell_again(&self, reversed: bool) {
        let mut events = self.events();
        if reversed {
            events.reverse();
        }
        self.shared.webhooks.send(events);
    }

    /// Resolves when no webhook is under way; put a time-out around it.
    pub async fn until_delivered(&self) {
        self.shared.webhooks.until_idle().await;
    }

    /// Pays a session as a buyer would, without a browser.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn pay(&self, session: &str, card: Card) -> Result<Paid, PayError> {
        self.shared.change(|state| state.pay(session, card, true))
    }

    /// Pays a session by bank debit, whose money comes later.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn pay_by_bank(&self, session: &str) -> Result<Paid, PayError> {
        self.shared.change(|state| state.pay_by_bank(session))
    }

    /// The money of a bank debit comes, or does not.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn complete_bank(&self, session: &str, succeeded: bool) -> Result<Paid, PayError> {
        self.shared.change(|state| state.complete_bank(session, succeeded))
    }

    /// Nobody paid a session in time.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn expire(&self, session: &str) -> Result<(), PayError> {
        self.shared.change(|state| state.expire(session).map(|_| ()))
    }

    /// Refunds so many cents more of a session's payment.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn refund(&self, session: &str, cents: i64) -> Result<(), PayError> {
        self.shared.change(|state| {
            let payment = state.payment_of(session)?;
            state.refund(&payment, Some(cents)).map(|_| ())
        })
    }

    /// The buyer's bank disputes a session's payment; the dispute's id.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn dispute(&self, session: &str) -> Result<String, PayError> {
        self.shared.change(|state| {
            let payment = state.payment_of(session)?;
            state.dispute(&payment)
        })
    }

    /// A dispute ends.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn close_dispute(&self, dispute: &str, won: bool) -> Result<(), PayError> {
        self.shared.change(|state| state.close_dispute(dispute, won))
    }

    /// The next calls of the API answer this status, so often.
    pub fn fail(&self, status: u16, times: u32) {
        self.shared.state().fail(Outage { path: String::new(), status, times });
    }

    /// The requests to the API so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// All sessions, oldest first.
    pub fn sessions(&self) -> Vec<Value> {
        self.shared.state().sessions.values().cloned().collect()
    }

    /// The ids of all refunds.
    pub fn refunds(&self) -> Vec<String> {
        self.shared.state().refunds.keys().cloned().collect()
    }

    /// All events so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        self.shared.state().events.clone()
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[cfg(test)]
mod tests;
