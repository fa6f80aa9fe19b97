//! Claude Code against the gateway, with a home of its own and nothing else of the environment.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use opencredits_loadtest::simulators::Script;
use serde_json::json;

use crate::sdk;
use crate::support::{User, World};

/// A model of every provider.
const MODELS: [&str; 5] = [
    "anthropic/claude-sonnet-4-6",
    "openai/gpt-4o",
    "openai/gpt-5-pro",
    "google/gemini-3.1-pro-preview",
    "xai/grok-4.3",
];
/// Seconds: longer than it takes, with all other tests beside it.
const PATIENCE: &str = "30";

/// What it says and answers to one prompt, in an empty home.
async fn ask(world: &World, user: &User, model: &str, prompt: &str) -> Output {
    ask_at(tempfile::tempdir().unwrap().path(), world, user, model, prompt).await
}

async fn ask_at(home: &Path, world: &World, user: &User, model: &str, prompt: &str) -> Output {
    // The program itself, of its package for this platform; its launcher wants install scripts.
    let package = "tests/sdk/node_modules/@anthropic-ai/claude-code-linux-x64/claude";
    let mut command = Command::new("/usr/bin/timeout");
    command
        .arg(PATIENCE)
        .arg(sdk::root().join(package))
        .args(["-p", prompt, "--model", model])
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("ANTHROPIC_BASE_URL", &world.base)
        .env("ANTHROPIC_API_KEY", &user.key)
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_MAX_RETRIES", "0")
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(home)
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_works_with_a_model_of_every_provider() {
    let world = World::start().await;
    for model in MODELS {
        let user = world.user("100000").await;
        world.providers.clear_requests();
        // It offers tools, so the simulator calls one; what that gives comes back for the answer.
        let output = ask(&world, &user, model, "Say hello [[sim reasoning=20]]").await;
        let told = said(&output);
        assert!(output.status.success(), "{model}: {told}");
        assert!(told.contains("The quick brown fox"), "{model}: {told}");
        assert!(world.providers.requests().len() >= 2, "{model}: no tool was called");
        world.until_quiet().await;
        assert!(world.settled_balance(&user).await < 100_000_000_000, "{model}: it was charged");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_reads_two_files_at_once_and_shows_a_picture() {
    let world = World::start().await;
    for model in MODELS {
        let user = world.user("100000").await;
        world.providers.clear_requests();
        let home = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            ("Read".to_owned(), json!({ "file_path": path }))
        };
        let calls = vec![read("words.txt", b"a word to know again"), read("dot.png", &dot())];
        let (_, upstream) = model.split_once('/').unwrap();
        let script = Script { calls: Some(calls), ..Script::default() }.for_model(upstream);
        world.providers.script(script).unwrap();

        let output = ask_at(home.path(), &world, &user, model, "Look at both").await;
        let told = said(&output);
        assert!(output.status.success(), "{model}: {told}");
        assert!(told.contains("I see image/png"), "{model}: {told}");
        let last = world.providers.last_request().unwrap();
        let sent = String::from_utf8_lossy(&last.body);
        assert!(sent.contains("a word to know again"), "{model}: {sent}");
        world.until_quiet().await;
        world.settled_balance(&user).await;
    }
    world.end().await;
}

/// A picture of one pixel.
fn dot() -> Vec<u8> {
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    base64::engine::general_purpose::STANDARD.decode(PNG).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_is_told_when_credits_are_missing() {
    let world = World::start().await;
    let poor = world.user("0.01").await;
    let output = ask(&world, &poor, "openai/gpt-5-pro", "Say hello").await;
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Insufficient credits"), "{}", said(&output));
    assert_eq!(world.settled_balance(&poor).await, 10_000);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_takes_no_broken_stream_for_an_answer() {
    let world = World::start().await;
    for model in MODELS {
        let user = world.user("100000").await;
        let words = "Say hello [[sim chunks=9 error_after=2]]";
        let output = ask(&world, &user, model, words).await;
        assert!(!output.status.success(), "{model}: {}", said(&output));
        world.until_quiet().await;
        let rows = world.history(&user).await;
        assert!(rows.iter().any(|row| row["status"] == "upstream_cut"), "{model}: {rows:?}");
        world.settled_balance(&user).await;
    }
    world.end().await;
}
