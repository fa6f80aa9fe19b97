//! What the words of the command line do.

use std::process::ExitCode;

use opencredits_actors::{Books, ScyllaSettings, ScyllaStore, SqliteStore, Store};
use tokio::signal::unix::{SignalKind, signal};

use crate::books::{Told, Trial};
use crate::cli::{Cli, Migrate, Verb};
use crate::config::{Config, StoreConfig};
use crate::serving::{Server, cluster};
use crate::{moving, prices, random, telemetry};

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
        Verb::Migrate(Migrate { from: Some(file), to: Some(cluster) }) => {
            let settings = once(&cluster.nodes, &cluster.keyspace)?;
            let (code, told) = runtime()?.block_on(moving::run(&file, &cluster, settings))?;
            say(out, &told);
            return Ok(code);
        }
        Verb::Migrate(_) => {
            let done = migrate(&config.store)?;
            say(out, &format!("{done} migrations run"));
        }
        Verb::Backup { path } => {
            match &config.store {
                StoreConfig::Sqlite(store) => SqliteStore::backup_file(store, &path)?,
                StoreConfig::Scylla { .. } => return Err(ScyllaStore::no_backup().into()),
            }
            say(out, &format!("copied to {}", path.display()));
        }
        Verb::Books(books) => {
            let audit = audited(&config.store)?;
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
    let _log = telemetry::start_log(&config.log)?;
    runtime()?.block_on(async {
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

fn migrate(store: &StoreConfig) -> Result<usize, Failure> {
    match store {
        StoreConfig::Sqlite(path) => Ok(SqliteStore::migrate(path, "opencredits migrate")?),
        StoreConfig::Scylla { nodes, keyspace } => {
            let settings = once(nodes, keyspace)?;
            Ok(runtime()?.block_on(ScyllaStore::migrate(&settings))?)
        }
    }
}

fn audited(store: &StoreConfig) -> Result<Books, Failure> {
    match store {
        StoreConfig::Sqlite(path) => Ok(SqliteStore::audit_file(path)?),
        StoreConfig::Scylla { nodes, keyspace } => {
            let settings = once(nodes, keyspace)?;
            runtime()?.block_on(async { Ok(ScyllaStore::connect(settings).await?.audit().await?) })
        }
    }
}

/// A cluster for a command that serves nothing.
fn once(nodes: &[String], keyspace: &str) -> Result<ScyllaSettings, Failure> {
    Ok(cluster(nodes, keyspace, u64::from_be_bytes(random::bytes::<8>()?)))
}

/// Requests are served by the workers; this one looks after the rest.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn say(out: &mut impl std::io::Write, text: &str) {
    // A reader that has closed its end wants no more.
    writeln!(out, "{text}").ok();
}
