//! The buyer's side: Stripe's page, the same within a frame, and the script that makes the frame.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::cards::Card;
use super::state::{Paid, PayError, State, text};
use super::{Shared, control, form};
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
        (method, ["_sim", what]) => control::answer(shared, method, what, body),
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

pub(super) fn with_type(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}
