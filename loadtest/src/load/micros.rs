//! A histogram of durations in microseconds: HdrHistogram with three digits, as base64 in JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Significant digits: a value is told to a thousandth of itself.
const DIGITS: u8 = 3;
/// The longest duration that is told apart, in microseconds: three hours.
const LONGEST_US: u64 = 10_800_000_000;

/// A histogram of durations. Written in HdrHistogram's V2 form, compressed, in base64, so that any
/// HdrHistogram tool reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Micros(Histogram<u64>);

/// A text that is no histogram.
#[derive(Debug, thiserror::Error)]
#[error("not a histogram: {0}")]
pub struct BadHistogram(String);

impl Default for Micros {
    fn default() -> Self {
        let histogram = Histogram::new(DIGITS).or_else(|_| Histogram::new(1));
        #[expect(clippy::expect_used, reason = "0 to 5 digits are always allowed")]
        let mut histogram = histogram.expect("1 and 3 are digits that a histogram can have");
        histogram.auto(true);
        Self(histogram)
    }
}

impl Micros {
    /// Counts a duration.
    pub fn note(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(LONGEST_US);
        // A histogram that resizes itself takes every value of this size.
        self.0.record(micros).ok();
    }

    /// Counts all that another one has counted.
    pub fn add(&mut self, other: &Self) {
        // As above: it resizes itself.
        self.0.add(&other.0).ok();
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration below or at which a share of all is; zero where nothing was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// The mean, in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        self.0.mean()
    }

    /// Pairs of a value and the share of all that is above it, for a plot with a logarithmic axis.
    pub fn above(&self) -> impl Iterator<Item = (Duration, f64)> {
        self.0.iter_quantiles(4).map(|value| {
            let share = 1.0 - value.quantile();
            (Duration::from_micros(value.value_iterated_to()), share)
        })
    }
}

impl From<Micros> for String {
    fn from(histogram: Micros) -> Self {
        let mut bytes = Vec::new();
        // Writing into memory does not fail; an empty text would be refused by its reader.
        V2DeflateSerializer::new().serialize(&histogram.0, &mut bytes).ok();
        BASE64_STANDARD.encode(bytes)
    }
}

impl TryFrom<String> for Micros {
    type Error = BadHistogram;

    fn try_from(text: String) -> Result<Self, BadHistogram> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|e| BadHistogram(e.to_string()))?;
        let read = Deserializer::new().deserialize(&mut bytes.as_slice());
        let mut histogram: Histogram<u64> = read.map_err(|e| BadHistogram(e.to_string()))?;
        histogram.auto(true);
        Ok(Self(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Micros {
        let mut histogram = Micros::default();
        micros.iter().for_each(|one| histogram.note(Duration::from_micros(*one)));
        histogram
    }

    #[test]
    fn what_is_merged_is_as_if_it_were_counted_in_one() {
        let mut left = of(&[1, 50, 3_000]);
        left.add(&of(&[7, 60_000_000]));
        assert_eq!(left.count(), 5);
        assert_eq!(left.quantile(0.5), Duration::from_micros(50));
        assert!(left.max().abs_diff(Duration::from_secs(60)) < Duration::from_millis(60));
    }

    #[test]
    fn a_histogram_comes_back_from_json() {
        let histogram = of(&[0, 1, 12_345, 999_999_999]);
        let text = serde_json::to_string(&histogram).unwrap();
        let mut back: Micros = serde_json::from_str(&text).unwrap();
        assert_eq!((back.count(), back.max()), (4, histogram.max()));
        back.note(Duration::from_secs(7_200));
        assert_eq!(back.count(), 5, "one that was read grows too");
        assert!(serde_json::from_str::<Micros>("\"AAAA\"").is_err());
    }

    #[test]
    fn the_longest_has_a_bound_and_nothing_is_zero() {
        let longest = of(&[u64::MAX]).max();
        assert!(longest.abs_diff(Duration::from_micros(LONGEST_US)) < Duration::from_secs(11));
        assert_eq!(Micros::default().quantile(0.99), Duration::ZERO);
    }
}
