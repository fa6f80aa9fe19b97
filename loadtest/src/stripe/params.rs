//! Which parameters a new session may have, and what is wrong with them.

use serde_json::{Map, Value};

use super::form;

/// A refusal as Stripe says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) message: String,
    pub(super) param: Option<String>,
    pub(super) card: Option<Box<CardError>>,
}

/// What a card's refusal tells beyond its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CardError {
    pub(super) decline_code: Option<&'static str>,
    pub(super) payment_intent: Value,
}

impl Bad {
    pub(super) fn param(param: &str, message: &str) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: Some("parameter_invalid"),
            message: message.to_owned(),
            param: Some(param.to_owned()),
            card: None,
        }
    }

    pub(super) fn new(status: u16, message: &str) -> Self {
        let kind = if status < 500 { "invalid_request_error" } else { "api_error" };
        Self { status, kind, code: None, message: message.to_owned(), param: None, card: None }
    }

    pub(super) fn missing(what: &str) -> Self {
        let message = format!("No such object: '{what}'");
        Self { code: Some("resource_missing"), ..Self::new(404, &message) }
    }
}

/// Parameters that a session may have; those that end in `[` may go on.
const KNOWN: &[&str] = &[
    "adaptive_pricing[enabled]",
    "automatic_tax[enabled]",
    "cancel_url",
    "client_reference_id",
    "customer",
    "customer_creation",
    "customer_email",
    "expires_at",
    "invoice_creation[enabled]",
    "line_items[0][price_data][currency]",
    "line_items[0][price_data][product_data][description]",
    "line_items[0][price_data][product_data][name]",
    "line_items[0][price_data][tax_behavior]",
    "line_items[0][price_data][unit_amount]",
    "line_items[0][quantity]",
    "locale",
    "metadata[",
    "mode",
    "payment_intent_data[description]",
    "payment_intent_data[metadata][",
    "payment_intent_data[receipt_email]",
    "payment_intent_data[setup_future_usage]",
    "redirect_on_completion",
    "return_url",
    "saved_payment_method_options[payment_method_save]",
    "success_url",
    "ui_mode",
];

/// Refuses parameters that are not known.
pub(super) fn only(params: &Map<String, Value>, known_names: &[&str]) -> Result<(), Bad> {
    for name in form::leaves(params) {
        let known = |pattern: &&str| match pattern.strip_suffix('[') {
            Some(_) => name.starts_with(*pattern),
            None => name == **pattern,
        };
        if !known_names.iter().any(known) {
            let message = format!("Received unknown parameter: {name}");
            return Err(Bad { code: Some("parameter_unknown"), ..Bad::param(&name, &message) });
        }
    }
    Ok(())
}

/// What is wrong with the parameters of a new session, at `now` in unix seconds.
pub(super) fn check(params: &Map<String, Value>, now: i64) -> Result<(), Bad> {
    only(params, KNOWN)?;
    let text = |path: &str| form::text(params, path);
    match text("mode") {
        Some("payment") => {}
        _ => return Err(Bad::param("mode", "Only payment sessions are simulated")),
    }
    page(params)?;
    let currency = text("line_items/0/price_data/currency");
    if !matches!(currency, Some("usd" | "eur")) {
        return Err(Bad::param("line_items[0][price_data][currency]", "Invalid currency"));
    }
    let amount = text("line_items/0/price_data/unit_amount").and_then(|text| text.parse().ok());
    if amount.is_none_or(|amount: i64| amount < 50) {
        let message = "The Checkout Session's total amount must be at least $0.50";
        return Err(Bad { code: Some("amount_too_small"), ..Bad::new(400, message) });
    }
    if text("line_items/0/price_data/product_data/name").is_none_or(str::is_empty) {
        let param = "line_items[0][price_data][product_data][name]";
        return Err(Bad::param(param, "Missing required param: name"));
    }
    if text("customer").is_some() && text("customer_creation").is_some() {
        let message = "You may only specify one of these parameters: customer, customer_creation.";
        return Err(Bad::param("customer_creation", message));
    }
    if let Some(ends) = text("expires_at") {
        let ends: i64 = ends.parse().unwrap_or(0);
        // A little less than Stripe's half hour, for the time that the request was on its way.
        if ends < now + 29 * 60 || ends > now + 24 * 3600 {
            let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours \
                           from Checkout Session creation.";
            return Err(Bad::param("expires_at", message));
        }
    }
    Ok(())
}

/// The rules of the two pages.
fn page(params: &Map<String, Value>) -> Result<(), Bad> {
    let text = |name: &str| form::text(params, name);
    match text("ui_mode").unwrap_or("hosted_page") {
        "hosted_page" if text("success_url").is_none() => {
            Err(Bad::param("success_url", "Missing required param: success_url."))
        }
        "hosted_page" => Ok(()),
        "embedded_page" => {
            if let Some(name) =
                ["success_url", "cancel_url"].into_iter().find(|n| text(n).is_some())
            {
                let message = format!("You cannot pass `{name}` with ui_mode `embedded_page`.");
                return Err(Bad::param(name, &message));
            }
            let redirects = text("redirect_on_completion") != Some("never");
            match (redirects, text("return_url")) {
                (true, None) => {
                    Err(Bad::param("return_url", "Missing required param: return_url."))
                }
                (false, Some(_)) => {
                    Err(Bad::param("return_url", "You cannot pass return_url without redirects."))
                }
                (true, Some(_)) | (false, None) => Ok(()),
            }
        }
        other => {
            let message = format!(
                "Invalid ui_mode: must be one of hosted_page, embedded_page, elements, or form, \
                 not {other}"
            );
            Err(Bad::param("ui_mode", &message))
        }
    }
}
