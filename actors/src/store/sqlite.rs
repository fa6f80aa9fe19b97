//! The embedded default: one SQLite file, WAL, FULL, one writer thread, a log ahead of it.
//!
//! Reads that a person or an activation waits for go to a second thread with its own connection,
//! so that a page of history never stands in the writer's way.

mod accounts;
mod ahead;
mod body;
mod checkpoints;
mod commit;
mod documents;
mod entry;
mod event_row;
mod export;
mod lock;
mod names;
mod open;
mod partner_usage;
mod read;
mod rows;
mod sums;
mod thread;

use std::path::{Path, PathBuf};

use opencredits_schema::{
    AccountId, Document, DocumentKind, EarningsRow, HistoryRow, Key, KeyId, KeyUse, Partner,
    PartnerBalance, PartnerId, Timestamp, UsageQuery,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use self::ahead::Ahead;
use self::lock::Lock;
use self::open::{beside, connect, migrate, open_existing};
use self::thread::Thread;

pub(super) use self::export::{AccountRow, PartnerRow, Place, Record, Table, Totals};

use super::{
    Answered, Batch, Books, Loaded, Once, Payout, PayoutOutcome, Rejected, Store, StoreError,
};

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    // Dropped in this order: the log has the writer apply what it holds.
    ahead: Ahead,
    writer: Thread,
    reader: Thread,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the file for the one process that serves it, migrates it, and applies what a crash left
    /// in the log.
    ///
    /// `holder` says who is serving: it stands in the lock file for the next one that tries.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the process that serves the file already.
    pub fn open(path: &Path, holder: &str) -> Result<Self, StoreError> {
        let lock = Lock::take(path, holder)?;
        let mut connection = connect(path, OpenFlags::default())?;
        migrate(&mut connection)?;
        let probe = beside(path)?;
        let reader = Thread::start("sqlite-reader", beside(path)?)?;
        let (ahead, writer) = Ahead::start(path, connection, probe)?;
        Ok(Self { ahead, writer, reader, _lock: lock })
    }

    /// Migrates the file without serving it.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn migrate(path: &Path, holder: &str) -> Result<usize, StoreError> {
        let _lock = Lock::take(path, holder)?;
        migrate(&mut connect(path, OpenFlags::default())?)
    }

    /// Audits a file from one snapshot, while another process may serve it: then without its last
    /// five seconds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn audit_file(path: &Path) -> Result<Books, StoreError> {
        read::audit(&mut whole(path)?)
    }

    /// Copies a file, with all that was durable before, while another process may serve it.
    ///
    /// # Errors
    /// When the file cannot be read, or `to` exists or cannot be written.
    pub fn backup_file(path: &Path, to: &Path) -> Result<(), StoreError> {
        let connection = open_existing(path)?;
        // Before the copy: what the log forgets meanwhile is in it.
        let missing = ahead::missing(path, &connection)?;
        read::backup(&connection, to)?;
        ahead::replay(&mut open_existing(to)?, missing)
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answered<'_, T> {
        self.writer.ask(work)
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answered<'_, T> {
        self.reader.ask(work)
    }

    /// Reads what events change, of one account or of all.
    fn read_behind<T: Send + 'static>(
        &self,
        account: Option<AccountId>,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answered<'_, T> {
        let applied = account
            .map_or_else(|| self.ahead.applied_all(), |account| self.ahead.applied_of(account));
        Box::pin(async move {
            applied.await?;
            self.reader.ask(work).await
        })
    }
}

/// A file with all that is durable in its log, unless a process that serves it sees to that.
fn whole(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = open_existing(path)?;
    let missing = ahead::missing(path, &connection)?;
    if !missing.is_empty()
        && let Ok(_lock) = Lock::take(path, "a look into the file")
    {
        ahead::replay(&mut connection, missing)?;
    }
    Ok(connection)
}

/// Changes a key; as it is then, `None` if there is none. Only the writer's thread changes keys.
fn change_key(
    connection: &Connection,
    key: KeyId,
    change: impl FnOnce(&mut Key),
) -> Result<Option<Key>, StoreError> {
    let sql = "SELECT body FROM keys WHERE id = ?1";
    let found: Option<Key> = read::one(connection, sql, params![key.column()])?;
    let Some(mut found) = found else { return Ok(None) };
    change(&mut found);
    let row = params![key.column(), to_text(&found)?];
    connection.execute("UPDATE keys SET body = ?2 WHERE id = ?1", row).map_err(failed)?;
    Ok(Some(found))
}

fn unavailable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt(error.to_string())
        }
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn to_text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(no_json)
}

fn from_text<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(no_json)
}

fn no_json(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

impl Store for SqliteStore {
    fn commit(&self, batch: Batch) -> Answered<'_, Vec<Rejected>> {
        self.ahead.commit(batch)
    }

    fn blocks(&self) -> bool {
        true
    }

    fn load(&self, account: AccountId) -> Answered<'_, Option<Loaded>> {
        self.read_behind(Some(account), move |connection| read::load(connection, account))
    }

    fn create_account(
        &self,
        account: AccountId,
        email: Option<String>,
        at: Timestamp,
    ) -> Answered<'_, ()> {
        self.write(move |connection| accounts::create(connection, account, email, at))
    }

    fn account_by_email(&self, email: String) -> Answered<'_, Option<AccountId>> {
        self.read(move |connection| {
            let sql = "SELECT id FROM accounts WHERE email = ?1";
            let id = connection.query_row(sql, params![email], |row| row.get(0));
            Ok(id.optional().map_err(failed)?.map(AccountId::from_column))
        })
    }

    fn email_of(&self, account: AccountId) -> Answered<'_, Option<String>> {
        self.read(move |connection| {
            let sql = "SELECT email FROM accounts WHERE id = ?1";
            let email = connection.query_row(sql, params![account.column()], |row| row.get(0));
            Ok(email.optional().map_err(failed)?.flatten())
        })
    }

    fn unfinished(&self) -> Answered<'_, Vec<AccountId>> {
        self.read_behind(None, read::unfinished)
    }

    fn history(
        &self,
        account: AccountId,
        limit: usize,
        offset: usize,
    ) -> Answered<'_, (Vec<HistoryRow>, bool)> {
        self.read_behind(Some(account), move |connection| {
            read::history(connection, account, limit, offset)
        })
    }

    fn put_key(&self, key: Key) -> Answered<'_, ()> {
        self.write(move |connection| accounts::put_key(connection, &key))
    }

    fn key_by_hash(&self, hash: [u8; 32]) -> Answered<'_, Option<Key>> {
        self.read(move |c| read::one(c, "SELECT body FROM keys WHERE hash = ?1", params![hash]))
    }

    fn keys_of(&self, account: AccountId) -> Answered<'_, Vec<Key>> {
        self.read(move |connection| {
            let sql = "SELECT body FROM keys WHERE account = ?1 ORDER BY id";
            read::many(connection, sql, params![account.column()])
        })
    }

    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Answered<'_, Option<Key>> {
        self.write(move |connection| {
            change_key(connection, key, |key| {
                key.revoked_at.get_or_insert(at);
            })
        })
    }

    fn use_key(&self, key: KeyId, used: KeyUse) -> Answered<'_, ()> {
        self.write(move |connection| change_key(connection, key, |key| key.used(used)).map(|_| ()))
    }

    fn put_partner(&self, partner: Partner) -> Answered<'_, ()> {
        self.write(move |connection| {
            let sql = "INSERT INTO partners (id, publishable, secret_hash, body) \
                       VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET body = ?4";
            let Partner { publishable_key, secret_hash, .. } = &partner;
            let row =
                params![partner.id.column(), publishable_key, secret_hash, to_text(&partner)?];
            connection.execute(sql, row).map_err(failed)?;
            Ok(())
        })
    }

    fn partners(&self) -> Answered<'_, Vec<Partner>> {
        self.read(|connection| {
            let mut partners: Vec<Partner> =
                read::many(connection, "SELECT body FROM partners", params![])?;
            partners.sort_by_key(|partner| (partner.created, partner.id));
            Ok(partners)
        })
    }

    fn partner(&self, id: PartnerId) -> Answered<'_, Option<Partner>> {
        self.read(move |connection| {
            read::one(connection, "SELECT body FROM partners WHERE id = ?1", params![id.column()])
        })
    }

    fn partner_by_publishable(&self, key: String) -> Answered<'_, Option<Partner>> {
        self.read(move |connection| {
            read::one(connection, "SELECT body FROM partners WHERE publishable = ?1", params![key])
        })
    }

    fn partner_by_secret(&self, hash: [u8; 32]) -> Answered<'_, Option<Partner>> {
        self.read(move |connection| {
            read::one(connection, "SELECT body FROM partners WHERE secret_hash = ?1", params![hash])
        })
    }

    fn partner_balance(&self, id: PartnerId) -> Answered<'_, PartnerBalance> {
        self.read_behind(None, move |connection| read::partner_balance(connection, id))
    }

    fn payout(&self, payout: Payout) -> Answered<'_, PayoutOutcome> {
        let applied = self.ahead.applied_all();
        Box::pin(async move {
            applied.await?;
            self.write(move |connection| commit::payout(connection, &payout)).await
        })
    }

    fn partner_usage(&self, id: PartnerId, query: UsageQuery) -> Answered<'_, Vec<HistoryRow>> {
        self.read_behind(None, move |connection| read::partner_usage(connection, id, &query))
    }

    fn earnings(
        &self,
        id: PartnerId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Answered<'_, Vec<EarningsRow>> {
        self.read_behind(None, move |connection| read::earnings(connection, id, from, to))
    }

    fn keep_prices(&self, rows: Vec<(String, String)>) -> Answered<'_, ()> {
        self.write(move |connection| {
            let transaction = connection.transaction().map_err(failed)?;
            for (id, body) in rows {
                let sql = "INSERT OR IGNORE INTO prices (id, body) VALUES (?1, ?2)";
                transaction.execute(sql, params![id, body]).map_err(failed)?;
            }
            transaction.commit().map_err(failed)
        })
    }

    fn once(&self, key: String, fingerprint: [u8; 32], answer: String) -> Answered<'_, Once> {
        self.write(move |connection| {
            let sql = "INSERT OR IGNORE INTO once (key, fingerprint, answer) VALUES (?1, ?2, ?3)";
            let new = connection.execute(sql, params![key, fingerprint, answer]).map_err(failed)?;
            if new == 1 {
                return Ok(Once::First);
            }
            let sql = "SELECT answer FROM once WHERE key = ?1 AND fingerprint = ?2";
            let first = connection.query_row(sql, params![key, fingerprint], |row| row.get(0));
            let first: Option<String> = first.optional().map_err(failed)?;
            Ok(first.map_or(Once::Other, Once::Repeat))
        })
    }

    fn document(&self, kind: DocumentKind, id: String) -> Answered<'_, Option<Document>> {
        self.read(move |connection| documents::by_id(connection, kind, &id))
    }

    fn document_named(&self, kind: DocumentKind, name: String) -> Answered<'_, Option<Document>> {
        self.read(move |connection| documents::by_name(connection, kind, &name))
    }

    fn put_document(&self, document: Document) -> Answered<'_, bool> {
        self.write(move |connection| documents::put(connection, &document))
    }

    fn due_documents(
        &self,
        kind: DocumentKind,
        before: Timestamp,
        limit: usize,
    ) -> Answered<'_, Vec<Document>> {
        self.read(move |connection| documents::due(connection, kind, before, limit))
    }

    fn forget_documents(&self, kind: DocumentKind, before: Timestamp) -> Answered<'_, usize> {
        self.write(move |connection| documents::forget(connection, kind, before))
    }

    fn audit(&self) -> Answered<'_, Books> {
        self.read_behind(None, read::audit)
    }

    fn backup(&self, to: PathBuf) -> Answered<'_, ()> {
        self.read_behind(None, move |connection| read::backup(connection, &to))
    }

    fn check(&self) -> Answered<'_, ()> {
        self.write(|connection| {
            // Takes the write lock and gives it back: says whether a commit could be tried.
            connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(failed)
        })
    }
}
