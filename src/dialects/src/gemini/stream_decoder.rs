//! Reads the chunks of a streamed `generateContent` answer.

use std::borrow::Cow;

use opencredits_schema::Provider;
use opencredits_wire::Dialect;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::partial_call::{PartialArg, PartialCall};
use crate::repeats::Repeats;
use crate::text::Text;
use crate::tool_id::fitted;
use crate::{
    Block, Citation, Content, DecodeStream, Event, Image, Opened, Piece, Signature, Source, Stop,
    Undecodable,
};

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
#[derive(Debug, Default)]
struct ChoiceState {
    open: Option<Kind>,
    /// The open thought has its seal.
    sealed: bool,
    calls: usize,
    /// A call whose arguments come in parts.
    partial: Option<PartialCall>,
    /// Whether anything was shown.
    said: bool,
    stop: Option<Stop>,
    /// What the text rests on, told again and again.
    pages: Vec<Citation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<Feedback>,
    #[serde(borrow)]
    response_id: Option<Text<'a>>,
    #[serde(borrow)]
    model_version: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    content: Option<Parts<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    grounding_metadata: Option<Value>,
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    thought: Option<bool>,
    #[serde(borrow, alias = "thought_signature")]
    thought_signature: Option<Text<'a>>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<FunctionCall<'a>>,
    inline_data: Option<Inline>,
    executable_code: Option<Value>,
    code_execution_result: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionCall<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    partial_args: Option<Vec<PartialArg>>,
    will_continue: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inline {
    mime_type: String,
    data: String,
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
            self.choices.resize_with(at + 1, ChoiceState::default);
        }
        self.choices.get_mut(at).ok_or(Undecodable::TooLarge)
    }

    fn chunk(
        &mut self,
        chunk: Chunk<'_>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        if self.id.is_none() {
            let id = chunk.response_id.as_deref().unwrap_or_default();
            to(Event::Start { id, model: chunk.model_version.as_deref().unwrap_or_default() });
            self.id = Some(id.to_owned());
        }
        if chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.choice(0)?.stop = Some(Stop::Refusal);
        }
        for candidate in chunk.candidates.unwrap_or_default() {
            let index = candidate.index.unwrap_or(0);
            for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
                let calls = part.function_call.is_some();
                let answer = self.id.clone().filter(|_| calls).unwrap_or_default();
                let provider = self.provider;
                self.choice(index)?.part(provider, &answer, index, part, to)?;
            }
            let state = self.choice(index)?;
            if let Some(told) = candidate.grounding_metadata {
                state.pages = pages(&told);
            }
            if let Some(reason) = candidate.finish_reason {
                state.stop = Some(stop(reason.get()));
            }
        }
        Ok(())
    }
}

impl DecodeStream for StreamDecoder {
    fn event(
        &mut self,
        _: Option<&[u8]>,
        data: &[u8],
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        if let Some(text) = self.repeats.text(data).filter(|text| !text.is_empty()) {
            let (index, kind) = self.repeated;
            self.choice(index)?.switch(index, kind, to);
            to(Event::Append { choice: index, piece: Piece::Text(text) });
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data)
            .map_err(|error| Undecodable::Malformed(error.to_string()))?;
        self.repeats.forget();
        if let Some([candidate]) = chunk.candidates.as_deref()
            && let Some((kind, text)) = candidate.only_text()
        {
            self.repeated = (candidate.index.unwrap_or(0), kind);
            // The first closes the parts, the second the candidates.
            self.repeats.learn(data, text, b"}]", 2);
        }
        self.chunk(chunk, to)
    }

    fn end(&mut self, to: &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable> {
        if self.id.is_none() {
            return Err(Undecodable::Malformed("the stream has no chunk".to_owned()));
        }
        let silent = |state: &ChoiceState| state.stop == Some(Stop::Malformed) && !state.said;
        if self.choices.is_empty() {
            return Err(Undecodable::Malformed("the answer has no candidate".to_owned()));
        }
        if self.choices.iter().all(silent) {
            return Err(Undecodable::NoValidCall);
        }
        for (choice, state) in (0..).zip(&mut self.choices) {
            state.close(choice, to);
            let stop = match state.stop.take() {
                None | Some(Stop::EndTurn) if state.calls > 0 => Stop::ToolUse,
                None => Stop::EndTurn,
                Some(stop) => stop,
            };
            to(Event::Stop { choice, stop });
        }
        Ok(())
    }
}

impl Candidate<'_> {
    /// The only thing that it tells, if that is a text without escapes.
    fn only_text(&self) -> Option<(Kind, &str)> {
        let parts = self.content.as_ref().and_then(|content| content.parts.as_deref());
        let Some([part]) = parts else { return None };
        let alone = self.finish_reason.is_none()
            && self.grounding_metadata.is_none()
            && part.thought_signature.is_none()
            && part.function_call.is_none()
            && part.inline_data.is_none()
            && part.executable_code.is_none()
            && part.code_execution_result.is_none();
        let kind = if part.thought == Some(true) { Kind::Thinking } else { Kind::Text };
        match &part.text {
            Some(Text(Cow::Borrowed(text))) if alone && !text.is_empty() => Some((kind, text)),
            Some(_) | None => None,
        }
    }
}

impl ChoiceState {
    fn part(
        &mut self,
        provider: Provider,
        answer: &str,
        choice: u32,
        part: Part<'_>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        let seal = part.thought_signature.filter(|data| !data.is_empty());
        let seal = seal.map(|data| Signature::new(provider, data.0));
        if let Some(call) = part.function_call {
            return self.call(answer, choice, call, seal, to);
        }
        let whole = [
            ("executableCode", part.executable_code),
            ("codeExecutionResult", part.code_execution_result),
        ];
        for (key, value) in whole {
            if let Some(value) = value {
                let mut json = serde_json::json!({ key: value });
                let data = seal.as_ref().map(|seal| seal.data.as_str().into());
                crate::json::extend(&mut json, [("thoughtSignature", data)]);
                let dialect = Dialect::GenerateContent;
                self.whole(choice, Content::Own { dialect, json }, to);
            }
        }
        if let Some(Inline { mime_type: media_type, data }) = part.inline_data {
            let source = Source::Base64 { media_type, data };
            self.whole(choice, Content::Image(Image { source, detail: None }), to);
        }
        let Some(text) = part.text else { return Ok(()) };
        let kind = if part.thought == Some(true) { Kind::Thinking } else { Kind::Text };
        if !text.is_empty() {
            self.switch(choice, kind, to);
            to(Event::Append { choice, piece: Piece::Text(&text) });
        }
        // A seal on nothing belongs to what was said before it.
        if let (Some(seal), true) = (seal, self.open == Some(kind)) {
            to(Event::Append { choice, piece: Piece::Signature(&seal) });
            self.sealed = true;
        }
        Ok(())
    }

    fn call(
        &mut self,
        answer: &str,
        choice: u32,
        call: FunctionCall<'_>,
        signature: Option<Signature>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        let name = call.name.as_deref().unwrap_or_default();
        let mut partial = match self.partial.take() {
            // What has no name goes on with the call before it.
            Some(partial) if name.is_empty() => partial,
            _ => {
                let made = || fitted(&format!("{answer}.{choice}.{}", self.calls)).into_owned();
                let given = call.id.as_deref().filter(|id| !id.is_empty()).map(str::to_owned);
                let id = given.unwrap_or_else(made);
                self.calls = self.calls.saturating_add(1);
                PartialCall::new(id, name, signature)
            }
        };
        let in_parts = call.args.is_none();
        for arg in call.partial_args.unwrap_or_default() {
            partial.take(arg)?;
        }
        if call.will_continue == Some(true) {
            self.partial = Some(partial);
            return Ok(());
        }
        self.close(choice, to);
        self.said = true;
        let (id, name, signature) = (&*partial.id, &*partial.name, partial.signature.as_ref());
        to(Event::Open { choice, block: Opened::ToolCall { id, name, signature } });
        let parts = in_parts.then(|| partial.arguments());
        let whole = call.args.map(RawValue::get).filter(|args| *args != "null");
        if let Some(arguments) = parts.as_deref().or(whole) {
            to(Event::Append { choice, piece: Piece::Arguments(arguments) });
        }
        to(Event::Close { choice });
        Ok(())
    }

    fn whole(&mut self, choice: u32, content: Content, to: &mut dyn FnMut(Event<'_>)) {
        self.close(choice, to);
        self.said = true;
        to(Event::Open { choice, block: Opened::Whole(&Block::new(content)) });
        to(Event::Close { choice });
    }

    /// Opens a block of this kind, unless one is.
    fn switch(&mut self, choice: u32, kind: Kind, to: &mut dyn FnMut(Event<'_>)) {
        self.said = true;
        if self.open == Some(kind) {
            return;
        }
        self.close(choice, to);
        self.open = Some(kind);
        self.sealed = false;
        let block = if kind == Kind::Text { Opened::Text } else { Opened::Thinking };
        to(Event::Open { choice, block });
    }

    fn close(&mut self, choice: u32, to: &mut dyn FnMut(Event<'_>)) {
        if self.open == Some(Kind::Text) {
            for page in std::mem::take(&mut self.pages) {
                to(Event::Append { choice, piece: Piece::Citation(&page) });
            }
        }
        if self.open == Some(Kind::Thinking) && !self.sealed {
            let unsealed = Signature::unsealed(Provider::Google);
            to(Event::Append { choice, piece: Piece::Signature(&unsealed) });
        }
        if self.open.take().is_some() {
            to(Event::Close { choice });
        }
    }
}

/// Why it ended; some recordings name the reason by its number.
fn stop(reason: &str) -> Stop {
    match reason.trim_matches('"') {
        "MAX_TOKENS" | "2" => Stop::MaxTokens,
        "SAFETY" | "3" | "RECITATION" | "4" | "LANGUAGE" | "BLOCKLIST" | "7"
        | "PROHIBITED_CONTENT" | "8" | "SPII" | "9" | "MODEL_ARMOR" | "IMAGE_SAFETY" => {
            Stop::Refusal
        }
        "MALFORMED_FUNCTION_CALL" | "10" | "UNEXPECTED_TOOL_CALL" => Stop::Malformed,
        _ => Stop::EndTurn,
    }
}

/// The pages of a search that an answer rests on.
fn pages(grounding: &Value) -> Vec<Citation> {
    let chunks = grounding.get("groundingChunks").and_then(Value::as_array);
    let page = |chunk: &Value| {
        let web = chunk.get("web")?;
        let text = |key: &str| web.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Citation::Url { url: text("uri"), title: text("title"), cited: None, span: None })
    };
    chunks.into_iter().flatten().filter_map(page).collect()
}
