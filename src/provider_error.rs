//! What a provider's error means to the client, and to the operator.

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use opencredits_schema::{Model, PriceBook};
use opencredits_wire::{UpstreamFault, classify_error};

use crate::error::ApiError;
use crate::gateway::Gateway;

/// What a provider's error means to the client (`providers.md` 3.8).
pub(crate) fn provider_error(
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
