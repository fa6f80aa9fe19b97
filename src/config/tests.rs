//! Each rule of the configuration, as what a caller sets and what is told.

use super::*;

fn parse(set: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    parse_with(set, None)
}

fn parse_with(set: &[(&str, &str)], file: Option<&str>) -> Result<Config, ConfigErrors> {
    let names: Vec<_> = set.iter().map(|(name, _)| (*name).to_owned()).collect();
    let lookup = |name: &str| {
        let found = set.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::parse(lookup, &names, file)
}

/// The settings are refused, and the error tells each of the texts.
fn refused(set: &[(&str, &str)], told: &[&str]) {
    let error = parse(set).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.0.len(), told.len(), "{text}");
    for part in told {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LIVE: [(&str, &str); 3] = [
    ("OPENCREDITS_STRIPE_SECRET_KEY", "sk_live_x"),
    ("OPENCREDITS_STRIPE_PUBLISHABLE_KEY", "pk_live_x"),
    ("OPENCREDITS_STRIPE_WEBHOOK_SECRET", "whsec_x"),
];

/// Live keys and something more.
fn live(more: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    [&LIVE[..], &[more]].concat()
}

#[test]
fn an_empty_environment_is_the_documented_default() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url.to_string(), "http://127.0.0.1:8080");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.store, StoreConfig::Sqlite("opencredits.db".into()));
    assert_eq!(config.door.max_body, 32 << 20);
    assert_eq!(config.door.max_headers, 64 << 10);
    assert_eq!(config.door.max_connections, 10_000);
    assert_eq!(config.times.settle_wait.as_secs(), 30);
    assert_eq!(config.orders.max_cents, 50_000);
    assert_eq!(config.rates.per_key.to_string(), "600/min");
    assert_eq!(config.on_client_gone, OnClientGone::Auto);
    assert!(config.admin_token.is_none() && config.node.is_none() && !config.dev);
}

#[test]
fn each_setting_is_read_from_the_environment_and_from_the_file() {
    for variable in VARIABLES {
        // No text at all is a control character, so each check of form refuses it.
        let free_text = ["OPENCREDITS_PRICES", "OPENCREDITS_STRIPE_WEBHOOK_SECRET"];
        if free_text.contains(&variable.name) {
            continue;
        }
        let error = parse(&[(variable.name, "\u{7f}=\u{7f}")]).unwrap_err();
        assert_eq!(error.0[0].name, variable.name);
        let file = format!("{} = \"\\u007f=\\u007f\"", variable.key());
        let error = parse_with(&[], Some(&file)).unwrap_err();
        assert_eq!(error.0[0].name, variable.name);
    }
}

#[test]
fn every_bad_setting_is_named_at_once() {
    refused(
        &[
            ("OPENCREDITS_LISTEN", "80a"),
            ("OPENCREDITS_STORE", "postgres:x"),
            ("OPENCREDITS_MAX_BODY", "0"),
            ("OPENCREDITS_HEADER_TIMEOUT", "75"),
        ],
        &[
            "4 bad settings: ",
            "OPENCREDITS_LISTEN=\"80a\" is not an address",
            "OPENCREDITS_MAX_BODY=\"0\" is zero",
            "OPENCREDITS_HEADER_TIMEOUT=\"75\" is not a duration",
        ],
    );
}

#[test]
fn a_name_that_is_no_setting_is_a_typo() {
    refused(&[("OPENCREDITS_LISTN", "x")], &["OPENCREDITS_LISTN is not a setting"]);
    let error = parse_with(&[], Some("listn = 1")).unwrap_err();
    assert!(error.to_string().contains("listn is not a setting"));
    assert!(parse(&[("OPENCREDITS_SERVICE_HOST", "10.0.0.1"), ("PATH", "/bin")]).is_ok());
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nmax_connections = 7\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]";
    let config = parse_with(&[("OPENCREDITS_LISTEN", "127.0.0.1:2")], Some(file)).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.door.max_connections, 7);
    assert_eq!(config.trusted_proxies.len(), 2);
    let told = config.describe();
    assert!(told.contains("OPENCREDITS_LISTEN=127.0.0.1:2 (environment)"));
    assert!(told.contains("OPENCREDITS_MAX_CONNECTIONS=7 (file)"));
    assert!(told.contains("OPENCREDITS_MAX_BODY=32MiB (default)"));
    assert_eq!(told.lines().count(), VARIABLES.len());
}

#[test]
fn a_broken_file_is_told_without_its_text() {
    let error = parse_with(&[], Some("listen = \"a\"\nadmin_token = swordfish")).unwrap_err();
    assert!(error.to_string().contains("the file is not TOML: line 2"), "{error}");
    assert!(!error.to_string().contains("swordfish"), "{error}");
}

#[test]
fn an_empty_value_counts_as_none() {
    assert!(parse(&[("OPENCREDITS_ADMIN_TOKEN", "")]).unwrap().admin_token.is_none());
    assert_eq!(parse(&[("OPENCREDITS_LISTEN", "")]).unwrap().listen.port(), 8080);
}

#[test]
fn no_secret_is_ever_shown() {
    let set = [
        ("OPENCREDITS_ADMIN_TOKEN", "swordfish-0123456789abcdef0123456789"),
        ("OPENCREDITS_OPENAI_API_KEY", "swordfish"),
        ("OPENCREDITS_ANTHROPIC_API_KEY", "swordfish"),
        ("OPENCREDITS_GOOGLE_API_KEY", "swordfish"),
        ("OPENCREDITS_XAI_API_KEY", "swordfish"),
        ("OPENCREDITS_STRIPE_SECRET_KEY", "sk_test_swordfish"),
        ("OPENCREDITS_STRIPE_PUBLISHABLE_KEY", "pk_test_x"),
        ("OPENCREDITS_STRIPE_WEBHOOK_SECRET", "whsec_swordfish"),
        ("OPENCREDITS_SMTP_URL", "smtp://u:swordfish@host"),
        ("OPENCREDITS_MAIL_FROM", "a@b"),
        ("OPENCREDITS_STORE", "scylla:a:9042/credits"),
        ("OPENCREDITS_NODE_ADDRESS", "a:1"),
        ("OPENCREDITS_NODE_SECRET", "swordfish-0123456789abcdef0123456789"),
    ];
    let config = parse(&set).unwrap();
    assert!(!format!("{config:?}{}", config.describe()).contains("swordfish"));
    assert!(config.describe().contains("OPENCREDITS_OPENAI_API_KEY=(set) (environment)"));
    let bad = [
        ("OPENCREDITS_ADMIN_TOKEN", "swordfish"),
        ("OPENCREDITS_NODE_SECRET", "swordfish"),
        ("OPENCREDITS_OPENAI_API_KEY", "swordfish\n"),
        ("OPENCREDITS_STRIPE_SECRET_KEY", "swordfish"),
        ("OPENCREDITS_SMTP_URL", "swordfish"),
    ];
    let error = parse(&bad).unwrap_err();
    assert_eq!(error.0.len(), bad.len());
    assert!(!format!("{error}{error:?}").contains("swordfish"));
}

#[test]
fn the_admin_token_has_at_least_32_bytes() {
    refused(
        &[("OPENCREDITS_ADMIN_TOKEN", TOKEN.trim_start_matches('0'))],
        &["is shorter than 32 bytes"],
    );
    assert!(parse(&[("OPENCREDITS_ADMIN_TOKEN", TOKEN)]).is_ok());
}

#[test]
fn the_admin_address_may_be_the_public_one() {
    let both = [("OPENCREDITS_LISTEN", "0.0.0.0:80"), ("OPENCREDITS_ADMIN_LISTEN", "0.0.0.0:80")];
    assert!(parse(&both).is_ok());
}

#[test]
fn a_live_key_goes_to_stripe_only() {
    let base = ("OPENCREDITS_STRIPE_API_BASE", "http://127.0.0.1:9");
    let script = ("OPENCREDITS_STRIPE_JS_URL", "http://127.0.0.1:9/endive/stripe.js");
    refused(&live(base), &["OPENCREDITS_STRIPE_API_BASE=\"http://127.0.0.1:9\" is refused"]);
    refused(&live(script), &["is refused together with a live key"]);
    assert!(parse(&LIVE).unwrap().stripe.live);
    assert!(parse(&live(("OPENCREDITS_STRIPE_API_BASE", "https://api.stripe.com/"))).is_ok());
    let test =
        LIVE.map(|(name, value)| (name, if value == "sk_live_x" { "sk_test_x" } else { value }));
    let [secret, _, webhook] = test;
    let public = ("OPENCREDITS_STRIPE_PUBLISHABLE_KEY", "pk_test_x");
    assert!(parse(&[secret, public, webhook, base, script]).is_ok());
}

#[test]
fn half_a_checkout_does_not_start() {
    let [secret, public, _] = LIVE;
    refused(&[secret, public], &["OPENCREDITS_STRIPE_WEBHOOK_SECRET is missing"]);
    refused(&[public], &["_SECRET_KEY is missing", "_WEBHOOK_SECRET is missing"]);
}

#[test]
fn the_development_mailbox_stays_at_home() {
    let dev = ("OPENCREDITS_DEV", "1");
    let smtp = ("OPENCREDITS_SMTP_URL", "smtps://host");
    let from = ("OPENCREDITS_MAIL_FROM", "a@b");
    assert!(parse(&[dev]).unwrap().dev);
    refused(&live(dev), &["together with a live Stripe key"]);
    refused(&[dev, smtp, from], &["together with OPENCREDITS_SMTP_URL"]);
    let public = ("OPENCREDITS_LISTEN", "0.0.0.0:8080");
    refused(&[dev, public], &["together with OPENCREDITS_LISTEN that is not loopback"]);
    refused(
        &[dev, ("OPENCREDITS_ADMIN_LISTEN", "[::]:8081")],
        &["together with OPENCREDITS_ADMIN_LISTEN that is not loopback"],
    );
}

#[test]
fn mail_has_a_sender() {
    let smtp = ("OPENCREDITS_SMTP_URL", "smtps://host");
    refused(&[smtp], &["OPENCREDITS_MAIL_FROM is missing"]);
}

#[test]
fn provider_keys_never_travel_in_the_clear() {
    let outside = ("OPENCREDITS_OPENAI_BASE_URL", "http://10.0.0.1:80");
    refused(&[outside], &["over plain http to another machine"]);
    assert!(parse(&[("OPENCREDITS_OPENAI_BASE_URL", "http://127.0.0.1:80")]).is_ok());
    let path = ("OPENCREDITS_OPENAI_BASE_URL", "https://api.openai.com/v1");
    refused(&[path], &["has a path"]);
}

#[test]
fn several_nodes_share_a_secret_and_a_store() {
    let store = ("OPENCREDITS_STORE", "scylla:a:9042/credits");
    let address = ("OPENCREDITS_NODE_ADDRESS", "10.0.0.1:7000");
    let secret = ("OPENCREDITS_NODE_SECRET", TOKEN);
    assert!(parse(&[store, address, secret]).unwrap().node.is_some());
    refused(&[store, address], &["OPENCREDITS_NODE_SECRET is missing"]);
    refused(&[store, secret], &["OPENCREDITS_NODE_ADDRESS is missing"]);
    refused(&[address, secret], &["needs a store that several nodes can share"]);
}

#[test]
fn orders_are_in_whole_cents_and_in_order() {
    let orders =
        |min, max| parse(&[("OPENCREDITS_ORDER_MIN", min), ("OPENCREDITS_ORDER_MAX", max)]);
    assert_eq!(orders("0.50", "5").unwrap().orders.min_cents, 50);
    assert!(orders("6", "5").unwrap_err().to_string().contains("is above OPENCREDITS_ORDER_MAX"));
    for bad in ["0", "-1", "1.5", "1.555", "one", "."] {
        assert!(orders(bad, "500").is_err(), "{bad}");
    }
}

#[test]
fn a_rate_for_euros_is_above_zero() {
    assert!(parse(&[("OPENCREDITS_EUR_RATE", "1.08")]).unwrap().orders.eur_rate.is_some());
    assert!(parse_with(&[], Some("eur_rate = 1.08")).unwrap().orders.eur_rate.is_some());
    refused(&[("OPENCREDITS_EUR_RATE", "0")], &["above zero"]);
}
