//! The worker that charges saved cards: each step is written before the next, and any of them can be done
//! again.
//!
//! First the top-up says that an order is under way, then the order is written, then Stripe is asked
//! under a key that follows from the order, then the credits are given, then the top-up says how it
//! ended. Webhooks, the sweep and the start all call the same functions.

use std::sync::Arc;

use opencredits_payments::{
    Failure, NEEDS_AUTHENTICATION, NewPayment, Payment, PaymentError, PaymentStage,
};
use opencredits_schema::{
    Attempt, CheckoutMode, NoTopUp, Order, OrderId, OrderStatus, TopUp, TopUpCharge, TopUpOutcome,
    credits_for,
};
use tokio::sync::Semaphore;

use super::{Owner, Wake, change, find, keep, notice, take_notice};
use crate::checkout::orders::unavailable;
use crate::checkout::{Desk, documents, fulfil, session};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::random;

/// What the worker does at once.
const AT_ONCE: usize = 8;
/// How long after it was made an order may be sent to Stripe again: its key is kept for a day at least.
const KEY_LIFE_MS: i64 = 23 * 3_600_000;
/// How long nothing can come of a month whose cap is reached.
const CAPPED_MS: i64 = 3_600_000;

/// The failure of what Stripe refused to try at all.
const REFUSED: &str = "refused";
/// Charges that were begun.
const BEGUN: &str = "opencredits_top_ups_total";

/// Tops up for as long as it runs.
pub(in crate::checkout) async fn work(gateway: &Arc<Gateway>) {
    let Some(desk) = &gateway.desk else { return };
    let mut wakes = desk.top_ups.wakes().await;
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(wake) = wakes.recv().await {
        // It is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move {
            if let Err(error) = follow(&gateway, wake).await {
                tracing::warn!(?wake, %error, "a top-up waits for the next look");
            }
            drop(slot);
        });
    }
}

async fn follow(gateway: &Gateway, wake: Wake) -> Result<(), ApiError> {
    let Some(desk) = &gateway.desk else { return Ok(()) };
    match wake {
        Wake::Low(owner) => top_up(gateway, desk, owner).await,
        Wake::Look(owner) => match find(gateway, owner).await? {
            Some(found) => look(gateway, desk, &found.value).await,
            None => Ok(()),
        },
        Wake::Keep(order) => match documents::order(gateway, order).await? {
            Some(found) if found.value.wants_top_up() => keep(gateway, desk, &found.value).await,
            Some(_) | None => Ok(()),
        },
    }
}

/// Charges the card of an account if the rules say so.
async fn top_up(gateway: &Gateway, desk: &Desk, owner: Owner) -> Result<(), ApiError> {
    let bits = random::bytes::<8>().map_err(ApiError::internal)?;
    let (order, now) = (OrderId::new(u64::from_be_bytes(bits)), gateway.system.now());
    // Asked anew: somebody may have bought credits meanwhile.
    let available = session::spendable(gateway, owner.0, owner.1).await?;
    let begin = |top_up: &mut TopUp| {
        if let Ok(charge) = top_up.decide(order, available, now) {
            top_up.begin(charge);
        }
    };
    let Some(top_up) = change(gateway, desk, owner, begin).await? else { return Ok(()) };
    if top_up.in_flight.as_ref().is_some_and(|charge| charge.order == order) {
        metrics::counter!(BEGUN).increment(1);
        tracing::info!(account = %owner.0, %order, "topping up");
        return look(gateway, desk, &top_up).await;
    }
    match top_up.decide(order, available, now) {
        Err(NoTopUp::Capped) => desk.top_ups.rest(owner, now.plus_millis(CAPPED_MS)),
        Err(NoTopUp::Resting(until)) => desk.top_ups.rest(owner, until),
        Ok(_) | Err(NoTopUp::Off | NoTopUp::Enough | NoTopUp::InFlight) => {}
    }
    Ok(())
}

/// Goes on with whatever of a top-up is not finished.
///
/// # Errors
/// 502 when Stripe or the mail server does not answer, 503 when the store does not: due again.
pub(in crate::checkout) async fn look(
    gateway: &Gateway,
    desk: &Desk,
    top_up: &TopUp,
) -> Result<(), ApiError> {
    if let Some(charge) = &top_up.in_flight {
        go_on(gateway, desk, top_up, charge).await?;
    }
    let owner = (top_up.account, top_up.partner);
    if let Some(top_up) = take_notice(gateway, desk, owner).await? {
        notice::send(gateway, desk, &top_up).await?;
        change(gateway, desk, owner, TopUp::noticed).await?;
    }
    Ok(())
}

/// Does what is left of a charge, from wherever it stopped.
async fn go_on(
    gateway: &Gateway,
    desk: &Desk,
    top_up: &TopUp,
    charge: &TopUpCharge,
) -> Result<(), ApiError> {
    let owner = (top_up.account, top_up.partner);
    let Some(wanted) = order_of(gateway, owner, charge) else {
        tracing::error!(account = %top_up.account, "a top-up's currency is not sold any more");
        return finish(gateway, owner, charge.order, TopUpOutcome::Dropped).await;
    };
    let first = documents::put(gateway, &wanted, 0).await?;
    let order = if first {
        wanted
    } else {
        let found = documents::order(gateway, charge.order).await?;
        found.ok_or_else(|| ApiError::overloaded(1))?.value
    };
    if !order.is_pending() {
        return ended(gateway, &order).await;
    }
    let email = gateway.system.store().email_of(order.account).await?;
    let wanted = NewPayment {
        order: order.id.to_string(),
        currency: order.currency,
        cents: order.cents,
        card: charge.card.clone(),
        email,
        since: order.created.seconds(),
    };
    let is_young = gateway.system.now() < order.created.plus_millis(KEY_LIFE_MS);
    let known =
        if first { None } else { desk.stripe.charged(&wanted).await.map_err(unavailable)? };
    let payment = match known {
        Some(payment) => payment,
        None if is_young => match desk.stripe.charge(&wanted).await {
            Ok(payment) => payment,
            Err(error) => return refused(gateway, &order, error).await,
        },
        // Its key may be forgotten: to ask again could charge twice.
        None => {
            let given_up = |order: &mut Order| order.ended(OrderStatus::Canceled);
            let order = documents::change_order(gateway, order.id, given_up).await?;
            return ended(gateway, &order.ok_or_else(ApiError::not_found)?).await;
        }
    };
    learn(gateway, &order, &payment).await.map(|_| ())
}

/// Does what follows from a payment of an automatic order.
///
/// # Errors
/// 503 when the store does not answer; the same payment can be told again.
pub(in crate::checkout) async fn learn(
    gateway: &Gateway,
    order: &Order,
    payment: &Payment,
) -> Result<(), ApiError> {
    match &payment.stage {
        PaymentStage::Succeeded => fulfil::paid(gateway, order, payment).await,
        PaymentStage::Failed(failure) => failed(gateway, order, Some(&payment.id), failure).await,
        PaymentStage::Pending => {
            let pending = |order: &mut Order| {
                order.payment = Some(payment.id.clone());
                order.processing();
            };
            documents::change_order(gateway, order.id, pending).await?;
            Ok(())
        }
    }
}

/// An automatic order has failed; there is no other attempt at it.
///
/// # Errors
/// 503 when the store does not answer; to be told again.
pub(in crate::checkout) async fn failed(
    gateway: &Gateway,
    order: &Order,
    payment: Option<&str>,
    failure: &Failure,
) -> Result<(), ApiError> {
    let attempt = Attempt {
        event: payment.unwrap_or(REFUSED).to_owned(),
        code: failure.code.clone(),
        message: failure.message.clone(),
    };
    let failed = |order: &mut Order| {
        order.payment = payment.map(str::to_owned).or_else(|| order.payment.take());
        order.ended(OrderStatus::Failed);
        order.failed_attempt(attempt.clone());
    };
    let order = documents::change_order(gateway, order.id, failed).await?;
    ended(gateway, &order.ok_or_else(ApiError::not_found)?).await
}

/// Stripe did not charge: for good, or as far as is known.
async fn refused(gateway: &Gateway, order: &Order, error: PaymentError) -> Result<(), ApiError> {
    match error {
        // Where the operator's key lacks the right, nothing of the buyer's is wrong.
        PaymentError::Refused { status, message } if !matches!(status, 401 | 403) => {
            tracing::warn!(order = %order.id, status, %message, "a saved card was not charged");
            let failure = Failure { code: REFUSED.to_owned(), message };
            failed(gateway, order, None, &failure).await
        }
        error @ (PaymentError::Refused { .. } | PaymentError::Unknown(_)) => {
            Err(unavailable(error))
        }
    }
}

/// Tells a top-up how its order ended, if it has.
///
/// # Errors
/// 503 when the store does not answer: to be told again.
pub(in crate::checkout) async fn ended(gateway: &Gateway, order: &Order) -> Result<(), ApiError> {
    let outcome = match order.status {
        OrderStatus::Open | OrderStatus::Processing => return Ok(()),
        OrderStatus::Paid => TopUpOutcome::Paid,
        OrderStatus::Expired | OrderStatus::Canceled => TopUpOutcome::Dropped,
        OrderStatus::Failed => {
            let last = order.attempts.last();
            let away = last.is_some_and(|last| last.code == NEEDS_AUTHENTICATION);
            if away { TopUpOutcome::NeedsAuthentication } else { TopUpOutcome::Declined }
        }
    };
    finish(gateway, (order.account, order.partner), order.id, outcome).await
}

async fn finish(
    gateway: &Gateway,
    owner: Owner,
    order: OrderId,
    outcome: TopUpOutcome,
) -> Result<(), ApiError> {
    let Some(desk) = &gateway.desk else { return Ok(()) };
    let now = gateway.system.now();
    let after = change(gateway, desk, owner, |top_up| top_up.end(order, outcome, now)).await?;
    if after.is_some_and(|top_up| top_up.notice_due.is_some()) {
        // One that finds no room is due in the sweep.
        desk.top_ups.wake(Wake::Look(owner));
    }
    Ok(())
}

/// The order of a charge; `None` where its currency has no price any more.
fn order_of(gateway: &Gateway, (account, partner): Owner, charge: &TopUpCharge) -> Option<Order> {
    let credits = credits_for(charge.currency, charge.cents, gateway.config.orders.eur_rate)?;
    Some(Order {
        id: charge.order,
        account,
        partner,
        key: charge.key,
        origin: String::new(),
        currency: charge.currency,
        cents: charge.cents,
        credits,
        mode: CheckoutMode::Auto,
        by_login: false,
        top_up: None,
        // The hash of nothing: no page asks for it.
        token_hash: [0; 32],
        status: OrderStatus::Open,
        attempts: Vec::new(),
        session: None,
        payment: None,
        created: charge.since,
        expires: charge.since.plus_millis(KEY_LIFE_MS),
    })
}
