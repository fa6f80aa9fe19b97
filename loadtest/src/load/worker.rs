//! One generator: a thread with a runtime of its own that sends what is due and notes what it saw.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::alarm::Alarm;
use super::arrivals::Arrivals;
use super::connection::{Answered, Connection, Ended};
use super::job::{Done, Drive, Generator, Job, JobError, Progress, Times};
use super::plan::{Manner, Plan, Shot};
use super::record::{Record, Window};
use super::thread_time::ThreadTime;
use crate::receipts::{Receipt, Seen, Told};

/// Requests of one generator that can run at once. Further ones wait, which shows as lateness.
const RUNNING_MAX: usize = 20_000;

/// One generator's state, shared by its tasks.
struct Worker {
    job: Job,
    plan: Arc<Plan>,
    /// When the run began.
    start: Instant,
    progress: Arc<Progress>,
    rng: RefCell<Rng>,
    idle: RefCell<Vec<Connection>>,
    record: RefCell<Record>,
    receipts: RefCell<Vec<Receipt>>,
    sent: Cell<u64>,
}

/// Runs a generator to its end, on this thread.
pub(super) fn run(
    job: Job,
    part: u32,
    plan: Arc<Plan>,
    start: Instant,
    progress: Arc<Progress>,
) -> Result<Done, JobError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Each generator makes choices of its own, and a seed makes them the same again.
    let seed = Rng::with_seed(job.seed).u64(..).wrapping_add(part.into());
    let worker = Rc::new(Worker {
        plan,
        start,
        progress,
        rng: RefCell::new(Rng::with_seed(seed)),
        idle: RefCell::default(),
        record: RefCell::new(Record::new()),
        receipts: RefCell::default(),
        sent: Cell::new(0),
        job,
    });
    let time = ThreadTime::now()?;
    let running = match worker.job.drive {
        Drive::Open { pace, from, to } => {
            let spans = worker.job.times.spans(from, to);
            let arrivals = Arrivals::new(spans, pace, part, worker.job.parts, seed);
            runtime.block_on(LocalSet::new().run_until(open(Rc::clone(&worker), arrivals)))
        }
        Drive::Closed { connections } => {
            let own = share(connections, part, worker.job.parts);
            runtime.block_on(LocalSet::new().run_until(closed(Rc::clone(&worker), own)))
        }
    };
    running?;
    let took = ThreadTime::now()?.since(time);
    let lasted = start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let generator = Generator {
        requests: worker.sent.get(),
        cpu_us: micros(took.on_cpu),
        waited_us: micros(took.waiting),
        busiest: took.on_cpu.as_secs_f64() / lasted,
    };
    let record = worker.record.take();
    Ok(Done { record, generator, receipts: worker.receipts.take() })
}

/// Sends at the moments due, whatever the server does.
async fn open(worker: Rc<Worker>, arrivals: Arrivals) -> io::Result<()> {
    let alarm = Alarm::new()?;
    let mut running = JoinSet::new();
    for due in arrivals {
        let due = worker.start + due;
        alarm.wait(due).await?;
        while running.try_join_next().is_some() {}
        while running.len() >= RUNNING_MAX {
            running.join_next().await;
        }
        let of = Rc::clone(&worker);
        running.spawn_local(async move { of.send(Some(due)).await });
        // The request starts now, also where the next one is due already.
        tokio::task::yield_now().await;
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

/// Sends the next request of each connection when the last one is answered.
async fn closed(worker: Rc<Worker>, connections: u32) -> io::Result<()> {
    let end = worker.start + worker.job.times.all();
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let of = Rc::clone(&worker);
        running.spawn_local(async move {
            while Instant::now() < end {
                let answered = of.send(None).await;
                if !answered {
                    // A server that is gone is not asked as fast as the machine can.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

impl Worker {
    /// Sends one request that was due at a moment, or now; whether an answer came.
    async fn send(&self, due: Option<Instant>) -> bool {
        let drawn = self.plan.draw(&mut self.rng.borrow_mut());
        let Some(shot) = drawn else { return false };
        self.sent.set(self.sent.get().saturating_add(1));
        let due = due.unwrap_or_else(Instant::now);
        let Some(mut connection) = self.connection().await else {
            self.lost(&shot, due, "no connection");
            return false;
        };
        let within = self.job.times.timeout.saturating_add(shot.shape.told);
        let gap = |gap| {
            if shot.manner == Manner::Reads {
                self.note(due, |window| window.latencies.gap.note(gap));
            }
        };
        let answered = connection.exchange(&shot, within, gap).await;
        self.observe(&shot, due, &answered);
        let request = answered.head.as_ref().map_or("", |head| head.request.as_str());
        self.keep(&shot, request, || seen(&shot, &answered, connection.body()));
        if connection.is_reusable(&answered) {
            self.idle.borrow_mut().push(connection);
        }
        answered.head.is_some()
    }

    /// A connection that is idle, the last one first, or a new one.
    async fn connection(&self) -> Option<Connection> {
        while let Some(connection) = { self.idle.borrow_mut().pop() } {
            if connection.is_fresh() {
                return Some(connection);
            }
        }
        let opening = Connection::open(&self.job.target);
        tokio::time::timeout(self.job.times.timeout, opening).await.ok()?.ok()
    }

    /// Changes the window of the moment at which a request was due, if it is measured.
    fn note(&self, due: Instant, change: impl FnOnce(&mut Window)) {
        let Times { measure, .. } = self.job.times;
        let measured = self.start + self.job.times.before();
        let Some(since) = due.checked_duration_since(measured) else { return };
        if let Some(window) = self.record.borrow_mut().at(since, measure) {
            change(window);
        }
    }

    fn lost(&self, shot: &Shot<'_>, due: Instant, why: &str) {
        self.progress.ended(true);
        self.note(due, |window| {
            window.begun = window.begun.saturating_add(1);
            window.fail(why);
        });
        self.keep(shot, "", || Seen::Broken);
    }

    fn observe(&self, shot: &Shot<'_>, due: Instant, answered: &Answered) {
        let Answered { written, first_byte, over, bytes, ended, .. } = answered;
        let status = answered.head.as_ref().map_or(0, |head| head.status);
        let failure = match ended {
            Ended::Broken(why) => Some((*why).to_owned()),
            Ended::Whole | Ended::HungUp if status == 200 => None,
            Ended::Whole | Ended::HungUp => Some(format!("status {status}")),
        };
        self.progress.ended(failure.is_some());
        self.note(due, |window| {
            window.begun = window.begun.saturating_add(1);
            window.bytes = window.bytes.saturating_add(*bytes);
            window.latencies.lateness.note(written.saturating_duration_since(due));
            if let Some(failure) = failure {
                window.fail(&failure);
                return;
            }
            if *ended == Ended::HungUp {
                window.hung_up = window.hung_up.saturating_add(1);
                return;
            }
            window.whole = window.whole.saturating_add(1);
            if matches!(shot.manner, Manner::Slowly(_)) {
                window.slow = window.slow.saturating_add(1);
                return;
            }
            let total = over.saturating_duration_since(due);
            window.latencies.total.note(total);
            window.latencies.added.note(total.saturating_sub(shot.shape.told));
            if let Some(first) = first_byte {
                window.latencies.first_byte.note(first.saturating_duration_since(due));
            }
        });
    }

    /// Keeps what the client was told, for the books.
    fn keep(&self, shot: &Shot<'_>, request: &str, seen: impl FnOnce() -> Seen) {
        if self.job.receipts {
            let (payer, model) = (shot.payer, Arc::clone(&shot.shape.model));
            let request = request.parse().ok();
            let receipt = Receipt { payer, model, request, seen: seen(), at_most: None };
            self.receipts.borrow_mut().push(receipt);
        }
    }
}

/// What the client of a request saw of its end.
fn seen(shot: &Shot<'_>, answered: &Answered, body: &[u8]) -> Seen {
    let Some(head) = &answered.head else { return Seen::Broken };
    if (400..500).contains(&head.status) {
        return Seen::Refused;
    }
    if answered.ended != Ended::Whole || head.status != 200 {
        return Seen::Broken;
    }
    let whole = || Told::whole(Some(&head.charge), body);
    let end = if shot.shape.stream { answered.told.end() } else { whole() };
    end.map_or(Seen::Broken, Seen::End)
}

/// The part of a number of connections that one of several generators opens.
fn share(all: u32, part: u32, parts: u32) -> u32 {
    let parts = parts.max(1);
    let more = all.checked_rem(parts).unwrap_or_default();
    (all / parts).saturating_add(u32::from(part < more))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
