//! Reads the events of a streamed message.

use std::borrow::Cow;

use opencredits_schema::Provider;
use serde::Deserialize;
use serde_json::Value;

use super::answer_decoder::{block, citation, stop};
use crate::json::Object;
use crate::repeats::Repeats;
use crate::text::Text;
use crate::{DecodeStream, Event, Opened, Piece, Signature, Stop, Undecodable};

/// The most that is kept of a block which is told whole, in bytes.
const BLOCK_MAX: usize = 8 << 20;

/// Reads one stream.
#[derive(Debug)]
pub struct StreamDecoder {
    provider: Provider,
    begun: bool,
    ended: bool,
    open: Open,
    calls: bool,
    /// The last delta, if it told text.
    repeats: Repeats,
    stop: Option<Stop>,
}

/// The open block.
#[derive(Debug)]
enum Open {
    Nothing,
    /// It is told piece by piece.
    Pieces,
    /// It is told at its end: with the input that comes in pieces.
    Whole {
        block: Object,
        input: String,
    },
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct BlockStart {
    content_block: Object,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    citation: Option<Value>,
    content: Option<Value>,
    encrypted_content: Option<Value>,
}

#[derive(Deserialize)]
struct MessageDelta {
    delta: Ending,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
}

fn read<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(data).map_err(|error| Undecodable::Malformed(error.to_string()))
}

impl StreamDecoder {
    /// A decoder of this provider's stream.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            begun: false,
            ended: false,
            open: Open::Nothing,
            calls: false,
            repeats: Repeats::default(),
            stop: None,
        }
    }

    fn start(&mut self, data: &[u8], to: &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable> {
        if !matches!(self.open, Open::Nothing) {
            let what = "a message begins inside a block of another";
            return Err(Undecodable::Malformed(what.to_owned()));
        }
        let Start { message } = read(data)?;
        let (id, model) = (message.id.unwrap_or_default(), message.model.unwrap_or_default());
        if !std::mem::replace(&mut self.begun, true) {
            to(Event::Start { id: &id, model: &model });
        }
        Ok(())
    }

    fn open(&mut self, started: Object, to: &mut dyn FnMut(Event<'_>)) {
        self.close(to);
        self.repeats.forget();
        let text = |key: &str| started.get(key).and_then(Value::as_str).unwrap_or_default();
        let opened = match text("type") {
            "text" => Opened::Text,
            "thinking" => Opened::Thinking,
            "tool_use" => {
                self.calls = true;
                Opened::ToolCall { id: text("id"), name: text("name"), signature: None }
            }
            _ => {
                self.open = Open::Whole { block: started, input: String::new() };
                return;
            }
        };
        to(Event::Open { choice: 0, block: opened });
        self.open = Open::Pieces;
        // What stands in the beginning already.
        let mut append = |piece: Piece<'_>| to(Event::Append { choice: 0, piece });
        for key in ["text", "thinking"] {
            if !text(key).is_empty() {
                append(Piece::Text(text(key)));
            }
        }
        if !text("signature").is_empty() {
            append(Piece::Signature(&Signature::new(self.provider, text("signature"))));
        }
        let input = started.get("input").and_then(Value::as_object);
        if let Some(input) = input.filter(|input| !input.is_empty()) {
            let input = Value::Object(input.clone()).to_string();
            append(Piece::Arguments(&input));
        }
    }

    fn append(
        &mut self,
        delta: Delta<'_>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        if let Open::Whole { block, input } = &mut self.open {
            if let Some(piece) = &delta.partial_json {
                input.push_str(piece);
            }
            for (key, value) in
                [("content", delta.content), ("encrypted_content", delta.encrypted_content)]
            {
                if let Some(value) = value {
                    block.insert(key.to_owned(), value);
                }
            }
            return if input.len() > BLOCK_MAX { Err(Undecodable::TooLarge) } else { Ok(()) };
        }
        if matches!(self.open, Open::Nothing) {
            return Err(Undecodable::Malformed("a delta without a block".to_owned()));
        }
        let mut append = |piece: Piece<'_>| to(Event::Append { choice: 0, piece });
        for text in [&delta.text, &delta.thinking].into_iter().flatten() {
            if !text.is_empty() {
                append(Piece::Text(text));
            }
        }
        if let Some(piece) = delta.partial_json.filter(|piece| !piece.is_empty()) {
            append(Piece::Arguments(&piece));
        }
        if let Some(data) = delta.signature.filter(|data| !data.is_empty()) {
            append(Piece::Signature(&Signature::new(self.provider, data.0)));
        }
        if let Some(json) = delta.citation {
            append(Piece::Citation(&citation(json)));
        }
        Ok(())
    }

    fn close(&mut self, to: &mut dyn FnMut(Event<'_>)) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Pieces => to(Event::Close { choice: 0 }),
            Open::Whole { block: mut told, input } => {
                if let Ok(input) = serde_json::from_str::<Value>(&input) {
                    told.insert("input".to_owned(), input);
                }
                if let Some(block) = block(self.provider, told) {
                    to(Event::Open { choice: 0, block: Opened::Whole(&block) });
                    to(Event::Close { choice: 0 });
                }
            }
        }
    }
}

impl DecodeStream for StreamDecoder {
    fn event(
        &mut self,
        name: Option<&[u8]>,
        data: &[u8],
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        if let (Some(text), Open::Pieces) = (self.repeats.text(data), &self.open)
            && !text.is_empty()
        {
            to(Event::Append { choice: 0, piece: Piece::Text(text) });
            return Ok(());
        }
        // Nothing belongs to the message behind its end.
        if self.ended {
            return Ok(());
        }
        let told;
        let name = match name {
            Some(name) => name,
            None => {
                told = read::<Kind<'_>>(data)?.r#type.unwrap_or_default();
                told.as_bytes()
            }
        };
        match name {
            b"message_start" => self.start(data, to)?,
            b"content_block_start" => {
                let BlockStart { content_block } = read(data)?;
                self.open(content_block, to);
            }
            b"content_block_delta" => {
                let BlockDelta { delta } = read(data)?;
                self.repeats.forget();
                if let Some(Text(Cow::Borrowed(text))) = &delta.text {
                    self.repeats.learn(data, text, b"}", 1);
                }
                self.append(delta, to)?;
            }
            b"content_block_stop" => self.close(to),
            b"message_delta" => {
                let MessageDelta { delta } = read(data)?;
                if let Some(reason) = delta.stop_reason {
                    self.stop = Some(stop(&reason, delta.stop_sequence));
                }
            }
            b"message_stop" => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, to: &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable> {
        if !self.begun {
            return Err(Undecodable::Malformed("the stream has no message".to_owned()));
        }
        self.close(to);
        let usual = if self.calls { Stop::ToolUse } else { Stop::EndTurn };
        to(Event::Stop { choice: 0, stop: self.stop.take().unwrap_or(usual) });
        Ok(())
    }
}
