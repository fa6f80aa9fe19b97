//! Reads the events of a streamed response.

use std::collections::HashSet;

use opencredits_schema::Provider;
use serde::Deserialize;
use serde_json::Value;

use super::answer_decoder::{Ending, citation, item};
use crate::json::Object;
use crate::ordered_calls::{CALLS_MAX, CallPiece, OrderedCalls};
use crate::text::Text;
use crate::{Block, Content, DecodeStream, Event, Opened, Piece, Stop, ToolCall, Undecodable};

/// Reads one stream.
#[derive(Debug)]
pub struct StreamDecoder {
    provider: Provider,
    begun: bool,
    open: Option<Place>,
    calls: OrderedCalls,
    /// Items of which anything was told before their end.
    told: HashSet<u64>,
    stop: Option<Stop>,
}

/// Where text is being told: the kind, the item, its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    kind: Kind,
    item: u64,
    part: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Thinking,
    Calls,
}

/// The members of the events that matter.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    delta: Option<Text<'a>>,
    output_index: Option<u64>,
    content_index: Option<u64>,
    summary_index: Option<u64>,
    item: Option<Object>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
    annotation: Option<Value>,
    #[serde(borrow)]
    response: Option<Head<'a>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(flatten)]
    ending: Ending,
}

#[derive(Deserialize)]
struct Named<'a> {
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
            open: None,
            calls: OrderedCalls::default(),
            told: HashSet::new(),
            stop: None,
        }
    }

    fn text(&mut self, kind: Kind, told: &Told<'_>, to: &mut dyn FnMut(Event<'_>)) {
        let Some(text) = told.delta.as_deref().filter(|text| !text.is_empty()) else { return };
        let item = told.output_index.unwrap_or(0);
        let part = told.content_index.or(told.summary_index).unwrap_or(0);
        let place = Place { kind, item, part };
        // The parts of a summary are one thought.
        let goes_on = kind == Kind::Thinking
            && self
                .open
                .is_some_and(|open| open.kind == kind && open.item == item && open != place);
        if goes_on {
            to(Event::Append { choice: 0, piece: Piece::Text("\n\n") });
            self.open = Some(place);
        }
        self.switch(place, to);
        to(Event::Append { choice: 0, piece: Piece::Text(text) });
    }

    fn switch(&mut self, place: Place, to: &mut dyn FnMut(Event<'_>)) {
        if self.open == Some(place) {
            return;
        }
        self.close(to);
        self.open = Some(place);
        // A call is told once its arguments are.
        if place.kind != Kind::Calls {
            self.told.insert(place.item);
        }
        let block = match place.kind {
            Kind::Text => Opened::Text,
            Kind::Refusal => Opened::Refusal,
            Kind::Thinking => Opened::Thinking,
            // The calls open their own.
            Kind::Calls => return,
        };
        to(Event::Open { choice: 0, block });
    }

    fn close(&mut self, to: &mut dyn FnMut(Event<'_>)) {
        match self.open.take() {
            Some(Place { kind: Kind::Calls, .. }) => self.calls.end(0, to),
            Some(_) => to(Event::Close { choice: 0 }),
            None => {}
        }
    }

    /// More of a call; its arguments come in deltas, or at its end only.
    fn call(
        &mut self,
        item: u64,
        (id, name): (Option<&str>, Option<&str>),
        arguments: &str,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        // Parallel calls are one open place: they are put in order among themselves.
        if !self.open.is_some_and(|open| open.kind == Kind::Calls) {
            self.switch(Place { kind: Kind::Calls, item, part: 0 }, to);
        }
        if !arguments.is_empty() {
            self.told.insert(item);
        }
        let piece = CallPiece { index: item, id, name, arguments, signature: None };
        self.calls.push(0, piece, |n| format!("call_{n}"), to)
    }

    fn item_begins(
        &mut self,
        told: Told<'_>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        let item = told.item.unwrap_or_default();
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        if text("type") != Some("function_call") {
            return Ok(());
        }
        let index = told.output_index.unwrap_or(0);
        let arguments = text("arguments").unwrap_or_default();
        self.call(index, (text("call_id"), text("name")), arguments, to)
    }

    fn item_ends(
        &mut self,
        told: Told<'_>,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        let index = told.output_index.unwrap_or(0);
        let was_told = self.told.contains(&index);
        for block in item(self.provider, told.item.unwrap_or_default()) {
            match &block.content {
                Content::ToolCall(_) if was_told => {}
                Content::ToolCall(ToolCall { id, name, arguments, .. }) => {
                    self.call(index, (Some(id), Some(name)), arguments, to)?;
                }
                Content::Thinking { signature: Some(seal), .. }
                    if self.open.is_some_and(|open| open.item == index) =>
                {
                    to(Event::Append { choice: 0, piece: Piece::Signature(seal) });
                    self.close(to);
                }
                Content::Text { .. }
                | Content::Refusal(_)
                | Content::Thinking { .. }
                | Content::RedactedThinking(_)
                | Content::ToolResult(_)
                | Content::Image(_)
                | Content::Document(_)
                | Content::Audio { .. }
                | Content::Own { .. } => {
                    if !was_told {
                        self.told.insert(index);
                        self.whole(index, &block, to);
                    }
                }
            }
        }
        Ok(())
    }

    /// A block of which nothing was told before its end.
    fn whole(&mut self, item: u64, block: &Block, to: &mut dyn FnMut(Event<'_>)) {
        let mut say = |kind, text: &str, to: &mut dyn FnMut(Event<'_>)| {
            self.close(to);
            self.switch(Place { kind, item, part: 0 }, to);
            if !text.is_empty() {
                to(Event::Append { choice: 0, piece: Piece::Text(text) });
            }
        };
        match &block.content {
            Content::Text { text, citations, .. } => {
                say(Kind::Text, text, to);
                for citation in citations {
                    to(Event::Append { choice: 0, piece: Piece::Citation(citation) });
                }
            }
            Content::Refusal(text) => say(Kind::Refusal, text, to),
            Content::Thinking { text, signature } => {
                say(Kind::Thinking, text, to);
                if let Some(seal) = signature {
                    to(Event::Append { choice: 0, piece: Piece::Signature(seal) });
                }
            }
            Content::RedactedThinking(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Image(_)
            | Content::Document(_)
            | Content::Audio { .. }
            | Content::Own { .. } => {
                self.close(to);
                to(Event::Open { choice: 0, block: Opened::Whole(block) });
                to(Event::Close { choice: 0 });
                return;
            }
        }
        self.close(to);
    }

    fn begins(&mut self, head: &Head<'_>, to: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.begun, true) {
            let id = head.id.as_deref().unwrap_or_default();
            to(Event::Start { id, model: head.model.as_deref().unwrap_or_default() });
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
        // Nothing belongs to the answer behind its end.
        if self.stop.is_some() {
            return Ok(());
        }
        let read_name;
        let name = match name {
            Some(name) => name,
            None => {
                if data.trim_ascii() == b"[DONE]" {
                    return Ok(());
                }
                read_name = read::<Named<'_>>(data)?.r#type.unwrap_or_default();
                read_name.as_bytes()
            }
        };
        let kind = match name {
            b"response.output_text.delta" => Some(Kind::Text),
            b"response.refusal.delta" => Some(Kind::Refusal),
            b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta" => {
                Some(Kind::Thinking)
            }
            _ => None,
        };
        if let Some(kind) = kind {
            self.text(kind, &read(data)?, to);
            return Ok(());
        }
        if self.told.len() > CALLS_MAX {
            return Err(Undecodable::TooLarge);
        }
        match name {
            b"response.function_call_arguments.delta" => {
                let told: Told<'_> = read(data)?;
                let more = told.delta.as_deref().unwrap_or_default();
                self.call(told.output_index.unwrap_or(0), (None, None), more, to)?;
            }
            b"response.function_call_arguments.done" => {
                let told: Told<'_> = read(data)?;
                let index = told.output_index.unwrap_or(0);
                if !self.told.contains(&index) {
                    let all = told.arguments.as_deref().unwrap_or_default();
                    self.call(index, (None, None), all, to)?;
                }
            }
            b"response.output_text.annotation.added" => {
                let told: Told<'_> = read(data)?;
                let is_text = self.open.is_some_and(|open| open.kind == Kind::Text);
                if let Some(json) = told.annotation.filter(|_| is_text) {
                    to(Event::Append { choice: 0, piece: Piece::Citation(&citation(json)) });
                }
            }
            b"response.output_item.added" => self.item_begins(read(data)?, to)?,
            b"response.output_item.done" => self.item_ends(read(data)?, to)?,
            b"response.created" | b"response.in_progress" => {
                let told: Told<'_> = read(data)?;
                told.response.iter().for_each(|head| self.begins(head, to));
            }
            b"response.completed" | b"response.incomplete" => {
                let told: Told<'_> = read(data)?;
                if let Some(head) = &told.response {
                    self.begins(head, to);
                    self.stop = Some(head.ending.stop(self.calls.any()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, to: &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable> {
        if !self.begun {
            return Err(Undecodable::Malformed("the stream has no response".to_owned()));
        }
        self.close(to);
        let usual = if self.calls.any() { Stop::ToolUse } else { Stop::EndTurn };
        to(Event::Stop { choice: 0, stop: self.stop.take().unwrap_or(usual) });
        Ok(())
    }
}
