//! What the words of the command line do.

use std::path::Path;
use std::process::ExitCode;

use opencredits_actors::SqliteStore;
use tokio::signal::unix::{SignalKind, signal};

use crate::books::{Told, Trial};
use crate::cli::{Cli, Verb};
use crate::config::{Config, StoreConfig};
use crate::serving::{ServeError, Server};
use crate::{prices, telemetry};

/// Runs a command line in an environment; the process's exit code.
pub fn run(cli: &Cli, environment: &[(String, String)]) -> ExitCode {
    match try_run(cli, environment) {
        Ok(code) => code,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("opencredits: {error}"));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn try_run(cli: &Cli, environment: &[(String, String)]) -> Result<ExitCode, Failure> {
    let file = cli.config.as_ref().map(std::fs::read_to_string).transpose()?;
    let names: Vec<String> = environment.iter().map(|(name, _)| name.clone()).collect();
    let lookup = |name: &str| {
        environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let config = Config::parse(lookup, &names, file.as_deref())?;
    let out = &mut std::io::stdout();
    match cli.verb() {
        Verb::Serve => serve(config)?,
        Verb::CheckConfig => {
            prices::read(config.prices.as_deref())?;
            say(out, &config.describe());
        }
        Verb::Migrate => {
            let done = SqliteStore::migrate(sqlite(&config)?, "opencredits migrate")?;
            say(out, &format!("{done} migrations run"));
        }
        Verb::Backup { path } => {
            SqliteStore::backup_file(sqlite(&config)?, &path)?;
            say(out, &format!("copied to {}", path.display()));
        }
        Verb::Books(books) => {
            let audit = SqliteStore::audit_file(sqlite(&config)?)?;
            let told = if books.json {
                serde_json::to_string(&Trial::from(&audit))?
            } else {
                Told(&audit).to_string()
            };
            say(out, &told);
            return Ok(if audit.balanced() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(config: Config) -> Result<(), Failure> {
    telemetry::start_log(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::bind(config).await?;
        let (public, admin) = (server.address()?, server.admin_address()?);
        tracing::info!(%public, %admin, "listening");
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(server.run(shutdown).await?)
    })
}

fn sqlite(config: &Config) -> Result<&Path, ServeError> {
    match &config.store {
        StoreConfig::Sqlite(path) => Ok(path),
        StoreConfig::Scylla { .. } => Err(ServeError::NoScylla),
    }
}

fn say(out: &mut impl std::io::Write, text: &str) {
    // A reader that has closed its end wants no more.
    writeln!(out, "{text}").ok();
}
