//! An order: a purchase of credits, from the wish to the money.
//!
//! Whoever hears of it first may tell it (webhook, browser, sweep), in any order and more than once:
//! each method says what the order becomes, and money that came is never taken back by a later word.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Credits, KeyId, OrderId, PartnerId, Timestamp, TopUpTerms};

/// Failed attempts that an order remembers.
pub const ATTEMPTS_MAX: usize = 50;

/// What an order is paid in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// US dollars.
    Usd,
    /// Euros.
    Eur,
}

impl Currency {
    /// Its name, as Stripe and the checkout write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Eur => "eur",
        }
    }
}

/// How the buyer pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutMode {
    /// In our own frame.
    Embedded,
    /// On Stripe's page, in a tab that the checkout opens.
    NewTab,
    /// On Stripe's page, which the partner opens.
    Manual,
    /// Not at all: the saved card is charged, as the buyer agreed to.
    Auto,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// It can be paid.
    Open,
    /// A delayed method is under way.
    Processing,
    /// The credits are in the balance.
    Paid,
    /// The payment has failed, and no other will be tried.
    Failed,
    /// Nobody paid in time.
    Expired,
    /// The buyer gave it up.
    Canceled,
}

/// A failed attempt to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The event that told it: each counts once.
    #[serde(default)]
    pub event: String,
    /// Such as `card_declined` or `insufficient_funds`.
    pub code: String,
    /// For the buyer.
    pub message: String,
}

/// The buyer's wish to be topped up from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpWish {
    /// What the buyer agrees to.
    pub terms: TopUpTerms,
    /// Whether it is in force: the card with which the order was paid is kept.
    pub kept: bool,
}

/// A purchase of credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id, which also keys the purchase.
    pub id: OrderId,
    /// Who buys.
    pub account: AccountId,
    /// In whose page.
    pub partner: PartnerId,
    /// The key that the buyer's device has.
    pub key: KeyId,
    /// The origin of the page.
    pub origin: String,
    /// What is paid in.
    pub currency: Currency,
    /// What is paid, without tax.
    pub cents: u32,
    /// What is given for it, fixed when the order is made.
    pub credits: Credits,
    /// How the buyer pays.
    pub mode: CheckoutMode,
    /// Whether the buyer had just logged in: only then may a page show whose account it is.
    #[serde(default)]
    pub by_login: bool,
    /// What else the buyer wishes.
    #[serde(default)]
    pub top_up: Option<TopUpWish>,
    /// SHA-256 of the token that lets the page ask for the order.
    pub token_hash: [u8; 32],
    /// How far it is.
    pub status: OrderStatus,
    /// Failed attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Stripe's session, once it is known.
    pub session: Option<String>,
    /// Stripe's payment, once it is known.
    pub payment: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it can no longer be paid.
    pub expires: Timestamp,
}

impl Order {
    /// The outside id under which its credits come in.
    #[must_use]
    pub fn source(&self) -> String {
        self.id.to_string()
    }

    /// Whether the money can still come without a dispute about it: nobody has to ask Stripe
    /// for any other order.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        match self.status {
            OrderStatus::Open | OrderStatus::Processing => true,
            OrderStatus::Paid
            | OrderStatus::Failed
            | OrderStatus::Expired
            | OrderStatus::Canceled => false,
        }
    }

    /// Whether the buyer's wish to be topped up still has to be put in force.
    #[must_use]
    pub fn wants_top_up(&self) -> bool {
        self.status == OrderStatus::Paid && self.top_up.is_some_and(|wish| !wish.kept)
    }

    /// The money has come, and the credits are durable. Stands against any later word.
    pub fn paid(&mut self) {
        self.status = OrderStatus::Paid;
    }

    /// A delayed method was chosen.
    pub fn processing(&mut self) {
        if self.status != OrderStatus::Paid && self.status != OrderStatus::Failed {
            self.status = OrderStatus::Processing;
        }
    }

    /// It ended without money.
    pub fn ended(&mut self, status: OrderStatus) {
        let may = match status {
            OrderStatus::Failed => self.status != OrderStatus::Paid,
            // A delayed payment outlives its session.
            OrderStatus::Expired => self.status == OrderStatus::Open,
            // Giving an order up lets its session expire, of which Stripe may tell first.
            OrderStatus::Canceled => {
                matches!(self.status, OrderStatus::Open | OrderStatus::Expired)
            }
            OrderStatus::Open | OrderStatus::Processing | OrderStatus::Paid => false,
        };
        if may {
            self.status = status;
        }
    }

    /// Remembers a failed attempt, once.
    pub fn failed_attempt(&mut self, attempt: Attempt) {
        let known = self.attempts.iter().any(|other| other.event == attempt.event);
        if !known && self.attempts.len() < ATTEMPTS_MAX {
            self.attempts.push(attempt);
        }
    }
}

/// The credits for an amount: a cent is a credit in dollars; in euros the configured rate.
///
/// `None` for euros without a rate, and for more than an account can hold.
#[must_use]
pub fn credits_for(currency: Currency, cents: u32, eur_rate: Option<Credits>) -> Option<Credits> {
    let per_cent = match currency {
        Currency::Usd => Credits::from_micro(1_000_000),
        Currency::Eur => eur_rate?,
    };
    let micro = per_cent.micro().checked_mul(i64::from(cents))?;
    Some(Credits::from_micro(micro)).filter(|credits| *credits <= Credits::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            id: OrderId::new(1),
            account: AccountId::new(2),
            partner: PartnerId::new(3),
            key: KeyId::new(4),
            origin: "https://app.example".to_owned(),
            currency: Currency::Usd,
            cents: 1000,
            credits: Credits::from_micro(1_000_000_000),
            mode: CheckoutMode::Embedded,
            by_login: false,
            top_up: None,
            token_hash: [0; 32],
            status: OrderStatus::Open,
            attempts: Vec::new(),
            session: None,
            payment: None,
            created: Timestamp::default(),
            expires: Timestamp::default(),
        }
    }

    #[test]
    fn who_gave_an_order_up_sees_that_whoever_told_of_it_first() {
        for words in [
            [OrderStatus::Expired, OrderStatus::Canceled],
            [OrderStatus::Canceled, OrderStatus::Expired],
        ] {
            let mut order = order();
            words.into_iter().for_each(|word| order.ended(word));
            assert_eq!(order.status, OrderStatus::Canceled);
        }
    }

    #[test]
    fn money_that_came_stands_against_any_later_word() {
        let words: [fn(&mut Order); 4] = [
            |order| order.processing(),
            |order| order.ended(OrderStatus::Failed),
            |order| order.ended(OrderStatus::Expired),
            |order| order.ended(OrderStatus::Canceled),
        ];
        for before in words {
            for after in words {
                let mut order = order();
                before(&mut order);
                order.paid();
                after(&mut order);
                assert_eq!(order.status, OrderStatus::Paid);
            }
        }
    }

    #[test]
    fn a_delayed_payment_outlives_its_session() {
        let mut order = order();
        order.processing();
        order.ended(OrderStatus::Expired);
        assert_eq!(order.status, OrderStatus::Processing);
        order.ended(OrderStatus::Failed);
        order.processing();
        assert_eq!(order.status, OrderStatus::Failed);
    }

    #[test]
    fn an_attempt_counts_once_and_their_number_is_bounded() {
        let mut order = order();
        for number in 0..200 {
            let event = format!("evt_{}", number / 2);
            order.failed_attempt(Attempt { event, code: String::new(), message: String::new() });
        }
        assert_eq!(order.attempts.len(), ATTEMPTS_MAX);
        assert_eq!(order.attempts[49].event, "evt_49");
    }

    #[test]
    fn a_cent_is_a_credit_and_a_euro_cent_what_is_configured() {
        let rate = Credits::parse("1.08").unwrap();
        let micro = |currency, cents, rate| credits_for(currency, cents, rate).map(Credits::micro);
        assert_eq!(micro(Currency::Usd, 2500, None), Some(2_500_000_000));
        assert_eq!(micro(Currency::Eur, 2500, Some(rate)), Some(2_700_000_000));
        assert_eq!(micro(Currency::Eur, 2500, None), None);
        assert_eq!(micro(Currency::Eur, u32::MAX, Some(Credits::MAX)), None);
    }
}
