//! Writes the events of a streamed response.

use opencredits_schema::Usage;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer_encoder::{annotation, item, item_id, output_text, response, status};
use crate::json::{extend, of};
use crate::sse::{write_number, write_text};
use crate::tool_id::packed;
use crate::{Asked, Block, Collector, Content, EncodeStream, Event, Opened, Piece, Stop};

/// Writes one stream. It keeps the answer as it is told, because the last event says all of it
/// again; that is at most what the client has been sent.
#[derive(Debug)]
pub struct StreamEncoder {
    asked: Asked,
    begun: bool,
    /// The number of the next event.
    sequence: u64,
    /// The items that are done.
    output: Vec<Value>,
    /// The open block, put together but for its words.
    collector: Collector,
    words: String,
    open: Open,
    id: String,
    frame: Frame,
    citations: usize,
    stop: Option<Stop>,
}

/// What the deltas of an item have in common.
#[derive(Debug, Default)]
struct Frame {
    item: Option<(&'static str, usize)>,
    before: String,
    behind: String,
}

/// The open item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Refusal,
    /// Its summary may have begun.
    Thinking {
        begun: bool,
    },
    Call,
    /// It is told at its end.
    Whole,
}

impl StreamEncoder {
    /// An encoder for the answer of this request.
    #[must_use]
    pub fn new(asked: Asked) -> Self {
        Self {
            asked,
            begun: false,
            sequence: 0,
            output: Vec::new(),
            collector: Collector::default(),
            words: String::new(),
            open: Open::Nothing,
            id: String::new(),
            frame: Frame::default(),
            citations: 0,
            stop: None,
        }
    }

    /// An event: its kind, its number, and these members.
    fn send(&mut self, kind: &str, members: &impl Serialize, out: &mut Vec<u8>) {
        out.extend_from_slice(
            format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":").as_bytes(),
        );
        write_number(self.sequence, out);
        self.sequence = self.sequence.saturating_add(1);
        let brace = out.len();
        // Values always serialise, and a vector takes every byte.
        serde_json::to_writer(&mut *out, members).ok();
        // The members go on with the object that has begun.
        if let Some(brace) = out.get_mut(brace) {
            *brace = b',';
        }
        out.extend_from_slice(b"\n\n");
    }

    /// A delta of one word: most of a stream. `place` names the part, as `,"content_index":0`. What
    /// stays the same within an item is written once.
    fn words(&mut self, kind: &'static str, place: &str, text: &str, out: &mut Vec<u8>) {
        if self.frame.item != Some((kind, self.output.len())) {
            let before = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":");
            let (id, index) = (&self.id, self.output.len());
            let behind =
                format!(",\"item_id\":\"{id}\",\"output_index\":{index}{place},\"delta\":");
            self.frame = Frame { item: Some((kind, index)), before, behind };
        }
        out.reserve(self.frame.before.len() + self.frame.behind.len() + text.len() + 32);
        out.extend_from_slice(self.frame.before.as_bytes());
        write_number(self.sequence, out);
        self.sequence = self.sequence.saturating_add(1);
        out.extend_from_slice(self.frame.behind.as_bytes());
        write_text(text, out);
        out.extend_from_slice(b"}\n\n");
    }

    /// Puts the words of the open block into it.
    fn add_words(&mut self, content: &mut Content) {
        let mut words = std::mem::take(&mut self.words);
        match content {
            Content::Text { text, .. }
            | Content::Refusal(text)
            | Content::Thinking { text, .. } => {
                *text = words;
            }
            Content::ToolCall(call) => {
                if words.is_empty() {
                    words.push_str("{}");
                }
                call.arguments = words;
            }
            Content::RedactedThinking(_)
            | Content::ToolResult(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. }
            | Content::Own { .. } => {}
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let begun = response(&self.asked, "in_progress", Value::Null, Vec::new(), None);
        let members = of([("response", begun)]);
        self.send("response.created", &members, out);
        self.send("response.in_progress", &members, out);
    }

    /// The place of the open item, and of a part of it.
    fn place(&self, part: Option<&str>) -> Value {
        let mut place = json!({"item_id": self.id, "output_index": self.output.len()});
        if let (Some(part), Some(place)) = (part, place.as_object_mut()) {
            place.insert(part.to_owned(), 0.into());
        }
        place
    }

    fn send_at(
        &mut self,
        kind: &str,
        part: Option<&str>,
        member: (&str, Value),
        out: &mut Vec<u8>,
    ) {
        let mut members = self.place(part);
        extend(&mut members, [(member.0, Some(member.1))]);
        self.send(kind, &members, out);
    }

    fn item_added(&mut self, begun: &Value, out: &mut Vec<u8>) {
        let members = json!({"output_index": self.output.len(), "item": begun});
        self.send("response.output_item.added", &members, out);
    }

    fn open(&mut self, block: &Opened<'_>, out: &mut Vec<u8>) {
        let number = self.output.len();
        self.citations = 0;
        let named = |kind| item_id(kind, number, &self.asked);
        match block {
            Opened::Text | Opened::Refusal => {
                self.id = named("msg");
                let begun = json!({"id": self.id, "type": "message", "status": "in_progress",
                    "role": "assistant", "content": []});
                self.item_added(&begun, out);
                let is_text = matches!(block, Opened::Text);
                self.open = if is_text { Open::Text } else { Open::Refusal };
                let part = if is_text {
                    output_text("", &[])
                } else {
                    json!({"type": "refusal", "refusal": ""})
                };
                let kind = "response.content_part.added";
                self.send_at(kind, Some("content_index"), ("part", part), out);
            }
            Opened::Thinking => {
                self.id = named("rs");
                self.open = Open::Thinking { begun: false };
                let begun = json!({"id": self.id, "type": "reasoning", "summary": []});
                self.item_added(&begun, out);
            }
            Opened::ToolCall { id, name, signature } => {
                self.id = named("fc");
                self.open = Open::Call;
                let begun = json!({"id": self.id, "type": "function_call",
                    "status": "in_progress", "call_id": packed(id, *signature), "name": name,
                    "arguments": ""});
                self.item_added(&begun, out);
            }
            Opened::Whole(_) => self.open = Open::Whole,
        }
    }

    fn append(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) {
        const PART: &str = ",\"content_index\":0";
        match (piece, self.open) {
            (Piece::Text(text), Open::Text) => {
                // Vercel's SDK wants the log probabilities, if only none.
                let place = ",\"content_index\":0,\"logprobs\":[]";
                self.words("response.output_text.delta", place, text, out);
            }
            (Piece::Text(text), Open::Refusal) => {
                self.words("response.refusal.delta", PART, text, out);
            }
            (Piece::Text(text), Open::Thinking { begun }) => {
                if !begun {
                    self.open = Open::Thinking { begun: true };
                    let part = json!({"type": "summary_text", "text": ""});
                    let kind = "response.reasoning_summary_part.added";
                    self.send_at(kind, Some("summary_index"), ("part", part), out);
                }
                let kind = "response.reasoning_summary_text.delta";
                self.words(kind, ",\"summary_index\":0", text, out);
            }
            (Piece::Arguments(text), Open::Call) => {
                self.words("response.function_call_arguments.delta", "", text, out);
            }
            (Piece::Citation(citation), Open::Text) => {
                let Some(annotation) = annotation(citation) else { return };
                let mut members = self.place(Some("content_index"));
                let index = self.citations.into();
                extend(
                    &mut members,
                    [("annotation_index", Some(index)), ("annotation", Some(annotation))],
                );
                self.citations = self.citations.saturating_add(1);
                self.send("response.output_text.annotation.added", &members, out);
            }
            // A seal is told with its item, at its end.
            (
                Piece::Text(_) | Piece::Arguments(_) | Piece::Signature(_) | Piece::Citation(_),
                Open::Nothing
                | Open::Text
                | Open::Refusal
                | Open::Thinking { .. }
                | Open::Call
                | Open::Whole,
            ) => {}
        }
    }

    fn close(&mut self, block: &Block, out: &mut Vec<u8>) {
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        let Some(done) = item(block, self.output.len(), &self.asked) else { return };
        let content = Some("content_index");
        match (&block.content, open) {
            (Content::Text { text, citations, .. }, Open::Text) => {
                let mut members = self.place(content);
                let texts = [("text", Some(text.as_str().into())), ("logprobs", Some(json!([])))];
                extend(&mut members, texts);
                self.send("response.output_text.done", &members, out);
                let part = output_text(text, citations);
                self.send_at("response.content_part.done", content, ("part", part), out);
            }
            (Content::Refusal(text), Open::Refusal) => {
                let told = ("refusal", text.as_str().into());
                self.send_at("response.refusal.done", content, told, out);
                let part = json!({"type": "refusal", "refusal": text});
                self.send_at("response.content_part.done", content, ("part", part), out);
            }
            (Content::Thinking { text, .. }, Open::Thinking { begun: true }) => {
                let summary = Some("summary_index");
                let told = ("text", text.as_str().into());
                self.send_at("response.reasoning_summary_text.done", summary, told, out);
                let part = json!({"type": "summary_text", "text": text});
                let kind = "response.reasoning_summary_part.done";
                self.send_at(kind, summary, ("part", part), out);
            }
            (Content::ToolCall(call), Open::Call) => {
                let mut members = self.place(None);
                let told = [
                    ("name", Some(call.name.as_str().into())),
                    ("arguments", Some(call.arguments.as_str().into())),
                ];
                extend(&mut members, told);
                self.send("response.function_call_arguments.done", &members, out);
            }
            (_, Open::Whole) => self.item_added(&done, out),
            _ => {}
        }
        let members = of([("output_index", self.output.len().into()), ("item", done.clone())]);
        self.send("response.output_item.done", &members, out);
        self.output.push(done);
    }
}

impl EncodeStream for StreamEncoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => self.start(out),
            Event::Open { choice: 0, block } => {
                self.collector = Collector::default();
                self.collector.take(event);
                self.open(block, out);
            }
            Event::Append { choice: 0, piece } => {
                match piece {
                    Piece::Text(text) | Piece::Arguments(text) => self.words.push_str(text),
                    Piece::Signature(_) | Piece::Citation(_) => self.collector.take(event),
                }
                self.append(piece, out);
            }
            Event::Close { choice: 0 } => {
                let told = std::mem::take(&mut self.collector).answer();
                let block = told.choices.into_iter().next().and_then(|mut c| c.blocks.pop());
                if let Some(mut block) = block {
                    self.add_words(&mut block.content);
                    self.close(&block, out);
                }
            }
            Event::Stop { choice: 0, stop } => self.stop = Some(stop.clone()),
            // There is but one answer here.
            Event::Open { .. }
            | Event::Append { .. }
            | Event::Close { .. }
            | Event::Stop { .. } => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut Vec<u8>) {
        self.start(out);
        let (status, details) = status(self.stop.as_ref());
        let output = std::mem::take(&mut self.output);
        let whole = response(&self.asked, status, details, output, Some(usage));
        self.send(&format!("response.{status}"), &of([("response", whole)]), out);
    }
}
