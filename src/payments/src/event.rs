//! What a webhook says, read leniently: only the fields that are acted on.

use std::collections::HashMap;

use opencredits_schema::DisputeStage;
use serde::Deserialize;

use crate::{Payment, PaymentStage, PaymentStatus, Session, SessionStatus};

/// A body that is no event of Stripe's.
#[derive(Debug, thiserror::Error)]
#[error("not an event: {0}")]
pub struct BadEvent(#[from] serde_json::Error);

/// A signed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id, `evt_…`: the same in each delivery.
    pub id: String,
    /// What happened.
    pub happened: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Something with a checkout session.
    Session(SessionStage, Session),
    /// The money of a payment came.
    Paid(Payment),
    /// An attempt to pay failed; the buyer may try again.
    PaymentFailed {
        /// The payment.
        payment_intent: String,
        /// Our order.
        order: Option<String>,
        /// Why.
        failure: Failure,
    },
    /// Money went back.
    Refunded {
        /// The payment.
        payment_intent: String,
        /// Our order, if the charge carries its payment's metadata.
        order: Option<String>,
        /// All that went back so far, in cents.
        refunded_cents: i64,
        /// What was charged, in cents.
        charged_cents: i64,
    },
    /// The buyer's bank disputes a payment.
    Disputed {
        /// The dispute, `dp_…`.
        dispute: String,
        /// The payment.
        payment_intent: String,
        /// What is disputed, in cents.
        cents: i64,
        /// How far it is.
        stage: DisputeStage,
    },
    /// Something that is not acted on.
    Other(String),
}

/// What happened with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStage {
    /// The buyer is through.
    Completed,
    /// A delayed method has paid.
    DelayedPaid,
    /// A delayed method has failed.
    DelayedFailed,
    /// Nobody paid in time.
    Expired,
}

/// Why a payment failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `card_declined`, or the bank's more exact word, such as `insufficient_funds`.
    pub code: String,
    /// For the buyer.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(
        code: Option<String>,
        decline_code: Option<String>,
        message: Option<String>,
    ) -> Self {
        // The bank's word says more than Stripe's.
        let code = decline_code.filter(|code| code != "generic_decline").or(code);
        Self {
            code: code.unwrap_or_else(|| "card_declined".to_owned()),
            message: message.unwrap_or_else(|| "The payment failed.".to_owned()),
        }
    }
}

impl Event {
    /// Reads a body whose signature was checked.
    ///
    /// # Errors
    /// It is not JSON or has neither id, type nor object.
    pub fn read(body: &[u8]) -> Result<Self, BadEvent> {
        let raw: Raw = serde_json::from_slice(body)?;
        let object = raw.data.object;
        let happened = match raw.kind.as_str() {
            "checkout.session.completed" => object.session(SessionStage::Completed),
            "checkout.session.async_payment_succeeded" => object.session(SessionStage::DelayedPaid),
            "checkout.session.async_payment_failed" => object.session(SessionStage::DelayedFailed),
            "checkout.session.expired" => object.session(SessionStage::Expired),
            "payment_intent.succeeded" => object.paid(),
            "payment_intent.payment_failed" => object.payment_failed(),
            "charge.refunded" => object.refunded(),
            "charge.dispute.created" => object.disputed(DisputeStage::Opened),
            "charge.dispute.closed" => match object.status.as_deref() {
                Some("won" | "warning_closed") => object.disputed(DisputeStage::Won),
                _ => object.disputed(DisputeStage::Lost),
            },
            _ => None,
        };
        Ok(Self { id: raw.id, happened: happened.unwrap_or(Happened::Other(raw.kind)) })
    }
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

/// The fields of all objects that are acted on; each object has some of them.
#[derive(Deserialize)]
struct Object {
    id: String,
    amount: Option<i64>,
    amount_refunded: Option<i64>,
    amount_subtotal: Option<i64>,
    client_reference_id: Option<String>,
    currency: Option<String>,
    last_payment_error: Option<PaymentErrorObject>,
    metadata: Option<HashMap<String, String>>,
    payment_intent: Option<Reference>,
    payment_status: Option<String>,
    status: Option<String>,
}

/// Another object: its id, or itself where Stripe expanded it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Object { id: String },
}

#[derive(Deserialize)]
struct PaymentErrorObject {
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

impl Object {
    fn order(&mut self) -> Option<String> {
        let metadata = self.metadata.as_mut().and_then(|data| data.remove("oc_order"));
        metadata.or_else(|| self.client_reference_id.take())
    }

    fn payment(&mut self) -> Option<String> {
        self.payment_intent.take().map(|reference| match reference {
            Reference::Id(id) | Reference::Object { id } => id,
        })
    }

    fn session(mut self, stage: SessionStage) -> Option<Happened> {
        let status = match stage {
            SessionStage::Expired => SessionStatus::Expired,
            SessionStage::Completed | SessionStage::DelayedPaid | SessionStage::DelayedFailed => {
                SessionStatus::Complete
            }
        };
        let payment = match self.payment_status.as_deref() {
            Some("paid") => PaymentStatus::Paid,
            _ => PaymentStatus::Unpaid,
        };
        let session = Session {
            order: self.order(),
            payment_intent: self.payment(),
            id: self.id,
            status,
            payment,
            currency: self.currency,
            subtotal_cents: self.amount_subtotal,
            client_secret: None,
            url: None,
        };
        Some(Happened::Session(stage, session))
    }

    fn paid(mut self) -> Option<Happened> {
        Some(Happened::Paid(Payment {
            order: self.order(),
            id: self.id,
            stage: PaymentStage::Succeeded,
            currency: self.currency?,
            cents: self.amount?,
            card: None,
        }))
    }

    fn payment_failed(mut self) -> Option<Happened> {
        let order = self.order();
        let error = self.last_payment_error?;
        let failure = Failure::new(error.code, error.decline_code, error.message);
        Some(Happened::PaymentFailed { payment_intent: self.id, order, failure })
    }

    fn refunded(mut self) -> Option<Happened> {
        Some(Happened::Refunded {
            order: self.order(),
            payment_intent: self.payment()?,
            refunded_cents: self.amount_refunded?,
            charged_cents: self.amount?,
        })
    }

    fn disputed(mut self, stage: DisputeStage) -> Option<Happened> {
        let payment_intent = self.payment()?;
        Some(Happened::Disputed { dispute: self.id, payment_intent, cents: self.amount?, stage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, object: &str) -> Happened {
        let body = format!(r#"{{"id":"evt_1","type":"{kind}","data":{{"object":{object}}}}}"#);
        Event::read(body.as_bytes()).unwrap().happened
    }

    #[test]
    fn a_paid_session_is_read_from_the_few_fields_that_count() {
        let object = r#"{"id":"cs_1","client_reference_id":"ord_1","payment_status":"paid",
            "currency":"usd","amount_subtotal":1000,"payment_intent":"pi_1"}"#;
        let Happened::Session(SessionStage::Completed, session) =
            read("checkout.session.completed", object)
        else {
            panic!("no session")
        };
        assert_eq!(session.order.as_deref(), Some("ord_1"));
        assert_eq!(session.payment, PaymentStatus::Paid);
        assert_eq!(session.subtotal_cents, Some(1000));
        assert_eq!(session.payment_intent.as_deref(), Some("pi_1"));
    }

    #[test]
    fn a_decline_keeps_the_banks_word() {
        let failed = |decline: &str| {
            let object = format!(
                r#"{{"id":"pi_1","metadata":{{"oc_order":"ord_1"}},"last_payment_error":
                {{"code":"card_declined","decline_code":"{decline}","message":"No."}}}}"#
            );
            let happened = read("payment_intent.payment_failed", &object);
            let Happened::PaymentFailed { failure, .. } = happened else { panic!("{happened:?}") };
            failure.code
        };
        assert_eq!(failed("insufficient_funds"), "insufficient_funds");
        assert_eq!(failed("generic_decline"), "card_declined");
    }

    #[test]
    fn a_dispute_ends_won_or_lost() {
        for (status, stage) in [("won", DisputeStage::Won), ("lost", DisputeStage::Lost)] {
            let object = format!(
                r#"{{"id":"dp_1","amount":500,"payment_intent":{{"id":"pi_1"}},"status":"{status}"}}"#
            );
            let Happened::Disputed { stage: found, payment_intent, .. } =
                read("charge.dispute.closed", &object)
            else {
                panic!("no dispute")
            };
            assert_eq!((found, payment_intent.as_str()), (stage, "pi_1"));
        }
    }

    #[test]
    fn what_is_not_acted_on_or_lacks_what_counts_is_told_apart_from_what_is_no_event() {
        assert_eq!(read("plan.created", r#"{"id":"x"}"#), Happened::Other("plan.created".into()));
        let refund = Happened::Other("charge.refunded".into());
        assert_eq!(read("charge.refunded", r#"{"id":"ch_1"}"#), refund);
        assert!(Event::read(b"{}").is_err());
        assert!(Event::read(b"\xff").is_err());
    }
}
