//! The gateway's program as a child process, and its words run to their end.

use std::path::Path;
use std::process::{ExitStatus, Output};

use opencredits_loadtest::crash::child::{Child, Program, Signal};

pub use opencredits_loadtest::crash::child::Settings;

use crate::support::Client;

/// A `serve` that is ready; killed when it is dropped.
pub struct Process {
    pub client: Client,
    child: Child,
}

impl std::ops::Deref for Process {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Process {
    /// Starts the gateway and waits until it says that it is ready.
    pub async fn serve(settings: &Settings) -> Self {
        let mut child = program(settings).serve().unwrap();
        let addresses = child.ready().await;
        let addresses = addresses.unwrap_or_else(|ended| panic!("{ended}"));
        Self { client: Client::new(&addresses.public, &addresses.admin), child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `host:port` of the public address.
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// Sends a signal, as in `TERM`.
    pub fn signal(&self, name: &str) {
        self.child.signal(match name {
            "TERM" => Signal::TERM,
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "STOP" => Signal::STOP,
            "CONT" => Signal::CONT,
            other => panic!("{other} is not sent here"),
        });
    }

    /// kill -9, and the end of it.
    pub fn kill(self) {
        drop(self);
    }

    /// Waits for its end by itself; put a time-out around it.
    pub async fn ended(mut self) -> ExitStatus {
        self.child.ended().await.unwrap()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.child.log()
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what the gateway said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// The program with settings.
pub fn program(settings: &Settings) -> Program {
    Program::new(Path::new(env!("CARGO_BIN_EXE_opencredits")), settings)
}

/// Runs the program with these words until it ends.
pub async fn run(words: &[&str], settings: &Settings) -> Output {
    program(settings).run(words).await.unwrap()
}

/// What a run has written to standard error.
pub fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a run has written to standard output.
pub fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
