//! Orders: made before Stripe is asked, so that nothing that was paid is unknown; asked about by
//! whoever has the order's token.

use bytes::Bytes;
use http::{Response, StatusCode};
use opencredits_payments::{NewSession, Page, PaymentError, Session};
use opencredits_schema::{
    CheckoutMode, Credits, Currency, Order, OrderId, OrderStatus, Timestamp, TopUpWish, credits_for,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq as _;

use super::documents::{self, Versioned};
use super::{Desk, bad_field, desk, fulfil, partner, session, top_up};
use crate::answer::json;
use crate::error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::keys;
use crate::request::Incoming;

/// How long an order can be paid: a minute more than the least that Stripe allows.
const LIFE_MS: i64 = 31 * 60_000;

/// `POST /checkout/orders`: an order and Stripe's session for it. The same attempt of the same key
/// is the same order.
///
/// # Errors
/// 400 that names the field; 401 for a bad key, and for a top-up without the token of a login of the last
/// half hour; 403 `origin_not_allowed`; 409 for an attempt with other fields; 429
/// for many orders; 502 `payment_unavailable`.
pub(super) async fn create(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let caller = session::caller(gateway, request).await?;
    let fields: Fields = request.json()?;
    let partner = partner::by_key(gateway, request, &fields.publishable_key).await?;
    if partner.id != caller.key.partner {
        return Err(bad_field("publishable_key", "is not the one that the user key belongs to"));
    }
    partner::check_origin(&partner, desk, &fields.origin)?;
    let cents = cents(gateway, &fields.amount)?;
    let credits = credits_for(fields.currency, cents, gateway.config.orders.eur_rate);
    let credits = credits.ok_or_else(|| bad_field("currency", "is not sold here"))?;
    if !is_attempt(&fields.attempt) {
        return Err(bad_field("attempt", "is not 16 to 64 letters, digits, - and _"));
    }
    if fields.mode == CheckoutMode::Auto {
        return Err(bad_field("mode", "is no way to pay"));
    }
    let top_up =
        fields.top_up.map(|wish| wish.terms(cents, credits, fields.currency)).transpose()?;
    let by_login = session::just_logged_in(gateway, request, &caller.key).await?;
    if top_up.is_some() && !by_login {
        return Err(session::log_in_again());
    }
    desk.orders.check(&caller.key.account)?;
    // Both follow from what only this device knows, so that a repeat finds its order.
    let token = derived("token", &caller.key.hash, &fields.attempt);
    let wanted = Order {
        id: order_id(&caller.key.hash, &fields.attempt),
        account: caller.key.account,
        partner: partner.id,
        key: caller.key.id,
        origin: fields.origin,
        currency: fields.currency,
        cents,
        credits,
        mode: fields.mode,
        by_login,
        top_up: top_up.map(|terms| TopUpWish { terms, kept: false }),
        token_hash: keys::hash(&token),
        status: OrderStatus::Open,
        attempts: Vec::new(),
        session: None,
        payment: None,
        created: gateway.system.now(),
        expires: gateway.system.now().plus_millis(LIFE_MS),
    };
    let order = first_of(gateway, wanted).await?;
    let session = open_session(gateway, desk, &order).await?;
    json(StatusCode::CREATED, &Created::of(&order, token, session))
}

/// `GET /checkout/orders/{id}`: how far it is. Asks Stripe itself now and then, so that a purchase
/// shows even where no webhook comes.
///
/// # Errors
/// 404 without the order's token.
pub(super) async fn status(
    gateway: &Gateway,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let mut order = with_token(gateway, request, id).await?;
    if order.is_pending()
        && order.session.is_some()
        && desk.asks.admits(&order.id)
        // What Stripe does not say now, the webhook or the next look says.
        && let Ok(newer) = fulfil::ask_stripe(gateway, desk, &order).await
    {
        order = newer;
    }
    answer(gateway, &order).await
}

/// `POST /checkout/orders/{id}/cancel`: nobody can pay it any more, unless somebody has.
///
/// # Errors
/// 404 without the order's token; 502 when Stripe does not answer.
pub(super) async fn cancel(
    gateway: &Gateway,
    request: &Incoming,
    id: &str,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let order = with_token(gateway, request, id).await?;
    if order.status != OrderStatus::Open {
        return answer(gateway, &order).await;
    }
    if let Some(session) = &order.session {
        match desk.stripe.expire_session(session).await {
            Ok(_) => {}
            // It was paid or has expired: Stripe says which.
            Err(PaymentError::Refused { .. }) => {
                let order = fulfil::ask_stripe(gateway, desk, &order).await?;
                return answer(gateway, &order).await;
            }
            Err(error @ PaymentError::Unknown(_)) => return Err(unavailable(error)),
        }
    }
    let canceled = |order: &mut Order| order.ended(OrderStatus::Canceled);
    let order = documents::change_order(gateway, order.id, canceled).await?;
    answer(gateway, &order.ok_or_else(ApiError::not_found)?).await
}

/// The order as wanted, or the one that the same attempt made before.
async fn first_of(gateway: &Gateway, wanted: Order) -> Result<Order, ApiError> {
    if documents::put(gateway, &wanted, 0).await? {
        return Ok(wanted);
    }
    let found = documents::order(gateway, wanted.id).await?;
    let Versioned { value: first, .. } = found.ok_or_else(|| ApiError::overloaded(1))?;
    let asked = |order: &Order| {
        let terms = order.top_up.map(|wish| wish.terms);
        (order.cents, order.currency, order.mode, order.by_login, terms)
    };
    if asked(&first) == asked(&wanted) {
        return Ok(first);
    }
    const OTHER: &str = "This attempt has made an order with other fields. Use a new attempt.";
    Err(ApiError::new(ErrorCode::Conflict, OTHER).with_param("attempt"))
}

/// Stripe's session of an order; made now, or the one that was made before.
async fn open_session(gateway: &Gateway, desk: &Desk, order: &Order) -> Result<Session, ApiError> {
    let email = gateway.system.store().email_of(order.account).await?;
    let public = &gateway.config.public_url;
    let back = |result: &str| format!("{public}/checkout/return?result={result}");
    let page = match order.mode {
        CheckoutMode::Embedded => Page::Embedded,
        CheckoutMode::NewTab | CheckoutMode::Manual | CheckoutMode::Auto => {
            Page::Hosted { success_url: back("paid"), cancel_url: back("canceled") }
        }
    };
    let wanted = NewSession {
        order: order.id.to_string(),
        currency: order.currency,
        cents: order.cents,
        product: format!("AI credits ({})", order.credits.to_json()),
        email,
        // The partner's page has the key, and is told the address of Stripe's own page.
        shows_email: order.by_login && order.mode == CheckoutMode::Embedded,
        saves_card: order.top_up.is_some(),
        page,
        expires_at: order.expires.seconds(),
    };
    let session = match desk.stripe.create_session(&wanted).await {
        Ok(session) => session,
        Err(error) => {
            if let PaymentError::Refused { .. } = &error {
                let canceled = |order: &mut Order| order.ended(OrderStatus::Canceled);
                documents::change_order(gateway, order.id, canceled).await?;
            }
            return Err(unavailable(error));
        }
    };
    let known = |order: &mut Order| order.session = Some(session.id.clone());
    documents::change_order(gateway, order.id, known).await?;
    Ok(session)
}

/// An order of whose token the caller has.
async fn with_token(gateway: &Gateway, request: &Incoming, id: &str) -> Result<Order, ApiError> {
    let id: OrderId = id.parse().map_err(|_| ApiError::not_found())?;
    let token = request.headers.get("x-order-token").and_then(|token| token.to_str().ok());
    let token = token.ok_or_else(ApiError::not_found)?;
    let order = documents::order(gateway, id).await?.ok_or_else(ApiError::not_found)?.value;
    if bool::from(order.token_hash.ct_eq(&keys::hash(token))) {
        Ok(order)
    } else {
        Err(ApiError::not_found())
    }
}

async fn answer(gateway: &Gateway, order: &Order) -> Result<Response<Bytes>, ApiError> {
    let paid = order.status == OrderStatus::Paid;
    let balance = match paid {
        true => Some(gateway.system.view(order.account).await?.balance.to_json()),
        false => None,
    };
    let attempts = order.attempts.iter();
    let attempts =
        attempts.map(|attempt| Attempt { code: &attempt.code, message: &attempt.message });
    let credits_added = paid.then(|| order.credits.to_json());
    json(
        StatusCode::OK,
        &State {
            order: order.id.to_string(),
            status: order.status,
            attempts: attempts.collect(),
            balance,
            credits_added,
        },
    )
}

/// 502: Stripe does not do it now.
pub(super) fn unavailable(error: PaymentError) -> ApiError {
    const MESSAGE: &str = "The payment could not be started. Try again shortly.";
    ApiError::new(ErrorCode::PaymentUnavailable, MESSAGE).with_source(error)
}

/// An amount in dollars or euros as cents, within the operator's bounds.
fn cents(gateway: &Gateway, amount: &str) -> Result<u32, ApiError> {
    let orders = &gateway.config.orders;
    let cents = parse_cents(amount).map_err(|what| bad_field("amount", what))?;
    let dollars = |cents: u32| f64::from(cents) / 100.0;
    let (min, max) = (orders.min_cents, orders.max_cents);
    if (min..=max).contains(&cents) {
        return Ok(cents);
    }
    Err(bad_field("amount", &format!("is not between {} and {}", dollars(min), dollars(max))))
}

/// An amount in dollars or euros as cents, or what is wrong with it.
pub(super) fn parse_cents(amount: &str) -> Result<u32, &'static str> {
    const BAD: &str = "is no amount such as 25.00";
    let parsed = Credits::parse(amount.trim()).map_err(|_| BAD)?;
    // A credit has six decimals, a price two.
    if parsed.micro() % 10_000 != 0 {
        return Err("has more than two decimals");
    }
    u32::try_from(parsed.micro() / 10_000).map_err(|_| BAD)
}

fn is_attempt(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (16..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn order_id(key: &[u8; 32], attempt: &str) -> OrderId {
    let hash = keys::hash(&format!("order:{}:{attempt}", keys::hex(key)));
    let bits = hash.first_chunk::<8>().copied().unwrap_or_default();
    OrderId::new(u64::from_be_bytes(bits))
}

fn derived(what: &str, key: &[u8; 32], attempt: &str) -> String {
    keys::hex(&keys::hash(&format!("{what}:{}:{attempt}", keys::hex(key))))
}

#[derive(Deserialize)]
struct Fields {
    publishable_key: String,
    attempt: String,
    amount: String,
    currency: Currency,
    mode: CheckoutMode,
    origin: String,
    top_up: Option<top_up::Wish>,
}

#[derive(Serialize)]
struct Created {
    order: String,
    token: String,
    session_id: String,
    client_secret: Option<String>,
    checkout_url: Option<String>,
    expires_at: i64,
}

impl Created {
    fn of(order: &Order, token: String, session: Session) -> Self {
        Self {
            order: order.id.to_string(),
            token,
            session_id: session.id,
            client_secret: session.client_secret,
            checkout_url: session.url,
            expires_at: Timestamp::seconds(order.expires),
        }
    }
}

#[derive(Serialize)]
struct State<'a> {
    order: String,
    status: OrderStatus,
    attempts: Vec<Attempt<'a>>,
    balance: Option<Box<RawValue>>,
    credits_added: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    code: &'a str,
    message: &'a str,
}
