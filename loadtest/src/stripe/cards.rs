//! Stripe's test cards and what each does. Source: <https://docs.stripe.com/testing#cards>.

/// What a card does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// 4242424242424242 and its like: pays.
    Good,
    /// 4000002500003155 and its like: asks the bank first, then pays.
    ThreeDs,
    /// 4000002760003184: asks the bank each time, so it cannot be charged while the buyer is away.
    ThreeDsAlways,
    /// 4000000000000341: pays and is kept, but is declined when it is charged later.
    DeclinedLater,
    /// 4000008400001629: asks the bank first, and is declined all the same.
    ThreeDsDeclined,
    /// 4000000000000259: pays, and the payment is disputed at once.
    Disputed,
    /// 4000000000000002.
    Declined,
    /// 4000000000009995.
    InsufficientFunds,
    /// 4000000000000069.
    Expired,
    /// 4000000000000127.
    BadCvc,
    /// 4000000000000119.
    ProcessingError,
}

/// Why a card does not pay: Stripe's code, the bank's, and what the buyer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decline {
    pub(super) code: &'static str,
    pub(super) decline_code: Option<&'static str>,
    pub(super) message: &'static str,
}

impl Card {
    /// The card with a number, spaces ignored; `None` for what is no card number.
    pub fn by_number(number: &str) -> Option<Self> {
        let digits: String = number.chars().filter(|c| !c.is_whitespace()).collect();
        let known = match digits.as_str() {
            "4000002500003155" | "4000000000003220" => Self::ThreeDs,
            "4000002760003184" => Self::ThreeDsAlways,
            "4000000000000341" => Self::DeclinedLater,
            "4000008400001629" => Self::ThreeDsDeclined,
            "4000000000000259" => Self::Disputed,
            "4000000000000002" => Self::Declined,
            "4000000000009995" => Self::InsufficientFunds,
            "4000000000000069" => Self::Expired,
            "4000000000000127" => Self::BadCvc,
            "4000000000000119" => Self::ProcessingError,
            _ => Self::Good,
        };
        is_card_number(&digits).then_some(known)
    }

    /// Why it does not pay while the buyer is away.
    pub(super) const fn off_session(self) -> Option<Decline> {
        match self {
            Self::ThreeDsAlways => Some(AWAY),
            Self::DeclinedLater => Self::Declined.decline(),
            Self::Good
            | Self::ThreeDs
            | Self::ThreeDsDeclined
            | Self::Disputed
            | Self::Declined
            | Self::InsufficientFunds
            | Self::Expired
            | Self::BadCvc
            | Self::ProcessingError => self.decline(),
        }
    }

    /// Whether the bank is asked first.
    pub(super) const fn asks(self) -> bool {
        matches!(self, Self::ThreeDs | Self::ThreeDsAlways | Self::ThreeDsDeclined)
    }

    /// Why it does not pay.
    pub(super) const fn decline(self) -> Option<Decline> {
        let (code, decline_code, message) = match self {
            Self::Good
            | Self::ThreeDs
            | Self::ThreeDsAlways
            | Self::DeclinedLater
            | Self::Disputed => return None,
            Self::Declined | Self::ThreeDsDeclined => {
                ("card_declined", Some("generic_decline"), "Your card was declined.")
            }
            Self::InsufficientFunds => {
                ("card_declined", Some("insufficient_funds"), "Your card has insufficient funds.")
            }
            Self::Expired => ("expired_card", None, "Your card has expired."),
            Self::BadCvc => ("incorrect_cvc", None, "Your card's security code is incorrect."),
            Self::ProcessingError => {
                ("processing_error", None, "An error occurred while processing your card.")
            }
        };
        Some(Decline { code, decline_code, message })
    }
}

/// What the buyer's bank says when the buyer does not confirm.
pub(super) const NOT_CONFIRMED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: Some("authentication_failed"),
    message: "We are unable to authenticate your payment method.",
};

/// What the buyer's bank says when it wants the buyer, who is away.
const AWAY: Decline = Decline {
    code: "authentication_required",
    decline_code: Some("authentication_required"),
    message: "Your card was declined. This transaction requires authentication.",
};

/// Luhn's check over 12 to 19 digits.
fn is_card_number(digits: &str) -> bool {
    let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(10)).collect();
    let Some(values) = values.filter(|values| (12..=19).contains(&values.len())) else {
        return false;
    };
    let doubled = |value: u32| if value > 4 { value * 2 - 9 } else { value * 2 };
    let sum: u32 = values
        .iter()
        .rev()
        .enumerate()
        .map(|(at, value)| if at % 2 == 1 { doubled(*value) } else { *value })
        .sum();
    sum.is_multiple_of(10)
}
