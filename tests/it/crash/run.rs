//! The crash run itself: as many crashes, kinds and requests as are promised, and the books hold; and
//! a disk that lies is found out.

use opencredits_loadtest::crash::{self, Fault, Length, Options, Report};

/// The promise for the run that is part of the tests.
const CRASHES: usize = 20;
const KINDS: usize = 6;
const REQUESTS: usize = 10_000;

async fn run(length: Length, faults: Vec<Fault>, lying_disk: bool) -> Report {
    let seed = std::env::vars().find(|(name, _)| name == "SEED");
    let seed = seed.map_or(20_261_125, |(_, seed)| seed.parse().unwrap());
    let gateway = env!("CARGO_BIN_EXE_opencredits").into();
    crash::run(&Options { gateway, seed, length, faults, lying_disk }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "for whoever wants to see what was met, or run it again")]
async fn twenty_crashes_of_six_kinds_leave_balanced_books() {
    let report =
        run(Length::Counts { crashes: CRASHES, requests: REQUESTS }, Vec::new(), false).await;
    println!("{report}");
    assert_eq!(report.differences, Vec::<String>::new(), "{report}");
    assert!(report.crashes >= CRASHES, "{report}");
    assert!(report.faults.len() >= KINDS, "{report}");
    assert!(report.requests.begun >= REQUESTS, "{report}");
    // What was broken did break something, and not everything.
    assert!(report.requests.broken > 0 && report.requests.refused > 0, "{report}");
    assert!(report.requests.seen > REQUESTS / 2, "{report}");
    assert!(report.books.recovered > 0, "{report}");
    assert!(report.money["purchases"] > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_lies_is_found_out() {
    let length = Length::Counts { crashes: 4, requests: 0 };
    let report = run(length, vec![Fault::TornWrite], true).await;
    // Charges that clients saw are gone, or the store cannot be read or opened any more.
    let found = |line: &String| {
        ["lost", "was answered 500", "the gateway ended"].iter().any(|what| line.contains(what))
    };
    assert!(report.differences.iter().any(found), "{report}");
}
