//! What the checkout needs to sell: Stripe, mail, and limits on both.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use opencredits_payments::{PaymentError, Stripe};
use opencredits_schema::{AccountId, OrderId};

use super::mail::{MailSetupError, Mailer};
use super::top_up::TopUps;
use crate::config::{Config, RateLimit, Secret};
use crate::error::ApiError;

/// How often Stripe is asked about one order by those who wait for it.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Orders that an account may make in ten minutes: each is a call to Stripe, which limits ours.
const ORDERS: RateLimit =
    RateLimit { count: NonZeroU32::new(30).unwrap(), per: Duration::from_secs(600) };

/// Why the checkout cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutSetupError {
    /// Stripe's client.
    #[error("Stripe: {0}")]
    Stripe(#[from] PaymentError),
    /// The way to send mail.
    #[error("mail: {0}")]
    Mail(#[from] MailSetupError),
}

/// What sells credits.
pub struct Desk {
    pub(super) stripe: Stripe,
    pub(super) stripe_key: String,
    pub(super) js_url: String,
    pub(super) webhook_secret: Secret,
    pub(super) live: bool,
    pub(super) mailer: Arc<Mailer>,
    pub(super) mails_by_address: Limits<std::net::IpAddr>,
    pub(super) mails_by_mailbox: Limits<String>,
    pub(super) asks: Limits<OrderId>,
    pub(super) orders: Limits<AccountId>,
    pub(super) top_ups: TopUps,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Desk {
    /// The desk of a configuration; `None` where Stripe's keys are not set.
    ///
    /// # Errors
    /// [`CheckoutSetupError`].
    pub fn new(config: &Config) -> Result<Option<Self>, CheckoutSetupError> {
        let stripe = &config.stripe;
        let (Some(secret), Some(publishable), Some(webhook)) =
            (&stripe.secret_key, &stripe.publishable_key, &stripe.webhook_secret)
        else {
            return Ok(None);
        };
        let once = RateLimit { count: NonZeroU32::MIN, per: ASK_EVERY };
        Ok(Some(Self {
            stripe: Stripe::new(secret.expose(), &stripe.api_base.to_string())?,
            stripe_key: publishable.clone(),
            js_url: stripe.js_url.clone(),
            webhook_secret: webhook.clone(),
            live: stripe.live,
            mailer: Arc::new(Mailer::new(config)?),
            mails_by_address: Limits::new(config.rates.login_per_ip),
            mails_by_mailbox: Limits::new(config.rates.login_per_email),
            asks: Limits::new(once),
            orders: Limits::new(ORDERS),
            top_ups: TopUps::new(),
        }))
    }

    /// Forgets who has been quiet; to be called every minute or so.
    pub(super) fn upkeep(&self) {
        self.mails_by_address.upkeep();
        self.mails_by_mailbox.upkeep();
        self.asks.upkeep();
        self.orders.upkeep();
    }
}

/// So many in so long for each key, and all of them at once if they like.
pub(super) struct Limits<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock>,
}

impl<K: Hash + Eq + Clone> Limits<K> {
    fn new(rate: RateLimit) -> Self {
        let each = rate.per.checked_div(rate.count.get()).unwrap_or(rate.per);
        let each = each.max(Duration::from_nanos(1));
        // The period is above zero, so there always is such a quota.
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self { limiter: RateLimiter::dashmap(quota.allow_burst(rate.count)) }
    }

    /// Whether one more fits; it is counted if it does.
    pub(super) fn admits(&self, key: &K) -> bool {
        self.limiter.check_key(key).is_ok()
    }

    /// # Errors
    /// 429 with the time to wait.
    pub(super) fn check(&self, key: &K) -> Result<(), ApiError> {
        self.limiter.check_key(key).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            ApiError::rate_limited(wait.as_secs().saturating_add(1))
        })
    }

    fn upkeep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}
