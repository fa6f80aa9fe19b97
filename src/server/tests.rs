//! Bad clients on raw sockets, against short limits; each waits for the server's own sign.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use warp::{Filter, Reply};

use super::*;
use crate::workers;

const MAX_BODY: usize = 1 << 20;
const LIMIT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    end: JoinHandle<ServeEnd>,
    /// Told of each request that hangs.
    hangs: Arc<Notify>,
}

fn limits() -> ServerLimits {
    ServerLimits {
        header_timeout: LIMIT,
        max_headers: 64 << 10,
        max_connections: 10,
        trusted_proxies: Arc::from(vec!["127.0.0.0/8".parse().unwrap()]),
        shutdown_wait: LIMIT,
    }
}

async fn start(limits: ServerLimits) -> Server {
    start_on(&Arc::new(Workers::start(NonZeroUsize::MIN).unwrap()), limits).await
}

async fn start_on(workers: &Arc<Workers>, limits: ServerLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let echo = warp::path("echo")
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(async |headers, body| match read_body(body, &headers, MAX_BODY, LIMIT).await {
            Ok(bytes) => bytes.len().to_string().into_response(),
            Err(BodyError::TooLarge { .. }) => status(413),
            Err(BodyError::Timeout) => status(408),
            Err(BodyError::Broken(_)) => status(400),
        });
    let peer = warp::path("peer").and(warp::ext::get()).map(|Peer(peer)| peer.to_string());
    let hangs = Arc::<Notify>::default();
    let told = Arc::clone(&hangs);
    let hang = warp::path("hang").then(move || {
        told.notify_one();
        std::future::pending::<&str>()
    });
    let worker = warp::path("worker").then(async || {
        let began = workers::index();
        tokio::task::yield_now().await;
        format!("{began}-{}", workers::index())
    });
    let filter = echo.or(peer).or(hang).or(worker);
    let service = TowerToHyperService::new(warp::service(filter));
    let serving = serve_listener(listener, service, limits, Arc::clone(workers), stopped);
    Server { address, stop, end: tokio::spawn(serving), hangs }
}

fn status(code: u16) -> warp::reply::Response {
    warp::reply::with_status("", http::StatusCode::from_u16(code).unwrap()).into_response()
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        rest(&mut socket).await
    }
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn half_a_head_is_closed_in_time() {
    let server = start(limits()).await;
    assert_eq!(server.say(b"GET /peer HTTP/1.1\r\nHo").await, "");
    assert_eq!(server.say(b"").await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let server = start(limits()).await;
    let answer = server.say(b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_answered_in_time() {
    let server = start(limits()).await;
    let answer =
        server.say(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\nab").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_40_megabytes_reads_its_413() {
    let server = start(limits()).await;
    let body = vec![b'x'; 40 << 20];
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut declared = head.into_bytes();
    declared.extend_from_slice(&body);
    let answer = server.say(&declared).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut chunked = format!("{head}{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = server.say(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_within_the_limit_comes_whole() {
    let server = start(limits()).await;
    let mut request =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + MAX_BODY, b'x');
    let answer = server.say(&request).await;
    assert!(answer.ends_with(&MAX_BODY.to_string()), "{answer}");
}

#[tokio::test]
async fn a_head_above_the_limit_is_431() {
    let server = start(limits()).await;
    let one_long = format!("GET /peer HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many: String = (0..200).map(|at| format!("X-{at}: x\r\n")).collect();
    let endless = format!("GET /{}", "x".repeat(70_000));
    for bomb in [one_long, format!("GET /peer HTTP/1.1\r\n{many}\r\n"), endless] {
        let answer = server.say(bomb.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let fits = format!("GET /peer HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    assert!(server.say(fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_connection_above_the_limit_waits_for_a_place() {
    let header_timeout = Duration::from_secs(60);
    let server = start(ServerLimits { max_connections: 1, header_timeout, ..limits() }).await;
    let mut first = server.connect().await;
    let request = b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n";
    first.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    let mut second = server.connect().await;
    second.write_all(request).await.unwrap();
    let waiting = timeout(LIMIT, second.read_exact(&mut answer)).await;
    assert!(waiting.is_err(), "answered though there was no place");
    drop(first);
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_trusted_proxy_names_the_peer() {
    let server = start(limits()).await;
    let head = "GET /peer HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 1.1.1.1\r\n\r\n";
    assert!(server.say(head.as_bytes()).await.ends_with("1.1.1.1"));
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_admits_no_more() {
    let header_timeout = Duration::from_secs(60);
    let server = start(ServerLimits { header_timeout, ..limits() }).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    server.stop.send(true).unwrap();
    rest(&mut idle).await;
    assert_eq!(server.end.await.unwrap(), ServeEnd::Drained);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_drops_what_still_runs_when_its_time_is_up() {
    let server = start(limits()).await;
    let mut hanging = server.connect().await;
    hanging.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // A request that is answered on another connection shows that the first was accepted.
    server.say(b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.stop.send(true).unwrap();
    assert_eq!(server.end.await.unwrap(), ServeEnd::Cut { connections: 1 });
    assert_eq!(rest(&mut hanging).await, "");
}

/// One connection whose requests are answered, first by one worker, then by the other.
#[tokio::test]
async fn a_connection_goes_to_another_worker_with_its_next_request() {
    let (workers, server) = start_with(2).await;
    let (mut even, mut odd) = (server.connect().await, server.connect().await);
    for serving in [1, 2, 1, 2] {
        workers.serve_on(serving);
        for _ in 0..3 {
            assert!(ask_worker(&mut even).await.ends_with("0-0"));
        }
        let worker = serving - 1;
        // The request that makes it go has begun before: it ends on the worker that it went to.
        for _ in 0..3 {
            assert!(ask_worker(&mut odd).await.ends_with(&format!("-{worker}")));
        }
        assert!(ask_worker(&mut odd).await.ends_with(&format!("{worker}-{worker}")));
    }
}

/// A body that comes piece by piece while its connection goes to another worker.
#[tokio::test]
async fn a_request_that_has_begun_is_read_and_answered_on_another_worker() {
    let (workers, server) = start_with(2).await;
    let _even = server.connect().await;
    let mut odd = server.connect().await;
    assert!(ask_worker(&mut odd).await.ends_with("0-0"));
    workers.serve_on(2);
    odd.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n").await.unwrap();
    odd.write_all(b"Content-Length: 200000\r\n\r\n").await.unwrap();
    for _ in 0..20 {
        odd.write_all(&[b'x'; 10_000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(rest(&mut odd).await.ends_with("200000"));
}

/// Connections that go to and fro between four workers while they are asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_while_connections_go_to_and_fro() {
    let (workers, server) = start_with(4).await;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let mut socket = server.connect().await;
        clients.spawn(async move {
            let mut moved = 0;
            for _ in 0..500 {
                let told = ask_worker(&mut socket).await;
                let (began, ended) = told.rsplit_once('-').unwrap();
                moved += usize::from(!began.ends_with(ended));
            }
            moved
        });
    }
    let mut serving = (1..=4).cycle();
    let mut moved = 0;
    while !clients.is_empty() {
        workers.serve_on(serving.next().unwrap());
        tokio::task::yield_now().await;
        if let Some(done) = clients.try_join_next() {
            moved += done.unwrap();
        }
    }
    assert_ne!(moved, 0);
}

/// A connection that went is cut as any other.
#[tokio::test]
async fn a_connection_that_went_is_cut_at_the_end() {
    let (workers, server) = start_with(2).await;
    let _even = server.connect().await;
    let mut odd = server.connect().await;
    assert!(ask_worker(&mut odd).await.ends_with("0-0"));
    workers.serve_on(2);
    assert!(ask_worker(&mut odd).await.ends_with("0-1"));
    odd.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.hangs.notified().await;
    server.stop.send(true).unwrap();
    assert_eq!(server.end.await.unwrap(), ServeEnd::Cut { connections: 1 });
    assert_eq!(rest(&mut odd).await, "");
}

/// A server with so many workers, the first of which serves until another number is said.
async fn start_with(count: usize) -> (Arc<Workers>, Server) {
    let workers = Arc::new(Workers::start(NonZeroUsize::new(count).unwrap()).unwrap());
    workers.serve_on(1);
    let server = start_on(&workers, ServerLimits { header_timeout: LONG, ..limits() }).await;
    (workers, server)
}

/// The worker on which a request began, and the one on which it ended.
async fn ask_worker(socket: &mut TcpStream) -> String {
    socket.write_all(b"GET /worker HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") || answer.last() == Some(&b'\n') {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
    String::from_utf8(answer).unwrap()
}
