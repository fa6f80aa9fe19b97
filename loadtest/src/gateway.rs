//! The one place where the demo meets the gateway's library.

use std::collections::BTreeMap;

use opencredits::{Config, ServeError, Server};

/// A gateway that did not start or broke.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The settings are bad.
    #[error("{0}")]
    Settings(#[from] opencredits::config::ConfigErrors),
    /// It did not start, or broke.
    #[error("{0}")]
    Serve(#[from] ServeError),
}

/// Serves the gateway with settings by their environment names until `shutdown` resolves.
///
/// # Errors
/// When the settings are bad, or the gateway cannot start or breaks.
pub async fn serve(
    settings: BTreeMap<String, String>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), GatewayError> {
    let names: Vec<String> = settings.keys().cloned().collect();
    let config = Config::parse(|name| settings.get(name).cloned(), &names, None)?;
    Ok(Server::bind(config).await?.run(shutdown).await?)
}
