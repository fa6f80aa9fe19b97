//! `POST /v1/messages/count_tokens`: exact from Anthropic, counted here for the others. Free.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_dialects::decode_request;
use opencredits_schema::{Model, Partner, PriceBook};
use opencredits_wire::{Dialect, Edits, Request, count_tokens as count_text, upstream_dialect};
use serde::Serialize;

use crate::answer::json;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::plan::{find_model, written};
use crate::provider_error::provider_error;
use crate::request::Incoming;
use crate::upstream::{ANSWER_MAX, ERROR_MAX, collect, response_headers};

/// Serves the route.
///
/// # Errors
/// What the client is told instead.
pub async fn count_tokens(
    gateway: &Arc<Gateway>,
    incoming: &Incoming,
    partner: &Partner,
) -> Result<Response<Bytes>, ApiError> {
    let request = Request::parse_count(incoming.body.clone())?;
    let (book, model) = find_model(gateway, partner, request.model())?;
    if upstream_dialect(Dialect::Messages, &model) == Dialect::Messages {
        return ask(gateway, incoming, &request, &model, &book).await;
    }
    let body = incoming.body.clone();
    let counting = tokio::task::spawn_blocking(move || estimate(&body, &book, &model));
    let input_tokens = counting.await.map_err(ApiError::internal)??;
    json(StatusCode::OK, &Counted { input_tokens })
}

#[derive(Serialize)]
struct Counted {
    input_tokens: u64,
}

/// The o200k tokens of the text, and what images and documents cost at this provider.
fn estimate(body: &[u8], book: &PriceBook, model: &Model) -> Result<u64, ApiError> {
    let prompt = decode_request(Dialect::Messages, body)?;
    let sent = written(&prompt, upstream_dialect(Dialect::Messages, model), model)?;
    sent.check(book, model)?;
    Ok(prompt.text_tokens(count_text).saturating_add(sent.media_tokens(model)))
}

async fn ask(
    gateway: &Gateway,
    incoming: &Incoming,
    request: &Request,
    model: &Model,
    book: &PriceBook,
) -> Result<Response<Bytes>, ApiError> {
    request.check(book, model)?;
    let body = request.upstream_body(model, Edits::default());
    let path = match incoming.query.as_str() {
        "beta=true" => "/v1/messages/count_tokens?beta=true",
        _ => "/v1/messages/count_tokens",
    };
    let sent = gateway.upstream.send(model.provider, path, &incoming.headers, body).await;
    let (parts, body) = sent?.into_parts();
    let limit = if parts.status.is_success() { ANSWER_MAX } else { ERROR_MAX };
    let body = collect(body, limit, |_| {})
        .await
        .map_err(|error| ApiError::upstream().with_source(error))?;
    if !parts.status.is_success() {
        return Err(provider_error(gateway, model, book, parts.status, &parts.headers, &body));
    }
    let mut response = Response::new(body);
    *response.headers_mut() = response_headers(&parts.headers);
    Ok(response)
}
