//! Makes the keyspace and runs the migrations that it has not seen; several may try at once.

use std::time::Duration;

use opencredits_schema::CQL_MIGRATIONS;
use scylla::client::session::Session;
use scylla::value::{CqlValue, Row};

use super::StoreError;
use super::db::{connect, corrupt, failed, unavailable};

/// How long a node that migrates is believed to be alive, in seconds.
const TURN_SECONDS: u32 = 60;

/// How often another node looks whether it may migrate.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The row that says who migrates; migrations count from 1.
const TURN: i32 = 0;

/// Brings a keyspace up to date; how many migrations were run.
pub(super) async fn migrate(
    nodes: &[String],
    keyspace: &str,
    owner: i64,
) -> Result<usize, StoreError> {
    let session = connect(nodes).await?;
    // One copy suits one database node: a cluster's operator makes the keyspace with more before.
    let make = format!(
        "CREATE KEYSPACE IF NOT EXISTS \"{keyspace}\" WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}}"
    );
    ask(&session, &make).await?;
    session.use_keyspace(keyspace, true).await.map_err(|error| unavailable(&error))?;
    ask(&session, "CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, owner bigint)")
        .await?;
    take_turn(&session, owner).await?;
    let result = run(&session, owner).await;
    let end = format!("DELETE FROM migrations WHERE number = {TURN} IF owner = {owner}");
    ask(&session, &end).await?;
    result
}

/// Refuses a keyspace that lacks migrations or has those of a newer program.
pub(super) async fn check(session: &Session, keyspace: &str) -> Result<(), StoreError> {
    if session.use_keyspace(keyspace, true).await.is_err() {
        return Err(StoreError::Conflict(format!(
            "there is no keyspace {keyspace} yet: run `opencredits migrate`"
        )));
    }
    let done = done(session).await?;
    match done.cmp(&CQL_MIGRATIONS.len()) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(StoreError::Conflict(format!(
            "the keyspace is of version {done}, this program's is {}: run `opencredits migrate`",
            CQL_MIGRATIONS.len()
        ))),
        std::cmp::Ordering::Greater => Err(StoreError::Corrupt(format!(
            "the keyspace is of version {done}, newer than this program's {}",
            CQL_MIGRATIONS.len()
        ))),
    }
}

async fn run(session: &Session, owner: i64) -> Result<usize, StoreError> {
    let done = done(session).await?;
    if done > CQL_MIGRATIONS.len() {
        check(session, &session.get_keyspace().map(|name| name.to_string()).unwrap_or_default())
            .await?;
    }
    for (number, migration) in (1..).zip(CQL_MIGRATIONS).skip(done) {
        for statement in statements(migration) {
            ask(session, &statement).await?;
        }
        let note = format!(
            "INSERT INTO migrations (number, owner) VALUES ({number}, {owner}) IF NOT EXISTS"
        );
        ask(session, &note).await?;
    }
    Ok(CQL_MIGRATIONS.len().saturating_sub(done))
}

/// The statements of a migration, without its comments.
fn statements(migration: &str) -> Vec<String> {
    let code: Vec<_> = migration.lines().filter(|line| !line.starts_with("--")).collect();
    let parts = code.join("\n");
    let parts = parts.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// Waits until no other node migrates. The turn of one that died ends by itself.
async fn take_turn(session: &Session, owner: i64) -> Result<(), StoreError> {
    let take = format!(
        "INSERT INTO migrations (number, owner) VALUES ({TURN}, {owner}) IF NOT EXISTS \
         USING TTL {TURN_SECONDS}"
    );
    let give_up = tokio::time::Instant::now() + Duration::from_secs(2 * u64::from(TURN_SECONDS));
    while tokio::time::Instant::now() < give_up {
        let answer = session.query_unpaged(take.as_str(), &[]).await.map_err(failed)?;
        let rows = answer.into_rows_result().map_err(corrupt)?;
        let row = rows.first_row::<Row>().map_err(corrupt)?;
        if matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(unavailable(&"another node has been migrating the keyspace for too long"))
}

/// How many migrations the keyspace has seen.
async fn done(session: &Session) -> Result<usize, StoreError> {
    let answer = session.query_unpaged("SELECT number FROM migrations", &[]).await;
    // No such table: nothing was done.
    let Ok(answer) = answer else { return Ok(0) };
    let rows = answer.into_rows_result().map_err(corrupt)?;
    let numbers: Result<Vec<(i32,)>, _> = rows.rows().map_err(corrupt)?.collect();
    Ok(numbers.map_err(corrupt)?.iter().filter(|(number,)| *number != TURN).count())
}

async fn ask(session: &Session, statement: &str) -> Result<(), StoreError> {
    session.query_unpaged(statement, &[]).await.map_err(failed)?;
    Ok(())
}
