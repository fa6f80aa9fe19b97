//! The mix: what the clients of a load run ask, and how they behave. Read from TOML.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most accounts that a mix can ask for.
pub const ACCOUNTS_MAX: usize = 1_000_000;
/// The largest prompt, in bytes: below the gateway's bound for a body.
pub const PROMPT_BYTES_MAX: usize = 16 << 20;
/// The longest answer, in tokens.
pub const OUTPUT_TOKENS_MAX: u64 = 100_000;
/// The longest time that an answer may be told to take, in milliseconds.
const ANSWER_MS_MAX: u64 = 600_000;

/// A mix of requests. Every field has a default; `docs/loadtest.md` tells what each one means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Accounts that send; each has its own key. Not used where keys are given by `--key`.
    pub accounts: usize,
    /// Exponent of the Zipf choice among accounts: 0 = all alike, 1 = the second sends half as
    /// much as the first.
    pub zipf: f64,
    /// Accounts send in turn, beginning with the one of this number, instead of by chance. Processes
    /// do not know of each other's turns.
    pub in_turn: Option<usize>,
    /// Share of the streamed requests whose client hangs up at a random chunk, 0 to 1.
    pub hang_up: f64,
    /// Share of the streamed requests whose client reads slowly, 0 to 1.
    pub slow: f64,
    /// How long a slow client waits after each read, in milliseconds.
    pub slow_pause_ms: u64,
    /// Writes lengths and pace into the prompt as the simulators' directive. Off for real models,
    /// which would read it.
    pub directives: bool,
    /// The kinds of requests.
    #[serde(rename = "request")]
    pub kinds: Vec<Kind>,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kind {
    /// How often it is chosen, against the weights of the others.
    pub weight: f64,
    /// In which dialect it is asked.
    pub dialect: Dialect,
    /// The model's name as the server knows it.
    pub model: String,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Bytes of the prompt: from, to (both included), each size as likely as the others.
    pub prompt_bytes: [usize; 2],
    /// Bytes of an image before the prompt, as base64; 0 = no image.
    pub image_bytes: usize,
    /// Tokens of the answer: from, to.
    pub output_tokens: [u64; 2],
    /// Chunks of a streamed answer; by default one for each token, at most 64.
    pub chunks: Option<u64>,
    /// Time that the provider takes before the answer begins, in milliseconds.
    pub first_delay_ms: u64,
    /// Time that the provider takes before each chunk, in milliseconds.
    pub delay_ms: u64,
}

/// The dialects that a request can be asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/responses`.
    Responses,
}

/// A mix that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// The file cannot be read.
    #[error("cannot read the mix {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// It is no TOML, or has a field that no mix has.
    #[error("the mix {0} is not understood: {1}")]
    Parse(String, Box<toml::de::Error>),
    /// Values that make no sense, all of them.
    #[error("the mix {name} has {} bad value(s): {}", problems.len(), problems.join("; "))]
    Values {
        /// The mix.
        name: String,
        /// What is wrong, with the field's name.
        problems: Vec<String>,
    },
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            accounts: 100,
            zipf: 1.0,
            in_turn: None,
            hang_up: 0.0,
            slow: 0.0,
            slow_pause_ms: 20,
            directives: true,
            kinds: Vec::new(),
        }
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            weight: 1.0,
            dialect: Dialect::Chat,
            model: "openai/gpt-4o-mini".to_owned(),
            stream: false,
            prompt_bytes: [200, 2_000],
            image_bytes: 0,
            output_tokens: [20, 200],
            chunks: None,
            first_delay_ms: 0,
            delay_ms: 0,
        }
    }
}

impl Mix {
    /// The mix of a run that names none: `loadtest/mixes/chat.toml`.
    ///
    /// # Errors
    /// Never with the mix that is built in; a test reads it.
    pub fn built_in() -> Result<Self, MixError> {
        Self::parse("chat.toml", include_str!("../../mixes/chat.toml"))
    }

    /// Reads a mix from a file.
    ///
    /// # Errors
    /// [`MixError`].
    pub fn read(path: &Path) -> Result<Self, MixError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| MixError::Read(path.to_owned(), error))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a mix from text; `name` is said in errors.
    ///
    /// # Errors
    /// [`MixError`].
    pub fn parse(name: &str, text: &str) -> Result<Self, MixError> {
        let parsed = toml::from_str::<Self>(text);
        let mix = parsed.map_err(|error| MixError::Parse(name.to_owned(), Box::new(error)))?;
        let problems = mix.problems();
        if problems.is_empty() {
            return Ok(mix);
        }
        Err(MixError::Values { name: name.to_owned(), problems })
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut ensure = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        ensure((1..=ACCOUNTS_MAX).contains(&self.accounts), "accounts is not 1 to 1000000");
        ensure((0.0..=10.0).contains(&self.zipf), "zipf is not 0 to 10");
        ensure((0.0..=1.0).contains(&self.hang_up), "hang_up is not 0 to 1");
        ensure((0.0..=1.0).contains(&self.slow), "slow is not 0 to 1");
        ensure(self.hang_up + self.slow <= 1.0, "hang_up and slow are more than all");
        ensure(self.slow_pause_ms <= 10_000, "slow_pause_ms is above 10000");
        ensure(!self.kinds.is_empty(), "there is no [[request]]");
        for (kind, place) in self.kinds.iter().zip(1..) {
            problems.extend(kind.problems().map(|problem| format!("request {place}: {problem}")));
        }
        problems
    }
}

impl Kind {
    /// How many chunks of content an answer of so many tokens comes in.
    #[must_use]
    pub fn chunks_of(&self, tokens: u64) -> u64 {
        if self.stream { self.chunks.unwrap_or_else(|| tokens.min(64)).max(1) } else { 1 }
    }

    fn problems(&self) -> impl Iterator<Item = &'static str> {
        let [prompt_from, prompt_to] = self.prompt_bytes;
        let [output_from, output_to] = self.output_tokens;
        let pauses = self.chunks_of(output_to).saturating_mul(self.delay_ms);
        let takes = self.first_delay_ms.saturating_add(pauses);
        let weight = self.weight.is_finite() && self.weight > 0.0;
        let checks = [
            (weight, "weight is not above 0"),
            (!self.model.is_empty(), "model is empty"),
            (prompt_from <= prompt_to, "prompt_bytes is not from, to"),
            (prompt_to <= PROMPT_BYTES_MAX, "prompt_bytes is above 16 MiB"),
            (self.image_bytes <= PROMPT_BYTES_MAX, "image_bytes is above 16 MiB"),
            (output_from <= output_to && output_from > 0, "output_tokens is not from, to"),
            (output_to <= OUTPUT_TOKENS_MAX, "output_tokens is above 100000"),
            (self.chunks.is_none_or(|n| (1..=100_000).contains(&n)), "chunks is not 1 to 100000"),
            (takes <= ANSWER_MS_MAX, "the answer takes more than 600000 ms"),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, problem)| problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Mix::parse("test.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_mixes_of_the_repository_are_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mixes");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            Mix::read(&entry.unwrap().path()).unwrap();
            read += 1;
        }
        assert!(read >= 3);
        assert!(!Mix::built_in().unwrap().kinds.is_empty());
    }

    #[test]
    fn fields_have_their_defaults() {
        let mix = Mix::parse("test.toml", "[[request]]\nstream = true").unwrap();
        let kind = Kind { stream: true, ..Kind::default() };
        assert_eq!(mix, Mix { kinds: vec![kind], ..Mix::default() });
    }

    #[test]
    fn an_unknown_field_is_named() {
        assert!(refused("acounts = 3\n[[request]]").contains("unknown field `acounts`"));
        assert!(refused("[[request]]\nmodle = \"x\"").contains("unknown field `modle`"));
        assert!(refused("[[request]]\ndialect = \"latin\"").contains("unknown variant `latin`"));
    }

    #[test]
    fn all_bad_values_are_told_at_once() {
        let told = refused(
            "accounts = 0\nhang_up = 0.7\nslow = 0.7\n[[request]]\nweight = 0\n\
             [[request]]\nprompt_bytes = [9, 1]\noutput_tokens = [0, 1]\ndelay_ms = 60000\n\
             stream = true\nchunks = 64",
        );
        for part in [
            "6 bad value(s)",
            "accounts is not 1 to",
            "more than all",
            "request 1: weight",
            "request 2: prompt_bytes",
            "request 2: output_tokens",
            "request 2: the answer takes",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(refused("accounts = 3").contains("there is no [[request]]"));
    }
}
