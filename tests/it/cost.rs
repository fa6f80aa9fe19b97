//! What a request costs, counted and not timed: instructions and allocations of its pure parts, and the
//! system calls of the whole.
//!
//! Each bound stands a tenth or so above what was counted when it was set (opt-level 1, as all that the
//! tests build). Who lowers a figure lowers its bound; who must raise one says why in the commit.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::operate::Site;
use crate::operate::process::Process;
use crate::support::{User, chat};

/// Instructions and allocations of one turn of a part of `loadtest/examples/hot_path.rs`.
const PARTS: [(&str, u64, u64); 5] = [
    ("request", 28_000, 20),
    ("answer", 20_500, 5),
    ("chunk", 4_400, 0),
    ("charge", 2_100, 1),
    ("account", 4_100, 4),
];

/// System calls of a plain request, with all that its durable charge takes.
const CALLS_A_REQUEST: u64 = 16;
/// System calls of a chunk of a stream, and of ten that the provider writes at once.
const CALLS_A_CHUNK: u64 = 3;
const CALLS_OF_TEN_CHUNKS: u64 = 2;

const REQUESTS: u64 = 400;
const CHUNKS: u64 = 200;

fn hot_path() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().parent().unwrap().join("examples/hot_path");
    assert!(example.exists(), "cargo build --profile ci --workspace --examples makes {example:?}");
    example
}

/// What a program says on one of its outputs.
fn said(command: &mut Command, of_errors: bool) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(if of_errors { &output.stderr } else { &output.stdout })
}

/// Instructions of a run of the example, by callgrind.
fn instructions(part: &str, times: u64) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let told = said(valgrind.arg(hot_path()).args([part, &times.to_string()]), true);
    let line = told.lines().find_map(|line| line.split_once("Collected : "));
    line.unwrap_or_else(|| panic!("{told}")).1.trim().parse().unwrap()
}

fn allocations(part: &str, times: u64) -> u64 {
    let mut example = Command::new(hot_path());
    said(example.args([part, &times.to_string()]), false).trim().parse().unwrap()
}

/// The cost of one more turn: what a start costs falls out.
fn of_one(counted: impl Fn(u64) -> u64) -> u64 {
    const FEW: u64 = 100;
    const MANY: u64 = 1100;
    (counted(MANY) - counted(FEW)) / (MANY - FEW)
}

#[test]
#[expect(clippy::print_stdout, reason = "for whoever looks at the figures")]
fn the_pure_parts_cost_no_more_than_they_did() {
    for (part, instructions_max, allocations_max) in PARTS {
        let instructions = of_one(|times| instructions(part, times));
        let allocations = of_one(|times| allocations(part, times));
        println!("{part}: {instructions} instructions, {allocations} allocations");
        assert!(instructions <= instructions_max, "{part}: {instructions} instructions");
        assert!(allocations <= allocations_max, "{part}: {allocations} allocations");
    }
}

/// The system calls that a gateway makes while something is done with it.
#[expect(clippy::print_stdout, reason = "for whoever looks where they come from")]
async fn calls(gateway: &Process, work: impl Future<Output = ()>) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let counts = folder.path().join("counts");
    let mut strace = tokio::process::Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&counts);
    strace.args(["-p", &gateway.id().to_string()]).stderr(std::process::Stdio::piped());
    let mut strace = strace.spawn().unwrap();
    let mut words = tokio::io::BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut words, &mut line).await.unwrap();
    assert!(line.contains("attached"), "{line}");
    work.await;
    let pid = rustix::process::Pid::from_raw(strace.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    strace.wait().await.unwrap();
    let table = std::fs::read_to_string(&counts).unwrap();
    println!("{table}");
    let total = table.lines().find_map(|line| line.trim().strip_suffix(" total"));
    total.unwrap_or_else(|| panic!("{table}")).trim().parse().unwrap()
}

async fn ask(gateway: &Process, user: &User, body: &serde_json::Value) {
    let answer = gateway.post(user, "/v1/chat/completions", body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "for whoever looks at the figures")]
async fn the_whole_makes_no_more_system_calls_than_it_did() {
    let site = Site::new().await;
    let own = [("WORKERS", "1"), ("RATE_LIMIT_PER_KEY", "1000000/min")];
    let gateway = Process::serve(&site.settings(&own)).await;
    let user = gateway.user("1000").await;
    let plain = chat("openai/gpt-4o", "Hi [[sim output=50]]");
    let mut stream = chat("openai/gpt-4o", "Hi [[sim output=200 chunks=200 delay_ms=2]]");
    stream["stream"] = json!(true);
    let mut burst = chat("openai/gpt-4o", "Hi [[sim output=200 chunks=200]]");
    burst["stream"] = json!(true);
    for body in [&plain, &stream, &burst] {
        ask(&gateway, &user, body).await;
    }
    let plain = calls(&gateway, async {
        for _ in 0..REQUESTS {
            ask(&gateway, &user, &plain).await;
        }
    });
    let plain = plain.await / REQUESTS;
    let chunk = calls(&gateway, ask(&gateway, &user, &stream)).await / CHUNKS;
    let ten = calls(&gateway, ask(&gateway, &user, &burst)).await * 10 / CHUNKS;
    println!("{plain} system calls a request, {chunk} a chunk, {ten} of ten at once");
    assert!(plain <= CALLS_A_REQUEST, "{plain} system calls a request");
    assert!(chunk <= CALLS_A_CHUNK, "{chunk} system calls a chunk");
    assert!(ten <= CALLS_OF_TEN_CHUNKS, "{ten} system calls of ten chunks at once");
}
