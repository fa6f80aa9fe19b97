//! The way to the providers: one pooled client, the operator's keys, and lists of the headers that
//! may pass.

mod body;
mod headers;
mod segments;

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opencredits_schema::Provider;
use tokio::time::timeout;

pub use body::{ANSWER_MAX, ERROR_MAX, ReadError, collect};
pub use headers::{UPSTREAM_REQUEST_ID, response_headers};
pub use segments::Segments;

use crate::config::{Origin, ProviderConfig, Providers};
use crate::error::ApiError;
use crate::workers;

/// Longest wait for a connection to a provider.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a provider's response head: unstreamed answers think before it.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest wait for the next bytes of a provider's answer.
pub const CHUNK_TIMEOUT: Duration = Duration::from_secs(300);

/// How long an idle connection to a provider is kept; below what their proxies allow, so that they
/// rarely close one just as it is taken.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// Idle connections kept for each provider.
const IDLE_MAX: usize = 256;

/// Why a provider gave no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The operator has no key for the provider.
    #[error("no key for {0}")]
    NoKey(Provider),
    /// The request could not be made of what was given.
    #[error("bad request to {0}: {1}")]
    BadRequest(Provider, http::Error),
    /// No connection came about; nothing was sent.
    #[error("no connection to {0}: {1}")]
    Connect(Provider, Cause),
    /// The connection broke before the response head; the provider may have done the work.
    #[error("connection to {0} broke: {1}")]
    Broken(Provider, Cause),
    /// The response head did not come in time.
    #[error("no answer of {0} in {1:?}")]
    Silent(Provider, Duration),
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        Self::upstream().with_source(error)
    }
}

/// An error with all that stands behind it, because the client's own text says only "error".
#[derive(Debug)]
pub struct Cause(hyper_util::client::legacy::Error);

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

type Pool = Client<HttpsConnector<HttpConnector>, Segments>;

/// The client for all providers; clones share its pools.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Each worker has its own: a connection belongs to the runtime that opened it. Whoever is no
    /// worker shares the first one's.
    first: Pool,
    others: Vec<Pool>,
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
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(IDLE_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            // The configuration lets plain http through to loopback only.
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // The client sends again by itself where a pooled connection proves dead before anything
        // was sent, and only there; a request that may have arrived is never sent twice.
        let pool = || {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_MAX)
                .retry_canceled_requests(true)
                .build(connector.clone())
        };
        Ok(Self {
            first: pool(),
            others: (1..workers.get()).map(|_| pool()).collect(),
            openai: Target::new(Provider::OpenAi, &providers.openai)?,
            anthropic: Target::new(Provider::Anthropic, &providers.anthropic)?,
            google: Target::new(Provider::Google, &providers.google)?,
            xai: Target::new(Provider::XAi, &providers.xai)?,
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
        self.target(provider).auth.is_some()
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
    ) -> Result<Response<Incoming>, UpstreamError> {
        let target = self.target(provider);
        let Some((name, key)) = &target.auth else { return Err(UpstreamError::NoKey(provider)) };
        let uri = target.uri(path).map_err(|error| UpstreamError::BadRequest(provider, error))?;
        let mut request = Request::new(Segments::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        headers::request_headers(provider, caller, request.headers_mut());
        request.headers_mut().insert(name, key.clone());
        match timeout(self.head_timeout, self.pool().request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => {
                Err(UpstreamError::Connect(provider, Cause(error)))
            }
            Ok(Err(error)) => Err(UpstreamError::Broken(provider, Cause(error))),
            Err(_) => Err(UpstreamError::Silent(provider, self.head_timeout)),
        }
    }

    fn pool(&self) -> &Pool {
        let own = workers::index().checked_sub(1).and_then(|other| self.others.get(other));
        own.unwrap_or(&self.first)
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
#[derive(Clone, Debug)]
struct Target {
    origin: Origin,
    auth: Option<(HeaderName, HeaderValue)>,
}

impl Target {
    fn new(provider: Provider, config: &ProviderConfig) -> Result<Self, UpstreamSetupError> {
        let origin = config.base_url.clone();
        let Some(key) = &config.api_key else { return Ok(Self { origin, auth: None }) };
        let key = key.expose();
        let (name, text) = match provider {
            Provider::OpenAi | Provider::XAi => {
                (http::header::AUTHORIZATION, format!("Bearer {key}"))
            }
            Provider::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Provider::Google => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        };
        let value = HeaderValue::try_from(text);
        let mut value = value.map_err(|_| UpstreamSetupError::BadKey(provider))?;
        // Keeps the key out of `Debug`.
        value.set_sensitive(true);
        Ok(Self { origin, auth: Some((name, value)) })
    }

    fn uri(&self, path: &str) -> Result<Uri, http::Error> {
        let path: PathAndQuery = path.parse()?;
        Uri::builder()
            .scheme(self.origin.scheme().clone())
            .authority(self.origin.authority().clone())
            .path_and_query(path)
            .build()
    }
}

#[cfg(test)]
mod tests;
