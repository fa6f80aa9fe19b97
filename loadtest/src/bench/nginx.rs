//! nginx beside the gateway: a plain proxy to the same provider, from Debian's package.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::BenchError;
use crate::ports::free_address;

/// Its processes that work: one a core of the machine that the marks are for.
const WORKERS: u32 = 2;
/// The longest wait for it to listen.
const START_WAIT: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where Debian has it, which is not in everybody's path.
const USUAL: &str = "/usr/sbin/nginx";

/// A running nginx; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Nginx {
    process: Child,
    address: SocketAddr,
    version: String,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it before a provider.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub(super) fn start(named: Option<&Path>, provider: SocketAddr) -> Result<Self, BenchError> {
        let program = named.map_or_else(found, |path| path.is_file().then(|| path.to_owned()));
        let program = program.ok_or(BenchError::NoNginx)?;
        let folder = tempfile::tempdir().map_err(BenchError::io("a folder for nginx"))?;
        let address = free_address().map_err(BenchError::io("a port for nginx"))?;
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), address, provider))
            .map_err(BenchError::io("nginx's configuration"))?;
        let log = folder.path().join("error.log");
        let mut command = Command::new(&program);
        command.arg("-p").arg(folder.path()).arg("-e").arg(&log).arg("-c").arg(&file);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = quiet.spawn().map_err(BenchError::io("nginx"))?;
        let mut own = Self { process, address, version: version(&program), _folder: folder };
        own.listens(&log)?;
        Ok(own)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its first process, the parent of the others.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// As it names itself.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    fn listens(&mut self, log: &Path) -> Result<(), BenchError> {
        let until = Instant::now() + START_WAIT;
        while TcpStream::connect(self.address).is_err() {
            let ended = !matches!(self.process.try_wait(), Ok(None));
            if ended || Instant::now() > until {
                return Err(BenchError::Nginx(fs::read_to_string(log).unwrap_or_default()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // SIGTERM, so that it ends its own children.
            rustix::process::kill_process(id, rustix::process::Signal::TERM).ok();
        }
        // It may have ended by itself.
        self.process.wait().ok();
    }
}

/// The program of that name in the path, or where Debian has it.
fn found() -> Option<PathBuf> {
    let path = Command::new("sh").args(["-c", "command -v nginx"]).output().ok();
    let text = path.and_then(|output| String::from_utf8(output.stdout).ok());
    let named = text.map(|text| PathBuf::from(text.trim()));
    let usual = Some(PathBuf::from(USUAL));
    [named, usual].into_iter().flatten().find(|path| path.is_file())
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("-v").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let text = text.unwrap_or_default();
    text.trim().trim_start_matches("nginx version: ").to_owned()
}

/// nginx at its best: connections are kept on both sides, nothing is logged or put on the disk.
fn configuration(folder: &Path, address: SocketAddr, provider: SocketAddr) -> String {
    let own = folder.display();
    // Another user could not enter the temporary folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;
worker_processes {WORKERS};
pid {own}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {own}/client;
  proxy_temp_path {own}/proxy;
  fastcgi_temp_path {own}/fastcgi;
  uwsgi_temp_path {own}/uwsgi;
  scgi_temp_path {own}/scgi;
  client_max_body_size 64m;
  keepalive_requests 100000000;
  upstream provider {{
    server {provider};
    keepalive 1024;
    keepalive_requests 100000000;
  }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"
    )
}
