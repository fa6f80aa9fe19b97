//! A stream on its way to the client: metered as it passes, settled before its last bytes leave,
//! and read on without the client if that goes away.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming as UpstreamBody};
use opencredits_schema::{Basis, Status};
use opencredits_wire::{InBandError, StreamEnd, add_cost, error_event, keep_alive};
use tokio::sync::futures::OwnedNotified;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use crate::error::{ApiError, ErrorCode};
use crate::limits::OpenStream;
use crate::live::{Open, Receipt, Unsettled};
use crate::running::{Running, drain_time};
use crate::upstream::CHUNK_TIMEOUT;

/// A quiet stream gets a sign of life this often; the clients' proxies cut at 15 seconds or more.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a provider's end of file may come after its terminal event, so that the connection can
/// be used again.
const LINGER: Duration = Duration::from_millis(100);

/// A task of its own: it goes on when the client goes away.
type Settling = JoinHandle<Result<Receipt, Unsettled>>;

/// The stream.
pub struct Relay {
    /// `None` once the settlement has begun.
    source: Option<Source>,
    settling: Option<(Settling, Ending)>,
    ready: VecDeque<Bytes>,
    show_cost: bool,
    dialect: opencredits_wire::Dialect,
    timer: Pin<Box<Sleep>>,
    last: Instant,
    _place: OpenStream,
}

/// Where the bytes come from.
struct Source {
    open: Open,
    body: UpstreamBody,
    cut: Pin<Box<OwnedNotified>>,
    heard: Instant,
    /// The terminal event was seen: the provider's end of file is not waited for long.
    complete: bool,
}

/// What the client reads after the settlement.
enum Ending {
    Clean(Bytes),
    Broken(Bytes),
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("reading", &self.source.is_some()).finish_non_exhaustive()
    }
}

impl Relay {
    /// A stream from a provider's body.
    #[must_use]
    pub fn new(open: Open, body: UpstreamBody, show_cost: bool, place: OpenStream) -> Self {
        let now = Instant::now();
        let dialect = open.live().terms.dialect;
        let cut = Box::pin(Arc::clone(&open.live().cut).notified_owned());
        Self {
            source: Some(Source { open, body, cut, heard: now, complete: false }),
            settling: None,
            ready: VecDeque::new(),
            show_cost,
            dialect,
            timer: Box::pin(tokio::time::sleep_until(now + KEEP_ALIVE)),
            last: now,
            _place: place,
        }
    }

    /// The next bytes for the client.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.last = Instant::now();
                return Poll::Ready(Some(bytes));
            }
            if let Some((settling, _)) = &mut self.settling {
                match Pin::new(settling).poll(cx) {
                    Poll::Ready(settled) => self.settled(settled.unwrap_or(Err(Unsettled))),
                    Poll::Pending => return self.poll_timer(cx),
                }
            } else if self.source.is_some() {
                match self.poll_source(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return self.poll_timer(cx),
                }
            } else {
                return Poll::Ready(None);
            }
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(source) = &mut self.source else { return Poll::Ready(()) };
        if source.cut.as_mut().poll(cx).is_ready() {
            let error = ApiError::overloaded(1);
            self.finish(Err(&error), Status::LimitReached, Basis::Counted);
            return Poll::Ready(());
        }
        match Pin::new(&mut source.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { return Poll::Ready(()) };
                source.heard = Instant::now();
                let live = source.open.live();
                live.received(data.len());
                let mut out = Vec::new();
                let (pushed, complete) = {
                    let mut meter = live.meter();
                    (meter.push(data, &mut out), meter.is_complete())
                };
                if complete && !source.complete {
                    source.complete = true;
                    self.timer.as_mut().reset(Instant::now() + LINGER);
                }
                self.ready.extend(out);
                if let Err(fault) = pushed {
                    tracing::warn!(%fault, "a provider's stream cannot be read");
                    self.broken();
                }
                Poll::Ready(())
            }
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(())
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::warn!(%error, "a provider's stream broke off");
                // What breaks behind the terminal event takes nothing from the answer.
                self.ended();
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// The provider has said all.
    fn ended(&mut self) {
        let Some(source) = &self.source else { return };
        let end = source.open.live().meter().end();
        match end {
            StreamEnd::Complete { tail } => {
                self.finish(Ok(tail), Status::Completed, Basis::Counted);
            }
            StreamEnd::Cut => self.broken(),
            StreamEnd::Error(InBandError { kind, message, .. }) => {
                tracing::warn!(kind, message, "a provider ended its stream with an error");
                self.broken();
            }
        }
    }

    /// A sign of life when nothing has left for a while; the end of a provider that is silent.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.source.as_ref().is_some_and(|source| source.complete) {
                self.timer.as_mut().reset(now + KEEP_ALIVE);
                self.ended();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let due = self.last + KEEP_ALIVE;
            if due > now {
                self.timer.as_mut().reset(due);
                continue;
            }
            self.last = now;
            self.timer.as_mut().reset(now + KEEP_ALIVE);
            let silent = |source: &Source| now.duration_since(source.heard) >= CHUNK_TIMEOUT;
            if self.source.as_ref().is_some_and(silent) {
                self.broken();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(keep_alive(self.dialect)));
        }
        Poll::Pending
    }

    fn broken(&mut self) {
        self.finish(Err(&ApiError::upstream()), Status::UpstreamCut, Basis::Estimated);
    }

    /// Begins the settlement; what the client reads after it is the tail or an error.
    fn finish(&mut self, tail: Result<Bytes, &ApiError>, status: Status, counted: Basis) {
        let Some(source) = self.source.take() else { return };
        let charged = source.open.live().charged(status, counted);
        let ending = match tail {
            Ok(tail) => Ending::Clean(tail),
            Err(error) => Ending::Broken(self.error_event(error)),
        };
        self.settling = Some((tokio::spawn(source.open.settle(charged)), ending));
    }

    fn settled(&mut self, settled: Result<Receipt, Unsettled>) {
        let Some((_, ending)) = self.settling.take() else { return };
        let bytes = match (ending, settled) {
            (Ending::Clean(tail), Ok(receipt)) if self.show_cost => {
                add_cost(tail, &receipt.charge.to_string())
            }
            (Ending::Clean(tail), Ok(_)) => tail,
            (Ending::Broken(event), _) => event,
            (Ending::Clean(_), Err(Unsettled)) => {
                self.error_event(&ApiError::settlement_unfinished())
            }
        };
        if !bytes.is_empty() {
            self.ready.push_back(bytes);
        }
    }

    fn error_event(&self, error: &ApiError) -> Bytes {
        let code: ErrorCode = error.code();
        let status = code.status();
        error_event(self.dialect, code.kind(), error.message(), status.as_str())
    }
}

impl Drop for Relay {
    /// The client went away. What has begun to settle goes on; what still runs is read on to its
    /// real usage, within bounds.
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.open.gateway().metrics.client_gone.increment(1);
            tokio::spawn(drain(source));
        }
    }
}

/// Reads a stream to its end for its usage.
async fn drain(source: Source) {
    let Source { open, mut body, mut cut, .. } = source;
    let wait = drain_time(&open.gateway().config);
    let place = Running::drain(open.gateway());
    if place.is_some() && !wait.is_zero() {
        let live = Arc::clone(open.live());
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                live.received(data.len());
                let mut meter = live.meter();
                if meter.push(data, &mut Vec::new()).is_err() || meter.is_complete() {
                    break;
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(wait, reading) => {}
            () = &mut cut => {}
        }
    }
    let charged = open.live().charged(Status::ClientGone, Basis::Counted);
    // It stays queued if it is late.
    open.settle(charged).await.ok();
}
