//! Everything that a gateway tells of some accounts and partners, read to its last page.

use std::collections::HashSet;

use http::Method;
use opencredits_schema::{Credits, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Payer, Receipts};
use crate::client::{Client, ClientError};

/// Rows that are asked for at once: the most that a page has.
const PAGE: usize = 1000;

/// Where a gateway is, and what its operator knows.
#[derive(Clone, Debug)]
pub struct Access {
    /// The origin of its public address.
    pub base: String,
    /// The origin of its admin address.
    pub admin: String,
    /// `OPENCREDITS_ADMIN_TOKEN`.
    pub admin_token: String,
}

/// A gateway that cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It does not answer.
    #[error("{path}: {source}")]
    Client {
        /// What was asked.
        path: String,
        /// Why there is no answer.
        source: ClientError,
    },
    /// It answers with an error.
    #[error("{path} was answered {status}: {body}")]
    Refused {
        /// What was asked.
        path: String,
        /// The answer's status.
        status: u16,
        /// The answer's body.
        body: String,
    },
    /// It answers in another form than the documented one.
    #[error("{path} is not what is documented: {source}")]
    Form {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// All of it; the accounts and partners in the order of the receipts' own.
#[derive(Debug)]
pub(super) struct Everything {
    pub(super) accounts: Vec<Statement>,
    pub(super) partners: Vec<Partner>,
    pub(super) books: Books,
}

/// What is told of one account.
#[derive(Debug)]
pub(super) struct Statement {
    /// Newest first.
    pub(super) rows: Vec<Row>,
    pub(super) balance: Balance,
    pub(super) account: Account,
}

/// What is told of one partner.
#[derive(Debug)]
pub(super) struct Partner {
    /// Newest first.
    pub(super) requests: Vec<Request>,
    pub(super) earnings: Earnings,
}

/// A row of the history.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(deserialize_with = "exact")]
    pub(super) credits: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) balance_after: Credits,
    #[serde(default)]
    pub(super) model: String,
    #[serde(default)]
    pub(super) request_id: String,
    #[serde(default, deserialize_with = "exact")]
    pub(super) provider_cost: Credits,
    #[serde(default, deserialize_with = "exact")]
    pub(super) referral_share: Credits,
    #[serde(default)]
    pub(super) usage: Usage,
    #[serde(default)]
    pub(super) basis: String,
    #[serde(default)]
    pub(super) status: String,
}

/// `GET /v1/credits/balance`.
#[derive(Debug, Deserialize)]
pub(super) struct Balance {
    #[serde(deserialize_with = "exact")]
    pub(super) balance: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) held: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) available: Credits,
}

/// `GET /admin/v1/accounts/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    #[serde(deserialize_with = "exact")]
    pub(super) balance: Credits,
    pub(super) open_holds: u64,
    pub(super) keys: Vec<Key>,
}

/// A key as the operator sees it.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    #[serde(deserialize_with = "exact")]
    pub(super) spent: Credits,
}

/// A row of `GET /partner/v1/usage`.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) request_id: String,
    #[serde(deserialize_with = "exact")]
    pub(super) referral_share: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) charge: Credits,
}

/// `GET /partner/v1/earnings`.
#[derive(Debug, Deserialize)]
pub(super) struct Earnings {
    #[serde(deserialize_with = "exact")]
    pub(super) earned: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) paid_out: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) payable: Credits,
    pub(super) by_day: Vec<Part>,
    pub(super) by_model: Vec<Part>,
}

/// A day's or a model's part of the earnings.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    pub(super) requests: usize,
    #[serde(deserialize_with = "exact")]
    pub(super) referral_share: Credits,
}

/// `GET /admin/v1/books`.
#[derive(Debug, Deserialize)]
pub(super) struct Books {
    pub(super) balanced: bool,
    pub(super) accounts: usize,
    pub(super) sums: Sums,
    pub(super) differences: Vec<String>,
    pub(super) open_checkpoints: u64,
}

/// The sums of the ledger's accounts; what nothing was posted to is not told.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Sums {
    #[serde(deserialize_with = "exact")]
    pub(super) users: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) accrued: Credits,
    #[serde(deserialize_with = "exact")]
    pub(super) losses: Credits,
}

#[derive(Deserialize)]
struct HistoryPage {
    data: Vec<Row>,
    has_more: bool,
}

#[derive(Deserialize)]
struct RequestPage {
    data: Vec<Request>,
    next: Option<String>,
}

/// Asks for all of it, one thing after the other.
pub(super) async fn everything(
    client: &Client,
    access: &Access,
    receipts: &Receipts,
) -> Result<Everything, AuditError> {
    let asker = Asker { client, access };
    let mut accounts = Vec::new();
    for payer in &receipts.payers {
        let rows = history(client, access, payer, |_| false).await?;
        let balance = asker.of_user(payer, "/v1/credits/balance").await?;
        let account = format!("/admin/v1/accounts/{}", payer.account);
        accounts.push(Statement { rows, balance, account: asker.of_operator(&account).await? });
    }
    let mut partners = Vec::new();
    for earner in &receipts.earners {
        let requests = asker.requests(&earner.secret_key).await?;
        let earnings = asker.of_partner(&earner.secret_key, "/partner/v1/earnings").await?;
        partners.push(Partner { requests, earnings });
    }
    Ok(Everything { accounts, partners, books: asker.of_operator("/admin/v1/books").await? })
}

/// An account's rows, newest first, down to the first one that is known (which is not among them).
/// Rows that are written meanwhile move the older ones down a page, so none is missed.
pub(super) async fn history(
    client: &Client,
    access: &Access,
    payer: &Payer,
    known: impl Fn(&Row) -> bool,
) -> Result<Vec<Row>, AuditError> {
    let asker = Asker { client, access };
    let (mut rows, mut ids) = (Vec::new(), HashSet::new());
    let mut offset = 0usize;
    loop {
        let path = format!("/v1/credits/history?limit={PAGE}&offset={offset}");
        let page: HistoryPage = asker.of_user(payer, &path).await?;
        offset = offset.saturating_add(page.data.len());
        for row in page.data {
            if known(&row) {
                return Ok(rows);
            }
            if ids.insert(row.id.clone()) {
                rows.push(row);
            }
        }
        if !page.has_more {
            return Ok(rows);
        }
    }
}

/// Asks one gateway.
struct Asker<'a> {
    client: &'a Client,
    access: &'a Access,
}

impl Asker<'_> {
    async fn requests(&self, secret_key: &str) -> Result<Vec<Request>, AuditError> {
        let mut requests = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/partner/v1/usage?limit={PAGE}{after}");
            let page: RequestPage = self.of_partner(secret_key, &path).await?;
            requests.extend(page.data);
            let Some(next) = page.next else { return Ok(requests) };
            after = format!("&after={next}");
        }
    }

    async fn of_user<T: DeserializeOwned>(
        &self,
        payer: &Payer,
        path: &str,
    ) -> Result<T, AuditError> {
        self.ask(&self.access.base, path, ("x-user-key", &payer.key)).await
    }

    async fn of_partner<T: DeserializeOwned>(
        &self,
        secret_key: &str,
        path: &str,
    ) -> Result<T, AuditError> {
        let bearer = format!("Bearer {secret_key}");
        self.ask(&self.access.base, path, ("authorization", &bearer)).await
    }

    async fn of_operator<T: DeserializeOwned>(&self, path: &str) -> Result<T, AuditError> {
        let bearer = format!("Bearer {}", self.access.admin_token);
        self.ask(&self.access.admin, path, ("authorization", &bearer)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        origin: &str,
        path: &str,
        header: (&str, &str),
    ) -> Result<T, AuditError> {
        let path = path.to_owned();
        let sent = self.client.send(Method::GET, &format!("{origin}{path}"), &[header], "").await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(source) => return Err(AuditError::Client { path, source }),
        };
        if !answer.status.is_success() {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(AuditError::Refused { path, status: answer.status.as_u16(), body });
        }
        serde_json::from_slice(&answer.body).map_err(|source| AuditError::Form { path, source })
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self { users: Credits::ZERO, accrued: Credits::ZERO, losses: Credits::ZERO }
    }
}

/// An amount by its digits: a float would round what is large.
pub(crate) fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Credits, D::Error> {
    let digits = Box::<RawValue>::deserialize(deserializer)?;
    Credits::parse(digits.get()).map_err(serde::de::Error::custom)
}
