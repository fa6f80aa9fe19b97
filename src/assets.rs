//! The pages and scripts that are part of the binary.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::keys::hex;
use crate::request::Incoming;

/// The content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// The page at `/`: what this server is.
pub const INDEX: &str = include_str!("../widget/index.html");
/// The checkout's frame.
pub const FRAME: &str = include_str!("../widget/frame.html");
/// What a new tab shows until it knows Stripe's page.
pub const LAUNCH: &str = include_str!("../widget/launch.html");
/// Where somebody applies to become a partner; `{{body}}` stands for the form.
pub const APPLY: &str = include_str!("../widget/apply.html");
/// Where Stripe's page sends the buyer.
pub const RETURN: &str = include_str!("../widget/return.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";

/// How long a browser may keep a file without asking: partners embed it by an address that stays.
const CACHED: &str = "public, max-age=300";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// A file below `/assets/`.
struct File {
    path: &'static str,
    kind: &'static str,
    body: &'static [u8],
}

macro_rules! files {
    ($($path:literal, $kind:expr;)*) => {
        &[$(File { path: $path, kind: $kind, body: include_bytes!(concat!("../widget/", $path)) }),*]
    };
}

const FILES: &[File] = files! {
    "sdk.js", SCRIPT;
    "sdk.d.ts", SCRIPT;
    "frame.css", STYLE;
    "frame.js", SCRIPT;
    "frame/api.js", SCRIPT;
    "frame/screens.js", SCRIPT;
    "frame/payment.js", SCRIPT;
    "frame/text.js", SCRIPT;
    "strings/en.json", JSON;
    "strings/de.json", JSON;
    "strings/fr.json", JSON;
    "strings/es.json", JSON;
};

/// A file as it is sent.
struct Ready {
    file: &'static File,
    etag: HeaderValue,
    gzip: Option<Bytes>,
}

static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| FILES.iter().map(Ready::new).collect());

impl Ready {
    fn new(file: &'static File) -> Self {
        let hash = hex(&Sha256::digest(file.body));
        let short: String = hash.chars().take(16).collect();
        let etag = HeaderValue::try_from(format!("\"{short}\""));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory does not fail; if it did, the file would go out as it is.
        let gzip = encoder.write_all(file.body).and_then(|()| encoder.finish()).ok();
        Self {
            file,
            etag: etag.unwrap_or(HeaderValue::from_static("\"0\"")),
            gzip: gzip.map(Bytes::from).filter(|gzip| gzip.len() < file.body.len()),
        }
    }
}

/// `GET /assets/…`.
///
/// # Errors
/// 404.
pub fn file(request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let path = request.path.strip_prefix("/assets/").unwrap_or_default();
    let ready = READY.iter().find(|ready| ready.file.path == path);
    let ready = ready.ok_or_else(ApiError::not_found)?;
    let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = Response::new(Bytes::from_static(ready.file.body));
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, ready.file.kind),
        (CACHE_CONTROL, CACHED),
        (VARY, "accept-encoding"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(ETAG, ready.etag.clone());
    let etag = ready.etag.to_str().unwrap_or_default();
    if text(IF_NONE_MATCH).is_some_and(|known| known.contains(etag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Bytes::new();
        return Ok(response);
    }
    let takes_gzip = text(ACCEPT_ENCODING).is_some_and(|accepted| accepted.contains("gzip"));
    if let Some(gzip) = ready.gzip.as_ref().filter(|_| takes_gzip) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = gzip.clone();
    }
    Ok(response)
}

/// A page that stands for itself: nobody frames it, and it loads nothing from elsewhere.
#[must_use]
pub fn page(text: &'static str) -> Response<Bytes> {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    for (name, value) in [
        (CONTENT_TYPE, HTML),
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
    fn a_page_loads_nothing_from_elsewhere() {
        for text in [INDEX, LAUNCH, RETURN, APPLY] {
            let response = page(text);
            assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
            let page = std::str::from_utf8(response.body()).unwrap();
            assert!(page.contains("OpenCredits") && !page.contains("<script"));
        }
    }

    #[test]
    fn the_loader_is_small() {
        let sdk = READY.iter().find(|ready| ready.file.path == "sdk.js").unwrap();
        assert!(sdk.gzip.as_ref().unwrap().len() <= 6 * 1024);
    }
}
