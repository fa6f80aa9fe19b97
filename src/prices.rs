//! The price book in force: built in or from a file, read again when that changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opencredits_schema::PriceBook;

use crate::gateway::Gateway;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why there are no prices.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Its rows are wrong; all of them are named.
    #[error(transparent)]
    Bad(#[from] opencredits_schema::PriceBookError),
}

/// Reads the price book: the file if there is one, else the one that is built in.
///
/// # Errors
/// [`PricesError`].
pub fn read(file: Option<&Path>) -> Result<PriceBook, PricesError> {
    let Some(path) = file else { return Ok(PriceBook::built_in()?) };
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| PricesError::Unreadable(path.to_owned(), error))?;
    Ok(PriceBook::parse(&text)?)
}

/// Keeps each price row by its content id, so that a bill can be recomputed for ever.
///
/// # Errors
/// As the store says.
pub async fn keep(
    store: &dyn opencredits_actors::Store,
    book: &PriceBook,
) -> Result<(), opencredits_actors::StoreError> {
    let rows = book.price_rows().map(|(id, row)| (id.to_string(), row.to_string())).collect();
    store.keep_prices(rows).await
}

/// Reads the file again when it changes and on SIGHUP. A bad one keeps the old book in force.
pub async fn follow(gateway: Arc<Gateway>) {
    // Listened to even without a file: unheard, a SIGHUP would end the process.
    let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    let Ok(mut hangup) = hangup else { return };
    let Some(path) = gateway.config.prices.clone() else {
        while hangup.recv().await.is_some() {
            tracing::info!("the built-in prices are in force; there is nothing to read again");
        }
        return;
    };
    let mut seen = changed(&path);
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {
                let now = changed(&path);
                if now == seen {
                    continue;
                }
                seen = now;
            }
        }
        reload(&gateway, &path).await;
    }
}

async fn reload(gateway: &Gateway, path: &Path) {
    let result = match read(Some(path)) {
        Ok(book) => {
            keep(gateway.system.store(), &book).await.map(|()| book).map_err(|e| e.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(book) => {
            gateway.set_book(book);
            tracing::info!(path = %path.display(), "prices read again");
        }
        Err(error) => {
            metrics::counter!(crate::telemetry::PRICES_REFUSED).increment(1);
            tracing::error!(path = %path.display(), %error, "bad prices; the old ones stay");
        }
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|about| about.modified()).ok()
}
