//! Accounts of a run at a gateway, and its books: what clients were told against what is written.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use opencredits_schema::Credits;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::result::BooksResult;
use super::target::User;
use crate::client::{Client, ClientError};
use crate::receipts::{
    Access, AuditError, Earner, Moved, MovedKind, Payer, Receipt, Receipts, audit,
};

/// Accounts that are made at the same time.
const MAKING_MAX: usize = 16;
/// The longest wait for answers whose clients hung up: the gateway's own bound, and some more.
const QUIET_WAIT: Duration = Duration::from_secs(150);
/// How often an account is asked whether it still holds something.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a difference gets to go away.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// What each account is given, in credits: more than any run spends.
const GRANT: &str = "1000000";
/// The partner's share of each charge.
const REFERRAL_RATE: &str = "0.10";

/// A partner of the run's own, and its accounts.
#[derive(Debug)]
pub struct Accounts {
    operator: Operator,
    receipts: Receipts,
}

/// The admin API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// It gave no answer.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// It refused.
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

impl Accounts {
    /// Makes a partner, without accounts yet.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub async fn open(client: Client, access: Access) -> Result<Self, AccountsError> {
        let operator = Operator { client, access };
        let partner = json!({"name": "load", "referral_rate": REFERRAL_RATE});
        let partner = operator.post("/admin/v1/partners", partner).await?;
        let (id, secret_key) = (text(&partner, "id"), text(&partner, "secret_key"));
        let receipts = Receipts { earners: vec![Earner { id, secret_key }], ..Receipts::default() };
        Ok(Self { operator, receipts })
    }

    /// Makes so many accounts with credits; they are part of the books from now on.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub async fn make(&mut self, count: usize) -> Result<Vec<User>, AccountsError> {
        let partner = self.receipts.earners.first().map(|earner| earner.id.clone());
        let (making, mut made) = (Arc::new(Semaphore::new(MAKING_MAX)), JoinSet::new());
        for _ in 0..count {
            let (operator, making) = (self.operator.clone(), Arc::clone(&making));
            let body = json!({"partner": partner, "email": null, "credits": GRANT});
            made.spawn(async move {
                // The semaphore is never closed.
                let _one = making.acquire().await;
                operator.post("/admin/v1/accounts", body).await
            });
        }
        let credits = Credits::parse(GRANT).unwrap_or_default();
        let mut users = Vec::with_capacity(count);
        for account in made.join_all().await {
            let account = account?;
            let user = User { account: text(&account, "id"), key: text(&account, "user_key") };
            let payer = self.receipts.payers.len();
            self.receipts.moved.push(Moved { payer, kind: MovedKind::Grant, credits });
            let (account, key) = (user.account.clone(), user.key.clone());
            self.receipts.payers.push(Payer { account, key, earner: 0 });
            users.push(user);
        }
        Ok(users)
    }

    /// Where the gateway is.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.operator.access
    }

    /// Compares what clients were told with all that the gateway tells, once it is done with what
    /// their clients left.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn audit(&mut self, told: Vec<Receipt>) -> Result<BooksResult, AuditError> {
        self.receipts.requests.extend(told);
        let Operator { client, access } = &self.operator;
        // Whatever is still held then is a difference, and is listed as one.
        drop(tokio::time::timeout(QUIET_WAIT, self.nothing_held()).await);
        let mut differences = audit(client, access, &self.receipts).await?;
        if !differences.is_empty() {
            // The last settlement without a client may have been on its way to the disk.
            tokio::time::sleep(SECOND_LOOK).await;
            differences = audit(client, access, &self.receipts).await?;
        }
        Ok(BooksResult::new(self.receipts.requests.len(), differences))
    }

    /// Waits until no account holds anything: answers whose clients hung up are read on for a while.
    async fn nothing_held(&self) {
        let Operator { client, access } = &self.operator;
        let url = format!("{}/v1/credits/balance", access.base);
        for payer in &self.receipts.payers {
            let held = async || {
                let answer =
                    client.send(Method::GET, &url, &[("x-user-key", &payer.key)], "").await;
                // A gateway that does not answer is the audit's to tell.
                answer.is_ok_and(|answer| answer.json().get("held").is_some_and(|held| *held != 0))
            };
            while held().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// The operator's calls.
#[derive(Clone, Debug)]
struct Operator {
    client: Client,
    access: Access,
}

impl Operator {
    async fn post(&self, path: &'static str, body: Value) -> Result<Value, AccountsError> {
        let url = format!("{}{path}", self.access.admin);
        let bearer = format!("Bearer {}", self.access.admin_token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = self.client.send(Method::POST, &url, &headers, body.to_string()).await?;
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        Err(AccountsError::Refused { path, status: answer.status.as_u16(), body })
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
