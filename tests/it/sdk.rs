//! The official SDKs against the gateway: each client does all of its checks.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{User, World};

/// A model of every provider, of OpenAI on each of its routes, of Google before and after seals.
const MODELS: [&str; 6] = [
    "openai/gpt-4o",
    "anthropic/claude-sonnet-4-6",
    "openai/gpt-5-pro",
    "google/gemini-2.5-flash",
    "google/gemini-3.1-pro-preview",
    "xai/grok-4.3",
];
/// Those that think.
const THINKERS: [&str; 5] = [
    "anthropic/claude-sonnet-4-6",
    "openai/gpt-5-pro",
    "google/gemini-2.5-flash",
    "google/gemini-3.1-pro-preview",
    "xai/grok-4.3",
];

#[tokio::test(flavor = "multi_thread")]
async fn vercel() {
    run(&node(), "vercel_client.mjs", "", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python() {
    run(&python(), "openai_client.py", "openai/gpt-4o-mini", "openai/no-such-model").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node() {
    run(&node(), "openai_client.mjs", "openai/gpt-4o-mini", "openai/no-such-model").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_python() {
    let (forbidden, missing) = ("anthropic/claude-haiku-4-5", "anthropic/no-such-model");
    run(&python(), "anthropic_client.py", forbidden, missing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_node() {
    let (forbidden, missing) = ("anthropic/claude-haiku-4-5", "anthropic/no-such-model");
    run(&node(), "anthropic_client.mjs", forbidden, missing).await;
}

pub fn python() -> PathBuf {
    root().join("target/venv/bin/python")
}

pub fn node() -> PathBuf {
    root().join("tests/sdk/node_modules/.bin/node")
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a client against a gateway where each documented error can be reached.
async fn run(interpreter: &Path, script: &str, forbidden: &str, missing: &str) {
    assert!(interpreter.exists(), "{} is missing: run tests/run first", interpreter.display());
    let world = World::start().await;
    let partner = json!({"name": "sdk", "referral_rate": "0.10", "allowed_models": MODELS});
    let user = world.user_of(&partner, "1000").await;
    let broke = json!({"partner": user.partner, "email": null});
    let broke = world.operate("POST", "/admin/v1/accounts", &broke).await;
    let limited = json!({"partner": user.partner, "rate_limit": "1/min"});
    let path = format!("/admin/v1/accounts/{}/keys", user.account);
    let limited = world.operate("POST", &path, &limited).await;
    // The first is where what does not depend on the model is checked.
    let failing = MODELS[0];

    let mut command = Command::new(interpreter);
    command
        .arg(root().join("tests/sdk").join(script))
        .env("BASE_URL", &world.base)
        .env("USER_KEY", &user.key)
        .env("BROKE_KEY", broke["user_key"].as_str().unwrap())
        .env("LIMITED_KEY", limited["user_key"].as_str().unwrap())
        .env("FORBIDDEN_MODEL", forbidden)
        .env("MISSING_MODEL", missing)
        .env("FAILING_MODEL", failing)
        .env("MODELS", MODELS.join(","))
        .env("CHAT_MODELS", MODELS.join(","))
        .env("MESSAGES_MODELS", MODELS.join(","))
        .env("THINKERS", THINKERS.join(","))
        .env("NO_PROXY", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    let done = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(done >= MODELS.len() * 10, "only {done} checks:\n{said}");
    charged_what_the_history_says(&world, &user).await;
    world.end().await;
}

async fn charged_what_the_history_says(world: &World, user: &User) {
    world.until_quiet().await;
    let balance = world.settled_balance(user).await;
    assert!((0..1_000_000_000).contains(&balance), "{balance}");
}
