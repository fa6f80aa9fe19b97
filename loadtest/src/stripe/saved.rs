//! Cards that are kept with a customer, and charged later while the buyer is away.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::cards::{Card, Decline};
use super::params::{Bad, CardError, only};
use super::state::{PayError, State, number, set, text};
use super::{Stripe, form, objects};

/// Parameters that a payment may have; those that end in `[` may go on.
const KNOWN: &[&str] = &[
    "amount",
    "confirm",
    "currency",
    "customer",
    "description",
    "metadata[",
    "off_session",
    "payment_method",
    "receipt_email",
];

/// Customers, and their cards.
#[derive(Debug, Default)]
pub(super) struct Saved {
    customers: BTreeMap<String, Value>,
    methods: BTreeMap<String, (Card, Value)>,
}

/// What a session's parameters say of the card that will pay it.
pub(super) fn prepare(session: &mut Value, payment: &mut Value, params: &Map<String, Value>) {
    if let Some(creation) = form::text(params, "customer_creation") {
        set(session, "customer_creation", json!(creation));
    }
    for field in ["setup_future_usage", "receipt_email"] {
        if let Some(value) = form::text(params, &format!("payment_intent_data/{field}")) {
            set(payment, field, json!(value));
        }
    }
}

impl State {
    /// Keeps the card that pays a session, if the session asks for it.
    pub(super) fn save_card(&mut self, session_id: &str, card: Card) {
        let payment_id = format!("pi_{session_id}");
        let (Some(session), Some(payment)) =
            (self.sessions.get(session_id), self.payments.get(&payment_id))
        else {
            return;
        };
        let is_saved = text(payment, "setup_future_usage") == "off_session";
        if !is_saved || text(session, "customer_creation") != "always" {
            return;
        }
        let email = session.get("customer_email").cloned();
        let (customer, method) = (self.id("cus"), self.id("pm"));
        let now = self.now();
        let object = objects::customer(&customer, &email.unwrap_or_default(), now);
        self.saved.customers.insert(customer.clone(), object);
        let object = objects::payment_method(&method, &customer, now);
        self.saved.methods.insert(method.clone(), (card, object));
        let of_customer = ("customer", json!(customer));
        self.set_payment(&payment_id, &[of_customer.clone(), ("payment_method", json!(method))]);
        self.set_session(session_id, &[of_customer]);
    }

    /// `POST /v1/payment_intents`, as far as a saved card is charged by it.
    pub(super) fn charge_saved(&mut self, params: &Map<String, Value>) -> Result<Value, Bad> {
        only(params, KNOWN)?;
        let field = |name: &'static str| {
            let message = format!("Missing required param: {name}.");
            form::text(params, name).ok_or_else(|| Bad::param(name, &message))
        };
        for name in ["off_session", "confirm"] {
            if field(name)? != "true" {
                return Err(Bad::param(name, "Only charges of saved cards are simulated"));
            }
        }
        let amount: i64 = field("amount")?.parse().unwrap_or(0);
        if amount < 50 {
            return Err(Bad {
                code: Some("amount_too_small"),
                ..Bad::param("amount", "Too small")
            });
        }
        if !matches!(field("currency")?, "usd" | "eur") {
            return Err(Bad::param("currency", "Invalid currency"));
        }
        let (customer, method) = (field("customer")?, field("payment_method")?);
        if !self.saved.customers.contains_key(customer) {
            return Err(Bad { param: Some("customer".to_owned()), ..Bad::missing(customer) });
        }
        let of_customer = |found: &&(Card, Value)| text(&found.1, "customer") == customer;
        let Some((card, _)) = self.saved.methods.get(method).filter(of_customer) else {
            return Err(Bad { param: Some("payment_method".to_owned()), ..Bad::missing(method) });
        };
        let card = *card;
        let like_a_session = json!({"amount_total": amount, "currency": field("currency")?,
            "customer": customer, "customer_email": form::text(params, "receipt_email")});
        let metadata = params.get("metadata").cloned().unwrap_or_else(|| json!({}));
        let id = self.id("pi");
        let mut payment = objects::payment(&id, &like_a_session, &metadata, self.now());
        set(&mut payment, "payment_method", json!(method));
        self.payments.insert(id.clone(), payment);
        match card.off_session() {
            Some(decline) => Err(self.decline_saved(&id, &decline)),
            None => Ok(self.succeed_saved(&id, card)),
        }
    }

    fn succeed_saved(&mut self, id: &str, card: Card) -> Value {
        let paid = self.set_payment(id, &[("status", json!("succeeded"))]);
        let (charge, now) = (self.id("ch"), self.now());
        let charge = objects::charge(&charge, &paid, &objects::by_card(), now);
        self.charges.insert(text(&charge, "id").to_owned(), charge.clone());
        self.tell("payment_intent.succeeded", &paid);
        self.tell("charge.succeeded", &charge);
        if card == Card::Disputed {
            // It has a charge, so it can be.
            self.dispute(id).ok();
        }
        paid
    }

    fn decline_saved(&mut self, id: &str, decline: &Decline) -> Bad {
        let fields = [("last_payment_error", objects::failure(decline))];
        let payment = self.set_payment(id, &fields);
        self.tell("payment_intent.payment_failed", &payment);
        let error = CardError { decline_code: decline.decline_code, payment_intent: payment };
        Bad {
            kind: "card_error",
            code: Some(decline.code),
            card: Some(Box::new(error)),
            ..Bad::new(402, decline.message)
        }
    }

    /// `GET /v1/payment_intents?customer=…`, the newest first.
    pub(super) fn payments_of(&self, params: &Map<String, Value>) -> Value {
        let customer = form::text(params, "customer").unwrap_or_default();
        let since = form::text(params, "created/gte").and_then(|text| text.parse().ok());
        let since: i64 = since.unwrap_or(i64::MIN);
        let of_it = |payment: &&Value| {
            text(payment, "customer") == customer && number(payment, "created") >= since
        };
        let mut found: Vec<Value> = self.payments.values().filter(of_it).cloned().collect();
        found.sort_by_key(|payment| {
            std::cmp::Reverse((number(payment, "created"), text(payment, "id").to_owned()))
        });
        objects::list("/v1/payment_intents", found)
    }

    /// `GET /v1/payment_methods?customer=…`.
    pub(super) fn methods_of(&self, customer: &str) -> Value {
        let methods = self.saved.methods.values().map(|(_, method)| method);
        let found = methods.filter(|m| text(m, "customer") == customer).cloned().collect();
        objects::list("/v1/payment_methods", found)
    }

    /// `GET /v1/customers/{id}` and `GET /v1/payment_methods/{id}`.
    pub(super) fn find_saved(&self, id: &str) -> Option<&Value> {
        let method = || self.saved.methods.get(id).map(|(_, method)| method);
        self.saved.customers.get(id).or_else(method)
    }

    /// `POST /v1/payment_methods/{id}/detach`.
    pub(super) fn detach(&mut self, id: &str) -> Result<Value, Bad> {
        let (_, method) = self.saved.methods.get_mut(id).ok_or_else(|| Bad::missing(id))?;
        set(method, "customer", Value::Null);
        Ok(method.clone())
    }
}

impl Stripe {
    /// The payments by saved cards that were tried, oldest first.
    pub fn saved_payments(&self) -> Vec<Value> {
        let state = self.shared.state();
        let off_session = |payment: &&Value| !text(payment, "id").starts_with("pi_cs");
        let mut found: Vec<Value> = state.payments.values().filter(off_session).cloned().collect();
        found.sort_by(|one, other| text(one, "id").cmp(text(other, "id")));
        found
    }

    /// The next calls are done, but their answers are lost on the way.
    pub fn lose_answers(&self, times: u32) {
        self.shared.state().lost = times;
    }

    /// Refunds so many cents more of a payment.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn refund_payment(&self, payment: &str, cents: i64) -> Result<(), PayError> {
        self.shared.change(|state| state.refund(payment, Some(cents)).map(|_| ()))
    }

    /// The buyer's bank disputes a payment; the dispute's id.
    ///
    /// # Errors
    /// [`PayError`].
    pub fn dispute_payment(&self, payment: &str) -> Result<String, PayError> {
        self.shared.change(|state| state.dispute(payment))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::Method;

    use super::*;
    use crate::client::{Answer, Client};

    const SESSION: &str = "mode=payment&ui_mode=embedded_page&redirect_on_completion=never\
        &line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=500\
        &line_items[0][price_data][product_data][name]=Credits&customer_creation=always\
        &payment_intent_data[setup_future_usage]=off_session";

    async fn call(stripe: &Stripe, method: Method, path: &str, key: &str, form: &str) -> Answer {
        let mut headers = vec![
            ("authorization", "Bearer sk_test_x"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        if method == Method::POST {
            headers.push(("idempotency-key", key));
        }
        let url = format!("{}/v1/{path}", stripe.origin());
        Client::default().send(method, &url, &headers, form.to_owned()).await.unwrap()
    }

    /// A card that is kept with a customer: the form of a charge of it.
    async fn kept(stripe: &Stripe, card: Card, key: &str) -> String {
        let made = call(stripe, Method::POST, "checkout/sessions", key, SESSION).await.json();
        let id = made["id"].as_str().unwrap();
        stripe.pay(id, card).unwrap();
        let path = format!("checkout/sessions/{id}");
        let paid = call(stripe, Method::GET, &path, "", "").await.json();
        let customer = paid["customer"].as_str().unwrap();
        let path = format!("payment_methods?customer={customer}");
        let methods = call(stripe, Method::GET, &path, "", "").await.json();
        let method = methods["data"][0]["id"].as_str().unwrap();
        format!(
            "amount=500&currency=usd&customer={customer}&payment_method={method}&off_session=true\
             &confirm=true&metadata[oc_order]=ord_1"
        )
    }

    #[tokio::test]
    async fn a_kept_card_does_later_what_it_is_known_for() {
        let stripe = Stripe::start((Ipv4Addr::LOCALHOST, 0).into(), "whsec_x").await.unwrap();
        for (number, code) in [
            ("4242424242424242", None),
            ("4000002500003155", None),
            ("4000002760003184", Some("authentication_required")),
            ("4000000000000341", Some("card_declined")),
        ] {
            let charge = kept(&stripe, Card::by_number(number).unwrap(), number).await;
            let key = format!("charge-{number}");
            let first = call(&stripe, Method::POST, "payment_intents", &key, &charge).await;
            let again = call(&stripe, Method::POST, "payment_intents", &key, &charge).await;
            assert_eq!((first.status, first.json()), (again.status, again.json()), "{number}");
            assert_eq!(again.headers["idempotent-replayed"], "true");
            let body = first.json();
            let Some(code) = code else {
                assert_eq!((first.status.as_u16(), &body["status"]), (200, &json!("succeeded")));
                continue;
            };
            let error = &body["error"];
            assert_eq!((first.status.as_u16(), &error["type"]), (402, &json!("card_error")));
            assert_eq!(error["code"], code);
            assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
            assert_eq!(error["payment_intent"]["last_payment_error"]["code"], code);
        }
        assert_eq!(stripe.saved_payments().len(), 4);
    }

    #[tokio::test]
    async fn what_stripe_refuses_of_a_charge_is_refused() {
        let stripe = Stripe::start((Ipv4Addr::LOCALHOST, 0).into(), "whsec_x").await.unwrap();
        let charge = kept(&stripe, Card::Good, "one").await;
        for (at, (from, to, status, param)) in [
            ("amount=500", "amount=500&unheard_of=1", 400, "unheard_of"),
            ("amount=500", "amount=49", 400, "amount"),
            ("currency=usd", "currency=gbp", 400, "currency"),
            ("customer=", "customer=x", 404, "customer"),
            ("payment_method=", "payment_method=x", 404, "payment_method"),
            ("off_session=true", "off_session=false", 400, "off_session"),
        ]
        .into_iter()
        .enumerate()
        {
            let (form, key) = (charge.replacen(from, to, 1), format!("bad-{at}"));
            let answer = call(&stripe, Method::POST, "payment_intents", &key, &form).await;
            let told = (answer.status.as_u16(), answer.json()["error"]["param"].clone());
            assert_eq!(told, (status, json!(param)), "{to}");
        }
        assert_eq!(stripe.saved_payments().len(), 0);
    }
}
