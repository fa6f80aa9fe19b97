//! A figure of several repetitions: its median and its range. Pure.

use std::fmt;

use serde::Serialize;

/// The values of one figure, one a repetition.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// The middle value, or the mean of the two middle ones; NaN without any.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = sorted.get(middle).copied().unwrap_or(f64::NAN);
        let lower = middle.checked_sub(1).and_then(|at| sorted.get(at)).copied();
        match lower {
            Some(lower) if sorted.len().is_multiple_of(2) => f64::midpoint(lower, upper),
            Some(_) | None => upper,
        }
    }

    /// The least and the largest value; NaN without any.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        (self.least(f64::min), self.least(f64::max))
    }

    /// The values in the order of their repetitions.
    pub fn iter(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    fn least(&self, choose: fn(f64, f64) -> f64) -> f64 {
        self.iter().reduce(choose).unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    /// Values that are no numbers are left out: what could not be read is not zero.
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().filter(|value| value.is_finite()).collect())
    }
}

impl fmt::Display for Samples {
    /// The median, and the range behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("—");
        }
        let (least, most) = self.range();
        write!(f, "{} ({} to {})", short(self.median()), short(least), short(most))
    }
}

/// A number with three digits that count, and thousands set apart.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        return thousands(&format!("{value:.0}"));
    }
    let decimals = match size {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// A whole number with its thousands set apart.
pub(super) fn whole(value: u64) -> String {
    thousands(&value.to_string())
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (digit, left) in digits.chars().zip((0..digits.len()).rev()) {
        text.push(digit);
        if left > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    #[test]
    fn the_median_is_the_middle_and_the_range_the_ends() {
        let samples = of(&[3.0, 1.0, 2.0]);
        assert_eq!((samples.median(), samples.range()), (2.0, (1.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(of(&[7.0]).median(), 7.0);
        assert!(of(&[]).median().is_nan());
    }

    #[test]
    fn what_could_not_be_read_is_left_out() {
        let samples = of(&[f64::NAN, 2.0, f64::INFINITY]);
        assert_eq!((samples.median(), samples.iter().count()), (2.0, 1));
        assert_eq!(of(&[f64::NAN]).to_string(), "—");
    }

    #[test]
    fn numbers_are_as_exact_as_they_are_read() {
        let told = |value| short(value);
        assert_eq!(told(61_234.4), "61,234");
        assert_eq!(
            (told(999.6), told(14.25), told(1.987)),
            ("1000".into(), "14.2".into(), "1.99".into())
        );
        assert_eq!((told(-0.0312), told(-1_234_567.0)), ("-0.031".into(), "-1,234,567".into()));
        assert_eq!((whole(7), whole(1_000_000)), ("7".into(), "1,000,000".into()));
        assert_eq!(of(&[2.5, 2.0, 3.0]).to_string(), "2.50 (2.00 to 3.00)");
    }
}
