//! The checkout in a real browser: Debian's chromium, driven through playwright-core.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use opencredits_loadtest::shop::Shop as Page;
use serde_json::json;

use super::Shop;
use crate::sdk;

#[tokio::test(flavor = "multi_thread")]
async fn the_widget_works_in_a_real_browser() {
    let shop = Shop::open().await;
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let other = super::partner(&shop.client, "other app").await;
    let other = Page::start(local, &shop.world.base, &other).await.unwrap();
    let strict = json!({"name": "strict", "referral_rate": "0.10",
        "allowed_origins": ["https://app.example"]});
    let strict = shop.world.operate("POST", "/admin/v1/partners", &strict).await;
    let strict = strict["publishable_key"].as_str().unwrap();
    let strict = Page::start(local, &shop.world.base, strict).await.unwrap();
    let own = [("OTHER_SHOP", other.url()), ("STRICT_SHOP", strict.url())];
    assert!(play(&shop, "checkout.mjs", &own).await > 20);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_callback_fires_when_it_should() {
    let shop = Shop::open().await;
    assert!(play(&shop, "rules.mjs", &[]).await > 10);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_page_works_in_a_real_browser() {
    let shop = Shop::open().await;
    assert_eq!(play(&shop, "account.mjs", &[]).await, 6);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_loader_goes_on_working_and_another_file_does_not_load() {
    let releases = std::fs::read_to_string(sdk::root().join("widget/releases/integrity.txt"));
    for release in releases.unwrap().lines() {
        let shop = Shop::open().await;
        let (file, integrity) = release.split_once(' ').unwrap();
        let other = format!("sha384-{}", "A".repeat(64));
        let (pinned, spoiled) = (pin(&shop, file, integrity).await, pin(&shop, file, &other).await);
        let own = [("SHOP", pinned.url()), ("SPOILED_SHOP", spoiled.url())];
        assert_eq!(play(&shop, "pinned.mjs", &own).await, 2, "{file}");
        shop.close().await;
    }
}

/// The shop's page with a release of the loader.
async fn pin(shop: &Shop, file: &str, integrity: &str) -> Page {
    let base = &shop.world.base;
    let loader = format!(
        r#"<script src="{base}/assets/{file}" integrity="{integrity}" crossorigin="anonymous"></script>"#
    );
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    Page::with_loader(local, base, &shop.publishable_key, &loader).await.unwrap()
}

/// Tells the stories of a script about a shop; how many there are.
async fn play(shop: &Shop, script: &str, own: &[(&str, String)]) -> usize {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let base = &shop.world.base;
    let page = Page::start(local, base, &shop.publishable_key).await.unwrap();
    let mut command = Command::new("/usr/bin/timeout");
    command
        .arg("900")
        .arg(sdk::node())
        .arg(sdk::root().join("tests/browser").join(script))
        .env("BASE", base)
        .env("SHOP", page.url())
        .env("SIM", shop.stripe.origin())
        .env("SHOTS", sdk::root().join("target/screenshots"))
        .envs(own.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failures: Vec<_> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", failures.join("\n"));
    said.lines().count()
}

#[test]
fn the_scripts_types_agree() {
    let folder = sdk::root().join("tests/browser");
    let checked = Command::new(sdk::node())
        .arg(folder.join("node_modules/typescript/bin/tsc"))
        .args(["--project", "."])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
