//! A small HTTP client for loopback: one request, one answer, both bounded.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The longest wait for a whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client with a pool of connections.
#[derive(Clone, Debug)]
pub struct Client {
    hyper: Hyper<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A request without a whole answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request cannot be built.
    #[error("bad request: {0}")]
    Request(#[from] http::Error),
    /// Nobody answered.
    #[error("no answer: {0}")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off or is too large.
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The answer took too long.
    #[error("no whole answer in {} s", ANSWER_TIMEOUT.as_secs())]
    Slow,
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { hyper: Hyper::builder(TokioExecutor::new()).build(connector) }
    }
}

impl Client {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the answer does not come whole and in time.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let whole = async {
            let (head, body) = self.begin(method, url, headers, body).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(ClientError::Body)?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, whole).await.unwrap_or(Err(ClientError::Slow))
    }

    /// Sends a request and gives back the answer once its head is there, for whoever reads the body
    /// as it comes. Nothing bounds it: put a time-out around it.
    ///
    /// # Errors
    /// When no head comes.
    pub async fn begin(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.hyper.request(request.body(Full::new(body.into()))?).await?)
    }
}

impl ClientError {
    /// Whether the request certainly never left.
    pub fn never_left(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::Connection(error) => error.is_connect(),
            Self::Body(_) | Self::Slow => false,
        }
    }
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
