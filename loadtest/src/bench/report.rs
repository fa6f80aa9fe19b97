//! What a benchmark found, as JSON and as Markdown. Pure but for writing the files.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::BenchError;
use super::chart::Chart;
use super::curves;
use super::finding::{Figure, Finding, Outcome};
use super::machine::Machine;

/// The names of the files.
const PAGE: &str = "performance.md";
const RAW: &str = "performance.json";
const PICTURE: &str = "performance-marks.svg";

/// What a benchmark found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where, when and by what it was made.
    pub machine: Machine,
    /// Whether its turns were too short to be believed.
    pub quick: bool,
    /// How often each contender took its turn.
    pub repetitions: u32,
    /// What came of each scenario, in their order.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Writes the page, its picture and the raw figures into a folder; where the page is.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, BenchError> {
        let io = || BenchError::io(&folder.display().to_string());
        std::fs::create_dir_all(folder).map_err(io())?;
        let raw = serde_json::to_vec(self).map_err(std::io::Error::other).map_err(io())?;
        std::fs::write(folder.join(RAW), raw).map_err(io())?;
        let chart = Chart::new(&self.outcomes).to_string();
        std::fs::write(folder.join(PICTURE), chart).map_err(io())?;
        for outcome in self.outcomes.iter().filter(|outcome| !outcome.curves.is_empty()) {
            let picture = curves::picture(&outcome.curves);
            std::fs::write(folder.join(lines_of(outcome)), picture).map_err(io())?;
        }
        let page = folder.join(PAGE);
        std::fs::write(&page, self.to_string()).map_err(io())?;
        Ok(page)
    }

    fn marks(&self) -> String {
        let mut text = String::from(
            "| scenario | what | median (range) | mark | | stretch | |\n|---|---|---|---|---|---|---|\n",
        );
        for outcome in &self.outcomes {
            for finding in &outcome.findings {
                let Some(mark) = finding.mark else { continue };
                let Finding { name, unit, samples, stretch, .. } = finding;
                let (scenario, verdict) = (outcome.scenario.name(), finding.verdict(mark));
                let stretch = stretch.map_or_else(
                    || "| ".to_owned(),
                    |stretch| format!("{stretch} {unit} | {}", finding.verdict(stretch)),
                );
                let row = format!("| `{scenario}` | {name} | {samples} {unit} | {mark} {unit} ");
                text.push_str(&format!("{row}| {verdict} | {stretch} |\n"));
            }
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Performance\n")?;
        writeln!(
            f,
            "Written by `opencredits-loadtest bench` ([how](loadtest.md#the-gateway-beside-nginx)); \
             every figure is in [performance.json](performance.json).\n"
        )?;
        writeln!(f, "{}\n", self.machine)?;
        let Self { repetitions, .. } = self;
        writeln!(
            f,
            "The contenders took turns {repetitions} times in one run. A ratio is of two turns of \
             one repetition. CPU is user and system time of all of a contender's processes. Each \
             cell is the median, with the least and the largest value behind it.\n"
        )?;
        if self.quick {
            writeln!(
                f,
                "**This was a quick run: its turns are too short to believe a figure.**\n"
            )?;
        }
        writeln!(f, "## The marks\n\n{}", self.marks())?;
        writeln!(
            f,
            "![Each mark as the line at 1, the median as a bar, the repetitions as dots]({PICTURE})\n"
        )?;
        self.outcomes.iter().try_for_each(|outcome| write!(f, "{}", section(outcome)?))
    }
}

/// The file of a scenario's lines.
fn lines_of(outcome: &Outcome) -> String {
    format!("performance-{}.svg", outcome.scenario.name())
}

/// What is told of one scenario.
fn section(outcome: &Outcome) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let scenario = outcome.scenario;
    writeln!(text, "## `{}`\n\n{}\n", scenario.name(), scenario.what())?;
    for finding in &outcome.findings {
        let Finding { name, unit, samples, .. } = finding;
        writeln!(text, "- {name}: {samples} {unit}")?;
    }
    if !outcome.findings.is_empty() {
        writeln!(text)?;
    }
    text.push_str(&table(&outcome.figures));
    if !outcome.curves.is_empty() {
        writeln!(text, "![{}]({})\n", curves::caption(&outcome.curves), lines_of(outcome))?;
        writeln!(text, "Lines: {}.\n", curves::caption(&outcome.curves))?;
    }
    for note in &outcome.notes {
        writeln!(text, "{note}\n")?;
    }
    let flags = outcome.flags();
    if !flags.is_empty() {
        writeln!(text, "**Does not stand as a latency or a rate:** {}.\n", flags.join("; "))?;
    }
    Ok(text)
}

/// Figures with a row for each contender and a column for each name.
fn table(figures: &[Figure]) -> String {
    let (mut names, mut contenders) = (Vec::new(), Vec::new());
    for Figure { name, unit, contender, .. } in figures {
        if !names.contains(&(*name, *unit)) {
            names.push((*name, *unit));
        }
        if !contenders.contains(&contender) {
            contenders.push(contender);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let heads: String = names.iter().map(|(name, unit)| format!(" {name}, {unit} |")).collect();
    let mut text = format!("| |{heads}\n|---|{}\n", "---|".repeat(names.len()));
    for contender in contenders {
        text.push_str(&format!("| {contender} |"));
        for (name, _) in &names {
            let own = |figure: &&Figure| figure.contender == *contender && figure.name == *name;
            let cell = figures.iter().find(own).map(|figure| figure.samples.to_string());
            text.push_str(&format!(" {} |", cell.unwrap_or_default()));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::finding::Bound;
    use super::super::scenario::Scenario;
    use super::*;

    fn report() -> Report {
        let figure = |contender: &str, value| Figure {
            contender: contender.to_owned(),
            name: "CPU a request",
            unit: "µs",
            samples: [value].into_iter().collect(),
        };
        let ratio = Finding::new("CPU", "×", [3.0, 2.0, 4.0])
            .mark(Bound::AtMost(2.5))
            .stretch(Bound::AtMost(5.0));
        let outcome = Outcome {
            findings: vec![ratio, Finding::new("beside", "ms", [1.0])],
            figures: vec![figure("gateway", 30.0), figure("nginx", 10.0)],
            notes: vec!["A note.".to_owned()],
            ..Outcome::new(Scenario::Plain)
        };
        let outcomes = vec![outcome];
        Report { machine: Machine::default(), quick: true, repetitions: 3, outcomes }
    }

    #[test]
    fn a_mark_that_is_not_met_stands_beside_its_result() {
        let page = report().to_string();
        let row =
            "| `plain` | CPU | 3.00 (2.00 to 4.00) × | ≤ 2.50 × | **not met** | ≤ 5.00 × | met |";
        assert!(page.contains(row), "{page}");
        assert!(!page.contains("| `plain` | beside"), "what has no mark is not in its table");
        for part in ["- beside: 1.00", "A note.", "quick run", "| gateway | 30.0 (30.0 to 30.0) |"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn a_report_is_three_files() {
        let folder = tempfile::tempdir().unwrap();
        let page = report().write(&folder.path().join("new")).unwrap();
        let raw = std::fs::read_to_string(page.with_file_name(RAW)).unwrap();
        let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(raw["outcomes"][0]["findings"][0]["mark"]["at_most"], 2.5);
        let picture = std::fs::read_to_string(page.with_file_name(PICTURE)).unwrap();
        assert!(picture.starts_with("<svg") && picture.contains("CPU"), "{picture}");
    }
}
