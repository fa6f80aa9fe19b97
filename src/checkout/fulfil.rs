//! From money to credits, exactly once, whoever comes first: webhook, browser or sweep.
//!
//! The purchase is one command to the account, keyed by the order. Only when that is durable is the
//! order marked paid; a crash between the two is healed by whoever asks next.

use opencredits_actors::{AskError, StoreError};
use opencredits_payments::{Payment, PaymentStatus, Session, SessionStatus};
use opencredits_schema::{AccountId, CheckoutMode, Command, LotKind, Order, OrderStatus, Refusal};

use super::orders::unavailable;
use super::top_up::{self, Wake};
use super::{Desk, documents};
use crate::error::ApiError;
use crate::gateway::Gateway;

/// Money came that is not what the order says; somebody has to look.
const MISMATCH: &str = "opencredits_order_mismatch_total";

/// Asks Stripe how far an order's session is, and does what follows from that.
///
/// # Errors
/// 502 when Stripe does not answer; 503 when the store does not.
pub(super) async fn ask_stripe(
    gateway: &Gateway,
    desk: &Desk,
    order: &Order,
) -> Result<Order, ApiError> {
    let Some(id) = &order.session else { return Ok(order.clone()) };
    let session = desk.stripe.session(id).await.map_err(unavailable)?;
    learn(gateway, order, &session).await
}

/// Does what follows from a session; the order as it is then.
///
/// # Errors
/// 503 when the store does not answer; the same session can be told again.
pub(super) async fn learn(
    gateway: &Gateway,
    order: &Order,
    session: &Session,
) -> Result<Order, ApiError> {
    if session.payment == PaymentStatus::Paid {
        if !fits(order, session.currency.as_deref(), session.subtotal_cents) {
            return Ok(order.clone());
        }
        return credit(gateway, order, session.payment_intent.clone()).await;
    }
    let change = |order: &mut Order| {
        if session.payment_intent.is_some() {
            order.payment.clone_from(&session.payment_intent);
        }
        match session.status {
            SessionStatus::Open => {}
            SessionStatus::Complete => order.processing(),
            SessionStatus::Expired => order.ended(OrderStatus::Expired),
        }
    };
    let changed = documents::change_order(gateway, order.id, change).await?;
    changed.ok_or_else(ApiError::not_found)
}

/// The money of an automatic order's payment came.
///
/// # Errors
/// 503 when the store does not answer; the same payment can be told again.
pub(super) async fn paid(
    gateway: &Gateway,
    order: &Order,
    payment: &Payment,
) -> Result<(), ApiError> {
    if fits(order, Some(&payment.currency), Some(payment.cents)) {
        credit(gateway, order, Some(payment.id.clone())).await?;
    }
    Ok(())
}

/// Gives an order's credits, once, and marks it paid.
pub(super) async fn credit(
    gateway: &Gateway,
    order: &Order,
    payment: Option<String>,
) -> Result<Order, ApiError> {
    let command = Command::Receive {
        source: order.source(),
        kind: LotKind::Purchase,
        credits: order.credits,
        reason: format!("{} {}", order.cents, order.currency.as_str()),
        partner: Some(order.partner),
        at: gateway.system.now(),
    };
    once(gateway, order.account, command, &order.source()).await?;
    let paid = |order: &mut Order| {
        order.paid();
        if payment.is_some() {
            order.payment.clone_from(&payment);
        }
    };
    let paid = documents::change_order(gateway, order.id, paid).await?;
    let paid = paid.ok_or_else(ApiError::not_found)?;
    if paid.mode == CheckoutMode::Auto {
        top_up::ended(gateway, &paid).await?;
    }
    if let Some(desk) = gateway.desk.as_ref().filter(|_| paid.wants_top_up()) {
        // The credits do not wait for it; one that finds no room is due in the sweep.
        desk.top_ups.wake(Wake::Keep(paid.id));
    }
    Ok(paid)
}

/// Asks an account for a command about an order that may have been done before; durable after.
///
/// # Errors
/// 503 when it is not known to be durable: to be asked again.
pub(super) async fn once(
    gateway: &Gateway,
    account: AccountId,
    command: Command,
    source: &str,
) -> Result<(), ApiError> {
    match gateway.system.ask(account, command).await {
        Ok(_) => Ok(()),
        Err(AskError::Refused(Refusal::Received)) => {
            // Somebody else's is on its way, or was durable long ago.
            gateway.system.settled(account).await;
            let head = gateway.system.store().head(account).await?;
            let lot = head.as_ref().and_then(|head| head.lot_of(LotKind::Purchase, source));
            lot.map(|_| ()).ok_or_else(|| ApiError::overloaded(1))
        }
        Err(AskError::Refused(refusal)) => Err(ApiError::internal(refusal)),
        Err(
            error @ (AskError::NoAccount
            | AskError::Lost
            | AskError::Moving
            | AskError::Unavailable(_)),
        ) => Err(StoreError::Unavailable(error.to_string()).into()),
    }
}

/// Whether what was paid is what was ordered. If not, somebody has to look.
fn fits(order: &Order, currency: Option<&str>, cents: Option<i64>) -> bool {
    let fits = currency == Some(order.currency.as_str()) && cents == Some(order.cents.into());
    if !fits {
        metrics::counter!(MISMATCH).increment(1);
        tracing::error!(order = %order.id, ?currency, ?cents, "the payment is not what was ordered");
    }
    fits
}
