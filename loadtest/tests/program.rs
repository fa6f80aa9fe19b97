//! The program itself: a run in several processes, and its results merged and compared.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use opencredits_loadtest::load::result::RunResult;
use opencredits_loadtest::simulators::Providers;

const MIX: &str = "[[request]]\noutput_tokens = [5, 9]\n\
    [[request]]\nstream = true\ndialect = \"messages\"\nmodel = \"claude\"\noutput_tokens = [5, 9]";

/// Simulated providers as the server under test, and a folder for results.
struct Bench {
    providers: Providers,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let providers = Providers::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mix.toml"), MIX).unwrap();
        Self { providers, folder }
    }

    /// Sends 100 requests a second for two seconds, half of them to be measured.
    async fn run(&self, name: &str, more: &[&str]) -> PathBuf {
        let (target, out) = (self.providers.origin(), self.folder.path().join(name));
        let mix = self.folder.path().join("mix.toml");
        let mut words = vec!["run", "--target", &target, "--key", "key", "--name", name];
        words.extend(["--mix", mix.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        words.extend(["--pace", "constant", "--rate", "100", "--ramp", "0s"]);
        words.extend(["--warm-up", "1s", "--duration", "1s"]);
        words.extend(more);
        let output = program(&words).await;
        // On a busy machine the generator may be late, which the result says.
        let said = said(&output);
        assert!(output.status.success() || said.contains("the generator was late"), "{said}");
        out.with_extension("json")
    }
}

async fn program(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opencredits-loadtest"));
    command.args(words);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_send_together_what_one_would() {
    let bench = Bench::new().await;
    let result = bench.run("parts", &["--processes", "2", "--threads", "2"]).await;
    let whole = RunResult::read(&result).unwrap().record.whole();
    assert_eq!((whole.begun, whole.whole), (100, 100), "{:?}", whole.failed);
    assert_eq!(whole.latencies.total.count(), 100);
    assert_eq!(bench.providers.counts().requests, 200, "the warm-up is sent and not measured");
    let page = std::fs::read_to_string(result.with_extension("html")).unwrap();
    assert!(page.contains("<svg") && page.contains("100"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_merged_and_compared_by_the_program() {
    let bench = Bench::new().await;
    let (one, two) = (bench.run("one", &[]).await, bench.run("two", &["--seed", "2"]).await);
    let both = bench.folder.path().join("both");
    let merged = program(&["merge", text(&one), text(&two), "--out", text(&both)]).await;
    let whole = RunResult::read(&both.with_extension("json")).unwrap().record.whole();
    assert_eq!(whole.whole, 200, "{}", said(&merged));

    let compared = program(&["compare", text(&one), text(&two)]).await;
    let told = said(&compared);
    assert!(compared.status.success(), "{told}");
    for part in ["answers a second", "total p50, ms", "first byte p90, ms", "A = one, B = two"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_line_is_said() {
    let bench = Bench::new().await;
    let mix = bench.folder.path().join("mix.toml");
    std::fs::write(&mix, "acounts = 3").unwrap();
    let refused = program(&["run", "--target", "http://127.0.0.1:9", "--mix", text(&mix)]).await;
    assert!(!refused.status.success());
    assert!(said(&refused).contains("unknown field `acounts`"), "{}", said(&refused));
    let https = program(&["run", "--target", "https://127.0.0.1:9"]).await;
    assert!(said(&https).contains("is not http://"), "{}", said(&https));
    let missing = program(&["compare", "/nowhere.json", "/nowhere.json"]).await;
    assert!(said(&missing).contains("/nowhere.json"), "{}", said(&missing));
}
