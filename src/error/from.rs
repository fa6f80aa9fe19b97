//! What the layers below say, as the client is told it. No `_` arms: a new error must be thought
//! about.

use opencredits_actors::{AskError, StoreError};
use opencredits_wire::BadRequest;

use super::{ApiError, ErrorCode};

impl From<BadRequest> for ApiError {
    fn from(bad: BadRequest) -> Self {
        let error = Self::invalid_request(bad.message);
        match bad.param {
            Some(param) => error.with_param(param),
            None => error,
        }
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(refusal) => Self::invalid_request(refusal.to_string()),
            AskError::NoAccount => Self::invalid_user_key(),
            AskError::Lost | AskError::Moving | AskError::Unavailable(_) => {
                busy().with_source(error)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) | StoreError::Unavailable(_) => busy().with_source(error),
            StoreError::Corrupt(_) => Self::internal(error),
        }
    }
}

fn busy() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "The store does not answer. Try again shortly.")
}
