//! A small HTTP server on loopback: whole requests in, whole answers out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The longest wait for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 1 << 20;

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Accepts until it is aborted, and answers each request by a function.
pub(crate) async fn serve(
    listener: TcpListener,
    answer: impl Fn(&Parts, &[u8]) -> Answer + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let answer = Arc::clone(&answer);
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let answer = Arc::clone(&answer);
            async move {
                let (head, body) = request.into_parts();
                let answered = match Limited::new(body, BODY_BYTES_MAX).collect().await {
                    Ok(body) => answer(&head, &body.to_bytes()),
                    Err(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
                };
                Ok::<_, Infallible>(answered)
            }
        });
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // One that ends in an error is one whose client left.
            drop(connection.await);
        });
    }
}

/// An answer in words.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
