//! The way to the providers: their pooled connections, the operator's keys, and lists of the headers
//! that may pass.
//!
//! Names, sockets and TLS are hyper-util's and hyper-rustls's; what is said on a connection is ours
//! (docs/adr/0014).

mod body;
mod connection;
mod framing;
mod head;
mod headers;
mod pool;
mod request;

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Response};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_util::client::legacy::connect::HttpConnector;
use opencredits_schema::Provider;
use tokio::time::timeout;

pub use body::{ANSWER_MAX, Body, ERROR_MAX, ReadError, collect};
pub use connection::Broken;
pub use head::BadAnswer;
pub use headers::{UPSTREAM_REQUEST_ID, response_headers};
pub use pool::CONNECT_TIMEOUT;

use crate::config::{Origin, ProviderConfig, Providers};
use crate::error::ApiError;
use crate::workers;
use pool::{AskError, Connector, IDLE_TIMEOUT, Pool};
use request::Request;

/// Longest wait for a provider's response head: unstreamed answers think before it.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest wait for the next bytes of a provider's answer.
pub const CHUNK_TIMEOUT: Duration = Duration::from_secs(300);

/// Room for the head of a request and a small body.
const HEAD_SIZE: usize = 2048;

/// Why a provider gave no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The operator has no key for the provider.
    #[error("OPENCREDITS_{}_API_KEY is not set", .0.as_str().to_uppercase())]
    NoKey(Provider),
    /// The request could not be made of what was given.
    #[error("bad request to {0}: {1}")]
    BadRequest(Provider, http::Error),
    /// No connection came about; nothing was sent.
    #[error("no connection to {0}: {1}")]
    Connect(Provider, Cause),
    /// The connection broke before the response head; the provider may have done the work.
    #[error("connection to {0} broke: {1}")]
    Broken(Provider, Broken),
    /// The response head did not come in time.
    #[error("no answer of {0} in {1:?}")]
    Silent(Provider, Duration),
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        Self::upstream().with_source(error)
    }
}

/// An error with all that stands behind it, because the connector's own text does not say why.
#[derive(Debug)]
pub struct Cause(Box<dyn Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// TLS has no usable settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A key has characters that no header can carry.
    #[error("the key for {0} cannot be sent in a header")]
    BadKey(Provider),
}

/// The way to all providers; clones share its connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    openai: Target,
    anthropic: Target,
    google: Target,
    xai: Target,
    head_timeout: Duration,
}

impl Upstream {
    /// A client with the operator's keys, for so many workers.
    ///
    /// # Errors
    /// TLS or a key is unusable.
    pub fn new(providers: &Providers, workers: NonZeroUsize) -> Result<Self, UpstreamSetupError> {
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?;
        Self::over(https, providers, workers)
    }

    fn over(
        https: HttpsConnectorBuilder<WantsSchemes>,
        providers: &Providers,
        workers: NonZeroUsize,
    ) -> Result<Self, UpstreamSetupError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(IDLE_TIMEOUT));
        // The configuration lets plain http through to loopback only.
        let connector = https.https_or_http().enable_http1().wrap_connector(http);
        let target = |provider, config| Target::new(provider, config, &connector, workers);
        Ok(Self {
            openai: target(Provider::OpenAi, &providers.openai)?,
            anthropic: target(Provider::Anthropic, &providers.anthropic)?,
            google: target(Provider::Google, &providers.google)?,
            xai: target(Provider::XAi, &providers.xai)?,
            head_timeout: HEAD_TIMEOUT,
        })
    }

    /// The same with another [`HEAD_TIMEOUT`].
    #[must_use]
    pub const fn with_head_timeout(mut self, head_timeout: Duration) -> Self {
        self.head_timeout = head_timeout;
        self
    }

    /// Whether the operator has a key for the provider.
    #[must_use]
    pub const fn has_key(&self, provider: Provider) -> bool {
        self.target(provider).fixed.is_some()
    }

    /// Posts a body to a provider and waits for the response head. Of the caller's headers only
    /// those pass that concern the provider; the caller's key never does.
    ///
    /// # Errors
    /// There is no answer, whatever its status would be; see [`UpstreamError`].
    pub async fn send(
        &self,
        provider: Provider,
        path: &str,
        caller: &HeaderMap,
        body: Vec<Bytes>,
    ) -> Result<Response<Body>, UpstreamError> {
        let target = self.target(provider);
        let Some(fixed) = &target.fixed else { return Err(UpstreamError::NoKey(provider)) };
        // What is sent is what was read as a path, without any fragment.
        let path = PathAndQuery::try_from(path)
            .map_err(|error| UpstreamError::BadRequest(provider, error.into()))?;
        let mut head = Vec::with_capacity(HEAD_SIZE);
        for part in ["POST ", path.as_str(), " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        head.extend_from_slice(fixed);
        headers::request_headers(provider, caller, &mut head);
        let asking = target.pool().ask(Request::new(head, body));
        match timeout(self.head_timeout, asking).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(AskError::Connect(error))) => {
                Err(UpstreamError::Connect(provider, Cause(error)))
            }
            Ok(Err(AskError::Broken(error))) => Err(UpstreamError::Broken(provider, error)),
            Err(_) => Err(UpstreamError::Silent(provider, self.head_timeout)),
        }
    }

    /// Closes connections that were idle for long or that their provider closed.
    pub fn upkeep(&self, now: Instant) {
        let targets = [&self.openai, &self.anthropic, &self.google, &self.xai];
        for Target { first, others, .. } in targets {
            first.upkeep(now);
            others.iter().for_each(|pool| pool.upkeep(now));
        }
    }

    const fn target(&self, provider: Provider) -> &Target {
        match provider {
            Provider::OpenAi => &self.openai,
            Provider::Anthropic => &self.anthropic,
            Provider::Google => &self.google,
            Provider::XAi => &self.xai,
        }
    }
}

/// Where a provider is, and how it knows us.
#[derive(Clone)]
struct Target {
    /// The header lines of each request, the operator's key among them; `None` without a key.
    fixed: Option<Arc<[u8]>>,
    /// Each worker has its own: a connection belongs to the runtime that opened it. Whoever is no worker
    /// shares the first one's.
    first: Arc<Pool>,
    others: Vec<Arc<Pool>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("first", &self.first).finish_non_exhaustive()
    }
}

impl Target {
    fn new(
        provider: Provider,
        config: &ProviderConfig,
        connector: &Connector,
        workers: NonZeroUsize,
    ) -> Result<Self, UpstreamSetupError> {
        let origin = &config.base_url;
        let pool = || Arc::new(Pool::new(connector.clone(), origin.uri()));
        let (first, others) = (pool(), (1..workers.get()).map(|_| pool()).collect());
        let Some(key) = &config.api_key else { return Ok(Self { fixed: None, first, others }) };
        let key = key.expose();
        // A header's value has no line's end in it.
        HeaderValue::try_from(key).map_err(|_| UpstreamSetupError::BadKey(provider))?;
        let auth = match provider {
            Provider::OpenAi | Provider::XAi => format!("authorization: Bearer {key}"),
            Provider::Anthropic => format!("x-api-key: {key}"),
            Provider::Google => format!("x-goog-api-key: {key}"),
        };
        let fixed = format!("host: {}\r\n{auth}\r\n{}", host(origin), headers::ALWAYS);
        Ok(Self { fixed: Some(fixed.into_bytes().into()), first, others })
    }

    fn pool(&self) -> &Arc<Pool> {
        let own = workers::index().checked_sub(1).and_then(|other| self.others.get(other));
        own.unwrap_or(&self.first)
    }
}

/// The host as a request names it: without a port that its scheme has anyway.
fn host(origin: &Origin) -> &str {
    let usual = if *origin.scheme() == Scheme::HTTPS { 443 } else { 80 };
    let authority = origin.authority();
    if authority.port_u16() == Some(usual) { authority.host() } else { authority.as_str() }
}

#[cfg(test)]
mod tests;
