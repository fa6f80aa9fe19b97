//! The Zipf choice: of n things the k-th is chosen in proportion to 1/kˢ.

use fastrand::Rng;

/// A choice with weights; [`Choice::zipf`] makes the Zipf weights.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The sums of the weights up to each place.
    sums: Vec<f64>,
}

impl Choice {
    /// A choice by weights, all of them above 0.
    pub(super) fn weighted(weights: impl IntoIterator<Item = f64>) -> Self {
        let sums = weights.into_iter().scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// The Zipf choice of `count` things with an exponent; 0 makes all alike.
    #[must_use]
    pub(super) fn zipf(count: usize, exponent: f64) -> Self {
        Self::weighted((1_u32..).take(count).map(|rank| f64::from(rank).powf(-exponent)))
    }

    /// A place, 0 the likeliest; 0 where there is nothing to choose from.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let sum = self.sums.last().copied().unwrap_or_default();
        let drawn = rng.f64() * sum;
        let place = self.sums.partition_point(|until| *until <= drawn);
        place.min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(choice: &Choice, count: usize) -> Vec<f64> {
        const DRAWS: u32 = 200_000;
        let mut rng = Rng::with_seed(1);
        let mut counts = vec![0.0; count];
        for _ in 0..DRAWS {
            counts[choice.draw(&mut rng)] += 1.0 / f64::from(DRAWS);
        }
        counts
    }

    #[test]
    fn the_kth_is_chosen_one_kth_as_often_as_the_first() {
        let shares = drawn(&Choice::zipf(100, 1.0), 100);
        for rank in [2_u32, 5, 10] {
            let place = usize::try_from(rank).unwrap() - 1;
            let ratio = shares[0] / shares[place] / f64::from(rank);
            assert!((ratio - 1.0).abs() < 0.1, "{rank}: {ratio}");
        }
        // The 100th harmonic number is 5.187.
        assert!((shares[0] - 1.0 / 5.187).abs() < 0.005, "{}", shares[0]);
    }

    #[test]
    fn exponent_0_makes_all_alike() {
        for share in drawn(&Choice::zipf(10, 0.0), 10) {
            assert!((share - 0.1).abs() < 0.005, "{share}");
        }
    }

    #[test]
    fn weights_are_kept_and_nothing_is_chosen_of_nothing() {
        let shares = drawn(&Choice::weighted([3.0, 1.0]), 2);
        assert!((shares[0] - 0.75).abs() < 0.005, "{shares:?}");
        assert_eq!(Choice::weighted([]).draw(&mut Rng::with_seed(1)), 0);
    }
}
