//! The buyer's side: Stripe's page, the same within a frame, and the script that makes the frame.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::cards::Card;
use super::state::{Paid, PayError, State, text};
use super::{Shared, WebhookMode, form};
use crate::serve::{Answer, plain};

const PAGE: &str = include_str!("pay.html");
const STRIPE_JS: &str = include_str!("stripe.js");
const PAY_JS: &str = include_str!("pay.js");

/// Everything that is not below `/v1/`.
pub(super) fn answer(shared: &Shared, method: &Method, path: &str, body: &[u8]) -> Answer {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        (&Method::GET, [_, "stripe.js"]) => with_type("text/javascript", STRIPE_JS),
        (&Method::GET, ["pay.js"]) => with_type("text/javascript", PAY_JS),
        (&Method::GET, ["c", "pay", session]) => page(shared, session, false),
        (&Method::GET, ["embed", secret]) => {
            page(shared, secret.split("_secret_").next().unwrap_or_default(), true)
        }
        (&Method::POST, ["pay", session]) => {
            let params = form::parse(body);
            let field = |name: &str| form::text(&params, name).unwrap_or_default().to_owned();
            let (action, number) = (field("action"), field("number"));
            let done = shared.change(|state| pay(state, session, &action, &number));
            with_type("application/json", done.to_string())
        }
        (&Method::POST, ["_sim", what]) => control(shared, what, body),
        _ => plain(StatusCode::NOT_FOUND, "there is no such page"),
    }
}

fn page(shared: &Shared, session: &str, embedded: bool) -> Answer {
    let state = shared.state();
    let Some(found) = state.find("sessions", session) else {
        return plain(StatusCode::NOT_FOUND, "there is no such session");
    };
    let cents = found.get("amount_total").and_then(Value::as_i64).unwrap_or_default();
    let currency = text(found, "currency").to_uppercase();
    let page = PAGE
        .replace("{{session}}", session)
        .replace("{{embedded}}", if embedded { "true" } else { "false" })
        .replace("{{status}}", text(found, "status"))
        .replace("{{email}}", &escaped(text(found, "customer_email")))
        .replace("{{success}}", &escaped(text(found, "success_url")))
        .replace("{{cancel}}", &escaped(text(found, "cancel_url")))
        .replace("{{amount}}", &format!("{currency} {}.{:02}", cents / 100, cents % 100));
    with_type("text/html; charset=utf-8", page)
}

/// What the buyer does on the page.
fn pay(state: &mut State, session: &str, action: &str, number: &str) -> Value {
    let card = Card::by_number(number);
    let done = match (action, card) {
        ("bank", _) => state.pay_by_bank(session),
        ("refuse", _) => state.refuse(session),
        (_, None) => {
            return json!({"result": "declined", "message": "Your card number is invalid."});
        }
        ("confirm", Some(card)) => state.pay(session, card, true),
        (_, Some(card)) => state.pay(session, card, false),
    };
    match done {
        Ok(Paid::Done | Paid::Later) => json!({"result": "succeeded"}),
        Ok(Paid::Asks) => json!({"result": "asks"}),
        Err(PayError::Declined(_, message)) => json!({"result": "declined", "message": message}),
        Err(error) => json!({"result": "closed", "message": error.to_string()}),
    }
}

/// Controls over HTTP, for browsers and scripts.
fn control(shared: &Shared, what: &str, body: &[u8]) -> Answer {
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    let session = text(&fields, "session");
    let cents = fields.get("amount").and_then(Value::as_i64);
    let done = match what {
        "webhooks" => {
            let mode = match text(&fields, "mode") {
                "hold" => WebhookMode::Hold,
                "drop" => WebhookMode::Drop,
                "duplicate" => WebhookMode::Repeat(10),
                "bad_signature" => WebhookMode::BadSignature,
                "stale_timestamp" => WebhookMode::Stale,
                _ => WebhookMode::Normal,
            };
            shared.webhooks.set_mode(mode);
            Ok(())
        }
        "release" => {
            let reversed = fields.get("reversed").and_then(Value::as_bool).unwrap_or(false);
            shared.webhooks.release(reversed);
            Ok(())
        }
        "expire" => shared.change(|state| state.expire(session).map(|_| ())),
        "bank" => {
            let good = fields.get("succeeded").and_then(Value::as_bool).unwrap_or(true);
            shared.change(|state| state.complete_bank(session, good).map(|_| ()))
        }
        "refund" => shared.change(|state| {
            let payment = state.payment_of(session)?;
            state.refund(&payment, cents).map(|_| ())
        }),
        "dispute" => shared.change(|state| {
            let payment = state.payment_of(session)?;
            state.dispute(&payment).map(|_| ())
        }),
        _ => Err(PayError::Missing(what.to_owned())),
    };
    match done {
        Ok(()) => with_type("application/json", json!({"done": true}).to_string()),
        Err(error) => {
            let mut refused =
                with_type("application/json", json!({"error": error.to_string()}).to_string());
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            refused
        }
    }
}

fn with_type(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}
