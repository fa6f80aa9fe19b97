//! The gateway under measure: a child process with its own defaults, but for limits that a benchmark
//! does not mean.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::BenchError;
use crate::crash::child::{Child, Program, Settings};
use crate::load::target::Target;
use crate::receipts::Access;

/// The operator's token.
const ADMIN_TOKEN: &str = "the-operator-of-the-benchmark-and-nobody-else";
/// The longest wait until it is ready: a large database may have to be looked through.
const READY_WAIT: Duration = Duration::from_secs(120);

/// A running gateway; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    process: Child,
    /// Where requests go.
    pub(super) target: Target,
    /// How its operator reaches it.
    pub(super) access: Access,
}

impl Gateway {
    /// Starts it on a database; `own` are settings without their prefix.
    ///
    /// # Errors
    /// When it does not start or is not ready in time.
    pub(super) async fn start(
        program: &Path,
        database: &Path,
        provider: SocketAddr,
        own: &Settings,
    ) -> Result<Self, BenchError> {
        let mut settings = settings(database, provider);
        settings.extend(own.clone());
        // The log is a text, as it is by default.
        settings.insert("LOG_FORMAT".to_owned(), "text".to_owned());
        let process = Program::new(program, &settings).serve();
        let mut process = process.map_err(BenchError::io(&program.display().to_string()))?;
        let ready = tokio::time::timeout(READY_WAIT, process.ready()).await;
        let Ok(ready) = ready else { return Err(BenchError::Gateway(process.log())) };
        let addresses = ready.map_err(|ended| BenchError::Gateway(ended.log))?;
        let base = format!("http://{}", addresses.public);
        let target = Target::parse(&base)?;
        let admin = format!("http://{}", addresses.admin);
        let access = Access { base, admin, admin_token: ADMIN_TOKEN.to_owned() };
        Ok(Self { process, target, access })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

fn settings(database: &Path, provider: SocketAddr) -> Settings {
    let provider = format!("http://{provider}");
    [
        ("LISTEN", "127.0.0.1:0"),
        // Another loopback address, so that port 0 does not mean the same listener.
        ("ADMIN_LISTEN", "127.0.0.2:0"),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("STORE", &format!("sqlite:{}", database.display())),
        ("OPENAI_API_KEY", "benchmark"),
        ("OPENAI_BASE_URL", &provider),
        ("RATE_LIMIT_PER_KEY", "100000000/min"),
        ("OPEN_STREAMS_PER_KEY", "100000"),
        ("HOLDS_PER_ACCOUNT", "100000"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
