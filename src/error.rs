//! `ApiError`, the only type that knows HTTP: what the client reads, and apart from it what the
//! log reads.

mod code;
mod from;
mod shortage;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

pub use code::ErrorCode;
pub use shortage::{LimitedBy, Shortage};

use crate::server::BodyError;

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells the SDKs whether another attempt can help.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The form of an error's body: that of the dialect whose route was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// Everywhere but on `/v1/messages…`.
    OpenAi,
    /// On `/v1/messages…`.
    Anthropic,
}

/// An error that a client is told.
#[derive(Debug)]
pub struct ApiError {
    code: ErrorCode,
    message: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    retry_after_s: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// An error with this public message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        // Whoever is told to wait is told how long, even where nobody knows better.
        let retry_after_s = match code.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        };
        let retry_after_s = retry_after_s.filter(|_| !code.forbids_retry());
        let (message, headers) = (message.into(), Vec::new());
        Self { code, message, param: None, retry_after_s, headers, source: None }
    }

    /// 400 with what is wrong.
    #[must_use]
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// 401: no key.
    #[must_use]
    pub fn missing_api_key() -> Self {
        const MESSAGE: &str = "No user key provided. Send it in the X-User-Key header, as \
                               Authorization: Bearer, or in x-api-key.";
        Self::new(ErrorCode::MissingApiKey, MESSAGE)
    }

    /// 401: a bad key.
    #[must_use]
    pub fn invalid_user_key() -> Self {
        const MESSAGE: &str = "The user key is invalid or has been revoked.";
        Self::new(ErrorCode::InvalidUserKey, MESSAGE)
    }

    /// 402 with what would help.
    #[must_use]
    pub fn insufficient_credits(shortage: &Shortage) -> Self {
        Self::new(ErrorCode::InsufficientCredits, shortage.to_string())
    }

    /// 403: not this partner's model.
    #[must_use]
    pub fn model_not_allowed(model: &str) -> Self {
        let message =
            format!("Your partner account doesn't have access to the model {}.", named(model));
        Self::new(ErrorCode::ModelNotAllowed, message).with_param("model")
    }

    /// 403: not from this origin.
    #[must_use]
    pub fn origin_not_allowed() -> Self {
        const MESSAGE: &str = "This key may not be used from this origin.";
        Self::new(ErrorCode::OriginNotAllowed, MESSAGE)
    }

    /// 404: no such model.
    #[must_use]
    pub fn model_not_found(model: &str) -> Self {
        let message = format!("The model {} does not exist.", named(model));
        Self::new(ErrorCode::ModelNotFound, message).with_param("model")
    }

    /// 404: the provider retired the model; `successor` is what to ask instead.
    #[must_use]
    pub fn model_retired(model: &str, successor: Option<&str>) -> Self {
        let instead = successor.map(|name| format!(" Use {name:?} instead.")).unwrap_or_default();
        let message = format!("The model {} has been retired.{instead}", named(model));
        Self::new(ErrorCode::ModelNotFound, message).with_param("model")
    }

    /// 404: no such path.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "There is nothing at this path.")
    }

    /// 405, naming the methods that the path knows, as in `GET, POST`.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let error = Self::new(ErrorCode::MethodNotAllowed, "This path does not know this method.");
        error.with_header(ALLOW, HeaderValue::from_static(allow))
    }

    /// 413, naming the limit.
    #[must_use]
    pub fn request_too_large(max_bytes: usize) -> Self {
        let message = format!("The request body is larger than {max_bytes} bytes.");
        Self::new(ErrorCode::RequestTooLarge, message)
    }

    /// 429: again after so many seconds.
    #[must_use]
    pub fn rate_limited(retry_after_s: u64) -> Self {
        let message = format!("Too many requests. Try again in {retry_after_s} s.");
        Self::new(ErrorCode::RateLimited, message).with_retry_after(retry_after_s)
    }

    /// 500: our own defect; the client learns no more.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorCode::Internal, "The gateway failed.").with_source(source)
    }

    /// 502: the client learns no more than that.
    #[must_use]
    pub fn upstream() -> Self {
        Self::new(ErrorCode::UpstreamError, "The AI provider returned an error.")
    }

    /// 503: again after so many seconds.
    #[must_use]
    pub fn overloaded(retry_after_s: u64) -> Self {
        const MESSAGE: &str = "The gateway is overloaded. Try again shortly.";
        Self::new(ErrorCode::Overloaded, MESSAGE).with_retry_after(retry_after_s)
    }

    /// 503 that must not be tried again: the answer was charged.
    #[must_use]
    pub fn settlement_unfinished() -> Self {
        const MESSAGE: &str = "The request was served and charged, but its charge could not be \
                               confirmed in time. It will show in the history.";
        Self::new(ErrorCode::SettlementUnfinished, MESSAGE)
    }

    /// The field of the request that the error is about.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// When another attempt makes sense, in seconds from now.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// A header more.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What really happened, for the log only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// What the client reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body in the form of a dialect; in a stream it is the data of the error event.
    #[must_use]
    pub fn body(&self, shape: ErrorShape) -> Bytes {
        let (kind, message) = (self.code.kind(), self.message());
        let text = match shape {
            ErrorShape::OpenAi => {
                let (param, status) = (self.param.as_deref(), self.code.status());
                let error = OpenAiError { message, kind, param, code: status.as_str() };
                serde_json::to_vec(&OpenAiBody { error })
            }
            ErrorShape::Anthropic => {
                let error = AnthropicError { kind, message };
                serde_json::to_vec(&AnthropicBody { kind: "error", error })
            }
        };
        // Strings under fixed keys always serialize; an empty body is still the right status.
        text.map(Bytes::from).unwrap_or_default()
    }

    /// The whole answer.
    #[must_use]
    pub fn into_response(self, shape: ErrorShape, request_id: &str) -> Response<Bytes> {
        let mut response = Response::new(self.body(shape));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if self.code.forbids_retry() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(seconds) = self.retry_after_s.filter(|_| !self.code.forbids_retry()) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        headers.extend(self.headers);
        response
    }
}

/// What the log reads: the type, and the cause where there is one.
impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.kind())?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { max } => Self::request_too_large(max),
            BodyError::Timeout => {
                Self::invalid_request("The request body did not arrive in time.").with_source(error)
            }
            BodyError::Broken(_) => {
                Self::invalid_request("The request body could not be read.").with_source(error)
            }
        }
    }
}

/// A name that the caller chose, quoted, and cut where it is too long for a message.
fn named(model: &str) -> String {
    const SHOWN_MAX: usize = 100;
    let shown: String = model.chars().take(SHOWN_MAX).collect();
    let cut = if shown.len() < model.len() { "…" } else { "" };
    format!("{shown:?}{cut}")
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    error: AnthropicError<'a>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests;
