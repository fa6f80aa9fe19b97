//! A result as a table for a terminal.

use std::fmt;
use std::time::Duration;

use super::job::{Drive, ratio};
use super::micros::Micros;
use super::result::RunResult;

/// The quantiles that tables show.
pub(super) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
/// Differences that a table lists; all of them are in the JSON.
const DIFFERENCES_SHOWN: usize = 20;

/// A result as a table.
#[derive(Debug)]
pub struct Table<'a>(pub &'a RunResult);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        self.latencies(f)?;
        self.generator(f)?;
        self.server(f)?;
        self.books(f)?;
        match self.0.failure() {
            Some(why) => writeln!(f, "\nREFUSED: {why}"),
            None => Ok(()),
        }
    }
}

impl Table<'_> {
    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = &self.0.setting;
        let whole = self.0.record.whole();
        let seconds = setting.times.measure.as_secs_f64();
        writeln!(f, "{}: {} at {}", setting.name, drive(setting.drive), setting.target)?;
        let rate = ratio(whole.whole, 1).unwrap_or_default() / seconds;
        writeln!(
            f,
            "{} begun, {} whole ({rate:.1}/s), {} hung up, {} read slowly, {} failed in {seconds} s",
            whole.begun,
            whole.whole,
            whole.hung_up,
            whole.slow,
            whole.failures()
        )?;
        for (what, count) in &whole.failed {
            writeln!(f, "  {count} × {what}")?;
        }
        Ok(())
    }

    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:<22}", "milliseconds")?;
        for (name, _) in QUANTILES {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for (name, histogram) in rows(&self.0.record.whole().latencies) {
            write!(f, "{name:<22}")?;
            for (_, share) in QUANTILES {
                write!(f, "{:>11}", millis(histogram.quantile(share)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn generator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (generator, verdict) = (&self.0.generator, &self.0.verdict);
        let waited = ratio(generator.waited_us, generator.requests).unwrap_or_default();
        writeln!(
            f,
            "\ngenerator: {:.1} µs CPU a request, waited {waited:.1} µs for a CPU, busiest thread \
             {:.0} %, late p99 {} µs (bound {} µs)",
            generator.cpu_us_per_request().unwrap_or_default(),
            generator.busiest * 100.0,
            verdict.lateness_p99_us,
            verdict.bound_us
        )
    }

    fn server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0.server_lines() {
            writeln!(f, "{name:<34}{value:>16}")?;
        }
        Ok(())
    }

    fn books(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(books) = &self.0.books else {
            return writeln!(f, "\nbooks: not looked at (no admin API is known)");
        };
        let many = books.differences.len();
        if many == 0 {
            return writeln!(f, "\nbooks: {} requests, no difference", books.requests);
        }
        writeln!(f, "\nBOOKS: {} requests, {many} differences", books.requests)?;
        for difference in books.differences.iter().take(DIFFERENCES_SHOWN) {
            writeln!(f, "  ! {difference}")?;
        }
        Ok(())
    }
}

impl RunResult {
    /// The server's figures by name, as people read them; those that could be read.
    pub(super) fn server_lines(&self) -> Vec<(&'static str, String)> {
        let server = self.server.clone().unwrap_or_default();
        let footprint = self.footprint.unwrap_or_default();
        let plain = |value: Option<f64>| value.map(|value| format!("{value:.1}"));
        let millis = |value: Option<f64>| value.map(|value| format!("{value:.3} ms"));
        let bytes = |value: Option<u64>| value.map(bytes);
        let at_most = |value: Option<f64>| value.map(|value| format!("≤ {value}"));
        let commit = server.commit_p99_ms.map(|value| format!("≤ {value:.2} ms"));
        let lines = [
            (
                "server: CPU a request",
                plain(server.cpu_us_per_request).map(|us| format!("{us} µs")),
            ),
            ("server: CPUs used", server.cpus.map(|cpus| format!("{cpus:.2}"))),
            ("server: memory at the start", bytes(server.rss_start)),
            ("server: memory at most", bytes(server.rss_max)),
            ("server: open streams at most", server.open_streams_max.map(|n| format!("{n:.0}"))),
            ("journal: durable events a second", plain(server.events_per_s)),
            ("journal: commits a second", plain(server.commits_per_s)),
            ("journal: events a commit, mean", plain(server.batch_mean)),
            ("journal: events a commit, p99", at_most(server.batch_p99)),
            ("journal: commit with fsync, mean", millis(server.commit_mean_ms)),
            ("journal: commit with fsync, p99", commit),
            ("disk: fdatasync of 4 KiB, p50", millis(server.fsync_p50_ms)),
            ("disk: fdatasync of 4 KiB, p99", millis(server.fsync_p99_ms)),
            ("answers: wait for settlement, mean", millis(server.settle_wait_mean_ms)),
            ("memory: bare gateway", self.footprint.map(|own| self::bytes(own.bare))),
            ("memory: an open stream", bytes(footprint.per_open_stream)),
            ("memory: an active account", bytes(footprint.per_active_account)),
            ("memory: an idle account", bytes(footprint.per_idle_account)),
        ];
        lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The latencies by their names.
pub(super) fn rows(of: &super::record::Latencies) -> [(&'static str, &Micros); 5] {
    [
        ("added", &of.added),
        ("time to first byte", &of.first_byte),
        ("gap between chunks", &of.gap),
        ("total", &of.total),
        ("generator's lateness", &of.lateness),
    ]
}

/// How often it was asked, in words.
pub(super) fn drive(drive: Drive) -> String {
    match drive {
        Drive::Open { pace, from, to } => {
            let pace = format!("{pace:?}").to_lowercase();
            let rate = if (from - to).abs() < f64::EPSILON {
                format!("{from}/s")
            } else {
                format!("{from} to {to}/s")
            };
            format!("open loop, {pace}, {rate}")
        }
        Drive::Closed { connections } => format!("closed loop, {connections} connections"),
    }
}

pub(super) fn millis(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

fn bytes(count: u64) -> String {
    let kib = ratio(count, 1 << 10).unwrap_or_default();
    if kib < 10_240.0 { format!("{kib:.1} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}
