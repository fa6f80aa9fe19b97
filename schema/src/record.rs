//! Records of partners and user keys, as the stores keep them.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Credits, Event, KeyId, PartnerId, ReferralRate, RequestId, Timestamp};

/// The migrations of the SQLite store, in order; a database's `user_version` counts those done.
pub const SQL_MIGRATIONS: &[&str] = &[
    include_str!("../sql/0001_init.sql"),
    include_str!("../sql/0002_documents.sql"),
    include_str!("../sql/0003_key_use.sql"),
    include_str!("../sql/0004_ahead.sql"),
    include_str!("../sql/0005_settlement_values.sql"),
    include_str!("../sql/0006_requests_by_partner.sql"),
];

/// The migrations of the ScyllaDB store, in order; each is statements that end with `;`.
pub const CQL_MIGRATIONS: &[&str] = &[
    include_str!("../cql/0001_init.cql"),
    include_str!("../cql/0002_records.cql"),
    include_str!("../cql/0003_nodes.cql"),
];

/// Whoever embeds the checkout and earns the referral share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// Its id.
    pub id: PartnerId,
    /// For people.
    pub name: String,
    /// Names the partner in a page: `oc_pk_…`, no secret.
    pub publishable_key: String,
    /// SHA-256 of the partner's secret key `oc_rk_…`.
    pub secret_hash: [u8; 32],
    /// The share of each request's cost.
    pub referral_rate: ReferralRate,
    /// Patterns such as `openai/*`; `None` allows every model.
    pub allowed_models: Option<Vec<String>>,
    /// Origins from which browsers may use its keys; empty allows any.
    pub allowed_origins: Vec<String>,
    /// The rate limit of its keys that have none of their own, as configured: `600/min`.
    pub rate_limit_per_key: Option<String>,
    /// When it was made.
    pub created: Timestamp,
}

impl Partner {
    /// Whether its users may use a model: an exact id, `provider/*`, or anything.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix),
            None => model == pattern,
        };
        self.allowed_models.as_ref().is_none_or(|patterns| patterns.iter().any(matches))
    }
}

/// A user key `oc_sk_…`: lets its bearer spend an account's credits in a partner's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its public name.
    pub id: KeyId,
    /// SHA-256 of the key; the key itself is not kept.
    pub hash: [u8; 32],
    /// The account that pays.
    pub account: AccountId,
    /// The partner that earns.
    pub partner: PartnerId,
    /// Whether the checkout made it: it then spends what was bought in the partner's page, and beyond
    /// that only what the user consented to.
    #[serde(default)]
    pub checkout: bool,
    /// Its own rate limit, as configured: `5/s`.
    pub rate_limit: Option<String>,
    /// The most that it may spend.
    pub spend_limit: Option<Credits>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When and where it was used last, give or take a day.
    #[serde(default)]
    pub last_use: Option<KeyUse>,
}

/// When and where a key was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// When.
    pub at: Timestamp,
    /// The origin of the page, if a browser sent it.
    pub origin: Option<String>,
}

impl Key {
    /// Whether the key is good at a moment.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Keeps a use, unless a later one is known.
    pub fn used(&mut self, used: KeyUse) {
        if self.last_use.as_ref().is_none_or(|last| last.at < used.at) {
            self.last_use = Some(used);
        }
    }

    /// Since when nobody has used it.
    #[must_use]
    pub fn resting_since(&self) -> Timestamp {
        self.last_use.as_ref().map_or(self.created, |last| last.at)
    }
}

/// A durable event as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Whose event.
    pub account: AccountId,
    /// Its number within the account.
    pub seq: u64,
    /// What happened.
    pub event: Event,
    /// The balance after it.
    pub balance_after: Credits,
}

/// Which of a partner's requests are asked for; newest first.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    /// At most so many.
    pub limit: usize,
    /// Only those older than this request: the last one of the page before.
    pub after: Option<RequestId>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Of one model only.
    pub model: Option<String>,
}

/// What a partner earned on a day with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarningsRow {
    /// Days since 1970, UTC.
    pub day: i64,
    /// The model's id.
    pub model: String,
    /// How many requests.
    pub requests: u64,
    /// What the providers cost.
    pub cost: Credits,
    /// What the partner earned.
    pub share: Credits,
}

/// A partner's money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartnerBalance {
    /// All durable shares less reversals.
    pub earned: Credits,
    /// All payouts.
    pub paid_out: Credits,
}

impl PartnerBalance {
    /// What may be paid out.
    #[must_use]
    pub fn payable(&self) -> Credits {
        self.earned.minus(self.paid_out)
    }
}
