//! What a provider's error means to the client, and what of its words the client may read
//! (`providers.md` 3.8).

mod scrub;
#[cfg(test)]
mod tests;

use opencredits_schema::Provider;
use serde_json::Value;

use scrub::scrubbed;

/// Kinds and codes of the fault being the operator's: its key, its bill, its rights.
const OURS: [&str; 10] = [
    "authentication_error",
    "permission_error",
    "billing_error",
    "invalid_api_key",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "API_KEY_INVALID",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
];
/// The same where only the text tells it, in lower case.
const OURS_TEXT: [&str; 11] = [
    "incorrect api key",
    "api key not valid",
    "invalid x-api-key",
    "credit balance is too low",
    "billing hard limit",
    // Recorded nowhere; in the providers' documents and in reports of their users.
    "organization has been disabled",
    "organization must be verified",
    "used all available credits",
    "monthly spending limit",
    "enable billing",
    "user location is not supported",
];
/// Kinds and codes of a provider that has too much to do.
const BUSY: [&str; 6] = [
    "overloaded_error",
    "rate_limit_error",
    "rate_limit_exceeded",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "server_is_overloaded",
];

/// What becomes of a provider's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// The caller's request is at fault: 400 `invalid_request` with this text, which is scrubbed.
    BadRequest {
        /// The provider's words.
        message: String,
    },
    /// The operator's key, rights or bill are at fault: 502, and an alarm.
    Ours,
    /// The provider has too much to do: 502 with `Retry-After`; 429 is for the gateway's limits.
    Overloaded {
        /// Seconds to wait, if told.
        retry_after: Option<u64>,
    },
    /// The provider broke: 502.
    Failed,
    /// The provider lacks the model: 404 if it is a retired one, else 502 and an alarm.
    NotFound,
}

/// An error event inside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InBandError {
    /// The provider's kind or code of it, for the log.
    pub kind: String,
    /// The provider's words, scrubbed.
    pub message: String,
    /// What becomes of it, if nothing was sent yet.
    pub fault: UpstreamFault,
}

impl InBandError {
    /// Reads the data of an error event of any provider.
    pub(crate) fn read(data: &[u8]) -> Self {
        let told = Told::read(data);
        let fault = told.fault(None);
        let kind = told.words.first().map(|kind| kind.chars().take(100).collect());
        Self { kind: kind.unwrap_or_default(), message: scrubbed(&told.message), fault }
    }
}

/// What a provider's answer with an error status becomes. `retry_after` is its header.
#[must_use]
pub fn classify_error(
    provider: Provider,
    status: u16,
    body: &[u8],
    retry_after: Option<&str>,
) -> UpstreamFault {
    let told = Told::read(body);
    // xAI refuses unsafe content with 403, as no other provider does.
    let unsafe_content = provider == Provider::XAi
        && status == 403
        && told.message.to_lowercase().contains("usage guidelines");
    let fault = told.fault(Some(if unsafe_content { 400 } else { status }));
    match fault {
        UpstreamFault::Overloaded { retry_after: in_body } => {
            UpstreamFault::Overloaded { retry_after: retry_after.and_then(seconds).or(in_body) }
        }
        UpstreamFault::BadRequest { .. }
        | UpstreamFault::Ours
        | UpstreamFault::Failed
        | UpstreamFault::NotFound => fault,
    }
}

/// What an error says, whoever's shape it has.
#[derive(Debug, Default)]
struct Told {
    message: String,
    /// Its type, code, status and reason.
    words: Vec<String>,
    /// Its numeric code, as Google tells it.
    status: Option<u16>,
    retry_after: Option<u64>,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        // Google wraps the error of a stream into an array.
        let body = body.get(0).unwrap_or(&body);
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let mut told = Self::default();
        if let Some(message) = error.as_str() {
            // xAI: the error is a text, the code stands beside it.
            told.message = message.to_owned();
            told.add_word(body.get("code"));
            return told;
        }
        told.message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        for word in ["type", "code", "status"] {
            told.add_word(error.get(word));
        }
        let code = error.get("code").and_then(Value::as_u64);
        told.status = code.and_then(|code| u16::try_from(code).ok());
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            told.add_word(detail.get("reason"));
            let delay = detail.get("retryDelay").and_then(Value::as_str);
            told.retry_after = delay.and_then(seconds).or(told.retry_after);
        }
        told
    }

    fn add_word(&mut self, word: Option<&Value>) {
        self.words.extend(word.and_then(Value::as_str).map(str::to_owned));
    }

    /// `status`: of the answer; an event in a stream has none.
    fn fault(&self, status: Option<u16>) -> UpstreamFault {
        let is = |words: &[&str]| self.words.iter().any(|word| words.contains(&&**word));
        let status = status.or(self.status).unwrap_or(0);
        let message = self.message.to_lowercase();
        if matches!(status, 401..=403)
            || is(&OURS)
            || OURS_TEXT.iter().any(|text| message.contains(text))
        {
            return UpstreamFault::Ours;
        }
        if matches!(status, 429 | 503 | 529) || is(&BUSY) {
            return UpstreamFault::Overloaded { retry_after: self.retry_after };
        }
        if status == 404 || is(&["model_not_found", "not_found_error", "NOT_FOUND"]) {
            return UpstreamFault::NotFound;
        }
        let callers = matches!(status, 400 | 413 | 422)
            || (status == 0 && is(&["invalid_request_error", "INVALID_ARGUMENT"]));
        if callers {
            return UpstreamFault::BadRequest { message: scrubbed(&self.message) };
        }
        UpstreamFault::Failed
    }
}

/// Whole seconds of `3`, `0.5` or `48.9s`, rounded up. A date is no number of seconds.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix('s').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let more = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    whole.parse::<u64>().ok()?.checked_add(more)
}
