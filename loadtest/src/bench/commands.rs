//! What is asked of an account without HTTP: money, a hold, its charge.

use opencredits::keys;
use opencredits_schema::{
    AccountId, Basis, Charged, Command, Credits, KeyId, LotKind, Partner, PartnerId, PicoUsd,
    Place, ReferralRate, RequestId, SettledBy, Status, Timestamp, Usage,
};

/// What each account is given, in microcredits: more than any run spends.
const GRANT: i64 = 1_000_000_000_000;
/// What a request is held for and charged, in microcredits.
const HELD: i64 = 2_000;
const CHARGED: i64 = 1_000;
/// The partners' share, in basis points, and of a charge in microcredits.
const RATE: u16 = 1_000;
const SHARE: i64 = 100;
/// The moment of everything: in 2026.
pub(super) const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// At whom it is.
pub(crate) const PARTNER: PartnerId = PartnerId::new(1);

/// The partner of a number.
#[must_use]
pub fn partner(id: PartnerId) -> Partner {
    let name = format!("partner {}", id.number());
    Partner {
        id,
        publishable_key: format!("oc_pk_{name}"),
        secret_hash: keys::hash(&name),
        name,
        referral_rate: ReferralRate::from_basis_points(RATE).unwrap_or_default(),
        allowed_models: None,
        allowed_origins: Vec::new(),
        rate_limit_per_key: None,
        created: AT,
    }
}

/// Money for an account.
#[must_use]
pub fn grant(account: AccountId) -> Command {
    Command::Receive {
        source: format!("bench:{account}"),
        kind: LotKind::Grant,
        credits: Credits::from_micro(GRANT),
        reason: String::new(),
        partner: None,
        at: AT,
    }
}

/// A hold for a request.
#[must_use]
pub fn place(request: RequestId, key: KeyId) -> Command {
    let amount = Credits::from_micro(HELD);
    Command::Place(Place {
        request,
        key,
        partner: PARTNER,
        amount,
        least: amount,
        headroom: Credits::ZERO,
        key_limit: None,
        partner_extra: None,
        holds_max: usize::MAX,
        expires_at: Timestamp::from_millis(i64::MAX),
        resumed: false,
    })
}

/// The charge of a request.
#[must_use]
pub fn settle(request: RequestId, key: KeyId) -> Command {
    let charged = Box::new(Charged {
        request,
        key,
        partner: PARTNER,
        model: "openai/gpt-4o-mini".into(),
        price_id: "seeded".into(),
        rate: ReferralRate::default(),
        usage: Usage { input: 300, output: 120, ..Usage::default() },
        provider_cost: PicoUsd(10_000_000),
        cost: Credits::from_micro(CHARGED),
        share: Credits::from_micro(SHARE),
        basis: Basis::Provider,
        status: Status::Completed,
    });
    Command::Settle { charged, by: SettledBy::Request, at: AT }
}
