//! The holds of an account's running requests, which outlive an incarnation that fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use opencredits_schema::{Hold, RequestId, Timestamp};

/// A hold counts until its end is durable: a settlement may be dropped with what was queued before
/// it, and is asked again then.
#[derive(Debug, Default)]
pub(crate) struct RunningHolds(Mutex<Table>);

/// Small where nothing runs, for each account has one.
#[derive(Debug, Default)]
struct Table {
    running: BTreeMap<RequestId, Box<Running>>,
    /// What was settled, by the events' numbers. A request that runs again since is passed over.
    settled: VecDeque<(u64, RequestId)>,
}

#[derive(Debug)]
struct Running {
    hold: Hold,
    /// The number of the event that settles it.
    settled: Option<u64>,
}

impl RunningHolds {
    pub(crate) fn run(&self, hold: Hold) {
        self.lock().running.insert(hold.request, Box::new(Running { hold, settled: None }));
    }

    /// A hold was placed again in a new incarnation. What has ended meanwhile stays ended: the word of a
    /// new owner may come after the answer to the request's end.
    pub(crate) fn run_again(&self, hold: Hold) {
        if let Some(running) = self.lock().running.get_mut(&hold.request) {
            **running = Running { hold, settled: None };
        }
    }

    /// Keeps a hold that runs for longer.
    pub(crate) fn renew(&self, request: RequestId, expires_at: Timestamp) {
        if let Some(running) = self.lock().running.get_mut(&request) {
            running.hold.expires_at = running.hold.expires_at.max(expires_at);
        }
    }

    /// Ends a hold by a release, of which nothing becomes durable.
    pub(crate) fn end(&self, request: RequestId) {
        self.lock().running.remove(&request);
    }

    /// A request was settled by an event of this number.
    pub(crate) fn settled(&self, request: RequestId, seq: u64) {
        let Table { running, settled } = &mut *self.lock();
        if let Some(running) = running.get_mut(&request) {
            running.settled = Some(seq);
            settled.push_back((seq, request));
        }
    }

    /// Forgets what was settled by events up to this number, which are durable.
    pub(crate) fn forget_durable(&self, seq: u64) {
        let Table { running, settled } = &mut *self.lock();
        while let Some((number, request)) = settled.pop_front_if(|(number, _)| *number <= seq) {
            if running.get(&request).is_some_and(|running| running.settled == Some(number)) {
                running.remove(&request);
            }
        }
    }

    /// A new incarnation, or another node, numbers its events anew behind this one: what was settled by
    /// later events still runs.
    pub(crate) fn pass_on(&self, durable: u64) {
        self.forget_durable(durable);
        let Table { running, settled } = &mut *self.lock();
        settled.clear();
        running.values_mut().for_each(|running| running.settled = None);
    }

    /// The holds that the next incarnation takes over.
    pub(crate) fn holds(&self) -> Vec<Hold> {
        self.lock().running.values().map(|running| running.hold.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().running.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hold;

    #[test]
    fn a_hold_that_has_ended_is_not_placed_again_by_a_late_word() {
        let holds = RunningHolds::default();
        holds.run(hold(1, 50));
        let known = holds.holds();
        holds.run_again(hold(1, 50));
        assert_eq!(holds.holds(), known);
        holds.end(RequestId::new(1));
        holds.run_again(hold(1, 50));
        assert!(holds.is_empty());
    }

    #[test]
    fn an_incarnation_forgets_by_its_own_numbers() {
        let holds = RunningHolds::default();
        (1..=3).for_each(|request| holds.run(hold(request, 50)));
        holds.settled(RequestId::new(1), 4);
        holds.settled(RequestId::new(2), 7);
        // The one that numbered the second 7 has lost it.
        holds.pass_on(4);
        let numbers =
            |left: &[u128]| left.iter().map(|left| RequestId::new(*left)).collect::<Vec<_>>();
        let running = || holds.holds().iter().map(|hold| hold.request).collect::<Vec<_>>();
        assert_eq!(running(), numbers(&[2, 3]));
        holds.settled(RequestId::new(3), 5);
        holds.forget_durable(5);
        assert_eq!(running(), numbers(&[2]));
        holds.forget_durable(7);
        assert_eq!(running(), numbers(&[2]));
        holds.settled(RequestId::new(2), 8);
        holds.forget_durable(8);
        assert!(holds.is_empty());
    }
}
