//! The demo: gateway, SQLite, simulated providers, a simulated Stripe and a shop that sells credits, in
//! one process.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, ClientError};
use crate::gateway::{self, GatewayError};
use crate::ports::free_address;
use crate::shop::Shop;
use crate::simulators::Providers;
use crate::stripe::Stripe;

/// The longest wait for the gateway to be ready.
const READY_WAIT: Duration = Duration::from_secs(30);
/// The longest wait for the gateway to end.
const END_WAIT: Duration = Duration::from_secs(90);

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the public API.
    pub listen: SocketAddr,
    /// Address of the admin API.
    pub admin_listen: SocketAddr,
    /// Address of the shop.
    pub shop_listen: SocketAddr,
    /// Folder of the database; none = a temporary one that goes with the demo.
    pub data: Option<PathBuf>,
}

/// A demo that did not come up or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A socket, a folder or the terminal.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No random bytes for the admin token.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// The gateway refused to start or broke.
    #[error("{0}")]
    Gateway(#[from] GatewayError),
    /// The gateway's task panicked.
    #[error("the gateway broke: {0}")]
    Panicked(#[from] tokio::task::JoinError),
    /// The gateway was not ready in time.
    #[error("the gateway is not ready after {} s", READY_WAIT.as_secs())]
    NotReady,
    /// The gateway did not end in time.
    #[error("the gateway did not end in {} s", END_WAIT.as_secs())]
    NotEnded,
    /// A call to the admin API got no answer.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A call to the admin API was refused.
    #[error("{path} was answered {status}: {body}")]
    Refused {
        /// What was called.
        path: &'static str,
        /// The answer's status.
        status: u16,
        /// The answer's body.
        body: String,
    },
}

/// Addresses and keys of a running demo.
#[derive(Clone, Debug)]
struct Access {
    base: String,
    admin: String,
    admin_token: String,
    publishable_key: String,
    user_key: String,
    shop: String,
}

/// Starts everything, prints how to use it, and runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When something does not start, or the gateway ends by itself.
pub async fn run(options: Options) -> Result<(), DemoError> {
    let providers = Providers::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let webhook_secret = random_token()?;
    let stripe = Stripe::start((Ipv4Addr::LOCALHOST, 0).into(), &webhook_secret).await?;
    let temporary = tempfile::tempdir()?;
    let data = options.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    tokio::fs::create_dir_all(&data).await?;
    let listen = free(options.listen)?;
    let admin_listen = free(options.admin_listen)?;
    let admin_token = random_token()?;

    let store = format!("sqlite:{}", data.join("opencredits.db").display());
    let mut settings = settings(&providers.origin(), listen, admin_listen, &store, &admin_token);
    settings.extend(selling(&stripe, webhook_secret));
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    let mut gateway = tokio::spawn(gateway::serve(settings, shutdown));

    let client = Client::default();
    let base = format!("http://{listen}");
    ready(&client, &base, &mut gateway).await?;
    let admin = format!("http://{admin_listen}");
    stripe.send_webhooks_to(&format!("{base}/stripe/webhook"));
    let mut access = fund(&client, base, admin, admin_token).await?;
    let shop = Shop::start(options.shop_listen, &access.base, &access.publishable_key).await?;
    access.shop = shop.url();
    print(&access, &providers.origin(), &data.display().to_string())?;

    tokio::select! {
        ended = &mut gateway => return Ok(ended??),
        stopped = crate::stop_signal() => stopped?,
    }
    drop(stop);
    tokio::time::timeout(END_WAIT, gateway).await.map_err(|_| DemoError::NotEnded)???;
    providers.stop().await;
    Ok(())
}

/// The gateway's settings, by the names of its environment.
fn settings(
    providers: &str,
    listen: SocketAddr,
    admin_listen: SocketAddr,
    store: &str,
    admin_token: &str,
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([
        ("LISTEN", listen.to_string()),
        ("ADMIN_LISTEN", admin_listen.to_string()),
        ("ADMIN_TOKEN", admin_token.to_owned()),
        ("STORE", store.to_owned()),
        ("DEV", "1".to_owned()),
    ]);
    for (key, base) in [
        ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        ("GOOGLE_API_KEY", "GOOGLE_BASE_URL"),
        ("XAI_API_KEY", "XAI_BASE_URL"),
    ] {
        settings.insert(key, "simulated".to_owned());
        settings.insert(base, providers.to_owned());
    }
    settings.into_iter().map(|(name, value)| (format!("OPENCREDITS_{name}"), value)).collect()
}

/// What lets the gateway sell credits by the simulated Stripe.
fn selling(stripe: &Stripe, webhook_secret: String) -> [(String, String); 5] {
    [
        ("SECRET_KEY", "sk_test_simulated".to_owned()),
        ("PUBLISHABLE_KEY", "pk_test_simulated".to_owned()),
        ("WEBHOOK_SECRET", webhook_secret),
        ("API_BASE", stripe.origin()),
        ("JS_URL", stripe.js_url()),
    ]
    .map(|(name, value)| (format!("OPENCREDITS_STRIPE_{name}"), value))
}

/// The address with a free port in place of 0, since the demo tells it before the gateway can.
fn free(addr: SocketAddr) -> io::Result<SocketAddr> {
    if addr.port() != 0 {
        return Ok(addr);
    }
    Ok(SocketAddr::new(addr.ip(), free_address()?.port()))
}

fn random_token() -> Result<String, DemoError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(DemoError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Asks for readiness until the gateway says yes; ends early if the gateway does.
async fn ready(
    client: &Client,
    base: &str,
    gateway: &mut JoinHandle<Result<(), GatewayError>>,
) -> Result<(), DemoError> {
    let url = format!("{base}/readyz");
    let asking = async {
        loop {
            let answer = client.send(Method::GET, &url, &[], "").await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ready = tokio::time::timeout(READY_WAIT, asking) => ready.map_err(|_| DemoError::NotReady),
        ended = gateway => ended?.map_err(DemoError::from).and(Err(DemoError::NotReady)),
    }
}

/// Makes a partner at 10 % and an account with 1000 credits.
async fn fund(
    client: &Client,
    base: String,
    admin: String,
    admin_token: String,
) -> Result<Access, DemoError> {
    let bearer = format!("Bearer {admin_token}");
    let post = async |path: &'static str, body: Value| {
        let url = format!("{admin}{path}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = client.send(Method::POST, &url, &headers, body.to_string()).await?;
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        Err(DemoError::Refused { path, status: answer.status.as_u16(), body })
    };
    let partner = json!({"name": "Demo shop", "referral_rate": "0.10", "allowed_models": null,
        "allowed_origins": []});
    let partner = post("/admin/v1/partners", partner).await?;
    let account = json!({"partner": partner.get("id"), "email": null, "credits": "1000"});
    let account = post("/admin/v1/accounts", account).await?;
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let publishable_key = text(&partner, "publishable_key");
    let user_key = text(&account, "user_key");
    let shop = String::new();
    Ok(Access { base, admin, admin_token, publishable_key, user_key, shop })
}

/// One line for programs, then some for people.
fn print(access: &Access, providers: &str, data: &str) -> io::Result<()> {
    let Access { base, admin, admin_token, publishable_key, user_key, shop } = access;
    let line = json!({"base": base, "admin": admin, "admin_token": admin_token,
        "publishable_key": publishable_key, "user_key": user_key, "shop": shop});
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    writeln!(
        out,
        r#"
OpenCredits runs at {base} (admin at {admin}, data in {data}).
Providers are simulated at {providers}, and so is Stripe; no real key, no real money.

  A shop whose visitors buy credits   {shop}
  (card 4242 4242 4242 4242; login codes: {base}/dev/mailbox?email=you@example.com)

  user key         {user_key}
  publishable key  {publishable_key}
  admin token      {admin_token}

Chat:
  curl {base}/v1/chat/completions -H 'X-User-Key: {user_key}' -H 'content-type: application/json' \
    -d '{{"model":"openai/gpt-4o","messages":[{{"role":"user","content":"Hello"}}]}}'
Messages, streamed:
  curl -N {base}/v1/messages -H 'x-api-key: {user_key}' -H 'content-type: application/json' \
    -d '{{"model":"anthropic/claude-sonnet-4-6","max_tokens":1024,"stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
Balance:
  curl {base}/v1/credits/balance -H 'X-User-Key: {user_key}'

Ctrl-C ends it."#
    )?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_gets_every_provider_at_the_simulators() {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let settings = settings("http://127.0.0.1:9", addr, addr, "sqlite:x.db", "token");
        let bases = settings.iter().filter(|(name, _)| name.ends_with("_BASE_URL"));
        assert!(bases.clone().all(|(_, value)| value == "http://127.0.0.1:9"));
        assert_eq!(bases.count(), 4);
        assert_eq!(settings["OPENCREDITS_STORE"], "sqlite:x.db");
    }

    #[test]
    fn admin_tokens_are_long_and_never_the_same() {
        let token = random_token().unwrap();
        assert_eq!(token.len(), 64);
        assert_ne!(token, random_token().unwrap());
    }
}
