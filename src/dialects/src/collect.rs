//! Puts the events of a stream together to the answer that they tell.

use crate::{Answer, Block, Choice, Content, Event, Opened, Piece, Signature, ToolCall};

/// An answer that is being told.
#[derive(Debug, Default)]
pub struct Collector {
    answer: Answer,
}

impl Collector {
    /// Takes the next event.
    pub fn take(&mut self, event: &Event<'_>) {
        if let Event::Start { id, model } = event {
            (*id).clone_into(&mut self.answer.id);
            (*model).clone_into(&mut self.answer.model);
        }
        match event {
            Event::Start { .. } => {}
            Event::Open { choice, block } => self.with(*choice, |choice| {
                choice.blocks.push(opened(block));
            }),
            Event::Append { choice, piece } => self.with(*choice, |choice| {
                if let Some(block) = choice.blocks.last_mut() {
                    append(&mut block.content, piece);
                }
            }),
            Event::Close { choice } => self.with(*choice, |choice| {
                if let Some(Block { content: Content::ToolCall(call), .. }) =
                    choice.blocks.last_mut()
                    && call.arguments.is_empty()
                {
                    "{}".clone_into(&mut call.arguments);
                }
            }),
            Event::Stop { choice, stop } => self.with(*choice, |choice| {
                choice.stop = Some(stop.clone());
            }),
        }
    }

    /// The answer so far.
    #[must_use]
    pub fn answer(self) -> Answer {
        self.answer
    }

    /// Does something to a choice, which begins with its first event.
    fn with(&mut self, index: u32, act: impl FnOnce(&mut Choice)) {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let choices = &mut self.answer.choices;
        if choices.len() <= at {
            choices.resize_with(at.saturating_add(1), Choice::default);
        }
        if let Some(choice) = choices.get_mut(at) {
            act(choice);
        }
    }
}

fn opened(block: &Opened<'_>) -> Block {
    Block::new(match block {
        Opened::Text => return Block::text(""),
        Opened::Refusal => Content::Refusal(String::new()),
        Opened::Thinking => Content::Thinking { text: String::new(), signature: None },
        Opened::ToolCall { id, name, signature } => Content::ToolCall(ToolCall {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
            arguments: String::new(),
            signature: signature.cloned(),
        }),
        Opened::Whole(block) => return (*block).clone(),
    })
}

fn append(content: &mut Content, piece: &Piece<'_>) {
    let set = |signature: &mut Option<Signature>, seal: &Signature| *signature = Some(seal.clone());
    match (content, piece) {
        (Content::Text { text, .. } | Content::Refusal(text), Piece::Text(more))
        | (Content::Thinking { text, .. }, Piece::Text(more)) => text.push_str(more),
        (
            Content::Text { signature, .. } | Content::Thinking { signature, .. },
            Piece::Signature(seal),
        ) => set(signature, seal),
        (Content::Text { citations, .. }, Piece::Citation(told)) => citations.push((*told).clone()),
        (Content::ToolCall(call), Piece::Arguments(more)) => call.arguments.push_str(more),
        // A decoder appends nothing else.
        (_, Piece::Text(_) | Piece::Arguments(_) | Piece::Signature(_) | Piece::Citation(_)) => {}
    }
}
