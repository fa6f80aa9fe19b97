//! `loadtest calibrate`: the generator's own CPU for a request, held against wrk's at the same
//! minimal server.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::{Drive, Generator, Job, JobError, Times};
use super::mix::{Kind, Mix};
use super::server::cpu_of;
use super::target::{Target, TargetError, User};

/// Connections of both, each with one thread.
const CONNECTIONS: u32 = 64;
/// Times that each has its turn.
const ROUNDS: u32 = 3;
/// How long a turn is.
const TURN: Duration = Duration::from_secs(4);
/// How often wrk's CPU is read while it runs.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of a prompt, of an answer, and of one read of the server.
const PROMPT_BYTES: usize = 700;
const ANSWER_BYTES: usize = 700;
const READ_BYTES: usize = 16 << 10;
/// How many times wrk's CPU the generator may take.
pub const RATIO_MAX: f64 = 3.0;

/// What a request cost each of them, in microseconds of CPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// wrk.
    pub wrk_us: f64,
    /// This generator.
    pub own_us: f64,
}

/// There is nothing to calibrate with.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// wrk is not installed, or did not do what it should.
    #[error("wrk (Debian's package of that name): {0}")]
    Wrk(io::Error),
    /// The minimal server.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The minimal server's address.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The generator.
    #[error("{0}")]
    Job(#[from] JobError),
}

impl Calibration {
    /// How many times wrk's CPU the generator takes.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.own_us / self.wrk_us
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { wrk_us, own_us }, ratio) = (self, self.ratio());
        write!(
            f,
            "CPU a request: wrk {wrk_us:.2} µs, generator {own_us:.2} µs, ratio {ratio:.2} \
             (bound {RATIO_MAX}); {CONNECTIONS} connections, plain POST, one thread each"
        )
    }
}

/// Measures both in turns, so that what else the machine does meets them alike.
///
/// # Errors
/// When wrk is not there or one of them fails.
pub fn run() -> Result<Calibration, CalibrateError> {
    let address = serve()?;
    let target = Target::parse(&format!("http://{address}"))?;
    let (mut own, mut wrk) = (Generator::default(), Generator::default());
    for _ in 0..ROUNDS {
        wrk.add(&run_wrk(&target).map_err(CalibrateError::Wrk)?);
        own.add(&run_own(&target)?);
    }
    let each = |of: Generator| of.cpu_us_per_request().unwrap_or(f64::NAN);
    Ok(Calibration { wrk_us: each(wrk), own_us: each(own) })
}

fn run_own(target: &Target) -> Result<Generator, JobError> {
    let prompt_bytes = [PROMPT_BYTES; 2];
    let mix = Mix { kinds: vec![Kind { prompt_bytes, ..Kind::default() }], ..Mix::default() };
    let none = Duration::ZERO;
    let job = Job {
        target: target.clone(),
        users: vec![User { account: String::new(), key: "calibration".to_owned() }],
        mix,
        drive: Drive::Closed { connections: CONNECTIONS },
        times: Times { ramp: none, warm_up: none, measure: TURN, timeout: TURN },
        seed: 1,
        part: 0,
        parts: 1,
        threads: 1,
        receipts: false,
    };
    let done = job.run(&Arc::default())?;
    match done.record.whole().failures() {
        0 => Ok(done.generator),
        failed => Err(io::Error::other(format!("{failed} requests failed")).into()),
    }
}

fn run_wrk(target: &Target) -> io::Result<Generator> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("post.lua");
    let body = "x".repeat(PROMPT_BYTES);
    std::fs::write(
        &script,
        format!(
            "wrk.method = \"POST\"\nwrk.body = \"{body}\"\n\
             wrk.headers[\"content-type\"] = \"application/json\"\n\
             wrk.headers[\"authorization\"] = \"Bearer calibration\"\n"
        ),
    )?;
    let mut command = Command::new("wrk");
    let (connections, seconds) = (format!("-c{CONNECTIONS}"), format!("-d{}s", TURN.as_secs()));
    command.args(["-t1", &connections, &seconds, "-s"]).arg(script);
    command.arg(format!("http://{}/v1/chat/completions", target.host));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut cpu = Duration::ZERO;
    while child.try_wait()?.is_none() {
        // Between its end and the next look it has no more to do.
        cpu = cpu.max(cpu_of(child.id()).unwrap_or_default());
        std::thread::sleep(LOOK_EVERY);
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests = told.and_then(|(count, _)| count.parse().ok());
    let requests = requests.ok_or_else(|| io::Error::other(format!("it said: {text}")))?;
    let cpu_us = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
    Ok(Generator { requests, cpu_us, ..Generator::default() })
}

/// Starts a server that does as little as HTTP allows: a thread for each connection that answers
/// each request with the same bytes.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that is gone ends its thread.
            std::thread::spawn(move || answer(stream).ok());
        }
    })?;
    Ok(address)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let body = "y".repeat(ANSWER_BYTES);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {ANSWER_BYTES}\r\n\
         \r\n{body}"
    );
    let (mut buffer, mut read) = (vec![0; READ_BYTES], Vec::new());
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if is_whole(&read) {
            read.clear();
            stream.write_all(answer.as_bytes())?;
        }
    }
}

/// Whether a request has come to its end.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}
