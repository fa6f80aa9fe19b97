//! The documented kinds of error, and the status and type of each.

use http::StatusCode;

/// What went wrong, as the documented `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 400: the request cannot be understood or is not served.
    InvalidRequest,
    /// 401: no key came with the request.
    MissingApiKey,
    /// 401: the key is unknown, expired or revoked.
    InvalidUserKey,
    /// 402: the account or a limit of the key does not cover the request.
    InsufficientCredits,
    /// 403: the partner may not use the model.
    ModelNotAllowed,
    /// 403: the partner's key came from an origin that is not on its list.
    OriginNotAllowed,
    /// 404: there is no such model.
    ModelNotFound,
    /// 404: no partner has the publishable key.
    InvalidPublishableKey,
    /// 400: not the login code that was sent.
    WrongCode,
    /// 400: the login code is too old or was tried too often.
    CodeExpired,
    /// 502: the login code could not be sent.
    MailFailed,
    /// 502: Stripe does not take the order now.
    PaymentUnavailable,
    /// 503: this gateway sells nothing.
    CheckoutOff,
    /// 404: there is nothing at this path.
    NotFound,
    /// 405: the path knows other methods only.
    MethodNotAllowed,
    /// 409: the key of an earlier request came with other fields.
    Conflict,
    /// 413: the body is above the limit.
    RequestTooLarge,
    /// 429: too many requests.
    RateLimited,
    /// 500: a defect of the gateway.
    Internal,
    /// 502: the provider failed, or cannot be asked.
    UpstreamError,
    /// 503: too busy, or the store is slow.
    Overloaded,
    /// 503: the answer was charged, but the charge is not durable yet.
    SettlementUnfinished,
}

impl ErrorCode {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::WrongCode | Self::CodeExpired => StatusCode::BAD_REQUEST,
            Self::MissingApiKey | Self::InvalidUserKey => StatusCode::UNAUTHORIZED,
            Self::InsufficientCredits => StatusCode::PAYMENT_REQUIRED,
            Self::ModelNotAllowed | Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::ModelNotFound | Self::NotFound | Self::InvalidPublishableKey => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamError | Self::MailFailed | Self::PaymentUnavailable => {
                StatusCode::BAD_GATEWAY
            }
            Self::Overloaded | Self::SettlementUnfinished | Self::CheckoutOff => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The `type` in the body.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::MissingApiKey => "missing_api_key",
            Self::InvalidUserKey => "invalid_user_key",
            Self::InsufficientCredits => "insufficient_credits",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::ModelNotFound => "model_not_found",
            Self::InvalidPublishableKey => "invalid_publishable_key",
            Self::WrongCode => "wrong_code",
            Self::CodeExpired => "code_expired",
            Self::MailFailed => "mail_failed",
            Self::PaymentUnavailable => "payment_unavailable",
            Self::CheckoutOff => "checkout_off",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal_error",
            Self::UpstreamError => "upstream_error",
            Self::Overloaded | Self::SettlementUnfinished => "overloaded",
        }
    }

    /// Whether the SDKs must be kept from trying again by themselves.
    pub(super) const fn forbids_retry(self) -> bool {
        match self {
            Self::InvalidRequest
            | Self::MissingApiKey
            | Self::InvalidUserKey
            | Self::InsufficientCredits
            | Self::ModelNotAllowed
            | Self::OriginNotAllowed
            | Self::ModelNotFound
            | Self::NotFound
            | Self::InvalidPublishableKey
            | Self::WrongCode
            | Self::CodeExpired
            | Self::CheckoutOff
            | Self::Conflict
            | Self::SettlementUnfinished => true,
            Self::MethodNotAllowed
            | Self::RequestTooLarge
            | Self::RateLimited
            | Self::Internal
            | Self::UpstreamError
            | Self::MailFailed
            | Self::PaymentUnavailable
            | Self::Overloaded => false,
        }
    }
}
