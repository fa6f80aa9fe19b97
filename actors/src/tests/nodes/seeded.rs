//! Several nodes under the choices of a seed: requests at any of them, and nodes that are killed, cut
//! off, leave and come, over a network that loses and reorders, and a store whose answers are lost.
//!
//! After each step a ledger that knows only what was asked and answered holds the durable events against
//! it. `tests/simulate nodes 17` shows a run again, `tests/simulate nodes 17 SkipFence` with a bug.

mod client;
mod ledger;
mod network;
mod run;

use std::collections::BTreeMap;
use std::process::Command;

use self::run::Run;
use crate::Fault;

/// How many seeds are tried, and within how many each planted bug is found.
const SEEDS: u64 = 1000;
const FAULT_SEEDS: u64 = 4000;

const PLANTED: [Fault; 7] = [
    Fault::SkipFence,
    Fault::KeepEpoch,
    Fault::LoseUnknown,
    Fault::DecideUnleased,
    Fault::TakeUnasked,
    Fault::ForgetTheirHolds,
    Fault::KeepLateHold,
];

/// What happens in at least one of ten seeds: where something does not happen any more, nothing would
/// be found there.
const KINDS: [&str; 17] = [
    "killed",
    "isolated",
    "came back",
    "left",
    "joined",
    "cut",
    "ask lost",
    "answer lost",
    "overtaken",
    "store answers lost",
    "admitted",
    "refused",
    "settled",
    "released",
    "settled for a dead node",
    "settled elsewhere",
    "fenced",
];

/// Runs a seed with a bug or without.
fn run(seed: u64, fault: Option<Fault>, shown: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
    Fault::plant(fault);
    let run = runtime.block_on(run::run(seed, shown));
    drop(runtime);
    Fault::plant(None);
    run
}

#[expect(clippy::disallowed_methods, reason = "a person says which seeds to run")]
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
#[expect(clippy::print_stdout, reason = "it tells what it did")]
fn every_seed_keeps_the_rules() {
    if let Some(seed) = asked("NODES_SEED") {
        let name = asked("FAULT");
        let fault = PLANTED.into_iter().find(|fault| Some(format!("{fault:?}")) == name);
        assert_eq!(fault.is_some(), name.is_some(), "there is no such fault");
        let ran = run(seed.parse().unwrap(), fault, true);
        println!("trace {:?}", ran.trace);
        assert_eq!(ran.broken, None);
        return;
    }
    let seeds = asked("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let mut kinds = BTreeMap::<&str, u64>::new();
    for seed in 1..=seeds {
        let ran = run(seed, None, false);
        assert_eq!(ran.broken, None, "seed {seed}; see it again: NODES_SEED={seed}");
        for (kind, count) in ran.kinds {
            *kinds.entry(kind).or_default() += count;
        }
    }
    println!("{seeds} seeds: {kinds:?}");
    for kind in KINDS {
        let count = kinds.get(kind).copied().unwrap_or(0);
        assert!(count * 10 >= seeds, "{kind} happened {count} times in {seeds} seeds");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "it tells what it did")]
fn every_planted_bug_is_found() {
    let mut escaped = Vec::new();
    for fault in PLANTED {
        let found = (1..=FAULT_SEEDS)
            .find_map(|seed| run(seed, Some(fault), false).broken.map(|broken| (seed, broken)));
        match found {
            Some((seed, broken)) => {
                println!("{fault:?}: seed {seed}: {broken}");
                assert_eq!(run(seed, None, false).broken, None, "seed {seed} without {fault:?}");
            }
            None => escaped.push(fault),
        }
    }
    assert!(escaped.is_empty(), "nothing finds {escaped:?}");
}

#[test]
fn a_seed_makes_the_same_run_in_every_process() {
    for seed in [1, 17] {
        let ran = run(seed, None, false);
        assert_eq!(run(seed, None, true).trace, ran.trace, "seed {seed} in the same process");
        let other = Command::new(std::env::current_exe().unwrap())
            .args(["nodes::seeded::every_seed_keeps_the_rules", "--nocapture"])
            .env("NODES_SEED", seed.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&other.stdout).into_owned();
        assert!(said.contains(&format!("trace {:?}", ran.trace)), "seed {seed}: {said}");
    }
    assert_ne!(run(1, None, false).trace, run(2, None, false).trace);
}
