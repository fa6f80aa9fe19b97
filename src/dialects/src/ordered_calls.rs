//! Puts the pieces of parallel tool calls in order: one call after another, each whole.

use std::collections::VecDeque;

use crate::{Event, Opened, Piece, Signature, Undecodable};

/// The most bytes of calls that wait for their turn.
pub(crate) const WAITING_MAX: usize = 8 << 20;
/// The most calls that wait.
pub(crate) const CALLS_MAX: usize = 1 << 10;

/// The tool calls of one choice of a stream.
#[derive(Debug, Default)]
pub(crate) struct OrderedCalls {
    /// The index of the open call, and how far its arguments are.
    open: Option<(u64, Depth)>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    begun: usize,
}

#[derive(Debug)]
struct Waiting {
    index: u64,
    id: String,
    name: String,
    signature: Option<Signature>,
    arguments: String,
}

/// What a provider says of a call in one event.
#[derive(Debug, Default)]
pub(crate) struct CallPiece<'a> {
    /// The provider's number of it.
    pub(crate) index: u64,
    pub(crate) id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) signature: Option<Signature>,
    pub(crate) arguments: &'a str,
}

impl OrderedCalls {
    /// Whether any call has begun.
    pub(crate) const fn any(&self) -> bool {
        self.begun > 0
    }

    /// The number that the next call gets where the provider numbers none.
    pub(crate) fn next_index(&self) -> u64 {
        self.begun as u64
    }

    /// Takes a piece. `made_id` names a call whose provider does not.
    pub(crate) fn push(
        &mut self,
        choice: u32,
        piece: CallPiece<'_>,
        made_id: impl FnOnce(usize) -> String,
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        if let Some((index, depth)) = &mut self.open
            && *index == piece.index
        {
            if !piece.arguments.is_empty() {
                depth.read(piece.arguments);
                to(Event::Append { choice, piece: Piece::Arguments(piece.arguments) });
            }
        } else {
            self.wait(piece, made_id)?;
        }
        self.advance(choice, false, to);
        Ok(())
    }

    /// Closes the open call and tells those that waited, whole.
    pub(crate) fn end(&mut self, choice: u32, to: &mut dyn FnMut(Event<'_>)) {
        self.advance(choice, true, to);
        if self.open.take().is_some() {
            to(Event::Close { choice });
        }
    }

    fn wait(
        &mut self,
        piece: CallPiece<'_>,
        made_id: impl FnOnce(usize) -> String,
    ) -> Result<(), Undecodable> {
        self.waiting_bytes = self.waiting_bytes.saturating_add(piece.arguments.len());
        if self.waiting_bytes > WAITING_MAX || self.begun > CALLS_MAX {
            return Err(Undecodable::TooLarge);
        }
        let known = self.waiting.iter_mut().find(|call| call.index == piece.index);
        let Some(call) = known else {
            let number = self.begun;
            self.begun = self.begun.saturating_add(1);
            let given = piece.id.filter(|id| !id.is_empty()).map(str::to_owned);
            self.waiting.push_back(Waiting {
                index: piece.index,
                id: given.unwrap_or_else(|| made_id(number)),
                name: piece.name.unwrap_or_default().to_owned(),
                signature: piece.signature,
                arguments: piece.arguments.to_owned(),
            });
            return Ok(());
        };
        call.arguments.push_str(piece.arguments);
        if let Some(name) = piece.name.filter(|_| call.name.is_empty()) {
            name.clone_into(&mut call.name);
        }
        call.signature = call.signature.take().or(piece.signature);
        Ok(())
    }

    /// Goes on to the next call once the open one is whole, or at the end in any case.
    fn advance(&mut self, choice: u32, at_end: bool, to: &mut dyn FnMut(Event<'_>)) {
        while let Some(next) = self.waiting.front() {
            let may_open = match &self.open {
                None => true,
                Some((_, depth)) => depth.is_whole() || at_end,
            };
            if !may_open || (next.name.is_empty() && !at_end) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else { return };
            if self.open.take().is_some() {
                to(Event::Close { choice });
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(next.arguments.len());
            let Waiting { index, id, name, signature, arguments } = next;
            let signature = signature.as_ref();
            let block = Opened::ToolCall { id: &id, name: &name, signature };
            to(Event::Open { choice, block });
            let mut depth = Depth::default();
            if !arguments.is_empty() {
                depth.read(&arguments);
                to(Event::Append { choice, piece: Piece::Arguments(&arguments) });
            }
            self.open = Some((index, depth));
        }
    }
}

/// How deep a JSON text is open.
#[derive(Debug, Default)]
struct Depth {
    open: usize,
    begun: bool,
    quoted: bool,
    escaped: bool,
}

impl Depth {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.quoted,
                b'"' => self.quoted = !self.quoted,
                b'{' | b'[' if !self.quoted => {
                    self.open = self.open.saturating_add(1);
                    self.begun = true;
                }
                b'}' | b']' if !self.quoted => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether the object that began has ended.
    const fn is_whole(&self) -> bool {
        self.begun && self.open == 0 && !self.quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of pieces `(index, id, name, arguments)`.
    fn order(pieces: &[(u64, &str, &str, &str)]) -> String {
        let (mut calls, mut said) = (OrderedCalls::default(), String::new());
        let mut to = |event: Event<'_>| match event {
            Event::Open { block: Opened::ToolCall { id, name, .. }, .. } => {
                said.push_str(&format!("{id}:{name}("));
            }
            Event::Append { piece: Piece::Arguments(text), .. } => said.push_str(text),
            Event::Close { .. } => said.push(')'),
            Event::Start { .. }
            | Event::Open { .. }
            | Event::Append { .. }
            | Event::Stop { .. } => {
                panic!("{event:?}")
            }
        };
        for (index, id, name, arguments) in pieces {
            let (id, name) = (Some(*id), Some(*name).filter(|name| !name.is_empty()));
            let piece = CallPiece { index: *index, id, name, arguments, signature: None };
            calls.push(0, piece, |n| format!("made{n}"), &mut to).unwrap();
        }
        calls.end(0, &mut to);
        said
    }

    #[test]
    fn s6_pieces_that_are_mixed_come_out_one_call_after_another() {
        let mixed = [
            (0, "a", "f", ""),
            (1, "b", "g", ""),
            (0, "", "", "{\"x\":"),
            (1, "", "", "{\"y\":"),
            (0, "", "", "\"}\"}"),
            (1, "", "", "2}"),
        ];
        assert_eq!(order(&mixed), "a:f({\"x\":\"}\"})b:g({\"y\":2})");
        assert_eq!(order(&[(0, "a", "f", "{}"), (1, "b", "g", "{}")]), "a:f({})b:g({})");
    }

    #[test]
    fn a_call_without_arguments_or_id_is_a_call() {
        assert_eq!(order(&[(0, "a", "f", ""), (1, "b", "g", "{}")]), "a:f()b:g({})");
        assert_eq!(order(&[(0, "", "f", "{}")]), "made0:f({})");
        assert_eq!(order(&[(0, "a", "", "{"), (0, "", "f", "}")]), "a:f({})");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut calls = OrderedCalls::default();
        let mut push = |index, arguments: &str| {
            let piece = CallPiece { index, name: Some("f"), arguments, ..CallPiece::default() };
            calls.push(0, piece, |n| n.to_string(), &mut |_| {})
        };
        push(0, "{").unwrap();
        let half = "a".repeat(WAITING_MAX / 2 + 1);
        push(1, &half).unwrap();
        assert_eq!(push(1, &half), Err(Undecodable::TooLarge));
    }
}
