//! One AI request: plan, place, send, meter, settle. The answer's end is its receipt.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};
use opencredits_schema::{Basis, Credits, Partner, Provider, Status, Usage};
use opencredits_wire::{Dialect, Meter, add_cost, usage_of_body};

use crate::auth::Caller;
use crate::config::OnClientGone;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::limits::OpenStream;
use crate::live::{Live, Open, Receipt, Terms};
use crate::place::{Asked, Placed, Wish};
use crate::plan::{Plan, Translation, kept_body, upstream_path};
use crate::provider_error::provider_error;
use crate::relay::Relay;
use crate::request::Incoming;
use crate::running::{Running, drain_time};
use crate::upstream::{self, ANSWER_MAX, ERROR_MAX, collect, response_headers};

const CHARGE: HeaderName = HeaderName::from_static("x-opencredits-charge");
const BALANCE: HeaderName = HeaderName::from_static("x-opencredits-balance");
const MAX_TOKENS: HeaderName = HeaderName::from_static("x-opencredits-max-tokens");
const BUDGET_TOKENS: HeaderName = HeaderName::from_static("x-opencredits-budget-tokens");
const COST: HeaderName = HeaderName::from_static("x-opencredits-cost");

/// An answer: whole, or a stream that settles at its end.
#[derive(Debug)]
pub enum Answer {
    /// A body.
    Whole(Response<Bytes>),
    /// A stream; its response has the status and the headers.
    Stream(Response<()>, Box<Relay>),
}

/// Serves `POST /v1/chat/completions`, `/v1/messages` and `/v1/responses`.
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
    let account = caller.key.account;
    let plan = Plan::new(gateway, account, partner, dialect, incoming.body.clone())?;
    if gateway.system.journal().waiting >= gateway.config.inside.journal_queue {
        return Err(ApiError::overloaded(1));
    }
    let place = gateway.open_streams.open(caller.key.id);
    let place = place.ok_or_else(|| {
        ApiError::new(ErrorCode::RateLimited, "Too many requests of this key run at once.")
    })?;
    let placed = place_hold(gateway, &incoming, &plan, caller, partner).await?;
    let body = plan.sent.upstream_body(&plan.model, placed.edits);
    let path = upstream_path(&plan.sent, &plan.model, &incoming.query);
    let created = gateway.system.now().seconds().try_into().unwrap_or(0);
    let translation = plan.translation(incoming.id, created);
    let show_cost = incoming.headers.get(COST).is_some_and(|value| value == "1");
    let exchange = Exchange {
        streamed: plan.asked.stream(),
        show_cost,
        headers: lowered(placed.edits),
        open: open(gateway, plan, placed, partner, account, show_cost),
        translation,
        place,
    };
    let live = Arc::clone(exchange.open.live());
    let answering = Box::pin(exchange.answer(incoming.headers, path.into_owned(), body));
    let mut answering =
        Answering { gateway: Arc::clone(gateway), live, unfinished: Some(answering) };
    answering.answer().await
}

async fn place_hold(
    gateway: &Arc<Gateway>,
    incoming: &Incoming,
    plan: &Plan,
    caller: &Caller,
    partner: &Partner,
) -> Result<Placed, ApiError> {
    let Plan { book, model, sent, .. } = plan;
    let wish = Wish { id: incoming.id, caller, partner, request: sent, model, book };
    let asked = Asked::new(gateway, caller.key.account, incoming.id);
    let placed = wish.place(gateway).await;
    let decided =
        placed.as_ref().map_or_else(|error| !error.code().status().is_server_error(), |_| true);
    asked.answered(decided);
    placed
}

/// The request as a running one.
fn open(
    gateway: &Arc<Gateway>,
    plan: Plan,
    placed: Placed,
    partner: &Partner,
    account: opencredits_schema::AccountId,
    show_cost: bool,
) -> Open {
    let Plan { book, model, asked, sent } = plan;
    let Placed { hold, searches, .. } = placed;
    let (dialect, upstream) = (asked.dialect(), sent.dialect());
    let translated = dialect != upstream;
    // A translator leaves out what the client did not ask for.
    let meter = Meter::new(model.provider, upstream, !translated && !asked.wants_usage_chunk());
    let meter = if show_cost && !translated { meter.with_cost() } else { meter };
    // Others tell their input as they begin; images have no count that is sure.
    let untold = matches!(model.provider, Provider::OpenAi | Provider::XAi);
    let cancels = gateway.config.on_client_gone != OnClientGone::Drain;
    let may_reason = sent.may_reason(&model);
    let counts = cancels && untold && !may_reason && !sent.has_media();
    let terms = Terms {
        account,
        hold,
        dialect,
        upstream,
        input_estimate: sent.input_estimate(&model),
        countable: counts.then(|| kept_body(&asked)),
        model,
        book,
        rate: partner.referral_rate,
        may_reason,
        searches,
    };
    Open::new(Arc::clone(gateway), Live::new(terms, meter))
}

/// A request between its hold and its settlement.
struct Exchange {
    open: Open,
    streamed: bool,
    show_cost: bool,
    headers: HeaderMap,
    translation: Option<Translation>,
    place: OpenStream,
}

type Unfinished = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send>>;

/// An exchange that its client waits for. It runs in the connection's task, which spares it one of its
/// own; a client that goes away does not stop what has to be settled: then it goes on in a task.
struct Answering {
    gateway: Arc<Gateway>,
    live: Arc<Live>,
    unfinished: Option<Unfinished>,
}

impl Answering {
    async fn answer(&mut self) -> Result<Answer, ApiError> {
        let cut = Arc::clone(&self.live.cut);
        let answered = match &mut self.unfinished {
            Some(unfinished) => tokio::select! {
                biased;
                answer = unfinished => answer,
                () = cut.notified() => Err(ApiError::overloaded(1)),
            },
            None => Err(ApiError::internal("an answer that was given")),
        };
        // One that was cut is settled, by what has come, as it is dropped.
        self.unfinished = None;
        answered
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // What panicked cannot go on; its guard settles.
        let Some(unfinished) = self.unfinished.take().filter(|_| !std::thread::panicking()) else {
            return;
        };
        let (gateway, live) = (Arc::clone(&self.gateway), Arc::clone(&self.live));
        gateway.metrics.client_gone.increment(1);
        live.client_left();
        tokio::spawn(drain_answer(gateway, live, unfinished));
    }
}

/// Lets an exchange whose client is gone come to its end, within bounds.
async fn drain_answer(gateway: Arc<Gateway>, live: Arc<Live>, unfinished: Unfinished) {
    // Without a place or time to wait in, the guard settles by what has come.
    let Some(drain) = Running::drain(&gateway) else { return };
    let wait = drain_time(&gateway.config);
    let answer = tokio::select! {
        answer = tokio::time::timeout(wait, unfinished) => answer.ok(),
        () = live.cut.notified() => None,
    };
    // A stream that has come meanwhile takes the place for its own drain.
    drop(drain);
    drop(answer);
}

impl Exchange {
    /// Sends the request and answers.
    async fn answer(
        self,
        incoming: HeaderMap,
        path: String,
        body: Vec<Bytes>,
    ) -> Result<Answer, ApiError> {
        let terms = &self.open.live().terms;
        let (gateway, model) = (self.open.gateway(), &terms.model);
        let metrics = gateway.metrics.upstream(model.provider);
        let started = Instant::now();
        let sent = gateway.upstream.send(model.provider, &path, &incoming, body).await;
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
            let translator = self.translation.map(Translation::stream);
            let relay = Relay::new(self.open, body, translator, self.show_cost, self.place);
            return Ok(Answer::Stream(response, Box::new(relay)));
        }
        self.whole(body, headers).await
    }

    /// An answer that is not streamed: read, settled, then sent.
    async fn whole(self, body: upstream::Body, headers: HeaderMap) -> Result<Answer, ApiError> {
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
        let told = usage_of_body(terms.model.provider, terms.upstream, &body);
        let (usage, basis) = match told {
            Some(usage) => (usage, Basis::Provider),
            None => {
                let output = u64::try_from(body.len().div_ceil(4)).unwrap_or(u64::MAX);
                let usage = Usage { input: terms.input_estimate, output, ..Usage::default() };
                (usage, Basis::Estimated)
            }
        };
        let body = match &self.translation {
            Some(translation) => translation.answer(&body, &usage),
            None => Ok(body),
        };
        let charged = live.price(usage, basis, Status::Completed);
        let receipt = self.open.settle(Some(charged)).await;
        let receipt = receipt.map_err(|_| ApiError::settlement_unfinished())?;
        // An answer that cannot be shown was billed by its provider all the same.
        let body = body?;
        if terms.dialect == Dialect::Responses {
            let recent = &self.open.gateway().recent_items;
            recent.keep(terms.account, &body, Instant::now());
        }
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
