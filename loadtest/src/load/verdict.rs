//! Whether a result stands: the generator must not have been late, or its lateness would be reported
//! as the server's latency.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::{Done, Drive};

/// Lateness up to this is never refused.
const LATE_ALWAYS: Duration = Duration::from_millis(1);
/// Lateness up to this share of the median total is not refused either.
const LATE_SHARE: u32 = 10;
/// A closed loop has no moments to be late for; a thread that is busier than this is the bottleneck.
const BUSY_MAX: f64 = 0.95;

/// Whether the generator kept up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The lateness that 99 % of the requests were below, in microseconds.
    pub lateness_p99_us: u64,
    /// The bound on it: 1 ms or a tenth of the median total, whichever is larger.
    pub bound_us: u64,
    /// Why the result does not stand; none if it does.
    pub refused: Option<String>,
}

impl Verdict {
    /// Judges what was done.
    #[must_use]
    pub fn of(done: &Done, drive: Drive) -> Self {
        let latencies = done.record.whole().latencies;
        let late = latencies.lateness.quantile(0.99);
        let bound = LATE_ALWAYS.max(latencies.total.quantile(0.5) / LATE_SHARE);
        let busiest = done.generator.busiest;
        let refused = if latencies.lateness.count() == 0 {
            Some("no request was sent in the measured time".to_owned())
        } else if matches!(drive, Drive::Open { .. }) && late > bound {
            Some(format!("the generator was late: p99 {late:?}, bound {bound:?}"))
        } else if matches!(drive, Drive::Closed { .. }) && busiest > BUSY_MAX {
            let percent = busiest * 100.0;
            Some(format!("the generator was the bottleneck: a thread was {percent:.0} % busy"))
        } else {
            None
        };
        Self { lateness_p99_us: micros(late), bound_us: micros(bound), refused }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::arrivals::Pace;
    use crate::load::job::Generator;
    use crate::load::record::Record;

    const OPEN: Drive = Drive::Open { pace: Pace::Poisson, from: 1.0, to: 1.0 };

    fn verdict(drive: Drive, total_us: u64, late_us: &[u64], busiest: f64) -> Verdict {
        let mut record = Record::new();
        let window = record.at(Duration::ZERO, Duration::from_secs(1)).unwrap();
        for late in late_us {
            window.latencies.total.note(Duration::from_micros(total_us));
            window.latencies.lateness.note(Duration::from_micros(*late));
        }
        let generator = Generator { busiest, ..Generator::default() };
        Verdict::of(&Done { record, generator, receipts: Vec::new() }, drive)
    }

    #[test]
    fn a_late_generator_is_refused() {
        let late = verdict(OPEN, 5_000, &[2_000; 100], 0.1);
        assert_eq!(late.bound_us, 1_000);
        assert!(late.refused.unwrap().contains("the generator was late"));
        assert_eq!(verdict(OPEN, 5_000, &[900; 100], 0.1).refused, None);
        // One in a thousand may be late.
        let mut rare = vec![10; 999];
        rare.push(1_000_000);
        assert_eq!(verdict(OPEN, 5_000, &rare, 0.1).refused, None);
    }

    #[test]
    fn the_bound_grows_with_what_is_measured() {
        let slow = verdict(OPEN, 500_000, &[20_000; 100], 0.1);
        assert!(slow.bound_us.abs_diff(50_000) < 100, "{slow:?}");
        assert_eq!(slow.refused, None);
    }

    #[test]
    fn a_closed_loop_is_refused_where_the_generator_is_the_bottleneck() {
        let closed = Drive::Closed { connections: 64 };
        assert!(verdict(closed, 100, &[0], 0.97).refused.unwrap().contains("bottleneck"));
        assert_eq!(verdict(closed, 100, &[0], 0.5).refused, None);
        // What it takes to connect, or to write a large request into memory.
        assert_eq!(verdict(closed, 100, &[5_000], 0.5).refused, None);
        assert!(verdict(closed, 100, &[], 0.5).refused.unwrap().contains("no request"));
    }
}
