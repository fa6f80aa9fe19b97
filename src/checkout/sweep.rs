//! Looks after what nobody asks about: orders whose webhook never came, logins and webhooks that are
//! old enough to be forgotten.

use std::sync::Arc;
use std::time::Duration;

use opencredits_actors::StoreError;
use opencredits_schema::{DocumentKind, Order};

use super::fulfil;
use crate::gateway::Gateway;

/// How often.
const EVERY: Duration = Duration::from_secs(30);
/// Orders that are asked about in one sweep; the others are due in the next.
const ORDERS_MAX: usize = 100;

/// Sweeps for as long as it runs.
pub async fn look_after(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = sweep(&gateway).await {
            tracing::warn!(%error, "the checkout was not swept");
        }
    }
}

async fn sweep(gateway: &Gateway) -> Result<(), StoreError> {
    let Some(desk) = &gateway.desk else { return Ok(()) };
    desk.upkeep();
    let (store, now) = (gateway.system.store(), gateway.system.now());
    for kind in [DocumentKind::Login, DocumentKind::Webhook, DocumentKind::Application] {
        store.forget_documents(kind, now).await?;
    }
    for document in store.due_documents(DocumentKind::Order, now, ORDERS_MAX).await? {
        let order: Result<Order, _> = serde_json::from_str(&document.body);
        let Ok(order) = order else { continue };
        // An order without a session was never shown to anybody.
        let asked = fulfil::ask_stripe(gateway, desk, &order).await;
        if let Err(error) = asked {
            tracing::warn!(order = %order.id, %error, "an order could not be looked after");
        }
    }
    Ok(())
}
