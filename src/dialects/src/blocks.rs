//! The ordered pieces of a turn or of an answer.

use serde_json::Value;

use opencredits_wire::Dialect;

use crate::Signature;

/// One piece of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What it is.
    pub content: Content,
    /// The caller's wish that the prompt be cached up to here (Anthropic's `cache_control`; on
    /// the other dialects an extension field of the same name). Told only where it is used.
    pub cache: Option<CacheMark>,
}

/// How long a prompt is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// Five minutes: `{"type":"ephemeral"}`, with or without `"ttl":"5m"`.
    FiveMinutes,
    /// One hour: `"ttl":"1h"`.
    OneHour,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text that is meant to be read.
    Text {
        /// The text.
        text: String,
        /// Gemini signs text too. Text with a signature is still text, never thinking.
        signature: Option<Signature>,
        /// What it rests on.
        citations: Vec<Citation>,
    },
    /// The model's words where it refuses (OpenAI's `refusal`).
    Refusal(String),
    /// The model's thinking. `text` is empty where it is signed but not shown.
    Thinking {
        /// The text, or its summary.
        text: String,
        /// What its provider wants back unchanged.
        signature: Option<Signature>,
    },
    /// Thinking that only its provider can read (Anthropic's `redacted_thinking`, the
    /// `encrypted_content` of a reasoning item without a summary).
    RedactedThinking(Signature),
    /// The model calls a tool of the caller.
    ToolCall(ToolCall),
    /// The caller's answer to it.
    ToolResult(ToolResult),
    /// A picture.
    Image(Image),
    /// A document.
    Document(Document),
    /// Sound: base64, and its format (`wav`, `mp3`).
    Audio {
        /// Base64.
        data: String,
        /// The format as OpenAI names it.
        format: String,
    },
    /// A block that only its own dialect knows (a provider's own tool, a container, a search
    /// result): the whole JSON of it. Encoders of other dialects leave it out of answers, and
    /// refuse it in requests only if the request is pointless without it.
    Own {
        /// Whose.
        dialect: Dialect,
        /// The block as it came.
        json: Value,
    },
}

/// A call of a caller's tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its name in this conversation, without a packed signature (see [`crate::Signature`]);
    /// never empty: a decoder makes one where the provider gives none.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments: the text of one JSON object, `{}` where there are none. A decoder of a
    /// request has checked that it is JSON.
    pub arguments: String,
    /// Gemini's `thoughtSignature`, which must come back with the call.
    pub signature: Option<Signature>,
}

/// What a tool said.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The call's id, as [`ToolCall::id`].
    pub id: String,
    /// Text, pictures, documents.
    pub content: Vec<Block>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is. The media type is the caller's label; encoders that need the true one look at
    /// the bytes ([`Source::true_media_type`]).
    pub source: Source,
    /// OpenAI's `detail`.
    pub detail: Option<String>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is.
    pub source: Source,
    /// Its title or file name.
    pub name: Option<String>,
}

/// Where data is. The gateway never fetches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the request.
    Base64 {
        /// `image/png`, `application/pdf`, …
        media_type: String,
        /// Standard base64.
        data: String,
    },
    /// At an address that the provider may fetch.
    Url(String),
    /// Plain text (Anthropic's text documents).
    Text(String),
}

impl Source {
    /// The media type by the first bytes: JPEG, PNG, GIF, WebP, PDF; the label where they tell
    /// nothing; `None` for what is not in the request.
    #[must_use]
    pub fn true_media_type(&self) -> Option<&str> {
        let Self::Base64 { media_type, data } = self else { return None };
        // These are the magic numbers in base64.
        let known = [
            ("/9j/", "image/jpeg"),
            ("iVBORw0KGgo", "image/png"),
            ("R0lGOD", "image/gif"),
            ("JVBERi0", "application/pdf"),
        ];
        let found = known.into_iter().find(|(magic, _)| data.starts_with(magic));
        let webp =
            data.starts_with("UklGR") && data.get(10..).is_some_and(|at| at.starts_with("XRUJQ"));
        match found {
            Some((_, kind)) => Some(kind),
            None if webp => Some("image/webp"),
            None => Some(media_type),
        }
    }
}

/// What a text rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Citation {
    /// A page of the web.
    Url {
        /// Its address.
        url: String,
        /// Its title.
        title: String,
        /// The part of it that is cited.
        cited: Option<String>,
        /// First and one-past-last character of the text that rests on it, if told.
        span: Option<(u64, u64)>,
    },
    /// Another kind, which only its dialect knows.
    Own {
        /// Whose.
        dialect: Dialect,
        /// As it came.
        json: Value,
    },
}

impl Citation {
    /// The address and the title of a page of the web.
    #[must_use]
    pub fn page(&self) -> Option<(&str, &str)> {
        match self {
            Self::Url { url, title, .. } => Some((url, title)),
            Self::Own { json, .. } => {
                let text = |key: &str| json.get(key).and_then(Value::as_str);
                Some((text("url")?, text("title").unwrap_or_default()))
            }
        }
    }
}

impl Block {
    /// A block without a cache mark.
    #[must_use]
    pub const fn new(content: Content) -> Self {
        Self { content, cache: None }
    }

    /// Plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Content::Text { text: text.into(), signature: None, citations: Vec::new() })
    }

    /// Whether it is a text with a signature.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        matches!(self.content, Content::Text { signature: Some(_), .. })
    }

    /// The text, if it is a text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Content::Text { text, .. } = &self.content { Some(text) } else { None }
    }
}
