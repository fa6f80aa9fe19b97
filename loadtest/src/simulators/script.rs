//! What a simulated provider shall do with a request: its length, its pace and how it breaks.

use bytes::Bytes;
use serde_json::Value;

use super::recorded::Recording;

/// More output tokens than this are not simulated.
pub const OUTPUT_MAX: u64 = 1_000_000;
/// More content chunks than this are not simulated.
pub const CHUNKS_MAX: usize = 100_000;
/// The longest pause that a directive can ask for, in milliseconds.
pub const DELAY_MAX_MS: u64 = 600_000;

/// The script of one answer; [`Script::default`] is a short, quick, complete one.
///
/// A *content chunk* is a piece of text, thinking or tool arguments; the frame around them (role,
/// `message_start`, finish, usage, `[DONE]`) is not counted. For a raw or recorded body each given
/// piece is one content chunk.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The upstream model whose requests it is for; none = any.
    pub model: Option<String>,
    /// How many requests it answers; 0 counts as 1.
    pub times: u32,
    /// Answers with this status and the provider's own error shape.
    pub status: Option<u16>,
    /// Extra headers of the answer.
    pub headers: Vec<(String, String)>,
    /// Exact bytes of the body, in the pieces in which they leave; nothing is added to them.
    pub raw: Option<Vec<Bytes>>,
    /// The visible text; none = made from `output`.
    pub text: Option<String>,
    /// The tools that it calls, and with which arguments; none = those that were offered, with made
    /// up ones.
    pub calls: Option<Vec<(String, Value)>>,
    /// Visible output tokens; none = those of the text.
    pub output: Option<u64>,
    /// Reasoning tokens beside the visible output.
    pub reasoning: u64,
    /// Cached tokens within the prompt.
    pub cached: u64,
    /// Content chunks of a streamed answer; none = one for each token, at most 64.
    pub chunks: Option<usize>,
    /// xAI's own bill, in ticks of 10⁻¹⁰ USD.
    pub ticks: Option<u64>,
    /// The usage object, word for word.
    pub usage: Option<Value>,
    /// Says nothing about usage.
    pub no_usage: bool,
    /// Leaves out `[DONE]` or `message_stop`, after an otherwise whole answer.
    pub no_done: bool,
    /// Milliseconds before the head of the answer.
    pub first_delay_ms: u64,
    /// Milliseconds before each content chunk.
    pub delay_ms: u64,
    /// Closes the connection in the middle of the body after so many content chunks (0: after the
    /// head, before any body byte).
    pub cut_after: Option<usize>,
    /// Ends the body cleanly after so many content chunks.
    pub end_after: Option<usize>,
    /// Sends the provider's error event after so many content chunks, then ends the body.
    pub error_after: Option<usize>,
    /// Says nothing more after so many content chunks (0: not even the head) until the client goes.
    pub hang_after: Option<usize>,
    /// Waits after `gate_after` content chunks until [`Providers::open_gate`] opens this gate.
    ///
    /// [`Providers::open_gate`]: super::Providers::open_gate
    pub gate: Option<String>,
    /// Content chunks before the gate (0: it stands before the head).
    pub gate_after: usize,
}

/// A directive that cannot be followed, told to the caller as a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// The `[[sim` has no `]]`.
    #[error("the directive has no end")]
    Unclosed,
    /// No such word.
    #[error("unknown word in the directive: {0}")]
    Unknown(String),
    /// The value is not a number, or too large.
    #[error("bad value in the directive: {0}")]
    BadValue(String),
    /// There is no recording of that id.
    #[error("no recording named {0}")]
    NoRecording(String),
}

impl Script {
    /// An answer with an error status in the provider's own shape.
    pub fn error(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Exact bytes with status 200, in pieces of `split` bytes (0: one piece).
    pub fn raw(content_type: &str, body: &Bytes, split: usize) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { headers, raw: Some(pieces(body, split)), ..Self::default() }
    }

    /// A recorded answer, status and headers included, in pieces of `split` bytes (0: one piece).
    pub fn recorded(recording: &Recording, split: usize) -> Self {
        let script = Self::raw(recording.content_type(), &recording.body(), split);
        let kept = recording.headers.iter().filter(|(name, _)| name.as_str() != "content-type");
        let headers =
            script.headers.iter().cloned().chain(kept.map(|(n, v)| (n.clone(), v.clone())));
        Self { status: Some(recording.status), headers: headers.collect(), ..script }
    }

    /// The same script for requests of one upstream model only.
    pub fn for_model(self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self }
    }

    /// Reads the last `[[sim word=value …]]` of a user message; a text without one is the default.
    ///
    /// # Errors
    /// Names the word that it does not know or whose value is no number in bounds.
    pub fn from_text(text: &str) -> Result<Self, DirectiveError> {
        let Some((_, rest)) = text.rsplit_once("[[sim") else { return Ok(Self::default()) };
        let Some((words, _)) = rest.split_once("]]") else { return Err(DirectiveError::Unclosed) };
        let mut script = Self::default();
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, "1"));
            script.set(name, value)?;
        }
        Ok(script)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), DirectiveError> {
        match name {
            "chunks" => self.chunks = Some(count(name, value)?),
            "delay_ms" => self.delay_ms = number(name, value, DELAY_MAX_MS)?,
            "first_delay_ms" => self.first_delay_ms = number(name, value, DELAY_MAX_MS)?,
            "output" => self.output = Some(number(name, value, OUTPUT_MAX)?),
            "reasoning" => self.reasoning = number(name, value, OUTPUT_MAX)?,
            "cached" => self.cached = number(name, value, OUTPUT_MAX)?,
            "ticks" => self.ticks = Some(number(name, value, u64::MAX)?),
            "cut_after" => self.cut_after = Some(count(name, value)?),
            "end_after" => self.end_after = Some(count(name, value)?),
            "error_after" => self.error_after = Some(count(name, value)?),
            "hang" | "hang_after" => self.hang_after = Some(count(name, value)?),
            "gate" => {
                self.gate = Some(value.to_owned());
                self.gate_after = self.gate_after.max(1);
            }
            "gate_after" => self.gate_after = count(name, value)?,
            "status" => self.status = Some(status(name, value)?),
            "retry_after" => self.headers.push(("retry-after".to_owned(), value.to_owned())),
            "no_usage" => self.no_usage = number(name, value, 1)? == 1,
            "no_done" => self.no_done = number(name, value, 1)? == 1,
            "fixture" => {
                let found = Recording::by_id(value);
                let found = found.ok_or_else(|| DirectiveError::NoRecording(value.to_owned()))?;
                let headers = std::mem::take(&mut self.headers);
                let Self { headers: own, raw, status, .. } = Self::recorded(&found, 0);
                self.headers = headers.into_iter().chain(own).collect();
                (self.raw, self.status) = (raw, status);
            }
            other => return Err(DirectiveError::Unknown(other.to_owned())),
        }
        Ok(())
    }
}

/// The body in pieces of `split` bytes, the last one shorter; 0 leaves it whole.
fn pieces(body: &Bytes, split: usize) -> Vec<Bytes> {
    if split == 0 || body.is_empty() {
        return vec![body.clone()];
    }
    body.chunks(split).map(|piece| body.slice_ref(piece)).collect()
}

fn number(name: &str, value: &str, max: u64) -> Result<u64, DirectiveError> {
    let parsed = value.parse().ok().filter(|n| *n <= max);
    parsed.ok_or_else(|| DirectiveError::BadValue(format!("{name}={value}")))
}

fn count(name: &str, value: &str) -> Result<usize, DirectiveError> {
    let parsed = value.parse().ok().filter(|n| *n <= CHUNKS_MAX);
    parsed.ok_or_else(|| DirectiveError::BadValue(format!("{name}={value}")))
}

fn status(name: &str, value: &str) -> Result<u16, DirectiveError> {
    let parsed = value.parse().ok().filter(|n| (200..600).contains(n));
    parsed.ok_or_else(|| DirectiveError::BadValue(format!("{name}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_sets_what_it_names() {
        let script = Script::from_text(
            "Hello [[sim chunks=200 delay_ms=5 output=50 reasoning=20 cut_after=3 no_usage gate=a]]",
        )
        .unwrap();
        assert_eq!(script.chunks, Some(200));
        assert_eq!((script.delay_ms, script.output, script.reasoning), (5, Some(50), 20));
        assert_eq!((script.cut_after, script.no_usage), (Some(3), true));
        assert_eq!((script.gate.as_deref(), script.gate_after), (Some("a"), 1));
    }

    #[test]
    fn a_bad_directive_is_named() {
        let error = |text| Script::from_text(text).unwrap_err();
        assert_eq!(error("[[sim chunks=3"), DirectiveError::Unclosed);
        assert_eq!(error("[[sim chnks=3]]"), DirectiveError::Unknown("chnks".to_owned()));
        assert_eq!(error("[[sim chunks=-3]]"), DirectiveError::BadValue("chunks=-3".to_owned()));
        let too_many = format!("[[sim chunks={}]]", CHUNKS_MAX + 1);
        assert!(matches!(error(&too_many), DirectiveError::BadValue(_)));
        assert_eq!(error("[[sim fixture=x]]"), DirectiveError::NoRecording("x".to_owned()));
    }

    #[test]
    fn a_raw_body_keeps_its_bytes_in_any_split() {
        let body = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        for split in [0, 1, 7, 100] {
            let raw = Script::raw("text/event-stream", &body, split).raw.unwrap();
            assert_eq!(raw.concat(), body);
            assert!(split == 0 || raw.iter().all(|piece| piece.len() <= split));
        }
    }
}
