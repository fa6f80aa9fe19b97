//! Seeded choices: the same seed makes the same ones in the same order.

use std::sync::{Mutex, PoisonError};

/// A stream of numbers that follows from its seed (splitmix64).
pub struct Choices(Mutex<u64>);

impl Choices {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Yes, in so many of a hundred cases.
    pub fn chance(&self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[usize::try_from(self.between(0, from.len() as u64 - 1)).unwrap()]
    }
}
