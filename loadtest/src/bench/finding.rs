//! What a scenario found, and the marks that it is held against. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::samples::{Samples, short};
use super::scenario::Scenario;
use super::turn::Turn;

/// What came of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which one.
    pub scenario: Scenario,
    /// What is held against marks, or shown beside them.
    pub findings: Vec<Finding>,
    /// What each contender took.
    pub figures: Vec<Figure>,
    /// How something grows, as lines.
    pub curves: Vec<Curve>,
    /// What a reader has to know to judge them.
    pub notes: Vec<String>,
    /// Every turn.
    pub turns: Vec<Turn>,
}

/// One figure that compares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub name: String,
    /// The unit of its values: `×`, `ms`, `KiB`.
    pub unit: &'static str,
    /// Its values, one a repetition.
    pub samples: Samples,
    /// What its median must be.
    pub mark: Option<Bound>,
    /// What its median shall be one day.
    pub stretch: Option<Bound>,
}

/// One figure of one contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Whose.
    pub contender: String,
    /// What it is.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    /// Its values, one a repetition.
    pub samples: Samples,
}

/// A line of medians.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// What it is of.
    pub name: &'static str,
    /// Sizes, and the median at each.
    pub points: Vec<(f64, f64)>,
}

/// A bound on a median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It is met at and below this.
    AtMost(f64),
    /// It is met at and above this.
    AtLeast(f64),
}

/// Whether a bound is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Met,
    /// It is not.
    NotMet,
    /// There is no value to judge.
    Unknown,
}

impl Outcome {
    /// One that nothing was found in yet.
    #[must_use]
    pub(super) fn new(scenario: Scenario) -> Self {
        let (findings, figures, curves) = (Vec::new(), Vec::new(), Vec::new());
        Self { scenario, findings, figures, curves, notes: Vec::new(), turns: Vec::new() }
    }

    /// Why turns of it do not stand, if any do not: each reason with how often and whose.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
        for turn in &self.turns {
            let Some(flag) = &turn.flag else { continue };
            // What stands behind the colon is of this turn only.
            let (count, contenders) =
                flags.entry(flag.split(':').next().unwrap_or(flag)).or_default();
            *count = count.saturating_add(1);
            contenders.insert(&turn.contender);
        }
        let all = self.turns.len();
        let told = |(why, (count, contenders)): (&str, (usize, BTreeSet<&str>))| {
            let whose = contenders.into_iter().collect::<Vec<_>>().join(", ");
            format!("{why} in {count} of {all} turns ({whose})")
        };
        flags.into_iter().map(told).collect()
    }
}

impl Finding {
    /// A finding without a mark.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        unit: &'static str,
        samples: impl IntoIterator<Item = f64>,
    ) -> Self {
        let samples = samples.into_iter().collect();
        Self { name: name.into(), unit, samples, mark: None, stretch: None }
    }

    /// The same with a mark.
    #[must_use]
    pub fn mark(self, mark: Bound) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// The same with a mark for one day.
    #[must_use]
    pub fn stretch(self, stretch: Bound) -> Self {
        Self { stretch: Some(stretch), ..self }
    }

    /// Whether a bound of its is met by its median.
    #[must_use]
    pub fn verdict(&self, bound: Bound) -> Verdict {
        bound.judge(self.samples.median())
    }
}

impl Bound {
    /// Judges a value.
    #[must_use]
    pub fn judge(self, value: f64) -> Verdict {
        let met = match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        };
        match (value.is_nan(), met) {
            (true, _) => Verdict::Unknown,
            (false, true) => Verdict::Met,
            (false, false) => Verdict::NotMet,
        }
    }

    /// The value at which it is just met.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {}", short(*bound)),
            Self::AtLeast(bound) => write!(f, "≥ {}", short(*bound)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::NotMet => "**not met**",
            Self::Unknown => "not measured",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_judged_by_the_median_and_nothing_is_met_by_no_value() {
        let finding = Finding::new("it", "×", [1.0, 9.0, 2.5]).mark(Bound::AtMost(2.5));
        assert_eq!(finding.verdict(Bound::AtMost(2.5)), Verdict::Met);
        assert_eq!(finding.verdict(Bound::AtMost(2.4)), Verdict::NotMet);
        assert_eq!(finding.verdict(Bound::AtLeast(2.5)), Verdict::Met);
        assert_eq!(finding.verdict(Bound::AtLeast(2.6)), Verdict::NotMet);
        let none = Finding::new("it", "×", [f64::NAN]);
        assert_eq!(none.verdict(Bound::AtMost(1.0)), Verdict::Unknown);
        assert_eq!(none.verdict(Bound::AtLeast(1.0)), Verdict::Unknown);
    }

    #[test]
    fn flags_are_told_once_with_their_number() {
        let mut outcome = Outcome::new(Scenario::Plain);
        let turn = |contender: &str, flag: Option<&str>| Turn {
            contender: contender.to_owned(),
            flag: flag.map(str::to_owned),
            ..Turn::default()
        };
        outcome.turns = vec![
            turn("nginx", Some("late: 3 ms")),
            turn("nginx", Some("late: 4 ms")),
            turn("gateway", None),
        ];
        assert_eq!(outcome.flags(), ["late in 2 of 3 turns (nginx)"]);
    }
}
