//! The pages and scripts that are part of the binary.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response};

/// The page at `/`: what this server is.
const INDEX: &str = include_str!("../widget/index.html");

/// The answer to `GET /`.
#[must_use]
pub fn index() -> Response<Bytes> {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let mut response = Response::new(Bytes::from_static(INDEX.as_bytes()));
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        let response = index();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let page = std::str::from_utf8(response.body()).unwrap();
        assert!(page.contains("OpenCredits") && !page.contains("<script"));
    }
}
