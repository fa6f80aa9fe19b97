//! Which headers pass, in both directions; all others stay behind.

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use opencredits_schema::Provider;

/// A provider's name of a request, as our callers see it.
pub const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// What is read of a response head, here and in [`crate::provider_error`].
const READ: [&str; 4] = ["content-type", "retry-after", "x-request-id", "request-id"];

/// The version of the dialect for callers who name none.
const VERSION_DEFAULT: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Beginnings of the betas that are taken out. They reach into the operator's account (files,
/// containers and the skills that run in them, agents, batches), make the provider call servers of
/// the caller's choice, or had prices of their own that the price book does not know.
const BETAS_REFUSED: [&str; 8] = [
    "files-api-",
    "code-execution-",
    "skills-",
    "managed-agents-",
    "message-batches-",
    "mcp-client-",
    "mcp-servers-",
    "context-1m-",
];

/// Headers of each request: metering reads the answer, so it must come as it is.
pub(super) const ALWAYS: &str = concat!(
    "accept-encoding: identity\r\nuser-agent: opencredits/",
    env!("CARGO_PKG_VERSION"),
    "\r\n"
);

/// Appends the header lines of a request to a provider that depend on its caller.
pub(super) fn request_headers(provider: Provider, caller: &HeaderMap, out: &mut Vec<u8>) {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut write = |name: &HeaderName, value: &HeaderValue| {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    // The body has been read as JSON, whatever a bare `curl -d` calls it.
    let is_json = |value: &&HeaderValue| value.as_bytes().starts_with(b"application/json");
    write(&CONTENT_TYPE, caller.get(CONTENT_TYPE).filter(is_json).unwrap_or(&JSON));
    if let Some(accept) = caller.get(ACCEPT) {
        write(&ACCEPT, accept);
    }
    if provider == Provider::Anthropic {
        write(&ANTHROPIC_VERSION, caller.get(ANTHROPIC_VERSION).unwrap_or(&VERSION_DEFAULT));
        if let Some(betas) = betas(caller) {
            write(&ANTHROPIC_BETA, &betas);
        }
    }
}

/// Whether anyone here reads this header of a provider's response.
pub(super) fn is_read(name: &str) -> bool {
    READ.iter().any(|read| read.eq_ignore_ascii_case(name))
}

/// What of a provider's response head the caller sees.
#[must_use]
pub fn response_headers(upstream: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(8);
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        if let Some(value) = upstream.get(&name) {
            out.insert(name, value.clone());
        }
    }
    if let Some(id) = upstream.get("x-request-id").or_else(|| upstream.get("request-id")) {
        out.insert(UPSTREAM_REQUEST_ID, id.clone());
    }
    out
}

/// The caller's betas but the refused ones, in their order, as one header.
fn betas(caller: &HeaderMap) -> Option<HeaderValue> {
    let mut kept = String::new();
    for value in caller.get_all(ANTHROPIC_BETA) {
        let named = value.to_str().unwrap_or_default().split(',').map(str::trim);
        for beta in named.filter(|beta| !beta.is_empty() && !is_refused(beta)) {
            kept.push_str(if kept.is_empty() { "" } else { "," });
            kept.push_str(beta);
        }
    }
    if kept.is_empty() { None } else { HeaderValue::try_from(kept).ok() }
}

fn is_refused(beta: &str) -> bool {
    let beta = beta.to_ascii_lowercase();
    BETAS_REFUSED.iter().any(|refused| beta.starts_with(refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let parse = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(parse).collect()
    }

    fn sent(provider: Provider, caller: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut caller_headers = HeaderMap::new();
        for (name, value) in caller {
            caller_headers.append(*name, HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        request_headers(provider, &caller_headers, &mut out);
        let text = String::from_utf8(out).unwrap();
        let parse = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        text.split_terminator("\r\n").map(parse).collect()
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn only_listed_headers_go_out() {
        let caller = [
            ("authorization", "Bearer oc_sk_x"),
            ("x-user-key", "oc_sk_x"),
            ("x-api-key", "oc_sk_x"),
            ("cookie", "a=b"),
            ("x-stainless-lang", "python"),
            ("accept-encoding", "br"),
            ("anthropic-version", "2026-10-21"),
            ("openai-organization", "org-x"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        for provider in [Provider::OpenAi, Provider::XAi, Provider::Google] {
            assert_eq!(sent(provider, &caller), headers(&[JSON]));
        }
        let mut expected = headers(&[JSON]);
        expected.extend(headers(&[("anthropic-version", "2026-10-21")]));
        assert_eq!(sent(Provider::Anthropic, &caller), expected);
    }

    #[test]
    fn what_the_caller_accepts_and_says_of_its_json_passes() {
        let json = "application/json; charset=utf-8";
        let out =
            sent(Provider::OpenAi, &[("accept", "text/event-stream"), ("content-type", json)]);
        assert_eq!(out["accept"], "text/event-stream");
        assert_eq!(out["content-type"], json);
    }

    #[test]
    fn anthropic_has_a_version_and_no_refused_beta() {
        let out = sent(Provider::Anthropic, &[]);
        assert_eq!(out["anthropic-version"], "2023-06-01");
        assert!(!out.contains_key("anthropic-beta"));
        let out = sent(
            Provider::Anthropic,
            &[
                ("anthropic-beta", "interleaved-thinking-2025-05-14, files-api-2025-04-14"),
                ("anthropic-beta", "MCP-client-2025-04-04,fast-mode-2026-02-01"),
            ],
        );
        assert_eq!(out["anthropic-beta"], "interleaved-thinking-2025-05-14,fast-mode-2026-02-01");
        let out = sent(Provider::Anthropic, &[("anthropic-beta", "context-1m-2025-08-07")]);
        assert!(!out.contains_key("anthropic-beta"));
    }

    #[test]
    fn only_listed_headers_come_back() {
        let upstream = headers(&[
            ("content-type", "text/event-stream"),
            ("retry-after", "3"),
            ("request-id", "req_1"),
            ("openai-organization", "org-x"),
            ("x-ratelimit-remaining-tokens", "5"),
            ("set-cookie", "a=b"),
        ]);
        let expected = headers(&[
            ("content-type", "text/event-stream"),
            ("retry-after", "3"),
            ("x-upstream-request-id", "req_1"),
        ]);
        assert_eq!(response_headers(&upstream), expected);
    }
}
