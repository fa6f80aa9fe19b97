//! Any dialect to any other, sans IO. Each dialect is one folder with a decoder and an encoder for
//! requests and for answers; they meet in one form: [`Prompt`], [`Answer`] and [`Event`]. What
//! stays in its dialect never comes here: it passes through byte for byte.

pub mod chat;
pub mod gemini;
pub mod messages;
pub mod responses;

mod answer;
mod blocks;
mod collect;
mod count;
mod json;
mod ordered_calls;
mod prompt;
mod repeats;
mod signature;
mod sse;
mod text;
mod tool_id;
mod translate;

pub use answer::{
    Answer, Asked, Choice, DecodeStream, EncodeStream, Event, Opened, Piece, Stop, Undecodable,
};
pub use blocks::{
    Block, CacheMark, Citation, Content, Document, Image, Source, ToolCall, ToolResult,
};
pub use collect::Collector;
pub use prompt::{
    Effort, Format, Function, Prompt, Reasoning, Role, Sampling, Thinking, Tool, ToolChoice, Turn,
};
pub use signature::Signature;
pub use translate::{
    Translator, decode_answer, decode_request, encode_answer, encode_request, stream_decoder,
    stream_encoder, translate_answer,
};
