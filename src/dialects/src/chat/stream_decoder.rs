//! Reads the chunks of a streamed chat completion.

use std::borrow::Cow;

use opencredits_schema::Provider;
use serde::Deserialize;
use serde_json::Value;

use super::answer_decoder::{citation, made_id, sealed, stop};
use super::request_decoder::{detail, older_id};
use crate::ordered_calls::{CallPiece, OrderedCalls};
use crate::repeats::Repeats;
use crate::text::Text;
use crate::{Block, Content, DecodeStream, Event, Opened, Piece, Signature, Stop, Undecodable};

/// The most answers of one stream.
const CHOICES_MAX: usize = 128;

/// Reads one stream.
#[derive(Debug)]
pub struct StreamDecoder {
    provider: Provider,
    id: Option<String>,
    choices: Vec<ChoiceState>,
    /// The last chunk, if it told one text: its kind and its choice.
    repeats: Repeats,
    repeated: (u32, Kind),
}

/// What is known of one answer of the stream.
#[derive(Debug)]
struct ChoiceState {
    provider: Provider,
    open: Option<Kind>,
    /// The open thought has its seal.
    sealed: bool,
    calls: OrderedCalls,
    stop: Option<String>,
    /// The provider details its thinking, so its plain form is a copy.
    detailed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
    Calls,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<ChunkChoice<'a>>>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    reasoning_details: Option<Vec<Value>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
    annotations: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    extra_content: Option<Value>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

impl StreamDecoder {
    /// A decoder of this provider's stream.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            id: None,
            choices: Vec::new(),
            repeats: Repeats::default(),
            repeated: (0, Kind::Text),
        }
    }

    fn choice(&mut self, index: u32) -> Result<&mut ChoiceState, Undecodable> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        if at >= CHOICES_MAX {
            return Err(Undecodable::TooLarge);
        }
        if self.choices.len() <= at {
            let provider = self.provider;
            self.choices.resize_with(at + 1, || ChoiceState::new(provider));
        }
        self.choices.get_mut(at).ok_or(Undecodable::TooLarge)
    }
}

impl DecodeStream for StreamDecoder {
    fn event(
        &mut self,
        _: Option<&[u8]>,
        data: &[u8],
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        if let Some(text) = self.repeats.text(data) {
            let (index, kind) = self.repeated;
            self.choice(index)?.text(index, kind, Some(text), to);
            return Ok(());
        }
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data)
            .map_err(|error| Undecodable::Malformed(error.to_string()))?;
        if self.id.is_none() {
            let id = chunk.id.as_deref().unwrap_or_default();
            to(Event::Start { id, model: chunk.model.as_deref().unwrap_or_default() });
            self.id = Some(id.to_owned());
        }
        self.repeats.forget();
        let choices = chunk.choices.unwrap_or_default();
        if let [choice] = &choices[..]
            && let Some((kind, text)) = choice.only_text()
        {
            self.repeated = (choice.index.unwrap_or(0), kind);
            self.repeats.learn(data, text, b"}]", 1);
        }
        for choice in choices {
            let index = choice.index.unwrap_or(0);
            if let Some(delta) = choice.delta {
                let id = self.id.clone().filter(|_| delta.calls());
                let state = self.choice(index)?;
                state.delta(id.as_deref().unwrap_or_default(), index, delta, to)?;
            }
            if let Some(reason) = choice.finish_reason {
                self.choice(index)?.stop = Some(reason.0.into_owned());
            }
        }
        Ok(())
    }

    fn end(&mut self, to: &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable> {
        if self.id.is_none() {
            return Err(Undecodable::Malformed("the stream has no chunk".to_owned()));
        }
        for (choice, state) in (0..).zip(&mut self.choices) {
            state.close(choice, to);
            let calls = state.calls.any();
            let stop = match &state.stop {
                Some(reason) => stop(reason, calls),
                None if calls => Stop::ToolUse,
                None => Stop::EndTurn,
            };
            to(Event::Stop { choice, stop });
        }
        Ok(())
    }
}

impl ChunkChoice<'_> {
    /// The only thing that it tells, if that is a text without escapes.
    fn only_text(&self) -> Option<(Kind, &str)> {
        let delta = self.delta.as_ref().filter(|_| self.finish_reason.is_none())?;
        let Delta { content, refusal, reasoning_content, reasoning, .. } = delta;
        let others = delta.tool_calls.is_some()
            || delta.function_call.is_some()
            || delta.reasoning_details.is_some()
            || delta.annotations.is_some();
        let (kind, text) = match (content, reasoning_content) {
            (Some(text), None) => (Kind::Text, text),
            (None, Some(text)) => (Kind::Thinking, text),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let alone = !others && refusal.is_none() && reasoning.is_none();
        if let (true, Cow::Borrowed(text)) = (alone && !text.is_empty(), &text.0) {
            Some((kind, text))
        } else {
            None
        }
    }
}

impl Delta<'_> {
    /// Whether it has anything to do with tools.
    fn calls(&self) -> bool {
        self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

impl ChoiceState {
    fn new(provider: Provider) -> Self {
        Self {
            provider,
            open: None,
            sealed: false,
            calls: OrderedCalls::default(),
            stop: None,
            detailed: false,
        }
    }

    fn delta(
        &mut self,
        answer: &str,
        choice: u32,
        delta: Delta<'_>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        for told in delta.reasoning_details.unwrap_or_default() {
            self.detail(choice, &told, to);
        }
        let thinking = delta.reasoning_content.or(delta.reasoning);
        if !self.detailed {
            self.text(choice, Kind::Thinking, thinking.as_deref(), to);
        }
        self.text(choice, Kind::Text, delta.content.as_deref(), to);
        for citation in delta.annotations.iter().flatten().filter_map(citation) {
            self.switch(choice, Kind::Text, to);
            to(Event::Append { choice, piece: Piece::Citation(&citation) });
        }
        self.text(choice, Kind::Refusal, delta.refusal.as_deref(), to);
        for call in delta.tool_calls.unwrap_or_default() {
            let function = call.function.as_ref();
            let name = function.and_then(|function| function.name.as_deref());
            let name = name.filter(|name| !name.is_empty());
            // Google's endpoint numbers none: a name begins a call.
            let next = self.calls.next_index();
            let unnumbered = if name.is_some() { next } else { next.saturating_sub(1) };
            let index = call.index.unwrap_or(unnumbered);
            let piece = CallPiece {
                index,
                id: call.id.as_deref(),
                name,
                signature: call
                    .extra_content
                    .as_ref()
                    .and_then(|extra| sealed(self.provider, extra)),
                arguments: function.and_then(|f| f.arguments.as_deref()).unwrap_or_default(),
            };
            self.switch(choice, Kind::Calls, to);
            self.calls.push(choice, piece, |n| made_id(answer, choice.into(), n), to)?;
        }
        if let Some(call) = &delta.function_call {
            let name = call.name.as_deref().filter(|name| !name.is_empty());
            let arguments = call.arguments.as_deref().unwrap_or_default();
            let id = name.map(older_id);
            let piece = CallPiece { id: id.as_deref(), name, arguments, ..CallPiece::default() };
            self.switch(choice, Kind::Calls, to);
            self.calls.push(choice, piece, |n| made_id(answer, choice.into(), n), to)?;
        }
        Ok(())
    }

    fn text(&mut self, choice: u32, kind: Kind, text: Option<&str>, to: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.switch(choice, kind, to);
            to(Event::Append { choice, piece: Piece::Text(text) });
        }
    }

    /// Thinking that is told in detail: its text, its seal, or what only its provider can read.
    fn detail(&mut self, choice: u32, told: &Value, to: &mut dyn FnMut(Event<'_>)) {
        let Some(block) = detail(told) else { return };
        match &block.content {
            Content::Thinking { text, signature } => {
                self.detailed |= !text.is_empty();
                self.text(choice, Kind::Thinking, Some(text), to);
                if let Some(signature) = signature {
                    self.switch(choice, Kind::Thinking, to);
                    to(Event::Append { choice, piece: Piece::Signature(signature) });
                    self.sealed = true;
                    // What follows is another thought.
                    self.close(choice, to);
                }
            }
            Content::RedactedThinking(_) => self.whole(choice, &block, to),
            Content::Text { .. }
            | Content::Refusal(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. }
            | Content::Own { .. } => {}
        }
    }

    fn whole(&mut self, choice: u32, block: &Block, to: &mut dyn FnMut(Event<'_>)) {
        self.close(choice, to);
        to(Event::Open { choice, block: Opened::Whole(block) });
        to(Event::Close { choice });
    }

    /// Opens a block of this kind, unless one is.
    fn switch(&mut self, choice: u32, kind: Kind, to: &mut dyn FnMut(Event<'_>)) {
        if self.open == Some(kind) {
            return;
        }
        self.close(choice, to);
        self.open = Some(kind);
        self.sealed = false;
        let block = match kind {
            Kind::Text => Opened::Text,
            Kind::Thinking => Opened::Thinking,
            Kind::Refusal => Opened::Refusal,
            // The calls open their own.
            Kind::Calls => return,
        };
        to(Event::Open { choice, block });
    }

    fn close(&mut self, choice: u32, to: &mut dyn FnMut(Event<'_>)) {
        if self.open == Some(Kind::Thinking) && !self.sealed {
            let unsealed = Signature::unsealed(self.provider);
            to(Event::Append { choice, piece: Piece::Signature(&unsealed) });
        }
        match self.open.take() {
            Some(Kind::Calls) => self.calls.end(choice, to),
            Some(Kind::Text | Kind::Thinking | Kind::Refusal) => to(Event::Close { choice }),
            None => {}
        }
    }
}
