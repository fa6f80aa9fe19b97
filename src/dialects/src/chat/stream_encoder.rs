//! Writes the chunks of a streamed chat completion.

use opencredits_schema::Usage;
use serde_json::{Value, json};

use super::answer_encoder::{
    REFUSED, annotation, detail, encrypted, extra, finish_reason, id, usage,
};
use crate::sse::{write_number, write_text};
use crate::tool_id::packed;
use crate::{Asked, Content, EncodeStream, Event, Opened, Piece, Signature, Stop};

/// Writes one stream.
#[derive(Debug)]
pub struct StreamEncoder {
    /// Every chunk up to the number of its choice.
    head: Vec<u8>,
    usage_chunk: bool,
    choices: Vec<ChoiceState>,
}

/// What has been told of one answer.
#[derive(Debug, Default)]
struct ChoiceState {
    begun: bool,
    stopped: bool,
    refused: bool,
    open: Open,
    /// How many calls, details and citations have been told.
    calls: usize,
    details: usize,
    annotations: usize,
}

/// What is open.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Refusal,
    /// The text is told once more with its seal, as one detail that SDKs give back.
    Thinking {
        text: String,
        signature: Option<Signature>,
    },
    Call {
        has_arguments: bool,
    },
}

/// Behind the words of a delta.
const TAIL: &[u8] = b"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";

impl StreamEncoder {
    /// An encoder for the answer of this request.
    #[must_use]
    pub fn new(asked: Asked) -> Self {
        let head = format!(
            "data: {{\"id\":{},\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\
             \"choices\":[",
            Value::from(id(&asked)),
            asked.created,
            Value::from(asked.model),
        );
        let usage_chunk = asked.usage_chunk;
        Self { head: head.into_bytes(), usage_chunk, choices: Vec::new() }
    }

    fn choice(&mut self, index: u32) -> Option<&mut ChoiceState> {
        let at = usize::try_from(index).ok()?;
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, ChoiceState::default);
        }
        self.choices.get_mut(at)
    }

    /// A chunk's beginning, up to its delta's members.
    fn begin(&self, choice: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        write_number(choice.into(), out);
        out.extend_from_slice(b",\"delta\":{");
    }

    /// A chunk with one word.
    fn words(&self, choice: u32, name: &str, text: &str, out: &mut Vec<u8>) {
        self.begin(choice, out);
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_text(text, out);
        out.extend_from_slice(TAIL);
    }

    /// A chunk with any member.
    fn member(&self, choice: u32, name: &str, value: &Value, out: &mut Vec<u8>) {
        self.begin(choice, out);
        out.extend_from_slice(format!("\"{name}\":{value}").as_bytes());
        out.extend_from_slice(TAIL);
    }

    /// The role, once, in a chunk of its own.
    fn role(&mut self, choice: u32, out: &mut Vec<u8>) {
        let Some(state) = self.choice(choice) else { return };
        if !std::mem::replace(&mut state.begun, true) {
            self.begin(choice, out);
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
            out.extend_from_slice(TAIL);
        }
    }

    fn open(&mut self, choice: u32, block: &Opened<'_>, out: &mut Vec<u8>) {
        self.role(choice, out);
        let Some(state) = self.choice(choice) else { return };
        match block {
            Opened::Text => state.open = Open::Text,
            Opened::Refusal => {
                state.open = Open::Refusal;
                state.refused = true;
            }
            Opened::Thinking => {
                state.open = Open::Thinking { text: String::new(), signature: None };
            }
            Opened::ToolCall { id, name, signature } => {
                let mut call = json!({
                    "index": state.calls, "id": packed(id, *signature), "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                if let (Some(extra), Some(call)) = (extra(*signature), call.as_object_mut()) {
                    call.insert("extra_content".to_owned(), extra);
                }
                state.calls = state.calls.saturating_add(1);
                state.open = Open::Call { has_arguments: false };
                self.member(choice, "tool_calls", &json!([call]), out);
            }
            Opened::Whole(block) => {
                state.open = Open::Nothing;
                if let Content::RedactedThinking(seal) = &block.content {
                    let told = encrypted(seal, state.details);
                    state.details = state.details.saturating_add(1);
                    self.member(choice, "reasoning_details", &json!([told]), out);
                }
            }
        }
    }

    fn append(&mut self, choice: u32, piece: &Piece<'_>, out: &mut Vec<u8>) {
        let Some(state) = self.choice(choice) else { return };
        match (piece, &mut state.open) {
            (Piece::Text(text), Open::Text) => self.words(choice, "content", text, out),
            (Piece::Text(text), Open::Refusal) => self.words(choice, "refusal", text, out),
            (Piece::Text(text), Open::Thinking { text: all, .. }) => {
                all.push_str(text);
                self.words(choice, "reasoning_content", text, out);
            }
            (Piece::Signature(seal), Open::Thinking { signature, .. }) => {
                *signature = Some((*seal).clone());
            }
            (Piece::Arguments(text), Open::Call { has_arguments }) => {
                *has_arguments = true;
                self.arguments(choice, text, out);
            }
            (Piece::Citation(citation), Open::Text) => {
                if let Some(told) = annotation(citation, state.annotations) {
                    state.annotations = state.annotations.saturating_add(1);
                    self.member(choice, "annotations", &json!([told]), out);
                }
            }
            // Gemini's seal on text has no place here, and need not come back.
            (
                Piece::Text(_) | Piece::Arguments(_) | Piece::Signature(_) | Piece::Citation(_),
                Open::Nothing
                | Open::Text
                | Open::Refusal
                | Open::Thinking { .. }
                | Open::Call { .. },
            ) => {}
        }
    }

    /// More arguments of the last call.
    fn arguments(&mut self, choice: u32, text: &str, out: &mut Vec<u8>) {
        let index = self.choice(choice).map_or(0, |state| state.calls.saturating_sub(1));
        self.begin(choice, out);
        out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
        out.extend_from_slice(index.to_string().as_bytes());
        out.extend_from_slice(b",\"function\":{\"arguments\":");
        write_text(text, out);
        out.extend_from_slice(b"}}]");
        out.extend_from_slice(TAIL);
    }

    fn close(&mut self, choice: u32, out: &mut Vec<u8>) {
        let Some(state) = self.choice(choice) else { return };
        match std::mem::take(&mut state.open) {
            Open::Thinking { text, signature } => {
                if let Some(told) = detail(&text, signature.as_ref(), state.details) {
                    state.details = state.details.saturating_add(1);
                    self.member(choice, "reasoning_details", &json!([told]), out);
                }
            }
            Open::Call { has_arguments: false } => self.arguments(choice, "{}", out),
            Open::Call { has_arguments: true } | Open::Nothing | Open::Text | Open::Refusal => {}
        }
    }

    fn stop(&mut self, choice: u32, stop: &Stop, out: &mut Vec<u8>) {
        self.role(choice, out);
        let Some(state) = self.choice(choice) else { return };
        if std::mem::replace(&mut state.stopped, true) {
            return;
        }
        if *stop == Stop::Refusal && !state.refused {
            self.words(choice, "refusal", REFUSED, out);
        }
        self.begin(choice, out);
        let end = format!(
            "}},\"logprobs\":null,\"finish_reason\":\"{}\"}}]}}\n\n",
            finish_reason(Some(stop))
        );
        out.extend_from_slice(end.as_bytes());
    }
}

impl EncodeStream for StreamEncoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => self.role(0, out),
            Event::Open { choice, block } => self.open(*choice, block, out),
            Event::Append { choice, piece } => self.append(*choice, piece, out),
            Event::Close { choice } => self.close(*choice, out),
            Event::Stop { choice, stop } => self.stop(*choice, stop, out),
        }
    }

    fn end(&mut self, used: &Usage, out: &mut Vec<u8>) {
        for choice in (0..).take(self.choices.len()) {
            self.stop(choice, &Stop::EndTurn, out);
        }
        if self.usage_chunk {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(format!("],\"usage\":{}}}\n\n", usage(used)).as_bytes());
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
