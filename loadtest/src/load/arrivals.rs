//! When requests are due: Poisson or evenly spaced, at a rate that may change with time.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// How the gaps between arrivals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Exponential gaps, as of many clients that do not know of each other.
    Poisson,
    /// All gaps alike.
    Constant,
}

/// A span in which the rate goes linearly from one value to another, in requests a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// How long it lasts.
    pub length: Duration,
    /// The rate at its start.
    pub from: f64,
    /// The rate at its end.
    pub to: f64,
}

/// The moments at which one of several like generators sends, from the start of the run.
#[derive(Clone, Debug)]
pub struct Arrivals {
    spans: Vec<Span>,
    pace: Pace,
    rng: Rng,
    parts: f64,
    /// How many arrivals are expected until the last one.
    expected: f64,
}

impl Span {
    /// The expected arrivals within it.
    fn arrivals(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }

    /// After how many seconds so many arrivals are expected.
    fn time_of(&self, arrivals: f64) -> f64 {
        let seconds = self.length.as_secs_f64();
        let slope = (self.to - self.from) / seconds;
        // from·t + slope·t²/2 = arrivals; this form of the root holds where the slope is 0 too.
        let root = slope.mul_add(2.0 * arrivals, self.from * self.from).max(0.0).sqrt();
        let time = 2.0 * arrivals / (self.from + root);
        // The very first arrival of a climb from nothing is 0 by 0.
        if time.is_finite() { time.clamp(0.0, seconds) } else { 0.0 }
    }
}

impl Arrivals {
    /// The arrivals of generator `part` of `parts`; together they make the rate.
    #[must_use]
    pub fn new(spans: Vec<Span>, pace: Pace, part: u32, parts: u32, seed: u64) -> Self {
        let parts = f64::from(parts.max(1));
        let expected = match pace {
            // The first gaps are drawn as all others.
            Pace::Poisson => 0.0,
            // Evenly spaced generators take turns; the first one sends at once.
            Pace::Constant => f64::from(part) - parts,
        };
        Self { spans, pace, rng: Rng::with_seed(seed), parts, expected }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap = match self.pace {
            // 1 − u is never 0, whose logarithm would be infinite.
            Pace::Poisson => -(1.0 - self.rng.f64()).ln(),
            Pace::Constant => 1.0,
        };
        self.expected += gap * self.parts;
        let (mut left, mut begun) = (self.expected, 0.0);
        for span in &self.spans {
            let within = span.arrivals();
            if left < within {
                return Some(Duration::from_secs_f64(begun + span.time_of(left)));
            }
            left -= within;
            begun += span.length.as_secs_f64();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(rate: f64) -> Vec<Span> {
        vec![Span { length: Duration::from_secs(100), from: rate, to: rate }]
    }

    fn seconds(arrivals: Arrivals) -> Vec<f64> {
        arrivals.map(|at| at.as_secs_f64()).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_over_all_generators() {
        let part = |part| seconds(Arrivals::new(steady(10.0), Pace::Constant, part, 2, 1));
        let (even, odd) = (part(0), part(1));
        assert_eq!((even.len(), odd.len()), (500, 500));
        for (place, (a, b)) in even.iter().zip(&odd).enumerate() {
            let at = 0.2 * f64::from(u32::try_from(place).unwrap());
            assert!((a - at).abs() < 1e-6 && (b - at - 0.1).abs() < 1e-6, "{at}: {a} {b}");
        }
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let at = seconds(Arrivals::new(steady(1_000.0), Pace::Poisson, 0, 1, 7));
        assert!((99_000..101_000).contains(&at.len()), "{}", at.len());
        let gaps: Vec<f64> = at.windows(2).map(|pair| (pair[1] - pair[0]) * 1_000.0).collect();
        let count = f64::from(u32::try_from(gaps.len()).unwrap());
        // Of exponential gaps of mean 1, e⁻¹ are above 1 and e⁻³ above 3.
        for above in [1.0, 3.0] {
            let many = gaps.iter().filter(|gap| **gap > above).count();
            let share = f64::from(u32::try_from(many).unwrap()) / count;
            assert!((share / (-above).exp() - 1.0).abs() < 0.05, "{above}: {share}");
        }
    }

    #[test]
    fn a_ramp_has_the_arrivals_below_its_line() {
        let spans = vec![
            Span { length: Duration::from_secs(10), from: 0.0, to: 100.0 },
            Span { length: Duration::from_secs(5), from: 100.0, to: 100.0 },
            Span { length: Duration::from_secs(10), from: 100.0, to: 0.0 },
        ];
        let at = seconds(Arrivals::new(spans, Pace::Constant, 0, 1, 1));
        let until = |end: f64| at.iter().filter(|at| **at < end).count();
        // 100·t²/20 on the way up, then 100 a second.
        for (end, many) in [(2.0, 20), (5.0, 125), (10.0, 500), (15.0, 1_000), (25.0, 1_500)] {
            assert!(until(end).abs_diff(many) <= 1, "{end}: {}", until(end));
        }
        assert!(at.is_sorted());
    }

    #[test]
    fn a_seed_repeats_itself() {
        let of = |seed| seconds(Arrivals::new(steady(10.0), Pace::Poisson, 0, 1, seed));
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}
