//! A gateway on free ports over simulated providers, and a client for it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use opencredits::{Config, Gateway, Server};
use opencredits_actors::SqliteStore;
use opencredits_loadtest::simulators::Providers;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::operate::until;

pub const ADMIN_TOKEN: &str = "an-admin-token-of-at-least-32-bytes";

/// A running gateway with its providers; its books are audited when it ends by [`World::end`].
pub struct World {
    pub client: Client,
    pub providers: Providers,
    pub gateway: Arc<Gateway>,
    pub folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), opencredits::ServeError>>,
}

impl std::ops::Deref for World {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A client of a gateway, of its public and its admin address.
#[derive(Clone, Debug)]
pub struct Client {
    pub base: String,
    pub admin: String,
    pub http: reqwest::Client,
}

/// An account with a key.
#[derive(Clone, Debug)]
pub struct User {
    pub account: String,
    pub key: String,
    pub partner: String,
    pub publishable_key: String,
    pub secret_key: String,
}

/// The settings that tests start from, by the names of the environment without the prefix.
pub fn settings(providers: &str, store: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from(
        [
            ("LISTEN", "127.0.0.1:0"),
            // Another loopback address, so that port 0 does not mean the same listener.
            ("ADMIN_LISTEN", "127.0.0.2:0"),
            ("ADMIN_TOKEN", ADMIN_TOKEN),
            ("STORE", store),
            ("RATE_LIMIT_PER_KEY", "1000000/min"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for provider in ["OPENAI", "ANTHROPIC", "GOOGLE", "XAI"] {
        settings.insert(format!("{provider}_API_KEY"), "simulated".to_owned());
        settings.insert(format!("{provider}_BASE_URL"), providers.to_owned());
    }
    settings
}

pub fn config(settings: &BTreeMap<String, String>) -> Config {
    let lookup = |name: &str| settings.get(name.strip_prefix("OPENCREDITS_")?).cloned();
    Config::parse(lookup, &[], None).unwrap()
}

impl World {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With some settings of its own.
    pub async fn with(own: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::within(folder, own).await
    }

    /// In a folder that has a database already, or gets one.
    pub async fn within(folder: TempDir, own: &[(&str, &str)]) -> Self {
        install_crypto();
        let providers = Providers::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let store = format!("sqlite:{}", folder.path().join("oc.db").display());
        let mut settings = settings(&providers.origin(), &store);
        settings.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let server = Server::bind(config(&settings)).await.unwrap();
        let client = Client::new(
            &server.address().unwrap().to_string(),
            &server.admin_address().unwrap().to_string(),
        );
        let gateway = server.gateway();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            stopped.await.ok();
        }));
        Self { client, providers, gateway, folder, stop: Some(stop), running }
    }

    /// Stops the gateway and proves its books.
    pub async fn end(mut self) -> TempDir {
        drop(self.stop.take());
        self.running.await.unwrap().unwrap();
        let path = self.folder.path().join("oc.db");
        // The store is closed once its last task has let it go.
        drop(self.gateway);
        until(async || SqliteStore::migrate(&path, "the test").is_ok()).await;
        let books = SqliteStore::audit_file(&path).unwrap();
        assert_eq!(books.differences, Vec::<String>::new());
        assert_eq!(books.open_checkpoints, 0);
        self.folder
    }

    /// Resolves when no request runs any more.
    pub async fn until_quiet(&self) {
        while self.gateway.running.count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Client {
    pub fn new(address: &str, admin: &str) -> Self {
        install_crypto();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: format!("http://{address}"), admin: format!("http://{admin}"), http }
    }

    /// A user with so many credits, of a partner with 10 %.
    pub async fn user(&self, credits: &str) -> User {
        self.user_of(&json!({"name": "test", "referral_rate": "0.10"}), credits).await
    }

    pub async fn user_of(&self, partner: &Value, credits: &str) -> User {
        let partner = self.operate("POST", "/admin/v1/partners", partner).await;
        let account = json!({"partner": partner["id"], "email": null, "credits": credits});
        let account = self.operate("POST", "/admin/v1/accounts", &account).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        User {
            account: text(&account["id"]),
            key: text(&account["user_key"]),
            partner: text(&partner["id"]),
            publishable_key: text(&partner["publishable_key"]),
            secret_key: text(&partner["secret_key"]),
        }
    }

    /// A call of the admin API that is answered with success.
    pub async fn operate(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_operate(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub async fn try_operate(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.admin))
            .bearer_auth(ADMIN_TOKEN);
        if method != reqwest::Method::GET {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A POST with the user's key.
    pub fn post(&self, user: &User, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).header("x-user-key", &user.key).json(body)
    }

    pub async fn get(&self, user: &User, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.base)).header("x-user-key", &user.key);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// The user's whole history.
    pub async fn history(&self, user: &User) -> Vec<Value> {
        let page = self.get(user, "/v1/credits/history?limit=1000").await;
        page["data"].as_array().unwrap().clone()
    }

    /// Asserts that the history sums to the balance and that nothing is held; the balance in
    /// microcredits.
    pub async fn settled_balance(&self, user: &User) -> i64 {
        let balance = self.get(user, "/v1/credits/balance").await;
        assert_eq!(micro(&balance["held"]), 0, "{balance}");
        let sum: i64 = self.history(user).await.iter().map(|row| micro(&row["credits"])).sum();
        assert_eq!(sum, micro(&balance["balance"]));
        sum
    }
}

/// A JSON number of credits, exactly in microcredits.
pub fn micro(credits: &Value) -> i64 {
    let text = match credits {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            panic!("{other} is no amount")
        }
    };
    opencredits_schema::Credits::parse(&text).unwrap().micro()
}

/// A chat request for a model, with words for the simulator.
pub fn chat(model: &str, words: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": words}]})
}

pub fn message(model: &str, words: &str) -> Value {
    json!({"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": words}]})
}

fn install_crypto() {
    // Another test of this process may have been first.
    rustls::crypto::ring::default_provider().install_default().ok();
}
