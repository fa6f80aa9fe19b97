//! One AI request: parse, place, send, meter, settle. The answer's end is its receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming as UpstreamBody};
use opencredits_schema::{Basis, Credits, Model, Partner, PriceBook, Status, Usage};
use opencredits_wire::{
    Dialect, Meter, Request, UpstreamFault, add_cost, classify_error, usage_of_body,
};
use tokio::sync::oneshot;

use crate::auth::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::limits::OpenStream;
use crate::live::{Live, Open, Receipt, Terms};
use crate::place::{Asked, Placed, Wish};
use crate::relay::Relay;
use crate::request::Incoming;
use crate::running::{Running, drain_time};
use crate::upstream::{CHUNK_TIMEOUT, response_headers};

const CHARGE: HeaderName = HeaderName::from_static("x-opencredits-charge");
const BALANCE: HeaderName = HeaderName::from_static("x-opencredits-balance");
const MAX_TOKENS: HeaderName = HeaderName::from_static("x-opencredits-max-tokens");
const BUDGET_TOKENS: HeaderName = HeaderName::from_static("x-opencredits-budget-tokens");
const COST: HeaderName = HeaderName::from_static("x-opencredits-cost");

/// Largest answer that is not streamed.
const ANSWER_MAX: usize = 64 << 20;
/// Largest error body that is read of a provider.
const ERROR_MAX: usize = 1 << 20;

/// An answer: whole, or a stream that settles at its end.
#[derive(Debug)]
pub enum Answer {
    /// A body.
    Whole(Response<Bytes>),
    /// A stream; its response has the status and the headers.
    Stream(Response<()>, Box<Relay>),
}

/// Serves `POST /v1/chat/completions` or `POST /v1/messages`.
///
/// # Errors
/// What the client is told instead; nothing is charged then.
pub async fn complete(
    gateway: &Arc<Gateway>,
    incoming: Incoming,
    dialect: Dialect,
    caller: &Caller,
    partner: &Partner,
) -> Result<Answer, ApiError> {
    let request = Arc::new(Request::parse(dialect, incoming.body.clone())?);
    let book = gateway.book();
    let model = model(gateway, &book, partner, request.model())?;
    request.check(&book, &model)?;
    if gateway.system.journal().waiting >= gateway.config.inside.journal_queue {
        return Err(ApiError::overloaded(1));
    }
    let place = gateway.open_streams.open(caller.key.id);
    let place = place.ok_or_else(|| {
        ApiError::new(ErrorCode::RateLimited, "Too many requests of this key run at once.")
    })?;
    let wish =
        Wish { id: incoming.id, caller, partner, request: &request, model: &model, book: &book };
    let asked = Asked::new(gateway, caller.key.account, incoming.id);
    let placed = wish.place(gateway).await;
    let decided =
        placed.as_ref().map_or_else(|error| !error.code().status().is_server_error(), |_| true);
    asked.answered(decided);
    let Placed { hold, edits, searches } = placed?;
    let input_estimate = request.input_estimate(&model);
    let body = request.upstream_body(&model, edits);
    let hide_usage = !request.wants_usage_chunk();
    let show_cost = incoming.headers.get(COST).is_some_and(|value| value == "1");
    let meter = Meter::new(model.provider, dialect, hide_usage);
    let meter = if show_cost { meter.with_cost() } else { meter };
    let account = caller.key.account;
    let rate = partner.referral_rate;
    let terms = Terms { account, hold, model, book, rate, dialect, input_estimate, searches };
    let exchange = Exchange {
        open: Open::new(Arc::clone(gateway), Live::new(terms, meter)),
        streamed: request.stream(),
        show_cost,
        headers: lowered(edits),
        place,
    };
    drop(request);
    // A task of its own: a client that goes away does not stop what has to be settled.
    let (reply, answer) = oneshot::channel();
    tokio::spawn(exchange.run(incoming, body, reply));
    answer.await.unwrap_or_else(|_| Err(ApiError::internal("the request's task ended")))
}

/// Serves `POST /v1/messages/count_tokens`: free, and passed on.
///
/// # Errors
/// What the client is told instead.
pub async fn count_tokens(
    gateway: &Arc<Gateway>,
    incoming: &Incoming,
    partner: &Partner,
) -> Result<Response<Bytes>, ApiError> {
    let request = Request::parse_count(incoming.body.clone())?;
    let book = gateway.book();
    let model = model(gateway, &book, partner, request.model())?;
    request.check(&book, &model)?;
    let body = request.upstream_body(&model, opencredits_wire::Edits::default());
    let path = upstream_path("/v1/messages/count_tokens", &incoming.query);
    let sent = gateway.upstream.send(model.provider, path, &incoming.headers, body).await;
    let (parts, body) = sent?.into_parts();
    let limit = if parts.status.is_success() { ANSWER_MAX } else { ERROR_MAX };
    let body = collect(body, limit, |_| {})
        .await
        .map_err(|error| ApiError::upstream().with_source(error))?;
    if !parts.status.is_success() {
        return Err(provider_error(gateway, &model, &book, parts.status, &parts.headers, &body));
    }
    let mut response = Response::new(body);
    *response.headers_mut() = response_headers(&parts.headers);
    Ok(response)
}

/// The model that a request names, if the partner may use it and a provider can be asked.
fn model(
    gateway: &Gateway,
    book: &PriceBook,
    partner: &Partner,
    name: &str,
) -> Result<Arc<Model>, ApiError> {
    let model = book.model(name).ok_or_else(|| ApiError::model_not_found(name))?;
    if !partner.allows(&model.id) {
        return Err(ApiError::model_not_allowed(name));
    }
    if !gateway.upstream.has_key(model.provider) {
        let message = format!("The provider of {:?} is not set up here.", model.id);
        return Err(ApiError::new(ErrorCode::UpstreamError, message));
    }
    Ok(Arc::clone(model))
}

/// A request between its hold and its settlement.
struct Exchange {
    open: Open,
    streamed: bool,
    show_cost: bool,
    headers: HeaderMap,
    place: OpenStream,
}

type Reply = oneshot::Sender<Result<Answer, ApiError>>;

impl Exchange {
    /// Sends the request and answers; the client may go away meanwhile.
    async fn run(self, incoming: Incoming, body: Vec<Bytes>, mut reply: Reply) {
        let live = Arc::clone(self.open.live());
        let gateway = Arc::clone(self.open.gateway());
        let answering = self.answer(&incoming, body);
        tokio::pin!(answering);
        let answer = tokio::select! {
            biased;
            answer = &mut answering => answer,
            () = reply.closed() => {
                gateway.metrics.client_gone.increment(1);
                live.client_left();
                // Without a place or time to wait in, the guard settles by what has come.
                let Some(drain) = Running::drain(&gateway) else { return };
                let wait = drain_time(&gateway.config);
                let answer = tokio::select! {
                    answer = tokio::time::timeout(wait, &mut answering) => answer.ok(),
                    () = live.cut.notified() => None,
                };
                // A stream that has come meanwhile takes the place for its own drain.
                drop(drain);
                drop(answer);
                return;
            }
            () = live.cut.notified() => {
                Err(ApiError::overloaded(1))
            }
        };
        // A client that has just gone drops the stream, and that goes on by itself.
        drop(reply.send(answer));
    }

    async fn answer(self, incoming: &Incoming, body: Vec<Bytes>) -> Result<Answer, ApiError> {
        let terms = &self.open.live().terms;
        let (gateway, model) = (self.open.gateway(), &terms.model);
        let metrics = gateway.metrics.upstream(model.provider);
        let path = upstream_path(
            match terms.dialect {
                Dialect::ChatCompletions => "/v1/chat/completions",
                Dialect::Messages => "/v1/messages",
            },
            &incoming.query,
        );
        let started = Instant::now();
        let sent = gateway.upstream.send(model.provider, path, &incoming.headers, body).await;
        let (parts, body) = match sent {
            Ok(response) => response.into_parts(),
            Err(error) => {
                if let Some(metrics) = metrics {
                    metrics.faults.increment(1);
                }
                self.release().await;
                return Err(error.into());
            }
        };
        if let Some(metrics) = metrics {
            metrics.ttfb.record(started.elapsed().as_secs_f64());
        }
        if !parts.status.is_success() {
            let body = collect(body, ERROR_MAX, |_| {}).await.unwrap_or_default();
            self.release().await;
            let book = &terms.book;
            return Err(provider_error(gateway, model, book, parts.status, &parts.headers, &body));
        }
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let events = opencredits_wire::Answer::of(kind) == opencredits_wire::Answer::Streamed;
        let mut headers = response_headers(&parts.headers);
        headers.extend(self.headers.clone());
        if self.streamed && events {
            let mut response = Response::new(());
            *response.headers_mut() = headers;
            let relay = Relay::new(self.open, body, self.show_cost, self.place);
            return Ok(Answer::Stream(response, Box::new(relay)));
        }
        self.whole(body, headers).await
    }

    /// An answer that is not streamed: read, settled, then sent.
    async fn whole(self, body: UpstreamBody, headers: HeaderMap) -> Result<Answer, ApiError> {
        let live = Arc::clone(self.open.live());
        let read = collect(body, ANSWER_MAX, |bytes| live.received(bytes)).await;
        let body = match read {
            Ok(body) => body,
            Err(error) => {
                // What came of it was produced; a JSON text that is cut has no usage in it.
                let charged = live.charged(Status::UpstreamCut, Basis::Estimated);
                self.open.settle(charged).await.ok();
                return Err(ApiError::upstream().with_source(error));
            }
        };
        let terms = &live.terms;
        let told = usage_of_body(terms.model.provider, terms.dialect, &body);
        let (usage, basis) = match told {
            Some(usage) => (usage, Basis::Provider),
            None => {
                let output = u64::try_from(body.len().div_ceil(4)).unwrap_or(u64::MAX);
                let usage = Usage { input: terms.input_estimate, output, ..Usage::default() };
                (usage, Basis::Estimated)
            }
        };
        let charged = live.price(usage, basis, Status::Completed);
        let receipt = self.open.settle(Some(charged)).await;
        let receipt = receipt.map_err(|_| ApiError::settlement_unfinished())?;
        let body = if self.show_cost { add_cost(body, &receipt.charge.to_string()) } else { body };
        let mut response = Response::new(body);
        *response.headers_mut() = headers;
        write_receipt(response.headers_mut(), receipt);
        Ok(Answer::Whole(response))
    }

    async fn release(&self) {
        // What was not released in time ends with its lease.
        self.open.settle(None).await.ok();
    }
}

fn write_receipt(headers: &mut HeaderMap, receipt: Receipt) {
    let mut write = |name: HeaderName, credits: Credits| {
        if let Ok(value) = HeaderValue::try_from(credits.to_string()) {
            headers.insert(name, value);
        }
    };
    write(CHARGE, receipt.charge);
    write(BALANCE, receipt.balance);
}

/// The headers that tell what was lowered.
fn lowered(edits: opencredits_wire::Edits) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [(MAX_TOKENS, edits.max_tokens), (BUDGET_TOKENS, edits.thinking_budget)] {
        if let Some(value) = value {
            headers.insert(name, value.into());
        }
    }
    headers
}

/// Claude Code's `?beta=true` goes along; nothing else of a query does.
fn upstream_path(path: &'static str, query: &str) -> &'static str {
    match (path, query) {
        ("/v1/messages", "beta=true") => "/v1/messages?beta=true",
        ("/v1/messages/count_tokens", "beta=true") => "/v1/messages/count_tokens?beta=true",
        _ => path,
    }
}

/// What a provider's error means to the client (`providers.md` 3.8).
fn provider_error(
    gateway: &Gateway,
    model: &Model,
    book: &PriceBook,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> ApiError {
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let fault = classify_error(model.provider, status.as_u16(), body, retry_after);
    let alarm = |what: &str| {
        if let Some(metrics) = gateway.metrics.upstream(model.provider) {
            metrics.operator_faults.increment(1);
        }
        tracing::error!(model = %model.id, %status, what, "the provider refuses the operator");
    };
    if let Some(metrics) = gateway.metrics.upstream(model.provider) {
        metrics.faults.increment(1);
    }
    match fault {
        UpstreamFault::BadRequest { message } => ApiError::invalid_request(message),
        UpstreamFault::Ours => {
            alarm("the operator's key, plan or billing");
            ApiError::upstream()
        }
        UpstreamFault::Overloaded { retry_after } => match retry_after {
            Some(seconds) => ApiError::upstream().with_retry_after(seconds),
            None => ApiError::upstream(),
        },
        UpstreamFault::Failed => ApiError::upstream(),
        UpstreamFault::NotFound if model.is_retired() => {
            let successor = book.successor(model).map(|model| model.id.as_ref());
            ApiError::model_retired(&model.id, successor)
        }
        UpstreamFault::NotFound => {
            alarm("a model that it does not know");
            ApiError::upstream()
        }
    }
}

/// Why a provider's body could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the provider's answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the provider was silent for too long")]
    Silent,
    #[error("the provider's answer is above {0} bytes")]
    TooLarge(usize),
}

/// Reads a provider's body, in bounded memory and with a bound on each silence.
async fn collect(
    mut body: UpstreamBody,
    max: usize,
    mut seen: impl FnMut(usize),
) -> Result<Bytes, ReadError> {
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(ERROR_MAX);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let silence: Duration = CHUNK_TIMEOUT;
    loop {
        let frame =
            tokio::time::timeout(silence, body.frame()).await.map_err(|_| ReadError::Silent)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame?.into_data() else { continue };
        seen(data.len());
        if whole.len().saturating_add(data.len()) > max {
            return Err(ReadError::TooLarge(max));
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(piece) => {
                whole.reserve(hint.max(piece.len().saturating_add(data.len())));
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}
