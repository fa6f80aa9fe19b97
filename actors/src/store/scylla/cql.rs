//! Every statement, prepared once; its kind says how it is asked.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::StoreError;
use super::db::unavailable;

/// How a statement is asked.
#[derive(Clone, Copy)]
enum Kind {
    /// A quorum's answer.
    Read,
    /// A read that first ends what is being decided in the partition.
    SerialRead,
    /// An idempotent write of a table that has no conditional ones.
    Write,
    /// A conditional write: never tried again by the driver, for its outcome may be unknown.
    Conditional,
}

async fn prepare(
    session: &Session,
    kind: Kind,
    text: &str,
) -> Result<PreparedStatement, StoreError> {
    let mut statement =
        session.prepare(text).await.map_err(|error| unavailable(&format!("{text}: {error}")))?;
    statement.set_use_cached_result_metadata(matches!(kind, Kind::Read | Kind::SerialRead));
    match kind {
        Kind::Read | Kind::Write => statement.set_is_idempotent(true),
        Kind::SerialRead => {
            statement.set_is_idempotent(true);
            statement.set_consistency(Consistency::LocalSerial);
        }
        Kind::Conditional => {
            statement.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        }
    }
    Ok(statement)
}

macro_rules! statements {
    ($($name:ident: $kind:ident = $text:literal;)*) => {
        /// The prepared statements, by name.
        #[derive(Debug)]
        pub(super) struct Statements {
            $(pub(super) $name: PreparedStatement,)*
        }

        impl Statements {
            pub(super) async fn prepare(session: &Session) -> Result<Self, StoreError> {
                Ok(Self { $($name: prepare(session, Kind::$kind, $text).await?,)* })
            }
        }
    };
}

statements! {
    // An account's partition.
    create_account: Conditional = "INSERT INTO accounts (account, head_seq, balance, head, epoch, \
        owner, copied, created, email) VALUES (?, 0, 0, ?, 1, ?, 0, ?, ?) IF NOT EXISTS";
    own_account: Conditional = "UPDATE accounts SET epoch = ?, owner = ? WHERE account = ? \
        IF epoch = ? AND head_seq = ?";
    put_head: Conditional = "UPDATE accounts SET head_seq = ?, balance = ?, head = ?, copied = ? \
        WHERE account = ? IF epoch = ? AND head_seq = ?";
    put_event: Conditional = "INSERT INTO accounts (account, part, seq, name, balance_after, body) \
        VALUES (?, 0, ?, 0x, ?, ?)";
    put_name: Conditional = "INSERT INTO accounts (account, part, seq, name, at_seq) \
        VALUES (?, 1, 0, ?, ?) IF NOT EXISTS USING TTL ?";
    put_recovered: Conditional = "INSERT INTO accounts (account, part, seq, name, body) \
        VALUES (?, 2, ?, 0x, ?) USING TTL ?";
    moving_account: Conditional = "UPDATE accounts SET owner = ? WHERE account = ? \
        IF head_seq = null";
    move_name: Conditional = "INSERT INTO accounts (account, part, seq, name, at_seq) \
        VALUES (?, 1, 0, ?, ?) USING TTL ?";
    move_account: Conditional = "UPDATE accounts SET head_seq = ?, balance = ?, head = ?, \
        epoch = 1, owner = ?, copied = ?, created = ?, email = ? WHERE account = ? \
        IF head_seq = null";
    trim: Conditional = "DELETE FROM accounts WHERE account = ? AND part = 0 AND seq <= ?";
    head: Read = "SELECT DISTINCT head_seq, epoch, owner, copied, head FROM accounts \
        WHERE account = ?";
    head_now: SerialRead = "SELECT head_seq, epoch, owner, copied, head FROM accounts \
        WHERE account = ? LIMIT 1";
    email_of: Read = "SELECT DISTINCT account, email FROM accounts WHERE account = ?";
    tail: Read = "SELECT seq, balance_after, body FROM accounts \
        WHERE account = ? AND part = 0 AND seq >= ? AND seq <= ?";
    names: Read = "SELECT name, at_seq FROM accounts \
        WHERE account = ? AND part = 1 AND seq = 0 AND name IN ?";
    recovered: Read = "SELECT body FROM accounts WHERE account = ? AND part = 2 \
        ORDER BY part DESC, seq DESC, name DESC LIMIT 128";
    all_accounts: Read = "SELECT DISTINCT account, balance, head_seq, copied, head FROM accounts";

    // Copies of events.
    put_history: Write = "INSERT INTO history (account, bucket, seq, balance_after, body) \
        VALUES (?, ?, ?, ?, ?)";
    history: Read = "SELECT seq, balance_after, body FROM history \
        WHERE account = ? AND bucket = ? AND seq >= ? AND seq <= ?";
    put_earned: Write = "INSERT INTO partner_earned (partner, bucket, account, seq, earned) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    earned: Read = "SELECT seq, earned FROM partner_earned \
        WHERE partner = ? AND bucket = ? AND account = ?";
    earned_rows: Read = "SELECT account, seq, earned FROM partner_earned \
        WHERE partner = ? AND bucket = ?";
    put_day: Write = "INSERT INTO partner_days (partner, day, account, model, seq, requests, cost, \
        share) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    day: Read = "SELECT seq, requests, cost, share FROM partner_days \
        WHERE partner = ? AND day = ? AND account = ? AND model = ?";
    day_rows: Read = "SELECT account, model, seq, requests, cost, share FROM partner_days \
        WHERE partner = ? AND day = ?";
    put_usage: Write = "INSERT INTO partner_usage (partner, hour, request, kind, account, seq, \
        model) VALUES (?, ?, ?, ?, ?, ?, ?)";
    usage: Read = "SELECT request, account, seq, model FROM partner_usage \
        WHERE partner = ? AND hour = ? AND request >= ? AND request < ?";
    put_time: Write = "INSERT INTO partner_times (partner, kind, number) VALUES (?, ?, ?)";
    times: Read = "SELECT number FROM partner_times \
        WHERE partner = ? AND kind = ? AND number >= ? AND number <= ?";

    // Checkpoints.
    put_checkpoint: Write = "INSERT INTO checkpoints (node, bucket, account, request, body) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    forget_checkpoint: Write = "DELETE FROM checkpoints USING TIMESTAMP ? \
        WHERE node = ? AND bucket = ? AND account = ? AND request = ?";
    checkpoints_of: Read = "SELECT body FROM checkpoints \
        WHERE node = ? AND bucket = ? AND account = ?";
    checkpoints_in: Read = "SELECT account, request FROM checkpoints WHERE node = ? AND bucket = ?";
    put_node: Write = "INSERT INTO checkpoint_nodes (list, node, seen) VALUES (0, ?, ?) \
        USING TIMESTAMP ?";
    nodes: Read = "SELECT node, seen FROM checkpoint_nodes WHERE list = 0";
    forget_node: Write = "DELETE FROM checkpoint_nodes USING TIMESTAMP ? \
        WHERE list = 0 AND node = ?";

    // Nodes, and what they have to forget.
    put_member: Write = "INSERT INTO nodes (list, node, address, started, leaving) \
        VALUES (0, ?, ?, ?, ?) USING TTL ?";
    forget_member: Write = "DELETE FROM nodes WHERE list = 0 AND node = ?";
    members: Read = "SELECT node, address, started, leaving FROM nodes WHERE list = 0";
    put_notice: Write = "INSERT INTO notices (list, at, name) VALUES (0, ?, ?) USING TTL ?";
    notices: Read = "SELECT at, name FROM notices WHERE list = 0 AND at > ?";

    // Mail addresses, keys, partners.
    claim_email: Conditional = "INSERT INTO emails (email, account) VALUES (?, ?) IF NOT EXISTS";
    email: SerialRead = "SELECT account FROM emails WHERE email = ?";
    put_key: Conditional = "INSERT INTO keys (id, body) VALUES (?, ?) IF NOT EXISTS";
    put_key_hash: Write = "INSERT INTO keys_by_hash (hash, id) VALUES (?, ?)";
    put_key_account: Write = "INSERT INTO keys_by_account (account, id) VALUES (?, ?)";
    revoke_key: Conditional = "UPDATE keys SET revoked = ? WHERE id = ? IF revoked = null";
    key: SerialRead = "SELECT body, revoked FROM keys WHERE id = ?";
    key_by_hash: Read = "SELECT id FROM keys_by_hash WHERE hash = ?";
    keys_of: Read = "SELECT id FROM keys_by_account WHERE account = ?";
    put_key_use: Write = "INSERT INTO key_uses (id, at, origin) VALUES (?, ?, ?) USING TIMESTAMP ?";
    key_use: Read = "SELECT at, origin FROM key_uses WHERE id = ?";
    put_partner: Write = "INSERT INTO partners (id, body) VALUES (?, ?)";
    partner: Read = "SELECT body FROM partners WHERE id = ?";
    partners: Read = "SELECT body FROM partners";
    claim_partner_name: Conditional = "INSERT INTO partner_names (name, partner) VALUES (?, ?) \
        IF NOT EXISTS";
    partner_name: SerialRead = "SELECT partner FROM partner_names WHERE name = ?";

    // Payouts, prices, idempotency keys.
    first_payout: Conditional = "UPDATE payouts SET paid_out = ? WHERE partner = ? \
        IF paid_out = null";
    next_payout: Conditional = "UPDATE payouts SET paid_out = ? WHERE partner = ? IF paid_out = ?";
    put_payout: Conditional = "INSERT INTO payouts (partner, entry, credits, reference, at) \
        VALUES (?, ?, ?, ?, ?) IF NOT EXISTS";
    payout: SerialRead = "SELECT credits FROM payouts WHERE partner = ? AND entry = ?";
    paid_out: SerialRead = "SELECT paid_out FROM payouts WHERE partner = ? LIMIT 1";
    payouts: Read = "SELECT credits FROM payouts WHERE partner = ?";
    put_price: Write = "INSERT INTO prices (id, body) VALUES (?, ?)";
    price: Read = "SELECT body FROM prices WHERE id = ?";
    put_once: Conditional = "INSERT INTO once (key, fingerprint, answer) VALUES (?, ?, ?) \
        IF NOT EXISTS";
    once: SerialRead = "SELECT fingerprint, answer FROM once WHERE key = ?";
    change_once: Conditional = "UPDATE once SET answer = ? WHERE key = ? IF fingerprint = ?";

    // Documents.
    make_document: Conditional = "INSERT INTO documents (kind, id, version, name, due, body) \
        VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    change_document: Conditional = "UPDATE documents SET version = ?, name = ?, due = ?, body = ? \
        WHERE kind = ? AND id = ? IF version = ?";
    forget_document: Conditional = "DELETE FROM documents WHERE kind = ? AND id = ? \
        IF version = ?";
    document: SerialRead = "SELECT version, name, due, body FROM documents \
        WHERE kind = ? AND id = ?";
    put_document_name: Write = "INSERT INTO documents_by_name (kind, name, id) VALUES (?, ?, ?)";
    documents_named: Read = "SELECT id FROM documents_by_name WHERE kind = ? AND name = ?";
    forget_document_name: Write = "DELETE FROM documents_by_name \
        WHERE kind = ? AND name = ? AND id = ?";
    put_document_due: Write = "INSERT INTO documents_by_due (kind, bucket, due, id, made) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    documents_due: Read = "SELECT due, id, made FROM documents_by_due \
        WHERE kind = ? AND bucket = ? AND due < ?";
    forget_document_due: Write = "DELETE FROM documents_by_due USING TIMESTAMP ? \
        WHERE kind = ? AND bucket = ? AND due = ? AND id = ?";
}
