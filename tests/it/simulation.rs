//! Deterministic simulation: the real actors, journal and account over a simulated store, clock,
//! network and provider, killed at any step; and planted bugs, each of which a run has to find.
//!
//! `tests/simulate 17` shows the run of a seed again, `tests/simulate 17 SettleTwice` with a bug in
//! it; `SEEDS=100000 tests/simulate` tries more of them.

mod choices;
mod ledger;
mod life;
mod outside;
mod request;
mod store;
mod world;

use std::collections::BTreeMap;
use std::process::Command;

use opencredits_actors::Fault;

use self::ledger::Broken;
use self::world::{Outside, World};

/// How many seeds are tried, unless somebody asks for more.
const SEEDS: u64 = 3000;
/// Within so many seeds each planted bug is found.
const FAULT_SEEDS: u64 = 500;

/// What a run left: the number of its steps and a hash of them, the steps by their kind, and the
/// first rule that was broken.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    trace: (u64, u64),
    kinds: BTreeMap<&'static str, u64>,
    broken: Option<Broken>,
}

/// A bug that is planted for a run.
#[derive(Clone, Copy, Debug)]
enum Planted {
    Inside(Fault),
    Outside(Outside),
}

const PLANTED: [Planted; 22] = [
    Planted::Inside(Fault::SettleTwice),
    Planted::Inside(Fault::DecideBeforeBarrier),
    Planted::Inside(Fault::RestWithHolds),
    Planted::Inside(Fault::ForgetHolds),
    Planted::Inside(Fault::AnswerBeforeCommit),
    Planted::Inside(Fault::AnswerRepeatsEarly),
    Planted::Inside(Fault::TakeErrorForDone),
    Planted::Inside(Fault::ApplyUnjournaled),
    Planted::Inside(Fault::TwoIncarnations),
    Planted::Inside(Fault::SkipTakeover),
    Planted::Inside(Fault::ForgetShare),
    Planted::Inside(Fault::ReleaseCheckpointed),
    Planted::Inside(Fault::ForgetRecovered),
    Planted::Inside(Fault::KeepCheckpoint),
    Planted::Inside(Fault::KeepExpired),
    Planted::Inside(Fault::HealTooEarly),
    Planted::Inside(Fault::LoseBatch),
    Planted::Outside(Outside::KeyByDelivery),
    Planted::Outside(Outside::RetryAsNew),
    Planted::Outside(Outside::RefundOnError),
    Planted::Outside(Outside::StoreLies),
    Planted::Outside(Outside::StaleRead),
];

impl Planted {
    fn name(self) -> String {
        match self {
            Self::Inside(fault) => format!("{fault:?}"),
            Self::Outside(fault) => format!("{fault:?}"),
        }
    }
}

fn run(seed: u64, planted: Option<Planted>, shown: bool) -> Run {
    let (inside, outside) = match planted {
        Some(Planted::Inside(fault)) => (Some(fault), None),
        Some(Planted::Outside(fault)) => (None, Some(fault)),
        None => (None, None),
    };
    let world = World::new(seed, outside, shown);
    Fault::plant(inside);
    life::run(&world);
    Fault::plant(None);
    Run { trace: world.trace(), kinds: world.kinds(), broken: world.broken() }
}

#[expect(clippy::disallowed_methods, reason = "a person says which seeds to run")]
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
#[expect(clippy::print_stdout, reason = "it tells what it did")]
fn every_seed_keeps_the_rules() {
    if let Some(seed) = asked("SEED") {
        let name = asked("FAULT");
        let planted = PLANTED.into_iter().find(|planted| Some(planted.name()) == name);
        assert_eq!(planted.is_some(), name.is_some(), "there is no such fault");
        let ran = run(seed.parse().unwrap(), planted, true);
        println!("trace {:?}", ran.trace);
        assert_eq!(ran.broken, None);
        return;
    }
    let seeds = asked("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let (mut kinds, mut steps) = (BTreeMap::new(), 0);
    for seed in 1..=seeds {
        let ran = run(seed, None, false);
        if let Some(broken) = ran.broken {
            panic!("seed {seed} breaks a rule: {broken}\nsee it again: tests/simulate {seed}");
        }
        steps += ran.trace.0;
        for (kind, count) in ran.kinds {
            *kinds.entry(kind).or_insert(0) += count;
        }
    }
    println!("{seeds} seeds, {steps} steps: {kinds:?}");
    // Where something does not happen any more, nothing would be found there.
    for kind in [
        "killed",
        "panics",
        "fails",
        "rejected",
        "hangs",
        "vanishes",
        "late",
        "renew",
        "checkpoint",
        "settled",
        "recovered",
        "expired",
        "adjusted",
        "received",
        "refunded",
        "disputed",
        "refused",
        "unplaced",
        "paid out",
    ] {
        let count = kinds.get(kind).copied().unwrap_or(0);
        assert!(count * 100 >= seeds, "{kind} happened {count} times in {seeds} seeds");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "it tells what it did")]
fn every_planted_bug_is_found() {
    let found = PLANTED.map(|planted| {
        let name = planted.name();
        let found = (1..=FAULT_SEEDS).find_map(|seed| {
            let ran = run(seed, Some(planted), false);
            ran.broken.map(|broken| (seed, broken))
        });
        if let Some((seed, broken)) = &found {
            println!("{name:<20} seed {seed:<4} {broken}");
            assert_eq!(run(*seed, None, false).broken, None, "without {name}");
        }
        (name, found.is_some())
    });
    let escaped: Vec<_> = found.iter().filter(|(_, found)| !found).map(|(name, _)| name).collect();
    assert!(escaped.is_empty(), "nothing finds {escaped:?}");
}

#[test]
fn a_seed_makes_the_same_run_in_every_process() {
    for seed in [1, 17, 2026] {
        let ran = run(seed, None, false);
        assert_eq!(run(seed, None, false), ran, "seed {seed} in the same process");
        assert_eq!(run(seed, None, true), ran, "seed {seed} while it is shown");
        let other = Command::new(std::env::current_exe().unwrap())
            .args(["every_seed_keeps_the_rules", "--nocapture"])
            .env("SEED", seed.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8(other.stdout).unwrap();
        assert!(said.contains(&format!("trace {:?}", ran.trace)), "seed {seed}: {said}");
    }
    assert_ne!(run(1, None, false).trace, run(2, None, false).trace);
}

#[test]
fn what_is_shipped_has_no_planted_bugs() {
    let tree = |edges: &str| {
        let arguments = ["tree", "--offline", "--workspace", "--prefix", "none", "--edges", edges];
        let listed = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        String::from_utf8(listed.stdout).unwrap().contains("planted-faults")
    };
    assert!(tree("features"), "the tests plant bugs");
    assert!(!tree("features,no-dev"), "nothing else can");
}
