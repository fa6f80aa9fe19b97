//! A request as the handlers see it, whatever the HTTP library.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method};
use opencredits_schema::RequestId;

use crate::auth;
use crate::error::ApiError;

/// A request whose body has been read.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The gateway's own name for it.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// Its path, normalised: `/v1/…` once, whatever the SDK's base URL was.
    pub path: String,
    /// What stands behind `?`, without it.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Who sent it.
    pub peer: IpAddr,
    /// Its body.
    pub body: Bytes,
}

impl Incoming {
    /// The first value of a query parameter, percent-decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// A query parameter that is a number.
    ///
    /// # Errors
    /// 400 that names it.
    pub fn number(
        &self,
        name: &'static str,
        default: usize,
        max: usize,
    ) -> Result<usize, ApiError> {
        let Some(text) = self.param(name) else { return Ok(default) };
        text.parse().map(|number: usize| number.min(max)).map_err(|_| {
            ApiError::invalid_request(format!("`{name}` is not a number")).with_param(name)
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// 400 that says what is wrong with it.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            ApiError::invalid_request(format!("The body is not as documented: {error}"))
        })
    }

    /// The token of `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        auth::bearer(&self.headers)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::random;

    #[test]
    fn a_parameter_is_percent_decoded() {
        let request = Incoming {
            id: random::request_id(),
            method: Method::GET,
            path: "/".to_owned(),
            query: "models=openai%2Fgpt-4o+x%&models=second".to_owned(),
            headers: HeaderMap::new(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            body: Bytes::new(),
        };
        assert_eq!(request.param("models").as_deref(), Some("openai/gpt-4o x%"));
        assert_eq!(request.param("other"), None);
    }
}
