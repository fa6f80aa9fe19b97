//! `loadtest run` against the gateway: its books balance at the end, and a planted difference fails it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opencredits_loadtest::load;
use opencredits_loadtest::load::options::Options;
use opencredits_loadtest::load::result::RunResult;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{ADMIN_TOKEN, World};

/// All dialects, streamed and whole, translated and not, some that leave and some that read slowly.
const MIXED: &str = r#"
accounts = 5
hang_up = 0.2
slow = 0.1
slow_pause_ms = 1
[[request]]
model = "openai/gpt-4o-mini"
output_tokens = [5, 20]
[[request]]
stream = true
model = "openai/gpt-4o-mini"
output_tokens = [5, 20]
first_delay_ms = 5
delay_ms = 1
[[request]]
stream = true
dialect = "messages"
model = "anthropic/claude-haiku-4-5"
output_tokens = [5, 20]
delay_ms = 1
[[request]]
stream = true
dialect = "messages"
model = "openai/gpt-4o-mini"
output_tokens = [5, 20]
[[request]]
stream = true
dialect = "responses"
model = "openai/gpt-4o-mini"
output_tokens = [5, 20]
"#;

const PLAIN: &str = "accounts = 3\n[[request]]\noutput_tokens = [5, 20]";

async fn run(folder: &Path, mix: &str, more: &[&str]) -> RunResult {
    let file = folder.join("mix.toml");
    std::fs::write(&file, mix).unwrap();
    let fixed = ["--mix", file.to_str().unwrap(), "--rate", "60", "--ramp", "0s"];
    let short = ["--warm-up", "200ms", "--duration", "2s", "--no-footprint"];
    let words = fixed.into_iter().chain(short).chain(more.iter().copied());
    load::run(&Options::of(words).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_load_ends_with_balanced_books() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = ["--gateway", env!("CARGO_BIN_EXE_opencredits")];
    let result = run(folder.path(), MIXED, &gateway).await;
    let whole = result.record.whole();
    assert_eq!(whole.failed.values().sum::<u64>(), 0, "{:?}", whole.failed);
    assert!(whole.whole > 20 && whole.hung_up > 0 && whole.slow > 0, "{whole:?}");
    assert!(whole.latencies.gap.count() > whole.whole, "streams come in several chunks");
    let books = result.books.unwrap();
    assert_eq!(books.differences, Vec::<String>::new());
    assert!(books.requests >= usize::try_from(whole.begun).unwrap());
    let server = result.server.unwrap();
    let positive = |figure: Option<f64>| figure.is_some_and(|figure| figure > 0.0);
    assert!(positive(server.cpu_us_per_request), "{server:?}");
    assert!(positive(server.events_per_s) && positive(server.batch_mean), "{server:?}");
    assert!(positive(server.commit_mean_ms) && positive(server.fsync_p50_ms), "{server:?}");
    assert!(server.rss_max > Some(1 << 20), "{server:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_is_not_what_the_client_was_told_fails_the_run_and_is_listed() {
    let world = World::start().await;
    let liar = liar(world.base.strip_prefix("http://").unwrap()).await;
    let target = ["--target", &liar, "--admin", &world.admin, "--admin-token", ADMIN_TOKEN];
    let result = run(world.folder.path(), PLAIN, &target).await;
    let differences = &result.books.as_ref().unwrap().differences;
    assert!(!differences.is_empty());
    assert!(differences.iter().all(|line| line.contains("request ")), "{differences:?}");
    assert_eq!(differences.len(), 1, "the one lie and nothing else: {differences:?}");
    assert!(result.failure().unwrap().contains("the books differ in 1 point"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_a_gateway_that_has_other_accounts_looks_at_its_own() {
    let world = World::start().await;
    world.user("1000").await;
    let target = ["--target", &world.base, "--admin", &world.admin, "--admin-token", ADMIN_TOKEN];
    let result = run(world.folder.path(), PLAIN, &target).await;
    assert_eq!(result.books.unwrap().differences, Vec::<String>::new());
    world.end().await;
}

/// A proxy that changes the last digit of the first charge that the server tells.
async fn liar(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (server, lied) = (server.to_owned(), Arc::new(AtomicBool::new(false)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let lied = Arc::clone(&lied);
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    if !lied.load(Ordering::SeqCst) && lie(&mut bytes[..count]) {
                        lied.store(true, Ordering::SeqCst);
                    }
                    if to_client.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

/// Changes the last digit of a charge in an answer's head, if there is one.
fn lie(answer: &mut [u8]) -> bool {
    let header = b"x-opencredits-charge: ";
    let Some(start) = answer.windows(header.len()).position(|window| window == header) else {
        return false;
    };
    let start = start + header.len();
    let length = answer[start..].iter().position(|byte| *byte == b'\r').unwrap();
    let digit = &mut answer[start + length - 1];
    *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
    true
}
