//! The server's side of a run: its CPU and memory, its journal from `/metrics`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::job::{Progress, Times};
use crate::client::Client;

/// How often memory and open streams are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where the server's figures are.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Its process on this machine.
    pub pid: Option<u32>,
    /// The address of its `/metrics`, and the bearer token that it needs.
    pub metrics: Option<(String, String)>,
}

/// What a server took while it was measured. What could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFigures {
    /// Microseconds of CPU for each answer.
    pub cpu_us_per_request: Option<f64>,
    /// CPUs that it used on average.
    pub cpus: Option<f64>,
    /// Resident memory at the start, in bytes.
    pub rss_start: Option<u64>,
    /// The most resident memory that was seen, in bytes.
    pub rss_max: Option<u64>,
    /// The most requests that were seen to run at once.
    pub open_streams_max: Option<f64>,
    /// Events that became durable, a second: settlements, checkpoints, money.
    pub events_per_s: Option<f64>,
    /// Commits of the journal, a second.
    pub commits_per_s: Option<f64>,
    /// Events in a commit, on average.
    pub batch_mean: Option<f64>,
    /// Of all commits, 99 % had at most so many events.
    pub batch_p99: Option<f64>,
    /// A commit's time (write and fsync), on average, in milliseconds.
    pub commit_mean_ms: Option<f64>,
    /// Of all commits, 99 % took at most so long, in milliseconds.
    pub commit_p99_ms: Option<f64>,
    /// Half of the `fdatasync`s of 4 KiB on the database's disk took at most so long, in milliseconds,
    /// when nothing else ran.
    pub fsync_p50_ms: Option<f64>,
    /// And 99 % of them.
    pub fsync_p99_ms: Option<f64>,
    /// The wait of an answer's end for its settlement, on average, in milliseconds.
    pub settle_wait_mean_ms: Option<f64>,
}

/// The server at one moment.
#[derive(Clone, Debug)]
struct Snapshot {
    at: Instant,
    cpu: Option<Duration>,
    metrics: Metrics,
    ended: u64,
}

/// The samples of `/metrics`, by name and labels as they stand there.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(HashMap<String, f64>);

impl Watched {
    /// Watches the server through the measured time of a run that starts now.
    pub(super) async fn watch(
        &self,
        client: &Client,
        times: Times,
        progress: Arc<Progress>,
    ) -> ServerFigures {
        let start = Instant::now();
        tokio::time::sleep(times.before()).await;
        let first = self.snapshot(client, &progress).await;
        let rss_start = self.rss();
        let (mut rss_max, mut open) = (rss_start, None);
        let mut last = first.clone();
        while start.elapsed() < times.all() {
            tokio::time::sleep(LOOK_EVERY.min(times.measure)).await;
            last = self.snapshot(client, &progress).await;
            rss_max = rss_max.max(self.rss());
            open = larger(open, last.metrics.get("opencredits_open_streams"));
        }
        let figures = first.until(&last);
        ServerFigures { rss_start, rss_max, open_streams_max: open, ..figures }
    }

    /// Resident memory, in bytes.
    pub(super) fn rss(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.pid?)).ok()?;
        let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
        pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
    }

    /// The metrics of this moment; none where they cannot be read.
    pub(super) async fn read_metrics(&self, client: &Client) -> Metrics {
        let Some((origin, token)) = &self.metrics else { return Metrics::default() };
        let (url, bearer) = (format!("{origin}/metrics"), format!("Bearer {token}"));
        let answer = client.send(Method::GET, &url, &[("authorization", &bearer)], "").await;
        let text = answer.ok().filter(|answer| answer.status.is_success());
        text.map_or_else(Metrics::default, |answer| {
            Metrics::parse(&String::from_utf8_lossy(&answer.body))
        })
    }

    async fn snapshot(&self, client: &Client, progress: &Progress) -> Snapshot {
        let metrics = self.read_metrics(client).await;
        Snapshot {
            at: Instant::now(),
            cpu: self.pid.and_then(|pid| cpu_of(pid).ok()),
            metrics,
            ended: progress.ended.load(Ordering::Relaxed),
        }
    }
}

impl Snapshot {
    fn until(&self, later: &Self) -> ServerFigures {
        let seconds = later.at.saturating_duration_since(self.at).as_secs_f64();
        let cpu = self.cpu.zip(later.cpu).map(|(from, to)| to.saturating_sub(from).as_secs_f64());
        let ended = number(later.ended.saturating_sub(self.ended));
        let by = |of: f64, by: f64| (by > 0.0).then(|| of / by);
        let delta = |name: &str| Some(later.metrics.get(name)? - self.metrics.get(name)?);
        let mean =
            |name: &str| by(delta(&format!("{name}_sum"))?, delta(&format!("{name}_count"))?);
        let p99 = |name: &str| later.metrics.at_most(&self.metrics, name, 0.99);
        const BATCH: &str = "opencredits_journal_batch_writes";
        const COMMIT: &str = "opencredits_journal_commit_seconds";
        let events = delta(&format!("{BATCH}_sum"));
        let commits = delta(&format!("{BATCH}_count"));
        ServerFigures {
            cpu_us_per_request: cpu.and_then(|cpu| by(cpu * 1e6, ended)),
            cpus: cpu.and_then(|cpu| by(cpu, seconds)),
            events_per_s: events.and_then(|events| by(events, seconds)),
            commits_per_s: commits.and_then(|commits| by(commits, seconds)),
            batch_mean: mean(BATCH),
            batch_p99: p99(BATCH),
            commit_mean_ms: mean(COMMIT).map(|seconds| seconds * 1e3),
            commit_p99_ms: p99(COMMIT).map(|seconds| seconds * 1e3),
            settle_wait_mean_ms: mean("opencredits_settle_wait_seconds").map(|s| s * 1e3),
            ..ServerFigures::default()
        }
    }
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// The bound of the bucket in which a share of what came since lies.
    fn at_most(&self, before: &Self, name: &str, share: f64) -> Option<f64> {
        let start = format!("{name}_bucket{{le=\"");
        let mut buckets: Vec<_> = self
            .0
            .iter()
            .filter_map(|(sample, count)| {
                let bound = sample.strip_prefix(&start)?.strip_suffix("\"}")?;
                let bound: f64 = bound.replace("+Inf", "inf").parse().ok()?;
                Some((bound, count - before.get(sample).unwrap_or_default()))
            })
            .collect();
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let found = buckets.iter().find(|(_, count)| *count >= all * share);
        found.map(|(bound, _)| *bound)
    }
}

/// The time that a process was on a CPU, by all of its threads, those that have ended too
/// (`clock_getcpuclockid(3)`; `/proc/PID/stat` tells ticks of 10 ms).
pub(crate) fn cpu_of(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map(Pid::from_raw).map_err(io::Error::other)?;
    Ok(clock_gettime(clock_getcpuclockid(pid)?)?.into())
}

fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures for a report")]
fn number(of: u64) -> f64 {
    of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP opencredits_open_streams requests that run\n\
        opencredits_open_streams 3\n\
        opencredits_journal_batch_writes_bucket{le=\"1\"} 10\n\
        opencredits_journal_batch_writes_bucket{le=\"2\"} 10\n\
        opencredits_journal_batch_writes_bucket{le=\"+Inf\"} 10\n\
        opencredits_journal_batch_writes_sum 10\n\
        opencredits_journal_batch_writes_count 10\n";
    const AFTER: &str = "opencredits_journal_batch_writes_bucket{le=\"1\"} 12\n\
        opencredits_journal_batch_writes_bucket{le=\"2\"} 110\n\
        opencredits_journal_batch_writes_bucket{le=\"+Inf\"} 110\n\
        opencredits_journal_batch_writes_sum 208\n\
        opencredits_journal_batch_writes_count 110\n";

    #[test]
    fn figures_are_of_what_came_in_between() {
        let at = Instant::now();
        let of = |text, seconds, cpu, ended| Snapshot {
            at: at + Duration::from_secs(seconds),
            cpu: Some(Duration::from_millis(cpu)),
            metrics: Metrics::parse(text),
            ended,
        };
        let figures = of(BEFORE, 0, 500, 100).until(&of(AFTER, 10, 1_500, 1_100));
        let near = |figure: Option<f64>, wanted: f64| (figure.unwrap() - wanted).abs() < 1e-9;
        assert!(near(figures.cpu_us_per_request, 1_000.0), "{figures:?}");
        assert!(near(figures.cpus, 0.1), "{figures:?}");
        assert!(near(figures.events_per_s, 19.8), "{figures:?}");
        assert!(near(figures.batch_mean, 1.98), "{figures:?}");
        assert!(near(figures.batch_p99, 2.0), "{figures:?}");
        assert_eq!(figures.commit_p99_ms, None);
        assert_eq!(Metrics::parse(BEFORE).get("opencredits_open_streams"), Some(3.0));
    }

    #[test]
    fn a_process_has_memory_and_cpu() {
        let watched = Watched { pid: Some(std::process::id()), metrics: None };
        assert!(watched.rss().unwrap() > 1 << 20);
        let before = cpu_of(std::process::id()).unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {}
        assert!(cpu_of(std::process::id()).unwrap() > before);
        assert!(cpu_of(u32::MAX).is_err());
    }
}
