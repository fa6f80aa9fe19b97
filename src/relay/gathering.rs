//! Pieces that come close upon each other leave together: one write to the client for many of them.
//!
//! A provider's connection hands over what has come. A piece that follows another closely waits for the
//! stream's next turn, in which the next one may have come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

/// Pieces nearer to each other than this are a burst; those of a model that writes are 5 ms apart or more.
const CLOSE: Duration = Duration::from_millis(1);

/// How often hyper asks a body that has nothing in one turn of its connection: again after it flushed.
const ASKED_IN_A_TURN: u8 = 2;

/// So much leaves without waiting for more.
const FULL: usize = 16 * 1024;

/// What is ready for the client.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pieces: Vec<Bytes>,
    size: usize,
    heard: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// What is ready leaves at once.
    #[default]
    Leaves,
    /// More may come in the next turn; so often there was nothing.
    Waits(u8),
}

impl Gathering {
    /// Notes that the provider was heard: what is pushed now follows what was pushed before.
    pub(super) fn hear(&mut self, now: Instant) {
        let close = self.heard.is_some_and(|before| now.duration_since(before) < CLOSE);
        self.state = if close { State::Waits(0) } else { State::Leaves };
        self.heard = Some(now);
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.fill(|pieces| pieces.push(piece));
    }

    /// Takes the pieces that `give` appends.
    pub(super) fn fill<T>(&mut self, give: impl FnOnce(&mut Vec<Bytes>) -> T) -> T {
        let before = self.pieces.len();
        let given = give(&mut self.pieces);
        let new = self.pieces.iter().skip(before).map(Bytes::len);
        self.size = self.size.saturating_add(new.sum());
        given
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Nothing more is waited for.
    pub(super) fn release(&mut self) {
        self.state = State::Leaves;
    }

    /// The provider has no more at the moment: whether another turn is worth its while. If not, what
    /// there is leaves.
    pub(super) fn look_again(&mut self) -> bool {
        self.state = match self.state {
            State::Waits(times) if times < ASKED_IN_A_TURN && !self.pieces.is_empty() => {
                State::Waits(times.saturating_add(1))
            }
            State::Waits(_) | State::Leaves => State::Leaves,
        };
        self.state != State::Leaves
    }

    /// What leaves now.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if self.state != State::Leaves && self.size < FULL {
            return None;
        }
        let size = std::mem::take(&mut self.size);
        if self.pieces.len() <= 1 {
            return self.pieces.pop();
        }
        let mut together = BytesMut::with_capacity(size);
        self.pieces.drain(..).for_each(|piece| together.extend_from_slice(&piece));
        Some(together.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, micros: u64) -> Instant {
        start + Duration::from_micros(micros)
    }

    fn hear(gathering: &mut Gathering, now: Instant, piece: &'static [u8]) {
        gathering.hear(now);
        gathering.push(Bytes::from_static(piece));
    }

    #[test]
    fn pieces_that_are_apart_leave_one_by_one_at_once() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        for (micros, piece) in [(0, b"a"), (1_000, b"b"), (6_000, b"c")] {
            hear(&mut gathering, at(start, micros), piece);
            assert_eq!(gathering.take().unwrap(), piece.as_slice());
            assert!(!gathering.look_again());
            assert_eq!(gathering.take(), None);
        }
    }

    #[test]
    fn a_burst_leaves_together_once_a_turn_brought_nothing() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        hear(&mut gathering, start, b"a");
        assert_eq!(gathering.take().unwrap(), "a");
        hear(&mut gathering, at(start, 10), b"b");
        assert_eq!(gathering.take(), None);
        assert!(gathering.look_again());
        hear(&mut gathering, at(start, 20), b"c");
        assert_eq!(gathering.take(), None);
        for _ in 0..ASKED_IN_A_TURN {
            assert_eq!(gathering.take(), None);
            assert!(gathering.look_again());
        }
        assert_eq!(gathering.take(), None);
        assert!(!gathering.look_again(), "a turn brought nothing");
        assert_eq!(gathering.take().unwrap(), "bc");
    }

    #[test]
    fn a_full_gathering_and_a_stream_that_ends_wait_for_nothing() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        hear(&mut gathering, start, b"");
        assert!(gathering.take().unwrap().is_empty());
        for micros in 1..=4 {
            hear(&mut gathering, at(start, micros), &[b'x'; FULL / 4]);
            assert_eq!(gathering.take().is_some(), micros == 4);
        }
        hear(&mut gathering, at(start, 5), b"end");
        gathering.release();
        assert_eq!(gathering.take().unwrap(), "end");
    }
}
