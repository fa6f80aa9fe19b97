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
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| percent_decoded(value)).next()
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

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let hex = [ahead.next(), ahead.next()]
                    .map(|b| b.and_then(|b| char::from(b).to_digit(16)));
                if let [Some(high), Some(low)] = hex {
                    bytes.extend(u8::try_from(high * 16 + low));
                    rest = ahead;
                } else {
                    bytes.push(byte);
                }
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn a_parameter_is_percent_decoded() {
        assert_eq!(percent_decoded("openai%2Fgpt-4o+x%"), "openai/gpt-4o x%");
    }
}
