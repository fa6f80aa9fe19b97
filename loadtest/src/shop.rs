//! A pretend partner's page: a shop whose visitors buy credits by the real widget and chat with them.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::serve::{Answer, plain, serve};

const PAGE: &str = include_str!("shop/shop.html");
const SCRIPT: &str = include_str!("shop/shop.js");
const STYLE: &str = include_str!("shop/shop.css");

/// A running shop; dropping it closes the address.
#[derive(Debug)]
pub struct Shop {
    /// Where it listens.
    pub addr: SocketAddr,
    server: JoinHandle<()>,
}

impl Shop {
    /// Serves the page at an address (port 0: a free one), for a gateway and a partner's
    /// publishable key.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(addr: SocketAddr, gateway: &str, publishable_key: &str) -> io::Result<Self> {
        let loader = format!("<script src=\"{gateway}/assets/sdk.js\"></script>");
        Self::with_loader(addr, gateway, publishable_key, &loader).await
    }

    /// The same page with another tag for the widget's loader.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn with_loader(
        addr: SocketAddr,
        gateway: &str,
        publishable_key: &str,
        loader: &str,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let page = PAGE
            .replace("{{loader}}", loader)
            .replace("{{gateway}}", gateway)
            .replace("{{key}}", publishable_key);
        // As strict as a careful partner's: nothing but the gateway's script, frame and API.
        let policy = format!(
            "default-src 'none'; script-src 'self' {gateway}; style-src 'self'; img-src data:; frame-src {gateway}; \
             connect-src {gateway}; base-uri 'none'; form-action 'none'"
        );
        let policy = HeaderValue::try_from(policy).map_err(io::Error::other)?;
        let answer = move |head: &http::request::Parts, _: &[u8]| match head.uri.path() {
            _ if head.method != Method::GET => plain(StatusCode::METHOD_NOT_ALLOWED, "GET"),
            "/" => file("text/html; charset=utf-8", page.clone(), &policy),
            "/shop.js" => file("text/javascript; charset=utf-8", SCRIPT, &policy),
            "/shop.css" => file("text/css; charset=utf-8", STYLE, &policy),
            _ => plain(StatusCode::NOT_FOUND, "there is no such page"),
        };
        let server = tokio::spawn(serve(listener, answer));
        Ok(Self { addr, server })
    }

    /// The page's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn file(kind: &'static str, body: impl Into<Bytes>, policy: &HeaderValue) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    response
}
