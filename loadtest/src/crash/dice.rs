//! Random numbers that follow from a seed, so that a run can be run again.

/// A stream of numbers (`SplitMix64`): good enough to draw schedules, useless for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for the part of that number, whatever the others draw.
    pub fn of(seed: u64, part: u64) -> Self {
        let mut dice = Self::new(seed ^ part.wrapping_mul(0xd134_2543_de82_ef95));
        dice.draw();
        dice
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `least` to `most`, both possible.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least).saturating_add(1);
        least.saturating_add(self.draw().checked_rem(span).unwrap_or_default())
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    /// One of them; the default where there is none.
    pub fn one_of<T: Copy + Default>(&mut self, of: &[T]) -> T {
        let last = of.len().saturating_sub(1);
        let at = self.between(0, u64::try_from(last).unwrap_or_default());
        usize::try_from(at).ok().and_then(|at| of.get(at).copied()).unwrap_or_default()
    }

    /// The same ones in another order.
    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        for at in (1..of.len()).rev() {
            let other = self.between(0, u64::try_from(at).unwrap_or_default());
            of.swap(at, usize::try_from(other).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_numbers_again_and_in_bounds() {
        let draw = |seed| {
            let mut dice = Dice::of(seed, 3);
            (0..100).map(|_| dice.between(5, 7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut numbers = draw(1);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, [5, 6, 7]);
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut cards: Vec<u32> = (0..20).collect();
        Dice::new(7).shuffle(&mut cards);
        assert_ne!(cards, (0..20).collect::<Vec<_>>());
        cards.sort_unstable();
        assert_eq!(cards, (0..20).collect::<Vec<_>>());
    }
}
