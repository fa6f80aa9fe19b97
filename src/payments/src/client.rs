//! The calls to Stripe, through async-stripe.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use stripe::{
    Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError, StripeRequest as _,
};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAdaptivePricing,
    CreateCheckoutSessionCustomerCreation, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionLineItemsPriceData, CreateCheckoutSessionPaymentIntentData,
    CreateCheckoutSessionPaymentIntentDataSetupFutureUsage, ExpireCheckoutSession, ProductData,
    RetrieveCheckoutSession,
};
use stripe_checkout::{
    CheckoutSession, CheckoutSessionMode, CheckoutSessionPaymentStatus,
    CheckoutSessionRedirectOnCompletion, CheckoutSessionStatus, CheckoutSessionUiMode,
};

use opencredits_schema::Currency;

use crate::{NewSession, Page, PaymentStatus, Session, SessionStatus};

/// The longest wait for one answer of Stripe.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why a call to Stripe did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// Stripe says no; asking again will not help.
    #[error("Stripe refused ({status}): {message}")]
    Refused {
        /// The answer's status.
        status: u16,
        /// What Stripe says.
        message: String,
    },
    /// Stripe did not answer, or not with what it documents; whether it was done is not known.
    /// The same call can be made again: it carries an idempotency key.
    #[error("Stripe did not answer as documented: {0}")]
    Unknown(String),
}

/// A client of Stripe.
#[derive(Clone)]
pub struct Stripe {
    pub(crate) client: Client,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stripe")
    }
}

impl Stripe {
    /// A client with a secret key, at Stripe's origin or at a simulator's.
    ///
    /// # Errors
    /// The key cannot stand in a header.
    pub fn new(secret_key: &str, origin: &str) -> Result<Self, PaymentError> {
        let builder = ClientBuilder::new(secret_key)
            .url(format!("{}/", origin.trim_end_matches('/')))
            .timeout(TIMEOUT)
            .request_strategy(RequestStrategy::Once);
        Ok(Self { client: builder.build().map_err(failed)? })
    }

    /// Makes the session of an order, or tells the one that was made before: the order's id is the
    /// idempotency key.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn create_session(&self, wanted: &NewSession) -> Result<Session, PaymentError> {
        let request = creation(wanted).customize();
        let sent = request.request_strategy(once(format!("cs-{}", wanted.order))?);
        sent.send(&self.client).await.map(Session::from).map_err(failed)
    }

    /// A session as it is now.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn session(&self, id: &str) -> Result<Session, PaymentError> {
        let sent = RetrieveCheckoutSession::new(id).send(&self.client).await;
        sent.map(Session::from).map_err(failed)
    }

    /// Ends a session, so that nobody can pay it any more.
    ///
    /// # Errors
    /// [`PaymentError::Refused`] for one that has been paid or has expired already.
    pub async fn expire_session(&self, id: &str) -> Result<Session, PaymentError> {
        let sent = ExpireCheckoutSession::new(id).send(&self.client).await;
        sent.map(Session::from).map_err(failed)
    }
}

/// What makes a call that is repeated the same call.
pub(crate) fn once(key: String) -> Result<RequestStrategy, PaymentError> {
    let key = IdempotencyKey::new(key).map_err(|error| PaymentError::Unknown(error.to_string()))?;
    Ok(RequestStrategy::Idempotent(key))
}

fn creation(wanted: &NewSession) -> CreateCheckoutSession {
    let metadata = HashMap::from([("oc_order".to_owned(), wanted.order.clone())]);
    let currency = match wanted.currency {
        Currency::Usd => stripe_types::Currency::USD,
        Currency::Eur => stripe_types::Currency::EUR,
    };
    let line = CreateCheckoutSessionLineItems {
        price_data: Some(CreateCheckoutSessionLineItemsPriceData {
            product_data: Some(ProductData::new(wanted.product.clone())),
            unit_amount: Some(wanted.cents.into()),
            ..CreateCheckoutSessionLineItemsPriceData::new(currency)
        }),
        quantity: Some(1),
        ..CreateCheckoutSessionLineItems::new()
    };
    let off_session = CreateCheckoutSessionPaymentIntentDataSetupFutureUsage::OffSession;
    // A session's metadata does not go over to its payment, and refunds tell only the payment.
    let payment = CreateCheckoutSessionPaymentIntentData {
        metadata: Some(metadata.clone()),
        receipt_email: wanted.email.clone(),
        setup_future_usage: wanted.saves_card.then_some(off_session),
        ..CreateCheckoutSessionPaymentIntentData::new()
    };
    // Else a buyer pays in another currency, and the amounts cannot be compared.
    let pricing = CreateCheckoutSessionAdaptivePricing { enabled: Some(false) };
    let request = CreateCheckoutSession::new()
        .mode(CheckoutSessionMode::Payment)
        .line_items([line])
        .client_reference_id(wanted.order.clone())
        .metadata(metadata)
        .payment_intent_data(payment)
        .adaptive_pricing(pricing)
        .expires_at(wanted.expires_at);
    let request = match &wanted.email {
        Some(email) if wanted.shows_email => request.customer_email(email.clone()),
        Some(_) | None => request,
    };
    let request = if wanted.saves_card {
        request.customer_creation(CreateCheckoutSessionCustomerCreation::Always)
    } else {
        request
    };
    match &wanted.page {
        Page::Embedded => request
            .ui_mode(CheckoutSessionUiMode::EmbeddedPage)
            .redirect_on_completion(CheckoutSessionRedirectOnCompletion::Never),
        Page::Hosted { success_url, cancel_url } => request
            .ui_mode(CheckoutSessionUiMode::HostedPage)
            .success_url(success_url.clone())
            .cancel_url(cancel_url.clone()),
    }
}

impl From<CheckoutSession> for Session {
    fn from(session: CheckoutSession) -> Self {
        let status = match session.status {
            Some(CheckoutSessionStatus::Complete) => SessionStatus::Complete,
            Some(CheckoutSessionStatus::Expired) => SessionStatus::Expired,
            _ => SessionStatus::Open,
        };
        let payment = if session.payment_status == CheckoutSessionPaymentStatus::Paid {
            PaymentStatus::Paid
        } else {
            PaymentStatus::Unpaid
        };
        let order = session.metadata.and_then(|mut data| data.remove("oc_order"));
        Self {
            id: session.id.to_string(),
            order: order.or(session.client_reference_id),
            status,
            payment,
            currency: session.currency.map(|currency| currency.to_string()),
            subtotal_cents: session.amount_subtotal,
            payment_intent: session.payment_intent.map(|payment| payment.id().to_string()),
            client_secret: session.client_secret,
            url: session.url,
        }
    }
}

pub(crate) fn failed(error: StripeError) -> PaymentError {
    match error {
        // Conflicts (409), limits (429) and Stripe's own failures pass.
        StripeError::Stripe(error, status) if status < 500 && status != 409 && status != 429 => {
            let message = error.message.unwrap_or_else(|| "no message".to_owned());
            PaymentError::Refused { status, message }
        }
        StripeError::Stripe(error, status) => {
            PaymentError::Unknown(format!("{status}: {}", error.message.unwrap_or_default()))
        }
        error @ (StripeError::JSONDeserialize(_)
        | StripeError::ClientError(_)
        | StripeError::ConfigError(_)
        | StripeError::Timeout) => PaymentError::Unknown(error.to_string()),
    }
}
