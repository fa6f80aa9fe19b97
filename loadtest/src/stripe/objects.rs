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
        "customer": text("customer"), "customer_creation": "if_required",
        "customer_details": null, "customer_email": text("customer_email"), "discounts": [],
        "expires_at": number("expires_at").unwrap_or(now + 24 * 3600),
        "invoice": null, "invoice_creation": {"enabled": false, "invoice_data": {
            "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null,
            "issuer": null, "metadata": {}, "rendering_options": null}},
        "livemode": false, "locale": text("locale"), "metadata": metadata, "mode": "payment",
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
    })
}

/// The payment of a session.
pub(super) fn payment(id: &str, session: &Value, metadata: &Value, now: i64) -> Value {
    let amount = session.get("amount_total");
    json!({
        "id": id, "object": "payment_intent", "amount": amount, "amount_capturable": 0,
        "amount_received": 0, "application": null, "application_fee_amount": null,
        "automatic_payment_methods": null, "canceled_at": null, "cancellation_reason": null,
        "capture_method": "automatic_async", "client_secret": format!("{id}_secret_sim"),
        "confirmation_method": "automatic", "created": now,
        "currency": session.get("currency"), "customer": session.get("customer"),
        "description": null, "last_payment_error": null, "latest_charge": null,
        "livemode": false, "metadata": metadata, "next_action": null, "on_behalf_of": null,
        "payment_method": null, "payment_method_options": {}, "payment_method_types": ["card"],
        "processing": null, "receipt_email": session.get("customer_email"),
        "setup_future_usage": null, "shipping": null, "source": null,
        "statement_descriptor": null, "statement_descriptor_suffix": null,
        "status": "requires_payment_method", "transfer_data": null, "transfer_group": null,
    })
}

/// The charge of a payment that succeeded.
pub(super) fn charge(id: &str, payment: &Value, now: i64) -> Value {
    json!({
        "id": id, "object": "charge", "amount": payment.get("amount"),
        "amount_captured": payment.get("amount"), "amount_refunded": 0, "application": null,
        "application_fee": null, "application_fee_amount": null, "balance_transaction": null,
        "billing_details": {"address": null, "email": null, "name": null, "phone": null,
            "tax_id": null},
        "calculated_statement_descriptor": null, "captured": true, "created": now,
        "currency": payment.get("currency"), "customer": payment.get("customer"),
        "description": null, "disputed": false, "failure_balance_transaction": null,
        "failure_code": null, "failure_message": null, "fraud_details": {}, "livemode": false,
        "metadata": payment.get("metadata"), "on_behalf_of": null, "outcome": null, "paid": true,
        "payment_intent": payment.get("id"), "payment_method": "pm_sim",
        "payment_method_details": null, "receipt_email": payment.get("receipt_email"),
        "receipt_number": null, "receipt_url": null, "refunded": false, "review": null,
        "shipping": null, "source": null, "source_transfer": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": "succeeded", "transfer_data": null,
        "transfer_group": null,
    })
}

/// A dispute of a charge; it carries no metadata of the payment.
pub(super) fn dispute(id: &str, charge: &Value, now: i64) -> Value {
    json!({
        "id": id, "object": "dispute", "amount": charge.get("amount"), "balance_transactions": [],
        "charge": charge.get("id"), "created": now, "currency": charge.get("currency"),
        "enhanced_eligibility_types": [], "evidence": {"enhanced_evidence": {}},
        "evidence_details": {"due_by": now + 7 * 86_400, "has_evidence": false, "past_due": false,
            "submission_count": 0, "enhanced_eligibility": {}},
        "is_charge_refundable": false, "livemode": false, "metadata": {},
        "payment_intent": charge.get("payment_intent"), "reason": "fraudulent",
        "status": "needs_response",
    })
}

/// A refund of a charge.
pub(super) fn refund(id: &str, charge: &Value, cents: i64, now: i64) -> Value {
    json!({
        "id": id, "object": "refund", "amount": cents, "balance_transaction": null,
        "charge": charge.get("id"), "created": now, "currency": charge.get("currency"),
        "metadata": {}, "payment_intent": charge.get("payment_intent"), "reason": null,
        "receipt_number": null, "source_transfer_reversal": null, "status": "succeeded",
        "transfer_reversal": null,
    })
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
