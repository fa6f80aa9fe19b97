//! What Stripe knows: sessions, payments, charges, refunds, disputes, and the events they make.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::cards::{Card, Decline, NOT_CONFIRMED};
use super::params::{self, Bad};
use super::saved::{self, Saved};
use super::{Seed, Seen, objects};

/// Why a session was not paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayError {
    /// There is no such thing.
    #[error("no such object: {0}")]
    Missing(String),
    /// It has been paid, has expired, or is not as far.
    #[error("{0} is not open for that")]
    NotOpen(String),
    /// The card did not pay.
    #[error("{1} ({0})")]
    Declined(String, String),
}

/// How far a payment came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paid {
    /// The money is there.
    Done,
    /// The buyer's bank wants to be asked first.
    Asks,
    /// The money comes later.
    Later,
}

/// An answer that was given under an idempotency key.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) fingerprint: String,
    pub(super) status: u16,
    pub(super) body: Value,
}

/// Calls that are to fail.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// What their paths begin with.
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) times: u32,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    origin: String,
    seed: Seed,
    serial: u64,
    pub(super) sessions: BTreeMap<String, Value>,
    lines: HashMap<String, Value>,
    pub(super) payments: HashMap<String, Value>,
    pub(super) charges: HashMap<String, Value>,
    disputes: HashMap<String, Value>,
    pub(super) refunds: HashMap<String, Value>,
    pub(super) events: Vec<Value>,
    unsent: Vec<Value>,
    pub(super) seen: Vec<Seen>,
    pub(super) kept: HashMap<String, Kept>,
    pub(super) saved: Saved,
    /// Answers that are still to be lost.
    pub(super) lost: u32,
    outage: Option<Outage>,
}

impl State {
    pub(super) fn new(origin: &str, seed: Seed) -> Self {
        Self {
            origin: origin.to_owned(),
            seed,
            serial: 0,
            sessions: BTreeMap::new(),
            lines: HashMap::new(),
            payments: HashMap::new(),
            charges: HashMap::new(),
            disputes: HashMap::new(),
            refunds: HashMap::new(),
            events: Vec::new(),
            unsent: Vec::new(),
            seen: Vec::new(),
            kept: HashMap::new(),
            saved: Saved::default(),
            lost: 0,
            outage: None,
        }
    }

    pub(super) fn fail(&mut self, outage: Outage) {
        self.outage = Some(outage).filter(|outage| outage.times > 0);
    }

    /// The status that this call is to fail with.
    pub(super) fn failure(&mut self, path: &str) -> Option<u16> {
        let outage = self.outage.as_mut().filter(|outage| path.starts_with(&outage.path))?;
        let status = outage.status;
        outage.times = outage.times.saturating_sub(1);
        self.outage = self.outage.take().filter(|outage| outage.times > 0);
        Some(status)
    }

    /// The time of the objects from now on; sessions whose time it passes expire.
    pub(super) fn set_clock(&mut self, now: i64) {
        self.seed.now = Some(now);
        let late = |session: &&Value| number(session, "expires_at") <= now;
        let late: Vec<String> = self
            .sessions
            .values()
            .filter(late)
            .map(|session| text(session, "id").to_owned())
            .collect();
        for id in late {
            // Those that are not open any more stay as they are.
            self.expire(&id).ok();
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.unsent)
    }

    pub(super) fn create(&mut self, form: &Map<String, Value>) -> Result<Value, Bad> {
        let now = self.now();
        params::check(form, now)?;
        let id = self.id("cs_test");
        let mut session = objects::session(&id, &self.origin, form, now);
        self.lines.insert(id.clone(), objects::line_item(&id, &session, form, now));
        let payment_data = form.get("payment_intent_data").and_then(|data| data.get("metadata"));
        let metadata = payment_data.cloned().unwrap_or_else(|| json!({}));
        // Made with the session, told with the first attempt, as Stripe does.
        let mut payment = objects::payment(&format!("pi_{id}"), &session, &metadata, now);
        saved::prepare(&mut session, &mut payment, form);
        self.payments.insert(format!("pi_{id}"), payment);
        self.sessions.insert(id, session.clone());
        Ok(session)
    }

    pub(super) fn find(&self, kind: &str, id: &str) -> Option<&Value> {
        match kind {
            "sessions" => self.sessions.get(id),
            "payment_intents" => self.payments.get(id),
            "charges" => self.charges.get(id),
            "disputes" => self.disputes.get(id),
            "refunds" => self.refunds.get(id),
            "line_items" => self.lines.get(id),
            "events" => self.events.iter().find(|event| text(event, "id") == id),
            _ => None,
        }
    }

    /// Pays by card; a card that asks the bank first is confirmed only if `confirmed`.
    pub(super) fn pay(
        &mut self,
        session: &str,
        card: Card,
        confirmed: bool,
    ) -> Result<Paid, PayError> {
        self.open(session)?;
        if card.asks() && !confirmed {
            return Ok(Paid::Asks);
        }
        if let Some(decline) = card.decline() {
            return Err(self.decline(session, &decline));
        }
        self.save_card(session, card);
        self.succeed(session, "checkout.session.completed", &objects::by_card());
        if card == Card::Disputed {
            let payment = self.payment_of(session)?;
            self.dispute(&payment)?;
        }
        Ok(Paid::Done)
    }

    /// The buyer tells the bank that it was not him.
    pub(super) fn refuse(&mut self, session: &str) -> Result<Paid, PayError> {
        self.open(session)?;
        Err(self.decline(session, &NOT_CONFIRMED))
    }

    pub(super) fn pay_by_bank(&mut self, session: &str) -> Result<Paid, PayError> {
        self.open(session)?;
        let payment = format!("pi_{session}");
        self.set_payment(&payment, &[("status", json!("processing"))]);
        let fields = [("status", json!("complete")), ("payment_intent", json!(payment))];
        let session = self.set_session(session, &fields);
        self.tell("checkout.session.completed", &session);
        Ok(Paid::Later)
    }

    pub(super) fn complete_bank(
        &mut self,
        session: &str,
        succeeded: bool,
    ) -> Result<Paid, PayError> {
        let found = self.session(session)?;
        let waits =
            text(found, "status") == "complete" && text(found, "payment_status") == "unpaid";
        if !waits {
            return Err(PayError::NotOpen(session.to_owned()));
        }
        if succeeded {
            let kind = "checkout.session.async_payment_succeeded";
            self.succeed(session, kind, &objects::by_bank());
            return Ok(Paid::Done);
        }
        let found = self.session(session)?.clone();
        self.tell("checkout.session.async_payment_failed", &found);
        Ok(Paid::Done)
    }

    pub(super) fn expire(&mut self, session: &str) -> Result<Value, PayError> {
        self.open(session)?;
        let session = self.set_session(session, &[("status", json!("expired"))]);
        self.tell("checkout.session.expired", &session);
        Ok(session)
    }

    pub(super) fn payment_of(&self, session: &str) -> Result<String, PayError> {
        let payment = text(self.session(session)?, "payment_intent").to_owned();
        if payment.is_empty() { Err(PayError::NotOpen(session.to_owned())) } else { Ok(payment) }
    }

    /// Refunds so many cents of a payment, or the rest of it.
    pub(super) fn refund(&mut self, payment: &str, cents: Option<i64>) -> Result<Value, PayError> {
        let mut charge = self.charge_of(payment)?;
        let id = text(&charge, "id").to_owned();
        let (amount, before) = (number(&charge, "amount"), number(&charge, "amount_refunded"));
        let cents = cents.unwrap_or(amount - before);
        if cents <= 0 || before + cents > amount {
            return Err(PayError::NotOpen(id));
        }
        set(&mut charge, "amount_refunded", json!(before + cents));
        set(&mut charge, "refunded", json!(before + cents == amount));
        let refund = objects::refund(&self.id("re"), &charge, cents, self.now());
        self.refunds.insert(text(&refund, "id").to_owned(), refund.clone());
        self.charges.insert(id, charge.clone());
        self.tell("charge.refunded", &charge);
        Ok(refund)
    }

    pub(super) fn dispute(&mut self, payment: &str) -> Result<String, PayError> {
        let mut charge = self.charge_of(payment)?;
        set(&mut charge, "disputed", json!(true));
        self.charges.insert(text(&charge, "id").to_owned(), charge.clone());
        let id = self.id("dp");
        let dispute = objects::dispute(&id, &charge, self.now());
        self.disputes.insert(id.clone(), dispute.clone());
        self.tell("charge.dispute.created", &dispute);
        Ok(id)
    }

    pub(super) fn close_dispute(&mut self, id: &str, won: bool) -> Result<(), PayError> {
        let missing = || PayError::Missing(id.to_owned());
        let mut dispute = self.disputes.get(id).cloned().ok_or_else(missing)?;
        if text(&dispute, "status") != "needs_response" {
            return Err(PayError::NotOpen(id.to_owned()));
        }
        set(&mut dispute, "status", json!(if won { "won" } else { "lost" }));
        self.disputes.insert(id.to_owned(), dispute.clone());
        self.tell("charge.dispute.closed", &dispute);
        Ok(())
    }

    fn charge_of(&self, payment: &str) -> Result<Value, PayError> {
        let found = self.charges.values().find(|c| text(c, "payment_intent") == payment);
        found.cloned().ok_or_else(|| PayError::Missing(payment.to_owned()))
    }

    fn succeed(&mut self, session: &str, kind: &str, method: &Value) {
        let payment = format!("pi_{session}");
        let charge_id = self.id("ch");
        let amount = self.payments.get(&payment).and_then(|payment| payment.get("amount")).cloned();
        let fields = [
            ("status", json!("succeeded")),
            ("amount_received", amount.unwrap_or_default()),
            ("last_payment_error", Value::Null),
            ("latest_charge", json!(charge_id)),
        ];
        let paid = self.set_payment(&payment, &fields);
        let charge = objects::charge(&charge_id, &paid, method, self.now());
        self.charges.insert(charge_id, charge.clone());
        let buyer = self.sessions.get(session).map(objects::customer_details);
        let fields = [
            ("status", json!("complete")),
            ("payment_status", json!("paid")),
            ("payment_intent", json!(payment)),
            ("customer_details", buyer.unwrap_or_default()),
        ];
        let session = self.set_session(session, &fields);
        self.tell("payment_intent.succeeded", &paid);
        self.tell("charge.succeeded", &charge);
        self.tell(kind, &session);
    }

    fn decline(&mut self, session: &str, decline: &Decline) -> PayError {
        let fields = [("last_payment_error", objects::failure(decline))];
        let payment = self.set_payment(&format!("pi_{session}"), &fields);
        self.tell("payment_intent.payment_failed", &payment);
        PayError::Declined(decline.code.to_owned(), decline.message.to_owned())
    }

    fn session(&self, id: &str) -> Result<&Value, PayError> {
        self.sessions.get(id).ok_or_else(|| PayError::Missing(id.to_owned()))
    }

    fn open(&self, id: &str) -> Result<(), PayError> {
        let is_open = text(self.session(id)?, "status") == "open";
        if is_open { Ok(()) } else { Err(PayError::NotOpen(id.to_owned())) }
    }

    pub(super) fn set_session(&mut self, id: &str, fields: &[(&str, Value)]) -> Value {
        set_all(self.sessions.get_mut(id), fields)
    }

    pub(super) fn set_payment(&mut self, id: &str, fields: &[(&str, Value)]) -> Value {
        set_all(self.payments.get_mut(id), fields)
    }

    pub(super) fn tell(&mut self, kind: &str, object: &Value) {
        let event = objects::event(&self.id("evt"), kind, object, self.now());
        self.events.push(event.clone());
        self.unsent.push(event);
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.serial = self.serial.saturating_add(1);
        format!("{prefix}_{}{:011}", self.seed.ids, self.serial)
    }

    /// Unix seconds, by the objects' clock.
    pub(super) fn now(&self) -> i64 {
        self.seed.now.unwrap_or_else(unix_time)
    }
}

fn set_all(object: Option<&mut Value>, fields: &[(&str, Value)]) -> Value {
    let Some(object) = object else { return Value::Null };
    for (name, value) in fields {
        set(object, name, value.clone());
    }
    object.clone()
}

pub(super) fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value);
    }
}

pub(super) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(object: &Value, name: &str) -> i64 {
    object.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// Unix seconds, by the clock on the wall.
pub(super) fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
