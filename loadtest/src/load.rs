//! `loadtest run`: load on a gateway or on any server that speaks OpenAI's or Anthropic's API, with
//! latencies from the moment at which each request was due, the server's own figures, and the books.
//!
//! [`mix`] is what is asked, [`arrivals`] when; [`job`] is one generator's part, done by a `worker`
//! over `connection`s; [`record`] is what it saw. [`site`] starts a gateway, [`accounts`] are its
//! payers, [`server`] and [`footprint`] its figures; [`verdict`] says whether a [`result`] stands,
//! [`table`], [`page`] and [`compare`] show it.

pub mod accounts;
mod alarm;
mod answer;
pub mod arrivals;
pub mod calibrate;
pub mod compare;
mod connection;
pub(crate) mod disk;
pub mod footprint;
mod image;
pub mod job;
pub mod micros;
pub mod mix;
pub mod options;
pub mod page;
pub mod parts;
pub mod plan;
pub(crate) mod plot;
pub mod record;
pub mod result;
pub mod search;
pub mod server;
pub mod site;
pub mod table;
pub mod target;
mod thread_time;
pub mod verbs;
pub mod verdict;
mod worker;
mod zipf;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::Client;
use crate::receipts::{Access, AuditError};
use accounts::{Accounts, AccountsError};
use job::{Done, Drive, Job, JobError, Progress, Times};
use mix::{Mix, MixError};
use options::{Options, OptionsError};
use result::{ResultError, RunResult, Setting};
use search::{Search, Step};
use server::{ServerFigures, Watched};
use site::{Site, SiteError};
use target::{Target, TargetError, User};

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// A run that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The options do not go together.
    #[error("{0}")]
    Options(#[from] OptionsError),
    /// The mix.
    #[error("{0}")]
    Mix(#[from] MixError),
    /// The target.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The run's own site.
    #[error("{0}")]
    Site(#[from] SiteError),
    /// The accounts at a gateway that was given.
    #[error("{0}")]
    Accounts(#[from] AccountsError),
    /// The generators.
    #[error("{0}")]
    Job(#[from] JobError),
    /// The books cannot be read.
    #[error("the books: {0}")]
    Audit(#[from] AuditError),
    /// The result cannot be written or read.
    #[error("{0}")]
    Result(#[from] ResultError),
    /// The generator cannot be held against wrk.
    #[error("{0}")]
    Calibrate(#[from] calibrate::CalibrateError),
    /// The result does not stand.
    #[error("{0}")]
    Refused(String),
    /// The terminal.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A task broke.
    #[error("a task broke: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Where a run goes to, who sends, and whom to ask for figures.
struct Scene {
    target: Target,
    users: Vec<User>,
    watched: Watched,
    /// Present where the books can be read.
    accounts: Option<Accounts>,
    /// Kept running for as long as the run is.
    site: Option<Site>,
}

/// Runs the load that the options describe.
///
/// # Errors
/// When it cannot be run. A server that fails is none, nor is a late generator: the result says so.
pub async fn run(options: &Options) -> Result<RunResult, RunError> {
    raise_descriptors();
    let mix = options.mix.as_deref().map_or_else(Mix::built_in, Mix::read)?;
    let mut scene = Scene::set(options, &mix).await?;
    let setting = options.setting(mix, &scene.target)?;
    let first = scene.job(&setting, setting.drive);
    let (done, server, setting, steps) = match options.search()? {
        None => {
            let (done, server) = scene.send(&first).await?;
            (done, server, setting, Vec::new())
        }
        Some((search, p99)) => scene.search(setting, search, p99).await?,
    };
    let mut result = RunResult { server, search: steps, ..RunResult::new(setting, &done) };
    if let Some(accounts) = &mut scene.accounts {
        result.books = Some(accounts.audit(done.receipts).await?);
    }
    // Its memory and its CPU are free before the next gateway is measured.
    if let Some(site) = scene.site.take() {
        site.stop().await?;
    }
    drop(scene);
    if options.measures_footprint() {
        result.footprint = Some(footprint::measure(&options.gateway()).await?);
    }
    Ok(result)
}

impl Scene {
    /// Starts a site, or finds its way around the server that was given.
    async fn set(options: &Options, mix: &Mix) -> Result<Self, RunError> {
        let Some(url) = &options.target else {
            let (site, mut accounts) =
                Site::start(&options.gateway(), &options.settings()?).await?;
            let users = accounts.make(mix.accounts).await?;
            let (target, watched) = (site.target.clone(), site.watched(accounts.access()));
            return Ok(Self { target, users, watched, accounts: Some(accounts), site: Some(site) });
        };
        let target = Target::parse(url)?;
        let admin = options.admin.clone().zip(options.admin_token.clone());
        let watched = Watched { pid: options.pid, metrics: admin.clone() };
        let of_key = |key: &String| User { account: String::new(), key: key.clone() };
        let mut users: Vec<User> = options.key.iter().map(of_key).collect();
        let mut accounts = None;
        if let (Some((admin, admin_token)), true) = (admin, users.is_empty()) {
            let base = format!("http://{}{}", target.host, target.prefix);
            let access = Access { base, admin, admin_token };
            let mut own = Accounts::open(Client::default(), access).await?;
            users = own.make(mix.accounts).await?;
            accounts = Some(own);
        }
        if users.is_empty() {
            users.push(of_key(&String::from("none")));
        }
        Ok(Self { target, users, watched, accounts, site: None })
    }

    fn job(&self, setting: &Setting, drive: Drive) -> (Job, u32) {
        let Setting { mix, times, seed, processes, threads, .. } = setting;
        let job = Job {
            target: self.target.clone(),
            users: self.users.clone(),
            mix: mix.clone(),
            drive,
            times: *times,
            seed: *seed,
            part: 0,
            parts: *threads,
            threads: *threads,
            receipts: self.accounts.is_some(),
        };
        (job, *processes)
    }

    /// Sends it all, with a bar, and watches the server meanwhile.
    async fn send(&self, job: &(Job, u32)) -> Result<(Done, Option<ServerFigures>), RunError> {
        let progress = Arc::new(Progress::default());
        let ((job, processes), of) = (job.clone(), Arc::clone(&progress));
        let times = job.times;
        let bar = tokio::spawn(show(times, Arc::clone(&progress)));
        let (watched, client) = (self.watched.clone(), Client::default());
        let seen = Arc::clone(&progress);
        let watching = tokio::spawn(async move { watched.watch(&client, times, seen).await });
        let done = tokio::task::spawn_blocking(move || parts::run(&job, processes, &of)).await;
        bar.abort();
        let mut server = watching.await?;
        if let Some(took) = self.site.as_ref().and_then(|s| disk::syncs(s.folder.path()).ok()) {
            let millis = |share| Some(took.quantile(share).as_secs_f64() * 1e3);
            (server.fsync_p50_ms, server.fsync_p99_ms) = (millis(0.5), millis(0.99));
        }
        let known = self.watched.pid.is_some() || self.watched.metrics.is_some();
        Ok((done??, known.then_some(server)))
    }

    /// Looks for the highest rate that is kept; the result is of that one, or of the lowest.
    async fn search(
        &self,
        setting: Setting,
        mut search: Search,
        p99: Duration,
    ) -> Result<(Done, Option<ServerFigures>, Setting, Vec<Step>), RunError> {
        let mut best = None;
        let (mut steps, mut receipts) = (Vec::new(), Vec::new());
        while let Some(rate) = search.rate() {
            let drive = setting.drive.at(rate);
            let (mut done, server) = self.send(&self.job(&setting, drive)).await?;
            receipts.append(&mut done.receipts);
            let step = Step::new(rate, drive, &done, p99);
            writeln!(std::io::stderr(), "{step}")?;
            if search.tried(step.missed.is_none()) || best.is_none() {
                best = Some((done, server, Setting { drive, ..setting.clone() }));
            }
            steps.push(step);
        }
        let (mut done, server, setting) = best.unwrap_or_else(|| (Done::default(), None, setting));
        done.receipts = receipts;
        Ok((done, server, setting, steps))
    }
}

/// Moves a bar until it is aborted; quiet where the error stream is no terminal.
async fn show(times: Times, progress: Arc<Progress>) {
    let all = times.all();
    let bar = ProgressBar::new(millis(all));
    let style = ProgressStyle::with_template("{bar:40} {elapsed}/{msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    loop {
        let (ended, failed) =
            (progress.ended.load(Ordering::Relaxed), progress.failed.load(Ordering::Relaxed));
        bar.set_position(millis(bar.elapsed().min(all)));
        bar.set_message(format!("{} s, {ended} answers, {failed} failed", all.as_secs()));
        tokio::time::sleep(TICK).await;
    }
}

/// As many descriptors as the system allows: each stream takes one here and two in the gateway.
pub(crate) fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, the first connection too many says so.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
