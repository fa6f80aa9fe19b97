//! A request with an image of 5 MB: CPU beside nginx, and copies of the body in memory.

use std::time::Duration;

use super::super::BenchError;
use super::super::columns::{compared, cpu_ratio, figures, rate};
use super::super::finding::{Bound, Finding, Outcome};
use super::super::loads::{flat_out, mix, plain};
use super::super::process;
use super::super::scenario::Scenario;
use super::super::stage::{Stage, contender, make_accounts};
use super::super::turn::{Load, Turn, take};
use super::flat;
use super::plain::CONNECTIONS;
use crate::crash::child::Settings;
use crate::load::arrivals::Pace;
use crate::load::job::{Drive, ratio};
use crate::load::mix::Kind;

/// Bytes of the image part, as base64.
const IMAGE_BYTES: usize = 5_000_000;
/// Connections of the closed loop.
const IMAGE_CONNECTIONS: u32 = 2;

pub(super) async fn run(stage: &Stage) -> Result<Outcome, BenchError> {
    let load = flat_out(image(), IMAGE_CONNECTIONS, stage.pace().flat_out);
    let turns = stage.turns(&[stage.gateway(), stage.nginx()?], &load).await?;
    let mut copies = Vec::new();
    for repetition in 1..=stage.options.repetitions() {
        stage.bar.say(format!("copies {repetition}"));
        copies.push(copies_of_one(stage).await?);
    }
    Ok(Outcome {
        findings: vec![
            Finding::new(
                "CPU a request with an image of 5 MB, gateway by nginx",
                "×",
                compared(&turns, (0, 1), cpu_ratio),
            )
            .mark(Bound::AtMost(1.5)),
            Finding::new("copies of the body in memory", "×", copies).mark(Bound::AtMost(2.0)),
        ],
        figures: figures(
            &turns,
            &[("CPU a request", "µs", Turn::cpu_per_request), ("requests a second", "/s", rate)],
        ),
        notes: vec![
            "Copies: the most resident memory during the first request with an image that a gateway \
             gets, less what it had before, by the size of the body. nginx passes the body on as it \
             comes (`proxy_request_buffering off`); the gateway reads it first, for the hold."
                .to_owned(),
        ],
        turns: flat(turns),
        ..Outcome::new(Scenario::Image)
    })
}

fn image() -> Kind {
    Kind { image_bytes: IMAGE_BYTES, ..plain() }
}

/// What the first such request adds to a gateway's memory at its peak, by the body's size.
async fn copies_of_one(stage: &Stage) -> Result<f64, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("a folder for the database"))?;
    let database = folder.path().join("opencredits.db");
    let gateway = stage.another(&database, &Settings::new()).await?;
    let own = contender("gateway", &gateway, make_accounts(&gateway, 1).await?);
    take(&own, &flat_out(plain(), CONNECTIONS, stage.pace().warm)).await?;
    let before = process::rss(gateway.id());
    if !process::forget_peak(gateway.id()) {
        return Ok(f64::NAN);
    }
    // The first of such arrivals is at once, and the next one would be behind the end.
    let drive = Drive::Open { pace: Pace::Constant, from: 1.0, to: 1.0 };
    let measure = Duration::from_secs(1);
    take(&own, &Load { mix: mix(image()), drive, warm_up: Duration::ZERO, measure }).await?;
    let peak = process::peak_rss(gateway.id()).unwrap_or_default();
    let body = u64::try_from(IMAGE_BYTES).unwrap_or_default();
    Ok(ratio(peak.saturating_sub(before), body).unwrap_or(f64::NAN))
}
