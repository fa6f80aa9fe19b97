//! How many workers serve, decided by figures that a machine could have.

use super::*;

/// Eight workers, as a look sees them.
struct Machine {
    seen: Seen,
    serving: usize,
}

impl Machine {
    fn new() -> Self {
        let seen =
            Seen { at: Instant::now(), busy: vec![Duration::ZERO; 8], at_ease: Duration::ZERO };
        Self { seen, serving: 1 }
    }

    /// Lets time pass in which the workers are busy for these parts of it; how many serve then.
    fn pass(&mut self, millis: u64, parts: &[f64]) -> usize {
        let passed = Duration::from_millis(millis);
        let mut busy = self.seen.busy.clone();
        for (busy, part) in busy.iter_mut().zip(parts) {
            *busy += passed.mul_f64(*part);
        }
        let now = self.seen.at + passed;
        self.serving = self.seen.wanted(self.serving, 8, now, busy);
        self.serving
    }
}

#[test]
fn one_serves_as_long_as_it_has_the_time() {
    let mut machine = Machine::new();
    for part in [0.0, 0.3, 0.79] {
        assert_eq!(machine.pass(100, &[part]), 1);
    }
}

#[test]
fn twice_as_many_serve_while_one_is_too_busy_up_to_all() {
    let mut machine = Machine::new();
    let told: Vec<usize> = (0..5).map(|_| machine.pass(50, &[0.1, 0.95])).collect();
    assert_eq!(told, [2, 4, 8, 8, 8]);
}

#[test]
fn fewer_serve_when_they_would_have_done_for_a_second() {
    let mut machine = Machine { serving: 8, ..Machine::new() };
    // All of one worker's time: two would have half of theirs.
    assert_eq!(machine.pass(600, &[0.12; 8]), 8);
    assert_eq!(machine.pass(600, &[0.12; 8]), 2);
    assert_eq!(machine.pass(600, &[0.2, 0.2]), 2);
    // The second begins anew where it was interrupted.
    assert_eq!(machine.pass(600, &[0.3, 0.3]), 2);
    assert_eq!(machine.pass(600, &[0.2, 0.2]), 2);
    assert_eq!(machine.pass(600, &[0.2, 0.2]), 1);
}

#[test]
fn no_time_is_no_reason() {
    let mut machine = Machine { serving: 4, ..Machine::new() };
    assert_eq!(machine.pass(0, &[1.0; 4]), 4);
}

#[test]
fn connections_go_over_those_that_serve() {
    let spread = Spread::new(NonZeroUsize::new(4).unwrap());
    assert_eq!([0, 1, 2, 3, 4].map(|connection| spread.home(connection)), [0; 5]);
    spread.set(2);
    assert_eq!([0, 1, 2, 3, 4].map(|connection| spread.home(connection)), [0, 1, 0, 1, 0]);
}

#[test]
fn a_look_that_is_due_has_more_serve_and_the_next_waits_its_time() {
    let spread = Spread::new(NonZeroUsize::new(4).unwrap());
    spread.due.store(0, Ordering::Relaxed);
    spread.look(|_| Duration::from_secs(3_600));
    assert_eq!(spread.home(3), 1);
    assert_ne!(spread.due.load(Ordering::Relaxed), 0);
    spread.due.store(u64::MAX, Ordering::Relaxed);
    spread.look(|_| panic!("looked"));
    assert_eq!(spread.home(3), 1);
}
