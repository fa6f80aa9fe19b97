//! What is broken, in which order, how far into the load, and how long: all from the seed.

use super::dice::Dice;
use super::shim::Order;

/// Requests that are begun between a start and the next fault.
const BEFORE_LEAST: u64 = 350;
const BEFORE_MOST: u64 = 550;

/// A way to break it. Each ends with kill -9 at a random moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing but kill -9.
    #[default]
    Kill,
    /// kill -9, and again while it recovers, up to three times.
    KillInRecovery,
    /// SIGSTOP; then it goes on for a while, or is killed where it stands.
    Freeze,
    /// The power fails: what no sync had made safe is lost in part.
    TornWrite,
    /// Writes to the store fail with ENOSPC.
    DiskFull,
    /// Writes to the store fail with EROFS.
    ReadOnly,
    /// Each sync takes very long.
    SlowSync,
    /// The wall clock jumps, forwards or back; after the crash it is right again.
    ClockStep,
    /// There are no file descriptors for new connections.
    Descriptors,
    /// Providers reset connections in the middle of answers.
    ProviderResets,
    /// Providers end answers cleanly in the middle.
    HalfAnswers,
    /// Providers fall silent, and clients run out of patience.
    ProviderTimeouts,
    /// Stripe holds webhooks back, then tells them in reverse and several times at once.
    Webhooks,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Kill,
        Self::KillInRecovery,
        Self::Freeze,
        Self::TornWrite,
        Self::DiskFull,
        Self::ReadOnly,
        Self::SlowSync,
        Self::ClockStep,
        Self::Descriptors,
        Self::ProviderResets,
        Self::HalfAnswers,
        Self::ProviderTimeouts,
        Self::Webhooks,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::KillInRecovery => "kill -9 in recovery",
            Self::Freeze => "SIGSTOP",
            Self::TornWrite => "torn write",
            Self::DiskFull => "full disk",
            Self::ReadOnly => "read-only store",
            Self::SlowSync => "slow fsync",
            Self::ClockStep => "clock step",
            Self::Descriptors => "descriptor limit",
            Self::ProviderResets => "provider resets",
            Self::HalfAnswers => "half answers",
            Self::ProviderTimeouts => "provider time-outs",
            Self::Webhooks => "webhooks reordered",
        }
    }

    /// The fault of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// What the shim is ordered for it; none for what needs no shim.
    pub(super) const fn order(self) -> Option<Order> {
        match self {
            Self::TornWrite => Some(Order::Undo),
            Self::DiskFull => Some(Order::DiskFull),
            Self::ReadOnly => Some(Order::ReadOnly),
            Self::SlowSync => Some(Order::SlowSync),
            Self::ClockStep => Some(Order::ClockStep),
            Self::Kill
            | Self::KillInRecovery
            | Self::Freeze
            | Self::Descriptors
            | Self::ProviderResets
            | Self::HalfAnswers
            | Self::ProviderTimeouts
            | Self::Webhooks => None,
        }
    }
}

/// One crash and what leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// What is broken.
    pub(super) fault: Fault,
    /// Requests that are begun before it is.
    pub(super) after: u64,
    /// How long it lasts before kill -9, in milliseconds.
    pub(super) lasts_ms: u64,
    /// How strong it is, in the fault's own measure: milliseconds, descriptors, answers.
    pub(super) strength: i64,
    /// Whether it is still broken when it is killed.
    pub(super) dies_in_it: bool,
    /// The kills in the recovery that follows, each so many milliseconds after the start.
    pub(super) again_ms: [Option<u64>; 3],
}

/// The rounds of a seed, without end: every fault once, in a random order, then once more, …
#[derive(Debug)]
pub(super) struct Plan {
    dice: Dice,
    kinds: Vec<Fault>,
    deck: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed over the faults that this machine allows.
    pub(super) fn new(seed: u64, kinds: Vec<Fault>) -> Self {
        Self { dice: Dice::of(seed, 0), kinds, deck: Vec::new() }
    }

    /// The next round.
    pub(super) fn draw(&mut self) -> Round {
        let dice = &mut self.dice;
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            dice.shuffle(&mut self.deck);
        }
        let fault = self.deck.pop().unwrap_or_default();
        let after = dice.between(BEFORE_LEAST, BEFORE_MOST);
        let lasts_ms = match fault {
            Fault::Kill | Fault::KillInRecovery => dice.between(0, 300),
            Fault::Webhooks => dice.between(50, 600),
            Fault::Freeze
            | Fault::TornWrite
            | Fault::DiskFull
            | Fault::ReadOnly
            | Fault::SlowSync
            | Fault::ClockStep
            | Fault::Descriptors
            | Fault::ProviderResets
            | Fault::HalfAnswers
            | Fault::ProviderTimeouts => dice.between(300, 1500),
        };
        let strength = strength(fault, dice);
        let dies_in_it = dice.percent(50);
        let kills = if fault == Fault::KillInRecovery { dice.between(1, 3) } else { 0 };
        let again_ms = [1, 2, 3].map(|number| (number <= kills).then(|| dice.between(0, 40)));
        Round { fault, after, lasts_ms, strength, dies_in_it, again_ms }
    }
}

fn strength(fault: Fault, dice: &mut Dice) -> i64 {
    const DAY_MS: u64 = 86_400_000;
    let number = match fault {
        Fault::TornWrite => dice.between(5, 60),
        Fault::SlowSync => dice.between(50, 400),
        // Seconds, hours or days: beyond a lease, beyond what a webhook's signature is good for.
        Fault::ClockStep => {
            let most = dice.one_of(&[20_000, 7_200_000, 50 * DAY_MS]);
            dice.between(1000, most)
        }
        Fault::Descriptors => dice.between(0, 6),
        Fault::ProviderResets | Fault::HalfAnswers | Fault::ProviderTimeouts => {
            dice.between(20, 60)
        }
        Fault::Webhooks => dice.between(2, 4),
        Fault::DiskFull | Fault::ReadOnly => 1,
        Fault::Kill | Fault::KillInRecovery | Fault::Freeze => 0,
    };
    let number = i64::try_from(number).unwrap_or_default();
    let back = fault == Fault::ClockStep && dice.percent(50);
    if back { number.saturating_neg() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(seed: u64, count: usize) -> Vec<Round> {
        let mut plan = Plan::new(seed, Fault::ALL.to_vec());
        (0..count).map(|_| plan.draw()).collect()
    }

    #[test]
    fn a_seed_makes_the_same_rounds_again() {
        assert_eq!(rounds(1, 40), rounds(1, 40));
        assert_ne!(rounds(1, 40), rounds(2, 40));
    }

    #[test]
    fn every_fault_comes_as_often_as_every_other() {
        let mut faults: Vec<_> = rounds(3, 26).iter().map(|round| round.fault).collect();
        faults.sort_unstable();
        let twice: Vec<_> = Fault::ALL.iter().flat_map(|fault| [*fault; 2]).collect();
        assert_eq!(faults, twice);
    }

    #[test]
    fn most_faults_need_no_shim() {
        assert!(Fault::ALL.iter().filter(|fault| fault.order().is_none()).count() >= 6);
    }
}
