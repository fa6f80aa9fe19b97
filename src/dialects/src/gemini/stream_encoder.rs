//! Writes the chunks of a streamed `generateContent` answer.

use opencredits_schema::Usage;
use serde_json::{Value, json};

use super::answer_encoder::{candidate, chunk, grounding, part};
use crate::json::extend;
use crate::sse::write_event;
use crate::{Asked, Block, Citation, Content, EncodeStream, Event, Opened, Piece, Stop, ToolCall};

/// Writes one stream: a chunk for each piece of text, and for each block that comes whole.
#[derive(Debug)]
pub struct StreamEncoder {
    asked: Asked,
    choices: Vec<ChoiceState>,
}

#[derive(Debug, Default)]
struct ChoiceState {
    open: Open,
    stop: Option<Stop>,
    pages: Vec<Citation>,
}

#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thinking,
    /// Its arguments come in one piece here.
    Call(ToolCall),
}

impl StreamEncoder {
    /// An encoder for the answer of this request.
    #[must_use]
    pub const fn new(asked: Asked) -> Self {
        Self { asked, choices: Vec::new() }
    }

    fn send(&self, choice: usize, parts: &[Value], out: &mut Vec<u8>) {
        let candidates = vec![candidate(choice, parts, None)];
        write_event(out, "", &chunk(candidates, None, &self.asked));
    }

    fn choice(&mut self, choice: u32) -> (usize, Option<&mut ChoiceState>) {
        let at = usize::try_from(choice).unwrap_or(usize::MAX);
        if self.choices.len() <= at {
            self.choices.resize_with(at.saturating_add(1), ChoiceState::default);
        }
        (at, self.choices.get_mut(at))
    }

    fn open(&mut self, choice: u32, block: &Opened<'_>, out: &mut Vec<u8>) {
        let (at, Some(state)) = self.choice(choice) else { return };
        state.open = match block {
            Opened::Text | Opened::Refusal => Open::Text,
            Opened::Thinking => Open::Thinking,
            Opened::ToolCall { id, name, signature } => Open::Call(ToolCall {
                id: (*id).to_owned(),
                name: (*name).to_owned(),
                arguments: String::new(),
                signature: signature.cloned(),
            }),
            Opened::Whole(block) => {
                if let Some(part) = part(block) {
                    self.send(at, &[part], out);
                }
                return;
            }
        };
    }

    fn append(&mut self, choice: u32, piece: &Piece<'_>, out: &mut Vec<u8>) {
        let (at, Some(state)) = self.choice(choice) else { return };
        let thought = matches!(state.open, Open::Thinking);
        let mut part = match piece {
            Piece::Text(text) => json!({"text": text}),
            Piece::Signature(seal) if seal.data.is_empty() => return,
            Piece::Signature(seal) => json!({"text": "", "thoughtSignature": seal.data}),
            Piece::Arguments(text) => {
                if let Open::Call(call) = &mut state.open {
                    call.arguments.push_str(text);
                }
                return;
            }
            Piece::Citation(citation) => {
                state.pages.push((*citation).clone());
                return;
            }
        };
        extend(&mut part, [("thought", thought.then_some(true.into()))]);
        self.send(at, &[part], out);
    }

    fn close(&mut self, choice: u32, out: &mut Vec<u8>) {
        let (at, Some(state)) = self.choice(choice) else { return };
        if let Open::Call(call) = std::mem::take(&mut state.open)
            && let Some(part) = part(&Block::new(Content::ToolCall(call)))
        {
            self.send(at, &[part], out);
        }
    }
}

impl EncodeStream for StreamEncoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => {}
            Event::Open { choice, block } => self.open(*choice, block, out),
            Event::Append { choice, piece } => self.append(*choice, piece, out),
            Event::Close { choice } => self.close(*choice, out),
            Event::Stop { choice, stop } => {
                if let (_, Some(state)) = self.choice(*choice) {
                    state.stop = Some(stop.clone());
                }
            }
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut Vec<u8>) {
        let ended = self.choices.iter().enumerate();
        let ended = ended.map(|(at, state)| {
            let mut candidate = candidate(at, &[], state.stop.as_ref());
            extend(&mut candidate, [("groundingMetadata", grounding(&state.pages))]);
            candidate
        });
        let ended = ended.collect();
        write_event(out, "", &chunk(ended, Some(usage), &self.asked));
    }
}
