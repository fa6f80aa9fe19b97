//! Where, when and by what a benchmark was made.

use std::fmt;

use opencredits::dates::moment_text;
use opencredits_schema::Timestamp;
use serde::Serialize;

use crate::load::result;

/// The machine, the moment and the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// When it began.
    pub at: String,
    /// CPUs that it may use.
    pub cpus: usize,
    /// What the CPUs are.
    pub cpu: String,
    /// The system's name and version.
    pub system: String,
    /// The gateway, by version and path.
    pub gateway: String,
    /// nginx, as it names itself.
    pub nginx: String,
}

impl Machine {
    /// This one, at this moment.
    pub(super) fn here(gateway: &std::path::Path, nginx: &str) -> Self {
        let result::Machine { cpus, system } = result::Machine::here();
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = model.map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
        let kind = gateway.parent().and_then(|folder| folder.file_name());
        let kind = kind.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            at: moment_text(Timestamp::from_millis(millis)),
            cpus,
            cpu: cpu.unwrap_or_default(),
            system,
            gateway: format!("{} ({kind} build)", env!("CARGO_PKG_VERSION")),
            nginx: nginx.to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, cpus, cpu, system, gateway, nginx } = self;
        write!(
            f,
            "{at}; {cpus} CPUs ({cpu}), {system}. Gateway {gateway}: SQLite, durable settlement, \
             metrics and log on, default settings but for the limits per key and account. {nginx}: 2 \
             workers, connections kept on both sides, no log, no buffers on the disk. Client and \
             provider on the same machine."
        )
    }
}
