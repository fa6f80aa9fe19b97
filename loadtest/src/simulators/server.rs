//! The HTTP side of the simulators: an accept loop of our own, and one request from head to end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::STOP_WAIT;
use super::playback::{self, Piece, Playback, before_head};
use super::provider::{Dialect, Route};
use super::script::Script;
use super::shared::{Seen, Shared};
use super::turn::Turn;

/// Connections at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 20_000;
/// The longest wait for a request's head; also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// The longest wait for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Accepts until told to stop, then waits a bounded time for what runs.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Ok((stream, permit)) = accepted else {
            // Out of file descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            // A connection that ends in an error is one whose client left or that a script cut.
            drop(watched.await);
            drop(permit);
        });
    }
    drop(listener);
    drop(timeout(STOP_WAIT, graceful.shutdown()).await);
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Playback>, Infallible> {
    let (head, body) = request.into_parts();
    let read = timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let route = Route::find(&head.method, &path);
    let Ok(Ok(body)) = read else {
        let reply = Reply::error(route.dialect, 413, "the body is too large or too slow");
        return Ok(reply.into_response(&Script::default(), shared));
    };
    let body = body.to_bytes();
    let seen = Seen { method: head.method, path, headers: head.headers, body };
    shared.saw(seen.clone());
    let (script, reply) = reply(&route, &seen, &shared);
    for step in before_head(&script) {
        playback::pause(step, Arc::clone(&shared)).await;
    }
    Ok(reply.into_response(&script, shared))
}

/// The script of a request and what it makes the provider say.
fn reply(route: &Route, seen: &Seen, shared: &Shared) -> (Script, Reply) {
    let dialect = route.dialect;
    let refuse = |status, message: &str| {
        (Script::default(), Reply::error(dialect.of_model(""), status, message))
    };
    if !route.found {
        return refuse(404, "there is no such route");
    }
    let body: serde_json::Value = match serde_json::from_slice(&seen.body) {
        Ok(body) => body,
        Err(error) => return refuse(400, &format!("the body is not JSON: {error}")),
    };
    let model = route.model(&body);
    let dialect = dialect.of_model(&model);
    let refuse =
        |status, message: &str| (Script::default(), Reply::error(dialect, status, message));
    if let Err(message) = dialect.check_key(&seen.headers) {
        return refuse(401, message);
    }
    if let Err(message) = dialect.check_headers(&seen.headers) {
        return refuse(400, message);
    }
    let asked = match dialect.asked(&body, route, &model) {
        Ok(asked) => asked,
        Err(message) => return refuse(400, &message),
    };
    let script = match shared.take_script(&model).map_or_else(|| Script::from_text(&asked.text), Ok)
    {
        Ok(script) => script,
        Err(error) => return refuse(400, &error.to_string()),
    };
    if let Some(pieces) = &script.raw {
        let pieces = pieces.iter().cloned().map(Piece::content).collect();
        let status = script.status.unwrap_or(200);
        let reply = Reply {
            status,
            content_type: "application/json",
            pieces,
            error: dialect.error_event(),
        };
        return (script, reply);
    }
    // A recording answers what it answered.
    if let Err(message) = dialect.check(&body, &model) {
        return refuse(400, &message);
    }
    if let Some(status) = script.status.filter(|status| *status >= 400) {
        let reply = Reply::error(dialect, status, "an error by the script");
        return (script, reply);
    }
    if model.contains("does-not-exist") {
        return refuse(404, &format!("The model `{model}` does not exist."));
    }
    let serial = shared.serial();
    let turn = Turn::new(&asked, &script, serial, unix_seconds());
    if asked.stream {
        let pieces = dialect.stream(&turn, asked.include_usage);
        let content_type = "text/event-stream; charset=utf-8";
        return (script, Reply { status: 200, content_type, pieces, error: dialect.error_event() });
    }
    if script.error_after.is_some() {
        let reply = Reply::error(dialect, 500, "an error by the script");
        return (script, reply);
    }
    let whole = Bytes::from(dialect.answer(&asked, &turn).to_string());
    (at_most_one(script), Reply::halves(whole, dialect.error_event()))
}

/// A body that is not streamed is one content chunk and its end: a script breaks it there.
fn at_most_one(script: Script) -> Script {
    let one = |k: Option<usize>| k.map(|k| k.min(1));
    Script {
        cut_after: one(script.cut_after),
        end_after: one(script.end_after),
        hang_after: one(script.hang_after),
        gate_after: script.gate_after.min(1),
        ..script
    }
}

/// An answer before the script's pauses are put into it.
struct Reply {
    status: u16,
    content_type: &'static str,
    pieces: Vec<Piece>,
    error: Bytes,
}

impl Reply {
    fn error(dialect: Dialect, status: u16, message: &str) -> Self {
        let (status, body) = dialect.error(status, message);
        let reply = Self::halves(Bytes::from(body.to_string()), Bytes::new());
        Self { status, ..reply }
    }

    fn halves(mut whole: Bytes, error: Bytes) -> Self {
        let first = whole.split_to(whole.len() / 2);
        let pieces = vec![Piece::content(first), Piece::frame(whole)];
        Self { status: 200, content_type: "application/json", pieces, error }
    }

    fn into_response(self, script: &Script, shared: Arc<Shared>) -> Response<Playback> {
        let steps: VecDeque<_> = playback::body(self.pieces, script, self.error);
        let mut response = Response::new(Playback::new(steps, shared));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert("x-request-id", HeaderValue::from_static("req_simulated"));
        headers.insert("request-id", HeaderValue::from_static("req_simulated"));
        for (name, value) in &script.headers {
            let name = header::HeaderName::try_from(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        response
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
