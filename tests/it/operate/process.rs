//! The gateway's program as a child process, and its words run to their end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::support::Client;

/// Settings by the names of the environment without the prefix.
pub type Settings = BTreeMap<String, String>;

/// A `serve` that is ready; killed when it is dropped.
pub struct Process {
    pub client: Client,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
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
        let mut child = spawn(settings);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (told, ready) = oneshot::channel();
        let stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || follow(stderr, &kept, told));
        let Ok((public, admin)) = ready.await else {
            let status = child.wait().unwrap();
            panic!("the gateway ended with {status}:\n{}", log.lock().unwrap().join("\n"));
        };
        Self { client: Client::new(&public, &admin), child, log }
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
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.id().to_string());
        assert!(kill.status().unwrap().success());
    }

    /// kill -9, and the end of it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end by itself; put a time-out around it.
    pub async fn ended(mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what the gateway said")]
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// Starts a `serve` that nobody waits for; its log can be read from `stderr`.
pub fn spawn(settings: &Settings) -> Child {
    command(&["serve"], settings).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs the program with these words until it ends.
pub async fn run(words: &[&str], settings: &Settings) -> Output {
    let mut command = command(words, settings);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What a run has written to standard error.
pub fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a run has written to standard output.
pub fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn command(words: &[&str], settings: &Settings) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opencredits"));
    command.args(words).env_clear().stdin(Stdio::null());
    command.env("OPENCREDITS_LOG_FORMAT", "json");
    command.envs(settings.iter().map(|(name, value)| (format!("OPENCREDITS_{name}"), value)));
    command
}

/// Reads the log to its end; tells the addresses once the gateway is ready.
fn follow(stderr: ChildStderr, log: &Mutex<Vec<String>>, ready: oneshot::Sender<(String, String)>) {
    let (mut addresses, mut ready) = (None, Some(ready));
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &entry["fields"];
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        log.lock().unwrap().push(line);
        match fields["message"].as_str() {
            Some("listening") => addresses = Some((text("public"), text("admin"))),
            Some("ready") => {
                let told = addresses.take().zip(ready.take());
                // A test that has failed meanwhile waits no more.
                told.map(|(addresses, ready)| ready.send(addresses).ok());
            }
            Some(_) | None => {}
        }
    }
}
