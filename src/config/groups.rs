//! The settings by group, each of which reads itself and complains for itself.

use std::str::FromStr;
use std::time::Duration;

use opencredits_schema::Credits;

use super::checks::{
    count, exchange_rate, log_filter, mailbox, order_cents, positive, positive_size, provider_key,
    provider_origin, secret, smtp_address, stripe_publishable_key, stripe_secret_key, token,
    web_address,
};
use super::reader::Reader;
use super::values::{
    BadValue, Origin, RateLimit, Secret, StoreConfig, duration, host_and_port, positive_duration,
};
use super::variables::VARIABLES;

/// Keys and addresses of the providers.
#[derive(Clone, Debug)]
pub struct Providers {
    /// OpenAI.
    pub openai: ProviderConfig,
    /// Anthropic.
    pub anthropic: ProviderConfig,
    /// Google (Gemini).
    pub google: ProviderConfig,
    /// xAI.
    pub xai: ProviderConfig,
}

/// Key and address of one provider.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// The operator's key; without it the provider's models answer 502.
    pub api_key: Option<Secret>,
    /// The origin, without the version path.
    pub base_url: Origin,
}

/// Stripe's keys and addresses.
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// `sk_test_…` or `sk_live_…`.
    pub secret_key: Option<Secret>,
    /// `pk_test_…` or `pk_live_…`.
    pub publishable_key: Option<String>,
    /// Signing secret of the webhook; without it the route is refused.
    pub webhook_secret: Option<Secret>,
    /// Origin of the API.
    pub api_base: Origin,
    /// Address of Stripe.js.
    pub js_url: String,
    /// Whether a key moves real money.
    pub live: bool,
}

/// Where login codes are sent from.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// The server, with its password.
    pub smtp_url: Secret,
    /// The sender.
    pub from: String,
}

/// How often something may be asked for.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Requests of one key, unless the key has its own limit.
    pub per_key: RateLimit,
    /// Login codes sent for one address.
    pub login_per_ip: RateLimit,
    /// Login codes sent to one mailbox.
    pub login_per_email: RateLimit,
}

/// What can be bought.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// Credits for one euro cent; `None` = eur is refused.
    pub eur_rate: Option<Credits>,
    /// Smallest order, in cents of the order's currency.
    pub min_cents: u32,
    /// Largest order, in cents of the order's currency.
    pub max_cents: u32,
}

/// Limits at the door.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Largest request head in bytes.
    pub max_headers: usize,
    /// Open connections; further ones wait to be accepted.
    pub max_connections: usize,
    /// Longest wait for a whole head, and for the next request.
    pub header_timeout: Duration,
    /// Longest wait for a whole body.
    pub body_timeout: Duration,
}

/// Limits inside.
#[derive(Clone, Copy, Debug)]
pub struct InnerLimits {
    /// Requests of one key that run at once.
    pub open_streams_per_key: usize,
    /// Open holds of one account.
    pub holds_per_account: usize,
    /// Events that wait for the store.
    pub journal_queue: usize,
    /// Answers read on at once after their clients left; 0 = none.
    pub drain_count: usize,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a hold stands without being renewed.
    pub hold_lease: Duration,
    /// How long an idle account stays in memory.
    pub passivate_after: Duration,
    /// How long an answer is read on after its client went away.
    pub drain: Duration,
    /// How long an answer's end waits for its settlement.
    pub settle_wait: Duration,
    /// How long running requests may go on after SIGTERM.
    pub shutdown_wait: Duration,
    /// How long a key of the checkout stays good while nobody uses it.
    pub key_idle: Duration,
}

/// This node among several.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `HOST:PORT` at which the other nodes reach this one.
    pub address: String,
    /// The secret that the nodes share.
    pub secret: Secret,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The tracing filter.
    pub filter: String,
    /// Whether each event is one JSON object on a line.
    pub json: bool,
}

impl Providers {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut one = |key, base| {
            let api_key = reader.maybe(key, provider_key);
            let base_url = reader.need(base, provider_origin);
            Some(ProviderConfig { api_key: api_key?, base_url: base_url? })
        };
        let openai = one("OPENCREDITS_OPENAI_API_KEY", "OPENCREDITS_OPENAI_BASE_URL");
        let anthropic = one("OPENCREDITS_ANTHROPIC_API_KEY", "OPENCREDITS_ANTHROPIC_BASE_URL");
        let google = one("OPENCREDITS_GOOGLE_API_KEY", "OPENCREDITS_GOOGLE_BASE_URL");
        let xai = one("OPENCREDITS_XAI_API_KEY", "OPENCREDITS_XAI_BASE_URL");
        Some(Self { openai: openai?, anthropic: anthropic?, google: google?, xai: xai? })
    }
}

impl StripeConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        const BASE: &str = "OPENCREDITS_STRIPE_API_BASE";
        const SCRIPT: &str = "OPENCREDITS_STRIPE_JS_URL";
        let secret_key = reader.maybe("OPENCREDITS_STRIPE_SECRET_KEY", stripe_secret_key);
        let publishable_key =
            reader.maybe("OPENCREDITS_STRIPE_PUBLISHABLE_KEY", stripe_publishable_key);
        let webhook_secret = reader.maybe("OPENCREDITS_STRIPE_WEBHOOK_SECRET", secret);
        let api_base = reader.need(BASE, Origin::from_str);
        let js_url = reader.need(SCRIPT, web_address);
        let given = [
            ("OPENCREDITS_STRIPE_SECRET_KEY", secret_key.as_ref().is_some_and(Option::is_some)),
            (
                "OPENCREDITS_STRIPE_PUBLISHABLE_KEY",
                publishable_key.as_ref().is_some_and(Option::is_some),
            ),
            (
                "OPENCREDITS_STRIPE_WEBHOOK_SECRET",
                webhook_secret.as_ref().is_some_and(Option::is_some),
            ),
        ];
        // Half a checkout would take money that nobody credits.
        if given.iter().any(|(_, is)| *is) && secret_key.is_some() && publishable_key.is_some() {
            for (name, _) in given.iter().filter(|(_, is)| !is) {
                reader.complain(name, None, "is missing, while Stripe's other keys are set");
            }
        }
        let has_live = |key: &str| key.starts_with("sk_live_") || key.starts_with("rk_live_");
        let secret_live = secret_key.as_ref().and_then(Option::as_ref);
        let public_live = publishable_key.as_ref().and_then(Option::as_ref);
        let live = secret_live.is_some_and(|key| has_live(key.expose()))
            || public_live.is_some_and(|key| key.starts_with("pk_live_"));
        let bases = [(BASE, api_base.as_ref().map(Origin::to_string)), (SCRIPT, js_url.clone())];
        for (name, value) in bases {
            let own = VARIABLES.iter().find(|variable| variable.name == name);
            let is_own = own.is_some_and(|own| own.default.ok() == value.as_deref());
            if live && value.is_some() && !is_own {
                reader.complain(name, value, "is refused together with a live key");
            }
        }
        Some(Self {
            secret_key: secret_key?,
            publishable_key: publishable_key?,
            webhook_secret: webhook_secret?,
            api_base: api_base?,
            js_url: js_url?,
            live,
        })
    }
}

impl MailConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Option<Self>> {
        let smtp_url = reader.maybe("OPENCREDITS_SMTP_URL", smtp_address);
        let from = reader.maybe("OPENCREDITS_MAIL_FROM", mailbox);
        match (smtp_url?, from?) {
            (Some(smtp_url), Some(from)) => Some(Some(Self { smtp_url, from })),
            (Some(_), None) => {
                let problem = "is missing, while OPENCREDITS_SMTP_URL is set";
                reader.complain("OPENCREDITS_MAIL_FROM", None, problem);
                None
            }
            (None, _) => Some(None),
        }
    }
}

impl RateLimits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let per_key = reader.need("OPENCREDITS_RATE_LIMIT_PER_KEY", RateLimit::from_str);
        let login_per_ip = reader.need("OPENCREDITS_LOGIN_LIMIT_PER_IP", RateLimit::from_str);
        let login_per_email = reader.need("OPENCREDITS_LOGIN_LIMIT_PER_EMAIL", RateLimit::from_str);
        Some(Self {
            per_key: per_key?,
            login_per_ip: login_per_ip?,
            login_per_email: login_per_email?,
        })
    }
}

impl Orders {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let eur_rate = reader.maybe("OPENCREDITS_EUR_RATE", exchange_rate);
        let min_cents = reader.need("OPENCREDITS_ORDER_MIN", order_cents);
        let max_cents = reader.need("OPENCREDITS_ORDER_MAX", order_cents);
        if let (Some(min), Some(max)) = (min_cents, max_cents)
            && min > max
        {
            let problem = "is above OPENCREDITS_ORDER_MAX";
            reader.complain("OPENCREDITS_ORDER_MIN", None, problem);
        }
        Some(Self { eur_rate: eur_rate?, min_cents: min_cents?, max_cents: max_cents? })
    }
}

impl DoorLimits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let max_body = reader.need("OPENCREDITS_MAX_BODY", positive_size);
        let max_headers = reader.need("OPENCREDITS_MAX_HEADERS", positive_size);
        let max_connections = reader.need("OPENCREDITS_MAX_CONNECTIONS", positive);
        let header_timeout = reader.need("OPENCREDITS_HEADER_TIMEOUT", positive_duration);
        let body_timeout = reader.need("OPENCREDITS_BODY_TIMEOUT", positive_duration);
        Some(Self {
            max_body: max_body?,
            max_headers: max_headers?,
            max_connections: max_connections?,
            header_timeout: header_timeout?,
            body_timeout: body_timeout?,
        })
    }
}

impl InnerLimits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let open_streams_per_key = reader.need("OPENCREDITS_OPEN_STREAMS_PER_KEY", positive);
        let holds_per_account = reader.need("OPENCREDITS_HOLDS_PER_ACCOUNT", positive);
        let journal_queue = reader.need("OPENCREDITS_JOURNAL_QUEUE", positive);
        let drain_count = reader.need("OPENCREDITS_DRAIN_COUNT", count);
        Some(Self {
            open_streams_per_key: open_streams_per_key?,
            holds_per_account: holds_per_account?,
            journal_queue: journal_queue?,
            drain_count: drain_count?,
        })
    }
}

impl Times {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let hold_lease = reader.need("OPENCREDITS_HOLD_LEASE", positive_duration);
        let passivate_after = reader.need("OPENCREDITS_PASSIVATE_AFTER", positive_duration);
        let drain = reader.need("OPENCREDITS_DRAIN_TIME", duration);
        let settle_wait = reader.need("OPENCREDITS_SETTLE_WAIT", positive_duration);
        let shutdown_wait = reader.need("OPENCREDITS_SHUTDOWN_WAIT", duration);
        let key_idle = reader.need("OPENCREDITS_KEY_IDLE", positive_duration);
        Some(Self {
            hold_lease: hold_lease?,
            passivate_after: passivate_after?,
            drain: drain?,
            settle_wait: settle_wait?,
            shutdown_wait: shutdown_wait?,
            key_idle: key_idle?,
        })
    }
}

impl NodeConfig {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        store: Option<&StoreConfig>,
    ) -> Option<Option<Self>> {
        const NAMES: [&str; 2] = ["OPENCREDITS_NODE_ADDRESS", "OPENCREDITS_NODE_SECRET"];
        let [address_name, secret_name] = NAMES;
        let address = reader.maybe(address_name, host_and_port);
        let secret = reader.maybe(secret_name, token);
        let embedded = matches!(store, Some(StoreConfig::Sqlite(_)));
        match (address?, secret?) {
            (Some(_), Some(_)) if embedded => {
                reader.complain(address_name, None, "needs a store that several nodes can share");
                None
            }
            (Some(address), Some(secret)) => Some(Some(Self { address, secret })),
            (Some(_), None) => {
                reader.complain(
                    secret_name,
                    None,
                    "is missing, while OPENCREDITS_NODE_ADDRESS is set",
                );
                None
            }
            (None, Some(_)) => {
                reader.complain(
                    address_name,
                    None,
                    "is missing, while OPENCREDITS_NODE_SECRET is set",
                );
                None
            }
            (None, None) => Some(None),
        }
    }
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let filter = reader.need("OPENCREDITS_LOG", log_filter);
        let json = reader.need("OPENCREDITS_LOG_FORMAT", |text| match text {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err(BadValue("is neither text nor json")),
        });
        Some(Self { filter: filter?, json: json? })
    }
}
