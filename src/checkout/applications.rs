//! `/partners/apply`: whoever wants to embed the checkout says who they are and gives back a mailed
//! code; an operator then approves through the admin API. Plain forms, no script.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use opencredits_schema::{DocumentKind, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::documents::{self, Versioned};
use super::login::{code, normalised};
use super::mail::Mail;
use super::{Desk, desk};
use crate::assets;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::request::Incoming;
use crate::{keys, random};

/// How long an application waits for its code.
const UNVERIFIED_MS: i64 = 3_600_000;
/// How long it waits for an operator.
const PENDING_MS: i64 = 365 * 86_400_000;
/// How often its code can be tried.
const TRIES_MAX: u32 = 5;
/// The longest name.
const NAME_MAX: usize = 100;

/// Somebody's wish to become a partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Application {
    pub(crate) name: String,
    /// The origin of the pages that will open the checkout.
    pub(crate) website: String,
    pub(crate) email: String,
    code_hash: [u8; 32],
    tries: u32,
    pub(crate) state: ApplicationState,
    pub(crate) created: Timestamp,
}

/// How far an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ApplicationState {
    /// Its code has not been given back.
    Unverified,
    /// An operator has to look at it.
    Pending,
    /// There is a partner of it.
    Approved,
}

/// `GET|POST /partners/apply`.
///
/// # Errors
/// 429 for too many mails; 502 when the code cannot be sent; 503 where nothing is sold.
pub(super) async fn handle(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    if request.method != Method::POST {
        return Ok(page(&wish_form("", "", "", "")));
    }
    let fields = Fields::read(&request.body);
    if fields.id.is_empty() {
        begin(gateway, desk, request, fields).await
    } else {
        verify(gateway, fields).await
    }
}

async fn begin(
    gateway: &Gateway,
    desk: &Desk,
    request: &Incoming,
    fields: Fields,
) -> Result<Response<Bytes>, ApiError> {
    let Fields { name, website, email, .. } = fields;
    let again = |problem: &str| Ok(refused(&wish_form(&name, &website, &email, problem)));
    if name.trim().is_empty() || name.len() > NAME_MAX {
        return again("Give your app a name of at most 100 characters.");
    }
    let origin: Result<crate::config::Origin, _> = website.trim().parse();
    let Ok(origin) = origin else {
        return again("The website is an origin such as https://app.example, without a path.");
    };
    let Some(address) = normalised(&email) else {
        return again("That is no e-mail address.");
    };
    desk.mails_by_address.check(&request.peer)?;
    desk.mails_by_mailbox.check(&address)?;
    let id = keys::hex(&random::bytes::<16>().map_err(ApiError::internal)?);
    let code = code()?;
    let created = gateway.system.now();
    let application = Application {
        name: name.trim().to_owned(),
        website: origin.to_string(),
        email: address.clone(),
        code_hash: code_hash(&id, &code),
        tries: 0,
        state: ApplicationState::Unverified,
        created,
    };
    put(gateway, &id, 0, created.plus_millis(UNVERIFIED_MS), &application).await?;
    let text = format!("Your code: {code}\n\nIt is good for an hour.\n");
    let subject = format!("{code} is your OpenCredits code");
    desk.mailer.send(Mail { to: address, subject, text }).await?;
    Ok(page(&code_form(&id, "")))
}

async fn verify(gateway: &Gateway, fields: Fields) -> Result<Response<Bytes>, ApiError> {
    const OVER: &str = "The code has expired or was tried too often. Begin again.";
    let over = || Ok(refused(&wish_form("", "", "", OVER)));
    let Some(Versioned { value: mut application, version }) = find(gateway, &fields.id).await?
    else {
        return over();
    };
    let open = application.state == ApplicationState::Unverified && application.tries < TRIES_MAX;
    let now = gateway.system.now();
    if !open || application.created.plus_millis(UNVERIFIED_MS) <= now {
        return over();
    }
    let hash = code_hash(&fields.id, fields.code.trim());
    let right = bool::from(application.code_hash.ct_eq(&hash));
    application.tries = application.tries.saturating_add(1);
    let due = if right {
        application.state = ApplicationState::Pending;
        now.plus_millis(PENDING_MS)
    } else {
        application.created.plus_millis(UNVERIFIED_MS)
    };
    if !put(gateway, &fields.id, version, due, &application).await? {
        return Err(ApiError::rate_limited(1));
    }
    if right {
        const THANKS: &str = "<p role=\"status\">Thank you. We look at it and write to you.</p>";
        return Ok(page(THANKS));
    }
    Ok(refused(&code_form(&fields.id, "That is not the code.")))
}

/// The applications that wait for an operator, the oldest first.
pub(crate) async fn pending(gateway: &Gateway) -> Result<Vec<(String, Application)>, ApiError> {
    const SHOWN_MAX: usize = 1000;
    let forever = Timestamp::from_millis(i64::MAX);
    let store = gateway.system.store();
    let found = store.due_documents(DocumentKind::Application, forever, SHOWN_MAX).await?;
    let read = found.into_iter().filter_map(|document| {
        let application: Application = serde_json::from_str(&document.body).ok()?;
        Some((document.id, application))
    });
    Ok(read.filter(|(_, one)| one.state == ApplicationState::Pending).collect())
}

/// One application.
pub(crate) async fn find(
    gateway: &Gateway,
    id: &str,
) -> Result<Option<Versioned<Application>>, ApiError> {
    Ok(documents::read(gateway, DocumentKind::Application, id).await?)
}

/// Notes that there is a partner of an application, and writes to who asked for it if that is possible.
pub(crate) async fn approved(
    gateway: &Gateway,
    id: &str,
    found: Versioned<Application>,
    publishable_key: &str,
) -> Result<(), ApiError> {
    let Versioned { value: mut application, version } = found;
    if application.state != ApplicationState::Pending {
        return Ok(());
    }
    application.state = ApplicationState::Approved;
    let due = gateway.system.now().plus_millis(PENDING_MS);
    if !put(gateway, id, version, due, &application).await? {
        return Ok(());
    }
    let text = format!(
        "{} can sell AI credits now. Its publishable key:\n\n{publishable_key}\n",
        application.name
    );
    let subject = "Your OpenCredits partner key".to_owned();
    let mail = Mail { to: application.email, subject, text };
    // The operator has the partner's secret in hand: that answer must not be lost to a mail.
    if let Err(error) = desk(gateway)?.mailer.send(mail).await {
        tracing::warn!(%error, application = id, "who applied was not written to");
    }
    Ok(())
}

async fn put(
    gateway: &Gateway,
    id: &str,
    version: u64,
    due: Timestamp,
    application: &Application,
) -> Result<bool, ApiError> {
    let kind = DocumentKind::Application;
    Ok(documents::write(gateway, kind, id, version, Some(due), application).await?)
}

#[derive(Default)]
struct Fields {
    id: String,
    code: String,
    name: String,
    website: String,
    email: String,
}

impl Fields {
    fn read(body: &[u8]) -> Self {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match name.as_ref() {
                "id" => &mut fields.id,
                "code" => &mut fields.code,
                "name" => &mut fields.name,
                "website" => &mut fields.website,
                "email" => &mut fields.email,
                _ => continue,
            };
            *field = value.into_owned();
        }
        fields
    }
}

fn wish_form(name: &str, website: &str, email: &str, problem: &str) -> String {
    let [name, website, email] = [name, website, email].map(escaped);
    format!(
        r#"<p>Sell AI credits in your app, and earn a share of each request.</p>
      <p role="alert">{problem}</p>
      <form method="post" action="/partners/apply">
        <label>Name of the app <input name="name" required maxlength="100" value="{name}" /></label>
        <label>Website <input name="website" type="url" required placeholder="https://app.example" value="{website}" /></label>
        <label>E-mail <input name="email" type="email" required autocomplete="email" value="{email}" /></label>
        <button>Continue</button>
      </form>"#
    )
}

fn code_form(id: &str, problem: &str) -> String {
    let id = escaped(id);
    format!(
        r#"<p>We sent six digits to your address.</p>
      <p role="alert">{problem}</p>
      <form method="post" action="/partners/apply">
        <input type="hidden" name="id" value="{id}" />
        <label>Code <input name="code" required inputmode="numeric" maxlength="6" autocomplete="one-time-code" /></label>
        <button>Apply</button>
      </form>"#
    )
}

fn page(body: &str) -> Response<Bytes> {
    let page = assets::APPLY.replace("{{body}}", body);
    assets::page(assets::APPLY).map(|_| Bytes::from(page))
}

fn refused(body: &str) -> Response<Bytes> {
    let mut response = page(body);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

fn code_hash(id: &str, code: &str) -> [u8; 32] {
    keys::hash(&format!("application:{id}:{code}"))
}
