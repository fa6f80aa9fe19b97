//! Stripe's objects, with the fields of API version 2026-09-30.endive that its clients want.

use serde_json::{Map, Value, json};

use super::cards::Decline;
use super::form;

/// The version of the API that objects and events are of.
pub(super) const API_VERSION: &str = "2026-09-30.endive";

/// A new session.
pub(super) fn session(id: &str, origin: &str, params: &Map<String, Value>, now: i64) -> Value {
    let text = |path: &str| form::text(params, path);
    let number = |path: &str| text(path).and_then(|text| text.parse::<i64>().ok());
    let cents = number("line_items/0/price_data/unit_amount").unwrap_or(0);
    let quantity = number("line_items/0/quantity").unwrap_or(1);
    let total = cents.saturating_mul(quantity);
    let ui_mode = text("ui_mode").unwrap_or("hosted_page");
    let hosted = ui_mode == "hosted_page";
    let metadata = params.get("metadata").cloned().unwrap_or_else(|| json!({}));
    json!({
        "id": id, "object": "checkout.session",
        "adaptive_pricing": {"enabled": text("adaptive_pricing/enabled") == Some("true")},
        "after_expiration": null, "allow_promotion_codes": null,
        "amount_subtotal": total, "amount_total": total,
        "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
        "billing_address_collection": null, "cancel_url": text("cancel_url"),
        "client_reference_id": text("client_reference_id"),
        "client_secret": if hosted { Value::Null } else { json!(format!("{id}_secret_sim")) },
        "collected_information": null, "consent": null, "consent_collection": null,
        "created": now, "currency": text("line_items/0/price_data/currency"),
        "currency_conversion": null, "custom_fields": [],
        "custom_text": {"after_submit": null, "shipping_address": null, "submit": null,
            "terms_of_service_acceptance": null},
        "customer": text("customer"), "customer_account": null,
        "customer_creation": "if_required", "customer_details": null, "customer_email": text("customer_email"), "discounts": [],
        "expires_at": number("expires_at").unwrap_or(now + 24 * 3600),
        "integration_identifier": null, "invoice": null, "invoice_creation": {"enabled": false, "invoice_data": {
            "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null,
            "issuer": null, "metadata": {}, "rendering_options": null}},
        "livemode": false, "locale": text("locale"), "managed_payments": {"enabled": false},
        "metadata": metadata, "mode": "payment",
        "origin_context": null, "payment_intent": null, "payment_link": null,
        "payment_method_collection": "if_required", "payment_method_configuration_details": null,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card", "us_bank_account"], "payment_status": "unpaid",
        "permissions": null, "phone_number_collection": {"enabled": false},
        "recovered_from": null, "redirect_on_completion": text("redirect_on_completion"),
        "return_url": text("return_url"), "saved_payment_method_options": null,
        "setup_intent": null, "shipping_address_collection": null, "shipping_cost": null,
        "shipping_options": [], "status": "open", "submit_type": null, "subscription": null,
        "success_url": text("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": ui_mode,
        "url": if hosted { json!(format!("{origin}/c/pay/{id}")) } else { Value::Null },
        "wallet_options": {"link": {"display": "auto"}},
    })
}

/// What the buyer told on the page of a session.
pub(super) fn customer_details(session: &Value) -> Value {
    json!({
        "address": address(), "business_name": null, "email": session.get("customer_email"),
        "individual_name": null, "name": null, "phone": null, "tax_exempt": "none", "tax_ids": [],
    })
}

/// The payment of a session.
pub(super) fn payment(id: &str, session: &Value, metadata: &Value, now: i64) -> Value {
    let amount = session.get("amount_total");
    json!({
        "id": id, "object": "payment_intent", "allowed_payment_method_types": null,
        "amount": amount, "amount_capturable": 0, "amount_details": {"tip": {}}, "amount_received": 0, "application": null, "application_fee_amount": null,
        "automatic_payment_methods": null, "canceled_at": null, "cancellation_reason": null,
        "capture_method": "automatic_async", "client_secret": format!("{id}_secret_sim"),
        "confirmation_method": "automatic", "created": now,
        "currency": session.get("currency"), "customer": session.get("customer"),
        "customer_account": null, "description": null, "excluded_payment_method_types": null,
        "last_payment_error": null, "latest_charge": null,
        "livemode": false, "managed_payments": {"enabled": false}, "metadata": metadata,
        "next_action": null, "on_behalf_of": null, "payment_method": null,
        "payment_method_configuration_details": null, "payment_method_options": {}, "payment_method_types": ["card"],
        "processing": null, "receipt_email": session.get("customer_email"), "review": null,
        "setup_future_usage": null, "shipping": null,
        "statement_descriptor": null, "statement_descriptor_suffix": null,
        "status": "requires_payment_method", "transfer_data": null, "transfer_group": null,
    })
}

/// A customer, who has a card.
pub(super) fn customer(id: &str, email: &Value, now: i64) -> Value {
    json!({
        "id": id, "object": "customer", "address": null, "balance": 0, "created": now,
        "currency": null, "default_source": null, "delinquent": false, "description": null,
        "discount": null, "email": email, "invoice_prefix": null, "invoice_settings":
        {"custom_fields": null, "default_payment_method": null, "footer": null,
            "rendering_options": null}, "livemode": false, "metadata": {}, "name": null,
        "phone": null, "preferred_locales": [], "shipping": null, "tax_exempt": "none",
        "test_clock": null,
    })
}

/// A card that is kept with a customer.
pub(super) fn payment_method(id: &str, customer: &str, now: i64) -> Value {
    json!({
        "id": id, "object": "payment_method", "allow_redisplay": "limited",
        "billing_details": {"address": null, "email": null, "name": null, "phone": null,
            "tax_id": null},
        "card": {"brand": "visa", "checks": null, "country": "US", "display_brand": "visa",
            "exp_month": 12, "exp_year": 2040, "fingerprint": null, "funding": "credit",
            "generated_from": null, "last4": "4242", "networks": null,
            "regulated_status": "unregulated", "three_d_secure_usage": null},
        "created": now, "customer": customer, "livemode": false, "metadata": {}, "type": "card",
    })
}

/// The charge of a payment that succeeded, by a method that is told in `details`.
pub(super) fn charge(id: &str, payment: &Value, details: &Value, now: i64) -> Value {
    json!({
        "id": id, "object": "charge", "amount": payment.get("amount"),
        "amount_captured": payment.get("amount"), "amount_refunded": 0, "application": null,
        "application_fee": null, "application_fee_amount": null, "balance_transaction": null,
        "billing_details": {"address": address(), "email": payment.get("receipt_email"),
            "name": null, "phone": null, "tax_id": null},
        "calculated_statement_descriptor": "SIMULATED", "captured": true, "created": now,
        "currency": payment.get("currency"), "customer": payment.get("customer"),
        "description": null, "disputed": false, "failure_balance_transaction": null,
        "failure_code": null, "failure_message": null, "fraud_details": {}, "livemode": false,
        "metadata": payment.get("metadata"), "on_behalf_of": null,
        "outcome": {"advice_code": null, "network_advice_code": null,
            "network_decline_code": null, "network_status": "approved_by_network",
            "reason": null, "seller_message": "Payment complete.", "type": "authorized"},
        "paid": true, "payment_intent": payment.get("id"), "payment_method": "pm_sim",
        "payment_method_details": details, "receipt_email": payment.get("receipt_email"),
        "receipt_number": null, "receipt_url": null, "refunded": false, "review": null,
        "shipping": null, "source": null, "source_transfer": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": "succeeded", "transfer_data": null,
        "transfer_group": null,
    })
}

/// How a charge was paid by card.
pub(super) fn by_card() -> Value {
    json!({"type": "card", "card": {
        "amount_authorized": null, "authorization_code": null, "brand": "visa",
        "checks": {"address_line1_check": null, "address_postal_code_check": null,
            "cvc_check": "pass"},
        "country": "US", "exp_month": 12, "exp_year": 2040,
        "extended_authorization": {"status": "disabled"}, "fingerprint": "simulated",
        "funding": "credit", "incremental_authorization": {"status": "unavailable"},
        "installments": null, "last4": "4242", "mandate": null,
        "multicapture": {"status": "unavailable"}, "network": "visa",
        "network_token": {"used": false}, "network_transaction_id": null,
        "overcapture": {"maximum_amount_capturable": 0, "status": "unavailable"},
        "regulated_status": "unregulated", "three_d_secure": null,
        "transaction_link_id": null, "wallet": null,
    }})
}

/// How a charge was paid by bank debit.
pub(super) fn by_bank() -> Value {
    json!({"type": "us_bank_account", "us_bank_account": {
        "account_holder_type": "individual", "account_type": "checking",
        "bank_name": "Simulated bank", "fingerprint": "simulated", "last4": "6789",
        "mandate": null, "payment_reference": null, "routing_number": "110000000",
    }})
}

/// An address of which nothing is known.
fn address() -> Value {
    json!({"city": null, "country": null, "line1": null, "line2": null, "postal_code": null,
        "state": null})
}

/// A dispute of a charge; it carries no metadata of the payment.
pub(super) fn dispute(id: &str, charge: &Value, now: i64) -> Value {
    const EVIDENCE: [&str; 27] = [
        "access_activity_log",
        "billing_address",
        "cancellation_policy",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "customer_communication",
        "customer_email_address",
        "customer_name",
        "customer_purchase_ip",
        "customer_signature",
        "duplicate_charge_documentation",
        "duplicate_charge_explanation",
        "duplicate_charge_id",
        "product_description",
        "receipt",
        "refund_policy",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
        "service_date",
        "service_documentation",
        "shipping_address",
        "shipping_carrier",
        "shipping_date",
        "shipping_documentation",
        "shipping_tracking_number",
        "uncategorized_file",
        "uncategorized_text",
    ];
    let mut evidence: Map<String, Value> =
        EVIDENCE.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    evidence.insert("enhanced_evidence".to_owned(), json!({}));
    json!({
        "id": id, "object": "dispute", "amount": charge.get("amount"), "balance_transactions": [],
        "charge": charge.get("id"), "created": now, "currency": charge.get("currency"),
        "enhanced_eligibility_types": [], "evidence": evidence,
        "evidence_details": {"due_by": now + 7 * 86_400, "has_evidence": false, "past_due": false,
            "submission_count": 0, "enhanced_eligibility": {}},
        "is_charge_refundable": false, "livemode": false, "metadata": {},
        "payment_intent": charge.get("payment_intent"),
        "payment_method_details": {"type": "card", "card": {"brand": "visa",
            "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4"}},
        "reason": "fraudulent", "status": "needs_response",
    })
}

/// A refund of a charge.
pub(super) fn refund(id: &str, charge: &Value, cents: i64, now: i64) -> Value {
    json!({
        "id": id, "object": "refund", "amount": cents, "balance_transaction": null,
        "charge": charge.get("id"), "created": now, "currency": charge.get("currency"),
        "customer": charge.get("customer"), "customer_account": null,
        "destination_details": {"type": "card", "card": {"type": "refund",
            "reference_status": "pending", "reference_type": "acquirer_reference_number"}},
        "metadata": {}, "payment_intent": charge.get("payment_intent"),
        "payment_method": charge.get("payment_method"), "reason": null,
        "receipt_number": null, "source_transfer_reversal": null, "status": "succeeded",
        "transfer_reversal": null,
    })
}

/// The one line of a session, with the price that was made for it.
pub(super) fn line_item(id: &str, session: &Value, params: &Map<String, Value>, now: i64) -> Value {
    let text = |path: &str| form::text(params, path);
    let number = |path: &str| text(path).and_then(|text| text.parse::<i64>().ok());
    let (currency, total) = (session.get("currency"), session.get("amount_total"));
    let cents = number("line_items/0/price_data/unit_amount");
    json!({
        "id": format!("li_{id}"), "object": "item", "adjustable_quantity": null,
        "amount_discount": 0, "amount_subtotal": total, "amount_tax": 0, "amount_total": total,
        "currency": currency, "description": text("line_items/0/price_data/product_data/name"),
        "metadata": {},
        "price": {
            "id": format!("price_{id}"), "object": "price", "active": false,
            "billing_scheme": "per_unit", "created": now, "currency": currency,
            "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": {},
            "nickname": null, "product": format!("prod_{id}"), "recurring": null,
            "tax_behavior": "unspecified", "tiers_mode": null, "transform_quantity": null,
            "type": "one_time", "unit_amount": cents,
            "unit_amount_decimal": cents.map(|cents| cents.to_string()),
        },
        "quantity": number("line_items/0/quantity").unwrap_or(1),
    })
}

/// A page of a list that has no other.
pub(super) fn list(url: &str, data: Vec<Value>) -> Value {
    json!({"object": "list", "data": data, "has_more": false, "url": url})
}

/// Why the last attempt to pay failed.
pub(super) fn failure(decline: &Decline) -> Value {
    json!({
        "type": "card_error", "code": decline.code, "decline_code": decline.decline_code,
        "message": decline.message,
        "doc_url": format!("https://stripe.com/docs/error-codes/{}", decline.code),
    })
}

/// An event around an object as it is now.
pub(super) fn event(id: &str, kind: &str, object: &Value, now: i64) -> Value {
    json!({
        "id": id, "object": "event", "api_version": API_VERSION, "created": now,
        "data": {"object": object}, "livemode": false, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "type": kind,
    })
}
