//! OpenAI, Anthropic, xAI and Google on one loopback address, answering by script.
//!
//! [`Providers::start`] serves them; a request is answered by the first fitting [`Script`] of the
//! queue, else by the `[[sim …]]` directive in its last user message, else by a short text or, if
//! it offers tools, a call. What came in and what goes on is seen through [`Providers::requests`],
//! [`Providers::counts`] and [`Providers::until`].

mod anthropic;
mod google;
mod openai;
mod playback;
mod provider;
pub mod recorded;
mod responses;
pub mod script;
mod server;
mod shared;
mod strict;
mod turn;
mod xai;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use recorded::{Recording, RecordingError};
pub use script::{DirectiveError, Script};
pub use shared::{
    Counts, GATES_MAX, QueueFull, REQUEST_BYTES_MAX, REQUESTS_MAX, SCRIPTS_MAX, Seen,
};

use shared::Shared;

/// How long [`Providers::stop`] waits for running answers before it cuts them.
pub const STOP_WAIT: Duration = Duration::from_secs(2);

/// The key that every simulated provider refuses.
pub const BAD_KEY: &str = "bad-key";

/// Running simulators; dropping them closes the address and cuts every answer.
#[derive(Debug)]
pub struct Providers {
    /// Where they listen.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Providers {
    /// Listens on an address (port 0: a free one) and serves until stopped or dropped.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared), stopping));
        Ok(Self { addr, shared, stop, server })
    }

    /// The origin to give a client as a provider's base URL.
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Queues a script for the next fitting request.
    ///
    /// # Errors
    /// When [`SCRIPTS_MAX`] scripts wait already.
    pub fn script(&self, script: Script) -> Result<(), QueueFull> {
        self.shared.queue(script)
    }

    /// Forgets the scripts that wait.
    pub fn clear_scripts(&self) {
        self.shared.clear_scripts();
    }

    /// The requests so far, oldest first; of more than [`REQUESTS_MAX`] the newest ones.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.requests()
    }

    /// The newest request.
    pub fn last_request(&self) -> Option<Seen> {
        self.shared.requests().pop()
    }

    /// Forgets the requests so far; the counts go on.
    pub fn clear_requests(&self) {
        self.shared.clear_requests();
    }

    /// What is going on now.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Waits until the counts are as wanted; put a time-out around it.
    pub async fn until(&self, wanted: impl FnMut(&Counts) -> bool) -> Counts {
        self.shared.until(wanted).await
    }

    /// Waits until an answer stands at a gate; put a time-out around it.
    pub async fn until_waiting_at(&self, gate: &str) {
        self.until(|counts| counts.waiting.contains_key(gate)).await;
    }

    /// Opens a gate for those who wait at it and for all who come later.
    pub fn open_gate(&self, name: &str) {
        self.shared.gates.open(name);
    }

    /// Stops listening, waits at most [`STOP_WAIT`] for running answers and cuts the rest.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // The server bounds its own end; a task that is gone already has nothing to wait for.
        drop((&mut self.server).await);
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[cfg(test)]
mod tests;
