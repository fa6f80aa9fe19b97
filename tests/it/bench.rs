//! `loadtest bench` beside a real nginx: it runs whole, tells every scenario with its mark, and says what
//! is wrong with a line. No figure is judged here.

use std::path::Path;

use opencredits_loadtest::bench;
use opencredits_loadtest::bench::options::Options;
use opencredits_loadtest::bench::report::Report;
use opencredits_loadtest::bench::scenario::Scenario;

/// A quick run of some scenarios, one repetition each.
async fn run(folder: &Path, only: &[&str]) -> Report {
    let gateway = ["--gateway", env!("CARGO_BIN_EXE_opencredits"), "--quick", "--repetitions", "1"];
    let out = ["--out", folder.to_str().unwrap(), "--only"];
    let words = gateway.into_iter().chain(out).chain(only.iter().copied());
    let options = Options::of(words).unwrap();
    let report = bench::run(&options).await.unwrap();
    report.write(&options.out).unwrap();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_run_tells_each_scenario_with_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), &["plain", "burst"]).await;
    let told: Vec<_> = report.outcomes.iter().map(|outcome| outcome.scenario).collect();
    assert_eq!(told, [Scenario::Plain, Scenario::Burst]);
    let page = std::fs::read_to_string(folder.path().join("performance.md")).unwrap();
    for outcome in &report.outcomes {
        let name = outcome.scenario.name();
        assert!(page.contains(&format!("## `{name}`")), "{name}: {page}");
        let ratio = outcome.findings.iter().find(|finding| finding.mark.is_some()).unwrap();
        let (verdict, mark) = (ratio.verdict(ratio.mark.unwrap()), ratio.mark.unwrap());
        assert!(page.contains(&format!("{mark} × | {verdict} |")), "{name}: {page}");
        assert!(ratio.samples.median() > 0.0, "{ratio:?}");
        assert!(outcome.turns.iter().all(|turn| turn.requests > 0), "{name}");
    }
    for file in ["performance.json", "performance-marks.svg"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn an_unknown_scenario_is_refused_with_the_list() {
    let told = Options::of(["--only", "unknown"]).unwrap_err().to_string();
    for scenario in Scenario::ALL {
        assert!(told.contains(scenario.name()), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_nginx_says_what_to_install() {
    let options = Options::of(["--nginx", "/nowhere/nginx", "--only", "plain"]).unwrap();
    let told = bench::run(&options).await.unwrap_err().to_string();
    assert!(told.contains("apt-get install nginx"), "{told}");
}
