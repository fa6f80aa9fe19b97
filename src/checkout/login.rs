//! Login: a code by mail, and a key of its own for each device that gives it back.
//!
//! The answer to a mail address is the same whether an account has it or not. A code lives ten
//! minutes, can be tried five times and used once; it is kept as a hash, bound to its attempt.
//! Only the checkout's own frame may enter it: a partner's page that did could consent for the user.

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::{Response, StatusCode};
use opencredits_actors::StoreError;
use opencredits_schema::{AccountId, DocumentKind, Key, KeyId, PartnerId, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::documents::{self, Versioned};
use super::mail::Mail;
use super::session::{self, Account};
use super::{bad_field, desk, partner};
use crate::answer::json;
use crate::config::Secret;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::request::Incoming;
use crate::{keys, random};

/// How long a code is good.
const LIFE_MS: i64 = 600_000;
/// How often a code can be tried.
const TRIES_MAX: u32 = 5;
/// The longest mail address (RFC 5321, 4.5.3.1).
const EMAIL_MAX: usize = 254;

/// A login that waits for its code.
#[derive(Serialize, Deserialize)]
struct Login {
    email: String,
    /// Where; `None` on the account page.
    partner: Option<PartnerId>,
    code_hash: [u8; 32],
    tries: u32,
    used: bool,
    ends: Timestamp,
}

/// `POST /checkout/login`: sends a code.
///
/// # Errors
/// 400 for what is no mail address; 404 `invalid_publishable_key`; 429; 502 `mail_failed`.
pub(super) async fn send_code(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    desk(gateway)?;
    let fields: Wish = request.json()?;
    let partner = partner::by_key(gateway, request, &fields.publishable_key).await?;
    mail_code(gateway, request, &fields.email, Some(partner.id), &partner.name).await
}

/// Mails a code that is good at one place.
///
/// # Errors
/// As [`send_code`].
pub(super) async fn mail_code(
    gateway: &Gateway,
    request: &Incoming,
    email: &str,
    partner: Option<PartnerId>,
    place: &str,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let email = normalised(email).ok_or_else(|| bad_field("email", "is no address"))?;
    desk.mails_by_address.check(&request.peer)?;
    desk.mails_by_mailbox.check(&email)?;
    let attempt = keys::hex(&random::bytes::<16>().map_err(ApiError::internal)?);
    let code = code()?;
    let ends = gateway.system.now().plus_millis(LIFE_MS);
    let login = Login {
        email: email.clone(),
        partner,
        code_hash: code_hash(&attempt, &code),
        tries: 0,
        used: false,
        ends,
    };
    let id = login_id(&attempt);
    documents::write(gateway, DocumentKind::Login, &id, 0, Some(ends), &login).await?;
    let text = format!(
        "Your code for {place}: {code}\n\nIt is good for 10 minutes. If you did not ask for it, \
         ignore this mail; nobody gets in without it.\n"
    );
    let subject = format!("{code} is your OpenCredits code");
    desk.mailer.send(Mail { to: email, subject, text }).await?;
    json(StatusCode::OK, &Sent { attempt: &attempt })
}

/// `POST /checkout/verify`: the code, for a key.
///
/// # Errors
/// 400 `wrong_code` or `code_expired`; 404 `invalid_publishable_key`.
pub(super) async fn verify(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    desk(gateway)?;
    same_origin(gateway, request)?;
    let fields: Entry = request.json()?;
    let partner = partner::by_key(gateway, request, &fields.publishable_key).await?;
    let account = redeem(gateway, &fields.attempt, &fields.code, Some(partner.id)).await?;
    let (key, user_key) = make_key(gateway, account, partner.id).await?;
    let consent_token = session::consent_token(gateway, &key).await?;
    let account = session::account(gateway, &key).await?;
    json(StatusCode::OK, &Entered { user_key: user_key.expose(), consent_token, account })
}

/// A browser's request is let through only from the gateway's own pages.
///
/// # Errors
/// 403 from any other origin.
pub(super) fn same_origin(gateway: &Gateway, request: &Incoming) -> Result<(), ApiError> {
    let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(ORIGIN) else { return Ok(()) };
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    // A proxy may name another host to us than the browser sees.
    let own = [text(HOST), Some(gateway.config.public_url.authority().as_str())];
    if own.contains(&Some(authority)) { Ok(()) } else { Err(ApiError::origin_not_allowed()) }
}

/// The account of the mail address whose code this is, made if there is none; the code is used up then.
///
/// # Errors
/// 400 `wrong_code` or `code_expired`.
pub(super) async fn redeem(
    gateway: &Gateway,
    attempt: &str,
    code: &str,
    partner: Option<PartnerId>,
) -> Result<AccountId, ApiError> {
    const EXPIRED: &str = "The code has expired or was tried too often. Ask for a new one.";
    let expired = || ApiError::new(ErrorCode::CodeExpired, EXPIRED);
    let id = login_id(attempt);
    let found = documents::read(gateway, DocumentKind::Login, &id).await?;
    let Versioned { value: mut login, version }: Versioned<Login> = found.ok_or_else(expired)?;
    let over = login.used || login.tries >= TRIES_MAX || login.partner != partner;
    if over || login.ends <= gateway.system.now() {
        return Err(expired());
    }
    let right = bool::from(login.code_hash.ct_eq(&code_hash(attempt, code.trim())));
    login.tries = login.tries.saturating_add(1);
    login.used = right;
    // The try is counted before its answer, so that many at once are no more than five.
    let ends = Some(login.ends);
    let counted =
        documents::write(gateway, DocumentKind::Login, &id, version, ends, &login).await?;
    if !counted {
        return Err(ApiError::rate_limited(1));
    }
    if right {
        return find_or_create(gateway, &login.email).await;
    }
    match TRIES_MAX.saturating_sub(login.tries) {
        0 => Err(expired()),
        left => {
            let message = format!("That is not the code. Tries left: {left}.");
            Err(ApiError::new(ErrorCode::WrongCode, message))
        }
    }
}

/// The account of a mail address, made if there is none.
async fn find_or_create(gateway: &Gateway, email: &str) -> Result<AccountId, ApiError> {
    let store = gateway.system.store();
    if let Some(account) = store.account_by_email(email.to_owned()).await? {
        return Ok(account);
    }
    let bits = random::bytes::<8>().map_err(ApiError::internal)?;
    let id = AccountId::new(u64::from_be_bytes(bits));
    match store.create_account(id, Some(email.to_owned()), gateway.system.now()).await {
        Ok(()) => Ok(id),
        // Another login of the same address was faster.
        Err(StoreError::Conflict(_)) => {
            let found = store.account_by_email(email.to_owned()).await?;
            found.ok_or_else(|| ApiError::overloaded(1))
        }
        Err(error @ (StoreError::Unavailable(_) | StoreError::Corrupt(_))) => Err(error.into()),
    }
}

async fn make_key(
    gateway: &Gateway,
    account: AccountId,
    partner: PartnerId,
) -> Result<(Key, Secret), ApiError> {
    let secret = keys::generate(keys::USER_KEY).map_err(ApiError::internal)?;
    let bits = random::bytes::<8>().map_err(ApiError::internal)?;
    let key = Key {
        id: KeyId::new(u64::from_be_bytes(bits)),
        hash: keys::hash(secret.expose()),
        account,
        partner,
        checkout: true,
        rate_limit: None,
        spend_limit: None,
        expires_at: None,
        revoked_at: None,
        created: gateway.system.now(),
        last_use: None,
    };
    gateway.system.store().put_key(key.clone()).await?;
    Ok((key, secret))
}

/// A mail address as accounts are found by it; `None` for what cannot be one.
pub(super) fn normalised(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let (name, host) = email.rsplit_once('@')?;
    let fits = !name.is_empty() && host.contains('.') && email.len() <= EMAIL_MAX;
    let parses = email.parse::<lettre::Address>().is_ok();
    (fits && parses).then_some(email)
}

/// Six digits, each as likely as any other.
pub(super) fn code() -> Result<String, ApiError> {
    const CODES: u32 = 1_000_000;
    // The numbers at the end that would make small codes likelier are drawn again.
    const FAIR: u32 = u32::MAX - u32::MAX % CODES;
    loop {
        let number = u32::from_be_bytes(random::bytes::<4>().map_err(ApiError::internal)?);
        if number < FAIR {
            return Ok(format!("{:06}", number % CODES));
        }
    }
}

fn code_hash(attempt: &str, code: &str) -> [u8; 32] {
    keys::hash(&format!("code:{attempt}:{code}"))
}

fn login_id(attempt: &str) -> String {
    keys::hex(&keys::hash(attempt))
}

#[derive(Deserialize)]
struct Wish {
    publishable_key: String,
    email: String,
}

#[derive(Serialize)]
struct Sent<'a> {
    attempt: &'a str,
}

#[derive(Deserialize)]
struct Entry {
    publishable_key: String,
    attempt: String,
    code: String,
}

#[derive(Serialize)]
struct Entered<'a> {
    user_key: &'a str,
    consent_token: String,
    #[serde(flatten)]
    account: Account,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_meet_whatever_their_case() {
        assert_eq!(normalised(" A.b+c@Example.COM "), Some("a.b+c@example.com".to_owned()));
        let long = format!("{}@example.com", "a".repeat(250));
        for bad in ["", "a", "@example.com", "a@", "a@localhost", "a b@example.com", &long] {
            assert_eq!(normalised(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_code_is_six_digits() {
        for _ in 0..100 {
            let code = code().unwrap();
            assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        }
    }
}
