//! Every route in one table, and the way of each request through it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use opencredits_schema::RequestId;
use opencredits_wire::Dialect;
use warp::{Filter, Rejection, Stream};

use crate::error::{ApiError, ErrorShape, REQUEST_ID};
use crate::gateway::Gateway;
use crate::limits::RateHeaders;
use crate::relay::Relay;
use crate::request::Incoming;
use crate::server::{Peer, read_body};
use crate::telemetry::Route;
use crate::{
    admin, assets, checkout, completion, cors, count_tokens, credits, models, partner_api, random,
};

/// The gateway's own name of a request, as the history shows it.
pub const OWN_REQUEST_ID: HeaderName = HeaderName::from_static("x-opencredits-request-id");

/// Longest `x-request-id` of a caller that is said back.
const ECHO_MAX: usize = 128;

/// What stands behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Completion(Dialect),
    CountTokens,
    Models,
    Model,
    Balance,
    History,
    Pricing,
    Partner,
    Health,
    Ready,
    Index,
    Asset,
    Checkout,
    Webhook,
    Apply,
    Mailbox,
    Admin,
    Metrics,
}

/// Path, methods, what is behind it. A path that ends in `/` stands for all below it.
const PUBLIC: &[(&str, &str, Endpoint)] = &[
    ("/v1/chat/completions", "POST", Endpoint::Completion(Dialect::ChatCompletions)),
    ("/v1/messages", "POST", Endpoint::Completion(Dialect::Messages)),
    ("/v1/messages/count_tokens", "POST", Endpoint::CountTokens),
    ("/v1/responses", "POST", Endpoint::Completion(Dialect::Responses)),
    ("/v1/models", "GET", Endpoint::Models),
    ("/v1/models/", "GET", Endpoint::Model),
    ("/v1/credits/balance", "GET", Endpoint::Balance),
    ("/v1/credits/history", "GET", Endpoint::History),
    ("/v1/credits/pricing", "GET, POST", Endpoint::Pricing),
    ("/partner/v1/", "GET", Endpoint::Partner),
    ("/healthz", "GET", Endpoint::Health),
    ("/readyz", "GET", Endpoint::Ready),
    ("/assets/", "GET", Endpoint::Asset),
    ("/checkout/", "GET, POST", Endpoint::Checkout),
    ("/account", "GET", Endpoint::Checkout),
    ("/account/", "GET, POST, DELETE", Endpoint::Checkout),
    ("/partners/apply", "GET, POST", Endpoint::Apply),
    ("/stripe/webhook", "POST", Endpoint::Webhook),
    ("/dev/mailbox", "GET", Endpoint::Mailbox),
    ("/", "GET", Endpoint::Index),
];

/// The same on the admin address.
const ADMIN: &[(&str, &str, Endpoint)] = &[
    ("/admin/v1/", "GET, POST, PATCH, DELETE", Endpoint::Admin),
    ("/metrics", "GET", Endpoint::Metrics),
    ("/healthz", "GET", Endpoint::Health),
    ("/readyz", "GET", Endpoint::Ready),
];

/// Which addresses a listener stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The public API.
    Public,
    /// The admin API and the metrics.
    Admin,
    /// Both on one address.
    Both,
}

/// The service of a listener.
pub fn filter(
    gateway: Arc<Gateway>,
    side: Side,
) -> impl Filter<Extract = (warp::reply::Response,), Error = Rejection> + Clone {
    let query = warp::filters::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(
            move |method, path: warp::path::FullPath, query, headers, peer: Option<Peer>, body| {
                let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| peer);
                let head = Incoming {
                    id: random::request_id(),
                    method,
                    path: normalised(path.as_str()),
                    query,
                    headers,
                    peer,
                    body: Bytes::new(),
                };
                // hyper keeps the place of a request's future for as long as its connection is open.
                Box::pin(serve(Arc::clone(&gateway), side, head, body))
            },
        )
}

/// `/v1/…` once: SDK users mix the base URLs with and without it up.
fn normalised(path: &str) -> String {
    let mut rest = path;
    while let Some(shorter) = rest.strip_prefix("/v1").filter(|rest| rest.starts_with("/v1/")) {
        rest = shorter;
    }
    let bare = ["/chat/completions", "/messages", "/responses", "/models", "/credits/"];
    if bare.iter().any(|start| rest.starts_with(start)) {
        return format!("/v1{rest}");
    }
    rest.to_owned()
}

async fn serve<B: Buf>(
    gateway: Arc<Gateway>,
    side: Side,
    head: Incoming,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
) -> warp::reply::Response {
    let is_public = side != Side::Admin;
    if head.method == Method::OPTIONS && is_public {
        return whole(cors::preflight(&head.headers));
    }
    let shape = if head.path.starts_with("/v1/messages") {
        ErrorShape::Anthropic
    } else {
        ErrorShape::OpenAi
    };
    let (id, echo) = (head.id, echoed(&head.headers));
    let found = find(side, &head);
    let route = found.as_ref().map_or(Route::Other, |endpoint| label(*endpoint));
    let mut rate = None;
    let result = match found {
        Ok(endpoint) => answer(&gateway, side, endpoint, head, body, &mut rate).await,
        Err(error) => Err(error),
    };
    let own = own(id);
    let name = echo.unwrap_or_else(|| own.clone());
    let mut response = match result {
        Ok(completion::Answer::Whole(response)) => whole(response),
        Ok(completion::Answer::Stream(response, relay)) => streamed(response, relay),
        Err(error) => {
            log_error(id, route, &error);
            whole(error.into_response(shape, name.to_str().unwrap_or_default()))
        }
    };
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, name);
    headers.insert(OWN_REQUEST_ID, own);
    if let Some(rate) = rate {
        RateHeaders::write(&rate, headers);
    }
    if is_public && !matches!(route, Route::Admin) {
        cors::expose(headers);
    }
    gateway.metrics.answered(route, response.status());
    tracing::info!(request = %id, route = route.as_str(), status = response.status().as_u16());
    response
}

/// The endpoint of a path, if it knows the method.
fn find(side: Side, head: &Incoming) -> Result<Endpoint, ApiError> {
    let (public, admin) = (side != Side::Admin, side != Side::Public);
    let tables = [(public, PUBLIC), (admin, ADMIN)];
    let rows = tables.into_iter().filter(|(on, _)| *on).flat_map(|(_, table)| table);
    let matches = |pattern: &str| match pattern {
        "/" => head.path == "/",
        tree if tree.ends_with('/') => head.path.starts_with(tree),
        _ => head.path == pattern,
    };
    for (pattern, methods, endpoint) in rows {
        if matches(pattern) {
            let known = methods.split(", ").any(|method| head.method.as_str() == method);
            let head_of = head.method == Method::HEAD && methods.contains("GET");
            let allowed = known || head_of;
            return if allowed {
                Ok(*endpoint)
            } else {
                Err(ApiError::method_not_allowed(methods))
            };
        }
    }
    Err(ApiError::not_found())
}

async fn answer<B: Buf>(
    gateway: &Arc<Gateway>,
    side: Side,
    endpoint: Endpoint,
    mut incoming: Incoming,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
    rate: &mut Option<RateHeaders>,
) -> Result<completion::Answer, ApiError> {
    let door = &gateway.config.door;
    // The caller is known before a byte of the body is read.
    let caller = match endpoint {
        Endpoint::Completion(_) | Endpoint::CountTokens | Endpoint::Balance | Endpoint::History => {
            let caller = gateway.caller(&incoming.headers, incoming.peer).await?;
            let partner = gateway.partner_of(&caller, &incoming.headers).await?;
            *rate = Some(gateway.admit(&caller, &partner)?);
            Some((caller, partner))
        }
        Endpoint::Models
        | Endpoint::Model
        | Endpoint::Pricing
        | Endpoint::Partner
        | Endpoint::Health
        | Endpoint::Ready
        | Endpoint::Index
        | Endpoint::Asset
        | Endpoint::Checkout
        | Endpoint::Webhook
        | Endpoint::Apply
        | Endpoint::Mailbox
        | Endpoint::Admin
        | Endpoint::Metrics => None,
    };
    if incoming.method == Method::POST || incoming.method == Method::PATCH {
        incoming.body =
            read_body(body, &incoming.headers, door.max_body, door.body_timeout).await?;
    }
    let request = &incoming;
    let response = match (endpoint, caller) {
        (Endpoint::Completion(dialect), Some((caller, partner))) => {
            return completion::complete(gateway, incoming, dialect, &caller, &partner).await;
        }
        (Endpoint::CountTokens, Some((_, partner))) => {
            count_tokens::count_tokens(gateway, request, &partner).await
        }
        (Endpoint::Balance, Some((caller, _))) => credits::balance(gateway, &caller).await,
        (Endpoint::History, Some((caller, _))) => credits::history(gateway, request, &caller).await,
        (Endpoint::Models, _) => models::list(gateway, request).await,
        (Endpoint::Model, _) => {
            let id = incoming.path.strip_prefix("/v1/models/").unwrap_or_default();
            models::one(gateway, request, id).await
        }
        (Endpoint::Pricing, _) => credits::pricing(gateway, request).await,
        (Endpoint::Partner, _) => partner_api::handle(gateway, request).await,
        (Endpoint::Admin, _) => admin::handle(gateway, request).await,
        (Endpoint::Metrics, _) => {
            // On the public address even the figures are the operator's alone.
            let open = side == Side::Admin;
            let allowed = if open { Ok(()) } else { admin::authorize(gateway, request) };
            allowed.map(|()| Response::new(gateway.render_metrics().into()))
        }
        (Endpoint::Health, _) => Ok(Response::new(Bytes::from_static(b"ok\n"))),
        (Endpoint::Ready, _) if gateway.is_ready().await => {
            Ok(Response::new(Bytes::from_static(b"ready\n")))
        }
        (Endpoint::Ready, _) => Err(ApiError::overloaded(1)),
        (Endpoint::Index, _) => Ok(assets::page(assets::INDEX)),
        (Endpoint::Asset, _) => assets::file(request),
        (Endpoint::Checkout, _) => checkout::handle(gateway, request).await,
        (Endpoint::Webhook, _) => checkout::webhook(gateway, request).await,
        (Endpoint::Apply, _) => checkout::apply(gateway, request).await,
        (Endpoint::Mailbox, _) => checkout::mailbox(gateway, request),
        (
            Endpoint::Completion(_) | Endpoint::CountTokens | Endpoint::Balance | Endpoint::History,
            None,
        ) => Err(ApiError::missing_api_key()),
    };
    response.map(completion::Answer::Whole)
}

const fn label(endpoint: Endpoint) -> Route {
    match endpoint {
        Endpoint::Completion(Dialect::ChatCompletions) => Route::ChatCompletions,
        Endpoint::Completion(Dialect::Messages) => Route::Messages,
        Endpoint::Completion(Dialect::Responses | Dialect::GenerateContent) => Route::Responses,
        Endpoint::CountTokens => Route::CountTokens,
        Endpoint::Models | Endpoint::Model => Route::Models,
        Endpoint::Balance | Endpoint::History | Endpoint::Pricing => Route::Credits,
        Endpoint::Partner => Route::Partner,
        Endpoint::Admin | Endpoint::Metrics => Route::Admin,
        Endpoint::Asset | Endpoint::Checkout | Endpoint::Webhook | Endpoint::Apply => {
            Route::Checkout
        }
        Endpoint::Health | Endpoint::Ready | Endpoint::Index | Endpoint::Mailbox => Route::Other,
    }
}

/// The caller's own name for the request, if it can be said back.
fn echoed(headers: &HeaderMap) -> Option<HeaderValue> {
    let name = headers.get(REQUEST_ID)?;
    let visible = |byte: &u8| byte.is_ascii_graphic();
    let fits = (1..=ECHO_MAX).contains(&name.len()) && name.as_bytes().iter().all(visible);
    fits.then(|| name.clone())
}

fn own(id: RequestId) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

fn log_error(id: RequestId, route: Route, error: &ApiError) {
    let status = error.code().status();
    if status.is_server_error() {
        tracing::warn!(request = %id, route = route.as_str(), %status, %error, "answered an error");
    } else {
        tracing::debug!(request = %id, route = route.as_str(), %status, %error, "refused");
    }
}

fn whole(response: Response<Bytes>) -> warp::reply::Response {
    response.map(Into::into)
}

fn streamed(response: Response<()>, relay: Box<Relay>) -> warp::reply::Response {
    let (parts, ()) = response.into_parts();
    let mut reply = warp::Reply::into_response(warp::reply::stream(Outgoing(relay)));
    *reply.status_mut() = parts.status;
    *reply.headers_mut() = parts.headers;
    reply
}

/// A relay as the stream that warp wants.
struct Outgoing(Box<Relay>);

impl Stream for Outgoing {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_bytes(cx).map(|bytes| bytes.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn base_urls_with_and_without_v1_meet() {
        for path in ["/v1/messages", "/messages", "/v1/v1/messages", "/v1/v1/v1/messages"] {
            assert_eq!(normalised(path), "/v1/messages");
        }
        assert_eq!(normalised("/partner/v1/usage"), "/partner/v1/usage");
        assert_eq!(normalised("/v1/models/openai/gpt-4o"), "/v1/models/openai/gpt-4o");
    }
}
