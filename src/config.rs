//! The configuration: parsed from an argument, and telling all that is wrong at once.

mod checks;
mod groups;
mod reader;
mod values;
mod variables;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

pub use groups::{
    DoorLimits, InnerLimits, LogConfig, MailConfig, NodeConfig, Orders, ProviderConfig, Providers,
    RateLimits, StripeConfig, Times,
};
pub use reader::{ConfigError, ConfigErrors, Setting, Source};
pub use values::{
    BadValue, OnClientGone, Origin, RateLimit, Secret, StoreConfig, duration, host_and_port,
    positive_duration, size,
};
pub use variables::{PREFIX, VARIABLES, Variable, help};

use checks::{address, networks, one_a_core, switch, token, workers};
use reader::Reader;

/// Everything that the environment and the file set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the public API, the widget and the checkout.
    pub listen: SocketAddr,
    /// The origin that browsers use.
    pub public_url: Origin,
    /// Address of the admin API and the metrics; may equal `listen`.
    pub admin_listen: SocketAddr,
    /// Bearer token of the admin API; without it the API is off.
    pub admin_token: Option<Secret>,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    /// Networks whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Where the ledger is kept.
    pub store: StoreConfig,
    /// A price book that replaces the built-in one.
    pub prices: Option<PathBuf>,
    /// Keys and addresses of the providers.
    pub providers: Providers,
    /// Stripe.
    pub stripe: StripeConfig,
    /// Mail for login codes.
    pub mail: Option<MailConfig>,
    /// Whether the development mailbox is open.
    pub dev: bool,
    /// How often something may be asked for.
    pub rates: RateLimits,
    /// What can be bought.
    pub orders: Orders,
    /// Limits at the door.
    pub door: DoorLimits,
    /// Limits inside.
    pub inside: InnerLimits,
    /// How long things may take.
    pub times: Times,
    /// This node among several; `None` = one node.
    pub node: Option<NodeConfig>,
    /// What to do upstream when the client goes away.
    pub on_client_gone: OnClientGone,
    /// Bytes of recent output items kept in memory for `/v1/responses`; 0 = none.
    pub responses_cache: usize,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Every setting as `check-config` shows it.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Reads every setting: `lookup` asks the environment, `names` are the names that exist in
    /// it (a name with our prefix that is no setting is a typo), `file` is the text of `--config`.
    ///
    /// # Errors
    /// Every bad, unknown or contradictory setting, all at once.
    pub fn parse(
        lookup: impl Fn(&str) -> Option<String>,
        names: &[String],
        file: Option<&str>,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup, names, file);
        let config = Self::read(&mut reader);
        match config {
            Some(config) if reader.errors.is_empty() => {
                Ok(Self { settings: reader.settings, ..config })
            }
            Some(_) | None => Err(ConfigErrors(reader.errors)),
        }
    }

    /// What would run, one setting a line; secrets are only named.
    #[must_use]
    pub fn describe(&self) -> String {
        self.settings.iter().map(|setting| format!("{setting}\n")).collect()
    }

    /// Reads all groups before it looks at any: each complains for itself.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = reader.need("OPENCREDITS_LISTEN", address);
        let public_url = reader.maybe("OPENCREDITS_PUBLIC_URL", Origin::from_str);
        let store = reader.need("OPENCREDITS_STORE", StoreConfig::from_str);
        let admin_token = reader.maybe("OPENCREDITS_ADMIN_TOKEN", token);
        let admin_listen = reader.need("OPENCREDITS_ADMIN_LISTEN", address);
        let workers = reader.maybe("OPENCREDITS_WORKERS", workers);
        let trusted_proxies = reader.maybe("OPENCREDITS_TRUSTED_PROXIES", networks);
        let providers = Providers::read(reader);
        let prices = reader.maybe("OPENCREDITS_PRICES", |path| Ok(PathBuf::from(path)));
        let stripe = StripeConfig::read(reader);
        let mail = MailConfig::read(reader);
        let dev = reader.need("OPENCREDITS_DEV", switch);
        let rates = RateLimits::read(reader);
        let orders = Orders::read(reader);
        let door = DoorLimits::read(reader);
        let inside = InnerLimits::read(reader);
        let times = Times::read(reader);
        let node = NodeConfig::read(reader, store.as_ref());
        let on_client_gone = reader.need("OPENCREDITS_ON_CLIENT_GONE", OnClientGone::from_str);
        let responses_cache = reader.need("OPENCREDITS_RESPONSES_CACHE", size);
        let log = LogConfig::read(reader);
        if dev == Some(true) {
            let addresses =
                [("OPENCREDITS_LISTEN", listen), ("OPENCREDITS_ADMIN_LISTEN", admin_listen)];
            refuse_dev_in_public(reader, &addresses, stripe.as_ref(), mail.as_ref());
        }
        let listen = listen?;
        Some(Self {
            listen,
            public_url: match public_url? {
                Some(given) => given,
                None => format!("http://{listen}").parse().ok()?,
            },
            admin_listen: admin_listen?,
            admin_token: admin_token?,
            workers: workers?.unwrap_or_else(one_a_core),
            trusted_proxies: trusted_proxies?.unwrap_or_default(),
            store: store?,
            prices: prices?,
            providers: providers?,
            stripe: stripe?,
            mail: mail?,
            dev: dev?,
            rates: rates?,
            orders: orders?,
            door: door?,
            inside: inside?,
            times: times?,
            node: node?,
            on_client_gone: on_client_gone?,
            responses_cache: responses_cache?,
            log: log?,
            settings: Vec::new(),
        })
    }
}

/// The development mailbox shows login codes to whoever asks: never where real money, real mail
/// or strangers are.
fn refuse_dev_in_public(
    reader: &mut Reader<'_>,
    addresses: &[(&str, Option<SocketAddr>)],
    stripe: Option<&StripeConfig>,
    mail: Option<&Option<MailConfig>>,
) {
    if stripe.is_some_and(|stripe| stripe.live) {
        reader.complain("OPENCREDITS_DEV", None, "is refused together with a live Stripe key");
    }
    if mail.is_some_and(Option::is_some) {
        reader.complain("OPENCREDITS_DEV", None, "is refused together with OPENCREDITS_SMTP_URL");
    }
    for (name, address) in addresses {
        if address.is_some_and(|address| !address.ip().is_loopback()) {
            let problem = format!("is refused together with {name} that is not loopback");
            reader.complain("OPENCREDITS_DEV", None, &problem);
        }
    }
}

#[cfg(test)]
mod tests;
