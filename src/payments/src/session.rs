//! A checkout session: what is asked of Stripe, and what is read of its answer.

use opencredits_schema::Currency;

/// Where the buyer pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Within our own frame, by Stripe.js.
    Embedded,
    /// On a page of Stripe's.
    Hosted {
        /// Where the buyer goes after paying.
        success_url: String,
        /// Where the buyer goes instead of paying.
        cancel_url: String,
    },
}

/// A session that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Our order: the session's reference, and the payment's metadata.
    pub order: String,
    /// What is paid in.
    pub currency: Currency,
    /// What is paid, in cents.
    pub cents: u32,
    /// What the buyer reads beside the amount.
    pub product: String,
    /// Where the receipt goes, if that is known.
    pub email: Option<String>,
    /// Whether Stripe's page may show that address: whoever sees the page sees it.
    pub shows_email: bool,
    /// Whether the card is kept, to be charged later while the buyer is away. Stripe's page says so.
    pub saves_card: bool,
    /// Where the buyer pays.
    pub page: Page,
    /// Unix seconds; Stripe takes 30 minutes to a day from now.
    pub expires_at: i64,
}

/// A session as Stripe tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, `cs_…`.
    pub id: String,
    /// Our order.
    pub order: Option<String>,
    /// Whether it can still be paid.
    pub status: SessionStatus,
    /// Whether the money has come.
    pub payment: PaymentStatus,
    /// What it is paid in.
    pub currency: Option<String>,
    /// What the lines add up to, without tax, in cents.
    pub subtotal_cents: Option<i64>,
    /// The payment, once there is one.
    pub payment_intent: Option<String>,
    /// For Stripe.js; embedded sessions only.
    pub client_secret: Option<String>,
    /// Stripe's page; hosted sessions only.
    pub url: Option<String>,
}

/// Whether a session can still be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// It can.
    Open,
    /// The buyer is through.
    Complete,
    /// Nobody paid in time.
    Expired,
}

/// Whether the money has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// It has.
    Paid,
    /// Not yet: the buyer has not paid, or a delayed method is under way.
    Unpaid,
}
