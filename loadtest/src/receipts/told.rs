//! What an answer tells a client that it cost, read from its bytes as they come.

use memchr::{memchr, memmem};
use opencredits_schema::Credits;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The end of an answer, which is its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// What the user paid: the header `x-opencredits-charge`, or `cost` in the usage of an answer
    /// to a request with the header `x-opencredits-cost: 1`.
    pub charge: Credits,
    /// The usage that it told, if it did.
    pub tokens: Option<Tokens>,
}

/// A usage as clients read it, whatever the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The whole prompt, caches included.
    pub input: u64,
    /// The output, as far as the dialect counts it.
    pub output: u64,
}

/// The reader of one streamed answer: push what comes, then ask for the end.
#[derive(Debug, Default)]
pub struct Told {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    usage: Option<Usage>,
    ended: bool,
    events: u64,
}

impl Told {
    /// Reads on.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr(b'\n', bytes)
            && let Some((line, rest)) = bytes.split_at_checked(end.saturating_add(1))
        {
            bytes = rest;
            if self.line.is_empty() {
                self.read(line);
                continue;
            }
            self.line.extend_from_slice(line);
            let whole = std::mem::take(&mut self.line);
            self.read(&whole);
        }
        self.line.extend_from_slice(bytes);
    }

    /// Whether the mark of its end was seen.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// How many events have come.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What the stream told, if its end was seen: `[DONE]`, `message_stop` or a finished response.
    pub fn end(&self) -> Option<End> {
        let usage = self.usage.as_ref().filter(|_| self.ended)?;
        Some(End { charge: usage.charge()?, tokens: usage.tokens() })
    }

    /// What a whole answer tells: its charge in the header, its usage in the body.
    pub fn whole(charge: Option<&str>, body: &[u8]) -> Option<End> {
        let told = serde_json::from_slice::<Event>(body).ok();
        let tokens = told.and_then(Event::usage).and_then(|usage| usage.tokens());
        Some(End { charge: Credits::parse(charge?).ok()?, tokens })
    }

    fn read(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        self.events = self.events.saturating_add(1);
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.ended = true;
            return;
        }
        // Nearly all lines are deltas, which say nothing of money.
        if memmem::find(data, b"\"usage\"").or_else(|| memmem::find(data, b"_stop\"")).is_none() {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Event>(data) else { return };
        let kind = event.kind.as_deref().unwrap_or_default();
        self.ended |= matches!(kind, "message_stop" | "response.completed" | "response.incomplete");
        if let Some(usage) = event.usage() {
            self.usage = Some(usage);
        }
    }
}

/// What matters of an event, or of a whole answer.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    usage: Option<Usage>,
    response: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    usage: Option<Usage>,
}

impl Event {
    fn usage(self) -> Option<Usage> {
        self.usage.or_else(|| self.response?.usage)
    }
}

/// A usage object of any dialect.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    cost: Option<Box<RawValue>>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// Anthropic's caches are beside its `input_tokens`.
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

impl Usage {
    fn charge(&self) -> Option<Credits> {
        Credits::parse(self.cost.as_ref()?.get()).ok()
    }

    fn tokens(&self) -> Option<Tokens> {
        if let (Some(input), Some(output)) = (self.prompt_tokens, self.completion_tokens) {
            return Some(Tokens { input, output });
        }
        let caches = [self.cache_creation_input_tokens, self.cache_read_input_tokens];
        let caches = caches.into_iter().flatten().fold(0, u64::saturating_add);
        let input = self.input_tokens?.saturating_add(caches);
        Some(Tokens { input, output: self.output_tokens? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credits(text: &str) -> Credits {
        Credits::parse(text).unwrap()
    }

    /// The end of a stream that comes in pieces of every size.
    fn read(stream: &str) -> Option<End> {
        let mut ends = (1..=stream.len()).map(|size| {
            let mut told = Told::default();
            stream.as_bytes().chunks(size).for_each(|piece| told.push(piece));
            told.end()
        });
        let first = ends.next().unwrap();
        assert!(ends.all(|end| end == first), "it does not matter how it is cut");
        first
    }

    #[test]
    fn each_dialect_tells_its_end() {
        let chat = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\
            \"cost\":1.25}}\n\ndata: [DONE]\n\n";
        let messages = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
            event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":2,\
            \"cache_read_input_tokens\":3,\"output_tokens\":7,\"cost\":1.25}}\n\n\
            event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        let responses = "event: response.completed\ndata: {\"type\":\"response.completed\",\
            \"response\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"cost\":1.25}}}\n\n";
        let tokens = Some(Tokens { input: 5, output: 7 });
        for stream in [chat, messages, responses] {
            assert_eq!(read(stream), Some(End { charge: credits("1.25"), tokens }), "{stream}");
        }
    }

    #[test]
    fn a_stream_without_its_end_told_nothing() {
        let usage =
            "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"cost\":1}}\n\n";
        let error = "data: {\"error\":{\"type\":\"upstream_error\"}}\n\n";
        for stream in [usage, error, "data: [DONE]", "data: [DONE]\n\n"] {
            assert_eq!(read(stream), None, "{stream}");
        }
    }

    #[test]
    fn a_whole_answer_tells_its_charge_in_a_header() {
        let body = br#"{"usage":{"prompt_tokens":5,"completion_tokens":7}}"#;
        let tokens = Some(Tokens { input: 5, output: 7 });
        assert_eq!(Told::whole(Some("0.5"), body), Some(End { charge: credits("0.5"), tokens }));
        assert_eq!(Told::whole(None, body), None);
    }
}
