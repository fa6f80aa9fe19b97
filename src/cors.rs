//! What browsers may do with the public API from pages of any origin. Keys travel in headers and
//! never in cookies, so any origin may ask; a partner's list of origins is checked with its key.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

/// What the known clients send, for a preflight that does not say.
const REQUEST_HEADERS: &str = "accept, authorization, content-type, x-api-key, x-user-key, \
    x-request-id, x-opencredits-cost, anthropic-version, anthropic-beta, \
    anthropic-dangerous-direct-browser-access, x-stainless-arch, x-stainless-lang, \
    x-stainless-os, x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, \
    x-stainless-runtime-version, x-stainless-timeout, x-stainless-helper-method";

/// What a page may read of an answer beyond the few that it always may.
const EXPOSED: &str = "retry-after, x-request-id, x-should-retry, x-upstream-request-id, \
    x-opencredits-request-id, x-opencredits-balance, x-opencredits-charge, x-opencredits-max-tokens, \
    x-opencredits-budget-tokens, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, \
    x-ratelimit-reset-requests";

/// Longest list of requested headers that is said back.
const REQUESTED_MAX: usize = 4096;

/// The answer to a preflight, for every route: 204.
#[must_use]
pub fn preflight(request: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let requested = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
    let requested = requested.filter(|names| !names.is_empty() && names.len() <= REQUESTED_MAX);
    let allowed = requested.cloned().unwrap_or(HeaderValue::from_static(REQUEST_HEADERS));
    let methods = HeaderValue::from_static("GET, POST, PATCH, DELETE, OPTIONS");
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(VARY, HeaderValue::from_static("access-control-request-headers"));
    response
}

/// Lets pages of any origin read a public answer, errors too.
pub fn expose(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_allows_what_it_asks_for() {
        let mut request = HeaderMap::new();
        let asked = HeaderValue::from_static("content-type,x-user-key,x-anything");
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, asked.clone());
        let response = preflight(&request);
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers()["access-control-allow-headers"], asked);
        assert!(
            response.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST")
        );
    }

    #[test]
    fn a_preflight_that_asks_for_nothing_or_too_much_hears_the_known_headers() {
        let mut request = HeaderMap::new();
        for _ in 0..2 {
            let response = preflight(&request);
            let allowed = response.headers()["access-control-allow-headers"].to_str().unwrap();
            for name in ["x-user-key", "x-api-key", "authorization", "anthropic-beta"] {
                assert!(allowed.contains(name), "{name}");
            }
            let long = HeaderValue::try_from("x".repeat(REQUESTED_MAX + 1)).unwrap();
            request.insert(ACCESS_CONTROL_REQUEST_HEADERS, long);
        }
    }

    #[test]
    fn a_page_reads_the_charge_and_the_limits() {
        let mut headers = HeaderMap::new();
        expose(&mut headers);
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        for name in ["x-request-id", "x-opencredits-charge", "retry-after", "x-ratelimit-limit"] {
            assert!(exposed.contains(name), "{name}");
        }
        assert_eq!(headers["access-control-allow-origin"], "*");
    }
}
