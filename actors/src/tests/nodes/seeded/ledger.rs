//! What was asked and answered, and what the durable events must be by that.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use opencredits_schema::{AccountId, Event, HistoryRow, SettledBy};
use tokio::time::Instant;

/// A node that the store did not hear for so long has no lease: its row lasts six seconds, its lease
/// four from the last one that was written.
pub(super) const LEASE: Duration = Duration::from_secs(4);

/// A request as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) account: AccountId,
    pub(super) node: u64,
    pub(super) amount: i64,
    pub(super) state: State,
    /// Its node was killed or cut off while it ran: nobody can be asked for its hold.
    pub(super) alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Asked,
    /// It runs under its hold.
    Admitted,
    /// Its settlement is asked: cost and share.
    Settling(i64),
    /// Its client was told so.
    Settled(i64),
    /// It ended without a charge.
    Released,
}

/// The record of a run.
pub(super) struct Ledger(Mutex<Record>);

struct Record {
    requests: BTreeMap<u128, Request>,
    /// Nodes that the store does not hear, and since when.
    away: BTreeMap<u64, Instant>,
    began: Instant,
    steps: u64,
    trace: DefaultHasher,
    kinds: BTreeMap<&'static str, u64>,
    broken: Option<String>,
    shown: bool,
}

impl Ledger {
    pub(super) fn new(shown: bool) -> Self {
        Self(Mutex::new(Record {
            requests: BTreeMap::new(),
            away: BTreeMap::new(),
            began: Instant::now(),
            steps: 0,
            trace: DefaultHasher::new(),
            kinds: BTreeMap::new(),
            broken: None,
            shown,
        }))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    /// Notes that something happened.
    #[expect(clippy::print_stderr, reason = "somebody wants to see the run")]
    pub(super) fn note(&self, kind: &'static str, what: fmt::Arguments<'_>) {
        let mut record = self.record();
        let at = record.began.elapsed().as_millis();
        record.steps += 1;
        *record.kinds.entry(kind).or_default() += 1;
        record.trace.write(format!("{at} {kind} {what}").as_bytes());
        if record.shown {
            eprintln!("{at:>7} ms  {kind:<18} {what}");
        }
    }

    /// The first broken rule is kept.
    pub(super) fn check(&self, kept: bool, what: fmt::Arguments<'_>) {
        if !kept {
            self.note("broken", what);
            self.record().broken.get_or_insert_with(|| what.to_string());
        }
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.record().broken.clone()
    }

    pub(super) fn trace(&self) -> (u64, u64) {
        let record = self.record();
        (record.steps, record.trace.finish())
    }

    pub(super) fn kinds(&self) -> BTreeMap<&'static str, u64> {
        self.record().kinds.clone()
    }

    /// A client asks for a hold.
    pub(super) fn begin(&self, number: u128, request: Request) {
        self.record().requests.insert(number, request);
    }

    /// A request goes on.
    pub(super) fn enter(&self, number: u128, state: State) {
        let unleased = {
            let mut record = self.record();
            let request = record.requests.get_mut(&number).unwrap();
            request.state = state;
            let node = request.node;
            let since = record.away.get(&node);
            since.is_some_and(|since| since.elapsed() > LEASE) && state == State::Admitted
        };
        self.check(!unleased, format_args!("{number} was admitted on a node without a lease"));
        let kind = match state {
            State::Asked => "asked",
            State::Admitted => "admitted",
            State::Settling(_) => "settling",
            State::Settled(_) => "settled",
            State::Released => "released",
        };
        self.note(kind, format_args!("{number}"));
    }

    /// The hold was refused.
    pub(super) fn refused(&self, number: u128) {
        self.record().requests.remove(&number);
        self.note("refused", format_args!("{number}"));
    }

    /// The store and the other nodes do not hear a node any more, or hear it again.
    pub(super) fn away(&self, node: u64, is_away: bool) {
        let mut record = self.record();
        record.away.remove(&node);
        if is_away {
            record.away.insert(node, Instant::now());
            let here = record.requests.values_mut().filter(|request| request.node == node);
            here.for_each(|request| request.alone = true);
        }
    }

    /// Whether a node is away.
    pub(super) fn is_away(&self, node: u64) -> bool {
        self.record().away.contains_key(&node)
    }

    /// Holds an account's durable events, the newest first, against what was asked.
    pub(super) fn compare(&self, account: AccountId, balance: i64, rows: &[HistoryRow]) {
        let mut charged = BTreeMap::<u128, Vec<i64>>::new();
        for row in rows {
            if let Event::Settled(settled) = &row.event {
                let total = settled.charged.cost.micro() + settled.charged.share.micro();
                charged.entry(settled.charged.request.bits()).or_default().push(total);
            }
        }
        let requests: Vec<_> = {
            let record = self.record();
            let its = |(_, request): &(_, &Request)| request.account == account;
            record.requests.iter().filter(its).map(|(n, r)| (*n, r.clone())).collect()
        };
        let (mut open, mut alone) = (0, 0);
        for (number, request) in requests {
            let charges = charged.remove(&number).unwrap_or_default();
            self.check(charges.len() <= 1, format_args!("{number} was charged {charges:?}"));
            let durable = charges.first().copied();
            let (charge, free) = match request.state {
                State::Asked => (0, durable.is_none()),
                State::Released => (0, durable.is_none()),
                State::Admitted => (request.amount, durable.is_none() || request.alone),
                State::Settling(charge) => {
                    (charge, durable.is_none_or(|it| it == charge) || request.alone)
                }
                State::Settled(charge) => (0, durable == Some(charge)),
            };
            let state = request.state;
            self.check(free, format_args!("{number} is {state:?}, charged {durable:?}"));
            let charge = if durable.is_some() { 0 } else { charge };
            if request.alone {
                alone += request.amount;
            } else {
                open += charge;
            }
        }
        self.check(charged.is_empty(), format_args!("nobody asked for {charged:?}"));
        // Holds of a node that nobody can ask may be missing (ADR 11).
        self.check(
            open <= balance + alone,
            format_args!("{account}: {open} is admitted over {balance}, {alone} of it alone"),
        );
    }

    /// Who settled what in the end.
    pub(super) fn tell_ends(&self, rows: &[HistoryRow]) {
        for row in rows {
            if let Event::Settled(settled) = &row.event
                && settled.by == SettledBy::Checkpoint
            {
                let request = settled.charged.request.bits();
                self.note("settled for a dead node", format_args!("{request}"));
            }
        }
    }
}
