//! What a user has, what it was spent on, and what requests are likely to cost.

mod pricing;

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

pub use pricing::pricing;

use crate::answer::json;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::history::{self, Row};
use crate::request::Incoming;

/// Rows on a page of the history, if the caller does not say; and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 1000;

/// `GET /v1/credits/balance`.
///
/// # Errors
/// 503 when the account cannot be asked.
pub async fn balance(gateway: &Arc<Gateway>, caller: &Caller) -> Result<Response<Bytes>, ApiError> {
    let view = gateway.system.view(caller.key.account).await?;
    let balance = Balance {
        balance: view.balance.to_json(),
        currency: "credits",
        held: view.held.to_json(),
        available: view.balance.minus(view.held).to_json(),
    };
    json(StatusCode::OK, &balance)
}

/// `GET /v1/credits/history`: the account's durable events, newest first.
///
/// # Errors
/// 400 for a limit or an offset that is no number; 503 when the store does not answer.
pub async fn history(
    gateway: &Arc<Gateway>,
    request: &Incoming,
    caller: &Caller,
) -> Result<Response<Bytes>, ApiError> {
    let limit = request.number("limit", PAGE, PAGE_MAX)?.max(1);
    // The most that a store can count to.
    let offset = request.number("offset", 0, usize::MAX >> 1)?;
    let store = gateway.system.store();
    let (rows, has_more) = store.history(caller.key.account, limit, offset).await?;
    let data: Vec<_> = rows.iter().filter_map(history::row).collect();
    json(StatusCode::OK, &HistoryPage { data, limit, offset, has_more })
}

#[derive(Serialize)]
struct Balance {
    balance: Box<RawValue>,
    currency: &'static str,
    held: Box<RawValue>,
    available: Box<RawValue>,
}

#[derive(Serialize)]
struct HistoryPage<'a> {
    data: Vec<Row<'a>>,
    limit: usize,
    offset: usize,
    has_more: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::tests::Fixture;

    #[tokio::test]
    async fn a_balance_tells_what_is_held() {
        let fixture = Fixture::new().await;
        let user = fixture.user("1000").await;
        let before = Fixture::ok(balance(&fixture.gateway, &user).await);
        let full = json!({"balance": 1000, "currency": "credits", "held": 0, "available": 1000});
        assert_eq!(before, full);
        fixture.place(&user, "0.5").await;
        let after = Fixture::ok(balance(&fixture.gateway, &user).await);
        let held = json!({"balance": 1000, "currency": "credits", "held": 0.5,
            "available": 999.5});
        assert_eq!(after, held);
    }

    #[tokio::test]
    async fn a_history_is_paged_newest_first_and_sums_to_the_balance() {
        let fixture = Fixture::new().await;
        let user = fixture.user("1000").await;
        for number in 1..=4 {
            fixture.settle(&user, number, "openai/gpt-4o").await;
        }
        let page = async |query: &str| {
            let request = Fixture::request("GET", &format!("/v1/credits/history?{query}"), "");
            history(&fixture.gateway, &request, &user).await
        };
        let all = Fixture::ok(page("").await);
        assert_eq!((&all["limit"], &all["offset"]), (&json!(50), &json!(0)));
        assert_eq!(all["has_more"], json!(false));
        let rows = all["data"].as_array().unwrap();
        let kinds: Vec<_> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["usage", "usage", "usage", "usage", "grant"]);
        let micro = |value: &serde_json::Value| (value.as_f64().unwrap() * 1e6).round() as i64;
        let sum: i64 = rows.iter().map(|row| micro(&row["credits"])).sum();
        assert_eq!(sum, 1_000_000_000 - 4 * 1_155_000);
        assert_eq!(micro(&rows[0]["balance_after"]), sum);
        let second = Fixture::ok(page("limit=2&offset=2").await);
        assert_eq!(second["data"], json!(rows[2..4]));
        assert_eq!(second["has_more"], json!(true));
        for bad in ["limit=-1", "limit=x", "offset=1.5"] {
            assert_eq!(page(bad).await.unwrap_err().code().status(), 400, "{bad}");
        }
        let bounded = Fixture::ok(page("limit=999999&offset=99999999999").await);
        assert_eq!((&bounded["limit"], &bounded["data"]), (&json!(1000), &json!([])));
    }
}
