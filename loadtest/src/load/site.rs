//! A site of a run's own: the gateway as a child process, simulated providers, a partner.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accounts::{Accounts, AccountsError};
use super::server::Watched;
use super::target::{Target, TargetError};
use crate::client::Client;
use crate::crash::child::{Child, Ended, Program, Settings};
use crate::receipts::Access;
use crate::simulators::Providers;

/// How long a gateway may take to end: requests that still run have half of it.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// Everything that a run needs, running; ends when it is dropped.
#[derive(Debug)]
pub struct Site {
    /// Where requests go.
    pub target: Target,
    /// The folder of the database.
    pub folder: tempfile::TempDir,
    gateway: Child,
    /// They run for as long as the site does.
    _providers: Providers,
}

/// A site that did not come up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A socket, a folder, or the gateway's program.
    #[error("{what}: {source}")]
    Io {
        /// What it was about.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The gateway ended instead of being ready, or not as it should.
    #[error("{0}")]
    Ended(#[from] Ended),
    /// The gateway's address is odd.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The admin API refused.
    #[error("{0}")]
    Accounts(#[from] AccountsError),
    /// No random bytes for the admin token.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Site {
    /// Starts it all, and makes a partner there; `own` are settings of the gateway without their prefix.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn start(gateway: &Path, own: &Settings) -> Result<(Self, Accounts), SiteError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| SiteError::Io { what, source }
        };
        let providers = Providers::start((Ipv4Addr::LOCALHOST, 0).into()).await;
        let providers = providers.map_err(io("the simulated providers"))?;
        let folder = tempfile::tempdir().map_err(io("a folder for the database"))?;
        let admin_token = token()?;
        let store = format!("sqlite:{}", folder.path().join("opencredits.db").display());
        let mut settings = settings(&providers.origin(), &store, &admin_token);
        settings.extend(own.clone());
        let program = Program::new(gateway, &settings);
        let mut gateway = program.serve().map_err(io(&gateway.display().to_string()))?;
        let addresses = gateway.ready().await?;
        let base = format!("http://{}", addresses.public);
        let admin = format!("http://{}", addresses.admin);
        let target = Target::parse(&base)?;
        let access = Access { base, admin, admin_token };
        let accounts = Accounts::open(Client::default(), access).await?;
        Ok((Self { target, folder, gateway, _providers: providers }, accounts))
    }

    /// Ends the gateway as an operator does, and the rest with it.
    ///
    /// # Errors
    /// When the gateway does not end well.
    pub async fn stop(self) -> Result<(), SiteError> {
        Ok(self.gateway.stop(STOP_WAIT).await?)
    }

    /// Where the gateway's figures are.
    #[must_use]
    pub fn watched(&self, access: &Access) -> Watched {
        let Access { admin, admin_token, .. } = access;
        let metrics = Some((admin.clone(), admin_token.clone()));
        Watched { pid: Some(self.gateway.id()), metrics }
    }
}

/// Where the gateway's program is if nobody says so: beside this one, or one folder above it, where
/// tests are.
#[must_use]
pub fn usual_gateway() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let above = own.parent().into_iter().flat_map(Path::ancestors).take(2);
    let mut found = above.map(|folder| folder.join("opencredits")).filter(|path| path.is_file());
    found.next().unwrap_or_else(|| own.with_file_name("opencredits"))
}

/// The gateway's settings, without their prefix: limits that a load run does not mean are out of its
/// way, and the log says no more than that it is ready.
fn settings(providers: &str, store: &str, admin_token: &str) -> Settings {
    let mut settings: Settings = [
        ("LISTEN", "127.0.0.1:0"),
        // Another loopback address, so that port 0 does not mean the same listener.
        ("ADMIN_LISTEN", "127.0.0.2:0"),
        ("ADMIN_TOKEN", admin_token),
        ("STORE", store),
        ("LOG", "warn,opencredits::verbs=info,opencredits::serving=info"),
        ("RATE_LIMIT_PER_KEY", "100000000/min"),
        ("OPEN_STREAMS_PER_KEY", "100000"),
        ("HOLDS_PER_ACCOUNT", "100000"),
        ("MAX_CONNECTIONS", "60000"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for provider in ["OPENAI", "ANTHROPIC", "GOOGLE", "XAI"] {
        settings.insert(format!("{provider}_API_KEY"), "simulated".to_owned());
        settings.insert(format!("{provider}_BASE_URL"), providers.to_owned());
    }
    settings
}

fn token() -> Result<String, SiteError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(SiteError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
