//! `loadtest crash`: breaks a gateway at random moments under load, and proves that its books hold.
//!
//! The gateway is a child process on a store of its own; providers and Stripe are simulated in this
//! process and outlive it. A [`plan::Plan`] follows from a seed: after so many requests something is
//! broken for a while, then the gateway is killed with kill -9 and started again, on the same store.
//! After each start what was acknowledged before is looked up; in the end everything is compared:
//! what clients were told, what Stripe and the operator know, what the gateway tells.

mod breaker;
mod buyers;
pub mod child;
pub mod dice;
mod ground;
mod load;
mod plan;
mod prices;
mod report;
mod shim;
mod site;
mod tear;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use plan::Fault;
pub use report::{BooksLine, FaultLine, NotRun, Report, Requests};

use crate::client::ClientError;
use crate::receipts::AuditError;
use breaker::Breaker;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway's program.
    pub gateway: PathBuf,
    /// Makes the schedule.
    pub seed: u64,
    /// How long it goes on.
    pub length: Length,
    /// What is broken; empty = everything that this machine allows.
    pub faults: Vec<Fault>,
    /// The disk says that it has synced and has not: then the run has to find that the books do not
    /// hold. It shows that the harness can fail.
    pub lying_disk: bool,
}

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Until there were so many of both.
    Counts {
        /// Times that the gateway was killed.
        crashes: usize,
        /// Requests that were begun.
        requests: usize,
    },
    /// So long, and then to the end of the round.
    Time(Duration),
}

/// A run that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum CrashError {
    /// A file, a process or a socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The gateway did not start again.
    #[error("{0}")]
    Ended(#[from] child::Ended),
    /// The gateway was not ready in time.
    #[error("the gateway is not ready after {} s:\n{log}", breaker::READY_WAIT.as_secs())]
    NotReady {
        /// What it logged.
        log: String,
    },
    /// The gateway could not be audited.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The operator got no answer while everything was set up.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The operator was refused while everything was set up.
    #[error("{path} was answered {status}: {body}")]
    Refused {
        /// What was called.
        path: &'static str,
        /// The answer's status.
        status: u16,
        /// The answer's body.
        body: String,
    },
}

/// Runs it.
///
/// # Errors
/// When it could not be finished. Books that do not hold are in the report.
pub async fn run(options: &Options) -> Result<Report, CrashError> {
    let mut breaker = Breaker::start(options).await?;
    let run = async {
        while breaker.goes_on() {
            breaker.round().await?;
        }
        breaker.finish().await
    };
    match run.await {
        Ok(()) => {}
        // A gateway that does not come back, or does not answer, is the worst that can be found.
        Err(
            error @ (CrashError::Ended(_) | CrashError::NotReady { .. } | CrashError::Audit(_)),
        ) => breaker.give_up(&error),
        Err(error) => return Err(error),
    }
    Ok(breaker.report())
}
