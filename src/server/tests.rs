//! Bad clients on raw sockets, against short limits; each waits for the server's own sign.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use warp::{Filter, Reply};

use super::*;

const MAX_BODY: usize = 1 << 20;
const LIMIT: Duration = Duration::from_millis(300);

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    end: JoinHandle<ServeEnd>,
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
    let hang = warp::path("hang").then(async || std::future::pending::<&str>().await);
    let filter = echo.or(peer).or(hang);
    let service = TowerToHyperService::new(warp::service(filter));
    let workers = Arc::new(Workers::start(NonZeroUsize::MIN).unwrap());
    let end = tokio::spawn(serve_listener(listener, service, limits, workers, stopped));
    Server { address, stop, end }
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
