//! Looks after what nobody asks about: orders whose webhook never came, top-ups that a crash left open,
//! logins and webhooks that are old enough to be forgotten.

use std::sync::Arc;
use std::time::Duration;

use opencredits_actors::StoreError;
use opencredits_schema::{DocumentKind, Order, Timestamp, TopUp};

use super::{documents, fulfil, top_up};
use crate::gateway::Gateway;

/// How often.
const EVERY: Duration = Duration::from_secs(30);
/// Orders, and top-ups, that are looked at in one sweep; the others are due in the next.
const LOOKS_MAX: usize = 100;

/// Sweeps, and tops up, for as long as it runs.
pub async fn look_after(gateway: Arc<Gateway>) {
    let sweeping = async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = sweep(&gateway, gateway.system.now()).await {
                tracing::warn!(%error, "the checkout was not swept");
            }
        }
    };
    tokio::join!(sweeping, top_up::work(&gateway));
}

/// Looks at all that is due at a moment, as happens twice a minute by itself.
///
/// # Errors
/// As the store says; what was not looked at is due the next time.
pub async fn sweep(gateway: &Gateway, now: Timestamp) -> Result<(), StoreError> {
    let Some(desk) = &gateway.desk else { return Ok(()) };
    desk.upkeep();
    for kind in [DocumentKind::Login, DocumentKind::Webhook, DocumentKind::Application] {
        gateway.system.store().forget_documents(kind, now).await?;
    }
    for order in documents::take_due::<Order>(gateway, now, LOOKS_MAX).await? {
        let looked = if order.wants_top_up() {
            top_up::keep(gateway, desk, &order).await
        } else {
            // An order without a session was never shown to anybody.
            fulfil::ask_stripe(gateway, desk, &order).await.map(|_| ())
        };
        if let Err(error) = looked {
            tracing::warn!(order = %order.id, %error, "an order could not be looked after");
        }
    }
    for due in documents::take_due::<TopUp>(gateway, now, LOOKS_MAX).await? {
        if let Err(error) = top_up::look(gateway, desk, &due).await {
            tracing::warn!(account = %due.account, %error, "a top-up could not be looked after");
        }
    }
    Ok(())
}
