//! The HTTP side: the API, and everything else as pages.

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use super::objects::API_VERSION;
use super::{Shared, api, pages};
use crate::serve::{Answer, plain};

/// The form of a request: its body, or what stands behind `?`.
fn parameters<'a>(head: &'a Parts, body: &'a [u8]) -> &'a [u8] {
    if head.method == Method::GET {
        return head.uri.query().unwrap_or_default().as_bytes();
    }
    body
}

/// One request.
pub(super) fn answer(shared: &Shared, head: &Parts, body: &[u8]) -> Answer {
    let path = head.uri.path();
    if !path.starts_with("/v1/") {
        return pages::answer(shared, &head.method, path, body);
    }
    if ![Method::GET, Method::POST, Method::DELETE].contains(&head.method) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "no such method");
    }
    let called = api::call(shared, &head.method, path, &head.headers, parameters(head, body));
    let mut response = Response::new(Full::from(called.body.to_string()));
    *response.status_mut() = called.status;
    let id = shared.state().id("req");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("stripe-version", HeaderValue::from_static(API_VERSION));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("request-id", id);
    }
    if called.replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}
