//! How a durable event reads to the account's owner: one row of the history.

use opencredits_schema::{
    Basis, Charged, Credits, Event, HistoryRow, LotKind, Settlement, Status, Usage,
};
use serde::Serialize;
use serde_json::value::RawValue;

/// A row of the history; all amounts are in credits.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Row<'a> {
    /// A request that was charged, or the correction of such a charge.
    Usage(Box<UsageRow<'a>>),
    /// Money that came in or went back.
    Money(MoneyRow),
}

/// What a request was charged; in an adjustment the differences to the first charge.
#[derive(Debug, Serialize)]
pub struct UsageRow<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created: i64,
    model: &'a str,
    request_id: String,
    credits: Box<RawValue>,
    provider_cost: Box<RawValue>,
    referral_share: Box<RawValue>,
    balance_after: Box<RawValue>,
    usage: &'a Usage,
    price_id: &'a str,
    referral_rate: Box<RawValue>,
    provider_cost_pico_usd: i64,
    basis: Basis,
    status: Status,
}

/// Money that came in or went back.
#[derive(Debug, Serialize)]
pub struct MoneyRow {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created: i64,
    credits: Box<RawValue>,
    balance_after: Box<RawValue>,
}

/// An event as a row; nothing for one that is not durable and so in no history.
#[must_use]
pub fn row(of: &HistoryRow) -> Option<Row<'_>> {
    match &of.event {
        Event::Settled(settlement) => Some(usage_row(of, "usage", settlement)),
        Event::Adjusted(settlement) => Some(usage_row(of, "adjustment", settlement)),
        Event::Received(money) => Some(money_row(of, received(money.kind))),
        Event::Refunded(_) => Some(money_row(of, "refund")),
        Event::Disputed(_) => Some(money_row(of, "dispute")),
        Event::Placed(_) | Event::Renewed { .. } | Event::Released { .. } | Event::Repeated(_) => {
            None
        }
    }
}

/// The public name of an account's event.
#[must_use]
pub fn entry_id(row: &HistoryRow) -> String {
    format!("{}-{}", row.account, row.seq)
}

fn usage_row<'a>(of: &HistoryRow, kind: &'static str, settlement: &'a Settlement) -> Row<'a> {
    let charged: &Charged = &settlement.charged;
    Row::Usage(Box::new(UsageRow {
        id: entry_id(of),
        kind,
        created: settlement.at.seconds(),
        model: &charged.model,
        request_id: charged.request.to_string(),
        credits: signed(of),
        provider_cost: charged.cost.to_json(),
        referral_share: charged.share.to_json(),
        balance_after: of.balance_after.to_json(),
        usage: &charged.usage,
        price_id: &charged.price_id,
        referral_rate: charged.rate.to_json(),
        provider_cost_pico_usd: charged.provider_cost.0,
        basis: charged.basis,
        status: charged.status,
    }))
}

fn money_row<'a>(of: &HistoryRow, kind: &'static str) -> Row<'a> {
    Row::Money(MoneyRow {
        id: entry_id(of),
        kind,
        created: of.event.at().seconds(),
        credits: signed(of),
        balance_after: of.balance_after.to_json(),
    })
}

fn signed(of: &HistoryRow) -> Box<RawValue> {
    let credits: Credits = of.event.credits();
    credits.to_json()
}

const fn received(kind: LotKind) -> &'static str {
    match kind {
        LotKind::Grant => "grant",
        LotKind::Purchase => "purchase",
    }
}

#[cfg(test)]
mod tests {
    use opencredits_schema::{
        Account, AccountId, Command, KeyId, PartnerId, PicoUsd, ReferralRate, RequestId, SettledBy,
        Timestamp,
    };
    use serde_json::{Value, json};

    use super::*;

    fn charged(pico: i64, rate: u16, status: Status) -> Charged {
        let rate = ReferralRate::from_basis_points(rate).unwrap();
        let cost = PicoUsd(pico).to_credits();
        Charged {
            request: RequestId::new(0x0192_f0c1_5b7e_7c3a_9d2e_1f0a_3b4c_5d6e),
            key: KeyId::new(1),
            partner: PartnerId::new(2),
            model: "anthropic/claude-haiku-4-5".into(),
            price_id: "0123456789abcdef".into(),
            rate,
            usage: Usage { input: 500, output: 2000, ..Usage::default() },
            provider_cost: PicoUsd(pico),
            cost,
            share: rate.share(cost),
            basis: Basis::Provider,
            status,
        }
    }

    /// The rows that these commands make, oldest first.
    fn rows(commands: Vec<Command>) -> Vec<Value> {
        let id = AccountId::new(0xabc);
        let mut account = Account::new(id);
        let mut rows = Vec::new();
        for command in commands {
            let event = account.decide(&command).unwrap();
            account.apply(&event);
            let (seq, balance_after) = (account.head().seq, account.balance());
            let event = HistoryRow { account: id, seq, event, balance_after };
            rows.extend(row(&event).map(|row| serde_json::to_value(row).unwrap()));
        }
        rows
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_row_has_the_documented_fields() {
        let receive = Command::Receive {
            source: "order".to_owned(),
            kind: LotKind::Purchase,
            credits: Credits::parse("10").unwrap(),
            reason: String::new(),
            partner: None,
            at: at(5),
        };
        let settle = Command::Settle {
            charged: Box::new(charged(10_500_000_000, 1000, Status::ClientGone)),
            by: SettledBy::Request,
            at: at(7),
        };
        let refund = Command::Refund {
            source: "order".to_owned(),
            cumulative: Credits::parse("2.5").unwrap(),
            at: at(9),
        };
        let rows = rows(vec![receive, settle, refund]);
        let purchase = json!({"id": "acc_0000000000000abc-1", "type": "purchase", "created": 5,
            "credits": 10, "balance_after": 10});
        let usage = json!({"id": "acc_0000000000000abc-2", "type": "usage", "created": 7,
            "model": "anthropic/claude-haiku-4-5",
            "request_id": "0192f0c1-5b7e-7c3a-9d2e-1f0a3b4c5d6e", "credits": -1.155,
            "provider_cost": 1.05, "referral_share": 0.105, "balance_after": 8.845,
            "usage": {"input": 500, "output": 2000}, "price_id": "0123456789abcdef",
            "referral_rate": 0.1, "provider_cost_pico_usd": 10_500_000_000_u64,
            "basis": "provider", "status": "client_gone"});
        let refund = json!({"id": "acc_0000000000000abc-3", "type": "refund", "created": 9,
            "credits": -2.5, "balance_after": 6.345});
        assert_eq!(rows, [purchase, usage, refund]);
    }

    #[test]
    fn an_adjustment_shows_the_difference_and_its_request() {
        let settle = |pico, by| Command::Settle {
            charged: Box::new(charged(pico, 1000, Status::Recovered)),
            by,
            at: at(1),
        };
        let rows = rows(vec![
            settle(10_000_000, SettledBy::Checkpoint),
            settle(30_000_000, SettledBy::Request),
        ]);
        assert_eq!(rows[1]["type"], "adjustment");
        assert_eq!(rows[1]["credits"], json!(-0.0022));
        assert_eq!(rows[1]["request_id"], rows[0]["request_id"]);
        assert_eq!(rows[1]["balance_after"], json!(-0.0033));
    }
}
