//! The marks as a picture: each finding by its mark, so that the line at 1 is the mark of all. Pure.

use std::fmt;

use super::finding::{Bound, Finding, Outcome, Verdict};
use crate::load::plot::escaped;

/// Sizes in the picture's own units.
const WIDTH: f64 = 940.0;
const NAMES: f64 = 430.0;
const ROW: f64 = 26.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;
/// What is further from the mark than this, as a factor, is drawn here.
const FURTHEST: f64 = 8.0;

/// Read by people in light and in dark.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#5b6675}\
    .n{text-anchor:end}.m{text-anchor:middle}.g{stroke:#9aa5b4;stroke-opacity:.4}\
    .one{stroke:#5b6675;stroke-width:1.5}.met{fill:#2b9d5f}.not{fill:#d2622a}.none{fill:#9aa5b4}\
    .dot{fill:#5b6675;stroke:#fff;stroke-width:.8}.s{stroke:#5b6675;stroke-dasharray:3 2}";

/// The picture.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    median: f64,
    samples: Vec<f64>,
    stretch: Option<f64>,
    verdict: Verdict,
}

impl Chart {
    /// A row for each finding that has a mark.
    pub(super) fn new(outcomes: &[Outcome]) -> Self {
        let rows = outcomes.iter().flat_map(|outcome| {
            let scenario = outcome.scenario.name();
            outcome.findings.iter().filter_map(move |finding| Row::of(scenario, finding))
        });
        Self { rows: rows.collect() }
    }
}

impl Row {
    fn of(scenario: &str, finding: &Finding) -> Option<Self> {
        let mark = finding.mark?;
        let by_mark = |value: f64| match mark {
            Bound::AtMost(bound) => value / bound,
            // Turned round, so that left is better in every row.
            Bound::AtLeast(bound) => bound / value,
        };
        Some(Self {
            name: format!("{scenario}: {}", finding.name),
            median: by_mark(finding.samples.median()),
            samples: finding.samples.iter().map(by_mark).collect(),
            stretch: finding.stretch.map(|stretch| by_mark(stretch.value())),
            verdict: finding.verdict(mark),
        })
    }
}

/// From 1/8 of the mark to 8 times it; what is below 0 is at the left end.
fn along(value: f64) -> f64 {
    let place = value.clamp(1.0 / FURTHEST, FURTHEST).log(FURTHEST);
    let place = if place.is_nan() { -1.0 } else { place };
    NAMES + 10.0 + (place + 1.0) / 2.0 * (WIDTH - NAMES - 30.0)
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = u32::try_from(self.rows.len()).map_or(0.0, f64::from);
        let bottom = TOP + rows * ROW;
        let height = bottom + BOTTOM;
        write!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\">\
             <title>Results by their marks</title><style>{STYLE}</style>"
        )?;
        for (value, name) in [
            (0.125, "⅛"),
            (0.25, "¼"),
            (0.5, "½"),
            (1.0, "the mark"),
            (2.0, "2×"),
            (4.0, "4×"),
            (8.0, "8×"),
        ] {
            let (x, class) = (along(value), if name == "the mark" { "one" } else { "g" });
            write!(f, "<path class=\"{class}\" d=\"M{x:.1} {}V{bottom}\"/>", TOP - 6.0)?;
            write!(f, "<text class=\"m\" x=\"{x:.1}\" y=\"{}\">{name}</text>", TOP - 12.0)?;
        }
        for (row, at) in self.rows.iter().zip((0_u32..).map(f64::from)) {
            row.draw(f, TOP + at * ROW)?;
        }
        write!(
            f,
            "<text class=\"n\" x=\"{}\" y=\"{}\">left is better; dashed: the stretch</text></svg>",
            WIDTH - 20.0,
            height - 8.0
        )
    }
}

impl Row {
    fn draw(&self, f: &mut fmt::Formatter<'_>, top: f64) -> fmt::Result {
        let middle = top + ROW / 2.0;
        let name = escaped(&self.name);
        write!(f, "<text class=\"n\" x=\"{NAMES}\" y=\"{:.1}\">{name}</text>", middle + 4.0)?;
        let class = match self.verdict {
            Verdict::Met => "met",
            Verdict::NotMet => "not",
            Verdict::Unknown => "none",
        };
        let (from, to) = (along(0.0), along(self.median));
        write!(
            f,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"10\" rx=\"3\"/>",
            middle - 5.0,
            (to - from).max(2.0)
        )?;
        for x in self.samples.iter().map(|sample| along(*sample)) {
            write!(f, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"3\"/>")?;
        }
        if let Some(x) = self.stretch.map(along) {
            let (high, low) = (middle - 9.0, middle + 9.0);
            write!(f, "<path class=\"s\" d=\"M{x:.1} {high:.1}V{low:.1}\"/>")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn a_picture_of_anything_is_whole() {
        let findings = [
            Finding::new("a < b", "×", [2.0]).mark(Bound::AtMost(1.0)).stretch(Bound::AtMost(0.5)),
            Finding::new("least", "×", [0.0, -1.0]).mark(Bound::AtLeast(0.85)),
            Finding::new("nothing", "×", []).mark(Bound::AtMost(1.0)),
            Finding::new("no mark", "×", [1.0]),
        ];
        let outcome = Outcome { findings: findings.into(), ..Outcome::new(Scenario::Plain) };
        let svg = Chart::new(&[outcome]).to_string();
        assert!(svg.ends_with("</svg>") && svg.contains("plain: a &lt; b"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("no mark"), "{svg}");
        assert_eq!(
            (svg.matches("class=\"not\"").count(), svg.matches("class=\"s\"").count()),
            (2, 1)
        );
    }

    #[test]
    fn what_is_better_is_further_left() {
        assert!(along(0.5) < along(1.0) && along(1.0) < along(2.0));
        assert_eq!((along(-3.0), along(99.0)), (along(0.125), along(8.0)));
    }
}
