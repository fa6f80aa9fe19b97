//! What all scenarios share, running: the provider, nginx, a gateway with accounts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::BenchError;
use super::bar::Bar;
use super::gateway::Gateway;
use super::nginx::Nginx;
use super::options::{Options, Pace};
use super::turn::{Contender, Load, Turn, take};
use super::upstream::Upstream;
use crate::client::Client;
use crate::crash::child::Settings;
use crate::load::accounts::Accounts;
use crate::load::disk;
use crate::load::target::{Target, User};

/// Accounts that send, where a scenario does not say otherwise.
pub(super) const ACCOUNTS: usize = 100;

/// Everything that runs from the first scenario to the last one.
#[derive(Debug)]
pub(super) struct Stage {
    /// What the command line said.
    pub(super) options: Options,
    /// Tells how far it is.
    pub(super) bar: Bar,
    /// The gateway's program.
    pub(super) program: PathBuf,
    /// The gateway that most scenarios share.
    pub(super) gateway: Gateway,
    /// Its database's folder.
    pub(super) folder: TempDir,
    /// Those who send.
    pub(super) users: Arc<[User]>,
    /// nginx.
    pub(super) nginx: Nginx,
    /// The provider.
    pub(super) upstream: Upstream,
}

impl Stage {
    /// Starts it all.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(super) async fn set(options: Options, bar: Bar) -> Result<Self, BenchError> {
        let upstream = Upstream::start().map_err(BenchError::io("the provider"))?;
        let nginx = Nginx::start(options.nginx.as_deref(), upstream.address())?;
        let folder = tempfile::tempdir().map_err(BenchError::io("a folder for the database"))?;
        let program = options.gateway();
        let database = folder.path().join("opencredits.db");
        let none = Settings::new();
        let gateway = Gateway::start(&program, &database, upstream.address(), &none).await?;
        let users = make_accounts(&gateway, ACCOUNTS).await?;
        Ok(Self { options, bar, program, gateway, folder, users, nginx, upstream })
    }

    /// The lengths of turns.
    pub(super) fn pace(&self) -> Pace {
        self.options.pace()
    }

    /// The shared gateway, as one that takes turns.
    pub(super) fn gateway(&self) -> Contender {
        contender("gateway", &self.gateway, Arc::clone(&self.users))
    }

    /// nginx before the provider.
    ///
    /// # Errors
    /// When its address is none.
    pub(super) fn nginx(&self) -> Result<Contender, BenchError> {
        let pid = Some(self.nginx.id());
        Ok(Contender { pid, ..self.at("nginx", self.nginx.address())? })
    }

    /// The provider itself.
    ///
    /// # Errors
    /// When its address is none.
    pub(super) fn direct(&self) -> Result<Contender, BenchError> {
        self.at("direct", self.upstream.address())
    }

    /// A gateway of a scenario's own, on a database of its own or one that is there.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn another(
        &self,
        database: &Path,
        own: &Settings,
    ) -> Result<Gateway, BenchError> {
        Gateway::start(&self.program, database, self.upstream.address(), own).await
    }

    /// Lets contenders take turns: first one each that does not count, then one each in every
    /// repetition, in changing order. The turns of a repetition stand in the contenders' order.
    ///
    /// # Errors
    /// When one gives no answers.
    pub(super) async fn turns(
        &self,
        contenders: &[Contender],
        load: &Load,
    ) -> Result<Vec<Vec<Turn>>, BenchError> {
        let warm = Load { measure: self.pace().warm, warm_up: Duration::ZERO, ..load.clone() };
        for contender in contenders {
            self.bar.say(format!("warming {}", contender.name));
            take(contender, &warm).await?;
        }
        let (all, mut repetitions) = (self.options.repetitions(), Vec::new());
        for repetition in 1..=all {
            let mut turns = Vec::new();
            let mut order: Vec<_> = contenders.iter().collect();
            if repetition.is_multiple_of(2) {
                order.reverse();
            }
            for contender in order {
                self.bar.say(format!("{} {repetition}/{all}", contender.name));
                turns.push(take(contender, load).await?);
            }
            if repetition.is_multiple_of(2) {
                turns.reverse();
            }
            repetitions.push(turns);
        }
        Ok(repetitions)
    }

    /// What one `fdatasync` takes in the database's folder: the median, in milliseconds.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn sync_ms(&self) -> Result<f64, BenchError> {
        let took =
            disk::syncs(self.folder.path()).map_err(BenchError::io("the probe of the disk"))?;
        Ok(took.quantile(0.5).as_secs_f64() * 1e3)
    }

    /// A server at an address.
    ///
    /// # Errors
    /// When that is none.
    pub(super) fn at(&self, name: &str, address: SocketAddr) -> Result<Contender, BenchError> {
        let target = Target::parse(&format!("http://{address}"))?;
        Ok(Contender { name: name.to_owned(), target, users: Arc::clone(&self.users), pid: None })
    }
}

/// A gateway as one that takes turns.
pub(super) fn contender(
    name: impl Into<String>,
    gateway: &Gateway,
    users: Arc<[User]>,
) -> Contender {
    let (target, pid) = (gateway.target.clone(), Some(gateway.id()));
    Contender { name: name.into(), target, users, pid }
}

/// Makes funded accounts by the admin API.
///
/// # Errors
/// When it refuses.
pub(super) async fn make_accounts(
    gateway: &Gateway,
    count: usize,
) -> Result<Arc<[User]>, BenchError> {
    let mut accounts = Accounts::open(Client::default(), gateway.access.clone()).await?;
    Ok(accounts.make(count).await?.into())
}
