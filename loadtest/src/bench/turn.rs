//! A turn: one contender under one load, with what it took.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::BenchError;
use super::process;
use crate::load::job::{Done, Drive, Job, Times, ratio};
use crate::load::mix::Mix;
use crate::load::record::Latencies;
use crate::load::target::{Target, User};
use crate::load::verdict::Verdict;

/// Times that a turn is tried, each for twice as long as the one before.
const TRIES: u32 = 3;
/// The longest wait for an answer, beyond what its provider takes.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// One that takes turns.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    /// As the report calls it.
    pub(super) name: String,
    /// Where its requests go.
    pub(super) target: Target,
    /// Who sends them.
    pub(super) users: Arc<[User]>,
    /// Its first process; none where its CPU is not asked for.
    pub(super) pid: Option<u32>,
}

/// What is sent in a turn, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// What.
    pub(super) mix: Mix,
    /// How often.
    pub(super) drive: Drive,
    /// For how long before anything is measured; its CPU and its requests count.
    pub(super) warm_up: Duration,
    /// For how long it is measured.
    pub(super) measure: Duration,
}

/// What a turn took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Turn {
    /// Whose turn.
    pub contender: String,
    /// Requests that were sent and answered, those of the warm-up too.
    pub requests: u64,
    /// Whole answers a second, of requests that were due in the measured time.
    pub per_second: f64,
    /// CPU of the contender's processes, in microseconds.
    pub cpu_us: Option<u64>,
    /// The latencies, of the measured time.
    pub latencies: Latencies,
    /// Why its latencies and its throughput do not stand: a late generator, or one at its limit.
    pub flag: Option<String>,
}

impl Turn {
    /// CPU for each request, in microseconds; NaN where it is not known.
    #[must_use]
    pub fn cpu_per_request(&self) -> f64 {
        self.cpu_us.and_then(|cpu| ratio(cpu, self.requests)).unwrap_or(f64::NAN)
    }

    fn of(contender: &Contender, load: &Load, done: &Done, cpu: Option<Duration>) -> Self {
        let whole = done.record.whole();
        Self {
            contender: contender.name.clone(),
            requests: done.generator.requests,
            per_second: ratio(whole.whole, 1).unwrap_or_default() / load.measure.as_secs_f64(),
            cpu_us: cpu.map(|cpu| u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX)),
            flag: Verdict::of(done, load.drive).refused,
            latencies: whole.latencies,
        }
    }
}

/// Lets a contender take a turn. One without a whole answer, or with failed ones, is repeated for
/// twice as long: on a starved machine a contender may not have come to its turn at all.
///
/// # Errors
/// When it fails each time.
pub(super) async fn take(contender: &Contender, load: &Load) -> Result<Turn, BenchError> {
    let mut load = load.clone();
    let mut why = String::new();
    for _ in 0..TRIES {
        let before = contender.pid.map(process::cpu);
        let done = run(contender, &load).await?;
        let after = contender.pid.map(process::cpu);
        let cpu = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        match failure(&done) {
            None => return Ok(Turn::of(contender, &load, &done, cpu)),
            Some(told) => why = told,
        }
        load.measure = load.measure.saturating_mul(2);
    }
    let (contender, tries) = (contender.name.clone(), TRIES);
    Err(BenchError::NoAnswers { contender, tries, why })
}

async fn run(contender: &Contender, load: &Load) -> Result<Done, BenchError> {
    let Load { mix, drive, warm_up, measure } = load.clone();
    let job = Job {
        target: contender.target.clone(),
        users: contender.users.to_vec(),
        mix,
        drive,
        times: Times { ramp: Duration::ZERO, warm_up, measure, timeout: ANSWER_WAIT },
        seed: 1,
        part: 0,
        parts: 1,
        threads: 1,
        receipts: false,
    };
    let running = tokio::task::spawn_blocking(move || job.run(&Arc::default()));
    Ok(running.await??)
}

/// Why a turn says nothing.
fn failure(done: &Done) -> Option<String> {
    let whole = done.record.whole();
    if whole.failures() > 0 {
        let kinds = whole.failed.iter().map(|(what, count)| format!("{count} × {what}"));
        return Some(kinds.collect::<Vec<_>>().join(", "));
    }
    (whole.whole == 0).then(|| "no whole answer in the measured time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::loads::{flat_out, plain};
    use super::*;
    use crate::load::record::Record;

    fn done(whole: u64, failed: &[&str]) -> Done {
        let mut record = Record::new();
        let window = record.at(Duration::ZERO, Duration::from_secs(1)).unwrap();
        window.whole = whole;
        failed.iter().for_each(|what| window.fail(what));
        Done { record, ..Done::default() }
    }

    #[test]
    fn a_turn_without_answers_or_with_failures_says_nothing() {
        assert_eq!(failure(&done(1, &[])), None);
        assert!(failure(&done(0, &[])).unwrap().contains("no whole answer"));
        assert_eq!(failure(&done(9, &["status 502", "status 502"])).unwrap(), "2 × status 502");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_never_answers_is_named_after_all_tries() {
        let free = crate::ports::free_address().unwrap();
        let user = User { account: String::new(), key: "key".to_owned() };
        let contender = Contender {
            name: "nobody".to_owned(),
            target: Target::parse(&format!("http://{free}")).unwrap(),
            users: [user].into(),
            pid: None,
        };
        let load = flat_out(plain(), 1, Duration::from_millis(20));
        let told = take(&contender, &load).await.unwrap_err().to_string();
        assert!(told.contains("nobody gave no usable turn in 3 tries"), "{told}");
        assert!(told.contains("× no connection") && told.contains("--only"), "{told}");
    }

    #[test]
    fn cpu_that_is_not_known_is_no_number() {
        let turn = |cpu_us, requests| Turn { cpu_us, requests, ..Turn::default() };
        assert!(turn(None, 5).cpu_per_request().is_nan());
        assert!(turn(Some(5), 0).cpu_per_request().is_nan());
        assert_eq!(turn(Some(50), 5).cpu_per_request(), 10.0);
    }
}
