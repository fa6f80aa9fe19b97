//! Webhook endpoints: where events go, and what they are signed with.

use serde_json::{Map, Value, json};

use super::form;
use super::objects::API_VERSION;
use super::params::Bad;

/// Stripe's own bound.
const ENDPOINTS_MAX: usize = 16;

/// Where events go.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) secret: String,
    /// Names of events; `*` stands for all.
    events: Vec<String>,
    created: i64,
}

impl Endpoint {
    /// One that takes every event.
    pub(super) fn of_all(id: &str, url: &str, secret: &str) -> Self {
        let (id, url, secret) = (id.to_owned(), url.to_owned(), secret.to_owned());
        Self { id, url, secret, events: vec!["*".to_owned()], created: 0 }
    }

    /// One that the API is asked for, beside so many others.
    pub(super) fn asked(
        id: String,
        params: &Map<String, Value>,
        others: usize,
        now: i64,
    ) -> Result<Self, Bad> {
        let known = |name: &String| {
            ["url", "description", "api_version"].contains(&name.as_str())
                || name.starts_with("enabled_events[")
                || name.starts_with("metadata[")
        };
        if let Some(name) = form::leaves(params).iter().find(|name| !known(name)) {
            let message = format!("Received unknown parameter: {name}");
            return Err(Bad { code: Some("parameter_unknown"), ..Bad::param(name, &message) });
        }
        let url = form::text(params, "url").unwrap_or_default();
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Bad::param("url", "Invalid URL: it begins with http:// or https://"));
        }
        let events = match params.get("enabled_events") {
            Some(Value::Object(events)) => events.values().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if events.is_empty() {
            return Err(Bad::param("enabled_events", "Missing required param: enabled_events."));
        }
        if others >= ENDPOINTS_MAX {
            return Err(Bad::new(400, "You have reached the maximum of 16 webhook endpoints."));
        }
        let secret = format!("whsec_{id}");
        let events = events.into_iter().map(str::to_owned).collect();
        Ok(Self { id, url: url.to_owned(), secret, events, created: now })
    }

    /// Whether it wants events of a kind.
    pub(super) fn takes(&self, kind: &str) -> bool {
        self.events.iter().any(|event| event == "*" || event == kind)
    }

    /// As the API tells it.
    pub(super) fn object(&self) -> Value {
        json!({
            "id": self.id, "object": "webhook_endpoint", "api_version": API_VERSION,
            "application": null, "created": self.created, "description": null,
            "enabled_events": self.events, "livemode": false, "metadata": {},
            "status": "enabled", "url": self.url,
        })
    }

    /// As the API tells it once, when it is made.
    pub(super) fn object_with_secret(&self) -> Value {
        let mut object = self.object();
        if let Value::Object(fields) = &mut object {
            fields.insert("secret".to_owned(), json!(self.secret));
        }
        object
    }
}
