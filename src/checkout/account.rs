//! The account page: whoever owns a mail address sees the balance, what became of it, and which apps hold
//! keys, and takes keys back.
//!
//! It logs in by the same mailed code as the checkout. What it gets for it is a token that lives in the
//! page's memory for half an hour: it spends nothing, and it travels in a header.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{HeaderValue, Method, Response, StatusCode};
use opencredits_schema::{AccountId, DocumentKind, HistoryRow, Key, KeyId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{desk, documents, login};
use crate::answer::json;
use crate::assets;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::history::{self, Row};
use crate::request::Incoming;
use crate::{keys, random};

/// How long after a login the page works.
const SESSION_MS: i64 = 1_800_000;
/// Rows of the history that it shows.
const ROWS: usize = 20;

/// All of `/account…`.
///
/// # Errors
/// 503 `checkout_off` while no Stripe keys are configured; 403 from another origin; else as each route
/// documents.
pub(super) async fn handle(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    desk(gateway)?;
    let parts: Vec<_> = request.path.trim_start_matches('/').split('/').collect();
    if parts.as_slice() == ["account"] {
        return Ok(page());
    }
    login::same_origin(gateway, request)?;
    match (&request.method, parts.as_slice()) {
        (&Method::POST, ["account", "login"]) => {
            let fields: Wish = request.json()?;
            login::mail_code(gateway, request, &fields.email, None, "your account").await
        }
        (&Method::POST, ["account", "verify"]) => verify(gateway, request).await,
        (&Method::GET, ["account", "me"]) => me(gateway, request).await,
        (&Method::POST, ["account", "logout"]) => log_out(gateway, request).await,
        (&Method::DELETE, ["account", "keys", id]) => revoke(gateway, request, id).await,
        (_, ["account", "login" | "verify" | "logout"]) => {
            Err(ApiError::method_not_allowed("POST"))
        }
        (_, ["account", "me"]) => Err(ApiError::method_not_allowed("GET")),
        (_, ["account", "keys", _]) => Err(ApiError::method_not_allowed("DELETE")),
        _ => Err(ApiError::not_found()),
    }
}

/// Nothing inline, nothing from elsewhere, in nobody's frame.
fn page() -> Response<Bytes> {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
        connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
        frame-ancestors 'none'";
    let mut response = assets::page(assets::ACCOUNT);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// `POST /account/verify`: the code, for a token.
async fn verify(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let fields: Entry = request.json()?;
    let account = login::redeem(gateway, &fields.attempt, &fields.code, None).await?;
    let token = keys::hex(&random::bytes::<32>().map_err(ApiError::internal)?);
    let ends = gateway.system.now().plus_millis(SESSION_MS);
    let session = Session { account, ends };
    documents::write(gateway, DocumentKind::Login, &session_id(&token), 0, Some(ends), &session)
        .await?;
    private(&Entered { token })
}

/// `GET /account/me`: everything that the page shows.
async fn me(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let account = session(gateway, request).await?.value.account;
    let store = gateway.system.store();
    let balance = store.head(account).await?.map(|head| head.balance);
    let mut good = Vec::new();
    for key in store.keys_of(account).await? {
        if gateway.is_good(&key) {
            let partner = gateway.system.partner(key.partner).await?;
            let app = partner.map(|partner| partner.name.clone()).unwrap_or_default();
            good.push(Shown::of(&key, app));
        }
    }
    let (rows, has_more): (Vec<HistoryRow>, bool) = store.history(account, ROWS, 0).await?;
    private(&Account {
        email: store.email_of(account).await?,
        balance: balance.unwrap_or_default().to_json(),
        keys: good,
        history: rows.iter().filter_map(history::row).collect(),
        has_more,
    })
}

/// `DELETE /account/keys/{id}`: revokes a key, durably before the answer.
///
/// # Errors
/// 404 for a key that is not this account's.
async fn revoke(
    gateway: &Gateway,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let account = session(gateway, request).await?.value.account;
    let id: KeyId = id.parse().map_err(|_| ApiError::not_found())?;
    let own = gateway.system.store().keys_of(account).await?;
    let key = own.iter().find(|key| key.id == id).ok_or_else(ApiError::not_found)?;
    gateway.system.store().revoke_key(id, gateway.system.now()).await?;
    gateway.forget_key(&key.hash).await?;
    Ok(done())
}

/// `POST /account/logout`: the token is good no more.
async fn log_out(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let documents::Versioned { mut value, version } = session(gateway, request).await?;
    let id = session_id(token(request).unwrap_or_default());
    value.ends = gateway.system.now();
    let ends = Some(value.ends);
    // Whoever is faster has logged out as well: nothing else writes it.
    documents::write(gateway, DocumentKind::Login, &id, version, ends, &value).await?;
    Ok(done())
}

/// # Errors
/// 401 without the token of a login of the last half hour.
async fn session(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<documents::Versioned<Session>, ApiError> {
    const AGAIN: &str = "Log in again.";
    let refused = || ApiError::new(ErrorCode::InvalidUserKey, AGAIN);
    let id = session_id(token(request).ok_or_else(refused)?);
    let found = documents::read::<Session>(gateway, DocumentKind::Login, &id).await?;
    let found = found.ok_or_else(refused)?;
    if gateway.system.now() < found.value.ends { Ok(found) } else { Err(refused()) }
}

fn token(request: &Incoming) -> Option<&str> {
    request.headers.get("x-account-token").and_then(|token| token.to_str().ok())
}

fn session_id(token: &str) -> String {
    format!("account:{}", keys::hex(&keys::hash(token)))
}

/// An answer that nobody keeps.
fn private(body: &impl Serialize) -> Result<Response<Bytes>, ApiError> {
    let mut response = json(StatusCode::OK, body)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn done() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Who is logged in, and how long.
#[derive(Serialize, Deserialize)]
struct Session {
    account: AccountId,
    ends: Timestamp,
}

#[derive(Deserialize)]
struct Wish {
    email: String,
}

#[derive(Deserialize)]
struct Entry {
    attempt: String,
    code: String,
}

#[derive(Serialize)]
struct Entered {
    token: String,
}

#[derive(Serialize)]
struct Account<'a> {
    email: Option<String>,
    balance: Box<RawValue>,
    keys: Vec<Shown>,
    history: Vec<Row<'a>>,
    has_more: bool,
}

/// A key as its owner sees it; times in unix seconds.
#[derive(Serialize)]
struct Shown {
    id: String,
    app: String,
    created: i64,
    last_used: Option<i64>,
    origin: Option<String>,
}

impl Shown {
    fn of(key: &Key, app: String) -> Self {
        let last = key.last_use.as_ref();
        Self {
            id: key.id.to_string(),
            app,
            created: key.created.seconds(),
            last_used: last.map(|last| last.at.seconds()),
            origin: last.and_then(|last| last.origin.clone()),
        }
    }
}
