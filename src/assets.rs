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
/// Where somebody sees what their mail address owns.
pub const ACCOUNT: &str = include_str!("../widget/account.html");
/// Where Stripe's page sends the buyer.
pub const RETURN: &str = include_str!("../widget/return.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";

/// How long a browser may keep a file without asking: partners embed it by an address that stays.
const CACHED: &str = "public, max-age=300";
/// The same for what never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// A file below `/assets/`.
struct File {
    path: &'static str,
    kind: &'static str,
    cached: &'static str,
    body: &'static [u8],
}

macro_rules! files {
    ($($path:literal, $kind:expr;)*) => {
        &[$(File {
            path: $path,
            kind: $kind,
            cached: CACHED,
            body: include_bytes!(concat!("../widget/", $path)),
        }),*]
    };
}

/// Loaders that pages pin by their hash: each stays as it was released, for good.
macro_rules! releases {
    ($($path:literal;)*) => {
        &[$(File {
            path: $path,
            kind: SCRIPT,
            cached: IMMUTABLE,
            body: include_bytes!(concat!("../widget/releases/", $path)),
        }),*]
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
    "frame/top_up.js", SCRIPT;
    "account.css", STYLE;
    "account.js", SCRIPT;
    "strings/en.json", JSON;
    "strings/de.json", JSON;
    "strings/fr.json", JSON;
    "strings/es.json", JSON;
    "strings/account.en.json", JSON;
    "strings/account.de.json", JSON;
    "strings/account.fr.json", JSON;
    "strings/account.es.json", JSON;
};

const RELEASES: &[File] = releases! {
    "sdk-0.1.0.js";
};

/// A file as it is sent.
struct Ready {
    file: &'static File,
    etag: HeaderValue,
    gzip: Option<Bytes>,
}

static READY: LazyLock<Vec<Ready>> =
    LazyLock::new(|| FILES.iter().chain(RELEASES).map(Ready::new).collect());

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
        (CACHE_CONTROL, ready.file.cached),
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
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::Sha384;

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

    /// What a page writes into `integrity`.
    fn integrity(body: &[u8]) -> String {
        format!("sha384-{}", STANDARD.encode(Sha384::digest(body)))
    }

    #[test]
    fn a_released_loader_never_changes() {
        let published = include_str!("../widget/releases/integrity.txt");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/widget/releases");
        let files = std::fs::read_dir(folder).unwrap().count() - 1;
        assert_eq!(published.lines().count(), RELEASES.len());
        assert_eq!(files, RELEASES.len(), "each file of the folder is served");
        for (line, release) in published.lines().zip(RELEASES) {
            assert_eq!(line, format!("{} {}", release.path, integrity(release.body)));
        }
        let (newest, hash) = published.lines().next_back().unwrap().split_once(' ').unwrap();
        let told = include_str!("../docs/embed.md");
        assert!(told.contains(&format!("/assets/{newest}\"")), "docs/embed.md shows {newest}");
        assert!(told.contains(&format!("integrity=\"{hash}\"")), "docs/embed.md shows its hash");
    }

    #[test]
    fn a_browser_keeps_a_release_for_good_and_the_moving_loader_for_minutes() {
        for (path, cached) in [("sdk-0.1.0.js", IMMUTABLE), ("sdk.js", "public, max-age=300")] {
            let request =
                crate::admin::tests::Fixture::request("GET", &format!("/assets/{path}"), "");
            let response = file(&request).unwrap();
            assert_eq!(response.headers()[CACHE_CONTROL], cached, "{path}");
            assert_eq!(response.headers()[CONTENT_TYPE], SCRIPT);
        }
        let request = crate::admin::tests::Fixture::request("GET", "/assets/sdk-0.0.9.js", "");
        assert_eq!(file(&request).unwrap_err().code().status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn each_language_has_the_same_words() {
        let words = |path: &str| {
            let found = FILES.iter().find(|file| file.path == path).unwrap();
            let all: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(found.body).unwrap();
            all.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        for page in ["", "account."] {
            let [english, german, french, spanish] = ["en", "de", "fr", "es"]
                .map(|language| words(&format!("strings/{page}{language}.json")));
            assert_eq!(german, french, "{page}");
            assert_eq!(german, spanish, "{page}");
            assert!(english.iter().all(|word| german.contains(word)), "{page}");
            // In English the gateway's own words for an error can stand.
            let more: Vec<_> = german.iter().filter(|word| !english.contains(word)).collect();
            assert!(more.iter().all(|word| word.starts_with("error_")), "{more:?}");
        }
    }
}
