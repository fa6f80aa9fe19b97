//! Answers that are one JSON value.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::error::ApiError;

/// An answer with a JSON body.
///
/// # Errors
/// 500 for a value that no JSON can express: our own defect.
pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Response<Bytes>, ApiError> {
    let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
