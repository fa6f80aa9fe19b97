//! An answer in the one form: whole, and as the events of a stream.

use bytes::Bytes;
use opencredits_schema::Usage;

use crate::{Block, Citation, Signature};

/// A whole answer. What it used is told apart: the meter reads that of the provider's own bytes,
/// so a bill does not depend on the dialect it is shown in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The provider's id of it; may be empty.
    pub id: String,
    /// The provider's name of the model; may be empty.
    pub model: String,
    /// When it was made, in unix seconds, if told.
    pub created: Option<u64>,
    /// One, or as many as `n` asked for.
    pub choices: Vec<Choice>,
}

/// One of the answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// In the order in which they are shown: thinking, text, tool calls, as the model made them.
    pub blocks: Vec<Block>,
    /// Why it ended; `None` if the provider does not tell.
    pub stop: Option<Stop>,
}

/// Why an answer ended. A decoder gives [`Stop::ToolUse`] whenever the choice has a tool call of
/// the caller and ended by itself, whatever the provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model was done.
    EndTurn,
    /// The output limit.
    MaxTokens,
    /// The context window's end.
    ContextWindow,
    /// One of the caller's texts; empty where the provider does not tell which.
    StopSequence(String),
    /// It waits for tools.
    ToolUse,
    /// Anthropic's long turns.
    PauseTurn,
    /// The model or a filter refused.
    Refusal,
    /// The model made a call that is none (Gemini's `MALFORMED_FUNCTION_CALL`): with no content
    /// the answer is an error of the provider, with some it is shown as [`Stop::EndTurn`].
    Malformed,
}

/// An event of a stream. Decoders keep this order, for every choice: one [`Event::Start`] before
/// all; then blocks, one at a time (`Open`, any number of `Append`, `Close`), in the order in
/// which a whole answer would have them; `Stop` at most once, after the last `Close`. A provider
/// that mixes two tool calls is put in order by its decoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The first.
    Start {
        /// As [`Answer::id`].
        id: &'a str,
        /// As [`Answer::model`].
        model: &'a str,
    },
    /// A block begins.
    Open {
        /// Which answer, from 0.
        choice: u32,
        /// What begins.
        block: Opened<'a>,
    },
    /// The open block of this choice goes on.
    Append {
        /// Which answer, from 0.
        choice: u32,
        /// With what.
        piece: Piece<'a>,
    },
    /// It ends.
    Close {
        /// Which answer, from 0.
        choice: u32,
    },
    /// The answer ends; the usage may still follow.
    Stop {
        /// Which answer, from 0.
        choice: u32,
        /// Why.
        stop: Stop,
    },
}

/// The kind of block that begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Opened<'a> {
    /// Text; [`Piece::Text`], [`Piece::Citation`], [`Piece::Signature`] follow.
    Text,
    /// [`Piece::Text`] follows.
    Refusal,
    /// [`Piece::Text`] and [`Piece::Signature`] follow.
    Thinking,
    /// A tool call; [`Piece::Arguments`] follow. Their pieces together are one JSON object;
    /// none at all stand for `{}`.
    ToolCall {
        /// As [`crate::ToolCall::id`].
        id: &'a str,
        /// The tool's name.
        name: &'a str,
        /// Gemini's, which comes with the call.
        signature: Option<&'a Signature>,
    },
    /// A block that comes whole: redacted thinking, what only its own dialect knows.
    Whole(&'a Block),
}

/// More of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece<'a> {
    /// Of a text, a refusal or thinking; never empty.
    Text(&'a str),
    /// Of the arguments; never empty.
    Arguments(&'a str),
    /// The signature, whole.
    Signature(&'a Signature),
    /// A citation of the text.
    Citation(&'a Citation),
}

/// What an encoder of answers has to know of the request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The model as the caller named it; translated answers carry this name.
    pub model: String,
    /// The gateway's own name of the request: 32 hexadecimal digits. Ids of answers are made of
    /// it, so they are stable and unique.
    pub request: String,
    /// When, in unix seconds.
    pub created: u64,
    /// Whether the usage chunk of a chat completion's stream was asked for.
    pub usage_chunk: bool,
    /// The likely size of the prompt in tokens, for dialects that tell it first.
    pub input_estimate: u64,
    /// The caller's own body: `/v1/responses` says parts of it back.
    pub body: Bytes,
}

/// Why a provider's answer can't be shown: 502.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It is not what the dialect prescribes.
    #[error("the provider's answer can't be read: {0}")]
    Malformed(String),
    /// It has no content, for the model made no valid call.
    #[error("the model made a call that is none")]
    NoValidCall,
    /// A part of it is larger than the gateway keeps.
    #[error("the provider's answer is too large")]
    TooLarge,
}

/// Reads the events of one stream of a provider. Usage, errors in band and the end of the stream
/// are the meter's; a decoder skips them, and events that it does not know.
pub trait DecodeStream: Send + Sync {
    /// Takes one server-sent event and tells what it means, in order. Bounded in memory; after an
    /// error the stream is given up.
    ///
    /// # Errors
    /// [`Undecodable`].
    fn event(
        &mut self,
        name: Option<&[u8]>,
        data: &[u8],
        to: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Undecodable>;

    /// The stream has ended well: closes what is open, and tells the stop if that waited.
    ///
    /// # Errors
    /// [`Undecodable::NoValidCall`], [`Undecodable::Malformed`] when nothing was said at all.
    fn end(&mut self, to: &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable>;
}

/// Writes the events of one stream for a client.
pub trait EncodeStream: Send + Sync {
    /// Appends the bytes of what happened: whole server-sent events.
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>);

    /// Appends the end: the usage and the terminal event.
    fn end(&mut self, usage: &Usage, out: &mut Vec<u8>);
}
