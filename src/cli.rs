//! The command line: which words there are, and the help that explains every setting.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config;

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
    /// Bring the store's tables up to date.
    Migrate,
    /// Audit the store: exit 1 unless the books balance.
    Books(Books),
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
            (&["migrate"], Verb::Migrate),
            (&["books"], Verb::Books(Books { json: false })),
            (&["books", "--json"], Verb::Books(Books { json: true })),
        ] {
            assert_eq!(read(line).unwrap().verb(), verb);
        }
        assert!(read(&["bakcup", "a.db"]).is_err());
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
