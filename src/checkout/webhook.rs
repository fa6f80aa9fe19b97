//! Stripe's webhook: believed only if it is signed, answered only when its work is durable.

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_payments::{Event, Happened, PaymentError, Session, SessionStage, verify};
use opencredits_schema::{
    Attempt, CheckoutMode, Command, Credits, DocumentKind, Order, OrderId, OrderStatus, Timestamp,
};

use super::{desk, documents, fulfil, orders, top_up};
use crate::answer::json;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::request::Incoming;

/// How long an event is remembered: longer than Stripe repeats it.
const REMEMBERED_MS: i64 = 40 * 86_400_000;

/// `POST /stripe/webhook`.
///
/// # Errors
/// 400 for what is not signed; 503 when it could not be made durable, so that Stripe repeats it.
pub async fn receive(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let header = request.headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let now = gateway.system.now().seconds();
    let secret = desk.webhook_secret.expose();
    verify(&request.body, header.unwrap_or_default(), secret, now)
        .map_err(|error| ApiError::invalid_request(format!("Not believed: {error}.")))?;
    let event =
        Event::read(&request.body).map_err(|error| ApiError::invalid_request(error.to_string()))?;
    let kind = DocumentKind::Webhook;
    let known = documents::read::<Timestamp>(gateway, kind, &event.id).await?;
    if known.is_none() {
        work_off(gateway, &event).await?;
        let now = gateway.system.now();
        let due = Some(now.plus_millis(REMEMBERED_MS));
        // Somebody may have been as fast; the work is keyed, so it was done once.
        documents::write(gateway, kind, &event.id, 0, due, &now).await?;
    }
    json(StatusCode::OK, &serde_json::json!({ "received": true }))
}

async fn work_off(gateway: &Gateway, event: &Event) -> Result<(), ApiError> {
    match &event.happened {
        Happened::Session(stage, session) => of_session(gateway, event, *stage, session).await,
        Happened::Paid(payment) => {
            let Some(order) = find(gateway, payment.order.as_deref(), Some(&payment.id)).await?
            else {
                return unknown(event);
            };
            // Of any other order the session tells more.
            if order.mode == CheckoutMode::Auto {
                top_up::learn(gateway, &order, payment).await?;
            }
            Ok(())
        }
        Happened::PaymentFailed { payment_intent, order, failure } => {
            let Some(order) = find(gateway, order.as_deref(), Some(payment_intent)).await? else {
                return unknown(event);
            };
            if order.mode == CheckoutMode::Auto {
                return top_up::failed(gateway, &order, Some(payment_intent), failure).await;
            }
            let attempt = Attempt {
                event: event.id.clone(),
                code: failure.code.clone(),
                message: failure.message.clone(),
            };
            let change = |order: &mut Order| order.failed_attempt(attempt.clone());
            documents::change_order(gateway, order.id, change).await?;
            Ok(())
        }
        Happened::Refunded { payment_intent, order, refunded_cents, charged_cents } => {
            let Some(order) = find(gateway, order.as_deref(), Some(payment_intent)).await? else {
                return unknown(event);
            };
            // A refund may be told before its purchase.
            let order = fulfil::credit(gateway, &order, Some(payment_intent.clone())).await?;
            let cents = |cents: i64| Credits::from_micro(cents.max(0));
            let (refunded, charged) = (cents(*refunded_cents), cents(*charged_cents));
            // With tax more was charged than the credits cost; the same part of both goes back.
            let cumulative = order.credits.portion(refunded.min(charged), charged);
            if !cumulative.is_positive() {
                return Ok(());
            }
            let source = order.source();
            let at = gateway.system.now();
            let command = Command::Refund { source: source.clone(), cumulative, at };
            fulfil::once(gateway, order.account, command, &source).await
        }
        Happened::Disputed { dispute, payment_intent, cents, stage } => {
            let Some(order) = find(gateway, None, Some(payment_intent)).await? else {
                return unknown(event);
            };
            tracing::warn!(order = %order.id, %dispute, ?stage, "a payment is disputed");
            let order = fulfil::credit(gateway, &order, Some(payment_intent.clone())).await?;
            top_up::disputed(gateway, desk(gateway)?, &order).await?;
            let cents = u32::try_from((*cents).max(0)).unwrap_or(u32::MAX).min(order.cents);
            let part = |cents: u32| Credits::from_micro(cents.into());
            let command = Command::Dispute {
                source: order.source(),
                dispute: dispute.clone(),
                stage: *stage,
                credits: order.credits.portion(part(cents), part(order.cents)),
                at: gateway.system.now(),
            };
            fulfil::once(gateway, order.account, command, &order.source()).await
        }
        Happened::Other(kind) => {
            tracing::debug!(%kind, "an event that nothing follows from");
            Ok(())
        }
    }
}

async fn of_session(
    gateway: &Gateway,
    event: &Event,
    stage: SessionStage,
    session: &Session,
) -> Result<(), ApiError> {
    let Some(order) = find(gateway, session.order.as_deref(), None).await? else {
        return unknown(event);
    };
    if stage == SessionStage::DelayedFailed {
        let attempt = Attempt {
            event: event.id.clone(),
            code: "async_failed".to_owned(),
            message: "The payment did not go through.".to_owned(),
        };
        let failed = |order: &mut Order| {
            order.ended(OrderStatus::Failed);
            order.failed_attempt(attempt.clone());
        };
        documents::change_order(gateway, order.id, failed).await?;
        return Ok(());
    }
    fulfil::learn(gateway, &order, session).await.map(|_| ())
}

/// The order that an event is about: by our own metadata, else by its payment, else by Stripe's word.
async fn find(
    gateway: &Gateway,
    order: Option<&str>,
    payment: Option<&str>,
) -> Result<Option<Order>, ApiError> {
    if let Some(id) = order.and_then(|order| order.parse::<OrderId>().ok()) {
        return Ok(documents::order(gateway, id).await?.map(|order| order.value));
    }
    let Some(payment) = payment else { return Ok(None) };
    if let Some(order) = documents::order_of_payment(gateway, payment).await? {
        return Ok(Some(order));
    }
    // Told before its purchase: Stripe knows whose payment it is.
    let payment = match desk(gateway)?.stripe.payment(payment).await {
        Ok(payment) => payment,
        Err(PaymentError::Refused { status: 404, .. }) => return Ok(None),
        Err(error) => return Err(orders::unavailable(error)),
    };
    match payment.order.and_then(|order| order.parse::<OrderId>().ok()) {
        Some(id) => Ok(documents::order(gateway, id).await?.map(|order| order.value)),
        None => Ok(None),
    }
}

/// An event of something else that uses the same Stripe account.
#[expect(clippy::unnecessary_wraps, reason = "the answer of an event that is nobody's")]
fn unknown(event: &Event) -> Result<(), ApiError> {
    tracing::warn!(event = %event.id, "an event about no order of ours");
    Ok(())
}
