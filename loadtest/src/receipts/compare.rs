//! Two stories of the same money, compared: what clients were told, and what the gateway tells.

use std::collections::{BTreeMap, HashMap};

use opencredits_schema::{Credits, RequestId};

use super::ask::{Everything, Partner, Row, Statement};
use super::{End, Moved, MovedKind, Payer, Receipt, Receipts, Seen};

/// Every difference, as a line.
pub(super) fn all(receipts: &Receipts, told: &Everything) -> Vec<String> {
    let mut lines = Vec::new();
    let mut requests: Vec<Vec<&Receipt>> = vec![Vec::new(); receipts.payers.len()];
    for receipt in &receipts.requests {
        if let Some(own) = requests.get_mut(receipt.payer) {
            own.push(receipt);
        }
    }
    let moved = |payer: usize| receipts.moved.iter().filter(move |moved| moved.payer == payer);
    let accounts = receipts.payers.iter().zip(&told.accounts).zip(&requests).enumerate();
    for (at, ((payer, statement), requests)) in accounts {
        let mut account = Account { payer, statement, lines: &mut lines };
        account.sums();
        account.amounts(moved(at));
        account.requests(requests);
    }
    earnings(receipts, told, &mut lines);
    books(receipts, told, &mut lines);
    lines
}

/// One account's comparison.
struct Account<'a> {
    payer: &'a Payer,
    statement: &'a Statement,
    lines: &'a mut Vec<String>,
}

impl Account<'_> {
    /// The rows add up to each balance that is told; nothing is held.
    fn sums(&mut self) {
        let Statement { rows, balance, account } = self.statement;
        let mut sum = Credits::ZERO;
        for row in rows.iter().rev() {
            sum = sum.plus(row.credits);
            if row.balance_after != sum {
                let after = row.balance_after;
                self.say(format!("row {}: balance after it {after}, rows sum to {sum}", row.id));
                sum = after;
            }
        }
        for (what, told) in [("balance", balance.balance), ("operator's view", account.balance)] {
            if told != sum {
                self.say(format!("{what} {told}, rows sum to {sum}"));
            }
        }
        if balance.held != Credits::ZERO || balance.available != balance.balance {
            self.say(format!("{} held, {} available", balance.held, balance.available));
        }
        if account.open_holds != 0 {
            self.say(format!("{} open holds", account.open_holds));
        }
        let spent: Credits = account.keys.iter().map(|key| key.spent).sum();
        let charged: Credits = usages(rows).map(|row| row.credits.negated()).sum();
        if spent != charged {
            self.say(format!("its keys spent {spent}, its requests were charged {charged}"));
        }
        for row in usages(rows) {
            let parts = row.provider_cost.plus(row.referral_share);
            if parts != row.credits.negated() {
                let Row { id, credits, .. } = row;
                self.say(format!("row {id}: {credits} is not cost and share, {parts}"));
            }
        }
    }

    /// What came in and went back is exactly what is known to have. Steps of a refund or a dispute
    /// that were told in another order are other rows with the same sum.
    fn amounts<'a>(&mut self, moved: impl Iterator<Item = &'a Moved>) {
        let mut open: BTreeMap<(&str, Credits), i64> = BTreeMap::new();
        let mut back: BTreeMap<&str, Credits> = BTreeMap::new();
        for Moved { kind, credits, .. } in moved {
            match kind {
                MovedKind::Grant | MovedKind::Purchase => {
                    let count = open.entry((kind.name(), *credits)).or_default();
                    *count = count.saturating_add(1);
                }
                MovedKind::Refund | MovedKind::Dispute => {
                    let sum = back.entry(kind.name()).or_default();
                    *sum = sum.plus(*credits);
                }
            }
        }
        for row in self.statement.rows.iter().filter(|row| !is_usage(row)) {
            if matches!(row.kind.as_str(), "refund" | "dispute") {
                let sum = back.entry(&row.kind).or_default();
                *sum = sum.minus(row.credits);
            } else {
                let count = open.entry((&row.kind, row.credits)).or_default();
                *count = count.saturating_sub(1);
            }
        }
        for (kind, sum) in back.iter().filter(|(_, sum)| **sum != Credits::ZERO) {
            self.say(format!("{kind}s: {sum} is not in the history"));
        }
        for ((kind, credits), count) in open {
            match count {
                0 => {}
                1.. => self.say(format!("{count} × {kind} of {credits} is not in the history")),
                _ => {
                    let count = count.unsigned_abs();
                    self.say(format!("{count} × {kind} of {credits} too many in the history"));
                }
            }
        }
    }

    /// Each request is charged as its client was told; no request is charged that nobody made.
    fn requests(&mut self, requests: &[&Receipt]) {
        let mut charged: HashMap<RequestId, Vec<&Row>> = HashMap::new();
        for row in usages(&self.statement.rows) {
            match row.request_id.parse() {
                Ok(request) => charged.entry(request).or_default().push(row),
                Err(error) => self.say(format!("row {}: {error}", row.id)),
            }
        }
        let mut nameless: BTreeMap<&str, Vec<&Receipt>> = BTreeMap::new();
        for receipt in requests {
            let Some(request) = receipt.request else {
                nameless.entry(&receipt.model).or_default().push(receipt);
                continue;
            };
            let rows = charged.remove(&request).unwrap_or_default();
            for line in differences(receipt, &rows) {
                self.say(format!("request {request}: {line}"));
            }
        }
        // Whose head never came back: the gateway alone knows its name. The dearest charge is the one
        // of the request that could cost the most.
        for receipts in nameless.values_mut() {
            receipts.sort_by_key(|receipt| receipt.at_most.unwrap_or(Credits::MAX));
        }
        let mut unclaimed: Vec<_> = charged.into_iter().collect();
        unclaimed.sort_by_key(|(request, rows)| (total(rows).negated(), *request));
        for (request, rows) in unclaimed {
            let model = rows.first().map_or("", |row| &row.model);
            let Some(receipt) = nameless.get_mut(model).and_then(Vec::pop) else {
                self.say(format!("request {request}: charged, and nobody made it"));
                continue;
            };
            for line in differences(receipt, &rows) {
                self.say(format!("request {request}: {line}"));
            }
        }
    }

    fn say(&mut self, line: String) {
        self.lines.push(format!("account {}: {line}", self.payer.account));
    }
}

/// How a request's rows differ from what its client knows.
fn differences(receipt: &Receipt, rows: &[&Row]) -> Vec<String> {
    let mut lines = Vec::new();
    let count = |kind: &str| rows.iter().filter(|row| row.kind == kind).count();
    let (charges, adjustments) = (count("usage"), count("adjustment"));
    // A hold that was released before its request ended has an adjustment alone.
    if charges > 1 || adjustments > 1 {
        lines.push(format!("charged {charges} times and adjusted {adjustments} times"));
    }
    let sum = total(rows);
    if let Some(row) = rows.iter().find(|row| row.model != *receipt.model) {
        lines.push(format!("of model {}, not {}", row.model, receipt.model));
    }
    if let Some(most) = receipt.at_most.filter(|most| sum > *most) {
        lines.push(format!("charged {sum}, but it could cost {most} at most"));
    }
    match receipt.seen {
        Seen::End(End { charge, .. }) if rows.is_empty() => {
            lines.push(format!("its client saw its end and {charge}, it was not charged"));
        }
        Seen::End(End { charge, .. }) if charge != sum => {
            lines.push(format!("its client was told {charge}, it was charged {sum}"));
        }
        Seen::End(end) => lines.extend(usage_differences(&end, rows)),
        Seen::Refused if !rows.is_empty() => lines.push(format!("refused, and charged {sum}")),
        Seen::Refused | Seen::Broken => {}
    }
    lines
}

/// How the usage of the newest row differs from the one that a client was told.
fn usage_differences(end: &End, rows: &[&Row]) -> Option<String> {
    let (tokens, row) = (end.tokens?, rows.first()?);
    if row.basis != "provider" {
        return None;
    }
    let (input, output) = (row.usage.total_input(), row.usage.output);
    // xAI's chat counts reasoning beside its output.
    let visible = output.saturating_sub(row.usage.reasoning);
    let same = tokens.input == input && (tokens.output == output || tokens.output == visible);
    (!same).then(|| {
        let (told_in, told_out) = (tokens.input, tokens.output);
        format!("its client was told {told_in} + {told_out} tokens, not {input} + {output}")
    })
}

/// Each partner's requests are those of its users, and its earnings add up.
fn earnings(receipts: &Receipts, told: &Everything, lines: &mut Vec<String>) {
    for (at, (earner, partner)) in receipts.earners.iter().zip(&told.partners).enumerate() {
        let mut say = |line: String| lines.push(format!("partner {}: {line}", earner.id));
        let own = receipts.payers.iter().zip(&told.accounts);
        let own = own.filter(|(payer, _)| payer.earner == at);
        let mut open: HashMap<(&str, &str), &Row> = HashMap::new();
        for row in own.flat_map(|(_, statement)| usages(&statement.rows)) {
            open.insert((&row.request_id, &row.kind), row);
        }
        for request in &partner.requests {
            let name = &request.request_id;
            let Some(row) = open.remove(&(name.as_str(), request.kind.as_str())) else {
                say(format!("request {name}: listed twice, or no user's"));
                continue;
            };
            let (share, charge) = (request.referral_share, request.charge);
            if share != row.referral_share || charge != row.credits.negated() {
                say(format!("request {name}: share {share} of {charge}, not as its user reads"));
            }
        }
        for (request, kind) in open.keys() {
            say(format!("request {request}: its {kind} is not listed"));
        }
        sums_of(partner, &mut say);
    }
}

fn sums_of(partner: &Partner, say: &mut impl FnMut(String)) {
    let Partner { requests, earnings } = partner;
    let shares: Credits = requests.iter().map(|request| request.referral_share).sum();
    let charges = requests.iter().filter(|request| request.kind == "usage").count();
    let earned = earnings.earned;
    for (what, parts) in [("days", &earnings.by_day), ("models", &earnings.by_model)] {
        let sum: Credits = parts.iter().map(|part| part.referral_share).sum();
        let counted: usize = parts.iter().map(|part| part.requests).sum();
        if sum != earned {
            say(format!("earned {earned}, its {what} sum to {sum}"));
        }
        if counted != charges {
            say(format!("{charges} requests, its {what} count {counted}"));
        }
    }
    if earned > shares {
        say(format!("earned {earned}, more than all its shares, {shares}"));
    }
    if earnings.payable != earned.minus(earnings.paid_out) {
        let (payable, paid_out) = (earnings.payable, earnings.paid_out);
        say(format!("{payable} payable of {earned} earned, {paid_out} paid out"));
    }
}

/// The operator's books are balanced and end in the same sums.
fn books(receipts: &Receipts, told: &Everything, lines: &mut Vec<String>) {
    let books = &told.books;
    if !books.balanced {
        lines.push("books: not balanced".to_owned());
    }
    lines.extend(books.differences.iter().map(|difference| format!("books: {difference}")));
    if books.open_checkpoints != 0 {
        lines.push(format!("books: {} open checkpoints", books.open_checkpoints));
    }
    if books.accounts != receipts.payers.len() {
        // Other accounts' money is in the sums.
        return;
    }
    let users: Credits = told.accounts.iter().map(|account| account.balance.balance).sum();
    if users != books.sums.users {
        lines.push(format!("books: users have {}, their balances are {users}", books.sums.users));
    }
    let requests = told.partners.iter().flat_map(|partner| &partner.requests);
    let shares: Credits = requests.map(|request| request.referral_share).sum();
    let earned: Credits = told.partners.iter().map(|partner| partner.earnings.earned).sum();
    // A share waits while its charge is overdrawn, and goes back with money that goes back.
    let (accrued, losses) = (books.sums.accrued, books.sums.losses);
    if earned.plus(accrued).plus(losses) != shares {
        lines.push(format!(
            "books: {earned} earned, {accrued} accrued and {losses} lost are not the shares, {shares}"
        ));
    }
}

impl MovedKind {
    /// The row's `type`.
    const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Purchase => "purchase",
            Self::Refund => "refund",
            Self::Dispute => "dispute",
        }
    }
}

/// What a request was charged in all.
fn total(rows: &[&Row]) -> Credits {
    rows.iter().map(|row| row.credits.negated()).sum()
}

fn is_usage(row: &Row) -> bool {
    matches!(row.kind.as_str(), "usage" | "adjustment")
}

fn usages(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| is_usage(row))
}
