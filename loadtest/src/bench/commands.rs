//! What is asked of an account without HTTP: money, a hold, its charge.

use opencredits_schema::{
    AccountId, Basis, Charged, Command, Credits, KeyId, LotKind, PartnerId, PicoUsd, Place,
    ReferralRate, RequestId, SettledBy, Status, Timestamp, Usage,
};

/// What each account is given, in microcredits: more than any run spends.
const GRANT: i64 = 1_000_000_000_000;
/// What a request is held for and charged, in microcredits.
const HELD: i64 = 2_000;
const CHARGED: i64 = 1_000;
/// The moment of everything: in 2026.
pub(super) const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// At whom it is.
pub(super) const PARTNER: PartnerId = PartnerId::new(1);

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
        share: Credits::ZERO,
        basis: Basis::Provider,
        status: Status::Completed,
    });
    Command::Settle { charged, by: SettledBy::Request, at: AT }
}
