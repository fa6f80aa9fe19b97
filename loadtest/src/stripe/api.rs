//! The API below `/v1/`: forms in, objects or Stripe's errors out.

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::endpoints::Endpoint;
use super::objects::list;
use super::params::Bad;
use super::state::{Kept, PayError, State, set, text as text_of};
use super::webhooks::Webhooks;
use super::{Seen, Shared, form};

/// Requests that are remembered.
const SEEN_MAX: usize = 10_000;

/// An answer of the API.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    pub(super) replayed: bool,
}

/// One call. Calls are answered one after the other, so none meets another under the same
/// idempotency key that is not through yet: Stripe's 409 for that is only to be had by an outage.
pub(super) fn call(
    shared: &Shared,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    let key = text(headers, "idempotency-key").map(str::to_owned);
    let seen = Seen {
        route: format!("{method} {path}"),
        idempotency_key: key.clone(),
        body: String::from_utf8_lossy(body).into_owned(),
        status: 0,
        answer: Value::Null,
    };
    let fingerprint = format!("{}?{}", seen.route, seen.body);
    if !authorized(headers) {
        let bad = Bad::new(401, "Invalid API Key provided");
        return refusal(&bad);
    }
    shared.change(|state| {
        let answered = once(state, key, fingerprint, |state| {
            if let Some(status) = state.failure(path) {
                return Err(Bad::new(status, "The simulator was told to fail"));
            }
            answer(state, &shared.webhooks, method, path, &form::parse(body))
        });
        if state.seen.len() < SEEN_MAX {
            let (status, answer) = (answered.status.as_u16(), answered.body.clone());
            state.seen.push(Seen { status, answer, ..seen });
        }
        if let Some(left) = state.lost.checked_sub(1) {
            state.lost = left;
            return refusal(&Bad::new(502, "The simulator was told to lose the answer"));
        }
        answered
    })
}

/// The answer that was given under the key before, or a new one.
fn once(
    state: &mut State,
    key: Option<String>,
    fingerprint: String,
    answer: impl FnOnce(&mut State) -> Result<Value, Bad>,
) -> Answer {
    if let Some(kept) = key.as_ref().and_then(|key| state.kept.get(key)) {
        return replay(kept, &fingerprint);
    }
    let answer = match answer(state) {
        Ok(body) => Answer { status: StatusCode::OK, body, replayed: false },
        // The bank's no is kept under its key; what is refused by its form is not.
        Err(bad) if bad.card.is_some() => refusal(&bad),
        Err(bad) => return refusal(&bad),
    };
    if let Some(key) = key {
        let (status, body) = (answer.status.as_u16(), answer.body.clone());
        state.kept.insert(key, Kept { fingerprint, status, body });
    }
    answer
}

fn replay(kept: &Kept, fingerprint: &str) -> Answer {
    if kept.fingerprint != fingerprint {
        let message = "Keys for idempotent requests can only be used with the same parameters \
                       they were first used with.";
        let bad = Bad { kind: "idempotency_error", ..Bad::new(400, message) };
        return refusal(&bad);
    }
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    Answer { status, body: kept.body.clone(), replayed: true }
}

fn answer(
    state: &mut State,
    webhooks: &Webhooks,
    method: &Method,
    path: &str,
    params: &Map<String, Value>,
) -> Result<Value, Bad> {
    let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    let found = |state: &State, kind: &str, id: &str| {
        state.find(kind, id).cloned().ok_or_else(|| Bad::missing(id))
    };
    match (method, parts.as_slice()) {
        (&Method::POST, ["checkout", "sessions"]) => state.create(params),
        (&Method::GET, ["checkout", "sessions"]) => {
            let payment = form::text(params, "payment_intent").unwrap_or_default();
            let of_it = |session: &&Value| text_of(session, "payment_intent") == payment;
            let found: Vec<Value> = state.sessions.values().filter(of_it).cloned().collect();
            Ok(list(path, found))
        }
        (&Method::GET, ["checkout", "sessions", id]) => found(state, "sessions", id),
        (&Method::GET, ["checkout", "sessions", id, "line_items"]) => {
            Ok(list(path, vec![found(state, "line_items", id)?]))
        }
        (&Method::POST, ["checkout", "sessions", id, "expire"]) => {
            state.expire(id).map_err(|error| refused(&error))
        }
        (&Method::POST, ["refunds"]) => {
            let payment = form::text(params, "payment_intent").unwrap_or_default();
            let cents = form::text(params, "amount").and_then(|text| text.parse().ok());
            state.refund(payment, cents).map_err(|error| refused(&error))
        }
        (&Method::POST, ["payment_intents"]) => state.charge_saved(params),
        (&Method::GET, ["payment_intents"]) => Ok(state.payments_of(params)),
        (&Method::GET, ["payment_methods"]) => {
            Ok(state.methods_of(form::text(params, "customer").unwrap_or_default()))
        }
        (&Method::GET, ["customers" | "payment_methods", id]) => {
            state.find_saved(id).cloned().ok_or_else(|| Bad::missing(id))
        }
        (&Method::POST, ["payment_methods", id, "detach"]) => state.detach(id),
        (&Method::GET, [kind @ ("payment_intents" | "charges" | "disputes" | "refunds"), id]) => {
            found(state, kind, id)
        }
        (&Method::GET, ["events", id]) => found(state, "events", id),
        (&Method::GET, ["events"]) => {
            let newest: Vec<Value> = state.events.iter().rev().take(100).cloned().collect();
            Ok(list(path, newest))
        }
        (_, ["webhook_endpoints", rest @ ..]) => endpoint(state, webhooks, method, rest, params),
        _ => Err(Bad::new(404, "Unrecognized request URL")),
    }
}

/// Everything below `/v1/webhook_endpoints`.
fn endpoint(
    state: &mut State,
    webhooks: &Webhooks,
    method: &Method,
    rest: &[&str],
    params: &Map<String, Value>,
) -> Result<Value, Bad> {
    let all = webhooks.endpoints();
    match (method, rest) {
        (&Method::POST, []) => {
            let made = Endpoint::asked(state.id("we"), params, all.len(), state.now())?;
            let told = made.object_with_secret();
            webhooks.add(made);
            Ok(told)
        }
        (&Method::GET, []) => {
            let told = all.iter().map(Endpoint::object).collect();
            Ok(list("/v1/webhook_endpoints", told))
        }
        (&Method::GET, [id]) => {
            let found = all.iter().find(|endpoint| endpoint.id == *id);
            found.map(Endpoint::object).ok_or_else(|| Bad::missing(id))
        }
        (&Method::DELETE, [id]) if webhooks.remove(id) => {
            Ok(json!({"id": id, "object": "webhook_endpoint", "deleted": true}))
        }
        (&Method::DELETE, [id]) => Err(Bad::missing(id)),
        _ => Err(Bad::new(404, "Unrecognized request URL")),
    }
}

fn refused(error: &PayError) -> Bad {
    match error {
        PayError::Missing(id) => Bad::missing(id),
        PayError::NotOpen(_) | PayError::Declined(..) => Bad::new(400, &error.to_string()),
    }
}

fn refusal(bad: &Bad) -> Answer {
    let status = StatusCode::from_u16(bad.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut error = json!({"type": bad.kind, "code": bad.code, "message": bad.message,
        "param": bad.param});
    if let Some(card) = &bad.card {
        set(&mut error, "decline_code", json!(card.decline_code));
        set(&mut error, "payment_intent", card.payment_intent.clone());
    }
    let body = json!({"error": error});
    Answer { status, body, replayed: false }
}

/// Any test key, as Stripe's clients send it.
fn authorized(headers: &HeaderMap) -> bool {
    let value = text(headers, "authorization").unwrap_or_default();
    let bearer = value.strip_prefix("Bearer ");
    bearer.is_some_and(|key| key.starts_with("sk_test_") || key.starts_with("rk_test_"))
        || value.starts_with("Basic ")
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
