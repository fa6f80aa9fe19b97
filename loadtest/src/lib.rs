//! Simulated providers and the demo of OpenCredits: what the tests, the demo and load runs share.

#![recursion_limit = "256"]

pub mod bench;
pub mod client;
pub mod crash;
pub mod demo;
pub mod gateway;
pub mod load;
pub mod ports;
pub mod receipts;
mod serve;
pub mod settle;
pub mod shop;
pub mod simulators;
pub mod stripe;

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns at Ctrl-C or SIGTERM.
///
/// # Errors
/// When the signals cannot be heard.
pub async fn stop_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// A verb's options, read from its words.
fn parsed<'a, T: clap::Args>(words: impl IntoIterator<Item = &'a str>) -> Result<T, clap::Error> {
    #[derive(Debug, clap::Parser)]
    #[command(no_binary_name = true)]
    struct Line<T: clap::Args> {
        #[command(flatten)]
        options: T,
    }
    <Line<T> as clap::Parser>::try_parse_from(words).map(|line| line.options)
}
