//! `/_sim/…`: what tests and scripts do to the simulator while it runs. JSON in, JSON out.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::pages::with_type;
use super::state::{Outage, PayError, State, text};
use super::{Shared, WebhookMode};
use crate::serve::{Answer, plain};

/// How often `duplicate` sends each event.
const DUPLICATES: usize = 10;

/// One control.
pub(super) fn answer(shared: &Shared, method: &Method, what: &str, body: &[u8]) -> Answer {
    if method == Method::GET && what == "log" {
        return json_of(StatusCode::OK, &log(shared));
    }
    if method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET /_sim/log, POST for the others");
    }
    let done = match serde_json::from_slice(if body.is_empty() { b"{}" } else { body }) {
        Ok(fields) => control(shared, what, &fields),
        Err(_) => Err("the body is no JSON".to_owned()),
    };
    match done {
        Ok(()) => json_of(StatusCode::OK, &json!({"done": true})),
        Err(error) => json_of(StatusCode::BAD_REQUEST, &json!({"error": error})),
    }
}

fn control(shared: &Shared, what: &str, fields: &Value) -> Result<(), String> {
    let number = |name: &str| fields.get(name).and_then(Value::as_i64);
    let session = text(fields, "session");
    let done = match what {
        "webhooks" => {
            shared.webhooks.set_mode(mode(fields)?);
            Ok(())
        }
        "release" => {
            let reversed = fields.get("reversed").and_then(Value::as_bool).unwrap_or(false);
            shared.webhooks.release(reversed);
            Ok(())
        }
        "fail" => {
            let status = number("status").and_then(|status| u16::try_from(status).ok());
            let outage = Outage {
                path: text(fields, "path").to_owned(),
                status: status.filter(|s| (400..600).contains(s)).ok_or("`status` is no error")?,
                times: u32::try_from(number("times").unwrap_or(1)).map_err(|e| e.to_string())?,
            };
            shared.state().fail(outage);
            Ok(())
        }
        "clock" => {
            let now = number("now").ok_or("`now` is no unix time")?;
            shared.change(|state| state.set_clock(now));
            Ok(())
        }
        "expire" => shared.change(|state| state.expire(session).map(|_| ())),
        "bank" => {
            let good = fields.get("succeeded").and_then(Value::as_bool).unwrap_or(true);
            shared.change(|state| state.complete_bank(session, good).map(|_| ()))
        }
        "refund" => shared.change(|state| {
            let payment = payment(state, fields)?;
            state.refund(&payment, number("amount")).map(|_| ())
        }),
        "dispute" => shared.change(|state| {
            let payment = payment(state, fields)?;
            state.dispute(&payment).map(|_| ())
        }),
        "close_dispute" => {
            let won = fields.get("won").and_then(Value::as_bool).unwrap_or(false);
            shared.change(|state| state.close_dispute(text(fields, "dispute"), won))
        }
        _ => return Err(format!("there is no control {what}")),
    };
    done.map_err(|error: PayError| error.to_string())
}

/// The payment that is named, by itself or by its session.
fn payment(state: &State, fields: &Value) -> Result<String, PayError> {
    match text(fields, "payment_intent") {
        "" => state.payment_of(text(fields, "session")),
        named => Ok(named.to_owned()),
    }
}

fn mode(fields: &Value) -> Result<WebhookMode, String> {
    Ok(match (text(fields, "mode"), fields.get("slow_ms").and_then(Value::as_u64)) {
        ("slow_ms" | "", Some(wait)) => WebhookMode::Slow(Duration::from_millis(wait)),
        ("normal", None) => WebhookMode::Normal,
        ("hold", None) => WebhookMode::Hold,
        ("drop", None) => WebhookMode::Drop,
        ("duplicate", None) => WebhookMode::Repeat(DUPLICATES),
        ("reorder", None) => WebhookMode::Reorder,
        ("bad_signature", None) => WebhookMode::BadSignature,
        ("stale_timestamp", None) => WebhookMode::Stale,
        (other, _) => return Err(format!("there is no mode {other}")),
    })
}

/// What came and what was sent, oldest first.
fn log(shared: &Shared) -> Value {
    let seen = shared.state().seen.clone();
    let requests: Vec<Value> = seen
        .iter()
        .map(|seen| {
            json!({"route": seen.route, "idempotency_key": seen.idempotency_key,
                "body": seen.body, "status": seen.status})
        })
        .collect();
    json!({"requests": requests, "webhooks": shared.webhooks.log()})
}

fn json_of(status: StatusCode, body: &Value) -> Answer {
    let mut answer = with_type("application/json", body.to_string());
    *answer.status_mut() = status;
    answer
}
