//! How far a benchmark is, and how long it will still take; quiet where the error stream is no
//! terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::scenario::Scenario;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(250);

/// The bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    shown: ProgressBar,
    state: Arc<Mutex<State>>,
}

/// What is known of the time.
#[derive(Debug)]
struct State {
    /// What is still to come, with how long it is expected to take; the first one runs.
    left: Vec<(Scenario, Duration)>,
    all: Duration,
    began: Instant,
    doing: String,
}

impl Bar {
    /// One for scenarios and how long each is expected to take.
    pub(super) fn new(left: Vec<(Scenario, Duration)>) -> Self {
        let all = left.iter().map(|(_, takes)| *takes).sum();
        let style = ProgressStyle::with_template("{bar:40} {elapsed}, {msg}");
        let shown = ProgressBar::new(seconds(all));
        shown.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let state = State { left, all, began: Instant::now(), doing: "starting".to_owned() };
        Self { shown, state: Arc::new(Mutex::new(state)) }
    }

    /// Moves it until this is aborted.
    pub(super) async fn run(self) {
        loop {
            self.show(Instant::now());
            tokio::time::sleep(TICK).await;
        }
    }

    /// A scenario begins; those before it are over.
    pub(super) fn enter(&self, scenario: Scenario) {
        let mut state = self.state();
        let at = state.left.iter().position(|(other, _)| *other == scenario);
        state.left.drain(..at.unwrap_or_default());
        state.began = Instant::now();
        state.doing.clear();
    }

    /// What is done now.
    pub(super) fn say(&self, doing: String) {
        self.state().doing = doing;
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.shown.finish_and_clear();
    }

    fn show(&self, now: Instant) {
        let state = self.state();
        let left = state.to_go(now);
        self.shown.set_position(seconds(state.all.saturating_sub(left)));
        let running = state.left.first().map_or("", |(scenario, _)| scenario.name());
        self.shown.set_message(format!("{} s left: {running} {}", seconds(left), state.doing));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long it will still take, as far as that is known.
    fn to_go(&self, now: Instant) -> Duration {
        let all: Duration = self.left.iter().map(|(_, takes)| *takes).sum();
        let running = self.left.first().map_or(Duration::ZERO, |(_, takes)| *takes);
        all.saturating_sub(running.min(now.saturating_duration_since(self.began)))
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_shrinks_with_time_and_by_scenarios() {
        let takes = Duration::from_secs(10);
        let bar = Bar::new(vec![(Scenario::Plain, takes), (Scenario::Burst, takes)]);
        let began = bar.state().began;
        let to_go = |after: u64| bar.state().to_go(began + Duration::from_secs(after)).as_secs();
        assert_eq!((to_go(0), to_go(4), to_go(40)), (20, 16, 10));
        bar.enter(Scenario::Burst);
        let began = bar.state().began;
        assert_eq!(bar.state().to_go(began).as_secs(), 10);
    }
}
