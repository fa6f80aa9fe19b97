//! The scenarios by their names.

use serde::Serialize;

/// Something that contenders do in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Plain requests, flat out.
    Plain,
    /// Plain requests at a rate.
    Latency,
    /// Streams at a provider's pace.
    Paced,
    /// Streams at once.
    Burst,
    /// Open streams.
    Memory,
    /// Workers.
    Scaling,
    /// Many accounts.
    Churn,
    /// One account.
    OneAccount,
    /// Settlements without HTTP.
    Settle,
    /// Long histories, many models, many partners.
    Growth,
    /// Large requests.
    Image,
}

impl Scenario {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 11] = [
        Self::Plain,
        Self::Latency,
        Self::Paced,
        Self::Burst,
        Self::Memory,
        Self::Scaling,
        Self::Churn,
        Self::OneAccount,
        Self::Settle,
        Self::Growth,
        Self::Image,
    ];

    /// Its name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Latency => "latency",
            Self::Paced => "paced",
            Self::Burst => "burst",
            Self::Memory => "memory",
            Self::Scaling => "scaling",
            Self::Churn => "churn",
            Self::OneAccount => "one-account",
            Self::Settle => "settle",
            Self::Growth => "growth",
            Self::Image => "image",
        }
    }

    /// Finds one by its name.
    ///
    /// # Errors
    /// The names there are.
    pub fn by_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| format!("it is none of {}", Self::ALL.map(Self::name).join(", ")))
    }

    /// What is done, for the report.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Plain => {
                "Chat requests of 700 bytes, answers of 50 tokens that are not streamed, 64 \
                 connections, each of which sends its next request when it has its answer (a closed \
                 loop)."
            }
            Self::Latency => {
                "The same requests at 1,000 a second in an open loop with exponential gaps. Latency \
                 counts from the moment due to the answer's last byte, which the gateway gives only \
                 when the charge is durable. F is one `fdatasync` of 4 KiB appended in the folder of \
                 the gateway's database, measured in this run."
            }
            Self::Paced => {
                "Streams of 200 chunks, 5 ms apart, with the usage at the end; 10 streams a second in \
                 an open loop. The third contender is the client straight at the provider."
            }
            Self::Burst => {
                "Streams of 200 chunks that the provider writes at once; 16 connections in a closed \
                 loop."
            }
            Self::Memory => {
                "Streams whose provider falls silent behind the first chunk: what each adds to \
                 resident memory."
            }
            Self::Scaling => {
                "The requests of `plain` over 1,000 connections, for which one worker has not the \
                 time, at a gateway with two workers and at one with one."
            }
            Self::Churn => {
                "The requests of `plain`, from many accounts in turn and from 100 hot ones, at a \
                 gateway whose database has many more."
            }
            Self::OneAccount => {
                "The requests of `plain` over 1,000 connections, from one account and from 1,000."
            }
            Self::Settle => {
                "Holds and their durable settlements through the actors into SQLite, without HTTP: \
                 1,000 callers, 1,000 accounts. CPU is that of the whole process."
            }
            Self::Growth => {
                "The requests of `plain` at a constant rate, at gateways with more and more history, \
                 models and partners."
            }
            Self::Image => {
                "Chat requests with an image of 5 MB (base64), over 2 connections in a closed loop."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_found_by_its_name_and_no_other() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::by_name(scenario.name()), Ok(scenario));
        }
        let told = Scenario::by_name("unknown").unwrap_err();
        assert!(Scenario::ALL.iter().all(|scenario| told.contains(scenario.name())), "{told}");
    }
}
