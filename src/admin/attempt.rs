//! One attempt to create something: under an idempotency key every attempt makes the same things.
//!
//! The ids follow from the route and the key, and each step is idempotent, so an attempt after a
//! crash goes on where the first one ended.

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_actors::Once;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::answer::json;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::keys::hex;
use crate::random;
use crate::request::Incoming;

/// Longest idempotency key, in bytes.
const KEY_MAX: usize = 255;

/// An attempt; its ids are the same in every attempt with its key.
#[derive(Debug)]
pub(super) struct Attempt {
    seed: [u8; 32],
    key: Option<String>,
    /// Whether the same was asked before.
    pub(super) repeat: bool,
}

impl Attempt {
    /// Begins an attempt at what a request asks for. To be called when its fields are known to be
    /// good, and before anything is done.
    ///
    /// # Errors
    /// 409 when the key was used for something else; 400 for a key that is too long.
    pub(super) async fn begin(
        gateway: &Gateway,
        request: &Incoming,
        kind: &str,
    ) -> Result<Self, ApiError> {
        let Some(key) = idempotency_key(request)? else {
            let seed = random::bytes().map_err(ApiError::internal)?;
            return Ok(Self { seed, key: None, repeat: false });
        };
        let route = format!("{} {}\n", request.method, request.path);
        let seed = Sha256::new().chain_update(&route).chain_update(&key).finalize().into();
        let mut attempt = Self { seed, key: Some(key.clone()), repeat: false };
        // Read and written again, so that neither spaces nor the order of fields make a difference.
        let mut fields: serde_json::Value = request.json()?;
        fields.sort_all_objects();
        let fingerprint = Sha256::new().chain_update(&route).chain_update(fields.to_string());
        let ids = format!("{{\"{kind}\":\"{:016x}\"}}", attempt.number(kind));
        let store = gateway.system.store();
        let once = store.once(format!("admin:{key}"), fingerprint.finalize().into(), ids).await?;
        match once {
            Once::First => Ok(attempt),
            Once::Repeat(_) => {
                attempt.repeat = true;
                Ok(attempt)
            }
            Once::Other => Err(ApiError::new(
                ErrorCode::Conflict,
                "This Idempotency-Key was used for another request.",
            )),
        }
    }

    /// The number of an id.
    pub(super) fn number(&self, of: &str) -> u64 {
        let digest = Sha256::new().chain_update(self.seed).chain_update(of).finalize();
        digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// A unique name: by the idempotency key where there is one.
    pub(super) fn name(&self, of: &str) -> String {
        match &self.key {
            Some(key) => format!("{of}:{key}"),
            None => format!("{of}:{}", hex(&self.seed)),
        }
    }

    /// The answer, marked as a repeat if it is one.
    ///
    /// # Errors
    /// Our own defects.
    pub(super) fn answer(
        &self,
        status: StatusCode,
        body: impl Serialize,
    ) -> Result<Response<Bytes>, ApiError> {
        json(status, &Answer { body, repeat: self.repeat })
    }
}

fn idempotency_key(request: &Incoming) -> Result<Option<String>, ApiError> {
    let Some(key) = request.headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_MAX);
    let key = key.ok_or_else(|| {
        ApiError::invalid_request("The Idempotency-Key is not 1 to 255 visible characters.")
    })?;
    Ok(Some(key.to_owned()))
}

#[derive(Serialize)]
struct Answer<T> {
    #[serde(flatten)]
    body: T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeat: bool,
}
