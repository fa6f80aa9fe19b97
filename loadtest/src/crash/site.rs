//! Where a crash run takes place: the settings of its gateway, its partners and accounts.

use std::net::SocketAddr;
use std::path::Path;

use http::Method;
use opencredits_schema::Credits;
use serde_json::{Value, json};

use super::CrashError;
use super::child::Settings;
use super::ground::Ground;
use super::prices::Prices;
use crate::receipts::{Earner, Moved, MovedKind, Payer};
use crate::simulators::Providers;
use crate::stripe::Stripe;

/// What webhooks are signed with.
pub(super) const WEBHOOK_SECRET: &str = "whsec_of_the_crash_run";
/// The operator's token.
pub(super) const ADMIN_TOKEN: &str = "the-operator-of-the-crash-run-and-nobody-else";

/// Partners' shares.
const RATES: [&str; 3] = ["0.10", "0.055", "0"];
/// Accounts of each partner; every third account is poor.
const ACCOUNTS_EACH: usize = 4;
const RICH: &str = "5000";
const POOR: &str = "3";

/// The settings of a gateway whose times are short, so that a run meets what usually takes a minute.
pub(super) fn settings(
    address: SocketAddr,
    store: &Path,
    providers: &Providers,
    stripe: &Stripe,
) -> Settings {
    let mut settings: Settings = [
        ("LISTEN", address.to_string()),
        ("ADMIN_LISTEN", address.to_string()),
        ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
        ("STORE", format!("sqlite:{}", store.display())),
        ("RATE_LIMIT_PER_KEY", "1000000/min".to_owned()),
        ("HOLD_LEASE", "8s".to_owned()),
        ("PASSIVATE_AFTER", "1s".to_owned()),
        ("DRAIN_TIME", "2s".to_owned()),
        ("SETTLE_WAIT", "2s".to_owned()),
        ("LOG", "error,opencredits::serving=info,opencredits::verbs=info".to_owned()),
        ("STRIPE_SECRET_KEY", "sk_test_simulated".to_owned()),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_simulated".to_owned()),
        ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
        ("STRIPE_API_BASE", stripe.origin()),
        ("STRIPE_JS_URL", stripe.js_url()),
        ("DEV", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for provider in ["OPENAI", "ANTHROPIC", "GOOGLE", "XAI"] {
        settings.insert(format!("{provider}_API_KEY"), "simulated".to_owned());
        settings.insert(format!("{provider}_BASE_URL"), providers.origin());
    }
    settings
}

/// Makes partners and accounts at a running gateway; the publishable key of each account's partner,
/// and what requests cost there.
///
/// # Errors
/// When the operator is not answered, or refused.
pub(super) async fn settle_in(ground: &Ground) -> Result<(Vec<String>, Prices), CrashError> {
    let (mut publishable_keys, mut prices) = (Vec::new(), Prices::default());
    for (earner, rate) in RATES.iter().enumerate() {
        let body = json!({"name": format!("crash {earner}"), "referral_rate": rate});
        let partner = operate(ground, "/admin/v1/partners", &body).await?;
        let id = text(&partner, "id");
        let secret_key = text(&partner, "secret_key");
        ground.receipts().earners.push(Earner { id: id.clone(), secret_key });
        for number in 0..ACCOUNTS_EACH {
            let payer = ground.receipts().payers.len();
            let credits = if number % 3 == 2 { POOR } else { RICH };
            let body = json!({"partner": id, "credits": credits});
            let made = operate(ground, "/admin/v1/accounts", &body).await?;
            let (account, key) = (text(&made, "id"), text(&made, "user_key"));
            ground.receipts().payers.push(Payer { account, key, earner });
            let credits = Credits::parse(credits).unwrap_or_default();
            ground.moved(Moved { payer, kind: MovedKind::Grant, credits });
            let publishable_key = text(&partner, "publishable_key");
            prices.ask(ground, &publishable_key).await;
            publishable_keys.push(publishable_key);
        }
    }
    Ok((publishable_keys, prices))
}

async fn operate(ground: &Ground, path: &'static str, body: &Value) -> Result<Value, CrashError> {
    let bearer = format!("Bearer {}", ground.access.admin_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let url = format!("{}{path}", ground.access.admin);
    let answer = ground.client.send(Method::POST, &url, &headers, body.to_string()).await?;
    if answer.status.is_success() {
        return Ok(answer.json());
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Err(CrashError::Refused { path, status: answer.status.as_u16(), body })
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
