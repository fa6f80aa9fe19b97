//! What lasts while processes come and go: time, the durable state, the weather, and the record of
//! each step that the outside could notice.
//!
//! A process is killed at a step: nothing that comes after it reaches the store or an asker, and its
//! runtime is dropped. What a process does between two steps leaves no trace outside of it, so a kill
//! at each step is a kill between any two awaits.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opencredits_actors::{Answered, MemoryStore, Store};
use opencredits_schema::{AccountId, Event, SettledBy, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::choices::Choices;
use super::ledger::{Broken, Ledger};

/// Bugs that are planted outside of the actors: in what the gateway does around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// A purchase is keyed by the delivery of its webhook, not by its order.
    KeyByDelivery,
    /// A settlement that is late is asked again under a new request id.
    RetryAsNew,
    /// A request whose settlement fails gives up, and its hold goes back.
    RefundOnError,
    /// The store says that a commit is durable before it is.
    StoreLies,
    /// The store reads an account as it was a while ago.
    StaleRead,
}

/// How the store behaves at the moment.
#[derive(Clone, Copy, Debug)]
pub enum Weather {
    Calm,
    Slow,
    /// Calls fail, before or after they took effect; some panic.
    Shaky,
    Down,
}

/// Notes a step, and goes no further when the process was killed before it.
macro_rules! pass {
    ($world:expr, $kind:literal, $($what:tt)*) => {
        if !$world.step($kind, format_args!($($what)*)) {
            std::future::pending::<()>().await;
        }
    };
}
pub(super) use pass;

/// Everything that outlasts a process.
pub struct World {
    pub choices: Choices,
    pub durable: MemoryStore,
    pub outside: Option<Outside>,
    weather: Mutex<Weather>,
    record: Mutex<Record>,
    ledger: Mutex<Ledger>,
    ended: Notify,
}

struct Record {
    /// The wall clock when the process started, and its own clock then.
    started: (Timestamp, Option<Instant>),
    steps: u64,
    trace: DefaultHasher,
    shown: bool,
    kill_at: Option<u64>,
    dead: bool,
    broken: Option<Broken>,
    kinds: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(seed: u64, outside: Option<Outside>, shown: bool) -> Arc<Self> {
        Arc::new(Self {
            choices: Choices::new(seed),
            durable: MemoryStore::default(),
            outside,
            weather: Mutex::new(Weather::Calm),
            record: Mutex::new(Record {
                started: (Timestamp::from_millis(1_700_000_000_000), None),
                steps: 0,
                trace: DefaultHasher::new(),
                shown,
                kill_at: None,
                dead: true,
                broken: None,
                kinds: BTreeMap::new(),
            }),
            ledger: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// The wall clock; it goes on where the last process left it.
    pub fn now(&self) -> Timestamp {
        self.record().now()
    }

    /// A process starts on this runtime, and is killed after so many steps.
    pub fn start(&self, kill_after: Option<u64>) {
        let mut record = self.record();
        record.started = (record.now().plus_millis(1_000), Some(Instant::now()));
        record.kill_at = kill_after.map(|steps| record.steps + steps);
        record.dead = false;
    }

    /// The process is gone. Told while its runtime is there: only that has the paused clock.
    pub fn stop(&self) {
        let mut record = self.record();
        record.started = (record.now(), None);
        record.dead = true;
        drop(record);
        self.ledger().died();
    }

    /// Notes a step; `false` when the process was killed before it.
    pub fn step(&self, kind: &'static str, what: fmt::Arguments<'_>) -> bool {
        let mut record = self.record();
        if record.dead {
            return false;
        }
        record.steps += 1;
        *record.kinds.entry(kind).or_default() += 1;
        if record.kill_at == Some(record.steps) {
            *record.kinds.entry("killed").or_default() += 1;
            record.note("killed before", what);
            record.dead = true;
            self.ended.notify_one();
            return false;
        }
        record.note(kind, what);
        true
    }

    /// The first broken rule ends the run.
    pub fn check(&self, kept: Result<(), Broken>) {
        let Err(broken) = kept else { return };
        let mut record = self.record();
        if !record.dead {
            record.note("broken", format_args!("{broken}"));
            record.dead = true;
            record.broken.get_or_insert(broken);
            self.ended.notify_one();
        }
    }

    /// Resolves when the process was killed, or a rule was broken.
    pub async fn ended(&self) {
        while !self.record().dead {
            self.ended.notified().await;
        }
    }

    pub fn broken(&self) -> Option<Broken> {
        self.record().broken.clone()
    }

    /// The number of steps, and a hash of them all.
    pub fn trace(&self) -> (u64, u64) {
        let record = self.record();
        (record.steps, record.trace.finish())
    }

    /// How many steps of each kind there were.
    pub fn kinds(&self) -> BTreeMap<&'static str, u64> {
        self.record().kinds.clone()
    }

    pub fn weather(&self) -> Weather {
        *lock(&self.weather)
    }

    pub fn set_weather(&self, weather: Weather) {
        *lock(&self.weather) = weather;
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Rests for a time that the seed chooses, in milliseconds.
    pub async fn rest(&self, least: u64, most: u64) {
        let millis = self.choices.between(least, most);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Compares the rows that have become durable with the ledger.
    pub fn observe(&self, account: AccountId) {
        let new = self.ledger().unseen(account);
        let (rows, _) = at_once(self.durable.history(account, usize::MAX, 0)).unwrap();
        let loaded = at_once(self.durable.load(account)).unwrap();
        for row in rows.iter().rev().filter(|row| row.seq >= new) {
            self.step(kind_of(&row.event), format_args!("{} {:?}", row.seq, row.event));
            let head = loaded.as_ref().map(|loaded| &loaded.head);
            let kept = self.ledger().observe(row, head);
            self.check(kept);
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
}

impl Record {
    fn now(&self) -> Timestamp {
        let (wall, since) = self.started;
        let passed = since.map_or(Duration::ZERO, |since| since.elapsed());
        wall.plus_millis(i64::try_from(passed.as_millis()).unwrap())
    }

    #[expect(clippy::print_stderr, reason = "somebody wants to see the run")]
    fn note(&mut self, kind: &str, what: fmt::Arguments<'_>) {
        let millis = self.now().millis() - 1_700_000_000_000;
        self.trace.write_i64(millis);
        // Writing into a hash does not fail.
        write!(Hashed(&mut self.trace), "{kind} {what}").ok();
        if self.shown {
            eprintln!("{:>5} {:>7} ms  {kind:<10} {what}", self.steps, millis);
        }
    }
}

struct Hashed<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Settled(settlement) => match settlement.by {
            SettledBy::Request => "settled",
            SettledBy::Checkpoint => "recovered",
            SettledBy::Expiry => "expired",
        },
        Event::Adjusted(_) => "adjusted",
        Event::Received(_) => "received",
        Event::Refunded(_) => "refunded",
        Event::Disputed(_) => "disputed",
        Event::Placed(_) | Event::Renewed { .. } | Event::Released { .. } | Event::Repeated(_) => {
            "unjournaled"
        }
    }
}

/// The answer of a store in memory, which does not wait.
pub fn at_once<T>(mut answered: Answered<'_, T>) -> Result<T, opencredits_actors::StoreError> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match answered.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("a store in memory waits"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
