//! Random names and keys: the one place that asks the system for randomness.

use opencredits_schema::RequestId;
use uuid::Uuid;

/// The id of a new request, which begins with the time.
#[must_use]
pub fn request_id() -> RequestId {
    RequestId::new(Uuid::now_v7().as_u128())
}

/// Random bytes for keys and ids.
///
/// # Errors
/// The system has no randomness to give; nothing secret may be made then.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
