//! The door: accepts connections, bounds them in number and time, and lets them end in order.

mod body;
mod linger;
mod peer;
mod socket;
mod tasks;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use ipnet::IpNet;
use metrics::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

pub use body::{BodyError, read_body};
pub use linger::RequestBody;
pub use peer::Peer;

use crate::telemetry;
use crate::workers::Workers;
use linger::{Linger, Unread};
use socket::Socket;
use tasks::{Place, Tasks};

/// How long the loop rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Most that is read of a connection at once. Larger pieces of a body are no faster to read, and each is
/// memory that the allocator does not use again soon.
const READ_MAX: usize = 64 << 10;

/// The bounds of one listener.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Longest wait for a whole request head, and for the next request on a connection.
    pub header_timeout: Duration,
    /// Largest request head in bytes; above it the answer is 431.
    pub max_headers: usize,
    /// Connections that are open at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Networks whose `X-Forwarded-For` counts.
    pub trusted_proxies: Arc<[IpNet]>,
    /// How long open connections may go on after the shutdown began; then they are dropped.
    pub shutdown_wait: Duration,
}

/// How a listener came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeEnd {
    /// Each connection ended by itself.
    Drained,
    /// So many connections were still open when their time was up.
    Cut {
        /// How many.
        connections: usize,
    },
}

/// Serves HTTP/1.1 until `shutdown` becomes true or its sender is gone.
///
/// Each request carries its sender's address as the extension [`Peer`].
pub async fn serve_listener<S, B>(
    listener: TcpListener,
    service: S,
    limits: ServerLimits,
    workers: Arc<Workers>,
    mut shutdown: watch::Receiver<bool>,
) -> ServeEnd
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let door = Door::new(&limits, workers);
    let stop = shutdown.wait_for(|stop| *stop);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = door.accept(&listener) => accepted,
        };
        if let Some((stream, permit)) = accepted {
            door.admit(stream, permit, service.clone());
        }
    }
    // Whoever connects from now on is refused rather than left waiting.
    drop(listener);
    door.close(limits.shutdown_wait).await
}

/// What all connections of a listener share.
struct Door {
    http: http1::Builder,
    places: Arc<Semaphore>,
    proxies: Arc<[IpNet]>,
    graceful: GracefulShutdown,
    tasks: Arc<Tasks>,
    open: Gauge,
}

impl Door {
    fn new(limits: &ServerLimits, workers: Arc<Workers>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.max_headers.max(READ_MAX))
            .max_header_size(limits.max_headers);
        Self {
            http,
            places: Arc::new(Semaphore::new(limits.max_connections)),
            proxies: Arc::clone(&limits.trusted_proxies),
            graceful: GracefulShutdown::new(),
            tasks: Arc::new(Tasks::new(workers)),
            open: metrics::gauge!(telemetry::OPEN_CONNECTIONS),
        }
    }

    /// The next connection, once there is a place for it; `None` if it was lost on the way.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, permit)),
            Err(error) if concerns_one_connection(&error) => None,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                sleep(ACCEPT_REST).await;
                None
            }
        }
    }

    fn admit<S, B>(&self, stream: TcpStream, permit: OwnedSemaphorePermit, service: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Send
            + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // A stream of small chunks must not wait for the client's acknowledgements.
        let ready = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
        let Ok(address) = ready else { return };
        let Ok(stream) = stream.into_std() else { return };
        // An IPv4 client of a listener for both is that IPv4 address.
        let (connected, unread) = (address.ip().to_canonical(), Unread::default());
        let place = self.tasks.place();
        let service = Caller {
            service,
            connected,
            proxies: Arc::clone(&self.proxies),
            unread: unread.clone(),
            place: Arc::clone(&place),
        };
        let (http, watcher) = (self.http.clone(), self.graceful.watcher());
        let counted = Counted::new(self.open.clone(), permit);
        let serving = async move {
            let stream = TokioIo::new(Linger::new(Socket::new(stream), unread));
            // A client that is slow, broken or gone ends its own connection and nothing else.
            if let Err(error) = watcher.watch(http.serve_connection(stream, service)).await {
                debug!(%error, "connection failed");
            }
            drop(counted);
        };
        self.tasks.serve(place, Box::pin(serving));
    }

    async fn close(self, wait: Duration) -> ServeEnd {
        let drained = timeout(wait, self.graceful.shutdown()).await.is_ok();
        let connections = self.tasks.cut().await;
        if drained { ServeEnd::Drained } else { ServeEnd::Cut { connections } }
    }
}

/// The service as one connection sees it.
struct Caller<S> {
    service: S,
    connected: IpAddr,
    proxies: Arc<[IpNet]>,
    unread: Unread,
    place: Arc<Place>,
}

impl<S: Service<Request<RequestBody>>> Service<Request<Incoming>> for Caller<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        self.place.request_begins();
        let peer = peer::resolve(self.connected, request.headers(), &self.proxies);
        request.extensions_mut().insert(Peer(peer));
        self.service.call(request.map(|body| RequestBody::new(body, &self.unread)))
    }
}

/// A connection's place; given back, and counted, when the connection is gone for whatever reason.
struct Counted {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(open: Gauge, permit: OwnedSemaphorePermit) -> Self {
        open.increment(1);
        Self { open, _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.decrement(1);
    }
}

/// Whether an error of accept is about the one client that is gone again; all others (no file
/// descriptors, no memory) would come back at once.
fn concerns_one_connection(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests;
