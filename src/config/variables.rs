//! The one table of settings: it drives the parser, `--help` and `check-config`.

/// One setting: a variable of the environment, or a key of the file.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name in the environment; in the file it is in snake case without the prefix.
    pub name: &'static str,
    /// Its default, in the form that a caller would write; `Err` says what its absence means.
    pub default: Result<&'static str, &'static str>,
    /// What it sets.
    pub meaning: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// What the name of every setting begins with in the environment.
pub const PREFIX: &str = "OPENCREDITS_";

impl Variable {
    /// The name as a key of the file.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name).to_ascii_lowercase()
    }
}

const fn plain(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default: Ok(default), meaning, secret: false }
}

const fn absent(name: &'static str, without: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default: Err(without), meaning, secret: false }
}

const fn hidden(name: &'static str, without: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default: Err(without), meaning, secret: true }
}

const NO_KEY: &str = "none: that provider's models answer 502";
const NO_CHECKOUT: &str = "none: checkout off";
const ORIGIN: &str = "the provider's origin, without the version path; plain http only on loopback";

/// Every setting there is.
pub const VARIABLES: &[Variable] = &[
    plain(
        "OPENCREDITS_LISTEN",
        "127.0.0.1:8080",
        "address of the public API, the widget and the checkout",
    ),
    absent(
        "OPENCREDITS_PUBLIC_URL",
        "http:// and the listen address",
        "the origin that browsers use",
    ),
    plain(
        "OPENCREDITS_STORE",
        "sqlite:opencredits.db",
        "sqlite:PATH or scylla:HOST:PORT[,HOST:PORT…]/KEYSPACE",
    ),
    hidden(
        "OPENCREDITS_ADMIN_TOKEN",
        "none: admin API off",
        "bearer token of /admin/v1/…, at least 32 bytes",
    ),
    plain(
        "OPENCREDITS_ADMIN_LISTEN",
        "127.0.0.1:8081",
        "address of /admin/v1/… and /metrics; may equal the listen address, then /metrics needs the token too",
    ),
    absent(
        "OPENCREDITS_WORKERS",
        "one a core",
        "threads that serve requests, as few at a time as suffice",
    ),
    absent(
        "OPENCREDITS_TRUSTED_PROXIES",
        "none",
        "networks whose X-Forwarded-For counts, separated by commas",
    ),
    hidden("OPENCREDITS_OPENAI_API_KEY", NO_KEY, "key at OpenAI"),
    plain("OPENCREDITS_OPENAI_BASE_URL", "https://api.openai.com", ORIGIN),
    hidden("OPENCREDITS_ANTHROPIC_API_KEY", NO_KEY, "key at Anthropic"),
    plain("OPENCREDITS_ANTHROPIC_BASE_URL", "https://api.anthropic.com", ORIGIN),
    hidden("OPENCREDITS_GOOGLE_API_KEY", NO_KEY, "key at Google"),
    plain("OPENCREDITS_GOOGLE_BASE_URL", "https://generativelanguage.googleapis.com", ORIGIN),
    hidden("OPENCREDITS_XAI_API_KEY", NO_KEY, "key at xAI"),
    plain("OPENCREDITS_XAI_BASE_URL", "https://api.x.ai", ORIGIN),
    absent(
        "OPENCREDITS_PRICES",
        "built in",
        "path of a price book that replaces the built-in one; reloaded on change and on SIGHUP",
    ),
    hidden("OPENCREDITS_STRIPE_SECRET_KEY", NO_CHECKOUT, "Stripe's secret key"),
    absent("OPENCREDITS_STRIPE_PUBLISHABLE_KEY", NO_CHECKOUT, "Stripe's publishable key"),
    hidden("OPENCREDITS_STRIPE_WEBHOOK_SECRET", NO_CHECKOUT, "signing secret of Stripe's webhook"),
    plain(
        "OPENCREDITS_STRIPE_API_BASE",
        "https://api.stripe.com",
        "origin of Stripe's API; another one is refused together with a live key",
    ),
    plain(
        "OPENCREDITS_STRIPE_JS_URL",
        "https://js.stripe.com/endive/stripe.js",
        "address of Stripe.js; another one is refused together with a live key",
    ),
    hidden(
        "OPENCREDITS_SMTP_URL",
        "none",
        "smtp:// or smtps:// server for login codes; without it, and only with OPENCREDITS_DEV=1, codes go to GET /dev/mailbox",
    ),
    absent("OPENCREDITS_MAIL_FROM", "none", "sender of login codes"),
    plain(
        "OPENCREDITS_DEV",
        "0",
        "1 opens the development mailbox; refused together with a live Stripe key, SMTP or an address that is not loopback",
    ),
    plain(
        "OPENCREDITS_RATE_LIMIT_PER_KEY",
        "600/min",
        "requests of one key, unless the key has its own limit; allows a burst of a tenth, at least 1",
    ),
    plain("OPENCREDITS_LOGIN_LIMIT_PER_IP", "20/h", "login codes sent for one address"),
    plain("OPENCREDITS_LOGIN_LIMIT_PER_EMAIL", "3/10min", "login codes sent to one mailbox"),
    absent("OPENCREDITS_EUR_RATE", "none: eur refused", "credits for one euro cent"),
    plain("OPENCREDITS_ORDER_MIN", "1", "smallest order, in dollars or euros"),
    plain("OPENCREDITS_ORDER_MAX", "500", "largest order, in dollars or euros"),
    plain("OPENCREDITS_MAX_BODY", "32MiB", "largest request body"),
    plain("OPENCREDITS_MAX_HEADERS", "64KiB", "largest request head"),
    plain("OPENCREDITS_MAX_CONNECTIONS", "10000", "open connections; further ones wait"),
    plain(
        "OPENCREDITS_HEADER_TIMEOUT",
        "75s",
        "longest wait for a whole request head, and for the next request",
    ),
    plain("OPENCREDITS_BODY_TIMEOUT", "60s", "longest wait for a whole request body"),
    plain("OPENCREDITS_OPEN_STREAMS_PER_KEY", "200", "requests of one key that run at once"),
    plain("OPENCREDITS_HOLDS_PER_ACCOUNT", "2000", "open holds of one account"),
    plain("OPENCREDITS_JOURNAL_QUEUE", "100000", "events that wait for the store; beyond it 503"),
    plain("OPENCREDITS_HOLD_LEASE", "60s", "how long a hold stands without being renewed"),
    plain("OPENCREDITS_PASSIVATE_AFTER", "60s", "how long an idle account stays in memory"),
    plain(
        "OPENCREDITS_DRAIN_TIME",
        "120s",
        "how long an answer is read on after its client went away",
    ),
    plain("OPENCREDITS_DRAIN_COUNT", "1000", "answers read on at once after their clients left"),
    plain("OPENCREDITS_SETTLE_WAIT", "30s", "how long an answer's end waits for its settlement"),
    plain("OPENCREDITS_SHUTDOWN_WAIT", "30s", "how long running requests may go on after SIGTERM"),
    plain(
        "OPENCREDITS_KEY_IDLE",
        "90d",
        "how long a key made by the checkout stays good while nobody uses it",
    ),
    absent(
        "OPENCREDITS_NODE_ADDRESS",
        "none: one node",
        "HOST:PORT at which other nodes reach this one",
    ),
    hidden(
        "OPENCREDITS_NODE_SECRET",
        "none: one node",
        "secret that the nodes share, at least 32 bytes",
    ),
    plain(
        "OPENCREDITS_ON_CLIENT_GONE",
        "auto",
        "auto, cancel or drain the provider's answer when the client goes away",
    ),
    plain(
        "OPENCREDITS_RESPONSES_CACHE",
        "64MiB",
        "memory for recent output items of /v1/responses; 0 = none",
    ),
    plain("OPENCREDITS_LOG", "info", "tracing filter"),
    plain("OPENCREDITS_LOG_FORMAT", "text", "text or json (one JSON object a line)"),
];

/// The table as the end of `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Settings, from the environment or from the TOML file of --config (same names in snake \
         case without the prefix; the environment wins):\n",
    );
    for variable in VARIABLES {
        let default = variable.default.unwrap_or_else(|without| without);
        text.push_str(&format!("\n  {}\n      {}", variable.name, variable.meaning));
        text.push_str(&format!(" [default: {default}]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_named_once_and_explained() {
        for (at, variable) in VARIABLES.iter().enumerate() {
            assert!(variable.name.starts_with(PREFIX), "{}", variable.name);
            assert!(!variable.meaning.is_empty(), "{}", variable.name);
            assert!(VARIABLES[at + 1..].iter().all(|other| other.name != variable.name));
            assert!(help().contains(variable.name));
        }
    }
}
