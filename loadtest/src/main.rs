//! The command line of the demo and the simulators.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use opencredits_loadtest::bench;
use opencredits_loadtest::crash::{self, Fault, Length};
use opencredits_loadtest::demo::{self, DemoError, Options};
use opencredits_loadtest::load::{self, parts, verbs};
use opencredits_loadtest::settle;
use opencredits_loadtest::simulators::Providers;
use opencredits_loadtest::stop_signal;
use opencredits_loadtest::stripe::{Seed, Stripe};

/// The gateway's own allocator, so that what `bench` does of it in this process costs what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Demo and simulated providers of OpenCredits.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs gateway, SQLite, simulated providers, a simulated Stripe and a shop in one process.
    Demo {
        /// Address of the public API (port 0: a free one).
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Address of the admin API (port 0: a free one).
        #[arg(long, default_value = "127.0.0.1:8081")]
        admin_listen: SocketAddr,
        /// Address of the shop (port 0: a free one).
        #[arg(long, default_value = "127.0.0.1:8082")]
        shop_listen: SocketAddr,
        /// Folder of the database [default: a temporary one].
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Breaks a gateway at random moments under load, and proves that its books hold.
    Crash {
        /// The gateway's program [default: `opencredits` beside this one].
        #[arg(long)]
        gateway: Option<PathBuf>,
        /// Makes the schedule [default: a random one].
        #[arg(long)]
        seed: Option<u64>,
        /// The least number of crashes.
        #[arg(long, default_value_t = 27)]
        crashes: usize,
        /// The least number of requests.
        #[arg(long, default_value_t = 10_000)]
        requests: usize,
        /// Goes on for so long, instead of to those numbers.
        #[arg(long)]
        minutes: Option<u64>,
        /// Breaks nothing else, such as 'torn write'; can be said more than once.
        #[arg(long, value_parser = fault)]
        only: Vec<Fault>,
        /// Prints the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Puts a load on a gateway, its own or any server of OpenAI's or Anthropic's API, and reports.
    Run(Box<load::options::Options>),
    /// Measures the gateway beside nginx in turns, and writes docs/performance.md.
    Bench(bench::options::Options),
    /// Measures how many holds and durable settlements a store takes, without HTTP.
    Settle(settle::Options),
    /// Does a part of a run: what `run --processes` starts.
    #[command(name = parts::WORD, hide = true)]
    RunPart,
    /// Compares the second result of `run` with the first, and says which differences are noise.
    Compare {
        /// The measure.
        first: PathBuf,
        /// What is held against it.
        second: PathBuf,
    },
    /// Merges the results of one run that several machines made at the same time.
    Merge {
        /// The results.
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// Where the merged one goes: PATH.json and PATH.html.
        #[arg(long, default_value = "target/loadtest/merged", value_name = "PATH")]
        out: PathBuf,
    },
    /// Measures the generator's own CPU for a request against wrk's.
    Calibrate,
    /// Serves all four simulated providers on one address.
    SimulateProviders {
        /// Address to listen on (port 0: a free one).
        #[arg(long, default_value = "127.0.0.1:9090")]
        listen: SocketAddr,
    },
    /// Serves a simulated Stripe: its API, its page, its script, and signed webhooks.
    SimulateStripe {
        /// Address to listen on (port 0: a free one).
        #[arg(long, default_value = "127.0.0.1:9091")]
        listen: SocketAddr,
        /// Where webhooks go, such as http://127.0.0.1:8080/stripe/webhook.
        #[arg(long)]
        webhook_url: String,
        /// What they are signed with: the gateway's OPENCREDITS_STRIPE_WEBHOOK_SECRET.
        #[arg(long)]
        webhook_secret: String,
        /// Stands in every id: give another one than before the last restart.
        #[arg(long, default_value_t = 0)]
        seed: u32,
        /// The objects' time in unix seconds, moved on by POST /_sim/clock {"now"} [default: the
        /// clock on the wall].
        #[arg(long)]
        now: Option<i64>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Crash { gateway, seed, crashes, requests, minutes, only, json } => {
            let counts = Length::Counts { crashes, requests };
            let time = |minutes: u64| Duration::from_secs(minutes.saturating_mul(60));
            let length = minutes.map_or(counts, |minutes| Length::Time(time(minutes)));
            return crash(gateway, seed, length, only, json).await;
        }
        Verb::Demo { listen, admin_listen, shop_listen, data } => {
            demo::run(Options { listen, admin_listen, shop_listen, data }).await
        }
        Verb::Run(options) => return told(verbs::run(&options).await),
        Verb::Bench(options) => return told(bench::told(&options).await),
        Verb::Settle(options) => return told(settle::told(&options).await),
        Verb::RunPart => return told(verbs::run_part().await),
        Verb::Compare { first, second } => return told(verbs::compare(&first, &second)),
        Verb::Merge { results, out } => return told(verbs::merge(&results, &out)),
        Verb::Calibrate => return told(verbs::calibrate().await),
        Verb::SimulateProviders { listen } => simulate(listen).await,
        Verb::SimulateStripe { listen, webhook_url, webhook_secret, seed, now } => {
            let seed = Seed { ids: seed, now };
            simulate_stripe(listen, &webhook_url, &webhook_secret, seed).await
        }
    };
    told(done)
}

/// The exit code of what was done, and its error on the error stream.
fn told<E: std::error::Error>(done: Result<(), E>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    // Nothing is left to do where even the error stream is gone.
    drop(writeln!(std::io::stderr(), "error: {error}"));
    ExitCode::FAILURE
}

fn fault(name: &str) -> Result<Fault, String> {
    let names = Fault::ALL.map(Fault::name).join("', '");
    Fault::by_name(name).ok_or_else(|| format!("it is none of '{names}'"))
}

/// Runs it and prints what it found; fails if the books do not hold.
async fn crash(
    gateway: Option<PathBuf>,
    seed: Option<u64>,
    length: Length,
    faults: Vec<Fault>,
    json: bool,
) -> ExitCode {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("opencredits"));
    let gateway = match gateway.map_or_else(beside, Ok) {
        Ok(gateway) => gateway,
        Err(error) => return fail(&error),
    };
    let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
    let options = crash::Options { gateway, seed, length, faults, lying_disk: false };
    // Told first, so that a run that is broken off can be run again.
    drop(writeln!(std::io::stderr(), "seed {seed}"));
    let report = match crash::run(&options).await {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    let told =
        if json { serde_json::to_string(&report).unwrap_or_default() } else { report.to_string() };
    drop(writeln!(std::io::stdout(), "{told}"));
    if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn simulate_stripe(
    listen: SocketAddr,
    webhook_url: &str,
    webhook_secret: &str,
    seed: Seed,
) -> Result<(), DemoError> {
    let stripe = Stripe::seeded(listen, webhook_secret, seed).await?;
    stripe.send_webhooks_to(webhook_url);
    let line = serde_json::json!({"stripe": stripe.origin(), "js_url": stripe.js_url()});
    writeln!(std::io::stdout(), "{line}")?;
    Ok(stop_signal().await?)
}

async fn simulate(listen: SocketAddr) -> Result<(), DemoError> {
    let providers = Providers::start(listen).await?;
    let line = serde_json::json!({"providers": providers.origin()});
    writeln!(std::io::stdout(), "{line}")?;
    stop_signal().await?;
    providers.stop().await;
    Ok(())
}
