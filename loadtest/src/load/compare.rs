//! Two results, figure by figure: their ratio, its spread, and whether the difference is noise.
//!
//! The spread comes from the windows of each run: a figure's standard error over them. What differs
//! from run to run but not within one (the machine's other work, its temperature) is not in it.

use std::fmt;

use super::job::ratio;
use super::micros::Micros;
use super::record::{Latencies, Window};
use super::result::RunResult;

/// A figure with fewer windows than this has no spread.
const WINDOWS_MIN: usize = 8;
/// Answers that a window needs to have a quantile, by the share that is above it.
const ABOVE_MIN: f64 = 2.0;
/// Standard errors within which a difference is noise.
const ERRORS: f64 = 2.0;

/// Two results, the first one the measure.
#[derive(Debug)]
pub struct Comparison<'a> {
    first: &'a RunResult,
    second: &'a RunResult,
}

/// One figure of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name and unit.
    pub name: String,
    /// Of the first result.
    pub first: f64,
    /// Of the second one.
    pub second: f64,
    /// The relative margin of the ratio; none where the windows tell nothing of it.
    pub margin: Option<f64>,
}

/// What a difference is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// No more than the runs themselves spread.
    Noise,
    /// The second one is smaller.
    Less,
    /// The second one is larger.
    More,
    /// Nothing tells how much it spreads: one value each, or windows with too few answers.
    Unknown,
}

impl<'a> Comparison<'a> {
    /// Compares the second with the first.
    #[must_use]
    pub fn new(first: &'a RunResult, second: &'a RunResult) -> Self {
        Self { first, second }
    }

    /// All figures that both have.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = vec![self.throughput()];
        type Of = fn(&Latencies) -> &Micros;
        let latencies: [(&str, Of); 4] = [
            ("added", |of| &of.added),
            ("first byte", |of| &of.first_byte),
            ("gap", |of| &of.gap),
            ("total", |of| &of.total),
        ];
        for (name, of) in latencies {
            for (label, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
                rows.extend(self.latency(&format!("{name} {label}, ms"), share, of));
            }
        }
        let single = |name: &str, of: fn(&RunResult) -> Option<f64>| {
            let (first, second) = of(self.first).zip(of(self.second))?;
            Some(Row { name: name.to_owned(), first, second, margin: None })
        };
        rows.extend(single("generator CPU, µs", |run| run.generator.cpu_us_per_request()));
        rows.extend(single("server CPU, µs", |run| run.server.as_ref()?.cpu_us_per_request));
        rows.extend(single("server memory, MiB", |run| {
            ratio(run.server.as_ref()?.rss_max?, 1 << 20)
        }));
        rows
    }

    fn throughput(&self) -> Row {
        let of = |run: &RunResult| {
            let seconds = run.setting.times.measure.as_secs_f64();
            let windows = ratio(u64::try_from(run.record.windows.len()).unwrap_or(1), 1);
            let each = seconds / windows.unwrap_or(1.0);
            let values = run
                .record
                .windows
                .iter()
                .map(|window| ratio(window.whole, 1).unwrap_or_default() / each);
            (ratio(run.record.whole().whole, 1).unwrap_or_default() / seconds, error(values))
        };
        let ((first, own), (second, other)) = (of(self.first), of(self.second));
        Row { name: "answers a second".to_owned(), first, second, margin: margin(own, other) }
    }

    fn latency(&self, name: &str, share: f64, of: fn(&Latencies) -> &Micros) -> Option<Row> {
        let value = |window: &Window| {
            let histogram = of(&window.latencies);
            let above = ratio(histogram.count(), 1)? * (1.0 - share);
            (above >= ABOVE_MIN).then(|| histogram.quantile(share).as_secs_f64() * 1e3)
        };
        let both = |run: &RunResult| {
            let spread = error(run.record.windows.iter().filter_map(value));
            Some((value(&run.record.whole())?, spread))
        };
        let ((first, own), (second, other)) = both(self.first).zip(both(self.second))?;
        let name = name.to_owned();
        Some(Row { name, first, second, margin: margin(own, other) })
    }
}

impl Row {
    /// The second value by the first one; none where that is 0.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.first > 0.0).then(|| self.second / self.first)
    }

    /// Whether the difference is more than noise.
    #[must_use]
    pub fn worth(&self) -> Worth {
        match (self.ratio(), self.margin) {
            (Some(ratio), Some(margin)) if (ratio - 1.0).abs() <= margin => Worth::Noise,
            (Some(ratio), Some(_)) if ratio < 1.0 => Worth::Less,
            (Some(_), Some(_)) => Worth::More,
            (None, _) | (_, None) => Worth::Unknown,
        }
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (&self.first.setting.name, &self.second.setting.name);
        writeln!(f, "{:<22}{:>14}{:>14}{:>9}{:>9}", "", "A", "B", "B/A", "±")?;
        for row in self.rows() {
            let Row { name, first, second, margin } = &row;
            let ratio = row.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}"));
            let margin = margin.map_or_else(|| "–".to_owned(), |margin| format!("{margin:.3}"));
            let worth = row.worth();
            writeln!(f, "{name:<22}{first:>14.3}{second:>14.3}{ratio:>9}{margin:>9}  {worth}")?;
        }
        writeln!(f, "A = {first}, B = {second}; ± is two standard errors over the runs' windows")?;
        let differs = |of: fn(&RunResult) -> String| of(self.first) != of(self.second);
        let differences = [
            (differs(|run| format!("{:?}", run.setting.mix)), "mixes"),
            (differs(|run| format!("{:?}", run.setting.drive)), "rates"),
            (differs(|run| format!("{:?}", run.setting.machine)), "machines"),
        ];
        for (_, what) in differences.into_iter().filter(|(differs, _)| *differs) {
            writeln!(f, "mind: the {what} differ")?;
        }
        for run in [self.first, self.second] {
            if let Some(why) = run.failure() {
                writeln!(f, "mind: {} was refused: {why}", run.setting.name)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Noise => "within noise",
            Self::Less => "less",
            Self::More => "more",
            Self::Unknown => "no spread known",
        })
    }
}

/// The relative standard error of the mean of some values; none of too few.
fn error(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    if values.len() < WINDOWS_MIN {
        return None;
    }
    let count = ratio(u64::try_from(values.len()).ok()?, 1)?;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (count - 1.0)).sqrt();
    (mean > 0.0).then(|| deviation / count.sqrt() / mean)
}

fn margin(first: Option<f64>, second: Option<f64>) -> Option<f64> {
    Some(ERRORS * first?.hypot(second?))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::arrivals::Pace;
    use crate::load::job::{Done, Drive, Generator, Times};
    use crate::load::mix::Mix;
    use crate::load::record::{Record, WINDOWS};
    use crate::load::result::{Machine, ResultError, Setting};

    /// A run whose answers take about so many microseconds, a little more in each window.
    pub(crate) fn run(name: &str, micros: u64, spread: u64) -> RunResult {
        let mut record = Record::new();
        for (window, at) in record.windows.iter_mut().zip(0..) {
            window.begun = 400;
            window.whole = 400;
            for _ in 0..400 {
                let took = Duration::from_micros(micros + spread * at / 20);
                let Latencies { total, added, lateness, .. } = &mut window.latencies;
                total.note(took);
                added.note(took);
                lateness.note(Duration::from_micros(10));
            }
        }
        let setting = Setting {
            name: name.to_owned(),
            target: "http://127.0.0.1:1".to_owned(),
            mix: Mix::built_in().unwrap(),
            drive: Drive::Open { pace: Pace::Poisson, from: 400.0, to: 400.0 },
            times: Times {
                ramp: Duration::ZERO,
                warm_up: Duration::ZERO,
                measure: Duration::from_secs(WINDOWS.into()),
                timeout: Duration::from_secs(1),
            },
            seed: 1,
            processes: 1,
            threads: 1,
            machine: Machine::default(),
        };
        let generator = Generator { requests: 8_000, cpu_us: 80_000, ..Generator::default() };
        RunResult::new(setting, &Done { record, generator, receipts: Vec::new() })
    }

    fn worth(first: &RunResult, second: &RunResult, name: &str) -> Worth {
        let rows = Comparison::new(first, second).rows();
        rows.iter().find(|row| row.name == name).unwrap().worth()
    }

    #[test]
    fn a_difference_within_the_spread_is_noise_and_one_beyond_it_is_not() {
        let (base, near) = (run("a", 1_000, 400), run("b", 1_010, 400));
        assert_eq!(worth(&base, &near, "total p50, ms"), Worth::Noise);
        let (faster, slower) = (run("c", 700, 400), run("d", 1_400, 400));
        assert_eq!(worth(&base, &faster, "total p99, ms"), Worth::Less);
        assert_eq!(worth(&base, &slower, "added p50, ms"), Worth::More);
        assert_eq!(worth(&base, &slower, "answers a second"), Worth::Noise);
        assert_eq!(worth(&base, &slower, "generator CPU, µs"), Worth::Unknown);
    }

    #[test]
    fn the_table_says_what_is_not_alike() {
        let (base, mut other) = (run("a", 1_000, 0), run("b", 2_000, 0));
        other.setting.mix.accounts += 1;
        other.verdict.refused = Some("the generator was late".to_owned());
        let told = Comparison::new(&base, &other).to_string();
        for part in ["total p50, ms", "2.0", "more", "the mixes differ", "b was refused"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("gap"), "there were no streams: {told}");
    }

    #[test]
    fn results_of_several_machines_merge_into_one() {
        let (one, two) = (run("a", 1_000, 0), run("b", 3_000, 0));
        let merged = RunResult::merge([one.clone(), two]).unwrap();
        let whole = merged.record.whole();
        assert_eq!((whole.whole, merged.setting.processes), (16_000, 2));
        assert_eq!(whole.latencies.total.count(), 16_000);
        assert!(whole.latencies.total.quantile(0.25) < Duration::from_micros(1_100));
        assert!(whole.latencies.total.quantile(0.75) > Duration::from_micros(2_900));
        let rate = Drive::Open { pace: Pace::Poisson, from: 800.0, to: 800.0 };
        assert_eq!((merged.setting.drive, merged.generator.requests), (rate, 16_000));

        let mut other = run("c", 1_000, 0);
        other.setting.mix.accounts += 1;
        let refused = RunResult::merge([one, other]).unwrap_err();
        assert!(matches!(refused, ResultError::Other(_, "mix")), "{refused}");
        assert!(matches!(RunResult::merge([]), Err(ResultError::None)));
    }

    #[test]
    fn a_result_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let result = run("a", 1_000, 10);
        result.write(&path).unwrap();
        let back = RunResult::read(&path).unwrap();
        assert_eq!(back.setting, result.setting);
        assert_eq!(worth(&result, &back, "total p99, ms"), Worth::Noise);

        std::fs::write(&path, "{\"format\": 7}").unwrap();
        assert!(matches!(RunResult::read(&path), Err(ResultError::Format(_, 7))));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(RunResult::read(&path), Err(ResultError::Parse(_, _))));
    }
}
