//! The gateway's start and end: opens the store, binds, serves, drains, stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use opencredits_actors::{
    AskError, Clock, NodeSettings, ScyllaSettings, ScyllaStore, Settings, SqliteStore, Store,
    StoreError, System,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth;
use crate::checkout::{self, CheckoutSetupError, Desk};
use crate::config::{Config, NodeConfig, StoreConfig};
use crate::gateway::Gateway;
use crate::key_uses;
use crate::prices::{self, PricesError};
use crate::routes::{self, Side};
use crate::running;
use crate::server::{ServerLimits, serve_listener};
use crate::telemetry;
use crate::upstream::{Upstream, UpstreamSetupError};
use crate::workers::Workers;

/// How often limits forget who has not come for long.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How long durable events wait for their copies in a cluster: partners see them so much later.
const COPY_AFTER: Duration = Duration::from_secs(1);

/// How often the end looks whether the last request is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The store is not for us.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The serving threads did not start.
    #[error("the serving threads: {0}")]
    Workers(std::io::Error),
    /// The actors did not start.
    #[error("the accounts: {0}")]
    System(#[from] AskError),
    /// There are no prices.
    #[error("the price book: {0}")]
    Prices(#[from] PricesError),
    /// The providers' client cannot be made.
    #[error("the providers' client: {0}")]
    Upstream(#[from] UpstreamSetupError),
    /// The checkout cannot be set up.
    #[error("the checkout: {0}")]
    Checkout(#[from] CheckoutSetupError),
    /// The metrics cannot be recorded.
    #[error("metrics: {0}")]
    Metrics(#[from] telemetry::RecorderError),
    /// No random numbers.
    #[error("the system has no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// At the end, settlements were still undurable. Their checkpoints settle them at the start.
    #[error("some settlements are not durable yet; the next start settles them by checkpoint")]
    Undurable,
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Server {
    gateway: Arc<Gateway>,
    public: TcpListener,
    admin: Option<TcpListener>,
    workers: Workers,
}

impl Server {
    /// Opens the store, settles what a crash left open, and listens. Serves nothing yet.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(mut config: Config) -> Result<Self, ServeError> {
        let book = prices::read(config.prices.as_deref())?;
        let public = listen(config.listen).await;
        let address = public.as_ref().ok().and_then(|public| public.local_addr().ok());
        // Whoever serves the file already has its address too: it is named first.
        let holder = format!("listening on {}", address.unwrap_or(config.listen));
        let node = u64::from_be_bytes(crate::random::bytes::<8>()?);
        let store: Arc<dyn Store> = match &config.store {
            StoreConfig::Sqlite(path) => Arc::new(SqliteStore::open(path, &holder)?),
            StoreConfig::Scylla { nodes, keyspace } => {
                Arc::new(ScyllaStore::connect(cluster(nodes, keyspace, node)).await?)
            }
        };
        let public = public?;
        // Browsers are sent back to the port that the system chose.
        if let (Some(address), Some(0)) = (address, config.public_url.authority().port_u16())
            && let Ok(url) = format!("http://{address}").parse()
        {
            config.public_url = url;
        }
        let shared = config.admin_listen == config.listen;
        let admin = if shared { None } else { Some(listen(config.admin_listen).await?) };
        telemetry::start_metrics()?;
        prices::keep(store.as_ref(), &book).await?;
        let settings = Settings {
            hold_lease: config.times.hold_lease,
            passivate_after: config.times.passivate_after,
            node,
            clock: Clock::default(),
        };
        let system = match &config.node {
            Some(NodeConfig { address, secret }) => {
                let (address, secret) = (address.clone(), secret.expose().to_owned());
                System::join(store, settings, NodeSettings { address, secret }).await?
            }
            None => System::start(store, settings).await?,
        };
        let workers = Workers::start(config.workers).map_err(ServeError::Workers)?;
        let upstream = Upstream::new(&config.providers, config.workers)?;
        let desk = Desk::new(&config)?;
        let gateway = Arc::new(Gateway::new(config, system, upstream, desk, book));
        checkout::watch(&gateway).await?;
        Ok(Self { gateway, public, admin, workers })
    }

    /// The public address that it listens on.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// The admin address that it listens on.
    ///
    /// # Errors
    /// As the system says.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.as_ref().unwrap_or(&self.public).local_addr()
    }

    /// The gateway, for tests that look inside.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.gateway)
    }

    /// Serves until `shutdown` resolves, then lets running requests end within bounds.
    ///
    /// # Errors
    /// [`ServeError::Undurable`] when the store did not take the last settlements in time.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { gateway, public, admin, workers } = self;
        let workers = Arc::new(workers);
        let (stop, stopping) = watch::channel(false);
        let side = if admin.is_some() { Side::Public } else { Side::Both };
        let serving = serve(&gateway, &workers, public, side, stopping.clone());
        let mut servers = vec![tokio::spawn(serving)];
        if let Some(admin) = admin {
            let serving = serve(&gateway, &workers, admin, Side::Admin, stopping);
            servers.push(tokio::spawn(serving));
        }
        let chores = [
            tokio::spawn(running::look_after(Arc::clone(&gateway))),
            tokio::spawn(forget(Arc::clone(&gateway))),
            tokio::spawn(auth::follow(Arc::clone(&gateway))),
            tokio::spawn(checkout::look_after(Arc::clone(&gateway))),
            tokio::spawn(prices::follow(Arc::clone(&gateway))),
            tokio::spawn(key_uses::look_after(Arc::clone(&gateway))),
            tokio::spawn(upkeep()),
        ];
        gateway.set_ready(true);
        tracing::info!("ready");
        shutdown.await;
        gateway.set_ready(false);
        tracing::info!(running = gateway.running.count(), "stopping");
        // Its receivers are the servers: they may have ended.
        stop.send(true).ok();
        if let Err(error) = gateway.system.leave().await {
            tracing::warn!(%error, "the accounts here could not be handed over yet");
        }
        let times = &gateway.config.times;
        if !all_ended(&gateway, times.shutdown_wait).await {
            gateway.running.cut_all();
            all_ended(&gateway, times.settle_wait).await;
        }
        for server in servers {
            if let Err(error) = server.await {
                tracing::error!(%error, "a listener failed");
            }
        }
        let durable = gateway.system.stop(times.settle_wait).await;
        for chore in chores {
            chore.abort();
        }
        if durable { Ok(()) } else { Err(ServeError::Undurable) }
    }
}

/// A keyspace of a cluster, used in the name of one incarnation of a process.
pub(crate) fn cluster(nodes: &[String], keyspace: &str, owner: u64) -> ScyllaSettings {
    ScyllaSettings {
        nodes: nodes.to_vec(),
        keyspace: keyspace.to_owned(),
        owner,
        copy_after: COPY_AFTER,
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen(address, error))
}

fn serve(
    gateway: &Arc<Gateway>,
    workers: &Arc<Workers>,
    listener: TcpListener,
    side: Side,
    stopping: watch::Receiver<bool>,
) -> impl Future<Output = crate::server::ServeEnd> + Send + use<> {
    let Config { door, times, trusted_proxies, .. } = &gateway.config;
    let limits = ServerLimits {
        header_timeout: door.header_timeout,
        max_headers: door.max_headers,
        max_connections: door.max_connections,
        trusted_proxies: trusted_proxies.clone().into(),
        shutdown_wait: times.shutdown_wait.saturating_add(times.settle_wait),
    };
    let service = warp::service(routes::filter(Arc::clone(gateway), side));
    let service = TowerToHyperService::new(service);
    serve_listener(listener, service, limits, Arc::clone(workers), stopping)
}

/// Waits until no request runs, at most so long.
async fn all_ended(gateway: &Gateway, wait: Duration) -> bool {
    let end = Instant::now() + wait;
    while gateway.running.count() > 0 {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

async fn forget(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    loop {
        ticks.tick().await;
        gateway.key_limits.upkeep();
        gateway.bad_keys.upkeep();
        gateway.upstream.upkeep(std::time::Instant::now());
    }
}

async fn upkeep() {
    let Ok(handle) = telemetry::start_metrics() else { return };
    let mut ticks = tokio::time::interval(telemetry::UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
