//! The gateway's program as a child process: started, heard, signalled, killed.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, kill_process, prlimit};
use serde_json::Value;
use tokio::sync::oneshot;

pub use rustix::process::Signal;

/// Lines of the log that are kept, the newest ones.
const LOG_LINES_MAX: usize = 2000;
/// How often a child is looked at by those who wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Settings by the names of the environment without the prefix.
pub type Settings = BTreeMap<String, String>;

/// The program and the environment in which it runs.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

/// Where a gateway listens, each `host:port`.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The public API.
    pub public: String,
    /// The operator's API.
    pub admin: String,
}

/// A running `serve`; killed when it is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    log: Arc<Mutex<VecDeque<String>>>,
    ready: Option<oneshot::Receiver<Addresses>>,
}

/// A child that ended instead of being ready, or not as it should.
#[derive(Debug, thiserror::Error)]
#[error("the gateway ended with {status}:\n{log}")]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it logged.
    pub log: String,
}

impl Program {
    /// The program at a path with nothing but these settings in its environment; its log is JSON if they do
    /// not say.
    pub fn new(path: &Path, settings: &Settings) -> Self {
        let named = settings.iter().map(|(name, value)| {
            (OsString::from(format!("OPENCREDITS_{name}")), OsString::from(value))
        });
        // Gateways of before colour a text also where nobody sees it.
        let usual = [("OPENCREDITS_LOG_FORMAT", "json"), ("NO_COLOR", "1")];
        let usual = usual.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut environment = BTreeMap::from(usual);
        environment.extend(named);
        Self { path: path.to_owned(), environment }
    }

    /// The same with more in its environment.
    pub fn with(mut self, more: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment.extend(more);
        self
    }

    /// Starts a `serve`; [`Child::ready`] waits for it.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn serve(&self) -> io::Result<Child> {
        let mut process = self.command(&["serve"]).stderr(Stdio::piped()).spawn()?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (told, ready) = oneshot::channel();
        if let Some(stderr) = process.stderr.take() {
            let kept = Arc::clone(&log);
            std::thread::spawn(move || follow(stderr, &kept, told));
        }
        Ok(Child { process, log, ready: Some(ready) })
    }

    /// Runs it with these words until it ends.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub async fn run(&self, words: &[&str]) -> io::Result<Output> {
        let mut command = self.command(words);
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.map_err(io::Error::other)?
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(words).env_clear().envs(&self.environment).stdin(Stdio::null());
        command
    }
}

impl Child {
    /// Waits until it says that it is ready; call it once.
    ///
    /// # Errors
    /// [`Ended`] when it ends before.
    pub async fn ready(&mut self) -> Result<Addresses, Ended> {
        if let Some(ready) = self.ready.take()
            && let Ok(addresses) = ready.await
        {
            return Ok(addresses);
        }
        // Its log has ended, so it has or is about to.
        let status = self.process.wait().unwrap_or_default();
        Err(Ended { status, log: self.log() })
    }

    /// Waits until it holds the lock of a database, which is before its recovery is over; `false`
    /// when it ends before.
    pub async fn locks(&mut self, database: &Path) -> bool {
        let mut lock = database.as_os_str().to_owned();
        lock.push(".lock");
        let own = format!("process {},", self.id());
        while !std::fs::read_to_string(&lock).unwrap_or_default().contains(&own) {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal; one to a child that has ended is lost.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            kill_process(pid, signal).ok();
        }
    }

    /// Lets it open so many file descriptors more than it has now; `None` = as many as it may.
    ///
    /// # Errors
    /// When its limit cannot be set.
    pub fn limit_descriptors(&self, more: Option<u64>) -> io::Result<()> {
        let current = match more {
            Some(more) => {
                let open = std::fs::read_dir(format!("/proc/{}/fd", self.id()))?.count();
                Some(u64::try_from(open).unwrap_or(u64::MAX).saturating_add(more))
            }
            None => rustix::process::getrlimit(Resource::Nofile).current,
        };
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        prlimit(self.pid(), Resource::Nofile, Rlimit { current, maximum })?;
        Ok(())
    }

    /// kill -9, and the end of it.
    pub fn kill(mut self) {
        self.end();
    }

    /// Ends it as an operator does, with SIGTERM; kills it if that takes longer than this.
    ///
    /// # Errors
    /// [`Ended`] when it did not end well.
    pub async fn stop(mut self, wait: Duration) -> Result<(), Ended> {
        self.signal(Signal::TERM);
        // Without an end in time the kill is what ends it.
        tokio::time::timeout(wait, self.ended()).await.ok();
        self.end();
        let status = self.process.wait().unwrap_or_default();
        if status.success() { Ok(()) } else { Err(Ended { status, log: self.log() }) }
    }

    /// Waits for its end by itself; put a time-out around it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What it has logged, the newest lines.
    pub fn log(&self) -> String {
        lock(&self.log).iter().cloned().collect::<Vec<_>>().join("\n")
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.id()).ok()?)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads the log to its end; tells the addresses once the gateway is ready.
fn follow(stderr: impl Read, log: &Mutex<VecDeque<String>>, ready: oneshot::Sender<Addresses>) {
    let (mut addresses, mut ready) = (None, Some(ready));
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // A line a request may come from then on: kept, not read.
        if ready.is_some() {
            addresses = listening(&line).or(addresses);
            // One that is ready at places that cannot be read is waited for in vain, not for its end.
            if is_ready(&line)
                && let Some(addresses) = addresses.take()
                && let Some(ready) = ready.take()
            {
                // Whoever waited may have given up.
                ready.send(addresses).ok();
            }
        }
        let mut log = lock(log);
        if log.len() >= LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(line);
    }
}

/// Where it listens, if a line of the log says it, as JSON or as text.
fn listening(line: &str) -> Option<Addresses> {
    if let Ok(entry) = serde_json::from_str::<Value>(line) {
        let field = |name: &str| entry.pointer(&format!("/fields/{name}")).and_then(Value::as_str);
        let text = |name: &str| field(name).unwrap_or_default().to_owned();
        let says = field("message") == Some("listening");
        return says.then(|| Addresses { public: text("public"), admin: text("admin") });
    }
    let (_, fields) = line.split_once(" listening ")?;
    let field = |name: &str| {
        let value = fields.split_whitespace().find_map(|field| field.strip_prefix(name));
        value.map(str::to_owned)
    };
    Some(Addresses { public: field("public=")?, admin: field("admin=")? })
}

fn is_ready(line: &str) -> bool {
    match serde_json::from_str::<Value>(line) {
        Ok(entry) => entry.pointer("/fields/message").and_then(Value::as_str) == Some("ready"),
        Err(_) => line.trim_end().ends_with("ready"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_it_listens_and_when_it_is_ready_in_both_formats() {
        let json =
            r#"{"fields":{"message":"listening","public":"127.0.0.1:1","admin":"127.0.0.2:2"}}"#;
        let text = "2026-11-29T00:00:00.1Z  INFO opencredits::verbs: listening \
                    public=127.0.0.1:1 admin=127.0.0.2:2\n";
        for line in [json, text] {
            let Addresses { public, admin } = listening(line).unwrap();
            assert_eq!((public.as_str(), admin.as_str()), ("127.0.0.1:1", "127.0.0.2:2"));
            assert!(!is_ready(line));
        }
        for line in [r#"{"fields":{"message":"ready"}}"#, "INFO opencredits::serving: ready"] {
            assert!(is_ready(line) && listening(line).is_none());
        }
    }

    #[test]
    fn a_gateway_is_ready_once_it_is_known_where() {
        let lines = "INFO serving: ready\nINFO verbs: listening public=127.0.0.1:1 \
                     admin=127.0.0.2:2\nINFO serving: ready\nINFO other: line\n";
        let (told, mut ready) = oneshot::channel();
        let log = Mutex::default();
        follow(lines.as_bytes(), &log, told);
        assert_eq!(ready.try_recv().unwrap().public, "127.0.0.1:1");
        assert_eq!(lock(&log).len(), 4);
    }
}
