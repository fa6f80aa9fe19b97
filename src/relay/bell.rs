//! Whether anything has happened since a stream last had nothing: hyper asks it once more after each flush,
//! and to look at a socket, a timer and a lock for that, each time, was a fifteenth of a chunk's work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::lock::lock;

/// The waker of all that a stream waits for.
#[derive(Debug)]
pub(super) struct Bell {
    wire: Arc<Wire>,
    waker: Waker,
    /// Whether the last answer was that there is nothing yet.
    waits: bool,
}

#[derive(Debug)]
struct Wire {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Default for Bell {
    fn default() -> Self {
        let task = Mutex::new(Waker::noop().clone());
        let wire = Arc::new(Wire { rung: AtomicBool::new(false), task });
        let waker = Arc::clone(&wire).into();
        Self { wire, waker, waits: false }
    }
}

impl Bell {
    /// Has what rings wake this task; the waker to wait with, unless nothing has rung since there was nothing.
    pub(super) fn answer(&self, task: &Waker) -> Option<Waker> {
        {
            let mut wakes = lock(&self.wire.task);
            if !wakes.will_wake(task) {
                wakes.clone_from(task);
            }
        }
        // Whoever rings does so before it looks which task to wake: it finds this one, or was seen here.
        let rung =
            self.wire.rung.load(Ordering::Acquire) && self.wire.rung.swap(false, Ordering::AcqRel);
        (rung || !self.waits).then(|| self.waker.clone())
    }

    /// Notes whether there was nothing.
    pub(super) const fn waits(&mut self, waits: bool) {
        self.waits = waits;
    }
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = lock(&self.task).clone();
        task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A task that counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Task>, Waker) {
        let task = Arc::<Task>::default();
        (Arc::clone(&task), task.into())
    }

    fn woken(task: &Task) -> usize {
        task.0.load(Ordering::Relaxed)
    }

    #[test]
    fn nothing_is_looked_for_twice_until_it_rings() {
        let (mut bell, (task, waker)) = (Bell::default(), task());
        for turn in 0..3 {
            let rings = bell.answer(&waker).unwrap();
            bell.waits(false);
            assert!(bell.answer(&waker).is_some(), "there may be more");
            bell.waits(true);
            assert!(bell.answer(&waker).is_none());
            assert_eq!(woken(&task), turn);
            rings.wake();
            assert_eq!(woken(&task), turn + 1);
        }
    }

    #[test]
    fn what_rings_before_nothing_was_found_is_not_missed() {
        let (mut bell, (_, waker)) = (Bell::default(), task());
        bell.answer(&waker).unwrap().wake();
        bell.waits(true);
        assert!(bell.answer(&waker).is_some());
    }

    #[test]
    fn it_wakes_the_task_that_asked_last() {
        let (mut bell, (one, first), (two, second)) = (Bell::default(), task(), task());
        let rings = bell.answer(&first).unwrap();
        bell.waits(true);
        assert!(bell.answer(&second).is_none());
        rings.wake();
        assert_eq!((woken(&one), woken(&two)), (0, 1));
        assert!(bell.answer(&second).is_some());
    }
}
