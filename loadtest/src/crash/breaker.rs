//! Breaks the gateway, kills it, starts it again, and looks after each start whether what was
//! acknowledged is there.

mod faults;

use std::io::{IsTerminal as _, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::buyers::Shop;
use super::child::{Child, Program};
use super::dice::Dice;
use super::ground::Ground;
use super::plan::{Fault, Plan, Round};
use super::report::{Done, NotRun, Report};
use super::shim::Shim;
use super::{CrashError, Length, Options, load, site, tear};
use crate::ports::free_address;
use crate::receipts::{Access, Acknowledged, audit};
use crate::simulators::Providers;
use crate::stripe::{Stripe, WebhookMode};

/// The longest wait for a gateway to be ready, on a machine that is busy.
pub(super) const READY_WAIT: Duration = Duration::from_secs(60);
/// The longest wait for the load to come so far.
const LOAD_WAIT: Duration = Duration::from_secs(60);
/// The longest wait for what still runs when the load is over.
const QUIET_WAIT: Duration = Duration::from_secs(60);
/// The longest wait until Stripe has told everything again: some milliseconds an event.
const TELL_WAIT: Duration = Duration::from_secs(1800);
/// The number of the dice that what happens to a store after a power loss is drawn by.
const TEAR_PART: u64 = 5000;

/// A gateway under load, and all that breaks it.
pub(super) struct Breaker {
    options: Options,
    started: Instant,
    plan: Plan,
    dice: Dice,
    store: PathBuf,
    program: Program,
    child: Option<Child>,
    shim: Option<Shim>,
    providers: Providers,
    stripe: Arc<Stripe>,
    ground: Arc<Ground>,
    shop: Arc<Shop>,
    running: Vec<JoinHandle<()>>,
    acknowledged: Acknowledged,
    /// Receipts that were looked up already.
    looked: usize,
    rounds: Vec<Done>,
    report: Report,
    folder: TempDir,
}

#[derive(Deserialize)]
struct Open {
    open_checkpoints: u64,
}

impl Breaker {
    /// Starts everything, with nothing broken yet.
    pub(super) async fn start(options: &Options) -> Result<Self, CrashError> {
        let seed = options.seed;
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("oc.db");
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let providers = Providers::start(local).await?;
        let stripe = Arc::new(Stripe::start(local, site::WEBHOOK_SECRET).await?);
        stripe.webhooks(WebhookMode::Repeat(2));
        let address = free_address()?;
        stripe.send_webhooks_to(&format!("http://{address}/stripe/webhook"));
        let mut program =
            Program::new(&options.gateway, &site::settings(address, &store, &providers, &stripe));
        let mut report = Report { seed, command: command(options), ..Report::default() };
        let mut kinds = options.faults.clone();
        if kinds.is_empty() {
            kinds.extend(Fault::ALL);
        }
        let shim =
            match Shim::build(folder.path()).await {
                Ok(shim) => {
                    program = program.with(shim.environment(&store));
                    Some(shim)
                }
                Err(error) => {
                    let missing = kinds.extract_if(.., |fault| fault.order().is_some());
                    report.not_run.extend(missing.map(|fault| NotRun {
                        fault: fault.name(),
                        why: format!("no shim: {error}"),
                    }));
                    None
                }
            };
        let base = format!("http://{address}");
        let admin_token = site::ADMIN_TOKEN.to_owned();
        let ground = Arc::new(Ground::new(Access { admin: base.clone(), base, admin_token }));
        let child = ready(&program, &store).await?;
        let (publishable_keys, prices) = site::settle_in(&ground).await?;
        ground.set_up(true);
        let shop = Shop::new(Arc::clone(&ground), Arc::clone(&stripe), publishable_keys);
        let shop = Arc::new(shop);
        let mut running = load::start(&ground, &Arc::new(prices), seed);
        running.extend(shop.start(seed));
        Ok(Self {
            options: options.clone(),
            started: Instant::now(),
            plan: Plan::new(seed, kinds),
            dice: Dice::of(seed, TEAR_PART),
            store,
            program,
            child: Some(child),
            shim,
            providers,
            stripe,
            ground,
            shop,
            running,
            acknowledged: Acknowledged::default(),
            looked: 0,
            rounds: Vec::new(),
            report,
            folder,
        })
    }

    /// Whether another round is due.
    pub(super) fn goes_on(&self) -> bool {
        match self.options.length {
            Length::Time(time) => self.started.elapsed() < time,
            Length::Counts { crashes, requests } => {
                self.report.crashes < crashes || self.ground.receipts().requests.len() < requests
            }
        }
    }

    /// Breaks something, kills the gateway, starts it again, and looks what is left.
    pub(super) async fn round(&mut self) -> Result<(), CrashError> {
        let round = self.plan.draw();
        let due = self.ground.progress().begun.saturating_add(round.after);
        timeout(LOAD_WAIT, self.ground.until(|now| now.begun >= due)).await.ok();
        let order = round.fault.order();
        let met_before = self.met(order)?;
        self.break_it(&round).await?;
        self.kill().await?;
        if round.fault == Fault::TornWrite {
            self.tear()?;
        }
        let met = self.met(order)?.zip(met_before).map(|(now, before)| now.saturating_sub(before));
        if let Some(shim) = &self.shim {
            shim.clear()?;
        }
        self.providers.clear_scripts();
        let recovery = self.start_again(&round).await?;
        self.rounds.push(Done { fault: round.fault, met, recovery });
        self.look().await?;
        self.tell(&round);
        Ok(())
    }

    /// Ends the load, lets what runs end, crashes once more, and compares everything.
    pub(super) async fn finish(&mut self) -> Result<(), CrashError> {
        self.ground.finish();
        for running in self.running.drain(..) {
            // A client that panicked has lost nothing but its own request.
            drop(running.await);
        }
        self.stripe.webhooks(WebhookMode::Normal);
        self.stripe.release_webhooks(true);
        self.until_quiet().await;
        self.kill().await?;
        let last = Round { lasts_ms: 0, ..self.plan.draw() };
        self.start_again(&Round { again_ms: [None; 3], ..last }).await?;
        // What Stripe could not tell in time it tells again, for days if need be: here in both orders.
        for reversed in [true, false] {
            self.stripe.tell_again(reversed);
            timeout(TELL_WAIT, self.stripe.until_delivered()).await.ok();
        }
        self.until_quiet().await;
        let truth = self.shop.truth();
        self.ground.receipts().moved.extend(truth);
        self.look().await?;
        let receipts = self.ground.receipts().clone();
        let Ground { client, access, .. } = self.ground.as_ref();
        self.report.differences.extend(audit(client, access, &receipts).await?);
        let books = self.program.run(&["books"]).await?;
        if !books.status.success() {
            let said = String::from_utf8_lossy(&books.stdout).into_owned();
            self.report.differences.push(format!("opencredits books: {}: {said}", books.status));
        }
        if let Some(child) = self.child.take()
            && let Err(ended) = child.stop(READY_WAIT).await
        {
            self.report.differences.push(format!("SIGTERM did not end it well: {ended}"));
        }
        Ok(())
    }

    /// Ends a run whose gateway did not come back.
    pub(super) fn give_up(&mut self, error: &CrashError) {
        let crash = self.report.crashes;
        self.report.differences.push(format!("after crash {crash}: {error}"));
        for running in self.running.drain(..) {
            running.abort();
        }
    }

    /// What was found. A store that does not hold is kept for whoever looks at it.
    pub(super) fn report(mut self) -> Report {
        self.report.count(&self.ground.receipts(), self.acknowledged.totals());
        self.report.note(&self.rounds);
        self.report.seconds = self.started.elapsed().as_secs();
        if !self.report.differences.is_empty() && !self.options.lying_disk {
            let kept = self.folder.keep();
            self.report.differences.push(format!("the store is kept in {}", kept.display()));
        }
        self.report
    }

    async fn kill(&mut self) -> Result<(), CrashError> {
        if let Some(child) = self.child.take() {
            tokio::task::spawn_blocking(move || child.kill())
                .await
                .map_err(std::io::Error::other)?;
            self.ground.set_up(false);
            self.report.crashes = self.report.crashes.saturating_add(1);
        }
        Ok(())
    }

    fn tear(&mut self) -> Result<(), CrashError> {
        if let Some(shim) = &self.shim {
            tear::tear(shim.undo_path(), &self.store, &mut self.dice)?;
        }
        Ok(())
    }

    /// Starts it, kills it in its recovery as often as the round says, and starts it for good; how
    /// long that last start took.
    async fn start_again(&mut self, round: &Round) -> Result<Duration, CrashError> {
        for pause in round.again_ms.into_iter().flatten() {
            let mut child = self.program.serve()?;
            if child.locks(&self.store).await {
                sleep(Duration::from_millis(pause)).await;
            }
            self.child = Some(child);
            self.kill().await?;
        }
        let started = Instant::now();
        self.child = Some(ready(&self.program, &self.store).await?);
        self.ground.set_up(true);
        Ok(started.elapsed())
    }

    /// Looks up what was acknowledged so far.
    async fn look(&mut self) -> Result<(), CrashError> {
        let receipts = self.ground.receipts_since(self.looked);
        self.looked = self.looked.saturating_add(receipts.requests.len());
        let Ground { client, access, .. } = self.ground.as_ref();
        let lines = self.acknowledged.look(client, access, &receipts).await?;
        let crash = self.report.crashes;
        let lines = lines.into_iter().map(|line| format!("after crash {crash}: {line}"));
        self.report.differences.extend(lines);
        Ok(())
    }

    /// Waits until no checkpoint is open, which is when nothing runs any more; not for ever.
    async fn until_quiet(&self) {
        let url = format!("{}/admin/v1/books", self.ground.access.admin);
        let bearer = format!("Bearer {}", self.ground.access.admin_token);
        let asking = async {
            loop {
                let headers = [("authorization", bearer.as_str())];
                let books = self.ground.client.send(Method::GET, &url, &headers, "").await;
                let open = books.ok().and_then(|books| serde_json::from_slice(&books.body).ok());
                if matches!(open, Some(Open { open_checkpoints: 0 })) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(QUIET_WAIT, asking).await.ok();
    }

    /// One line for a person who watches.
    fn tell(&self, round: &Round) {
        let mut out = std::io::stderr();
        if !out.is_terminal() {
            return;
        }
        let (crashes, requests) = (self.report.crashes, self.ground.progress().begun);
        let (fault, differences) = (round.fault.name(), self.report.differences.len());
        // Nothing is left to do where even the error stream is gone.
        drop(writeln!(
            out,
            "crash {crashes}: {fault}; {requests} requests, {differences} differences"
        ));
    }
}

/// A gateway that is ready. Its port may be somebody's for a moment: then it is tried again.
async fn ready(program: &Program, store: &Path) -> Result<Child, CrashError> {
    const TRIES: u32 = 20;
    let mut tried = 0;
    loop {
        let mut child = program.serve()?;
        match timeout(READY_WAIT, child.ready()).await {
            Ok(Ok(_)) => return Ok(child),
            Ok(Err(ended)) if ended.log.contains("in use") && tried < TRIES => {
                tried += 1;
                sleep(Duration::from_millis(100)).await;
            }
            Ok(Err(ended)) => return Err(ended.into()),
            Err(_) => {
                let log = format!("{}\n{}", store.display(), child.log());
                return Err(CrashError::NotReady { log });
            }
        }
    }
}

fn command(options: &Options) -> String {
    let length = match options.length {
        Length::Counts { crashes, requests } => {
            format!("--crashes {crashes} --requests {requests}")
        }
        Length::Time(time) => format!("--minutes {}", time.as_secs() / 60),
    };
    let only: String =
        options.faults.iter().map(|fault| format!(" --only '{}'", fault.name())).collect();
    format!("opencredits-loadtest crash --seed {} {length}{only}", options.seed)
}
