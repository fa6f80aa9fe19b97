//! Memory of open streams: what each adds to a gateway whose accounts are active already.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::BenchError;
use super::super::finding::{Bound, Figure, Finding, Outcome};
use super::super::loads::{flat_out, in_turn, mix, plain};
use super::super::nginx::Nginx;
use super::super::process;
use super::super::samples::whole;
use super::super::scenario::Scenario;
use super::super::stage::{Stage, contender, make_accounts};
use super::super::turn::{Contender, Load, take};
use super::plain::CONNECTIONS;
use crate::crash::child::Settings;
use crate::load::job::ratio;
use crate::load::mix::Kind;
use crate::load::plan::Plan;

/// Streams that are open at the two moments of a look.
const STREAMS: [usize; 2] = [1_000, 5_000];
const QUICK_STREAMS: [usize; 2] = [50, 200];
/// Repetitions at most: each needs a new gateway and new accounts.
const REPETITIONS_MAX: u32 = 3;
/// How long streams have been open when memory is looked at: their first checkpoints are written.
const OPEN_FOR: Duration = Duration::from_secs(2);
/// How long the provider says nothing behind the first chunk.
const SILENCE_MS: u64 = 600_000;
/// The longest wait for the first byte of a stream.
const FIRST_BYTE_WAIT: Duration = Duration::from_secs(60);

/// KiB of each open stream at both moments.
type Kib = [f64; 2];

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let sizes = if stage.options.quick { QUICK_STREAMS } else { STREAMS };
    let repetitions = stage.options.repetitions().min(REPETITIONS_MAX);
    let (mut gateway, mut nginx) = (Vec::new(), Vec::new());
    for repetition in 1..=repetitions {
        stage.bar.say(format!("gateway {repetition}/{repetitions}"));
        gateway.push(of_gateway(stage, sizes).await?);
        stage.bar.say(format!("nginx {repetition}/{repetitions}"));
        nginx.push(of_nginx(stage, sizes).await?);
    }
    let mut outcome = Outcome::new(Scenario::Memory);
    for (place, size) in sizes.into_iter().enumerate() {
        let at = |all: &[Kib]| -> Vec<f64> {
            all.iter().filter_map(|kib| kib.get(place).copied()).collect()
        };
        let size = whole(u64::try_from(size).unwrap_or(u64::MAX));
        let name = format!("memory of each of {size} open streams");
        let finding = Finding::new(name, "KiB", at(&gateway));
        let finding = finding.mark(Bound::AtMost(24.0)).stretch(Bound::AtMost(16.0));
        outcome.findings.push(finding);
        for (contender, all) in [("gateway", &gateway), ("nginx", &nginx)] {
            outcome.figures.push(Figure {
                contender: format!("{contender}, {size} streams"),
                name: "resident memory of a stream",
                unit: "KiB",
                samples: at(all).into_iter().collect(),
            });
        }
    }
    let note = "Each stream is an account's own, and all accounts were asked for a plain answer before \
                the memory at the start was read: their actors are not in it. Resident memory is of all processes; the kernel's \
                buffers are not in it.";
    outcome.notes.push(note.to_owned());
    Ok(outcome)
}

async fn of_gateway(stage: &Stage, sizes: [usize; 2]) -> Result<Kib, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for the database"))?;
    let database = folder.path().join("opencredits.db");
    let gateway = stage.another(&database, &Settings::new()).await?;
    let accounts = sizes.into_iter().max().unwrap_or_default();
    let users = make_accounts(&gateway, accounts).await?;
    open(stage, &contender("gateway", &gateway, users), gateway.id(), sizes).await
}

async fn of_nginx(stage: &Stage, sizes: [usize; 2]) -> Result<Kib, BenchError> {
    let nginx = Nginx::start(stage.options.nginx.as_deref(), stage.upstream.address())?;
    let contender = stage.at("nginx", nginx.address())?;
    open(stage, &contender, nginx.id(), sizes).await
}

/// Opens streams, and reads what they added to the memory of a process.
async fn open(
    stage: &Stage,
    contender: &Contender,
    pid: u32,
    sizes: [usize; 2],
) -> Result<Kib, BenchError> {
    activate(stage, contender).await?;
    let before = process::rss(pid);
    let kind = Kind { delay_ms: SILENCE_MS, chunks: Some(2), output_tokens: [2, 2], ..plain() };
    let mix = in_turn(mix(Kind { stream: true, ..kind }), 0);
    let plan = Plan::new(&mix, &contender.target, contender.users.to_vec(), false, 1);
    let plan = Arc::new(plan);
    let (mut streams, mut found) = (Vec::new(), [f64::NAN; 2]);
    for (size, kib) in sizes.into_iter().zip(&mut found) {
        while streams.len() < size {
            streams.push(one(contender, &plan).await?);
        }
        tokio::time::sleep(OPEN_FOR).await;
        let added = process::rss(pid).saturating_sub(before);
        let count = u64::try_from(size).unwrap_or_default();
        *kib = ratio(added, count.saturating_mul(1 << 10)).unwrap_or(f64::NAN);
    }
    Ok(found)
}

/// Asks every account for a plain answer.
async fn activate(stage: &Stage, contender: &Contender) -> Result<(), BenchError> {
    let mut asked = 0_usize;
    while asked < contender.users.len() {
        let load = flat_out(plain(), CONNECTIONS, stage.pace().warm);
        let load = Load { mix: in_turn(load.mix, asked), ..load };
        let turn = take(contender, &load).await?;
        asked = asked.saturating_add(usize::try_from(turn.requests).unwrap_or(usize::MAX));
    }
    Ok(())
}

/// Opens one stream, and returns when its answer has begun.
async fn one(contender: &Contender, plan: &Plan) -> Result<TcpStream, BenchError> {
    let opening = async {
        let mut stream = TcpStream::connect(contender.target.address).await?;
        let mut request = Vec::new();
        if let Some(shot) = plan.draw(&mut fastrand::Rng::with_seed(1)) {
            shot.shape.write(shot.user, &mut request);
        }
        stream.write_all(&request).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    let opened = tokio::time::timeout(FIRST_BYTE_WAIT, opening).await;
    let slow = || std::io::Error::other("no first byte in time");
    opened.unwrap_or_else(|_| Err(slow())).map_err(BenchError::io(&contender.name))
}
