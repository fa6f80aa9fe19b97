//! Auto top-up: what a user agrees to at a partner, sees of it, and switches off.
//!
//! The rules are `opencredits_schema::TopUp`; [`watch`] wakes for those who run low, [`charge`] charges
//! their cards. Only a fresh login agrees; any key of the partner's, which lives in its page, switches off.

mod charge;
mod notice;
mod watch;

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_actors::StoreError;
use opencredits_schema::{
    AccountId, Credits, Currency, DocumentKind, Key, Order, PartnerId, Timestamp, TopUp, TopUpEnd,
    TopUpState, TopUpTerms,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use charge::{ended, failed, learn, look, work};
pub(super) use watch::{TopUps, Wake};
pub(crate) use watch::{left, load};

use super::documents::{self, Record, Versioned};
use super::orders::{parse_cents, unavailable};
use super::{Desk, bad_field, desk, session};
use crate::answer::json;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::request::Incoming;

/// Far away, but found by whoever asks for all: what is on is listed at the start.
const SOME_DAY: Timestamp = Timestamp::from_millis(i64::MAX - 1);

/// The most that a user can let be charged in a month, in cents.
const MONTHLY_CENTS_MAX: u32 = 10_000_000;

/// Whose: an account at a partner.
type Owner = (AccountId, PartnerId);

/// What a buyer wishes, beside the order that says how much each time.
#[derive(Deserialize)]
pub(super) struct Wish {
    /// In credits.
    threshold: String,
    /// In dollars or euros.
    monthly_cap: String,
}

impl Wish {
    /// The terms of an order of so many cents that bring so many credits.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(super) fn terms(
        &self,
        cents: u32,
        credits: Credits,
        currency: Currency,
    ) -> Result<TopUpTerms, ApiError> {
        let threshold = Credits::parse(self.threshold.trim()).ok();
        // Else one top-up would not end what began it.
        let fits = |threshold: &Credits| threshold.is_positive() && *threshold <= credits;
        let threshold = threshold.filter(fits).ok_or_else(|| {
            bad_field("top_up.threshold", "is not between 0 and the credits that are bought")
        })?;
        let monthly = parse_cents(&self.monthly_cap).ok();
        let fits = |monthly: &u32| (cents..=MONTHLY_CENTS_MAX).contains(monthly);
        let monthly_cents = monthly.filter(fits).ok_or_else(|| {
            bad_field("top_up.monthly_cap", "is not between the amount and 100000")
        })?;
        Ok(TopUpTerms { threshold, cents, monthly_cents, currency })
    }
}

/// What the checkout shows of it.
#[derive(Serialize)]
pub(super) struct Shown {
    on: bool,
    /// Why it switched itself off.
    ended: Option<TopUpEnd>,
    /// In credits.
    threshold: Box<RawValue>,
    /// In the currency, as the other two.
    amount: f64,
    monthly_cap: f64,
    charged_this_month: f64,
    currency: Currency,
}

/// What the user of a key agreed to at its partner; `None` where there is nothing to say.
pub(super) async fn shown(gateway: &Gateway, key: &Key) -> Result<Option<Shown>, StoreError> {
    let Some(found) = find(gateway, (key.account, key.partner)).await? else { return Ok(None) };
    let top_up = found.value;
    let ended = match top_up.state {
        TopUpState::On => None,
        TopUpState::Off(TopUpEnd::User) => return Ok(None),
        TopUpState::Off(end) => Some(end),
    };
    let units = |cents: u32| f64::from(cents) / 100.0;
    let TopUpTerms { threshold, cents, monthly_cents, currency } = top_up.terms;
    Ok(Some(Shown {
        on: ended.is_none(),
        ended,
        threshold: threshold.to_json(),
        amount: units(cents),
        monthly_cap: units(monthly_cents),
        charged_this_month: units(top_up.charged_at(gateway.system.now())),
        currency,
    }))
}

/// `POST /checkout/top-up/off`: no charge begins any more. The key is enough.
///
/// # Errors
/// 401.
pub(super) async fn switch_off(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let caller = session::caller(gateway, request).await?;
    let owner = (caller.key.account, caller.key.partner);
    let now = gateway.system.now();
    change(gateway, desk, owner, |top_up| top_up.switch_off(TopUpEnd::User, now)).await?;
    json(StatusCode::OK, &session::account(gateway, &caller.key).await?)
}

/// A payment is disputed: whoever does that, or whose card was stolen, wants no other.
pub(super) async fn disputed(
    gateway: &Gateway,
    desk: &Desk,
    order: &Order,
) -> Result<(), StoreError> {
    documents::change_order(gateway, order.id, |order| order.top_up = None).await?;
    let (owner, now) = ((order.account, order.partner), gateway.system.now());
    change(gateway, desk, owner, |top_up| top_up.switch_off(TopUpEnd::Disputed, now)).await?;
    Ok(())
}

/// Puts the wish of a paid order in force, with the card that paid it.
///
/// # Errors
/// 502 when Stripe does not answer, 503 when the store does not: to be tried again.
pub(super) async fn keep(gateway: &Gateway, desk: &Desk, order: &Order) -> Result<(), ApiError> {
    let (Some(wish), Some(payment)) = (order.top_up, &order.payment) else { return Ok(()) };
    let payment = desk.stripe.payment(payment).await.map_err(unavailable)?;
    match payment.card {
        Some(card) => {
            let owner = (order.account, order.partner);
            let agree = |top_up: &mut TopUp| {
                top_up.agree(order.key, wish.terms, card.clone(), order.created);
            };
            let ids = (order.account, order.partner, order.key);
            let first = TopUp::new(ids, wish.terms, card.clone(), order.created);
            // Somebody else may have been first.
            if change(gateway, desk, owner, agree).await?.is_none()
                && !add(gateway, desk, &first).await?
            {
                change(gateway, desk, owner, agree).await?;
            }
        }
        None => tracing::warn!(order = %order.id, payment = %payment.id, "no card was kept"),
    }
    let kept = |order: &mut Order| {
        if let Some(wish) = &mut order.top_up {
            wish.kept = true;
        }
    };
    documents::change_order(gateway, order.id, kept).await?;
    Ok(())
}

impl Record for TopUp {
    const KIND: DocumentKind = DocumentKind::TopUp;

    fn id(&self) -> String {
        id((self.account, self.partner))
    }

    fn name(&self) -> Option<String> {
        None
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let charge = self.in_flight.as_ref().map(|charge| documents::next_look(charge.since, now));
        let on = (self.state == TopUpState::On).then_some(SOME_DAY);
        [charge, self.notice_due, on].into_iter().flatten().min()
    }
}

async fn find(gateway: &Gateway, owner: Owner) -> Result<Option<Versioned<TopUp>>, StoreError> {
    documents::read(gateway, DocumentKind::TopUp, &id(owner)).await
}

/// Changes a top-up, and what is watched for with it.
async fn change(
    gateway: &Gateway,
    desk: &Desk,
    owner: Owner,
    change: impl Fn(&mut TopUp),
) -> Result<Option<TopUp>, StoreError> {
    let turn = desk.top_ups.turn().await;
    let changed = documents::change(gateway, &id(owner), change).await?;
    if let Some(top_up) = &changed {
        turn.note(top_up, gateway.system.now());
    }
    Ok(changed)
}

/// A top-up whose user is to be told now, by whoever gets it.
async fn take_notice(
    gateway: &Gateway,
    desk: &Desk,
    owner: Owner,
) -> Result<Option<TopUp>, StoreError> {
    let _turn = desk.top_ups.turn().await;
    let Some(Versioned { mut value, version }) = find(gateway, owner).await? else {
        return Ok(None);
    };
    let taken =
        value.take_notice(gateway.system.now()) && documents::put(gateway, &value, version).await?;
    Ok(taken.then_some(value))
}

/// Adds a top-up; `false` if there is one.
async fn add(gateway: &Gateway, desk: &Desk, top_up: &TopUp) -> Result<bool, StoreError> {
    let turn = desk.top_ups.turn().await;
    let added = documents::put(gateway, top_up, 0).await?;
    if added {
        turn.note(top_up, gateway.system.now());
    }
    Ok(added)
}

fn id((account, partner): Owner) -> String {
    format!("{account}:{partner}")
}
