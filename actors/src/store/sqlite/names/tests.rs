//! What is looked up is found by its place in a tree, however much there is.

use opencredits_schema::SQL_MIGRATIONS;

use super::*;
use crate::store::sqlite::{checkpoints, commit, read};
use crate::tests::{PARTNER, charged};

fn database() -> Connection {
    let database = Connection::open_in_memory().unwrap();
    for migration in SQL_MIGRATIONS {
        database.execute_batch(migration).unwrap();
    }
    database
}

#[test]
fn no_look_up_reads_a_whole_table() {
    let database = database();
    let looked_up = [OF_REQUEST, OF_SOURCE, OUTCOME, NEWEST, commit::SEQ, read::RECOVERED];
    for sql in looked_up.into_iter().chain([checkpoints::KEEP, checkpoints::FORGET]) {
        let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut steps = plan.raw_query();
        let mut searches = 0;
        while let Some(step) = steps.next().unwrap() {
            let step: String = step.get("detail").unwrap();
            let scans =
                step.starts_with("SCAN") && !["SCAN found", "SCAN CONSTANT ROW"].contains(&&*step);
            assert!(!scans && !step.contains("TEMP B-TREE"), "{step} of {sql}");
            searches += usize::from(step.starts_with("SEARCH"));
        }
        assert!(searches > 0, "{sql}");
    }
}

#[test]
fn the_newest_request_is_the_largest_of_all_partners() {
    let database = database();
    assert_eq!(newest_request(&database).unwrap(), RequestId::new(0));
    for (partner, request) in [(-3, 5), (1, 9), (1, u128::MAX - 1), (7, 2), (i64::MAX, 8)] {
        let sql = "INSERT INTO partner_usage VALUES (?1, ?2, 1, 1, 1)";
        database.execute(sql, params![partner, bytes(RequestId::new(request))]).unwrap();
    }
    assert_eq!(newest_request(&database).unwrap(), RequestId::new(u128::MAX - 1));
    let sql = "DELETE FROM partner_usage WHERE partner = 1";
    database.execute(sql, []).unwrap();
    assert_eq!(newest_request(&database).unwrap(), RequestId::new(8));
}

#[test]
fn a_settlement_is_no_adjustment_and_another_request_is_neither() {
    let database = database();
    let sql = "INSERT INTO partner_usage VALUES (?1, ?2, ?3, 1, 1)";
    for (request, kind) in [(1, 1), (2, 1), (2, 2)] {
        let (partner, request) = key(PARTNER, RequestId::new(request));
        database.execute(sql, params![partner, request, kind]).unwrap();
    }
    let adjusted = [1, 2, 3].map(|request| is_adjusted(&database, &charged(request, 5, 0)));
    assert_eq!(adjusted, [Ok(false), Ok(true), Ok(false)]);
}
