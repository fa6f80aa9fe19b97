//! Meters one streamed answer: which bytes may leave now, what was delivered, what it used.

mod chat;
mod delivered;
mod gemini;
mod messages;
mod responses;
mod seen;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use opencredits_schema::{Basis, Provider, Usage};

pub use delivered::Delivered;

use crate::Dialect;
use crate::sse::{EVENT_MAX, Event, Fields, Scanner, SseError};
use crate::upstream_error::InBandError;
use chat::Chat;
use delivered::Kind;
use gemini::Gemini;
use messages::Messages;
use responses::Responses;
use seen::Seen;

/// How an upstream answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As server-sent events.
    Streamed,
    /// As one body.
    Whole,
}

impl Answer {
    /// What an answer's `content-type` says it is, whatever the request had asked for.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        let kind = content_type.unwrap_or_default();
        let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind).trim();
        if kind.eq_ignore_ascii_case("text/event-stream") { Self::Streamed } else { Self::Whole }
    }
}

/// Why an upstream's bytes are no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The events can't be read; what was delivered stands.
    #[error(transparent)]
    Sse(#[from] SseError),
    /// The body is JSON, not events. These are its bytes so far: to be read on as one body.
    #[error("the upstream answered JSON where a stream was asked for")]
    NotEvents(Bytes),
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With its terminal event.
    Complete {
        /// The withheld bytes: the client's once the settlement is durable.
        tail: Bytes,
    },
    /// Without it.
    Cut,
    /// With an error event, which was not passed on.
    Error(InBandError),
}

/// Meters one upstream answer, sans IO.
///
/// What goes out is what came in, byte for byte, in whole events: an error event of ours can
/// follow at any time. Two things differ. The usage chunk that only the gateway asked for is left
/// out; and the end (the usage chunk, `[DONE]`, `message_stop`) is withheld for [`Self::end`],
/// because an answer's end is its receipt.
#[derive(Debug)]
pub struct Meter {
    scanner: Scanner,
    flow: Flow,
    begun: bool,
}

/// All of the meter but the scanner.
#[derive(Debug)]
struct Flow {
    reader: Reader,
    phase: Phase,
    seen: Seen,
    /// Withheld events.
    tail: Vec<Bytes>,
    tail_len: usize,
    /// The bytes of the current chunk that go out and are not yet in `out`.
    run: Range<usize>,
    fault: Option<SseError>,
}

#[derive(Debug)]
enum Reader {
    Chat(Chat),
    Messages(Messages),
    Responses(Responses),
    Gemini(Gemini),
}

#[derive(Debug)]
enum Phase {
    Open,
    /// The terminal event was seen.
    Ended,
    Failed(InBandError),
}

/// What becomes of an event.
#[derive(Debug)]
enum Verdict {
    /// It goes out, and what was withheld before it was not the end.
    Content,
    /// It goes out unless something is withheld: then it waits behind that.
    Neutral,
    /// It waits: nothing but the end should follow.
    Hold,
    /// The client did not ask for it.
    Hide,
    /// It is the end.
    Terminal,
    /// It is an error, told otherwise.
    Failed(InBandError),
}

impl Meter {
    /// A meter for a stream of this provider in this dialect. `hide_usage_chunk`: the caller did
    /// not ask for the usage chunk of chat completions.
    #[must_use]
    pub fn new(provider: Provider, dialect: Dialect, hide_usage_chunk: bool) -> Self {
        let reader = match dialect {
            Dialect::ChatCompletions => Reader::Chat(Chat::new(provider, hide_usage_chunk)),
            Dialect::Messages => Reader::Messages(Messages::default()),
            Dialect::Responses => Reader::Responses(Responses::new(provider)),
            Dialect::GenerateContent => Reader::Gemini(Gemini::default()),
        };
        let flow = Flow {
            reader,
            phase: Phase::Open,
            seen: Seen::default(),
            tail: Vec::new(),
            tail_len: 0,
            run: 0..0,
            fault: None,
        };
        Self { scanner: Scanner::default(), flow, begun: false }
    }

    /// Withholds the event with the final usage too, so that [`crate::add_cost`] can put the cost
    /// into it.
    #[must_use]
    pub fn with_cost(mut self) -> Self {
        match &mut self.flow.reader {
            Reader::Chat(chat) => chat.hold_usage(),
            Reader::Messages(messages) => messages.hold_usage(),
            // The usage stands in the end itself, or is not shown.
            Reader::Responses(_) | Reader::Gemini(_) => {}
        }
        self
    }

    /// Takes upstream bytes and appends those that may go to the client now, as slices of the
    /// chunk wherever an event lies inside it.
    ///
    /// # Errors
    /// [`StreamFault`]; on `NotEvents` nothing was appended or metered.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if !self.begun {
            match chunk.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{' | b'[') => return Err(StreamFault::NotEvents(chunk)),
                Some(_) => self.begun = true,
                None => {}
            }
        }
        let Self { scanner, flow, .. } = self;
        let pushed = scanner.push(chunk.clone(), |event| flow.take(event, &chunk, out));
        flow.flush(&chunk, out);
        pushed?;
        flow.fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// The upstream's end, or the caller's wish to read no further. An unfinished last event is
    /// not passed on unless it is the terminal one, as some recordings end.
    #[must_use]
    pub fn end(&mut self) -> StreamEnd {
        let flow = &mut self.flow;
        if let Some(event) = self.scanner.finish() {
            match flow.phase {
                Phase::Open => flow.take_unfinished(event),
                Phase::Ended => flow.hold(event.raw),
                Phase::Failed(_) => {}
            }
        }
        if let (Reader::Gemini(gemini), Phase::Open) = (&flow.reader, &flow.phase)
            && gemini.has_finished()
        {
            flow.phase = Phase::Ended;
        }
        match &flow.phase {
            Phase::Open => StreamEnd::Cut,
            Phase::Ended => StreamEnd::Complete { tail: joined(std::mem::take(&mut flow.tail)) },
            Phase::Failed(error) => StreamEnd::Error(error.clone()),
        }
    }

    /// Whether the terminal event was seen: [`Self::end`] need not wait for the upstream's EOF.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.flow.phase, Phase::Ended)
    }

    /// Whether the upstream has sent anything of a stream yet.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// The provider's numbers: [`Basis::Provider`] when they are final, [`Basis::Partial`] while
    /// they are running; then Anthropic's output is but a placeholder.
    #[must_use]
    pub fn usage(&self) -> Option<(Usage, Basis)> {
        match &self.flow.reader {
            Reader::Chat(chat) => chat.usage(self.is_complete()),
            Reader::Messages(messages) => messages.usage(),
            Reader::Responses(responses) => responses.usage(),
            Reader::Gemini(gemini) => gemini.usage(),
        }
    }

    /// What came so far, in bytes: never less than what the client got.
    #[must_use]
    pub const fn delivered(&self) -> Delivered {
        self.flow.seen.delivered
    }

    /// An estimate of the output tokens of what came so far: its bytes ÷ 4, rounded up.
    #[must_use]
    pub const fn counted_output(&self) -> u64 {
        self.flow.seen.delivered.tokens()
    }

    /// The output tokens of what came so far: the o200k count of visible text and of tools'
    /// arguments, and a quarter of the bytes of thinking.
    #[must_use]
    pub fn counted_tokens(&self) -> u64 {
        self.flow.seen.counted_tokens()
    }

    /// Whether [`Self::counted_tokens`] is sound: something visible came, and no thinking.
    #[must_use]
    pub const fn countable(&self) -> bool {
        self.flow.seen.is_countable()
    }

    /// The error event that ended the stream.
    #[must_use]
    pub const fn upstream_error(&self) -> Option<&InBandError> {
        match &self.flow.phase {
            Phase::Failed(error) => Some(error),
            Phase::Open | Phase::Ended => None,
        }
    }
}

impl Flow {
    fn take(&mut self, event: Event, chunk: &Bytes, out: &mut Vec<Bytes>) {
        match self.phase {
            Phase::Open => {}
            Phase::Ended => return self.hold(event.raw),
            Phase::Failed(_) => return,
        }
        match self.read(&event) {
            Verdict::Content => {
                if !self.tail.is_empty() {
                    self.flush(chunk, out);
                    out.append(&mut self.tail);
                    self.tail_len = 0;
                }
                self.pass(event, chunk, out);
            }
            Verdict::Neutral if self.tail.is_empty() => self.pass(event, chunk, out),
            Verdict::Neutral | Verdict::Hold => self.hold(event.raw),
            Verdict::Hide => {}
            Verdict::Terminal => {
                self.phase = Phase::Ended;
                self.hold(event.raw);
            }
            Verdict::Failed(error) => self.phase = Phase::Failed(error),
        }
    }

    /// The last event of a stream that breaks off: told, but not delivered.
    fn take_unfinished(&mut self, event: Event) {
        let delivered = self.seen.delivered;
        match self.read(&event) {
            Verdict::Terminal => {
                self.phase = Phase::Ended;
                self.hold(event.raw);
            }
            Verdict::Failed(error) => self.phase = Phase::Failed(error),
            Verdict::Content | Verdict::Neutral | Verdict::Hold | Verdict::Hide => {}
        }
        self.seen.delivered = delivered;
    }

    fn read(&mut self, event: &Event) -> Verdict {
        let Fields { name, data: Some(data) } = event.fields() else { return Verdict::Neutral };
        match &mut self.reader {
            Reader::Chat(chat) => chat.read(name, &data, &mut self.seen),
            Reader::Messages(messages) => messages.read(name, &data, &mut self.seen),
            Reader::Responses(responses) => responses.read(name, &data, &mut self.seen),
            Reader::Gemini(gemini) => gemini.read(&data, &mut self.seen),
        }
    }

    /// Neighbouring events of one chunk leave as one slice.
    fn pass(&mut self, event: Event, chunk: &Bytes, out: &mut Vec<Bytes>) {
        match event.span {
            Some(span) if span.start == self.run.end => self.run.end = span.end,
            Some(span) => {
                self.flush(chunk, out);
                self.run = span;
            }
            None => {
                self.flush(chunk, out);
                out.push(event.raw);
            }
        }
    }

    fn flush(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) {
        let run = std::mem::replace(&mut self.run, 0..0);
        if !run.is_empty() {
            out.push(chunk.slice(run));
        }
    }

    fn hold(&mut self, raw: Bytes) {
        self.tail_len += raw.len();
        if self.tail_len <= EVENT_MAX {
            self.tail.push(raw);
        } else {
            self.fault = Some(SseError::TooLong);
        }
    }
}

fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    }
}
