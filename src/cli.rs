//! The command line: which words there are, and the help that explains every setting.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, StoreConfig};

/// A gateway that meters AI requests to the microcredit.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "opencredits", version)]
pub struct Cli {
    /// TOML file with settings; the environment wins over it.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Run the gateway (also without a word).
    #[default]
    Serve,
    /// Copy the SQLite store to PATH while it runs.
    Backup {
        /// The file to write; it must not exist.
        path: PathBuf,
    },
    /// Tell what would run, or everything that is wrong with the settings.
    CheckConfig,
    /// Bring the store's tables up to date, or move a SQLite store into a cluster.
    Migrate(Migrate),
    /// Audit the store: exit 1 unless the books balance.
    Books(Books),
}

/// What is migrated: the store of the settings, or a file into a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Migrate {
    /// Move all that this SQLite store holds, as in sqlite:PATH; no gateway may serve it. The file is
    /// only read. Interrupted, run the same again: it goes on.
    #[arg(long, value_name = "STORE", requires = "to", value_parser = file)]
    pub from: Option<PathBuf>,
    /// Where to: an empty keyspace, as in scylla:HOST:PORT[,HOST:PORT…]/KEYSPACE. It is made if it is
    /// not there, with one copy of the data; with three copies make it before.
    #[arg(long, value_name = "STORE", requires = "from", value_parser = cluster)]
    pub to: Option<Cluster>,
}

/// A keyspace of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `HOST:PORT` of the nodes to ask first.
    pub nodes: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scylla:{}/{}", self.nodes.join(","), self.keyspace)
    }
}

/// The file of `--from`.
fn file(text: &str) -> Result<PathBuf, String> {
    match text.parse::<StoreConfig>().map_err(|bad| format!("it {bad}"))? {
        StoreConfig::Sqlite(path) => Ok(path),
        StoreConfig::Scylla { .. } => {
            Err("a move goes from sqlite:PATH to a cluster; a cluster is \
             copied by its own tools (docs/scale.md)"
                .to_owned())
        }
    }
}

/// The keyspace of `--to`.
fn cluster(text: &str) -> Result<Cluster, String> {
    match text.parse::<StoreConfig>().map_err(|bad| format!("it {bad}"))? {
        StoreConfig::Scylla { nodes, keyspace } => Ok(Cluster { nodes, keyspace }),
        StoreConfig::Sqlite(_) => Err("a move goes to scylla:HOST:PORT/KEYSPACE; `opencredits \
             backup PATH` copies a SQLite store to another file"
            .to_owned()),
    }
}

/// How the audit is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Books {
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// A bad line, or a question for help or version; `exit()` on the error tells it.
    pub fn parse_from_line<I, T>(line: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let command = Self::command().after_help(config::help());
        Self::from_arg_matches(&command.try_get_matches_from(line)?)
    }

    /// What to do.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::parse_from_line(std::iter::once(&"opencredits").chain(line))
    }

    #[test]
    fn each_word_is_its_verb_and_none_serves() {
        for (line, verb) in [
            (&[][..], Verb::Serve),
            (&["serve"], Verb::Serve),
            (&["backup", "a.db"], Verb::Backup { path: "a.db".into() }),
            (&["check-config"], Verb::CheckConfig),
            (&["migrate"], Verb::Migrate(Migrate::default())),
            (&["books"], Verb::Books(Books { json: false })),
            (&["books", "--json"], Verb::Books(Books { json: true })),
        ] {
            assert_eq!(read(line).unwrap().verb(), verb);
        }
        assert!(read(&["bakcup", "a.db"]).is_err());
    }

    #[test]
    fn a_move_goes_from_a_file_to_a_cluster() {
        let line = ["migrate", "--from", "sqlite:a.db", "--to", "scylla:a:1,b:2/k"];
        let Verb::Migrate(read_so) = read(&line).unwrap().verb() else { panic!("another verb") };
        assert_eq!(read_so.from, Some("a.db".into()));
        assert_eq!(read_so.to.unwrap().to_string(), "scylla:a:1,b:2/k");
        for (line, told) in [
            (&["migrate", "--from", "sqlite:a.db"][..], "--to <STORE>"),
            (&["migrate", "--to", "scylla:a:1/k"], "--from <STORE>"),
            (&["migrate", "--from", "scylla:a:1/k", "--to", "scylla:a:1/k"], "its own tools"),
            (&["migrate", "--from", "sqlite:a", "--to", "sqlite:b"], "`opencredits backup PATH`"),
            (&["migrate", "--from", "a.db", "--to", "scylla:a:1/k"], "neither sqlite:PATH nor"),
        ] {
            let refused = read(line).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn the_file_stands_before_or_behind_the_word() {
        for line in [["--config", "a.toml", "serve"], ["serve", "--config", "a.toml"]] {
            assert_eq!(read(&line).unwrap().config, Some("a.toml".into()));
        }
    }

    #[test]
    fn help_explains_every_setting() {
        let help = read(&["--help"]).unwrap_err().to_string();
        for variable in config::VARIABLES {
            assert!(help.contains(variable.name), "{}", variable.name);
        }
    }
}
