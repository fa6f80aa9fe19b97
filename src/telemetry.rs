//! What operators see: the log, and the metrics by their names.

mod lines;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opencredits_schema::Provider;
use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;
use lines::Lines;

/// Answers, by route and class of status.
pub const REQUESTS: &str = "opencredits_requests_total";
/// Connections that are open.
pub const OPEN_CONNECTIONS: &str = "opencredits_open_connections";
/// Workers that serve; the others rest.
pub const WORKERS_SERVING: &str = "opencredits_workers_serving";
/// Requests that run, from their hold to their settlement.
pub const OPEN_STREAMS: &str = "opencredits_open_streams";
/// Accounts that have an actor.
pub const ACTIVE_ACCOUNTS: &str = "opencredits_active_accounts";
/// Writes in one commit of the journal.
pub const JOURNAL_BATCH: &str = "opencredits_journal_batch_writes";
/// Time of one commit of the journal, its sync included.
pub const JOURNAL_COMMIT: &str = "opencredits_journal_commit_seconds";
/// Commits that the store did not take.
pub const JOURNAL_FAILURES: &str = "opencredits_journal_failures_total";
/// Holds placed.
pub const HOLDS_PLACED: &str = "opencredits_holds_placed_total";
/// Holds refused because credits or a limit do not cover them.
pub const HOLDS_REFUSED: &str = "opencredits_holds_refused_total";
/// Holds released in full.
pub const HOLDS_RELEASED: &str = "opencredits_holds_released_total";
/// Requests settled.
pub const SETTLED: &str = "opencredits_settled_total";
/// Settlements above their hold.
pub const OVERDRAFTS: &str = "opencredits_overdrafts_total";
/// Time that an answer's end waited for its settlement.
pub const SETTLE_WAIT: &str = "opencredits_settle_wait_seconds";
/// Answers that ended before their settlement was durable.
pub const SETTLE_LATE: &str = "opencredits_settle_late_total";
/// Time to the provider's response head, by provider.
pub const UPSTREAM_TTFB: &str = "opencredits_upstream_ttfb_seconds";
/// Requests that a provider failed, by provider.
pub const UPSTREAM_FAULTS: &str = "opencredits_upstream_faults_total";
/// Requests that a provider refused because of the operator's key, quota or catalogue.
pub const OPERATOR_FAULTS: &str = "opencredits_operator_faults_total";
/// Clients that went away before their answer ended.
pub const CLIENT_GONE: &str = "opencredits_client_gone_total";
/// Answers that are read on after their client went away.
pub const OPEN_DRAINS: &str = "opencredits_open_drains";
/// Requests above a rate limit.
pub const RATE_LIMITED: &str = "opencredits_rate_limited_total";
/// Price books that could not be loaded; the old one stays.
pub const PRICES_REFUSED: &str = "opencredits_prices_refused_total";
/// Charges of xAI that differ from our own computation.
pub const BILL_MISMATCH: &str = "opencredits_bill_mismatch_total";

/// Bounds of the buckets of every histogram of times, in seconds: a quick disk's commit to a long
/// thought.
const BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 60.0, 600.0,
];

/// Bounds of the buckets of [`JOURNAL_BATCH`]: up to the most that one commit takes.
const BATCH_BUCKETS: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// How often the recorder's upkeep must run, or its histograms grow.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The recorder could not be set up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct RecorderError(String);

/// The log while it is kept; dropped, it writes what has gathered.
#[must_use = "its last lines leave when it is dropped"]
pub struct Log(Lines);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Nobody else could be told that it cannot be written.
        self.0.leave().ok();
    }
}

/// Starts the log on standard error. In one process the first call counts. A kill takes the lines of
/// the last hundredth of a second, but for warnings and errors.
///
/// # Errors
/// When the system has no more threads.
pub fn start_log(config: &LogConfig) -> io::Result<Log> {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = Lines::start(io::stderr())?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone());
    // Files and collectors want no colours (https://no-color.org for those who sit at a terminal).
    let refused = std::env::var_os("NO_COLOR").is_some_and(|told| !told.is_empty());
    let log = log.with_ansi(io::stderr().is_terminal() && !refused);
    // Several gateways in one process (the tests, the demo) share the log of the first.
    drop(if config.json { log.json().try_init() } else { log.try_init() });
    Ok(Log(lines))
}

/// Starts the metrics, of which one process has one set; `render()` on the handle gives the text
/// of `/metrics`. `run_upkeep()` is to be called every [`UPKEEP_EVERY`].
///
/// # Errors
/// Another recorder was installed in the process.
pub fn start_metrics() -> Result<PrometheusHandle, RecorderError> {
    static HANDLE: OnceLock<Result<PrometheusHandle, RecorderError>> = OnceLock::new();
    let install = || {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let batch = Matcher::Full(JOURNAL_BATCH.to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS);
        let builder = builder.and_then(|own| own.set_buckets_for_metric(batch, &BATCH_BUCKETS));
        let handle = builder.and_then(PrometheusBuilder::install_recorder);
        describe();
        handle.map_err(|error| RecorderError(error.to_string()))
    };
    HANDLE.get_or_init(install).clone()
}

/// All metrics as Prometheus reads them; empty before [`start_metrics`].
#[must_use]
pub fn render() -> String {
    start_metrics().map(|handle| handle.render()).unwrap_or_default()
}

/// The routes, as the metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `POST /v1/responses`.
    Responses,
    /// `GET /v1/models…`.
    Models,
    /// `/v1/credits/…`.
    Credits,
    /// `/partner/v1/…`.
    Partner,
    /// `/admin/v1/…` and `/metrics`.
    Admin,
    /// The widget, the checkout and Stripe's webhook.
    Checkout,
    /// Health, and paths that do not exist.
    Other,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ChatCompletions,
        Self::Messages,
        Self::CountTokens,
        Self::Responses,
        Self::Models,
        Self::Credits,
        Self::Partner,
        Self::Admin,
        Self::Checkout,
        Self::Other,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Responses => "responses",
            Self::Models => "models",
            Self::Credits => "credits",
            Self::Partner => "partner",
            Self::Admin => "admin",
            Self::Checkout => "checkout",
            Self::Other => "other",
        }
    }
}

/// The metrics of the hot path, as handles: a lookup by name would cost ten times as much.
/// To be made after [`start_metrics`]; handles made before record nothing.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Arc<HashMap<(Route, u16), Counter>>,
    upstream: Arc<HashMap<Provider, UpstreamMetrics>>,
    /// See [`OPEN_STREAMS`].
    pub open_streams: Gauge,
    /// See [`ACTIVE_ACCOUNTS`].
    pub active_accounts: Gauge,
    /// See [`HOLDS_PLACED`].
    pub holds_placed: Counter,
    /// See [`HOLDS_REFUSED`].
    pub holds_refused: Counter,
    /// See [`HOLDS_RELEASED`].
    pub holds_released: Counter,
    /// See [`SETTLED`].
    pub settled: Counter,
    /// See [`OVERDRAFTS`].
    pub overdrafts: Counter,
    /// See [`SETTLE_WAIT`].
    pub settle_wait: Histogram,
    /// See [`SETTLE_LATE`].
    pub settle_late: Counter,
    /// See [`CLIENT_GONE`].
    pub client_gone: Counter,
    /// See [`OPEN_DRAINS`].
    pub open_drains: Gauge,
    /// See [`RATE_LIMITED`].
    pub rate_limited: Counter,
    /// See [`BILL_MISMATCH`].
    pub bill_mismatch: Counter,
}

/// The metrics of one provider.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    /// See [`UPSTREAM_TTFB`].
    pub ttfb: Histogram,
    /// See [`UPSTREAM_FAULTS`].
    pub faults: Counter,
    /// See [`OPERATOR_FAULTS`].
    pub operator_faults: Counter,
}

impl Metrics {
    /// All handles.
    #[must_use]
    pub fn new() -> Self {
        let classes = [("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)];
        let of_route = |route: Route| {
            classes.map(|(label, class)| {
                let route_label = route.as_str();
                let counter = counter!(REQUESTS, "route" => route_label, "status" => label);
                ((route, class), counter)
            })
        };
        let of_provider = |provider: Provider| {
            let name = provider.as_str();
            let metrics = UpstreamMetrics {
                ttfb: histogram!(UPSTREAM_TTFB, "provider" => name),
                faults: counter!(UPSTREAM_FAULTS, "provider" => name),
                operator_faults: counter!(OPERATOR_FAULTS, "provider" => name),
            };
            (provider, metrics)
        };
        Self {
            requests: Arc::new(Route::ALL.into_iter().flat_map(of_route).collect()),
            upstream: Arc::new(Provider::ALL.into_iter().map(of_provider).collect()),
            open_streams: gauge!(OPEN_STREAMS),
            active_accounts: gauge!(ACTIVE_ACCOUNTS),
            holds_placed: counter!(HOLDS_PLACED),
            holds_refused: counter!(HOLDS_REFUSED),
            holds_released: counter!(HOLDS_RELEASED),
            settled: counter!(SETTLED),
            overdrafts: counter!(OVERDRAFTS),
            settle_wait: histogram!(SETTLE_WAIT),
            settle_late: counter!(SETTLE_LATE),
            client_gone: counter!(CLIENT_GONE),
            open_drains: gauge!(OPEN_DRAINS),
            rate_limited: counter!(RATE_LIMITED),
            bill_mismatch: counter!(BILL_MISMATCH),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, route: Route, status: StatusCode) {
        if let Some(counter) = self.requests.get(&(route, status.as_u16() / 100)) {
            counter.increment(1);
        }
    }

    /// The metrics of a provider.
    #[must_use]
    pub fn upstream(&self, provider: Provider) -> Option<&UpstreamMetrics> {
        self.upstream.get(&provider)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, "answers, by route and class of status");
    describe_gauge!(OPEN_CONNECTIONS, "connections that are open");
    describe_gauge!(WORKERS_SERVING, "workers that serve; the others rest");
    describe_gauge!(OPEN_STREAMS, "requests that run, from their hold to their settlement");
    describe_gauge!(ACTIVE_ACCOUNTS, "accounts that have an actor");
    describe_histogram!(JOURNAL_BATCH, "writes in one commit of the journal");
    describe_histogram!(JOURNAL_COMMIT, "time of one commit of the journal, its sync included");
    describe_counter!(JOURNAL_FAILURES, "commits that the store did not take");
    describe_counter!(HOLDS_PLACED, "holds placed");
    describe_counter!(HOLDS_REFUSED, "holds refused for lack of credits or by a limit");
    describe_counter!(HOLDS_RELEASED, "holds released in full");
    describe_counter!(SETTLED, "requests settled");
    describe_counter!(OVERDRAFTS, "settlements above their hold");
    describe_histogram!(SETTLE_WAIT, "wait of an answer's end for its settlement");
    describe_counter!(SETTLE_LATE, "answers that ended before their settlement was durable");
    describe_histogram!(UPSTREAM_TTFB, "time to the provider's response head");
    describe_counter!(UPSTREAM_FAULTS, "requests that a provider failed");
    describe_counter!(OPERATOR_FAULTS, "refusals of the operator's key, quota or catalogue");
    describe_counter!(CLIENT_GONE, "clients that left before their answer ended");
    describe_gauge!(OPEN_DRAINS, "answers read on after their client left");
    describe_counter!(RATE_LIMITED, "requests above a rate limit");
    describe_counter!(PRICES_REFUSED, "price books that could not be loaded");
    describe_counter!(BILL_MISMATCH, "provider's bills that differ from the own computation");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_with_its_meaning() {
        let handle = start_metrics().unwrap();
        let metrics = Metrics::new();
        metrics.answered(Route::Messages, StatusCode::PAYMENT_REQUIRED);
        metrics.upstream(Provider::XAi).unwrap().ttfb.record(Duration::from_millis(30));
        handle.run_upkeep();
        let text = start_metrics().unwrap().render();
        for line in [
            "# HELP opencredits_requests_total answers, by route",
            "opencredits_requests_total{route=\"messages\",status=\"4xx\"} 1",
            "opencredits_upstream_ttfb_seconds_bucket{provider=\"xai\",le=\"0.05\"} 1",
            "opencredits_overdrafts_total 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_second_log_in_the_process_is_harmless() {
        for json in [true, false] {
            drop(start_log(&LogConfig { filter: "warn".to_owned(), json }).unwrap());
        }
    }
}
