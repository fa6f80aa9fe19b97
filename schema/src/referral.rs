//! The partner's share of what a request costs.

use serde::{Deserialize, Serialize};

use crate::Credits;

/// A referral rate in basis points: 10 % is 1000. From 0 to 5000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferralRate(u16);

impl ReferralRate {
    /// The highest rate: half of the cost on top.
    pub const MAX: Self = Self(5000);

    /// A rate of so many basis points, if at most [`ReferralRate::MAX`].
    #[must_use]
    pub fn from_basis_points(points: u16) -> Option<Self> {
        Some(Self(points)).filter(|rate| *rate <= Self::MAX)
    }

    /// Reads a decimal fraction with at most four decimals: `0.10` is 10 %.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // A rate of 1 is a million microcredits: four decimals are basis points times a hundred.
        let micro = Credits::parse(text).ok()?.micro();
        let points = u16::try_from(micro / 100).ok().filter(|_| micro % 100 == 0)?;
        Self::from_basis_points(points)
    }

    /// The rate in basis points.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// The rate as a decimal fraction: `0.1`.
    #[must_use]
    pub fn to_json(self) -> Box<serde_json::value::RawValue> {
        Credits::from_micro(i64::from(self.0).saturating_mul(100)).to_json()
    }

    /// The share of a cost: floor(cost × rate).
    #[must_use]
    pub fn share(self, cost: Credits) -> Credits {
        cost.portion(Credits::from_micro(i64::from(self.0)), Credits::from_micro(10_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_fraction_of_at_most_one_half() {
        for (text, points) in [("0.10", Some(1000)), ("0", Some(0)), ("0.5", Some(5000))] {
            assert_eq!(ReferralRate::parse(text).map(ReferralRate::basis_points), points);
        }
        for bad in ["0.5001", "-0.1", "0.00001", "10%", ""] {
            assert_eq!(ReferralRate::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_is_rounded_down() {
        let rate = ReferralRate(1000);
        assert_eq!(rate.share(Credits::from_micro(19)), Credits::from_micro(1));
        assert_eq!(rate.share(Credits::from_micro(1_050_000)), Credits::from_micro(105_000));
    }
}
