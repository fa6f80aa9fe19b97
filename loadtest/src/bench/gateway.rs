//! The gateway under measure: a child process with its own defaults, but for limits that a benchmark
//! does not mean.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::BenchError;
use crate::crash::child::Settings;
use crate::load::target::Target;
use crate::receipts::Access;

/// The operator's token.
const ADMIN_TOKEN: &str = "the-operator-of-the-benchmark-and-nobody-else";
/// The longest wait until it is ready: a large database may have to be looked through.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Lines of the log that are kept for an error.
const LINES_MAX: usize = 50;

/// A running gateway; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    process: Child,
    /// Where requests go.
    pub(super) target: Target,
    /// How its operator reaches it.
    pub(super) access: Access,
}

/// Where it listens, public and admin.
type Addresses = (String, String);

impl Gateway {
    /// Starts it on a database; `own` are settings without their prefix.
    ///
    /// # Errors
    /// When it does not start or is not ready in time.
    pub(super) async fn start(
        program: &Path,
        database: &Path,
        provider: SocketAddr,
        own: &Settings,
    ) -> Result<Self, BenchError> {
        let mut settings = settings(database, provider);
        settings.extend(own.clone());
        let mut command = Command::new(program);
        command.arg("serve").env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
        // The log is a plain text of which two lines are read.
        command.env("NO_COLOR", "1");
        command.envs(settings.iter().map(|(name, value)| (format!("OPENCREDITS_{name}"), value)));
        let shown = program.display().to_string();
        let process = command.spawn().map_err(BenchError::io(&shown))?;
        let mut starting = Starting(Some(process));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let ready = starting.hear(&kept);
        let ready = tokio::time::timeout(READY_WAIT, ready).await;
        let Ok(Ok((public, admin))) = ready else {
            let lines = kept.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(BenchError::Gateway(lines.join("\n")));
        };
        let base = format!("http://{public}");
        let target = Target::parse(&base)?;
        let (admin, admin_token) = (format!("http://{admin}"), ADMIN_TOKEN.to_owned());
        let access = Access { base, admin, admin_token };
        let process = starting.0.take().ok_or_else(|| BenchError::Gateway(String::new()))?;
        Ok(Self { process, target, access })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// A process that is killed unless it became a gateway.
struct Starting(Option<Child>);

impl Starting {
    /// Reads its log to the end on a thread; the receiver hears where it listens once it is ready.
    fn hear(&mut self, kept: &Arc<Mutex<Vec<String>>>) -> oneshot::Receiver<Addresses> {
        let (told, ready) = oneshot::channel();
        if let Some(stderr) = self.0.as_mut().and_then(|process| process.stderr.take()) {
            let kept = Arc::clone(kept);
            std::thread::spawn(move || follow(stderr, told, &kept));
        }
        ready
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

fn end(process: &mut Child) {
    // It may have ended by itself.
    process.kill().ok();
    process.wait().ok();
}

fn follow(stderr: ChildStderr, ready: oneshot::Sender<Addresses>, kept: &Mutex<Vec<String>>) {
    let mut log = BufReader::with_capacity(1 << 16, stderr);
    let (mut addresses, mut line) = (None, String::new());
    while log.read_line(&mut line).is_ok_and(|count| count > 0) {
        addresses = listening(&line).or(addresses);
        if line.trim_end().ends_with("ready") {
            break;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < LINES_MAX {
            kept.push(line.trim_end().to_owned());
        }
        line.clear();
    }
    // Who waited may have given up.
    addresses.map(|addresses| ready.send(addresses).ok());
    // A line a request from here on: read, so that the gateway never waits for its reader.
    io::copy(&mut log, &mut io::sink()).ok();
}

/// Where it listens, if a line of the log says it.
fn listening(line: &str) -> Option<Addresses> {
    let (_, fields) = line.split_once(" listening ")?;
    let field = |name: &str| {
        let value = fields.split_whitespace().find_map(|field| field.strip_prefix(name));
        value.map(str::to_owned)
    };
    Some((field("public=")?, field("admin=")?))
}

fn settings(database: &Path, provider: SocketAddr) -> Settings {
    let provider = format!("http://{provider}");
    [
        ("LISTEN", "127.0.0.1:0"),
        // Another loopback address, so that port 0 does not mean the same listener.
        ("ADMIN_LISTEN", "127.0.0.2:0"),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("STORE", &format!("sqlite:{}", database.display())),
        ("OPENAI_API_KEY", "benchmark"),
        ("OPENAI_BASE_URL", &provider),
        ("RATE_LIMIT_PER_KEY", "100000000/min"),
        ("OPEN_STREAMS_PER_KEY", "100000"),
        ("HOLDS_PER_ACCOUNT", "100000"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_it_listens() {
        let line = "2026-11-29T00:00:00.1Z  INFO opencredits::verbs: listening \
                    public=127.0.0.1:1 admin=127.0.0.2:2\n";
        assert_eq!(listening(line), Some(("127.0.0.1:1".into(), "127.0.0.2:2".into())));
        assert_eq!(listening("INFO opencredits::serving: ready"), None);
    }
}
