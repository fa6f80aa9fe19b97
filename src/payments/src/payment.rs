//! Payments by a saved card while the buyer is away, and how far a payment is.
//!
//! The few fields that count, over async-stripe's client: its typed requests for payments stand in a
//! crate of 91,000 generated lines.

use std::collections::HashMap;

use opencredits_schema::{Currency, SavedCard};
use serde::Serialize;
use stripe_client_core::{RequestBuilder, StripeMethod};

use crate::client::{failed, once};
use crate::{Failure, PaymentError, Stripe};

/// Seconds by which Stripe's clock may be behind ours.
const CLOCK_SKEW_S: i64 = 600;

/// The most that Stripe lists at once.
const LISTED_MAX: u32 = 100;

/// The code of a failure that only the buyer can mend, who is away.
pub const NEEDS_AUTHENTICATION: &str = "authentication_required";

/// A payment that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayment {
    /// Our order: the payment's metadata, and what makes a repeated call the same.
    pub order: String,
    /// What is paid in.
    pub currency: Currency,
    /// What is paid, in cents.
    pub cents: u32,
    /// What is charged.
    pub card: SavedCard,
    /// Where the receipt goes, if that is known.
    pub email: Option<String>,
    /// When the order was made, in unix seconds.
    pub since: i64,
}

/// A payment as Stripe tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id, `pi_…`.
    pub id: String,
    /// Our order.
    pub order: Option<String>,
    /// How far it is.
    pub stage: PaymentStage,
    /// What it is paid in.
    pub currency: String,
    /// What is paid, in cents.
    pub cents: i64,
    /// The card that paid, where it is kept with a customer.
    pub card: Option<SavedCard>,
}

/// How far a payment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentStage {
    /// The money came.
    Succeeded,
    /// It is not decided yet.
    Pending,
    /// It did not go through.
    Failed(Failure),
}

impl Stripe {
    /// Charges a saved card for an order, or tells the charge that was made before. A decline is a payment
    /// too; whatever else goes wrong, Stripe is asked what became of it.
    ///
    /// # Errors
    /// [`PaymentError`], where Stripe knows no payment of the order or does not answer.
    pub async fn charge(&self, wanted: &NewPayment) -> Result<Payment, PaymentError> {
        let request = RequestBuilder::new(StripeMethod::Post, "/payment_intents");
        let request = request.form(&Creation::of(wanted)).customize::<Object>();
        let request = request.request_strategy(once(format!("topup-{}", wanted.order))?);
        match request.send(&self.client).await {
            Ok(made) => Ok(made.into()),
            Err(error) => match self.charged(wanted).await {
                Ok(Some(payment)) => Ok(payment),
                Ok(None) | Err(_) => Err(failed(error)),
            },
        }
    }

    /// The charge that was made for an order, if any was. Idempotency keys are forgotten after a day;
    /// this is not.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn charged(&self, wanted: &NewPayment) -> Result<Option<Payment>, PaymentError> {
        let since = Since { gte: wanted.since.saturating_sub(CLOCK_SKEW_S) };
        let query = Query { customer: &wanted.card.customer, created: since, limit: LISTED_MAX };
        let request = RequestBuilder::new(StripeMethod::Get, "/payment_intents").query(&query);
        let list = request.customize::<List>().send(&self.client).await.map_err(failed)?;
        let mut payments = list.data.into_iter().map(Payment::from);
        Ok(payments.find(|payment| payment.order.as_deref() == Some(&wanted.order)))
    }

    /// A payment as it is now.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn payment(&self, id: &str) -> Result<Payment, PaymentError> {
        let request = RequestBuilder::new(StripeMethod::Get, format!("/payment_intents/{id}"));
        let sent = request.customize::<Object>().send(&self.client).await;
        sent.map(Payment::from).map_err(failed)
    }
}

#[derive(Serialize)]
struct Creation<'a> {
    amount: u32,
    currency: &'static str,
    customer: &'a str,
    payment_method: &'a str,
    off_session: bool,
    confirm: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_email: Option<&'a str>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    oc_order: &'a str,
}

impl<'a> Creation<'a> {
    fn of(wanted: &'a NewPayment) -> Self {
        Self {
            amount: wanted.cents,
            currency: wanted.currency.as_str(),
            customer: &wanted.card.customer,
            payment_method: &wanted.card.method,
            off_session: true,
            confirm: true,
            receipt_email: wanted.email.as_deref(),
            metadata: Metadata { oc_order: &wanted.order },
        }
    }
}

#[derive(Serialize)]
struct Query<'a> {
    customer: &'a str,
    created: Since,
    limit: u32,
}

#[derive(Serialize)]
struct Since {
    gte: i64,
}

/// The fields of Stripe's object that are read.
#[derive(miniserde::Deserialize)]
struct Object {
    id: String,
    amount: i64,
    currency: String,
    customer: Option<String>,
    payment_method: Option<String>,
    status: String,
    metadata: Option<HashMap<String, String>>,
    last_payment_error: Option<ErrorObject>,
}

#[derive(miniserde::Deserialize)]
struct ErrorObject {
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

#[derive(miniserde::Deserialize)]
struct List {
    data: Vec<Object>,
}

impl From<Object> for Payment {
    fn from(object: Object) -> Self {
        let error = object.last_payment_error;
        let failure =
            error.map(|error| Failure::new(error.code, error.decline_code, error.message));
        let stage = match (object.status.as_str(), failure) {
            ("succeeded", _) => PaymentStage::Succeeded,
            // Nobody will act: the buyer is away.
            ("requires_action", failure) => PaymentStage::Failed(failure.unwrap_or_else(|| {
                Failure::new(Some(NEEDS_AUTHENTICATION.to_owned()), None, None)
            })),
            ("requires_payment_method", Some(failure)) => PaymentStage::Failed(failure),
            ("canceled", failure) => PaymentStage::Failed(
                failure.unwrap_or_else(|| Failure::new(Some("canceled".to_owned()), None, None)),
            ),
            _ => PaymentStage::Pending,
        };
        let customer = object.customer.zip(object.payment_method);
        Self {
            id: object.id,
            order: object.metadata.and_then(|mut data| data.remove("oc_order")),
            stage,
            currency: object.currency,
            cents: object.amount,
            card: customer.map(|(customer, method)| SavedCard { customer, method }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: &str, error: &str) -> PaymentStage {
        let text = format!(
            r#"{{"id":"pi_1","object":"payment_intent","amount":1000,"currency":"usd","customer":"cus_1",
            "payment_method":"pm_1","status":"{status}","metadata":{{"oc_order":"ord_1"}},
            "last_payment_error":{error},"next_action":{{"type":"use_stripe_sdk"}}}}"#
        );
        let payment = Payment::from(miniserde::json::from_str::<Object>(&text).unwrap());
        assert_eq!(payment.order.as_deref(), Some("ord_1"));
        assert_eq!(payment.card.unwrap().method, "pm_1");
        payment.stage
    }

    #[test]
    fn a_payment_is_decided_only_by_what_nobody_can_change_any_more() {
        assert_eq!(read("succeeded", "null"), PaymentStage::Succeeded);
        for status in
            ["processing", "requires_capture", "requires_confirmation", "requires_payment_method"]
        {
            assert_eq!(read(status, "null"), PaymentStage::Pending, "{status}");
        }
        assert!(matches!(read("canceled", "null"), PaymentStage::Failed(_)));
    }

    #[test]
    fn a_bank_that_wants_the_buyer_is_told_apart_from_a_decline() {
        let failure = |status: &str, error: &str| match read(status, error) {
            PaymentStage::Failed(failure) => failure,
            other @ (PaymentStage::Succeeded | PaymentStage::Pending) => panic!("{other:?}"),
        };
        let away = r#"{"code":"authentication_required","decline_code":"authentication_required"}"#;
        assert_eq!(failure("requires_payment_method", away).code, NEEDS_AUTHENTICATION);
        assert_eq!(failure("requires_action", "null").code, NEEDS_AUTHENTICATION);
        let declined = r#"{"code":"card_declined","decline_code":"insufficient_funds"}"#;
        assert_eq!(failure("requires_payment_method", declined).code, "insufficient_funds");
    }
}
