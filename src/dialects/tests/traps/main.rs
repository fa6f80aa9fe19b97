//! The traps of translation that peers fell into, each under its number in `providers.md` 6.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod requests;
mod streams;

use std::sync::Arc;

use opencredits_dialects::{decode_request, encode_request};
use opencredits_schema::{Model, PriceBook};
use opencredits_wire::{Dialect, upstream_dialect};
use serde_json::Value;

fn model(id: &str) -> Arc<Model> {
    Arc::clone(PriceBook::built_in().unwrap().model(id).unwrap())
}

/// What a model's provider is sent for a client's request.
fn sent(from: Dialect, id: &str, request: &Value) -> Value {
    let model = model(id);
    let prompt = decode_request(from, request.to_string().as_bytes()).unwrap();
    let body = encode_request(upstream_dialect(from, &model), &prompt, &model).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// Why it is refused.
fn refused(from: Dialect, id: &str, request: &Value) -> String {
    let model = model(id);
    let prompt = decode_request(from, request.to_string().as_bytes());
    let body = prompt.and_then(|p| encode_request(upstream_dialect(from, &model), &p, &model));
    body.unwrap_err().message
}
