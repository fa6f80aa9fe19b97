//! The connections to one provider that are kept open between requests.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tower_service::Service as _;

use super::body::Body;
use super::connection::{Broken, Connection, Failed};
use super::head::Head;
use super::request::Request;
use crate::lock::lock;

/// Longest wait for a connection: the name, the socket and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept; below what the providers' proxies allow, so that they rarely
/// close one just as it is taken.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// Idle connections that are kept.
const IDLE_MAX: usize = 256;

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Why a request got no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// There is no connection; nothing was sent.
    Connect(Box<dyn Error + Send + Sync>),
    /// The connection broke.
    Broken(Broken),
}

/// Opens connections and keeps those that are idle.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    origin: Uri,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_usable(&mut self, now: Instant) -> bool {
        now.duration_since(self.since) < IDLE_TIMEOUT && self.connection.is_idle()
    }
}

impl Pool {
    pub(super) const fn new(connector: Connector, origin: Uri) -> Self {
        Self { connector, origin, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request and waits for the head of its answer. It goes another way as long as nothing of it
    /// has left; one that may have arrived is never sent twice.
    pub(super) async fn ask(
        self: &Arc<Self>,
        mut request: Request,
    ) -> Result<Response<Body>, AskError> {
        while let Some(connection) = self.take() {
            match self.ask_on(connection, request).await {
                Ok(response) => return Ok(response),
                Err(Failed::Broken(broken)) => return Err(AskError::Broken(broken)),
                Err(Failed::Unsent(unsent, _)) => request = unsent,
            }
        }
        let connection = self.connect().await.map_err(AskError::Connect)?;
        self.ask_on(connection, request).await.map_err(|failed| match failed {
            Failed::Broken(broken) => AskError::Broken(broken),
            Failed::Unsent(_, error) => AskError::Connect(error.into()),
        })
    }

    async fn ask_on(
        self: &Arc<Self>,
        mut connection: Connection,
        request: Request,
    ) -> Result<Response<Body>, Failed> {
        let (head, behind) = connection.ask(request).await?;
        let Head { status, headers, framing, reusable } = head;
        let body = Body::new(connection, framing, reusable, self, &behind);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// A connection that was kept and can be used.
    fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        loop {
            let mut newest = idle.pop()?;
            if newest.is_usable(now) {
                return Some(newest.connection);
            }
        }
    }

    /// Keeps a connection whose answer is done.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes the connections that no request would be sent on.
    pub(super) fn upkeep(&self, now: Instant) {
        lock(&self.idle).retain_mut(|idle| idle.is_usable(now));
    }

    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        lock(&self.idle).len()
    }

    async fn connect(&self) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let connecting = self.connector.clone().call(self.origin.clone());
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let socket = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Connection::new(TokioIo::new(socket)))
    }
}
