//! Reads a provider's body whole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::CHUNK_TIMEOUT;

/// Largest answer that is not streamed.
pub const ANSWER_MAX: usize = 64 << 20;
/// Largest error body that is read of a provider.
pub const ERROR_MAX: usize = 1 << 20;

/// Why a provider's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection broke.
    #[error("the provider's answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// Nothing came for [`CHUNK_TIMEOUT`].
    #[error("the provider was silent for too long")]
    Silent,
    /// It is larger than is read.
    #[error("the provider's answer is above {0} bytes")]
    TooLarge(usize),
}

/// Reads a provider's body, in bounded memory and with a bound on each silence. `seen` is told the
/// size of each piece.
///
/// # Errors
/// [`ReadError`].
pub async fn collect(
    mut body: Incoming,
    max: usize,
    mut seen: impl FnMut(usize),
) -> Result<Bytes, ReadError> {
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(ERROR_MAX);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let silence: Duration = CHUNK_TIMEOUT;
    loop {
        let frame =
            tokio::time::timeout(silence, body.frame()).await.map_err(|_| ReadError::Silent)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame?.into_data() else { continue };
        seen(data.len());
        if whole.len().saturating_add(data.len()) > max {
            return Err(ReadError::TooLarge(max));
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(piece) => {
                whole.reserve(hint.max(piece.len().saturating_add(data.len())));
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}
