//! Writes the events of a streamed message.

use opencredits_schema::Usage;
use serde_json::{Value, json};

use super::answer_encoder::{block, citation, id, stop_reason, usage};
use crate::sse::{write_event, write_number, write_text};
use crate::tool_id::packed;
use crate::{Asked, EncodeStream, Event, Opened, Piece, Stop};
use opencredits_schema::Provider;

/// Writes one stream: one block at a time, one number more for each.
#[derive(Debug)]
pub struct StreamEncoder {
    asked: Asked,
    begun: bool,
    /// The number of the next block.
    next: usize,
    open: Open,
    stop: Option<Stop>,
}

/// The open block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    Call,
    /// It stands in its beginning.
    Whole,
}

impl StreamEncoder {
    /// An encoder for the answer of this request.
    #[must_use]
    pub const fn new(asked: Asked) -> Self {
        Self { asked, begun: false, next: 0, open: Open::Nothing, stop: None }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": id(&self.asked), "type": "message", "role": "assistant",
            "model": self.asked.model, "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": self.asked.input_estimate, "output_tokens": 0,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
        });
        write_event(out, "message_start", &json!({"type": "message_start", "message": message}));
        write_event(out, "ping", &json!({"type": "ping"}));
    }

    fn open(&mut self, opened: &Opened<'_>, out: &mut Vec<u8>) {
        let (open, begun) = match opened {
            Opened::Text | Opened::Refusal => (Open::Text, json!({"type": "text", "text": ""})),
            Opened::Thinking => {
                (Open::Thinking, json!({"type": "thinking", "thinking": "", "signature": ""}))
            }
            Opened::ToolCall { id, name, signature } => {
                let id = packed(id, *signature);
                (Open::Call, json!({"type": "tool_use", "id": id, "name": name, "input": {}}))
            }
            Opened::Whole(whole) => match block(whole) {
                Some(whole) => (Open::Whole, whole),
                None => {
                    self.open = Open::Nothing;
                    return;
                }
            },
        };
        self.open = open;
        let data =
            json!({"type": "content_block_start", "index": self.next, "content_block": begun});
        write_event(out, "content_block_start", &data);
    }

    fn append(&self, piece: &Piece<'_>, out: &mut Vec<u8>) {
        match (piece, self.open) {
            (Piece::Text(text), Open::Text) => self.words("text_delta", "text", text, out),
            (Piece::Text(text), Open::Thinking) => {
                self.words("thinking_delta", "thinking", text, out);
            }
            (Piece::Arguments(text), Open::Call) => {
                self.words("input_json_delta", "partial_json", text, out);
            }
            (Piece::Signature(seal), Open::Thinking) => {
                let seal = seal.carried(Provider::Anthropic);
                self.words("signature_delta", "signature", &seal, out);
            }
            (Piece::Citation(told), Open::Text) => {
                let delta = json!({"type": "citations_delta", "citation": citation(told)});
                self.delta(&delta, out);
            }
            // Gemini's seal on text has no place here, and need not come back.
            (
                Piece::Text(_) | Piece::Arguments(_) | Piece::Signature(_) | Piece::Citation(_),
                Open::Nothing | Open::Text | Open::Thinking | Open::Call | Open::Whole,
            ) => {}
        }
    }

    /// A delta of one word: most of a stream.
    fn words(&self, kind: &str, name: &str, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        write_number(self.next as u64, out);
        for piece in [",\"delta\":{\"type\":\"", kind, "\",\"", name, "\":"] {
            out.extend_from_slice(piece.as_bytes());
        }
        write_text(text, out);
        out.extend_from_slice(b"}}\n\n");
    }

    fn delta(&self, delta: &Value, out: &mut Vec<u8>) {
        let data = json!({"type": "content_block_delta", "index": self.next, "delta": delta});
        write_event(out, "content_block_delta", &data);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.open, Open::Nothing) == Open::Nothing {
            return;
        }
        let data = json!({"type": "content_block_stop", "index": self.next});
        write_event(out, "content_block_stop", &data);
        self.next = self.next.saturating_add(1);
    }
}

impl EncodeStream for StreamEncoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => self.start(out),
            Event::Open { choice: 0, block } => self.open(block, out),
            Event::Append { choice: 0, piece } => self.append(piece, out),
            Event::Close { choice: 0 } => self.close(out),
            Event::Stop { choice: 0, stop } => self.stop = Some(stop.clone()),
            // There is but one answer here.
            Event::Open { .. }
            | Event::Append { .. }
            | Event::Close { .. }
            | Event::Stop { .. } => {}
        }
    }

    fn end(&mut self, used: &Usage, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        if self.next == 0 {
            self.open(&Opened::Text, out);
            self.close(out);
        }
        let (reason, sequence) = stop_reason(self.stop.as_ref());
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        let data = json!({"type": "message_delta", "delta": delta, "usage": usage(used)});
        write_event(out, "message_delta", &data);
        write_event(out, "message_stop", &json!({"type": "message_stop"}));
    }
}
