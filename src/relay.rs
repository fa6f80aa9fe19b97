//! A stream on its way to the client: metered as it passes, translated if need be, settled before
//! its last bytes leave, and stopped or read on when the client goes away.

mod bell;
mod gathering;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use opencredits_dialects::{Translator, Undecodable};
use opencredits_schema::{AccountId, Basis, Status, Usage};
use opencredits_wire::{
    Dialect, InBandError, Scanner, StreamEnd, add_cost, error_event, keep_alive,
};
use tokio::sync::futures::OwnedNotified;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use crate::config::OnClientGone;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::limits::OpenStream;
use crate::live::{Open, Receipt, Terms, Unsettled};
use crate::running::{Running, drain_time};
use crate::upstream::{self, CHUNK_TIMEOUT};
use bell::Bell;
use gathering::Gathering;

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
    ready: Gathering,
    bell: Bell,
    /// Turns the provider's dialect into the client's; `None` where they are one.
    translator: Option<Translator>,
    show_cost: bool,
    dialect: Dialect,
    timer: Pin<Box<Sleep>>,
    last: Instant,
    /// Whose output items may be referred to, where they may.
    remembers: Option<(Arc<Gateway>, AccountId)>,
    _place: OpenStream,
}

/// Where the bytes come from.
struct Source {
    open: Open,
    body: upstream::Body,
    cut: Pin<Box<OwnedNotified>>,
    heard: Instant,
    /// The terminal event was seen: the provider's end of file is not waited for long.
    complete: bool,
}

/// What the client reads after the settlement.
enum Ending {
    /// The provider's last words, and what it says that it used.
    Clean(Bytes, Usage),
    /// An error event.
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
    pub fn new(
        open: Open,
        body: upstream::Body,
        translator: Option<Translator>,
        show_cost: bool,
        place: OpenStream,
    ) -> Self {
        let now = Instant::now();
        let Terms { dialect, account, .. } = open.live().terms;
        let kept = dialect == Dialect::Responses && open.gateway().recent_items.is_on();
        let remembers = kept.then(|| (Arc::clone(open.gateway()), account));
        let cut = Box::pin(Arc::clone(&open.live().cut).notified_owned());
        Self {
            source: Some(Source { open, body, cut, heard: now, complete: false }),
            settling: None,
            ready: Gathering::default(),
            bell: Bell::default(),
            translator,
            show_cost,
            dialect,
            timer: Box::pin(tokio::time::sleep_until(now + KEEP_ALIVE)),
            last: now,
            remembers,
            _place: place,
        }
    }

    /// The next bytes for the client.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(waker) = self.bell.answer(cx.waker()) else { return Poll::Pending };
        let bytes = self.poll_rung(&mut Context::from_waker(&waker));
        self.bell.waits(bytes.is_pending());
        bytes
    }

    fn poll_rung(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.take() {
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
                    Poll::Pending if self.ready.look_again() => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Pending if !self.ready.is_empty() => {}
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
        match source.body.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                source.heard = Instant::now();
                self.ready.hear(source.heard);
                let live = source.open.live();
                live.received(data.len());
                let mut foreign = Vec::new();
                let (pushed, complete) = {
                    let mut meter = live.meter();
                    let pushed = match self.translator {
                        None => self.ready.fill(|out| meter.push(data, out)),
                        Some(_) => meter.push(data, &mut foreign),
                    };
                    (pushed, meter.is_complete())
                };
                if complete && !source.complete {
                    source.complete = true;
                    self.timer.as_mut().reset(Instant::now() + LINGER);
                }
                let translated = self.translate(foreign);
                if let Err(fault) = pushed {
                    tracing::warn!(%fault, "a provider's stream cannot be read");
                    self.broken();
                } else if let Err(fault) = translated {
                    tracing::warn!(%fault, "a provider's stream cannot be translated");
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

    /// Makes events in the provider's dialect ready for the client.
    fn translate(&mut self, pieces: Vec<Bytes>) -> Result<(), Undecodable> {
        let Some(translator) = &mut self.translator else { return Ok(()) };
        let mut out = Vec::new();
        let translated = pieces.into_iter().try_for_each(|piece| translator.push(piece, &mut out));
        if !out.is_empty() {
            self.ready.push(out.into());
        }
        translated
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
        self.ready.release();
        let charged = source.open.live().charged(status, counted);
        let usage = charged.as_ref().map(|charged| charged.usage.clone()).unwrap_or_default();
        let ending = match tail {
            Ok(tail) => Ending::Clean(tail, usage),
            Err(error) => Ending::Broken(self.error_event(error)),
        };
        self.settling = Some((tokio::spawn(source.open.settle(charged)), ending));
    }

    fn settled(&mut self, settled: Result<Receipt, Unsettled>) {
        let Some((_, ending)) = self.settling.take() else { return };
        let bytes = match (ending, settled) {
            (Ending::Clean(tail, usage), Ok(receipt)) => self.last_words(tail, &usage, receipt),
            (Ending::Broken(event), _) => event,
            (Ending::Clean(..), Err(Unsettled)) => {
                self.error_event(&ApiError::settlement_unfinished())
            }
        };
        if !bytes.is_empty() {
            self.ready.push(bytes);
        }
    }

    /// The end of an answer that is settled.
    fn last_words(&mut self, tail: Bytes, usage: &Usage, receipt: Receipt) -> Bytes {
        let tail = match &mut self.translator {
            None => tail,
            Some(translator) => {
                let mut out = Vec::new();
                let pushed = translator.push(tail, &mut out);
                match pushed.and_then(|()| translator.end(usage, &mut out)) {
                    Ok(()) => out.into(),
                    Err(fault) => {
                        tracing::warn!(%fault, "a provider's answer cannot be translated");
                        return self.error_event(&ApiError::upstream());
                    }
                }
            }
        };
        if let Some((gateway, account)) = &self.remembers {
            remember(gateway, *account, &tail);
        }
        if self.show_cost { add_cost(tail, &receipt.charge.to_string()) } else { tail }
    }

    fn error_event(&self, error: &ApiError) -> Bytes {
        let code: ErrorCode = error.code();
        let status = code.status();
        error_event(self.dialect, code.kind(), error.message(), status.as_str())
    }
}

impl Drop for Relay {
    /// The client went away. What has begun to settle goes on; what still runs is stopped where its
    /// usage is known or can be counted, and else read on to its real usage, within bounds.
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.open.gateway().metrics.client_gone.increment(1);
            tokio::spawn(drain(source));
        }
    }
}

/// Keeps the output items of the event that ends a stream.
fn remember(gateway: &Gateway, account: AccountId, tail: &Bytes) {
    let mut scanner = Scanner::default();
    let keep = |event: opencredits_wire::Event| {
        if let Some(data) = event.fields().data {
            gateway.recent_items.keep(account, &data, std::time::Instant::now());
        }
    };
    // A tail is whole events; what is none has no items.
    scanner.push(tail.clone(), keep).ok();
}

/// Stops a stream, or reads it to its end for its usage.
async fn drain(source: Source) {
    let Source { open, mut body, mut cut, .. } = source;
    let wait = drain_time(&open.gateway().config);
    let auto = open.gateway().config.on_client_gone == OnClientGone::Auto;
    let stops = wait.is_zero() || (auto && open.live().can_be_cut());
    let place = if stops { None } else { Running::drain(open.gateway()) };
    if place.is_some() {
        let live = Arc::clone(open.live());
        let reading = async {
            while let Some(Ok(data)) = body.data().await {
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
