//! Mail: by SMTP, or into the development mailbox, which keeps the newest and shows them to
//! whoever asks from this machine.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Response, StatusCode};
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use serde::Serialize;

use crate::answer::json;
use crate::config::Config;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::lock::lock;
use crate::request::Incoming;

/// Mails that the development mailbox keeps.
const KEPT_MAX: usize = 200;

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    /// The server's address.
    #[error("OPENCREDITS_SMTP_URL: {0}")]
    Server(#[from] lettre::transport::smtp::Error),
    /// The sender's address.
    #[error("OPENCREDITS_MAIL_FROM: {0}")]
    Sender(#[from] lettre::address::AddressError),
}

/// Where mail goes.
pub(super) enum Mailer {
    /// To a server.
    Smtp { transport: Box<AsyncSmtpTransport<Tokio1Executor>>, from: Mailbox },
    /// Into memory, for development.
    Kept(Mutex<VecDeque<Mail>>),
    /// Nowhere: neither is configured.
    None,
}

/// A mail to one person.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mail {
    /// To whom.
    pub(super) to: String,
    /// What it is about.
    pub(super) subject: String,
    /// What it says.
    pub(super) text: String,
}

impl Mailer {
    pub(super) fn new(config: &Config) -> Result<Self, MailSetupError> {
        if let Some(mail) = &config.mail {
            let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(mail.smtp_url.expose())?;
            let transport = Box::new(transport.build());
            return Ok(Self::Smtp { transport, from: mail.from.parse()? });
        }
        if config.dev {
            return Ok(Self::Kept(Mutex::default()));
        }
        tracing::warn!("no mail is configured: nobody can log in at the checkout");
        Ok(Self::None)
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// 502: it could not be handed over.
    pub(super) async fn send(&self, mail: Mail) -> Result<(), ApiError> {
        const FAILED: &str = "The code could not be sent. Try again shortly.";
        let failed = || ApiError::new(ErrorCode::MailFailed, FAILED);
        match self {
            Self::Smtp { transport, from } => {
                let to = mail.to.parse().map_err(|error| failed().with_source(error))?;
                let message = Message::builder().from(from.clone()).to(to).subject(mail.subject);
                let message = message.body(mail.text).map_err(|e| failed().with_source(e))?;
                let sent = transport.send(message).await;
                sent.map(|_| ()).map_err(|error| failed().with_source(error))
            }
            Self::Kept(kept) => {
                let mut kept = lock(kept);
                kept.push_front(mail);
                kept.truncate(KEPT_MAX);
                Ok(())
            }
            Self::None => Err(failed()),
        }
    }
}

/// `GET /dev/mailbox?email=…`: the mails of an address, the newest first; only in development, and
/// only for callers on this machine.
///
/// # Errors
/// 404 elsewhere.
pub(super) fn mailbox(gateway: &Gateway, request: &Incoming) -> Result<Response<Bytes>, ApiError> {
    let mailer = gateway.desk.as_ref().map(|desk| desk.mailer.as_ref());
    let Some(Mailer::Kept(kept)) = mailer.filter(|_| request.peer.is_loopback()) else {
        return Err(ApiError::not_found());
    };
    let email = request.param("email").unwrap_or_default().to_lowercase();
    let kept = lock(kept);
    let messages: Vec<&Mail> = kept.iter().filter(|mail| mail.to == email).collect();
    json(StatusCode::OK, &Messages { messages })
}

#[derive(Serialize)]
struct Messages<'a> {
    messages: Vec<&'a Mail>,
}
