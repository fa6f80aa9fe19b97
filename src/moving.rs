//! `migrate --from … --to …`: moves a SQLite store into a cluster and tells how far it is.

use std::convert::Infallible;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use opencredits_actors::{
    Books, MoveEnd, MoveProgress, ScyllaSettings, ScyllaStore, SqliteStore, StoreError,
};

use crate::books::Told;
use crate::cli::Cluster;

/// How often a person is told, and how often a log file is.
const TELL_EVERY: Duration = Duration::from_secs(1);
const LOG_EVERY: Duration = Duration::from_secs(30);

const CLEAR_LINE: &str = "\r\x1b[K";

/// Moves a file's content; the process's exit code, and what to say.
///
/// # Errors
/// When the file is not there or is served, or the keyspace does not take it.
pub async fn run(
    from: &Path,
    to: &Cluster,
    settings: ScyllaSettings,
) -> Result<(ExitCode, String), StoreError> {
    if !from.exists() {
        let path = from.display();
        return Err(StoreError::Unavailable(format!("{path}: there is no such file")));
    }
    let file = SqliteStore::open(from, "opencredits migrate --from")?;
    let progress = Arc::new(MoveProgress::default());
    let moving = ScyllaStore::import(settings, Arc::new(file), Arc::clone(&progress));
    let end = tokio::select! {
        end = moving => end,
        never = tell(&progress) => match never {},
    };
    end_line();
    let (from, to) = (from.display(), to.to_string());
    Ok(match end? {
        MoveEnd::Moved(books) => (ExitCode::SUCCESS, moved(&from.to_string(), &to, &books)),
        MoveEnd::MovedBefore => {
            let text = format!("{from} was moved to {to} before: nothing was written");
            (ExitCode::SUCCESS, text)
        }
        MoveEnd::Differs(differences) => {
            let list: String = differences.iter().map(|found| format!("\n  ! {found}")).collect();
            let text = format!(
                "NOT THE SAME: {from} and {to} differ; go on with the file, and tell us:{list}"
            );
            (ExitCode::FAILURE, text)
        }
    })
}

fn moved(from: &str, to: &str, books: &Books) -> String {
    format!(
        "moved {from} to {to}; the books of both sides agree\n{}\n\
         next: set OPENCREDITS_STORE={to} and start the gateways. Never serve {from} again: what it \
         took from here on would be missing. Keep it until `opencredits books` has balanced on the \
         cluster for a while and the cluster has a backup of its own.",
        Told(books)
    )
}

/// Says again and again how far it is: on one line of a terminal, now and then in a log.
async fn tell(progress: &MoveProgress) -> Infallible {
    let mut out = std::io::stderr();
    let is_terminal = out.is_terminal();
    loop {
        tokio::time::sleep(if is_terminal { TELL_EVERY } else { LOG_EVERY }).await;
        // Nothing is left to do where even the error stream is gone.
        drop(if is_terminal {
            write!(out, "{CLEAR_LINE}{progress}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{progress}")
        });
    }
}

/// Leaves no half line behind on a terminal.
fn end_line() {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        drop(write!(out, "{CLEAR_LINE}"));
    }
}
