//! Amounts of money as integers: credits for balances, pico-dollars for prices.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// An amount in microcredits: 10⁻⁶ credit, and 1 credit is 1 US cent, so 10⁻⁸ USD.
///
/// Sums are checked by name: there is no `+` that could wrap. Inside the journal it is a plain
/// integer; [`Credits::to_json`] makes the decimal number that clients read.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Credits(i64);

/// Microcredits in a credit.
const MICRO: i64 = 1_000_000;

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that an account may hold: far from overflow, so that sums of two fit.
    pub const MAX: Self = Self(i64::MAX / 4);

    /// An amount from microcredits.
    #[must_use]
    pub const fn from_micro(micro: i64) -> Self {
        Self(micro)
    }

    /// The amount in microcredits.
    #[must_use]
    pub const fn micro(self) -> i64 {
        self.0
    }

    /// Reads a decimal number of credits with at most six decimals: `12.5`, `-3`, `0.000001`.
    ///
    /// # Errors
    /// [`ParseCreditsError`] when the text is not such a number or is beyond [`Credits::MAX`].
    pub fn parse(text: &str) -> Result<Self, ParseCreditsError> {
        let error = || ParseCreditsError(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 6 || whole.len() > 13 {
            return Err(error());
        }
        let whole: i64 = whole.parse().map_err(|_| error())?;
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| error())?;
        let micro = whole.checked_mul(MICRO).and_then(|w| w.checked_add(fraction));
        let micro = micro.filter(|m| *m <= Self::MAX.0).ok_or_else(error)?;
        Ok(Self(if negative { micro.saturating_neg() } else { micro }))
    }

    /// Whether the amount is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The sum, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The sum; at the ends of the range it stays there.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; at the ends of the range it stays there.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The same amount the other way.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// `self × part ÷ whole`, rounded down: how a share is split. Zero when `whole` is zero.
    #[must_use]
    pub fn portion(self, part: Self, whole: Self) -> Self {
        if whole.0 == 0 {
            return Self::ZERO;
        }
        let product = i128::from(self.0).saturating_mul(i128::from(part.0));
        Self(product.div_euclid(i128::from(whole.0)).try_into().unwrap_or(i64::MAX))
    }

    /// The amount as a JSON number in credits, exact to the microcredit: `4850.5`.
    #[must_use]
    pub fn to_json(self) -> Box<serde_json::value::RawValue> {
        serde_json::value::RawValue::from_string(self.to_string()).unwrap_or_default()
    }
}

impl fmt::Display for Credits {
    /// The shortest exact decimal in credits: `4850.5`, `-0.000001`, `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micro = self.0.unsigned_abs();
        let (whole, rest) = (micro / MICRO.unsigned_abs(), micro % MICRO.unsigned_abs());
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if rest == 0 {
            return Ok(());
        }
        let (mut decimals, mut width) = (rest, 6);
        while decimals.is_multiple_of(10) {
            (decimals, width) = (decimals / 10, width - 1);
        }
        write!(f, ".{decimals:0width$}")
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::plus)
    }
}

/// A text that is no amount of credits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of credits with at most six decimals")]
pub struct ParseCreditsError(String);

/// A provider's cost in pico-dollars (10⁻¹² USD), before the one rounding to microcredits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PicoUsd(pub i64);

/// Pico-dollars in a microcredit.
const PICO_PER_MICROCREDIT: i64 = 10_000;

impl PicoUsd {
    /// The cost in microcredits, rounded up: the one rounding on the way from price to money.
    #[must_use]
    pub const fn to_credits(self) -> Credits {
        let (quotient, rest) = (self.0 / PICO_PER_MICROCREDIT, self.0 % PICO_PER_MICROCREDIT);
        Credits(if rest > 0 { quotient.saturating_add(1) } else { quotient })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_read_and_show_exact_decimals() {
        for (text, micro) in
            [("12.5", 12_500_000), ("-0.000001", -1), ("0", 0), ("4850.5", 4_850_500_000)]
        {
            assert_eq!(Credits::parse(text), Ok(Credits(micro)));
            assert_eq!(Credits(micro).to_string(), text);
        }
        for bad in ["", ".", "1.", ".5", "1.0000001", "1e3", "+1", "--1", "99999999999999", "1,5"] {
            assert!(Credits::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cost_is_rounded_up_once() {
        for (pico, micro) in [(0, 0), (1, 1), (10_000, 1), (10_001, 2), (20_000, 2)] {
            assert_eq!(PicoUsd(pico).to_credits(), Credits(micro));
        }
    }
}
