//! The forms in which clients and providers speak.

/// The form in which a request and its answer are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions.
    #[default]
    ChatCompletions,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses, without their state.
    Responses,
    /// Google's native `generateContent`; providers speak it, clients do not.
    GenerateContent,
}

impl Dialect {
    /// The field that holds the conversation.
    pub(crate) const fn conversation(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Messages => "messages",
            Self::Responses => "input",
            Self::GenerateContent => "contents",
        }
    }

    /// Whether a key of the content holds content in this dialect too.
    pub(super) const fn has(self, key: &str) -> bool {
        match self {
            Self::ChatCompletions | Self::Messages => false,
            Self::Responses => matches!(key.as_bytes(), b"output"),
            Self::GenerateContent => matches!(key.as_bytes(), b"parts"),
        }
    }
}
