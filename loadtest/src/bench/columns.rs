//! Turns set side by side: what each contender took, and ratios of turns that stood next to each
//! other. Pure.

use std::time::Duration;

use super::finding::Figure;
use super::turn::Turn;

/// The turns of all repetitions; in each they stand in the order of the contenders.
pub(super) type Repetitions = Vec<Vec<Turn>>;

/// A figure of a turn.
pub(super) type Reading = fn(&Turn) -> f64;

/// A figure of one contender by another's, one value a repetition.
pub(super) fn compared(
    of: &Repetitions,
    (one, other): (usize, usize),
    compare: impl Fn(&Turn, &Turn) -> f64,
) -> Vec<f64> {
    let pairs = of.iter().filter_map(|turns| Some((turns.get(one)?, turns.get(other)?)));
    pairs.map(|(one, other)| compare(one, other)).collect()
}

/// The figures of each contender.
pub(super) fn figures(
    of: &Repetitions,
    readings: &[(&'static str, &'static str, Reading)],
) -> Vec<Figure> {
    let first = of.first().map(Vec::as_slice).unwrap_or_default();
    let mut figures = Vec::new();
    for (at, turn) in first.iter().enumerate() {
        for (name, unit, reading) in readings {
            let own = of.iter().filter_map(|turns| turns.get(at));
            let samples = own.map(reading).collect();
            figures.push(Figure { contender: turn.contender.clone(), name, unit, samples });
        }
    }
    figures
}

/// CPU a request by CPU a request.
pub(super) fn cpu_ratio(one: &Turn, other: &Turn) -> f64 {
    one.cpu_per_request() / other.cpu_per_request()
}

/// Whole answers a second.
pub(super) fn rate(turn: &Turn) -> f64 {
    turn.per_second
}

/// To the last byte, in milliseconds.
pub(super) fn total_p50(turn: &Turn) -> f64 {
    millis(turn.latencies.total.quantile(0.5))
}

/// See [`total_p50`].
pub(super) fn total_p99(turn: &Turn) -> f64 {
    millis(turn.latencies.total.quantile(0.99))
}

/// To the first byte of the body, in milliseconds.
pub(super) fn first_byte_p50(turn: &Turn) -> f64 {
    millis(turn.latencies.first_byte.quantile(0.5))
}

/// See [`first_byte_p50`].
pub(super) fn first_byte_p99(turn: &Turn) -> f64 {
    millis(turn.latencies.first_byte.quantile(0.99))
}

/// Between chunks, in milliseconds.
pub(super) fn gap_p99(turn: &Turn) -> f64 {
    millis(turn.latencies.gap.quantile(0.99))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(contender: &str, cpu_us: u64) -> Turn {
        let contender = contender.to_owned();
        Turn { contender, requests: 10, cpu_us: Some(cpu_us), ..Turn::default() }
    }

    #[test]
    fn ratios_are_of_turns_in_one_repetition() {
        let all = vec![
            vec![turn("gateway", 300), turn("nginx", 100)],
            vec![turn("gateway", 1000), turn("nginx", 500)],
        ];
        assert_eq!(compared(&all, (0, 1), cpu_ratio), [3.0, 2.0]);
        assert_eq!(compared(&all, (0, 7), cpu_ratio), Vec::<f64>::new());
        let figures = figures(&all, &[("CPU", "µs", Turn::cpu_per_request)]);
        let told: Vec<_> = figures
            .iter()
            .map(|figure| (figure.contender.as_str(), figure.samples.median()))
            .collect();
        assert_eq!(told, [("gateway", 65.0), ("nginx", 30.0)]);
    }
}
