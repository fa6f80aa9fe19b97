//! Looks settings up in the environment, then the file, then the table, and remembers what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use super::values::BadValue;
use super::variables::{PREFIX, VARIABLES, Variable};

/// Everything that is wrong with the configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// One thing that is wrong with the configuration; never tells a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting, by the name that it was given under.
    pub name: String,
    /// Its value, unless it is a secret or not the point.
    pub value: Option<String>,
    /// What is wrong; reads after name and value.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(value) = &self.value {
            write!(f, "={value:?}")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "setting" } else { "settings" };
        let all: Vec<_> = self.0.iter().map(ConfigError::to_string).collect();
        write!(f, "{} bad {plural}: {}", self.0.len(), all.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

/// Where a setting's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment.
    Environment,
    /// The file of `--config`.
    File,
    /// The table's default.
    Default,
}

/// A setting as `check-config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the environment.
    pub name: &'static str,
    /// Its value; of a secret only that it is set.
    pub shown: String,
    /// Where it came from.
    pub source: Source,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Environment => "environment",
            Source::File => "file",
            Source::Default => "default",
        };
        write!(f, "{}={} ({source})", self.name, self.shown)
    }
}

pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) settings: Vec<Setting>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        lookup: &'a dyn Fn(&str) -> Option<String>,
        names: &[String],
        file: Option<&str>,
    ) -> Self {
        let mut reader =
            Self { lookup, file: BTreeMap::new(), errors: Vec::new(), settings: Vec::new() };
        for name in names.iter().filter(|name| is_unknown(name)) {
            reader.complain(name, None, "is not a setting; see --help");
        }
        if let Some(text) = file {
            reader.read_file(text);
        }
        reader
    }

    /// The value of a setting that the table gives a default; `None` after a complaint.
    pub(super) fn need<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, BadValue>,
    ) -> Option<T> {
        let value = self.maybe(name, parse)?;
        if value.is_none() {
            self.complain(name, None, "is missing");
        }
        value
    }

    /// The value of a setting that may be absent; the outer `None` after a complaint.
    pub(super) fn maybe<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, BadValue>,
    ) -> Option<Option<T>> {
        let Some(variable) = VARIABLES.iter().find(|variable| variable.name == name) else {
            self.complain(name, None, "is not in the table of settings");
            return None;
        };
        let (text, source) = self.find(variable);
        self.settings.push(Setting { name, shown: show(variable, text.as_deref()), source });
        let Some(text) = text else { return Some(None) };
        match parse(&text) {
            Ok(value) => Some(Some(value)),
            Err(BadValue(problem)) => {
                self.complain(name, (!variable.secret).then_some(text), problem);
                None
            }
        }
    }

    pub(super) fn complain(&mut self, name: &str, value: Option<String>, problem: &str) {
        let problem = problem.to_owned();
        self.errors.push(ConfigError { name: name.to_owned(), value, problem });
    }

    /// An empty value counts as none, because that is how compose files and shells leave one out.
    fn find(&self, variable: &Variable) -> (Option<String>, Source) {
        let given = |text: &String| !text.is_empty();
        if let Some(text) = (self.lookup)(variable.name).filter(given) {
            return (Some(text), Source::Environment);
        }
        if let Some(text) = self.file.get(&variable.key()).filter(|text| given(text)) {
            return (Some(text.clone()), Source::File);
        }
        (variable.default.ok().map(str::to_owned), Source::Default)
    }

    fn read_file(&mut self, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            // The error's own text quotes the line, which may hold a secret.
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                let problem = format!("is not TOML: line {line}: {}", error.message());
                self.complain("the file", None, &problem);
                return;
            }
        };
        for (key, value) in table {
            if !VARIABLES.iter().any(|variable| variable.key() == key) {
                self.complain(&key, None, "is not a setting; see --help");
                continue;
            }
            match flat(&value) {
                Some(text) => drop(self.file.insert(key, text)),
                None => self.complain(&key, None, "is neither text, number, boolean nor list"),
            }
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// Whether a name looks like a setting and is none. Kubernetes sets some of its own where a
/// service is called `opencredits`; these are no typos.
fn is_unknown(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let is_kubernetes = rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_");
    !is_kubernetes && !VARIABLES.iter().any(|variable| variable.name == name)
}

/// A value of the file as the text that the environment would hold; a list becomes commas.
fn flat(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(flat).collect();
            items.map(|items| items.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn show(variable: &Variable, text: Option<&str>) -> String {
    match (text, variable.secret) {
        (Some(_), true) => "(set)".to_owned(),
        (Some(text), false) => text.to_owned(),
        (None, _) => format!("({})", variable.default.unwrap_or_else(|without| without)),
    }
}
